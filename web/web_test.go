package web_test

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/web"
)

var app = storage.Client{ID: "notes", Name: "Tidepool Notes", RedirectURIs: []string{"https://app.tidepool.example/cb"}}

// The main job: an app sends a person who has no account; they come back to it.
func TestRegisterForAnApp(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	b := h.browser(t)

	page := b.wants(b.open(authorize(c)), "login", 200, "Sign in to continue to", "Tidepool Notes", `id="login-form"`)
	register := regexp.MustCompile(`href="(/register\?flow=[^"]+)"`).FindStringSubmatch(page.body)
	if register == nil {
		t.Fatal("the sign-in page has no link to registration within the flow")
	}
	page = b.wants(b.open(register[1]), "register", 200)
	page = b.follow(b.submit(page, "/register", "name", "Asha Gurung", "email", "asha@example.com", "password", password))
	page = b.wants(page, "verify", 200, "asha@example.com", `autocomplete="one-time-code"`)
	page = b.later(b.follow(b.submit(page, "/verify", "code", h.letter(t).Code)))
	page = b.wants(page, "consent", 200, "Allow Tidepool Notes to use your Gatehouse account?",
		"app.tidepool.example", "See your name and profile", "Asha Gurung", "See your email address", "asha@example.com")
	if strings.Contains(page.text(), "Know that") {
		t.Error("openid is listed beside other scopes")
	}
	if got := b.follow(b.submit(page, "/consent", "decision", "allow")); !strings.HasPrefix(got.Header.Get("Location"), c.RedirectURIs[0]+"?") ||
		!strings.Contains(got.Header.Get("Location"), "code=") {
		t.Fatalf("not back at the app with a code: %s %s\n%s", got.Status, got.Header.Get("Location"), got.body)
	}
	b.wants(b.open("/"), "account", 200, "Asha Gurung", "asha@example.com", `id="account-signout"`)
}

func TestConsent(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	b := h.browser(t)
	b.register("asha@example.com")
	ask := func(more ...string) answer { t.Helper(); return b.open(authorize(c, more...)) }
	location := func(a answer) url.Values {
		t.Helper()
		u, err := url.Parse(a.Header.Get("Location"))
		if err != nil || u.Host != "app.tidepool.example" {
			t.Fatalf("not at the app: %s %q", a.Status, a.Header.Get("Location"))
		}
		return u.Query()
	}

	page := b.wants(ask(), "consent", 200)
	if got := location(b.follow(b.submit(page, "/consent", "decision", "deny"))); got.Get("error") != "access_denied" || got.Has("code") {
		t.Errorf("denied: %v", got)
	}
	b.wants(b.get(page.Request.URL.RequestURI()), "error", 200,
		"You’ve already answered", "Go back to Tidepool Notes to continue") // Back, after the answer

	page = b.wants(ask(), "consent", 200)
	if got := location(b.follow(b.submit(page, "/consent", "decision", "allow"))); !got.Has("code") {
		t.Errorf("allowed once: %v", got)
	}
	page = b.wants(ask(), "consent", 200) // not remembered, so asked again
	if got := location(b.follow(b.submit(page, "/consent", "decision", "allow", "remember", "1"))); !got.Has("code") {
		t.Errorf("allowed and remembered: %v", got)
	}
	if got := location(ask()); !got.Has("code") {
		t.Errorf("remembered, and yet not answered at once: %v", got)
	}
	page = b.wants(ask("scope", "openid email offline_access"), "consent", 200,
		"Tidepool Notes is asking for more access", "It will also be able to", "Stay connected", "It can already")

	t.Run("a decision that is neither is refused", func(t *testing.T) {
		form := page.hidden()
		form.Set("decision", "maybe")
		b.wants(b.post("/consent", form), "error", 400)
	})
	t.Run("the answer is of the person who was asked", func(t *testing.T) {
		form := page.hidden()
		form.Set("decision", "allow")
		form.Set("remember", "1")
		form.Set("account", "somebody-else")
		b.wants(b.follow(b.post("/consent", form)), "consent", 200)
		got, err := h.sql.Consent(t.Context(), page.hidden().Get("account"), c.ID)
		if err != nil || strings.Contains(strings.Join(got.Scopes, " "), "offline_access") {
			t.Errorf("remembered %v, %v", got.Scopes, err)
		}
	})
	t.Run("nobody signed in goes to sign in first", func(t *testing.T) {
		other := h.browser(t)
		page := other.wants(other.open(authorize(c)), "login", 200)
		b := other.open("/consent?flow=" + page.hidden().Get("flow"))
		other.wants(b, "login", 200)
	})
	t.Run("openid alone is said in words", func(t *testing.T) {
		other := h.client(t, storage.Client{ID: "plain", Name: "Plain", RedirectURIs: []string{"https://plain.example/cb"}})
		b.wants(b.open(authorize(other, "scope", "openid")), "consent", 200, "Know that it", "Nothing else is shared")
	})
	t.Run("sec-A12 an app on the person's device is never remembered and says where it leads", func(t *testing.T) {
		for id, uri := range map[string]string{"loop": "http://127.0.0.1/cb", "scheme": "com.example.app:/cb"} {
			native := h.client(t, storage.Client{ID: id, Name: "Native", AuthMethod: storage.AuthNone, RedirectURIs: []string{uri}})
			page := b.wants(b.open(authorize(native)), "consent", 200)
			if strings.Contains(page.body, `id="remember"`) {
				t.Errorf("%s: offers to remember", uri)
			}
			if id == "loop" && !strings.Contains(page.text(), "You’ll go back to 127.0.0.1") {
				t.Errorf("%s: does not say the host", uri)
			}
			b.submit(page, "/consent", "decision", "allow", "remember", "1")
			if _, err := h.sql.Consent(t.Context(), page.hidden().Get("account"), id); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s: remembered all the same: %v", uri, err)
			}
		}
	})
}

func TestLoginPage(t *testing.T) {
	h := open(t, option{})
	h.browser(t).register("asha@example.com")
	b := h.browser(t)

	page := b.wants(b.open("/login"), "login", 200)
	flow := page.hidden().Get("flow")
	t.Run("a wrong password comes back with the address, without the password, and survives a refresh", func(t *testing.T) {
		a := b.submit(page, "/login", "identifier", "asha@example.com", "password", "another one altogether", "remember", "1")
		if to := a.Header.Get("Location"); to != "/login?flow="+flow {
			t.Fatalf("sent to %q", to)
		}
		for range 2 {
			a = b.wants(b.get("/login?flow="+flow), "login", 200, "<title>Error: Sign in – Gatehouse</title>",
				`href="#identifier">Your email or password is incorrect. Check both and try again.`,
				`id="identifier-error"`, `aria-invalid="true"`, `aria-describedby="identifier-error"`, `value="asha@example.com"`,
				`value="1" checked`)
			if strings.Contains(a.body, "another one altogether") {
				t.Error("the page shows the password")
			}
		}
		i, err := h.volatile.Interaction(t.Context(), flow)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range i.Typed {
			if strings.Contains(v, "another one") {
				t.Errorf("the interaction keeps the password as %q", k)
			}
		}
	})
	t.Run("seed-C1 an unknown address reads the same", func(t *testing.T) {
		known := b.follow(b.submit(page, "/login", "identifier", "asha@example.com", "password", "another one altogether"))
		unknown := b.follow(b.submit(page, "/login", "identifier", "nobody@example.com", "password", "another one altogether"))
		if strings.ReplaceAll(known.body, "asha@", "nobody@") != unknown.body {
			t.Error("the pages differ")
		}
	})
	t.Run("empty fields name each what is missing, the summary once each", func(t *testing.T) {
		b.wants(b.follow(b.submit(page, "/login")), "login", 200, "Enter your email address", "Enter your password",
			`href="#identifier"`, `href="#password"`, `id="password-error"`)
	})
	t.Run("what was typed is text and never markup", func(t *testing.T) {
		a := b.follow(b.submit(page, "/login", "identifier", `"><script>alert(1)</script>`, "password", password))
		if strings.Contains(a.body, "<script>alert") {
			t.Errorf("unescaped\n%s", a.body)
		}
		b.wants(a, "login", 200, "&lt;script&gt;alert(1)&lt;/script&gt;")
	})
	t.Run("an app's name and hint are text and never markup", func(t *testing.T) {
		c := h.client(t, storage.Client{ID: "evil", Name: `<img src=x onerror=a>`, RedirectURIs: []string{"https://e.example/cb"}})
		a := b.wants(b.open(authorize(c, "login_hint", `"onfocus="x`)), "login", 200, "&lt;img src=x onerror=a&gt;", "&#34;onfocus=&#34;x")
		if strings.Contains(a.body, "<img") {
			t.Error("unescaped")
		}
	})
	t.Run("a paused account is told so, after the right password only", func(t *testing.T) {
		u, _, err := h.sql.UserByEmail(t.Context(), "asha@example.com")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.sql.SetStatus(t.Context(), u.ID, storage.UserSuspended, time.Now().UTC()); err != nil {
			t.Fatal(err)
		}
		b.wants(b.follow(b.submit(page, "/login", "identifier", u.Email, "password", "another one altogether")), "login", 200)
		b.wants(b.signIn(page, u.Email), "error", 403, "You can’t use this account at the moment", `id="error-page"`)
		b.wants(b.open("/account"), "login", 200)

		fresh := h.browser(t)
		fresh.wants(fresh.open("/paused?flow="+fresh.open("/login").hidden().Get("flow")), "login", 200)
	})
}

// Scripts and password managers find their way by these ids; they do not change.
func TestStableIDs(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	b := h.browser(t)
	pages := map[string]answer{"login": b.open("/login"), "register": b.open("/register"), "error": b.get("/nowhere")}
	pages["verify"] = b.follow(b.submit(pages["register"], "/register", "name", "A", "email", "a@example.com", "password", password))
	b.follow(b.submit(pages["verify"], "/verify", "code", h.letter(t).Code))
	pages["consent"], pages["logout"] = b.open(authorize(c)), b.open("/logout")
	u, _, err := h.sql.UserByEmail(t.Context(), "a@example.com")
	if err != nil {
		t.Fatal(err)
	}
	h.twoStep(t, u)
	b = h.browser(t)
	pages["code"] = b.signIn(b.open("/login"), "a@example.com")
	pages["recovery"] = b.open("/login/recovery?flow=" + pages["code"].hidden().Get("flow"))
	h.pass(time.Minute)
	pages["reset"] = b.open("/reset")
	pages["reset-verify"] = b.follow(b.submit(pages["reset"], "/reset", "identifier", "a@example.com"))
	pages["reset-password"] = b.follow(b.submit(pages["reset-verify"], "/reset/verify", "code", h.letter(t).Code))
	for page, ids := range map[string][]string{
		"login":    {"login-form", "identifier", "password", "login-submit"},
		"register": {"register-form", "name", "email", "password", "register-submit"},
		"verify":   {"verify-form", "code", "code-submit"},
		"code":     {"code-form", "code", "code-submit"},
		"recovery": {"recovery-form", "recovery_code", "code-submit"},
		"reset":    {"reset-form", "identifier", "reset-submit"},

		"reset-verify":   {"reset-verify-form", "code", "code-submit"},
		"reset-password": {"reset-password-form", "password", "reset-password-submit"},

		"consent": {"consent-form", "consent-deny", "consent-allow"},
		"logout":  {"logout-form", "logout-confirm"},
		"error":   {"error-page", "error-description", "error-code"},
	} {
		a := b.wants(pages[page], page, pages[page].StatusCode)
		at := -1
		for _, id := range ids {
			next := strings.Index(a.body, ` id="`+id+`"`)
			if next < at || strings.Count(a.body, ` id="`+id+`"`) != 1 {
				t.Errorf("page %q: #%s is missing, twice there, or out of order", page, id)
			}
			at = next
		}
		if first := regexp.MustCompile(`<form[^>]*>`).FindString(a.body); page != "error" && !strings.Contains(first, `id="`+ids[0]+`"`) {
			t.Errorf("page %q: the first form is %s", page, first)
		}
	}
}

func TestSignInAgain(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	b := h.browser(t)
	b.register("asha@example.com")
	h.pass(time.Minute)
	page := b.wants(b.open(authorize(c, "prompt", "login")), "login", 200, "Confirm it’s you",
		"sign in again to continue to Tidepool Notes", `value="asha@example.com"`)
	b.wants(b.signIn(page, "asha@example.com"), "consent", 200)
}

func TestRegisterPage(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	page := b.wants(b.open("/register"), "register", 200, "Step 1 of 3", `autocomplete="new-password"`,
		`aria-describedby="password-hint"`)
	for _, c := range []struct {
		name string
		form []string
		want []string
	}{
		{"nothing at all", nil, []string{"Enter your name", "Enter your email address", "Choose a password", `href="#name"`, `href="#email"`, `href="#password"`}},
		{"an address that is none", []string{"name", "A", "email", "a@", "password", password}, []string{"Enter an email address in the right format", `value="a@"`}},
		{"a short password", []string{"name", "A", "email", "a@example.com", "password", "short"}, []string{"12 characters or more", `aria-describedby="password-hint password-error"`}},
		{"a name with a line break", []string{"name", "A\r\nBcc: x", "email", "a@example.com", "password", password}, []string{"Enter your name in letters"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.wants(b.follow(b.submit(page, "/register", c.form...)), "register", 200, append(c.want, "There is a problem")...)
		})
	}
	t.Run("a taken address reads the same as a free one", func(t *testing.T) {
		h.browser(t).register("taken@example.com")
		h.pass(time.Minute)
		free := b.follow(b.submit(page, "/register", "name", "A", "email", "free@example.com", "password", password))
		taken := b.follow(b.submit(page, "/register", "name", "A", "email", "taken@example.com", "password", password))
		if strings.ReplaceAll(free.body, "free@", "taken@") != taken.body {
			t.Error("the pages differ")
		}
	})
	t.Run("closed", func(t *testing.T) {
		h := open(t, option{closed: true})
		b := h.browser(t)
		b.wants(b.open("/register"), "closed", 200, "Registration is closed")
		page := b.open("/login")
		b.wants(b.follow(b.submit(page, "/register", "name", "A", "email", "a@example.com", "password", password)), "closed", 200)
		if a := b.wants(b.open("/login"), "login", 200); strings.Contains(a.body, "/register") {
			t.Error("the sign-in page leads to registration")
		}
	})
	t.Run("the operator's terms must be agreed to", func(t *testing.T) {
		h := open(t, option{links: web.Links{Terms: "https://x.example/terms", Help: "https://x.example/help"}})
		b := h.browser(t)
		page := b.wants(b.open("/register"), "register", 200, "https://x.example/help", `id="terms"`)
		form := []string{"name", "A", "email", "a@example.com", "password", password}
		page = b.wants(b.follow(b.submit(page, "/register", form...)), "register", 200, "Tick the box", `value="a@example.com"`, `id="terms-error"`)
		b.wants(b.follow(b.submit(page, "/register", append(form, "terms", "1")...)), "verify", 200)
	})
}

func TestVerifyPage(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	start := func() answer {
		t.Helper()
		h.pass(time.Hour) // whatever was limited is no more
		page := b.wants(b.open("/register"), "register", 200)
		return b.wants(b.follow(b.submit(page, "/register", "name", "A", "email", "a@example.com", "password", password)), "verify", 200, "Step 2 of 3")
	}
	page := start()
	b.wants(b.follow(b.submit(page, "/verify")), "verify", 200, "Enter the 8-digit code from the email")
	wrong := "00000000"
	if h.letter(t).Code == wrong {
		wrong = "00000001"
	}
	b.wants(b.follow(b.submit(page, "/verify", "code", wrong)), "verify", 200, "That code isn’t right. Check the latest email", `id="code-error"`)
	b.wants(b.follow(b.submit(page, "/verify", "action", "resend")), "verify", 200, "You can ask for another code in 1 minute")

	h.pass(61 * time.Second)
	old := h.letter(t).Code
	page = b.wants(b.follow(b.submit(page, "/verify", "action", "resend")), "verify", 200, "We’ve sent a new code", `role="status"`)
	if next := h.letter(t).Code; next != old { // equal once in 100 million
		b.wants(b.follow(b.submit(page, "/verify", "code", old)), "verify", 200, "That code isn’t right")
	}
	for range 5 {
		b.submit(page, "/verify", "code", wrong)
	}
	b.wants(b.open("/verify?flow="+page.hidden().Get("flow")), "verify", 200, "no longer works", "Send a new code")

	t.Run("an expired code leads to sign-in, which sends another", func(t *testing.T) {
		page := start()
		h.pass(6 * time.Minute)
		page = b.wants(b.follow(b.submit(page, "/verify", "code", h.letter(t).Code)), "login", 200, "That code has expired", `value="a@example.com"`)
		page = b.wants(b.signIn(page, "a@example.com"), "verify", 200, "Before you sign in, confirm your email address")
		b.wants(b.follow(b.submit(page, "/verify", "code", h.letter(t).Code)), "account", 200)
	})
	t.Run("without a step there is no page", func(t *testing.T) {
		b := h.browser(t)
		b.wants(b.open("/verify"), "login", 200)
		page := b.open("/login")
		b.wants(b.open("/verify?flow="+page.hidden().Get("flow")), "login", 200)
		b.wants(b.follow(b.submit(page, "/verify", "code", h.letter(t).Code)), "login", 200)
	})
	t.Run("a code with spaces, or in another script's digits, is the code", func(t *testing.T) {
		for _, typed := range []func(string) string{
			func(c string) string { return " " + c[:4] + " " + c[4:] + " " },
			func(c string) string { return c[:4] + "-" + c[4:] },
			func(c string) string { return strings.Map(func(r rune) rune { return r - '0' + '०' }, c) },
		} {
			b := h.browser(t)
			page := b.open("/register")
			page = b.follow(b.submit(page, "/register", "name", "A", "email", "digits"+h.letter(t).Code+"@example.com", "password", password))
			b.wants(b.follow(b.submit(page, "/verify", "code", typed(h.letter(t).Code))), "protect", 200)
		}
	})
}

func TestRemember(t *testing.T) {
	h := open(t, option{})
	h.browser(t).register("asha@example.com")
	for value, lasting := range map[string]bool{"": false, "1": true} {
		b := h.browser(t)
		a := b.submit(b.open("/login"), "/login", "identifier", "asha@example.com", "password", password, "remember", value)
		for _, c := range a.Cookies() {
			if c.Name == "gatehouse_session" && c.MaxAge > 0 != lasting {
				t.Errorf("remember=%q: Max-Age %d", value, c.MaxAge)
			}
		}
	}
}

func TestSignOut(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	b.register("asha@example.com")
	page := b.wants(b.open("/logout"), "logout", 200, "asha@example.com", `id="logout-form"`, `id="logout-confirm"`)
	b.wants(b.follow(b.submit(page, "/logout", "scope", "none")), "account", 200)
	b.wants(b.follow(b.submit(page, "/logout", "scope", "all")), "signed-out", 200, "You’ve signed out")
	b.wants(b.open("/account"), "login", 200)
	b.wants(b.open("/logout"), "signed-out", 200)

	b.wants(b.signIn(b.open("/login"), "asha@example.com"), "account", 200)
	b.wants(b.follow(b.submit(b.open("/account"), "/logout", "scope", "all")), "signed-out", 200)
	b.wants(b.open("/account"), "login", 200)
}

func TestBrowserBinding(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	h.browser(t).register("asha@example.com")
	first, second := h.browser(t), h.browser(t)
	page := first.wants(first.open(authorize(c)), "login", 200)
	flow := page.hidden().Get("flow")
	second.open("/login") // has a browser cookie of its own

	for _, path := range []string{
		"/login", "/login/select", "/register", "/register/protect", "/verify", "/login/code", "/login/recovery", "/login/recovery/low",
		"/reset", "/reset/verify", "/reset/password", "/consent", "/paused", "/limited", "/authorize",
	} {
		t.Run("sec-A13 a flow of another browser is not opened by its id at "+path, func(t *testing.T) {
			second.wants(second.get(path+"?flow="+flow), "error", 200, "That took a while, so we started again")
		})
	}
	t.Run("sec-A13 a step of another browser is not opened by its cookie", func(t *testing.T) {
		page := first.open("/register")
		page = first.follow(first.submit(page, "/register", "name", "A", "email", "a@example.com", "password", password))
		mine := second.open("/login")
		u, _ := url.Parse(h.URL)
		for _, k := range first.http.Jar.Cookies(u) {
			if k.Name == "gatehouse_step_"+page.hidden().Get("flow") {
				second.http.Jar.SetCookies(u, []*http.Cookie{{Name: k.Name, Value: k.Value, Path: "/"}})
			}
		}
		second.wants(second.get("/verify?flow="+page.hidden().Get("flow")), "error", 200, "That took a while")
		form := mine.hidden()
		form.Set("flow", page.hidden().Get("flow"))
		form.Set("code", h.letter(t).Code)
		second.wants(second.post("/verify", form), "error", 403)
	})
	t.Run("sec-A13 consent cannot come before sign-in", func(t *testing.T) {
		form := page.hidden()
		form.Set("decision", "allow")
		first.wants(first.follow(first.post("/consent", form)), "login", 200)
	})
	t.Run("an expired flow says so", func(t *testing.T) {
		h.pass(31 * time.Minute)
		a := first.follow(first.submit(page, "/login", "identifier", "asha@example.com", "password", password))
		first.wants(a, "error", 200, "That took a while", `href="/login"`)
	})
}

func TestCSRF(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	b, stranger := h.browser(t), h.browser(t)
	b.register("asha@example.com")
	consent := b.wants(b.open(authorize(c)), "consent", 200).hidden()
	logout := b.wants(b.open("/logout"), "logout", 200).hidden()
	other := h.browser(t)
	signIn := other.wants(other.open("/login"), "login", 200).hidden()
	register := other.wants(other.open("/register"), "register", 200).hidden()
	reset := other.wants(other.open("/reset"), "reset", 200).hidden()
	steps := h.browser(t)
	two := h.browser(t).register("two@example.com")
	phone := h.twoStep(t, two)
	code := steps.wants(steps.signIn(steps.open("/login"), "two@example.com"), "code", 200).hidden()
	begin := func(email string) answer {
		t.Helper()
		return steps.wants(steps.follow(steps.submit(steps.open("/reset"), "/reset", "identifier", email)), "reset-verify", 200)
	}
	h.pass(time.Minute)
	confirm, mailed := begin("asha@example.com").hidden(), h.letter(t).Code
	last := begin("two@example.com")
	last = steps.wants(steps.follow(steps.submit(last, "/reset/verify", "code", h.letter(t).Code)), "reset-password", 200)
	theirs := stranger.wants(stranger.open("/login"), "login", 200).hidden()

	posts := []struct {
		path string
		b    *browser
		form url.Values
		add  []string
	}{
		{"/login", other, signIn, []string{"identifier", "asha@example.com", "password", password}},
		{"/register", other, register, []string{"name", "A", "email", "csrf@example.com", "password", password}},
		{"/reset", other, reset, []string{"identifier", "nobody@example.com"}},
		{"/login/code", steps, code, []string{"code", phone.code()}},
		{"/login/recovery", steps, code, []string{"recovery_code", phone.recovery[0]}},
		{"/reset/verify", steps, confirm, []string{"code", mailed}},
		{"/reset/password", steps, last.hidden(), []string{"password", newPassword}},
		{"/consent", b, consent, []string{"decision", "allow", "remember", "1"}},
		{"/logout", b, logout, []string{"scope", "all"}},
	}
	attacks := []struct {
		name   string
		change func(url.Values)
		header []string
	}{
		{"no token", func(f url.Values) { f.Del("csrf_token") }, nil},
		{"a token that is none", func(f url.Values) { f.Set("csrf_token", "a.b") }, nil},
		{"a token without key", func(f url.Values) {
			f.Set("csrf_token", "x."+strings.SplitN(f.Get("csrf_token"), ".", 2)[1])
		}, nil},
		{"another browser's token", func(f url.Values) { f.Set("csrf_token", theirs.Get("csrf_token")) }, nil},
		{"another browser's token and flow", func(f url.Values) {
			f.Set("csrf_token", theirs.Get("csrf_token"))
			f.Set("flow", theirs.Get("flow"))
		}, nil},
		{"another flow of the browser", func(f url.Values) { f.Set("flow", "") }, nil},
		{"from another site", func(url.Values) {}, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}},
		{"from a sibling host", func(url.Values) {}, []string{"Sec-Fetch-Site", "same-site", "Origin", "https://evil.example"}},
		{"from another origin by an old browser", func(url.Values) {}, []string{"Origin", "https://evil.example"}},
	}
	form := func(from url.Values, add []string) url.Values {
		f := url.Values{}
		for k, v := range from {
			f[k] = v
		}
		for i := 0; i+1 < len(add); i += 2 {
			f.Set(add[i], add[i+1])
		}
		return f
	}
	for _, p := range posts {
		for _, a := range attacks {
			t.Run("sec-A14 "+p.path+" with "+a.name, func(t *testing.T) {
				f := form(p.form, p.add)
				a.change(f)
				got := p.b.post(p.path, f, a.header...)
				p.b.wants(got, "error", 403, "That took a while")
				for _, k := range got.Cookies() {
					t.Errorf("set the cookie %s", k.Name)
				}
			})
		}
		t.Run("sec-A14 "+p.path+" by GET", func(t *testing.T) {
			p.b.follow(p.b.get(p.path + "?" + form(p.form, p.add).Encode()))
		})
	}

	t.Run("sec-A14 nothing of it changed anything", func(t *testing.T) {
		ctx := t.Context()
		if _, _, err := h.sql.UserByEmail(ctx, "csrf@example.com"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("registered: %v", err)
		}
		if _, err := h.sql.Consent(ctx, consent.Get("account"), c.ID); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("consented: %v", err)
		}
		b.wants(b.open("/account"), "account", 200)
		other.wants(other.open("/account"), "login", 200)
		steps.wants(steps.open("/account"), "login", 200)
		steps.wants(steps.open("/reset/verify?flow="+confirm.Get("flow")), "reset-verify", 200)
		steps.wants(steps.open("/reset/password?flow="+last.hidden().Get("flow")), "reset-password", 200)
		if left, err := h.sql.RecoveryCodesLeft(ctx, two.ID); err != nil || left != 10 {
			t.Errorf("%d recovery codes are left: %v", left, err)
		}
	})
	t.Run("the same forms are good as they are, also without Origin and with null", func(t *testing.T) {
		for _, p := range posts {
			header := []string{"Sec-Fetch-Site", "same-origin"}
			if p.path == "/register" {
				header = []string{"Origin", "null"}
			}
			if a := p.b.post(p.path, form(p.form, p.add), header...); a.StatusCode != http.StatusSeeOther {
				t.Errorf("POST %s: %s", p.path, a.Status)
			}
		}
		if _, err := h.sql.Consent(t.Context(), consent.Get("account"), c.ID); err != nil {
			t.Errorf("consent: %v", err)
		}
		b.wants(b.open("/account"), "login", 200)
	})
}

func TestHeaders(t *testing.T) {
	for _, https := range []bool{false, true} {
		h := open(t, option{https: https})
		c := h.client(t, app)
		b := h.browser(t)
		pages := map[string]answer{
			"sign-in":      b.open("/login"),
			"for an app":   b.open(authorize(c)),
			"register":     b.open("/register"),
			"not found":    b.get("/nowhere"),
			"OAuth error":  b.get("/authorize?client_id=nobody"),
			"signed out":   b.open("/signed-out"),
			"wrong method": b.post("/account", nil),
			"expired":      b.get("/login?flow=nothing"),
			"a redirect":   b.get("/login"),
		}
		b.register("asha@example.com")
		pages["account"] = b.open("/account")
		pages["logout"] = b.open("/logout")
		pages["consent"] = b.open(authorize(c))
		for name, a := range pages {
			t.Run("sec-M5 "+a.Request.URL.Scheme+" "+name, func(t *testing.T) {
				for header, want := range map[string]string{
					"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
					"Cross-Origin-Opener-Policy": "same-origin", "X-Frame-Options": "DENY",
				} {
					if got := a.Header.Get(header); got != want {
						t.Errorf("%s: %q, want %q", header, got, want)
					}
				}
				csp := a.Header.Get("Content-Security-Policy")
				for _, want := range []string{
					"default-src 'none'", "style-src 'self'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'",
					"require-trusted-types-for 'script'",
				} {
					if !strings.Contains(csp, want) {
						t.Errorf("CSP lacks %q: %s", want, csp)
					}
				}
				if strings.Contains(csp, "unsafe") || strings.Contains(csp, "data:") {
					t.Errorf("CSP: %s", csp)
				}
				want := "form-action 'self';"
				if name == "for an app" || name == "consent" {
					want = "form-action 'self' https://app.tidepool.example;"
				}
				if !strings.Contains(csp, want) {
					t.Errorf("sec-M6 CSP lacks %q: %s", want, csp)
				}
				if got := a.Header.Get("Strict-Transport-Security"); (got != "") != https {
					t.Errorf("sec-M7 Strict-Transport-Security: %q", got)
				}
				if a.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Error("sec-M8 a page has CORS")
				}
				if strings.Contains(a.body, "<style") || regexp.MustCompile(`\s(style|on[a-z]+)="`).MatchString(a.body) ||
					regexp.MustCompile(`<script[^>]*>[^<]`).MatchString(a.body) {
					t.Errorf("inline style or script\n%s", a.body)
				}
			})
		}
	}
}

func TestCookies(t *testing.T) {
	for _, https := range []bool{false, true} {
		h := open(t, option{https: https})
		b := h.browser(t)
		var all []*http.Cookie
		page := b.get("/register")
		all = append(all, page.Cookies()...)
		page = b.follow(page)
		a := b.submit(page, "/register", "name", "A", "email", "a@example.com", "password", password)
		all = append(all, a.Cookies()...)
		page = b.follow(a)
		all = append(all, b.submit(page, "/verify", "code", h.letter(t).Code).Cookies()...)
		seen := map[string]bool{}
		for _, k := range all {
			t.Run("sec-M1 "+page.Request.URL.Scheme+" "+strings.SplitN(k.Name, "_step_", 2)[0], func(t *testing.T) {
				if !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.Domain != "" ||
					k.Secure != https || strings.HasPrefix(k.Name, "__Host-") != https || len(k.String()) > 4096 {
					t.Errorf("%s", k.Raw)
				}
			})
			name, _, _ := strings.Cut(strings.TrimPrefix(k.Name, "__Host-"), "_step_")
			seen[name] = true
		}
		if !seen["gatehouse_browser"] || !seen["gatehouse"] || !seen["gatehouse_session"] {
			t.Errorf("saw only %v", seen)
		}
		var removed bool
		for _, k := range all {
			removed = removed || strings.Contains(k.Name, "_step_") && k.MaxAge < 0
		}
		if !removed {
			t.Error("the step's cookie stays after the step")
		}
	}
}

func TestBadInput(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	page := b.open("/login")
	good := page.hidden().Encode()
	many := good
	for i := range 20 {
		many += "&f" + string(rune('a'+i)) + "=1"
	}
	for _, c := range []struct {
		name, body, contentType string
		status                  int
	}{
		{"sec-P1 more than 64 KB", good + "&identifier=" + strings.Repeat("a", 64<<10), "", 413},
		{"sec-P1 many fields", many, "", 400},
		{"sec-A4 a field twice", good + "&identifier=a&identifier=b", "", 400},
		{"a token twice", good + "&" + good, "", 400},
		{"a broken escape", good + "&identifier=%zz", "", 400},
		{"a semicolon", good + "&a;b", "", 400},
		{"bytes that are no text", good + "&identifier=%ff%fe", "", 400},
		{"a NUL", good + "&identifier=a%00b", "", 400},
		{"JSON", `{"identifier":"a"}`, "application/json", 400},
		{"a multipart form", "--x--", "multipart/form-data; boundary=x", 400},
		{"no content type", good, " ", 400},
		{"nothing", "", "", 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := b.request("/login", c.body)
			if c.contentType != "" {
				r.Header.Set("Content-Type", strings.TrimSpace(c.contentType))
			}
			b.wants(b.do(r), "error", c.status, `id="error-page"`, `id="error-code"`, `id="error-description"`)
		})
	}
	t.Run("sec-P1 more than 64 KB without a length", func(t *testing.T) {
		r := b.request("/login", "")
		r.Body = io.NopCloser(strings.NewReader(good + "&x=" + strings.Repeat("a", 1<<20)))
		r.ContentLength = -1
		b.wants(b.do(r), "error", 413)
	})
	for path, status := range map[string]int{
		"/login?flow=a&flow=b":                    400,
		"/login?flow=%00":                         400,
		"/login?flow=%ff":                         400,
		"/login?a;b":                              400,
		"/login?flow=" + strings.Repeat("a", 500): 200, // the expired page
		"/nowhere":                                404,
		"/login/":                                 404,
		"/LOGIN":                                  404,
		"/dev":                                    404,
		"/dev/mail":                               404,
		"/dev/app":                                404,
		"/assets/app.css":                         404,
		"/assets/../web.go":                       404,
		"/assets/%2e%2e%2fx":                      404,
	} {
		t.Run("GET "+path[:min(len(path), 30)], func(t *testing.T) {
			b.wants(b.get(path), "error", status)
		})
	}
	t.Run("sec-P2 a URL above 8 KB", func(t *testing.T) {
		for _, path := range []string{"/login", "/authorize", "/nowhere"} {
			b.wants(b.get(path+"?flow="+strings.Repeat("a", 8<<10)), "error", 414)
		}
	})
	for _, method := range []string{http.MethodPut, http.MethodDelete, "BREW"} {
		r := b.request("/login", "")
		r.Method = method
		a := b.wants(b.do(r), "error", 405)
		if got := a.Header.Get("Allow"); !strings.Contains(got, "GET") || !strings.Contains(got, "POST") {
			t.Errorf("%s /login: Allow %q", method, got)
		}
	}
	t.Run("HEAD is GET without a body", func(t *testing.T) {
		r := b.request("/signed-out", "")
		r.Method = http.MethodHead
		if a := b.do(r); a.StatusCode != 200 || a.body != "" || a.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s %q", a.Status, a.body)
		}
	})
}

func TestErrorPages(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	b := h.browser(t)
	for name, want := range map[string]struct {
		path  string
		texts []string
	}{
		"an unknown app":         {"/authorize?client_id=nobody", []string{"We don’t know this app", `id="error-code">invalid_client`, "nobody"}},
		"an unknown redirect":    {authorize(c, "redirect_uri", "https://evil.example/"), []string{"We can’t sign you in to this app", `id="error-code">invalid_request`, "redirect_uri"}},
		"no client":              {"/authorize", []string{"This link doesn’t work", `id="error-description"`}},
		"markup in the client":   {"/authorize?client_id=%3Cscript%3E", []string{"&lt;script&gt;"}},
		"parameters given twice": {"/authorize?client_id=a&client_id=b", []string{"We can’t sign you in to this app", "invalid_request"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.get(want.path)
			b.wants(a, "error", 400, append(want.texts, `id="error-page"`, `id="error-reference"`)...)
			if a.Header.Get("Location") != "" || strings.Contains(a.body, "evil.example") {
				t.Error("leads to an address that is not registered")
			}
		})
	}
}

func TestFaults(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	reference := func(a answer) string {
		t.Helper()
		m := regexp.MustCompile(`id="error-reference">([0-9A-Z-]+) `).FindStringSubmatch(a.body)
		if m == nil {
			t.Fatalf("no reference\n%s", a.body)
		}
		return m[1]
	}
	page := b.open("/login")
	b.wants(b.get("/healthz"), "", 200, "ok")
	b.wants(b.get("/livez"), "", 200, "ok")
	b.wants(b.get("/readyz"), "", 200, "ready")
	h.volatile.Close()
	h.sql.Close()

	t.Run("sec-O4 a fault is 500 with a reference that is logged once, and nothing more", func(t *testing.T) {
		a := b.wants(b.get("/login?flow="+page.hidden().Get("flow")), "error", 500, "Something went wrong on our side")
		if got := strings.Count(h.log.String(), "reference="+reference(a)); got != 1 {
			t.Errorf("the reference is logged %d times\n%s", got, h.log)
		}
		if strings.Contains(a.body, "closed") || strings.Contains(a.body, "storage") {
			t.Errorf("the page tells the cause\n%s", a.body)
		}
	})
	t.Run("sec-O4 records out of reach are 503 with Retry-After", func(t *testing.T) {
		h.mu.Lock()
		h.down = &web.NotReadyError{Missing: []string{"database"}, Err: errors.New("no route to 10.0.0.7")}
		h.mu.Unlock()
		a := b.wants(b.get("/login"), "error", 503, "We’ll be back shortly")
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		form := page.hidden()
		form.Set("identifier", "a@example.com")
		form.Set("password", password)
		b.wants(b.post("/login", form), "error", 503)
		if a := b.wants(b.get("/readyz"), "", 503); a.body != "not ready: database\n" {
			t.Errorf("/readyz says %q", a.body)
		}
		b.wants(b.get("/livez"), "", 200, "ok")
		b.wants(b.get("/healthz"), "", 200, "ok")
		b.wants(b.get("/signed-out"), "signed-out", 200)
	})
	if strings.Contains(h.log.String(), password) {
		t.Error("sec-O1 the log holds a password")
	}
}

func TestPanic(t *testing.T) {
	h := open(t, option{dev: func(*house, *web.Frame) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/dev/late" {
				_, _ = io.WriteString(w, "half")
			}
			panic("boom")
		})
	}})
	b := h.browser(t)
	a := b.wants(b.get("/dev/x"), "error", 500, "Something went wrong on our side")
	if strings.Contains(a.body, "boom") {
		t.Error("the page tells the cause")
	}
	if log := h.log.String(); strings.Count(log, "boom") != 1 || !strings.Contains(log, "web_test.go") {
		t.Errorf("the panic is not logged once with its stack:\n%s", log)
	}
	if a := b.get("/dev/late"); a.body != "half" {
		t.Errorf("after the answer began: %q", a.body)
	}
}

func TestAssets(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	page := b.open("/login")
	paths := regexp.MustCompile(`"(/assets/[^"]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(paths) != 3 {
		t.Fatalf("the page has %d assets, want stylesheet, script and icon", len(paths))
	}
	for _, m := range paths {
		get := func(encoding string) answer {
			r, err := http.NewRequest(http.MethodGet, h.URL+m[1], nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept-Encoding", encoding)
			return b.do(r)
		}
		plain, zipped := get("identity"), get("br, gzip")
		if got := plain.Header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", m[1], got)
		}
		if plain.Header.Get("Vary") != "Accept-Encoding" || plain.Header.Get("Content-Encoding") != "" || zipped.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: %v %v", m[1], plain.Header, zipped.Header)
		}
		z, err := gzip.NewReader(strings.NewReader(zipped.body))
		if err != nil {
			t.Fatal(err)
		}
		unzipped, err := io.ReadAll(z)
		if err != nil || string(unzipped) != plain.body || plain.body == "" {
			t.Errorf("%s: the compressed file is another one: %v", m[1], err)
		}
	}
}

func TestDiscoveryIsServed(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks"} {
		if a := b.get(path); a.StatusCode != 200 || !strings.Contains(a.Header.Get("Content-Type"), "json") {
			t.Errorf("GET %s: %s %s", path, a.Status, a.Header.Get("Content-Type"))
		}
	}
	for _, path := range []string{"/token", "/userinfo"} {
		r := b.request(path, "")
		r.Method = http.MethodDelete
		if a := b.do(r); a.StatusCode != 405 || !strings.Contains(a.Header.Get("Content-Type"), "json") {
			t.Errorf("DELETE %s: %s %s", path, a.Status, a.Header.Get("Content-Type"))
		}
	}
}

func TestDev(t *testing.T) {
	h := open(t, option{dev: withDev(t)})
	h.client(t, storage.Client{ID: "dev-app", Name: "Small app", AuthMethod: storage.AuthNone, RedirectURIs: []string{h.URL + "/dev/app/callback"}})
	b := h.browser(t)
	b.wants(b.open("/dev"), "dev-app", 200, `id="app-signin"`)
	b.wants(b.open("/dev/mail"), "dev-mail", 200, "No letters yet")

	page := b.wants(b.follow(b.post("/dev/app/signin", nil)), "login", 200, "Small app")
	register := regexp.MustCompile(`href="(/register\?flow=[^"]+)"`).FindStringSubmatch(page.body)
	page = b.open(register[1])
	page = b.follow(b.submit(page, "/register", "name", "Asha Gurung", "email", "asha@example.com", "password", password))
	b.wants(b.open("/dev/mail"), "dev-mail", 200, h.letter(t).Code, "asha@example.com", "Enter this code &lt;now&gt;.")
	page = b.later(b.follow(b.submit(page, "/verify", "code", h.letter(t).Code)))
	page = b.wants(page, "consent", 200, `id="remember"`)
	page = b.follow(b.submit(page, "/consent", "decision", "allow", "remember", "1"))
	page = b.wants(page, "dev-app", 200, `id="app-claims"`, `id="app-access-token"`, `id="app-userinfo"`, `id="app-refresh"`,
		"asha@example.com", "at+jwt", "refresh_token")
	b.wants(b.follow(b.post("/dev/app/refresh", nil)), "dev-app", 200, `id="app-refreshes">1<`)
	b.wants(b.follow(b.post("/dev/app/refresh", nil)), "dev-app", 200, `id="app-refreshes">2<`)

	for name, path := range map[string]string{
		"an answer to no question": "/dev/app/callback?code=x&state=y",
		"an empty state":           "/dev/app/callback?code=x&state=",
	} {
		t.Run(name, func(t *testing.T) {
			stranger := h.browser(t)
			stranger.wants(stranger.open(path), "dev-app", 200, `id="app-error"`, `id="app-signin"`)
		})
	}
	t.Run("another site cannot press the buttons", func(t *testing.T) {
		if a := b.post("/dev/app/signout", nil, "Sec-Fetch-Site", "cross-site"); a.StatusCode != 403 {
			t.Errorf("%s", a.Status)
		}
	})
	b.wants(b.follow(b.post("/dev/app/signout", nil)), "dev-app", 200, `id="app-signin"`)
	b.wants(b.follow(b.post("/dev/app/signin", nil)), "dev-app", 200, "asha@example.com") // session and consent are remembered
	t.Run("a reader by another name of the host is sent to the issuer's", func(t *testing.T) {
		r, _ := http.NewRequest(http.MethodGet, h.URL+"/dev/app", nil)
		r.Host = "localhost"
		if a := b.do(r); a.StatusCode != 303 || a.Header.Get("Location") != h.URL+"/dev/app" {
			t.Errorf("%s %s", a.Status, a.Header.Get("Location"))
		}
	})
}

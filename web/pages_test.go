package web_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/storage"
)

// home is where the test's app is.
func home(t *testing.T, a answer) url.Values {
	t.Helper()
	u, err := url.Parse(a.Header.Get("Location"))
	if err != nil || u.Host != "app.tidepool.example" {
		t.Fatalf("not at the app: %s %q\n%s", a.Status, a.Header.Get("Location"), a.body)
	}
	return u.Query()
}

// OIDC Core section 3.1.2.1, prompt=select_account.
func TestSelectAccount(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	h.browser(t).register("bina@example.com")
	b := h.browser(t)
	asha := b.register("asha@example.com")
	h.pass(time.Minute)
	choose := func(prompt string) answer { return b.open(authorize(c, "prompt", prompt)) }

	t.Run("nobody who is signed in is asked to sign in", func(t *testing.T) {
		other := h.browser(t)
		other.wants(other.open(authorize(c, "prompt", "select_account")), "login", 200)
	})
	t.Run("the account signed in goes on without a password", func(t *testing.T) {
		page := b.wants(choose("select_account"), "login-select", 200, "Choose an account", "Asha Gurung", "asha@example.com", "Tidepool Notes")
		b.wants(b.get(page.Request.URL.RequestURI()), "login-select", 200) // a refresh
		page = b.wants(b.follow(b.submit(page, "/login/select", "account", asha.ID)), "consent", 200)
		if got := home(t, b.follow(b.submit(page, "/consent", "decision", "allow"))); !got.Has("code") {
			t.Errorf("the app got %v", got)
		}
	})
	t.Run("another account signs in", func(t *testing.T) {
		page := choose("select_account")
		page = b.wants(b.follow(b.submit(page, "/login/select", "account", "another")), "login", 200, "<title>Sign in – Gatehouse</title>")
		if strings.Contains(page.body, "asha@example.com") || strings.Contains(page.body, "readonly") {
			t.Errorf("still about who is signed in:\n%s", page.body)
		}
		page = b.wants(b.follow(b.submit(page, "/login", "identifier", "bina@example.com", "password", "wrong wrong wrong")), "login", 200,
			`value="bina@example.com"`, `name="another" value="1"`) // still
		page = b.follow(b.submit(page, "/login", "identifier", "bina@example.com", "password", password))
		b.wants(page, "consent", 200, "bina@example.com")
	})
	t.Run("the choice comes before the proof", func(t *testing.T) {
		h.pass(time.Minute)
		page := b.wants(choose("login select_account"), "login-select", 200, "bina@example.com")
		who := page.buttons("account")[0]
		page = b.wants(b.follow(b.submit(page, "/login/select", "account", who)), "login", 200, "Confirm it’s you", "readonly")
		t.Run("and may still be changed", func(t *testing.T) {
			page := b.wants(b.open(page.href(t, "login-another")), "login", 200, "<title>Sign in – Gatehouse</title>")
			page = b.follow(b.submit(page, "/login", "identifier", "asha@example.com", "password", password))
			b.wants(page, "consent", 200, "asha@example.com")
		})
	})
	t.Run("who is signed out after the choice may come back as anybody", func(t *testing.T) {
		b := h.browser(t)
		b.signIn(b.open("/login"), "asha@example.com")
		h.pass(time.Minute)
		page := b.wants(b.open(authorize(c, "prompt", "login select_account")), "login-select", 200)
		page = b.wants(b.follow(b.submit(page, "/login/select", "account", page.buttons("account")[0])), "login", 200)
		b.follow(b.submit(b.open("/account"), "/logout", "scope", "all"))
		page = b.wants(b.open(page.Request.URL.RequestURI()), "login", 200, "<title>Sign in – Gatehouse</title>")
		b.wants(b.signIn(page, "bina@example.com"), "consent", 200, "bina@example.com")
	})
	t.Run("a choice of who is not signed in chooses nobody", func(t *testing.T) {
		h.pass(time.Minute)
		page := choose("select_account")
		b.wants(b.follow(b.submit(page, "/login/select", "account", "0198a3c1-5f10-7c4e-9a55-2f3b8f0f1a01")), "login-select", 200)
		b.wants(b.post("/login/select", page.hidden()), "error", 400)
	})
	t.Run("sec-A14 a choice needs the token of the form, from this site", func(t *testing.T) {
		page := choose("select_account")
		form := page.hidden()
		form.Set("account", page.buttons("account")[0])
		b.wants(b.post("/login/select", form, "Sec-Fetch-Site", "cross-site"), "error", 403)
		b.wants(b.get("/login/select?"+form.Encode()), "login-select", 200) // a GET chooses nothing
		form.Set("csrf_token", h.browser(t).open("/login").hidden().Get("csrf_token"))
		b.wants(b.post("/login/select", form), "error", 403)
		b.wants(b.open("/authorize?flow="+form.Get("flow")), "login-select", 200)
	})
}

func TestConfirmOrAnother(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	b := h.browser(t)
	asha := b.register("asha@example.com")
	h.browser(t).register("bina@example.com")
	h.pass(time.Minute)
	page := b.wants(b.open(authorize(c, "prompt", "login", "login_hint", "someone@example.com")), "login", 200, "Confirm it’s you",
		"For your security, sign in again to continue to Tidepool Notes.", `value="asha@example.com"`, " readonly")
	other := b.wants(b.open(page.href(t, "login-another")), "login", 200, "<title>Sign in – Gatehouse</title>", `value="someone@example.com"`)
	other = b.follow(b.submit(other, "/login", "identifier", "bina@example.com", "password", password))
	other = b.wants(other, "consent", 200, "bina@example.com")
	t.Run("consent leads to another account, too", func(t *testing.T) {
		page := b.wants(b.open(other.href(t, "consent-another")), "login", 200)
		page = b.follow(b.submit(page, "/login", "identifier", "asha@example.com", "password", password))
		if page := b.wants(page, "consent", 200); page.hidden().Get("account") != asha.ID {
			t.Errorf("asks %q", page.hidden().Get("account"))
		}
	})
}

// Optional scopes are granted to who ticks them, and to nobody else.
func TestOptionalScopes(t *testing.T) {
	h := open(t, option{})
	c := app
	c.Scopes = []string{"openid", "email", "phone", "address"}
	c = h.client(t, c)
	for _, try := range []struct {
		name   string
		ticked []string
		want   string
	}{
		{"nothing is ticked", nil, "openid email"},
		{"one is", []string{"phone"}, "openid email phone"},
		{"both are", []string{"phone", "address"}, "openid email phone address"},
		{"what was not asked is no choice", []string{"profile", "email"}, "openid email"},
	} {
		t.Run(try.name, func(t *testing.T) {
			b := h.browser(t)
			u := b.register(strings.ReplaceAll(try.name, " ", "") + "@example.com")
			page := b.wants(b.open(authorize(c, "scope", "openid email phone address")), "consent", 200,
				`<input type="checkbox" id="scope_phone" name="scope" value="phone">`, "Optional", "See your postal address")
			form := page.hidden()
			form["scope"] = try.ticked
			form.Set("decision", "allow")
			form.Set("remember", "1")
			if got := home(t, b.follow(b.post("/consent", form))); !got.Has("code") {
				t.Fatalf("the app got %v", got)
			}
			kept, err := h.sql.Consent(t.Context(), u.ID, c.ID)
			if err != nil || strings.Join(kept.Scopes, " ") != try.want {
				t.Errorf("remembered %v, %v; want %s", kept.Scopes, err, try.want)
			}
		})
	}
	t.Run("no other field of the form may be there twice", func(t *testing.T) {
		b := h.browser(t)
		b.register("twice@example.com")
		form := b.wants(b.open(authorize(c)), "consent", 200).hidden()
		form["decision"] = []string{"deny", "allow"}
		b.wants(b.post("/consent", form), "error", 400)
	})
}

// What an app is registered with is shown before anybody signs in to it.
func TestAppLinks(t *testing.T) {
	h := open(t, option{})
	links := func(id, policy, terms string) storage.Client {
		c := app
		c.ID, c.Metadata.PolicyURI, c.Metadata.TermsURI = id, policy, terms
		return h.client(t, c)
	}
	const policy, terms = "https://tidepool.example/privacy", "https://tidepool.example/terms"
	b := h.browser(t)
	b.register("asha@example.com")
	for _, try := range []struct {
		client storage.Client
		want   []string
	}{
		{links("both", policy, terms), []string{policy, terms}},
		{links("policy", policy, ""), []string{policy}},
		{links("terms", "", terms), []string{terms}},
		{links("neither", "", ""), nil},
		{links("script", "javascript:alert(1)", "/login"), nil},
		{links("script-with-a-host", "javascript://tidepool.example/%0aalert(1)", "data:text/html,x"), nil},
	} {
		t.Run(try.client.ID, func(t *testing.T) {
			for name, page := range map[string]answer{"login": h.browser(t).open(authorize(try.client)), "consent": b.open(authorize(try.client))} {
				b.wants(page, name, 200)
				var got []string
				for _, l := range []string{policy, terms, "javascript:", `href="/login"`} {
					if strings.Contains(page.body, l) {
						got = append(got, l)
					}
				}
				if !slices.Equal(got, try.want) {
					t.Errorf("%s links to %v, want %v", name, got, try.want)
				}
			}
		})
	}
}

// sec-A12: whoever registered themselves is no friend of ours.
func TestUnreviewedApp(t *testing.T) {
	h := open(t, option{})
	c := app
	c.Registration = &storage.DynamicRegistration{TokenHash: make([]byte, 32)}
	c = h.client(t, c)
	b := h.browser(t)
	u := b.register("asha@example.com")
	for range 2 { // what is agreed to is not remembered
		page := b.wants(b.open(authorize(c)), "consent", 200, "Gatehouse hasn’t reviewed this app.",
			"Only continue if you trust app.tidepool.example", "You’ll go back to app.tidepool.example")
		if strings.Contains(page.body, `id="remember"`) {
			t.Error("offers to remember")
		}
		if got := home(t, b.follow(b.submit(page, "/consent", "decision", "allow", "remember", "1"))); !got.Has("code") {
			t.Fatalf("the app got %v", got)
		}
	}
	if _, err := h.sql.Consent(t.Context(), u.ID, c.ID); err == nil {
		t.Error("remembered")
	}
	// Also what is remembered from before it was said that nothing is.
	err := h.sql.PutConsent(t.Context(), storage.Consent{UserID: u.ID, ClientID: c.ID, Scopes: c.Scopes, GrantedAt: h.now()})
	if err != nil {
		t.Fatal(err)
	}
	b.wants(b.open(authorize(c)), "consent", 200)
}

func TestProtectNewAccount(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	start := func(t *testing.T, email string) (*browser, answer) {
		b := h.browser(t)
		page := b.open(authorize(c, "prompt", "create"))
		page = b.follow(b.submit(page, "/register", "name", "Asha Gurung", "email", email, "password", password))
		page = b.follow(b.submit(page, "/verify", "code", h.letter(t).Code))
		return b, b.wants(page, "protect", 200, "Your account is ready", "Add a second way to prove it’s you.", "Step 3 of 3")
	}
	t.Run("two-step sign-in is set up, and then comes the app", func(t *testing.T) {
		b, page := start(t, "asha@example.com")
		enrol := b.wants(b.follow(b.submit(page, "/register/protect")), "two-step-app", 200)
		if !strings.Contains(enrol.body, `href="/register/protect?flow=`+page.hidden().Get("flow")+`"`) {
			t.Errorf("Cancel does not lead back:\n%s", enrol.body)
		}
		phone := b.scan(b.secret(enrol))
		codes := b.wants(b.follow(b.submit(enrol, "/account/two-step/app", "code", phone.code())), "recovery-codes", 200)
		b.wants(b.follow(b.submit(codes, "/account/two-step/recovery", "saved", "1")), "consent", 200)
		t.Run("and going back does not ask again", func(t *testing.T) {
			b.wants(b.open(page.Request.URL.RequestURI()), "consent", 200)
		})
	})
	t.Run("not now", func(t *testing.T) {
		b, page := start(t, "bina@example.com")
		b.wants(b.later(page), "consent", 200)
	})
	t.Run("an account that exists is not asked at sign-in", func(t *testing.T) {
		b := h.browser(t)
		b.wants(b.signIn(b.open(authorize(c)), "bina@example.com"), "consent", 200)
	})
	t.Run("sec-A14 the form is from here", func(t *testing.T) {
		b, page := start(t, "chen@example.com")
		form := page.hidden()
		b.wants(b.post("/register/protect", form, "Sec-Fetch-Site", "cross-site"), "error", 403)
		form.Set("csrf_token", h.browser(t).open("/login").hidden().Get("csrf_token"))
		b.wants(b.post("/register/protect", form), "error", 403)
	})
	t.Run("nobody signed in sees it", func(t *testing.T) {
		b := h.browser(t)
		b.wants(b.open("/register/protect"), "login", 200)
	})
}

func TestCookiesAreOff(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	// open follows redirects as a browser does that drops every cookie.
	drop := func(t *testing.T, path string) answer {
		t.Helper()
		for range 8 {
			b := h.browser(t) // which has none
			a := b.get(path)
			if a.StatusCode != http.StatusSeeOther {
				return a
			}
			path = strings.TrimPrefix(a.Header.Get("Location"), h.URL)
		}
		t.Fatal("redirects for ever")
		return answer{}
	}
	for _, path := range []string{"/login", "/register", "/reset", authorize(c)} {
		b := h.browser(t)
		b.wants(drop(t, path), "error", 200, "Turn on cookies to sign in", "We use one cookie to keep this sign-in safe. It isn’t used for tracking.")
	}
	t.Run("another browser is told something else", func(t *testing.T) {
		flow := h.browser(t).open("/login").hidden().Get("flow")
		b := h.browser(t)
		b.wants(b.open("/login?flow="+flow), "error", 200, "That took a while, so we started again", `href="/login"`)
	})
}

func TestTheOneDomain(t *testing.T) {
	for want, domains := range map[string][]string{
		"Use your @meridian.example email address": {"meridian.example"},
		"Use an email address of an organisation":  {"meridian.example", "kiln.example"},
	} {
		h := open(t, option{domains: domains})
		b := h.browser(t)
		page := b.open("/register")
		page = b.follow(b.submit(page, "/register", "name", "A", "email", "a@example.com", "password", password))
		b.wants(page, "register", 200, `<a href="#email">`+want, `</span>`+want)
	}
}

func TestVerifyElsewhere(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	page := b.open("/register")
	page = b.follow(b.submit(page, "/register", "name", "A", "email", "a@example.com", "password", password))
	other := h.browser(t)
	other.wants(other.open(page.Request.URL.RequestURI()), "error", 200,
		"Start again on the device where you created the account, or sign in and we’ll send a new code.")
}

func TestLostAccess(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	page := b.wants(b.open("/help/lost-access"), "lost-access", 200, "If you can’t sign in", `href="/reset"`)
	if strings.Contains(page.body, "<form") {
		t.Error("asks for something")
	}
}

// PAGES 0.2: two tabs are two flows.
func TestTwoTabs(t *testing.T) {
	h := open(t, option{})
	h.browser(t).register("asha@example.com")
	c := h.client(t, app)
	b := h.browser(t)
	first := b.wants(b.open(authorize(c, "state", "first")), "login", 200)
	second := b.wants(b.open("/register"), "register", 200)

	b.follow(b.submit(first, "/login", "identifier", "asha@example.com", "password", "not the password"))
	second = b.follow(b.submit(second, "/register", "name", "Bina", "email", "", "password", ""))
	second = b.wants(second, "register", 200, `value="Bina"`)
	if strings.Contains(second.body, "asha@example.com") {
		t.Error("one tab shows what was typed in the other")
	}
	b.wants(b.get(first.Request.URL.RequestURI()), "login", 200, `value="asha@example.com"`, "Your email or password is incorrect")
	second = b.wants(b.follow(b.submit(second, "/register", "name", "Bina", "email", "bina@example.com", "password", password)), "verify", 200)

	first = b.wants(b.signIn(first, "asha@example.com"), "consent", 200)
	b.wants(b.get(second.Request.URL.RequestURI()), "verify", 200, "bina@example.com") // still at its step
	if got := home(t, b.follow(b.submit(first, "/consent", "decision", "allow"))); got.Get("state") != "first" || !got.Has("code") {
		t.Errorf("the app got %v", got)
	}
}

// sec-G5: nothing that Back shows is of an account.
func TestBackAfterSignOut(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	b.register("asha@example.com")
	var pages []string
	for _, path := range []string{"/account", "/account/devices", "/account/apps", "/account/two-step", "/account/password", "/logout"} {
		a := b.open(path)
		if got := a.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
		pages = append(pages, a.Request.URL.RequestURI())
	}
	b.follow(b.submit(b.open("/account"), "/logout", "scope", "all"))
	for _, path := range pages {
		a := b.open(path)
		if a.page() == "logout" || strings.HasPrefix(a.page(), "account") || strings.Contains(a.body, "asha@example.com") {
			t.Errorf("%s still shows %q:\n%s", path, a.page(), a.body)
		}
	}
}

func TestSignOutNamesTheApps(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	b := h.browser(t)
	u := b.register("asha@example.com")
	if page := b.wants(b.open("/logout"), "logout", 200); strings.Contains(page.body, `id="logout-also"`) {
		t.Error("names apps when there are none")
	}
	sessions, err := h.sql.ListSessions(t.Context(), u.ID, h.now())
	if err != nil || len(sessions) != 1 {
		t.Fatalf("%d sessions, %v", len(sessions), err)
	}
	for id, scopes := range map[string][]string{"ends": {"openid"}, "stays": {"openid", "offline_access"}} {
		client := c
		if id == "stays" {
			client = h.client(t, storage.Client{ID: "kiln", Name: "Kiln Studio", RedirectURIs: []string{"https://kiln.example/cb"}})
		}
		grant(t, h, client, u, sessions[0], scopes)
	}
	page := b.wants(b.open("/logout"), "logout", 200, "You’ll also be signed out of: Tidepool Notes.")
	if strings.Contains(page.text(), "Kiln") {
		t.Error("names an app that stays connected")
	}
}

// grant is what the app got in that session.
func grant(t *testing.T, h *house, c storage.Client, u storage.User, session storage.Session, scopes []string) {
	t.Helper()
	now := h.now()
	err := h.sql.CreateGrant(t.Context(), storage.Grant{
		ID: uuid.NewString(), ClientID: c.ID, UserID: u.ID, UserEpoch: session.UserEpoch, SessionID: session.ID, Scopes: scopes,
		AuthTime: now, AMR: []string{"pwd"}, Generation: 1, CreatedAt: now, ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// href is where the link of that id leads.
func (a answer) href(t *testing.T, id string) string {
	t.Helper()
	m := regexp.MustCompile(`id="` + id + `" href="([^"]+)"|href="([^"]+)" id="` + id + `"`).FindStringSubmatch(a.body)
	if m == nil {
		m = regexp.MustCompile(`id="` + id + `"[^>]* href="([^"]+)"`).FindStringSubmatch(a.body)
	}
	if m == nil {
		t.Fatalf("no link %q:\n%s", id, a.body)
	}
	return html.UnescapeString(m[1])
}

// buttons are the values of the buttons of that name.
func (a answer) buttons(name string) []string {
	var values []string
	for _, m := range regexp.MustCompile(`<button [^>]*name="`+name+`" value="([^"]*)"`).FindAllStringSubmatch(a.body, -1) {
		values = append(values, m[1])
	}
	return values
}

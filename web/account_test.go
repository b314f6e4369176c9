package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
	android = "Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Mobile Safari/537.36"
)

// An agent is what a browser calls itself.
type agent struct {
	name string
	http.RoundTripper
}

func (a agent) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("User-Agent", a.name)
	return a.RoundTripper.RoundTrip(r)
}

// called gives the browser a name.
func (b *browser) called(name string) *browser {
	b.http.Transport = agent{name, b.http.Transport}
	return b
}

// stale makes every sign-in too old for what asks for a fresh one.
func (h *house) stale() { h.pass(5*time.Minute + time.Second) }

const another = "nine quiet otters swim"

func TestAccountOverview(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t).called(firefox)
	u := b.register("asha@example.com")
	a := b.wants(b.open("/account"), "account", 200, "Hello, Asha Gurung", "asha@example.com",
		"One thing would make your account stronger", "Firefox on Linux", "This device", "No apps yet.", "Created this account",
		"Confirmed the email address", `aria-current="page"`, "Account menu for", `id="account-signout"`)
	if n := strings.Count(a.body, "<time "); n > 5 {
		t.Errorf("%d events", n)
	}
	for _, section := range []string{"/account/password", "/account/devices", "/account/apps", "/account/activity"} {
		if page := b.open(section); strings.Count(page.body, `aria-current="page"`) != 1 ||
			!strings.Contains(page.body, `<a href="`+section+`" aria-current="page">`) {
			t.Errorf("%s: the navigation does not say where one is\n%s", section, page.body)
		}
	}

	p := h.twoStep(t, u) // which keeps no session
	page := b.signIn(b.open("/login"), "asha@example.com")
	b.wants(b.follow(b.submit(page, "/login/code", "code", p.code())), "account", 200, "Your account is protected",
		"10 left", "Authenticator app, added", "Turned on two-step sign-in", "Signed in with password and authenticator app")
	for range 8 {
		page := h.browser(t)
		at := page.signIn(page.open("/login"), "asha@example.com")
		at = page.open("/login/recovery?flow=" + at.hidden().Get("flow"))
		page.follow(page.submit(at, "/login/recovery", "recovery_code", p.recovery[0]))
		p.recovery = p.recovery[1:]
	}
	b.wants(b.open("/account"), "account", 200, "Your account needs attention", "2 left", "Make new ones before you run out")

	t.Run("a message that waited in a flow that is over is left behind", func(t *testing.T) {
		b.wants(b.open("/account?flow=nothing"), "account", 200)
	})
	t.Run("HEAD has no body", func(t *testing.T) {
		r, _ := http.NewRequest(http.MethodHead, h.URL+"/account", nil)
		if a := b.do(r); a.StatusCode != http.StatusOK || a.body != "" {
			t.Errorf("%s %q", a.Status, a.body)
		}
	})
}

// Every page of an account leads to sign-in first, and back to itself.
func TestAccountSignInFirst(t *testing.T) {
	h := open(t, option{})
	h.browser(t).register("asha@example.com")
	for _, path := range []string{
		"/account", "/account/password", "/account/devices", "/account/apps", "/account/activity",
		"/account/activity?before=" + uuid.NewString(),
	} {
		t.Run("sec-M9 "+path, func(t *testing.T) {
			b := h.browser(t)
			page := b.wants(b.open(path), "login", 200)
			a := b.submit(page, "/login", "identifier", "asha@example.com", "password", password)
			if got := a.Header.Get("Location"); got != path {
				t.Errorf("back at %q, want %q", got, path)
			}
			name := "account" + strings.ReplaceAll(strings.TrimPrefix(strings.SplitN(path, "?", 2)[0], "/account"), "/", "-")
			b.wants(b.follow(a), name, 200)
		})
	}
	t.Run("sec-M9 no parameter says where to go on", func(t *testing.T) {
		b := h.browser(t)
		for _, to := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "/account/../..//evil.example"} {
			q := url.Values{"return": {to}, "return_to": {to}, "next": {to}, "redirect_uri": {to}}
			page := b.wants(b.open("/login?"+q.Encode()), "login", 200)
			a := b.submit(page, "/login", "identifier", "asha@example.com", "password", password, "return", to, "return_to", to, "next", to)
			if got := a.Header.Get("Location"); got != "/account" {
				t.Errorf("%q leads to %q", to, got)
			}
			b.follow(b.submit(b.open("/account"), "/logout", "scope", "all"))
		}
	})
	t.Run("a password changer finds the page", func(t *testing.T) {
		b := h.browser(t)
		a := b.get("/.well-known/change-password")
		if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/account/password" {
			t.Errorf("%s to %q", a.Status, a.Header.Get("Location"))
		}
	})
	t.Run("a form posted after the session is over leads to sign-in and back to the page", func(t *testing.T) {
		b := h.browser(t)
		b.signIn(b.open("/account/password"), "asha@example.com")
		page := b.open("/account/password")
		b.follow(b.submit(b.open("/account"), "/logout", "scope", "all"))
		a := b.wants(b.follow(b.submit(page, "/account/password", "current_password", password, "password", another)), "login", 200)
		b.wants(b.signIn(a, "asha@example.com"), "account-password", 200)
	})
}

func TestChangePasswordPage(t *testing.T) {
	h := open(t, option{})
	b, elsewhere := h.browser(t), h.browser(t)
	b.register("asha@example.com")
	elsewhere.wants(elsewhere.signIn(elsewhere.open("/login"), "asha@example.com"), "account", 200)
	page := b.wants(b.open("/account/password"), "account-password", 200, "Change your password", `id="password-form"`,
		`name="username" value="asha@example.com" autocomplete="username"`, `id="current_password" name="current_password" autocomplete="current-password"`,
		`id="password" name="password" autocomplete="new-password"`, `id="password-submit"`)
	for _, r := range []struct {
		name, current, password string
		want                    []string
	}{
		{"nothing", "", "", []string{"Enter your current password", "Choose a password", `href="#current_password"`, `href="#password"`}},
		{"a short one", password, "short", []string{"Choose a password with 12 characters or more", `id="password-error"`}},
		{"the same", password, password, []string{"Choose a password you haven’t used before"}},
		{"a wrong current one", "not the right password", another, []string{"Your current password is incorrect", `id="current_password-error"`}},
	} {
		t.Run(r.name, func(t *testing.T) {
			a := b.wants(b.follow(b.submit(page, "/account/password", "current_password", r.current, "password", r.password)),
				"account-password", 200, append(r.want, "<title>Error: Change your password – Gatehouse</title>")...)
			if r.password != "" && strings.Contains(a.body, r.password) {
				t.Error("the page repeats the password")
			}
			b.wants(b.open("/login?flow="+page.hidden().Get("flow")), "account-password", 200) // where the flow belongs
		})
	}
	t.Run("the right one: here it goes on, elsewhere it is over", func(t *testing.T) {
		a := b.submit(page, "/account/password", "current_password", password, "password", another)
		b.wants(b.follow(a), "account", 200, "Your password has been changed.", `role="status"`, "Changed the password")
		b.wants(b.open("/account"), "account", 200)
		elsewhere.wants(elsewhere.open("/account"), "login", 200)
		page := elsewhere.open("/login")
		elsewhere.wants(elsewhere.follow(elsewhere.submit(page, "/login", "identifier", "asha@example.com", "password", another)), "account", 200)
	})
	t.Run("too many wrong ones are told, and the time does not move", func(t *testing.T) {
		page := b.open("/account/password")
		var a answer
		for n := range 8 {
			a = b.follow(b.submit(page, "/account/password", "current_password", fmt.Sprint("a wrong password ", n), "password", "eleven brave herons sing"))
			if a.page() == "error" {
				break
			}
			b.wants(a, "account-password", 200)
		}
		b.wants(a, "error", 429, "changing the password is paused", "Go to your account", "Your password hasn’t changed.")
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		again := b.wants(b.get(a.Request.URL.RequestURI()), "error", 429)
		if a.Header.Get("Retry-After") < again.Header.Get("Retry-After") {
			t.Error("the time moved")
		}
		a = b.follow(b.submit(page, "/account/password", "current_password", another, "password", "eleven brave herons sing"))
		b.wants(a, "error", 429)
		b.wants(b.open("/account"), "account", 200) // nobody is signed out by it
	})
}

func TestConfirmItsYou(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	u := b.register("asha@example.com")
	h.browser(t).register("bela@example.com")
	sid := func() string {
		t.Helper()
		sessions, err := h.sql.ListSessions(t.Context(), u.ID, h.now())
		if err != nil || len(sessions) == 0 {
			t.Fatal(sessions, err)
		}
		return sessions[0].ID
	}
	first := sid()

	t.Run("a sign-in that is fresh is enough", func(t *testing.T) {
		b.wants(b.open("/account/password"), "account-password", 200)
		b.wants(b.open("/account/confirm"), "account", 200)
	})
	h.stale()
	t.Run("reading asks for nothing", func(t *testing.T) {
		for _, path := range []string{"/account", "/account/devices", "/account/apps", "/account/activity"} {
			if a := b.open(path); a.page() == "account-confirm" || a.page() == "login" {
				t.Errorf("%s leads to %s", path, a.page())
			}
		}
	})
	t.Run("a stale one is confirmed, and leads to the very page", func(t *testing.T) {
		page := b.wants(b.open("/account/password"), "account-confirm", 200, "Confirm it’s you", `id="confirm-form"`,
			`name="username" value="asha@example.com"`, `autocomplete="current-password"`, "You’re signed in as asha@example.com.")
		page = b.wants(b.follow(b.submit(page, "/account/confirm")), "account-confirm", 200, "Enter your password", `id="password-error"`)
		page = b.wants(b.follow(b.submit(page, "/account/confirm", "password", "not the right one")), "account-confirm", 200, "Your password is incorrect")
		b.wants(b.follow(b.submit(page, "/account/confirm", "password", password)), "account-password", 200)
		if got := sid(); got != first {
			t.Errorf("the session is %s now and was %s", got, first)
		}
		b.wants(b.open(page.Request.URL.RequestURI()), "account-password", 200) // Back, after it
	})
	t.Run("a form that was open too long changes nothing, and comes back to be sent again", func(t *testing.T) {
		page := b.open("/account/password")
		flow := page.hidden().Get("flow")
		h.stale()
		confirm := b.wants(b.follow(b.submit(page, "/account/password", "current_password", password, "password", another)), "account-confirm", 200)
		a := b.wants(b.follow(b.submit(confirm, "/account/confirm", "password", password)), "account-password", 200,
			"Nothing has changed yet", `role="status"`)
		if a.hidden().Get("flow") != flow {
			t.Error("another page than the one that was posted")
		}
	})
	t.Run("somebody else's password is no proof", func(t *testing.T) {
		h.stale()
		page := b.open("/account/password")
		form := page.hidden()
		form.Set("identifier", "bela@example.com")
		form.Set("password", another)
		b.wants(b.follow(b.post("/account/confirm", form)), "account-confirm", 200, "Your password is incorrect")

		// The flow leads nobody else in by the sign-in page either: another tab
		// has signed out.
		token := b.open("/account").hidden()
		token.Set("scope", "all")
		b.post("/logout", token)
		login := b.wants(b.open("/login?flow="+page.hidden().Get("flow")), "login", 200)
		a := b.post("/login", url.Values{
			"csrf_token": {login.hidden().Get("csrf_token")}, "flow": {login.hidden().Get("flow")},
			"identifier": {"bela@example.com"}, "password": {password},
		})
		b.wants(a, "error", 403)
		b.wants(b.open("/account"), "login", 200)
		b.wants(b.signIn(login, "asha@example.com"), "account-password", 200)
	})
	t.Run("with two steps both are asked, and who was remembered still is", func(t *testing.T) {
		h.pass(time.Hour)
		p := h.twoStep(t, u)
		b := h.browser(t)
		page := b.open("/login")
		page = b.follow(b.submit(page, "/login", "identifier", u.Email, "password", password, "remember", "1"))
		b.wants(b.follow(b.submit(page, "/login/code", "code", p.code())), "account", 200)
		h.stale()
		page = b.open("/account/password")
		path := page.Request.URL.RequestURI()
		page = b.wants(b.follow(b.submit(page, "/account/confirm", "password", password)), "code", 200, "Signing in as asha@example.com")
		b.wants(b.open(path), "account-confirm", 200) // the password alone is not enough
		a := b.submit(page, "/login/code", "code", p.code())
		b.wants(b.follow(a), "account-password", 200)
		if !slices.ContainsFunc(a.Cookies(), func(c *http.Cookie) bool { return c.Name == "gatehouse_session" && c.MaxAge > 24*60*60 }) {
			t.Errorf("the session ends with the browser: %v", a.Cookies())
		}
	})
	t.Run("too many wrong passwords wait as at sign-in, and the page is there after it", func(t *testing.T) {
		h.pass(time.Hour)
		b := h.browser(t)
		bela := b.signIn(b.open("/login"), "bela@example.com")
		b.wants(bela, "account", 200)
		h.stale()
		page := b.open("/account/password")
		var a answer
		for range 12 {
			if a = b.follow(b.submit(page, "/account/confirm", "password", "not the right one")); a.page() == "error" {
				break
			}
		}
		b.wants(a, "error", 429, "Go to your account")
		h.pass(6 * time.Minute)
		b.wants(b.open(a.Request.URL.RequestURI()), "account-confirm", 200)
	})
}

func TestDevices(t *testing.T) {
	h := open(t, option{})
	b, phone, other := h.browser(t).called(firefox), h.browser(t).called(android), h.browser(t)
	u := b.register("asha@example.com")
	bela := h.browser(t)
	stranger := bela.register("bela@example.com")
	for _, x := range []*browser{phone, other} {
		x.wants(x.signIn(x.open("/login"), "asha@example.com"), "account", 200)
	}
	page := b.wants(b.open("/account/devices"), "account-devices", 200, "Firefox on Linux", "This device", "Chrome on Android",
		"Unknown device", "Signed in today at", "with password", "IP address", "127.0.0.1", firefox, "Sign out of all other devices")
	if !strings.HasPrefix(page.text()[strings.Index(page.text(), "Firefox on Linux"):], "Firefox on Linux This device") {
		t.Error("this device is not the first")
	}
	sessions, err := h.sql.ListSessions(t.Context(), u.ID, h.now())
	if err != nil || len(sessions) != 3 {
		t.Fatal(sessions, err)
	}
	for _, s := range sessions {
		if strings.Contains(page.body, string(s.SecretHash)) || strings.Contains(page.body, fmt.Sprintf("%x", s.SecretHash)) {
			t.Error("the page shows a secret's hash")
		}
	}
	if rows := strings.Count(page.body, `name="session"`); rows != 2 {
		t.Errorf("%d rows can be signed out, want 2: this one has the menu", rows)
	}
	theirs, err := h.sql.ListSessions(t.Context(), stranger.ID, h.now())
	if err != nil || len(theirs) != 1 {
		t.Fatal(theirs, err)
	}
	for name, id := range map[string]string{
		"sec-A14 another person's": theirs[0].ID, "an unknown one": uuid.NewString(), "nonsense": "' or 1=1", "none": "",
	} {
		t.Run(name+" is not found", func(t *testing.T) {
			form := page.hidden()
			form.Set("session", id)
			b.wants(b.post("/account/devices", form), "error", 404, "Page not found")
			bela.wants(bela.open("/account"), "account", 200)
		})
	}
	find := func(userAgent string) string {
		i := slices.IndexFunc(sessions, func(s storage.Session) bool { return s.UserAgent == userAgent })
		return sessions[i].ID
	}
	t.Run("one is signed out, the others are not", func(t *testing.T) {
		a := b.follow(b.submit(page, "/account/devices", "session", find(android)))
		b.wants(a, "account-devices", 200, "Chrome on Android has been signed out.", `role="status"`)
		phone.wants(phone.open("/account"), "login", 200)
		other.wants(other.open("/account"), "account", 200)
		form := page.hidden()
		form.Set("session", find(android))
		b.wants(b.post("/account/devices", form), "error", 404) // twice
	})
	t.Run("all others are signed out after a question", func(t *testing.T) {
		phone.signIn(phone.open("/login"), "asha@example.com")
		ask := b.wants(b.open("/account/devices/others"), "account-devices-others", 200, "Sign out of 2 other devices?", `id="devices-others-submit"`)
		other.wants(other.open("/account"), "account", 200) // not by looking
		b.wants(b.follow(b.submit(ask, "/account/devices/others")), "account-devices", 200, "All other devices have been signed out.", "This device")
		phone.wants(phone.open("/account"), "login", 200)
		other.wants(other.open("/account"), "login", 200)
		b.wants(b.open("/account/devices/others"), "account-devices", 200) // there are none
		b.wants(b.open("/account"), "account", 200)
	})
	t.Run("a page that was open too long changes nothing, says so, and leads to itself", func(t *testing.T) {
		other.signIn(other.open("/login"), "asha@example.com")
		page := b.open("/account/devices")
		sessions, err := h.sql.ListSessions(t.Context(), u.ID, h.now())
		if err != nil || len(sessions) != 2 {
			t.Fatal(sessions, err)
		}
		h.pass(31 * time.Minute)
		a := b.follow(b.submit(page, "/account/devices", "session", sessions[0].ID))
		b.wants(a, "error", 200, "That took a while", `id="error-action" href="/account/devices"`)
		b.wants(b.open("/account/devices"), "account-devices", 200)
		other.wants(other.open("/account"), "account", 200)
	})
	t.Run("this one is signed out as by the menu", func(t *testing.T) {
		b.wants(b.follow(b.submit(b.open("/account/devices"), "/account/devices", "session", find(firefox))), "signed-out", 200)
		other.wants(other.open("/account"), "account", 200)
		b.wants(b.open("/account"), "login", 200)
	})
}

func TestApps(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	b := h.browser(t)
	u := b.register("asha@example.com")
	b.wants(b.open("/account/apps"), "account-apps", 200, "No apps yet. When you sign in to an app with Gatehouse, it will be listed here.")
	b.wants(b.open("/account/apps/"+c.ID), "error", 404)
	consent := b.open(authorize(c))
	b.submit(consent, "/consent", "decision", "allow", "remember", "1")
	page := b.wants(b.open("/account/apps"), "account-apps", 200, c.Name, "See your name and profile", "Allowed")
	b.wants(b.open("/account"), "account", 200, c.Name)
	if !strings.Contains(page.body, `href="/account/apps/`+c.ID+`/remove"`) {
		t.Error("no way to remove it")
	}
	b.wants(b.open("/account/apps/"+c.ID), "account-apps-one", 200, c.Name, "See your email address", "asha@example.com", `id="app-remove"`)
	ask := b.wants(b.open("/account/apps/"+c.ID+"/remove"), "account-apps-remove", 200, "Remove "+c.Name+"?",
		"It may keep what it already has.", `id="app-remove-submit"`)
	if _, err := h.sql.Consent(t.Context(), u.ID, c.ID); err != nil {
		t.Error("looking removed it:", err)
	}
	a := b.follow(b.submit(ask, "/account/apps/"+c.ID+"/remove"))
	b.wants(a, "account-apps", 200, c.Name+" no longer has access.", `role="status"`, "No apps yet.")
	b.wants(b.open("/account/activity"), "account-activity", 200, "Removed the access of "+c.Name)
	b.wants(b.post("/account/apps/"+c.ID+"/remove", ask.hidden()), "error", 404)
	b.wants(b.get("/account/apps/nobody/remove"), "error", 404)
	b.wants(b.open(authorize(c)), "consent", 200)
}

func TestActivity(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t).called(firefox)
	u := b.register("asha@example.com")
	wrong := h.browser(t).called(android)
	wrong.submit(wrong.open("/login"), "/login", "identifier", u.Email, "password", "not the right one")
	bela := h.browser(t).register("bela@example.com")
	add := func(e storage.Event) {
		t.Helper()
		id, err := uuid.NewV7()
		if err != nil {
			t.Fatal(err)
		}
		e.ID, e.UserID = id.String(), u.ID
		if e.At.IsZero() {
			e.At = h.now()
		}
		if err := h.sql.AddEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	add(storage.Event{Kind: "user.<b>new</b>", Outcome: "ok"})
	add(storage.Event{Kind: "user.sign_in", Outcome: "never_heard_of"})
	a := b.wants(b.open("/account/activity"), "account-activity", 200, "Created this account",
		"Someone tried to sign in with a wrong password", "Chrome on Android", android, "127.0.0.1",
		"Something else happened: user.<b>new</b>", "A sign-in was refused", "Change your password")
	if strings.Contains(a.body, "<b>new</b>") {
		t.Error("unescaped")
	}
	if strings.Contains(a.body, bela.ID) || strings.Contains(a.text(), "Bela") {
		t.Error("another person's")
	}
	t.Run("page by page, each event once", func(t *testing.T) {
		for n := range 60 {
			add(storage.Event{Kind: fmt.Sprintf("test.%02d.", n), Outcome: "ok"})
		}
		var seen []string
		path := "/account/activity"
		pages := 0
		for path != "" && pages < 10 {
			a := b.wants(b.open(path), "account-activity", 200)
			for n := range 60 {
				if kind := fmt.Sprintf("test.%02d.", n); strings.Contains(a.body, kind) {
					seen = append(seen, kind)
				}
			}
			path, pages = "", pages+1
			if _, after, ok := strings.Cut(a.body, `id="activity-older" href="`); ok {
				path, _, _ = strings.Cut(after, `"`)
			}
		}
		slices.Sort(seen)
		if len(seen) != 60 || len(slices.Compact(seen)) != 60 || pages != 3 {
			t.Errorf("%d events on %d pages", len(seen), pages)
		}
	})
	t.Run("what is no id is refused", func(t *testing.T) {
		b.wants(b.get("/account/activity?before=yesterday"), "error", 400)
		b.wants(b.get("/account/activity?before="+uuid.Nil.String()), "account-activity", 200, "Nothing has happened")
	})
	t.Run("what is older than 90 days is not shown", func(t *testing.T) {
		h.pass(91 * 24 * time.Hour)
		b := h.browser(t)
		b.signIn(b.open("/login"), u.Email)
		a := b.wants(b.open("/account/activity"), "account-activity", 200, "Signed in with password")
		if strings.Contains(a.text(), "Created this account") || strings.Contains(a.body, "activity-older") {
			t.Error("it is")
		}
	})
}

// What changes an account is done by its own forms, in the session that was
// given them.
func TestAccountForgery(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	b, other := h.browser(t).called(firefox), h.browser(t).called(android)
	u := b.register("asha@example.com")
	other.signIn(other.open("/login"), u.Email)
	b.submit(b.open(authorize(c)), "/consent", "decision", "allow", "remember", "1")
	mallory := h.browser(t)
	mallory.register("mallory@example.com")
	sessions, err := h.sql.ListSessions(t.Context(), u.ID, h.now())
	if err != nil || len(sessions) != 2 {
		t.Fatal(sessions, err)
	}
	victim := sessions[slices.IndexFunc(sessions, func(s storage.Session) bool { return s.UserAgent == android })].ID
	unchanged := func(t *testing.T) {
		t.Helper()
		other.wants(other.open("/account"), "account", 200)
		if _, err := h.sql.Consent(t.Context(), u.ID, c.ID); err != nil {
			t.Error("consent:", err)
		}
		now, err := h.sql.User(t.Context(), u.ID)
		if err != nil || now.Epoch != u.Epoch {
			t.Error("the epoch moved", err)
		}
	}
	for _, p := range []struct {
		path   string
		fields []string
	}{
		{"/account/password", []string{"current_password", password, "password", another}},
		{"/account/devices", []string{"session", victim}},
		{"/account/devices/others", nil},
		{"/account/apps/" + c.ID + "/remove", nil},
	} {
		page := b.open(p.path)
		form := func(change func(url.Values)) url.Values {
			f := url.Values{"csrf_token": {page.hidden().Get("csrf_token")}, "flow": {page.hidden().Get("flow")}}
			for i := 0; i+1 < len(p.fields); i += 2 {
				f.Set(p.fields[i], p.fields[i+1])
			}
			if change != nil {
				change(f)
			}
			return f
		}
		for name, try := range map[string]func() answer{
			"without a token": func() answer { return b.post(p.path, form(func(f url.Values) { f.Del("csrf_token") })) },
			"with another browser's token": func() answer {
				theirs := other.open("/account/password").hidden()
				return b.post(p.path, form(func(f url.Values) { f.Set("csrf_token", theirs.Get("csrf_token")) }))
			},
			"with another browser's token and flow": func() answer {
				theirs := other.open("/account/password").hidden()
				return b.post(p.path, form(func(f url.Values) {
					f.Set("csrf_token", theirs.Get("csrf_token"))
					f.Set("flow", theirs.Get("flow"))
				}))
			},
			"with the token of the menu": func() answer {
				menu := b.open("/account").hidden()
				return b.post(p.path, form(func(f url.Values) { f.Set("csrf_token", menu.Get("csrf_token")); f.Set("flow", "") }))
			},
			"with the token of a page outside the account": func() answer {
				out := b.open("/logout").hidden()
				return b.post(p.path, form(func(f url.Values) {
					f.Set("csrf_token", out.Get("csrf_token"))
					f.Set("flow", out.Get("flow"))
				}))
			},
			"from another site": func() answer { return b.post(p.path, form(nil), "Sec-Fetch-Site", "cross-site") },
			"from another origin, in an old browser": func() answer {
				return b.post(p.path, form(nil), "Origin", "https://evil.example")
			},
		} {
			t.Run("sec-A14 "+p.path+" "+name, func(t *testing.T) {
				if a := try(); a.StatusCode != http.StatusForbidden {
					t.Errorf("%s %s, want 403", a.Status, a.Header.Get("Location"))
				}
				unchanged(t)
			})
		}
		t.Run("sec-A14 "+p.path+" by GET", func(t *testing.T) {
			q := form(nil)
			b.open(p.path + "?" + q.Encode())
			unchanged(t)
		})
		t.Run("sec-A14 "+p.path+" by another person in the same browser", func(t *testing.T) {
			form := form(nil)
			var session []*http.Cookie
			at, _ := url.Parse(h.URL)
			for _, k := range mallory.http.Jar.Cookies(at) {
				if k.Name == "gatehouse_session" {
					session = append(session, k)
				}
			}
			for _, k := range b.http.Jar.Cookies(at) {
				if k.Name == "gatehouse_browser" {
					session = append(session, k)
				}
			}
			shared := h.browser(t)
			shared.http.Jar.SetCookies(at, session)
			if a := shared.post(p.path, form); a.StatusCode != http.StatusForbidden {
				t.Errorf("%s, want 403", a.Status)
			}
			unchanged(t)
			if a := shared.open(page.Request.URL.RequestURI()); a.page() != "error" { // nor is the flow theirs
				t.Errorf("page %q", a.page())
			}
		})
	}
	unchanged(t)
	t.Run("the same forms are good as they are", func(t *testing.T) {
		a := b.submit(b.open("/account/apps/"+c.ID+"/remove"), "/account/apps/"+c.ID+"/remove")
		b.wants(b.follow(a), "account-apps", 200)
		a = b.submit(b.open("/account/devices"), "/account/devices", "session", victim)
		b.wants(b.follow(a), "account-devices", 200)
		other.wants(other.open("/account"), "login", 200)
	})
}

//go:build !slim

package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// An app on another origin: Chromium holds what follows a form against
// form-action (CSP3), so that its own page is where a wrong one would show.
func TestBrowserOtherOrigin(t *testing.T) {
	t.Parallel()
	browser := chromium(t)
	c := embeddedConfig(t)
	started(t, c)
	for _, tt := range []struct {
		name, alg string
		register  []string
	}{
		{"a public client, ES256", "ES256", []string{"--public"}},
		{"a client with a secret, RS256", "RS256", []string{"--id-token-alg", "RS256"}},
	} {
		t.Run("sec-M6/"+tt.name, func(t *testing.T) {
			u := createUserAs(t, c, strings.ToLower(tt.alg)+"@example.org", "Ada Lovelace")
			var client clientRecord
			byOperator(t, c, "", &client, append([]string{"client", "create", "--name", "Notes", "--redirect-uri", "http://127.0.0.1/cb"}, tt.register...)...)
			app := newRelyingParty(t, c.URL, client, tt.alg)
			p := newPerson(t, browser, laptop)
			p.visit(app.base + "/signin")
			p.signIn(u.Email, password)
			p.on("consent")
			p.reads("h1", "Allow Notes to use")
			p.reads("#consent-redirect", strings.TrimPrefix(app.base, "http://"))
			p.click("#consent-allow")
			p.reads("#subject", u.ID)
			if at := p.address(); !strings.HasPrefix(at, app.base+"/cb?") {
				t.Errorf("the app was reached at %s", at)
			}
			app.refresh(t, u.ID)

			p.visit(app.base + "/signin")
			if client.AuthMethod == "none" {
				// RFC 8252 section 8.6: any program of this machine could be it.
				p.on("consent")
				p.click("#consent-deny")
				p.reads("#error", "access_denied")
				return
			}
			p.reads("#subject", u.ID)

			// Where nobody is signed in, it is the form of the password that ends at
			// the app.
			elsewhere := newPerson(t, browser, phone)
			elsewhere.visit(app.base + "/signin")
			elsewhere.signIn(u.Email, password)
			elsewhere.reads("#subject", u.ID)
		})
	}
	t.Run("sec-A10", func(t *testing.T) {
		var client clientRecord
		byOperator(t, c, "", &client, "client", "create", "--name", "Frames", "--public", "--redirect-uri", "http://127.0.0.1/cb")
		app := newRelyingParty(t, c.URL, client, "ES256")
		p := newPerson(t, browser, laptop)
		for _, page := range []string{
			"/login", "/register", "/verify", "/login/code", "/login/select", "/reset", "/consent", "/logout", "/account", "/account/two-step/app",
			"/languages", "/help/lost-access", "/signed-out", "/dev/app", "/nowhere",
			"/authorize?client_id=nobody", app.question(),
		} {
			if !strings.HasPrefix(page, c.URL) {
				page = c.URL + page
			}
			p.visit(app.base + "/frame?page=" + url.QueryEscape(page))
			var said []string
			await(t, "Chromium refuses to frame "+page, func() bool {
				said = append(said, p.said()...)
				return slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, "frame-ancestors 'none'") })
			})
		}
		p.said()
	})
}

// What a browser is there to prevent, and whether it does.
func TestBrowserSecurity(t *testing.T) {
	t.Parallel()
	browser := chromium(t)
	c := embeddedConfig(t)
	s := started(t, c)
	var client clientRecord
	byOperator(t, c, "", &client, "client", "create", "--name", "Notes", "--public", "--redirect-uri", "http://127.0.0.1/cb")
	app := newRelyingParty(t, c.URL, client, "ES256")
	u := createUserAs(t, c, "ada@example.org", "Ada Lovelace")
	signedIn := func(t *testing.T) *person {
		t.Helper()
		p := newPerson(t, browser, laptop)
		p.visit(c.URL + "/login")
		p.signIn(u.Email, password)
		p.on("account")
		return p
	}

	t.Run("sec-A12 people see who asks for what, and an app that could be anybody asks each time", func(t *testing.T) {
		secret, hash := provider.NewClientSecret()
		now := time.Now().UTC().Truncate(time.Microsecond)
		stranger := storage.Client{
			ID: "stranger", Name: "Stranger", AuthMethod: storage.AuthSecretBasic, SecretHashes: [][]byte{hash}, RedirectURIs: []string{"http://127.0.0.1/cb"},
			GrantTypes: []string{"authorization_code", "refresh_token"}, Scopes: []string{"openid", "profile", "email", "offline_access"},
			Registration: &storage.DynamicRegistration{TokenHash: hash}, CreatedAt: now, UpdatedAt: now,
		}
		if err := s.sql.CreateClient(t.Context(), stranger); err != nil {
			t.Fatal(err)
		}
		var known clientRecord
		byOperator(t, c, "", &known, "client", "create", "--name", "Ledger", "--redirect-uri", "http://127.0.0.1/cb")
		for _, tt := range []struct {
			app     *relyingParty
			name    string
			warning string // empty when it is asked once
		}{
			{app, "Notes", "#consent-local"},
			{newRelyingParty(t, c.URL, clientRecord{ID: stranger.ID, Secret: secret, AuthMethod: "client_secret_basic"}, "RS256"), "Stranger", "#consent-unreviewed"},
			{newRelyingParty(t, c.URL, known, "ES256"), "Ledger", ""},
		} {
			p := signedIn(t)
			tt.app.config.Scopes = []string{oidc.ScopeOpenID, "email", oidc.ScopeOfflineAccess}
			for round := range 2 {
				p.visit(tt.app.base + "/signin")
				if tt.warning == "" && round > 0 {
					p.reads("#subject", u.ID)
					continue
				}
				p.on("consent")
				p.reads("h1", "Allow "+tt.name+" to use")
				p.reads("#consent-redirect", strings.TrimPrefix(tt.app.base, "http://"))
				p.reads(".who", u.Name, u.Email)
				p.reads("#consent-scopes", "See your email address", u.Email, "Stay connected when you")
				if shown := patiently(p, p.tab, chromedp.Evaluate[[]string](`Array.from(document.querySelectorAll("#consent-scopes [data-scope]"), e => e.dataset.scope).sort()`)); !slices.Equal(shown, []string{"email", "offline_access"}) {
					t.Errorf("%s: the page shows %q", tt.name, shown)
				}
				for _, warning := range []string{"#consent-local", "#consent-unreviewed"} {
					if p.has(warning) != (warning == tt.warning) {
						t.Errorf("%s: %s is there: %v", tt.name, warning, p.has(warning))
					}
				}
				if p.has("#remember") != (tt.warning == "") {
					t.Errorf("%s: the answer can be remembered: %v", tt.name, p.has("#remember"))
				}
				p.click("#consent-allow")
				p.reads("#subject", u.ID)
			}
		}
	})

	t.Run("sec-A13 a flow is worth nothing in another browser", func(t *testing.T) {
		one, other := newPerson(t, browser, laptop), newPerson(t, browser, laptop)
		one.visit(app.question())
		one.on("login")
		other.visit(c.URL + "/login") // a browser of ours, with a flow of its own
		other.visit(one.address())
		other.on("error")
		other.reads("h1", "That took a while, so we started again")
		// Nor can a step of one's own be skipped.
		one.visit(strings.Replace(one.address(), "/login?", "/consent?", 1))
		one.on("login")
	})

	// 127.0.0.1 is another site than localhost; localhost at another port is the
	// same site, whose forms come with our cookies.
	for name, origin := range map[string]string{"another site": app.base, "another origin of this site": strings.Replace(app.base, "127.0.0.1", "localhost", 1)} {
		t.Run("sec-A14 a form of "+name+" changes nothing", func(t *testing.T) {
			p, elsewhere := signedIn(t), signedIn(t)
			for _, to := range []string{"/logout", "/account/devices/others", "/account/password", "/account/two-step/app", "/languages", "/consent", "/login"} {
				p.visit(origin + "/forge?" + url.Values{"to": {c.URL + to}, "field": {"scope", "csrf_token", "flow"}}.Encode())
				p.click("#forge")
				// Without our cookies it may be taken for somebody's who has to sign in.
				if origin != app.base && p.status != http.StatusForbidden {
					t.Errorf("%s: the answer is %d", to, p.status)
				}
			}
			for _, device := range []*person{p, elsewhere} {
				device.visit(c.URL + "/account")
				device.on("account")
			}
			p.said() // that an error page is an error
		})
		t.Run("sec-G1 a picture of "+name+" signs nobody out", func(t *testing.T) {
			p := signedIn(t)
			p.visit(origin + "/forge?" + url.Values{"picture": {c.URL + "/logout", c.URL + "/logout?scope=all"}}.Encode())
			p.visit(c.URL + "/account")
			p.on("account")
			p.said() // that a page is no picture
		})
	}

	t.Run("sec-G2 sec-G3 an app signs out whom it has signed in, and sends nobody where it may not", func(t *testing.T) {
		var client clientRecord
		byOperator(t, c, "", &client, "client", "create", "--name", "Tides", "--redirect-uri", "http://127.0.0.1/cb")
		app := newRelyingParty(t, c.URL, client, "ES256")
		bye := app.base + "/bye"
		byOperator(t, c, "", new(clientRecord), "client", "update", client.ID, "--post-logout-redirect", bye)
		// through signs in to the app, and returns the hint that it then has.
		through := func(p *person, email string) string {
			t.Helper()
			p.visit(app.base + "/signin")
			if email != "" {
				p.signIn(email, password)
			}
			if p.has("#consent-allow") {
				p.click("#consent-allow")
			}
			p.text("#subject")
			return app.idToken()
		}
		logout := func(of ...string) string {
			v := url.Values{"state": {"tide of " + t.Name()}}
			for i := 0; i < len(of); i += 2 {
				v.Set(of[i], of[i+1])
			}
			return c.URL + "/logout?" + v.Encode()
		}
		ada, elsewhere, mary := newPerson(t, browser, laptop), newPerson(t, browser, phone), newPerson(t, browser, laptop)
		own := through(ada, u.Email)
		another := through(elsewhere, u.Email)
		stranger := through(mary, createUserAs(t, c, "mary@example.org", "Mary Somerville").Email)
		// stays fails the test unless the page is ours and ada is still signed in.
		stays := func(page string) {
			t.Helper()
			ada.on(page)
			if at := ada.address(); !strings.HasPrefix(at, c.URL+"/logout?") {
				t.Errorf("the browser is at %s", at)
			}
			ada.visit(c.URL + "/account")
			ada.on("account")
			ada.reads("#account-email", u.Email)
		}
		for _, hint := range []string{stranger, another, strings.Replace(own, ".", ".e30", 1)} { // the last is nobody's
			ada.visit(logout("id_token_hint", hint, "post_logout_redirect_uri", bye))
			stays("logout")
		}
		ada.visit(logout("client_id", client.ID, "post_logout_redirect_uri", bye))
		stays("logout")
		for _, unregistered := range []string{bye + "/", bye + "?foo=bar", "https://elsewhere.example/bye", app.base + "/cb"} {
			ada.visit(logout("id_token_hint", own, "post_logout_redirect_uri", unregistered))
			if ada.status != http.StatusBadRequest {
				t.Errorf("%s: the answer is %d", unregistered, ada.status)
			}
			stays("error")
		}
		ada.said() // that an error page is an error

		// Without proof of who asks, a yes leads to our page; the way back is a link.
		mary.visit(logout("client_id", client.ID, "post_logout_redirect_uri", bye))
		mary.on("logout")
		mary.click("#logout-confirm")
		mary.on("signed-out")
		mary.click("#signed-out-back")
		mary.reads("#bye", "signed out")

		// A yes to an app that has proved that it asks leads back to it; a no does
		// not.
		ada.visit(logout("id_token_hint", another, "post_logout_redirect_uri", bye))
		ada.click("button[name=scope][value=none]")
		ada.on("account")
		elsewhere.visit(logout("id_token_hint", own, "post_logout_redirect_uri", bye))
		elsewhere.click("#logout-confirm")
		elsewhere.reads("#bye", "signed out, tide of "+t.Name())
		elsewhere.visit(c.URL + "/account")
		elsewhere.on("login")

		ada.visit(logout("id_token_hint", own, "post_logout_redirect_uri", bye))
		ada.reads("#bye", "signed out, tide of "+t.Name())
		if at := ada.address(); !strings.HasPrefix(at, bye+"?") {
			t.Errorf("the browser is at %s", at)
		}
		ada.visit(c.URL + "/account")
		ada.on("login")
	})

	t.Run("sec-M3 a session that nobody used for its time is over, whatever a browser has open", func(t *testing.T) {
		grace := createUserAs(t, c, "grace@example.org", "Grace Hopper")
		p, elsewhere := newPerson(t, browser, laptop), newPerson(t, browser, phone)
		for _, device := range []*person{elsewhere, p} {
			device.visit(c.URL + "/login")
			if device == p { // also one that is to be remembered
				device.do(chromedp.Click(chromedp.ID("remember")))
			}
			device.signIn(grace.Email, password)
			device.on("account")
		}
		p.visit(c.URL + "/account/devices")
		sessions, err := s.sql.ListSessions(t.Context(), grace.ID, s.clock.Now())
		if err != nil || len(sessions) != 2 {
			t.Fatalf("there are %d sessions (%v)", len(sessions), err)
		}
		for _, session := range sessions {
			if session.Remember {
				if err := s.sql.TouchSession(t.Context(), session.ID, s.clock.Now().Add(-time.Second)); err != nil {
					t.Fatal(err)
				}
			}
		}
		// The page that is open can do nothing any more, nor does its cookie.
		before := p.cookies()
		p.click("#devices button[name=session]")
		p.on("login")
		p.setCookies(c.URL, before)
		p.visit(c.URL + "/account")
		p.on("login")
		if p.has("#account-email") {
			t.Error("the page shows whose it was")
		}
		p.visit(app.question())
		p.on("login")
		elsewhere.reload()
		elsewhere.on("account")
	})

	t.Run("sec-M4 people end the session of a device, and what an app was allowed", func(t *testing.T) {
		lise := createUserAs(t, c, "lise@example.org", "Lise Meitner")
		var client clientRecord
		byOperator(t, c, "", &client, "client", "create", "--name", "Ledger of Lise", "--redirect-uri", "http://127.0.0.1/cb")
		app := newRelyingParty(t, c.URL, client, "ES256")
		p, elsewhere := newPerson(t, browser, laptop), newPerson(t, browser, phone)
		p.visit(app.base + "/signin")
		p.signIn(lise.Email, password)
		p.click("#consent-allow")
		p.reads("#subject", lise.ID)
		app.refresh(t, lise.ID)
		elsewhere.visit(c.URL + "/login")
		elsewhere.signIn(lise.Email, password)
		elsewhere.on("account")

		p.visit(c.URL + "/account/devices")
		if n := patiently(p, p.tab, chromedp.Evaluate[int](`document.querySelectorAll("#devices > li").length`)); n != 2 {
			t.Errorf("the page shows %d devices", n)
		}
		p.click("#devices button[name=session]")
		p.on("account-devices")
		p.reads("#notice", "")
		elsewhere.reload()
		elsewhere.on("login")

		p.visit(c.URL + "/account/apps")
		p.reads("#apps", "Ledger of Lise")
		p.click("#apps a[href$='/remove']")
		p.on("account-apps-remove")
		p.click("#app-remove-submit")
		p.on("account-apps")
		if p.has("#apps") {
			t.Errorf("the page shows %s", p.text("#apps"))
		}
		var refused *oauth2.RetrieveError
		if _, _, err := app.renew(t.Context()); !errors.As(err, &refused) || refused.ErrorCode != "invalid_grant" {
			t.Errorf("the app asks for more and is told %v", err)
		}
		p.visit(app.base + "/signin")
		p.on("consent")
	})

	t.Run("sec-G5 sec-M2 a session is new at each sign-in, and dead after sign-out", func(t *testing.T) {
		p := newPerson(t, browser, laptop)
		p.visit(c.URL + "/login")
		before := p.cookies()
		p.signIn(u.Email, password)
		p.on("account")
		within := p.cookies()
		fresh := 0
		for name, k := range within {
			if old, ok := before[name]; !ok || old.Value != k.Value {
				fresh++
			}
		}
		if fresh == 0 {
			t.Error("a sign-in changes no cookie")
		}
		p.visit(c.URL + "/logout")
		p.click("#logout-confirm")
		p.on("signed-out")
		p.back()
		p.on("signed-out") // which is where /logout leads now
		for _, jar := range []map[string]*network.Cookie{before, within} {
			p.setCookies(c.URL, jar)
			p.visit(c.URL + "/account")
			p.on("login")
		}
	})

	t.Run("sec-M1 cookies are for us alone, and not for scripts", func(t *testing.T) {
		p := signedIn(t)
		jar := p.cookies()
		if len(jar) < 2 {
			t.Fatalf("there are %d cookies", len(jar))
		}
		for name, k := range jar {
			// The prefix __Host- and Secure are of https alone: web's tests see them.
			if !k.HTTPOnly || k.SameSite != network.CookieSameSiteLax || k.Path != "/" || k.Domain != "localhost" || len(name)+len(k.Value) > 4096 {
				t.Errorf("the cookie is %+v", k)
			}
		}
		if seen := patiently(p, p.tab, chromedp.Evaluate[string]("document.cookie")); seen != "" {
			t.Errorf("scripts see %q", seen)
		}
	})

	t.Run("sec-M5 a script that came into a page is not run", func(t *testing.T) {
		p := signedIn(t)
		for _, inject := range []string{
			"const s = document.createElement('script'); s.textContent = 'window.won = true'; document.body.append(s)",
			"document.body.innerHTML = `<img src=x onerror='window.won = true'>`",
			"const s = document.createElement('script'); s.src = '" + app.base + "/won.js'; document.body.append(s)",
			"const i = new Image(); i.src = '" + app.base + "/won.png'; document.body.append(i)",
		} {
			p.reload()
			p.do(chromedp.Evaluate[chromedp.Void]("try { " + inject + " } catch { console.log('Content Security Policy') }"))
			await(t, "Chromium refuses "+inject, func() bool {
				return slices.ContainsFunc(p.said(), func(s string) bool { return strings.Contains(s, "Content Security Policy") })
			})
			if patiently(p, p.tab, chromedp.Evaluate[bool]("window.won === true")) {
				t.Errorf("it ran: %s", inject)
			}
		}
		p.said()
	})

	t.Run("sec-M9 nothing leads to another site", func(t *testing.T) {
		p := newPerson(t, browser, laptop)
		for _, to := range []string{"//127.0.0.1/", app.base + "/", "/\\127.0.0.1/", "javascript:alert(1)", "\t//127.0.0.1/"} {
			p.visit(c.URL + "/languages?" + url.Values{"to": {to}}.Encode())
			p.on("languages")
			p.click("button[lang=en]")
			if at := p.address(); !strings.HasPrefix(at, c.URL+"/") {
				t.Errorf("%q leads to %s", to, at)
			}
		}
	})
}

// cookies are all of the profile, by name.
func (p *person) cookies() map[string]*network.Cookie {
	p.t.Helper()
	return patiently(p, p.tab, func(ctx context.Context, _ *chromedp.Target) (map[string]*network.Cookie, error) {
		r, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{})
		if err != nil {
			return nil, err
		}
		jar := map[string]*network.Cookie{}
		for _, k := range r.Cookies {
			jar[k.Name] = k
		}
		return jar, nil
	})
}

func (p *person) setCookies(base string, jar map[string]*network.Cookie) {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		for name, k := range jar {
			if _, err := chromedp.Call(ctx, network.SetCookie, network.SetCookieParams{Name: name, Value: k.Value, URL: base, HTTPOnly: &k.HTTPOnly}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// Two tabs of one browser are two flows, and what happens in one leaves the other
// alone.
func TestBrowserTabs(t *testing.T) {
	t.Parallel()
	browser := chromium(t)
	c := embeddedConfig(t)
	started(t, c)
	createUserAs(t, c, "ada@example.org", "Ada Lovelace")
	one := newPerson(t, browser, laptop)
	two := &person{t: t, scripts: true}
	two.tab = two.open(one.tab)

	one.visit(c.URL + "/dev/app")
	one.click("#app-signin")
	one.on("login")
	two.visit(c.URL + "/register")
	two.on("register")

	// Each has its own mistakes.
	one.signIn("ada@example.org", "not this one at all")
	two.fill("name", "Grace Hopper")
	two.fill("email", "grace@example.org")
	two.fill("password", "short")
	two.click("#register-submit")
	two.reads("#problem", "Choose a password with 12 characters or more")
	one.reload()
	one.on("login")
	one.reads("#problem", "Your email or password is incorrect")
	if kept := one.value("identifier"); kept != "ada@example.org" {
		t.Errorf("the first tab keeps %q", kept)
	}
	two.reload()
	if kept := two.value("name"); kept != "Grace Hopper" {
		t.Errorf("the second tab keeps %q", kept)
	}
	two.fill("password", password)
	two.click("#register-submit")
	two.on("verify")
	one.signIn("ada@example.org", password)
	one.on("consent")
	one.reads(".who", "ada@example.org")
	two.reload()
	two.on("verify")
	two.reads(".lede", "grace@example.org")
	one.click("#consent-allow")
	one.on("dev-app")
	one.reads("#app-userinfo", "ada@example.org")
	for _, said := range two.said() {
		t.Errorf("the browser's console: %s", said)
	}
}

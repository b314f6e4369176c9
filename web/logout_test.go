package web_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

// leaver is an app that signs people out.
var leaver = storage.Client{
	ID: "leaver", Name: "Tidepool Notes", AuthMethod: storage.AuthNone, FirstParty: true,
	RedirectURIs: []string{"https://notes.example.org/callback"},
	Metadata:     storage.ClientMetadata{PostLogoutRedirectURIs: []string{"https://notes.example.org/bye"}},
}

// idToken is what the app is given for the person at the browser.
func (b *browser) idToken(c storage.Client) string {
	b.t.Helper()
	to, err := url.Parse(b.open(authorize(c)).Header.Get("Location"))
	if err != nil || to.Query().Get("code") == "" {
		b.t.Fatalf("no code: %v (%v)", to, err)
	}
	a := b.post("/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {c.ID}, "code": {to.Query().Get("code")}, "redirect_uri": {c.RedirectURIs[0]},
		"code_verifier": {"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
	})
	var tokens struct {
		IDToken string `json:"id_token"`
	}
	if err := json.Unmarshal([]byte(a.body), &tokens); err != nil || tokens.IDToken == "" {
		b.t.Fatalf("no ID token: %s", a.body)
	}
	return tokens.IDToken
}

// signedIn reports whether somebody is signed in at the browser.
func (b *browser) signedIn() bool { b.t.Helper(); return b.open("/account").page() == "account" }

func TestEndSessionEndpoint(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, leaver)
	h.browser(t).register("asha@example.com")
	h.browser(t).register("ben@example.com")
	// at is a browser in which Asha is signed in, and an ID token of that.
	at := func(t *testing.T) (*browser, string) {
		t.Helper()
		b := h.browser(t)
		b.wants(b.signIn(b.open("/login"), "asha@example.com"), "account", 200)
		return b, b.idToken(c)
	}
	ben := h.browser(t)
	ben.wants(ben.signIn(ben.open("/login"), "ben@example.com"), "account", 200)
	bens := ben.idToken(c)
	const bye = "https://notes.example.org/bye"
	path := func(v url.Values) string { return "/logout?" + v.Encode() }
	// goes fails the test unless the answer sends the browser to the app.
	goes := func(t *testing.T, a answer, want string) {
		t.Helper()
		if got := a.Header.Get("Location"); a.StatusCode != http.StatusSeeOther || got != want {
			t.Errorf("answered %s, to %q; want %q\n%s", a.Status, got, want, a.body)
		}
	}

	t.Run("an app with a hint of this session ends it at once", func(t *testing.T) {
		b, hint := at(t)
		goes(t, b.get(path(url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {bye}, "state": {"a b"}})), bye+"?state=a+b")
		if b.signedIn() {
			t.Error("still signed in")
		}
		// And again, with nobody signed in.
		goes(t, b.get(path(url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {bye}})), bye)
	})
	t.Run("sec-G1 without a hint the person is asked, and nothing has ended", func(t *testing.T) {
		b, _ := at(t)
		for _, v := range []url.Values{{}, {"post_logout_redirect_uri": {bye}}, {"state": {"s"}}, {"client_id": {c.ID}}, {"id_token_hint": {"garbage"}}} {
			b.wants(b.open(path(v)), "logout", 200, `id="logout-form"`)
			if !b.signedIn() {
				t.Fatalf("%v ended the session", v)
			}
		}
	})
	t.Run("sec-G1 a HEAD ends nothing", func(t *testing.T) {
		b, hint := at(t)
		r, _ := http.NewRequest(http.MethodHead, h.URL+path(url.Values{"id_token_hint": {hint}}), nil)
		b.do(r)
		if !b.signedIn() {
			t.Error("it ended the session")
		}
	})
	t.Run("sec-G2 after the person's yes nobody is sent where no hint proved the app", func(t *testing.T) {
		b, _ := at(t)
		page := b.wants(b.open(path(url.Values{"client_id": {c.ID}, "post_logout_redirect_uri": {bye}})), "logout", 200)
		b.wants(b.follow(b.submit(page, "/logout", "scope", "all")), "signed-out", 200)
		if b.signedIn() {
			t.Error("still signed in")
		}
	})
	t.Run("sec-G2 an address that is not registered is a page, and nothing has ended", func(t *testing.T) {
		b, hint := at(t)
		a := b.get(path(url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {bye + "?foo=bar"}}))
		b.wants(a, "error", 400)
		if !b.signedIn() || a.Header.Get("Location") != "" {
			t.Errorf("signed in: %v, sent to %q", b.signedIn(), a.Header.Get("Location"))
		}
	})
	t.Run("sec-G3 a hint of somebody else asks", func(t *testing.T) {
		b, _ := at(t)
		page := b.wants(b.open(path(url.Values{"id_token_hint": {bens}, "post_logout_redirect_uri": {bye}, "state": {"s"}})), "logout", 200)
		if !b.signedIn() {
			t.Fatal("it ended the session")
		}
		if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' https://notes.example.org;") {
			t.Errorf("sec-M6 the browser would not go on to the app: %s", csp)
		}
		b.wants(b.follow(b.submit(page, "/logout", "scope", "none")), "account", 200)
		goes(t, b.submit(page, "/logout", "scope", "all"), bye+"?state=s")
		if b.signedIn() {
			t.Error("still signed in")
		}
		if !ben.signedIn() {
			t.Error("it ended the other's session")
		}
	})
	t.Run("an app's POST is the same as its GET", func(t *testing.T) {
		b, hint := at(t)
		a := b.post("/logout", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {bye}, "state": {"s"}},
			"Origin", "https://notes.example.org", "Sec-Fetch-Site", "cross-site")
		if a.StatusCode != http.StatusSeeOther || !b.signedIn() {
			t.Fatalf("answered %s", a.Status)
		}
		goes(t, b.follow(a), bye+"?state=s")
	})
	t.Run("sec-A14 a POST without the token of our page ends nothing", func(t *testing.T) {
		b, _ := at(t)
		page := b.wants(b.open("/logout"), "logout", 200)
		b.wants(b.post("/logout", url.Values{"scope": {"all"}}), "error", 403)
		b.wants(b.follow(b.post("/logout", url.Values{})), "logout", 200)
		wrong := page.hidden()
		wrong.Set("scope", "all")
		wrong.Set("csrf_token", "wrong")
		b.wants(b.post("/logout", wrong), "error", 403)
		right := page.hidden()
		right.Set("scope", "all")
		b.wants(b.post("/logout", right, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"), "error", 403)
		if !b.signedIn() {
			t.Error("the session ended")
		}
	})
	t.Run("sec-G2 what the page sends on is checked again", func(t *testing.T) {
		b, _ := at(t)
		page := b.wants(b.open(path(url.Values{"id_token_hint": {bens}, "post_logout_redirect_uri": {bye}})), "logout", 200)
		form := page.hidden()
		form.Set("post_logout_redirect_uri", "https://evil.example/")
		form.Set("scope", "all")
		b.wants(b.post("/logout", form), "error", 400)
		if !b.signedIn() {
			t.Error("the session ended")
		}
	})
	t.Run("sec-G5 going back after that shows nothing", func(t *testing.T) {
		b, hint := at(t)
		account := b.open("/account")
		u, _ := url.Parse(h.URL)
		cookies := b.http.Jar.Cookies(u)
		b.get(path(url.Values{"id_token_hint": {hint}}))
		b.http.Jar.SetCookies(u, cookies)
		if b.signedIn() {
			t.Error("the old cookie opens the account")
		}
		if account.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("the account is kept: %q", account.Header.Get("Cache-Control"))
		}
	})
}

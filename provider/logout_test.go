package provider_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

const signedOutURI = "https://app.example/signed-out?from=op"

// signIn has the person sign in at the browser and returns what the app got.
func (b *browser) signIn(c storage.Client, change ...string) reply {
	b.o.t.Helper()
	a := b.authorize(b.o.request(c, change...))
	if a.params.Get("code") == "" {
		b.o.t.Fatalf("no code: %d %v %s", a.status, a.location, a.body)
	}
	return b.o.post(c, "", redemption(c, a.params.Get("code")))
}

// endSession is a request of the browser at the end session endpoint.
func (b *browser) endSession(method string, v url.Values) (provider.LogoutRequest, *provider.Error) {
	b.o.t.Helper()
	r := httptest.NewRequest(method, b.o.issuer+"/logout?"+v.Encode(), nil)
	if method == http.MethodPost {
		r = httptest.NewRequest(method, b.o.issuer+"/logout", strings.NewReader(v.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if err := r.ParseForm(); err != nil {
			b.o.t.Fatal(err)
		}
	}
	for _, c := range b.client.Jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	return b.o.EndSessionRequest(r)
}

func TestEndSessionRequest(t *testing.T) {
	o := newOP(t)
	app, _ := o.client(storage.Client{FirstParty: true, Metadata: storage.ClientMetadata{PostLogoutRedirectURIs: []string{signedOutURI, "https://app.example/bye"}}})
	other, _ := o.client(storage.Client{FirstParty: true, Metadata: storage.ClientMetadata{PostLogoutRedirectURIs: []string{"https://other.example/bye"}}})
	b := o.browser()
	got := b.signIn(app)
	hint := got.text("id_token")
	strangers := o.browser().signIn(app).text("id_token") // of another session of the same person
	ada := o.user
	o.user = o.person("ben@example.com")
	bens := o.browser().signIn(app).text("id_token")
	o.user = ada

	type want struct {
		proved, current bool
		back            string
		err             string
	}
	const state = "128-._~ characters=&+%?"
	withState := signedOutURI + "&state=" + url.QueryEscape(state)
	for _, try := range []struct {
		sentence string
		values   url.Values
		want     want
	}{
		{"nothing at all is somebody who came by themselves", url.Values{}, want{}},
		{"a hint of this session, an address and a state", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {signedOutURI}, "state": {state}}, want{proved: true, current: true, back: withState}},
		{"without state the address stays as it is", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {"https://app.example/bye"}}, want{proved: true, current: true, back: "https://app.example/bye"}},
		{"without an address there is nowhere to go", url.Values{"id_token_hint": {hint}, "state": {state}}, want{proved: true, current: true}},
		{"a client_id that agrees", url.Values{"id_token_hint": {hint}, "client_id": {app.ID}}, want{proved: true, current: true}},
		{"a logout_hint and languages change nothing", url.Values{"id_token_hint": {hint}, "logout_hint": {"asha"}, "ui_locales": {"de en"}}, want{proved: true, current: true}},
		{"sec-G3 a hint of another session of the same person", url.Values{"id_token_hint": {strangers}, "post_logout_redirect_uri": {signedOutURI}}, want{proved: true, back: signedOutURI}},
		{"sec-G3 a hint of another person", url.Values{"id_token_hint": {bens}, "post_logout_redirect_uri": {signedOutURI}}, want{proved: true, back: signedOutURI}},
		{"sec-G2 an address that is not registered", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {"https://evil.example/"}}, want{err: "invalid_request"}},
		{"sec-G2 a query added to a registered one", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {"https://app.example/bye?foo=bar"}}, want{err: "invalid_request"}},
		{"sec-G2 another case", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {"https://app.example/Bye"}}, want{err: "invalid_request"}},
		{"sec-G2 a slash more", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {"https://app.example/bye/"}}, want{err: "invalid_request"}},
		{"sec-G2 another client's address", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {"https://other.example/bye"}}, want{err: "invalid_request"}},
		{"sec-G2 a sign-in address", url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {app.RedirectURIs[0]}}, want{err: "invalid_request"}},
		{"sec-G2 no hint, no client: no address", url.Values{"post_logout_redirect_uri": {signedOutURI}, "state": {state}}, want{}},
		{"sec-G2 a client_id proves nothing", url.Values{"client_id": {app.ID}, "post_logout_redirect_uri": {signedOutURI}}, want{back: signedOutURI}},
		{"a client that there is not", url.Values{"client_id": {"nobody"}, "post_logout_redirect_uri": {signedOutURI}}, want{}},
		{"a client_id that contradicts the hint", url.Values{"id_token_hint": {hint}, "client_id": {other.ID}}, want{err: "invalid_request"}},
		{"sec-G1 an access token is no hint", url.Values{"id_token_hint": {got.text("access_token")}, "post_logout_redirect_uri": {signedOutURI}}, want{}},
		{"sec-G1 a hint re-encoded with alg none", url.Values{"id_token_hint": {withoutSignature(t, hint)}, "post_logout_redirect_uri": {signedOutURI}}, want{}},
		{"sec-G1 a hint of somebody else's key", url.Values{"id_token_hint": {forged(t, hint)}, "post_logout_redirect_uri": {signedOutURI}}, want{}},
		{"sec-G1 a hint with other claims", url.Values{"id_token_hint": {swapped(hint, bens)}, "post_logout_redirect_uri": {signedOutURI}}, want{}},
		{"sec-G1 garbage for a hint", url.Values{"id_token_hint": {"garbage"}, "post_logout_redirect_uri": {signedOutURI}}, want{}},
		{"a parameter sent twice", url.Values{"id_token_hint": {hint, hint}}, want{err: "invalid_request"}},
		{"sec-A4 an empty one counts as absent", url.Values{"id_token_hint": {hint}, "state": {""}, "post_logout_redirect_uri": {"https://app.example/bye"}}, want{proved: true, current: true, back: "https://app.example/bye"}},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(method+" "+try.sentence, func(t *testing.T) {
				q, e := b.endSession(method, try.values)
				if e != nil {
					if e.Code != try.want.err || e.Reference == "" {
						t.Errorf("refused with %v (reference %q), want %q", e, e.Reference, try.want.err)
					}
					if strings.Contains(e.Description, "evil") {
						t.Errorf("sec-A6 the description repeats what was sent: %s", e.Description)
					}
					return
				}
				if got := (want{q.Proved, q.Current, q.Return, ""}); got != try.want {
					t.Errorf("read as %+v, want %+v", got, try.want)
				}
			})
		}
	}
	t.Run("sec-G3 the hint is good and nobody is signed in", func(t *testing.T) {
		q, e := o.browser().endSession(http.MethodGet, url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {signedOutURI}})
		if e != nil || !q.Proved || q.Current || q.Return != signedOutURI || q.Client.ID != app.ID {
			t.Errorf("read as %+v (%v)", q, e)
		}
	})
	latest := hint
	t.Run("fosite-F23 an expired hint is good, also when its key has retired", func(t *testing.T) {
		if err := o.keys.Rotate(context.Background()); err != nil {
			t.Fatal(err)
		}
		o.pass(24 * time.Hour) // the next key signs after a day at the earliest
		var later *browser
		for kid := tokenHeader(t, hint)["kid"]; ; o.pass(2 * time.Minute) {
			later = o.browser()
			if latest = later.signIn(app).text("id_token"); tokenHeader(t, latest)["kid"] != kid {
				break
			}
		}
		q, e := later.endSession(http.MethodGet, url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {signedOutURI}})
		if e != nil || !q.Proved || q.Current || q.Return != signedOutURI {
			t.Errorf("read as %+v (%v)", q, e)
		}
	})
	t.Run("an expired hint of this session is one of this session", func(t *testing.T) {
		c := o.browser()
		expired := c.signIn(app).text("id_token")
		o.pass(16 * time.Minute)
		if q, e := c.endSession(http.MethodGet, url.Values{"id_token_hint": {expired}}); e != nil || !q.Current {
			t.Errorf("read as %+v (%v)", q, e)
		}
	})
	t.Run("a fault is no answer", func(t *testing.T) {
		_ = o.db.Close()
		_, e := b.endSession(http.MethodGet, url.Values{"id_token_hint": {latest}})
		if e == nil || e.Status != http.StatusServiceUnavailable || !e.Fault() {
			t.Errorf("answered %v", e)
		}
	})
}

// withoutSignature is the token under alg none (RFC 7515 appendix A.5).
func withoutSignature(t *testing.T, token string) string {
	t.Helper()
	h := tokenHeader(t, token)
	h["alg"] = "none"
	header, _ := json.Marshal(h)
	return base64.RawURLEncoding.EncodeToString(header) + "." + strings.Split(token, ".")[1] + "."
}

// forged is the token signed again by a stranger, under the same header.
func forged(t *testing.T, token string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := tokenHeader(t, token)
	opts := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", h["kid"])
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	claims, _ := json.Marshal(payload(t, token))
	jws, err := s.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// swapped is a token with the claims of another.
func swapped(token, claims string) string {
	a, b := strings.Split(token, "."), strings.Split(claims, ".")
	return a[0] + "." + b[1] + "." + a[2]
}

// What ends with a session, at once and everywhere.
func TestEndSession(t *testing.T) {
	var told int
	o := newOP(t, func(c *provider.Config) { c.SessionEnded = func() { told++ } })
	app, _ := o.client(storage.Client{FirstParty: true})
	api, secret := o.client(storage.Client{
		AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"},
		Metadata: storage.ClientMetadata{Introspects: []string{o.issuer}},
	})
	b := o.browser()
	online, offline := b.signIn(app, "scope", "openid"), b.signIn(app, "scope", "openid offline_access")
	cookies := b.client.Jar.Cookies(nil)
	request := func() *http.Request {
		r := httptest.NewRequest(http.MethodPost, o.issuer+"/logout", nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		return r
	}
	w := httptest.NewRecorder()
	if err := o.Provider.EndSession(w, request()); err != nil {
		t.Fatal(err)
	}
	t.Run("the cookie is removed", func(t *testing.T) {
		for _, c := range w.Result().Cookies() {
			if c.Name == "gatehouse_session" && c.MaxAge < 0 {
				return
			}
		}
		t.Errorf("the cookies are %v", w.Result().Cookies())
	})
	t.Run("sec-G5 the old cookie opens nothing", func(t *testing.T) {
		if _, _, err := o.Session(request()); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("it opens a session (%v)", err)
		}
		if a := b.authorize(o.request(app, "prompt", "none")); a.params.Get("error") != "login_required" {
			t.Errorf("prompt=none is answered %v", a.params)
		}
	})
	t.Run("sec-D7 what was granted without offline_access ends", func(t *testing.T) {
		wantInactive(t, o.introspect(api, secret, online.text("access_token")))
		wantError(t, o.post(app, "", refresh(online.text("refresh_token"))), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("sec-D7 offline_access stays", func(t *testing.T) {
		if a := o.introspect(api, secret, offline.text("access_token")).json(t); a["active"] != true {
			t.Errorf("its access token is %v", a)
		}
		if r := o.post(app, "", refresh(offline.text("refresh_token"))); r.status != http.StatusOK {
			t.Errorf("a refresh is answered %d", r.status)
		}
	})
	t.Run("those who tell the apps are told", func(t *testing.T) {
		if told != 1 {
			t.Errorf("told %d times", told)
		}
	})
	t.Run("to end it again is no error", func(t *testing.T) {
		if err := o.Provider.EndSession(httptest.NewRecorder(), request()); err != nil {
			t.Error(err)
		}
	})
}

package provider_test

import (
	"bytes"
	"context"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/storage"
)

// What fosite does otherwise than the specifications, and that nobody meets it
// here: at the authorization endpoint, the token endpoint and in ID tokens. What
// concerns the authentication of clients, and what introspection, revocation and
// logout would inherit, is in tables of their own. F1 to F28 are those that
// OpenID certification meets, 5.1 to 5.21 those of our own reading.
func TestFosite(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{Resources: []string{"https://api.example/v1"}})
	other, _ := o.client(storage.Client{})
	confidential, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, OptionalPKCE: true, RedirectURIs: []string{"http://localhost:8080/cb"}})
	b := o.browser()
	b.authorize(o.request(c))
	noPKCE := []string{"code_challenge", "", "code_challenge_method", ""}
	errorOf := func(change ...string) string { return b.authorize(o.request(c, change...)).params.Get("error") }
	redeem := func(t *testing.T, code string, change ...string) reply {
		t.Helper()
		return o.post(c, "", redemption(c, code, change...))
	}
	twice := func(name, value string) url.Values {
		v := o.request(c)
		v.Add(name, value)
		return v
	}

	for _, row := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"fosite-F1 a wrong verifier does not lift the challenge", func(t *testing.T) {
			code := o.code(c)
			wantError(t, redeem(t, code, "code_verifier", strings.Repeat("x", 43)), 400, "invalid_grant")
			wantError(t, redeem(t, code, "code_verifier", ""), 400, "invalid_grant")
			if r := redeem(t, code); r.status != 200 {
				t.Errorf("and the right one: %d %v", r.status, r.body)
			}
		}},
		{"fosite-F2 state and nonce may be absent or one character", func(t *testing.T) {
			for _, v := range []string{"", "x"} {
				a := b.authorize(o.request(c, "state", v, "nonce", v))
				r := redeem(t, a.params.Get("code"))
				if r.status != 200 || a.params.Get("state") != v || a.params.Has("state") != (v != "") {
					t.Fatalf("%q: %v, then %d %v", v, a.params, r.status, r.body)
				}
				if got, _ := payload(t, r.text("id_token"))["nonce"].(string); got != v {
					t.Errorf("nonce %q came back as %q", v, got)
				}
			}
		}},
		{"fosite-F3 an unknown scope is dropped", func(t *testing.T) {
			if r := redeem(t, b.authorize(o.request(c, "scope", "telepathy openid")).params.Get("code")); r.text("scope") != "openid" {
				t.Errorf("answered %v", r.body)
			}
		}},
		{"fosite-F4 what is not supported is told to the client", func(t *testing.T) {
			for parameter, want := range map[string]string{
				"request": "request_not_supported", "request_uri": "request_uri_not_supported", "registration": "registration_not_supported",
			} {
				if a := b.authorize(o.request(c, parameter, "x")); a.status != 303 || a.params.Get("error") != want || a.params.Get("state") != "xyz" {
					t.Errorf("%s: %d %v", parameter, a.status, a.params)
				}
			}
			if a := b.authorize(o.request(c, "response_mode", "fragment")); a.status != 303 || a.params.Get("error") != "invalid_request" {
				t.Errorf("response_mode: %d %v", a.status, a.params)
			}
		}},
		{"fosite-F5 an error that may not be redirected is a page", func(t *testing.T) {
			for _, v := range []url.Values{o.request(c, "client_id", "nobody"), o.request(c, "redirect_uri", "https://evil.example/")} {
				if a := b.authorize(v); a.status != 400 || a.location != nil || !strings.HasPrefix(a.body, "page: ") {
					t.Errorf("answered %d %v %s", a.status, a.location, a.body)
				}
			}
		}},
		{"fosite-F6 every answer names its issuer", func(t *testing.T) {
			for _, change := range [][]string{nil, {"response_type", "token"}, {"prompt", "none", "scope", "telepathy"}} {
				if a := b.authorize(o.request(c, change...)); a.params.Get("iss") != o.issuer {
					t.Errorf("%q: %v", change, a.params)
				}
			}
		}},
		{"fosite-F7 fosite-5.10 nothing but code, state and iss in the answer", func(t *testing.T) {
			if a := b.authorize(o.request(c)); len(a.params) != 3 || a.params.Get("code") == "" {
				t.Errorf("answered %v", a.params)
			}
		}},
		{"fosite-F8 form_post is for every client", func(t *testing.T) {
			if a := b.authorize(o.request(c, "response_mode", "form_post")); !a.posted || a.params.Get("code") == "" {
				t.Errorf("answered %d %v", a.status, a.params)
			}
		}},
		{"fosite-F10 resource is honoured", func(t *testing.T) {
			r := redeem(t, b.authorize(o.request(c, "resource", "https://api.example/v1")).params.Get("code"))
			if aud := payload(t, r.text("access_token"))["aud"]; aud != "https://api.example/v1" {
				t.Errorf("aud is %v", aud)
			}
		}},
		{"fosite-F11 a code used twice is invalid_grant and ends the tokens", func(t *testing.T) {
			code := o.code(c)
			first := redeem(t, code)
			o.pass(30 * time.Second)
			wantError(t, redeem(t, code), 400, "invalid_grant")
			wantError(t, o.userinfo(first.text("access_token")), 401, "invalid_token")
			wantError(t, o.post(c, "", refresh(first.text("refresh_token"))), 400, "invalid_grant")
		}},
		{"fosite-F12 fosite-5.5 no internal claim in the ID token", func(t *testing.T) {
			id := payload(t, redeem(t, b.authorize(o.request(c, "max_age", "10000")).params.Get("code")).text("id_token"))
			for name := range id {
				if !slices.Contains([]string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"}, name) {
					t.Errorf("claim %s", name)
				}
			}
		}},
		{"fosite-F13 acr is never 0", func(t *testing.T) {
			id := payload(t, redeem(t, b.authorize(o.request(c, "acr_values", "1 2")).params.Get("code")).text("id_token"))
			if id["acr"] != pwd {
				t.Errorf("acr is %v", id["acr"])
			}
		}},
		{"fosite-F14 fosite-5.4 max_age=0 asks for a sign-in, prompt=create for an account", func(t *testing.T) {
			for _, change := range [][]string{{"max_age", "0"}, {"prompt", "create"}} {
				o.pass(time.Second)
				before := o.logins.Load()
				if a := b.authorize(o.request(c, change...)); a.params.Get("code") == "" || o.logins.Load() != before+1 {
					t.Errorf("%q: %v after %d sign-ins", change, a.params, o.logins.Load()-before)
				}
			}
			if e := errorOf("max_age", "abc"); e != "invalid_request" {
				t.Errorf("max_age=abc: %s", e)
			}
		}},
		{"fosite-5.5 prompt=login is a page, not an error, and a sign-in in the same second counts", func(t *testing.T) {
			before := o.logins.Load()
			if a := b.authorize(o.request(c, "prompt", "login")); a.params.Get("code") == "" || o.logins.Load() != before+1 {
				t.Errorf("answered %v after %d sign-ins", a.params, o.logins.Load()-before)
			}
		}},
		{"fosite-F15 a retry of a refresh kills nobody, and scope narrows", func(t *testing.T) {
			first := o.tokens(c, "").text("refresh_token")
			one, two := o.post(c, "", refresh(first)), o.post(c, "", refresh(first))
			if one.status != 200 || two.text("refresh_token") != one.text("refresh_token") {
				t.Fatalf("answered %v and %v", one.body, two.body)
			}
			if r := o.post(c, "", refresh(one.text("refresh_token"), "scope", "openid")); r.text("scope") != "openid" {
				t.Errorf("answered %v", r.body)
			}
			wantError(t, o.post(c, "", refresh(one.text("refresh_token"), "scope", "openid admin")), 400, "invalid_scope")
		}},
		{"fosite-F16 fosite-F18 fosite-F20 there is no request by reference or by value to misread, and nothing is fetched", func(t *testing.T) {
			var asked atomic.Int64
			trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
			defer trap.Close()
			for _, uri := range []string{trap.URL, "urn:ietf:params:oauth:request_uri:x"} {
				if e := errorOf("request_uri", uri); e != "request_uri_not_supported" {
					t.Errorf("%s: %s", uri, e)
				}
			}
			unsigned := "eyJhbGciOiJub25lIn0." + "eyJtYXhfYWdlIjoxMDAwMH0" + "."
			if e := errorOf("request", unsigned); e != "request_not_supported" {
				t.Errorf("an unsigned object: %s", e)
			}
			doc := o.metadata("/.well-known/openid-configuration")
			if asked.Load() != 0 || doc["pushed_authorization_request_endpoint"] != nil || doc["request_uri_parameter_supported"] != false {
				t.Errorf("fetched %d times, metadata %v", asked.Load(), doc)
			}
		}},
		{"fosite-F19 fosite-5.14 of 32 parallel redemptions one wins, and the others are told so", func(t *testing.T) {
			code := o.code(c)
			var g sync.WaitGroup
			var won, lost atomic.Int64
			for range 32 {
				g.Go(func() {
					switch r := redeem(t, code); {
					case r.status == 200:
						won.Add(1)
					case r.status == 400 && r.text("error") == "invalid_grant":
						lost.Add(1)
					}
				})
			}
			g.Wait()
			if won.Load() != 1 || lost.Load() != 31 {
				t.Errorf("%d won, %d were told invalid_grant", won.Load(), lost.Load())
			}
		}},
		{"fosite-F21 an access token in the query is none", func(t *testing.T) {
			req, _ := http.NewRequest(http.MethodGet, o.issuer+"/userinfo?access_token="+o.tokens(c, "").text("access_token"), nil)
			if r := o.do(req); r.status != 401 {
				t.Errorf("answered %d %v", r.status, r.body)
			}
		}},
		{"fosite-F24 fosite-5.9 at_hash is by the algorithm of the ID token", func(t *testing.T) {
			ctx := context.Background()
			op, err := oidc.NewProvider(ctx, o.issuer)
			if err != nil {
				t.Fatal(err)
			}
			for _, alg := range o.keys.Algorithms() {
				c, _ := o.client(storage.Client{IDTokenAlg: alg})
				r := o.tokens(c, "")
				id, err := op.Verifier(&oidc.Config{ClientID: c.ID, Now: o.now, SupportedSigningAlgs: []string{alg}}).Verify(ctx, r.text("id_token"))
				if err != nil {
					t.Fatalf("%s: %v", alg, err)
				}
				if err := id.VerifyAccessToken(r.text("access_token")); err != nil {
					t.Errorf("%s: %v", alg, err)
				}
			}
		}},
		{"fosite-F25 fosite-5.8 a parameter may come once, in one place", func(t *testing.T) {
			for name, v := range map[string]url.Values{"scope": twice("scope", "openid"), "state": twice("state", "y"), "nonce": twice("nonce", "y"), "prompt": twice("prompt", "none")} {
				if name == "prompt" {
					v.Add("prompt", "login")
				}
				if a := b.authorize(v); a.params.Get("error") != "invalid_request" {
					t.Errorf("%s twice: %v", name, a.params)
				}
			}
			form := redemption(c, o.code(c))
			form.Add("code", "x")
			wantError(t, o.post(c, "", form), 400, "invalid_request")
			// A query beside a posted request is not part of it.
			resp, err := b.client.PostForm(o.issuer+"/authorize?prompt=none&scope=email", o.request(c))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if l, _ := resp.Location(); l == nil || l.Query().Get("code") == "" {
				t.Errorf("a posted request: %v", l)
			}
			var body bytes.Buffer
			m := multipart.NewWriter(&body)
			_ = m.WriteField("grant_type", "authorization_code")
			_ = m.Close()
			for _, path := range []string{"/token", "/authorize"} {
				resp, err := http.Post(o.issuer+path, m.FormDataContentType(), bytes.NewReader(body.Bytes()))
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if resp.StatusCode != 400 {
					t.Errorf("multipart/form-data at %s: %d", path, resp.StatusCode)
				}
			}
		}},
		{"fosite-F26 a code lives 60 seconds, scopes match exactly, and refresh tokens need offline_access", func(t *testing.T) {
			code := o.code(c)
			o.pass(61 * time.Second)
			wantError(t, redeem(t, code), 400, "invalid_grant")
			b.authorize(o.request(c))
			r := redeem(t, b.authorize(o.request(c, "scope", "openid notes.read")).params.Get("code"))
			if r.text("scope") != "openid" || r.body["refresh_token"] != nil {
				t.Errorf("answered %v", r.body)
			}
		}},
		{"fosite-F27 a stranger's replay kills nothing", func(t *testing.T) {
			code := o.code(c)
			first := redeem(t, code)
			o.pass(30 * time.Second)
			wantError(t, o.post(other, "", redemption(other, code)), 400, "invalid_grant")
			wantError(t, o.post(confidential, secret, redemption(confidential, code, "redirect_uri", "")), 400, "invalid_grant")
			wantError(t, redeem(t, code, "code_verifier", strings.Repeat("x", 43)), 400, "invalid_grant")
			wantError(t, redeem(t, "made-up."+code), 400, "invalid_grant")
			if u := o.userinfo(first.text("access_token")); u.status != 200 {
				t.Errorf("the tokens are dead: %d %v", u.status, u.body)
			}
		}},
		{"fosite-F28 redirect_uri may be left out of a token request with PKCE", func(t *testing.T) {
			if r := redeem(t, o.code(c), "redirect_uri", ""); r.status != 200 {
				t.Errorf("answered %d %v", r.status, r.body)
			}
			without := o.code(confidential, noPKCE...)
			wantError(t, o.post(confidential, secret, redemption(confidential, without, "redirect_uri", "", "code_verifier", "")), 400, "invalid_grant")
			if r := o.post(confidential, secret, redemption(confidential, without, "code_verifier", "")); r.status != 200 {
				t.Errorf("without PKCE, with it: %d %v", r.status, r.body)
			}
		}},
		{"fosite-5.1 no error is called invalid_state", func(t *testing.T) {
			if a := b.authorize(o.request(c, "state", "1234567")); a.params.Get("code") == "" || a.params.Get("state") != "1234567" {
				t.Errorf("answered %v", a.params)
			}
		}},
		{"fosite-5.2 an unknown grant_type is unsupported_grant_type", func(t *testing.T) {
			wantError(t, o.post(c, "", url.Values{"grant_type": {"telepathy"}}), 400, "unsupported_grant_type")
			wantError(t, o.post(c, "", url.Values{"grant_type": {"password"}, "username": {"a"}, "password": {"b"}}), 400, "unsupported_grant_type")
		}},
		{"fosite-5.6 prompt=none works for a redirect URI that is http on this machine", func(t *testing.T) {
			o.code(confidential, noPKCE...)
			local := o.browser()
			local.authorize(o.request(confidential))
			if a := local.authorize(o.request(confidential, "prompt", "none")); a.params.Get("code") == "" {
				t.Errorf("answered %v", a.params)
			}
		}},
		{"fosite-5.7 request is an error to the client, before and after a sign-in", func(t *testing.T) {
			for _, b := range []*browser{b, o.browser()} {
				if a := b.authorize(o.request(c, "request", "x")); a.status != 303 || a.params.Get("error") != "request_not_supported" {
					t.Errorf("answered %d %v", a.status, a.params)
				}
			}
		}},
		{"fosite-5.12 a hint is an ID token of ours for this client", func(t *testing.T) {
			mine, theirs := o.tokens(c, ""), o.tokens(other, "")
			for name, hint := range map[string]string{
				"an access token": mine.text("access_token"), "another client's ID token": theirs.text("id_token"),
				"an unsigned one": "eyJhbGciOiJub25lIn0." + strings.Split(mine.text("id_token"), ".")[1] + ".",
				"a broken one":    mine.text("id_token")[:len(mine.text("id_token"))-4] + "AAAA",
			} {
				if e := errorOf("prompt", "none", "id_token_hint", hint); e != "invalid_request" {
					t.Errorf("sec-T3 %s: %q", name, e)
				}
			}
			if e := errorOf("prompt", "none", "id_token_hint", mine.text("id_token")); e != "" {
				t.Errorf("this client's own: %q", e)
			}
		}},
		{"fosite-5.13 a grant that a client may not use is unauthorized_client, a broken refresh token invalid_grant", func(t *testing.T) {
			wantError(t, o.post(c, "", url.Values{"grant_type": {"client_credentials"}}), 400, "unauthorized_client")
			for _, broken := range []string{"x", "x.y", "gate_rt_x", strings.Repeat(".", 10)} {
				wantError(t, o.post(c, "", refresh(broken)), 400, "invalid_grant")
			}
		}},
		{"fosite-5.16 no description repeats what was sent", func(t *testing.T) {
			const canary = "canary\\\"<é>"
			for _, parameter := range []string{"scope", "prompt", "max_age", "response_type", "response_mode", "resource", "code_challenge", "code_challenge_method", "id_token_hint", "claims", "request"} {
				if a := b.authorize(o.request(c, parameter, canary)); a.params.Get("error") == "" || strings.Contains(a.params.Get("error_description"), "canary") {
					t.Errorf("%s: %v", parameter, a.params)
				}
			}
			for _, parameter := range []string{"grant_type", "code", "code_verifier", "redirect_uri", "resource", "scope"} {
				r := redeem(t, o.code(c), parameter, canary)
				if r.status != 400 || strings.Contains(r.text("error_description"), "canary") {
					t.Errorf("%s: %d %v", parameter, r.status, r.body)
				}
			}
		}},
		{"fosite-5.17 descriptions are in one language", func(t *testing.T) {
			one := b.authorize(o.request(c, "prompt", "maybe")).params.Get("error_description")
			if two := b.authorize(o.request(c, "prompt", "maybe", "ui_locales", "de")).params.Get("error_description"); one == "" || one != two {
				t.Errorf("%q and %q", one, two)
			}
		}},
		{"fosite-5.18 resources match exactly", func(t *testing.T) {
			for _, resource := range []string{"https://api.example/", "https://api.example/v1/", "https://api.example/v1/notes", "https://api.example/v12", "https://API.example/v1"} {
				if e := errorOf("resource", resource); e != "invalid_target" {
					t.Errorf("%s: %q", resource, e)
				}
			}
		}},
	} {
		t.Run(row.name, row.test)
	}

	// Last, because it turns the keys over.
	t.Run("fosite-F23 fosite-5.11 a hint is good whichever key signs now, also when its own is gone", func(t *testing.T) {
		for _, alg := range o.keys.Algorithms() {
			c, _ := o.client(storage.Client{IDTokenAlg: alg})
			hint := o.tokens(c, "").text("id_token")
			b := o.browser()
			b.authorize(o.request(c))
			kid := tokenHeader(t, hint)["kid"]
			if err := o.keys.Rotate(context.Background()); err != nil {
				t.Fatal(err)
			}
			for _, k := range o.keys.Keys() { // until the new key signs, the ID token has expired and its key is gone
				if wait := k.SigningAt.Sub(o.now()); k.Purpose == keys.PurposeSign && wait > 0 {
					o.pass(wait + 48*time.Hour)
				}
			}
			b.authorize(o.request(c))
			if now := tokenHeader(t, o.tokens(c, "").text("id_token"))["kid"]; now == kid {
				t.Fatalf("%s: the key did not turn over", alg)
			}
			if a := b.authorize(o.request(c, "prompt", "none", "id_token_hint", hint)); a.params.Get("code") == "" {
				t.Errorf("%s: answered %v", alg, a.params)
			}
		}
	})
}

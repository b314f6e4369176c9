package provider_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-id/gatehouse/denylist"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

const notesAPI = "https://api.example/notes"

// A raw is an answer as it came.
type raw struct {
	status int
	header http.Header
	body   string
}

// send posts a form to an endpoint, authenticated as the client is registered.
func (o *op) send(path string, c storage.Client, secret string, form url.Values, headers ...string) raw {
	o.t.Helper()
	form = cloneValues(form)
	switch c.AuthMethod {
	case storage.AuthNone:
		form.Set("client_id", c.ID)
	case storage.AuthSecretPost:
		form.Set("client_id", c.ID)
		form.Set("client_secret", secret)
	}
	req, err := http.NewRequest(http.MethodPost, o.issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.AuthMethod == storage.AuthSecretBasic && secret != "" {
		req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(secret))
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return o.fetch(req)
}

func (o *op) fetch(req *http.Request) raw {
	o.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return raw{resp.StatusCode, resp.Header, string(body)}
}

func (r raw) json(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		t.Fatalf("the answer is not JSON: %d %q", r.status, r.body)
	}
	return m
}

// introspect asks about a token.
func (o *op) introspect(c storage.Client, secret, token string, more ...string) raw {
	o.t.Helper()
	form := url.Values{"token": {token}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return o.send("/introspect", c, secret, form)
}

// wantInactive fails the test unless the answer says that and nothing else.
func wantInactive(t *testing.T, r raw) {
	t.Helper()
	if r.status != http.StatusOK || strings.TrimSpace(r.body) != `{"active":false}` {
		t.Errorf(`answered %d %s, want 200 {"active":false}`, r.status, r.body)
	}
}

func wantRefused(t *testing.T, r raw, status int, code string) {
	t.Helper()
	if got := r.json(t); r.status != status || got["error"] != code {
		t.Errorf("answered %d %v, want %d %s", r.status, got, status, code)
	}
}

// parties are a confidential app, a public one, an API that may check tokens for
// notesAPI, and one that may check others.
type parties struct {
	app, public, api, other        storage.Client
	secret, apiSecret, otherSecret string
}

func (o *op) parties() (p parties) {
	o.t.Helper()
	p.app, p.secret = o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, Resources: []string{notesAPI}})
	p.public, _ = o.client(storage.Client{Resources: []string{notesAPI}})
	machine := []string{"client_credentials"}
	p.api, p.apiSecret = o.client(storage.Client{
		AuthMethod: storage.AuthSecretBasic, GrantTypes: machine, Metadata: storage.ClientMetadata{Introspects: []string{notesAPI}},
	})
	p.other, p.otherSecret = o.client(storage.Client{
		AuthMethod: storage.AuthSecretPost, GrantTypes: machine, Metadata: storage.ClientMetadata{Introspects: []string{"https://api.example/mail"}},
	})
	return p
}

func TestIntrospect(t *testing.T) {
	o := newOP(t)
	p := o.parties()
	got := o.tokens(p.app, p.secret)
	access, refreshing := got.text("access_token"), got.text("refresh_token")

	t.Run("sec-E5 a client sees all that its own access token says", func(t *testing.T) {
		r := o.introspect(p.app, p.secret, access)
		want := payload(t, access)
		want["active"], want["token_type"] = true, "Bearer"
		a, _ := json.Marshal(r.json(t))
		b, _ := json.Marshal(want)
		if r.status != http.StatusOK || string(a) != string(b) {
			t.Errorf("answered %d\n%s\nwant\n%s", r.status, a, b)
		}
		if r.header.Get("Cache-Control") != "no-store" || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", r.header)
		}
		// RFC 7662 section 2.2: integers.
		if !strings.Contains(r.body, `"exp":1`) && !strings.Contains(r.body, `"exp":2`) || strings.Contains(r.body, "e+") {
			t.Errorf("times are not written as integers: %s", r.body)
		}
	})
	t.Run("sec-E5 an API sees the access tokens for it, of whatever client", func(t *testing.T) {
		if a := o.introspect(p.api, p.apiSecret, access).json(t); a["active"] != true || a["client_id"] != p.app.ID || a["aud"] != notesAPI {
			t.Errorf("answered %v", a)
		}
	})
	t.Run("a client sees its own refresh token", func(t *testing.T) {
		a := o.introspect(p.app, p.secret, refreshing).json(t)
		if a["active"] != true || a["sub"] != o.user.ID || a["client_id"] != p.app.ID || a["scope"] != "openid profile email offline_access" || a["token_type"] != nil {
			t.Errorf("answered %v", a)
		}
		if exp, _ := a["exp"].(float64); time.Unix(int64(exp), 0).Sub(o.now()) < 29*24*time.Hour {
			t.Errorf("it ends at %v", time.Unix(int64(exp), 0))
		}
	})
	t.Run("a hint that is wrong or unknown changes nothing", func(t *testing.T) {
		for _, hint := range []string{"access_token", "refresh_token", "id_token", "telepathy"} {
			for _, token := range []string{access, refreshing} {
				if a := o.introspect(p.app, p.secret, token, "token_type_hint", hint).json(t); a["active"] != true {
					t.Errorf("hint %s: %v", hint, a)
				}
			}
		}
	})
	t.Run("a machine's own token", func(t *testing.T) {
		machine, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"}, Resources: []string{notesAPI}})
		token := o.post(machine, secret, url.Values{"grant_type": {"client_credentials"}}).text("access_token")
		if a := o.introspect(p.api, p.apiSecret, token).json(t); a["active"] != true || a["sub"] != machine.ID {
			t.Errorf("answered %v", a)
		}
		wantInactive(t, o.introspect(p.other, p.otherSecret, token))
	})

	t.Run("sec-E5 what is not for the client is inactive and nothing else", func(t *testing.T) {
		idToken := got.text("id_token")
		parts := strings.Split(access, ".")
		for name, token := range map[string]string{
			"an ID token": idToken, "garbage": "garbage", "three dots": "a.b.c", "a forged refresh token": "gate_rt_" + strings.Repeat("A", 80),
			"a signature of another token": parts[0] + "." + parts[1] + "." + strings.Split(idToken, ".")[2],
			"alg none":                     "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + parts[1] + ".",
			"a long one":                   strings.Repeat("x", 60_000),
		} {
			t.Run(name, func(t *testing.T) { wantInactive(t, o.introspect(p.app, p.secret, token)) })
		}
		t.Run("sec-E2 an ID token, asked about by who may see tokens for its audience", func(t *testing.T) {
			curious, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"}})
			curious.Metadata.Introspects = []string{p.app.ID} // which cannot be registered
			if err := o.db.UpdateClient(context.Background(), curious); err != nil {
				t.Fatal(err)
			}
			wantInactive(t, o.introspect(curious, secret, idToken))
		})
		t.Run("sec-E3 a token for another API", func(t *testing.T) { wantInactive(t, o.introspect(p.other, p.otherSecret, access)) })
		t.Run("another client's refresh token", func(t *testing.T) { wantInactive(t, o.introspect(p.api, p.apiSecret, refreshing)) })
	})

	t.Run("fosite-5.21 sec-E5 without client authentication it is 401", func(t *testing.T) {
		form := url.Values{"token": {access}}
		for name, r := range map[string]raw{
			"none at all":                       o.send("/introspect", storage.Client{}, "", form),
			"a wrong secret":                    o.introspect(p.app, "wrong", access),
			"sec-C7 a public client":            o.introspect(p.public, "", access),
			"a bearer token instead":            o.send("/introspect", storage.Client{}, "", form, "Authorization", "Bearer "+access),
			"a confidential one, unproved":      o.send("/introspect", storage.Client{ID: p.app.ID, AuthMethod: storage.AuthNone}, "", form),
			"a method it is not registered for": o.send("/introspect", storage.Client{ID: p.app.ID, AuthMethod: storage.AuthSecretPost}, p.secret, form),
		} {
			t.Run(name, func(t *testing.T) {
				wantRefused(t, r, http.StatusUnauthorized, "invalid_client")
				if !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic ") {
					t.Errorf("WWW-Authenticate is %q", r.header.Get("WWW-Authenticate"))
				}
			})
		}
	})
	t.Run("a malformed request", func(t *testing.T) {
		wantRefused(t, o.send("/introspect", p.app, p.secret, url.Values{}), http.StatusBadRequest, "invalid_request")
		wantRefused(t, o.send("/introspect", p.app, p.secret, url.Values{"token": {"a", "b"}}), http.StatusBadRequest, "invalid_request")
		wantRefused(t, o.send("/introspect?token="+access, p.app, p.secret, url.Values{}), http.StatusBadRequest, "invalid_request")
		req, _ := http.NewRequest(http.MethodGet, o.issuer+"/introspect?token="+access, nil)
		if r := o.fetch(req); r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != "POST" {
			t.Errorf("GET is answered %d, Allow %q", r.status, r.header.Get("Allow"))
		}
	})
}

// What ends a token shows at the next introspection.
func TestIntrospectTheDead(t *testing.T) {
	o := newOP(t)
	p := o.parties()
	for _, try := range []struct {
		sentence string
		end      func(t *testing.T, tokens reply)
		// left says that the refresh token lives on.
		left bool
	}{
		{"sec-E5 expired", func(*testing.T, reply) { o.pass(15*time.Minute + time.Second) }, true},
		{"sec-E5 revoked by itself", func(t *testing.T, r reply) { o.revoke(p.app, p.secret, r.text("access_token")) }, true},
		{"sec-E6 revoked with its refresh token", func(t *testing.T, r reply) { o.revoke(p.app, p.secret, r.text("refresh_token")) }, false},
		{"sec-E4 sec-D6 the person is suspended", func(t *testing.T, _ reply) {
			ctx := context.Background()
			if err := o.db.SetStatus(ctx, o.user.ID, storage.UserSuspended, o.now()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := o.db.SetStatus(ctx, o.user.ID, storage.UserActive, o.now()); err != nil {
					t.Fatal(err)
				}
			})
		}, false},
		{"sec-D6 the password was changed", func(t *testing.T, _ reply) {
			if _, err := o.db.SetPassword(context.Background(), storage.PasswordChange{
				UserID: o.user.ID, PasswordHash: "$argon2id$next", Now: o.now(),
			}); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"sec-D6 an operator signed the person out everywhere", func(t *testing.T, _ reply) {
			if _, err := o.db.EndEverything(context.Background(), o.user.ID, storage.Kept{}, o.now()); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"the refresh token was used twice", func(t *testing.T, r reply) {
			o.post(p.app, p.secret, refresh(r.text("refresh_token")))
			o.pass(11 * time.Second)
			wantError(t, o.post(p.app, p.secret, refresh(r.text("refresh_token"))), http.StatusBadRequest, "invalid_grant")
		}, false},
	} {
		t.Run(try.sentence, func(t *testing.T) {
			r := o.tokens(p.app, p.secret)
			access, refreshing := r.text("access_token"), r.text("refresh_token")
			if a := o.introspect(p.api, p.apiSecret, access).json(t); a["active"] != true {
				t.Fatalf("the token is dead before: %v", a)
			}
			try.end(t, r)
			wantInactive(t, o.introspect(p.api, p.apiSecret, access))
			wantInactive(t, o.introspect(p.app, p.secret, access))
			if r := o.userinfo(access); r.status != http.StatusUnauthorized {
				t.Errorf("sec-E4 UserInfo answers %d", r.status)
			}
			if try.left {
				if a := o.introspect(p.app, p.secret, refreshing).json(t); a["active"] != true {
					t.Errorf("the refresh token is %v", a)
				}
			} else {
				wantInactive(t, o.introspect(p.app, p.secret, refreshing))
			}
		})
	}
	t.Run("the person takes back what the app may", func(t *testing.T) {
		r := o.tokens(p.app, p.secret)
		if err := o.db.WithdrawConsent(context.Background(), o.user.ID, p.app.ID, o.now()); err != nil {
			t.Fatal(err)
		}
		wantInactive(t, o.introspect(p.api, p.apiSecret, r.text("access_token")))
		wantInactive(t, o.introspect(p.app, p.secret, r.text("refresh_token")))
	})
	t.Run("sec-D6 the client is deleted", func(t *testing.T) {
		machine, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"}, Resources: []string{notesAPI}})
		doomed, doomedSecret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, Resources: []string{notesAPI}})
		for _, c := range []struct {
			storage.Client
			token string
		}{
			{machine, o.post(machine, secret, url.Values{"grant_type": {"client_credentials"}}).text("access_token")},
			{doomed, o.tokens(doomed, doomedSecret).text("access_token")},
		} {
			if a := o.introspect(p.api, p.apiSecret, c.token).json(t); a["active"] != true {
				t.Fatalf("the token is dead before: %v", a)
			}
			if err := o.db.DeleteClient(context.Background(), c.ID, o.now()); err != nil {
				t.Fatal(err)
			}
			wantInactive(t, o.introspect(p.api, p.apiSecret, c.token))
		}
	})
	t.Run("a refresh token is active as long as the token endpoint takes it", func(t *testing.T) {
		first := o.tokens(p.app, p.secret).text("refresh_token")
		second := o.post(p.app, p.secret, refresh(first)).text("refresh_token")
		for _, token := range []string{first, second} {
			if a := o.introspect(p.app, p.secret, token).json(t); a["active"] != true {
				t.Errorf("within the grace it is %v", a)
			}
		}
		o.pass(11 * time.Second)
		wantInactive(t, o.introspect(p.app, p.secret, first))
		if a := o.introspect(p.app, p.secret, second).json(t); a["active"] != true {
			t.Errorf("the current one is %v", a)
		}
		o.pass(31 * 24 * time.Hour)
		wantInactive(t, o.introspect(p.app, p.secret, second))
	})
}

// blind is a denylist that cannot tell.
type blind struct{ provider.Denylist }

func (blind) Check(context.Context, storage.Bearer) error { return denylist.ErrUnknown }

func TestIntrospectNeverGuesses(t *testing.T) {
	o := newOP(t, func(c *provider.Config) { c.Denylist = blind{} })
	p := o.parties()
	access := o.tokens(p.app, p.secret).text("access_token")
	for name, r := range map[string]raw{
		"introspection": o.introspect(p.api, p.apiSecret, access),
		"UserInfo":      o.userinfoRaw(access),
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, r, http.StatusServiceUnavailable, "temporarily_unavailable")
			if r.header.Get("Retry-After") == "" {
				t.Error("there is no Retry-After")
			}
		})
	}
	// Who may not see the token learns nothing of that.
	wantInactive(t, o.introspect(p.other, p.otherSecret, access))
}

func (o *op) userinfoRaw(token string) raw {
	o.t.Helper()
	req, err := http.NewRequest(http.MethodGet, o.issuer+"/userinfo", nil)
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return o.fetch(req)
}

func TestIntrospectLimit(t *testing.T) {
	o := newOP(t, func(c *provider.Config) { c.IntrospectLimit = 3 })
	p := o.parties()
	for range 3 {
		wantInactive(t, o.introspect(p.api, p.apiSecret, "garbage"))
	}
	t.Run("sec-E5 a client that fishes for tokens is stopped", func(t *testing.T) {
		r := o.introspect(p.api, p.apiSecret, "garbage")
		wantRefused(t, r, http.StatusTooManyRequests, "temporarily_unavailable")
		if r.header.Get("Retry-After") == "" {
			t.Error("there is no Retry-After")
		}
	})
	t.Run("others are not", func(t *testing.T) { wantInactive(t, o.introspect(p.app, p.secret, "garbage")) })
	t.Run("nor is it, a minute later", func(t *testing.T) {
		o.pass(time.Minute)
		wantInactive(t, o.introspect(p.api, p.apiSecret, "garbage"))
	})
}

// Signed answers (RFC 9701).
func TestSignedIntrospection(t *testing.T) {
	o := newOP(t)
	p := o.parties()
	registered, secret := o.client(storage.Client{
		AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"},
		Metadata: storage.ClientMetadata{Introspects: []string{notesAPI}, IntrospectionAlg: "ES256"},
	})
	access := o.tokens(p.app, p.secret).text("access_token")
	const signed = "application/token-introspection+jwt"

	var set jose.JSONWebKeySet
	req, _ := http.NewRequest(http.MethodGet, o.issuer+"/jwks", nil)
	if err := json.Unmarshal([]byte(o.fetch(req).body), &set); err != nil {
		t.Fatal(err)
	}
	// open verifies an answer with the published keys.
	open := func(t *testing.T, r raw, alg jose.SignatureAlgorithm, audience string) map[string]any {
		t.Helper()
		if r.status != http.StatusOK || r.header.Get("Content-Type") != signed {
			t.Fatalf("answered %d %s %s", r.status, r.header.Get("Content-Type"), r.body)
		}
		jws, err := jose.ParseSignedCompact(r.body, []jose.SignatureAlgorithm{alg})
		if err != nil {
			t.Fatal(err)
		}
		body, err := jws.Verify(set)
		if err != nil {
			t.Fatal(err)
		}
		if typ := jws.Signatures[0].Header.ExtraHeaders["typ"]; typ != "token-introspection+jwt" {
			t.Errorf("typ is %v", typ)
		}
		var c map[string]any
		if err := json.Unmarshal(body, &c); err != nil {
			t.Fatal(err)
		}
		iat, _ := c["iat"].(float64)
		if c["iss"] != o.issuer || c["aud"] != audience || time.Unix(int64(iat), 0).Sub(o.now()).Abs() > 5*time.Second {
			t.Errorf("the claims are %v", c)
		}
		if len(c) != 4 { // no sub, no exp: it is no access token (section 5)
			t.Errorf("there are more claims: %v", c)
		}
		inner, _ := c["token_introspection"].(map[string]any)
		return inner
	}
	form := url.Values{"token": {access}}
	t.Run("asked for by Accept, it is RS256", func(t *testing.T) {
		c := open(t, o.send("/introspect", p.api, p.apiSecret, form, "Accept", "text/html, "+signed+";q=0.5"), jose.RS256, p.api.ID)
		if c["active"] != true || c["sub"] != o.user.ID {
			t.Errorf("it says %v", c)
		}
	})
	t.Run("registered, it is always signed", func(t *testing.T) {
		if c := open(t, o.send("/introspect", registered, secret, form, "Accept", "application/json"), jose.ES256, registered.ID); c["active"] != true {
			t.Errorf("it says %v", c)
		}
	})
	t.Run("what is inactive is signed too, and says nothing else", func(t *testing.T) {
		c := open(t, o.send("/introspect", registered, secret, url.Values{"token": {"garbage"}}), jose.ES256, registered.ID)
		if len(c) != 1 || c["active"] != false {
			t.Errorf("it says %v", c)
		}
	})
	t.Run("not asked for, it is JSON", func(t *testing.T) {
		for _, accept := range []string{"*/*", "application/*", signed + ";q=0", "application/json"} {
			if r := o.send("/introspect", p.api, p.apiSecret, form, "Accept", accept); r.header.Get("Content-Type") != "application/json" {
				t.Errorf("Accept %s is answered with %s", accept, r.header.Get("Content-Type"))
			}
		}
	})
	t.Run("it is no access token, no ID token and no logout hint", func(t *testing.T) {
		r := o.send("/introspect", registered, secret, form)
		wantInactive(t, o.introspect(p.api, p.apiSecret, r.body))
		if got := o.userinfo(r.body); got.status != http.StatusUnauthorized {
			t.Errorf("UserInfo answers %d", got.status)
		}
	})
}

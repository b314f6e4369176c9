package provider_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

func TestTokens(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{})
	r := o.tokens(c, "")
	if r.text("token_type") != "Bearer" || r.body["expires_in"] != float64(900) || r.text("scope") != "openid profile email offline_access" {
		t.Errorf("answered %v", r.body)
	}
	if r.body["refresh_token_expires_in"] != float64(30*24*3600) {
		t.Errorf("refresh_token_expires_in = %v", r.body["refresh_token_expires_in"])
	}
	if r.header.Get("Cache-Control") != "no-store" || r.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("sec-C8: headers %v", r.header)
	}

	t.Run("sec-E2 the access token is RFC 9068", func(t *testing.T) {
		if h := tokenHeader(t, r.text("access_token")); h["typ"] != "at+jwt" || h["alg"] != "ES256" || h["kid"] == "" {
			t.Errorf("header %v", h)
		}
		a := payload(t, r.text("access_token"))
		for _, name := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope", "auth_time"} {
			if a[name] == nil {
				t.Errorf("no %s in %v", name, a)
			}
		}
		if a["sub"] != o.user.ID || a["aud"] != o.issuer || a["client_id"] != c.ID {
			t.Errorf("claims %v", a)
		}
	})
	t.Run("UserInfo tells what the scopes allow", func(t *testing.T) {
		u := o.userinfo(r.text("access_token"))
		if u.status != 200 || u.text("sub") != o.user.ID || u.text("email") != "asha@example.com" || u.body["email_verified"] != true || u.text("name") != "Asha Gurung" {
			t.Errorf("answered %d %v", u.status, u.body)
		}
	})
	t.Run("the ID token has no claim that was not asked for", func(t *testing.T) {
		id := payload(t, r.text("id_token"))
		for name := range id {
			if !slices.Contains([]string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"}, name) {
				t.Errorf("fosite-F12: claim %s", name)
			}
		}
		if id["nonce"] != "n-0S6" || id["sid"] == "" {
			t.Errorf("claims %v", id)
		}
	})
	t.Run("sec-E2 an ID token is no access token", func(t *testing.T) {
		if u := o.userinfo(r.text("id_token")); u.status != 401 {
			t.Errorf("UserInfo took an ID token: %d", u.status)
		}
	})
	t.Run("sec-E2 typ alone keeps the two apart", func(t *testing.T) {
		_, claims, _ := strings.Cut(r.text("access_token"), ".")
		claims, _, _ = strings.Cut(claims, ".")
		raw, err := base64.RawURLEncoding.DecodeString(claims)
		if err != nil {
			t.Fatal(err)
		}
		for typ, want := range map[string]int{"at+jwt": 200, "JWT": 401, "logout+jwt": 401} {
			token, err := o.keys.Sign("ES256", typ, raw)
			if err != nil {
				t.Fatal(err)
			}
			if u := o.userinfo(token); u.status != want {
				t.Errorf("typ %s: answered %d", typ, u.status)
			}
		}
	})
	t.Run("no refresh token without offline_access", func(t *testing.T) {
		r := o.tokens(c, "", "scope", "openid")
		if r.body["refresh_token"] != nil || r.body["refresh_token_expires_in"] != nil {
			t.Errorf("answered %v", r.body)
		}
		if u := o.userinfo(r.text("access_token")); u.status != 200 || u.body["email"] != nil {
			t.Errorf("answered %d %v", u.status, u.body)
		}
	})
	t.Run("a first-party client needs neither consent nor offline_access", func(t *testing.T) {
		before := o.consents.Load()
		c, _ := o.client(storage.Client{FirstParty: true})
		if r := o.tokens(c, "", "scope", "openid"); r.text("refresh_token") == "" {
			t.Errorf("answered %v", r.body)
		}
		if o.consents.Load() != before {
			t.Error("the person was asked")
		}
	})
}

func TestIDTokenVerifies(t *testing.T) {
	o := newOP(t)
	ctx := context.Background()
	op, err := oidc.NewProvider(ctx, o.issuer)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{"ES256", "RS256"} {
		t.Run(alg, func(t *testing.T) {
			c, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, IDTokenAlg: alg})
			r := o.tokens(c, secret)
			for range 2 {
				id, err := op.Verifier(&oidc.Config{ClientID: c.ID, Now: o.now}).Verify(ctx, r.text("id_token"))
				if err != nil {
					t.Fatal(err)
				}
				if err := id.VerifyAccessToken(r.text("access_token")); err != nil {
					t.Error(err)
				}
				if h := tokenHeader(t, r.text("id_token")); h["alg"] != alg {
					t.Errorf("signed with %v", h["alg"])
				}
				r = o.post(c, secret, refresh(r.text("refresh_token")))
			}
		})
	}
}

func TestCode(t *testing.T) {
	o := newOP(t)
	c, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretPost})
	other, otherSecret := o.client(storage.Client{AuthMethod: storage.AuthSecretPost})

	// sec-B2, sec-B3, fosite-F1, fosite-F27: none of these spends the code.
	code := o.code(c)
	for _, try := range []struct {
		name   string
		client storage.Client
		secret string
		form   url.Values
		status int
		error  string
	}{
		{"another client", other, otherSecret, redemption(c, code), 400, "invalid_grant"},
		{"a wrong verifier", c, secret, redemption(c, code, "code_verifier", strings.Repeat("w", 43)), 400, "invalid_grant"},
		{"no verifier", c, secret, redemption(c, code, "code_verifier", ""), 400, "invalid_grant"},
		{"no verifier after a wrong one", c, secret, redemption(c, code, "code_verifier", ""), 400, "invalid_grant"},
		{"a short verifier", c, secret, redemption(c, code, "code_verifier", "short"), 400, "invalid_grant"},
		{"another redirect URI", c, secret, redemption(c, code, "redirect_uri", "https://app.example/other"), 400, "invalid_grant"},
		{"a made-up code", c, secret, redemption(c, "made-up"), 400, "invalid_grant"},
		{"no code", c, secret, redemption(c, ""), 400, "invalid_request"},
	} {
		t.Run(try.name, func(t *testing.T) { wantError(t, o.post(try.client, try.secret, try.form), try.status, try.error) })
	}
	t.Run("and its owner still redeems it", func(t *testing.T) {
		if r := o.post(c, secret, redemption(c, code)); r.status != 200 {
			t.Errorf("answered %d %v", r.status, r.body)
		}
	})
	t.Run("fosite-F28 redirect_uri may be left out under PKCE", func(t *testing.T) {
		if r := o.post(c, secret, redemption(c, o.code(c), "redirect_uri", "")); r.status != 200 {
			t.Errorf("answered %d %v", r.status, r.body)
		}
	})
	t.Run("sec-E3 resource narrows the first token, and an unknown one does not spend the code", func(t *testing.T) {
		c, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretPost, Resources: []string{"https://api.example/a", "https://api.example/b", "https://api.example/c"}})
		v := o.request(c)
		v["resource"] = []string{"https://api.example/a", "https://api.example/b"}
		b := o.browser()
		code := b.authorize(v).params.Get("code")
		wantError(t, o.post(c, secret, redemption(c, code, "resource", "https://evil.example")), 400, "invalid_target")
		r := o.post(c, secret, redemption(c, code, "resource", "https://api.example/b"))
		if r.status != 200 || payload(t, r.text("access_token"))["aud"] != "https://api.example/b" {
			t.Fatalf("answered %d %v", r.status, r.body)
		}
		// The grant keeps both.
		next := o.post(c, secret, refresh(r.text("refresh_token")))
		if aud, _ := payload(t, next.text("access_token"))["aud"].([]any); len(aud) != 2 {
			t.Errorf("after a refresh the audience is %v", aud)
		}
		// One that the client may ask for but did not gets nothing.
		code = b.authorize(v).params.Get("code")
		wantError(t, o.post(c, secret, redemption(c, code, "resource", "https://api.example/c")), 400, "invalid_target")
		// Without a resource of its own a client's audience is ours.
		plain, plainSecret := o.client(storage.Client{AuthMethod: storage.AuthSecretPost})
		if r := o.post(plain, plainSecret, redemption(plain, o.code(plain), "resource", o.issuer)); r.status != 200 {
			t.Errorf("answered %d %v", r.status, r.body)
		}
	})
	t.Run("sec-B4 it lives 60 seconds", func(t *testing.T) {
		code := o.code(c)
		o.pass(61 * time.Second)
		wantError(t, o.post(c, secret, redemption(c, code)), 400, "invalid_grant")
	})
	t.Run("sec-B2 issued without a challenge, any verifier is refused", func(t *testing.T) {
		c, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretPost, OptionalPKCE: true})
		code := o.code(c, "code_challenge", "", "code_challenge_method", "")
		wantError(t, o.post(c, secret, redemption(c, code)), 400, "invalid_grant")
		wantError(t, o.post(c, secret, redemption(c, code, "code_verifier", "", "redirect_uri", "")), 400, "invalid_grant")
		if r := o.post(c, secret, redemption(c, code, "code_verifier", "")); r.status != 200 {
			t.Errorf("answered %d %v", r.status, r.body)
		}
	})
	t.Run("sec-B6 a stranger's replay leaves the tokens alive", func(t *testing.T) {
		code := o.code(c)
		r := o.post(c, secret, redemption(c, code))
		o.pass(4 * time.Second)
		wantError(t, o.post(other, otherSecret, redemption(c, code)), 400, "invalid_grant")
		wantError(t, o.post(c, secret, redemption(c, code, "code_verifier", strings.Repeat("w", 43))), 400, "invalid_grant")
		if u := o.userinfo(r.text("access_token")); u.status != 200 {
			t.Errorf("the access token died: %d", u.status)
		}
	})
	t.Run("sec-B5 the client's own replay kills them", func(t *testing.T) {
		code := o.code(c)
		r := o.post(c, secret, redemption(c, code))
		wantError(t, o.post(c, secret, redemption(c, code)), 400, "invalid_grant")
		if u := o.userinfo(r.text("access_token")); u.status != 200 {
			t.Errorf("within 3 seconds it is the loser of a race, yet the token died: %d", u.status)
		}
		o.pass(4 * time.Second)
		wantError(t, o.post(c, secret, redemption(c, code)), 400, "invalid_grant")
		if u := o.userinfo(r.text("access_token")); u.status != 401 {
			t.Errorf("the access token lives: %d", u.status)
		}
		wantError(t, o.post(c, secret, refresh(r.text("refresh_token"))), 400, "invalid_grant")
		if events, err := o.db.ListEvents(context.Background(), "", 1); err != nil || len(events) != 1 || events[0].Kind != "code.replay" {
			t.Errorf("audit: %v %v", events, err)
		}
	})
	t.Run("sec-B7 of 64 parallel redemptions one wins and its tokens live", func(t *testing.T) {
		code := o.code(c)
		replies := parallel(64, func() reply { return o.post(c, secret, redemption(c, code)) })
		won := 0
		for _, r := range replies {
			if r.status == 200 {
				won++
				if u := o.userinfo(r.text("access_token")); u.status != 200 {
					t.Errorf("the winner's token: %d", u.status)
				}
			} else {
				wantError(t, r, 400, "invalid_grant")
			}
		}
		if won != 1 {
			t.Errorf("%d won", won)
		}
	})
}

func parallel(n int, do func() reply) []reply {
	out := make([]reply, n)
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-start
			out[i] = do()
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	return out
}

// hangsUp is a store before which whoever asks is gone when an event is to be
// kept.
type hangsUp struct {
	provider.Store
	kind string
	gone func()
}

func (h hangsUp) AddEvent(ctx context.Context, e storage.Event) error {
	if e.Kind == h.kind {
		h.gone()
	}
	return h.Store.AddEvent(ctx, e)
}

// sec-O2: who uses a token twice is on record, also who does not wait for the
// answer.
func TestHangingUpKeepsNothingSecret(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	o := newOP(t, func(c *provider.Config) { c.Store = hangsUp{c.Store, "token.reuse", hangUp} })
	c, _ := o.client(storage.Client{})
	first := o.tokens(c, "").text("refresh_token")
	o.post(c, "", refresh(first))
	o.pass(11 * time.Second)
	form := refresh(first)
	form.Set("client_id", c.ID)
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	o.Token(httptest.NewRecorder(), r)
	if n := len(o.events("token.reuse")); n != 1 || ctx.Err() == nil {
		t.Errorf("%d events, %v", n, ctx.Err())
	}
}

func TestRefresh(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{})

	t.Run("64 parallel refreshes within the grace get one successor", func(t *testing.T) {
		first := o.tokens(c, "").text("refresh_token")
		next := ""
		for _, r := range parallel(64, func() reply { return o.post(c, "", refresh(first)) }) {
			if r.status != 200 {
				t.Fatalf("answered %d %v", r.status, r.body)
			}
			if next == "" {
				next = r.text("refresh_token")
			}
			if r.text("refresh_token") != next {
				t.Error("sec-D2: two successors")
			}
		}
		if next == first {
			t.Error("not rotated")
		}
		if r := o.post(c, "", refresh(next)); r.status != 200 {
			t.Errorf("the successor is dead: %d", r.status)
		}
	})
	t.Run("sec-D1 a token rotated before the grace kills the family", func(t *testing.T) {
		a := o.tokens(c, "")
		b := o.post(c, "", refresh(a.text("refresh_token")))
		o.pass(11 * time.Second)
		wantError(t, o.post(c, "", refresh(a.text("refresh_token"))), 400, "invalid_grant")
		wantError(t, o.post(c, "", refresh(b.text("refresh_token"))), 400, "invalid_grant")
		for _, r := range []reply{a, b} {
			u := o.userinfo(r.text("access_token"))
			if u.status != 401 || !strings.Contains(u.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Errorf("an access token lives: %d", u.status)
			}
		}
	})
	t.Run("the generation before last kills it also within the grace", func(t *testing.T) {
		a := o.tokens(c, "")
		b := o.post(c, "", refresh(a.text("refresh_token")))
		d := o.post(c, "", refresh(b.text("refresh_token")))
		wantError(t, o.post(c, "", refresh(a.text("refresh_token"))), 400, "invalid_grant")
		wantError(t, o.post(c, "", refresh(d.text("refresh_token"))), 400, "invalid_grant")
	})
	t.Run("a strict client has no grace", func(t *testing.T) {
		strict := time.Duration(0)
		c, _ := o.client(storage.Client{RefreshGrace: &strict})
		a := o.tokens(c, "")
		b := o.post(c, "", refresh(a.text("refresh_token")))
		wantError(t, o.post(c, "", refresh(a.text("refresh_token"))), 400, "invalid_grant")
		wantError(t, o.post(c, "", refresh(b.text("refresh_token"))), 400, "invalid_grant")
	})
	t.Run("sec-D3 another client's use changes nothing", func(t *testing.T) {
		other, _ := o.client(storage.Client{})
		a := o.tokens(c, "")
		wantError(t, o.post(other, "", refresh(a.text("refresh_token"))), 400, "invalid_grant")
		if r := o.post(c, "", refresh(a.text("refresh_token"))); r.status != 200 {
			t.Errorf("answered %d %v", r.status, r.body)
		}
	})
	t.Run("sec-D4 scope and resource narrow the answer, not the grant", func(t *testing.T) {
		c, _ := o.client(storage.Client{Resources: []string{"https://api.example/a", "https://api.example/b"}})
		v := o.request(c)
		v["resource"] = []string{"https://api.example/a", "https://api.example/b"}
		a := o.post(c, "", redemption(c, o.browser().authorize(v).params.Get("code")))
		if aud, _ := payload(t, a.text("access_token"))["aud"].([]any); len(aud) != 2 {
			t.Errorf("audience %v", aud)
		}
		wantError(t, o.post(c, "", refresh(a.text("refresh_token"), "scope", "openid notes")), 400, "invalid_scope")
		wantError(t, o.post(c, "", refresh(a.text("refresh_token"), "resource", "https://api.example/c")), 400, "invalid_target")
		b := o.post(c, "", refresh(a.text("refresh_token"), "scope", "openid", "resource", "https://api.example/b"))
		if claims := payload(t, b.text("access_token")); b.text("scope") != "openid" || claims["scope"] != "openid" || claims["aud"] != "https://api.example/b" {
			t.Errorf("fosite-F15: %v %v", b.body, claims)
		}
		d := o.post(c, "", refresh(b.text("refresh_token")))
		if d.text("scope") != "openid profile email offline_access" {
			t.Errorf("the grant was narrowed: %v", d.body)
		}
	})
	t.Run("sec-D5 idle and absolute ends", func(t *testing.T) {
		a := o.tokens(c, "")
		for range 6 {
			o.pass(29 * 24 * time.Hour)
			a = o.post(c, "", refresh(a.text("refresh_token")))
			if a.status != 200 {
				t.Fatalf("answered %d %v", a.status, a.body)
			}
		}
		if left := a.body["refresh_token_expires_in"].(float64); left > 6*24*3600 {
			t.Errorf("the last token outlives the absolute end: %v s", left)
		}
		o.pass(7 * 24 * time.Hour)
		wantError(t, o.post(c, "", refresh(a.text("refresh_token"))), 400, "invalid_grant")

		b := o.tokens(c, "")
		o.pass(30*24*time.Hour + time.Second)
		wantError(t, o.post(c, "", refresh(b.text("refresh_token"))), 400, "invalid_grant")
	})
	t.Run("auth_time, amr and sid survive, iat is new", func(t *testing.T) {
		a := o.tokens(c, "")
		o.pass(time.Minute)
		b := o.post(c, "", refresh(a.text("refresh_token")))
		x, y := payload(t, a.text("id_token")), payload(t, b.text("id_token"))
		for _, name := range []string{"iss", "sub", "aud", "auth_time", "sid"} {
			if x[name] != y[name] {
				t.Errorf("%s: %v became %v", name, x[name], y[name])
			}
		}
		if x["iat"] == y["iat"] {
			t.Error("iat is the old one")
		}
	})
	t.Run("garbage is invalid_grant", func(t *testing.T) {
		good := o.tokens(c, "").text("refresh_token")
		for _, token := range []string{"x", good + "A", good[:len(good)-1], strings.ToUpper(good), "gate_rt_" + strings.Repeat("A", 80), good[:20] + string(good[20]^1) + good[21:]} {
			wantError(t, o.post(c, "", refresh(token)), 400, "invalid_grant")
		}
		if r := o.post(c, "", refresh(good)); r.status != 200 {
			t.Errorf("the good one died: %v", r.body)
		}
	})
	t.Run("seed-D6 a loop is stopped, three devices are not, and repeats do not count", func(t *testing.T) {
		a, b := o.tokens(c, ""), o.tokens(c, "")
		token := a.text("refresh_token")
		for n := range 30 {
			for range 2 {
				r := o.post(c, "", refresh(token))
				if r.status != 200 {
					t.Fatalf("refresh %d: answered %d %v", n+1, r.status, r.body)
				}
				a = r
			}
			token = a.text("refresh_token")
		}
		r := o.post(c, "", refresh(token))
		if r.status != 429 || r.header.Get("Retry-After") == "" {
			t.Errorf("refresh 31: answered %d %v %q", r.status, r.body, r.header.Get("Retry-After"))
		}
		if r := o.post(c, "", refresh(b.text("refresh_token"))); r.status != 200 {
			t.Errorf("another device of the same person: %d %v", r.status, r.body)
		}
		o.pass(5 * time.Minute)
		if r := o.post(c, "", refresh(token)); r.status != 200 {
			t.Errorf("after the wait: %d %v", r.status, r.body)
		}
	})
	t.Run("a password change ends it, and a suspension", func(t *testing.T) {
		a := o.tokens(c, "")
		if _, err := o.db.SetPassword(context.Background(), storage.PasswordChange{UserID: o.user.ID, PasswordHash: "new", Now: o.now()}); err != nil {
			t.Fatal(err)
		}
		wantError(t, o.post(c, "", refresh(a.text("refresh_token"))), 400, "invalid_grant")
		if u := o.userinfo(a.text("access_token")); u.status != 401 {
			t.Errorf("the access token lives: %d", u.status)
		}
		b := o.tokens(c, "")
		if err := o.db.SetStatus(context.Background(), o.user.ID, storage.UserSuspended, o.now()); err != nil {
			t.Fatal(err)
		}
		wantError(t, o.post(c, "", refresh(b.text("refresh_token"))), 400, "invalid_grant")
	})
}

func TestClientCredentials(t *testing.T) {
	o := newOP(t)
	c, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"}, Scopes: []string{"notes", "email", "reports"}})
	form := url.Values{"grant_type": {"client_credentials"}}
	r := o.post(c, secret, form)
	if r.status != 200 || r.text("scope") != "notes reports" || r.body["refresh_token"] != nil || r.body["id_token"] != nil {
		t.Errorf("answered %d %v", r.status, r.body)
	}
	a := payload(t, r.text("access_token"))
	if a["sub"] != c.ID || a["auth_time"] != nil {
		t.Errorf("sec-C7: %v", a)
	}
	if u := o.userinfo(r.text("access_token")); u.status != 403 {
		t.Errorf("UserInfo: %d", u.status)
	}
	form.Set("scope", "email")
	wantError(t, o.post(c, secret, form), 400, "invalid_scope")
	form.Set("scope", "reports")
	if r := o.post(c, secret, form); r.text("scope") != "reports" {
		t.Errorf("answered %v", r.body)
	}
	web, webSecret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic})
	wantError(t, o.post(web, webSecret, url.Values{"grant_type": {"client_credentials"}}), 400, "unauthorized_client")
	public, _ := o.client(storage.Client{})
	wantError(t, o.post(public, "", url.Values{"grant_type": {"client_credentials"}}), 400, "unauthorized_client")
}

func TestTokenRequests(t *testing.T) {
	o := newOP(t)
	basic, secret := o.client(storage.Client{ID: "b:asic"[:1] + "-basic", AuthMethod: storage.AuthSecretBasic})
	post, postSecret := o.client(storage.Client{AuthMethod: storage.AuthSecretPost})
	public, _ := o.client(storage.Client{})
	auth := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
	}
	const formType = "application/x-www-form-urlencoded"
	refreshing := "grant_type=refresh_token&refresh_token=x"
	for _, try := range []struct {
		name, method, target, contentType, authorization, body string
		status                                                 int
		error                                                  string
	}{
		{"sec-C1 GET", "GET", "/token?" + refreshing, "", "", "", 405, "invalid_request"},
		{"PUT", "PUT", "/token", formType, "", refreshing, 405, "invalid_request"},
		{"sec-C1 a secret in the query", "POST", "/token?client_secret=" + postSecret, formType, "", refreshing + "&client_id=" + post.ID, 400, "invalid_request"},
		{"JSON", "POST", "/token", "application/json", "", `{"grant_type":"refresh_token"}`, 400, "invalid_request"},
		{"multipart", "POST", "/token", "multipart/form-data; boundary=x", "", "--x--", 400, "invalid_request"},
		{"no content type", "POST", "/token", "", "", refreshing, 400, "invalid_request"},
		{"an empty body", "POST", "/token", formType, "", "", 400, "invalid_request"},
		{"broken escapes", "POST", "/token", formType, "", "grant_type=%zz", 400, "invalid_request"},
		{"fosite-F2 no grant_type", "POST", "/token", formType, auth(basic.ID, secret), "code=x", 400, "invalid_request"},
		{"an unknown grant_type", "POST", "/token", formType, auth(basic.ID, secret), "grant_type=telepathy", 400, "unsupported_grant_type"},
		{"sec-A8 the password grant", "POST", "/token", formType, auth(basic.ID, secret), "grant_type=password&username=a&password=b", 400, "unsupported_grant_type"},
		{"sec-A4 a parameter twice", "POST", "/token", formType, auth(basic.ID, secret), refreshing + "&refresh_token=y", 400, "invalid_request"},
		{"sec-P1 a body of 65 KB", "POST", "/token", formType, auth(basic.ID, secret), refreshing + "&x=" + strings.Repeat("x", 65<<10), 413, "invalid_request"},
		{"sec-P1 a thousand fields", "POST", "/token", formType, auth(basic.ID, secret), refreshing + strings.Repeat("&a=", 1000), 400, "invalid_request"},
		{"no client", "POST", "/token", formType, "", refreshing, 401, "invalid_client"},
		{"an unknown client", "POST", "/token", formType, auth("nobody", "x"), refreshing, 401, "invalid_client"},
		{"sec-C2 a wrong secret", "POST", "/token", formType, auth(basic.ID, "x"), refreshing, 401, "invalid_client"},
		{"an empty secret", "POST", "/token", formType, auth(basic.ID, ""), refreshing, 401, "invalid_client"},
		{"broken Basic", "POST", "/token", formType, "Basic %%%", refreshing, 401, "invalid_client"},
		{"another scheme", "POST", "/token", formType, "Bearer x", refreshing, 401, "invalid_client"},
		{"sec-C2 Basic and a body secret", "POST", "/token", formType, auth(basic.ID, secret), refreshing + "&client_secret=" + secret, 400, "invalid_request"},
		{"sec-C2 Basic and an assertion", "POST", "/token", formType, auth(basic.ID, secret), refreshing + "&client_assertion=x", 400, "invalid_request"},
		{"another client_id in the body", "POST", "/token", formType, auth(basic.ID, secret), refreshing + "&client_id=" + post.ID, 400, "invalid_request"},
		{"sec-C2 post instead of basic", "POST", "/token", formType, "", refreshing + "&client_id=" + basic.ID + "&client_secret=" + secret, 401, "invalid_client"},
		{"sec-C2 basic instead of post", "POST", "/token", formType, auth(post.ID, postSecret), refreshing, 401, "invalid_client"},
		{"a confidential client without its secret", "POST", "/token", formType, "", refreshing + "&client_id=" + post.ID, 401, "invalid_client"},
		{"a public client with a secret", "POST", "/token", formType, "", refreshing + "&client_id=" + public.ID + "&client_secret=x", 401, "invalid_client"},
		{"no refresh_token", "POST", "/token", formType, auth(basic.ID, secret), "grant_type=refresh_token", 400, "invalid_request"},
		{"a malformed scope", "POST", "/token", formType, auth(basic.ID, secret), refreshing + "&scope=%22", 400, "invalid_scope"},
	} {
		t.Run(try.name, func(t *testing.T) {
			req, err := http.NewRequest(try.method, o.issuer+try.target, strings.NewReader(try.body))
			if err != nil {
				t.Fatal(err)
			}
			if try.contentType != "" {
				req.Header.Set("Content-Type", try.contentType)
			}
			if try.authorization != "" {
				req.Header.Set("Authorization", try.authorization)
			}
			r := o.do(req)
			wantError(t, r, try.status, try.error)
			if r.header.Get("Cache-Control") != "no-store" {
				t.Error("sec-C8: may be cached")
			}
			if try.status == 401 && !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic ") {
				t.Error("fosite-F22: 401 without a challenge")
			}
			if try.status == 405 && r.header.Get("Allow") != "POST" {
				t.Error("405 without Allow")
			}
			for _, c := range r.text("error_description") {
				if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
					t.Errorf("sec-A6: %q in the description", c)
				}
			}
		})
	}
	t.Run("sec-C3 both secrets are good while they are changed", func(t *testing.T) {
		c, first := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"}})
		second, hash := "second-secret", sha(t, "second-secret")
		c.SecretHashes = append(c.SecretHashes, hash)
		if err := o.db.UpdateClient(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{first, second} {
			if r := o.post(c, s, url.Values{"grant_type": {"client_credentials"}}); r.status != 200 {
				t.Errorf("answered %d %v", r.status, r.body)
			}
		}
	})
}

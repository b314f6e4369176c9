package provider_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// open lets anybody register, as often as they like.
func open(c *provider.Config) {
	c.Registration = provider.Registration{Mode: provider.RegistrationOpen, PerHour: -1}
}

// document is a good registration document; change edits it (nil removes).
func document(change ...any) map[string]any {
	d := map[string]any{"client_name": "Tidepool Notes", "redirect_uris": []string{"https://app.example/cb"}}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == nil {
			delete(d, change[i].(string))
		} else {
			d[change[i].(string)] = change[i+1]
		}
	}
	return d
}

// manage sends a request of registration; an answer without a body is nothing.
func (o *op) manage(method, address, token string, body any, header ...string) reply {
	o.t.Helper()
	var b io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		b = strings.NewReader(body)
	default:
		raw, err := json.Marshal(body)
		if err != nil {
			o.t.Fatal(err)
		}
		b = bytes.NewReader(raw)
	}
	r, err := http.NewRequest(method, address, b)
	if err != nil {
		o.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, _ := io.ReadAll(resp.Body)
	a := reply{status: resp.StatusCode, header: resp.Header}
	if len(raw) == 0 && resp.StatusCode == http.StatusNoContent {
		return a
	}
	if err := json.Unmarshal(raw, &a.body); err != nil {
		o.t.Errorf("the answer is not JSON: %d %q", resp.StatusCode, raw)
	}
	return a
}

func (o *op) register(body any, header ...string) reply {
	o.t.Helper()
	return o.manage(http.MethodPost, o.issuer+"/connect/register", "", body, header...)
}

// registered registers what must succeed.
func (o *op) registered(change ...any) reply {
	o.t.Helper()
	r := o.register(document(change...))
	if r.status != http.StatusCreated {
		o.t.Fatalf("registration answered %d %v", r.status, r.body)
	}
	return r
}

func TestRegistration(t *testing.T) {
	o := newOP(t, open)
	t.Run("the defaults", func(t *testing.T) {
		r := o.registered()
		for name, want := range map[string]any{
			"client_name": "Tidepool Notes", "token_endpoint_auth_method": "client_secret_basic", "client_secret_expires_at": float64(0),
			"scope": "openid profile email address phone offline_access", "id_token_signed_response_alg": "RS256",
			"subject_type": "public", "application_type": "web",
		} {
			if r.body[name] != want {
				t.Errorf("%s = %v, want %v", name, r.body[name], want)
			}
		}
		for name, want := range map[string]string{"redirect_uris": "[https://app.example/cb]", "grant_types": "[authorization_code]", "response_types": "[code]"} {
			if got := fmt.Sprint(r.body[name]); got != want {
				t.Errorf("%s = %s, want %s", name, got, want)
			}
		}
		if r.text("registration_client_uri") != o.issuer+"/connect/register/"+r.text("client_id") || len(r.text("client_secret")) < 43 || len(r.text("registration_access_token")) < 43 {
			t.Errorf("answered %v", r.body)
		}
		if r.header.Get("Cache-Control") != "no-store" || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("sec-C8: headers %v", r.header)
		}
		if at := r.body["client_id_issued_at"].(float64); time.Duration(float64(o.now().Unix())-at)*time.Second > time.Minute {
			t.Errorf("issued at %v", at)
		}
	})
	t.Run("and with them somebody signs in", func(t *testing.T) {
		r := o.registered("grant_types", []string{"authorization_code", "refresh_token"}, "token_endpoint_auth_method", "client_secret_post")
		c, err := o.db.Client(context.Background(), r.text("client_id"))
		if err != nil {
			t.Fatal(err)
		}
		if !c.Registration.UsedAt.IsZero() {
			t.Errorf("used at %v before anybody used it", c.Registration.UsedAt)
		}
		tokens := o.tokens(c, r.text("client_secret"))
		if h := tokenHeader(t, tokens.text("id_token")); h["alg"] != "RS256" {
			t.Errorf("the ID token is signed with %v", h["alg"])
		}
		if c, err = o.db.Client(context.Background(), c.ID); err != nil || o.now().Sub(c.Registration.UsedAt) > time.Minute {
			t.Errorf("sec-I1: used at %v, %v", c.Registration.UsedAt, err)
		}
	})
	t.Run("what a client may say of itself is kept and shown", func(t *testing.T) {
		key := newSigner(t, jose.RS256, "")
		asked := document(
			"client_uri", "https://app.example/", "policy_uri", "https://app.example/privacy", "tos_uri", "https://app.example/terms",
			"logo_uri", "https://127.0.0.1/logo.png", "contacts", []string{"dev@app.example"}, "software_id", "tide", "software_version", "2.1",
			"application_type", "native", "id_token_signed_response_alg", "ES256", "userinfo_signed_response_alg", "RS256",
			"introspection_signed_response_alg", "RS256", "default_max_age", 3600, "require_auth_time", true,
			"default_acr_values", []string{"urn:gatehouse:acr:mfa"}, "initiate_login_uri", "https://app.example/start",
			"post_logout_redirect_uris", []string{"https://app.example/bye"}, "backchannel_logout_uri", "https://app.example/logout",
			"backchannel_logout_session_required", true, "token_endpoint_auth_method", "private_key_jwt", "token_endpoint_auth_signing_alg", "RS256",
			"jwks", jwks(t, key), "grant_types", []string{"authorization_code", "refresh_token"}, "scope", "openid email",
			"response_types", []string{"code"}, "subject_type", "public",
		)
		r := o.register(asked)
		if r.status != http.StatusCreated {
			t.Fatalf("answered %d %v", r.status, r.body)
		}
		got := o.manage(http.MethodGet, r.text("registration_client_uri"), r.text("registration_access_token"), nil)
		for name, want := range asked {
			for when, b := range map[string]map[string]any{"201": r.body, "GET": got.body} {
				raw, _ := json.Marshal(want)
				var v any
				_ = json.Unmarshal(raw, &v)
				if fmt.Sprint(b[name]) != fmt.Sprint(v) {
					t.Errorf("%s: %s = %v, want %v", when, name, b[name], v)
				}
			}
		}
		if _, ok := r.body["client_secret"]; ok {
			t.Error("a client with a key was given a secret")
		}
		c, err := o.db.Client(context.Background(), r.text("client_id"))
		if err != nil {
			t.Fatal(err)
		}
		// OIDC Core section 9: the token endpoint as audience, and the issuer.
		for _, aud := range []string{o.issuer, o.issuer + "/token"} {
			v := redemption(c, o.code(c, "scope", "openid"))
			v.Set("client_assertion_type", assertionType)
			v.Set("client_assertion", key.sign(o.claims(c.ID, "aud", aud)))
			if r := o.do(o.tokenRequest(v)); r.status != 200 {
				t.Errorf("aud %s: answered %d %v", aud, r.status, r.body)
			}
		}
	})
	t.Run("a public client", func(t *testing.T) {
		r := o.registered("token_endpoint_auth_method", "none", "redirect_uris", []string{"com.example.app:/cb", "http://127.0.0.1/cb"}, "client_name", nil)
		if _, ok := r.body["client_secret"]; ok || r.body["client_secret_expires_at"] != nil || r.text("client_name") != "com.example.app" {
			t.Errorf("answered %v", r.body)
		}
	})
	t.Run("scopes that nobody may have are dropped", func(t *testing.T) {
		if r := o.registered("scope", "openid admin email"); r.text("scope") != "openid email" {
			t.Errorf("scope = %v", r.body["scope"])
		}
	})
	t.Run("sec-I1 what is for the operator to set is ignored", func(t *testing.T) {
		r := o.registered(
			"first_party", true, "FirstParty", true, "skip_consent", true, "optional_pkce", true, "roles", []string{"admin"}, "owner", "me", "client_id", "mine",
			"client_secret", "mine", "resources", []string{"https://api.example"}, "introspects", []string{"https://api.example"}, "origins", []string{"https://evil.example"},
			"token_url_audience", true, "accent", "#ff0000", "created_at", "2020-01-01T00:00:00Z", "request_uris", []string{"https://app.example/r#x"}, "logo", "x",
		)
		c, err := o.db.Client(context.Background(), r.text("client_id"))
		if err != nil {
			t.Fatal(err)
		}
		if m := c.Metadata; c.FirstParty || c.OptionalPKCE || len(c.Resources) > 0 || c.ID == "mine" || c.RefreshGrace != nil ||
			len(m.Introspects) > 0 || len(m.Origins) > 0 || m.TokenURLAudience || m.Accent != "" || o.now().Sub(c.CreatedAt) > time.Minute {
			t.Errorf("registered %+v", c)
		}
		if o.post(storage.Client{ID: c.ID, AuthMethod: storage.AuthSecretBasic}, "mine", url.Values{"grant_type": {"refresh_token"}}).status != 401 {
			t.Error("a client chose its secret")
		}
	})
	t.Run("sec-I3 the tokens are kept as sums", func(t *testing.T) {
		r := o.registered()
		c, err := o.db.Client(context.Background(), r.text("client_id"))
		if err != nil {
			t.Fatal(err)
		}
		want := sha256.Sum256([]byte(r.text("registration_access_token")))
		if !bytes.Equal(c.Registration.TokenHash, want[:]) {
			t.Error("it is kept otherwise")
		}
	})
}

func TestRegistrationRefusals(t *testing.T) {
	o := newOP(t, open)
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: newSigner(t, jose.ES256, "").key}}})
	if err != nil {
		t.Fatal(err)
	}
	redirect := func(uris ...string) any { return document("redirect_uris", uris) }
	for _, try := range []struct {
		sentence string
		body     any
		status   int
		code     string
	}{
		{"sec-I2 http", redirect("http://app.example/cb"), 400, "invalid_redirect_uri"},
		{"sec-I2 a fragment", redirect("https://app.example/cb#frag"), 400, "invalid_redirect_uri"},
		{"sec-I2 javascript", redirect("javascript:alert(1)"), 400, "invalid_redirect_uri"},
		{"sec-I2 data", redirect("data:text/html,x"), 400, "invalid_redirect_uri"},
		{"sec-I2 a wildcard", redirect("https://*.example/cb"), 400, "invalid_redirect_uri"},
		{"sec-I2 a private scheme without a dot", document("token_endpoint_auth_method", "none", "redirect_uris", []string{"myapp:/cb"}), 400, "invalid_redirect_uri"},
		{"sec-I2 a private scheme of a client with a secret", redirect("com.example.app:/cb"), 400, "invalid_redirect_uri"},
		{"sec-I2 a user name", redirect("https://me@app.example/cb"), 400, "invalid_redirect_uri"},
		{"sec-I2 one good and one bad", redirect("https://app.example/cb", "http://app.example/cb"), 400, "invalid_redirect_uri"},
		{"no redirect URI", redirect(), 400, "invalid_redirect_uri"},
		{"sec-P1 500 redirect URIs", redirect(slices.Repeat([]string{"https://app.example/cb"}, 500)...), 400, "invalid_redirect_uri"},
		{"a software statement", document("software_statement", "eyJ.e30."), 400, "invalid_software_statement"},
		{"pairwise", document("subject_type", "pairwise"), 400, "invalid_client_metadata"},
		{"a sector", document("sector_identifier_uri", "https://app.example/sector"), 400, "invalid_client_metadata"},
		{"another response type", document("response_types", []string{"code id_token"}), 400, "invalid_client_metadata"},
		{"the implicit grant", document("grant_types", []string{"implicit"}), 400, "invalid_client_metadata"},
		{"tokens of its own", document("grant_types", []string{"client_credentials"}), 400, "invalid_client_metadata"},
		{"none as the algorithm of ID tokens", document("id_token_signed_response_alg", "none"), 400, "invalid_client_metadata"},
		{"an HMAC", document("userinfo_signed_response_alg", "HS256"), 400, "invalid_client_metadata"},
		{"encryption", document("id_token_encrypted_response_alg", "RSA-OAEP"), 400, "invalid_client_metadata"},
		{"an authentication that there is not", document("token_endpoint_auth_method", "client_secret_jwt"), 400, "invalid_client_metadata"},
		{"private_key_jwt without keys", document("token_endpoint_auth_method", "private_key_jwt"), 400, "invalid_client_metadata"},
		{"private_key_jwt with an HMAC", document("token_endpoint_auth_method", "private_key_jwt", "jwks", jwks(t, newSigner(t, jose.ES256, "")), "token_endpoint_auth_signing_alg", "HS256"), 400, "invalid_client_metadata"},
		{"sec-H4 a private key", document("token_endpoint_auth_method", "private_key_jwt", "jwks", json.RawMessage(private)), 400, "invalid_client_metadata"},
		{"keys and their address", document("jwks", jwks(t, newSigner(t, jose.ES256, "")), "jwks_uri", "https://app.example/jwks"), 400, "invalid_client_metadata"},
		{"keys at an http address", document("jwks_uri", "http://app.example/jwks"), 400, "invalid_client_metadata"},
		{"a sign-in started over http", document("initiate_login_uri", "http://app.example/start"), 400, "invalid_client_metadata"},
		{"a logo of a script", document("logo_uri", "javascript:alert(1)"), 400, "invalid_client_metadata"},
		{"a policy of data", document("policy_uri", "data:text/html,x"), 400, "invalid_client_metadata"},
		{"a logout that leads anywhere", document("post_logout_redirect_uris", []string{"javascript:x"}), 400, "invalid_client_metadata"},
		{"a back-channel over http", document("backchannel_logout_uri", "http://app.example/logout"), 400, "invalid_client_metadata"},
		{"a name that turns the text around", document("client_name", "Gate\u202eesuoh"), 400, "invalid_client_metadata"},
		{"a very long name", document("client_name", strings.Repeat("n", 300)), 400, "invalid_client_metadata"},
		{"a negative max_age", document("default_max_age", -1), 400, "invalid_client_metadata"},
		{"a member of another type", document("redirect_uris", "https://app.example/cb"), 400, "invalid_client_metadata"},
		{"a malformed scope", document("scope", `a"b`), 400, "invalid_client_metadata"},
		{"a list", "[]", 400, "invalid_client_metadata"},
		{"null", "null", 400, "invalid_client_metadata"},
		{"no JSON", "{", 400, "invalid_client_metadata"},
		{"sec-P1 very deep", `{"redirect_uris":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}", 400, "invalid_client_metadata"},
		{"sec-P1 more than 64 KB", document("client_uri", strings.Repeat("a", 65<<10)), 413, "invalid_request"},
	} {
		t.Run(try.sentence, func(t *testing.T) {
			r := o.register(try.body)
			wantError(t, r, try.status, try.code)
			for _, c := range r.text("error_description") {
				if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
					t.Errorf("the description has %q", c)
				}
			}
			for _, sent := range []string{"app.example", "pairwise", "HS256", "myapp", "implicit"} {
				if strings.Contains(r.text("error_description"), sent) {
					t.Errorf("the description repeats what was sent: %s", r.text("error_description"))
				}
			}
		})
	}
	t.Run("no JSON by its type", func(t *testing.T) {
		wantError(t, o.register(document(), "Content-Type", "text/plain"), 400, "invalid_request")
	})
	t.Run("by GET", func(t *testing.T) {
		r := o.manage(http.MethodGet, o.issuer+"/connect/register", "", nil)
		if wantError(t, r, 405, "invalid_request"); r.header.Get("Allow") != "POST" {
			t.Errorf("Allow is %q", r.header.Get("Allow"))
		}
	})
	if n, err := o.db.CountDynamicClients(context.Background()); err != nil || n != 0 {
		t.Errorf("%d clients were registered, %v", n, err)
	}
}

func TestRegistrationMode(t *testing.T) {
	t.Run("sec-I1 off unless it is asked for", func(t *testing.T) {
		o := newOP(t)
		wantError(t, o.register(document()), 404, "invalid_request")
		if d := o.metadata("/.well-known/openid-configuration"); d["registration_endpoint"] != nil {
			t.Errorf("metadata names %v", d["registration_endpoint"])
		}
	})
	t.Run("sec-I1 by an initial access token", func(t *testing.T) {
		o := newOP(t, func(c *provider.Config) {
			c.Registration = provider.Registration{Mode: provider.RegistrationToken, Token: "the-initial-token"}
		})
		address := o.issuer + "/connect/register"
		if d := o.metadata("/.well-known/openid-configuration"); d["registration_endpoint"] != address {
			t.Errorf("metadata names %v", d["registration_endpoint"])
		}
		for _, token := range []string{"", "wrong", "the-initial-toke", "the-initial-token2"} {
			r := o.manage(http.MethodPost, address, token, document())
			if wantError(t, r, 401, "invalid_token"); !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("WWW-Authenticate is %q", r.header.Get("WWW-Authenticate"))
			}
		}
		if r := o.manage(http.MethodPost, address, "the-initial-token", document()); r.status != 201 {
			t.Errorf("answered %d %v", r.status, r.body)
		}
	})
	t.Run("a token that is not set stops the start", func(t *testing.T) {
		var c provider.Config
		newOP(t, func(made *provider.Config) { c = *made })
		c.Registration.Mode = provider.RegistrationToken
		if _, err := provider.New(c); err == nil {
			t.Error("it started")
		}
	})
	t.Run("sec-I1 so often an hour for one address", func(t *testing.T) {
		o := newOP(t, func(c *provider.Config) {
			c.Registration = provider.Registration{Mode: provider.RegistrationOpen, PerHour: 3}
		})
		o.registered()
		o.registered()
		last := o.registered()
		change := o.manage(http.MethodPut, last.text("registration_client_uri"), last.text("registration_access_token"), document("client_id", last.text("client_id")))
		if change.status != 429 {
			t.Errorf("a change: answered %d %v", change.status, change.body)
		}
		r := o.register(document())
		if after, _ := strconv.Atoi(r.header.Get("Retry-After")); r.status != 429 || after < 1 || after > 3600 {
			t.Errorf("answered %d %v", r.status, r.body)
		}
		if r := o.register(document(), "X-Test-Address", "198.51.100.9"); r.status != 201 {
			t.Errorf("another address: answered %d", r.status)
		}
	})
	t.Run("sec-I1 so many in all", func(t *testing.T) {
		o := newOP(t, func(c *provider.Config) {
			c.Registration = provider.Registration{Mode: provider.RegistrationOpen, PerHour: -1, Clients: 2}
		})
		o.client(storage.Client{}) // an operator's does not count
		o.registered()
		last := o.registered()
		wantError(t, o.register(document()), 503, "temporarily_unavailable")
		o.manage(http.MethodDelete, last.text("registration_client_uri"), last.text("registration_access_token"), nil)
		o.registered()
	})
	t.Run("PKCE is asked of it, unless the operator says otherwise", func(t *testing.T) {
		for _, optional := range []bool{false, true} {
			o := newOP(t, func(c *provider.Config) {
				open(c)
				c.Registration.OptionalPKCE = optional
			})
			r := o.registered()
			c, err := o.db.Client(context.Background(), r.text("client_id"))
			if err != nil {
				t.Fatal(err)
			}
			a := o.browser().authorize(o.request(c, "code_challenge", "", "code_challenge_method", ""))
			if (a.params.Get("code") != "") != optional {
				t.Errorf("optional %v: answered %v", optional, a.location)
			}
			public := o.registered("token_endpoint_auth_method", "none")
			if c, err = o.db.Client(context.Background(), public.text("client_id")); err != nil || c.OptionalPKCE {
				t.Errorf("a public client goes without: %v", err)
			}
		}
	})
	t.Run("sec-M8 a script of the client's own origin may read what it registered", func(t *testing.T) {
		o := newOP(t, open)
		if r := o.register(document(), "Origin", "https://app.example"); r.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
			t.Errorf("headers %v", r.header)
		}
		if r := o.register(document(), "Origin", "https://evil.example"); r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("headers %v", r.header)
		}
	})
}

func TestClientConfiguration(t *testing.T) {
	o := newOP(t, open)
	ctx := context.Background()
	r := o.registered("grant_types", []string{"authorization_code", "refresh_token"}, "token_endpoint_auth_method", "client_secret_post")
	id, secret, token, address := r.text("client_id"), r.text("client_secret"), r.text("registration_access_token"), r.text("registration_client_uri")
	other := o.registered()
	c, err := o.db.Client(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	operators, _ := o.client(storage.Client{})

	t.Run("sec-I3 whoever has not the token learns nothing", func(t *testing.T) {
		var first string
		for _, try := range []struct{ address, token string }{
			{address, ""}, {address, "wrong"}, {address, other.text("registration_access_token")}, {address, secret},
			{o.issuer + "/connect/register/nobody", token}, {o.issuer + "/connect/register/" + operators.ID, token}, {o.issuer + "/connect/register/", token},
			{address + "/more", token},
		} {
			for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
				r := o.manage(method, try.address, try.token, document("client_id", id))
				wantError(t, r, 401, "invalid_token")
				said := fmt.Sprint(r.body, r.header.Get("WWW-Authenticate"))
				if first == "" {
					first = said
				}
				if said != first || !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer ") {
					t.Errorf("%s %s: %s", method, try.address, said)
				}
			}
		}
		if _, err := o.db.Client(ctx, operators.ID); err != nil {
			t.Error(err)
		}
	})
	t.Run("GET", func(t *testing.T) {
		got := o.manage(http.MethodGet, address, token, nil)
		if got.status != 200 || got.text("client_id") != id || got.text("registration_access_token") != token || got.text("registration_client_uri") != address {
			t.Errorf("answered %d %v", got.status, got.body)
		}
		if _, ok := got.body["client_secret"]; ok {
			t.Error("the secret, which is not kept, is told")
		}
	})
	t.Run("PUT replaces everything", func(t *testing.T) {
		c.FirstParty, c.Resources, c.Metadata.Accent = true, []string{"https://api.example"}, "#112233"
		if err := o.db.UpdateClient(ctx, c); err != nil {
			t.Fatal(err)
		}
		got := o.manage(http.MethodPut, address, token, document("client_id", id, "client_secret", secret, "client_name", "New", "first_party", false,
			"token_endpoint_auth_method", "client_secret_post", "policy_uri", "https://app.example/privacy"))
		if got.status != 200 || got.text("client_name") != "New" || got.text("policy_uri") == "" || fmt.Sprint(got.body["grant_types"]) != "[authorization_code]" {
			t.Errorf("answered %d %v", got.status, got.body)
		}
		if got = o.manage(http.MethodPut, address, token, document("client_id", id, "token_endpoint_auth_method", "client_secret_post", "grant_types", []string{"authorization_code", "refresh_token"})); got.text("policy_uri") != "" {
			t.Errorf("what was left out is kept: %v", got.body)
		}
		c, err := o.db.Client(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if !c.FirstParty || len(c.Resources) != 1 || c.Metadata.Accent != "#112233" {
			t.Errorf("sec-I1: what the operator set is gone: %+v", c)
		}
		if r := o.post(c, secret, redemption(c, o.code(c))); r.status != 200 {
			t.Errorf("with the old secret: answered %d %v", r.status, r.body)
		}
	})
	t.Run("PUT of what cannot be", func(t *testing.T) {
		for _, try := range []struct {
			body any
			code string
		}{
			{document(), "invalid_client_metadata"},
			{document("client_id", other.text("client_id")), "invalid_client_metadata"},
			{document("client_id", id, "client_secret", "chosen"), "invalid_client_metadata"},
			{document("client_id", id, "redirect_uris", []string{"http://evil.example"}), "invalid_redirect_uri"},
			{document("client_id", id, "software_statement", "x"), "invalid_software_statement"},
		} {
			wantError(t, o.manage(http.MethodPut, address, token, try.body), 400, try.code)
		}
	})
	t.Run("PUT that changes how it authenticates", func(t *testing.T) {
		r := o.registered()
		put := func(method string) reply {
			return o.manage(http.MethodPut, r.text("registration_client_uri"), r.text("registration_access_token"),
				document("client_id", r.text("client_id"), "token_endpoint_auth_method", method))
		}
		if got := put("none"); got.status != 200 || got.body["client_secret"] != nil {
			t.Errorf("answered %d %v", got.status, got.body)
		}
		if got := put("client_secret_basic"); got.status != 200 || got.text("client_secret") == "" || got.text("client_secret") == r.text("client_secret") || got.body["client_secret_expires_at"] != float64(0) {
			t.Errorf("answered %d %v", got.status, got.body)
		}
	})
	t.Run("sec-I3 DELETE ends its grants too", func(t *testing.T) {
		tokens := o.tokens(c, secret)
		got := o.manage(http.MethodDelete, address, token, nil)
		if got.status != 204 || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("answered %d", got.status)
		}
		wantError(t, o.post(c, secret, refresh(tokens.text("refresh_token"))), 401, "invalid_client")
		if u := o.userinfo(tokens.text("access_token")); u.status != 401 {
			t.Errorf("its access token: answered %d", u.status)
		}
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			wantError(t, o.manage(method, address, token, document("client_id", id)), 401, "invalid_token")
		}
	})
	t.Run("another method", func(t *testing.T) {
		r := o.manage(http.MethodPost, other.text("registration_client_uri"), other.text("registration_access_token"), document())
		if wantError(t, r, 405, "invalid_request"); r.header.Get("Allow") != "GET, PUT, DELETE" {
			t.Errorf("Allow is %q", r.header.Get("Allow"))
		}
	})
}

func TestLogo(t *testing.T) {
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 8, 8))); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	mux := http.NewServeMux()
	say := func(path, contentType string, body []byte) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.Header().Set("Content-Type", contentType)
			_, _ = w.Write(body)
		})
	}
	say("/logo.png", "image/png", picture.Bytes())
	say("/new.png", "text/plain", picture.Bytes()) // what it is decides, not what it says
	say("/logo.svg", "image/svg+xml", []byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`))
	say("/page.png", "image/png", []byte("<html><script>alert(1)</script>"))
	say("/large.png", "image/png", append(picture.Bytes(), make([]byte, 65<<10)...))
	srv := httptest.NewTLSServer(mux)
	t.Cleanup(srv.Close)
	o := newOP(t, open, allowed(t, srv))
	ctx := context.Background()
	logo := func(r reply) storage.Logo {
		l, err := o.db.Logo(ctx, r.text("client_id"))
		if err != nil {
			return storage.Logo{}
		}
		return l
	}
	r := o.registered("logo_uri", srv.URL+"/logo.png")
	if l := logo(r); l.Type != "image/png" || !bytes.Equal(l.Bytes, picture.Bytes()) || r.text("logo_uri") != srv.URL+"/logo.png" {
		t.Errorf("kept %s of %d bytes; answered %v", l.Type, len(l.Bytes), r.body)
	}
	put := func(change ...any) {
		got := o.manage(http.MethodPut, r.text("registration_client_uri"), r.text("registration_access_token"), document(append(change, "client_id", r.text("client_id"))...))
		if got.status != 200 {
			t.Fatalf("answered %d %v", got.status, got.body)
		}
	}
	put("logo_uri", srv.URL+"/logo.png")
	if asked.Load() != 1 {
		t.Errorf("it was fetched %d times", asked.Load())
	}
	put("logo_uri", srv.URL+"/new.png")
	if l := logo(r); l.Type != "image/png" || asked.Load() != 2 {
		t.Errorf("kept %q after %d fetches", l.Type, asked.Load())
	}
	// A client that hangs up while its logo is fetched has the new one all the same.
	gone, hangUp := context.WithCancel(ctx)
	mux.HandleFunc("/held.png", func(w http.ResponseWriter, _ *http.Request) {
		hangUp()
		_, _ = w.Write(append(picture.Bytes(), 0))
	})
	body, err := json.Marshal(document("client_id", r.text("client_id"), "logo_uri", srv.URL+"/held.png"))
	if err != nil {
		t.Fatal(err)
	}
	change := httptest.NewRequestWithContext(gone, http.MethodPut, r.text("registration_client_uri"), bytes.NewReader(body))
	change.Header.Set("Content-Type", "application/json")
	change.Header.Set("Authorization", "Bearer "+r.text("registration_access_token"))
	o.ClientConfiguration(httptest.NewRecorder(), change)
	if l := logo(r); len(l.Bytes) != picture.Len()+1 || gone.Err() == nil {
		t.Errorf("kept %d bytes, not the %d of the new logo", len(l.Bytes), picture.Len()+1)
	}
	put()
	if l := logo(r); len(l.Bytes) != 0 {
		t.Error("a logo that was taken away is kept")
	}
	for _, path := range []string{"/logo.svg", "/page.png", "/large.png", "/missing.png"} {
		if l := logo(o.registered("logo_uri", srv.URL+path)); len(l.Bytes) != 0 {
			t.Errorf("sec-H8: %s was kept as %s", path, l.Type)
		}
	}
	if l := logo(o.registered("logo_uri", "https://127.0.0.1/logo.png")); len(l.Bytes) != 0 {
		t.Error("sec-H1: a logo of this machine was kept")
	}
}

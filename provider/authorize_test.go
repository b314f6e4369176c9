package provider_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

func sha(t *testing.T, s string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func TestAuthorize(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{RedirectURIs: []string{"https://app.example/cb?tenant=a%20b"}})
	b := o.browser()

	a := b.authorize(o.request(c))
	if !strings.HasPrefix(a.location.String(), "https://app.example/cb?tenant=a%20b&") {
		t.Errorf("the registered query is not kept: %s", a.location)
	}
	if a.status != 303 || len(a.params.Get("code")) < 43 || a.params.Get("state") != "xyz" || a.params.Get("iss") != o.issuer {
		t.Errorf("answered %d %v", a.status, a.params)
	}
	if a.params.Has("scope") {
		t.Error("fosite-F7: scope in the answer")
	}
	if o.logins.Load() != 1 || o.consents.Load() != 1 {
		t.Errorf("%d sign-ins and %d questions", o.logins.Load(), o.consents.Load())
	}

	t.Run("sec-O2 events say who agreed, to what and from where", func(t *testing.T) {
		events := func() []storage.Event {
			t.Helper()
			events, err := o.db.ListEvents(context.Background(), "", 10)
			if err != nil {
				t.Fatal(err)
			}
			return events
		}
		before := events()
		if len(before) != 1 || before[0].Kind != "consent.granted" || before[0].UserID != o.user.ID || before[0].ClientID != c.ID ||
			before[0].Detail != "openid profile email offline_access" || before[0].Address != "192.0.2.7" || before[0].UserAgent != "Firefox" {
			t.Errorf("events %+v", before)
		}
		o.deny.Store(true)
		defer o.deny.Store(false)
		b.authorize(o.request(c, "prompt", "consent"))
		if after := events(); len(after) != 2 || after[0].Kind != "consent.denied" || after[0].UserID != o.user.ID {
			t.Errorf("events %+v", after)
		}
	})
	t.Run("the second time nothing is asked", func(t *testing.T) {
		a := b.authorize(o.request(c, "prompt", "none"))
		if a.params.Get("code") == "" || o.logins.Load() != 1 || o.consents.Load() != 2 {
			t.Errorf("answered %v after %d sign-ins and %d questions", a.params, o.logins.Load(), o.consents.Load())
		}
	})
	t.Run("sec-A4 state absent or 2,000 characters", func(t *testing.T) {
		if a := b.authorize(o.request(c, "state", "")); a.params.Get("code") == "" || a.params.Has("state") {
			t.Errorf("fosite-F2: %v", a.params)
		}
		long := strings.Repeat("s/+ &=%ü", 200)
		if a := b.authorize(o.request(c, "state", long)); a.params.Get("state") != long {
			t.Errorf("state came back as %q", a.params.Get("state"))
		}
	})
	t.Run("a request by POST", func(t *testing.T) {
		resp, err := b.client.PostForm(o.issuer+"/authorize", o.request(c))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if l, _ := resp.Location(); resp.StatusCode != 303 || l == nil || l.Query().Get("code") == "" {
			t.Errorf("answered %d %v", resp.StatusCode, l)
		}
	})
	t.Run("prompt=login asks again and auth_time is newer", func(t *testing.T) {
		o.pass(2 * time.Second)
		before := o.logins.Load()
		a := b.authorize(o.request(c, "prompt", "login"))
		if a.params.Get("code") == "" || o.logins.Load() != before+1 {
			t.Errorf("answered %v after %d sign-ins", a.params, o.logins.Load()-before)
		}
	})
	t.Run("fosite-F14 max_age=0 asks again, a large one does not", func(t *testing.T) {
		o.pass(2 * time.Second)
		before := o.logins.Load()
		if a := b.authorize(o.request(c, "max_age", "10000")); a.params.Get("code") == "" || o.logins.Load() != before {
			t.Errorf("answered %v after %d sign-ins", a.params, o.logins.Load()-before)
		}
		if a := b.authorize(o.request(c, "max_age", "0")); a.params.Get("code") == "" || o.logins.Load() != before+1 {
			t.Errorf("answered %v after %d sign-ins", a.params, o.logins.Load()-before)
		}
	})
	t.Run("prompt=consent asks again", func(t *testing.T) {
		before := o.consents.Load()
		if a := b.authorize(o.request(c, "prompt", "consent")); a.params.Get("code") == "" || o.consents.Load() != before+1 {
			t.Errorf("answered %v after %d questions", a.params, o.consents.Load()-before)
		}
	})
	t.Run("prompt=none and nobody there", func(t *testing.T) {
		a := o.browser().authorize(o.request(c, "prompt", "none"))
		if a.params.Get("error") != "login_required" || a.params.Get("state") != "xyz" || a.params.Get("iss") != o.issuer {
			t.Errorf("answered %v", a.params)
		}
	})
	t.Run("prompt=none and not agreed", func(t *testing.T) {
		fresh, _ := o.client(storage.Client{})
		if a := b.authorize(o.request(fresh, "prompt", "none")); a.params.Get("error") != "consent_required" {
			t.Errorf("answered %v", a.params)
		}
	})
	t.Run("a refusal is access_denied, and going back is the expired page", func(t *testing.T) {
		o.deny.Store(true)
		defer o.deny.Store(false)
		fresh, _ := o.client(storage.Client{})
		var last string
		b.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if "http://"+r.URL.Host != o.issuer {
				return http.ErrUseLastResponse
			}
			if r.URL.Query().Has("flow") {
				last = r.URL.Query().Get("flow")
			}
			return nil
		}
		if a := b.authorize(o.request(fresh)); a.params.Get("error") != "access_denied" {
			t.Errorf("answered %v", a.params)
		}
		if a := b.get(o.issuer + "/authorize?flow=" + last); a.status != 400 || a.body != "page: "+provider.FlowExpired {
			t.Errorf("answered %d %s", a.status, a.body)
		}
	})
	t.Run("id_token_hint", func(t *testing.T) {
		r := o.post(c, "", redemption(c, b.authorize(o.request(c)).params.Get("code")))
		if a := b.authorize(o.request(c, "prompt", "none", "id_token_hint", r.text("id_token"))); a.params.Get("code") == "" {
			t.Errorf("the person's own: %v", a.params)
		}
		if a := b.authorize(o.request(c, "prompt", "none", "id_token_hint", r.text("access_token"))); a.params.Get("error") != "invalid_request" {
			t.Errorf("an access token: %v", a.params)
		}
		mine := o.user
		o.user = o.person("other@example.com")
		theirs := o.tokens(c, "").text("id_token")
		o.user = mine
		if a := b.authorize(o.request(c, "prompt", "none", "id_token_hint", theirs)); a.params.Get("error") != "login_required" {
			t.Errorf("sec-T3 another person's: %v", a.params)
		}
	})
}

func TestAuthorizeRefusals(t *testing.T) {
	o := newOP(t)
	o.silent.Store(true)
	c, _ := o.client(storage.Client{RedirectURIs: []string{"https://app.example/cb", "https://app.example/other"}})
	confidential, _ := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic})
	machine, _ := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"}, RedirectURIs: []string{"https://app.example/cb"}})
	optional, _ := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, OptionalPKCE: true})
	b := o.browser()

	for _, try := range []struct {
		name   string
		values url.Values
	}{
		{"sec-A3 no client", o.request(c, "client_id", "")},
		{"sec-A3 an unknown client", o.request(c, "client_id", "nobody")},
		{"sec-A3 no redirect URI and two registered", o.request(c, "redirect_uri", "", "scope", "profile")},
		{"sec-A1 another case", o.request(c, "redirect_uri", "https://app.example/CB")},
		{"sec-A1 another host's case", o.request(c, "redirect_uri", "https://APP.example/cb")},
		{"sec-A1 a trailing slash", o.request(c, "redirect_uri", "https://app.example/cb/")},
		{"sec-A1 a query", o.request(c, "redirect_uri", "https://app.example/cb?x=1")},
		{"sec-A1 a fragment", o.request(c, "redirect_uri", "https://app.example/cb#x")},
		{"sec-A1 percent-encoding", o.request(c, "redirect_uri", "https://app.example/%63b")},
		{"sec-A1 userinfo", o.request(c, "redirect_uri", "https://app.example@evil.example/cb")},
		{"sec-A1 another scheme", o.request(c, "redirect_uri", "http://app.example/cb")},
		{"sec-A1 a path below", o.request(c, "redirect_uri", "https://app.example/cb/../other")},
		{"two redirect URIs", url.Values{"client_id": {c.ID}, "redirect_uri": {"https://app.example/cb", "https://evil.example/"}, "response_type": {"code"}}},
		{"two clients", url.Values{"client_id": {c.ID, confidential.ID}, "redirect_uri": {"https://app.example/cb"}, "response_type": {"code"}}},
	} {
		t.Run(try.name, func(t *testing.T) {
			a := b.authorize(try.values)
			if a.status != 400 || a.location != nil {
				t.Errorf("answered %d %v, want a page", a.status, a.location)
			}
		})
	}
	t.Run("an oversized request is 414", func(t *testing.T) {
		if a := b.authorize(o.request(c, "state", strings.Repeat("x", 9000))); a.status != 414 || a.location != nil {
			t.Errorf("sec-P2: answered %d %v", a.status, a.location)
		}
	})

	duplicate := o.request(c)
	duplicate.Add("scope", "openid")
	twoStates := o.request(c)
	twoStates.Add("state", "other")
	for _, try := range []struct {
		name   string
		values url.Values
		error  string
		state  string
	}{
		{"sec-A4 a parameter twice", duplicate, "invalid_request", "xyz"},
		{"state twice", twoStates, "invalid_request", ""},
		{"sec-B1 no code_challenge", o.request(c, "code_challenge", "", "code_challenge_method", ""), "invalid_request", "xyz"},
		{"sec-B1 plain", o.request(c, "code_challenge_method", "plain"), "invalid_request", "xyz"},
		{"sec-B1 no method is plain", o.request(c, "code_challenge_method", ""), "invalid_request", "xyz"},
		{"a method without a challenge", o.request(optional, "code_challenge", ""), "invalid_request", "xyz"},
		{"a short challenge", o.request(c, "code_challenge", "abc"), "invalid_request", "xyz"},
		{"a challenge with odd characters", o.request(c, "code_challenge", strings.Repeat("!", 43)), "invalid_request", "xyz"},
		{"a confidential client needs PKCE too", o.request(confidential, "code_challenge", "", "code_challenge_method", ""), "invalid_request", "xyz"},
		{"sec-A8 response_type=token", o.request(c, "response_type", "token"), "unsupported_response_type", "xyz"},
		{"sec-A8 response_type=code token", o.request(c, "response_type", "code token"), "unsupported_response_type", "xyz"},
		{"sec-A8 response_type=id_token token", o.request(c, "response_type", "id_token token"), "unsupported_response_type", "xyz"},
		{"no response_type", o.request(c, "response_type", ""), "invalid_request", "xyz"},
		{"sec-A8 response_mode=fragment", o.request(c, "response_mode", "fragment"), "invalid_request", "xyz"},
		{"an unknown response_mode", o.request(c, "response_mode", "<script>"), "invalid_request", "xyz"},
		{"fosite-F4 request", o.request(c, "request", "x"), "request_not_supported", "xyz"},
		{"fosite-F4 request_uri", o.request(c, "request_uri", "https://app.example/r"), "request_uri_not_supported", "xyz"},
		{"registration", o.request(c, "registration", "{}"), "registration_not_supported", "xyz"},
		{"an unknown prompt", o.request(c, "prompt", "maybe"), "invalid_request", "xyz"},
		{"sec-T2 prompt=none login", o.request(c, "prompt", "none login"), "invalid_request", "xyz"},
		{"max_age=abc", o.request(c, "max_age", "abc"), "invalid_request", "xyz"},
		{"max_age=-1", o.request(c, "max_age", "-1"), "invalid_request", "xyz"},
		{"max_age=+1", o.request(c, "max_age", "+1"), "invalid_request", "xyz"},
		{"a huge max_age", o.request(c, "max_age", "99999999999999999999"), "invalid_request", "xyz"},
		{"a malformed scope", o.request(c, "scope", "openid \"x\""), "invalid_scope", "xyz"},
		{"no scope that is allowed", o.request(c, "scope", "other"), "invalid_scope", "xyz"},
		{"sec-E3 an unknown resource", o.request(c, "resource", "https://evil.example/"), "invalid_target", "xyz"},
		{"a hint that is no token", o.request(c, "id_token_hint", "x"), "invalid_request", "xyz"},
		{"a client of another grant", o.request(machine), "unauthorized_client", "xyz"},
	} {
		t.Run(try.name, func(t *testing.T) {
			a := b.authorize(try.values)
			if a.status != 303 || a.location == nil || a.location.Host != "app.example" || a.params.Get("error") != try.error {
				t.Fatalf("answered %d %v, want %s", a.status, a.location, try.error)
			}
			if a.params.Get("state") != try.state || a.params.Get("iss") != o.issuer {
				t.Errorf("sec-A5, fosite-F6: %v", a.params)
			}
			for name, v := range a.params {
				switch name {
				case "error", "error_description", "state", "iss":
				default:
					t.Errorf("sec-A6: parameter %s", name)
				}
				if name == "error_description" && strings.ContainsAny(v[0], "\"\\<>\n") {
					t.Errorf("sec-A6: %q", v[0])
				}
			}
		})
	}
	t.Run("fosite-F3 unknown scopes are dropped", func(t *testing.T) {
		o.silent.Store(false)
		a := o.browser().authorize(o.request(c, "scope", "openid telepathy"))
		if r := o.post(c, "", redemption(c, a.params.Get("code"))); r.text("scope") != "openid" {
			t.Errorf("answered %v", r.body)
		}
	})
	t.Run("a confidential OpenID client may be let off PKCE", func(t *testing.T) {
		if a := o.browser().authorize(o.request(optional, "code_challenge", "", "code_challenge_method", "")); a.params.Get("code") == "" {
			t.Errorf("answered %v", a.params)
		}
		a := o.browser().authorize(o.request(optional, "code_challenge", "", "code_challenge_method", "", "scope", "profile"))
		if a.params.Get("error") != "invalid_request" {
			t.Errorf("without openid: %v", a.params)
		}
	})
	t.Run("sec-A2 a loopback client chooses its port", func(t *testing.T) {
		native, _ := o.client(storage.Client{RedirectURIs: []string{"http://127.0.0.1/cb"}})
		if a := o.browser().authorize(o.request(native, "redirect_uri", "http://127.0.0.1:50123/cb")); a.location == nil || a.location.Host != "127.0.0.1:50123" || a.params.Get("code") == "" {
			t.Errorf("answered %d %v", a.status, a.location)
		}
		for _, u := range []string{"http://localhost:50123/cb", "http://[::1]:50123/cb", "http://127.0.0.1:50123/other", "https://127.0.0.1:50123/cb", "http://127.0.0.1:0/cb", "http://127.0.0.1:99999/cb", "http://127.0.0.1:5x/cb", "http://127.0.0.1@evil.example/cb", "http://127.0.0.1.evil.example/cb"} {
			if a := o.browser().authorize(o.request(native, "redirect_uri", u)); a.status != 400 || a.location != nil {
				t.Errorf("%s: answered %d %v", u, a.status, a.location)
			}
		}
	})
	t.Run("sec-A12 a public native client is asked about each time", func(t *testing.T) {
		b := o.browser()
		for _, try := range []struct {
			redirect string
			client   storage.Client
			asked    int64
		}{
			{"http://127.0.0.1/cb", storage.Client{}, 2},
			{"com.example.app:/cb", storage.Client{}, 2},
			{"http://127.0.0.1/cb", storage.Client{AuthMethod: storage.AuthSecretBasic}, 1},
			{"http://127.0.0.1/cb", storage.Client{FirstParty: true}, 0},
			{"https://app.example/cb", storage.Client{}, 1},
			{o.issuer + "/app/cb", storage.Client{}, 1},
		} {
			try.client.RedirectURIs = []string{try.redirect}
			c, _ := o.client(try.client)
			before := o.consents.Load()
			for range 2 {
				b.authorize(o.request(c))
			}
			if asked := o.consents.Load() - before; asked != try.asked {
				t.Errorf("%s %+v: asked %d times, want %d", try.redirect, try.client, asked, try.asked)
			}
		}
	})
	t.Run("sec-A13 an interaction is worth nothing in another browser", func(t *testing.T) {
		o.silent.Store(true)
		defer o.silent.Store(false)
		b := o.browser()
		b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		a := b.authorize(o.request(c))
		id := a.params.Get("flow")
		if a.location.Path != "/login" || id == "" {
			t.Fatalf("answered %v", a.location)
		}
		other := o.browser()
		other.authorize(o.request(c)) // has a browser cookie of its own
		if a := other.get(o.issuer + "/authorize?flow=" + id); a.status != 400 || a.body != "page: "+provider.FlowExpired {
			t.Errorf("answered %d %s", a.status, a.body)
		}
		if a := b.get(o.issuer + "/authorize?flow=" + id); a.status != 303 || a.location.Path != "/login" {
			t.Errorf("and in its own: %d %v", a.status, a.location)
		}
	})
}

func TestSession(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{})
	b := o.browser()
	b.authorize(o.request(c))
	j := b.client.Jar.(*jar)
	first := j.cookies["gatehouse_session"]
	if first == nil || !first.HttpOnly || first.SameSite != http.SameSiteLaxMode || first.Path != "/" || first.Domain != "" || len(first.Value) != 43 {
		t.Fatalf("sec-M1: %+v", first)
	}
	t.Run("sec-M2 a new secret at each sign-in, and the old one is dead", func(t *testing.T) {
		o.pass(time.Second)
		b.authorize(o.request(c, "prompt", "login"))
		if j.cookies["gatehouse_session"].Value == first.Value {
			t.Fatal("the secret was kept")
		}
		old := o.browser()
		old.client.Jar.SetCookies(nil, []*http.Cookie{first})
		if a := old.authorize(o.request(c, "prompt", "none")); a.params.Get("error") != "login_required" {
			t.Errorf("answered %v", a.params)
		}
	})
	t.Run("another person's sign-in ends the session and what hung on it", func(t *testing.T) {
		b := o.browser()
		first, _ := o.client(storage.Client{FirstParty: true})
		grant := func() reply {
			return o.post(first, "", redemption(first, b.authorize(o.request(first, "scope", "openid", "prompt", "login")).params.Get("code")))
		}
		a := grant()
		o.pass(time.Second)
		again := grant()
		if x, y := payload(t, a.text("id_token")), payload(t, again.text("id_token")); x["sid"] != y["sid"] {
			t.Error("the same person got another sid")
		}
		mine := o.user
		o.user = o.person("bina@example.com")
		defer func() { o.user = mine }()
		o.pass(time.Second)
		theirs := grant()
		if x, y := payload(t, a.text("id_token")), payload(t, theirs.text("id_token")); x["sid"] == y["sid"] || x["sub"] == y["sub"] {
			t.Error("another person got the same session")
		}
		for _, r := range []reply{a, again} {
			wantError(t, o.post(first, "", refresh(r.text("refresh_token"))), 400, "invalid_grant")
		}
		if r := o.post(first, "", refresh(theirs.text("refresh_token"))); r.status != 200 {
			t.Errorf("answered %d %v", r.status, r.body)
		}
	})
	t.Run("sec-M3 use moves the idle end, not the absolute one", func(t *testing.T) {
		for i := range 12 {
			o.pass(59 * time.Minute)
			if a := b.authorize(o.request(c, "prompt", "none")); a.params.Get("code") == "" {
				t.Fatalf("after %d uses: %v", i, a.params)
			}
		}
		o.pass(15 * time.Minute)
		if a := b.authorize(o.request(c, "prompt", "none")); a.params.Get("error") != "login_required" {
			t.Errorf("past 12 hours: %v", a.params)
		}
	})
	t.Run("sec-M3 an idle hour ends it", func(t *testing.T) {
		b.authorize(o.request(c))
		o.pass(time.Hour + time.Second)
		if a := b.authorize(o.request(c, "prompt", "none")); a.params.Get("error") != "login_required" {
			t.Errorf("answered %v", a.params)
		}
	})
}

func TestMetadata(t *testing.T) {
	o := newOP(t)
	get := func(path, etag string) (*http.Response, []byte) {
		t.Helper()
		req, _ := http.NewRequest(http.MethodGet, o.issuer+path, nil)
		if etag != "" {
			req.Header.Set("If-None-Match", etag)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		return resp, body
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks"} {
		t.Run(path, func(t *testing.T) {
			resp, body := get(path, "")
			var doc map[string]any
			if err := json.Unmarshal(body, &doc); err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
				t.Fatalf("answered %d %s", resp.StatusCode, body)
			}
			if !strings.HasPrefix(resp.Header.Get("Cache-Control"), "public, max-age=") {
				t.Errorf("Cache-Control %q", resp.Header.Get("Cache-Control"))
			}
			again, body := get(path, "W/"+resp.Header.Get("ETag"))
			if again.StatusCode != 304 || len(body) != 0 {
				t.Errorf("asked again: %d", again.StatusCode)
			}
			if other, _ := get(path, `"other"`); other.StatusCode != 200 {
				t.Errorf("asked with another ETag: %d", other.StatusCode)
			}
			if strings.HasSuffix(path, "jwks") {
				if strings.Contains(string(body), `"d"`) {
					t.Error("sec-N5: a private member")
				}
				return
			}
			if doc["issuer"] != o.issuer || doc["authorization_response_iss_parameter_supported"] != true || doc["request_uri_parameter_supported"] != false {
				t.Errorf("sec-A5: %v", doc)
			}
		})
	}
}

// A dependency that is down is 503 with a time to retry, and never a spent code
// or a dead session.
func TestOutage(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{})
	code := o.code(c)
	refreshToken := o.tokens(c, "").text("refresh_token")
	b := o.browser()
	b.authorize(o.request(c))
	if err := o.mem.Close(); err != nil {
		t.Fatal(err)
	}
	r := o.post(c, "", redemption(c, code))
	wantError(t, r, 503, "temporarily_unavailable")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if a := b.authorize(o.request(c)); a.params.Get("error") != "temporarily_unavailable" {
		t.Errorf("authorize: %d %v", a.status, a.params)
	}
	if r := o.post(c, "", refresh(refreshToken)); r.status != 200 {
		t.Errorf("a refresh needs no Valkey, yet: %d %v", r.status, r.body)
	}
}

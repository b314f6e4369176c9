package provider_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

// OAuth 2.0 Form Post Response Mode: whatever would be in the query is in a
// form, errors too.
func TestFormPost(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{RedirectURIs: []string{"https://app.example/cb?tenant=1", "https://app.example/other"}})
	b := o.browser()

	t.Run("fosite-F8 a code", func(t *testing.T) {
		a := b.authorize(o.request(c, "response_mode", "form_post"))
		if !a.posted || a.location.String() != c.RedirectURIs[0] {
			t.Fatalf("answered %d %v", a.status, a.location)
		}
		if a.params.Get("state") != "xyz" || a.params.Get("iss") != o.issuer || len(a.params) != 3 {
			t.Errorf("posted %v", a.params)
		}
		if r := o.post(c, "", redemption(c, a.params.Get("code"))); r.status != 200 {
			t.Errorf("the code is worth %d %v", r.status, r.body)
		}
	})
	t.Run("the page is not kept", func(t *testing.T) {
		resp, err := b.client.Get(o.issuer + "/authorize?" + o.request(c, "response_mode", "form_post").Encode())
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Location") != "" {
			t.Errorf("answered %d %v", resp.StatusCode, resp.Header)
		}
	})
	t.Run("state comes back byte for byte", func(t *testing.T) {
		for _, state := range []string{"", `"><script>alert(1)</script>`, "a b+c%20&d=é\t", strings.Repeat("s", 2000)} {
			a := b.authorize(o.request(c, "response_mode", "form_post", "state", state))
			if !a.posted || a.params.Get("code") == "" || a.params.Get("state") != state || a.params.Has("state") != (state != "") {
				t.Errorf("%q: %d %v", state, a.status, a.params)
			}
		}
		for _, state := range []string{"a\nb", "a\rb", "a\x00b", "a\xffb"} {
			a := b.authorize(o.request(c, "response_mode", "form_post", "state", state))
			if !a.posted || a.params.Get("error") != "invalid_request" || a.params.Has("state") {
				t.Errorf("a form cannot return %q, yet: %v", state, a.params)
			}
			if a := b.authorize(o.request(c, "state", state)); a.params.Get("code") == "" || a.params.Get("state") != state {
				t.Errorf("a query can return %q, yet: %v", state, a.params)
			}
		}
	})
	t.Run("errors are posted", func(t *testing.T) {
		stranger := o.browser()
		for _, try := range []struct {
			name   string
			change []string
			want   string
		}{
			{"prompt=none", []string{"prompt", "none"}, "login_required"},
			{"no PKCE", []string{"code_challenge", "", "code_challenge_method", ""}, "invalid_request"},
			{"fosite-F4 request", []string{"request", "x"}, "request_not_supported"},
			{"response_type=token", []string{"response_type", "token"}, "unsupported_response_type"},
		} {
			a := stranger.authorize(o.request(c, append([]string{"response_mode", "form_post"}, try.change...)...))
			if !a.posted || a.params.Get("error") != try.want || a.params.Get("state") != "xyz" || a.params.Get("iss") != o.issuer || a.params.Has("code") {
				t.Errorf("%s: %d %v %v", try.name, a.status, a.location, a.params)
			}
		}
		twice := o.request(c, "response_mode", "form_post")
		twice.Add("scope", "openid")
		if a := stranger.authorize(twice); !a.posted || a.params.Get("error") != "invalid_request" {
			t.Errorf("a parameter twice: %v", a.params)
		}
	})
	t.Run("which of two modes is not ours to choose", func(t *testing.T) {
		twice := o.request(c, "response_mode", "form_post")
		twice.Add("response_mode", "query")
		if a := b.authorize(twice); a.posted || a.params.Get("error") != "invalid_request" {
			t.Errorf("answered %d %v", a.status, a.params)
		}
	})
	t.Run("sec-A8 the fragment is refused", func(t *testing.T) {
		for _, mode := range []string{"fragment", "web_message", "query.jwt", "form_post "} {
			a := b.authorize(o.request(c, "response_mode", mode))
			if a.posted || a.params.Get("error") != "invalid_request" || a.location.Fragment != "" {
				t.Errorf("%q: %v %v", mode, a.location, a.params)
			}
		}
	})
	t.Run("sec-A1 nothing is posted to an unregistered address", func(t *testing.T) {
		if a := b.authorize(o.request(c, "response_mode", "form_post", "redirect_uri", "https://evil.example/")); a.status != 400 || a.location != nil {
			t.Errorf("answered %d %v", a.status, a.location)
		}
	})
	t.Run("nor to an app that could not read it", func(t *testing.T) {
		native, _ := o.client(storage.Client{RedirectURIs: []string{"com.example.app:/cb"}})
		a := b.authorize(o.request(native, "response_mode", "form_post"))
		if a.posted || a.params.Get("error") != "invalid_request" || a.location.Scheme != "com.example.app" {
			t.Errorf("answered %d %v %v", a.status, a.location, a.params)
		}
	})
}

// A client that registered itself cannot make of a wrong request a link that
// leads from our address to anywhere (RFC 9700 section 4.11.2).
func TestOpenRedirector(t *testing.T) {
	o := newOP(t)
	dynamic, _ := o.client(storage.Client{Registration: &storage.DynamicRegistration{TokenHash: make([]byte, 32)}})
	known, _ := o.client(storage.Client{})
	signedIn := o.browser()
	signedIn.authorize(o.request(known))
	wrong := []string{"scope", "telepathy"}

	t.Run("sec-A7 before a sign-in an error is shown", func(t *testing.T) {
		for _, mode := range []string{"", "form_post"} {
			a := o.browser().authorize(o.request(dynamic, append(wrong, "response_mode", mode)...))
			if a.status != 400 || a.location != nil || a.body != "page: invalid_scope" {
				t.Errorf("answered %d %v %s", a.status, a.location, a.body)
			}
			if e := o.shown.Load(); e.ClientID != dynamic.ID || e.Reference == "" || e.Description == "" {
				t.Errorf("the page is told %+v", e)
			}
		}
	})
	t.Run("sec-A7 after one it is told", func(t *testing.T) {
		if a := signedIn.authorize(o.request(dynamic, wrong...)); a.params.Get("error") != "invalid_scope" {
			t.Errorf("answered %d %v", a.status, a.params)
		}
	})
	t.Run("sec-A7 and when no page is allowed", func(t *testing.T) {
		if a := o.browser().authorize(o.request(dynamic, append(wrong, "prompt", "none")...)); a.params.Get("error") != "invalid_scope" {
			t.Errorf("answered %d %v", a.status, a.params)
		}
		if a := o.browser().authorize(o.request(dynamic, "prompt", "none")); a.params.Get("error") != "login_required" {
			t.Errorf("answered %d %v", a.status, a.params)
		}
	})
	t.Run("a person who gives up at the sign-in page goes back", func(t *testing.T) {
		o.silent.Store(true)
		defer o.silent.Store(false)
		b := o.browser()
		follow := b.client.CheckRedirect
		b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		flow := b.authorize(o.request(dynamic)).params.Get("flow")
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for _, c := range b.client.Jar.Cookies(nil) {
			r.AddCookie(c)
		}
		i, err := o.Interaction(r, flow)
		if err != nil {
			t.Fatal(err)
		}
		i.Denied = true
		if err := o.SaveInteraction(context.Background(), i); err != nil {
			t.Fatal(err)
		}
		b.client.CheckRedirect = follow
		if a := b.get(o.issuer + "/authorize?flow=" + flow); a.params.Get("error") != "access_denied" || a.location.Host != "app.example" {
			t.Errorf("answered %d %v", a.status, a.location)
		}
	})
	t.Run("a person who refuses goes back", func(t *testing.T) {
		o.deny.Store(true)
		defer o.deny.Store(false)
		if a := o.browser().authorize(o.request(dynamic)); a.params.Get("error") != "access_denied" {
			t.Errorf("answered %d %v", a.status, a.params)
		}
	})
	t.Run("an operator's client is told at once", func(t *testing.T) {
		if a := o.browser().authorize(o.request(known, wrong...)); a.params.Get("error") != "invalid_scope" {
			t.Errorf("answered %d %v", a.status, a.params)
		}
	})
}

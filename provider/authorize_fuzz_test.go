package provider_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

// visit is what a browser that is signed in gets for an authorize request.
func (o *op) visit(rawQuery string, jar *jar) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, o.issuer+"/authorize", nil)
	r.URL.RawQuery = rawQuery
	for _, c := range jar.Cookies(nil) {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	o.Authorize(w, r)
	return w
}

// Whatever the query is, the answer is never our fault, and goes nowhere but to
// a page of ours or to where the client is registered.
func FuzzAuthorize(f *testing.F) {
	o := newOP(f)
	web, _ := o.client(storage.Client{ID: "web", RedirectURIs: []string{"https://app.example/cb"}, Resources: []string{"https://api.example"}})
	native, _ := o.client(storage.Client{ID: "native", RedirectURIs: []string{"http://127.0.0.1/cb", "com.example.app:/cb"}})
	dynamic, _ := o.client(storage.Client{ID: "dynamic", Registration: &storage.DynamicRegistration{TokenHash: make([]byte, 32)}})
	b := o.browser()
	b.authorize(o.request(web))
	signedIn, stranger := b.client.Jar.(*jar), &jar{}
	hint := o.tokens(web, "").text("id_token")
	for _, c := range []storage.Client{web, native, dynamic} {
		for _, change := range [][]string{
			nil,
			{"prompt", "none"}, {"prompt", "login consent"}, {"prompt", "none login"}, {"max_age", "0"}, {"max_age", "-1"}, {"max_age", "99999999999999999999"},
			{"response_mode", "form_post", "state", "\"><script>"}, {"response_mode", "fragment"}, {"response_type", "code token"},
			{"claims", `{"userinfo":{"name":{"essential":true}},"id_token":{"acr":{"essential":true,"values":["x"]}}}`}, {"claims", strings.Repeat("[", 4000)},
			{"acr_values", "urn:gatehouse:acr:mfa"}, {"id_token_hint", hint}, {"id_token_hint", "a.b.c"}, {"resource", "https://api.example"}, {"resource", "::"},
			{"request", "x"}, {"request_uri", "http://127.0.0.1:1/"}, {"registration", "{}"}, {"scope", ""}, {"scope", "\""}, {"state", "\r\nLocation: x"},
			{"redirect_uri", "http://127.0.0.1:50123/cb"}, {"redirect_uri", "http://127.0.0.1:80@evil.example/cb"}, {"redirect_uri", "https://app.example/cb#"},
			{"redirect_uri", "com.example.app:/cb"}, {"redirect_uri", "//evil.example"}, {"redirect_uri", ""}, {"client_id", "\x00"}, {"flow", "AAAAAAAAAAAAAAAAAAAAAAAAAA"},
			{"ui_locales", "ne \xff"}, {"code_challenge_method", "plain"},
		} {
			f.Add(o.request(c, change...).Encode())
		}
	}
	f.Add("client_id=web&client_id=native&redirect_uri=https://evil.example/")
	f.Add("client_id=web&redirect_uri=https://app.example/cb&redirect_uri=https://evil.example/")
	f.Add("%zz=1&&=&;;;")
	f.Fuzz(func(t *testing.T, rawQuery string) {
		for _, jar := range []*jar{signedIn, stranger} {
			w := o.visit(rawQuery, jar)
			if w.Code >= 500 {
				t.Fatalf("%q: %d %s", rawQuery, w.Code, w.Body)
			}
			to := w.Header().Get("Location") + w.Header().Get("X-Form-Post")
			switch w.Code {
			case http.StatusSeeOther:
				if strings.HasPrefix(to, "/login?flow=") || strings.HasPrefix(to, "/register?flow=") || strings.HasPrefix(to, "/consent?flow=") {
					continue
				}
			case http.StatusOK: // a form
				if strings.HasPrefix(to, "com.") {
					t.Fatalf("%q: a form for %q", rawQuery, to)
				}
			case http.StatusBadRequest, http.StatusRequestURITooLong:
				if to != "" {
					t.Fatalf("%q: a page that leads to %q", rawQuery, to)
				}
				continue
			default:
				t.Fatalf("%q: %d", rawQuery, w.Code)
			}
			u, err := url.Parse(to)
			if err != nil || u.Fragment != "" || strings.ContainsAny(to, "\r\n") {
				t.Fatalf("%q: to %q: %v", rawQuery, to, err)
			}
			if u.Scheme == "http" {
				u.Host = u.Hostname()
			}
			u.RawQuery = ""
			if !slices.Contains([]string{"https://app.example/cb", "http://127.0.0.1/cb", "com.example.app:/cb"}, u.String()) {
				t.Fatalf("%q: to %q", rawQuery, to)
			}
		}
	})
}

// No hint is trusted but an ID token as we issued it to this client, neither for
// signing in nor for signing out, and none leads to an address that is not
// registered.
func FuzzIDTokenHint(f *testing.F) {
	o := newOP(f)
	c, _ := o.client(storage.Client{Metadata: storage.ClientMetadata{PostLogoutRedirectURIs: []string{signedOutURI}}})
	other, _ := o.client(storage.Client{})
	b := o.browser()
	b.authorize(o.request(c))
	mine, theirs := o.tokens(c, ""), o.tokens(other, "")
	good := mine.text("id_token")
	part := strings.Split(good, ".")
	for _, seed := range []string{
		good, good + "=", good + "\n", " " + good, strings.ToLower(good), part[0] + "." + part[1] + ".", part[0] + ".." + part[2],
		"eyJhbGciOiJub25lIn0." + part[1] + ".", "eyJhbGciOiJIUzI1NiJ9." + part[1] + "." + part[2],
		mine.text("access_token"), theirs.text("id_token"), mine.text("refresh_token"), "", ".", "..", "....", strings.Repeat("a", 5000), "\x00", `{"payload":"x"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, hint string) {
		w := o.visit(o.request(c, "prompt", "none", "id_token_hint", hint).Encode(), b.client.Jar.(*jar))
		if w.Code >= 500 {
			t.Fatalf("%q: %d %s", hint, w.Code, w.Body)
		}
		u, err := url.Parse(w.Header().Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		trusted := w.Code == http.StatusSeeOther && u.Query().Get("error") != "invalid_request"
		if trusted != (hint == good || hint == "") {
			t.Fatalf("%q: %d %s", hint, w.Code, u)
		}
		if to := w.Header().Get("Location"); to != "" && !strings.HasPrefix(to, c.RedirectURIs[0]+"?") {
			t.Fatalf("%q: to %q", hint, to)
		}
		for _, back := range []string{signedOutURI, "https://evil.example/"} {
			v := url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {back}}
			r := httptest.NewRequest(http.MethodGet, o.issuer+"/logout?"+v.Encode(), nil)
			for _, cookie := range b.client.Jar.Cookies(r.URL) {
				r.AddCookie(cookie)
			}
			q, e := o.EndSessionRequest(r)
			switch {
			case e != nil && e.Status >= 500:
				t.Fatalf("%q: %d", hint, e.Status)
			case q.Proved != (hint == good && back == signedOutURI):
				t.Fatalf("%q proves %v for %s", hint, q.Proved, back)
			case q.Return != "" && q.Return != signedOutURI:
				t.Fatalf("%q leads to %q", hint, q.Return)
			}
		}
	})
}

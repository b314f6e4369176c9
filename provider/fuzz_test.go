package provider

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// What matches a registered redirect URI is the same to a browser, but for the
// port of a loopback IP.
func FuzzSameRedirect(f *testing.F) {
	for _, seed := range [][2]string{
		{"https://app.example/cb", "https://app.example/cb"},
		{"http://127.0.0.1/cb", "http://127.0.0.1:8080/cb"},
		{"http://[::1]:1/cb?x", "http://[::1]:2/cb?x"},
		{"http://127.0.0.1/cb", "http://127.0.0.1:80@evil.example/cb"},
		{"http://127.0.0.1", "http://127.0.0.1.evil.example"},
		{"http://127.0.0.1/cb", "http://127.0.0.1:+80/cb"},
		{"http://127.0.0.1/cb", "http://127.0.0.1:/cb"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, want, got string) {
		if !sameRedirect(want, got) || want == got {
			return
		}
		w, err1 := url.Parse(want)
		g, err2 := url.Parse(got)
		if err1 != nil || err2 != nil {
			if validateRedirectURI(want, true) == nil {
				t.Fatalf("%q matches %q, which no browser can parse", got, want)
			}
			return
		}
		if g.Hostname() != "127.0.0.1" && g.Hostname() != "::1" {
			t.Fatalf("sameRedirect(%q, %q) leaves this machine", want, got)
		}
		w.Host, g.Host = w.Hostname(), g.Hostname()
		if w.String() != g.String() || g.User != nil {
			t.Fatalf("sameRedirect(%q, %q) differs in more than the port", want, got)
		}
	})
}

// A refresh token has one spelling, and only ours open.
func FuzzRefreshToken(f *testing.F) {
	key := []byte("a key of 32 bytes for this test.")
	good := refreshToken{keyID: "12345678", generation: 7}
	copy(good.handle[:], "sixteen bytes...")
	sealed := good.seal(key)
	f.Add(sealed)
	f.Add(sealed[:len(sealed)-1] + "=")
	f.Add(strings.ToLower(sealed))
	f.Add(refreshPrefix)
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		parsed, body, mac, ok := parseRefreshToken(s)
		if !ok {
			return
		}
		if string(refreshMAC(key, body)) == string(mac) {
			if again := parsed.seal(key); again != s {
				t.Fatalf("%q and %q are one token", s, again)
			}
			if parsed != good {
				t.Fatalf("forged %+v", parsed)
			}
		}
	})
}

// Whatever comes, the guard answers with one of a few statuses, and what it lets
// through has no parameter twice.
func FuzzGuard(f *testing.F) {
	f.Add("POST", "application/x-www-form-urlencoded", "", "grant_type=authorization_code&code=x")
	f.Add("POST", "application/x-www-form-urlencoded; charset=utf-8", "", "a=1&a=2")
	f.Add("POST", "text/plain", "a=1", "%zz")
	f.Add("GET", "", "x=%", "")
	f.Fuzz(func(t *testing.T, verb, contentType, rawQuery, body string) {
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(body))
		r.Method = verb
		r.URL.RawQuery = rawQuery
		r.Header["Content-Type"] = []string{contentType}
		values, e := postForm(httptest.NewRecorder(), r)
		if e != nil {
			switch e.Status {
			case 400, 405, 413:
			default:
				t.Fatalf("status %d", e.Status)
			}
			return
		}
		if verb != http.MethodPost || rawQuery != "" {
			t.Fatalf("let through %s ?%s", verb, rawQuery)
		}
		for name, v := range values {
			if len(v) != 1 && !repeatable[name] {
				t.Fatalf("%q came %d times", name, len(v))
			}
		}
		if len(values) > maxParameters {
			t.Fatalf("%d parameters", len(values))
		}
	})
}

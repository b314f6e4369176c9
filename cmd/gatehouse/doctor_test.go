//go:build !slim

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A front is a proxy that speaks https for a server, as it should until a test
// changes it.
type front struct {
	url    string
	change atomic.Pointer[change]
}

// A change is what a proxy does wrong; nil parts are right.
type change struct {
	request  func(in, out *http.Request)
	response func(*http.Response)
	answer   http.HandlerFunc
}

// newFront leads to an address that may be known later.
func newFront(t *testing.T, p *pair, to *string) *front {
	t.Helper()
	f := &front{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: *to})
			r.Out.Host = r.In.Host
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded() // appends the address
			if c := f.change.Load(); c != nil && c.request != nil {
				c.request(r.In, r.Out)
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if c := f.change.Load(); c != nil && c.response != nil {
				c.response(r)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	certificate, err := tls.X509KeyPair([]byte(p.cert), []byte(p.key))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := f.change.Load(); c != nil && c.answer != nil {
			c.answer(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	f.url = "https://localhost:" + s.Listener.Addr().String()[strings.LastIndex(s.Listener.Addr().String(), ":")+1:]
	return f
}

// examined runs "gatehouse doctor" as an operator would.
func examined(t *testing.T, env []string) (found []finding, code int, said string) {
	t.Helper()
	cmd := exec.Command("gatehouse", "doctor", "--json")
	cmd.Env = with(env, "GOCOVERDIR="+t.TempDir()) // or it complains, when coverage is counted
	var out, message bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &message
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), message.String())
	}
	return found, cmd.ProcessState.ExitCode(), message.String()
}

// with replaces or adds keys of an environment.
func with(env []string, more ...string) []string {
	env = slices.Clone(env)
	for _, m := range more {
		key, _, _ := strings.Cut(m, "=")
		env = slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, key+"=") })
		env = append(env, m)
	}
	return env
}

// TestDoctor breaks everything that the doctor looks at, one after the other, in
// a server that is well.
func TestDoctor(t *testing.T) {
	t.Parallel()
	authority := newPair(t, nil, 0)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, []byte(authority.cert), 0o600); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(authority.cert))
	databaseURL, valkeyURL := testenv.Postgres(t), testenv.Valkey(t)
	var addr string
	proxy := newFront(t, newPair(t, authority, x509.ExtKeyUsageServerAuth), &addr)
	soon := newFront(t, newPair(t, authority, x509.ExtKeyUsageServerAuth, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-89*24*time.Hour), time.Now().Add(25*time.Hour)
	}), &addr)
	wrong := newFront(t, newPair(t, authority, x509.ExtKeyUsageServerAuth, func(c *x509.Certificate) { c.DNSNames = []string{"id.example.org"} }), &addr)
	smtp := newMailServer(t)
	addr = "127.0.0.1:" + freePort(t)
	env := []string{
		"HOME=" + t.TempDir(), "SSL_CERT_FILE=" + roots, "SSL_CERT_DIR=" + t.TempDir(),
		"GATEHOUSE_URL=" + proxy.url, "GATEHOUSE_ADDR=" + addr, "GATEHOUSE_TRUSTED_PROXIES=127.0.0.0/8,::1/128",
		"GATEHOUSE_DATABASE_URL=" + databaseURL, "GATEHOUSE_VALKEY_URL=" + valkeyURL,
		"GATEHOUSE_SEAL_KEY=" + hexKey, "GATEHOUSE_MAIL_KEY=" + hexKey, "GATEHOUSE_REGISTRATION_DOMAINS=example.org",
	}
	dns := &cluster{env: env}
	dns.proveDomains(t)
	env = dns.env
	server, err := parseConfig(env)
	if err != nil {
		t.Fatal(err)
	}
	if err := migrateSQL(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	s, _ := servingGRPC(t, server)
	env = append(env, "GATEHOUSE_SMTP_URL=smtp://ada:right@"+smtp, "GATEHOUSE_MAIL_FROM=Example ID <id@example.org>") // the worker's

	sql := func(t *testing.T, statements ...string) {
		t.Helper()
		c, err := pgx.Connect(t.Context(), databaseURL)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close(context.Background()) }()
		for _, statement := range statements {
			if _, err := c.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	jwks := get(s.handler, "/jwks").Body.String()
	names := func(path string, answer func(http.ResponseWriter)) *change {
		return &change{answer: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == path {
				answer(w)
				return
			}
			request, _ := http.NewRequestWithContext(r.Context(), r.Method, "http://"+addr+r.URL.String(), nil)
			request.Header = r.Header.Clone()
			request.Header.Add("X-Forwarded-For", "127.0.0.1")
			resp, err := http.DefaultTransport.RoundTrip(request)
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			for k, v := range resp.Header {
				w.Header()[k] = v
			}
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body)
		}}
	}
	cookie := func(from, to string) *change {
		return &change{response: func(r *http.Response) {
			for i, c := range r.Header["Set-Cookie"] {
				r.Header["Set-Cookie"][i] = strings.Replace(c, from, to, 1)
			}
		}}
	}

	found, code, said := examined(t, env)
	var seen []string
	for _, f := range found {
		seen = append(seen, f.Name)
		if !f.OK {
			t.Errorf("%s is well, but: %s", f.Name, f.Seen)
		}
		t.Logf("%s: %s", f.Name, f.Seen)
	}
	if code != 0 || said != "" {
		t.Errorf("a server that is well: code %d, %s", code, said)
	}
	if want := []string{"configuration", "database", "valkey", "clocks", "issuer", "tls", "proxy", "cookies", "keys", "gateways", "letters", "jwks", "domains", "smtp"}; !slices.Equal(seen, want) {
		t.Errorf("looked at\n%q, not\n%q", seen, want)
	}

	// A cache in front keeps metadata, with the time at which it came.
	proxy.change.Store(&change{response: func(r *http.Response) {
		r.Header.Set("Age", "3600")
		r.Header.Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
	}})
	for _, f := range examine(t.Context(), env, pool) {
		if !f.OK {
			t.Errorf("behind a cache %s is well, but: %s", f.Name, f.Seen)
		}
	}
	proxy.change.Store(nil)

	if _, code, said := examined(t, with(env, "GATEHOUSE_VALKEY_URL=valkey://127.0.0.1:1")); code != 1 || said != "gatehouse: doctor: 1 of 14 things are wrong\n" {
		t.Errorf("a server that is not well: code %d, %s", code, said)
	}

	other := func(path string) string { u, _ := url.Parse(databaseURL); u.Path = path; return u.String() }
	behind := miniredis.RunT(t)
	behind.SetTime(time.Now().Add(-time.Hour))
	for _, tt := range []struct {
		name   string
		env    []string       // more of it
		roots  *x509.CertPool // others than the test's
		proxy  *change
		before func(t *testing.T)
		after  func(t *testing.T)
		// bad is what is wrong, and the sentence.
		bad, want string
		// also are those that cannot be looked at, or are wrong by the same.
		also []string
	}{
		{name: "a key that is none", env: []string{"GATEHOUSE_LOG=xml"}, bad: "configuration", want: `GATEHOUSE_LOG must be text or json, not "xml"`},
		{name: "no database", env: []string{"GATEHOUSE_DATABASE_URL=postgres://ada:hunter2@127.0.0.1:1/x"}, bad: "database", want: "GATEHOUSE_DATABASE_URL does not lead to a database", also: []string{"clocks", "keys", "gateways", "letters", "jwks"}},
		{name: "no such database", env: []string{"GATEHOUSE_DATABASE_URL=" + other("/nowhere")}, bad: "database", want: `database "nowhere" does not exist`, also: []string{"clocks", "keys", "gateways", "letters", "jwks"}},
		{name: "an old schema", env: []string{"GATEHOUSE_DATABASE_URL=" + testenv.Postgres(t)}, bad: "database", want: `the database's schema is version 0 and this release needs`, also: []string{"clocks", "keys", "gateways", "letters", "jwks"}},
		{name: "no Valkey", env: []string{"GATEHOUSE_VALKEY_URL=valkey://:hunter2@127.0.0.1:1"}, bad: "valkey", want: "GATEHOUSE_VALKEY_URL does not lead to a server"},
		{name: "a Valkey that evicts", env: []string{"GATEHOUSE_VALKEY_URL=" + evictingValkey(t)}, bad: "valkey", want: "set maxmemory-policy to noeviction"},
		{
			name: "a database whose clock is an hour ahead", env: []string{"GATEHOUSE_DATABASE_URL=" + databaseURL + "&options=-c%20search_path%3Dpublic%2Cpg_catalog"},
			before: func(t *testing.T) {
				sql(t, "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour 30 seconds' $$")
			},
			after: func(t *testing.T) { sql(t, "DROP FUNCTION public.clock_timestamp()") },
			bad:   "clocks", want: "that of this host and that of the database are 1h0m", also: nil,
		},
		{name: "a Valkey whose clock is an hour behind", env: []string{"GATEHOUSE_VALKEY_URL=valkey://" + behind.Addr()}, bad: "clocks", want: "that of Valkey and that of the database are 1h", also: []string{"valkey"}},
		{name: "a server whose clock is an hour behind", proxy: &change{response: func(r *http.Response) {
			r.Header.Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		}}, bad: "clocks", want: "that of the server's host and that of the database are"},
		{name: "nobody at the address", env: []string{"GATEHOUSE_URL=https://localhost:1"}, bad: "issuer", want: "nobody answers at https://localhost:1: dial tcp", also: []string{"tls", "proxy", "cookies", "jwks", "domains"}},
		{name: "a proxy without a server", proxy: &change{answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }}, bad: "issuer", want: "502 Bad Gateway to discovery; have the proxy pass every path on", also: []string{"proxy", "cookies", "jwks"}},
		{name: "somebody else's page", proxy: &change{answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>It works!") }}, bad: "issuer", want: `does not answer with metadata; have the proxy lead to "gatehouse serve"`, also: []string{"proxy", "cookies", "jwks"}},
		{name: "another issuer", env: []string{"GATEHOUSE_URL=" + soon.url}, bad: "issuer", want: "says that it is " + proxy.url + "; set its GATEHOUSE_URL to what people type", also: []string{"tls", "proxy", "cookies", "jwks", "domains"}},
		{name: "a certificate that nobody knows", roots: x509.NewCertPool(), bad: "tls", want: "is not believed: x509: certificate signed by unknown authority", also: []string{"issuer", "proxy", "cookies", "jwks"}},
		{name: "a certificate for another host", env: []string{"GATEHOUSE_URL=" + wrong.url}, bad: "tls", want: "is not believed: x509: certificate is valid for id.example.org, not localhost", also: []string{"issuer", "proxy", "cookies", "jwks", "domains"}},
		{name: "a certificate that ends tomorrow", env: []string{"GATEHOUSE_URL=" + soon.url}, bad: "tls", want: "the certificate expires in 1 days", also: []string{"issuer", "proxy", "cookies", "jwks", "domains"}},
		{name: "a proxy that passes on what strangers write", proxy: &change{request: func(in, out *http.Request) { out.Header["X-Forwarded-For"] = in.Header["X-Forwarded-For"] }}, bad: "proxy", want: "the server believes the X-Forwarded-For that a stranger sent"},
		{name: "a proxy that writes RFC 7239 alone", proxy: &change{request: func(_, out *http.Request) {
			out.Header.Del("X-Forwarded-For")
			out.Header.Set("Forwarded", "for=203.0.113.7;proto=https")
		}}, bad: "proxy", want: "does not say whom it serves, so that all people have its address; have it send X-Forwarded-For (Forwarded, RFC 7239, is not read)"},
		{name: "a proxy that says http", proxy: &change{request: func(_, out *http.Request) { out.Header.Set("X-Forwarded-Proto", "http") }}, bad: "proxy", want: "says that people come by http; have it send X-Forwarded-Proto: https"},
		{name: "a proxy that drops headers", proxy: &change{request: func(_, out *http.Request) { out.Header.Del(sightingHeader) }}, bad: "proxy", want: "answers 404 Not Found to the doctor; give it and the doctor the same GATEHOUSE_SEAL_KEY"},
		{name: "cookies that are not Secure", proxy: cookie("; Secure", ""), bad: "cookies", want: "__Host-gatehouse_browser is not Secure; have the proxy leave Set-Cookie alone"},
		{name: "cookies of other names", proxy: cookie("__Host-", ""), bad: "cookies", want: "does not begin with __Host-"},
		{name: "cookies without SameSite", proxy: cookie("; SameSite=Lax", ""), bad: "cookies", want: "has no SameSite"},
		{name: "cookies for scripts", proxy: cookie("; HttpOnly", ""), bad: "cookies", want: "may be read by scripts"},
		{name: "cookies of a path", proxy: cookie("Path=/", "Path=/login"), bad: "cookies", want: "is of another path or domain"},
		{name: "no cookies", proxy: &change{response: func(r *http.Response) { r.Header.Del("Set-Cookie") }}, bad: "cookies", want: "sets none; have the proxy leave Set-Cookie alone"},
		{name: "another seal key", env: []string{"GATEHOUSE_SEAL_KEY=" + strings.Repeat("ab", 32)}, bad: "keys", want: "GATEHOUSE_SEAL_KEY does not open the keys in the database; set it to the one", also: []string{"proxy", "jwks", "domains"}},
		{name: "a cache with keys of before", proxy: names("/jwks", func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"keys":[]}`) }), bad: "jwks", want: "of the database is not among those at"},
		{name: "keys that were changed on the way", proxy: names("/jwks", func(w http.ResponseWriter) { _, _ = io.WriteString(w, otherPoint(jwks)) }), bad: "jwks", want: "what the server signs, an app refuses: the signature is not by the key"},
		{name: "an error for keys", proxy: names("/jwks", func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }), bad: "jwks", want: "answers 403 Forbidden, and no keys; have the proxy pass it on"},
		{
			name: "a gateway that does not fetch",
			before: func(t *testing.T) {
				sql(t, "INSERT INTO gateways (id, name, created_at, seen_keys) VALUES ('g', 'edge-1', now() - interval '2 hours', '[]')")
			},
			after: func(t *testing.T) { sql(t, "DELETE FROM gateways") },
			bad:   "gateways", want: `edge-1 did not fetch the keys for 1h0m0s or more; have it fetch its address ("gatehouse gateway list"), or remove it`,
		},
		{
			name: "letters that nobody sends",
			before: func(t *testing.T) {
				id, err := uuid.NewV7()
				if err != nil {
					t.Fatal(err)
				}
				if err := s.sql.AddLetters(t.Context(), storage.Letter{ID: id.String(), Kind: "test", Sealed: []byte("x"), CreatedAt: time.Now().Add(-10*time.Minute - 30*time.Second)}); err != nil {
					t.Fatal(err)
				}
			},
			after: func(t *testing.T) { sql(t, "DELETE FROM letters") },
			bad:   "letters", want: "1 wait, the first since 10m",
		},
		{name: "a domain without its record", env: []string{"GATEHOUSE_REGISTRATION_DOMAINS=example.org,example.com"}, bad: "domains", want: "_gatehouse.example.com"},
		{name: "no mail server", env: []string{"GATEHOUSE_SMTP_URL=smtp://127.0.0.1:1"}, bad: "smtp", want: "takes no letters: SMTP: dial tcp 127.0.0.1:1"},
		{name: "a mail server that refuses the password", env: []string{"GATEHOUSE_SMTP_URL=smtp://ada:hunter2@" + smtp}, bad: "smtp", want: "takes no letters: SMTP: before the letter: code 535"},
		{name: "a sender that is none", env: []string{"GATEHOUSE_MAIL_FROM=ada"}, bad: "smtp", want: "GATEHOUSE_MAIL_FROM must be a mail address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.before != nil {
				tt.before(t)
				defer tt.after(t)
			}
			proxy.change.Store(tt.proxy)
			defer proxy.change.Store(nil)
			roots := pool
			if tt.roots != nil {
				roots = tt.roots
			}
			found := examine(t.Context(), with(env, tt.env...), roots)
			var wrong []string
			for _, f := range found {
				if f.OK {
					continue
				}
				wrong = append(wrong, f.Name)
				switch {
				case strings.Contains(f.Seen, "\n"):
					t.Errorf("%s is no sentence: %q", f.Name, f.Seen)
				case f.Name == tt.bad && !strings.Contains(f.Seen, tt.want):
					t.Errorf("%s says\n%s\nwithout\n%s", f.Name, f.Seen, tt.want)
				case f.Name == tt.bad:
					t.Logf("BAD %s: %s", f.Name, f.Seen)
				case !slices.Contains(tt.also, f.Name):
					t.Errorf("%s is not what is wrong, but says: %s", f.Name, f.Seen)
				}
				if strings.Contains(f.Seen, "hunter2") {
					t.Errorf("sec-N4: %s repeats a secret: %s", f.Name, f.Seen)
				}
			}
			if !slices.Contains(wrong, tt.bad) {
				t.Errorf("%s is not found: %+v", tt.bad, found)
			}
		})
	}
}

// otherPoint is a JWK set whose elliptic keys have the same names and are others.
func otherPoint(set string) string {
	g := elliptic.P256().Params()
	for name, n := range map[string]*big.Int{"x": g.Gx, "y": g.Gy} {
		value := base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, 32)))
		set = regexp.MustCompile(`"`+name+`":"[^"]*"`).ReplaceAllString(set, `"`+name+`":"`+value+`"`)
	}
	return set
}

// sec-N4: what a server tells the doctor it tells nobody else, and to everybody
// else there is nothing.
func TestSighting(t *testing.T) {
	s := built(t, embeddedConfig(t))
	sealKey, err := s.config.sealKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := newSightingKey(sealKey)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ask := func(proof string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, s.config.URL+sightingPath, nil)
		if proof != "" {
			r.Header.Set(sightingHeader, proof)
		}
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		return w
	}
	nowhere := get(s.handler, "/nowhere")
	mirrored := []byte(key.prove(now))
	mirrored[len(mirrored)-1] ^= 1
	for name, proof := range map[string]string{
		"no proof":             "",
		"nonsense":             "nonsense",
		"only a time":          fmt.Sprintf("%d.%s.", now.Unix(), "nonce"),
		"a proof of before":    key.prove(now.Add(-sightingFor - time.Minute)),
		"a proof of later":     key.prove(now.Add(sightingFor + time.Minute)),
		"a proof by another":   sightingKey("another").prove(now),
		"a proof that was cut": string(mirrored),
	} {
		w := ask(proof)
		if w.Code != nowhere.Code || strings.Contains(w.Body.String(), "connection") || len(w.Header()) != len(nowhere.Header()) {
			t.Errorf("%s: %d, unlike an address that is not there\n%s", name, w.Code, w.Body)
		}
	}
	if w := ask(key.prove(now)); w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" || !strings.Contains(w.Body.String(), `"connection":"192.0.2.1"`) {
		t.Errorf("the doctor is answered %d %s", w.Code, w.Body)
	}
}

func TestJudge(t *testing.T) {
	config := Config{URL: "https://id.example.org"}
	local := Config{URL: "http://localhost:8080"}
	for _, tt := range []struct {
		name   string
		config Config
		v      sighting
		want   string // the sentence; a mark in front says that it is wrong
	}{
		{"nothing in front", local, sighting{Connection: "127.0.0.1", Address: "127.0.0.1", ForwardedFor: []string{pretended}}, "none in front, people have their own addresses (mine is 127.0.0.1)"},
		{"TLS by ourselves", config, sighting{TLS: true, Connection: "203.0.113.7", Address: "203.0.113.7", ForwardedFor: []string{pretended}}, "none in front"},
		{"a trusted proxy", config, sighting{Connection: "10.0.0.3", Trusted: true, Address: "203.0.113.7", ForwardedFor: []string{pretended, "203.0.113.7"}, ForwardedProto: "https"}, "a trusted proxy at 10.0.0.3"},
		{"a trusted proxy that replaces the header", config, sighting{Connection: "10.0.0.3", Trusted: true, Address: "203.0.113.7", ForwardedFor: []string{"203.0.113.7"}}, "a trusted proxy at 10.0.0.3"},
		{"a trusted proxy, and a doctor in its network", config, sighting{Connection: "10.0.0.3", Trusted: true, Address: pretended, ForwardedFor: []string{pretended, "10.0.0.9"}}, "a trusted proxy at 10.0.0.3, which says who is behind it (I am, at 10.0.0.9, itself in GATEHOUSE_TRUSTED_PROXIES)"},
		{"a network of strangers is trusted", config, sighting{Connection: "10.0.0.3", Trusted: true, Address: pretended, ForwardedFor: []string{pretended, "203.0.113.7"}}, "! the server believes the X-Forwarded-For that a stranger sent"},
		{"a proxy that is not named", config, sighting{Connection: "10.0.0.3", Address: "10.0.0.3", ForwardedFor: []string{pretended, "203.0.113.7"}}, "! requests come by a proxy at 10.0.0.3, which GATEHOUSE_TRUSTED_PROXIES does not name"},
		{"one that says nothing, and is not named", config, sighting{Connection: "10.0.0.3", Address: "10.0.0.3", ForwardedFor: []string{pretended}}, "! requests come by a proxy at 10.0.0.3"},
		{"strangers are trusted", local, sighting{Connection: "198.51.100.7", Trusted: true, Address: pretended, ForwardedFor: []string{pretended}}, "! there is no proxy, but GATEHOUSE_TRUSTED_PROXIES names 198.51.100.7"},
		{"another server", config, sighting{Issuer: "https://old.example.org"}, "! another server answers, whose GATEHOUSE_URL is https://old.example.org"},
		{"sec-O3 what it says moves no cursor", config, sighting{Issuer: "x\x1b[2J\n"}, "! another server answers, whose GATEHOUSE_URL is x\uFFFD[2J\uFFFD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.v.Issuer == "" {
				tt.v.Issuer = tt.config.URL
			}
			seen, wrong := tt.v.judge(tt.config)
			if wrong {
				seen = "! " + seen
			}
			if !strings.HasPrefix(seen, tt.want) {
				t.Errorf("judged %q, not %q", seen, tt.want)
			}
		})
	}
}

// newMailServer takes connections, and the password right.
func newMailServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, "220 mail.example ESMTP\r\n")
				for lines := bufio.NewScanner(c); lines.Scan(); {
					answer := "250 OK"
					switch verb, argument, _ := strings.Cut(lines.Text(), " "); strings.ToUpper(verb) {
					case "EHLO":
						answer = "250-mail.example\r\n250 AUTH PLAIN"
					case "AUTH": // RFC 4616: NUL ada NUL right
						if answer = "535 5.7.8 hunter2 is wrong"; argument == "PLAIN AGFkYQByaWdodA==" {
							answer = "235 OK"
						}
					case "QUIT":
						answer = "221 bye"
					case "MAIL":
						t.Error("the doctor sends a letter")
					}
					_, _ = io.WriteString(c, answer+"\r\n")
				}
			}()
		}
	}()
	return l.Addr().String()
}

// evictingValkey starts a Valkey that drops what it holds when memory runs out.
func evictingValkey(t *testing.T) string {
	t.Helper()
	binary, err := exec.LookPath("valkey-server")
	if err != nil {
		binary, err = exec.LookPath("redis-server")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("install valkey-server")
		}
		t.Skip("install valkey-server or redis-server to see one that evicts refused")
	}
	port := freePort(t)
	cmd := exec.Command(binary, "--port", port, "--bind", "127.0.0.1", "--save", "", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	await(t, "Valkey listens", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return "valkey://127.0.0.1:" + port
}

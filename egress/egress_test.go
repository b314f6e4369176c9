package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"93.184.216.34": true, "8.8.8.8": true, "100.63.255.255": true, "172.32.0.1": true,
		"2606:2800:220:1:248:1893:25c8:1946": true, "2a00:1450:4001::1": true,
		// sec-H1
		"127.0.0.1": false, "127.8.8.8": false, "0.0.0.0": false, "10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.168.1.1": false, "100.64.0.1": false, "100.127.255.255": false, "169.254.169.254": false, "224.0.0.1": false, "239.1.1.1": false,
		"255.255.255.255": false, "240.0.0.1": false, "198.18.0.1": false, "192.0.2.1": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false, "fe80::1": false, "fc00::1": false, "fd12::1": false,
		"fd00:ec2::254": false, "ff02::1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "2001:0:1::": false, "2001:db8::1": false, "fec0::1": false,
	} {
		e, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		if got := e.reachable(netip.MustParseAddr(address)); got != want {
			t.Errorf("sec-H1: %s is reachable: %v", address, got)
		}
	}
	e, err := New(Config{Allow: []string{"10.0.0.0/8", "fd00::/8"}})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "fd00::1": true, "11.0.0.1": true, "192.168.0.1": false} {
		if got := e.reachable(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s with networks allowed is reachable: %v", address, got)
		}
	}
}

func TestCheck(t *testing.T) {
	e, err := New(Config{Allow: []string{"keys.internal", "idp.internal:8443", "127.0.0.1:9443", "[::1]"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, try := range []struct {
		sentence, address string
		allowed           bool
	}{
		{"any https name", "https://app.example/jwks.json?v=1", true},
		{"a port that is 443 anyway", "https://app.example:443/", true},
		{"a host that was named", "https://keys.internal/jwks", true},
		{"a host with the port that was named", "https://IDP.internal:8443/jwks", true},
		{"an address with the port that was named", "https://127.0.0.1:9443/", true},
		{"an IPv6 address that was named", "https://[::1]/", true},
		{"sec-H2 http", "http://app.example/jwks", false},
		{"sec-H2 another scheme", "file:///etc/passwd", false},
		{"sec-H2 another port", "https://app.example:22/", false},
		{"sec-H2 another port of a host that was named", "https://idp.internal:22/", false},
		{"sec-H2 a user name", "https://me@app.example/", false},
		{"sec-H2 a fragment", "https://app.example/#a", false},
		{"sec-H2 an empty fragment", "https://app.example/#", false},
		{"no host", "https:///jwks", false},
		{"no authority", "https:jwks", false},
		{"not absolute", "/jwks", false},
		{"sec-H1 an address of this machine", "https://127.0.0.1/", false},
		{"sec-H1 its IPv4 mapped form", "https://[::ffff:127.0.0.1]/", false},
		{"sec-H1 a cloud's metadata service", "https://169.254.169.254/latest", false},
		{"too long", "https://app.example/" + strings.Repeat("a", 2000), false},
	} {
		t.Run(try.sentence, func(t *testing.T) {
			err := e.Check(try.address)
			if (err == nil) != try.allowed || err != nil && !errors.Is(err, ErrRefused) {
				t.Errorf("Check(%q) = %v", try.address, err)
			}
		})
	}
	for _, entry := range []string{"", "host:", "host:x", "host:70000", "a b", "https://app.example", "*.example.org", "10.0.0.0/40"} {
		if _, err := New(Config{Allow: []string{entry}}); err == nil {
			t.Errorf("%q was taken for an entry of Allow", entry)
		}
	}
}

// server is an https server of this machine, and the client that may ask it.
func server(t *testing.T, answer http.HandlerFunc) (*httptest.Server, *Client) {
	t.Helper()
	srv := httptest.NewTLSServer(answer)
	t.Cleanup(srv.Close)
	srv.Config.ErrorLog = nil
	e, err := New(Config{Allow: []string{srv.Listener.Addr().String()}, Roots: roots(srv)})
	if err != nil {
		t.Fatal(err)
	}
	return srv, e
}

func roots(srv *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return pool
}

func TestGet(t *testing.T) {
	var posted atomic.Pointer[string]
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" || r.Header.Get("Cookie") != "" || r.Header.Get("Referer") != "" {
			t.Errorf("sent %v", r.Header)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"keys":[]}`))
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/missing", http.NotFound)
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 101)) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, _ *http.Request) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(make([]byte, 1<<20))
		_ = z.Close()
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(b.Bytes())
	})
	mux.HandleFunc("/header", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("a", 64<<10))
	})
	mux.HandleFunc("/post", func(w http.ResponseWriter, r *http.Request) {
		v := r.Header.Get("Content-Type") + " " + r.PostFormValue("logout_token")
		posted.Store(&v)
		w.WriteHeader(http.StatusAccepted)
	})
	srv, e := server(t, mux.ServeHTTP)
	ctx := context.Background()

	d, err := e.Get(ctx, srv.URL+"/ok", 100)
	if err != nil || string(d.Body) != `{"keys":[]}` || d.Type != "application/json" {
		t.Fatalf("Get = %q %v", d, err)
	}
	for _, try := range []struct{ sentence, path string }{
		{"sec-H2 a redirect is not followed", "/moved"},
		{"what is not there is an error", "/missing"},
		{"sec-H3 a body above the limit", "/large"},
		{"sec-H3 a body without end", "/endless"},
		{"sec-H3 a body that would become large", "/bomb"},
		{"sec-H3 a header above the limit", "/header"},
	} {
		t.Run(try.sentence, func(t *testing.T) {
			if d, err := e.Get(ctx, srv.URL+try.path, 100); err == nil {
				t.Errorf("answered %d bytes", len(d.Body))
			}
		})
	}
	t.Run("a form is posted", func(t *testing.T) {
		status, err := e.PostForm(ctx, srv.URL+"/post", url.Values{"logout_token": {"x"}}, 100)
		if err != nil || status != http.StatusAccepted || *posted.Load() != "application/x-www-form-urlencoded x" {
			t.Errorf("PostForm = %d %v, received %v", status, err, posted.Load())
		}
		if status, err := e.PostForm(ctx, srv.URL+"/moved", nil, 100); err != nil || status != http.StatusFound {
			t.Errorf("sec-H2: PostForm at a redirect = %d %v", status, err)
		}
	})
	t.Run("sec-H2 a certificate of nobody known", func(t *testing.T) {
		// The system's certificates are read once, which on a busy machine takes a while.
		if _, err := x509.SystemCertPool(); err != nil {
			t.Fatal(err)
		}
		strange, err := New(Config{Allow: []string{srv.Listener.Addr().String()}})
		if err != nil {
			t.Fatal(err)
		}
		var unknown x509.UnknownAuthorityError
		if _, err := strange.Get(ctx, srv.URL+"/ok", 100); !errors.As(err, &unknown) {
			t.Errorf("Get = %v", err)
		}
	})
	t.Run("sec-H1 this machine, when nobody named it", func(t *testing.T) {
		stranger, err := New(Config{Roots: roots(srv)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stranger.Get(ctx, srv.URL+"/ok", 100); !errors.Is(err, ErrRefused) {
			t.Errorf("Get = %v", err)
		}
	})
}

// A server that gives a byte now and then holds a request no longer than the
// time allowed for all of it, and what there is by then is not taken for all.
func TestSlow(t *testing.T) {
	srv, e := server(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	for range 10 {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		if d, err := e.Get(ctx, srv.URL, 1<<20); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("sec-H3: Get = %q, %v", d.Body, err)
		}
		cancel()
	}
}

// roundTrip is a way to make requests.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Whoever asks, without a deadline or with a late one, has that time.
func TestTimeAllowed(t *testing.T) {
	var left time.Duration
	e, err := New(Config{Observe: func(http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			end, ok := r.Context().Deadline()
			if left = time.Until(end); !ok {
				left = math.MaxInt64
			}
			return nil, net.ErrClosed
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	late, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for _, ctx := range []context.Context{context.Background(), late} {
		if _, err := e.Get(ctx, "https://app.example/", 1); !errors.Is(err, net.ErrClosed) || left > 5*time.Second {
			t.Errorf("sec-H3: Get has %v, and is answered %v", left, err)
		}
		if _, err := e.PostForm(ctx, "https://app.example/", nil, 1); !errors.Is(err, net.ErrClosed) || left > 5*time.Second {
			t.Errorf("sec-H3: PostForm has %v, and is answered %v", left, err)
		}
	}
}

// A name server that answers what it likes, each time anew.
func nameServer(t *testing.T, answers ...string) (*net.Resolver, *atomic.Int64) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	var asked atomic.Int64
	go func() {
		b := make([]byte, 1<<12)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			a := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true}, Questions: m.Questions}
			if q.Type == dnsmessage.TypeA {
				i := int(asked.Add(1)) - 1
				a.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
					Body:   &dnsmessage.AResource{A: netip.MustParseAddr(answers[min(i, len(answers)-1)]).As4()},
				}}
			}
			if packed, err := a.Pack(); err == nil {
				_, _ = conn.WriteTo(packed, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}, &asked
}

func TestNames(t *testing.T) {
	var reached atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reached.Add(1) }))
	t.Cleanup(srv.Close)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	ctx := context.Background()

	t.Run("sec-H1 a name of this machine", func(t *testing.T) {
		resolver, asked := nameServer(t, "127.0.0.1")
		e, err := New(Config{Roots: roots(srv), Resolver: resolver})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Get(ctx, "https://example.com/", 10); !errors.Is(err, ErrRefused) || asked.Load() == 0 {
			t.Errorf("Get = %v after %d questions", err, asked.Load())
		}
	})
	t.Run("sec-H1 a name that is public when it is checked and not when it is dialled", func(t *testing.T) {
		resolver, _ := nameServer(t, "93.184.216.34", "127.0.0.1")
		e, err := New(Config{Roots: roots(srv), Resolver: resolver})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Check("https://example.com/"); err != nil {
			t.Fatal(err)
		}
		// The first answer is for whoever would look the name up to check it.
		if ips, err := resolver.LookupIP(ctx, "ip4", "example.com"); err != nil || !public(netip.MustParseAddr(ips[0].String())) {
			t.Fatalf("the name stands for %v, %v", ips, err)
		}
		if _, err := e.Get(ctx, "https://example.com/", 10); !errors.Is(err, ErrRefused) {
			t.Errorf("Get = %v", err)
		}
	})
	if reached.Load() != 0 {
		t.Errorf("the server was asked %d times", reached.Load())
	}
	t.Run("a name the operator named", func(t *testing.T) {
		resolver, _ := nameServer(t, "127.0.0.1")
		e, err := New(Config{Allow: []string{"example.com:" + port}, Roots: roots(srv), Resolver: resolver})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Get(ctx, "https://example.com:"+port+"/", 10); err != nil || reached.Load() != 1 {
			t.Errorf("Get = %v, and the server was asked %d times", err, reached.Load())
		}
	})
}

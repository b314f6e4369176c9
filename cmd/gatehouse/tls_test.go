//go:build !slim

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// mounted is a pair of files as Kubernetes mounts a secret: links through a
// directory that is replaced as a whole.
type mounted struct {
	dir string
	n   int
}

func (m *mounted) path(name string) string { return filepath.Join(m.dir, name) }

// mount replaces both files at once.
func (m *mounted) mount(t *testing.T, p *pair) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	m.n++
	data := fmt.Sprintf("..%d", m.n)
	must(os.Mkdir(m.path(data), 0o700))
	must(os.WriteFile(m.path(data+"/tls.crt"), []byte(p.cert), 0o600))
	must(os.WriteFile(m.path(data+"/tls.key"), []byte(p.key), 0o600))
	must(os.Symlink(data, m.path("..data_tmp")))
	must(os.Rename(m.path("..data_tmp"), m.path("..data")))
	for _, name := range []string{"tls.crt", "tls.key"} {
		if m.n == 1 {
			must(os.Symlink("..data/"+name, m.path(name)))
		}
	}
}

// encrypted serves HTTP over TLS with a pair of files.
type encrypted struct {
	mounted
	addr        string
	certificate *certificate
	log         *transcript
}

func serveTLS(t *testing.T, h http.Handler, tune func(*http.Server), host string) *encrypted {
	t.Helper()
	e := &encrypted{mounted: mounted{dir: t.TempDir()}, addr: "127.0.0.1:" + freePort(t), log: &transcript{}}
	first := newPair(t, nil, 0)
	e.mount(t, first)
	log := slog.New(slog.NewTextHandler(e.log, nil))
	var err error
	e.certificate, err = openCertificate(keyPair{
		name: "GATEHOUSE_TLS", cert: strings.TrimSpace(first.cert), key: Secret(strings.TrimSpace(first.key)),
		certFile: e.path("tls.crt"), keyFile: e.path("tls.key"), host: host,
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	e.certificate.every = 20 * time.Millisecond
	ls, err := listen(t.Context(), "GATEHOUSE_ADDR", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	s := newHTTPServer(h, e.certificate, log)
	if tune != nil {
		tune(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- serveHTTP(s, ls[0]) }()
	go func() { done <- e.certificate.watch(ctx) }()
	t.Cleanup(func() {
		cancel()
		_ = s.Close()
		<-done
		<-done
	})
	return e
}

// shown is the serial number of what a new connection is shown.
func (e *encrypted) shown(t *testing.T) string {
	t.Helper()
	c, err := tls.Dial("tcp", e.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func serial(t *testing.T, p *pair) string {
	t.Helper()
	c, err := tls.X509KeyPair([]byte(p.cert), []byte(p.key))
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf.SerialNumber.String()
}

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

func TestCertificateReload(t *testing.T) {
	t.Parallel()
	inside, goOn := make(chan struct{}), make(chan struct{})
	e := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(inside)
			<-goOn
		}
		_, _ = io.WriteString(w, "ok")
	}), nil, "localhost")
	client := http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	ask := func(path string) (string, error) {
		resp, err := client.Get("https://" + e.addr + path)
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return "", err
		}
		return resp.Proto + " " + resp.TLS.PeerCertificates[0].SerialNumber.String(), nil
	}
	first := e.shown(t)
	answered := make(chan string, 1)
	go func() {
		a, err := ask("/slow")
		answered <- fmt.Sprint(a, err)
	}()
	<-inside

	second := newPair(t, nil, 0)
	e.mount(t, second)
	await(t, "the new certificate is shown", func() bool { return e.shown(t) == serial(t, second) })
	close(goOn)
	if got, want := <-answered, "HTTP/2.0 "+first+"<nil>"; got != want {
		t.Errorf("the request that was there is answered %q, not %q", got, want)
	}
	if got, err := ask("/"); err != nil || got != "HTTP/2.0 "+first {
		t.Errorf("the connection that was there is gone: %s (%v)", got, err)
	}

	for _, tt := range []struct {
		name     string
		cert     string
		key      string
		sentence string
	}{
		{"half a certificate", second.cert[:len(second.cert)/2], second.key, "GATEHOUSE_TLS_CERT must be a certificate in PEM; it was read from " + e.path("tls.crt") + ", the file that GATEHOUSE_TLS_CERT_FILE names"},
		{"the certificate of another key", newPair(t, nil, 0).cert, second.key, "GATEHOUSE_TLS_KEY is not the key of the first certificate in GATEHOUSE_TLS_CERT"},
		{"nothing", "", "", "GATEHOUSE_TLS_CERT and GATEHOUSE_TLS_KEY must be a certificate and its private key in PEM"},
		{"an expired one", "", "", "GATEHOUSE_TLS_CERT expired at"},
		{"one for somebody else", "", "", "GATEHOUSE_TLS_CERT is not for localhost, the host of GATEHOUSE_URL, but for [\\\"id.example.org\\\"]"},
	} {
		t.Run(tt.name+" is not taken, and told once", func(t *testing.T) {
			before := strings.Count(e.log.String(), "level=WARN")
			p := &pair{tt.cert, tt.key}
			switch tt.name {
			case "an expired one":
				p = newPair(t, nil, 0, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })
			case "one for somebody else":
				p = newPair(t, nil, 0, func(c *x509.Certificate) { c.DNSNames = []string{"id.example.org"} })
			}
			e.mount(t, p)
			await(t, "it is told", func() bool { return strings.Count(e.log.String(), "level=WARN") > before })
			time.Sleep(5 * e.certificate.every) // it must not be told again
			log := e.log.String()
			if n := strings.Count(log, "level=WARN") - before; n != 1 || !strings.Contains(log, tt.sentence) {
				t.Errorf("told %d times:\n%s", n, log)
			}
			if strings.Contains(log, "PRIVATE") {
				t.Error("sec-N4 the log holds a key")
			}
			if got := e.shown(t); got != serial(t, second) {
				t.Error("another certificate is shown")
			}
		})
	}
	third := newPair(t, nil, 0)
	e.mount(t, third)
	await(t, "a good one is taken again", func() bool { return e.shown(t) == serial(t, third) })
}

// Whoever copies one file after the other is between them for a moment, which is
// nothing to tell.
func TestCertificateOneByOne(t *testing.T) {
	m, log := mounted{dir: t.TempDir()}, &transcript{}
	first, second := newPair(t, nil, 0), newPair(t, nil, 0)
	m.mount(t, first)
	c, err := openCertificate(keyPair{
		name: "GATEHOUSE_TLS", cert: strings.TrimSpace(first.cert), key: Secret(strings.TrimSpace(first.key)),
		certFile: m.path("tls.crt"), keyFile: m.path("tls.key"),
	}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"tls.crt", "tls.key"} {
		if err := os.WriteFile(m.path(name), []byte([]string{second.cert, second.key}[i]), 0o600); err != nil {
			t.Fatal(err)
		}
		c.look(t.Context())
		if got, want := c.current.Load().Leaf.SerialNumber.String(), []string{serial(t, first), serial(t, second)}[i]; got != want {
			t.Errorf("with a new %s, %s is shown", name, got)
		}
	}
	if strings.Contains(log.String(), "level=WARN") {
		t.Errorf("told:\n%s", log)
	}
	if err := os.Remove(m.path("tls.key")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.look(t.Context())
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "tls.key: no such file or directory") {
		t.Errorf("a file that is gone is told %d times:\n%s", n, log)
	}
}

// TestServeTLS runs a server that encrypts by itself, HTTP and gRPC, from the
// files that an operator names.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	m := mounted{dir: t.TempDir()}
	first, second := newPair(t, nil, 0), newPair(t, nil, 0)
	m.mount(t, first)
	c, err := parseConfig([]string{
		"GATEHOUSE_STATE_DIR=" + filepath.Join(t.TempDir(), "state"),
		"GATEHOUSE_ADDR=localhost:" + freePort(t), "GATEHOUSE_GRPC_ADDR=localhost:" + freePort(t),
		"GATEHOUSE_TLS_CERT_FILE=" + m.path("tls.crt"), "GATEHOUSE_TLS_KEY_FILE=" + m.path("tls.key"),
		"GATEHOUSE_GRPC_TLS_CERT_FILE=" + m.path("tls.crt"), "GATEHOUSE_GRPC_TLS_KEY_FILE=" + m.path("tls.key"),
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := build(context.Background(), c, quiet, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s.certificate.every, s.grpcCertificate.every = 20*time.Millisecond, 20*time.Millisecond
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	await(t, "the server is ready", s.ready.Load)

	roots := func(p *pair) *x509.CertPool {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(p.cert))
		return pool
	}
	client := http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots(first)}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(c.URL + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.ProtoMajor != 2 || !strings.Contains(string(body), `"issuer":"`+c.URL+`"`) {
		t.Errorf("discovery over %s is %s (%v)", resp.Proto, body, err)
	}
	if got := resp.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("sec-M7: Strict-Transport-Security is %q", got)
	}
	// healthy asks over gRPC, on a new connection.
	healthy := func(p *pair) error {
		conn, err := grpc.NewClient(c.GRPCAddr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots(p)})))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
		return err
	}
	if err := healthy(first); err != nil {
		t.Error(err)
	}
	m.mount(t, second)
	await(t, "HTTP has the new certificate", func() bool {
		conn, err := tls.Dial("tcp", c.Addr, &tls.Config{RootCAs: roots(second)})
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	await(t, "gRPC has the new certificate", func() bool { return healthy(second) == nil })
	if err := healthy(first); err == nil {
		t.Error("gRPC has both certificates")
	}
	again, err := client.Get(c.URL + "/livez")
	if err != nil {
		t.Fatalf("the connection that was there is gone: %v", err)
	}
	_ = again.Body.Close()
}

func TestTLSProtocols(t *testing.T) {
	t.Parallel()
	e := serveTLS(t, says("ok"), nil, "")
	for _, tt := range []struct {
		name   string
		config *tls.Config
		want   string // of version and ALPN; empty is refused
	}{
		{"HTTP/2 is agreed on", &tls.Config{NextProtos: []string{"h2", "http/1.1"}}, "TLS 1.3 h2"},
		{"HTTP/1.1 is there", &tls.Config{NextProtos: []string{"http/1.1"}}, "TLS 1.3 http/1.1"},
		{"sec-M7 TLS 1.2 is there", &tls.Config{MaxVersion: tls.VersionTLS12}, "TLS 1.2 "},
		{"sec-M7 TLS 1.1 is not", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, ""},
		{"nobody speaks SPDY", &tls.Config{NextProtos: []string{"spdy/3"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.InsecureSkipVerify = true
			c, err := tls.Dial("tcp", e.addr, tt.config)
			if err != nil {
				if tt.want != "" {
					t.Error(err)
				}
				return
			}
			defer func() { _ = c.Close() }()
			s := c.ConnectionState()
			if got := tls.VersionName(s.Version) + " " + s.NegotiatedProtocol; got != tt.want {
				t.Errorf("agreed on %q, not %q", got, tt.want)
			}
		})
	}
	t.Run("sec-M7 what is not encrypted gets nothing", func(t *testing.T) {
		resp, err := http.Get("http://" + e.addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadRequest || string(body) == "ok" {
			t.Errorf("the answer is %d %q", resp.StatusCode, body)
		}
	})
}

// Without TLS there is no HTTP/2: neither to who knows that it is there (RFC 9113
// section 3.3) nor to who asks for it (the h2c of RFC 7540).
func TestNoH2C(t *testing.T) {
	addr := serveLimits(t, headerTime)
	for name, request := range map[string]string{
		"prior knowledge": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"upgrade":         "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(c).ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "HTTP/1.1 ") || strings.Contains(line, " 101 ") {
				t.Errorf("the answer begins %q (%v)", line, err)
			}
		})
	}
}

// sec-P2: HTTP/2 has the bounds of HTTP/1.1, and one of its own.
func TestHTTP2Limits(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(goOn) }) }
	defer release()
	var inside atomic.Int64
	e := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/crowd" {
			inside.Add(1)
			<-goOn
		}
		_, _ = io.WriteString(w, "ok")
	}), nil, "")
	client := http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	for _, tt := range []struct {
		name, path, header string
		want               int
	}{
		{"an address of 8 KB is read", "/" + strings.Repeat("a", maxURL-1), "", http.StatusOK},
		{"one byte more is 414", "/" + strings.Repeat("a", maxURL), "", http.StatusRequestURITooLong},
		{"headers of 25 KB are read", "/", strings.Repeat("a", 25<<10), http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodGet, "https://"+e.addr+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Long", tt.header)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.ProtoMajor != 2 || resp.StatusCode != tt.want {
				t.Errorf("answered %s %d, not HTTP/2.0 %d", resp.Proto, resp.StatusCode, tt.want)
			}
		})
	}

	// What clients keep to by themselves is tried without one.
	c, err := tls.Dial("tcp", e.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	open := func(stream uint32, path string, kilobytes int) {
		t.Helper()
		block.Reset()
		headers := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", path}}
		for range kilobytes {
			headers = append(headers, [2]string{"x-long", strings.Repeat("a", 1<<10)})
		}
		for _, h := range headers {
			if err := encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1], Sensitive: true}); err != nil {
				t.Fatal(err)
			}
		}
		all, first := block.Bytes(), true
		for {
			part := all[:min(len(all), 16000)]
			all = all[len(part):]
			var err error
			if first {
				err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: part, EndStream: true, EndHeaders: len(all) == 0})
			} else {
				err = f.WriteContinuation(stream, len(all) == 0, part)
			}
			if err != nil {
				t.Fatal(err)
			}
			if first = false; len(all) == 0 {
				return
			}
		}
	}
	// answer is what comes next of a stream: a status or an error's code.
	answer := func(stream uint32) string {
		t.Helper()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if n, ok := frame.Value(http2.SettingMaxConcurrentStreams); ok && n != maxStreams {
					t.Errorf("the server says that it takes %d streams", n)
				}
				if n, ok := frame.Value(http2.SettingMaxHeaderListSize); ok && n > 32<<10 {
					t.Errorf("the server says that it takes headers of %d bytes", n)
				}
			case *http2.MetaHeadersFrame:
				if frame.StreamID == stream {
					return frame.PseudoValue("status")
				}
			case *http2.RSTStreamFrame:
				if frame.StreamID == stream {
					return frame.ErrCode.String()
				}
			}
		}
	}
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	open(1, "/", 33)
	if got := answer(1); got != "431" {
		t.Errorf("headers of 33 KB are answered %s", got)
	}
	for i := range uint32(maxStreams) {
		open(3+2*i, "/crowd", 0)
	}
	await(t, "as many as may are inside", func() bool { return inside.Load() == maxStreams })
	open(3+2*maxStreams, "/crowd", 0)
	if got := answer(3 + 2*maxStreams); got != "PROTOCOL_ERROR" && got != "REFUSED_STREAM" { // RFC 9113 section 5.1.2
		t.Errorf("one more is answered %s", got)
	}
	if n := inside.Load(); n != maxStreams {
		t.Errorf("%d are inside", n)
	}
	release()
	if got := answer(3); got != "200" {
		t.Errorf("the first is answered %s", got)
	}
}

// sec-P2: a body that trickles, an answer that nobody reads and a connection on
// which nothing happens are hung up on.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	e := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		var err error
		if r.Method == http.MethodPost {
			_, err = io.Copy(io.Discard, r.Body)
		} else {
			_, err = w.Write(make([]byte, 64<<20)) // more than any buffer on the way takes
		}
		ended <- err
	}), func(s *http.Server) {
		for _, d := range []*time.Duration{&s.ReadHeaderTimeout, &s.ReadTimeout, &s.WriteTimeout, &s.IdleTimeout} {
			*d = 300 * time.Millisecond // the same rules, in less time
		}
	}, "")
	// connect dials until the server has not hung up on the handshake already: a
	// busy machine may take longer for one.
	connect := func(t *testing.T) net.Conn {
		t.Helper()
		var c net.Conn
		await(t, "a connection is made", func() bool {
			conn, err := tls.Dial("tcp", e.addr, &tls.Config{InsecureSkipVerify: true})
			c = conn
			return err == nil
		})
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	for _, tt := range []struct{ name, request string }{
		{"a body that trickles", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\na"},
		{"an answer that nobody reads", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			await(t, "a request gets as far as the handler", func() bool {
				_, _ = io.WriteString(connect(t), tt.request)
				select {
				case <-begun:
					return true
				case <-time.After(5 * time.Second):
					return false
				}
			})
			select {
			case err := <-ended:
				if err == nil {
					t.Error("it came to its end")
				}
			case <-time.After(time.Minute):
				t.Error("it is waited for")
			}
		})
	}
	t.Run("a connection on which nothing happens", func(t *testing.T) {
		c := connect(t)
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it is kept")
		}
	})
}

func TestTLSConfig(t *testing.T) {
	good := newPair(t, nil, 0)
	named := newPair(t, nil, 0, func(c *x509.Certificate) { c.DNSNames = []string{"id.example.org"} })
	old := newPair(t, nil, 0, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
	early := newPair(t, nil, 0, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	sealed := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("not to be read without one")}))
	server := []string{aDatabase, aValkey, "GATEHOUSE_URL=https://id.example.org"}
	of := func(p *pair) []string {
		return []string{"GATEHOUSE_TLS_CERT=" + p.cert, "GATEHOUSE_TLS_KEY=" + p.key}
	}
	for _, tt := range []struct {
		name string
		env  []string
		want string // part of the error; empty is none
	}{
		{"https by ourselves", append(of(named), server...), ""},
		{"a certificate without its key", append([]string{"GATEHOUSE_TLS_CERT=" + named.cert}, server...), "GATEHOUSE_TLS_CERT and GATEHOUSE_TLS_KEY go together; set both or neither"},
		{"a key without its certificate", append([]string{"GATEHOUSE_TLS_KEY=" + named.key}, server...), "GATEHOUSE_TLS_CERT and GATEHOUSE_TLS_KEY go together"},
		{"the path of a file is none", append([]string{"GATEHOUSE_TLS_CERT=/tls.crt", "GATEHOUSE_TLS_KEY=/tls.key"}, server...), "the paths of files go into GATEHOUSE_TLS_CERT_FILE and GATEHOUSE_TLS_KEY_FILE"},
		{"the key of another", append([]string{"GATEHOUSE_TLS_CERT=" + named.cert, "GATEHOUSE_TLS_KEY=" + good.key}, server...), "GATEHOUSE_TLS_KEY is not the key of the first certificate in GATEHOUSE_TLS_CERT, which must be this server's own; set the two that were made together"},
		{"those that signed it first", append([]string{"GATEHOUSE_TLS_CERT=" + good.cert + named.cert, "GATEHOUSE_TLS_KEY=" + named.key}, server...), "GATEHOUSE_TLS_KEY is not the key of the first certificate in GATEHOUSE_TLS_CERT"},
		{"a key for a certificate", append([]string{"GATEHOUSE_TLS_CERT=" + named.key, "GATEHOUSE_TLS_KEY=" + named.key}, server...), "GATEHOUSE_TLS_CERT must be a certificate in PEM; the path of a file goes into GATEHOUSE_TLS_CERT_FILE"},
		{"a certificate for a key", append([]string{"GATEHOUSE_TLS_CERT=" + named.cert, "GATEHOUSE_TLS_KEY=" + named.cert}, server...), "GATEHOUSE_TLS_KEY must be a private key in PEM, without a password; the path of a file goes into GATEHOUSE_TLS_KEY_FILE"},
		{"a key with a password", append([]string{"GATEHOUSE_TLS_CERT=" + named.cert, "GATEHOUSE_TLS_KEY=" + sealed}, server...), "GATEHOUSE_TLS_KEY must be a private key in PEM, without a password"},
		{"one for the other", append([]string{"GATEHOUSE_TLS_CERT=" + named.key, "GATEHOUSE_TLS_KEY=" + named.cert}, server...), "GATEHOUSE_TLS_CERT and GATEHOUSE_TLS_KEY must be a certificate and its private key in PEM"},
		{"an expired one", append(of(old), "GATEHOUSE_URL=https://localhost"), "GATEHOUSE_TLS_CERT expired at"},
		{"one of tomorrow", append(of(early), "GATEHOUSE_URL=https://localhost"), "GATEHOUSE_TLS_CERT is good only from"},
		{"one for somebody else", append(of(good), server...), `GATEHOUSE_TLS_CERT is not for id.example.org, the host of GATEHOUSE_URL, but for ["localhost"]; get one that is, or name the proxy`},
		{"one for the proxy in front", append(of(good), append(server, "GATEHOUSE_TRUSTED_PROXIES=10.0.0.0/8")...), ""},
		{"an address of http", append(of(good), "GATEHOUSE_URL=http://localhost:8080"), "GATEHOUSE_URL is http://localhost:8080, and with GATEHOUSE_TLS_CERT this server speaks https alone; write https"},
		{"gRPC's expires too", []string{"GATEHOUSE_GRPC_ADDR=localhost:8081", "GATEHOUSE_GRPC_TLS_CERT=" + old.cert, "GATEHOUSE_GRPC_TLS_KEY=" + old.key}, "GATEHOUSE_GRPC_TLS_CERT expired at"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseConfig(append([]string{"HOME=/home/ada"}, tt.env...))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("the error is\n%v\nwithout\n%s", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "PRIVATE") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("sec-N4: not one sentence without a key: %v", err)
			}
		})
	}
	c, err := parseConfig(append(of(good), "HOME=/home/ada", "GATEHOUSE_ADDR=localhost:8443"))
	if err != nil || c.URL != "https://localhost:8443" {
		t.Errorf("the issuer is %s (%v)", c.URL, err)
	}
}

func TestKeyFileAccess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tls.key")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]string{
		0o600: "", 0o440: "", 0o644: "warning: every user of this machine may read", 0o666: "every user of this machine may write",
	} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		got, err := keyPair{name: "GATEHOUSE_TLS", keyFile: path}.checkAccess()
		switch {
		case got != "":
			got = "warning: " + got
		case err != nil:
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%v: %q", mode, got)
		}
	}
}

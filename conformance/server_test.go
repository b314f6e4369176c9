package conformance_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/testenv/freeport"
)

// The person whom deploy/conformance.sh makes.
const (
	person   = "buffy@example.org"
	password = "seventeen green lanterns"
)

// An op is the server under test, with TLS before it.
type op struct {
	issuer string
	// http talks to it and to the relying party as a back channel does: no
	// cookies, and no redirect is followed.
	http *http.Client
	// environ is what the program was started with, also for commands.
	environ []string
	bin     string
	rp      *party
	// metadata is what it says of itself.
	metadata map[string]any
	// static are the clients that deploy/conformance.sh makes, by id.
	static map[string]map[string]any
	// met are those of accepted that have happened.
	met map[string]bool
}

// start builds the program, starts it with deploy/conformance.env but for the
// addresses, and runs deploy/conformance.sh.
func start(t *testing.T) *op {
	t.Helper()
	dir := t.TempDir()
	ca := newAuthority(t)
	o := &op{bin: binary(t), static: map[string]map[string]any{}, met: map[string]bool{}}
	o.http = &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool}, MaxIdleConnsPerHost: 8},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       time.Minute,
	}
	t.Cleanup(o.http.CloseIdleConnections)
	o.rp = newParty(t, ca)

	addr := net.JoinHostPort("127.0.0.1", freeport.For(t))
	front := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: addr})
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	})
	front.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "localhost")}}
	front.StartTLS()
	t.Cleanup(front.Close)
	_, port, err := net.SplitHostPort(front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	o.issuer = "https://localhost:" + port

	roots := filepath.Join(dir, "suite.pem")
	if err := os.WriteFile(roots, ca.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	o.environ = environ(t, map[string]string{
		"GATEHOUSE_URL":            o.issuer,
		"GATEHOUSE_ADDR":           addr,
		"GATEHOUSE_STATE_DIR":      filepath.Join(dir, "state"),
		"GATEHOUSE_EGRESS_ALLOW":   o.rp.host,
		"GATEHOUSE_EGRESS_CA_FILE": roots,
	})
	o.seed(t)
	o.serve(t)
	return o
}

// binary is the program: GATEHOUSE_TEST_BINARY, or one that is built now.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatehouse") // as deploy/conformance.sh calls it
	if made := os.Getenv("GATEHOUSE_TEST_BINARY"); made != "" {
		if err := os.Symlink(made, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// The go command repeats a test's last result unless a file changed that the
	// test itself has looked at: so look at all.
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != ".." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// As make does: then most of it is compiled already.
	build := exec.Command("go", "build", "-trimpath", "-tags", "nomsgpack,grpcnotrace", "-ldflags=-s -w", "-o", path, "../cmd/gatehouse")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// environ is deploy/conformance.env with these addresses in the place of its
// own, each of which must be there.
func environ(t *testing.T, addresses map[string]string) []string {
	t.Helper()
	content, err := os.ReadFile("../deploy/conformance.env")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	found := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.ContainsAny(value, " '\"$\\") {
			t.Fatalf("deploy/conformance.env: a shell, Docker and systemd read this line differently: %s", line)
		}
		if own, is := addresses[key]; is {
			value = own
		}
		found[key] = true
		env = append(env, key+"="+value)
	}
	for key := range addresses {
		if !found[key] {
			t.Fatalf("deploy/conformance.env lacks %s", key)
		}
	}
	return env
}

// seed runs deploy/conformance.sh.
func (o *op) seed(t *testing.T) {
	t.Helper()
	script := exec.Command("sh", "../deploy/conformance.sh", o.rp.url, "static")
	script.Env = append(o.environ, "PATH="+filepath.Dir(o.bin)+string(os.PathListSeparator)+os.Getenv("PATH"))
	script.Stdin = strings.NewReader(password + "\n")
	var problems bytes.Buffer
	script.Stderr = &problems
	out, err := script.Output()
	if err != nil {
		t.Fatalf("deploy/conformance.sh: %v\n%s", err, problems.String())
	}
	clients := json.NewDecoder(bytes.NewReader(out))
	for clients.More() {
		var c map[string]any
		if err := clients.Decode(&c); err != nil {
			t.Fatalf("deploy/conformance.sh printed no JSON: %v\n%s", err, out)
		}
		id, _ := c["client_id"].(string)
		o.static[id] = c
	}
}

// command runs the program beside the server.
func (o *op) command(t *testing.T, args ...string) {
	t.Helper()
	c := exec.Command(o.bin, args...)
	c.Env = o.environ
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("gatehouse %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// serve runs the server until the test ends.
func (o *op) serve(t *testing.T) {
	t.Helper()
	c := exec.Command(o.bin, "serve")
	c.Env = o.environ
	var log output
	c.Stderr = &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
		if t.Failed() || strings.Contains(log.String(), "level=ERROR") {
			t.Logf("the server's log:\n%s", log.String())
		}
		if strings.Contains(log.String(), "level=ERROR") {
			t.Error("the server logged a fault")
		}
	})
	for deadline := time.Now().Add(time.Minute); ; {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the server did not start:\n%s", log.String())
		case <-time.After(20 * time.Millisecond):
		}
		resp, err := o.http.Get(o.issuer + "/.well-known/openid-configuration")
		if err == nil {
			err = json.NewDecoder(resp.Body).Decode(&o.metadata)
			_ = resp.Body.Close()
		}
		if err == nil && resp.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not answer: %v\n%s", err, log.String())
		}
	}
}

// endpoint is an address of the metadata.
func (o *op) endpoint(name string) string {
	s, _ := o.metadata[name].(string)
	return s
}

// offers reports whether a list of the metadata has a value.
func (o *op) offers(list, value string) bool {
	values, _ := o.metadata[list].([]any)
	for _, v := range values {
		if v == value {
			return true
		}
	}
	return false
}

// An output is what a process has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// An authority has signed the certificates of the server and of the relying
// party.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "The suite's authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// issue makes a certificate for a host, a name or an address.
func (a *authority) issue(t *testing.T, host string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

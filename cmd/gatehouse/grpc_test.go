//go:build !slim

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A transcript is what a server printed.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

var printedLetter = regexp.MustCompile(`(?s)---- letter ----\nTo: ([^\n]*)\n(.*?)---- end of letter ----`)

// eightDigits is a code on a line of its own: a Message-ID may hold as many digits.
var eightDigits = regexp.MustCompile(`(?m)^\s*(\d{4})[ \x{a0}-]?(\d{4})\s*$`)

// code waits for a letter with a code that was printed after so many bytes.
func (t *transcript) code(tb *testing.T, to string, after int) (code string) {
	tb.Helper()
	await(tb, "a letter brings a code", func() bool {
		for _, l := range printedLetter.FindAllStringSubmatch(t.String()[after:], -1) {
			if d := eightDigits.FindStringSubmatch(l[2]); d != nil && strings.Contains(l[1], to) {
				code = d[1] + d[2]
			}
		}
		return code != ""
	})
	return code
}

// servingGRPC runs a server until the test ends.
func servingGRPC(t *testing.T, c Config) (s *server, letters *transcript) {
	t.Helper()
	letters = &transcript{}
	s, err := build(context.Background(), c, quiet, letters)
	if err != nil {
		t.Fatal(err)
	}
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
	return s, letters
}

func grpcConfig(t *testing.T, environ ...string) Config {
	t.Helper()
	c, err := parseConfig(append([]string{
		"GATEHOUSE_STATE_DIR=" + filepath.Join(t.TempDir(), "state"),
		"GATEHOUSE_ADDR=localhost:" + freePort(t), "GATEHOUSE_GRPC_ADDR=localhost:" + freePort(t),
	}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGRPCWalk runs what docs/grpc.md tells its reader to type, and compares what
// it says they will read. An … stands for any text.
func TestGRPCWalk(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/grpc.md")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-modfile=tools/grpc/go.mod", "-o", bin, "github.com/fullstorydev/grpcurl/cmd/grpcurl")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		if os.Getenv("CI") != "true" && strings.Contains(string(out), "dial tcp") {
			t.Skipf("grpcurl cannot be downloaded: %s", out)
		}
		t.Fatalf("build grpcurl: %v\n%s", err, out)
	}
	c := grpcConfig(t)
	_, letters := servingGRPC(t, c)

	env := map[string]string{}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```\n```text\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 10 {
		t.Fatalf("the page has %d steps", len(blocks))
	}
	for _, block := range blocks {
		typed := strings.ReplaceAll(block[1], "localhost:8081", c.GRPCAddr)
		if strings.Contains(typed, "$CODE") {
			env["CODE"] = letters.code(t, "asha@example.com", 0)
		}
		if strings.Contains(typed, "$TOTP") {
			if env["TOTP"], err = totp.GenerateCode(env["SECRET"], time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		shell := exec.Command("sh", "-c", typed)
		shell.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		for k, v := range env {
			shell.Env = append(shell.Env, k+"="+v)
		}
		out, _ := shell.CombinedOutput() // what failed prints ERROR
		pattern := strings.ReplaceAll(regexp.QuoteMeta(block[2]), "…", `[^"\n]+`)
		if !regexp.MustCompile("^" + pattern + "$").Match(out) {
			t.Fatalf("%s\nprints\n%s\nand not\n%s", typed, out, block[2])
		}
		for name, key := range map[string]string{"HANDLE": "handle", "ACCESS": "accessToken", "REFRESH": "refreshToken", "SECRET": "secret"} {
			if m := regexp.MustCompile(`"` + key + `": "([^"]+)"`).FindSubmatch(out); m != nil {
				env[name] = string(m[1])
			}
		}
		if m := regexp.MustCompile(`"recoveryCodes": \[\s*"([^"]+)"`).FindSubmatch(out); m != nil {
			env["RECOVERY"] = string(m[1])
		}
	}
}

// TestGRPCExample runs the example app, as a person at a terminal would.
func TestGRPCExample(t *testing.T) {
	t.Parallel()
	example := filepath.Join(t.TempDir(), "example")
	if out, err := exec.Command("go", "build", "-o", example, "../../examples/grpc").CombinedOutput(); err != nil {
		t.Fatalf("build the example: %v\n%s", err, out)
	}
	c := grpcConfig(t)
	_, letters := servingGRPC(t, c)
	converse := func(code string, args []string, lines ...string) string {
		cmd := exec.Command(example, append([]string{"-addr", c.GRPCAddr}, args...)...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var said transcript
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(in, strings.Join(lines, "\n")+"\n")
		if code != "" {
			_, _ = io.WriteString(in, "00000000\n"+letters.code(t, code, 0)+"\n")
		}
		if err := cmd.Wait(); err != nil {
			said.Write([]byte(err.Error()))
		}
		return said.String()
	}
	said := converse("rai@example.com", []string{"-register"}, "Asha Rai", "rai@example.com", "river lantern mosaic")
	for _, want := range []string{"Code from your mail: ", "The code is wrong. (BAD_CODE)", "Hello, Asha Rai <rai@example.com>.", "Signed out."} {
		if !strings.Contains(said, want) {
			t.Errorf("the example does not say %q:\n%s", want, said)
		}
	}
	if said = converse("", nil, "rai@example.com", "river lantern mosaic"); !strings.Contains(said, "Hello, Asha Rai") {
		t.Errorf("signing in says\n%s", said)
	}
	if said = converse("", nil, "rai@example.com", "another password"); !strings.Contains(said, "(BAD_CREDENTIALS)") || !strings.Contains(said, "exit status 1") {
		t.Errorf("a wrong password says\n%s", said)
	}
}

// TestGRPCEncrypted: TLS, and who must show a certificate.
func TestGRPCEncrypted(t *testing.T) {
	ca, stranger := newPair(t, nil, 0), newPair(t, nil, 0)
	server := newPair(t, ca, x509.ExtKeyUsageServerAuth)
	theirs, foreign := newPair(t, ca, x509.ExtKeyUsageClientAuth), newPair(t, stranger, x509.ExtKeyUsageClientAuth)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca.cert))
	health := func(c Config, creds credentials.TransportCredentials) codes.Code {
		t.Helper()
		conn, err := grpc.NewClient(c.GRPCAddr, grpc.WithTransportCredentials(creds))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
		return status.Code(err)
	}
	with := func(p *pair) credentials.TransportCredentials {
		c := &tls.Config{RootCAs: roots}
		if p != nil {
			one, err := tls.X509KeyPair([]byte(p.cert), []byte(p.key))
			if err != nil {
				t.Fatal(err)
			}
			// Whatever the server says it wants.
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &one, nil }
		}
		return credentials.NewTLS(c)
	}
	keys := []string{"GATEHOUSE_GRPC_TLS_CERT=" + server.cert, "GATEHOUSE_GRPC_TLS_KEY=" + server.key}
	plain := grpcConfig(t)
	servingGRPC(t, plain)
	encrypted := grpcConfig(t, keys...)
	servingGRPC(t, encrypted)
	mutual := grpcConfig(t, append(keys, "GATEHOUSE_GRPC_CLIENT_CA="+ca.cert)...)
	servingGRPC(t, mutual)
	for _, c := range []struct {
		sentence string
		config   Config
		creds    credentials.TransportCredentials
		ok       bool
	}{
		{"h2c on this machine", plain, insecure.NewCredentials(), true},
		{"TLS", encrypted, with(nil), true},
		{"no TLS where there is", encrypted, insecure.NewCredentials(), false},
		{"mutual TLS", mutual, with(theirs), true},
		{"mutual TLS without a certificate", mutual, with(nil), false},
		{"mutual TLS with a foreign one", mutual, with(foreign), false},
		{"mutual TLS with that of a server", mutual, with(server), false},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			if code := health(c.config, c.creds); (code == codes.OK) != c.ok {
				t.Errorf("got %v", code)
			}
		})
	}
}

// Who may connect is who the file says now, without a restart; also when a session of
// before is taken up again.
func TestClientAuthoritiesReload(t *testing.T) {
	t.Parallel()
	before, after := newPair(t, nil, 0), newPair(t, nil, 0)
	shown := newPair(t, before, x509.ExtKeyUsageServerAuth)
	file := filepath.Join(t.TempDir(), "clients.pem")
	replace := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	replace(before.cert)
	c := grpcConfig(t, "GATEHOUSE_GRPC_TLS_CERT="+shown.cert, "GATEHOUSE_GRPC_TLS_KEY="+shown.key, "GATEHOUSE_GRPC_CLIENT_CA_FILE="+file)
	var log ledger
	s, err := build(context.Background(), c, slog.New(slog.NewTextHandler(&log, nil)), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s.grpcCertificate.every = 20 * time.Millisecond
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

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(before.cert))
	as := func(p *pair) *tls.Config {
		one, err := tls.X509KeyPair([]byte(p.cert), []byte(p.key))
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{
			RootCAs: roots, NextProtos: []string{"h2"}, ClientSessionCache: tls.NewLRUClientSessionCache(1),
			// Whatever the server says it wants.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &one, nil },
		}
	}
	// connect waits for the server's first word, before which it has not yet looked at
	// who the client is.
	connect := func(client *tls.Config) (resumed bool, err error) {
		conn, err := tls.Dial("tcp", c.GRPCAddr, client)
		if err != nil {
			return false, err
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			return false, err
		}
		_, err = conn.Read(make([]byte, 1))
		return conn.ConnectionState().DidResume, err
	}
	theirs, next := as(newPair(t, before, x509.ExtKeyUsageClientAuth)), as(newPair(t, after, x509.ExtKeyUsageClientAuth))
	for _, resumed := range []bool{false, true} {
		if got, err := connect(theirs); err != nil || got != resumed {
			t.Fatalf("a session is taken up again: %v, not %v (%v)", got, resumed, err)
		}
	}
	if _, err := connect(next); err == nil {
		t.Fatal("a client of the next authority is let in before its time")
	}
	conn, err := grpc.NewClient(c.GRPCAddr, grpc.WithTransportCredentials(credentials.NewTLS(theirs)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	healthy := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
		return err
	}
	if err := healthy(); err != nil {
		t.Fatal(err)
	}

	replace(after.cert)
	await(t, "a client of the next authority is let in", func() bool {
		_, err := connect(next)
		return err == nil
	})
	if resumed, err := connect(theirs); err == nil {
		t.Errorf("a client of the authority of before is let in, by a session of before: %v", resumed)
	}
	if err := healthy(); err != nil {
		t.Errorf("the connection that was there is gone: %v", err)
	}
	warnings := func() int { return strings.Count(log.String(), `msg="clients are still believed`) }
	if warnings() != 0 {
		t.Errorf("a file that is as it should be is warned of:\n%s", log.String())
	}

	for _, text := range []string{"nothing", ""} {
		warned := warnings()
		replace(text)
		await(t, "a file of no use is told", func() bool { return warnings() > warned })
		time.Sleep(5 * s.grpcCertificate.every) // it must not be told again
		if n := warnings() - warned; n != 1 {
			t.Errorf("told %d times:\n%s", n, log.String())
		}
		if want := "GATEHOUSE_GRPC_CLIENT_CA must be certificates in PEM; it was read from " + file; !strings.Contains(log.String(), want) {
			t.Errorf("not told %q:\n%s", want, log.String())
		}
		if _, err := connect(next); err != nil {
			t.Errorf("nobody is let in any more: %v", err)
		}
	}
	replace(before.cert + after.cert)
	await(t, "both are let in", func() bool {
		_, err := connect(theirs)
		_, err2 := connect(next)
		return err == nil && err2 == nil
	})
}

// TestGRPCClient: the client whose tokens people get must be able to have them.
func TestGRPCClient(t *testing.T) {
	ctx := context.Background()
	c := grpcConfig(t)
	first := built(t, c)
	now := time.Now().UTC()
	for _, one := range []storage.Client{
		{ID: "third", GrantTypes: []string{"authorization_code", "refresh_token"}},
		{ID: "short", FirstParty: true, GrantTypes: []string{"authorization_code"}},
		{ID: "good", FirstParty: true, GrantTypes: []string{"authorization_code", "refresh_token"}},
	} {
		one.Name, one.AuthMethod, one.RedirectURIs, one.CreatedAt, one.UpdatedAt = one.ID, storage.AuthNone, []string{"https://app.example/cb"}, now, now
		if err := first.sql.CreateClient(ctx, one); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{
		"nobody": `GATEHOUSE_GRPC_CLIENT is "nobody", which is no client`,
		"third":  `GATEHOUSE_GRPC_CLIENT is "third", which is not first-party`,
		"short":  `GATEHOUSE_GRPC_CLIENT is "short", which may not have refresh tokens`,
	} {
		c.GRPCClient = id
		if s, err := build(ctx, c, quiet, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
			if err == nil {
				_ = s.close()
			}
		}
	}
	c.GRPCClient = "good"
	if s := built(t, c); s.api == nil {
		t.Error("there is no gRPC")
	}
}

// TestGRPCEndsInOrder: a call that has begun is answered, by a database that is
// still open, after the server was asked to end.
func TestGRPCEndsInOrder(t *testing.T) {
	database := testenv.Postgres(t)
	environ := []string{
		"GATEHOUSE_DATABASE_URL=" + database, "GATEHOUSE_VALKEY_URL=" + testenv.Valkey(t),
		"GATEHOUSE_SEAL_KEY=" + hexKey, "GATEHOUSE_MAIL_KEY=" + hexKey,
		"GATEHOUSE_URL=https://id.example.org", "GATEHOUSE_GRPC_CLIENT=app", "GATEHOUSE_ADDR=localhost:" + freePort(t),
		"GATEHOUSE_GRPC_ADDR=localhost:" + freePort(t),
	}
	c, err := parseConfig(environ)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"migrate"}, {"client", "create", "--id", "app", "--name", "App", "--public", "--first-party", "--redirect-uri", "https://app.example/cb"}} {
		var log bytes.Buffer
		if code := run(context.Background(), args, terminal{environ, strings.NewReader(""), io.Discard, &log}); code != 0 {
			t.Fatalf("%v: %s", args, log.String())
		}
	}
	s, err := build(context.Background(), c, quiet, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	await(t, "the server is ready", s.ready.Load)
	conn, err := grpc.NewClient(c.GRPCAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := authv1.NewAuthenticationServiceClient(conn)
	// Somebody who logs in all the time is answered, or told that nobody is there.
	var faults []error
	answered := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer stop()
		for {
			_, err := client.Login(context.Background(), &authv1.LoginRequest{Email: strings.ToLower(rand.Text()) + "@example.com", Password: "river lantern mosaic"})
			switch status.Code(err) {
			case codes.Unauthenticated, codes.ResourceExhausted:
				answered++
			case codes.Unavailable:
				return // the listener is closed
			default:
				faults = append(faults, err)
				return
			}
			if answered == 3 {
				stop()
			}
		}
	}()
	<-done
	if len(faults) > 0 {
		t.Errorf("a call met %v", faults)
	}
	if err := <-ended; err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if answered < 3 {
		t.Errorf("%d calls were answered", answered)
	}
}

//go:build !slim

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Who stops a server that has not started yet, because its database does not answer,
// gets no complaint about the database, and no failure.
func TestStopWhileStarting(t *testing.T) {
	database, err := net.Listen("tcp", "127.0.0.1:0") // which says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Close() })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		if c, err := database.Accept(); err == nil {
			stop()
			_, _ = io.Copy(io.Discard, c)
		}
	}()
	var log bytes.Buffer
	code := run(ctx, []string{"serve"}, terminal{environ: []string{
		"HOME=" + t.TempDir(), "GATEHOUSE_URL=https://id.example.org", "GATEHOUSE_VALKEY_URL=valkey://127.0.0.1:1",
		"GATEHOUSE_DATABASE_URL=postgres://user:hunter2@" + database.Addr().String() + "/x?sslmode=disable",
		"GATEHOUSE_SEAL_KEY=" + strings.Repeat("01", 32), "GATEHOUSE_MAIL_KEY=" + strings.Repeat("02", 32),
	}, in: strings.NewReader(""), out: io.Discard, err: &log})
	if code != 0 || strings.Contains(log.String(), "GATEHOUSE_DATABASE_URL") || !strings.Contains(log.String(), "told to stop") {
		t.Errorf("the exit code is %d:\n%s", code, log.String())
	}
}

// A server that is told to stop when it has just been built opens, says that it
// stops, and ends well.
func TestStopBeforeListening(t *testing.T) {
	s := built(t, embeddedConfig(t))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	if s.ready.Load() {
		t.Error("it says that it is ready")
	}
}

// Addresses that cannot be ones are wrong values: the exit code says that trying
// again is of no use.
func TestAddressesThatAreNone(t *testing.T) {
	good := map[string]string{
		"GATEHOUSE_DATABASE_URL": "postgres://user:hunter2@127.0.0.1:1/x?sslmode=disable",
		"GATEHOUSE_VALKEY_URL":   "valkey://user:hunter2@127.0.0.1:1",
	}
	for _, tt := range []struct{ about, key, value, want string }{
		{"a way of TLS that there is not", "GATEHOUSE_DATABASE_URL", "postgres://user:hunter2@127.0.0.1/x?sslmode=maybe", "sslmode is invalid"},
		{"a pool of no number", "GATEHOUSE_DATABASE_URL", "postgres://user:hunter2@127.0.0.1/x?pool_max_conns=many", "cannot parse pool_max_conns"},
		{"a port that there is not", "GATEHOUSE_DATABASE_URL", "postgres://user:hunter2@127.0.0.1:99999/x", "invalid port"},
		{"a database of Valkey that is no number", "GATEHOUSE_VALKEY_URL", "valkey://user:hunter2@127.0.0.1/x", "the number of a database"},
		{"a slash and no number", "GATEHOUSE_VALKEY_URL", "valkey://user:hunter2@127.0.0.1/", "the number of a database"},
		{"an issuer by IPv6 with the port that it has anyway", "GATEHOUSE_URL", "https://[fd00::5]:443", "write https://[fd00::5]"},
		{"an issuer of letters that browsers write otherwise", "GATEHOUSE_URL", "https://bücher.example", "must be in ASCII"},
		{"an issuer at a port that there is not", "GATEHOUSE_URL", "https://id.example.org:99999", "must name a port from 1 to 65535"},
		{"an issuer at a port with a zero before it", "GATEHOUSE_URL", "https://id.example.org:08443", "must name a port from 1 to 65535"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			environ := []string{"GATEHOUSE_SEAL_KEY=" + strings.Repeat("01", 32), "GATEHOUSE_MAIL_KEY=" + strings.Repeat("02", 32), tt.key + "=" + tt.value}
			for key, value := range good {
				if key != tt.key {
					environ = append(environ, key+"="+value)
				}
			}
			if tt.key != "GATEHOUSE_URL" {
				environ = append(environ, "GATEHOUSE_URL=https://id.example.org")
			}
			code, said := served(t, environ...)
			wantStopped(t, code, said, tt.want)
		})
	}
}

// A dial timeout that is none is found when Valkey is reached for, behind a database
// that answers.
func TestValkeyAddressThatIsNone(t *testing.T) {
	_, err := openValkey(t.Context(), Config{DatabaseURL: "postgres://x", ValkeyURL: "valkey://user:hunter2@127.0.0.1:1?dial_timeout=soon"})
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), `invalid dial timeout: "soon"`) {
		t.Fatalf("err = %v", err)
	}
	if _, ok := errors.AsType[usageError](err); !ok {
		t.Errorf("it is tried again: %T", err)
	}
}

// Certificates that a system trusts are more than 64 KB, and an operator's own stands
// at their end: half of a file must not be taken for all of it.
func TestLongFiles(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, "long.pem")
	write := func(n int) {
		t.Helper()
		if err := os.WriteFile(long, bytes.Repeat([]byte("x"), n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := setting{key: "GATEHOUSE_EGRESS_CA", secret: true}
	env := map[string]string{"GATEHOUSE_EGRESS_CA_FILE": long}
	write(300 << 10)
	if v, err := s.read(env); err != nil || len(v) != 300<<10 {
		t.Errorf("%d bytes of 300 KiB were read: %v", len(v), err)
	}
	write(maxValue + 1)
	if v, err := s.read(env); err == nil || v != "" || !strings.Contains(err.Error(), "is more than 1 MiB in "+long) {
		t.Errorf("%d bytes of too many were read: %v", len(v), err)
	}
}

// A state directory that cannot be written to is named by its key.
func TestStateDirOfNoUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code := run(ctx, []string{"serve"}, terminal{environ: []string{"GATEHOUSE_STATE_DIR=" + file}, in: strings.NewReader(""), out: io.Discard, err: &log})
	if code != 1 || !strings.Contains(log.String(), "GATEHOUSE_STATE_DIR is "+file+", which cannot be used: ") {
		t.Errorf("the exit code is %d:\n%s", code, log.String())
	}
}

//go:build !slim

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
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

// heedHangUp has the processes that the test starts heed SIGHUP, also when the test
// itself was started with nohup: they inherit what is ignored, and not what is caught.
func heedHangUp(t *testing.T) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(c) })
}

// A server whose terminal is closed ends what it has begun, as one does that is told
// to end; one that was started with nohup goes on.
func TestHangUp(t *testing.T) {
	heedHangUp(t)
	program, err := exec.LookPath("gatehouse") // the test binary: see TestMain
	if err != nil {
		t.Fatal(err)
	}
	start := func(t *testing.T, name string, args ...string) (Config, *exec.Cmd, *transcript) {
		t.Helper()
		c, log := embeddedConfig(t), &transcript{}
		cmd := exec.Command(name, args...)
		cmd.Env = []string{"GATEHOUSE_STATE_DIR=" + c.StateDir, "GATEHOUSE_ADDR=" + c.Addr, "GOCOVERDIR=" + t.TempDir()}
		cmd.Stderr = log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		late := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() }) // who waits for its end sees how it came
		t.Cleanup(func() {
			late.Stop()
			_ = cmd.Process.Kill() // it may have ended before
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("the server said\n%s", log)
			}
		})
		return c, cmd, log
	}
	// One connection for each: what is asked is whether the server takes them.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	ready := func(c Config) bool {
		resp, err := client.Get(c.URL + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	}
	for _, tt := range []struct {
		about  string
		signal os.Signal
	}{
		{"told to end", syscall.SIGTERM},
		{"hung up on, by the terminal and by the shell in it", syscall.SIGHUP},
	} {
		t.Run(tt.about, func(t *testing.T) {
			c, cmd, log := start(t, program, "serve")
			await(t, "the server is ready", func() bool { return ready(c) })
			const form = "grant_type=telepathy"
			conn, err := net.Dial("tcp", c.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			_, err = fmt.Fprintf(conn, "POST /token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", c.Addr, len(form))
			if err != nil {
				t.Fatal(err)
			}
			answers := bufio.NewReader(conn)
			if resp, err := http.ReadResponse(answers, nil); err != nil || resp.StatusCode != http.StatusContinue { // the request has begun
				t.Fatalf("%v (%v)", resp, err)
			}
			if err := cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			await(t, "the server takes no new request", func() bool { return strings.Contains(log.String(), "msg=stopping") && !ready(c) })
			if tt.signal == syscall.SIGHUP {
				if err := cmd.Process.Signal(tt.signal); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.WriteString(conn, form); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatalf("the request was cut off: %v", err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode < 400 || resp.StatusCode >= 500 {
				t.Errorf("the request is answered %s", resp.Status)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("the server ended with %v", err)
			}
		})
	}
	t.Run("started with nohup", func(t *testing.T) {
		c, cmd, _ := start(t, "/bin/sh", "-c", `trap "" HUP; exec "$0" serve`, program)
		await(t, "the server is ready", func() bool { return ready(c) })
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if !ready(c) {
				t.Fatal("it is not ready any more")
			}
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
}

// What is beneath the queue logs as the server does, in records.
func TestOneLog(t *testing.T) {
	valkey, valkeyURL := newWire(t, testenv.Valkey(t))
	environ := []string{
		"GATEHOUSE_DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db"), "GATEHOUSE_VALKEY_URL=" + valkeyURL,
		"GATEHOUSE_SEAL_KEY=" + hexKey, "GATEHOUSE_MAIL_KEY=" + hexKey, "GATEHOUSE_URL=https://id.example.org",
		"GATEHOUSE_ADDR=localhost:" + freePort(t), "GATEHOUSE_LOG=json",
	}
	c, err := parseConfig(environ)
	if err != nil {
		t.Fatal(err)
	}
	if err := migrateSQL(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	log := &transcript{}
	cmd := exec.Command("gatehouse", "serve") // the test binary: see TestMain
	cmd.Env, cmd.Stderr = append(environ, "GOCOVERDIR="+t.TempDir()), log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	await(t, "the server serves", func() bool { return strings.Contains(log.String(), `"msg":"serving"`) })
	await(t, "it notices that its connection to the queue is gone", func() bool { // which it opens some time
		valkey.mend(t)
		<-time.After(200 * time.Millisecond)
		return strings.Contains(log.String(), "discarding bad PubSub connection")
	})
	for line := range strings.Lines(log.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil && strings.HasSuffix(line, "\n") { // or there is more of it to come
			t.Errorf("no record: %s", line)
		}
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

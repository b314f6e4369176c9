package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/emersion/go-smtp"
	"github.com/hibiken/asynq"

	"github.com/gatehouse-id/gatehouse/mail"
)

// holding takes a letter when it may go on.
type holding struct {
	clerk
	begun, goOn, taken chan struct{}
}

func (h holding) Data(r io.Reader) error {
	close(h.begun)
	<-h.goOn
	_, err := io.Copy(io.Discard, r)
	if err == nil {
		close(h.taken)
	}
	return err
}

// A said is what a process wrote.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// started runs the worker as a process, until the test ends.
func started(t *testing.T, environ ...string) (*exec.Cmd, *said) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := &said{}
	cmd := exec.Command(self)
	cmd.Args, cmd.Stderr = []string{program}, log
	cmd.Env = append(environ, "GOCOVERDIR="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() }) // who waits for its end sees how it came
	t.Cleanup(func() {
		late.Stop()
		_ = cmd.Process.Kill() // it may have ended before
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the worker said\n%s", log)
		}
	})
	return cmd, log
}

// A worker that is told to end, or whose terminal is closed, ends the letter that it
// is sending.
func TestEndsItsLetters(t *testing.T) {
	// The worker inherits what is ignored, by nohup for instance, and not what is caught.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(caught) })
	key := bytes.Repeat([]byte{0xab}, mail.KeySize)
	sealer, err := mail.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		about  string
		signal os.Signal
	}{
		{"told to end", syscall.SIGTERM},
		{"hung up on", syscall.SIGHUP},
	} {
		t.Run(tt.about, func(t *testing.T) {
			letters := holding{begun: make(chan struct{}), goOn: make(chan struct{}), taken: make(chan struct{})}
			office := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return letters, nil }))
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = office.Serve(l) }()
			t.Cleanup(func() { _ = office.Close() })
			v := miniredis.RunT(t)
			letter := mail.Letter{Kind: mail.AccountVerification, To: "asha@example.org", Code: "48210937"}
			id, sealed, err := sealer.Seal(t.Context(), letter)
			if err != nil {
				t.Fatal(err)
			}
			queue := asynq.NewClient(asynq.RedisClientOpt{Addr: v.Addr()})
			defer func() { _ = queue.Close() }()
			if _, err := queue.Enqueue(asynq.NewTask("letter:"+letter.Kind, sealed), asynq.TaskID(id), asynq.Queue("mail")); err != nil {
				t.Fatal(err)
			}
			cmd, log := started(t, "GATEHOUSE_VALKEY_URL=valkey://"+v.Addr(), "GATEHOUSE_MAIL_KEY="+strings.Repeat("ab", mail.KeySize),
				"GATEHOUSE_SMTP_URL=smtp://"+l.Addr().String(), "GATEHOUSE_MAIL_FROM=no-reply@id.example")
			select {
			case <-letters.begun:
			case <-time.After(time.Minute):
				t.Fatal("no letter comes")
			}
			for range 2 { // a terminal hangs up, and so does the shell in it
				if err := cmd.Process.Signal(tt.signal); err != nil {
					t.Fatal(err)
				}
			}
			close(letters.goOn)
			if err := cmd.Wait(); err != nil {
				t.Errorf("the worker ended with %v", err)
			}
			select {
			case <-letters.taken:
			default:
				t.Error("the letter was cut off")
			}
			if !strings.Contains(log.String(), `"msg":"stopped"`) {
				t.Error("the worker does not say that it has stopped")
			}
		})
	}
}

// What is beneath the queue logs as the worker does, in records.
func TestOneLog(t *testing.T) {
	v := miniredis.RunT(t)
	_, log := started(t, "GATEHOUSE_VALKEY_URL=valkey://"+v.Addr(), "GATEHOUSE_MAIL_KEY="+strings.Repeat("ab", mail.KeySize),
		"GATEHOUSE_SMTP_URL=smtp://127.0.0.1:1", "GATEHOUSE_MAIL_FROM=no-reply@id.example")
	await(t, "the worker listens to its queue", func() bool { return v.PubSubNumSub("asynq:cancel")["asynq:cancel"] == 1 })
	v.Close()
	await(t, "it notices that the queue is gone", func() bool { return strings.Contains(log.String(), "discarding bad PubSub connection") })
	for line := range strings.Lines(log.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil && strings.HasSuffix(line, "\n") { // or there is more of it to come
			t.Errorf("no record: %s", line)
		}
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after a minute: %s", what)
		}
	}
}

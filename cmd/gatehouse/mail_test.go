//go:build !slim

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
)

// TestLettersAgree holds the two lists of letters together: login names what it
// sends, mail has the words, and neither knows the other.
func TestLettersAgree(t *testing.T) {
	named := login.Letters()
	for _, kind := range mail.Kinds() {
		if !slices.Contains(named, kind) && kind != mail.Test {
			t.Errorf("nobody sends %s", kind)
		}
	}
	for _, kind := range named {
		t.Run("seed-F1: there are words for "+kind, func(t *testing.T) {
			var out bytes.Buffer
			l := mail.Letter(login.Letter{Kind: kind, To: "asha@example.com"})
			if err := mail.SendNow(t.Context(), mail.NewMailbox(&out), "Meridian ID", l); err != nil || out.Len() == 0 {
				t.Errorf("%v: %q", err, out.String())
			}
		})
	}
}

// letterCommand puts a letter into the outbox of the script's state directory;
// see TestScripts.
func letterCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 || neg {
		ts.Fatalf("usage: letter NAME ADDRESS [WHY]")
	}
	ctx := context.Background()
	state := ts.Getenv("GATEHOUSE_STATE_DIR")
	c := Config{StateDir: state}
	key, err := c.mailKey()
	ts.Check(err)
	sql, err := openSQL(ctx, c)
	ts.Check(err)
	defer func() { _ = sql.Close() }()
	why := ""
	if len(args) == 3 {
		why = args[2]
	}
	id, err := addLetter(ctx, sql, key, args[1], why)
	ts.Check(err)
	ts.Setenv(args[0], id)
}

// addLetter adds a letter that was written a minute ago and, with a reason, was
// given up since.
func addLetter(ctx context.Context, o storage.Outbox, key []byte, to, why string) (id string, err error) {
	sealer, err := mail.NewSealer(key)
	if err != nil {
		return "", err
	}
	now := time.Now().UTC()
	l := mail.Letter{Kind: mail.AccountVerification, To: to, Code: "48210937", ExpiresAt: now.Add(time.Hour)}
	id, sealed, err := sealer.Seal(ctx, l)
	if err != nil {
		return "", err
	}
	row := storage.Letter{ID: id, Kind: l.Kind, Sealed: sealed, CreatedAt: now.Add(-time.Minute), Deadline: l.ExpiresAt}
	if err := o.AddLetters(ctx, row); err != nil || why == "" {
		return id, err
	}
	return id, o.FailLetter(ctx, id, why, now)
}

// A postOffice is a mail server that refuses every recipient with code, or
// takes every letter when code is 0.
type postOffice struct {
	url  string
	code int

	mu      sync.Mutex
	letters []string
}

func newPostOffice(t *testing.T, code int) *postOffice {
	t.Helper()
	p := &postOffice{code: code}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return clerk{p}, nil }))
	s.Domain = "post.example"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	p.url = "smtp://" + l.Addr().String()
	return p
}

type clerk struct{ office *postOffice }

func (clerk) Reset()                               {}
func (clerk) Logout() error                        { return nil }
func (clerk) Mail(string, *smtp.MailOptions) error { return nil }
func (c clerk) Rcpt(to string, _ *smtp.RcptOptions) error {
	if c.office.code != 0 {
		return &smtp.SMTPError{Code: c.office.code, Message: to + " is not welcome"}
	}
	return nil
}

func (c clerk) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	c.office.mu.Lock()
	defer c.office.mu.Unlock()
	c.office.letters = append(c.office.letters, string(b))
	return err
}

func (p *postOffice) taken() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.letters)
}

// typed runs a command as an operator types it.
func typed(ctx context.Context, environ []string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(ctx, args, terminal{environ, strings.NewReader(""), &out, &err})
	return code, out.String(), err.String()
}

func TestMailTest(t *testing.T) {
	const from = "GATEHOUSE_MAIL_FROM=Meridian ID <no-reply@id.example>"
	welcome, unwelcome, busy := newPostOffice(t, 0), newPostOffice(t, 550), newPostOffice(t, 451)
	tests := []struct {
		about   string
		environ []string
		args    []string
		code    int
		out     string
		err     string
	}{
		{"a mail server that takes it", []string{"GATEHOUSE_SMTP_URL=" + welcome.url, from}, nil, 0, "sent by SMTP in ", ""},
		{"a mail server that refuses", []string{"GATEHOUSE_SMTP_URL=" + unwelcome.url, from}, nil, 1, "", "the letter was not taken: refused for good: SMTP: sending SMTP RCPT TO command: code 550"},
		{"a mail server that is busy", []string{"GATEHOUSE_SMTP_URL=" + busy.url, from}, nil, 1, "", "the letter was not taken: SMTP: sending SMTP RCPT TO command: code 451"},
		{"a mail server that is not there", []string{"GATEHOUSE_SMTP_URL=smtp://127.0.0.1:1", from}, nil, 1, "", "connection refused"},
		{"no mail server", nil, nil, 2, "", "set GATEHOUSE_MAIL_FROM and GATEHOUSE_SMTP_URL or GATEHOUSE_SMTP2GO_KEY"},
		{"nobody to send it to", []string{"GATEHOUSE_SMTP_URL=" + welcome.url, from}, []string{"--to", "ada"}, 2, "", "--to must be an address"},
		{"an API key that is none", []string{"GATEHOUSE_SMTP2GO_KEY=api-hunter2!", from}, nil, 2, "", "GATEHOUSE_SMTP2GO_KEY, GATEHOUSE_MAIL_FROM: "},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			environ := append([]string{"GATEHOUSE_STATE_DIR=" + t.TempDir()}, tt.environ...)
			args := append([]string{"mail", "test", "--to", "ada@example.org"}, tt.args...)
			code, out, errs := typed(t.Context(), environ, args...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.err) {
				t.Errorf("code %d, printed %q and %q; want %d, %q and %q", code, out, errs, tt.code, tt.out, tt.err)
			}
			if strings.Contains(errs, "hunter2") || strings.Contains(errs, "is not welcome") {
				t.Errorf("printed %q", errs)
			}
		})
	}
	if letters := welcome.taken(); len(letters) != 1 || !strings.Contains(letters[0], "Subject: A test letter from Gatehouse") {
		t.Errorf("the mail server has %q", letters)
	}
}

func TestMailTestByTheWorker(t *testing.T) {
	ctx := t.Context()
	valkeyURL := testenv.Valkey(t)
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	environ := []string{
		"GATEHOUSE_URL=https://id.example",
		"GATEHOUSE_DATABASE_URL=sqlite:" + path, "GATEHOUSE_VALKEY_URL=" + valkeyURL,
		"GATEHOUSE_SEAL_KEY=" + strings.Repeat("ab", 32), "GATEHOUSE_MAIL_KEY=" + strings.Repeat("cd", 32),
	}
	if code, _, errs := typed(ctx, environ, "migrate"); code != 0 {
		t.Fatal(errs)
	}
	sql, err := sqlite.Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sql.Close() })
	key := bytes.Repeat([]byte{0xcd}, mail.KeySize)

	// deliver runs what a server and a worker do with letters, while during runs.
	deliver := func(t *testing.T, p *postOffice, during func()) {
		t.Helper()
		log := slog.New(slog.DiscardHandler)
		sealer, err := mail.NewSealer(key)
		if err != nil {
			t.Fatal(err)
		}
		s := server{sql: sql}
		relay, err := mail.NewRelay(mail.RelayConfig{
			Pending: s.pendingLetters, Delete: sql.DeleteLetter, Fail: sql.FailLetter,
			ValkeyURL: valkeyURL, Every: 20 * time.Millisecond, Log: log,
		})
		if err != nil {
			t.Fatal(err)
		}
		sender, err := mail.NewSender(mail.SenderConfig{SMTPURL: p.url, From: "id@id.example"})
		if err != nil {
			t.Fatal(err)
		}
		worker, err := mail.NewWorker(mail.WorkerConfig{ValkeyURL: valkeyURL, Sealer: sealer, Sender: sender, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
		var running sync.WaitGroup
		running.Go(func() { _ = relay.Run(ctx) })
		running.Go(func() { _ = worker.Run(ctx) })
		defer running.Wait()
		defer stop()
		during()
	}
	empty := func(t *testing.T) {
		t.Helper()
		if code, out, errs := typed(ctx, environ, "mail", "list"); code != 0 || out != "" {
			t.Errorf("left in the outbox: %q %s", out, errs)
		}
	}

	t.Run("a worker that delivers", func(t *testing.T) {
		p := newPostOffice(t, 0)
		deliver(t, p, func() {
			code, out, errs := typed(ctx, environ, "mail", "test", "--to", "ada@example.org", "--json")
			var r sentRecord
			if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil || r.Way != "gatehouse-worker" || r.Seconds <= 0 {
				t.Errorf("code %d: %q %s", code, out, errs)
			}
		})
		if len(p.taken()) != 1 {
			t.Errorf("the mail server has %q", p.taken())
		}
		empty(t)
	})
	t.Run("a worker whose mail server refuses", func(t *testing.T) {
		deliver(t, newPostOffice(t, 550), func() {
			code, _, errs := typed(ctx, environ, "mail", "test", "--to", "ada@example.org")
			if code != 1 || !strings.Contains(errs, "the letter was given up: refused for good: ") || strings.Contains(errs, "ada@") {
				t.Errorf("code %d: %s", code, errs)
			}
		})
		empty(t)
	})
	t.Run("no worker", func(t *testing.T) {
		code, _, errs := typed(ctx, environ, "mail", "test", "--to", "ada@example.org", "--wait", "300ms")
		if code != 1 || !strings.Contains(errs, "not delivered within 300ms; see that") {
			t.Errorf("code %d: %s", code, errs)
		}
		empty(t)
	})
	t.Run("what was given up is delivered when an operator says so", func(t *testing.T) {
		var ids []string
		for range 3 {
			id, err := addLetter(ctx, sql, key, "ada@example.org", "refused for good")
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		p := newPostOffice(t, 0)
		deliver(t, p, func() {
			if code, out, errs := typed(ctx, environ, "mail", "retry", ids[1]); code != 0 || out != ids[1]+"\n" {
				t.Errorf("code %d: %q %s", code, out, errs)
			}
			if code, out, errs := typed(ctx, environ, "mail", "retry", "--all"); code != 0 || out != ids[0]+"\n"+ids[2]+"\n" {
				t.Errorf("code %d: %q %s", code, out, errs)
			}
			await(t, "three letters are delivered", func() bool { return len(p.taken()) >= 3 })
		})
		if n := len(p.taken()); n != 3 {
			t.Errorf("%d letters were delivered, want 3", n)
		}
	})
}

func TestPurgeLetters(t *testing.T) {
	ctx := t.Context()
	c := Config{StateDir: t.TempDir()}
	sql, err := openSQL(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sql.Close() })
	key := make([]byte, mail.KeySize)
	for range perPage + 1 {
		if _, err := addLetter(ctx, sql, key, "nobody@example.org", "refused for good"); err != nil {
			t.Fatal(err)
		}
	}
	waiting, err := addLetter(ctx, sql, key, "ada@example.org", "")
	if err != nil {
		t.Fatal(err)
	}
	left := func() (ids []string) {
		if err := eachLetter(ctx, sql, func(l storage.Letter) error { ids = append(ids, l.ID); return nil }); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if err := purgeLetters(ctx, sql, time.Now().Add(keepFailed-time.Hour)); err != nil || len(left()) != perPage+2 {
		t.Errorf("%d letters are left early: %v", len(left()), err)
	}
	if err := purgeLetters(ctx, sql, time.Now().Add(keepFailed+time.Hour)); err != nil || !slices.Equal(left(), []string{waiting}) {
		t.Errorf("%d letters are left, not only the one that waits: %v", len(left()), err)
	}
}

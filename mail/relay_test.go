package mail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	netmail "net/mail"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/emersion/go-smtp"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
)

// post is a mail server of the test's own. It answers each RCPT with the next
// of its answers, and takes the letter when there are none left.
type post struct {
	url string

	mu      sync.Mutex
	answers []*smtp.SMTPError
	tries   int
	letters []*netmail.Message
	bodies  []string
}

func newPost(t *testing.T, answers ...*smtp.SMTPError) *post {
	t.Helper()
	p := &post{answers: answers}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &delivery{post: p}, nil }))
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

type delivery struct {
	post *post
	to   string
}

func (*delivery) Reset()                               {}
func (*delivery) Logout() error                        { return nil }
func (*delivery) Mail(string, *smtp.MailOptions) error { return nil }
func (d *delivery) Rcpt(to string, _ *smtp.RcptOptions) error {
	d.post.mu.Lock()
	defer d.post.mu.Unlock()
	d.post.tries++
	d.to = to
	if len(d.post.answers) > 0 {
		answer := d.post.answers[0]
		d.post.answers = d.post.answers[1:]
		return answer
	}
	return nil
}

func (d *delivery) Data(r io.Reader) error {
	m, err := netmail.ReadMessage(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	d.post.mu.Lock()
	defer d.post.mu.Unlock()
	d.post.letters = append(d.post.letters, m)
	d.post.bodies = append(d.post.bodies, string(body))
	return nil
}

func (p *post) delivered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.letters)
}

func (p *post) tried() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries
}

// office is everything between an outbox and a mail server.
type office struct {
	t      *testing.T
	db     *sqlite.DB
	valkey *miniredis.Miniredis // nil when the queue is elsewhere
	sealer *Sealer
	relay  *Relay
	post   *post
	log    *lockedBuffer
	// undeletable makes that many deletions of rows fail.
	mu          sync.Mutex
	undeletable int
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newOffice opens an office with an embedded Valkey. Its relay reads the outbox
// so often.
func newOffice(t *testing.T, every time.Duration, p *post) *office {
	t.Helper()
	v := miniredis.RunT(t)
	v.RequireAuth("secret")
	o := newOfficeAt(t, "valkey://:secret@"+v.Addr(), every, p)
	o.valkey = v
	return o
}

// newOfficeAt opens an office whose queue is at that Valkey server.
func newOfficeAt(t *testing.T, url string, every time.Duration, p *post) *office {
	t.Helper()
	ctx := t.Context()
	db, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "outbox.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, db: db, sealer: newTestSealer(t, 1), post: p, log: new(lockedBuffer)}
	log := slog.New(slog.NewTextHandler(o.log, nil))

	o.relay, err = NewRelay(RelayConfig{
		Pending: func(ctx context.Context, limit int) ([]Row, error) {
			letters, err := db.PendingLetters(ctx, limit)
			rows := make([]Row, len(letters))
			for i, l := range letters {
				rows[i] = Row(l)
			}
			return rows, err
		},
		Delete: func(ctx context.Context, id string) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.undeletable > 0 {
				o.undeletable--
				return errors.New("the database is away")
			}
			return db.DeleteLetter(ctx, id)
		},
		ValkeyURL: url, Every: every, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	sender, err := NewSMTP(p.url, "Meridian ID <no-reply@id.example>")
	if err != nil {
		t.Fatal(err)
	}
	worker, err := NewWorker(WorkerConfig{ValkeyURL: url, Sealer: o.sealer, Sender: sender, Brand: "Meridian ID", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := o.relay.Run(ctx); err != nil {
			t.Errorf("relay: %v", err)
		}
	})
	running.Go(func() {
		if err := worker.Run(ctx); err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	t.Cleanup(func() { stop(); running.Wait() })
	return o
}

// seal returns a sealed letter that expires then.
func (o *office) seal(expires time.Time) (id string, sealed []byte) {
	o.t.Helper()
	id, sealed, err := o.sealer.Seal(Letter{Kind: AccountVerification, To: "asha@example.com", Code: "48210937", ExpiresAt: expires})
	if err != nil {
		o.t.Fatal(err)
	}
	return id, sealed
}

// write commits a letter with that deadline, and returns its id.
func (o *office) write(deadline time.Time) string {
	o.t.Helper()
	id, sealed := o.seal(deadline)
	o.commit(id, sealed, deadline)
	return id
}

func (o *office) commit(id string, sealed []byte, deadline time.Time) {
	o.t.Helper()
	row := storage.Letter{ID: id, Kind: AccountVerification, Sealed: sealed, CreatedAt: time.Now().UTC(), Deadline: deadline.UTC()}
	if err := o.db.AddLetters(o.t.Context(), row); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) pending() int {
	o.t.Helper()
	rows, err := o.db.PendingLetters(o.t.Context(), 10)
	if err != nil {
		o.t.Fatal(err)
	}
	return len(rows)
}

// eventually waits until ok, for at most ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within ten seconds: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestALetterReachesItsMailbox(t *testing.T) {
	o := newOffice(t, 50*time.Millisecond, newPost(t))
	id := o.write(time.Now().Add(5 * time.Minute))
	eventually(t, "the row is gone", func() bool { return o.pending() == 0 })

	if n := o.post.delivered(); n != 1 {
		t.Fatalf("%d letters were delivered, want 1", n)
	}
	m, body := o.post.letters[0], o.post.bodies[0]
	for header, want := range map[string]string{
		"Subject":        "4821 0937 is your Meridian ID code",
		"From":           `"Meridian ID" <no-reply@id.example>`,
		"To":             "<asha@example.com>",
		"Message-Id":     "<" + id + "@id.example>",
		"Auto-Submitted": "auto-generated",
	} {
		if got := m.Header.Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	if !strings.Contains(m.Header.Get("Content-Type"), "multipart/alternative") ||
		!strings.Contains(body, "text/plain") || !strings.Contains(body, "text/html") ||
		strings.Count(body, "4821 0937") < 2 {
		t.Errorf("no text and HTML with the code:\n%s", body)
	}
	if dump := o.valkey.Dump(); strings.Contains(dump, "48210937") || strings.Contains(dump, "asha") {
		t.Error("seed-B7: the queue holds a code or an address that can be read")
	}
}

func TestANudgedLetterIsSentAtOnce(t *testing.T) {
	o := newOffice(t, time.Hour, newPost(t))
	start := time.Now()
	o.write(start.Add(5 * time.Minute))
	o.relay.Nudge()
	eventually(t, "the letter is delivered", func() bool { return o.post.delivered() == 1 })
	if took := time.Since(start); took > time.Second {
		t.Errorf("from commit to mail server took %v, want less than a second", took)
	}
}

func TestTrouble(t *testing.T) {
	busy := &smtp.SMTPError{Code: 451, Message: "asha@example.com: try later"}
	unknown := &smtp.SMTPError{Code: 550, Message: "asha@example.com: no such person"}

	t.Run("seed-F4: a row past its deadline is not enqueued", func(t *testing.T) {
		o := newOffice(t, time.Hour, newPost(t))
		id, sealed := o.seal(time.Now().Add(time.Hour)) // a worker would send it
		o.commit(id, sealed, time.Now().Add(-time.Second))
		o.relay.Nudge()
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 })
		o.write(time.Now().Add(time.Hour))
		o.relay.Nudge()
		eventually(t, "a later letter is delivered", func() bool { return o.post.delivered() == 1 })
		if o.post.tried() != 1 {
			t.Error("it was sent")
		}
	})
	t.Run("seed-F4: a letter that expired in the queue is not sent, and not tried again", func(t *testing.T) {
		o := newOffice(t, 50*time.Millisecond, newPost(t))
		id, sealed := o.seal(time.Now().Add(-time.Second))
		o.commit(id, sealed, time.Now().Add(time.Hour)) // the relay would go on
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 })
		if o.post.tried() != 0 {
			t.Error("it was sent")
		}
	})
	t.Run("a real Valkey, wiped in between, loses no letter", func(t *testing.T) {
		url := testenv.Valkey(t)
		o := newOfficeAt(t, url, 50*time.Millisecond, newPost(t))
		o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the first row is gone", func() bool { return o.pending() == 0 })
		testenv.Wipe(t, url)
		o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the second row is gone", func() bool { return o.pending() == 0 })
		if n := o.post.delivered(); n != 2 {
			t.Errorf("%d letters were delivered, want 2", n)
		}
	})
	t.Run("a letter whose deadline passes in the queue is not sent", func(t *testing.T) {
		o := newOffice(t, 50*time.Millisecond, newPost(t, busy))
		o.write(time.Now().Add(1500 * time.Millisecond)) // the first retry comes after two seconds or more
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 })
		if got := o.post.tried(); got > 1 {
			t.Errorf("tried %d times", got)
		}
		if o.post.delivered() != 0 {
			t.Error("it was sent")
		}
		eventually(t, "the task is gone too", func() bool {
			return !strings.Contains(strings.Join(o.valkey.Keys(), " "), ":t:")
		})
	})
	t.Run("a mail server that is busy is tried again", func(t *testing.T) {
		o := newOffice(t, 50*time.Millisecond, newPost(t, busy))
		o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 })
		if d, n := o.post.delivered(), o.post.tried(); d != 1 || n != 2 {
			t.Errorf("%d delivered in %d tries, want 1 in 2", d, n)
		}
	})
	t.Run("seed-F2: a refused recipient is not tried again, and not named in the log", func(t *testing.T) {
		o := newOffice(t, 50*time.Millisecond, newPost(t, unknown))
		o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 })
		if d, n := o.post.delivered(), o.post.tried(); d != 0 || n != 1 {
			t.Errorf("%d delivered in %d tries, want 0 in 1", d, n)
		}
		if log := o.log.String(); strings.Contains(log, "asha") || !strings.Contains(log, "code 550") {
			t.Errorf("log:\n%s", log)
		}
		if dump := o.valkey.Dump(); strings.Contains(dump, "asha") {
			t.Error("the queue names the recipient")
		}
	})
	t.Run("a delivered letter whose row could not be removed is not sent twice", func(t *testing.T) {
		o := newOffice(t, 50*time.Millisecond, newPost(t))
		o.mu.Lock()
		o.undeletable = 3
		o.mu.Unlock()
		o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 })
		if n := o.post.delivered(); n != 1 {
			t.Errorf("delivered %d times", n)
		}
	})
	t.Run("a wiped queue loses no letter", func(t *testing.T) {
		o := newOffice(t, 50*time.Millisecond, newPost(t, busy))
		o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the first try", func() bool { return o.post.tried() == 1 })
		o.valkey.FlushAll()
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 })
		if n := o.post.delivered(); n != 1 {
			t.Errorf("delivered %d times", n)
		}
	})
	t.Run("seed-B5: a letter written while the queue is away is sent when it is back", func(t *testing.T) {
		o := newOffice(t, 50*time.Millisecond, newPost(t))
		o.write(time.Now().Add(5 * time.Minute)) // the worker runs when this has gone
		eventually(t, "the first row is gone", func() bool { return o.pending() == 0 })
		o.valkey.Close()
		o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the trouble is logged", func() bool { return strings.Contains(o.log.String(), "letters are waiting") })
		if err := o.valkey.Restart(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the second row is gone", func() bool { return o.pending() == 0 })
		if n := o.post.delivered(); n != 2 {
			t.Errorf("%d letters were delivered, want 2", n)
		}
	})
}

func TestSMTPURLs(t *testing.T) {
	tests := []struct {
		about, url, from string
		ok               bool
	}{
		{"submission with STARTTLS", "smtp://user:pass@mail.example:587", "no-reply@id.example", true},
		{"the port may be left out", "smtp://mail.example", "no-reply@id.example", true},
		{"TLS from the start", "smtps://user:pass@mail.example", "Meridian ID <no-reply@id.example>", true},
		{"another scheme", "http://mail.example", "no-reply@id.example", false},
		{"no host", "smtp://", "no-reply@id.example", false},
		{"no URL", "mail.example:587", "no-reply@id.example", false},
		{"no From", "smtp://mail.example", "", false},
		{"a From with a second line", "smtp://mail.example", "a@id.example\r\nBcc: b@id.example", false},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			if _, err := NewSMTP(tt.url, tt.from); (err == nil) != tt.ok {
				t.Errorf("err = %v, want ok %v", err, tt.ok)
			}
		})
	}
}

func TestMailbox(t *testing.T) {
	var out bytes.Buffer
	b := NewMailbox(&out)
	for range mailboxSize {
		if err := b.Send(t.Context(), Message{To: "old@example.com"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Send(t.Context(), Message{To: "asha@example.com", Subject: "Hello", Text: "Good day.\n"}); err != nil {
		t.Fatal(err)
	}
	list := b.List()
	if len(list) != mailboxSize || list[0].To != "asha@example.com" || list[1].To != "old@example.com" {
		t.Errorf("%d messages, the newest to %q", len(list), list[0].To)
	}
	if !strings.Contains(out.String(), "To: asha@example.com\nSubject: Hello\n\nGood day.\n") {
		t.Errorf("printed:\n%s", out.String())
	}
}

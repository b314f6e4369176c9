package mail

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/emersion/go-smtp"
	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/internal/testenv/migrated"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
)

const testFrom = "Meridian ID <no-reply@id.example>"

// post is a mail server of the test's own. It answers each RCPT with the next
// of its answers, and takes the letter when there are none left.
type post struct {
	url string

	mu      sync.Mutex
	answers []*smtp.SMTPError
	times   []time.Time // of the tries
	letters []*netmail.Message
	bodies  []string
	// trying, if any, runs when a letter comes, before it is answered, and taken
	// when it was taken and before the sender hears of it.
	trying, taken func()
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
	p.url = "smtp://" + l.Addr().String()
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return p
}

// A door leads to a server that goes away and comes back. The server itself stays:
// once it gave up its port, the next to get that one may be a server of another
// test, which would take what was not meant for it.
type door struct {
	addr string
	to   string

	mu   sync.Mutex
	shut bool
	open []net.Conn
}

func newDoor(t *testing.T, to string) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{addr: l.Addr().String(), to: to}
	var through sync.WaitGroup
	through.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", d.to)
			if err != nil || !d.let(in, out) {
				_ = in.Close()
				continue
			}
			through.Go(func() { d.carry(in, out) })
			through.Go(func() { d.carry(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		d.close()
		through.Wait()
	})
	return d
}

// let lets a connection through, unless the door is shut.
func (d *door) let(in, out net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		_ = out.Close()
		return false
	}
	d.open = append(d.open, in, out)
	return true
}

func (*door) carry(from, to net.Conn) {
	_, _ = io.Copy(to, from)
	_ = from.Close()
	_ = to.Close()
}

// close ends every connection, and each that comes until the door is opened.
func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	for _, c := range d.open {
		_ = c.Close()
	}
	d.open = nil
}

func (d *door) reopen() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = false
}

// copies returns how often each letter was delivered, by its Message-ID.
func (p *post) copies() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := map[string]int{}
	for _, m := range p.letters {
		n[m.Header.Get("Message-Id")]++
	}
	return n
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
	if d.post.trying != nil {
		d.post.trying()
	}
	d.post.times = append(d.post.times, time.Now())
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
	d.post.letters = append(d.post.letters, m)
	d.post.bodies = append(d.post.bodies, string(body))
	taken := d.post.taken
	d.post.mu.Unlock()
	if taken != nil {
		taken()
	}
	return nil
}

// during has do run once, in the middle of the next try.
func (p *post) during(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trying = sync.OnceFunc(do)
}

func (p *post) delivered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.letters)
}

func (p *post) tried() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.times)
}

// office is everything between an outbox and a mail server.
type office struct {
	t      *testing.T
	db     *sqlite.DB
	path   string               // of the database
	valkey *miniredis.Miniredis // nil when the queue is elsewhere
	sealer *Sealer
	relay  *Relay
	post   *post
	log    *lockedBuffer
	// at is what the clock of relay and worker has been set to, in nanoseconds;
	// zero is that of the machine.
	at atomic.Int64
	// faults makes that many changes of rows fail.
	mu     sync.Mutex
	faults int
}

// now is the clock of relay and worker, and stop stops it at that time.
func (o *office) now() time.Time {
	if at := o.at.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Now()
}

func (o *office) stop(at time.Time) { o.at.Store(at.UnixNano()) }

func (o *office) setFaults(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults = n
}

// fault reports whether a change of a row is to fail.
func (o *office) fault() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.faults == 0 {
		return false
	}
	o.faults--
	return true
}

// queued is everything that the queue holds, whole: a dump of the server is cut.
func (o *office) queued() string {
	o.t.Helper()
	all := o.valkey.Dump()
	for _, key := range o.valkey.Keys() {
		if o.valkey.Type(key) != "hash" {
			continue
		}
		fields, err := o.valkey.HKeys(key)
		if err != nil {
			o.t.Fatal(err)
		}
		for _, field := range fields {
			all += field + "=" + o.valkey.HGet(key, field) + "\n"
		}
	}
	return all
}

// hasTask reports whether the queue holds a letter.
func (o *office) hasTask() bool {
	return strings.Contains(strings.Join(o.valkey.Keys(), " "), ":t:")
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
func newOffice(t *testing.T, every time.Duration, p *post, tune ...func(*Worker)) *office {
	t.Helper()
	v := miniredis.RunT(t)
	v.RequireAuth("secret")
	o := newOfficeAt(t, "valkey://:secret@"+v.Addr(), every, p, tune...)
	o.valkey = v
	return o
}

// newOfficeAt opens an office whose queue is at that Valkey server.
func newOfficeAt(t *testing.T, url string, every time.Duration, p *post, tune ...func(*Worker)) *office {
	t.Helper()
	return newOfficeMeasured(t, url, every, p, nil, tune...)
}

// newOfficeMeasured opens an office that measures what it does.
func newOfficeMeasured(t *testing.T, url string, every time.Duration, p *post, m metric.Meter, tune ...func(*Worker)) *office {
	t.Helper()
	ctx := t.Context()
	path := migrated.SQLite(t)
	db, err := sqlite.Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	o := &office{t: t, db: db, path: path, sealer: newTestSealer(t, 1), post: p, log: new(lockedBuffer)}
	log := slog.New(slog.NewTextHandler(o.log, nil))

	o.relay, err = NewRelay(RelayConfig{
		Pending: pendingRows(db),
		Delete: func(ctx context.Context, id string) error {
			if o.fault() {
				return errors.New("the database is away")
			}
			return db.DeleteLetter(ctx, id)
		},
		Fail: func(ctx context.Context, id, why string, at time.Time) error {
			if o.fault() {
				return errors.New("the database is away")
			}
			return db.FailLetter(ctx, id, why, at)
		},
		ValkeyURL: url, Every: every, Now: o.now, Log: log, Meter: m,
	})
	if err != nil {
		t.Fatal(err)
	}
	sender, err := NewSMTP(SMTPConfig{URL: p.url, From: testFrom})
	if err != nil {
		t.Fatal(err)
	}
	worker, err := NewWorker(WorkerConfig{ValkeyURL: url, Sealer: o.sealer, Sender: sender, Brand: "Meridian ID", Now: o.now, Log: log, Meter: m})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tune {
		f(worker)
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

// counting sends to nobody.
type counting struct{ sent *atomic.Int64 }

func (c counting) Send(context.Context, Message) error {
	c.sent.Add(1)
	return nil
}

// pendingRows is the outbox as a relay reads it.
func pendingRows(db *sqlite.DB) func(context.Context, string, int) ([]Row, error) {
	return func(ctx context.Context, after string, limit int) ([]Row, error) {
		letters, err := db.PendingLetters(ctx, after, limit)
		rows := make([]Row, len(letters))
		for i, l := range letters {
			rows[i] = Row(l)
		}
		return rows, err
	}
}

// seal returns a sealed letter that expires then.
func (o *office) seal(expires time.Time) (id string, sealed []byte) {
	o.t.Helper()
	id, sealed, err := o.sealer.Seal(context.Background(), Letter{Kind: AccountVerification, To: "asha@example.com", Code: "48210937", ExpiresAt: expires})
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
	row := storage.Letter{ID: id, Kind: AccountVerification, Sealed: sealed, CreatedAt: time.Now().Add(-time.Minute).UTC(), Deadline: deadline.UTC()}
	if err := o.db.AddLetters(o.t.Context(), row); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) pending() int {
	o.t.Helper()
	rows, err := o.db.PendingLetters(o.t.Context(), "", 10000)
	if err != nil {
		o.t.Fatal(err)
	}
	return len(rows)
}

// failed returns the letters given up.
func (o *office) failed() []storage.Letter {
	o.t.Helper()
	rows, err := o.db.ListLetters(o.t.Context(), "", 10000)
	if err != nil {
		o.t.Fatal(err)
	}
	return slices.DeleteFunc(rows, func(l storage.Letter) bool { return l.FailedAt.IsZero() })
}

// eventually waits until ok, which is not for long: minutes are for a machine that
// has much else to do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within three minutes: %s", what)
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
}

func TestNobodyReadsALetterOnItsWay(t *testing.T) {
	t.Parallel()
	t.Run("seed-B7: neither the database nor the queue holds a code or an address", func(t *testing.T) {
		busy := &smtp.SMTPError{Code: 451, Message: "asha@example.com: try 48210937 later"}
		o := newOffice(t, 50*time.Millisecond, newPost(t, busy, busy, busy, busy))
		id := o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the second try", func() bool { return o.post.tried() > 1 }) // so the first failure is kept
		files, err := filepath.Glob(o.path + "*")                                  // also what SQLite has not yet put into the file itself
		if err != nil || len(files) == 0 {
			t.Fatalf("files %q: %v", files, err)
		}
		places := map[string]string{"the queue": o.queued(), "the log": o.log.String()}
		for _, f := range files {
			content, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			places["the database"] += string(content)
		}
		for name, content := range places {
			if !strings.Contains(content, id) {
				t.Errorf("%s does not have the letter at all", name)
			}
			for _, secret := range []string{"48210937", "4821 0937", "asha", base64.StdEncoding.EncodeToString([]byte("48210937")), hex.EncodeToString([]byte("48210937"))} {
				if strings.Contains(content, secret) {
					t.Errorf("%s holds %q", name, secret)
				}
			}
		}
	})
}

// Without a nudge they would wait for an hour. One that is slow proves nothing of
// a machine that has much else to do, so others follow it.
func TestANudgedLetterIsSentAtOnce(t *testing.T) {
	o := newOffice(t, time.Hour, newPost(t))
	const letters = 50
	var took time.Duration
	for n := range letters {
		start := time.Now()
		o.write(start.Add(time.Hour))
		o.relay.Nudge()
		eventually(t, "the letter is delivered", func() bool { return o.post.delivered() == n+1 })
		if took = time.Since(start); took < time.Second {
			return
		}
	}
	t.Errorf("from commit to mail server the last of %d took %v, and each more than a second", letters, took)
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	busy := &smtp.SMTPError{Code: 451, Message: "asha@example.com: try later"}
	unknown := &smtp.SMTPError{Code: 550, Message: "asha@example.com: no such person"}

	t.Run("seed-F4: a row past its deadline is not enqueued", func(t *testing.T) {
		t.Parallel()
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
		if !strings.Contains(o.log.String(), "letter dropped") {
			t.Error("nobody is told")
		}
	})
	t.Run("a letter for nobody goes without a word", func(t *testing.T) {
		t.Parallel()
		o := newOffice(t, 50*time.Millisecond, newPost(t))
		id, sealed := o.seal(time.Now().Add(time.Hour)) // a worker would send it
		now := time.Now().UTC()
		if err := o.db.AddLetters(t.Context(), storage.Letter{ID: id, Kind: AccountVerification, Sealed: sealed, CreatedAt: now, Deadline: now}); err != nil {
			t.Fatal(err)
		}
		o.write(time.Now().Add(time.Hour))
		eventually(t, "both rows are gone", func() bool { return o.pending() == 0 })
		if n, log := o.post.tried(), o.log.String(); n != 1 || strings.Contains(log, id) {
			t.Errorf("%d letters were sent, and the log says %s", n, log)
		}
	})
	t.Run("seed-F4: a letter that expired in the queue is not sent, and not tried again", func(t *testing.T) {
		t.Parallel()
		o := newOffice(t, 50*time.Millisecond, newPost(t))
		id, sealed := o.seal(time.Now().Add(-time.Second))
		o.commit(id, sealed, time.Now().Add(time.Hour)) // the relay would go on
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 })
		if o.post.tried() != 0 {
			t.Error("it was sent")
		}
	})
	t.Run("a real Valkey, wiped in between, loses no letter", func(t *testing.T) {
		t.Parallel()
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
	t.Run("seed-F4: a letter whose deadline passes between tries is not tried after it", func(t *testing.T) {
		t.Parallel()
		p := newPost(t, busy)
		o := newOffice(t, 50*time.Millisecond, p)
		deadline := time.Now().Add(5 * time.Minute)
		p.during(func() { o.stop(deadline) })
		o.write(deadline)
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 })
		if len(o.failed()) != 0 {
			t.Error("an operator is asked to mend it")
		}
		o.write(deadline.Add(time.Minute)) // whatever was left to do with the first is done before this
		eventually(t, "a later letter is delivered", func() bool { return p.delivered() == 1 })
		if n := p.tried(); n != 2 {
			t.Errorf("there were %d tries, want the one before the deadline and that of the later letter", n)
		}
	})
	t.Run("a mail server that is busy is tried again", func(t *testing.T) {
		t.Parallel()
		o := newOffice(t, 50*time.Millisecond, newPost(t, busy))
		o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 })
		if d, n := o.post.delivered(), o.post.tried(); d != 1 || n != 2 {
			t.Errorf("%d delivered in %d tries, want 1 in 2", d, n)
		}
	})
	t.Run("a refused recipient is not tried again, not named, and kept for an operator", func(t *testing.T) {
		t.Parallel()
		o := newOffice(t, 50*time.Millisecond, newPost(t, unknown))
		id := o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the row is not pending", func() bool { return o.pending() == 0 })
		if d, n := o.post.delivered(), o.post.tried(); d != 0 || n != 1 {
			t.Errorf("%d delivered in %d tries, want 0 in 1", d, n)
		}
		failed := o.failed()
		if len(failed) != 1 || failed[0].ID != id {
			t.Fatalf("given up: %+v", failed)
		}
		if f := failed[0]; f.Failure != "refused for good: SMTP: sending SMTP RCPT TO command: code 550" || time.Since(f.FailedAt).Abs() > time.Minute {
			t.Errorf("given up at %v: %q", f.FailedAt, f.Failure)
		}
		if log := o.log.String(); strings.Contains(log, "asha") || !strings.Contains(log, "code 550") {
			t.Errorf("log:\n%s", log)
		}
		eventually(t, "the task is gone", func() bool { return !o.hasTask() })

		// It stays given up until an operator says otherwise.
		if err := o.db.RetryLetter(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 && len(o.failed()) == 0 })
		if o.post.delivered() != 1 || o.post.letters[0].Header.Get("Message-Id") != "<"+id+"@id.example>" {
			t.Error("the second delivery did not happen under the same Message-ID")
		}
	})
	t.Run("a refused letter whose row could not be marked is not sent again", func(t *testing.T) {
		t.Parallel()
		o := newOffice(t, 50*time.Millisecond, newPost(t, unknown))
		o.setFaults(3)
		o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the row is not pending", func() bool { return o.pending() == 0 })
		if n := o.post.tried(); n != 1 || len(o.failed()) != 1 {
			t.Errorf("tried %d times; given up: %+v", n, o.failed())
		}
	})
	t.Run("a backlog of more than a page is relayed in one turn", func(t *testing.T) {
		t.Parallel()
		var sent atomic.Int64
		o := newOffice(t, time.Hour, newPost(t), func(w *Worker) { w.sender = counting{&sent} })
		const n = 2*relayBatch + 7
		letters := make([]storage.Letter, n)
		for i := range letters {
			id, sealed := o.seal(time.Now().Add(time.Hour))
			letters[i] = storage.Letter{ID: id, Kind: AccountVerification, Sealed: sealed, CreatedAt: time.Now().UTC()}
		}
		if err := o.db.AddLetters(t.Context(), letters...); err != nil {
			t.Fatal(err)
		}
		o.relay.Nudge()
		eventually(t, "everything is delivered", func() bool { return sent.Load() == n })
	})
	t.Run("a row that cannot be moved on does not hold up the next", func(t *testing.T) {
		t.Parallel()
		o := newOffice(t, 50*time.Millisecond, newPost(t))
		o.setFaults(1 << 30)
		id, sealed := o.seal(time.Now().Add(time.Hour))
		o.commit(id, sealed, time.Now().Add(-time.Second)) // is to be deleted, which fails
		o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the second letter is delivered", func() bool { return o.post.delivered() == 1 })
	})
	t.Run("a delivered letter whose row could not be removed is not sent twice", func(t *testing.T) {
		t.Parallel()
		o := newOffice(t, 50*time.Millisecond, newPost(t))
		o.setFaults(3)
		o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 })
		if n := o.post.delivered(); n != 1 {
			t.Errorf("delivered %d times", n)
		}
	})
	t.Run("a wiped queue loses no letter", func(t *testing.T) {
		t.Parallel()
		// By itself it would be tried again after minutes.
		o := newOffice(t, 50*time.Millisecond, newPost(t, busy), func(w *Worker) { w.firstRetry = maxDelay })
		id := o.write(time.Now().Add(time.Hour))
		eventually(t, "it waits for another try", func() bool {
			task, err := o.relay.inspector.GetTaskInfo(queue, id)
			return err == nil && task.State == asynq.TaskStateRetry
		})
		o.valkey.FlushAll()
		eventually(t, "the row is gone", func() bool { return o.pending() == 0 })
		if n := o.post.delivered(); n != 1 {
			t.Errorf("delivered %d times", n)
		}
	})
	t.Run("seed-B5: a letter written while the queue is away is sent when it is back", func(t *testing.T) {
		t.Parallel()
		d := newDoor(t, miniredis.RunT(t).Addr())
		o := newOfficeAt(t, "valkey://"+d.addr, 50*time.Millisecond, newPost(t))
		o.write(time.Now().Add(5 * time.Minute)) // the worker runs when this has gone
		eventually(t, "the first row is gone", func() bool { return o.pending() == 0 })
		d.close()
		o.write(time.Now().Add(5 * time.Minute))
		eventually(t, "the trouble is logged", func() bool { return strings.Contains(o.log.String(), "letters are waiting") })
		d.reopen()
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
			if _, err := NewSMTP(SMTPConfig{URL: tt.url, From: tt.from}); (err == nil) != tt.ok {
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

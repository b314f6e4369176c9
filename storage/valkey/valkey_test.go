package valkey_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"math"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/storagetest"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

func TestValkey(t *testing.T) {
	t.Parallel()
	storagetest.TestVolatile(t, func(t *testing.T) (storage.Volatile, func()) {
		address := testenv.Valkey(t)
		// A server that is slow because the machine is busy is not gone.
		return open(t, address+"?dial_timeout=30s&write_timeout=30s"), func() { testenv.Wipe(t, address) }
	})
}

func open(t *testing.T, address string) *valkey.DB {
	t.Helper()
	d, err := valkey.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// direct is a client of the library itself, to look behind the driver.
func direct(t *testing.T, address string) valkeygo.Client {
	t.Helper()
	o, err := valkeygo.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := valkeygo.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Records for the tests here; the suite has those with everything in them.
func flow() storage.Flow {
	return storage.Flow{ID: "flow-id", ExpiresAt: time.Now().Add(time.Minute)}
}

func interaction() storage.Interaction {
	return storage.Interaction{ID: "interaction-id", ExpiresAt: time.Now().Add(time.Minute)}
}

func code() (storage.Code, storage.Redemption) {
	now := time.Now()
	return storage.Code{Hash: "code-hash", ClientID: "client", ExpiresAt: now.Add(time.Minute)},
		storage.Redemption{Hash: "code-hash", ClientID: "client", Now: now, UsedUntil: now.Add(time.Minute)}
}

// revocations are one of each kind.
func revocations() []storage.Revocation {
	now := time.Now()
	return []storage.Revocation{
		{Seq: 1, Kind: storage.RevokedToken, Key: "jti", At: now, Until: now.Add(time.Minute)},
		{Seq: 2, Kind: storage.RevokedGrant, Key: "grant-id", At: now, Until: now.Add(time.Minute)},
		{Seq: 3, Kind: storage.RevokedClient, Key: "client", At: now, Until: now.Add(time.Minute)},
	}
}

var bucket = storage.Bucket{Name: "test", Limit: 5, Window: time.Minute}

// operations are all that the driver does for a request, in an order in which
// each succeeds.
func operations(d *valkey.DB) []operation {
	c, r := code()
	use, hits := storage.Use{Bucket: bucket, Key: "bucket-key"}, []storage.Hit{{Allowed: true}}
	var mark storage.Mark
	return []operation{
		{"PutFlow", func(ctx context.Context) error { return d.PutFlow(ctx, flow()) }},
		{"Flow", func(ctx context.Context) error { _, err := d.Flow(ctx, "flow-id"); return err }},
		{"TryFlow", func(ctx context.Context) error { _, err := d.TryFlow(ctx, "flow-id"); return err }},
		{"SpendFlow", func(ctx context.Context) error { return d.SpendFlow(ctx, "flow-id") }},
		{"PutInteraction", func(ctx context.Context) error { return d.PutInteraction(ctx, interaction()) }},
		{"Interaction", func(ctx context.Context) error { _, err := d.Interaction(ctx, "interaction-id"); return err }},
		{"DeleteInteraction", func(ctx context.Context) error { return d.DeleteInteraction(ctx, "interaction-id") }},
		{"PutCode", func(ctx context.Context) error { return d.PutCode(ctx, c) }},
		{"RedeemCode", func(ctx context.Context) error { _, _, err := d.RedeemCode(ctx, r); return err }},
		{"Take", func(ctx context.Context) error {
			h, err := d.Take(ctx, use)
			if err == nil {
				hits = h
			}
			return err
		}},
		{"GiveBack", func(ctx context.Context) error { return d.GiveBack(ctx, []storage.Use{use}, hits) }},
		{"SpendProof", func(ctx context.Context) error {
			now := time.Now()
			return d.SpendProof(ctx, storage.Proof{
				Issuer: "client", ID: rand.Text(),
				IssuedAt: now.Add(time.Minute), // later than any birth
				Until:    now.Add(time.Hour),
			}, now)
		}},
		{"ClaimReplay", func(ctx context.Context) (err error) {
			mark, err = d.ClaimReplay(ctx)
			if errors.Is(err, storage.ErrConflict) {
				mark, err = storage.Mark{}, nil // there is one from the round before
			}
			return err
		}},
		{"Apply", func(ctx context.Context) error {
			_, err := d.Apply(ctx, mark, time.Now(), revocations(), true)
			if mark == (storage.Mark{}) && errors.Is(err, storage.ErrConflict) {
				err = nil
			}
			return err
		}},
		{"Mark", func(ctx context.Context) error { _, err := d.Mark(ctx); return err }},
		{"Deny", func(ctx context.Context) error { return d.Deny(ctx, time.Now(), revocations()...) }},
		{"Denied", func(ctx context.Context) error { _, _, err := d.Denied(ctx, storage.Bearer{}); return err }},
		{"Time", func(ctx context.Context) error { _, err := d.Time(ctx); return err }},
		{"Ping", d.Ping},
	}
}

type operation struct {
	name string
	do   func(context.Context) error
}

func TestEveryOperationIsOneRoundTrip(t *testing.T) {
	address := testenv.Valkey(t)
	l := wire(t, address)
	d := open(t, l.address)
	var told atomic.Int64
	d.OnRoundTrip = func() { told.Add(1) }
	for _, o := range operations(d) { // the server gets to know the scripts
		if err := o.do(t.Context()); err != nil {
			t.Fatalf("%s: %v", o.name, err)
		}
	}
	testenv.Wipe(t, address)
	for _, o := range operations(d) {
		t.Run(o.name, func(t *testing.T) {
			turns, pings := l.spoken("PING")
			told.Store(0)
			if err := o.do(t.Context()); err != nil {
				t.Fatal(err)
			}
			// The client itself pings after a second of silence.
			n, own := l.spoken("PING")
			n, own = n-turns, own-pings
			if o.name == "Ping" {
				own--
			}
			if n < 1 || n-own > 1 {
				t.Errorf("there were %d round trips on the wire, of them %d of the client itself", n, own)
			}
			if n := told.Load(); n != 1 {
				t.Errorf("OnRoundTrip was called %d times", n)
			}
		})
	}
}

func TestServerDown(t *testing.T) {
	address := testenv.Valkey(t)
	// fails expects that do does, and promptly: of ten times the quickest counts, as
	// a busy machine only adds to what it takes.
	fails := func(t *testing.T, name string, do func() error) {
		t.Helper()
		quickest := time.Hour
		for tries := 0; tries < 10 && quickest > 1500*time.Millisecond; tries++ {
			start := time.Now()
			if err := do(); err == nil || errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s: got %v, want a fault", name, err)
			}
			quickest = min(quickest, time.Since(start))
		}
		if quickest > 1500*time.Millisecond {
			t.Errorf("%s: it took %v to fail", name, quickest)
		}
	}
	prompt := func(t *testing.T, d *valkey.DB) {
		t.Helper()
		for _, o := range operations(d) {
			fails(t, o.name, func() error { return o.do(t.Context()) })
		}
	}
	t.Run("cut off, every operation fails at once and works again when it is back", func(t *testing.T) {
		l := wire(t, address)
		d := open(t, l.address)
		l.cut()
		prompt(t, d)
		l.mend()
		deadline := time.Now().Add(time.Minute)
		for d.Ping(t.Context()) != nil {
			if time.Now().After(deadline) {
				t.Fatal("it does not come back")
			}
			time.Sleep(20 * time.Millisecond)
		}
		for _, o := range operations(d) {
			if err := o.do(t.Context()); err != nil {
				t.Errorf("%s: %v", o.name, err)
			}
		}
	})
	t.Run("silent, every operation fails after the time the address allows", func(t *testing.T) {
		testenv.Wipe(t, address)
		l := wire(t, address)
		var d *valkey.DB
		// A busy machine may need more than that to begin with.
		for deadline := time.Now().Add(time.Minute); d == nil; {
			opened, err := valkey.Open(t.Context(), l.address+"?write_timeout=200ms&dial_timeout=200ms")
			if err == nil {
				t.Cleanup(func() { opened.Close() })
				d = opened
			} else if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		l.silent.Store(true)
		prompt(t, d)
	})
	t.Run("a redemption whose answer is lost is not sent again", func(t *testing.T) {
		testenv.Wipe(t, address)
		behind := open(t, address)
		c, r := code()
		var l *line
		var d *valkey.DB
		// Every connection is made, and the server knows the script. On a machine so
		// busy that an answer comes late, what is on its way is not known: once more.
		warm := func() error {
			l = wire(t, address)
			opened, err := valkey.Open(t.Context(), l.address+"?write_timeout=200ms&dial_timeout=200ms")
			if err != nil {
				return err
			}
			t.Cleanup(func() { opened.Close() })
			d = opened
			for range 100 {
				if _, _, err := d.RedeemCode(t.Context(), r); !errors.Is(err, storage.ErrNotFound) {
					return err
				}
			}
			return nil
		}
		for deadline := time.Now().Add(time.Minute); ; {
			err := warm()
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		if err := behind.PutCode(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		sent, answers := l.commands("EVAL"), l.answers.Load()
		l.silent.Store(true)
		if _, _, err := d.RedeemCode(t.Context(), r); err == nil {
			t.Error("it did not fail")
		}
		for deadline := time.Now().Add(time.Minute); l.answers.Load() == answers; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("it was not sent")
			}
		}
		if n := l.commands("EVAL") - sent; n != 1 {
			t.Errorf("it was sent %d times", n)
		}
		if _, v, err := behind.RedeemCode(t.Context(), r); v != storage.CodeRaced {
			t.Errorf("the one that was sent did not arrive: the next is %q, %v", v, err)
		}
	})
	for _, tt := range []struct {
		sentence string
		harm     func(*line)
	}{
		{"Open fails at once where nobody listens", func(l *line) { l.l.Close() }},
		{"Open fails at once where everybody is turned away", (*line).cut},
		{"Open fails after the time the address allows where nobody answers", func(l *line) { l.silent.Store(true) }},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			l := wire(t, address)
			tt.harm(l)
			fails(t, "Open", func() error {
				d, err := valkey.Open(t.Context(), l.address+"?write_timeout=200ms&dial_timeout=200ms")
				if err == nil {
					d.Close()
				}
				return err
			})
		})
	}
}

func TestOpenTellsNoPassword(t *testing.T) {
	for _, address := range []string{
		"valkey://user:hunter2@host:port",
		"valkey://user:hunter2@host:6379/zero",
		"valkey://user:hunter2@127.0.0.1:1",
		"http://user:hunter2@host",
		"valkey://user:hunter2%zz@host",
		"user:hunter2@host:6379",
	} {
		d, err := valkey.Open(t.Context(), address)
		if err == nil {
			d.Close()
			t.Errorf("%s was opened", address)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

// A cluster keeps the keys of one record together by the part in braces.
func TestKeysCarryTheirRecordsHashTag(t *testing.T) {
	address := testenv.Valkey(t)
	d, behind := open(t, address), direct(t, address)
	ids := []string{"flow-id", "interaction-id", "code-hash", "uses", "deny", "proof"}
	seen := make(map[string]bool)
	for _, o := range operations(d) {
		if err := o.do(t.Context()); err != nil {
			t.Fatalf("%s: %v", o.name, err)
		}
		keys, err := behind.Do(t.Context(), behind.B().Keys().Pattern("*").Build()).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			_, rest, _ := strings.Cut(key, "{")
			tag, _, ok := strings.Cut(rest, "}")
			if !ok || !strings.Contains(strings.Join(ids, " "), tag) {
				t.Errorf("after %s: the key %q has no record's tag", o.name, key)
			}
			seen[tag] = true
			if key == "{proof}:birth" {
				continue // it lives as long as the memory
			}
			ttl, err := behind.Do(t.Context(), behind.B().Pttl().Key(key).Build()).AsInt64()
			if err == nil && ttl == -2 {
				continue // it has ended since it was listed
			}
			if err != nil || ttl <= 0 {
				t.Errorf("after %s: the key %q lives for %d ms, %v", o.name, key, ttl, err)
			}
		}
	}
	if len(seen) != len(ids) {
		t.Errorf("only %v were seen", seen)
	}
}

// A record lives by the database's clock, not by the host's or by Valkey's.
func TestRecordsLiveByTheClockGiven(t *testing.T) {
	address := testenv.Valkey(t)
	d, behind := open(t, address), direct(t, address)
	for _, year := range []int{1999, 2063} {
		now := time.Date(year, 4, 5, 0, 0, 0, 0, time.UTC)
		d.Now = func() time.Time { return now }
		f, i := flow(), interaction()
		f.ExpiresAt, i.ExpiresAt = now.Add(5*time.Minute), now.Add(5*time.Minute)
		if err := errors.Join(d.PutFlow(t.Context(), f), d.PutInteraction(t.Context(), i)); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"flow:{flow-id}", "interaction:{interaction-id}"} {
			ttl, err := behind.Do(t.Context(), behind.B().Pttl().Key(key).Build()).AsInt64()
			if err != nil || ttl < 4*60_000 || ttl > 5*60_000 {
				t.Errorf("in %d %s lives for %d ms, %v", year, key, ttl, err)
			}
		}
	}
}

func TestCheckPolicy(t *testing.T) {
	address := testenv.Valkey(t)
	d := open(t, address)
	if err := d.CheckPolicy(t.Context()); err != nil {
		t.Errorf("a server as it should be: %v", err)
	}
	if os.Getenv("GATEHOUSE_TEST_VALKEY") != "" {
		t.Skip("the server is not ours to configure")
	}
	behind := direct(t, address)
	arrange := func(t *testing.T, command ...string) {
		t.Helper()
		if err := behind.Do(context.Background(), behind.B().Arbitrary(command...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("a server that evicts is refused, with what to do", func(t *testing.T) {
		arrange(t, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
		t.Cleanup(func() { arrange(t, "CONFIG", "SET", "maxmemory-policy", "noeviction") })
		err := d.CheckPolicy(t.Context())
		if err == nil || !strings.Contains(err.Error(), "is allkeys-lru") || !strings.Contains(err.Error(), "set maxmemory-policy to noeviction") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a server that refuses CONFIG still tells", func(t *testing.T) {
		arrange(t, "ACL", "SETUSER", "managed", "on", ">secret", "~*", "+@all", "-config")
		t.Cleanup(func() { arrange(t, "ACL", "DELUSER", "managed") })
		if err := open(t, as(t, address, "managed")).CheckPolicy(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("a server that does not tell is refused, with what to do", func(t *testing.T) {
		arrange(t, "ACL", "SETUSER", "shut", "on", ">secret", "~*", "+@all", "-info", "-config")
		t.Cleanup(func() { arrange(t, "ACL", "DELUSER", "shut") })
		err := open(t, as(t, address, "shut")).CheckPolicy(t.Context())
		if err == nil || !strings.Contains(err.Error(), "let the user run INFO") {
			t.Errorf("got %v", err)
		}
	})
}

// as is the address for another user of the server.
func as(t *testing.T, address, user string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, "secret")
	return u.String()
}

// A line is a wire to the server that can be listened to, cut and made silent.
type line struct {
	address string // the server's, through the wire
	server  string
	l       net.Listener

	// answers counts how often the server spoke.
	answers atomic.Int64
	// silent keeps the server's answers back.
	silent atomic.Bool

	mu sync.Mutex
	// broken is that it is cut. It keeps its port, which might be another's by the
	// time that it is mended.
	broken bool
	conns  []net.Conn
	// said is what the client has, and turns how often it spoke after the server had.
	said  strings.Builder
	turns int
}

func wire(t *testing.T, address string) *line {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	w := &line{server: u.Host}
	if w.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go w.serve()
	u.Host = w.l.Addr().String()
	w.address = u.String()
	t.Cleanup(func() {
		w.l.Close()
		w.cut()
	})
	return w
}

// serve passes on who comes, until the wire is gone.
func (w *line) serve() {
	for {
		client, err := w.l.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		server, err := net.Conn(nil), net.ErrClosed
		if !w.broken {
			server, err = net.Dial("tcp", w.server)
		}
		if err != nil {
			w.mu.Unlock()
			client.Close()
			continue
		}
		w.conns = append(w.conns, client, server)
		w.mu.Unlock()
		var clientSpoke atomic.Bool
		go w.pass(server, client, func(b []byte) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			if !clientSpoke.Swap(true) {
				w.turns++
			}
			w.said.Write(b)
			return true
		})
		go w.pass(client, server, func([]byte) bool {
			clientSpoke.Store(false)
			w.answers.Add(1)
			return !w.silent.Load()
		})
	}
}

// mend makes the wire whole.
func (w *line) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = false
}

// pass copies what is heard and may be passed on, until either end closes.
func (w *line) pass(to io.WriteCloser, from io.ReadCloser, hear func([]byte) bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 1<<16)
	for {
		n, err := from.Read(b)
		if n > 0 && hear(b[:n]) {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut closes every connection, those to come too.
func (w *line) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = true
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// commands is how often the client has said the word.
func (w *line) commands(word string) int {
	_, n := w.spoken(word)
	return n
}

// spoken is how often the client has spoken after the server had, and how often it
// has said the word by then.
func (w *line) spoken(word string) (turns, commands int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.turns, strings.Count(w.said.String(), word)
}

// A check of an access token is on the way of every request to every gateway.
func TestDeniedAllocatesLittle(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates too: what is counted would not be ours")
	}
	d := open(t, testenv.Valkey(t))
	b := storage.Bearer{JTI: "0197f2a8.7.c0ffee", GrantID: "0197f2a8", ClientID: "client", IssuedAt: time.Now()}
	// The client's own goroutines allocate now and then, for pings and
	// connections: the least of several counts is ours.
	n := math.Inf(1)
	for range 10 {
		n = min(n, testing.AllocsPerRun(100, func() {
			if _, _, err := d.Denied(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}))
	}
	t.Logf("%.0f allocations", n)
	if n > 10 {
		t.Errorf("it makes %.0f allocations", n)
	}
}

package denylist_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/denylist"
	"github.com/gatehouse-id/gatehouse/internal/meter/metertest"
	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/postgres"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

// slow reports whether outages are to last as long as they may in life.
func slow() bool { return os.Getenv("GATEHOUSE_TEST_SLOW") != "" }

// A site is what the servers of one installation share.
type site struct {
	sql       storage.SQL
	sqlURL    string // empty when it is a file
	valkeyURL string
}

// eachSite runs a test on real servers and on those in this process, at once.
func eachSite(t *testing.T, test func(t *testing.T, s site)) {
	together(t, map[string]func(*testing.T){
		"PostgreSQL and Valkey": func(t *testing.T) { test(t, servers(t)) },
		"SQLite and the embedded Valkey": func(t *testing.T) {
			v, err := valkey.Embedded(t.Context())
			must(t, err)
			t.Cleanup(func() { v.Close() })
			test(t, site{sql: openSQLite(t), valkeyURL: v.URL()})
		},
	})
}

// together runs tests that mostly wait all at once, however few processors
// there are.
func together(t *testing.T, tests map[string]func(*testing.T)) {
	var all sync.WaitGroup
	defer all.Wait()
	for name, test := range tests {
		all.Go(func() { t.Run(name, test) })
	}
}

func openSQLite(t *testing.T) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "gatehouse.db"))
	must(t, err)
	t.Cleanup(func() { db.Close() })
	must(t, db.Migrate(t.Context()))
	return db
}

// servers is a site of real servers.
func servers(t *testing.T) site {
	address := testenv.Postgres(t)
	db := openPostgres(t, address)
	must(t, db.Migrate(t.Context()))
	return site{sql: db, sqlURL: address, valkeyURL: testenv.Valkey(t)}
}

func openPostgres(t *testing.T, address string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), address)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func openValkey(t *testing.T, address string) *valkey.DB {
	t.Helper()
	v, err := valkey.Open(t.Context(), address)
	must(t, err)
	t.Cleanup(func() { v.Close() })
	return v
}

// server starts one, whose tail runs until the test ends.
func (s site) server(t *testing.T, change ...func(*denylist.Config)) *denylist.List {
	t.Helper()
	l := s.idle(t, change...)
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		run.Wait()
	})
	return l
}

// idle is a server whose tail does not run.
func (s site) idle(t *testing.T, change ...func(*denylist.Config)) *denylist.List {
	t.Helper()
	c := denylist.Config{Revocations: s.sql, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range change {
		f(&c)
	}
	if c.Fast == nil {
		c.Fast = openValkey(t, s.valkeyURL)
	}
	l, err := denylist.New(t.Context(), c)
	must(t, err)
	return l
}

// revokeOnly commits a revocation and dies before anybody is told.
func (s site) revokeOnly(t *testing.T, r storage.Revocation) {
	t.Helper()
	r.At = time.Now()
	r.Until = r.At.Add(storage.AccessTokenLife)
	_, err := s.sql.Revoke(t.Context(), r)
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bearer is a new token, and the revocation of it.
func bearer() (storage.Bearer, storage.Revocation) {
	b := storage.Bearer{JTI: rand.Text(), GrantID: rand.Text(), ClientID: rand.Text(), IssuedAt: time.Now().Truncate(time.Second)}
	return b, storage.Revocation{Kind: storage.RevokedToken, Key: b.JTI}
}

func expect(t *testing.T, l *denylist.List, b storage.Bearer, want error) {
	t.Helper()
	if err := l.Check(t.Context(), b); !errors.Is(err, want) {
		t.Errorf("Check: %v, want %v", err, want)
	}
}

// eventually polls until a check says so, and returns how long it took.
func eventually(t *testing.T, l *denylist.List, b storage.Bearer, want error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := l.Check(t.Context(), b)
		if errors.Is(err, want) {
			return time.Since(start)
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("Check: %v and not %v", err, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// completed waits until Valkey is complete.
func completed(t *testing.T, d storage.Denylist) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		if _, complete, err := d.Denied(t.Context(), storage.Bearer{}); err == nil && complete {
			return time.Since(start)
		}
		if time.Since(start) > 10*time.Second {
			t.Fatal("Valkey does not get complete")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []denylist.Config{{}, {Revocations: (*sqlite.DB)(nil)}, {Fast: (*valkey.DB)(nil)}} {
		if _, err := denylist.New(t.Context(), c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

func TestCheck(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		here, there := s.server(t), s.idle(t)
		b, r := bearer()
		other, _ := bearer()
		expect(t, here, b, nil)
		must(t, here.Revoke(t.Context(), r))
		expect(t, here, b, denylist.ErrRevoked)
		expect(t, there, b, denylist.ErrRevoked) // by Valkey: its tail does not run
		expect(t, here, other, nil)
		expect(t, there, other, nil)

		t.Run("all tokens of a client, until then", func(t *testing.T) {
			b, _ := bearer()
			must(t, here.Revoke(t.Context(), storage.Revocation{Kind: storage.RevokedClient, Key: b.ClientID}))
			expect(t, here, b, denylist.ErrRevoked)
			expect(t, there, b, denylist.ErrRevoked)
			b.IssuedAt = time.Now().Add(time.Second)
			expect(t, here, b, nil)
			expect(t, there, b, nil)
		})
		t.Run("all tokens of a grant, once the tail is nudged", func(t *testing.T) {
			g, b := s.grant(t)
			expect(t, here, b, nil)
			must(t, s.sql.RevokeGrant(t.Context(), g, time.Now()))
			start := time.Now()
			here.Nudge()
			eventually(t, here, b, denylist.ErrRevoked)
			eventually(t, there, b, denylist.ErrRevoked)
			if took := time.Since(start); took > storage.TailEvery/2 {
				t.Logf("it took %v", took) // the machine is busy
			}
		})
		t.Run("all tokens of a grant, when Follow returns", func(t *testing.T) {
			for range 20 {
				g, b := s.grant(t)
				must(t, s.sql.RevokeGrant(t.Context(), g, time.Now()))
				must(t, here.Follow(t.Context()))
				expect(t, here, b, denylist.ErrRevoked)
				expect(t, there, b, denylist.ErrRevoked)
			}
		})
		t.Run("a server that starts knows all of them", func(t *testing.T) {
			w := newWire(t)
			fast := openValkey(t, w.to(t, s.valkeyURL))
			w.cut()
			l := s.idle(t, func(c *denylist.Config) { c.Fast = fast })
			expect(t, l, b, denylist.ErrRevoked)
			expect(t, l, other, nil)
		})
		t.Run("what is neither a token nor a client is not taken", func(t *testing.T) {
			for _, r := range []storage.Revocation{
				{}, {Kind: storage.RevokedToken}, {Kind: storage.RevokedGrant, Key: "x"}, {Kind: "x", Key: "x"},
			} {
				if err := here.Revoke(t.Context(), r); err == nil {
					t.Errorf("%+v was taken", r)
				}
			}
		})
		t.Run("who asks no longer gets no answer", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := here.Check(ctx, other); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			expect(t, here, other, nil) // and Valkey is not held responsible
		})
	})
}

// grant adds a user's grant and returns its id and a token of it.
func (s site) grant(t *testing.T) (string, storage.Bearer) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	u := storage.User{
		ID: rand.Text(), Email: rand.Text() + "@example.com", Name: "Ada", Status: storage.UserActive, Epoch: 1,
		EmailVerifiedAt: now, CreatedAt: now, UpdatedAt: now,
	}
	must(t, s.sql.CreateUser(t.Context(), u, "hash"))
	b, _ := bearer()
	sum := sha256.Sum256([]byte(b.GrantID))
	must(t, s.sql.CreateGrant(t.Context(), storage.Grant{
		ID: b.GrantID, HandleHash: sum[:], ClientID: b.ClientID, UserID: u.ID, UserEpoch: 1,
		AuthTime: now, Generation: 1, CreatedAt: now, ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(time.Hour),
	}))
	return b.GrantID, b
}

func testTail(t *testing.T, s site) {
	m := metertest.New(t)
	told := func(c *denylist.Config) { c.Meter = m.Meter }
	old, r := bearer()
	s.revokeOnly(t, r)
	a, b := s.server(t, told), s.server(t)
	expect(t, a, old, denylist.ErrRevoked)
	m.Expect(t, "gatehouse.revocation.lag") // what was there at the start is no lag
	var lags []time.Duration
	for range 3 {
		token, r := bearer()
		s.revokeOnly(t, r)
		lags = append(lags, eventually(t, a, token, denylist.ErrRevoked))
		eventually(t, b, token, denylist.ErrRevoked)
	}
	expectLags(t, m, "gatehouse.revocation.lag{kind=token} 3")
	t.Logf("a revocation that nobody was told of is known after %v", lags)
}

// What takes its time.
func TestInTime(t *testing.T) {
	t.Parallel()
	each := func(test func(*testing.T, site)) func(*testing.T) {
		return func(t *testing.T) { eachSite(t, test) }
	}
	together(t, map[string]func(*testing.T){
		"Tail": each(testTail), "Wipe": each(testWipe), "ManyRevocations": testManyRevocations,
		"ValkeyGone": testValkeyGone, "ValkeySilent": testValkeySilent,
		"DatabaseGone": testDatabaseGone, "DatabaseGoesBack": testDatabaseGoesBack,
	})
}

// A replay and a tail of several pages leave nothing out.
func testManyRevocations(t *testing.T) {
	s := site{sql: openSQLite(t), valkeyURL: testenv.Valkey(t)}
	fast := openValkey(t, s.valkeyURL)
	tail, alone := s.idle(t), s.idle(t)
	var tokens []storage.Bearer
	for range 2345 {
		b, r := bearer()
		s.revokeOnly(t, r)
		tokens = append(tokens, b)
	}
	all := func(t *testing.T) {
		t.Helper()
		missing := 0
		for _, b := range tokens {
			if denied, complete, err := fast.Denied(t.Context(), b); !denied || !complete || err != nil {
				missing++
			}
		}
		if missing > 0 {
			t.Errorf("Valkey lacks %d", missing)
		}
	}
	must(t, tail.Follow(t.Context()))
	all(t) // from a mark
	testenv.Wipe(t, s.valkeyURL)
	must(t, tail.Follow(t.Context()))
	all(t) // from a claim
	for _, b := range tokens {
		expect(t, alone, b, denylist.ErrRevoked)
	}
}

func testWipe(t *testing.T, s site) {
	a, b := s.server(t), s.server(t)
	fast := openValkey(t, s.valkeyURL)
	token, r := bearer()
	live, _ := bearer()
	must(t, a.Revoke(t.Context(), r))
	completed(t, fast)
	testenv.Wipe(t, s.valkeyURL)
	for start := time.Now(); time.Since(start) < 1500*time.Millisecond; time.Sleep(time.Millisecond) {
		expect(t, a, token, denylist.ErrRevoked)
		expect(t, b, live, nil)
		if denied, complete, _ := fast.Denied(t.Context(), token); complete && !denied {
			t.Error("Valkey calls itself complete without it")
		}
	}
	if took := completed(t, fast); took > 2*storage.TailEvery {
		t.Errorf("Valkey is complete only after %v", took)
	}
	late := s.idle(t)
	expect(t, late, token, denylist.ErrRevoked)
}

func testValkeyGone(t *testing.T) {
	s := servers(t)
	w := newWire(t)
	through := w.to(t, s.valkeyURL)
	gone := func(c *denylist.Config) { c.Fast = openValkey(t, through) }
	a, b := s.server(t, gone), s.server(t, gone)
	live, _ := bearer()
	outage := 5 * time.Second
	if slow() {
		outage = 30 * time.Second
	}
	before, r := bearer()
	must(t, a.Revoke(t.Context(), r))
	w.cut()
	var worst, slowest time.Duration
	for start := time.Now(); time.Since(start) < outage; {
		token, r := bearer()
		must(t, a.Revoke(t.Context(), r))
		expect(t, a, token, denylist.ErrRevoked)
		worst = max(worst, eventually(t, b, token, denylist.ErrRevoked))
		asked := time.Now()
		expect(t, b, live, nil)
		slowest = max(slowest, time.Since(asked))
		expect(t, b, before, denylist.ErrRevoked)
	}
	t.Logf("for %v without Valkey another server knew after %v at most; a check took %v at most", outage, worst, slowest)
	if worst > storage.MarkLife {
		t.Errorf("it knew after %v", worst)
	}
	if slowest > time.Second {
		t.Errorf("a check took %v", slowest)
	}
	testenv.Wipe(t, s.valkeyURL) // it comes back with nothing
	w.mend(t)
	completed(t, openValkey(t, s.valkeyURL))
	expect(t, b, before, denylist.ErrRevoked)
	expect(t, b, live, nil)
}

func testValkeySilent(t *testing.T) {
	s := servers(t)
	w := newWire(t)
	through := w.to(t, s.valkeyURL)
	a := s.server(t, func(c *denylist.Config) { c.Fast = openValkey(t, through) })
	token, r := bearer()
	live, _ := bearer()
	must(t, a.Revoke(t.Context(), r))
	w.silent.Store(true)
	start := time.Now()
	expect(t, a, live, nil)
	if took := time.Since(start); took > time.Second {
		t.Errorf("the first check took %v", took)
	}
	start = time.Now()
	const n = 1000
	for range n {
		expect(t, a, live, nil)
		expect(t, a, token, denylist.ErrRevoked)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("%d more took %v: each waits for Valkey", n, took)
	}
	// It stays so for as long as it lasts, and no longer.
	for start := time.Now(); time.Since(start) < storage.MarkLife+time.Second; time.Sleep(20 * time.Millisecond) {
		expect(t, a, live, nil)
	}
	must(t, s.idle(t).Revoke(t.Context(), r))
}

func testDatabaseGone(t *testing.T) {
	s := servers(t)
	w, v := newWire(t), newWire(t)
	through, fast := openPostgres(t, w.to(t, s.sqlURL)), openValkey(t, v.to(t, s.valkeyURL))
	alone := s.server(t, func(c *denylist.Config) { c.Revocations, c.Fast = through, fast })
	token, r := bearer()
	live, _ := bearer()
	must(t, alone.Revoke(t.Context(), r))
	w.cut()
	if took := eventually(t, alone, live, denylist.ErrUnknown); took > storage.MarkLife+500*time.Millisecond {
		t.Errorf("it took %v until nothing was known", took)
	}
	expect(t, alone, token, denylist.ErrRevoked) // a yes does not age
	_, fault := bearer()
	if err := alone.Revoke(t.Context(), fault); err == nil {
		t.Error("a revocation was taken that is nowhere")
	}
	t.Run("another server's tail keeps Valkey complete for it", func(t *testing.T) {
		other := s.server(t)
		eventually(t, alone, live, nil)
		token, r := bearer()
		must(t, other.Revoke(t.Context(), r))
		expect(t, alone, token, denylist.ErrRevoked)
		died, r := bearer()
		s.revokeOnly(t, r)
		eventually(t, alone, died, denylist.ErrRevoked)
	})
	t.Run("with Valkey gone too nothing is known at once", func(t *testing.T) {
		v.cut()
		expect(t, alone, live, denylist.ErrUnknown)
		expect(t, alone, token, denylist.ErrRevoked)
	})
	w.mend(t)
	v.mend(t)
	eventually(t, alone, live, nil)
	expect(t, alone, token, denylist.ErrRevoked)
}

// A database that was restored, or failed over to a replica that lacked the
// last commits, gives out places a second time.
func testDatabaseGoesBack(t *testing.T) {
	before, after := site{sql: openSQLite(t), valkeyURL: testenv.Valkey(t)}, site{sql: openSQLite(t)}
	for range 5 {
		_, r := bearer()
		before.revokeOnly(t, r)
	}
	var now failover
	now.Store(&before.sql)
	before.server(t, func(c *denylist.Config) { c.Revocations = &now })
	w := newWire(t)
	cut := openValkey(t, w.to(t, before.valkeyURL))
	w.cut()
	memory := before.server(t, func(c *denylist.Config) { c.Revocations, c.Fast = &now, cut })
	token, r := bearer()
	after.revokeOnly(t, r)
	now.Store(&after.sql)
	eventually(t, memory, token, denylist.ErrRevoked)
	// Valkey too, as soon as the old mark has ended.
	fast := openValkey(t, before.valkeyURL)
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		denied, complete, err := fast.Denied(t.Context(), token)
		if err == nil && denied && complete {
			break
		}
		if time.Since(start) > 2*storage.MarkLife {
			t.Fatalf("Valkey does not know of it: denied %t, complete %t, %v", denied, complete, err)
		}
	}
}

// A failover is a database that another takes the place of.
type failover struct{ atomic.Pointer[storage.SQL] }

func (f *failover) Revoke(ctx context.Context, r storage.Revocation) (int64, error) {
	return (*f.Load()).Revoke(ctx, r)
}

func (f *failover) LastRevocation(ctx context.Context) (int64, error) {
	return (*f.Load()).LastRevocation(ctx)
}

func (f *failover) RevocationsAfter(ctx context.Context, seq int64, now time.Time, limit int) ([]storage.Revocation, error) {
	return (*f.Load()).RevocationsAfter(ctx, seq, now, limit)
}

func (f *failover) DeleteExpiredRevocations(ctx context.Context, now time.Time, limit int) (int, error) {
	return (*f.Load()).DeleteExpiredRevocations(ctx, now, limit)
}

// What a check adds to the trip to Valkey.
func TestCheckAllocatesLittle(t *testing.T) {
	s := servers(t)
	fast := openValkey(t, s.valkeyURL)
	l := s.idle(t, func(c *denylist.Config) { c.Fast = fast })
	b, _ := bearer()
	ctx := t.Context()
	// The client's own goroutines allocate now and then: the least of several
	// counts is ours.
	least := func(do func()) float64 {
		n := math.Inf(1)
		for range 5 {
			n = min(n, testing.AllocsPerRun(100, do))
		}
		return n
	}
	trip := least(func() {
		if _, _, err := fast.Denied(ctx, b); err != nil {
			t.Fatal(err)
		}
	})
	check := least(func() { expect(t, l, b, nil) })
	t.Logf("%.0f allocations, of them %.0f for the trip", check, trip)
	if check-trip > 6 {
		t.Errorf("a check makes %.0f allocations of its own", check-trip)
	}
}

func BenchmarkCheck(b *testing.B) {
	address := testenv.Valkey(b)
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "gatehouse.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	fast, err := valkey.Open(b.Context(), address)
	if err != nil {
		b.Fatal(err)
	}
	defer fast.Close()
	l, err := denylist.New(b.Context(), denylist.Config{Revocations: db, Fast: fast})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go l.Run(ctx)
	t, _ := bearer()
	b.ReportAllocs()
	b.Run("one at a time", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := l.Check(ctx, t); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("many at once", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := l.Check(ctx, t); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// A wire is a way to a server that can be cut and made silent.
type wire struct {
	server string
	here   string
	// silent keeps the server's answers back.
	silent atomic.Bool

	mu    sync.Mutex
	l     net.Listener
	conns []net.Conn
}

func newWire(t *testing.T) *wire {
	w := &wire{here: "127.0.0.1:0"}
	w.mend(t)
	t.Cleanup(w.cut)
	return w
}

// to is the address through the wire.
func (w *wire) to(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.server, u.Host = u.Host, w.here
	return u.String()
}

// mend makes the wire whole, at the address it had.
func (w *wire) mend(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", w.here)
	must(t, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.l, w.here = l, l.Addr().String()
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			server, err := net.Dial("tcp", w.server)
			if err != nil {
				client.Close()
			} else {
				w.conns = append(w.conns, client, server)
				go w.pass(server, client, false)
				go w.pass(client, server, true)
			}
			w.mu.Unlock()
		}
	}()
}

// pass copies until either end closes.
func (w *wire) pass(to io.WriteCloser, from io.ReadCloser, answers bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 1<<16)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if answers && w.silent.Load() {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// cut closes every connection and refuses new ones.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.l.Close()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

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
			test(t, site{sql: openSQLite(t), valkeyURL: embedded(t).URL()})
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
	u, err := url.Parse(address)
	must(t, err)
	q := u.Query()
	q.Set("connect_timeout", "60") // on a busy machine a server is not gone
	u.RawQuery = q.Encode()
	db, err := postgres.Open(t.Context(), u.String())
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func openValkey(t *testing.T, address string) *valkey.DB {
	t.Helper()
	v, err := valkey.Open(t.Context(), address+"?dial_timeout=30s&write_timeout=30s")
	must(t, err)
	t.Cleanup(func() { v.Close() })
	return v
}

// embedded starts a Valkey in this process. On a busy machine it may answer too
// late to be opened.
func embedded(t *testing.T) *valkey.DB {
	t.Helper()
	for tries := 0; ; tries++ {
		v, err := valkey.Embedded(t.Context())
		if err == nil {
			t.Cleanup(func() { v.Close() })
			return v
		}
		if tries == 10 {
			t.Fatal(err)
		}
	}
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
	machine()
	c := denylist.Config{Revocations: patientRows{s.sql}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range change {
		f(&c)
	}
	if c.Fast == nil {
		c.Fast = patient{openValkey(t, s.valkeyURL)}
	}
	l, err := denylist.New(t.Context(), c)
	must(t, err)
	return l
}

// patient is a Valkey that is waited for: one that is there must not count as
// gone because the machine is busy.
type patient struct{ storage.Denylist }

// waiting is a context without an end to come.
func waiting(ctx context.Context) context.Context {
	if ctx.Err() != nil {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

func (p patient) Mark(ctx context.Context) (storage.Mark, error) {
	return p.Denylist.Mark(waiting(ctx))
}

func (p patient) ClaimReplay(ctx context.Context) (storage.Mark, error) {
	return p.Denylist.ClaimReplay(waiting(ctx))
}

func (p patient) Apply(ctx context.Context, m storage.Mark, now time.Time, rows []storage.Revocation, last bool) (storage.Mark, error) {
	return p.Denylist.Apply(waiting(ctx), m, now, rows, last)
}

func (p patient) Deny(ctx context.Context, now time.Time, rows ...storage.Revocation) error {
	return p.Denylist.Deny(waiting(ctx), now, rows...)
}

func (p patient) Denied(ctx context.Context, b storage.Bearer) (denied, complete bool, err error) {
	return p.Denylist.Denied(waiting(ctx), b)
}

// patientRows is the same of the database.
type patientRows struct{ storage.Revocations }

func (p patientRows) LastRevocation(ctx context.Context) (int64, error) {
	return p.Revocations.LastRevocation(waiting(ctx))
}

func (p patientRows) RevocationsAfter(ctx context.Context, seq int64, now time.Time, limit int) ([]storage.Revocation, error) {
	return p.Revocations.RevocationsAfter(waiting(ctx), seq, now, limit)
}

// asked counts how often checks ask Valkey, and notes the longest that one would
// wait for the answer.
type asked struct {
	storage.Denylist
	times, longest *atomic.Int64
}

func (a asked) Denied(ctx context.Context, b storage.Bearer) (denied, complete bool, err error) {
	a.times.Add(1)
	wait := int64(math.MaxInt64)
	if end, ok := ctx.Deadline(); ok {
		wait = int64(time.Until(end))
	}
	for old := a.longest.Load(); wait > old && !a.longest.CompareAndSwap(old, wait); {
		old = a.longest.Load()
	}
	return a.Denylist.Denied(ctx, b)
}

// turning counts the turns of a tail.
type turning struct {
	storage.Revocations
	turns atomic.Int64
}

func (r *turning) LastRevocation(ctx context.Context) (int64, error) {
	r.turns.Add(1)
	return r.Revocations.LastRevocation(ctx)
}

// inTime is how long a busy machine may take for what happens at all.
const inTime = time.Minute

// A pulse says whether this machine keeps up. On one that does not a tail may be
// late, and then a server is right not to know.
type pulse struct{ missed atomic.Pointer[time.Time] }

var machine = sync.OnceValue(func() *pulse {
	p := &pulse{}
	go func() {
		for last := time.Now(); ; last = time.Now() {
			time.Sleep(10 * time.Millisecond)
			if now := time.Now(); now.Sub(last) > 60*time.Millisecond {
				p.missed.Store(&now)
			}
		}
	}()
	return p
})

// keepsUp reports whether it has for as long as what is known is believed.
func (p *pulse) keepsUp() bool {
	missed := p.missed.Load()
	return missed == nil || time.Since(*missed) > 2*storage.MarkLife
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

// expect says what a check answers. That it does not know it may say in between,
// when the machine does not keep up.
func expect(t *testing.T, l *denylist.List, b storage.Bearer, want error) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		err := l.Check(t.Context(), b)
		if errors.Is(err, want) {
			return
		}
		if !errors.Is(err, denylist.ErrUnknown) || machine().keepsUp() || time.Since(start) > inTime {
			t.Errorf("Check: %v, want %v", err, want)
			return
		}
	}
}

// eventually polls until a check says so. It returns how long after the call the
// last one began that accepted the token.
func eventually(t *testing.T, l *denylist.List, b storage.Bearer, want error) (accepted time.Duration) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		began := time.Since(start)
		err := l.Check(t.Context(), b)
		if errors.Is(err, want) {
			return accepted
		}
		if err == nil {
			accepted = began
		}
		if time.Since(start) > inTime {
			t.Fatalf("Check: %v and not %v", err, want)
		}
	}
}

// completed waits until Valkey is complete.
func completed(t *testing.T, d storage.Denylist) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if _, complete, err := d.Denied(t.Context(), storage.Bearer{}); err == nil && complete {
			return
		}
		if time.Since(start) > inTime {
			t.Fatal("Valkey does not get complete")
		}
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
			denied, complete, err := fast.Denied(t.Context(), b)
			if !complete && err == nil {
				// The mark has ended in the meantime. A turn without news makes another.
				must(t, tail.Follow(t.Context()))
				_, complete, err = fast.Denied(t.Context(), b)
			}
			if !denied || !complete || err != nil {
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
	var turns [2]turning
	counted := func(i int) func(*denylist.Config) {
		return func(c *denylist.Config) { turns[i].Revocations, c.Revocations = c.Revocations, &turns[i] }
	}
	a, b := s.server(t, counted(0)), s.server(t, counted(1))
	fast := openValkey(t, s.valkeyURL)
	token, r := bearer()
	live, _ := bearer()
	must(t, a.Revoke(t.Context(), r))
	completed(t, fast)
	testenv.Wipe(t, s.valkeyURL)
	// One turn of either that begins now does it, and one of each may be under way.
	before := [2]int64{turns[0].turns.Load(), turns[1].turns.Load()}
	for again := false; !again; time.Sleep(time.Millisecond) {
		late := turns[0].turns.Load() > before[0]+3 && turns[1].turns.Load() > before[1]+3
		expect(t, a, token, denylist.ErrRevoked)
		expect(t, b, live, nil)
		denied, complete, _ := fast.Denied(t.Context(), token)
		if complete && !denied {
			t.Error("Valkey calls itself complete without it")
		}
		if again = complete; late && !again {
			t.Fatal("Valkey is not complete after three turns of each")
		}
	}
	late := s.idle(t)
	expect(t, late, token, denylist.ErrRevoked)
}

func testValkeyGone(t *testing.T) {
	s := servers(t)
	w := newWire(t)
	through := w.to(t, s.valkeyURL)
	var asks, longest atomic.Int64
	gone := func(c *denylist.Config) { c.Fast = asked{openValkey(t, through), &asks, &longest} }
	a, b := s.server(t, gone), s.server(t, gone)
	live, _ := bearer()
	outage := 5 * time.Second
	if slow() {
		outage = 30 * time.Second
	}
	before, r := bearer()
	must(t, a.Revoke(t.Context(), r))
	w.cut()
	var worst time.Duration
	for start := time.Now(); time.Since(start) < outage; {
		token, r := bearer()
		must(t, a.Revoke(t.Context(), r))
		expect(t, a, token, denylist.ErrRevoked)
		worst = max(worst, eventually(t, b, token, denylist.ErrRevoked))
		expect(t, b, live, nil)
		expect(t, b, before, denylist.ErrRevoked)
	}
	wait := time.Duration(longest.Load())
	t.Logf("for %v without Valkey another server accepted a token for %v at most; a check waits %v at most", outage, worst, wait)
	if worst > storage.MarkLife {
		t.Errorf("it accepted a token after %v", worst)
	}
	if wait > time.Second {
		t.Errorf("a check may wait for Valkey for %v", wait)
	}
	testenv.Wipe(t, s.valkeyURL) // it comes back with nothing
	w.mend()
	completed(t, openValkey(t, s.valkeyURL))
	expect(t, b, before, denylist.ErrRevoked)
	expect(t, b, live, nil)
}

func testValkeySilent(t *testing.T) {
	s := servers(t)
	w := newWire(t)
	through := w.to(t, s.valkeyURL)
	var asks, longest atomic.Int64
	a := s.server(t, func(c *denylist.Config) { c.Fast = asked{openValkey(t, through), &asks, &longest} })
	token, r := bearer()
	live, _ := bearer()
	must(t, a.Revoke(t.Context(), r))
	w.silent.Store(true)
	expect(t, a, live, nil)
	before := asks.Load()
	const n = 1000
	for range n {
		expect(t, a, live, nil)
		expect(t, a, token, denylist.ErrRevoked)
	}
	if more := asks.Load() - before; more > n/10 {
		t.Errorf("%d checks asked Valkey %d times, which does not answer", 2*n, more)
	}
	if wait := time.Duration(longest.Load()); wait > time.Second {
		t.Errorf("a check may wait for Valkey for %v", wait)
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
	if accepted := eventually(t, alone, live, denylist.ErrUnknown); accepted > storage.MarkLife {
		t.Errorf("a token was accepted %v after the last reading", accepted)
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
	w.mend()
	v.mend()
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
	fast := openValkey(t, before.valkeyURL)
	now.Store(&after.sql)
	switched := time.Now()
	eventually(t, memory, token, denylist.ErrRevoked)
	// Valkey too, as soon as the old mark has ended.
	for ; ; time.Sleep(5 * time.Millisecond) {
		began := time.Since(switched)
		denied, complete, err := fast.Denied(t.Context(), token)
		if err == nil && denied && complete {
			break
		}
		if complete && began > storage.MarkLife || began > inTime {
			t.Fatalf("after %v Valkey does not know of it: denied %t, complete %t, %v", began, denied, complete, err)
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

// held is a database that keeps the next who reads it waiting.
type held struct {
	storage.Revocations
	next          atomic.Bool
	reading, goOn chan struct{}
}

func (h *held) LastRevocation(ctx context.Context) (int64, error) {
	if h.next.CompareAndSwap(true, false) {
		close(h.reading)
		<-h.goOn
	}
	return h.Revocations.LastRevocation(ctx)
}

// Who waits for another's turn waits no longer than the caller does.
func TestFollowEndsInTime(t *testing.T) {
	s := site{sql: openSQLite(t), valkeyURL: embedded(t).URL()}
	h := &held{Revocations: s.sql, reading: make(chan struct{}), goOn: make(chan struct{})}
	l := s.idle(t, func(c *denylist.Config) { c.Revocations = h })
	h.next.Store(true)
	ended := make(chan error, 2)
	go func() { ended <- l.Follow(t.Context()) }()
	<-h.reading
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	go func() { ended <- l.Follow(ctx) }()
	select {
	case err := <-ended:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it waits for the other")
	}
	close(h.goOn)
	must(t, <-ended)
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
		for range 10 {
			must(t, l.Follow(ctx)) // or nothing would be known at some time
			n = min(n, testing.AllocsPerRun(100, do))
		}
		return n
	}
	trip := least(func() {
		if _, _, err := fast.Denied(ctx, b); err != nil {
			t.Fatal(err)
		}
	})
	check := least(func() {
		if err := l.Check(ctx, b); err != nil && machine().keepsUp() {
			t.Fatal(err)
		}
	})
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

	mu sync.Mutex
	// broken is that it is cut. It keeps its port, which might be another's by the
	// time that it is mended.
	broken bool
	conns  []net.Conn
}

func newWire(t *testing.T) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &wire{here: l.Addr().String()}
	go w.serve(l)
	t.Cleanup(func() {
		l.Close()
		w.cut()
	})
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

// serve passes on who comes, until the wire is gone.
func (w *wire) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		server, err := net.Conn(nil), net.ErrClosed
		if !w.broken {
			server, err = net.Dial("tcp", w.server)
		}
		if err != nil {
			client.Close()
		} else {
			w.conns = append(w.conns, client, server)
			go w.pass(server, client, false)
			go w.pass(client, server, true)
		}
		w.mu.Unlock()
	}
}

// mend makes the wire whole, at the address it had.
func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = false
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

// cut closes every connection, those to come too.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = true
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

package denylist_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/denylist"
	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
)

// promised is how long after a revocation was committed no check accepts the
// token any more. To the world we say five seconds.
const promised = storage.MarkLife

// A distant Valkey leaves time between the steps of a tail, for wipes and for
// other servers.
type distant struct{ storage.Denylist }

func (d distant) Apply(ctx context.Context, m storage.Mark, now time.Time, rows []storage.Revocation, last bool) (storage.Mark, error) {
	time.Sleep(rand.N(300 * time.Millisecond))
	return d.Denylist.Apply(ctx, m, now, rows, last)
}

// sec-E4, sec-Q3: while Valkey is wiped again and again, and one revoker of
// twenty dies before it has told anybody, no server accepts a token that was
// revoked longer ago than promised: neither one that has everything, nor one
// without Valkey, nor one whose own tail stands still and that has only Valkey's
// word.
func TestWipesAndCrashes(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s site) {
		span, want := 7*time.Second, int64(2_000)
		if slow() {
			span, want = 40*time.Second, 200_000
		}
		quiet := func(c *denylist.Config) { c.Log = slog.New(slog.DiscardHandler) }
		far := func(c *denylist.Config) { c.Fast = distant{openValkey(t, s.valkeyURL)} }
		w := newWire(t)
		cut := openValkey(t, w.to(t, s.valkeyURL))
		w.cut()
		type server struct {
			name string
			list *denylist.List
			// accepted is the longest time after which a revoked token was.
			accepted atomic.Int64
			// yes, no and unknown count the answers.
			yes, no, unknown atomic.Int64
		}
		servers := []*server{
			{name: "a server", list: s.server(t, quiet, far)},
			{name: "another", list: s.server(t, quiet, far)},
			{name: "one without Valkey", list: s.server(t, quiet, func(c *denylist.Config) { c.Fast = cut })},
			{name: "one whose tail stands still", list: s.idle(t, quiet)},
		}
		stuck := servers[3]

		type revoked struct {
			storage.Bearer
			at time.Time // no earlier than the commit
		}
		var mu sync.RWMutex
		var all []revoked
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		var run sync.WaitGroup
		var died, wipes atomic.Int64
		for range 3 {
			run.Go(func() { // revokes
				for ctx.Err() == nil {
					b, r := bearer()
					if rand.IntN(4) == 0 {
						r = storage.Revocation{Kind: storage.RevokedClient, Key: b.ClientID}
					}
					var err error
					if rand.IntN(20) == 0 {
						r.At = time.Now()
						r.Until = r.At.Add(storage.AccessTokenLife)
						_, err = s.sql.Revoke(context.Background(), r)
						died.Add(1)
					} else {
						err = servers[rand.IntN(2)].list.Revoke(context.Background(), r)
					}
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					all = append(all, revoked{b, time.Now()})
					mu.Unlock()
					time.Sleep(rand.N(10 * time.Millisecond))
				}
			})
		}
		run.Go(func() { // wipes
			for ctx.Err() == nil {
				testenv.Wipe(t, s.valkeyURL)
				wipes.Add(1)
				time.Sleep(rand.N(1500 * time.Millisecond))
			}
		})
		var checks, wrong atomic.Int64
		for range 4 {
			run.Go(func() { // checks
				for ctx.Err() == nil {
					mu.RLock()
					n := len(all)
					var r revoked
					if n > 0 {
						r = all[rand.IntN(n)]
					}
					mu.RUnlock()
					if n == 0 {
						continue
					}
					on := servers[rand.IntN(len(servers))]
					if rand.IntN(2) == 0 {
						on = stuck // the others answer most from memory
					}
					if rand.IntN(8) == 0 { // a token that nobody revoked
						b, _ := bearer()
						err := on.list.Check(ctx, b)
						if err != nil && ctx.Err() == nil && !(errors.Is(err, denylist.ErrUnknown) && (on == stuck || !machine().keepsUp())) {
							t.Errorf("%s about a good token: %v", on.name, err)
						}
						continue
					}
					age := time.Since(r.at)
					err := on.list.Check(ctx, r.Bearer)
					switch {
					case ctx.Err() != nil:
						return
					case err == nil:
						on.yes.Add(1)
						for old := on.accepted.Load(); int64(age) > old && !on.accepted.CompareAndSwap(old, int64(age)); {
							old = on.accepted.Load()
						}
						if age > promised {
							wrong.Add(1)
						}
					case errors.Is(err, denylist.ErrRevoked):
						on.no.Add(1)
					case errors.Is(err, denylist.ErrUnknown):
						on.unknown.Add(1)
						if on != stuck && machine().keepsUp() {
							t.Errorf("%s does not know", on.name)
						}
					default:
						t.Errorf("%s: %v", on.name, err)
					}
					if age > promised && !errors.Is(err, denylist.ErrUnknown) {
						checks.Add(1)
					}
				}
			})
		}
		trial := func() bool {
			return checks.Load() >= want && stuck.no.Load() >= want/5 && died.Load() > 0 && wipes.Load() >= 3
		}
		// A busy machine is only slower to come to it.
		for start := time.Now(); time.Since(start) < span || !trial() && time.Since(start) < 40*span; {
			time.Sleep(10 * time.Millisecond)
		}
		stop()
		run.Wait()
		t.Logf("%d of %d checks accepted a token revoked more than %v before; %d revocations, %d revokers died, %d wipes",
			wrong.Load(), checks.Load(), promised, len(all), died.Load(), wipes.Load())
		for _, v := range servers {
			t.Logf("%s: %d refused, %d accepted, until %v after the revocation at most, %d not known",
				v.name, v.no.Load(), v.yes.Load(), time.Duration(v.accepted.Load()), v.unknown.Load())
		}
		if n := wrong.Load(); n > 0 {
			t.Errorf("%d of %d were accepted", n, checks.Load())
		}
		if !trial() {
			t.Error("that was no trial")
		}
	})
}

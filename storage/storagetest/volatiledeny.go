package storagetest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A denylist is one under test.
type denylist struct {
	storage.Denylist
	wipe func()
}

func revoked(seq int64, kind storage.RevocationKind, key string) storage.Revocation {
	now := now()
	return storage.Revocation{Seq: seq, Kind: kind, Key: key, At: now, Until: now.Add(time.Minute)}
}

func revokedGrant(seq int64) storage.Revocation {
	return revoked(seq, storage.RevokedGrant, fmt.Sprintf("grant %d", seq))
}

// complete makes it empty but for one grant, and complete up to seq.
func (d denylist) complete(t testing.TB, seq int64) storage.Mark {
	t.Helper()
	d.wipe()
	m, err := d.ClaimReplay(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, err = d.Apply(t.Context(), m, now(), []storage.Revocation{revokedGrant(seq)}, true)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (d denylist) check(t testing.TB, b storage.Bearer, wantDenied, wantComplete bool) {
	t.Helper()
	denied, complete, err := d.Denied(t.Context(), b)
	if err != nil || denied != wantDenied || complete != wantComplete {
		t.Errorf("%+v: denied %t, complete %t, %v; want %t, %t", b, denied, complete, err, wantDenied, wantComplete)
	}
}

func (d denylist) conflict(t testing.TB, m storage.Mark, last bool, rows ...storage.Revocation) {
	t.Helper()
	if got, err := d.Apply(t.Context(), m, now(), rows, last); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("Apply: %+v, %v; want %v", got, err, storage.ErrConflict)
	}
}

func (d denylist) marked(t testing.TB, want int64) storage.Mark {
	t.Helper()
	m, err := d.Mark(t.Context())
	if err != nil || m.Seq != want || m.Replay != "" || m.ReadAt.IsZero() {
		t.Errorf("Mark: %+v, %v; want place %d", m, err, want)
	}
	return m
}

func (d denylist) unmarked(t testing.TB) {
	t.Helper()
	if m, err := d.Mark(t.Context()); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Mark: %+v, %v; want %v", m, err, storage.ErrNotFound)
	}
}

// An attempt is a test that may be made again: it keeps what failed to itself.
type attempt struct {
	testing.TB
	failed []string
}

func (a *attempt) Helper()                   {}
func (a *attempt) Error(args ...any)         { a.failed = append(a.failed, fmt.Sprint(args...)) }
func (a *attempt) Errorf(f string, v ...any) { a.failed = append(a.failed, fmt.Sprintf(f, v...)) }
func (a *attempt) Fatal(args ...any) {
	a.Error(args...)
	runtime.Goexit()
}

// whileMarked runs a test of marks, and when that fails once more if marks may
// have ended in the meantime: on a busy machine they do.
func whileMarked(t *testing.T, test func(t testing.TB)) {
	t.Helper()
	for tries := 1; ; tries++ {
		a := &attempt{TB: t}
		start, done := time.Now(), make(chan struct{})
		go func() {
			defer close(done)
			test(a)
		}()
		<-done
		// The embedded memory ends a mark up to two seconds early.
		if took := time.Since(start); len(a.failed) == 0 || took < storage.MarkLife-3*time.Second || tries == 20 {
			for _, failure := range a.failed {
				t.Errorf("in %v: %s", took, failure)
			}
			return
		}
	}
}

func testDenylist(t *testing.T, d denylist) {
	run := func(sentence string, test func(t testing.TB)) {
		t.Run(sentence, func(t *testing.T) { whileMarked(t, test) })
	}
	run("an empty denylist is not complete", func(t testing.TB) {
		d.unmarked(t)
		d.check(t, storage.Bearer{JTI: "a", GrantID: "b", ClientID: "c", IssuedAt: now()}, false, false)
	})
	run("each kind stops what it names and nothing else", func(t testing.TB) {
		d.complete(t, 1)
		at := now()
		rows := []storage.Revocation{
			revoked(2, storage.RevokedToken, "the token"),
			revoked(3, storage.RevokedGrant, "the grant"),
			{Seq: 4, Kind: storage.RevokedClient, Key: "the client", At: at, Until: at.Add(time.Minute)},
		}
		if err := d.Deny(t.Context(), at, rows...); err != nil {
			t.Fatal(err)
		}
		before, after := at.Add(-time.Hour), at.Add(time.Microsecond)
		for _, tt := range []struct {
			b    storage.Bearer
			want bool
		}{
			{storage.Bearer{JTI: "a", GrantID: "b", ClientID: "c", IssuedAt: before}, false},
			{storage.Bearer{JTI: "the token", GrantID: "b", ClientID: "c", IssuedAt: after}, true},
			{storage.Bearer{JTI: "a", GrantID: "the grant", ClientID: "c", IssuedAt: after}, true},
			{storage.Bearer{JTI: "a", GrantID: "b", ClientID: "the client", IssuedAt: before}, true},
			{storage.Bearer{JTI: "a", GrantID: "b", ClientID: "the client", IssuedAt: at}, true},
			{storage.Bearer{JTI: "a", GrantID: "b", ClientID: "the client", IssuedAt: after}, false},
			{storage.Bearer{JTI: "the grant", GrantID: "the client", ClientID: "the token", IssuedAt: before}, false},
			{storage.Bearer{IssuedAt: before}, false},
		} {
			d.check(t, tt.b, tt.want, true)
		}
	})
	run("a kind that nobody knows is a fault", func(t testing.TB) {
		if err := d.Deny(t.Context(), now(), revoked(1, "people", "x")); err == nil {
			t.Error("it was taken")
		}
	})
	run("what is denied ahead of the mark moves no mark", func(t testing.TB) {
		d.complete(t, 1)
		if err := d.Deny(t.Context(), now(), revokedGrant(9)); err != nil {
			t.Fatal(err)
		}
		d.marked(t, 1)
		d.check(t, storage.Bearer{GrantID: "grant 9"}, true, true)
		if err := d.Deny(t.Context(), now()); err != nil {
			t.Errorf("nothing to deny: %v", err)
		}
	})
	run("what is denied after a wipe does not make the denylist complete", func(t testing.TB) {
		d.complete(t, 1)
		d.wipe()
		if err := d.Deny(t.Context(), now(), revokedGrant(2)); err != nil {
			t.Fatal(err)
		}
		d.unmarked(t)
		d.check(t, storage.Bearer{GrantID: "grant 2"}, true, false)
		d.check(t, storage.Bearer{GrantID: "grant 1"}, false, false)
	})
	run("a mark moves with what it stands for", func(t testing.TB) {
		m := d.complete(t, 1)
		d.check(t, storage.Bearer{GrantID: "grant 2"}, false, true)
		next, err := d.Apply(t.Context(), m, now(), []storage.Revocation{revokedGrant(2), revokedGrant(5)}, true)
		if err != nil || next.Seq != 5 || next.Replay != "" || next.ReadAt.Before(m.ReadAt) {
			t.Errorf("Apply: %+v, %v", next, err)
		}
		d.marked(t, 5)
		d.check(t, storage.Bearer{GrantID: "grant 5"}, true, true)
	})
	run("a mark that has moved refuses what was read at the old one", func(t testing.TB) {
		m := d.complete(t, 1)
		if _, err := d.Apply(t.Context(), m, now(), []storage.Revocation{revokedGrant(2)}, true); err != nil {
			t.Fatal(err)
		}
		d.conflict(t, m, true, revokedGrant(2), revokedGrant(3))
		d.conflict(t, m, true)
		d.conflict(t, m, false, revokedGrant(2), revokedGrant(3))
		d.marked(t, 2)
		d.check(t, storage.Bearer{GrantID: "grant 3"}, false, true)
	})
	run("a mark that was wiped is not renewed by who has read it", func(t testing.TB) {
		m := d.complete(t, 1)
		d.wipe()
		d.conflict(t, m, true, revokedGrant(2))
		d.conflict(t, m, true)
		d.conflict(t, m, false, revokedGrant(2))
		d.unmarked(t)
		d.check(t, storage.Bearer{GrantID: "grant 2"}, false, false)
	})
	run("absent then and absent now, but wiped in between: a replay starts over", func(t testing.TB) {
		d.wipe()
		a, err := d.ClaimReplay(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a, err = d.Apply(t.Context(), a, now(), []storage.Revocation{revokedGrant(1), revokedGrant(2)}, false)
		if err != nil {
			t.Fatal(err)
		}
		d.wipe()
		d.conflict(t, a, true, revokedGrant(3))
		d.unmarked(t)
		// Another's replay, at the same place, is not ours either.
		b, err := d.ClaimReplay(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b, err = d.Apply(t.Context(), b, now(), []storage.Revocation{revokedGrant(1), revokedGrant(2)}, false); err != nil {
			t.Fatal(err)
		}
		d.conflict(t, a, true, revokedGrant(3))
		d.conflict(t, storage.Mark{Seq: 2, ReadAt: b.ReadAt}, true, revokedGrant(3))
		d.unmarked(t)
		if _, err := d.Apply(t.Context(), b, now(), nil, true); err != nil {
			t.Fatal(err)
		}
		d.marked(t, 2)
		d.check(t, storage.Bearer{GrantID: "grant 1"}, true, true)
	})
	run("of 64 that claim a replay one does, and nobody does while there is a mark", func(t testing.TB) {
		d.wipe()
		var claims atomic.Int64
		for _, err := range parallel(64, func(int) error {
			m, err := d.ClaimReplay(t.Context())
			if err == nil && m.Seq == 0 && m.Replay != "" {
				claims.Add(1)
			}
			return err
		}) {
			if err != nil && !errors.Is(err, storage.ErrConflict) {
				t.Error(err)
			}
		}
		if n := claims.Load(); n != 1 {
			t.Errorf("%d did", n)
		}
		d.unmarked(t)
		d.check(t, storage.Bearer{}, false, false)
		d.complete(t, 1)
		if m, err := d.ClaimReplay(t.Context()); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("got %+v, %v", m, err)
		}
	})
	run("keys of any bytes are told apart", func(t testing.TB) {
		m := d.complete(t, 1)
		keys := []string{unicode, "{deny}:mark", "a b\r\n", rand.Text()}
		var rows []storage.Revocation
		for i, key := range keys {
			rows = append(rows, revoked(int64(i+2), storage.RevokedToken, key))
		}
		if _, err := d.Apply(t.Context(), m, now(), rows, true); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			d.check(t, storage.Bearer{JTI: key}, true, true)
			d.check(t, storage.Bearer{JTI: key + "x"}, false, true)
		}
	})
	run("a thousand at once", func(t testing.TB) {
		m := d.complete(t, 1)
		var rows []storage.Revocation
		for i := range int64(1000) {
			rows = append(rows, revokedGrant(i+2))
		}
		if _, err := d.Apply(t.Context(), m, now(), rows, true); err != nil {
			t.Fatal(err)
		}
		d.marked(t, 1001)
		d.check(t, storage.Bearer{GrantID: "grant 2"}, true, true)
		d.check(t, storage.Bearer{GrantID: "grant 1001"}, true, true)
	})
}

// testDenylistInTime is what takes a while, all at once.
func testDenylistInTime(t *testing.T, open func(t *testing.T) denylist) {
	var all sync.WaitGroup
	defer all.Wait()
	run := func(sentence string, test func(t *testing.T)) {
		all.Go(func() { t.Run(sentence, test) })
	}
	run("of two revocations of a client the later holds, in whatever order they come", func(t *testing.T) {
		d := open(t)
		denied := func(b storage.Bearer) bool {
			t.Helper()
			denied, _, err := d.Denied(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			return denied
		}
		// All but early live for that long from when they are denied.
		life := time.Second
		deny := func(r storage.Revocation) {
			t.Helper()
			if err := d.Deny(t.Context(), r.Until.Add(-life), r); err != nil {
				t.Fatal(err)
			}
		}
		early, late := revoked(2, storage.RevokedClient, ""), revoked(3, storage.RevokedClient, "")
		late.At = early.At.Add(10 * time.Second)
		early.Until = late.Until.Add(time.Hour)
		var keys []string
		for _, rows := range [][]storage.Revocation{{early, late}, {late, early}} {
			// Where the life of the later was over too soon it is tried with a longer one.
			for ; ; life *= 2 {
				key := fmt.Sprintf("place %d first, %v", rows[0].Seq, life)
				for _, r := range rows {
					r.Key = key
					if r.Seq == early.Seq {
						if err := d.Deny(t.Context(), now(), r); err != nil {
							t.Fatal(err)
						}
					} else {
						deny(r)
					}
				}
				if denied(storage.Bearer{ClientID: key, IssuedAt: late.At}) {
					keys = append(keys, key)
					break
				}
				if life > 30*time.Second {
					t.Fatalf("%s: the later does not hold", key)
				}
			}
		}
		// And what outlives the other is not forgotten with it.
		short := revokedGrant(4)
		deny(short)
		eventually(t, "what lives for a while is not forgotten", func() bool { return !denied(storage.Bearer{GrantID: short.Key}) })
		for _, key := range keys {
			if !denied(storage.Bearer{ClientID: key, IssuedAt: early.At}) {
				t.Errorf("%s: the longer is forgotten", key)
			}
		}
	})
	run("revocations past their time are left out, and the others forgotten at theirs", func(t *testing.T) {
		d := open(t)
		past, short := revokedGrant(2), revokedGrant(3)
		whileMarked(t, func(t testing.TB) {
			m, at := d.complete(t, 1), now()
			past.Until, short.Until = at, at.Add(1500*time.Millisecond)
			if _, err := d.Apply(t.Context(), m, at, []storage.Revocation{past, short}, true); err != nil {
				t.Fatal(err)
			}
			d.check(t, storage.Bearer{GrantID: short.Key}, true, true)
			d.marked(t, 3)
			d.check(t, storage.Bearer{GrantID: past.Key}, false, true)
		})
		eventually(t, "it is not forgotten", func() bool {
			denied, _, err := d.Denied(t.Context(), storage.Bearer{GrantID: short.Key})
			return !denied && err == nil
		})
	})
	run("a mark ends by itself MarkLife after the reading it rests on", func(t *testing.T) {
		d := open(t)
		before := time.Now()
		m := d.complete(t, 1)
		after := time.Now()
		// Of two readings at one place the later one counts, whichever comes last.
		later := d.marked(t, 1)
		later.ReadAt = m.ReadAt.Add(3 * time.Second)
		for _, m := range []storage.Mark{later, m} {
			if _, err := d.Apply(t.Context(), m, now(), nil, true); err != nil {
				t.Fatal(err)
			}
		}
		var last time.Time // when it was still there for one who asked then
		eventually(t, "the mark does not end", func() bool {
			began := time.Now()
			_, complete, err := d.Denied(t.Context(), storage.Bearer{})
			if complete {
				last = began
			}
			return err == nil && !complete
		})
		if lived := last.Sub(after); lived > storage.MarkLife+3*time.Second+100*time.Millisecond {
			t.Errorf("it lived %v", lived)
		}
		// The embedded memory lets it go up to two seconds early.
		if lived := time.Since(before); lived < storage.MarkLife+time.Second {
			t.Errorf("it lived %v", lived)
		}
		d.unmarked(t)
		d.conflict(t, later, true)
	})
	run("a claim ends by itself, and a reading as old as that makes no mark", func(t *testing.T) {
		d := open(t)
		claim, err := d.ClaimReplay(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		old := claim
		old.ReadAt = claim.ReadAt.Add(-storage.MarkLife)
		d.conflict(t, old, true)
		eventually(t, "the claim does not end", func() bool {
			_, err := d.ClaimReplay(t.Context())
			return err == nil
		})
		d.conflict(t, claim, true)
		d.unmarked(t)
	})
	run("a part of what there is moves the mark, and does not renew it", func(t *testing.T) {
		d := open(t)
		m := d.complete(t, 1)
		start := time.Now()
		for seq := int64(2); ; seq++ {
			began := time.Since(start)
			next, err := d.Apply(t.Context(), m, now(), []storage.Revocation{revokedGrant(seq)}, false)
			if errors.Is(err, storage.ErrConflict) {
				break
			}
			if err != nil || next.Seq != seq {
				t.Fatalf("Apply: %+v, %v", next, err)
			}
			if began > storage.MarkLife+time.Second {
				t.Fatal("it was renewed")
			}
			m = next
			time.Sleep(20 * time.Millisecond)
		}
		d.unmarked(t)
	})
}

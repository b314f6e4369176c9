package storagetest

import (
	"crypto/rand"
	"errors"
	"fmt"
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
func (d denylist) complete(t *testing.T, seq int64) storage.Mark {
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

func (d denylist) check(t *testing.T, b storage.Bearer, wantDenied, wantComplete bool) {
	t.Helper()
	denied, complete, err := d.Denied(t.Context(), b)
	if err != nil || denied != wantDenied || complete != wantComplete {
		t.Errorf("%+v: denied %t, complete %t, %v; want %t, %t", b, denied, complete, err, wantDenied, wantComplete)
	}
}

func (d denylist) conflict(t *testing.T, m storage.Mark, last bool, rows ...storage.Revocation) {
	t.Helper()
	if got, err := d.Apply(t.Context(), m, now(), rows, last); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("Apply: %+v, %v; want %v", got, err, storage.ErrConflict)
	}
}

func (d denylist) marked(t *testing.T, want int64) storage.Mark {
	t.Helper()
	m, err := d.Mark(t.Context())
	if err != nil || m.Seq != want || m.Replay != "" || m.ReadAt.IsZero() {
		t.Errorf("Mark: %+v, %v; want place %d", m, err, want)
	}
	return m
}

func (d denylist) unmarked(t *testing.T) {
	t.Helper()
	if m, err := d.Mark(t.Context()); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Mark: %+v, %v; want %v", m, err, storage.ErrNotFound)
	}
}

func testDenylist(t *testing.T, d denylist) {
	t.Run("an empty denylist is not complete", func(t *testing.T) {
		d.unmarked(t)
		d.check(t, storage.Bearer{JTI: "a", GrantID: "b", ClientID: "c", IssuedAt: now()}, false, false)
	})
	t.Run("each kind stops what it names and nothing else", func(t *testing.T) {
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
	t.Run("a kind that nobody knows is a fault", func(t *testing.T) {
		if err := d.Deny(t.Context(), now(), revoked(1, "people", "x")); err == nil {
			t.Error("it was taken")
		}
	})
	t.Run("what is denied ahead of the mark moves no mark", func(t *testing.T) {
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
	t.Run("what is denied after a wipe does not make the denylist complete", func(t *testing.T) {
		d.complete(t, 1)
		d.wipe()
		if err := d.Deny(t.Context(), now(), revokedGrant(2)); err != nil {
			t.Fatal(err)
		}
		d.unmarked(t)
		d.check(t, storage.Bearer{GrantID: "grant 2"}, true, false)
		d.check(t, storage.Bearer{GrantID: "grant 1"}, false, false)
	})
	t.Run("a mark moves with what it stands for", func(t *testing.T) {
		m := d.complete(t, 1)
		d.check(t, storage.Bearer{GrantID: "grant 2"}, false, true)
		next, err := d.Apply(t.Context(), m, now(), []storage.Revocation{revokedGrant(2), revokedGrant(5)}, true)
		if err != nil || next.Seq != 5 || next.Replay != "" || next.ReadAt.Before(m.ReadAt) {
			t.Errorf("Apply: %+v, %v", next, err)
		}
		d.marked(t, 5)
		d.check(t, storage.Bearer{GrantID: "grant 5"}, true, true)
	})
	t.Run("a mark that has moved refuses what was read at the old one", func(t *testing.T) {
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
	t.Run("a mark that was wiped is not renewed by who has read it", func(t *testing.T) {
		m := d.complete(t, 1)
		d.wipe()
		d.conflict(t, m, true, revokedGrant(2))
		d.conflict(t, m, true)
		d.conflict(t, m, false, revokedGrant(2))
		d.unmarked(t)
		d.check(t, storage.Bearer{GrantID: "grant 2"}, false, false)
	})
	t.Run("absent then and absent now, but wiped in between: a replay starts over", func(t *testing.T) {
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
	t.Run("of 64 that claim a replay one does, and nobody does while there is a mark", func(t *testing.T) {
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
	t.Run("keys of any bytes are told apart", func(t *testing.T) {
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
	t.Run("a thousand at once", func(t *testing.T) {
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
	t.Run("of two revocations of a client the later holds, in whatever order they come", func(t *testing.T) {
		t.Parallel()
		d := open(t)
		d.complete(t, 1)
		early, late := revoked(2, storage.RevokedClient, ""), revoked(3, storage.RevokedClient, "")
		late.At = early.At.Add(10 * time.Second)
		late.Until = now().Add(time.Second)
		for key, rows := range map[string][]storage.Revocation{"a": {early, late}, "b": {late, early}} {
			rows[0].Key, rows[1].Key = key, key
			for _, r := range rows {
				if err := d.Deny(t.Context(), now(), r); err != nil {
					t.Fatal(err)
				}
			}
			d.check(t, storage.Bearer{ClientID: key, IssuedAt: late.At}, true, true)
		}
		// And what outlives the other is not forgotten with it.
		time.Sleep(2100 * time.Millisecond)
		d.check(t, storage.Bearer{ClientID: "a", IssuedAt: early.At}, true, true)
		d.check(t, storage.Bearer{ClientID: "b", IssuedAt: early.At}, true, true)
	})
	t.Run("revocations past their time are left out, and the others forgotten at theirs", func(t *testing.T) {
		t.Parallel()
		d := open(t)
		m := d.complete(t, 1)
		at := now()
		past, short := revokedGrant(2), revokedGrant(3)
		past.Until, short.Until = at, at.Add(1500*time.Millisecond)
		if _, err := d.Apply(t.Context(), m, at, []storage.Revocation{past, short}, true); err != nil {
			t.Fatal(err)
		}
		d.marked(t, 3)
		d.check(t, storage.Bearer{GrantID: past.Key}, false, true)
		d.check(t, storage.Bearer{GrantID: short.Key}, true, true)
		eventually(t, "it is not forgotten", func() bool {
			denied, _, err := d.Denied(t.Context(), storage.Bearer{GrantID: short.Key})
			return !denied && err == nil
		})
	})
	t.Run("a mark ends by itself MarkLife after the reading it rests on", func(t *testing.T) {
		t.Parallel()
		d := open(t)
		m := d.complete(t, 1)
		// Of two readings at one place the later one counts, whichever comes last.
		later := d.marked(t, 1)
		later.ReadAt = m.ReadAt.Add(3 * time.Second)
		for _, m := range []storage.Mark{later, m} {
			if _, err := d.Apply(t.Context(), m, now(), nil, true); err != nil {
				t.Fatal(err)
			}
		}
		start, lived := time.Now(), time.Duration(0)
		eventually(t, "the mark does not end", func() bool {
			_, complete, err := d.Denied(t.Context(), storage.Bearer{})
			lived = time.Since(start)
			return err == nil && !complete
		})
		// The embedded memory lets it go up to two seconds early.
		if lived > storage.MarkLife+3200*time.Millisecond || lived < storage.MarkLife+500*time.Millisecond {
			t.Errorf("it lived %v", lived)
		}
		d.unmarked(t)
		d.conflict(t, later, true)
	})
	t.Run("a claim ends by itself, and a reading as old as that makes no mark", func(t *testing.T) {
		t.Parallel()
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
	t.Run("a part of what there is moves the mark, and does not renew it", func(t *testing.T) {
		t.Parallel()
		d := open(t)
		m := d.complete(t, 1)
		start := time.Now()
		for seq := int64(2); ; seq++ {
			next, err := d.Apply(t.Context(), m, now(), []storage.Revocation{revokedGrant(seq)}, false)
			if errors.Is(err, storage.ErrConflict) {
				break
			}
			if err != nil || next.Seq != seq {
				t.Fatalf("Apply: %+v, %v", next, err)
			}
			if time.Since(start) > storage.MarkLife+time.Second {
				t.Fatal("it was renewed")
			}
			m = next
			time.Sleep(20 * time.Millisecond)
		}
		d.unmarked(t)
	})
}

package storagetest

import (
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

func testProofs(t *testing.T, s storage.Proofs, wipe func()) {
	// fresh is a proof of this moment, in a memory that is older.
	fresh := func() storage.Proof {
		now := now()
		return storage.Proof{Issuer: "client", ID: rand.Text(), IssuedAt: now, Until: now.Add(time.Minute)}
	}
	spend := func(t *testing.T, p storage.Proof, want error) {
		t.Helper()
		if err := s.SpendProof(t.Context(), p, now()); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	// live waits until the memory takes proofs of this moment, and those of a moment
	// ago: 64 at once take a while, and each is as old as it took.
	live := func(t *testing.T) {
		t.Helper()
		eventually(t, "a memory that is born takes no proofs", func() bool {
			p := fresh()
			p.IssuedAt = p.IssuedAt.Add(-time.Second)
			return s.SpendProof(t.Context(), p, now()) == nil
		})
	}

	live(t)
	t.Run("sec-C6 of 64 that spend a proof one succeeds", func(t *testing.T) {
		var p storage.Proof
		won := 0
		// None does when the winner's answer took longer than the memory is old.
		for tries := 0; won == 0 && tries < 20; tries++ {
			p = fresh()
			for _, err := range parallel(64, func(int) error { return s.SpendProof(t.Context(), p, now()) }) {
				switch {
				case err == nil:
					won++
				case !errors.Is(err, storage.ErrSpent):
					t.Error(err)
				}
			}
		}
		if won != 1 {
			t.Errorf("%d succeeded", won)
		}
		spend(t, p, storage.ErrSpent)
	})
	t.Run("sec-C6 a proof is named by its issuer and its id", func(t *testing.T) {
		p := fresh()
		p.IssuedAt = p.IssuedAt.Add(time.Minute) // later than the birth, however long the answers take
		spend(t, p, nil)
		other := p
		other.Issuer += "s"
		spend(t, other, nil)
		// The two run together are the same text.
		p.Issuer, p.ID = "client", "s"+p.ID
		spend(t, p, nil)
		p.Issuer, p.ID = unicode, unicode
		spend(t, p, nil)
		spend(t, p, storage.ErrSpent)
	})
	t.Run("a proof past its time is spent", func(t *testing.T) {
		for _, late := range []time.Duration{0, time.Second, time.Hour} {
			p := fresh()
			p.Until = now().Add(-late)
			spend(t, p, storage.ErrSpent)
		}
	})
	t.Run("a proof stays spent until it is past its time", func(t *testing.T) {
		p := fresh()
		p.Until = p.IssuedAt.Add(1500 * time.Millisecond)
		if err := s.SpendProof(t.Context(), p, p.IssuedAt); err != nil {
			t.Fatal(err)
		}
		for until := p.Until; now().Before(until); time.Sleep(50 * time.Millisecond) {
			spend(t, p, storage.ErrSpent)
		}
		spend(t, p, storage.ErrSpent)
	})
	t.Run("only the time since it was issued matters, whatever the clock says", func(t *testing.T) {
		for _, year := range []int{1971, 2020, 9998} {
			p := fresh()
			at := time.Date(year, 2, 3, 4, 5, 6, 0, time.UTC)
			p.IssuedAt, p.Until = at, at.Add(time.Minute)
			if err := s.SpendProof(t.Context(), p, at); err != nil {
				t.Errorf("in %d: %v", year, err)
			}
			p.ID = rand.Text()
			p.IssuedAt = at.Add(-time.Hour)
			if err := s.SpendProof(t.Context(), p, at); !errors.Is(err, storage.ErrSpent) {
				t.Errorf("in %d an hour old: %v, want %v", year, err, storage.ErrSpent)
			}
		}
	})
	t.Run("a proof issued before a wipe is spent, used or not; a newer one is good", func(t *testing.T) {
		used, unused := fresh(), fresh()
		spend(t, used, nil)
		wipe()
		spend(t, used, storage.ErrSpent)
		spend(t, unused, storage.ErrSpent)
		live(t)
		spend(t, used, storage.ErrSpent)
		spend(t, unused, storage.ErrSpent)
		newer := fresh()
		spend(t, newer, nil)
		spend(t, newer, storage.ErrSpent)
	})
	t.Run("nor is one good that was issued a moment before a wipe", func(t *testing.T) {
		// A memory may count in milliseconds, and a wipe takes no longer.
		for range 100 {
			p := fresh()
			wipe()
			_ = s.SpendProof(t.Context(), fresh(), now()) // which gives the memory its birth
			spend(t, p, storage.ErrSpent)
		}
	})
	t.Run("under wipes at any moment no proof is good twice", func(t *testing.T) {
		done := make(chan struct{})
		var wiping sync.WaitGroup
		var wipes atomic.Int64
		wiping.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
					wipe()
					wipes.Add(1)
				}
			}
		})
		good := 0
		// For a second at least, and until it was a trial.
		for start := time.Now(); time.Since(start) < time.Second || (wipes.Load() < 10 || good == 0) && time.Since(start) < time.Minute; {
			p, won := fresh(), 0
			for _, err := range parallel(8, func(i int) error {
				time.Sleep(time.Duration(i) * 2 * time.Millisecond)
				return s.SpendProof(t.Context(), p, now())
			}) {
				switch {
				case err == nil:
					won++
				case !errors.Is(err, storage.ErrSpent):
					t.Error(err)
				}
			}
			if won > 1 {
				t.Errorf("a proof was good %d times", won)
			}
			good += won
		}
		close(done)
		wiping.Wait()
		if n := wipes.Load(); n < 10 || good == 0 {
			t.Errorf("%d wipes, %d proofs were good", n, good)
		}
	})
}

package storagetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

func testBuckets(t *testing.T, s storage.Buckets) {
	five := storage.Bucket{Name: "five", Limit: 5, Window: time.Minute}
	take := func(t *testing.T, b storage.Bucket, key string) storage.Hit {
		t.Helper()
		h, err := takeOne(t.Context(), s, b, key)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	giveBack := func(t *testing.T, b storage.Bucket, key string, h storage.Hit) {
		t.Helper()
		if err := giveBackOne(t.Context(), s, b, key, h); err != nil {
			t.Fatal(err)
		}
	}
	// fill uses the bucket until it refuses, and returns how often it did not.
	fill := func(t *testing.T, b storage.Bucket, key string) (allowed int) {
		t.Helper()
		for take(t, b, key).Allowed {
			if allowed++; allowed > b.Limit {
				t.Fatalf("a bucket of %d allowed more", b.Limit)
			}
		}
		return allowed
	}

	t.Run("a bucket allows its limit, tells what is left and refuses until its window ends", func(t *testing.T) {
		key, before := digest(), time.Now()
		var began time.Time // the window has by then
		for want := 4; want >= 0; want-- {
			if h := take(t, five, key); !h.Allowed || h.Left != want {
				t.Errorf("got %+v, want %d left", h, want)
			}
			if began.IsZero() {
				began = time.Now()
			}
		}
		h := take(t, five, key)
		if h.Allowed || h.Left != 0 {
			t.Errorf("the sixth: %+v", h)
		}
		if h.ResetAt.Sub(before) < 59*time.Second || h.ResetAt.Sub(began) > 61*time.Second || h.ResetAt.Location() != time.UTC {
			t.Errorf("the window ends %v, %v after its first use", h.ResetAt, h.ResetAt.Sub(before))
		}
		if again := take(t, five, key); again.Allowed || again.ResetAt != h.ResetAt {
			t.Errorf("a refusal has moved the end of the window: %+v, %+v", h, again)
		}
	})
	t.Run("of 64 at once exactly the limit is allowed", func(t *testing.T) {
		key := digest()
		b := storage.Bucket{Name: "many", Limit: 17, Window: time.Minute}
		var mu sync.Mutex
		allowed := 0
		ends := make(map[time.Time]bool)
		for _, err := range parallel(64, func(int) error {
			h, err := takeOne(t.Context(), s, b, key)
			mu.Lock()
			defer mu.Unlock()
			if h.Allowed {
				allowed++
			}
			ends[h.ResetAt] = true
			return err
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if allowed != b.Limit || len(ends) != 1 {
			t.Errorf("%d were allowed, in %d windows", allowed, len(ends))
		}
	})
	t.Run("64 that take and give back at once leave the bucket empty", func(t *testing.T) {
		key := digest()
		for _, err := range parallel(64, func(int) error {
			h, err := takeOne(t.Context(), s, five, key)
			return errors.Join(err, giveBackOne(t.Context(), s, five, key, h))
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := fill(t, five, key); n != five.Limit {
			t.Errorf("%d are left of %d", n, five.Limit)
		}
	})
	t.Run("a window ends in real time, and the next is whole", func(t *testing.T) {
		key := digest()
		b := storage.Bucket{Name: "short", Limit: 2, Window: 400 * time.Millisecond}
		var last, h storage.Hit
		eventually(t, "it allows more than two", func() bool {
			for range 3 {
				last = take(t, b, key)
			}
			return !last.Allowed
		})
		eventually(t, "the window does not end", func() bool {
			h = take(t, b, key)
			return h.Allowed
		})
		if h.Left != 1 || !h.ResetAt.After(last.ResetAt) {
			t.Errorf("the next window begins with %+v after %+v", h, last)
		}
		if early := time.Until(last.ResetAt); early > 0 {
			t.Errorf("it was allowed %v before the window's end", early)
		}
	})
	t.Run("what is given back can be taken again, once", func(t *testing.T) {
		key := digest()
		h := take(t, five, key)
		fill(t, five, key)
		giveBack(t, five, key, h)
		if n := fill(t, five, key); n != 1 {
			t.Errorf("one was given back, %d could be taken", n)
		}
	})
	t.Run("refusals are not paid for by those who give back", func(t *testing.T) {
		key := digest()
		h := take(t, five, key)
		fill(t, five, key)
		for range 20 {
			take(t, five, key)
		}
		giveBack(t, five, key, h)
		giveBack(t, five, key, h)
		if n := fill(t, five, key); n != 2 {
			t.Errorf("two were given back, %d could be taken", n)
		}
	})
	t.Run("a bucket is never given back more than it has", func(t *testing.T) {
		key := digest()
		h := take(t, five, key)
		for range 3 {
			giveBack(t, five, key, h)
		}
		if n := fill(t, five, key); n != five.Limit {
			t.Errorf("%d could be taken of %d", n, five.Limit)
		}
	})
	t.Run("a refused hit gives nothing back", func(t *testing.T) {
		key := digest()
		fill(t, five, key)
		refused := take(t, five, key)
		giveBack(t, five, key, refused)
		if h := take(t, five, key); h.Allowed {
			t.Error("a refusal emptied the bucket")
		}
	})
	t.Run("giving back to a window that has ended changes nothing", func(t *testing.T) {
		key := digest()
		b := storage.Bucket{Name: "old", Limit: 2, Window: 50 * time.Millisecond}
		old := take(t, b, key)
		long := b
		long.Window = time.Minute // of the window that begins next
		eventually(t, "the window does not end", func() bool {
			return take(t, long, key).ResetAt != old.ResetAt
		})
		fill(t, long, key)
		giveBack(t, long, key, old)
		if h := take(t, long, key); h.Allowed {
			t.Error("a hit of the old window was given back to the new one")
		}
	})
	t.Run("giving back to a bucket that was never used makes none", func(t *testing.T) {
		key := digest()
		giveBack(t, five, key, storage.Hit{Allowed: true, ResetAt: now().Add(time.Minute)})
		if n := fill(t, five, key); n != five.Limit {
			t.Errorf("%d could be taken of %d", n, five.Limit)
		}
	})
	t.Run("two keys, and two buckets with one key, do not disturb each other", func(t *testing.T) {
		a, b := digest(), digest()
		other := five
		other.Name = "other"
		fill(t, five, a)
		if h := take(t, five, b); !h.Allowed || h.Left != 4 {
			t.Errorf("another key: %+v", h)
		}
		first := take(t, other, a)
		if !first.Allowed || first.Left != 4 {
			t.Errorf("another bucket: %+v", first)
		}
		giveBack(t, other, a, first)
		if h := take(t, five, a); h.Allowed {
			t.Error("what was given back to one bucket was taken from another")
		}
	})
	t.Run("of several buckets all are used or none, and the full ones are told", func(t *testing.T) {
		full, free := storage.Use{Bucket: five, Key: digest()}, storage.Use{Bucket: storage.Bucket{Name: "free", Limit: 9, Window: time.Hour}, Key: digest()}
		both := func(want ...bool) []storage.Hit {
			t.Helper()
			hits, err := s.Take(t.Context(), full, free)
			if err != nil || len(hits) != len(want) {
				t.Fatalf("%+v, %v", hits, err)
			}
			for i, h := range hits {
				if h.Allowed != want[i] {
					t.Errorf("the hits are %+v, want allowed = %v", hits, want)
				}
			}
			return hits
		}
		before := time.Now()
		var began time.Time // the windows have by then
		for want := 4; want >= 0; want-- {
			h := both(true, true)
			if began.IsZero() {
				began = time.Now()
			}
			if h[0].Left != want || h[1].Left != want+4 {
				t.Errorf("left are %+v", h)
			}
		}
		refused := both(false, true)
		if end := refused[0].ResetAt; end.Sub(before) < 59*time.Second || end.Sub(began) > 61*time.Second {
			t.Errorf("the full one is to wait for %v", time.Until(end))
		}
		if err := s.GiveBack(t.Context(), []storage.Use{full, free}, refused); err != nil {
			t.Fatal(err)
		}
		if h := take(t, free.Bucket, free.Key); h.Left != 3 {
			t.Errorf("the other was used six times and has %d left of 9, want 3", h.Left)
		}
	})
	t.Run("of several at once no bucket gives more than it has", func(t *testing.T) {
		wide, narrow := storage.Use{Bucket: storage.Bucket{Name: "wide", Limit: 40, Window: time.Hour}, Key: digest()}, storage.Use{Bucket: five, Key: digest()}
		for _, err := range parallel(64, func(int) error { _, err := s.Take(t.Context(), wide, narrow); return err }) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if h := take(t, wide.Bucket, wide.Key); h.Left != 34 {
			t.Errorf("five of 64 may pass: the wide one has %d left of 40, want 34", h.Left)
		}
	})
	t.Run("what several took is given back together", func(t *testing.T) {
		uses := []storage.Use{{Bucket: five, Key: digest()}, {Bucket: storage.Bucket{Name: "other", Limit: 3, Window: time.Hour}, Key: digest()}}
		for _, err := range parallel(64, func(int) error {
			hits, err := s.Take(t.Context(), uses...)
			return errors.Join(err, s.GiveBack(t.Context(), uses, hits))
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, u := range uses {
			if n := fill(t, u.Bucket, u.Key); n != u.Bucket.Limit {
				t.Errorf("%d are left of %d", n, u.Bucket.Limit)
			}
		}
	})
	t.Run("a bucket without limit or window is a fault, not a way in", func(t *testing.T) {
		for _, b := range []storage.Bucket{
			{Name: "none", Limit: 0, Window: time.Minute},
			{Name: "none", Limit: -1, Window: time.Minute},
			{Name: "none", Limit: 5},
			{Name: "none", Limit: 5, Window: -time.Minute},
		} {
			if h, err := takeOne(t.Context(), s, b, digest()); err == nil || h.Allowed {
				t.Errorf("%+v: got %+v, %v", b, h, err)
			}
		}
	})
	t.Run("a context that has ended ends the call", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if h, err := takeOne(ctx, s, five, digest()); !errors.Is(err, context.Canceled) || h.Allowed {
			t.Errorf("Take: %+v, %v", h, err)
		}
		h := storage.Hit{Allowed: true, ResetAt: now()}
		if err := giveBackOne(ctx, s, five, digest(), h); !errors.Is(err, context.Canceled) {
			t.Errorf("GiveBack: %v", err)
		}
	})
}

func takeOne(ctx context.Context, s storage.Buckets, b storage.Bucket, key string) (storage.Hit, error) {
	hits, err := s.Take(ctx, storage.Use{Bucket: b, Key: key})
	if err != nil {
		return storage.Hit{}, err
	}
	return hits[0], nil
}

func giveBackOne(ctx context.Context, s storage.Buckets, b storage.Bucket, key string, h storage.Hit) error {
	return s.GiveBack(ctx, []storage.Use{{Bucket: b, Key: key}}, []storage.Hit{h})
}

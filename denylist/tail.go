package denylist

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// Run tails the revocations until ctx ends. A turn that fails is tried again
// with the next.
func (l *List) Run(ctx context.Context) error {
	t := time.NewTicker(storage.TailEvery)
	defer t.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.nudged:
		case <-t.C:
		}
		err := l.Follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		l.turned(ctx, err)
		switch {
		case err != nil && !failing:
			l.log.ErrorContext(ctx, "denylist: revocations cannot be read", "err", err)
		case err == nil && failing:
			l.log.InfoContext(ctx, "denylist: revocations are read again")
		}
		failing = err != nil
	}
}

// Follow applies what was revoked until now, anywhere, to both copies. When it
// returns nil no check on this server accepts what was revoked before the call,
// and as a rule none on another.
func (l *List) Follow(ctx context.Context) error {
	called := time.Now()
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return fmt.Errorf("denylist: wait for a turn of the tail: %w", ctx.Err())
	}
	if l.began.After(called) {
		return nil // another's turn has begun and ended since
	}
	began := time.Now()
	// The mark comes first: what is read after it is as recent as it says.
	mark, marked, here := l.mark(ctx)
	r, err := l.read(ctx)
	if err != nil {
		return err
	}
	if here {
		l.feed(ctx, mark, marked, r)
	}
	l.began = began
	return nil
}

// mark reads the mark. Here is whether Valkey answers.
func (l *List) mark(ctx context.Context) (m storage.Mark, marked, here bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := l.fast.Mark(ctx)
	switch {
	case err == nil || errors.Is(err, storage.ErrNotFound):
		if l.away.Swap(false) {
			l.log.InfoContext(ctx, "denylist: Valkey answers again")
		}
		return m, err == nil, true
	case !l.away.Swap(true):
		l.log.WarnContext(ctx, "denylist: Valkey does not answer; revocations are read from memory", "err", err)
	}
	return storage.Mark{}, false, false
}

// A reading is what was read into memory: the places from and last, between
// which it lies, and its last page, which is whole when it is the only one.
type reading struct {
	from, last int64
	rows       []storage.Revocation
	whole      bool
}

// read reads what is new into memory.
func (l *List) read(ctx context.Context) (reading, error) {
	began := time.Now()
	last, err := l.last(ctx)
	if err != nil {
		return reading{}, err
	}
	if last < l.seq {
		// Some commits are gone, and their places will be given out again.
		l.log.WarnContext(ctx, "denylist: the database is behind what was read from it; reading all again", "read", l.seq, "last", last)
		l.seq = 0
	}
	r := reading{from: l.seq, last: last, whole: true}
	// Every place up to last is visible by now, and nothing is new without a new
	// place.
	for more := last > l.seq; more; {
		began = time.Now()
		rows, err := l.after(ctx, l.seq)
		if err != nil {
			return reading{}, err
		}
		l.memory.add(rows...)
		if n := len(rows); n > 0 {
			l.seq = rows[n-1].Seq
			l.applied(ctx, rows)
		}
		more = len(rows) == page
		r.rows, r.whole = rows, !more && r.whole
	}
	l.seq = max(l.seq, last) // places whose rows are past their time
	l.memory.read(began)
	if time.Since(l.swept) > sweepEvery {
		l.memory.sweep(l.now())
		l.swept = time.Now()
	}
	return r, nil
}

// feed applies to Valkey what it lacks, and renews the mark. What fails is left
// to the next turn, as the mark ends by itself.
func (l *List) feed(ctx context.Context, m storage.Mark, marked bool, r reading) {
	if marked && m.Seq > r.last {
		return // it is of commits that are gone; a replay follows when it has ended
	}
	var err error
	if marked && r.whole && m.Seq >= r.from {
		_, err = l.apply(ctx, m, since(r.rows, m.Seq), true)
	} else {
		err = l.replay(ctx, m, marked)
	}
	if errors.Is(err, storage.ErrConflict) {
		// Another server was faster, or there was a wipe. What the other has read
		// may be older than ours.
		err = l.deny(ctx, r.rows)
	}
	if err != nil && ctx.Err() == nil {
		l.log.WarnContext(ctx, "denylist: Valkey was not told of revocations; the next turn will", "err", err)
	}
}

// replay reads what comes after m, or everything when there is no mark, for
// Valkey alone.
func (l *List) replay(ctx context.Context, m storage.Mark, marked bool) error {
	if !marked {
		var err error
		if m, err = l.claim(ctx); err != nil {
			return err
		}
	}
	for {
		rows, err := l.after(ctx, m.Seq)
		if err != nil {
			return err
		}
		last := len(rows) < page
		if m, err = l.apply(ctx, m, rows, last); err != nil || last {
			return err
		}
		if time.Since(l.memory.age()) > storage.TailEvery { // which does not wait for a long replay
			if _, err := l.read(ctx); err != nil {
				return err
			}
		}
	}
}

// since is the part of rows that comes after seq.
func since(rows []storage.Revocation, seq int64) []storage.Revocation {
	for i, r := range rows {
		if r.Seq > seq {
			return rows[i:]
		}
	}
	return nil
}

func (l *List) claim(ctx context.Context) (storage.Mark, error) {
	ctx, cancel := context.WithTimeout(ctx, applyPatience)
	defer cancel()
	return l.fast.ClaimReplay(ctx)
}

func (l *List) apply(ctx context.Context, m storage.Mark, rows []storage.Revocation, last bool) (storage.Mark, error) {
	ctx, cancel := context.WithTimeout(ctx, applyPatience)
	defer cancel()
	return l.fast.Apply(ctx, m, l.now(), rows, last)
}

func (l *List) deny(ctx context.Context, rows []storage.Revocation) error {
	ctx, cancel := context.WithTimeout(ctx, applyPatience)
	defer cancel()
	return l.fast.Deny(ctx, l.now(), rows...)
}

func (l *List) last(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	n, err := l.revocations.LastRevocation(ctx)
	if err != nil {
		return 0, fmt.Errorf("denylist: last revocation: %w", err)
	}
	return n, nil
}

func (l *List) after(ctx context.Context, seq int64) ([]storage.Revocation, error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	rows, err := l.revocations.RevocationsAfter(ctx, seq, l.now(), page)
	if err != nil {
		return nil, fmt.Errorf("denylist: read revocations: %w", err)
	}
	return rows, nil
}

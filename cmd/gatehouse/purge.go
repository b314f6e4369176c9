package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	// purgeEvery is how often a server removes what has ended, give or take a
	// quarter: servers that started together do not go on together.
	purgeEvery = time.Minute
	// purgeTime is how long one turn may take. What is left then is for the next,
	// or for another server.
	purgeTime = 20 * time.Second
	// purgeBatch is how many rows one statement removes, so that none holds
	// locks for long.
	purgeBatch = 500
	// purgeAfter is how long an ended grant is kept: it is what makes a late
	// replay of its code or refresh token known for one.
	purgeAfter = 24 * time.Hour
	// pendingAfter is how long a registration waits for proof of its mailbox.
	pendingAfter = 7 * 24 * time.Hour
	// noticesAfter is how long it is kept what became of the notice that a client
	// was sent.
	noticesAfter = 7 * 24 * time.Hour
	// unusedAfter is how long a client that registered itself is kept without
	// anybody signing in through it.
	unusedAfter = 30 * 24 * time.Hour
	// eventsAfter is how long audit events are kept.
	eventsAfter = 400 * 24 * time.Hour
)

// purge removes what has ended, now and then.
func (s *server) purge(ctx context.Context) error {
	wait := rand.N(purgeEvery)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		// A database that went without a word is not waited for until TCP gives up.
		within, cancel := context.WithTimeout(ctx, 2*purgeTime)
		err := s.purgeOnce(within)
		cancel()
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "what has ended was not removed", "err", err)
		}
		if skew := s.clock.Offset().Abs(); skew > storage.MaxSkew {
			s.log.WarnContext(ctx, "the clocks of this host and of the database are apart; the database's is used", "skew", skew)
		}
		wait = purgeEvery*3/4 + rand.N(purgeEvery/2)
	}
}

// A purgeable is a kind of rows that end. remove removes up to [purgeBatch] of
// them, but none that another server is removing, and returns how many.
type purgeable struct {
	kind   string
	remove func(context.Context) (int, error)
}

func (s *server) purgeables(now time.Time) []purgeable {
	return []purgeable{
		{"sessions", func(ctx context.Context) (int, error) { return s.sql.DeleteExpiredSessions(ctx, now, purgeBatch) }},
		{"grants", func(ctx context.Context) (int, error) {
			return s.sql.DeleteExpiredGrants(ctx, now.Add(-purgeAfter), purgeBatch)
		}},
		{"users", func(ctx context.Context) (int, error) {
			return s.sql.DeletePendingUsers(ctx, now.Add(-pendingAfter), purgeBatch)
		}},
		{"revocations", func(ctx context.Context) (int, error) { return s.sql.DeleteExpiredRevocations(ctx, now, purgeBatch) }},
		{"notices", func(ctx context.Context) (int, error) {
			return s.sql.DeleteNotices(ctx, now.Add(-noticesAfter), purgeBatch)
		}},
		{"clients", func(ctx context.Context) (int, error) {
			return s.sql.DeleteUnusedClients(ctx, now.Add(-unusedAfter), now, purgeBatch)
		}},
		{"events", func(ctx context.Context) (int, error) {
			return s.sql.DeleteEvents(ctx, now.Add(-eventsAfter), purgeBatch)
		}},
	}
}

// purgeOnce removes what has ended, a batch of each kind after the other, so that
// none waits for all of another; until there is no more, or its time is over. A
// kind that fails is left for the next turn.
func (s *server) purgeOnce(ctx context.Context) error {
	started, now := time.Now(), s.clock.Now()
	var failed []error
	for left := s.purgeables(now); len(left) > 0; {
		var more []purgeable
		for _, p := range left {
			if ctx.Err() != nil || time.Since(started) > purgeTime {
				return errors.Join(failed...)
			}
			began := time.Now()
			n, err := p.remove(ctx)
			if err != nil {
				failed = append(failed, fmt.Errorf("remove %s: %w", p.kind, err))
				continue
			}
			s.cleanup.removed(ctx, p.kind, n, time.Since(began))
			if n == purgeBatch {
				more = append(more, p)
			}
		}
		left = more
	}
	if err := purgeLetters(ctx, s.sql, now); err != nil {
		failed = append(failed, fmt.Errorf("remove letters: %w", err))
	}
	return errors.Join(failed...)
}

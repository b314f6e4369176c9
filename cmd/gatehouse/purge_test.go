//go:build !slim

package main

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
)

// counted is a memory that remembers what was removed from it, and how long the
// longest statement took. Before the first of a kind it waits for the other server,
// so that both are at it.
type counted struct {
	storage.SQL
	both                     map[*int]*meeting
	sessions, grants, events int
	longest                  time.Duration
}

// A meeting ends when two have come.
type meeting struct {
	came atomic.Int32
	all  chan struct{}
}

func (m *meeting) attend(ctx context.Context) {
	if m.came.Add(1) == 2 {
		close(m.all)
	}
	select {
	case <-m.all:
	case <-ctx.Done():
	}
}

func (c *counted) sum() int { return c.sessions + c.grants + c.events }

func (c *counted) timed(ctx context.Context, remove func() (int, error), sum *int) (int, error) {
	if m := c.both[sum]; m != nil {
		m.attend(ctx)
		delete(c.both, sum)
	}
	began := time.Now()
	n, err := remove()
	c.longest = max(c.longest, time.Since(began))
	*sum += n
	return n, err
}

func (c *counted) DeleteExpiredSessions(ctx context.Context, now time.Time, limit int) (int, error) {
	return c.timed(ctx, func() (int, error) { return c.SQL.DeleteExpiredSessions(ctx, now, limit) }, &c.sessions)
}

func (c *counted) DeleteExpiredGrants(ctx context.Context, before time.Time, limit int) (int, error) {
	return c.timed(ctx, func() (int, error) { return c.SQL.DeleteExpiredGrants(ctx, before, limit) }, &c.grants)
}

func (c *counted) DeleteEvents(ctx context.Context, before time.Time, limit int) (int, error) {
	return c.timed(ctx, func() (int, error) { return c.SQL.DeleteEvents(ctx, before, limit) }, &c.events)
}

// sec-P4: two servers that remove at once share the work. Neither waits for a lock
// of the other, nor of somebody who has a row locked.
func TestPurgeTogether(t *testing.T) {
	t.Parallel()
	const ended, locked = 15000, 7
	databaseURL := testenv.Postgres(t) + "&lock_timeout=5s" // who waits for a row that is locked fails, at last
	config := serverConfig(t, "GATEHOUSE_DATABASE_URL="+databaseURL, "GATEHOUSE_VALKEY_URL="+testenv.Valkey(t))
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	execute := func(statement string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	execute(`INSERT INTO users (id, email, email_key, name, status, epoch, created_at, updated_at) VALUES ('u', 'ada@example.org', 'ada@example.org', 'Ada', 'active', 0, now(), now())`)
	// Of each kind one in a hundred has not ended.
	execute(`INSERT INTO sessions (id, secret_hash, user_id, user_epoch, auth_time, amr, remember, created_at, expires_at, ends_at)
		SELECT 's' || n, sha256(n::text::bytea), 'u', 0, now(), '[]', false, now(), now() + CASE WHEN n % 100 = 0 THEN '1 hour' ELSE '-1 hour' END::interval, now() FROM generate_series(1, $1::int) n`, ended)
	execute(`INSERT INTO grants (id, client_id, user_id, user_epoch, session_id, scopes, offline_access, resources, nonce, auth_time, amr, jkt, generation, outcome, created_at, expires_at, ends_at, claims)
		SELECT 'g' || n, 'c', 'u', 0, '', '[]', false, '[]', '', now(), '[]', '', 1, '', now(), now(), now() + CASE WHEN n % 100 = 0 THEN '1 hour' ELSE '-2 days' END::interval, '' FROM generate_series(1, $1::int) n`, ended)
	execute(`INSERT INTO events (id, occurred_at, kind, user_id, client_id, detail)
		SELECT 'e' || n, now() - CASE WHEN n % 100 = 0 THEN '1 hour' ELSE '500 days' END::interval, 'x', '', '', '' FROM generate_series(1, $1::int) n`, ended)

	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT id FROM sessions WHERE expires_at < now() ORDER BY id LIMIT 7 FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	var servers []*server
	var by []*counted
	var met [3]meeting
	for i := range met {
		met[i].all = make(chan struct{})
	}
	for range 2 {
		s := built(t, config)
		c := &counted{SQL: s.sql}
		c.both = map[*int]*meeting{&c.sessions: &met[0], &c.grants: &met[1], &c.events: &met[2]}
		s.sql = c
		servers, by = append(servers, s), append(by, c)
	}
	var all sync.WaitGroup
	began := time.Now()
	waiting, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for i, s := range servers {
		all.Go(func() {
			// What a turn has no time for is for the next.
			for before := -1; before < by[i].sum(); {
				before = by[i].sum()
				if err := s.purgeOnce(waiting); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	for i, c := range by {
		t.Logf("server %d removed %d sessions, %d grants and %d events; its longest statement took %v", i, c.sessions, c.grants, c.events, c.longest)
		if c.sessions == 0 || c.grants == 0 || c.events == 0 {
			t.Errorf("server %d has not shared the work", i)
		}
	}
	t.Logf("both took %v", took)
	const gone = ended - ended/100
	for kind, n := range map[string][]int{
		"sessions": {by[0].sessions + by[1].sessions, gone - locked},
		"grants":   {by[0].grants + by[1].grants, gone},
		"events":   {by[0].events + by[1].events, gone},
	} {
		if n[0] != n[1] {
			t.Errorf("%d %s were removed, not %d", n[0], kind, n[1])
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := servers[0].purgeOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"sessions", "grants", "events"} {
		var left int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&left); err != nil || left != ended/100 {
			t.Errorf("%d %s are left (%v), not the %d that have not ended", left, table, err, ended/100)
		}
	}
}

// One kind that fails does not keep the others, and one that has no end does not
// keep them waiting.
func TestPurgeGoesOn(t *testing.T) {
	s := built(t, embeddedConfig(t))
	var order []string
	s.sql = &stubborn{SQL: s.sql, order: &order}
	if err := s.purgeOnce(t.Context()); err == nil {
		t.Error("a failure is not told")
	}
	if want := []string{"sessions", "grants", "events", "grants", "grants"}; !slices.Equal(order, want) {
		t.Errorf("asked for %q, not %q", order, want)
	}
}

// stubborn fails to remove sessions, and has three batches of grants.
type stubborn struct {
	storage.SQL
	order *[]string
}

func (s *stubborn) DeleteExpiredSessions(context.Context, time.Time, int) (int, error) {
	*s.order = append(*s.order, "sessions")
	return 0, context.DeadlineExceeded
}

func (s *stubborn) DeleteExpiredGrants(_ context.Context, _ time.Time, limit int) (int, error) {
	*s.order = append(*s.order, "grants")
	if len(*s.order) < 5 {
		return limit, nil
	}
	return 0, nil
}

func (s *stubborn) DeleteEvents(context.Context, time.Time, int) (int, error) {
	*s.order = append(*s.order, "events")
	return 0, nil
}

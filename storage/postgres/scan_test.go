package postgres_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/postgres"
)

// many is how many rows there are of each kind, and batch how many are removed at
// once: few enough of them that to read all would be a mistake.
const (
	many  = 20_000
	batch = 10
)

// crowd fills every table that grows with people and what they do. Of each kind
// a thousand rows are over at the time $1.
var crowd = []string{
	`insert into users (id, email, email_key, name, email_verified_at, status, epoch, created_at, updated_at)
	select 'u' || i, 'u' || i, 'u' || i, 'Ada', case when i > 1000 then $1::timestamptz end, case when i > 1000 then 'active' else 'pending' end, 1, $1,
		$1::timestamptz - (case when i > 1000 then '0 days' else '30 days' end)::interval
	from generate_series(1, $2::int) i`,
	`insert into passwords (user_id, seq, hash, created_at) select 'u' || i, 1, 'hash', $1::timestamptz from generate_series(1, $2::int) i`,
	`insert into consents (user_id, client_id, scopes, granted_at) select 'u' || i, 'notes', '["openid"]', $1 from generate_series(1, $2::int) i`,
	`insert into sessions (id, secret_hash, user_id, user_epoch, auth_time, amr, remember, created_at, expires_at, ends_at)
	select 's' || i, sha256(('s' || i)::bytea), 'u' || i, 1, $1, '["pwd"]', true, $1, over, over
	from (select i, $1::timestamptz + (i - 1000) * interval '1 second' from generate_series(1, $2::int) i) s (i, over)`,
	`insert into grants (id, handle_hash, client_id, user_id, user_epoch, session_id, scopes, offline_access, resources, nonce, auth_time, amr, jkt,
		generation, outcome, created_at, rotated_at, expires_at, ends_at)
	select 'g' || i, sha256(('g' || i)::bytea), 'notes', 'u' || i, 1, 's' || i, '["openid","offline_access"]', true, '[]', '', $1, '["pwd"]', '',
		1, '', $1, null, over, over
	from (select i, $1::timestamptz + (i - 1000) * interval '1 second' from generate_series(1, $2::int) i) s (i, over)`,
	`insert into events (id, occurred_at, kind, user_id, client_id, detail)
	select 'e' || i, $1::timestamptz + (i - 1000) * interval '1 second', 'session.ended', 'u' || i, '', '' from generate_series(1, $2::int) i`,
	`insert into notices (id, client_id, user_id, session_id, created_at, delivered_at)
	select 'n' || i, 'notes', 'u' || i, 's' || i, $1::timestamptz + (i - 1000) * interval '1 second', $1 from generate_series(1, $2::int) i`,
	`insert into revocations (seq, kind, target, revoked_at, until)
	select i, 'grant', 'g' || i, $1, $1::timestamptz + (i - 1000) * interval '1 second' from generate_series(1, $2::int) i`,
}

// What a request reads or writes, and what is removed every minute, is found by
// an index: it costs the same however many people there are.
func TestNothingIsScanned(t *testing.T) {
	url := testenv.Postgres(t)
	hand := connect(t, url)
	ctx := t.Context()
	opened := func(t *testing.T) *postgres.DB {
		t.Helper()
		db, err := postgres.Open(ctx, url+"&pool_max_conns=1")
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := opened(t)
	if err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	if err := db.CreateClient(ctx, storage.Client{ID: "notes", Name: "Notes", AuthMethod: storage.AuthNone, CreatedAt: now, UpdatedAt: now}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, statement := range append([]string{"set session_replication_role = replica"}, crowd...) {
		var args []any
		if statement[:6] == "insert" {
			args = []any{now, many}
		}
		if _, err := hand.Exec(ctx, statement, args...); err != nil {
			t.Fatalf("%.60s: %v", statement, err)
		}
	}
	if _, err := hand.Exec(ctx, "vacuum analyze"); err != nil {
		t.Fatal(err)
	}
	sum := func(kind string, i int) []byte {
		var b []byte
		if err := hand.QueryRow(ctx, "select sha256($1)", fmt.Appendf(nil, "%s%d", kind, i)).Scan(&b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	removed := func(want int) func(int, error) error {
		return func(n int, err error) error {
			if err == nil && n != want {
				err = fmt.Errorf("%d rows were removed, not %d", n, want)
			}
			return err
		}
	}
	for _, row := range []struct {
		sentence string
		do       func(i int) error
	}{
		{"who signs in is found by the address", func(i int) error { _, _, err := db.UserByEmail(ctx, fmt.Sprint("u", i)); return err }},
		{"who is signed in, by the secret", func(i int) error { _, _, err := db.SessionBySecret(ctx, sum("s", i), now); return err }},
		{"a session is used", func(i int) error { return db.TouchSession(ctx, fmt.Sprint("s", i), now.Add(time.Hour)) }},
		{"a session begins", func(i int) error {
			return db.CreateSession(ctx, storage.Session{
				ID: fmt.Sprint("new", i), SecretHash: sum("new", i), UserID: fmt.Sprint("u", i), UserEpoch: 1,
				AuthTime: now, CreatedAt: now, ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(time.Hour),
			}, "")
		}},
		{"a person's sessions are listed", func(i int) error { _, err := db.ListSessions(ctx, fmt.Sprint("u", i), now); return err }},
		{"a session ends", func(i int) error { return db.EndSession(ctx, fmt.Sprint("s", i), now) }},
		{"what was agreed to", func(i int) error { _, err := db.Consent(ctx, fmt.Sprint("u", i), "notes"); return err }},
		{"a grant is made", func(i int) error {
			return db.CreateGrant(ctx, storage.Grant{
				ID: fmt.Sprint("new", i), HandleHash: sum("new", i), ClientID: "notes", UserID: fmt.Sprint("u", i), UserEpoch: 1,
				Generation: 1, AuthTime: now, CreatedAt: now, ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(time.Hour),
			})
		}},
		{"a refresh token is used", func(i int) error {
			_, _, err := db.Rotate(ctx, storage.Rotation{HandleHash: sum("g", i), ClientID: "notes", Presented: 1, Now: now, GraceSince: now, ExpiresAt: now.Add(time.Hour)})
			return err
		}},
		{"a grant is found by the handle", func(i int) error { _, err := db.GrantByHandle(ctx, sum("g", i)); return err }},
		{"or by its id, with its person", func(i int) error { _, _, err := db.LiveGrant(ctx, fmt.Sprint("g", i), now); return err }},
		{"a person's grants are listed", func(i int) error { _, err := db.ListGrants(ctx, fmt.Sprint("u", i), now); return err }},
		{"a grant is revoked", func(i int) error { return db.RevokeGrant(ctx, fmt.Sprint("g", i), now) }},
		{"a password changes", func(i int) error {
			_, err := db.SetPassword(ctx, storage.PasswordChange{UserID: fmt.Sprint("u", i), PasswordHash: "hash", Now: now})
			return err
		}},
		{"somebody leaves an app", func(i int) error { return db.WithdrawConsent(ctx, fmt.Sprint("u", i), "notes", now) }},
		{"revocations are followed", func(i int) error {
			last, err := db.LastRevocation(ctx)
			if err != nil {
				return err
			}
			_, err = db.RevocationsAfter(ctx, last-10, now, 1000)
			return err
		}},
		{"notices are looked for", func(int) error { _, err := db.PendingNotices(ctx, 100); return err }},
		{"letters are looked for", func(int) error { _, err := db.PendingLetters(ctx, "", 100); return err }},
		{"a person's events are listed", func(i int) error { _, err := db.ListEventsOf(ctx, fmt.Sprint("u", i), "", 20); return err }},
		{"sessions that are over go", func(int) error { n, err := db.DeleteExpiredSessions(ctx, now, batch); return removed(batch)(n, err) }},
		{"grants", func(int) error { n, err := db.DeleteExpiredGrants(ctx, now, batch); return removed(batch)(n, err) }},
		{"registrations without proof", func(int) error {
			n, err := db.DeletePendingUsers(ctx, now.Add(-7*24*time.Hour), batch)
			return removed(batch)(n, err)
		}},
		{"revocations", func(int) error { n, err := db.DeleteExpiredRevocations(ctx, now, batch); return removed(batch)(n, err) }},
		{"notices", func(int) error { n, err := db.DeleteNotices(ctx, now, batch); return removed(batch)(n, err) }},
		{"clients that nobody uses", func(int) error { _, err := db.DeleteUnusedClients(ctx, now, now, batch); return err }},
		{"events", func(int) error { n, err := db.DeleteEvents(ctx, now, batch); return removed(batch)(n, err) }},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			before := scans(t, hand)
			db = opened(t)
			defer func() { _ = db.Close() }() // again, when it is closed by then
			// A statement that is prepared may get another plan after its fifth time.
			for i := range 8 {
				if err := row.do(10_000 + i); err != nil && !errors.Is(err, storage.ErrNotFound) {
					t.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			for table, n := range scans(t, hand) {
				if n > before[table] {
					t.Errorf("%s is read from end to end, %d times in 8", table, n-before[table])
				}
			}
		})
	}
}

// scans counts how often each table of many rows was read from end to end, by
// connections that are closed: what one has read is known for certain at its end.
func scans(t *testing.T, hand *pgx.Conn) map[string]int64 {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		var open int
		err := hand.QueryRow(t.Context(), "select count(*) from pg_stat_activity where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()").Scan(&open)
		if err != nil {
			t.Fatal(err)
		}
		if open == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are not closed", open)
		}
	}
	rows, err := hand.Query(t.Context(), "select relname, seq_scan from pg_stat_user_tables where n_live_tup > 10000")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int64{}
	var table string
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&table, &n}, func() error {
		all[table] = n
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(all) != len(crowd) {
		t.Fatalf("%d tables have many rows, not %d", len(all), len(crowd))
	}
	return all
}

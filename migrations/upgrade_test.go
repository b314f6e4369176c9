package migrations_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/migrations"
)

// TestUpgradeFrom1 brings a database of the first release, with something in
// every table, to the schema of today.
func TestUpgradeFrom1(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		testUpgradeFrom1(t, "pgx", testenv.Postgres(t), migrations.Postgres)
	})
	t.Run("sqlite", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "test.db")
		testUpgradeFrom1(t, "sqlite", "file:"+file+"?_pragma=foreign_keys(1)", migrations.SQLite)
	})
}

// written1 is what the first release writes, in its words. $1 tells apart what
// was written before the migration and after it.
var written1 = []string{
	`INSERT INTO users (id, email, email_key, name, email_verified_at, status, epoch, created_at, updated_at)
		VALUES ('u' || $1, 'Ada' || $1, 'ada' || $1, 'Ada', '2031-05-04 12:00:00+00:00', 'active', 7, '2031-05-04 12:00:00+00:00', '2031-05-04 12:00:00+00:00')`,
	`INSERT INTO passwords (user_id, seq, hash, created_at) VALUES ('u' || $1, 1, 'hash', '2031-05-04 12:00:00+00:00')`,
	`INSERT INTO clients (id, name, auth_method, secret_hashes, redirect_uris, grant_types, scopes, resources,
		first_party, optional_pkce, id_token_alg, refresh_grace, created_at, updated_at)
		VALUES ('c' || $1, 'Calendar', 'none', '[]', '["https://calendar.example/cb"]', '[]', '[]', '[]', true, false, 'ES256', NULL,
		'2031-05-04 12:00:00+00:00', '2031-05-04 12:00:00+00:00')`,
	`INSERT INTO consents (user_id, client_id, scopes, granted_at) VALUES ('u' || $1, 'c' || $1, '["openid"]', '2031-05-04 12:00:00+00:00')`,
	`INSERT INTO sessions (id, secret_hash, user_id, user_epoch, auth_time, amr, remember, created_at, expires_at, ends_at)
		VALUES ('s' || $1, '\x01', 'u' || $1, 7, '2031-05-04 12:00:00+00:00', '["pwd"]', true,
		'2031-05-04 12:00:00+00:00', '2031-05-05 12:00:00+00:00', '2031-05-06 12:00:00+00:00')`,
	`INSERT INTO grants (id, handle_hash, client_id, user_id, user_epoch, session_id, scopes, offline_access, resources, nonce, auth_time,
		amr, jkt, generation, outcome, created_at, rotated_at, expires_at, ends_at, revoked_at)
		VALUES ('g' || $1, '\x02', 'c' || $1, 'u' || $1, 7, 's' || $1, '["openid"]', false, '["https://api.example/"]', 'nonce',
		'2031-05-04 12:00:00+00:00', '["pwd"]', 'jkt', 3, 'rotated', '2031-05-04 12:00:00+00:00', '2031-05-04 13:00:00+00:00',
		'2031-05-05 12:00:00+00:00', '2031-05-06 12:00:00+00:00', NULL)`,
	`INSERT INTO letters (id, kind, sealed, created_at, deadline)
		VALUES ('l' || $1, 'account_verification', '\x03', '2031-05-04 12:00:00+00:00', '2031-05-04 12:05:00+00:00')`,
	`INSERT INTO events (id, occurred_at, kind, user_id, client_id, detail)
		VALUES ('e' || $1, '2031-05-04 12:00:00+00:00', 'token.reuse', 'u' || $1, 'c' || $1, 'grant g')`,
}

// kept1 are rows of the first release, as text.
var kept1 = []string{
	`SELECT id || email || email_key || name || CAST(email_verified_at AS text) || status || CAST(epoch AS text) || CAST(created_at AS text) || CAST(updated_at AS text) FROM users`,
	`SELECT user_id || CAST(seq AS text) || hash || CAST(created_at AS text) FROM passwords`,
	`SELECT id || name || redirect_uris FROM clients`,
	`SELECT user_id || client_id || scopes || CAST(granted_at AS text) FROM consents`,
	`SELECT id || CAST(secret_hash AS text) || user_id || CAST(user_epoch AS text) || CAST(auth_time AS text) || amr || CAST(remember AS text) || CAST(created_at AS text) || CAST(expires_at AS text) || CAST(ends_at AS text) FROM sessions`,
	`SELECT id || CAST(handle_hash AS text) || client_id || user_id || CAST(user_epoch AS text) || session_id || scopes || CAST(offline_access AS text) || resources || nonce || CAST(auth_time AS text) || amr || jkt || CAST(generation AS text) || outcome || CAST(created_at AS text) || CAST(rotated_at AS text) || CAST(expires_at AS text) || CAST(ends_at AS text) || COALESCE(CAST(revoked_at AS text), '-') FROM grants WHERE id = 'g1'`,
	`SELECT id || kind || CAST(sealed AS text) || CAST(created_at AS text) || CAST(deadline AS text) FROM letters`,
	`SELECT id || CAST(occurred_at AS text) || kind || user_id || client_id || detail FROM events`,
	`SELECT CAST(version AS text) FROM key_sets`,
}

func testUpgradeFrom1(t *testing.T, driver, dsn string, of func(*sql.DB) (*migrations.Schema, error)) {
	ctx := t.Context()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := of(db)
	if err != nil {
		t.Fatal(err)
	}
	write := func(which string) {
		t.Helper()
		for _, statement := range written1 {
			if _, err := db.ExecContext(ctx, statement, which); err != nil {
				t.Fatalf("%v in %s", err, statement)
			}
		}
	}
	text := func(query string) (all string) {
		t.Helper()
		if err := db.QueryRowContext(ctx, query).Scan(&all); err != nil {
			t.Fatalf("%v in %s", err, query)
		}
		if all == "" {
			t.Fatalf("nothing from %s", query)
		}
		return all
	}
	count := func(want int, query string) {
		t.Helper()
		var n int
		if err := db.QueryRowContext(ctx, query).Scan(&n); err != nil || n != want {
			t.Errorf("%d, %v, want %d: %s", n, err, want, query)
		}
	}

	if err := s.UpTo(ctx, 1); err != nil {
		t.Fatal(err)
	}
	write("1")
	for id, revokedAt := range map[string]string{
		"newest":  "2031-05-04 13:00:00.5+00:00",
		"just in": "2031-05-04 12:44:02+00:00",
		"too old": "2031-05-04 12:40:00+00:00",
	} {
		if _, err := db.ExecContext(ctx, `INSERT INTO grants (id, client_id, user_id, user_epoch, session_id, scopes, offline_access, resources, nonce,
			auth_time, amr, jkt, generation, outcome, created_at, expires_at, ends_at, revoked_at)
			SELECT $1, client_id, user_id, user_epoch, session_id, scopes, offline_access, resources, nonce,
			auth_time, amr, jkt, generation, outcome, created_at, expires_at, ends_at, `+"'"+revokedAt+"' FROM grants WHERE id = 'g1'", id); err != nil {
			t.Fatal(err)
		}
	}
	before := map[string]string{}
	for _, query := range kept1 {
		before[query] = text(query)
	}
	if err := s.Up(ctx); err != nil {
		t.Fatal(err)
	}
	for _, query := range kept1 {
		if got := text(query); got != before[query] {
			t.Errorf("%s:\n got %s\nwant %s", query, got, before[query])
		}
	}
	count(1, "SELECT count(*) FROM users WHERE NOT second_factor")
	count(1, "SELECT count(*) FROM sessions WHERE user_agent = '' AND address = ''")
	count(1, "SELECT count(*) FROM letters WHERE failed_at IS NULL AND failure = ''")
	count(1, "SELECT count(*) FROM events WHERE outcome = '' AND address = '' AND user_agent = ''")

	count(1, "SELECT count(*) FROM users WHERE profile = '{}'")
	count(1, "SELECT count(*) FROM clients WHERE metadata = '{}' AND NOT backchannel AND registration_hash IS NULL AND used_at IS NULL")
	count(4, "SELECT count(*) FROM grants WHERE claims = ''")
	// Whose tokens may be alive.
	count(2, "SELECT count(*) FROM revocations")
	count(1, "SELECT count(*) FROM revocations WHERE seq = 1 AND kind = 'grant' AND target = 'just in' AND until = '2031-05-04 13:00:02+00:00'")
	count(1, "SELECT count(*) FROM revocations WHERE seq = 2 AND kind = 'grant' AND target = 'newest' AND until = '2031-05-04 13:16:00.5+00:00'")

	// The release before still runs. The secrets of what it wrote are unique.
	for _, statement := range []string{
		`UPDATE sessions SET secret_hash = 'another'`,
		`UPDATE grants SET handle_hash = 'another' WHERE id = 'g1'`,
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	write("2")
	if _, err := db.ExecContext(ctx, "UPDATE grants SET revoked_at = '2031-05-04 14:00:00+00:00' WHERE id = 'g2'"); err != nil {
		t.Fatal(err)
	}
	count(1, "SELECT count(*) FROM revocations WHERE seq = 3 AND target = 'g2' AND until = '2031-05-04 14:16:00+00:00'")
	count(5, "SELECT count(*) FROM users JOIN sessions ON sessions.user_id = users.id JOIN grants ON grants.user_id = users.id")

	// What the foreign keys are for, and that grants have none.
	if _, err := db.ExecContext(ctx, `INSERT INTO sessions (id, secret_hash, user_id, user_epoch, auth_time, amr, remember, created_at, expires_at, ends_at)
		VALUES ('s', '\x05', 'nobody', 7, '2031-05-04 12:00:00+00:00', '[]', true, '2031-05-04 12:00:00+00:00', '2031-05-04 12:00:00+00:00', '2031-05-04 12:00:00+00:00')`); err == nil {
		t.Error("a session of nobody was accepted")
	}
	if _, err := db.ExecContext(ctx, `DELETE FROM users WHERE id = 'u1'`); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"users", "passwords", "consents", "sessions"} {
		count(1, "SELECT count(*) FROM "+table)
	}
	count(5, "SELECT count(*) FROM grants")

	// A client takes its consents along, and authenticates in a way that is known.
	if _, err := db.ExecContext(ctx, `UPDATE clients SET auth_method = 'private_key_jwt' WHERE id = 'c2'`); err != nil {
		t.Error(err)
	}
	if _, err := db.ExecContext(ctx, `UPDATE clients SET auth_method = 'telepathy' WHERE id = 'c2'`); err == nil {
		t.Error("an unknown way to authenticate was accepted")
	}
	if _, err := db.ExecContext(ctx, `DELETE FROM clients WHERE id = 'c2'`); err != nil {
		t.Fatal(err)
	}
	count(0, "SELECT count(*) FROM consents")
	if _, err := db.ExecContext(ctx, `INSERT INTO consents (user_id, client_id, scopes, granted_at) VALUES ('u2', 'nobody', '[]', '2031-05-04 12:00:00+00:00')`); err == nil {
		t.Error("a consent to no client was accepted")
	}
}

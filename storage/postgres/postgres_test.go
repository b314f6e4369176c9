package postgres_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/postgres"
	"github.com/gatehouse-id/gatehouse/storage/storagetest"
)

func open(t *testing.T, url string, o postgres.Options) storage.SQL {
	t.Helper()
	db, err := o.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestSQL(t *testing.T) {
	storagetest.TestSQL(t, func(t *testing.T) storage.SQL {
		return open(t, testenv.Postgres(t), postgres.Options{})
	})
}

func TestStatements(t *testing.T) {
	storagetest.TestStatements(t, func(t *testing.T, onQuery func(string)) storage.SQL {
		return open(t, testenv.Postgres(t), postgres.Options{OnQuery: onQuery})
	})
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func TestByHand(t *testing.T) {
	url := testenv.Postgres(t)
	db := open(t, url, postgres.Options{})
	hand := connect(t, url)
	storagetest.TestByHand(t, db, func(sql, arg string) error {
		_, err := hand.Exec(t.Context(), strings.Replace(sql, "?", "$1", 1), arg)
		return err
	})
}

func TestOpenRefuses(t *testing.T) {
	for name, url := range map[string]string{
		"no address":            "://",
		"nobody at the address": "postgres://gatehouse@127.0.0.1:1/gatehouse?connect_timeout=5",
	} {
		if db, err := postgres.Open(t.Context(), url); err == nil {
			db.Close()
			t.Errorf("%s was opened", name)
		}
	}
}

// PostgreSQL updates a row in place only when no index has a column that
// changes.
func TestRotationTouchesNoIndex(t *testing.T) {
	url := testenv.Postgres(t)
	open(t, url, postgres.Options{})
	conn := connect(t, url)

	indexed := func(columns ...string) (n int) {
		t.Helper()
		err := conn.QueryRow(t.Context(), `
			SELECT count(*) FROM pg_indexes, unnest($1::text[]) AS col
			WHERE tablename = 'grants' AND indexdef ~ ('\m' || col || '\M')`, columns).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := indexed("outcome", "generation", "rotated_at", "expires_at", "revoked_at"); n != 0 {
		t.Errorf("%d of the columns that a rotation changes are indexed", n)
	}
	if n := indexed("ends_at"); n != 1 {
		t.Errorf("ends_at is in %d indexes, want 1", n)
	}
}

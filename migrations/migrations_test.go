package migrations_test

import (
	"database/sql"
	"path/filepath"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/migrations"
)

type open func(t *testing.T) *migrations.Schema

func engines(t *testing.T, test func(t *testing.T, open open)) {
	t.Run("postgres", func(t *testing.T) {
		url := testenv.Postgres(t)
		test(t, func(t *testing.T) *migrations.Schema {
			return schema(t, "pgx", url, migrations.Postgres)
		})
	})
	t.Run("sqlite", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "test.db")
		test(t, func(t *testing.T) *migrations.Schema {
			return schema(t, "sqlite", file, migrations.SQLite)
		})
	})
}

func schema(t *testing.T, driver, dsn string, of func(*sql.DB) (*migrations.Schema, error)) *migrations.Schema {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := of(db)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantVersion(t *testing.T, s *migrations.Schema, behind bool) {
	t.Helper()
	current, wanted, err := s.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if wanted < 2 || behind != (current < wanted) || behind && current != 0 {
		t.Errorf("version %d of %d", current, wanted)
	}
}

func TestUp(t *testing.T) {
	engines(t, func(t *testing.T, open open) {
		s := open(t)
		wantVersion(t, s, true)
		wantVersion(t, open(t), true) // asking has changed nothing
		for range 2 {
			if err := s.Up(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantVersion(t, s, false)
			wantVersion(t, open(t), false)
		}
	})
}

func TestServersMigrateAtOnce(t *testing.T) {
	url := testenv.Postgres(t)
	var servers [4]*migrations.Schema
	for i := range servers {
		servers[i] = schema(t, "pgx", url, migrations.Postgres)
	}
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() {
			if err := s.Up(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range servers {
		wantVersion(t, s, false)
	}
}

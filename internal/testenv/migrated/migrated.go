// Package migrated gives tests databases that have the schema. Making it takes
// longer than most tests, so it is made once for a test binary and then copied.
package migrated

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/gatehouse-id/gatehouse/migrations"
)

// SQLite returns the path of a database file that is the test's own and ends
// with it.
func SQLite(t testing.TB) string {
	t.Helper()
	content, err := sqliteFile()
	if err != nil {
		t.Fatalf("testenv: make a migrated SQLite database: %v", err)
	}
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sqliteFile is the content of such a file, in the journal mode of the driver.
var sqliteFile = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "gatehouse-test-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "gatehouse.db")
	db, err := sql.Open("sqlite", path+"?_pragma=journal_mode(wal)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	schema, err := migrations.SQLite(db)
	if err == nil {
		err = schema.Up(context.Background())
	}
	// The last connection to close folds the log into the file.
	if err := errors.Join(err, db.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

package sqlite_test

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
	"github.com/gatehouse-id/gatehouse/storage/storagetest"
)

func newFile(t *testing.T) string { return filepath.Join(t.TempDir(), "gatehouse.db") }

func open(t *testing.T, path string, o sqlite.Options) storage.SQL {
	t.Helper()
	db, err := o.Open(t.Context(), path)
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
	// Each gets a copy of one: to migrate takes longer than most tests.
	path := newFile(t)
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Migrate(t.Context()), db.Close()); err != nil {
		t.Fatal(err)
	}
	schema, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	storagetest.TestSQL(t, func(t *testing.T) storage.SQL {
		path := newFile(t)
		if err := os.WriteFile(path, schema, 0o600); err != nil {
			t.Fatal(err)
		}
		return open(t, path, sqlite.Options{})
	})
}

func TestStatements(t *testing.T) {
	storagetest.TestStatements(t, func(t *testing.T, onQuery func(string)) storage.SQL {
		return open(t, newFile(t), sqlite.Options{OnQuery: onQuery})
	})
}

func TestByHand(t *testing.T) {
	path := newFile(t)
	db := open(t, path, sqlite.Options{})
	hand, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer hand.Close()
	storagetest.TestByHand(t, db, func(sql, arg string) error {
		_, err := hand.ExecContext(t.Context(), sql, arg)
		return err
	})

	// Times are in a form that SQLite's own functions read.
	var year string
	if err := hand.QueryRowContext(t.Context(), "SELECT strftime('%Y', min(created_at)) FROM users").Scan(&year); err != nil || year != "2031" {
		t.Errorf("year %q, %v", year, err)
	}
}

func TestOpen(t *testing.T) {
	ctx := t.Context()
	// Everything that a file URL gives a meaning to.
	path := filepath.Join(t.TempDir(), "a b?c#d%20&e.db")

	db, err := sqlite.Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	if current, wanted, err := db.SchemaVersion(ctx); err != nil || current != 0 || wanted < 1 {
		t.Errorf("a new file: version %d of %d, %v", current, wanted, err)
	}
	if err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	letter := storage.Letter{ID: "1", Kind: "test", Sealed: []byte("x"), CreatedAt: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)}
	if err := db.AddLetters(ctx, letter); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s may be read by others: %v", info.Name(), info.Mode())
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	db, err = sqlite.Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if current, wanted, err := db.SchemaVersion(ctx); err != nil || current != wanted {
		t.Errorf("opened again: version %d of %d, %v", current, wanted, err)
	}
	got, err := db.PendingLetters(ctx, "", 10)
	if err != nil || !reflect.DeepEqual(got, []storage.Letter{letter}) {
		t.Errorf("opened again: %v, %v", got, err)
	}
	if err := db.Ping(ctx); err != nil {
		t.Error(err)
	}
}

const childEnv = "GATEHOUSE_TEST_SQLITE_CHILD"

// TestKilled kills a process that rotates a grant, and finds every rotation
// that the process has seen done.
func TestKilled(t *testing.T) {
	now := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	user := storage.User{ID: "u", Email: "u@example.com", Status: storage.UserActive, CreatedAt: now, UpdatedAt: now}
	grant := storage.Grant{
		ID: "g", HandleHash: []byte("handle"), ClientID: "c", UserID: "u", Generation: 1,
		AuthTime: now, CreatedAt: now, ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(time.Hour),
	}

	if path := os.Getenv(childEnv); path != "" {
		db := open(t, path, sqlite.Options{})
		for n := int64(1); ; n++ {
			_, verdict, err := db.Rotate(t.Context(), storage.Rotation{
				HandleHash: grant.HandleHash, ClientID: "c", Presented: n, Now: now, GraceSince: now, ExpiresAt: now.Add(time.Hour),
			})
			if err != nil || verdict != storage.Rotated {
				t.Fatal(verdict, err)
			}
			fmt.Fprintln(os.Stdout, n+1)
		}
	}

	path := newFile(t)
	db := open(t, path, sqlite.Options{})
	if err := db.CreateUser(t.Context(), user, "hash"); err != nil {
		t.Fatal(err)
	}
	if err := db.CreateGrant(t.Context(), grant); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
	child.Env = append(os.Environ(), childEnv+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var done int64
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if done, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
			t.Error(lines.Text())
			break
		}
		if done == 50 {
			break
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()

	got, err := open(t, path, sqlite.Options{}).GrantByHandle(t.Context(), grant.HandleHash)
	if err != nil || done < 50 || got.Generation < done {
		t.Errorf("generation %d, %v; the process saw %d", got.Generation, err, done)
	}
}

func TestOpenRefuses(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("this is no database, however long one reads"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"a directory":          t.TempDir(),
		"a missing folder":     filepath.Join(t.TempDir(), "missing", "gatehouse.db"),
		"another kind of file": text,
	} {
		if db, err := sqlite.Open(t.Context(), path); err == nil {
			db.Close()
			t.Errorf("%s was opened", name)
		}
	}
}

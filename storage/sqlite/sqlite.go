package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/gatehouse-id/gatehouse/migrations"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite/internal/litedb"
)

// A DB is a SQLite database. It is safe for concurrent use by one process.
type DB struct {
	writer, reader *sql.DB
	writes, reads  *litedb.Queries
	onQuery        func(sql string)
}

var _ storage.SQL = (*DB)(nil)

// Options are what Open may be told besides the path.
type Options struct {
	// OnQuery, if not nil, is given every statement before it is run, also
	// begin and commit. It may be called concurrently.
	OnQuery func(sql string)
}

// Open opens the database file at path, and makes one that only this user can
// read when there is none. SQLite keeps two more files beside it, path-wal and
// path-shm. The schema is not looked at.
func Open(ctx context.Context, path string) (*DB, error) {
	return Options{}.Open(ctx, path)
}

// readers is how many reads run at once; more only wait for processors.
const readers = 4

// Open is the function [Open] with options.
func (o Options) Open(ctx context.Context, path string) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	// SQLite would make the file readable for all that the umask lets.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}

	// An immediate transaction takes the write lock when it begins, so it
	// cannot fail halfway because another has it.
	writer, err := connect(ctx, path, 1, url.Values{"_txlock": {"immediate"}})
	if err != nil {
		return nil, err
	}
	reader, err := connect(ctx, path, readers, url.Values{"_pragma": {"query_only(1)"}})
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	db := &DB{writer: writer, reader: reader, onQuery: o.OnQuery}
	db.writes = litedb.New(db.observed(writer))
	db.reads = litedb.New(db.observed(reader))
	return db, nil
}

func connect(ctx context.Context, path string, conns int, q url.Values) (*sql.DB, error) {
	// The write-ahead log lets reads go on during a write. With synchronous
	// full a commit is on the disk before it returns: neither a killed process
	// nor a lost machine takes it back.
	for _, pragma := range []string{
		"busy_timeout(5000)",
		"journal_mode(wal)",
		"synchronous(full)",
		"foreign_keys(1)",
	} {
		q.Add("_pragma", pragma)
	}
	// Times as text that sorts like the times.
	q.Set("_time_format", "sqlite")

	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: %w", err), db.Close())
	}
	return db, nil
}

// Migrate brings the schema up to date.
func (db *DB) Migrate(ctx context.Context) error {
	s, err := migrations.SQLite(db.writer)
	if err != nil {
		return err
	}
	return s.Up(ctx)
}

// SchemaVersion returns the schema's version and the one wanted; a database
// whose version is lower must be migrated before use.
func (db *DB) SchemaVersion(ctx context.Context) (current, wanted int64, err error) {
	s, err := migrations.SQLite(db.writer)
	if err != nil {
		return 0, 0, err
	}
	return s.Version(ctx)
}

// Ping implements [storage.SQL].
func (db *DB) Ping(ctx context.Context) error {
	return errors.Join(db.writer.PingContext(ctx), db.reader.PingContext(ctx))
}

// Close implements [storage.SQL].
func (db *DB) Close() error {
	// The writer last: the last connection to close folds the log into the
	// database, which a reader may not.
	return errors.Join(db.reader.Close(), db.writer.Close())
}

// Time implements [storage.TimeSource]. SQLite runs in this process, so its
// clock is the machine's, and SQL would only tell it to the millisecond.
func (db *DB) Time(context.Context) (time.Time, error) {
	return time.Now().UTC().Truncate(time.Microsecond), nil
}

// tx runs do in a transaction of the pool, which ends by its error.
func (db *DB) tx(ctx context.Context, pool *sql.DB, do func(*litedb.Queries) error) (err error) {
	db.observe("begin")
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	// Without effect after a commit.
	defer tx.Rollback()
	if err := do(litedb.New(db.observed(tx))); err != nil {
		db.observe("rollback")
		return err
	}
	db.observe("commit")
	return tx.Commit()
}

func (db *DB) observe(query string) {
	if db.onQuery != nil {
		db.onQuery(query)
	}
}

func (db *DB) observed(to litedb.DBTX) litedb.DBTX {
	if db.onQuery == nil {
		return to
	}
	return observed{to, db.onQuery}
}

type observed struct {
	litedb.DBTX
	onQuery func(sql string)
}

func (o observed) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	o.onQuery(query)
	return o.DBTX.ExecContext(ctx, query, args...)
}

func (o observed) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	o.onQuery(query)
	return o.DBTX.QueryContext(ctx, query, args...)
}

func (o observed) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	o.onQuery(query)
	return o.DBTX.QueryRowContext(ctx, query, args...)
}

// code is the extended result code, https://www.sqlite.org/rescode.html.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return sqlite3.SQLITE_OK
}

// conflict makes ErrConflict of a row that is there already.
func conflict(err error) error {
	switch code(err) {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return storage.ErrConflict
	}
	return err
}

// found makes ErrNotFound of no row.
func found(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return storage.ErrNotFound
	}
	return err
}

// changed makes ErrNotFound of a change that met no row.
func changed(rows int64, err error) error {
	if err == nil && rows == 0 {
		return storage.ErrNotFound
	}
	return err
}

// Package migrations holds the schema of both databases and brings a database
// up to it.
//
// Migrations only go forward. Each must be safe while the release before is
// still running, because servers of a cluster are replaced one at a time. A
// file that was released never changes; the next one has the next number.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
)

//go:embed postgres/*.sql sqlite/*.sql
var files embed.FS

// table is where a database remembers which migrations it has had.
const table = "schema_migrations"

// A Schema is a database and the migrations for its engine.
type Schema struct {
	db       *sql.DB
	store    database.Store
	provider *goose.Provider
	// migrated asks whether there is the table.
	migrated string
}

// Postgres returns the schema of a PostgreSQL database. Of several servers
// that migrate at once one works, under an advisory lock, and the others wait
// for it.
func Postgres(db *sql.DB) (*Schema, error) {
	// One try a second for five minutes: a migration may take that long.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	return open(db, goose.DialectPostgres, "postgres",
		"SELECT to_regclass('"+table+"') IS NOT NULL",
		goose.WithSessionLocker(locker))
}

// SQLite returns the schema of a SQLite database, which one process owns.
func SQLite(db *sql.DB) (*Schema, error) {
	return open(db, goose.DialectSQLite3, "sqlite",
		"SELECT count(*) > 0 FROM sqlite_schema WHERE name = '"+table+"'")
}

func open(db *sql.DB, dialect goose.Dialect, dir, migrated string, options ...goose.ProviderOption) (*Schema, error) {
	sub, err := fs.Sub(files, dir)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	store, err := database.NewStore(dialect, table)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	options = append(options,
		goose.WithStore(store),
		goose.WithDisableGlobalRegistry(true))
	provider, err := goose.NewProvider(goose.DialectCustom, db, sub, options...)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	return &Schema{db: db, store: store, provider: provider, migrated: migrated}, nil
}

// Up applies every migration that the database has not had.
func (s *Schema) Up(ctx context.Context) error {
	if _, err := s.provider.Up(ctx); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return nil
}

// Version returns the number of the database's last migration, 0 when it never
// had any, and of the last one known here. A database behind is to be migrated
// before it is used; one ahead has been migrated by the next release and may be
// used. Version changes nothing.
func (s *Schema) Version(ctx context.Context) (current, wanted int64, err error) {
	sources := s.provider.ListSources()
	wanted = sources[len(sources)-1].Version

	// goose would make its table to answer.
	var migrated bool
	if err := s.db.QueryRowContext(ctx, s.migrated).Scan(&migrated); err != nil {
		return 0, 0, fmt.Errorf("migrations: %w", err)
	}
	if !migrated {
		return 0, wanted, nil
	}
	current, err = s.store.GetLatestVersion(ctx, s.db)
	if err != nil {
		return 0, 0, fmt.Errorf("migrations: %w", err)
	}
	return current, wanted, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/postgres"
)

// A database is SQL memory with a schema that may have to be brought up to
// date.
type database interface {
	storage.SQL
	Migrate(ctx context.Context) error
	SchemaVersion(ctx context.Context) (current, wanted int64, err error)
}

// readConfig reads the terminal's environment, and refuses what this binary was
// built without.
func readConfig(t terminal) (Config, error) {
	c, err := parseConfig(t.environ)
	if err != nil {
		return c, usageError{err}
	}
	if slim && (c.Embedded() || strings.HasPrefix(string(c.DatabaseURL), "sqlite:")) {
		return c, usagef("GATEHOUSE_DATABASE_URL must be postgres://…, with GATEHOUSE_VALKEY_URL beside it: this binary was built without SQLite and embedded mode (-tags slim)")
	}
	return c, nil
}

// newLog returns the log that c asks for.
func newLog(t terminal, c Config) *slog.Logger {
	if c.JSONLog {
		return slog.New(slog.NewJSONHandler(t.err, nil))
	}
	return slog.New(slog.NewTextHandler(t.err, nil))
}

// openCommand opens the database for an operator's command.
func openCommand(ctx context.Context, t terminal) (storage.SQL, error) {
	c, err := readConfig(t)
	if err != nil {
		return nil, err
	}
	return openSQL(ctx, c)
}

// openSQL opens the database with this release's schema. Embedded mode brings
// the schema up to date by itself; elsewhere that is the operator's decision.
func openSQL(ctx context.Context, c Config) (storage.SQL, error) {
	db, err := openDatabase(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := checkSchema(ctx, c, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func checkSchema(ctx context.Context, c Config, db database) error {
	if c.Embedded() {
		return db.Migrate(ctx)
	}
	current, wanted, err := db.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	// A newer schema is fine: migrations leave the release before running.
	if current < wanted {
		return fmt.Errorf("the database's schema is version %d and this release needs %d; run \"gatehouse migrate\" first", current, wanted)
	}
	return nil
}

// migrateSQL brings the schema up to date.
func migrateSQL(ctx context.Context, c Config) error {
	db, err := openDatabase(ctx, c)
	if err != nil {
		return err
	}
	return errors.Join(db.Migrate(ctx), db.Close())
}

func openDatabase(ctx context.Context, c Config) (database, error) {
	if c.Embedded() {
		return openSQLite(ctx, filepath.Join(c.StateDir, "gatehouse.db"))
	}
	if path, ok := strings.CutPrefix(string(c.DatabaseURL), "sqlite:"); ok {
		return openSQLite(ctx, path)
	}
	// Not the type *postgres.DB: a nil one would not be a nil database.
	db, err := postgres.Open(ctx, string(c.DatabaseURL))
	if err != nil {
		return nil, fmt.Errorf("GATEHOUSE_DATABASE_URL does not lead to a database: %w", err)
	}
	return db, nil
}

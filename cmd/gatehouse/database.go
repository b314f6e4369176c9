package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/postgres"
)

// A database is SQL memory with a schema that may have to be brought up to
// date.
type database interface {
	storage.SQL
	Migrate(ctx context.Context) error
	SchemaVersion(ctx context.Context) (current, wanted int64, err error)
	// Server names the server and its version.
	Server(ctx context.Context) (string, error)
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

// An observer says who looks at the statements of a database; the zero value is
// nobody.
type observer struct {
	tracer trace.Tracer
	meter  metric.Meter
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
	return observer{}.openSQL(ctx, c)
}

func (o observer) openSQL(ctx context.Context, c Config) (storage.SQL, error) {
	db, err := o.openDatabase(ctx, c)
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
		return usageError{oldSchema(current, wanted)}
	}
	return nil
}

func oldSchema(current, wanted int64) error {
	return fmt.Errorf("the database's schema is version %d and this release needs %d; run \"gatehouse migrate\" first", current, wanted)
}

// migrateSQL brings the schema up to date.
func migrateSQL(ctx context.Context, c Config) error {
	db, err := observer{}.openDatabase(ctx, c)
	if err != nil {
		return err
	}
	return errors.Join(db.Migrate(ctx), db.Close())
}

func (o observer) openDatabase(ctx context.Context, c Config) (database, error) {
	if c.Embedded() {
		return openSQLite(ctx, filepath.Join(c.StateDir, "gatehouse.db"))
	}
	if path, ok := strings.CutPrefix(string(c.DatabaseURL), "sqlite:"); ok {
		return openSQLite(ctx, path)
	}
	// Not the type *postgres.DB: a nil one would not be a nil database.
	db, err := postgres.Options{Tracer: o.tracer, Meter: o.meter}.Open(ctx, string(c.DatabaseURL))
	if err != nil {
		err = fmt.Errorf("GATEHOUSE_DATABASE_URL does not lead to a database: %w", sentence{err})
		if errors.Is(err, postgres.ErrAddress) {
			err = usageError{err}
		}
		return nil, err
	}
	return db, nil
}

// A sentence is an error on one line: pgx writes one for each address that it
// tried, and again for each way of TLS.
type sentence struct{ error }

func (s sentence) Unwrap() error { return s.error }

func (s sentence) Error() string {
	var lines []string
	for line := range strings.Lines(s.error.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}

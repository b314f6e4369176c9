package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-id/gatehouse/migrations"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/postgres/internal/pgdb"
)

// A DB is a PostgreSQL database. It is safe for concurrent use.
type DB struct {
	pool *pgxpool.Pool
	q    *pgdb.Queries
}

var _ storage.SQL = (*DB)(nil)

// connectTimeout is how long a new connection may take, unless the address says
// another connect_timeout.
const connectTimeout = 5 * time.Second

// ErrAddress says of an address that it is none: to try it again is of no use.
var ErrAddress = errors.New("the address is not understood")

// Options are what Open may be told besides the address.
type Options struct {
	// OnQuery, if not nil, is given every statement before it is sent, also
	// begin and commit. It may be called concurrently.
	OnQuery func(sql string)
	// Tracer, if not nil, makes a span of every statement that is part of a trace.
	Tracer trace.Tracer
	// Meter, if not nil, measures all of them, and the pool of connections.
	Meter metric.Meter
}

// Open connects to the database at url: postgres://user:password@host/name or
// the key=value form, both with libpq's parameters and pgxpool's pool_max_conns
// and the like. It reports an address that is wrong or does not answer; the
// schema is not looked at.
func Open(ctx context.Context, url string) (*DB, error) {
	return Options{}.Open(ctx, url)
}

// Open is the function [Open] with options.
func (o Options) Open(ctx context.Context, url string) (*DB, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w: %w", ErrAddress, err)
	}
	// pgxpool's own two minutes are how long a place in the pool would be lost to
	// a network that drops what it is sent.
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	var tracers []pgx.QueryTracer
	if o.OnQuery != nil {
		tracers = append(tracers, tracer{o.OnQuery})
	}
	if o.Tracer != nil || o.Meter != nil {
		observer, err := newObserver(o.Tracer, o.Meter)
		if err != nil {
			return nil, fmt.Errorf("postgres: measure: %w", err)
		}
		tracers = append(tracers, observer)
	}
	switch len(tracers) {
	case 0: // nobody looks, and nothing is called
	case 1:
		config.ConnConfig.Tracer = tracers[0]
	default:
		config.ConnConfig.Tracer = multitracer.New(tracers...)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if o.Meter != nil {
		if err := observePool(pool, o.Meter); err != nil {
			pool.Close()
			return nil, fmt.Errorf("postgres: measure: %w", err)
		}
	}
	return &DB{pool: pool, q: pgdb.New(pool)}, nil
}

type tracer struct{ onQuery func(sql string) }

func (t tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	t.onQuery(data.SQL)
	return ctx
}

func (tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (t tracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	for _, q := range data.Batch.QueuedQueries {
		t.onQuery(q.SQL)
	}
	return ctx
}

func (tracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (tracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// Migrate brings the schema up to date. Servers that start at once may all call
// it.
func (db *DB) Migrate(ctx context.Context) error {
	return db.withSchema(func(s *migrations.Schema) error { return s.Up(ctx) })
}

// SchemaVersion returns the schema's version and the one wanted; a database
// whose version is lower must be migrated before use.
func (db *DB) SchemaVersion(ctx context.Context) (current, wanted int64, err error) {
	err = db.withSchema(func(s *migrations.Schema) error {
		current, wanted, err = s.Version(ctx)
		return err
	})
	return current, wanted, err
}

func (db *DB) withSchema(do func(*migrations.Schema) error) error {
	std := stdlib.OpenDBFromPool(db.pool)
	defer std.Close()
	s, err := migrations.Postgres(std)
	if err != nil {
		return err
	}
	return do(s)
}

// Ping implements [storage.SQL].
func (db *DB) Ping(ctx context.Context) error { return db.pool.Ping(ctx) }

// Close implements [storage.SQL].
func (db *DB) Close() error {
	db.pool.Close()
	return nil
}

// Time implements [storage.TimeSource]: the server's clock, not the start of
// the transaction.
func (db *DB) Time(ctx context.Context) (time.Time, error) {
	var t time.Time
	err := db.pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&t)
	return t.UTC(), err
}

// tx runs do in a transaction, which ends by its error.
func (db *DB) tx(ctx context.Context, do func(*pgdb.Queries) error) error {
	return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		return do(db.q.WithTx(tx))
	})
}

// txTime is how long txLast waits for the server at most.
const txTime = 30 * time.Second

// txLast is tx for statements of which the last need no answers: those of last
// wait, and are sent in their order, with the commit, in one round trip when do
// is done. Only statements whose answer nobody looks at may be among them.
//
// Time is bounded by the connection, which is given the context's deadline once:
// to watch the context beside each statement takes more memory than some
// statements do. A caller who goes away in the middle is not waited for either
// way, and the transaction ends whole.
func (db *DB) txLast(ctx context.Context, do func(q, last *pgdb.Queries) error) (err error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release() // which closes one that is still in a transaction
	end := time.Now().Add(txTime)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	wire := conn.Conn().PgConn().Conn()
	if err := wire.SetDeadline(end); err != nil {
		return err
	}
	defer func() {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
		}
		err = errors.Join(err, wire.SetDeadline(time.Time{}))
	}()
	within := bound{conn, context.WithoutCancel(ctx)}
	if _, err := within.Exec(ctx, "begin"); err != nil {
		return err
	}
	last := &queue{DBTX: within}
	if err = do(pgdb.New(within), pgdb.New(last)); err == nil {
		last.batch.Queue("commit")
		err = conn.SendBatch(within.ctx, &last.batch).Close()
	}
	if err != nil {
		_, _ = within.Exec(ctx, "rollback") // see Release
	}
	return err
}

// bound runs statements in a context of its own, whatever they are given.
type bound struct {
	*pgxpool.Conn
	ctx context.Context
}

// Exec implements [pgdb.DBTX], as the next two do.
func (b bound) Exec(_ context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	return b.Conn.Exec(b.ctx, sql, arguments...)
}

func (b bound) Query(_ context.Context, sql string, arguments ...any) (pgx.Rows, error) {
	return b.Conn.Query(b.ctx, sql, arguments...)
}

func (b bound) QueryRow(_ context.Context, sql string, arguments ...any) pgx.Row {
	return b.Conn.QueryRow(b.ctx, sql, arguments...)
}

// A queue keeps statements to be sent together. What they answer is not known.
type queue struct {
	pgdb.DBTX
	batch pgx.Batch
}

// Exec implements [pgdb.DBTX].
func (q *queue) Exec(_ context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	q.batch.Queue(sql, arguments...)
	return pgconn.CommandTag{}, nil
}

// SQLSTATE codes, https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	uniqueViolation     = "23505"
	foreignKeyViolation = "23503"
	notInRepertoire     = "22021"
)

func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// conflict makes ErrConflict of a row that is there already.
func conflict(err error) error {
	if code(err) == uniqueViolation {
		return storage.ErrConflict
	}
	return err
}

// found makes ErrNotFound of no row, and of what is no text and so in none: a zero
// byte, or what is not UTF-8. Ids come from strangers.
func found(err error) error {
	if errors.Is(err, pgx.ErrNoRows) || code(err) == notInRepertoire {
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

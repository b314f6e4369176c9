package postgres

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
)

// What is seen of a statement is its text, which is a constant of ours, and its
// name there. Its arguments are not looked at.

var system = attribute.String("db.system.name", "postgresql")

// An observer makes a span of every statement that is part of a trace, and
// measures all of them.
type observer struct {
	tracer   trace.Tracer // nil makes no spans
	duration metric.Float64Histogram
}

func newObserver(t trace.Tracer, m metric.Meter) (*observer, error) {
	if m == nil {
		m = noop.Meter{}
	}
	d, err := m.Float64Histogram("db.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of database client operations."),
		metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10))
	return &observer{t, d}, err
}

type observedKey struct{}

// observed is one statement, or one batch of them.
type observed struct {
	name  string
	start time.Time
	span  trace.Span // nil is none
}

func (o *observer) begin(ctx context.Context, name, text string, attributes ...attribute.KeyValue) context.Context {
	s := &observed{name: name, start: time.Now()}
	// What is part of no trace is asked again and again, in the background.
	if o.tracer != nil && trace.SpanFromContext(ctx).IsRecording() {
		ctx, s.span = o.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(append(attributes,
			system, attribute.String("db.query.summary", name), attribute.String("db.query.text", text))...))
	}
	return context.WithValue(ctx, observedKey{}, s)
}

func (o *observer) end(ctx context.Context, err error) {
	s, ok := ctx.Value(observedKey{}).(*observed)
	if !ok {
		return
	}
	attributes := append(make([]attribute.KeyValue, 0, 3), system, attribute.String("db.query.summary", s.name))
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		// Its text may repeat a row.
		kind := "connection"
		if e, ok := errors.AsType[*pgconn.PgError](err); ok {
			kind = e.Code
		} else if ctx.Err() != nil {
			kind = "cancelled"
		}
		attributes = append(attributes, attribute.String("error.type", kind))
		if s.span != nil {
			s.span.SetAttributes(attribute.String("db.response.status_code", kind), attribute.String("error.type", kind))
			s.span.SetStatus(codes.Error, "")
		}
	}
	o.duration.Record(ctx, time.Since(s.start).Seconds(), metric.WithAttributes(attributes...))
	if s.span != nil {
		s.span.End()
	}
}

// TraceQueryStart implements [pgx.QueryTracer].
func (o *observer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	return o.begin(ctx, nameOf(d.SQL), d.SQL)
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (o *observer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryEndData) {
	o.end(ctx, d.Err)
}

// TraceBatchStart implements [pgx.BatchTracer].
func (o *observer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchStartData) context.Context {
	names := []string{"BATCH"}
	var text strings.Builder
	for _, q := range d.Batch.QueuedQueries {
		names = append(names, nameOf(q.SQL))
		text.WriteString(q.SQL + ";\n")
	}
	return o.begin(ctx, strings.Join(names, " "), text.String(), attribute.Int("db.operation.batch.size", len(d.Batch.QueuedQueries)))
}

// TraceBatchQuery implements [pgx.BatchTracer].
func (o *observer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements [pgx.BatchTracer].
func (o *observer) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchEndData) {
	o.end(ctx, d.Err)
}

// nameOf is what a statement is called: sqlc writes "-- name: SpendCode :one"
// before it, and others are called by their first word.
func nameOf(sql string) string {
	name, rest := "", sql
	if after, ok := strings.CutPrefix(sql, "-- name: "); ok {
		name, _, _ = strings.Cut(after, " ")
		return name
	}
	for f := range strings.FieldsSeq(rest) {
		return strings.ToUpper(f)
	}
	return "empty"
}

// observePool measures how many connections there are.
func observePool(p *pgxpool.Pool, m metric.Meter) error {
	idle, used := metric.WithAttributes(attribute.String("db.client.connection.state", "idle")), metric.WithAttributes(attribute.String("db.client.connection.state", "used"))
	count, err := m.Int64ObservableUpDownCounter("db.client.connection.count", metric.WithUnit("{connection}"),
		metric.WithDescription("Connections to the database, by state."))
	if err != nil {
		return err
	}
	most, err := m.Int64ObservableUpDownCounter("db.client.connection.max", metric.WithUnit("{connection}"),
		metric.WithDescription("Connections that there may be."))
	if err != nil {
		return err
	}
	waited, err := m.Int64ObservableCounter("db.client.connection.waits", metric.WithUnit("{wait}"),
		metric.WithDescription("How often somebody had to wait for a connection."))
	if err != nil {
		return err
	}
	_, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := p.Stat()
		o.ObserveInt64(count, int64(s.IdleConns()), idle)
		o.ObserveInt64(count, int64(s.AcquiredConns()), used)
		o.ObserveInt64(most, int64(s.MaxConns()))
		o.ObserveInt64(waited, s.EmptyAcquireCount())
		return nil
	}, count, most, waited)
	return err
}

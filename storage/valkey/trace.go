package valkey

import (
	"context"
	"fmt"
	"time"

	"github.com/valkey-io/valkey-go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
)

// What is seen of a command is its name: keys are sums of secrets, and arguments
// are records.

// system is the word of the semantic conventions, which have no other for Valkey.
var system = attribute.String("db.system.name", "redis")

// An observer makes a span of every command that is part of a trace, and measures
// all of them.
type observer struct {
	tracer   trace.Tracer // nil makes no spans
	duration metric.Float64Histogram
}

// Observe makes spans of the commands that are part of a trace, and measures all
// of them. Either may be nil, which is nothing. Call it before use.
func (d *DB) Observe(t trace.Tracer, m metric.Meter) error {
	if t == nil && m == nil {
		return nil
	}
	if m == nil {
		m = noop.Meter{}
	}
	// The same instrument as that of the SQL drivers.
	h, err := m.Float64Histogram("db.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of database client operations."),
		metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10))
	if err != nil {
		return fmt.Errorf("valkey: measure: %w", err)
	}
	d.observer = &observer{t, h}
	return nil
}

// see has a command sent, and looks on.
func (o *observer) see(ctx context.Context, command string, send func(context.Context) valkey.ValkeyResult) valkey.ValkeyResult {
	name := attribute.String("db.query.summary", command)
	start := time.Now()
	var span trace.Span
	// What is part of no trace is asked again and again, in the background.
	if o.tracer != nil && trace.SpanFromContext(ctx).IsRecording() {
		ctx, span = o.tracer.Start(ctx, command, trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(system, name, attribute.String("db.operation.name", command)))
		defer span.End()
	}
	r := send(ctx)
	attributes := []attribute.KeyValue{system, name}
	if err := r.Error(); err != nil && !valkey.IsValkeyNil(err) {
		// Its text may repeat a key.
		kind := attribute.String("error.type", "connection")
		if _, ok := valkey.IsValkeyErr(err); ok {
			kind = attribute.String("error.type", "refused")
		}
		attributes = append(attributes, kind)
		if span != nil {
			span.SetAttributes(kind)
			span.SetStatus(codes.Error, "")
		}
	}
	o.duration.Record(ctx, time.Since(start).Seconds(), metric.WithAttributes(attributes...))
	return r
}

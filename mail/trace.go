package mail

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// A letter is written in one process and sent by another. So that both are seen
// as one trace, the letter brings along which it was written in, sealed with the
// rest.

const traceparent = "traceparent"

// traceOf is the span of ctx as W3C Trace Context writes it, empty for none.
func traceOf(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	return c[traceparent]
}

// inTrace returns ctx inside the span that traceOf wrote down.
func inTrace(ctx context.Context, parent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceparent: parent})
}

// tracerOr is t, or for nil one that traces nothing.
func tracerOr(t trace.Tracer) trace.Tracer {
	if t == nil {
		return noop.Tracer{}
	}
	return t
}

// processing begins the span of a task of a queue.
func processing(ctx context.Context, t trace.Tracer, queue, id string, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	return t.Start(ctx, "process "+queue, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(append(attributes,
		attribute.String("messaging.system", "asynq"),
		attribute.String("messaging.operation.type", "process"),
		attribute.String("messaging.operation.name", "process"),
		attribute.String("messaging.destination.name", queue),
		attribute.String("messaging.message.id", id))...))
}

// conversation begins the span of what is said to a mail server. There is one
// where the task has one.
func conversation(ctx context.Context, protocol, server string) (context.Context, trace.Span) {
	t := trace.SpanFromContext(ctx).TracerProvider().Tracer("github.com/gatehouse-id/gatehouse/mail")
	return t.Start(ctx, protocol, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("network.protocol.name", protocol), attribute.String("server.address", server)))
}

// failed marks a span by a word of ours. What a server says would name people.
func failed(s trace.Span, why string) {
	s.SetAttributes(attribute.String("error.type", why))
	s.SetStatus(codes.Error, "")
}

package telemetry

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// Log returns a handler that adds to every line logged with the context of a
// span the attributes trace_id and span_id. It is h itself when tracing is off.
func (t *Telemetry) Log(h slog.Handler) slog.Handler {
	if t.traces == nil {
		return h
	}
	return traced{h}
}

type traced struct{ slog.Handler }

func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", s.TraceID().String()), slog.String("span_id", s.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h traced) WithAttrs(a []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(a)} }
func (h traced) WithGroup(name string) slog.Handler   { return traced{h.Handler.WithGroup(name)} }

package valkey_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
)

func TestTrace(t *testing.T) {
	seen := tracetest.NewSpanRecorder()
	traces := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(seen))
	d := open(t, testenv.Valkey(t))
	reader := sdkmetric.NewManualReader()
	if err := d.Observe(traces.Tracer("storage"), sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("storage")); err != nil {
		t.Fatal(err)
	}
	if err := d.Ping(t.Context()); err != nil || len(seen.Ended()) != 0 {
		t.Errorf("%d spans outside a trace, %v", len(seen.Ended()), err)
	}
	ctx, form := traces.Tracer("test").Start(t.Context(), "form")
	now := time.Now().UTC()
	flow := storage.Flow{ID: "canary-id", Email: "canary@example.org", CreatedAt: now, ExpiresAt: now.Add(time.Minute)}
	if err := d.PutFlow(ctx, flow); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Flow(ctx, "canary-other"); !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := d.Take(ctx, storage.Use{Bucket: storage.Bucket{Name: "canary", Limit: 1, Window: time.Minute}, Key: "canary"}); err != nil {
		t.Fatal(err)
	}
	form.End()
	spans := seen.Ended()
	var names []string
	for _, s := range spans[:len(spans)-1] {
		names = append(names, s.Name())
		if s.Parent().SpanID() != form.SpanContext().SpanID() || s.Status().Code == codes.Error {
			t.Errorf("%s below %v is %v", s.Name(), s.Parent(), s.Status())
		}
		for _, a := range s.Attributes() {
			if strings.Contains(a.Value.String(), "canary") {
				t.Errorf("sec-O1: %s is %s", a.Key, a.Value.String())
			}
		}
	}
	if !slices.Contains(names, "HGET") || !slices.Contains(names, "EVALSHA") {
		t.Errorf("the commands are %q", names)
	}

	var m metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, p := range m.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64]).DataPoints {
		command, _ := p.Attributes.Value("db.query.summary")
		counts[command.AsString()] += p.Count
	}
	if want := map[string]uint64{"PING": 1, "HGET": 1, "EVALSHA": 2}; !maps.Equal(counts, want) {
		t.Errorf("measured %v, not %v", counts, want)
	}
}

package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/postgres"
)

func TestTrace(t *testing.T) {
	seen := tracetest.NewSpanRecorder()
	traces := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(seen), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
	reader := sdkmetric.NewManualReader()
	metrics := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	asked := 0
	db := open(t, testenv.Postgres(t), postgres.Options{
		OnQuery: func(string) { asked++ }, Tracer: traces.Tracer("storage"), Meter: metrics.Meter("storage"),
	})
	if asked == 0 {
		t.Error("who counts statements does not see them any more")
	}
	if n := len(seen.Ended()); n != 0 {
		t.Errorf("%d spans outside a trace", n)
	}

	ctx, form := traces.Tracer("test").Start(t.Context(), "form")
	now := time.Now().UTC()
	u := storage.User{ID: "0194c3a0-0000-7000-8000-000000000001", Email: "canary@example.org", Name: "Canary", Status: storage.UserActive, CreatedAt: now, UpdatedAt: now}
	if err := db.CreateUser(ctx, u, "canary hash"); err != nil {
		t.Fatal(err)
	}
	if err := db.CreateUser(ctx, u, "canary hash"); !errors.Is(err, storage.ErrConflict) {
		t.Fatal(err)
	}
	if _, err := db.User(ctx, "0194c3a0-0000-7000-8000-00000000000f"); !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := db.User(gone, u.ID); err == nil {
		t.Error("a query is answered to who has gone")
	}
	form.End()

	spans := seen.Ended()
	failed := map[string]string{}
	for _, s := range spans[:len(spans)-1] {
		of := map[attribute.Key]string{}
		for _, a := range s.Attributes() {
			of[a.Key] = a.Value.String()
			if strings.Contains(strings.ToLower(a.Value.String()), "canary") {
				t.Errorf("sec-O1: %s is %s", a.Key, a.Value.String())
			}
		}
		if s.Parent().SpanID() != form.SpanContext().SpanID() || of["db.system.name"] != "postgresql" || of["db.query.summary"] != s.Name() || of["db.query.text"] == "" {
			t.Errorf("%s is %v", s.Name(), of)
		}
		if s.Status().Code == codes.Error {
			failed[s.Name()] = of["error.type"]
		}
	}
	if len(failed) == 0 || len(spans) < 4 {
		t.Errorf("%d spans, of which failed %v", len(spans), failed)
	}
	for name, kind := range failed {
		if kind != "23505" && kind != "cancelled" {
			t.Errorf("%s failed by %s", name, kind)
		}
	}

	// Of what is not recorded there are no spans, and it is measured all the same.
	before := len(seen.Ended())
	unrecorded, s := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("x").Start(t.Context(), "x")
	if _, err := db.User(unrecorded, u.ID); err != nil {
		t.Fatal(err)
	}
	s.End()
	if n := len(seen.Ended()); n != before {
		t.Errorf("%d spans of what is not recorded", n-before)
	}
	var m metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, metric := range m.ScopeMetrics[0].Metrics {
		switch d := metric.Data.(type) {
		case metricdata.Histogram[float64]:
			for _, p := range d.DataPoints {
				counts[metric.Name] += int(p.Count)
			}
		case metricdata.Sum[int64]:
			for _, p := range d.DataPoints {
				counts[metric.Name] += int(p.Value)
			}
		}
	}
	if counts["db.client.operation.duration"] <= len(spans) || counts["db.client.connection.count"] == 0 || counts["db.client.connection.max"] == 0 {
		t.Errorf("measured %v", counts)
	}
}

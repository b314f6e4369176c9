package meter_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/internal/meter"
	"github.com/gatehouse-id/gatehouse/internal/meter/metertest"
)

func TestInstruments(t *testing.T) {
	r := metertest.New(t)
	s := meter.On(r.Meter)
	c := s.Counter("gatehouse.test.turns", "{turn}", "Turns.", "by", "outcome")
	h := s.Histogram("gatehouse.test.wait", "Waits.", meter.Moments(), "by")
	plain := s.Counter("gatehouse.test.plain", "{turn}", "Turns.")
	s.Gauge("gatehouse.test.depth", "m", "Depth.", func(_ context.Context, o meter.Observe) { o(3, "well"); o(5, "sea") }, "of")
	s.Gauge("gatehouse.test.depth", "m", "Depth.", func(_ context.Context, o meter.Observe) { o(1, "bowl") }, "of")
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	c.Add(t.Context(), 1, "hand", "ok")
	c.Add(t.Context(), 2, "foot", "ok")
	c.Add(t.Context(), 1, "hand", "ok")
	h.Record(t.Context(), time.Second, "hand")
	plain.Add(t.Context(), 1)
	r.Expect(t, "",
		"gatehouse.test.plain 1",
		"gatehouse.test.turns{by=foot,outcome=ok} 2",
		"gatehouse.test.turns{by=hand,outcome=ok} 2",
		"gatehouse.test.wait{by=hand} 1",
	)
	c.Add(t.Context(), 1, "hand", "ok")
	r.Expect(t, "", "gatehouse.test.turns{by=hand,outcome=ok} 1")
	for name, want := range map[string]float64{"well": 3, "sea": 5, "bowl": 1} {
		if v, ok := r.Gauge(t, "gatehouse.test.depth{of="+name+"}"); !ok || v != want {
			t.Errorf("%s: %v, %v", name, v, ok)
		}
	}
}

func TestMalformedName(t *testing.T) {
	s := meter.On(metertest.New(t).Meter)
	s.Counter("7 turns", "{turn}", "Turns.")
	if s.Err() == nil {
		t.Error("a malformed name was taken")
	}
}

func TestManyAtOnce(t *testing.T) {
	r := metertest.New(t)
	c := meter.On(r.Meter).Counter("gatehouse.test.turns", "{turn}", "Turns.", "by")
	var run sync.WaitGroup
	for range 8 {
		run.Go(func() {
			for _, by := range []string{"a", "b", "c", "d"} {
				c.Add(context.Background(), 1, by)
			}
		})
	}
	run.Wait()
	r.Expect(t, "",
		"gatehouse.test.turns{by=a} 8", "gatehouse.test.turns{by=b} 8",
		"gatehouse.test.turns{by=c} 8", "gatehouse.test.turns{by=d} 8")
}

// TestAllocations holds that measuring costs no memory, whether anybody listens
// or not.
func TestAllocations(t *testing.T) {
	for name, m := range map[string]metric.Meter{"nobody listens": nil, "the SDK listens": metertest.New(t).Meter} {
		t.Run(name, func(t *testing.T) {
			s := meter.On(m)
			c := s.Counter("gatehouse.test.turns", "{turn}", "Turns.", "by", "outcome")
			h := s.Histogram("gatehouse.test.wait", "Waits.", meter.Moments(), "by")
			ctx := context.Background()
			if n := testing.AllocsPerRun(100, func() {
				c.Add(ctx, 1, "hand", "ok")
				h.Record(ctx, time.Second, "hand")
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	for name, m := range map[string]metric.Meter{"noop": nil, "sdk": metertest.New(b).Meter} {
		b.Run(name, func(b *testing.B) {
			c := meter.On(m).Counter("gatehouse.test.turns", "{turn}", "Turns.", "by", "outcome")
			b.ReportAllocs()
			for b.Loop() {
				c.Add(context.Background(), 1, "hand", "ok")
			}
		})
	}
}

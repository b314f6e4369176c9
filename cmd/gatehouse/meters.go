package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/internal/meter"
	"github.com/gatehouse-id/gatehouse/web"
)

// cleanup measures the removal of what has ended.
type cleanup struct {
	rows     *meter.Counter
	duration *meter.Histogram
}

// removed notes a batch: how many rows left a table, and how long that took.
func (c *cleanup) removed(ctx context.Context, table string, rows int, took time.Duration) {
	c.rows.Add(ctx, int64(rows), table)
	c.duration.Record(ctx, took, table)
}

// measure makes the instruments of the process itself.
func (s *server) measure(m metric.Meter) error {
	set := meter.On(m)
	s.cleanup = cleanup{
		rows: set.Counter("gatehouse.cleanup.rows", "{row}", "Rows removed because what they record has ended, by table.", "table"),
		duration: set.Histogram("gatehouse.cleanup.duration",
			"Time that the removal of one batch of those rows took, by table.", meter.Moments(), "table"),
	}
	set.Gauge("gatehouse.clock.skew", "s", "Time of the database less that of this host. The database's is used.",
		func(_ context.Context, observe meter.Observe) { observe(s.clock.Offset().Seconds()) })
	set.Gauge("gatehouse.ready", "{server}", "1 when the server can do its work, as /readyz says; else 0.",
		func(ctx context.Context, observe meter.Observe) { observe(oneIf(s.probed(ctx) == nil)) })
	set.Gauge("gatehouse.dependency.reachable", "{server}", "1 when the dependency (database, valkey) answers; else 0.",
		func(ctx context.Context, observe meter.Observe) {
			missing := s.missing(ctx)
			for _, d := range s.readiness.dependencies {
				observe(oneIf(!slices.Contains(missing, d.name)), d.name)
			}
		}, "dependency")
	if err := set.Err(); err != nil {
		return fmt.Errorf("measure the server: %w", err)
	}
	for _, p := range s.purgeables(time.Time{}) {
		s.cleanup.rows.Begin([]string{p.kind})
	}
	return nil
}

// missing are the dependencies that do not answer, also while the server is
// starting or stopping.
func (s *server) missing(ctx context.Context) []string {
	e, ok := errors.AsType[*web.NotReadyError](s.readiness.check(ctx, probeFresh))
	if !ok {
		return nil
	}
	return e.Missing
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

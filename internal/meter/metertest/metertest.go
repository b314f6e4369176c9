// Package metertest reads in tests what was measured.
package metertest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// A Reader reads what is measured with its Meter.
type Reader struct {
	// Meter is the SDK's, for the Config under test.
	Meter  metric.Meter
	reader *sdk.ManualReader
	before map[string]float64
}

// New returns a Reader.
func New(t testing.TB) *Reader {
	r := &Reader{reader: sdk.NewManualReader(), before: map[string]float64{}}
	provider := sdk.NewMeterProvider(sdk.WithReader(r.reader))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	r.Meter = provider.Meter("test")
	return r
}

// Counted returns what was counted since the last call, sorted: for each
// counter that has grown and each histogram that has more values, a line such as
// "gatehouse.x{a=b,c=d} 2".
func (r *Reader) Counted(t testing.TB) []string {
	t.Helper()
	now, _ := r.collect(t)
	lines := []string{}
	for name, value := range now {
		if grown := value - r.before[name]; grown != 0 {
			lines = append(lines, name+" "+strconv.FormatFloat(grown, 'f', -1, 64))
		}
	}
	r.before = now
	slices.Sort(lines)
	return lines
}

// Total returns what was counted from the start by the counters and histograms
// of that name, as lines like those of Counted.
func (r *Reader) Total(t testing.TB, name string) []string {
	t.Helper()
	now, _ := r.collect(t)
	lines := []string{}
	for counter, value := range now {
		if of, _, _ := strings.Cut(counter, "{"); of == name && value != 0 {
			lines = append(lines, counter+" "+strconv.FormatFloat(value, 'f', -1, 64))
		}
	}
	slices.Sort(lines)
	return lines
}

// Expect fails the test unless exactly those lines of Counted have the prefix.
func (r *Reader) Expect(t testing.TB, prefix string, want ...string) {
	t.Helper()
	got := slices.DeleteFunc(r.Counted(t), func(line string) bool { return !strings.HasPrefix(line, prefix) })
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("counted:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// Gauge returns the value of a gauge, named with its attributes as in Counted,
// and whether it has one.
func (r *Reader) Gauge(t testing.TB, name string) (float64, bool) {
	t.Helper()
	_, gauges := r.collect(t)
	v, ok := gauges[name]
	return v, ok
}

// collect returns the counters, with the number of values of each histogram,
// and the gauges.
func (r *Reader) collect(t testing.TB) (counters, gauges map[string]float64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	counters, gauges = map[string]float64{}, map[string]float64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if !strings.HasPrefix(m.Name, "gatehouse.") || m.Unit == "" || m.Description == "" {
				t.Errorf("%q, unit %q, described as %q", m.Name, m.Unit, m.Description)
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					counters[line(m.Name, p.Attributes)] += float64(p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					counters[line(m.Name, p.Attributes)] += float64(p.Count)
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					gauges[line(m.Name, p.Attributes)] = p.Value
				}
			default:
				t.Fatalf("%s is a %T", m.Name, m.Data)
			}
		}
	}
	return counters, gauges
}

func line(name string, attributes attribute.Set) string {
	if attributes.Len() == 0 {
		return name
	}
	var pairs []string
	for _, a := range attributes.ToSlice() {
		pairs = append(pairs, fmt.Sprintf("%s=%s", a.Key, a.Value.String()))
	}
	return name + "{" + strings.Join(pairs, ",") + "}"
}

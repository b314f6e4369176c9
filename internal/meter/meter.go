// Package meter makes instruments whose use allocates nothing.
//
// OpenTelemetry takes the attributes of a measurement as options, which are
// made for each one. Here an instrument says once which attributes it has, and
// every combination of their values is made into an option when it is first
// met, and kept. So the values must be few: words of our own, an OAuth error
// code, a status, and never what a request brought.
package meter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// most is how many attributes an instrument may have.
const most = 2

// Moments are the bounds, in seconds, of what takes a request's time; Delays
// those of what a person waits for at most, or does not wait for at all.
var (
	moments = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	delays  = []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}
)

// Moments are the bounds, in seconds, of a histogram of what a request waits
// for.
func Moments() []float64 { return moments }

// Delays are the bounds, in seconds, of a histogram of what goes on behind
// requests.
func Delays() []float64 { return delays }

// A Set is the instruments of one package.
type Set struct {
	meter metric.Meter
	errs  []error
}

// On returns a Set whose instruments are m's. Those of nil measure nothing.
func On(m metric.Meter) *Set {
	if m == nil {
		m = noop.Meter{}
	}
	return &Set{meter: m}
}

// Err returns what went wrong with any instrument, such as a malformed name.
func (s *Set) Err() error { return errors.Join(s.errs...) }

func (s *Set) failed(name string, err error) {
	if err != nil {
		s.errs = append(s.errs, fmt.Errorf("instrument %s: %w", name, err))
	}
}

// Counter makes a counter. Unit is a UCUM unit, mostly a word in braces.
func (s *Set) Counter(name, unit, about string, attributes ...string) *Counter {
	c, err := s.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(about))
	s.failed(name, err)
	return &Counter{c, cache[metric.AddOption]{names: attributes, option: func(a attribute.Set) metric.AddOption { return metric.WithAttributeSet(a) }}}
}

// Histogram makes a histogram of seconds with those bounds.
func (s *Set) Histogram(name, about string, bounds []float64, attributes ...string) *Histogram {
	h, err := s.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(about), metric.WithExplicitBucketBoundaries(bounds...))
	s.failed(name, err)
	return &Histogram{h, cache[metric.RecordOption]{names: attributes, option: func(a attribute.Set) metric.RecordOption { return metric.WithAttributeSet(a) }}}
}

// Observe takes one value of a gauge, with the values of its attributes.
type Observe func(value float64, values ...string)

// Gauge makes a gauge that is read whenever somebody collects. Read must be
// quick and is called by any goroutine. Several gauges may share a name: each
// says its part.
func (s *Set) Gauge(name, unit, about string, read func(context.Context, Observe), attributes ...string) {
	g, err := s.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(about))
	s.failed(name, err)
	if err != nil {
		return
	}
	kept := &cache[metric.ObserveOption]{names: attributes, option: func(a attribute.Set) metric.ObserveOption { return metric.WithAttributeSet(a) }}
	// A callback given with the instrument would be lost when there is one of
	// that name already.
	_, err = s.meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		read(ctx, func(value float64, values ...string) { o.ObserveFloat64(g, value, kept.of(values)...) })
		return nil
	}, g)
	s.failed(name, err)
}

// A Counter counts what happens.
type Counter struct {
	c     metric.Int64Counter
	cache cache[metric.AddOption]
}

// Add counts n, under the values of the counter's attributes in their order.
func (c *Counter) Add(ctx context.Context, n int64, values ...string) {
	if c.c.Enabled(ctx) {
		c.c.Add(ctx, n, c.cache.of(values)...)
	}
}

// Begin has the counter stand at zero for each value of its last attribute, with
// the values before it as given: who reads counters now and then sees one grow
// only from a value that was there before.
func (c *Counter) Begin(last []string, before ...string) {
	for _, v := range last {
		c.Add(context.Background(), 0, append(before[:len(before):len(before)], v)...)
	}
}

// A Histogram says how long something takes.
type Histogram struct {
	h     metric.Float64Histogram
	cache cache[metric.RecordOption]
}

// Enabled reports whether anybody listens, for who would have to look at a
// clock.
func (h *Histogram) Enabled(ctx context.Context) bool { return h.h.Enabled(ctx) }

// Record notes one duration, under the values of the histogram's attributes in
// their order.
func (h *Histogram) Record(ctx context.Context, d time.Duration, values ...string) {
	if h.h.Enabled(ctx) {
		h.h.Record(ctx, d.Seconds(), h.cache.of(values)...)
	}
}

// A cache keeps one slice of options for each combination of values. Reading it
// takes no lock: the map is replaced when it grows.
type cache[Option any] struct {
	names  []string
	option func(attribute.Set) Option
	mu     sync.Mutex
	known  atomic.Pointer[map[[most]string][]Option]
}

// of returns the options of some values. What has no name is left out, so that
// a mistake is not made into a panic of a request.
func (c *cache[Option]) of(values []string) []Option {
	var key [most]string
	copy(key[:], values)
	if known := c.known.Load(); known != nil {
		if options, ok := (*known)[key]; ok {
			return options
		}
	}
	return c.add(key)
}

func (c *cache[Option]) add(key [most]string) []Option {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[[most]string][]Option{}
	if known := c.known.Load(); known != nil {
		maps.Copy(next, *known)
	}
	options, ok := next[key]
	if !ok {
		var attributes []attribute.KeyValue
		for i, name := range c.names[:min(len(c.names), most)] {
			attributes = append(attributes, attribute.String(name, key[i]))
		}
		options = []Option{c.option(attribute.NewSet(attributes...))}
		next[key] = options
		c.known.Store(&next)
	}
	return options
}

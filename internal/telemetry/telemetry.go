package telemetry

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	nometric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	notrace "go.opentelemetry.io/otel/trace/noop"
)

// scope is the name under which the packages of ours measure; a package's own
// name follows it.
const scope = "github.com/gatehouse-id/gatehouse/"

// A Telemetry makes tracers and meters, and what tells what they saw. It is
// safe for concurrent use.
type Telemetry struct {
	traces  *sdktrace.TracerProvider // nil is off
	metrics *sdkmetric.MeterProvider // nil is off
	reader  *sdkmetric.ManualReader  // of metrics
	// stopPushing ends what sends the metrics; nil is that they are not sent.
	stopPushing func(context.Context)
	// resource is what is told of this process.
	resource *resource.Resource
	// carrier reads where a trace comes from, nil for never.
	carrier propagation.TextMapPropagator
	trouble *trouble
	ending  sync.Once
}

// New returns what measures as c says. Nothing is connected to: a collector may
// come later, or never.
func New(c Config, log *slog.Logger) (*Telemetry, error) {
	t := &Telemetry{trouble: &trouble{log: log, now: time.Now}}
	for _, key := range c.Unread {
		log.Warn(key + " says nothing to this program; see docs/telemetry.md")
	}
	if c.Traces == nil && c.Metrics == nil && c.Scraped == "" {
		log.Info("telemetry is off: no OTEL_EXPORTER_OTLP_ENDPOINT and no GATEHOUSE_METRICS_ADDR")
		return t, nil
	}
	instance, err := uuid.NewRandomFromReader(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("telemetry: name this process: %w", err)
	}
	// What an operator says of the process stands last, and so wins.
	t.resource = resource.NewSchemaless(append([]attribute.KeyValue{
		attribute.String("service.name", c.Service),
		attribute.String("service.version", c.Version),
		attribute.String("service.instance.id", instance.String()),
		attribute.String("telemetry.sdk.name", "opentelemetry"),
		attribute.String("telemetry.sdk.language", "go"),
		attribute.String("telemetry.sdk.version", sdk.Version()),
	}, c.Attributes...)...)
	if c.Traces != nil {
		t.openTraces(c)
	}
	if c.Metrics != nil || c.Scraped != "" {
		t.openMetrics(c)
		if err := t.measureProcess(); err != nil {
			return nil, fmt.Errorf("telemetry: measure the process: %w", err)
		}
	}
	log.Info("telemetry is on", "traces", c.Traces.String(), "metrics", c.Metrics.String(), "scraped", cmp.Or(c.Scraped, "off"))
	return t, nil
}

// String says where, without what may be a secret.
func (d *Destination) String() string {
	if d == nil {
		return "off"
	}
	return d.URL.Redacted()
}

func (t *Telemetry) openTraces(c Config) {
	if c.Propagates {
		t.carrier = propagation.TraceContext{}
	}
	sampler := c.Sampler
	if sampler == nil {
		sampler = sdktrace.ParentBased(sdktrace.AlwaysSample())
	}
	// A span that is over waits in a queue. When the queue is full it is dropped:
	// nobody waits for a collector.
	exporter := &spanExporter{client: newClient(c.Traces), trouble: t.trouble, queue: uint64(c.Queue)}
	t.traces = sdktrace.NewTracerProvider(
		sdktrace.WithResource(t.resource),
		sdktrace.WithSampler(sampler),
		sdktrace.WithSpanProcessor(counted{sdktrace.NewBatchSpanProcessor(exporter,
			sdktrace.WithBatchTimeout(c.Delay), sdktrace.WithExportTimeout(c.Wait),
			sdktrace.WithMaxQueueSize(c.Queue), sdktrace.WithMaxExportBatchSize(c.Batch)), &exporter.ended}),
	)
}

// counted counts the spans that end.
type counted struct {
	sdktrace.SpanProcessor
	ended *atomic.Uint64
}

func (c counted) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.SpanContext().IsSampled() { // others are not sent
		c.ended.Add(1)
	}
	c.SpanProcessor.OnEnd(s)
}

func (t *Telemetry) openMetrics(c Config) {
	t.reader = sdkmetric.NewManualReader()
	t.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithResource(t.resource), sdkmetric.WithReader(t.reader))
	if c.Metrics != nil {
		t.stopPushing = t.push(newClient(c.Metrics), c.Every, c.Within)
	}
}

// push sends the metrics every so often, until it is stopped, and then once more.
// The SDK's own reader would print errors where nobody rate-limits them.
func (t *Telemetry) push(to *client, every, within time.Duration) (stop func(context.Context)) {
	running, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	once := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		var m metricdata.ResourceMetrics
		// What could be collected is sent, also when something could not.
		err := t.reader.Collect(ctx, &m)
		return errors.Join(err, to.export(ctx, exportMetrics, appendMetrics(nil, &m)))
	}
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-running.Done():
				return
			case <-tick.C:
			}
			if err := once(running); running.Err() == nil {
				t.trouble.tell("metrics were not taken", err)
			}
		}
	}()
	return func(ctx context.Context) {
		cancel()
		<-ended
		t.trouble.tell("metrics were not sent before the end", once(ctx))
		to.close()
	}
}

// Tracing reports whether there are spans.
func (t *Telemetry) Tracing() bool { return t.traces != nil }

// Measuring reports whether there are measurements.
func (t *Telemetry) Measuring() bool { return t.metrics != nil }

// Tracer returns the tracer of a package of ours, nil when tracing is off.
func (t *Telemetry) Tracer(name string) trace.Tracer {
	if t.traces == nil {
		return nil
	}
	return t.traces.Tracer(scope + name)
}

// Meter returns the meter of a package of ours, nil when nothing is measured.
func (t *Telemetry) Meter(name string) metric.Meter {
	if t.metrics == nil {
		return nil
	}
	return t.metrics.Meter(scope + name)
}

// TracerProvider is for instrumentation that is not ours. It does nothing when
// tracing is off.
func (t *Telemetry) TracerProvider() trace.TracerProvider {
	if t.traces == nil {
		return notrace.NewTracerProvider()
	}
	return t.traces
}

// MeterProvider is for instrumentation that is not ours. It does nothing when
// nothing is measured.
func (t *Telemetry) MeterProvider() metric.MeterProvider {
	if t.metrics == nil {
		return nometric.NewMeterProvider()
	}
	return t.metrics
}

// Propagator is for instrumentation that is not ours. It does nothing when no
// trace is carried.
func (t *Telemetry) Propagator() propagation.TextMapPropagator {
	if t.carrier == nil {
		return propagation.NewCompositeTextMapPropagator()
	}
	return t.carrier
}

// Shutdown sends what waits, as far as ctx lets it. Call it after everything
// that measures has ended. A second call does nothing.
func (t *Telemetry) Shutdown(ctx context.Context) { t.ending.Do(func() { t.shutdown(ctx) }) }

func (t *Telemetry) shutdown(ctx context.Context) {
	// Side by side: a collector that takes no spans may take metrics.
	var wait sync.WaitGroup
	if t.traces != nil {
		wait.Go(func() { t.trouble.tell("spans were not sent before the end", t.traces.Shutdown(ctx)) })
	}
	if t.metrics != nil {
		wait.Go(func() {
			if t.stopPushing != nil {
				t.stopPushing(ctx)
			}
			t.trouble.tell("metrics were not ended", t.metrics.Shutdown(ctx))
		})
	}
	wait.Wait()
}

// troubleEvery is how often trouble with a collector is logged at most.
const troubleEvery = time.Minute

// A trouble logs what goes wrong, each kind once a minute at most.
type trouble struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	last   map[string]time.Time
	untold map[string]int
}

func (t *trouble) tell(what string, err error) {
	if err == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		t.last, t.untold = map[string]time.Time{}, map[string]int{}
	}
	now := t.now()
	if last, ok := t.last[what]; ok && now.Sub(last) < troubleEvery {
		t.untold[what]++
		return
	}
	// The log's own handler, not one that adds a trace: it is nobody's.
	t.log.Warn("telemetry: "+what, "err", err, "before", t.untold[what])
	t.last[what], t.untold[what] = now, 0
}

// Scrape answers on l who reads the metrics, until ctx ends. It wants
// [Config].Scraped.
func (t *Telemetry) Scrape(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", scrape{t.reader, t.trouble})
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(t.trouble.log.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() }) // a scrape can be made again
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("telemetry: serve metrics: %w", err)
	}
	return nil
}

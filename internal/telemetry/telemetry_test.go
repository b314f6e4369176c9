package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/gatehouse-id/gatehouse/internal/testenv/collector"
)

// A ledger collects what is logged by many.
type ledger struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *ledger) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// opened is what environ asks for. It ends with the test.
func opened(t *testing.T, log io.Writer, environ ...string) *Telemetry {
	t.Helper()
	m, err := New(parse(t, environ...), slog.New(slog.NewJSONHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Shutdown(stopped()) })
	return m
}

// stopped is a context that has ended: whoever waits waits no longer.
func stopped() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Everything that a span and a metric can be arrives, by either protocol, as the
// specification's own types read it.
func TestArrives(t *testing.T) {
	for _, way := range []string{"http/protobuf", "http/protobuf gzip", "grpc", "grpc gzip"} {
		t.Run(way, func(t *testing.T) {
			c := collector.New(t)
			protocol, compression, _ := strings.Cut(way, " ")
			endpoint := c.HTTP
			if protocol == "grpc" {
				endpoint = c.GRPC
			}
			var log ledger
			m := opened(t, &log, "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol,
				"OTEL_EXPORTER_OTLP_COMPRESSION="+compression, "OTEL_EXPORTER_OTLP_HEADERS=api-key=xyz", "OTEL_RESOURCE_ATTRIBUTES=region=north")

			before := time.Now()
			ctx, root := m.Tracer("one").Start(t.Context(), "root", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
				attribute.String("text", "Zoë\xff"), attribute.Int("number", -7), attribute.Float64("part", 0.5), attribute.Bool("no", false),
				attribute.StringSlice("words", []string{"a", "b"}), attribute.Int64Slice("numbers", []int64{1, 2})))
			far := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, Remote: true, TraceFlags: trace.FlagsSampled})
			_, child := m.Tracer("two").Start(ctx, "child", trace.WithLinks(trace.Link{SpanContext: far, Attributes: []attribute.KeyValue{attribute.String("why", "x")}}))
			child.AddEvent("tick", trace.WithAttributes(attribute.Int("n", 1)))
			child.SetStatus(otelcodes.Error, "broken")
			child.End()
			root.SetStatus(otelcodes.Ok, "")
			root.End()

			meter := m.Meter("one")
			count, _ := meter.Int64Counter("count", metric.WithUnit("{thing}"), metric.WithDescription("Things."))
			count.Add(ctx, 3, metric.WithAttributes(attribute.String("kind", "x")))
			level, _ := meter.Float64UpDownCounter("level")
			level.Add(ctx, -1.5)
			gauge, _ := meter.Int64Gauge("gauge")
			gauge.Record(ctx, 9)
			took, _ := meter.Float64Histogram("took", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(1, 2))
			took.Record(ctx, 0.5)
			took.Record(ctx, 5)
			m.Shutdown(t.Context())

			spans := c.Spans()
			if len(spans) != 2 {
				t.Fatalf("%d spans\n%s", len(spans), log.String())
			}
			r, ch := spans[0], spans[1]
			if r.Name != "root" || r.Kind != tracev1.Span_SPAN_KIND_SERVER || r.Scope != scope+"one" || r.GetStatus().GetCode() != tracev1.Status_STATUS_CODE_OK || r.ParentID() != "" {
				t.Errorf("the root is %v", r)
			}
			for k, v := range map[string]string{"text": "Zoë\uFFFD", "number": "-7", "part": "0.5", "no": "false", "words": "a,b", "numbers": "[1,2]"} {
				if r.Attributes[k] != v {
					t.Errorf("%s is %q, not %q", k, r.Attributes[k], v)
				}
			}
			if start := time.Unix(0, int64(r.StartTimeUnixNano)); start.Before(before.Add(-time.Second)) || start.After(time.Now()) || r.EndTimeUnixNano < r.StartTimeUnixNano {
				t.Errorf("from %d to %d", r.StartTimeUnixNano, r.EndTimeUnixNano)
			}
			if ch.ParentID() != r.SpanID() || ch.TraceID() != r.TraceID() || ch.GetStatus().GetCode() != tracev1.Status_STATUS_CODE_ERROR || ch.GetStatus().GetMessage() != "broken" || ch.Flags != 0x101 {
				t.Errorf("the child is %v", ch)
			}
			if len(ch.Links) != 1 || ch.Links[0].GetFlags() != 0x301 || ch.Links[0].TraceId[0] != 1 || ch.Links[0].SpanId[0] != 2 || len(ch.Links[0].Attributes) != 1 {
				t.Errorf("its link is %v", ch.Links)
			}
			if len(ch.Events) != 1 || ch.Events[0].Name != "tick" || len(ch.Events[0].Attributes) != 1 || ch.Events[0].TimeUnixNano == 0 {
				t.Errorf("its event is %v", ch.Events)
			}

			metrics := c.Metrics()
			if sum := metrics["count"].GetSum(); !sum.GetIsMonotonic() || sum.GetAggregationTemporality() != metricsv1.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE ||
				len(sum.GetDataPoints()) != 1 || sum.DataPoints[0].GetAsInt() != 3 || sum.DataPoints[0].Attributes[0].GetValue().GetStringValue() != "x" || sum.DataPoints[0].StartTimeUnixNano == 0 {
				t.Errorf("count is %v", metrics["count"])
			}
			if metrics["count"].GetUnit() != "{thing}" || metrics["count"].GetDescription() != "Things." {
				t.Errorf("count is %v", metrics["count"])
			}
			if x := metrics["count"].GetSum().DataPoints[0].Exemplars; len(x) != 1 || !bytes.Equal(x[0].TraceId, r.TraceId) || x[0].GetAsInt() != 3 {
				t.Errorf("its exemplars are %v", x)
			}
			if sum := metrics["level"].GetSum(); sum.GetIsMonotonic() || sum.DataPoints[0].GetAsDouble() != -1.5 {
				t.Errorf("level is %v", metrics["level"])
			}
			if g := metrics["gauge"].GetGauge(); g.DataPoints[0].GetAsInt() != 9 {
				t.Errorf("gauge is %v", metrics["gauge"])
			}
			if h := metrics["took"].GetHistogram().GetDataPoints()[0]; h.Count != 2 || h.GetSum() != 5.5 || !slices.Equal(h.BucketCounts, []uint64{1, 0, 1}) || !slices.Equal(h.ExplicitBounds, []float64{1, 2}) || h.GetMin() != 0.5 || h.GetMax() != 5 {
				t.Errorf("took is %v", h)
			}
			for _, name := range []string{"go.goroutine.count", "process.cpu.time", "process.memory.usage", "process.uptime"} {
				if metrics[name] == nil {
					t.Errorf("there is no %s", name)
				}
			}

			resource := c.Resource("gatehouse")
			if resource["service.version"] != "v1" || resource["region"] != "north" || len(resource["service.instance.id"]) != 36 || resource["telemetry.sdk.language"] != "go" {
				t.Errorf("the resource is %v", resource)
			}
			if c.Header().Get("Api-Key") != "xyz" {
				t.Errorf("the header is %v", c.Header())
			}
			if strings.Contains(log.String(), "WARN") || strings.Contains(log.String(), "xyz") {
				t.Errorf("the log is\n%s", log.String())
			}
		})
	}
}

// A collector that speaks TLS is believed when its certificate is the one that was
// named, by either protocol, and not otherwise.
func TestTLS(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		for _, named := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s named=%v", protocol, named), func(t *testing.T) {
				c, certificate := collector.NewTLS(t)
				endpoint := c.HTTP
				if protocol == "grpc" {
					endpoint = c.GRPC
				}
				environ := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol, "OTEL_METRICS_EXPORTER=none", "OTEL_EXPORTER_OTLP_TIMEOUT=60000"}
				if named {
					environ = append(environ, "OTEL_EXPORTER_OTLP_CERTIFICATE="+certificate)
				} else {
					environ = append(environ, "OTEL_EXPORTER_OTLP_TIMEOUT=100")
				}
				var log ledger
				m := opened(t, &log, environ...)
				_, s := m.Tracer("x").Start(t.Context(), "x")
				s.End()
				m.Shutdown(t.Context())
				if arrived := len(c.Spans()) == 1; arrived != named {
					t.Errorf("arrived: %v\n%s", arrived, log.String())
				}
			})
		}
	}
}

// What may pass is tried again, what may not is told.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		about    string
		protocol string
		answers  []collector.Answer
		posts    int
		arrives  bool
		told     string
	}{
		{"a collector that is busy is asked again", "http/protobuf", []collector.Answer{{Status: 503}}, 2, true, ""},
		{"a collector that refuses is not", "http/protobuf", []collector.Answer{{Status: 400}}, 1, false, "the collector answered 400"},
		{"one that refuses a part is not", "http/protobuf", []collector.Answer{{Rejected: 1}}, 1, true, "the collector refused 1 of them"},
		{"one that is busy is asked again over gRPC", "grpc", []collector.Answer{{Code: codes.Unavailable}}, 2, true, ""},
		{"one that refuses is not, over gRPC", "grpc", []collector.Answer{{Code: codes.Unauthenticated}}, 1, false, `the collector answered with the gRPC status \"16\"`},
		{"one that refuses a part is not, over gRPC", "grpc", []collector.Answer{{Rejected: 1}}, 1, true, "the collector refused 1 of them"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			c := collector.New(t, tt.answers...)
			endpoint := c.HTTP
			if tt.protocol == "grpc" {
				endpoint = c.GRPC
			}
			var log ledger
			m := opened(t, &log, "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+tt.protocol, "OTEL_METRICS_EXPORTER=none")
			_, s := m.Tracer("x").Start(t.Context(), "x")
			s.End()
			m.Shutdown(t.Context())
			if c.Posts() != tt.posts || (len(c.Spans()) == 1) != tt.arrives {
				t.Errorf("%d posts, %d spans", c.Posts(), len(c.Spans()))
			}
			if told := strings.Contains(log.String(), "spans were not taken"); told != (tt.told != "") || !strings.Contains(log.String(), tt.told) {
				t.Errorf("want %q in the log\n%s", tt.told, log.String())
			}
		})
	}
}

// A collector that hangs, or is not there, keeps nobody waiting: neither who ends
// a span nor, for longer than it wants to, who ends the process. Whoever did wait for
// it would have to for two minutes.
func TestNoCollector(t *testing.T) {
	hangs, err := net.Listen("tcp", "127.0.0.1:0") // and accepts nobody
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hangs.Close() })
	for about, endpoint := range map[string]string{"hangs": "http://" + hangs.Addr().String(), "is not there": "http://127.0.0.1:1"} {
		for _, protocol := range []string{"grpc", "http/protobuf"} {
			t.Run(about+" "+protocol, func(t *testing.T) {
				t.Parallel()
				environ := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol,
					"OTEL_BSP_SCHEDULE_DELAY=1", "OTEL_BSP_MAX_QUEUE_SIZE=8", "OTEL_METRIC_EXPORT_INTERVAL=10"}
				m := opened(t, io.Discard, append(environ, "OTEL_EXPORTER_OTLP_TIMEOUT=120000", "OTEL_BSP_EXPORT_TIMEOUT=120000", "OTEL_METRIC_EXPORT_TIMEOUT=120000")...)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					for range 1000 {
						_, s := m.Tracer("x").Start(t.Context(), "x")
						s.End()
					}
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					defer cancel()
					m.Shutdown(ctx)
				}()
				select {
				case <-ended:
				case <-time.After(time.Minute):
					t.Fatal("a span or the end waits for the collector")
				}

				// But somebody is told, once.
				var log ledger
				m = opened(t, &log, append(environ, "OTEL_EXPORTER_OTLP_TIMEOUT=100")...)
				for range 1000 {
					_, s := m.Tracer("x").Start(t.Context(), "x")
					s.End()
				}
				deadline := time.Now().Add(50 * time.Second) // in a minute it is told again
				for !strings.Contains(log.String(), "spans were not taken") || !strings.Contains(log.String(), "metrics were not taken") {
					if time.Now().After(deadline) {
						t.Fatalf("nobody was told:\n%s", log.String())
					}
					time.Sleep(5 * time.Millisecond)
				}
				m.Shutdown(stopped())
				if n := strings.Count(log.String(), "spans were not taken"); n != 1 {
					t.Errorf("told %d times\n%s", n, log.String())
				}
			})
		}
	}
}

func TestTrouble(t *testing.T) {
	var log ledger
	now := time.Unix(0, 0)
	tr := &trouble{log: slog.New(slog.NewJSONHandler(&log, nil)), now: func() time.Time { return now }}
	for range 3 {
		tr.tell("a", errors.New("x"))
	}
	tr.tell("b", errors.New("y"))
	tr.tell("b", nil)
	now = now.Add(troubleEvery)
	tr.tell("a", errors.New("x"))
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[2], `"before":2`) {
		t.Errorf("told %q", lines)
	}
}

// Off is nothing: what was given comes back, and nothing is allocated.
func TestOff(t *testing.T) {
	var log ledger
	m := opened(t, &log)
	if n := strings.Count(log.String(), "telemetry is off"); n != 1 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("the log is\n%s", log.String())
	}
	h := &quiet{}
	served, err := m.Serve(h, Server{})
	if err != nil || served != http.Handler(h) {
		t.Errorf("a handler is wrapped, or %v", err)
	}
	if rt := m.RoundTripper(h); rt != http.RoundTripper(h) {
		t.Error("a transport is wrapped")
	}
	lines := slog.DiscardHandler
	if m.Log(lines) != lines {
		t.Error("a log is wrapped")
	}
	if m.Tracer("x") != nil || m.Meter("x") != nil || m.Tracing() || m.Measuring() {
		t.Error("there is a tracer, or a meter")
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	// Others allocate now and then, such as who still looks for a collector in the test
	// before: the least of several counts is ours.
	n := math.Inf(1)
	for range 10 {
		n = min(n, testing.AllocsPerRun(100, func() { served.ServeHTTP(nil, r) }))
	}
	if n != 0 {
		t.Errorf("a request allocates %v times", n)
	}
}

type quiet struct{}

func (*quiet) ServeHTTP(http.ResponseWriter, *http.Request)    {}
func (*quiet) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("none") }

const stranger = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestServe(t *testing.T) {
	for _, tt := range []struct {
		about           string
		method, path    string
		traceparent     string
		trusted, quiet  bool
		route           string
		status          int
		name            string
		attributes      map[string]string
		parent, linked  bool
		sampler         string
		spans           int
		panics, writing bool
	}{
		{about: "a request is named by its route", method: "GET", path: "/jwks/secret?code=secret", route: "/jwks/:id", status: 200, name: "GET /jwks/:id", spans: 1,
			attributes: map[string]string{"http.route": "/jwks/:id", "http.response.status_code": "200", "http.request.method": "GET", "url.scheme": "https", "network.protocol.version": "1.1", "error.type": ""}},
		{about: "one of no route by its method", method: "GET", path: "/secret", status: 404, name: "GET", spans: 1, attributes: map[string]string{"http.route": "", "http.response.status_code": "404", "error.type": ""}},
		{about: "a made-up method is not kept", method: "SECRET", path: "/", status: 405, name: "_OTHER", spans: 1, attributes: map[string]string{"http.request.method": "_OTHER"}},
		{about: "a fault is an error", method: "POST", path: "/token", route: "/token", status: 500, name: "POST /token", spans: 1, attributes: map[string]string{"error.type": "500"}},
		{about: "a handler that writes at once says 200", method: "GET", path: "/", route: "/", writing: true, name: "GET /", spans: 1, attributes: map[string]string{"http.response.status_code": "200"}},
		{about: "a handler that breaks is seen", method: "GET", path: "/", route: "/", panics: true, name: "GET /", spans: 1, attributes: map[string]string{"http.response.status_code": "500", "error.type": "500"}},
		{about: "a trusted proxy's trace goes on", method: "GET", path: "/", traceparent: stranger, trusted: true, status: 200, name: "GET", spans: 1, parent: true},
		{about: "a stranger's is linked", method: "GET", path: "/", traceparent: stranger, status: 200, name: "GET", spans: 1, linked: true},
		{about: "a stranger has nothing recorded", method: "GET", path: "/", traceparent: stranger, status: 200, sampler: "parentbased_always_off"},
		{about: "a trusted proxy has", method: "GET", path: "/", traceparent: stranger, trusted: true, status: 200, sampler: "parentbased_always_off", name: "GET", spans: 1, parent: true},
		{about: "nonsense is nothing", method: "GET", path: "/", traceparent: "00-secret", trusted: true, status: 200, name: "GET", spans: 1},
		{about: "what asks for health makes no span", method: "GET", path: "/readyz", quiet: true, route: "/readyz", status: 200},
	} {
		t.Run(tt.about, func(t *testing.T) {
			c := collector.New(t)
			m := opened(t, io.Discard, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.HTTP, "OTEL_TRACES_SAMPLER="+tt.sampler)
			h, err := m.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				Route(r.Context(), tt.route)
				switch {
				case tt.panics:
					panic("secret")
				case tt.writing:
					_, _ = io.WriteString(w, "hello")
				default:
					w.WriteHeader(tt.status)
				}
			}), Server{HTTPS: true, Trusted: func(*http.Request) bool { return tt.trusted }, Quiet: func(*http.Request) bool { return tt.quiet }})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(tt.method, "http://id.example"+tt.path, nil)
			r.Header.Set("Traceparent", tt.traceparent)
			r.Header.Set("Tracestate", "secret=1")
			func() {
				defer func() {
					if got := recover(); (got != nil) != tt.panics {
						t.Errorf("recovered %v", got)
					}
				}()
				h.ServeHTTP(httptest.NewRecorder(), r)
			}()
			m.Shutdown(t.Context())
			spans := c.Spans()
			if len(spans) != tt.spans {
				t.Fatalf("%d spans, not %d", len(spans), tt.spans)
			}
			if tt.spans == 1 {
				s := spans[0]
				if s.Name != tt.name || s.Kind != tracev1.Span_SPAN_KIND_SERVER {
					t.Errorf("the span is %v", s)
				}
				for k, v := range tt.attributes {
					if s.Attributes[k] != v {
						t.Errorf("%s is %q, not %q", k, s.Attributes[k], v)
					}
				}
				if (s.ParentID() == "b7ad6b7169203331") != tt.parent || (s.TraceID() == "0af7651916cd43dd8448eb211c80319c") != tt.parent || (len(s.Links) == 1) != tt.linked {
					t.Errorf("parent %q, trace %s, links %v", s.ParentID(), s.TraceID(), s.Links)
				}
			}
			if !tt.trusted && bytes.Contains(c.Bytes(), []byte("secret")) {
				t.Error("what a stranger sent is passed on")
			}
			points := c.Metrics()["http.server.request.duration"].GetHistogram().GetDataPoints()
			if len(points) != 1 || points[0].Count != 1 || len(points[0].ExplicitBounds) != len(durations) {
				t.Errorf("the histogram is %v", points)
			}
		})
	}
}

func TestRoundTripper(t *testing.T) {
	c := collector.New(t)
	var asked http.Header
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(far.Close)
	m := opened(t, io.Discard, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.HTTP)
	client := http.Client{Transport: m.RoundTripper(http.DefaultTransport)}
	for _, address := range []string{far.URL + "/secret?secret", "http://127.0.0.1:1/secret"} {
		if resp, err := client.Get(address); err == nil {
			_ = resp.Body.Close()
		}
	}
	m.Shutdown(t.Context())
	spans := c.Spans()
	if len(spans) != 2 || spans[0].Attributes["http.response.status_code"] != "418" || spans[0].Attributes["server.address"] != "127.0.0.1" || spans[1].Attributes["error.type"] != "connection" {
		t.Errorf("%v", spans)
	}
	if asked.Get("Traceparent") != "" {
		t.Error("a stranger is told the trace")
	}
	if bytes.Contains(c.Bytes(), []byte("secret")) {
		t.Error("the path is told")
	}
}

func TestLog(t *testing.T) {
	c := collector.New(t)
	m := opened(t, io.Discard, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.HTTP)
	var b bytes.Buffer
	log := slog.New(m.Log(slog.NewJSONHandler(&b, nil))).With("a", 1)
	ctx, s := m.Tracer("x").Start(t.Context(), "x")
	log.InfoContext(ctx, "inside")
	log.Info("outside")
	s.End()
	type line struct {
		TraceID string `json:"trace_id"`
		SpanID  string `json:"span_id"`
		A       int
	}
	var inside, outside line
	d := json.NewDecoder(&b)
	if err := errors.Join(d.Decode(&inside), d.Decode(&outside)); err != nil {
		t.Fatal(err)
	}
	if want := (line{s.SpanContext().TraceID().String(), s.SpanContext().SpanID().String(), 1}); inside != want || outside != (line{A: 1}) {
		t.Errorf("%+v, %+v", inside, outside)
	}
}

func TestScrape(t *testing.T) {
	var log ledger
	c := parse(t, "OTEL_RESOURCE_ATTRIBUTES=region=north")
	c.Scraped = "127.0.0.1:0"
	m, err := New(c, slog.New(slog.NewJSONHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if m.Tracing() || !m.Measuring() {
		t.Error("an address for metrics is about traces")
	}
	meter := m.Meter("x")
	count, _ := meter.Int64Counter("gatehouse.things", metric.WithUnit("{thing}"), metric.WithDescription("Things \\ of\nours."))
	count.Add(t.Context(), 3, metric.WithAttributes(attribute.String("grant.type", "a\"\\\nb")))
	same, _ := m.Meter("y").Int64Counter("gatehouse.things", metric.WithUnit("{thing}"), metric.WithDescription("Things \\ of\nours."))
	same.Add(t.Context(), 4)
	size, _ := meter.Int64Gauge("gatehouse.size", metric.WithUnit("By"))
	size.Record(t.Context(), 7)
	share, _ := meter.Float64Gauge("gatehouse.share", metric.WithUnit("1"))
	share.Record(t.Context(), 0.25)
	open, _ := meter.Int64UpDownCounter("gatehouse.open")
	open.Add(t.Context(), -1)
	spent, _ := meter.Float64Counter("gatehouse.spent.time", metric.WithUnit("s"))
	spent.Add(t.Context(), 1.5)
	took, _ := meter.Float64Histogram("gatehouse.took", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(0.5, 2))
	took.Record(t.Context(), 0.1)
	took.Record(t.Context(), 1)
	took.Record(t.Context(), 9)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Scrape(ctx, l) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.Header.Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
		t.Fatalf("%v, %v", err, resp.Header)
	}
	for _, want := range []string{
		"# HELP gatehouse_things_total Things \\\\ of\\nours.\n# TYPE gatehouse_things_total counter\ngatehouse_things_total{grant_type=\"a\\\"\\\\\\nb\"} 3\ngatehouse_things_total 4\n",
		"# TYPE gatehouse_size_bytes gauge\ngatehouse_size_bytes 7\n",
		"# TYPE gatehouse_share_ratio gauge\ngatehouse_share_ratio 0.25\n",
		"# TYPE gatehouse_open gauge\ngatehouse_open -1\n",
		"# TYPE gatehouse_spent_time_seconds_total counter\ngatehouse_spent_time_seconds_total 1.5\n",
		"# TYPE gatehouse_took_seconds histogram\ngatehouse_took_seconds_bucket{le=\"0.5\"} 1\ngatehouse_took_seconds_bucket{le=\"2\"} 2\ngatehouse_took_seconds_bucket{le=\"+Inf\"} 3\ngatehouse_took_seconds_sum 10.1\ngatehouse_took_seconds_count 3\n",
		`region="north"`, `service_name="gatehouse"`, "\ngo_goroutine_count ", "\nprocess_memory_usage_bytes ",
	} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("there is no %q in\n%s", want, b)
		}
	}
	if n := bytes.Count(b, []byte("# TYPE gatehouse_things_total ")); n != 1 || bytes.Count(b, []byte("# HELP gatehouse_things_total ")) != 1 {
		t.Errorf("a metric of two packages begins %d times in\n%s", n, b)
	}
	if resp, err := http.Get("http://" + l.Addr().String() + "/"); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("%v, %v", resp, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	m.Shutdown(t.Context())
	if strings.Contains(log.String(), "WARN") {
		t.Errorf("the log is\n%s", log.String())
	}
}

package telemetry

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// durations are the bounds, in seconds, that the semantic conventions give the
// durations of HTTP.
var durations = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// A Server measures HTTP requests.
type Server struct {
	// Trusted reports whether the request comes from who may say which trace it
	// belongs to; nil is nobody. What others say is kept as a link: a stranger
	// neither joins a trace nor decides that one is recorded.
	Trusted func(*http.Request) bool
	// Quiet reports whether the request is one of those that come every few seconds
	// for as long as the process runs: it is measured, and has no span. Nil is none.
	Quiet func(*http.Request) bool
	// HTTPS says that people reach this server by https.
	HTTPS bool
}

type routeKey struct{}

// An exchange is what is known of a request behind the handlers.
type exchange struct {
	http.ResponseWriter
	route  string
	status int
}

func (e *exchange) WriteHeader(status int) {
	if e.status == 0 && status >= 200 { // not one that another follows
		e.status = status
	}
	e.ResponseWriter.WriteHeader(status)
}

func (e *exchange) Write(b []byte) (int, error) {
	if e.status == 0 {
		e.status = http.StatusOK
	}
	return e.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (e *exchange) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// Route tells which pattern the address of the request with this context was
// found to have.
func Route(ctx context.Context, pattern string) {
	if e, ok := ctx.Value(routeKey{}).(*exchange); ok {
		e.route = pattern
	}
}

// Serve returns h measured: a span for every request, and the histogram
// http.server.request.duration. It returns h itself when both are off.
func (t *Telemetry) Serve(h http.Handler, s Server) (http.Handler, error) {
	if !t.Tracing() && !t.Measuring() {
		return h, nil
	}
	duration, err := t.MeterProvider().Meter(scope+"http").Float64Histogram("http.server.request.duration",
		metric.WithUnit("s"), metric.WithDescription("Duration of HTTP server requests."), metric.WithExplicitBucketBoundaries(durations...))
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if s.HTTPS {
		scheme = "https"
	}
	return &measured{
		next: h, trusted: s.Trusted, quiet: s.Quiet, scheme: attribute.String("url.scheme", scheme),
		tracer: t.Tracer("http"), carrier: t.Propagator(), duration: duration,
	}, nil
}

type measured struct {
	next     http.Handler
	trusted  func(*http.Request) bool
	quiet    func(*http.Request) bool
	scheme   attribute.KeyValue
	tracer   trace.Tracer // nil makes no spans
	carrier  propagation.TextMapPropagator
	duration metric.Float64Histogram
	// kinds are those of requests that there were, by [kind].
	kinds sync.Map
}

// A kind is what requests have in common that are counted together. There are
// few: nothing of it is a stranger's to make up.
type kind struct {
	method, route, version string
	status                 int
}

// known is a kind as OpenTelemetry wants it said, made once.
type known struct {
	attributes []attribute.KeyValue
	record     []metric.RecordOption
}

func (m *measured) known(k kind) *known {
	if n, ok := m.kinds.Load(k); ok {
		return n.(*known)
	}
	n := &known{attributes: []attribute.KeyValue{
		attribute.String("http.request.method", k.method), m.scheme,
		attribute.Int("http.response.status_code", k.status),
		attribute.String("network.protocol.version", k.version),
	}}
	if k.route != "" {
		n.attributes = append(n.attributes, attribute.String("http.route", k.route))
	}
	if k.status >= 500 {
		n.attributes = append(n.attributes, attribute.String("error.type", strconv.Itoa(k.status)))
	}
	n.record = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(n.attributes...))}
	m.kinds.Store(k, n)
	return n
}

func (m *measured) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	method := knownMethod(r.Method)
	ctx, span := m.start(r, method)
	e := &exchange{ResponseWriter: w}
	defer func() {
		broken := recover()
		if broken != nil {
			e.status = http.StatusInternalServerError // as far as the person sees
		}
		m.end(ctx, span, e, r, method, start)
		if broken != nil {
			panic(broken)
		}
	}()
	m.next.ServeHTTP(e, r.WithContext(context.WithValue(ctx, routeKey{}, e)))
}

// start begins the span. Its address, its query and who asks are left out: codes,
// states and ids of people are in them.
func (m *measured) start(r *http.Request, method string) (context.Context, trace.Span) {
	if m.tracer == nil || m.quiet != nil && m.quiet(r) {
		return r.Context(), noop.Span{}
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("http.request.method", method), m.scheme)}
	ctx := r.Context()
	var from trace.SpanContext
	if r.Header.Get("Traceparent") != "" {
		from = trace.SpanContextFromContext(m.carrier.Extract(context.Background(), propagation.HeaderCarrier(r.Header)))
	}
	switch {
	case !from.IsValid():
	case m.trusted != nil && m.trusted(r):
		ctx = trace.ContextWithRemoteSpanContext(ctx, from)
	default:
		// Without the tracestate, which is text.
		options = append(options, trace.WithLinks(trace.Link{SpanContext: from.WithTraceState(trace.TraceState{})}))
	}
	return m.tracer.Start(ctx, method, options...)
}

func (m *measured) end(ctx context.Context, span trace.Span, e *exchange, r *http.Request, method string, start time.Time) {
	k := kind{method, e.route, protocolVersion(r), e.status}
	if k.status == 0 {
		k.status = http.StatusOK
	}
	n := m.known(k)
	m.duration.Record(ctx, time.Since(start).Seconds(), n.record...)
	if span.IsRecording() {
		if k.route != "" {
			span.SetName(method + " " + k.route)
		}
		if k.status >= 500 {
			span.SetStatus(codes.Error, "")
		}
		span.SetAttributes(n.attributes...)
	}
	span.End()
}

// knownMethod keeps strangers from making up values.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace, http.MethodPatch:
		return method
	}
	return "_OTHER"
}

// protocolVersion neither: HTTP/1.7 is taken for what it is answered with.
func protocolVersion(r *http.Request) string {
	switch {
	case r.ProtoMajor >= 2:
		return strconv.Itoa(r.ProtoMajor)
	case r.ProtoMinor == 0:
		return "1.0"
	}
	return "1.1"
}

// RoundTripper returns rt with a client span for every request. It returns rt
// itself when tracing is off. The servers asked are strangers', so they are not
// told our traces.
func (t *Telemetry) RoundTripper(rt http.RoundTripper) http.RoundTripper {
	if !t.Tracing() {
		return rt
	}
	return &asking{next: rt, tracer: t.Tracer("egress")}
}

type asking struct {
	next   http.RoundTripper
	tracer trace.Tracer
}

func (a *asking) RoundTrip(r *http.Request) (*http.Response, error) {
	method := knownMethod(r.Method)
	ctx, span := a.tracer.Start(r.Context(), method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", method), attribute.String("server.address", r.URL.Hostname())))
	defer span.End()
	resp, err := a.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		// What went wrong is logged by who asked; it may hold the address.
		span.SetAttributes(attribute.String("error.type", "connection"))
		span.SetStatus(codes.Error, "")
		return resp, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	if resp.StatusCode >= 400 {
		span.SetAttributes(attribute.String("error.type", strconv.Itoa(resp.StatusCode)))
		span.SetStatus(codes.Error, "")
	}
	return resp, nil
}

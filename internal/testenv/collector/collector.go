// Package collector is a collector of OpenTelemetry for tests: it takes OTLP
// over HTTP and over gRPC, at one address each, with the types that the
// specification's files generate, and keeps what arrives.
package collector

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // which a client may use
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	metricsservice "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	traceservice "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
)

// A Collector keeps what it is sent. It ends with the test.
type Collector struct {
	// HTTP and GRPC are its addresses, as OTEL_EXPORTER_OTLP_ENDPOINT has them.
	HTTP, GRPC string

	mu       sync.Mutex
	spans    []Span
	metrics  map[string]*metricsv1.Metric
	resource map[string]map[string]string
	header   http.Header
	bytes    []byte
	posts    int
	answers  []Answer
}

// A Span is one that arrived.
type Span struct {
	*tracev1.Span
	// Service is what the process is called that sent it, and Scope what made it.
	Service, Scope string
	// Attributes are the span's, in text.
	Attributes map[string]string
}

// TraceID is the id of the trace in hexadecimal.
func (s Span) TraceID() string { return hex.EncodeToString(s.GetTraceId()) }

// SpanID is the id of the span in hexadecimal.
func (s Span) SpanID() string { return hex.EncodeToString(s.GetSpanId()) }

// ParentID is the id of its parent in hexadecimal, empty when it has none.
func (s Span) ParentID() string { return hex.EncodeToString(s.GetParentSpanId()) }

// An Answer is how a collector may answer, instead of taking what it is sent.
type Answer struct {
	// Status is that of HTTP, Code that of gRPC.
	Status int
	Code   codes.Code
	// Rejected says that this many were not taken, with the status of success.
	Rejected int64
}

// New starts a collector, which gives the answers one after the other and then
// takes everything.
func New(t testing.TB, answers ...Answer) *Collector {
	t.Helper()
	c := newCollector(answers)
	web := httptest.NewServer(http.HandlerFunc(c.post))
	t.Cleanup(web.Close)
	c.HTTP = web.URL
	c.GRPC = "http://" + c.serve(t)
	return c
}

// NewTLS starts a collector that speaks TLS, and returns the file with its
// certificate in PEM.
func NewTLS(t testing.TB) (c *Collector, certificate string) {
	t.Helper()
	c = newCollector(nil)
	web := httptest.NewTLSServer(http.HandlerFunc(c.post))
	t.Cleanup(web.Close)
	c.HTTP = web.URL
	c.GRPC = "https://" + c.serve(t, grpc.Creds(credentials.NewServerTLSFromCert(&web.TLS.Certificates[0])))
	certificate = filepath.Join(t.TempDir(), "collector.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	if err := os.WriteFile(certificate, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return c, certificate
}

func newCollector(answers []Answer) *Collector {
	return &Collector{metrics: map[string]*metricsv1.Metric{}, resource: map[string]map[string]string{}, answers: answers}
}

// serve takes OTLP over gRPC and returns where.
func (c *Collector) serve(t testing.TB, options ...grpc.ServerOption) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	traceservice.RegisterTraceServiceServer(s, traces{c: c})
	metricsservice.RegisterMetricsServiceServer(s, metrics{c: c})
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// next is the answer that is to be given, if not the usual one.
func (c *Collector) next() (a Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.posts++
	if len(c.answers) > 0 {
		a, c.answers = c.answers[0], c.answers[1:]
	}
	return a
}

// post takes OTLP over HTTP.
func (c *Collector) post(w http.ResponseWriter, r *http.Request) {
	a := c.next()
	if a.Status != 0 {
		w.WriteHeader(a.Status)
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	b, err := io.ReadAll(body)
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "POST a message", http.StatusBadRequest)
		return
	}
	var answer proto.Message
	switch r.URL.Path {
	case "/v1/traces":
		var m traceservice.ExportTraceServiceRequest
		err = proto.Unmarshal(b, &m)
		c.takeSpans(&m)
		answer = &traceservice.ExportTraceServiceResponse{PartialSuccess: &traceservice.ExportTracePartialSuccess{RejectedSpans: a.Rejected}}
	case "/v1/metrics":
		var m metricsservice.ExportMetricsServiceRequest
		err = proto.Unmarshal(b, &m)
		c.takeMetrics(&m)
		answer = &metricsservice.ExportMetricsServiceResponse{PartialSuccess: &metricsservice.ExportMetricsPartialSuccess{RejectedDataPoints: a.Rejected}}
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.keep(r.Header, b)
	b, err = proto.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(b)
}

type traces struct {
	traceservice.UnimplementedTraceServiceServer
	c *Collector
}

func (t traces) Export(ctx context.Context, m *traceservice.ExportTraceServiceRequest) (*traceservice.ExportTraceServiceResponse, error) {
	a, err := t.c.call(ctx, m)
	if err != nil {
		return nil, err
	}
	t.c.takeSpans(m)
	return &traceservice.ExportTraceServiceResponse{PartialSuccess: &traceservice.ExportTracePartialSuccess{RejectedSpans: a.Rejected}}, nil
}

type metrics struct {
	metricsservice.UnimplementedMetricsServiceServer
	c *Collector
}

func (s metrics) Export(ctx context.Context, m *metricsservice.ExportMetricsServiceRequest) (*metricsservice.ExportMetricsServiceResponse, error) {
	a, err := s.c.call(ctx, m)
	if err != nil {
		return nil, err
	}
	s.c.takeMetrics(m)
	return &metricsservice.ExportMetricsServiceResponse{PartialSuccess: &metricsservice.ExportMetricsPartialSuccess{RejectedDataPoints: a.Rejected}}, nil
}

// call takes OTLP over gRPC.
func (c *Collector) call(ctx context.Context, m proto.Message) (Answer, error) {
	a := c.next()
	if a.Code != codes.OK {
		return a, status.Error(a.Code, "as the test wants it")
	}
	b, err := proto.Marshal(m)
	if err != nil {
		return a, err
	}
	header := http.Header{}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		for k, v := range md {
			header[http.CanonicalHeaderKey(k)] = v
		}
	}
	c.keep(header, b)
	return a, nil
}

func (c *Collector) keep(header http.Header, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header, c.bytes = header, append(c.bytes, b...)
}

func (c *Collector) takeSpans(m *traceservice.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range m.GetResourceSpans() {
		resource := texts(r.GetResource().GetAttributes())
		c.resource[resource["service.name"]] = resource
		for _, scope := range r.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, Span{s, resource["service.name"], scope.GetScope().GetName(), texts(s.GetAttributes())})
			}
		}
	}
}

func (c *Collector) takeMetrics(m *metricsservice.ExportMetricsServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range m.GetResourceMetrics() {
		resource := texts(r.GetResource().GetAttributes())
		c.resource[resource["service.name"]] = resource
		for _, scope := range r.GetScopeMetrics() {
			for _, metric := range scope.GetMetrics() {
				c.metrics[metric.GetName()] = metric
			}
		}
	}
}

func texts(attributes []*commonv1.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range attributes {
		m[a.GetKey()] = text(a.GetValue())
	}
	return m
}

func text(v *commonv1.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *commonv1.AnyValue_StringValue:
		return v.StringValue
	case *commonv1.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *commonv1.AnyValue_DoubleValue:
		return fmt.Sprint(v.DoubleValue)
	case *commonv1.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	case *commonv1.AnyValue_ArrayValue:
		var parts []string
		for _, one := range v.ArrayValue.GetValues() {
			parts = append(parts, text(one))
		}
		return strings.Join(parts, ",")
	}
	return ""
}

// Spans are those that arrived, in order of their beginning.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	spans := slices.Clone(c.spans)
	slices.SortStableFunc(spans, func(a, b Span) int { return int(a.GetStartTimeUnixNano()) - int(b.GetStartTimeUnixNano()) })
	return spans
}

// Metrics are those that arrived, by name, each as it was last.
func (c *Collector) Metrics() map[string]*metricsv1.Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.metrics)
}

// Resource is what is told of the process that is called so.
func (c *Collector) Resource(service string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.resource[service])
}

// Header is that of what arrived last.
func (c *Collector) Header() http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.header.Clone()
}

// Bytes are all messages that arrived, as they were encoded.
func (c *Collector) Bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.bytes)
}

// Posts is how often something was sent.
func (c *Collector) Posts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.posts
}

// Tree shows the spans of one trace, each below its parent, by the lines that
// name gives. What the same process did is in order of its beginning, and what
// another one did comes after it.
func (c *Collector) Tree(traceID string, name func(Span) string) string {
	children := map[string][]Span{}
	known := map[string]bool{}
	for _, s := range c.Spans() {
		if s.TraceID() == traceID {
			children[s.ParentID()] = append(children[s.ParentID()], s)
			known[s.SpanID()] = true
		}
	}
	var b strings.Builder
	var show func(parent, service, indent string)
	show = func(parent, service, indent string) {
		slices.SortStableFunc(children[parent], func(a, b Span) int {
			switch {
			case a.Service == b.Service:
				return 0
			case a.Service == service:
				return -1
			}
			return 1
		})
		for _, s := range children[parent] {
			b.WriteString(indent + name(s) + "\n")
			show(s.SpanID(), s.Service, indent+"  ")
		}
	}
	for parent := range children {
		if !known[parent] {
			show(parent, "", "")
		}
	}
	return b.String()
}

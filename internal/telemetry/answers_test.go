package telemetry

import (
	"bytes"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statusv1 "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
)

// retryInfo is the trailer of a collector that asks to be left alone for that long.
func retryInfo(t *testing.T, d time.Duration) string {
	t.Helper()
	detail, err := anypb.New(&errdetails.RetryInfo{RetryDelay: durationpb.New(d)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(&statusv1.Status{Code: 8, Message: "busy", Details: []*anypb.Any{detail}})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// What a collector, or a proxy before it, says of when to come back is heeded (OTLP,
// "Failures" and "OTLP/gRPC Throttling").
func TestComesBack(t *testing.T) {
	call := func(code string, details string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", code)
			if details != "" {
				w.Header().Set("Grpc-Status-Details-Bin", details)
			}
		}
	}
	answer := func(status int, retryAfter string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if retryAfter != "" {
				w.Header().Set("Retry-After", retryAfter)
			}
			http.Error(w, "<html>busy</html>", status)
		}
	}
	soon, never := retryInfo(t, time.Millisecond), retryInfo(t, time.Hour)
	for _, tt := range []struct {
		about string
		grpc  bool
		first http.HandlerFunc
		posts int32
	}{
		{"a proxy that reaches no collector of gRPC is asked again", true, answer(503, ""), 2},
		{"one that does not know it is not", true, answer(404, ""), 1},
		{"a collector that has too much and says until when is asked again", true, call("8", soon), 2},
		{"one that has too much and does not say is not", true, call("8", ""), 1},
		{"one whose details are rubbish is not either", true, call("8", "!!!"), 1},
		{"one that is away for longer than there is time is left alone", true, call("14", never), 1},
		{"one that is away and says nothing of when is asked again", true, call("14", ""), 2},
		{"Retry-After is seconds", false, answer(503, "3600"), 1},
		{"or a date", false, answer(503, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)), 1},
		{"one that is past is no reason to wait", false, answer(429, time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)), 2},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			var posts atomic.Int32
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if posts.Add(1) == 1 {
					tt.first(w, r)
					return
				}
				if tt.grpc {
					call("0", "")(w, r)
				}
			}))
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetHTTP1(true)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
			t.Cleanup(s.Close)
			to, err := url.Parse(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			c := newClient(&Destination{URL: to, GRPC: tt.grpc, Timeout: time.Minute, Header: http.Header{}})
			t.Cleanup(c.close)
			if err := c.export(t.Context(), exportTraces, nil); (err == nil) != (tt.posts == 2) {
				t.Errorf("err = %v", err)
			}
			if n := posts.Load(); n != tt.posts {
				t.Errorf("%d posts, want %d", n, tt.posts)
			}
		})
	}
}

// A wire is TCP that somebody may cut without a word: what is sent is taken, and
// nothing comes back. New connections are none of the old.
type wire struct {
	net.Listener
	mu   sync.Mutex
	dead []func()
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.dead {
		f()
	}
	w.dead = nil
}

// laid is a wire to that address.
func laid(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	w := &wire{Listener: l}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				return
			}
			var dead atomic.Bool
			w.mu.Lock()
			w.dead = append(w.dead, func() { dead.Store(true) })
			w.mu.Unlock()
			pass := func(from, to net.Conn) {
				b := make([]byte, 32<<10)
				for {
					n, err := from.Read(b)
					if err != nil {
						_ = to.Close()
						return
					}
					if !dead.Load() {
						_, _ = to.Write(b[:n])
					}
				}
			}
			go pass(near, far)
			go pass(far, near)
		}
	}()
	return w
}

// A collector that went without a word is found again at the next connection: the
// old one is not kept for as long as TCP hopes.
func TestDeadConnection(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Grpc-Status", "0")
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	w := laid(t, s.Listener.Addr().String())
	c := newClient(&Destination{URL: &url.URL{Scheme: "http", Host: w.Addr().String()}, GRPC: true, Timeout: time.Minute, Header: http.Header{}})
	t.Cleanup(c.close)
	transport := c.http.Transport.(*http.Transport)
	if transport.HTTP2 == nil {
		t.Fatal("nobody looks whether the collector is there")
	}
	transport.HTTP2.SendPingTimeout, transport.HTTP2.PingTimeout = 50*time.Millisecond, 50*time.Millisecond
	if err := c.export(t.Context(), exportTraces, nil); err != nil {
		t.Fatal(err)
	}
	w.cut()
	c.to.Timeout = 500 * time.Millisecond
	deadline := time.Now().Add(time.Minute)
	for c.export(t.Context(), exportTraces, nil) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the connection that died is still used")
		}
	}
}

// Spans that do not fit into the queue of a collector that is slow, and takes all
// it is sent, are told of.
func TestDropped(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(20 * time.Millisecond) // which is slow beside a span
	}))
	t.Cleanup(s.Close)
	var log ledger
	m := opened(t, &log, "OTEL_EXPORTER_OTLP_ENDPOINT="+s.URL, "OTEL_METRICS_EXPORTER=none",
		"OTEL_BSP_MAX_QUEUE_SIZE=8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=8", "OTEL_BSP_SCHEDULE_DELAY=1")
	span := func() {
		_, s := m.Tracer("x").Start(t.Context(), "x")
		s.End()
	}
	span()
	if strings.Contains(log.String(), "spans were dropped") {
		t.Errorf("one was:\n%s", log.String())
	}
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(log.String(), "spans were dropped") {
		if time.Now().After(deadline) {
			t.Fatalf("nobody was told:\n%s", log.String())
		}
		for range 100 {
			span()
		}
	}
	if strings.Contains(log.String(), "spans were not taken") {
		t.Errorf("the collector takes them:\n%s", log.String())
	}
}

// An empty text is a text: without it an AnyValue is none.
func TestEmptyText(t *testing.T) {
	var v commonv1.AnyValue
	if err := proto.Unmarshal(appendValue(nil, attribute.StringValue("")), &v); err != nil {
		t.Fatal(err)
	}
	if _, ok := v.Value.(*commonv1.AnyValue_StringValue); !ok {
		t.Errorf("it is %T", v.Value)
	}
	v.Reset()
	if err := proto.Unmarshal(appendValue(nil, attribute.StringSliceValue([]string{"a", ""})), &v); err != nil {
		t.Fatal(err)
	}
	if all := v.GetArrayValue().GetValues(); len(all) != 2 {
		t.Errorf("%v", all)
	} else if _, ok := all[1].Value.(*commonv1.AnyValue_StringValue); !ok {
		t.Errorf("the second is %T", all[1].Value)
	}
}

// Whatever an operator calls the process, Prometheus reads the page: a name that it
// does not know, one that comes twice and a byte that is no text would have all of
// it refused.
func TestScrapeOfAnyName(t *testing.T) {
	c := parse(t, "OTEL_RESOURCE_ATTRIBUTES=team.name=a,team_name=b,2nd=c,__name__=d,latin=%ff,b%2Cc=e")
	c.Scraped = "127.0.0.1:0"
	var log ledger
	m, err := New(c, slog.New(slog.NewJSONHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Shutdown(stopped()) })
	page := httptest.NewRecorder()
	scrape{m.reader, m.trouble}.ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	_, labels, _ := strings.Cut(page.Body.String(), "\ntarget_info{")
	labels, _, _ = strings.Cut(labels, "\n")
	for _, want := range []string{`,team_name="a;b"`, `key_2nd="c"`, `key___name__="d"`, `latin="` + "\uFFFD" + `"`, `b_c="e"`} {
		if !strings.Contains(labels, want) {
			t.Errorf("there is no %s in %s", want, labels)
		}
	}
	if bytes.Contains(page.Body.Bytes(), []byte("\xff")) {
		t.Errorf("no UTF-8: %s", labels)
	}
}

// A stranger makes up no version of HTTP, as no method: each would be a series.
func TestStrangeVersions(t *testing.T) {
	m := opened(t, io.Discard, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_TRACES_EXPORTER=none")
	h, err := m.Serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), Server{})
	if err != nil {
		t.Fatal(err)
	}
	for minor := range 10 {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1."+strconv.Itoa(minor), 1, minor
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	n := 0
	h.(*measured).kinds.Range(func(any, any) bool { n++; return true })
	if n != 2 { // 1.0 and 1.1
		t.Errorf("%d kinds of requests", n)
	}
}

// What the specification leaves to the writer is taken as it is written.
func TestLenient(t *testing.T) {
	if c := parse(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector", "OTEL_SDK_DISABLED=TRUE"); c.Traces != nil || c.Metrics != nil {
		t.Errorf("TRUE disables nothing: %v, %v", c.Traces, c.Metrics)
	}
	if c := parse(t, "OTEL_RESOURCE_ATTRIBUTES=a%2Cb=c"); len(c.Attributes) != 1 || c.Attributes[0].Key != "a,b" {
		t.Errorf("a key is not decoded: %v", c.Attributes)
	}
	file := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(file, []byte("api-key=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := parse(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector", "OTEL_EXPORTER_OTLP_HEADERS=api-key=y", "OTEL_EXPORTER_OTLP_TRACES_HEADERS_FILE="+file)
	if c.Traces.Header.Get("Api-Key") != "x" || c.Metrics.Header.Get("Api-Key") != "y" {
		t.Errorf("a file for one signal does not win: %v, %v", c.Traces.Header, c.Metrics.Header)
	}
	c = parse(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector", "OTEL_EXPORTER_OTLP_HEADERS_FILE="+file, "OTEL_EXPORTER_OTLP_TRACES_HEADERS=api-key=z")
	if c.Traces.Header.Get("Api-Key") != "z" || c.Metrics.Header.Get("Api-Key") != "x" {
		t.Errorf("a value for one signal does not win: %v, %v", c.Traces.Header, c.Metrics.Header)
	}
}

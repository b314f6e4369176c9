package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// Why we speak OTLP ourselves, which is one POST of one message, stands in
// docs/decisions/0015-telemetry.md with the figures.

// The methods of gRPC.
const (
	exportTraces  = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
	exportMetrics = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
)

// A spanExporter sends spans. It never fails: the SDK would print errors where
// nobody rate-limits them.
type spanExporter struct {
	client  *client
	trouble *trouble
	// queue is how many spans may wait, and ended how many there were.
	queue uint64
	ended atomic.Uint64
	// given are those that came here, and dropped those that are known never to.
	// The SDK gives no two batches at once.
	given, dropped uint64
}

// ExportSpans implements [sdktrace.SpanExporter].
func (e *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	// The SDK does not say that it drops what does not fit into the queue. What has
	// ended and is not there to come was.
	e.given += uint64(len(spans))
	if known := e.given + e.dropped + e.queue; e.ended.Load() > known {
		n := e.ended.Load() - known
		e.dropped += n
		e.trouble.tell("spans were dropped", fmt.Errorf("%d or more ended while OTEL_BSP_MAX_QUEUE_SIZE (%d) waited for the collector", n, e.queue))
	}
	e.trouble.tell("spans were not taken", e.client.export(ctx, exportTraces, appendSpans(nil, spans)))
	return nil
}

// Shutdown implements [sdktrace.SpanExporter].
func (e *spanExporter) Shutdown(context.Context) error {
	e.client.close()
	return nil
}

// pingAfter is how long a collector may say nothing on an HTTP/2 connection before
// it is asked whether it is there, and then how long it may take to say so.
const pingAfter = 15 * time.Second

// A client speaks OTLP to one collector, over HTTP or over gRPC, which is HTTP/2
// with a frame around the message and the status behind it.
type client struct {
	to   Destination
	http *http.Client
}

func newClient(d *Destination) *client {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        2 * time.Minute,
		Protocols:              new(http.Protocols),
	}
	// Of HTTP/2 one connection is kept, also when nothing comes back: a collector
	// that went without a word would not be looked for elsewhere before TCP gives up.
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter}
	if d.TLS != nil {
		transport.TLSClientConfig = d.TLS
	}
	if d.GRPC {
		transport.Protocols.SetHTTP2(true)
		transport.Protocols.SetUnencryptedHTTP2(true)
	} else {
		transport.Protocols.SetHTTP1(true)
		transport.Protocols.SetHTTP2(true)
	}
	return &client{to: *d, http: &http.Client{
		Transport: transport,
		// The header, and what is in it, is for this collector.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// How long to wait before another try: the first, and at most.
const (
	firstPause = 500 * time.Millisecond
	maxPause   = 5 * time.Second
)

// A laterError is a failure that may pass. After is how long the collector asks
// to be left alone; zero is as we like.
type laterError struct {
	error
	after time.Duration
}

func (e laterError) Unwrap() error { return e.error }

// export sends a message, and again while that may help and there is time.
func (c *client) export(ctx context.Context, method string, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, c.to.Timeout)
	defer cancel()
	body, err := c.body(message)
	if err != nil {
		return err
	}
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := c.post(ctx, method, body)
		later, ok := errors.AsType[laterError](err)
		if !ok {
			return err
		}
		wait := later.after
		if wait == 0 {
			wait = pause/2 + rand.N(pause)
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// body is the message as it is posted.
func (c *client) body(message []byte) ([]byte, error) {
	if c.to.Gzip {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(message); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		message = b.Bytes()
	}
	if !c.to.GRPC {
		return message, nil
	}
	frame := make([]byte, 5, 5+len(message)) // compressed, and how long it is
	if c.to.Gzip {
		frame[0] = 1
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(len(message)))
	return append(frame, message...), nil
}

// maxAnswer is how much of an answer is read.
const maxAnswer = 64 << 10

// post is one try.
func (c *client) post(ctx context.Context, method string, body []byte) error {
	to := c.to.URL
	if c.to.GRPC {
		to = to.JoinPath(method)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header = c.to.Header.Clone()
	r.Header.Set("User-Agent", "Gatehouse")
	switch {
	case c.to.GRPC:
		r.Header.Set("Content-Type", "application/grpc")
		r.Header.Set("TE", "trailers")
		if c.to.Gzip {
			r.Header.Set("Grpc-Encoding", "gzip")
		}
	default:
		r.Header.Set("Content-Type", "application/x-protobuf")
		if c.to.Gzip {
			r.Header.Set("Content-Encoding", "gzip")
		}
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return laterError{error: err}
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return laterError{error: err}
	}
	if c.to.GRPC {
		if err := grpcStatus(resp); err != nil {
			return err
		}
		answer = answer[min(5, len(answer)):]
	} else if err := httpStatus(resp); err != nil {
		return err
	}
	return refused(answer)
}

// httpStatus returns nil when the collector took the message (OTLP, section
// "OTLP/HTTP Response").
func httpStatus(resp *http.Response) error {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	return unlessLater(resp, fmt.Errorf("the collector answered %d", resp.StatusCode))
}

// unlessLater is err, made one that may pass when the status of HTTP says so. Those
// statuses are the same where a proxy answers for a collector of gRPC (gRPC, "HTTP to
// gRPC Status Code Mapping").
func unlessLater(resp *http.Response, err error) error {
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return laterError{err, retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	}
	return err
}

// retryAfter reads seconds or a date (RFC 9110 section 10.2.3), zero for neither.
func retryAfter(v string, now time.Time) time.Duration {
	if at, err := http.ParseTime(v); err == nil {
		return max(at.Sub(now), 0)
	}
	seconds, _ := strconv.ParseUint(v, 10, 16) // what is more is as good as never
	return time.Duration(seconds) * time.Second
}

// grpcStatus is the same of gRPC. A call that ends at once has its status in the
// header.
func grpcStatus(resp *http.Response) error {
	of := resp.Trailer
	if of.Get("Grpc-Status") == "" {
		of = resp.Header
	}
	code := of.Get("Grpc-Status")
	switch code {
	case "0":
		return nil
	case "":
		return unlessLater(resp, fmt.Errorf("the collector answered %d, and not by gRPC", resp.StatusCode))
	}
	err := fmt.Errorf("the collector answered with the gRPC status %q", code)
	after, told := retryDelay(of.Get("Grpc-Status-Details-Bin"))
	switch code {
	// CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
	case "1", "4", "10", "11", "14", "15":
		return laterError{err, after}
	case "8": // RESOURCE_EXHAUSTED passes when it is said when
		if told {
			return laterError{err, after}
		}
	}
	return err
}

// retryDelay is how long a collector asks to be left alone (google.rpc.RetryInfo,
// among the details of a google.rpc.Status), and whether it does.
func retryDelay(details string) (d time.Duration, told bool) {
	status, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(details, "="))
	if err != nil {
		return 0, false
	}
	fields(status, func(num protowire.Number, _ uint64, detail []byte) {
		if num != 3 {
			return
		}
		var kind string
		var value []byte
		fields(detail, func(num protowire.Number, _ uint64, b []byte) {
			switch num {
			case 1:
				kind = string(b)
			case 2:
				value = b
			}
		})
		if !strings.HasSuffix(kind, "/google.rpc.RetryInfo") {
			return
		}
		told = true
		fields(value, func(num protowire.Number, _ uint64, delay []byte) {
			if num != 1 {
				return
			}
			d = 0
			fields(delay, func(num protowire.Number, v uint64, _ []byte) {
				switch num {
				case 1: // seconds
					d += time.Duration(min(v, math.MaxUint16)) * time.Second
				case 2: // nanoseconds
					d += time.Duration(min(v, uint64(time.Second)))
				}
			})
		})
	})
	return d, told
}

// refused returns an error when the answer says that a part was not taken: it is
// of no use to send it again.
func refused(answer []byte) error {
	// Both messages have partial_success as their field 1, and in it as field 1 how
	// many were not taken.
	var n uint64
	fields(answer, func(num protowire.Number, _ uint64, partial []byte) {
		if num == 1 {
			fields(partial, func(num protowire.Number, v uint64, _ []byte) {
				if num == 1 {
					n = v
				}
			})
		}
	})
	if n > 0 {
		return fmt.Errorf("the collector refused %d of them", n)
	}
	return nil
}

// fields calls visit with the fields of a message, as far as it is one.
func fields(b []byte, visit func(num protowire.Number, v uint64, bytes []byte)) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		b = b[n:]
		var v uint64
		var bytes []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return
		}
		visit(num, v, bytes)
		b = b[n:]
	}
}

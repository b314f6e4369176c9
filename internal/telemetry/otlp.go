package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
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
}

// ExportSpans implements [sdktrace.SpanExporter].
func (e *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.trouble.tell("spans were not taken", e.client.export(ctx, exportTraces, appendSpans(nil, spans)))
	return nil
}

// Shutdown implements [sdktrace.SpanExporter].
func (e *spanExporter) Shutdown(context.Context) error {
	e.client.close()
	return nil
}

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
	err := fmt.Errorf("the collector answered %d", resp.StatusCode)
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16)
		return laterError{err, time.Duration(seconds) * time.Second}
	}
	return err
}

// grpcStatus is the same of gRPC. A call that ends at once has its status in the
// header.
func grpcStatus(resp *http.Response) error {
	code := resp.Trailer.Get("Grpc-Status")
	if code == "" {
		code = resp.Header.Get("Grpc-Status")
	}
	switch code {
	case "0":
		return nil
	case "":
		return fmt.Errorf("the collector answered %d, and not by gRPC", resp.StatusCode)
	}
	err := fmt.Errorf("the collector answered with the gRPC status %q", code)
	switch code {
	// CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
	case "1", "4", "10", "11", "14", "15":
		return laterError{error: err}
	}
	return err
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

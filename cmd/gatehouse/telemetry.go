package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"

	"github.com/gatehouse-id/gatehouse/internal/telemetry"
	"github.com/gatehouse-id/gatehouse/web"
)

// flushTime is how long a collector has, at the end, to take what waits for it.
const flushTime = 5 * time.Second

// openTelemetry is the first thing that is done: what the others do is seen.
func (s *server) openTelemetry() error {
	c := s.config.Telemetry
	c.Scraped = s.config.MetricsAddr
	var err error
	if s.telemetry, err = telemetry.New(c, s.log); err != nil {
		return err
	}
	s.log = slog.New(s.telemetry.Log(s.log.Handler()))
	return nil
}

// closeTelemetry sends what waits. It comes after the requests and the jobs.
func (s *server) closeTelemetry() {
	if s.telemetry == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	s.telemetry.Shutdown(ctx)
}

// traced returns h with its requests seen, or h itself.
func (s *server) traced(h http.Handler) (http.Handler, error) {
	return s.telemetry.Serve(h, telemetry.Server{
		Trusted: func(r *http.Request) bool { return web.ByProxy(r, s.config.TrustedProxies) },
		Quiet:   func(r *http.Request) bool { return isProbe(r.URL.Path) },
		HTTPS:   strings.HasPrefix(s.config.URL, "https:"),
	})
}

// isProbe reports whether a balancer asks there whether the server is well.
func isProbe(path string) bool { return path == "/livez" || path == "/readyz" || path == "/healthz" }

// told is what a handler tells of the pattern that a request's address has; nil
// when nobody wants to know.
func (s *server) told() func(context.Context, string) {
	if !s.telemetry.Tracing() && !s.telemetry.Measuring() {
		return nil
	}
	return telemetry.Route
}

// tracedGRPC are the options that have calls seen, none when nobody looks.
func (s *server) tracedGRPC() []grpc.ServerOption {
	if !s.telemetry.Tracing() && !s.telemetry.Measuring() {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(s.telemetry.TracerProvider()),
		otelgrpc.WithMeterProvider(s.telemetry.MeterProvider()),
		otelgrpc.WithFilter(filters.Not(filters.HealthCheck())),
		otelgrpc.WithPropagators(s.telemetry.Propagator()),
		otelgrpc.WithPublicEndpointFn(func(ctx context.Context, _ *stats.RPCTagInfo) bool { return !s.mayTrace(ctx) }),
	))}
}

// mayTrace reports whether who calls may say which trace the call belongs to: a
// proxy that is trusted, and whoever has shown a certificate.
func (s *server) mayTrace(ctx context.Context) bool {
	if s.config.GRPCClientCA != "" {
		return true
	}
	p, ok := peer.FromContext(ctx)
	return ok && web.ByProxy(&http.Request{RemoteAddr: p.Addr.String()}, s.config.TrustedProxies)
}

// listenMetrics opens the address of the metrics, if there is one.
func (s *server) listenMetrics(ctx context.Context) ([]net.Listener, error) {
	if s.config.MetricsAddr == "" {
		return nil, nil
	}
	return listen(ctx, "GATEHOUSE_METRICS_ADDR", s.config.MetricsAddr)
}

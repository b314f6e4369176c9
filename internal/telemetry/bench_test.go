package telemetry

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gatehouse-id/gatehouse/internal/testenv/collector"
)

// BenchmarkServe is what a request pays on its way through.
func BenchmarkServe(b *testing.B) {
	c := collector.New(b)
	for about, environ := range map[string][]string{
		"off":          nil,
		"not recorded": {"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.HTTP, "OTEL_TRACES_SAMPLER=always_off"},
		"recorded":     {"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.HTTP},
	} {
		b.Run(about, func(b *testing.B) {
			config, err := Parse(environ, "gatehouse", "v1")
			if err != nil {
				b.Fatal(err)
			}
			m, err := New(config, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			defer m.Shutdown(stopped())
			h, err := m.Serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { Route(r.Context(), "/jwks") }), Server{})
			if err != nil {
				b.Fatal(err)
			}
			r, w := httptest.NewRequest(http.MethodGet, "/jwks", nil), httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}

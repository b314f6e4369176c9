package telemetry

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, environ ...string) Config {
	t.Helper()
	c, err := Parse(environ, "gatehouse", "v1")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A wrong value of each variable is one sentence that names it, and repeats
// nothing that may be a secret.
func TestWrongValues(t *testing.T) {
	noPEM := filepath.Join(t.TempDir(), "pem")
	if err := os.WriteFile(noPEM, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318"
	for _, tt := range []struct {
		about string
		env   []string
		err   string
	}{
		{"an endpoint without a scheme", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=hunter2:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be an address such as http://localhost:4318"},
		{"an endpoint of another scheme", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=grpc://localhost:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be an address"},
		{"an endpoint with a password", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://me:hunter2@localhost"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be scheme, host, port and path alone"},
		{"an endpoint of one signal", []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=localhost"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be an address"},
		{"an endpoint of gRPC with a path", []string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317/v1/traces"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be scheme, host and port alone, because OTEL_EXPORTER_OTLP_PROTOCOL is grpc"},
		{"a protocol", []string{endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=http/json"}, `OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or grpc, not "http/json"`},
		{"a protocol without an endpoint", []string{"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=udp"}, `OTEL_EXPORTER_OTLP_METRICS_PROTOCOL must be http/protobuf or grpc, not "udp"`},
		{"a header without a value", []string{endpoint, "OTEL_EXPORTER_OTLP_HEADERS=hunter2"}, "OTEL_EXPORTER_OTLP_HEADERS must be key=value with commas between, percent-encoded"},
		{"a header that is none", []string{endpoint, "OTEL_EXPORTER_OTLP_HEADERS=a b=hunter2"}, "OTEL_EXPORTER_OTLP_HEADERS holds what cannot be a header"},
		{"a header with a second line", []string{endpoint, "OTEL_EXPORTER_OTLP_HEADERS=a=hunter2%0D%0Ab"}, "OTEL_EXPORTER_OTLP_HEADERS holds what cannot be a header"},
		{"headers and their file", []string{endpoint, "OTEL_EXPORTER_OTLP_HEADERS=a=hunter2", "OTEL_EXPORTER_OTLP_HEADERS_FILE=/nowhere"}, "OTEL_EXPORTER_OTLP_HEADERS and OTEL_EXPORTER_OTLP_HEADERS_FILE are both set; unset one"},
		{"a file of headers that is not there", []string{endpoint, "OTEL_EXPORTER_OTLP_HEADERS_FILE=/nowhere"}, "OTEL_EXPORTER_OTLP_HEADERS_FILE names a file that cannot be read: open /nowhere: no such file or directory"},
		{"a compression", []string{"OTEL_EXPORTER_OTLP_COMPRESSION=zstd"}, `OTEL_EXPORTER_OTLP_COMPRESSION must be gzip or none, not "zstd"`},
		{"a timeout", []string{"OTEL_EXPORTER_OTLP_TIMEOUT=10s"}, `OTEL_EXPORTER_OTLP_TIMEOUT must be a number of milliseconds above 0, not "10s"`},
		{"certificates that are not there", []string{"OTEL_EXPORTER_OTLP_CERTIFICATE=/nowhere"}, "OTEL_EXPORTER_OTLP_CERTIFICATE names a file that cannot be read: open /nowhere: no such file or directory"},
		{"certificates that are none", []string{"OTEL_EXPORTER_OTLP_CERTIFICATE=" + noPEM}, "OTEL_EXPORTER_OTLP_CERTIFICATE must name a file of certificates in PEM"},
		{"a certificate without its key", []string{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + noPEM}, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY go together; set both or neither"},
		{"a key that is none", []string{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + noPEM, "OTEL_EXPORTER_OTLP_CLIENT_KEY=" + noPEM}, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY must name a certificate and its private key"},
		{"an exporter of traces", []string{"OTEL_TRACES_EXPORTER=zipkin"}, `OTEL_TRACES_EXPORTER must be otlp or none, not "zipkin"`},
		{"an exporter of metrics", []string{"OTEL_METRICS_EXPORTER=prometheus"}, `OTEL_METRICS_EXPORTER must be otlp or none, not "prometheus"`},
		{"an exporter of logs", []string{"OTEL_LOGS_EXPORTER=otlp"}, `OTEL_LOGS_EXPORTER must be none, not "otlp"`},
		{"a temporality", []string{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta"}, `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE must be cumulative, not "delta"`},
		{"a sampler", []string{"OTEL_TRACES_SAMPLER=sometimes"}, `OTEL_TRACES_SAMPLER must be always_on, always_off or traceidratio, or one of these after parentbased_, not "sometimes"`},
		{"a part above all", []string{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=50"}, `OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, not "50"`},
		{"a part that is no number", []string{"OTEL_TRACES_SAMPLER_ARG=NaN"}, `OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, not "NaN"`},
		{"a propagator", []string{"OTEL_PROPAGATORS=b3"}, `OTEL_PROPAGATORS must be tracecontext or none, not "b3"`},
		{"attributes", []string{"OTEL_RESOURCE_ATTRIBUTES=region"}, "OTEL_RESOURCE_ATTRIBUTES must be key=value with commas between, percent-encoded"},
		{"a delay", []string{"OTEL_BSP_SCHEDULE_DELAY=0"}, `OTEL_BSP_SCHEDULE_DELAY must be a number of milliseconds above 0, not "0"`},
		{"a wait", []string{"OTEL_BSP_EXPORT_TIMEOUT=-1"}, `OTEL_BSP_EXPORT_TIMEOUT must be a number of milliseconds above 0, not "-1"`},
		{"a queue", []string{"OTEL_BSP_MAX_QUEUE_SIZE=many"}, `OTEL_BSP_MAX_QUEUE_SIZE must be a number from 1 to 1048575, not "many"`},
		{"a batch", []string{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE=0"}, `OTEL_BSP_MAX_EXPORT_BATCH_SIZE must be a number from 1 to 1048575, not "0"`},
		{"a batch larger than the queue", []string{"OTEL_BSP_MAX_QUEUE_SIZE=10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=11"}, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE must not be more than OTEL_BSP_MAX_QUEUE_SIZE, which is 10"},
		{"an interval", []string{"OTEL_METRIC_EXPORT_INTERVAL=1m"}, `OTEL_METRIC_EXPORT_INTERVAL must be a number of milliseconds above 0, not "1m"`},
		{"an interval's timeout", []string{"OTEL_METRIC_EXPORT_TIMEOUT=x"}, `OTEL_METRIC_EXPORT_TIMEOUT must be a number of milliseconds above 0, not "x"`},
		{"neither on nor off", []string{"OTEL_SDK_DISABLED=yes"}, `OTEL_SDK_DISABLED must be false or true, not "yes"`},
	} {
		t.Run(tt.about, func(t *testing.T) {
			_, err := Parse(tt.env, "gatehouse", "v1")
			if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
				t.Fatalf("err = %v, want %s", err, tt.err)
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("not one sentence, or a secret: %q", err)
			}
		})
	}
	_, err := Parse([]string{"OTEL_PROPAGATORS=b3", "OTEL_TRACES_SAMPLER=x"}, "gatehouse", "v1")
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two wrong values are %q", err)
	}
}

func TestParse(t *testing.T) {
	t.Run("nothing is off", func(t *testing.T) {
		if c := parse(t, "PATH=/bin", "OTEL_EXPORTER_OTLP_ENDPOINT="); c.Traces != nil || c.Metrics != nil || c.Service != "gatehouse" {
			t.Errorf("%+v", c)
		}
	})
	t.Run("one endpoint is for both, over HTTP", func(t *testing.T) {
		c := parse(t, "OTEL_EXPORTER_OTLP_ENDPOINT=https://collector:4318/in/")
		if c.Traces.URL.String() != "https://collector:4318/in/v1/traces" || c.Metrics.URL.String() != "https://collector:4318/in/v1/metrics" || c.Traces.GRPC {
			t.Errorf("%v, %v", c.Traces, c.Metrics)
		}
		if c.Traces.Timeout != 10*time.Second || c.Delay != 5*time.Second || c.Queue != 2048 || c.Batch != 512 || c.Every != time.Minute || !c.Propagates {
			t.Errorf("%+v", c)
		}
	})
	t.Run("a signal's own endpoint is used as it is", func(t *testing.T) {
		c := parse(t, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://collector/traces")
		if c.Traces.URL.String() != "http://collector/traces" || c.Metrics != nil {
			t.Errorf("%v, %v", c.Traces, c.Metrics)
		}
	})
	t.Run("a signal's own keys win", func(t *testing.T) {
		c := parse(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT=7",
			"OTEL_EXPORTER_OTLP_HEADERS=api-key=a%20b,x=y", "OTEL_EXPORTER_OTLP_METRICS_HEADERS=x=z", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip")
		if c.Traces.GRPC || !c.Metrics.GRPC || c.Metrics.URL.String() != "http://collector" || c.Metrics.Timeout != 7*time.Millisecond || !c.Traces.Gzip {
			t.Errorf("%+v, %+v", c.Traces, c.Metrics)
		}
		if c.Traces.Header.Get("Api-Key") != "a b" || c.Traces.Header.Get("X") != "y" || c.Metrics.Header.Get("X") != "z" || c.Metrics.Header.Get("Api-Key") != "" {
			t.Errorf("%v, %v", c.Traces.Header, c.Metrics.Header)
		}
	})
	t.Run("headers come from a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "headers")
		if err := os.WriteFile(file, []byte("authorization=Bearer%20x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := parse(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector", "OTEL_EXPORTER_OTLP_HEADERS_FILE="+file)
		if c.Traces.Header.Get("Authorization") != "Bearer x" {
			t.Errorf("%v", c.Traces.Header)
		}
	})
	t.Run("one signal, or both, can be turned off", func(t *testing.T) {
		if c := parse(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none"); c.Traces == nil || c.Metrics != nil {
			t.Errorf("%v, %v", c.Traces, c.Metrics)
		}
		if c := parse(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector", "OTEL_SDK_DISABLED=true"); c.Traces != nil || c.Metrics != nil {
			t.Errorf("%v, %v", c.Traces, c.Metrics)
		}
	})
	t.Run("the process has a name and attributes", func(t *testing.T) {
		c := parse(t, "OTEL_RESOURCE_ATTRIBUTES=service.name=a,region=eu%2Cwest", "OTEL_PROPAGATORS=baggage")
		if c.Service != "a" || len(c.Attributes) != 1 || c.Attributes[0].Value.AsString() != "eu,west" || c.Propagates {
			t.Errorf("%+v", c)
		}
		if c := parse(t, "OTEL_RESOURCE_ATTRIBUTES=service.name=a", "OTEL_SERVICE_NAME=b"); c.Service != "b" {
			t.Errorf("%+v", c)
		}
	})
	t.Run("samplers", func(t *testing.T) {
		for name, want := range map[string]string{
			"": "ParentBased{root:AlwaysOnSampler", "always_off": "AlwaysOffSampler", "traceidratio": "TraceIDRatioBased{0.25}",
			"parentbased_traceidratio": "ParentBased{root:TraceIDRatioBased{0.25}", "parentbased_always_off": "ParentBased{root:AlwaysOffSampler",
		} {
			if c := parse(t, "OTEL_TRACES_SAMPLER="+name, "OTEL_TRACES_SAMPLER_ARG=0.25"); !strings.HasPrefix(c.Sampler.Description(), want) {
				t.Errorf("%q is %s, not %s", name, c.Sampler.Description(), want)
			}
		}
	})
	t.Run("a variable that nobody reads is named", func(t *testing.T) {
		if c := parse(t, "OTEL_EXPORTER_ZIPKIN_ENDPOINT=x", "OTEL_LOG_LEVEL=debug"); !slices.Equal(c.Unread, []string{"OTEL_EXPORTER_ZIPKIN_ENDPOINT", "OTEL_LOG_LEVEL"}) {
			t.Errorf("%q", c.Unread)
		}
	})
}

// The help names what Parse reads, and nothing else.
func TestSettings(t *testing.T) {
	p := parser{env: map[string]string{}, read: map[string]bool{}}
	p.config("x")
	said := map[string]bool{}
	for _, s := range Settings() {
		said[s.Key] = true
		if !p.read[s.Key] {
			t.Errorf("nobody reads %s", s.Key)
		}
	}
	for key := range p.read {
		both := strings.NewReplacer("OTLP_TRACES_", "OTLP_", "OTLP_METRICS_", "OTLP_").Replace(strings.TrimSuffix(key, "_FILE"))
		if !said[both] && !said[key] {
			t.Errorf("the help does not name %s", key)
		}
	}
}

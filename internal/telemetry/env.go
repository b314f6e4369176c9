package telemetry

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace"
)

// A Config says what is measured and where it is told. The zero value measures
// nothing.
type Config struct {
	// Service is the attribute service.name, and Version service.version.
	Service, Version string
	// Attributes describe this process beside those.
	Attributes []attribute.KeyValue
	// Traces and Metrics are where they are sent by OTLP; nil is nowhere.
	Traces, Metrics *Destination
	// Scraped is where metrics are read, by [Telemetry.Scrape]; empty is nowhere.
	// It is no variable of OpenTelemetry's.
	Scraped string
	// Sampler says which traces are recorded; nil is all, but for those whose
	// parent was not.
	Sampler trace.Sampler
	// Propagates says that a trace may come from outside.
	Propagates bool
	// Delay, Wait, Queue and Batch are those of the queue of spans: how long one
	// waits for others, how long they may take together, how many may wait and
	// how many are sent at once. Zero is what the specification says.
	Delay, Wait  time.Duration
	Queue, Batch int
	// Every is how often metrics are sent, and Within how long that may take.
	Every, Within time.Duration
	// Unread are variables of OpenTelemetry that say nothing to this program.
	Unread []string
}

// A Destination is a collector.
type Destination struct {
	// URL is where to post, or for gRPC the scheme and host alone.
	URL *url.URL
	// GRPC says which of the two protocols it speaks.
	GRPC bool
	// Header is sent along. It may hold a secret.
	Header http.Header
	// Gzip says that bodies are compressed.
	Gzip bool
	// Timeout is how long one export may take, with all its tries.
	Timeout time.Duration
	// TLS is nil for the system's certificates.
	TLS *tls.Config
}

// A Setting is one variable of the environment.
type Setting struct{ Key, About string }

// Settings are the variables that [Parse] reads, for a program's help.
func Settings() []Setting {
	return []Setting{
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "Where to send traces and metrics: the address of an OpenTelemetry collector, such as http://localhost:4318. Without it nothing is sent. With _TRACES_ or _METRICS_ after OTLP, this and the next seven are about one of the two alone."},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf, which is the default, or grpc."},
		{"OTEL_EXPORTER_OTLP_HEADERS", "Headers to send along, as key=value with commas between, percent-encoded. With _FILE at its end: the file that holds them."},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip, or none, which is the default."},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "How long an export may take, in milliseconds; 10000 by default."},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "A file of certificates in PEM, one of which has signed the collector's."},
		{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "A file with the certificate that this process shows the collector, in PEM."},
		{"OTEL_EXPORTER_OTLP_CLIENT_KEY", "A file with its private key."},
		{"OTEL_TRACES_EXPORTER", "otlp, which is the default, or none."},
		{"OTEL_METRICS_EXPORTER", "otlp, which is the default, or none."},
		{"OTEL_LOGS_EXPORTER", "none: logs go to standard error."},
		{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative: everything is counted from the start of the process."},
		{"OTEL_TRACES_SAMPLER", "Which traces to record: always_on, always_off, traceidratio, or one of these after parentbased_, which keeps to what an earlier span decided. parentbased_always_on by default."},
		{"OTEL_TRACES_SAMPLER_ARG", "The part of the traces that traceidratio records, from 0 to 1."},
		{"OTEL_PROPAGATORS", "tracecontext, which is the default, or none. baggage is understood and not carried on."},
		{"OTEL_SERVICE_NAME", "What this process is called there."},
		{"OTEL_RESOURCE_ATTRIBUTES", "What else is told of it, as key=value with commas between, percent-encoded."},
		{"OTEL_BSP_SCHEDULE_DELAY", "How long a span waits for others, in milliseconds; 5000 by default."},
		{"OTEL_BSP_EXPORT_TIMEOUT", "How long they may take together, in milliseconds; 30000 by default."},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "How many spans may wait; 2048 by default. More are dropped."},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "How many spans are sent at once; 512 by default."},
		{"OTEL_METRIC_EXPORT_INTERVAL", "How often metrics are sent, in milliseconds; 60000 by default."},
		{"OTEL_METRIC_EXPORT_TIMEOUT", "How long that may take, in milliseconds; 30000 by default."},
		{"OTEL_SDK_DISABLED", "true turns everything off that an endpoint turned on."},
	}
}

// Parse reads the environment ("KEY=value"). Service is what the process is
// called unless OTEL_SERVICE_NAME says otherwise. An empty variable is an absent
// one, as the specification says. Its error has one line per wrong variable,
// each saying what to do, and repeats no value that may be a secret.
func Parse(environ []string, service, version string) (Config, error) {
	p := parser{env: map[string]string{}, read: map[string]bool{}}
	for _, e := range environ {
		if k, v, _ := strings.Cut(e, "="); strings.HasPrefix(k, "OTEL_") && v != "" {
			p.env[k] = strings.TrimSpace(v)
		}
	}
	c := p.config(service)
	c.Version = version
	for k := range p.env {
		if !p.read[k] {
			c.Unread = append(c.Unread, k)
		}
	}
	slices.Sort(c.Unread)
	return c, errors.Join(p.errs...)
}

type parser struct {
	env  map[string]string
	read map[string]bool
	errs []error
}

// config reads every key there is.
func (p *parser) config(service string) (c Config) {
	disabled := p.oneOf("OTEL_SDK_DISABLED", "false", "true") == "true"
	p.oneOf("OTEL_LOGS_EXPORTER", "none")
	p.oneOf("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative")
	traces := p.oneOf("OTEL_TRACES_EXPORTER", "otlp", "none") != "none"
	metrics := p.oneOf("OTEL_METRICS_EXPORTER", "otlp", "none") != "none"
	c.Service, c.Attributes = p.resource(service)
	c.Traces = p.destination("TRACES")
	c.Metrics = p.destination("METRICS")
	c.Sampler = p.sampler()
	c.Propagates = p.propagates()
	c.Delay = p.milliseconds("OTEL_BSP_SCHEDULE_DELAY", 5*time.Second)
	c.Wait = p.milliseconds("OTEL_BSP_EXPORT_TIMEOUT", 30*time.Second)
	c.Queue = p.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
	c.Batch = p.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(512, c.Queue))
	if c.Batch > c.Queue {
		p.wrong("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "must not be more than OTEL_BSP_MAX_QUEUE_SIZE, which is %d", c.Queue)
	}
	c.Every = p.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", time.Minute)
	c.Within = p.milliseconds("OTEL_METRIC_EXPORT_TIMEOUT", 30*time.Second)
	if disabled || !traces {
		c.Traces = nil
	}
	if disabled || !metrics {
		c.Metrics = nil
	}
	return c
}

func (p *parser) get(key string) string {
	p.read[key] = true
	return p.env[key]
}

// wrong keeps the sentence "KEY …", once for each key: one that is about both
// signals is read for both.
func (p *parser) wrong(key, format string, args ...any) {
	err := fmt.Errorf(key+" "+format, args...)
	if !slices.ContainsFunc(p.errs, func(e error) bool { return e.Error() == err.Error() }) {
		p.errs = append(p.errs, err)
	}
}

// oneOf returns the value of a key that may have one of these, in any case, or is
// absent.
func (p *parser) oneOf(key string, values ...string) string {
	v := strings.ToLower(p.get(key))
	if v != "" && !slices.Contains(values, v) {
		p.wrong(key, "must be %s, not %q", strings.Join(values, " or "), v)
	}
	return v
}

func (p *parser) milliseconds(key string, absent time.Duration) time.Duration {
	v := p.get(key)
	if v == "" {
		return absent
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || n == 0 {
		p.wrong(key, "must be a number of milliseconds above 0, not %q", v)
		return absent
	}
	return time.Duration(n) * time.Millisecond
}

func (p *parser) number(key string, absent int) int {
	v := p.get(key)
	if v == "" {
		return absent
	}
	n, err := strconv.ParseUint(v, 10, 20)
	if err != nil || n == 0 {
		p.wrong(key, "must be a number from 1 to %d, not %q", 1<<20-1, v)
		return absent
	}
	return int(n)
}

// pairs reads key=value with commas between, percent-encoded: W3C Baggage
// without its properties.
func (p *parser) pairs(key, v string) (pairs [][2]string) {
	for pair := range strings.SplitSeq(v, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		k, err1 := url.PathUnescape(strings.TrimSpace(k))
		v, err2 := url.PathUnescape(strings.TrimSpace(v))
		if !ok || k == "" || err1 != nil || err2 != nil {
			// A header may be a secret.
			p.wrong(key, "must be key=value with commas between, percent-encoded")
			return nil
		}
		pairs = append(pairs, [2]string{k, v})
	}
	return pairs
}

// resource returns what the process is called, and what else is known of it.
func (p *parser) resource(service string) (string, []attribute.KeyValue) {
	const key = "OTEL_RESOURCE_ATTRIBUTES"
	var attributes []attribute.KeyValue
	for _, pair := range p.pairs(key, p.get(key)) {
		if pair[0] == "service.name" {
			service = pair[1]
			continue
		}
		attributes = append(attributes, attribute.String(pair[0], pair[1]))
	}
	return cmp.Or(p.get("OTEL_SERVICE_NAME"), service), attributes
}

func (p *parser) propagates() bool {
	const key = "OTEL_PROPAGATORS"
	v := p.get(key)
	if v == "" {
		return true
	}
	carried := false
	for name := range strings.SplitSeq(v, ",") {
		switch strings.TrimSpace(name) {
		case "tracecontext":
			carried = true
		case "baggage", "none":
		default:
			p.wrong(key, "must be tracecontext or none, not %q", v)
			return false
		}
	}
	return carried
}

func (p *parser) sampler() trace.Sampler {
	const key = "OTEL_TRACES_SAMPLER"
	v, part := p.get(key), p.part()
	name, based := strings.CutPrefix(cmp.Or(v, "parentbased_always_on"), "parentbased_")
	var s trace.Sampler
	switch name {
	case "always_on":
		s = trace.AlwaysSample()
	case "always_off":
		s = trace.NeverSample()
	case "traceidratio":
		s = trace.TraceIDRatioBased(part)
	default:
		p.wrong(key, "must be always_on, always_off or traceidratio, or one of these after parentbased_, not %q", v)
		return nil
	}
	if based {
		s = trace.ParentBased(s)
	}
	return s
}

// part is the argument of traceidratio.
func (p *parser) part() float64 {
	const key = "OTEL_TRACES_SAMPLER_ARG"
	v := p.get(key)
	if v == "" {
		return 1
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f >= 0 && f <= 1) { // also not NaN
		p.wrong(key, "must be a number from 0 to 1, not %q", v)
		return 1
	}
	return f
}

// either returns the value of the signal's own key, or of the one that is about
// both, with its name.
func (p *parser) either(signal, name string) (key, v string) {
	own, both := "OTEL_EXPORTER_OTLP_"+signal+"_"+name, "OTEL_EXPORTER_OTLP_"+name
	v = p.get(both)
	if o := p.get(own); o != "" {
		return own, o
	}
	return both, v
}

// destination is where the signal goes, nil for nowhere. Every key is looked at
// also when it is not needed.
func (p *parser) destination(signal string) *Destination {
	d := &Destination{Header: http.Header{}}
	protocol, v := p.either(signal, "PROTOCOL")
	switch v {
	case "", "http/protobuf":
	case "grpc":
		d.GRPC = true
	default:
		p.wrong(protocol, "must be http/protobuf or grpc, not %q", v)
	}
	switch key, v := p.either(signal, "COMPRESSION"); v {
	case "", "none":
	case "gzip":
		d.Gzip = true
	default:
		p.wrong(key, "must be gzip or none, not %q", v)
	}
	key, _ := p.either(signal, "TIMEOUT")
	d.Timeout = p.milliseconds(key, 10*time.Second)
	p.header(signal, d.Header)
	d.TLS = p.tls(signal)
	key, v = p.either(signal, "ENDPOINT")
	if v == "" {
		return nil
	}
	u, err := url.Parse(v)
	switch {
	// What it is instead is not repeated: it may hold a password.
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		p.wrong(key, "must be an address such as http://localhost:4318")
		return nil
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		p.wrong(key, "must be scheme, host, port and path alone; a password goes into OTEL_EXPORTER_OTLP_HEADERS")
		return nil
	case d.GRPC && strings.Trim(u.Path, "/") != "":
		p.wrong(key, "must be scheme, host and port alone, because %s is grpc", protocol)
		return nil
	case d.GRPC:
		u.Path = ""
	case !strings.Contains(key, signal):
		u = u.JoinPath("v1", strings.ToLower(signal))
	}
	d.URL = u
	return d
}

// header reads what is sent along, from the environment or from a file.
func (p *parser) header(signal string, h http.Header) {
	key, v := p.either(signal, "HEADERS")
	file, name := p.either(signal, "HEADERS_FILE")
	// What is about this signal alone wins, in whichever of the two ways it is said.
	switch own := "_" + signal + "_"; {
	case strings.Contains(key, own) && !strings.Contains(file, own):
		name = ""
	case strings.Contains(file, own) && !strings.Contains(key, own):
		v = ""
	}
	switch {
	case v != "" && name != "":
		p.wrong(key, "and %s are both set; unset one", file)
		return
	case name != "":
		b, err := os.ReadFile(name)
		if err != nil {
			p.wrong(file, "names a file that cannot be read: %w", err)
			return
		}
		key, v = file, strings.TrimSpace(string(b))
	}
	for _, pair := range p.pairs(key, v) {
		if !isHeader(pair[0], pair[1]) {
			p.wrong(key, "holds what cannot be a header")
			return
		}
		h.Set(pair[0], pair[1])
	}
}

// isHeader reports whether that can be a header (RFC 9110 section 5).
func isHeader(name, value string) bool {
	for _, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r) {
			return false
		}
	}
	for _, r := range value {
		if r != '\t' && (r < ' ' || r > '~') {
			return false
		}
	}
	return name != ""
}

func (p *parser) tls(signal string) *tls.Config {
	roots, rootsFile := p.either(signal, "CERTIFICATE")
	cert, certFile := p.either(signal, "CLIENT_CERTIFICATE")
	key, keyFile := p.either(signal, "CLIENT_KEY")
	if rootsFile == "" && certFile == "" && keyFile == "" {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if rootsFile != "" {
		pem, err := os.ReadFile(rootsFile)
		c.RootCAs = x509.NewCertPool()
		switch {
		case err != nil:
			p.wrong(roots, "names a file that cannot be read: %w", err)
		case !c.RootCAs.AppendCertsFromPEM(pem):
			p.wrong(roots, "must name a file of certificates in PEM")
		}
	}
	switch {
	case (certFile == "") != (keyFile == ""):
		p.wrong(cert, "and %s go together; set both or neither", key)
	case certFile != "":
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			// The error may repeat what was read.
			p.wrong(cert, "and %s must name a certificate and its private key in PEM that can be read", key)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

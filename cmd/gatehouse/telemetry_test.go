//go:build !slim

package main

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/internal/testenv/collector"
)

var updateTrace = flag.Bool("update", false, "write the trace in docs/telemetry.md")

const telemetryPage = "../../docs/telemetry.md"

// TestTelemetry has a person register and sign in to an app, at a server and a
// worker that tell a collector, and looks at what arrives there: one trace from the
// form that was posted to what the mail server said, every edge, the metrics, and
// (sec-O1) nothing that anybody keeps secret.
func TestTelemetry(t *testing.T) {
	t.Parallel()
	told := collector.New(t)
	c := clustered(t, 1)
	metricsAddr := "localhost:" + freePort(t)
	c.grpc = []string{"localhost:" + freePort(t)}
	c.client(t, "notes")
	c.env = append(c.env, "GATEHOUSE_GRPC_CLIENT=notes", "GATEHOUSE_METRICS_ADDR="+metricsAddr,
		"OTEL_EXPORTER_OTLP_ENDPOINT="+told.GRPC, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test",
		"OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_METRIC_EXPORT_INTERVAL=200")
	c.start(t)
	office := newPostOffice(t, 0)
	startWorker(t, "GATEHOUSE_VALKEY_URL="+c.valkeyURL, "GATEHOUSE_MAIL_KEY="+hexKey,
		"GATEHOUSE_SMTP_URL="+office.url, "GATEHOUSE_MAIL_FROM=Meridian ID <no-reply@id.example>",
		"OTEL_EXPORTER_OTLP_ENDPOINT="+told.HTTP, "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_METRIC_EXPORT_INTERVAL=200")

	const email, password = "canary.mailbox@example.org", "river lantern mosaic"
	secrets := map[string]string{"address": email, "mailbox": "canary.mailbox", "password": password, "code verifier": verifier, "state": "canary-state"}
	app := oauth2.Config{
		ClientID: "notes", RedirectURL: callback, Scopes: []string{"openid", "email", "offline_access"},
		Endpoint: oauth2.Endpoint{AuthURL: c.at(0) + "/authorize", TokenURL: c.at(0) + "/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	b := newBrowser(t, c.at(0), callback)
	b.open(app.AuthCodeURL("canary-state", oauth2.S256ChallengeOption(verifier)))
	register := regexp.MustCompile(`href="(/register[^"]*)"`).FindStringSubmatch(b.page)
	if register == nil {
		t.Fatalf("no link to registration on\n%s", b.page)
	}
	b.open(c.at(0) + html.UnescapeString(register[1]))
	b.submit("register-form", url.Values{"name": {"Ada Canary"}, "email": {email}, "password": {password}})
	secrets["name"] = "Ada Canary"
	var code string
	await(t, "a letter brings a code", func() bool {
		for _, l := range office.taken() {
			if m := eightDigits.FindStringSubmatch(l); m != nil {
				code = m[1] + m[2]
			}
		}
		return code != ""
	})
	secrets["mailed code"] = code
	b.submit("verify-form", url.Values{"code": {"0000 0000"}})
	b.submit("verify-form", url.Values{"code": {code}})
	onward := regexp.MustCompile(`href="(/authorize[^"]*)"`).FindStringSubmatch(b.page)
	if onward == nil {
		t.Fatalf("no way on, on\n%s", b.page)
	}
	b.open(c.at(0) + html.UnescapeString(onward[1]))
	if b.app == nil {
		t.Fatalf("the app got no code:\n%s", b.page)
	}
	secrets["authorization code"] = b.app.Query().Get("code")
	tokens, err := app.Exchange(t.Context(), secrets["authorization code"], oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	next := c.refresh(t, 0, "notes", tokens.RefreshToken)
	secrets["access token"], secrets["refresh token"], secrets["next refresh token"] = tokens.AccessToken, tokens.RefreshToken, next.RefreshToken
	if got := c.userinfo(t, 0, next.AccessToken); got != http.StatusOK {
		t.Errorf("userinfo is %d", got)
	}
	secrets["next access token"], secrets["wrong token"] = next.AccessToken, "canary-wrong-token"
	if got := c.userinfo(t, 0, "canary-wrong-token"); got != http.StatusUnauthorized {
		t.Errorf("userinfo is %d", got)
	}
	if resp, err := c.http.Get(c.at(0) + "/canary-path/" + code + "?canary-query=" + code); err == nil {
		_ = resp.Body.Close()
	}
	secrets["path"], secrets["query"] = "canary-path", "canary-query"
	here, err := url.Parse(c.at(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range b.http.Jar.Cookies(here) {
		if len(cookie.Value) >= 16 {
			secrets["cookie "+cookie.Name] = cookie.Value
		}
	}
	conn, err := grpc.NewClient(c.grpc[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer canary-header")
	_, err = authv1.NewAuthenticationServiceClient(conn).Login(ctx, &authv1.LoginRequest{Email: email, Password: "wrong lantern mosaic"})
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("a wrong password is %v", err)
	}
	secrets["wrong password"], secrets["header"] = "wrong lantern mosaic", "canary-header"

	spans := map[string]collector.Span{}
	named := func(name string) bool {
		for _, s := range told.Spans() {
			spans[s.Service+" "+s.Name] = s
		}
		_, ok := spans[name]
		return ok
	}
	for _, want := range []string{
		"gatehouse POST /register", "gatehouse POST /verify", "gatehouse POST /token", "gatehouse GET /userinfo", "gatehouse GET /authorize", "gatehouse GET",
		"gatehouse gatehouse.auth.v1.AuthenticationService/Login", "gatehouse-worker process mail", "gatehouse-worker SMTP",
	} {
		await(t, "the span "+want+" arrives", func() bool { return named(want) })
	}

	t.Run("one trace goes from the form to the mail server's reply", func(t *testing.T) {
		form, task, mail := spans["gatehouse POST /register"], spans["gatehouse-worker process mail"], spans["gatehouse-worker SMTP"]
		if task.TraceID() != form.TraceID() || task.ParentID() != form.SpanID() || mail.ParentID() != task.SpanID() {
			t.Errorf("the form is %v, the task %v, the letter %v", form, task, mail)
		}
		if mail.Attributes["gatehouse.smtp.reply_code"] != "250" || task.Attributes["gatehouse.letter.outcome"] != "sent" || form.Attributes["http.response.status_code"] != "303" {
			t.Errorf("the form is %v, the task %v, the letter %v", form.Attributes, task.Attributes, mail.Attributes)
		}
		page, err := os.ReadFile(telemetryPage)
		if err != nil {
			t.Fatal(err)
		}
		block := regexp.MustCompile("(?s)(<!-- TestTelemetry -->\n```text\n)(.*?)(```\n)")
		was := block.FindSubmatch(page)
		if was == nil {
			t.Fatalf("%s has no block for the trace", telemetryPage)
		}
		// What is asked for above may have overtaken the rest.
		var tree string
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if tree = told.Tree(form.TraceID(), shown); tree == string(was[2]) {
				return
			}
		}
		if !*updateTrace {
			t.Fatalf("%s shows\n%s\nand what arrived is\n%s\ngo test -run TestTelemetry -update writes it", telemetryPage, was[2], tree)
		}
		page = block.ReplaceAllFunc(page, func([]byte) []byte { return slices.Concat(was[1], []byte(tree), was[3]) })
		if err := os.WriteFile(telemetryPage, page, 0o644); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("statements and commands are called by their names", func(t *testing.T) {
		var sql, valkey int
		for _, s := range told.Spans() {
			switch s.Attributes["db.system.name"] {
			case "postgresql":
				sql++
				if s.ParentID() == "" || s.Attributes["db.query.summary"] != s.Name || s.Attributes["db.query.text"] == "" {
					t.Errorf("a statement is %v", s)
				}
			case "redis":
				valkey++
				if s.ParentID() == "" || !regexp.MustCompile(`^[A-Z]+$`).MatchString(s.Name) {
					t.Errorf("a command is %v", s)
				}
			}
		}
		if sql < 20 || valkey < 10 {
			t.Errorf("%d statements and %d commands", sql, valkey)
		}
	})

	t.Run("metrics arrive, and can be read", func(t *testing.T) {
		for _, want := range []string{
			"http.server.request.duration", "rpc.server.call.duration", "db.client.operation.duration", "db.client.connection.count",
			"go.goroutine.count", "process.memory.usage",
		} {
			await(t, want+" arrives", func() bool { return told.Metrics()[want] != nil })
		}
		resp, err := http.Get("http://" + metricsAddr + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_code="303",http_route="/register",network_protocol_version="1.1",url_scheme="http"} 1`,
			`db_client_operation_duration_seconds_bucket{`, `target_info{deployment_environment_name="test",service_instance_id="`,
		} {
			if !bytes.Contains(text, []byte(want)) {
				t.Errorf("no %s in\n%s", want, text)
			}
		}
		for name, value := range secrets {
			if bytes.Contains(text, []byte(value)) {
				t.Errorf("sec-O1: the %s stands in the metrics", name)
			}
		}
	})

	t.Run("both processes say what they are", func(t *testing.T) {
		for _, service := range []string{"gatehouse", "gatehouse-worker"} {
			if r := told.Resource(service); r["service.instance.id"] == "" || r["service.version"] == "" {
				t.Errorf("%s is %v", service, r)
			}
		}
	})

	t.Run("sec-O1: nothing secret arrives", func(t *testing.T) {
		all := told.Bytes()
		if !bytes.Contains(all, []byte("POST /register")) {
			t.Fatal("this looks at the wrong bytes")
		}
		for name, value := range secrets {
			if value == "" {
				t.Errorf("there is no %s", name)
				continue
			}
			for form, v := range map[string]string{"": value, " in hex": hex.EncodeToString([]byte(value)), " escaped": url.QueryEscape(value)} {
				if bytes.Contains(all, []byte(v)) {
					t.Errorf("the %s%s arrives", name, form)
				}
			}
		}
	})
}

// shown is a span as the page shows it.
func shown(s collector.Span) string {
	line := s.Name
	for _, key := range []string{"http.response.status_code", "gatehouse.letter.kind", "gatehouse.letter.outcome", "gatehouse.smtp.reply_code"} {
		if v := s.Attributes[key]; v != "" {
			line += fmt.Sprintf(" %s=%s", key[strings.LastIndex(key, ".")+1:], v)
		}
	}
	system := s.Attributes["db.system.name"]
	if system == "redis" {
		system = "valkey"
	}
	if system != "" {
		return system + ": " + line
	}
	return s.Service + ": " + line
}

// startWorker builds and runs gatehouse-worker, until the test ends.
func startWorker(t *testing.T, environ ...string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "gatehouse-worker")
	if out, err := exec.Command("go", "build", "-o", program, "../worker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var log ledger
	cmd := exec.Command(program)
	cmd.Env, cmd.Stderr = environ, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended before
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the log of the worker:\n%s", log.String())
		}
	})
}

// A collector that hangs or is not there is no request's concern, and the server
// ends in time.
func TestTelemetryWithoutCollector(t *testing.T) {
	t.Parallel()
	hangs, err := net.Listen("tcp", "127.0.0.1:0") // and accepts nobody
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hangs.Close() })
	for about, endpoint := range map[string]string{"hangs": "http://" + hangs.Addr().String(), "is not there": "http://127.0.0.1:1"} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			c, err := parseConfig([]string{
				"GATEHOUSE_STATE_DIR=" + filepath.Join(t.TempDir(), "state"), "GATEHOUSE_ADDR=localhost:" + freePort(t),
				"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint, "OTEL_BSP_SCHEDULE_DELAY=1", "OTEL_METRIC_EXPORT_INTERVAL=10",
				// Whoever waited for the collector would do so for an hour.
				"OTEL_EXPORTER_OTLP_TIMEOUT=3600000", "OTEL_BSP_EXPORT_TIMEOUT=3600000", "OTEL_METRIC_EXPORT_TIMEOUT=3600000",
			})
			if err != nil {
				t.Fatal(err)
			}
			s := built(t, c)
			s.ready.Store(true)
			within := func(what string, do func()) {
				t.Helper()
				done := make(chan struct{})
				go func() {
					do()
					close(done)
				}()
				select {
				case <-done:
				case <-time.After(time.Minute):
					t.Fatalf("%s waits for the collector", what)
				}
			}
			within("a request", func() {
				for range 200 {
					if got := get(s.handler, "/jwks").Code; got != http.StatusOK {
						t.Errorf("/jwks is %d", got)
					}
				}
			})
			within("the end", s.closeTelemetry) // for flushTime at most
		})
	}
}

// Without an endpoint and an address for metrics the server says so, and requests
// do not pass through anything of telemetry's.
func TestTelemetryOff(t *testing.T) {
	var log ledger
	c := embeddedConfig(t)
	s, err := build(t.Context(), c, slog.New(slog.NewTextHandler(&log, nil)), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	if n := strings.Count(log.String(), "telemetry is off"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
	if kind := fmt.Sprintf("%T", s.handler); strings.Contains(kind, "telemetry") {
		t.Errorf("requests go to a %s", kind)
	}
	if s.told() != nil || s.tracedGRPC() != nil {
		t.Error("somebody is told of requests")
	}
}

// Over gRPC a trace goes on that a trusted proxy brings, or who has shown a
// certificate; a stranger's does not.
func TestMayTrace(t *testing.T) {
	trusted, err := parseNetworks("10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		about string
		c     Config
		from  string
		want  bool
	}{
		{"a stranger", Config{TrustedProxies: trusted}, "192.0.2.1", false},
		{"a trusted proxy", Config{TrustedProxies: trusted}, "10.1.2.3", true},
		{"anybody when no proxy is trusted", Config{}, "10.1.2.3", false},
		{"who has shown a certificate", Config{GRPCClientCA: "x"}, "192.0.2.1", true},
	} {
		t.Run(tt.about, func(t *testing.T) {
			s := &server{config: tt.c}
			ctx := peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(tt.from), Port: 4000}})
			if got := s.mayTrace(ctx); got != tt.want {
				t.Errorf("may trace: %v", got)
			}
		})
	}
}

// A wrong value of each variable of OpenTelemetry stops the start; what each is
// told stands in internal/telemetry.
func TestWrongTelemetry(t *testing.T) {
	t.Parallel()
	for environ, want := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://me:hunter2@collector": "OTEL_EXPORTER_OTLP_ENDPOINT must be scheme, host, port and path alone",
		"OTEL_EXPORTER_OTLP_PROTOCOL=udp":                         "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or grpc",
		"OTEL_EXPORTER_OTLP_HEADERS=hunter2":                      "OTEL_EXPORTER_OTLP_HEADERS must be key=value",
		"OTEL_TRACES_SAMPLER=sometimes":                           "OTEL_TRACES_SAMPLER must be always_on",
		"OTEL_TRACES_SAMPLER_ARG=2":                               "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1",
		"OTEL_PROPAGATORS=b3":                                     "OTEL_PROPAGATORS must be tracecontext or none",
		"GATEHOUSE_METRICS_ADDR=9464":                             "GATEHOUSE_METRICS_ADDR must be host:port",
		"GATEHOUSE_METRICS_ADDR=0.0.0.0:9464":                     "GATEHOUSE_METRICS_ADDR is 0.0.0.0:9464, open to other machines",
	} {
		t.Run(environ, func(t *testing.T) {
			code, said := served(t, "HOME="+t.TempDir(), "GATEHOUSE_ADDR=localhost:"+freePort(t), environ)
			wantStopped(t, code, said, want)
		})
	}
}

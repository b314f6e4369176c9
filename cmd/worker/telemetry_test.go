package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/emersion/go-smtp"
	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/gatehouse-id/gatehouse/internal/testenv/collector"
	"github.com/gatehouse-id/gatehouse/internal/testenv/freeport"
	"github.com/gatehouse-id/gatehouse/mail"
)

// clerk takes every letter.
type clerk struct{}

func (clerk) Reset()                               {}
func (clerk) Logout() error                        { return nil }
func (clerk) Mail(string, *smtp.MailOptions) error { return nil }
func (clerk) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (clerk) Data(r io.Reader) error               { _, err := io.Copy(io.Discard, r); return err }

// A letter is sent in the trace that its server wrote it in, whichever protocol the
// worker's collector speaks; and when the worker ends, nothing waits any more.
func TestTelemetry(t *testing.T) {
	office := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return clerk{}, nil }))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = office.Serve(l) }()
	t.Cleanup(func() { _ = office.Close() })
	key := bytes.Repeat([]byte{0xab}, mail.KeySize)
	sealer, err := mail.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			v := miniredis.RunT(t)
			told := collector.New(t)
			endpoint := told.HTTP
			if protocol == "grpc" {
				endpoint = told.GRPC
			}
			server := trace.NewTracerProvider()
			written, form := server.Tracer("server").Start(t.Context(), "POST /register")
			letter := mail.Letter{Kind: mail.AccountVerification, To: "canary@example.org", Code: "48210937"}
			id, sealed, err := sealer.Seal(written, letter)
			if err != nil {
				t.Fatal(err)
			}
			form.End()
			queue := asynq.NewClient(asynq.RedisClientOpt{Addr: v.Addr()})
			defer func() { _ = queue.Close() }()
			if _, err := queue.Enqueue(asynq.NewTask("letter:"+letter.Kind, sealed), asynq.TaskID(id), asynq.Queue("mail")); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			metrics := "127.0.0.1:" + freeport.For(t)
			var log bytes.Buffer // to be read when the worker has ended
			ended := make(chan error, 1)
			go func() {
				ended <- run(ctx, nil, []string{
					"GATEHOUSE_VALKEY_URL=valkey://" + v.Addr(), "GATEHOUSE_MAIL_KEY=" + strings.Repeat("ab", mail.KeySize),
					"GATEHOUSE_SMTP_URL=smtp://" + l.Addr().String(), "GATEHOUSE_MAIL_FROM=no-reply@id.example", "GATEHOUSE_METRICS_ADDR=" + metrics,
					"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol, "OTEL_SERVICE_NAME=postman",
				}, io.Discard, &log)
			}()
			var text []byte
			for deadline := time.Now().Add(time.Minute); !bytes.Contains(text, []byte(`outcome="sent"`)); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("the metrics do not tell of a letter:\n%s", text)
				}
				resp, err := http.Get("http://" + metrics + "/metrics")
				if err != nil {
					continue
				}
				text, _ = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			stop()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			tree := told.Tree(form.SpanContext().TraceID().String(), func(s collector.Span) string {
				return s.Service + " " + s.Name + " " + s.Attributes["gatehouse.smtp.reply_code"]
			})
			if want := "postman process mail \n  postman SMTP 250\n"; tree != want {
				t.Errorf("arrived\n%s\nwant\n%s", tree, want)
			}
			if told.Metrics()["process.cpu.time"] == nil {
				t.Errorf("the metrics are %v", told.Metrics())
			}
			for _, secret := range []string{"canary", "48210937", strings.Repeat("ab", 8)} {
				if bytes.Contains(told.Bytes(), []byte(secret)) || bytes.Contains(text, []byte(secret)) {
					t.Errorf("sec-O1: %s is told", secret)
				}
			}
			if strings.Contains(log.String(), `"WARN"`) {
				t.Errorf("the log is\n%s", log.String())
			}
		})
	}
}

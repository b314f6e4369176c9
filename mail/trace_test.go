package mail

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/emersion/go-smtp"
	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// recorder keeps the spans that are made by t.
func recorder(t *testing.T) (*tracetest.SpanRecorder, trace.Tracer) {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r))
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return r, p.Tracer("test")
}

func attributesOf(s sdktrace.ReadOnlySpan) map[string]attribute.Value {
	m := map[string]attribute.Value{}
	for _, a := range s.Attributes() {
		m[string(a.Key)] = a.Value
	}
	return m
}

// A letter is sent in the trace that it was written in, and its spans say what came
// of it and nothing of whom it was for.
func TestTraceOfALetter(t *testing.T) {
	for _, tt := range []struct {
		about   string
		answer  *smtp.SMTPError
		outcome string
		code    int64
	}{
		{about: "a letter that is taken", outcome: "sent", code: 250},
		{about: "a letter that is refused", answer: &smtp.SMTPError{Code: 550, Message: "asha@example.com: no such person"}, outcome: "refused", code: 550},
		{about: "a letter that comes again", answer: &smtp.SMTPError{Code: 451, Message: "asha@example.com: later"}, outcome: "failed", code: 451},
	} {
		t.Run(tt.about, func(t *testing.T) {
			var answers []*smtp.SMTPError
			if tt.answer != nil {
				answers = append(answers, tt.answer)
			}
			p := newPost(t, answers...)
			sender, err := NewSMTP(SMTPConfig{URL: p.url, From: "Meridian ID <no-reply@id.example>"})
			if err != nil {
				t.Fatal(err)
			}
			seen, tracer := recorder(t)
			sealer := newTestSealer(t, 1)
			w, err := NewWorker(WorkerConfig{ValkeyURL: "valkey://" + miniredis.RunT(t).Addr(), Sealer: sealer, Sender: sender, Log: slog.New(slog.DiscardHandler), Tracer: tracer})
			if err != nil {
				t.Fatal(err)
			}
			ctx, form := tracer.Start(t.Context(), "POST /register")
			l := Letter{Kind: AccountVerification, To: "asha@example.com", Code: "48210937", At: noon}
			id, sealed, err := sealer.Seal(ctx, l)
			if err != nil {
				t.Fatal(err)
			}
			form.End()
			opened, err := sealer.open(id, l.Kind, sealed)
			if err != nil {
				t.Fatal(err)
			}
			// The queue gives the id by its context, which only it can make.
			outcome, err := w.deliverOpen(t.Context(), id, opened)
			if outcome != tt.outcome || (err == nil) != (tt.answer == nil) || errors.Is(err, asynq.SkipRetry) != (tt.code == 550) {
				t.Errorf("outcome %q, %v", outcome, err)
			}
			ended := seen.Ended()
			if len(ended) != 3 {
				t.Fatalf("%d spans", len(ended))
			}
			said, task := ended[1], ended[2]
			if task.Name() != "process mail" || task.SpanKind() != trace.SpanKindConsumer || task.Parent().SpanID() != form.SpanContext().SpanID() || !task.Parent().IsRemote() {
				t.Errorf("the task is %v below %v", task.Name(), task.Parent())
			}
			if said.Name() != "SMTP" || said.SpanKind() != trace.SpanKindClient || said.Parent().SpanID() != task.SpanContext().SpanID() || said.SpanContext().TraceID() != form.SpanContext().TraceID() {
				t.Errorf("the conversation is %v below %v", said.Name(), said.Parent())
			}
			if got := attributesOf(task)["gatehouse.letter.outcome"].AsString(); got != tt.outcome {
				t.Errorf("the outcome is %q", got)
			}
			if got := attributesOf(said)["gatehouse.smtp.reply_code"].AsInt64(); got != tt.code {
				t.Errorf("the reply is %d", got)
			}
			for _, s := range []sdktrace.ReadOnlySpan{task, said} {
				if failed := s.Status().Code == codes.Error; failed != (tt.answer != nil) || s.Status().Description != "" || len(s.Events()) != 0 {
					t.Errorf("%s has the status %v and the events %v", s.Name(), s.Status(), s.Events())
				}
				for k, v := range attributesOf(s) {
					if strings.Contains(v.String(), "asha") || strings.Contains(v.String(), "48210937") {
						t.Errorf("sec-O1: %s is %s", k, v.String())
					}
				}
			}
		})
	}
}

// What was sealed before there were traces opens, and what has one opens for who
// knows none.
func TestTraceIsOptional(t *testing.T) {
	s := newTestSealer(t, 1)
	l := Letter{Kind: Test, To: "asha@example.com"}
	id, sealed, err := s.Seal(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := s.open(id, l.Kind, sealed)
	if err != nil || opened.Trace != "" || opened.Letter != l {
		t.Errorf("%+v, %v", opened, err)
	}
	if ctx := inTrace(t.Context(), opened.Trace); trace.SpanContextFromContext(ctx).IsValid() {
		t.Error("a trace comes from nowhere")
	}
	_, tracer := recorder(t)
	ctx, span := tracer.Start(t.Context(), "x")
	defer span.End()
	id, sealed, err = s.Seal(ctx, l)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Open(id, l.Kind, sealed); err != nil || got != l {
		t.Errorf("%+v, %v", got, err)
	}
}

// A try at a notice is a trace of its own, and what is done in it is part of it.
func TestTraceOfANotice(t *testing.T) {
	v := miniredis.RunT(t)
	seen, tracer := recorder(t)
	told := make(chan trace.SpanContext, 1)
	w, err := NewNoticeWorker(NoticeWorkerConfig{ValkeyURL: "valkey://" + v.Addr(), Log: slog.New(slog.DiscardHandler), Tracer: tracer,
		Tell: func(ctx context.Context, _ string) error {
			told <- trace.SpanContextFromContext(ctx)
			return errors.New("https://asha.example is not there")
		}})
	if err != nil {
		t.Fatal(err)
	}
	queue := asynq.NewClient(asynq.RedisClientOpt{Addr: v.Addr()})
	t.Cleanup(func() { _ = queue.Close() })
	if _, err := queue.Enqueue(asynq.NewTask(noticeTask, nil), asynq.TaskID("n1"), asynq.Queue(noticeQueue)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	inside := <-told
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	spans := seen.Ended()
	if len(spans) != 1 || spans[0].Name() != "process notices" || spans[0].SpanContext().SpanID() != inside.SpanID() || spans[0].Status().Code != codes.Error {
		t.Fatalf("%d spans, %v", len(spans), spans)
	}
	of := attributesOf(spans[0])
	if of["messaging.message.id"].AsString() != "n1" || of["gatehouse.notice.outcome"].AsString() != "failed" || strings.Contains(spans[0].Status().Description, "asha") {
		t.Errorf("%v", of)
	}
}

package otelx_test

import (
	"errors"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/ory/x/otelx"
)

// notes are what happened to a span.
type notes struct {
	recorded error
	status   codes.Code
	text     string
	ended    bool
}

// span takes notes. noop.Span brings the methods that no test here looks at.
type span struct {
	noop.Span
	notes
}

func (s *span) RecordError(err error, _ ...trace.EventOption) { s.recorded = err }
func (s *span) SetStatus(c codes.Code, text string)           { s.status, s.text = c, text }
func (s *span) End(...trace.SpanEndOption)                    { s.ended = true }

func TestEnd(t *testing.T) {
	failed := errors.New("failed")
	var none error
	for _, c := range []struct {
		name string
		err  *error
		want notes
	}{
		{"a span without an error variable just ends", nil, notes{ended: true}},
		{"a span whose function succeeded just ends", &none, notes{ended: true}},
		{"a span whose function failed records why", &failed, notes{recorded: failed, status: codes.Error, text: "failed", ended: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got span
			otelx.End(&got, c.err)
			if got.notes != c.want {
				t.Errorf("End left %+v, want %+v", got.notes, c.want)
			}
		})
	}
}

// fosite writes `defer otelx.End(span, &err)` and sets err later.
func TestEndSeesTheErrorOfADeferredCall(t *testing.T) {
	var got span
	failed := errors.New("failed")
	err := func() (err error) {
		defer otelx.End(&got, &err)
		return failed
	}()
	if !errors.Is(err, failed) || !errors.Is(got.recorded, failed) {
		t.Errorf("the span recorded %v, want %v", got.recorded, failed)
	}
}

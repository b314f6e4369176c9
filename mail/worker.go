package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// WorkerConfig is what a Worker is made of.
type WorkerConfig struct {
	// ValkeyURL is where the queue is: valkey:// or valkeys://.
	ValkeyURL string
	// Sealer opens letters and Sender sends them. Required.
	Sealer *Sealer
	Sender Sender
	// Brand is what the letters call us; empty is "Gatehouse".
	Brand string
	// Now is the time; nil is time.Now.
	Now func() time.Time
	// Log is where trouble is told; nil is slog.Default.
	Log *slog.Logger
	// Meter measures the tries; nil measures nothing.
	Meter metric.Meter
	// Tracer makes spans of them, in the traces that the letters were written in;
	// nil makes none.
	Tracer trace.Tracer
}

// A Worker sends the letters of the queue. Any number may run over one queue.
type Worker struct {
	server *asynq.Server
	sealer *Sealer
	sender Sender
	writer *writer
	now    func() time.Time
	log    *slog.Logger
	// firstRetry is how long to wait after the first failure; twice as long
	// after each one more.
	firstRetry time.Duration
	meters     workerMeters
	tracer     trace.Tracer
}

// NewWorker returns a Worker. It connects when it runs.
func NewWorker(c WorkerConfig) (*Worker, error) {
	if c.Sealer == nil || c.Sender == nil {
		return nil, errors.New("mail: Sealer and Sender are required")
	}
	conn, err := connection(c.ValkeyURL)
	if err != nil {
		return nil, err
	}
	if c.Brand == "" {
		c.Brand = DefaultBrand
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	writer, err := newWriter(c.Brand)
	if err != nil {
		return nil, err
	}
	meters, err := newWorkerMeters(c.Meter)
	if err != nil {
		return nil, err
	}
	w := &Worker{sealer: c.Sealer, sender: c.Sender, writer: writer, now: c.Now, log: c.Log, firstRetry: firstRetry, meters: meters, tracer: tracerOr(c.Tracer)}
	w.server = asynq.NewServer(conn, asynq.Config{
		Queues:                   map[string]int{queue: 1},
		Concurrency:              8,
		TaskCheckInterval:        100 * time.Millisecond, // asynq polls; somebody waits for the code
		DelayedTaskCheckInterval: time.Second,
		RetryDelayFunc:           w.retryDelay,
		ShutdownTimeout:          sendTimeout,
		Logger:                   queueLog{c.Log},
		LogLevel:                 asynq.WarnLevel,
		ErrorHandler: asynq.ErrorHandlerFunc(func(ctx context.Context, t *asynq.Task, err error) {
			id, _ := asynq.GetTaskID(ctx)
			c.Log.WarnContext(ctx, "mail: letter not sent", "letter", id,
				"kind", strings.TrimPrefix(t.Type(), taskPrefix), "err", err)
		}),
	})
	return w, nil
}

// Run sends letters until ctx ends; those being sent are finished first. It
// returns an error at once when Valkey does not answer.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.server.Ping(); err != nil {
		return fmt.Errorf("mail: reach Valkey: %w", err)
	}
	if err := w.server.Start(asynq.HandlerFunc(w.handle)); err != nil {
		return fmt.Errorf("mail: start worker: %w", err)
	}
	<-ctx.Done()
	w.server.Shutdown()
	return nil
}

// handle sends one letter.
func (w *Worker) handle(ctx context.Context, t *asynq.Task) error {
	began := time.Now()
	outcome, err := w.deliver(ctx, t)
	w.meters.tries.Record(ctx, time.Since(began), outcome)
	return err
}

// deliver makes one try at a letter and says what came of it.
func (w *Worker) deliver(ctx context.Context, t *asynq.Task) (outcome string, _ error) {
	id, _ := asynq.GetTaskID(ctx)
	l, err := w.sealer.open(id, strings.TrimPrefix(t.Type(), taskPrefix), t.Payload())
	if err != nil {
		// Not SkipRetry: a worker with the right key may take the next try.
		return outcomeSealed, err
	}
	return w.deliverOpen(ctx, id, l)
}

// deliverOpen makes one try at an open letter, in the trace it was written in.
func (w *Worker) deliverOpen(ctx context.Context, id string, l sealedLetter) (outcome string, err error) {
	ctx, span := processing(inTrace(ctx, l.Trace), w.tracer, queue, id, attribute.String("gatehouse.letter.kind", l.Kind))
	defer span.End()
	outcome, err = w.try(ctx, id, l.Letter)
	span.SetAttributes(attribute.String("gatehouse.letter.outcome", outcome))
	if err != nil {
		failed(span, outcome)
	}
	return outcome, err
}

// try is deliverOpen within its span.
func (w *Worker) try(ctx context.Context, id string, l Letter) (outcome string, _ error) {
	now := w.now()
	if !l.ExpiresAt.IsZero() && !now.Before(l.ExpiresAt) {
		// Done, and not given up: an operator can mend nothing about it.
		w.log.WarnContext(ctx, "mail: letter skipped: its deadline has passed", "letter", id, "kind", l.Kind)
		return outcomeLate, nil
	}
	m, err := w.writer.write(id, l, now)
	if err != nil {
		// Not SkipRetry: a newer worker may know the kind.
		return outcomeUnwritten, dueError{err, l.ExpiresAt}
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	switch err = w.sender.Send(ctx, m); {
	case err == nil:
		if !l.At.IsZero() {
			w.meters.delay.Record(ctx, max(w.now().Sub(l.At), 0))
		}
		return outcomeSent, nil
	case errors.Is(err, ErrRefused):
		return outcomeRefused, fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	return outcomeFailed, dueError{err, l.ExpiresAt}
}

// A dueError is a failure that may pass, of a letter that has to be sent by
// then; zero is never.
type dueError struct {
	error
	by time.Time
}

func (e dueError) Unwrap() error { return e.error }

// retryDelay is how long to wait after the nth failure, counted from zero. The
// first tries come soon, because a code lives five minutes, and none comes
// after the deadline: it waits for half of what is left at most.
func (w *Worker) retryDelay(n int, err error, _ *asynq.Task) time.Duration {
	d := min(w.firstRetry<<min(n, 8), maxDelay)
	if due, ok := errors.AsType[dueError](err); ok && !due.by.IsZero() {
		d = min(d, due.by.Sub(w.now())/2)
	}
	return d
}

package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-id/gatehouse/internal/meter"
)

const (
	// noticeQueue is asynq's queue of notices and noticeTask the type of a task,
	// whose id is the notice's and which has no payload.
	noticeQueue = "notices"
	noticeTask  = "notice"
	// noticeTries is more than the relay's deadline lets there be.
	noticeTries = 10000
	// noticeTimeout ends a try that did not end by itself.
	noticeTimeout = 30 * time.Second
	// noticesAtOnce is how many tries a server makes at a time. They wait for
	// others to answer and cost next to nothing.
	noticesAtOnce = 32
)

// A Notice is something that another server is to be told.
type Notice struct {
	ID        string
	CreatedAt time.Time
	// Deadline is when it is no longer told.
	Deadline time.Time
}

// NoticeRelayConfig is what a relay of notices is made of.
type NoticeRelayConfig struct {
	// Pending returns up to limit notices neither told nor given up, the oldest
	// first. Told and Fail end one; Fail keeps the reason. All are required.
	Pending func(ctx context.Context, limit int) ([]Notice, error)
	Told    func(ctx context.Context, id string) error
	Fail    func(ctx context.Context, id, why string, at time.Time) error
	// ValkeyURL, Every, Now, Log and Meter are those of [RelayConfig].
	ValkeyURL string
	Every     time.Duration
	Now       func() time.Time
	Log       *slog.Logger
	Meter     metric.Meter
}

// NewNoticeRelay returns a Relay that takes notices to a queue of their own, by
// the same rules as letters, but for one: a notice past its deadline is not
// removed but given up, with what its last try met with.
func NewNoticeRelay(c NoticeRelayConfig) (*Relay, error) {
	if c.Pending == nil {
		return nil, errors.New("mail: Pending, Told and Fail are required")
	}
	r, err := newRelay(RelayConfig{
		Pending: func(ctx context.Context, after string, _ int) ([]Row, error) {
			return pendingNotices(ctx, c.Pending, after)
		},
		Delete: c.Told, Fail: c.Fail, ValkeyURL: c.ValkeyURL, Every: c.Every, Now: c.Now, Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	r.queue, r.prefix, r.what = noticeQueue, noticeTask, "notice"
	r.options = []asynq.Option{asynq.Retention(retention), asynq.MaxRetry(noticeTries), asynq.Timeout(noticeTimeout)}
	r.late = func(ctx context.Context, row Row, task *asynq.TaskInfo) error {
		why := "no server was there to tell it"
		if task != nil && task.LastErr != "" {
			why = task.LastErr
		}
		return r.fail(ctx, row, why, outcomeLate)
	}
	return r, r.measure(c.Meter)
}

// pendingNotices reads all notices in one go, however many there are: those that
// wait for a client which does not answer are the oldest, and must not hide the
// others. The relay asks page by page, and there is no second page.
func pendingNotices(ctx context.Context, pending func(context.Context, int) ([]Notice, error), after string) ([]Row, error) {
	if after != "" {
		return nil, nil
	}
	for limit := relayBatch; ; limit *= 2 {
		notices, err := pending(ctx, limit)
		if err != nil {
			return nil, err
		}
		if len(notices) == limit {
			continue
		}
		rows := make([]Row, len(notices))
		for i, n := range notices {
			rows[i] = Row{ID: n.ID, CreatedAt: n.CreatedAt, Deadline: n.Deadline}
		}
		return rows, nil
	}
}

// A LaterError says that a notice was not tried, because of what others to the
// same address met with, and is to come again.
type LaterError struct {
	After time.Duration
	// Because is what they met with.
	Because error
}

func (e LaterError) Error() string { return e.Because.Error() }

// NoticeWorkerConfig is what a NoticeWorker is made of.
type NoticeWorkerConfig struct {
	// Tell makes one try at the notice. An error makes it come again: after two
	// seconds at first and five minutes at last, or when a [LaterError] says.
	// Required.
	Tell func(ctx context.Context, id string) error
	// ValkeyURL is where the queue is: valkey:// or valkeys://.
	ValkeyURL string
	// Log is where trouble is told; nil is slog.Default.
	Log *slog.Logger
	// Meter measures the tries; nil measures nothing.
	Meter metric.Meter
	// Tracer makes a trace of each; nil makes none.
	Tracer trace.Tracer
}

// A NoticeWorker takes notices from the queue and has them told. Any number may
// run over one queue.
type NoticeWorker struct {
	server *asynq.Server
	tell   func(ctx context.Context, id string) error
	tries  *meter.Histogram
	tracer trace.Tracer
	// firstRetry is that of a [Worker].
	firstRetry time.Duration
}

// NewNoticeWorker returns a NoticeWorker. It connects when it runs.
func NewNoticeWorker(c NoticeWorkerConfig) (*NoticeWorker, error) {
	if c.Tell == nil {
		return nil, errors.New("mail: Tell is required")
	}
	conn, err := connection(c.ValkeyURL)
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	instruments := meter.On(c.Meter)
	tries := instruments.Histogram("gatehouse.notice.delivery.duration",
		"Tries to tell an app that a session has ended, by outcome: sent, failed (it is tried again), postponed (it was not tried, because the app answers slowly or not).", meter.Delays(), "outcome")
	if err := wrapped(instruments.Err()); err != nil {
		return nil, err
	}
	w := &NoticeWorker{tell: c.Tell, tries: tries, tracer: tracerOr(c.Tracer), firstRetry: firstRetry}
	w.server = asynq.NewServer(conn, asynq.Config{
		Queues:                   map[string]int{noticeQueue: 1},
		Concurrency:              noticesAtOnce,
		TaskCheckInterval:        200 * time.Millisecond,
		DelayedTaskCheckInterval: time.Second,
		RetryDelayFunc: func(n int, err error, _ *asynq.Task) time.Duration {
			if l, ok := later(err); ok {
				return l.After
			}
			return min(w.firstRetry<<min(n, 8), maxDelay)
		},
		// What was not tried does not count as a try.
		IsFailure:       func(err error) bool { _, ok := later(err); return !ok },
		ShutdownTimeout: noticeTimeout,
		Logger:          queueLog{c.Log},
		LogLevel:        asynq.WarnLevel,
		ErrorHandler: asynq.ErrorHandlerFunc(func(ctx context.Context, _ *asynq.Task, err error) {
			if _, ok := later(err); ok {
				return
			}
			id, _ := asynq.GetTaskID(ctx)
			c.Log.WarnContext(ctx, "mail: notice not told", "notice", id, "err", err)
		}),
	})
	return w, nil
}

func later(err error) (LaterError, bool) { return errors.AsType[LaterError](err) }

// Run tells notices until ctx ends; those being told are finished first. It
// returns an error at once when Valkey does not answer.
func (w *NoticeWorker) Run(ctx context.Context) error {
	if err := w.server.Ping(); err != nil {
		return fmt.Errorf("mail: reach Valkey: %w", err)
	}
	err := w.server.Start(asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		began := time.Now()
		ctx, span := processing(ctx, w.tracer, noticeQueue, id)
		defer span.End()
		err := w.tell(ctx, id)
		span.SetAttributes(attribute.String("gatehouse.notice.outcome", noticed(err)))
		if _, postponed := later(err); err != nil && !postponed {
			failed(span, noticed(err))
		}
		w.tries.Record(ctx, time.Since(began), noticed(err))
		return err
	}))
	if err != nil {
		return fmt.Errorf("mail: start the worker of notices: %w", err)
	}
	<-ctx.Done()
	w.server.Shutdown()
	return nil
}

package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/internal/meter"
)

const (
	// relayBatch is how many rows the relay reads at a time.
	relayBatch = 500
	// maxFailure is how long, in bytes, the reason of a failure may be.
	maxFailure = 200
)

// A Row is a sealed letter as the outbox keeps it.
type Row struct {
	// ID is a UUIDv7; it becomes the task's id and the Message-ID.
	ID        string
	Kind      string
	Sealed    []byte
	CreatedAt time.Time
	// Deadline is when the letter has lost its point; zero is never.
	Deadline time.Time
	// FailedAt is when delivery was given up, and Failure why. No row that the
	// relay is given has them: with them, and CreatedAt, a Row has the shape of
	// the outbox's own record and one converts to the other.
	FailedAt time.Time
	Failure  string
}

// forNobody reports whether a letter was written only so that an address
// without account costs what one with an account does.
func (r Row) forNobody() bool { return !r.Deadline.IsZero() && !r.Deadline.After(r.CreatedAt) }

// RelayConfig is what a Relay is made of.
type RelayConfig struct {
	// Pending returns up to limit rows of the outbox, neither delivered nor
	// given up, whose ids sort after the one given, in the order of their ids.
	// Delete removes a row, and Fail keeps it as given up at that time, with the
	// reason in words that hold no address. All are required.
	Pending func(ctx context.Context, after string, limit int) ([]Row, error)
	Delete  func(ctx context.Context, id string) error
	Fail    func(ctx context.Context, id, why string, at time.Time) error
	// ValkeyURL is where the queue is: valkey:// or valkeys://.
	ValkeyURL string
	// Every is how often the outbox is read without a nudge; zero is one
	// second.
	Every time.Duration
	// Now is the time by the clock that deadlines were made with; nil is
	// time.Now.
	Now func() time.Time
	// Log is where trouble is told; nil is slog.Default.
	Log *slog.Logger
	// Meter measures what waits; nil measures nothing.
	Meter metric.Meter
}

// A Relay takes letters from the outbox to the queue, or notices (see
// [NewNoticeRelay]). Any number may run over one outbox.
type Relay struct {
	config RelayConfig
	// queue is asynq's; prefix and a row's kind are the type of its tasks, which
	// the log calls what.
	queue, prefix, what string
	// options are those of every task.
	options []asynq.Option
	// late ends a row that has lost its point. task is what the queue knows of
	// it, or nil.
	late      func(ctx context.Context, row Row, task *asynq.TaskInfo) error
	conn      asynq.RedisClientOpt
	client    *asynq.Client
	inspector *asynq.Inspector
	nudged    chan struct{}
	givenUp   *meter.Counter
	// patience is how long the database may take over a batch or a row. One that went
	// without a word would be waited for until TCP gives up, and no letter leave.
	patience time.Duration
	// seen is what the last turn found, nil before the first.
	seen atomic.Pointer[outbox]
}

// NewRelay returns a Relay. It connects when it runs.
func NewRelay(c RelayConfig) (*Relay, error) {
	r, err := newRelay(c)
	if err != nil {
		return nil, err
	}
	return r, r.measure(c.Meter)
}

func newRelay(c RelayConfig) (*Relay, error) {
	if c.Pending == nil || c.Delete == nil || c.Fail == nil {
		return nil, errors.New("mail: Pending, Delete and Fail are required")
	}
	conn, err := connection(c.ValkeyURL)
	if err != nil {
		return nil, err
	}
	if c.Every == 0 {
		c.Every = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	r := &Relay{
		config:    c,
		queue:     queue,
		prefix:    taskPrefix,
		what:      "letter",
		options:   []asynq.Option{asynq.Retention(retention), asynq.MaxRetry(maxRetry), asynq.Timeout(2 * sendTimeout)},
		conn:      conn,
		client:    asynq.NewClient(conn),
		inspector: asynq.NewInspector(conn),
		nudged:    make(chan struct{}, 1),
		patience:  10 * time.Second,
	}
	r.late = r.drop
	return r, nil
}

// Nudge says that letters were committed just now. It never blocks.
func (r *Relay) Nudge() {
	select {
	case r.nudged <- struct{}{}:
	default: // one is waiting already, and its turn will see these letters too
	}
}

// Run relays until ctx ends and then gives back its connections. A turn that
// fails is logged and tried again with the next.
func (r *Relay) Run(ctx context.Context) error {
	t := time.NewTicker(r.config.Every)
	defer t.Stop()
	for {
		if err := r.turn(ctx); err != nil && ctx.Err() == nil {
			r.config.Log.ErrorContext(ctx, "mail: "+r.what+"s are waiting", "err", err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(r.client.Close(), r.inspector.Close())
		case <-r.nudged:
		case <-t.C:
		}
	}
}

// turn looks at every pending row once. A row that cannot be moved on does not
// hold up those behind it.
func (r *Relay) turn(ctx context.Context) error {
	var failed error
	var found outbox
	for after := ""; ; {
		rows, err := r.pending(ctx, after)
		if err != nil {
			return errors.Join(failed, fmt.Errorf("mail: read outbox: %w", err))
		}
		found.see(rows)
		for _, row := range rows {
			after = row.ID
			within, cancel := context.WithTimeout(ctx, r.patience)
			err := r.relay(within, row)
			cancel()
			if err == nil {
				continue
			}
			err = fmt.Errorf("mail: relay %s %s: %w", r.what, row.ID, err)
			if failed != nil {
				r.seen.Store(&found)
				return errors.Join(failed, err) // the second: it is not the row
			}
			failed = err
		}
		if len(rows) < relayBatch {
			r.seen.Store(&found)
			return failed
		}
	}
}

// pending is the next batch.
func (r *Relay) pending(ctx context.Context, after string) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	return r.config.Pending(ctx, after, relayBatch)
}

// relay moves one row on, by what the queue knows of it.
func (r *Relay) relay(ctx context.Context, row Row) error {
	if row.forNobody() {
		return r.config.Delete(ctx, row.ID)
	}
	tooLate := !row.Deadline.IsZero() && !r.config.Now().Before(row.Deadline)

	task, err := r.inspector.GetTaskInfo(r.queue, row.ID)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		// Never used, or Valkey was wiped. A client registers the queue once in
		// its life, so only a new one registers it again.
		if err := r.client.Close(); err != nil {
			return err
		}
		r.client = asynq.NewClient(r.conn)
		err = asynq.ErrTaskNotFound
	}
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound):
		if tooLate {
			return r.late(ctx, row, nil)
		}
		return r.enqueue(ctx, row)
	case err != nil:
		return err
	case task.State == asynq.TaskStateCompleted:
		return r.config.Delete(ctx, row.ID)
	case task.State == asynq.TaskStateActive:
		return nil // somebody is sending it
	case tooLate:
		// The task first, which is not enqueued again: one that is taken up just now
		// would be tried for ever if its row had ended.
		if gone, err := r.forget(row.ID); !gone {
			return err
		}
		return r.late(ctx, row, task)
	case task.State == asynq.TaskStateArchived:
		// The row first: without it, and with the task gone, the letter would be
		// enqueued again.
		if err := r.giveUp(ctx, row, task); err != nil {
			return err
		}
		_, err := r.forget(row.ID)
		return err
	default:
		return nil // waiting for its turn, or to be tried again
	}
}

func (r *Relay) enqueue(ctx context.Context, row Row) error {
	_, err := r.client.EnqueueContext(ctx, asynq.NewTask(r.prefix+row.Kind, row.Sealed),
		append([]asynq.Option{asynq.Queue(r.queue), asynq.TaskID(row.ID)}, r.options...)...)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return nil // another relay was first
	}
	return err
}

// drop removes a row that has lost its point.
func (r *Relay) drop(ctx context.Context, row Row, _ *asynq.TaskInfo) error {
	r.givenUp.Add(ctx, 1, r.what, outcomeLate)
	r.config.Log.WarnContext(ctx, "mail: letter dropped: its deadline has passed", "letter", row.ID, "kind", row.Kind)
	return r.config.Delete(ctx, row.ID)
}

// giveUp keeps a row whose task will not be tried again, for an operator to look
// at.
func (r *Relay) giveUp(ctx context.Context, row Row, task *asynq.TaskInfo) error {
	why := strings.TrimSuffix(task.LastErr, ": "+asynq.SkipRetry.Error())
	if task.Retried >= task.MaxRetry {
		why = fmt.Sprintf("tried %d times: %s", task.Retried+1, why)
	}
	return r.fail(ctx, row, why, outcomeFailed)
}

// fail keeps a row as given up.
func (r *Relay) fail(ctx context.Context, row Row, why, reason string) error {
	r.givenUp.Add(ctx, 1, r.what, reason)
	if len(why) > maxFailure {
		why = strings.ToValidUTF8(why[:maxFailure], "")
	}
	r.config.Log.WarnContext(ctx, "mail: "+r.what+" given up", r.what, row.ID, "kind", row.Kind, "why", why)
	return r.config.Fail(ctx, row.ID, why, r.config.Now())
}

// forget removes a task and reports whether it is gone. One that was taken up
// meanwhile is not, and left to whoever did so.
func (r *Relay) forget(id string) (gone bool, _ error) {
	err := r.inspector.DeleteTask(r.queue, id)
	if err == nil || errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
		return true, nil
	}
	if task, again := r.inspector.GetTaskInfo(r.queue, id); again == nil && task.State == asynq.TaskStateActive {
		return false, nil
	}
	return false, err
}

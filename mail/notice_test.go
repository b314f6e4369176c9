package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
)

// A noticeboard is where notices stand until they are told, and who is told.
type noticeboard struct {
	t      *testing.T
	valkey string

	mu      sync.Mutex
	pending []Notice
	told    []string
	failed  map[string]string
	tries   map[string][]time.Time
	// tell answers a try; nil takes it.
	tell func(id string, try int) error
	// failing, if any, runs before a notice is given up.
	failing func(id string)
	// meter is that of the relay and of the worker, or nil.
	meter metric.Meter
	// firstRetry is the worker's; zero is that of every worker.
	firstRetry time.Duration
	// moved is how far the clock that deadlines pass by is ahead of the machine's.
	moved atomic.Int64
}

func newNoticeboard(t *testing.T) *noticeboard {
	t.Helper()
	return &noticeboard{t: t, valkey: testenv.Valkey(t), failed: map[string]string{}, tries: map[string][]time.Time{}}
}

func (b *noticeboard) now() time.Time { return time.Now().Add(time.Duration(b.moved.Load())) }

func (b *noticeboard) post(id string, life time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.pending = append(b.pending, Notice{ID: id, CreatedAt: now, Deadline: now.Add(life)})
}

func (b *noticeboard) read(_ context.Context, limit int) ([]Notice, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.pending[:min(limit, len(b.pending))]), nil
}

func (b *noticeboard) end(id string) {
	b.pending = slices.DeleteFunc(b.pending, func(n Notice) bool { return n.ID == id })
}

func (b *noticeboard) markTold(_ context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, id)
	b.end(id)
	return nil
}

func (b *noticeboard) markFailed(_ context.Context, id, why string, _ time.Time) error {
	if b.failing != nil {
		b.failing(id)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed[id] = why
	b.end(id)
	return nil
}

func (b *noticeboard) try(_ context.Context, id string) error {
	b.mu.Lock()
	b.tries[id] = append(b.tries[id], time.Now())
	n, tell := len(b.tries[id]), b.tell
	b.mu.Unlock()
	if tell == nil {
		return nil
	}
	return tell(id, n)
}

// run starts a relay and a worker, and returns what stops them.
func (b *noticeboard) run() (stop func()) {
	b.t.Helper()
	log := slog.New(slog.DiscardHandler)
	relay, err := NewNoticeRelay(NoticeRelayConfig{
		Pending: b.read, Told: b.markTold, Fail: b.markFailed, ValkeyURL: b.valkey, Every: 20 * time.Millisecond, Now: b.now, Log: log, Meter: b.meter,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	worker, err := NewNoticeWorker(NoticeWorkerConfig{Tell: b.try, ValkeyURL: b.valkey, Log: log, Meter: b.meter})
	if err != nil {
		b.t.Fatal(err)
	}
	if b.firstRetry > 0 {
		worker.firstRetry = b.firstRetry
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{relay.Run, worker.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				b.t.Error(err)
			}
		})
	}
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	b.t.Cleanup(stop)
	return stop
}

// queue looks into the queue.
func (b *noticeboard) queue() *asynq.Inspector {
	b.t.Helper()
	conn, err := connection(b.valkey)
	if err != nil {
		b.t.Fatal(err)
	}
	i := asynq.NewInspector(conn)
	b.t.Cleanup(func() { _ = i.Close() })
	return i
}

// until waits for something that happens at the board.
func (b *noticeboard) until(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; <-time.After(10 * time.Millisecond) {
		b.mu.Lock()
		done := ok()
		b.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(deadline) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.t.Fatalf("still not so after three minutes: %s; told %v, failed %v, tries %v", what, b.told, b.failed, b.tries)
		}
	}
}

func TestNotices(t *testing.T) {
	t.Parallel()
	t.Run("a notice is told once, and then no longer pending", func(t *testing.T) {
		t.Parallel()
		b := newNoticeboard(t)
		b.run()
		b.post("s1.notes", time.Hour)
		b.until("it is told", func() bool { return len(b.told) == 1 && len(b.pending) == 0 })
		if n := len(b.tries["s1.notes"]); n != 1 {
			t.Errorf("tried %d times", n)
		}
	})
	t.Run("one that is not taken comes again, and waits longer each time", func(t *testing.T) {
		t.Parallel()
		b := newNoticeboard(t)
		b.tell = func(_ string, try int) error {
			if try < 3 {
				return errors.New("busy")
			}
			return nil
		}
		b.run()
		b.post("s1.notes", time.Hour)
		b.until("it is told", func() bool { return len(b.told) == 1 })
		at := b.tries["s1.notes"]
		// The queue keeps whole seconds: up to one less than two and four.
		if len(at) != 3 || at[1].Sub(at[0]) < time.Second || at[2].Sub(at[1]) < 3*time.Second {
			t.Errorf("tried at %v", at)
		}
	})
	t.Run("one that is put off comes when it says and loses no try by that", func(t *testing.T) {
		t.Parallel()
		b := newNoticeboard(t)
		b.tell = func(_ string, try int) error {
			switch try {
			case 1:
				return LaterError{After: time.Hour, Because: errors.New("another runs")}
			case 2:
				return LaterError{After: 10 * time.Millisecond, Because: errors.New("another runs")}
			}
			return nil
		}
		b.run()
		b.post("s1.notes", 2*time.Hour)
		queue := b.queue()
		var task *asynq.TaskInfo
		var err error
		b.until("it is put off", func() bool {
			task, err = queue.GetTaskInfo(noticeQueue, "s1.notes")
			return err == nil && task.State == asynq.TaskStateRetry
		})
		// The queue keeps whole seconds.
		first := b.tries["s1.notes"][0].Truncate(time.Second).Add(time.Hour)
		if next := task.NextProcessAt; next.Before(first) || next.After(time.Now().Add(time.Hour)) || task.Retried != 0 {
			t.Errorf("put off from %v to %v, as the failure %d", b.tries["s1.notes"][0], next, task.Retried)
		}
		if err := queue.RunTask(noticeQueue, "s1.notes"); err != nil {
			t.Fatal(err)
		}
		b.until("it is told", func() bool { return len(b.told) == 1 })
		task, err = queue.GetTaskInfo(noticeQueue, "s1.notes")
		if err != nil {
			t.Fatal(err)
		}
		if n := len(b.tries["s1.notes"]); n != 3 || task.Retried != 0 {
			t.Errorf("told in %d tries, of which %d are counted as failures", n, task.Retried)
		}
	})
	t.Run("past its deadline it is given up with what the last try met with", func(t *testing.T) {
		t.Parallel()
		b := newNoticeboard(t)
		b.firstRetry = maxDelay // not before the relay has looked, however busy the machine is
		b.tell = func(string, int) error {
			b.moved.Store(int64(time.Minute))
			return errors.New("the client answered with the status 500")
		}
		b.post("s1.notes", time.Minute)
		b.run()
		b.until("it is given up", func() bool { return len(b.failed) == 1 })
		if why := b.failed["s1.notes"]; why != "the client answered with the status 500" {
			t.Errorf("because %q", why)
		}
		queue := b.queue()
		b.until("the queue has forgotten it", func() bool {
			_, err := queue.GetTaskInfo(noticeQueue, "s1.notes")
			return errors.Is(err, asynq.ErrTaskNotFound)
		})
		if n := len(b.tries["s1.notes"]); n != 1 {
			t.Errorf("it was tried %d times", n)
		}
	})
	t.Run("one that is taken up in the moment it is given up is not told for ever", func(t *testing.T) {
		t.Parallel()
		b := newNoticeboard(t)
		b.firstRetry = maxDelay // and not before that moment
		queue := b.queue()
		taken, givenUp := make(chan bool, 1), make(chan bool)
		b.tell = func(_ string, try int) error {
			if b.moved.Store(int64(time.Minute)); try == 2 {
				taken <- true
				<-givenUp
			}
			return errors.New("busy")
		}
		b.failing = func(id string) {
			if queue.RunTask(noticeQueue, id) == nil { // as if its time had come just now
				<-taken
				defer time.AfterFunc(100*time.Millisecond, func() { close(givenUp) })
			}
		}
		b.post("s1.notes", time.Minute)
		b.run()
		b.until("it is given up", func() bool { return len(b.failed) == 1 })
		b.until("the queue has forgotten it", func() bool {
			_, err := queue.GetTaskInfo(noticeQueue, "s1.notes")
			return errors.Is(err, asynq.ErrTaskNotFound)
		})
	})
	t.Run("when no server is there it is given up in words", func(t *testing.T) {
		t.Parallel()
		b := newNoticeboard(t)
		b.post("s1.notes", -time.Nanosecond)
		b.pending[0].CreatedAt = time.Now().Add(-time.Hour)
		b.run()
		b.until("it is given up", func() bool { return b.failed["s1.notes"] == "no server was there to tell it" })
		if len(b.tries) > 0 {
			t.Error("it was tried")
		}
	})
	t.Run("a queue that was wiped loses nothing", func(t *testing.T) {
		t.Parallel()
		b := newNoticeboard(t)
		var wiped sync.Once
		b.tell = func(_ string, try int) error {
			if try == 1 {
				wiped.Do(func() { testenv.Wipe(t, b.valkey) })
				return errors.New("busy")
			}
			return nil
		}
		b.run()
		b.post("s1.notes", time.Hour)
		b.until("it is told", func() bool { return len(b.told) == 1 })
	})
	t.Run("however many wait for a client that does not answer, the others are told", func(t *testing.T) {
		t.Parallel()
		b := newNoticeboard(t)
		b.tell = func(id string, _ int) error {
			if strings.HasSuffix(id, ".dead") {
				return LaterError{After: time.Minute, Because: errors.New("the client did not answer within 5s")}
			}
			return nil
		}
		for i := range 2*relayBatch + 1 {
			b.post(fmt.Sprintf("s%d.dead", i), time.Hour)
		}
		b.post("s.notes", time.Hour)
		b.run()
		b.until("it is told", func() bool { return slices.Contains(b.told, "s.notes") })
	})
	t.Run("two relays and two workers tell each once", func(t *testing.T) {
		t.Parallel()
		b := newNoticeboard(t)
		b.run()
		b.run()
		for i := range 50 {
			b.post(fmt.Sprintf("s%d.notes", i), time.Hour)
		}
		b.until("all are told", func() bool { return len(b.pending) == 0 })
		for id, tries := range b.tries {
			if len(tries) != 1 {
				t.Errorf("%s was told %d times", id, len(tries))
			}
		}
	})
}

func TestNoticeConfig(t *testing.T) {
	if _, err := NewNoticeRelay(NoticeRelayConfig{ValkeyURL: "valkey://localhost"}); err == nil {
		t.Error("a relay of nothing")
	}
	if _, err := NewNoticeWorker(NoticeWorkerConfig{ValkeyURL: "valkey://localhost"}); err == nil {
		t.Error("a worker that tells nobody")
	}
}

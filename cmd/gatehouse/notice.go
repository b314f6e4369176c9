package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A notifier tells clients that sessions have ended (OIDC Back-Channel Logout),
// and keeps what became of it.
type notifier struct {
	store interface {
		storage.Notices
		storage.Audit
	}
	tell  func(context.Context, storage.Notice) error
	now   func() time.Time
	log   *slog.Logger
	lanes lanes
}

// openNotices prepares to tell clients that sessions have ended, and returns the
// relay that is to be nudged when one has. The server's provider signs what they
// are told; it is asked for only when jobs run.
func (s *server) openNotices(valkeyURL string) (*mail.Relay, error) {
	n := &notifier{
		store: s.sql, now: s.clock.Now, log: s.log,
		tell: func(ctx context.Context, notice storage.Notice) error { return s.provider.TellLogout(ctx, notice) },
	}
	relay, err := mail.NewNoticeRelay(mail.NoticeRelayConfig{
		Pending: n.pending, Told: n.told, Fail: n.fail, ValkeyURL: valkeyURL, Now: s.clock.Now, Log: s.log, Meter: s.telemetry.Meter("mail"),
	})
	if err != nil {
		return nil, err
	}
	worker, err := mail.NewNoticeWorker(mail.NoticeWorkerConfig{Tell: n.try, ValkeyURL: valkeyURL, Log: s.log, Meter: s.telemetry.Meter("mail"), Tracer: s.telemetry.Tracer("mail")})
	if err != nil {
		return nil, err
	}
	s.jobs = append(s.jobs, relay.Run, worker.Run)
	return relay, nil
}

// pending are the notices as the relay reads them.
func (n *notifier) pending(ctx context.Context, limit int) ([]mail.Notice, error) {
	notices, err := n.store.PendingNotices(ctx, limit)
	rows := make([]mail.Notice, len(notices))
	for i, s := range notices {
		rows[i] = mail.Notice{ID: s.ID, CreatedAt: s.CreatedAt, Deadline: s.CreatedAt.Add(storage.NoticeDeadline)}
	}
	return rows, err
}

// told marks a notice that the queue says was told.
func (n *notifier) told(ctx context.Context, id string) error {
	return n.store.DeliverNotice(ctx, id, n.now())
}

// fail gives a notice up.
func (n *notifier) fail(ctx context.Context, id, why string, at time.Time) error {
	notice, err := n.store.Notice(ctx, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil
	case err != nil:
		return err
	case !notice.DeliveredAt.IsZero() || !notice.FailedAt.IsZero():
		return nil // another server was first
	}
	if err := n.store.FailNotice(ctx, id, why, at); err != nil {
		return err
	}
	n.event(ctx, notice, "failed")
	return nil
}

// try makes one try at a notice, when its client's lane is free.
func (n *notifier) try(ctx context.Context, id string) error {
	// A session's id is a UUID, and has no dot.
	_, client, _ := strings.Cut(id, ".")
	if wait, because := n.lanes.enter(client, time.Now()); wait > 0 {
		return mail.LaterError{After: wait, Because: because}
	}
	notice, err := n.ask(ctx, client, id)
	switch {
	case errors.Is(err, errEnded):
		return nil
	case errors.Is(err, provider.ErrNobodyToTell):
		return n.fail(ctx, id, err.Error(), n.now())
	case err != nil:
		return err
	}
	// The client knows. What is not kept now, the relay keeps when it finds the
	// task completed; an error here would have the client told twice.
	if err := n.told(ctx, id); err != nil {
		n.log.WarnContext(ctx, "a notice was told, which is not yet kept", "notice", id, "err", err)
	}
	n.event(ctx, notice, "ok")
	return nil
}

// errEnded says that there is nothing to tell any more.
var errEnded = errors.New("the notice has ended")

// ask tells the client, whose lane it then leaves, with what the client did. What
// fails of ours, the database or a panic, says nothing of the client.
func (n *notifier) ask(ctx context.Context, client, id string) (notice storage.Notice, err error) {
	met := provider.ErrNotAsked
	defer func() { n.lanes.leave(client, met, time.Now()) }()
	notice, err = n.store.Notice(ctx, id)
	// A queue that was told too late of what became of it, or not at all, brings it
	// again.
	ended := err == nil && (!notice.DeliveredAt.IsZero() || !notice.FailedAt.IsZero())
	switch {
	case errors.Is(err, storage.ErrNotFound), ended:
		met = nil
		return notice, errEnded
	case err != nil:
		return notice, err
	}
	err = n.tell(ctx, notice)
	switch {
	case errors.Is(err, provider.ErrNobodyToTell):
		met = nil
	case !errors.Is(err, provider.ErrNotAsked):
		met = err
	}
	return notice, err
}

// event keeps what became of a notice in the audit log. It is about the client,
// and no part of the person's own activity.
func (n *notifier) event(ctx context.Context, notice storage.Notice, outcome string) {
	id, err := uuid.NewV7()
	if err == nil {
		err = n.store.AddEvent(ctx, storage.Event{
			ID: id.String(), At: n.now(), Kind: "logout.notice", ClientID: notice.ClientID, Outcome: outcome, Detail: notice.SessionID,
		})
	}
	if err != nil {
		n.log.ErrorContext(ctx, "an audit event was not kept", "kind", "logout.notice", "err", err)
	}
}

// lanes keep a client that does not answer from holding up the others: a client
// that answers is told several things at a time, one that does not is tried once
// in a while, and everything else for it waits without being tried. Time is the
// process's monotonic clock.
type lanes struct {
	mu sync.Mutex
	by map[string]*lane
}

type lane struct {
	running, failures int
	// last is what the last try met with; until then there is no other.
	last  error
	until time.Time
}

const (
	// laneWidth is how many tries to one client run at a time.
	laneWidth = 4
	// laneBusy is how long to wait for a try that runs.
	laneBusy = 500 * time.Millisecond
	// The pause after a failure doubles from lanePause to laneLongest.
	lanePause   = 2 * time.Second
	laneLongest = 5 * time.Minute
)

var errLaneBusy = errors.New("the client is being told of others")

// enter takes a place, or returns how long to wait for one and why.
func (l *lanes) enter(client string, now time.Time) (wait time.Duration, because error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = map[string]*lane{}
	}
	a := l.by[client]
	if a == nil {
		a = &lane{}
		l.by[client] = a
	}
	switch {
	case a.failures > 0 && now.Before(a.until):
		return a.until.Sub(now), a.last
	case a.failures > 0 && a.running > 0:
		return lanePause, a.last
	case a.running >= laneWidth:
		return laneBusy, errLaneBusy
	}
	a.running++
	return 0, nil
}

// leave gives the place back with what came of the try. That the client was not
// asked changes nothing else.
func (l *lanes) leave(client string, err error, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.by[client]
	a.running--
	switch {
	case err == nil:
		a.failures, a.last = 0, nil
	case !errors.Is(err, provider.ErrNotAsked):
		a.last = err
		a.until = now.Add(min(lanePause<<min(a.failures, 10), laneLongest))
		a.failures++
	}
	if a.running == 0 && a.failures == 0 {
		delete(l.by, client)
	}
}

// shownNotices is how many notices "client show" lists.
const shownNotices = 10

// A noticeRecord is a notice as scripts read it.
type noticeRecord struct {
	SessionID string    `json:"sid"`
	UserID    string    `json:"sub"`
	Status    string    `json:"status"` // waiting, delivered, failed
	EndedAt   time.Time `json:"ended_at"`
	// At is when it was delivered or given up.
	At      *time.Time `json:"at,omitempty"`
	Failure string     `json:"failure,omitempty"`
}

func recordOfNotice(n storage.Notice) noticeRecord {
	r := noticeRecord{SessionID: n.SessionID, UserID: n.UserID, Status: "waiting", EndedAt: n.CreatedAt, Failure: n.Failure}
	switch {
	case !n.DeliveredAt.IsZero():
		r.Status, r.At = "delivered", &n.DeliveredAt
	case !n.FailedAt.IsZero():
		r.Status, r.At = "failed", &n.FailedAt
	}
	return r
}

// text prints the record for people, on one line.
func (r noticeRecord) text(w io.Writer) {
	value := r.Status
	switch {
	case r.Failure != "":
		value = fmt.Sprintf("%s at %s: %s", r.Status, r.At.Format(time.RFC3339), r.Failure)
	case r.At != nil:
		value = fmt.Sprintf("%s at %s", r.Status, r.At.Format(time.RFC3339))
	}
	say(w, "logout of %s\t%s\n", plain(r.SessionID), plain(value))
}

// recordsOfNotices are the client's last notices.
func recordsOfNotices(ctx context.Context, sql storage.Notices, clientID string) ([]noticeRecord, error) {
	notices, err := sql.ListNotices(ctx, clientID, shownNotices)
	if err != nil {
		return nil, err
	}
	records := make([]noticeRecord, len(notices))
	for i, n := range notices {
		records[i] = recordOfNotice(n)
	}
	return records, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// ended are notices of which all have that end.
type ended struct {
	storage.Notices
	storage.Audit
	notice storage.Notice
}

func (e ended) Notice(context.Context, string) (storage.Notice, error) { return e.notice, nil }

// What the queue brings again is not told again: a process may have died before the
// queue knew that the client was told, and a notice may be given up while it waits.
func TestEndedNoticeIsNotTold(t *testing.T) {
	for about, notice := range map[string]storage.Notice{
		"delivered": {ID: "s.notes", ClientID: "notes", DeliveredAt: time.Now()},
		"given up":  {ID: "s.notes", ClientID: "notes", FailedAt: time.Now(), Failure: "it did not answer"},
	} {
		t.Run(about, func(t *testing.T) {
			n := &notifier{
				store: ended{notice: notice}, now: time.Now, log: slog.New(slog.DiscardHandler),
				tell: func(context.Context, storage.Notice) error {
					t.Error("the client was told again")
					return context.Canceled
				},
			}
			if err := n.try(t.Context(), notice.ID); err != nil || len(n.lanes.by) != 0 {
				t.Errorf("%v, and %d lanes are taken", err, len(n.lanes.by))
			}
		})
	}
}

// away is a database that answers nothing.
type away struct {
	storage.Notices
	storage.Audit
}

var errAway = errors.New("the database is away")

func (away) Notice(context.Context, string) (storage.Notice, error) {
	return storage.Notice{}, errAway
}

// What fails of ours is not the client's failure: it takes no place of the client's
// lane for good, and does not make the client wait.
func TestOurFailuresAreNotTheClients(t *testing.T) {
	waits := ended{notice: storage.Notice{ID: "s.notes", ClientID: "notes"}}
	for about, n := range map[string]*notifier{
		"the notice cannot be read": {store: away{}},
		"the client cannot be read": {store: waits, tell: func(context.Context, storage.Notice) error {
			return fmt.Errorf("%w: %w", provider.ErrNotAsked, errAway)
		}},
		"a panic": {store: waits, tell: func(context.Context, storage.Notice) error { panic("a mistake of ours") }},
	} {
		t.Run(about, func(t *testing.T) {
			n.now, n.log = time.Now, slog.New(slog.DiscardHandler)
			try := func() (err error) {
				defer func() {
					if recover() != nil {
						err = errAway // as the queue does
					}
				}()
				return n.try(t.Context(), "s.notes")
			}
			for range 2 * laneWidth {
				if err := try(); !errors.Is(err, errAway) {
					t.Fatalf("a try met with %v", err)
				}
			}
			if len(n.lanes.by) != 0 {
				t.Errorf("%d lanes are taken", len(n.lanes.by))
			}
		})
	}
	t.Run("and does not end the pause of a client that fails", func(t *testing.T) {
		n := &notifier{store: waits, now: time.Now, log: slog.New(slog.DiscardHandler)}
		dead := errors.New("the client was not reached")
		n.tell = func(context.Context, storage.Notice) error { return dead }
		if err := n.try(t.Context(), "s.notes"); !errors.Is(err, dead) {
			t.Fatal(err)
		}
		n.lanes.by["notes"].until = time.Now() // the pause is over
		n.store = away{}
		if err := n.try(t.Context(), "s.notes"); !errors.Is(err, errAway) {
			t.Fatal(err)
		}
		n.lanes.by["notes"].running++ // another of them runs
		if later, ok := errors.AsType[mail.LaterError](n.try(t.Context(), "s.notes")); !ok || !errors.Is(later.Because, dead) {
			t.Errorf("%+v; want to wait because of what the client did", later)
		}
	})
}

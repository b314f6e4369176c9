package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

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

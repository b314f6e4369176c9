package sqlite

import (
	"context"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/sqlite/internal/litedb"
)

// AddEvent implements [storage.Audit].
func (db *DB) AddEvent(ctx context.Context, e storage.Event) error {
	return addEvent(ctx, db.writes, e)
}

func addEvent(ctx context.Context, q *litedb.Queries, e storage.Event) error {
	return q.InsertEvent(ctx, litedb.InsertEventParams{
		ID:         e.ID,
		OccurredAt: column.Time(e.At),
		Kind:       e.Kind,
		UserID:     e.UserID,
		ClientID:   e.ClientID,
		Outcome:    e.Outcome,
		Address:    e.Address,
		UserAgent:  e.UserAgent,
		Detail:     e.Detail,
	})
}

// AddRepeat implements [storage.Audit].
func (db *DB) AddRepeat(ctx context.Context, e storage.Event, l storage.Letter) (told bool, err error) {
	err = db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		known, err := q.HasEvent(ctx, litedb.HasEventParams{UserID: e.UserID, Kind: e.Kind, Outcome: e.Outcome})
		if err != nil {
			return err
		}
		if told = known; told {
			if err := addLetters(ctx, q, []storage.Letter{l}); err != nil {
				return err
			}
		}
		return addEvent(ctx, q, e)
	})
	return told && err == nil, conflict(err)
}

// ListEvents implements [storage.Audit].
func (db *DB) ListEvents(ctx context.Context, before string, limit int) ([]storage.Event, error) {
	var rows []litedb.Event
	var err error
	if before == "" {
		rows, err = db.reads.LatestEvents(ctx, int64(limit))
	} else {
		rows, err = db.reads.EventsBefore(ctx, litedb.EventsBeforeParams{Before: before, MaxRows: int64(limit)})
	}
	return events(rows), err
}

// ListEventsOf implements [storage.Audit].
func (db *DB) ListEventsOf(ctx context.Context, userID, before string, limit int) ([]storage.Event, error) {
	var rows []litedb.Event
	var err error
	if before == "" {
		rows, err = db.reads.LatestEventsOf(ctx, litedb.LatestEventsOfParams{UserID: userID, MaxRows: int64(limit)})
	} else {
		rows, err = db.reads.EventsOfBefore(ctx, litedb.EventsOfBeforeParams{UserID: userID, Before: before, MaxRows: int64(limit)})
	}
	return events(rows), err
}

func events(rows []litedb.Event) []storage.Event {
	return row.Records(rows, func(e litedb.Event) storage.Event { return row.Event(e).Record() })
}

// DeleteEvents implements [storage.Audit].
func (db *DB) DeleteEvents(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := db.writes.DeleteEvents(ctx, litedb.DeleteEventsParams{
		Before:  column.Time(before),
		MaxRows: int64(limit),
	})
	return int(n), err
}

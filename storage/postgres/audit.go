package postgres

import (
	"context"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/postgres/internal/pgdb"
)

// AddEvent implements [storage.Audit].
func (db *DB) AddEvent(ctx context.Context, e storage.Event) error {
	return db.q.InsertEvent(ctx, pgdb.InsertEventParams{
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
	n, err := db.q.InsertRepeat(ctx, pgdb.InsertRepeatParams{
		ID:         e.ID,
		OccurredAt: column.Time(e.At),
		Kind:       e.Kind,
		UserID:     e.UserID,
		ClientID:   e.ClientID,
		Outcome:    e.Outcome,
		Address:    e.Address,
		UserAgent:  e.UserAgent,
		Detail:     e.Detail,
		LetterID:   l.ID,
		LetterKind: l.Kind,
		Sealed:     l.Sealed,
		CreatedAt:  column.Time(l.CreatedAt),
		Deadline:   column.Time(l.Deadline),
	})
	return n > 0, conflict(err)
}

// ListEvents implements [storage.Audit].
func (db *DB) ListEvents(ctx context.Context, before string, limit int) ([]storage.Event, error) {
	var rows []pgdb.Event
	var err error
	if before == "" {
		rows, err = db.q.LatestEvents(ctx, int64(limit))
	} else {
		rows, err = db.q.EventsBefore(ctx, pgdb.EventsBeforeParams{Before: before, MaxRows: int64(limit)})
	}
	return events(rows), err
}

// ListEventsOf implements [storage.Audit].
func (db *DB) ListEventsOf(ctx context.Context, userID, before string, limit int) ([]storage.Event, error) {
	var rows []pgdb.Event
	var err error
	if before == "" {
		rows, err = db.q.LatestEventsOf(ctx, pgdb.LatestEventsOfParams{UserID: userID, MaxRows: int64(limit)})
	} else {
		rows, err = db.q.EventsOfBefore(ctx, pgdb.EventsOfBeforeParams{UserID: userID, Before: before, MaxRows: int64(limit)})
	}
	return events(rows), err
}

func events(rows []pgdb.Event) []storage.Event {
	return row.Records(rows, func(e pgdb.Event) storage.Event { return row.Event(e).Record() })
}

// DeleteEvents implements [storage.Audit].
func (db *DB) DeleteEvents(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := db.q.DeleteEvents(ctx, pgdb.DeleteEventsParams{
		Before:  column.Time(before),
		MaxRows: int64(limit),
	})
	return int(n), err
}

package postgres

import (
	"context"

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
		Detail:     e.Detail,
	})
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
	return row.Records(rows, func(e pgdb.Event) storage.Event { return row.Event(e).Record() }), err
}

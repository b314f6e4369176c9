package sqlite

import (
	"context"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/sqlite/internal/litedb"
)

// AddLetters implements [storage.Outbox].
func (db *DB) AddLetters(ctx context.Context, letters ...storage.Letter) error {
	return conflict(db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		return addLetters(ctx, q, letters)
	}))
}

func addLetters(ctx context.Context, q *litedb.Queries, letters []storage.Letter) error {
	for _, l := range letters {
		if err := q.InsertLetter(ctx, litedb.InsertLetterParams{
			ID:        l.ID,
			Kind:      l.Kind,
			Sealed:    l.Sealed,
			CreatedAt: column.Time(l.CreatedAt),
			Deadline:  column.Time(l.Deadline),
		}); err != nil {
			return err
		}
	}
	return nil
}

// PendingLetters implements [storage.Outbox].
func (db *DB) PendingLetters(ctx context.Context, after string, limit int) ([]storage.Letter, error) {
	rows, err := db.reads.PendingLetters(ctx, litedb.PendingLettersParams{After: after, MaxRows: int64(limit)})
	return row.Records(rows, func(l litedb.Letter) storage.Letter { return row.Letter(l).Record() }), err
}

// ListLetters implements [storage.Outbox].
func (db *DB) ListLetters(ctx context.Context, after string, limit int) ([]storage.Letter, error) {
	rows, err := db.reads.ListLetters(ctx, litedb.ListLettersParams{After: after, MaxRows: int64(limit)})
	return row.Records(rows, func(l litedb.Letter) storage.Letter { return row.Letter(l).Record() }), err
}

// FailLetter implements [storage.Outbox].
func (db *DB) FailLetter(ctx context.Context, id, failure string, now time.Time) error {
	return db.writes.FailLetter(ctx, litedb.FailLetterParams{Now: column.Time(now), Failure: failure, ID: id})
}

// RetryLetter implements [storage.Outbox].
func (db *DB) RetryLetter(ctx context.Context, id string) error {
	return changed(db.writes.RetryLetter(ctx, id))
}

// DeleteLetter implements [storage.Outbox].
func (db *DB) DeleteLetter(ctx context.Context, id string) error {
	return db.writes.DeleteLetter(ctx, id)
}

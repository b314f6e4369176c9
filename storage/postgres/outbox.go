package postgres

import (
	"context"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/postgres/internal/pgdb"
)

// AddLetters implements [storage.Outbox].
func (db *DB) AddLetters(ctx context.Context, letters ...storage.Letter) error {
	if len(letters) <= 1 {
		return conflict(addLetters(ctx, db.q, letters)) // which needs no transaction
	}
	// The first by itself: login has several letters of which none is for anybody
	// take as many round trips as CreateUser and ReplaceRegistration do.
	return conflict(db.txLast(ctx, func(q, last *pgdb.Queries) error {
		if err := addLetters(ctx, q, letters[:1]); err != nil {
			return err
		}
		return addLetters(ctx, last, letters[1:])
	}))
}

func addLetters(ctx context.Context, q *pgdb.Queries, letters []storage.Letter) error {
	for _, l := range letters {
		if err := q.InsertLetter(ctx, pgdb.InsertLetterParams{
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
	rows, err := db.q.PendingLetters(ctx, pgdb.PendingLettersParams{After: after, MaxRows: int64(limit)})
	return row.Records(rows, func(l pgdb.Letter) storage.Letter { return row.Letter(l).Record() }), err
}

// ListLetters implements [storage.Outbox].
func (db *DB) ListLetters(ctx context.Context, after string, limit int) ([]storage.Letter, error) {
	rows, err := db.q.ListLetters(ctx, pgdb.ListLettersParams{After: after, MaxRows: int64(limit)})
	return row.Records(rows, func(l pgdb.Letter) storage.Letter { return row.Letter(l).Record() }), err
}

// FailLetter implements [storage.Outbox].
func (db *DB) FailLetter(ctx context.Context, id, failure string, now time.Time) error {
	return db.q.FailLetter(ctx, pgdb.FailLetterParams{Now: column.Time(now), Failure: failure, ID: id})
}

// RetryLetter implements [storage.Outbox].
func (db *DB) RetryLetter(ctx context.Context, id string) error {
	return changed(db.q.RetryLetter(ctx, id))
}

// DeleteLetter implements [storage.Outbox].
func (db *DB) DeleteLetter(ctx context.Context, id string) error {
	return db.q.DeleteLetter(ctx, id)
}

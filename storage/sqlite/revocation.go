package sqlite

import (
	"context"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/sqlite/internal/litedb"
)

// Revoke implements [storage.Revocations].
func (db *DB) Revoke(ctx context.Context, r storage.Revocation) (int64, error) {
	var seq int64
	err := db.tx(ctx, db.writer, func(q *litedb.Queries) (err error) {
		seq, err = revoke(ctx, q, r)
		return err
	})
	if err != nil {
		return 0, err
	}
	return seq, nil
}

func revoke(ctx context.Context, q *litedb.Queries, r storage.Revocation) (int64, error) {
	last, err := q.LastRevocation(ctx)
	if err != nil {
		return 0, err
	}
	return last + 1, q.InsertRevocation(ctx, litedb.InsertRevocationParams{
		Seq:       last + 1,
		Kind:      string(r.Kind),
		Target:    r.Key,
		RevokedAt: column.Time(r.At),
		Until:     column.Time(r.Until),
	})
}

// LastRevocation implements [storage.Revocations].
func (db *DB) LastRevocation(ctx context.Context) (int64, error) { return db.reads.LastRevocation(ctx) }

// RevocationsAfter implements [storage.Revocations].
func (db *DB) RevocationsAfter(ctx context.Context, seq int64, now time.Time, limit int) ([]storage.Revocation, error) {
	rows, err := db.reads.RevocationsAfter(ctx, litedb.RevocationsAfterParams{
		After:   seq,
		Now:     column.Time(now),
		MaxRows: int64(limit),
	})
	return row.Records(rows, func(r litedb.Revocation) storage.Revocation { return row.Revocation(r).Record() }), err
}

// DeleteExpiredRevocations implements [storage.Revocations]. The last place
// given out is kept first, for the row that has it may go.
func (db *DB) DeleteExpiredRevocations(ctx context.Context, now time.Time, limit int) (int, error) {
	var n int64
	err := db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		last, err := q.LastRevocation(ctx)
		if err != nil {
			return err
		}
		if err := q.RaiseRevocationHead(ctx, last); err != nil {
			return err
		}
		n, err = q.DeleteExpiredRevocations(ctx, litedb.DeleteExpiredRevocationsParams{
			Now:     column.Time(now),
			MaxRows: int64(limit),
		})
		return err
	})
	if err != nil {
		return 0, err
	}
	return int(n), nil
}

package postgres

import (
	"context"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/postgres/internal/pgdb"
)

// noticeEnds writes what clients are to be told of sessions that this
// transaction has removed. Whoever removed a session has its row locked, so no
// two write the same notice at once.
func noticeEnds(ctx context.Context, q *pgdb.Queries, now time.Time, sessions ...string) error {
	for _, id := range sessions {
		if err := q.NoticeEnd(ctx, pgdb.NoticeEndParams{Now: column.Time(now), SessionID: id}); err != nil {
			return err
		}
	}
	return nil
}

// PendingNotices implements [storage.Notices].
func (db *DB) PendingNotices(ctx context.Context, limit int) ([]storage.Notice, error) {
	rows, err := db.q.PendingNotices(ctx, int64(limit))
	return notices(rows), err
}

// Notice implements [storage.Notices].
func (db *DB) Notice(ctx context.Context, id string) (storage.Notice, error) {
	n, err := db.q.Notice(ctx, id)
	return row.Notice(n).Record(), found(err)
}

// DeliverNotice implements [storage.Notices].
func (db *DB) DeliverNotice(ctx context.Context, id string, now time.Time) error {
	return db.q.DeliverNotice(ctx, pgdb.DeliverNoticeParams{Now: column.Time(now), ID: id})
}

// FailNotice implements [storage.Notices].
func (db *DB) FailNotice(ctx context.Context, id, failure string, now time.Time) error {
	return db.q.FailNotice(ctx, pgdb.FailNoticeParams{Now: column.Time(now), Failure: failure, ID: id})
}

// ListNotices implements [storage.Notices].
func (db *DB) ListNotices(ctx context.Context, clientID string, limit int) ([]storage.Notice, error) {
	rows, err := db.q.ListNotices(ctx, pgdb.ListNoticesParams{ClientID: clientID, MaxRows: int64(limit)})
	return notices(rows), err
}

func notices(rows []pgdb.Notice) []storage.Notice {
	return row.Records(rows, func(n pgdb.Notice) storage.Notice { return row.Notice(n).Record() })
}

// DeleteNotices implements [storage.Notices].
func (db *DB) DeleteNotices(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := db.q.DeleteNotices(ctx, pgdb.DeleteNoticesParams{
		Before:  column.Time(before),
		MaxRows: int64(limit),
	})
	return int(n), err
}

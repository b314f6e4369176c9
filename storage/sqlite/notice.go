package sqlite

import (
	"context"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/sqlite/internal/litedb"
)

// noticeEnds writes what clients are to be told of sessions that this
// transaction has removed.
func noticeEnds(ctx context.Context, q *litedb.Queries, now time.Time, sessions ...string) error {
	for _, id := range sessions {
		if err := q.NoticeEnd(ctx, litedb.NoticeEndParams{Now: column.Time(now), SessionID: id}); err != nil {
			return err
		}
	}
	return nil
}

// PendingNotices implements [storage.Notices].
func (db *DB) PendingNotices(ctx context.Context, limit int) ([]storage.Notice, error) {
	rows, err := db.reads.PendingNotices(ctx, int64(limit))
	return notices(rows), err
}

// Notice implements [storage.Notices].
func (db *DB) Notice(ctx context.Context, id string) (storage.Notice, error) {
	n, err := db.reads.Notice(ctx, id)
	return row.Notice(n).Record(), found(err)
}

// DeliverNotice implements [storage.Notices].
func (db *DB) DeliverNotice(ctx context.Context, id string, now time.Time) error {
	return db.writes.DeliverNotice(ctx, litedb.DeliverNoticeParams{Now: column.Time(now), ID: id})
}

// FailNotice implements [storage.Notices].
func (db *DB) FailNotice(ctx context.Context, id, failure string, now time.Time) error {
	return db.writes.FailNotice(ctx, litedb.FailNoticeParams{Now: column.Time(now), Failure: failure, ID: id})
}

// ListNotices implements [storage.Notices].
func (db *DB) ListNotices(ctx context.Context, clientID string, limit int) ([]storage.Notice, error) {
	rows, err := db.reads.ListNotices(ctx, litedb.ListNoticesParams{ClientID: clientID, MaxRows: int64(limit)})
	return notices(rows), err
}

func notices(rows []litedb.Notice) []storage.Notice {
	return row.Records(rows, func(n litedb.Notice) storage.Notice { return row.Notice(n).Record() })
}

// DeleteNotices implements [storage.Notices].
func (db *DB) DeleteNotices(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := db.writes.DeleteNotices(ctx, litedb.DeleteNoticesParams{
		Before:  column.Time(before),
		MaxRows: int64(limit),
	})
	return int(n), err
}

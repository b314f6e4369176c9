package sqlite

import (
	"context"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/sqlite/internal/litedb"
)

// KeySet implements [storage.Keys]. Version and keys are of one snapshot.
func (db *DB) KeySet(ctx context.Context) (storage.KeySet, error) {
	var set storage.KeySet
	err := db.tx(ctx, db.reader, func(q *litedb.Queries) error {
		var err error
		if set.Version, err = q.KeySetVersion(ctx); err != nil {
			return err
		}
		rows, err := q.Keys(ctx)
		set.Keys = row.Records(rows, func(k litedb.Key) storage.Key { return row.Key(k).Record() })
		return err
	})
	return set, err
}

// ReplaceKeys implements [storage.Keys].
func (db *DB) ReplaceKeys(ctx context.Context, old int64, keys []storage.Key) error {
	return db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		n, err := q.RaiseKeySetVersion(ctx, old)
		if err != nil {
			return err
		}
		if n == 0 {
			return storage.ErrConflict
		}
		if err := q.DeleteKeys(ctx); err != nil {
			return err
		}
		for _, k := range keys {
			if err := q.InsertKey(ctx, litedb.InsertKeyParams{
				ID:          k.ID,
				Purpose:     k.Purpose,
				Algorithm:   k.Algorithm,
				PublicJWK:   k.Public,
				Sealed:      k.Sealed,
				PublishedAt: column.Time(k.PublishedAt),
				SigningAt:   column.Time(k.SigningAt),
				RetiredAt:   column.Time(k.RetiredAt),
				GoneAt:      column.Time(k.GoneAt),
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/postgres/internal/pgdb"
)

// KeySet implements [storage.Keys]. Version and keys are of one snapshot.
func (db *DB) KeySet(ctx context.Context) (storage.KeySet, error) {
	var set storage.KeySet
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, db.pool, snapshot, func(tx pgx.Tx) error {
		q := db.q.WithTx(tx)
		var err error
		if set.Version, err = q.KeySetVersion(ctx); err != nil {
			return err
		}
		rows, err := q.Keys(ctx)
		set.Keys = row.Records(rows, func(k pgdb.Key) storage.Key { return row.Key(k).Record() })
		return err
	})
	return set, err
}

// ReplaceKeys implements [storage.Keys].
func (db *DB) ReplaceKeys(ctx context.Context, old int64, keys []storage.Key) error {
	return db.tx(ctx, func(q *pgdb.Queries) error {
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
			if err := q.InsertKey(ctx, pgdb.InsertKeyParams{
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

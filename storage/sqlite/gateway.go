package sqlite

import (
	"context"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/sqlite/internal/litedb"
)

// CreateGateway implements [storage.Gateways].
func (db *DB) CreateGateway(ctx context.Context, g storage.Gateway) error {
	return conflict(db.writes.InsertGateway(ctx, litedb.InsertGatewayParams{
		ID:        g.ID,
		Name:      g.Name,
		CreatedAt: column.Time(g.CreatedAt),
		FetchedAt: column.Time(g.FetchedAt),
		SeenKeys:  g.SeenKeys,
	}))
}

// Gateway implements [storage.Gateways].
func (db *DB) Gateway(ctx context.Context, id string) (storage.Gateway, error) {
	g, err := db.reads.Gateway(ctx, id)
	return row.Gateway(g).Record(), found(err)
}

// ListGateways implements [storage.Gateways].
func (db *DB) ListGateways(ctx context.Context) ([]storage.Gateway, error) {
	rows, err := db.reads.ListGateways(ctx)
	return row.Records(rows, func(g litedb.Gateway) storage.Gateway { return row.Gateway(g).Record() }), err
}

// GatewayFetched implements [storage.Gateways].
func (db *DB) GatewayFetched(ctx context.Context, id string, keys []string, now time.Time) error {
	return changed(db.writes.GatewayFetched(ctx, litedb.GatewayFetchedParams{
		Now:      column.Time(now),
		SeenKeys: keys,
		ID:       id,
	}))
}

// DeleteGateway implements [storage.Gateways].
func (db *DB) DeleteGateway(ctx context.Context, id string) error {
	return changed(db.writes.DeleteGateway(ctx, id))
}

package postgres

import (
	"context"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/postgres/internal/pgdb"
)

// CreateGateway implements [storage.Gateways].
func (db *DB) CreateGateway(ctx context.Context, g storage.Gateway) error {
	return conflict(db.q.InsertGateway(ctx, pgdb.InsertGatewayParams{
		ID:        g.ID,
		Name:      g.Name,
		CreatedAt: column.Time(g.CreatedAt),
		FetchedAt: column.Time(g.FetchedAt),
		SeenKeys:  g.SeenKeys,
	}))
}

// Gateway implements [storage.Gateways].
func (db *DB) Gateway(ctx context.Context, id string) (storage.Gateway, error) {
	g, err := db.q.Gateway(ctx, id)
	return row.Gateway(g).Record(), found(err)
}

// ListGateways implements [storage.Gateways].
func (db *DB) ListGateways(ctx context.Context) ([]storage.Gateway, error) {
	rows, err := db.q.ListGateways(ctx)
	return row.Records(rows, func(g pgdb.Gateway) storage.Gateway { return row.Gateway(g).Record() }), err
}

// GatewayFetched implements [storage.Gateways].
func (db *DB) GatewayFetched(ctx context.Context, id string, keys []string, now time.Time) error {
	return changed(db.q.GatewayFetched(ctx, pgdb.GatewayFetchedParams{
		Now:      column.Time(now),
		SeenKeys: keys,
		ID:       id,
	}))
}

// DeleteGateway implements [storage.Gateways].
func (db *DB) DeleteGateway(ctx context.Context, id string) error {
	return changed(db.q.DeleteGateway(ctx, id))
}

package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/sqlite/internal/litedb"
)

// CreateGrant implements [storage.Grants].
func (db *DB) CreateGrant(ctx context.Context, g storage.Grant) error {
	n, err := db.writes.InsertGrant(ctx, litedb.InsertGrantParams{
		ID:            g.ID,
		HandleHash:    g.HandleHash,
		ClientID:      g.ClientID,
		SessionID:     g.SessionID,
		Scopes:        g.Scopes,
		OfflineAccess: row.OfflineAccess(g),
		Resources:     g.Resources,
		Nonce:         g.Nonce,
		AuthTime:      column.Time(g.AuthTime),
		AMR:           g.AMR,
		JKT:           g.JKT,
		Generation:    g.Generation,
		CreatedAt:     column.Time(g.CreatedAt),
		RotatedAt:     column.Time(g.RotatedAt),
		ExpiresAt:     column.Time(g.ExpiresAt),
		EndsAt:        column.Time(g.EndsAt),
		RevokedAt:     column.Time(g.RevokedAt),
		Claims:        column.Claims(g.Claims),
		UserID:        g.UserID,
		UserEpoch:     g.UserEpoch,
	})
	if errors.Is(conflict(err), storage.ErrConflict) {
		return storage.ErrSpent
	}
	return changed(n, err)
}

// Rotate implements [storage.Grants].
func (db *DB) Rotate(ctx context.Context, r storage.Rotation) (storage.Grant, storage.Verdict, error) {
	g, err := db.writes.Rotate(ctx, litedb.RotateParams{
		Presented:  r.Presented,
		GraceSince: column.Time(r.GraceSince),
		Now:        column.Time(r.Now),
		ExpiresAt:  column.Time(r.ExpiresAt),
		HandleHash: r.HandleHash,
		ClientID:   r.ClientID,
		JKT:        r.JKT,
	})
	return row.Grant(g).Record(), storage.Verdict(g.Outcome), found(err)
}

// LiveGrant implements [storage.Grants].
func (db *DB) LiveGrant(ctx context.Context, id string, now time.Time) (storage.Grant, storage.User, error) {
	r, err := db.reads.LiveGrant(ctx, litedb.LiveGrantParams{ID: id, Now: column.Time(now)})
	return row.Grant(r.Grant).Record(), row.User(r.User).Record(), found(err)
}

// GrantByHandle implements [storage.Grants].
func (db *DB) GrantByHandle(ctx context.Context, handleHash []byte) (storage.Grant, error) {
	g, err := db.reads.GrantByHandle(ctx, handleHash)
	return row.Grant(g).Record(), found(err)
}

// GrantByID implements [storage.Grants].
func (db *DB) GrantByID(ctx context.Context, id string) (storage.Grant, error) {
	g, err := db.reads.GrantByID(ctx, id)
	return row.Grant(g).Record(), found(err)
}

// ListGrants implements [storage.Grants].
func (db *DB) ListGrants(ctx context.Context, userID string, now time.Time) ([]storage.Grant, error) {
	rows, err := db.reads.ListGrants(ctx, litedb.ListGrantsParams{UserID: userID, Now: column.Time(now)})
	return row.Records(rows, func(g litedb.Grant) storage.Grant { return row.Grant(g).Record() }), err
}

// RevokeGrant implements [storage.Grants].
func (db *DB) RevokeGrant(ctx context.Context, id string, now time.Time) error {
	return db.writes.RevokeGrant(ctx, litedb.RevokeGrantParams{Now: column.Time(now), ID: id})
}

// ReplayGrant implements [storage.Grants].
func (db *DB) ReplayGrant(ctx context.Context, g storage.Grant, now time.Time) error {
	return db.writes.ReplayGrant(ctx, litedb.ReplayGrantParams{
		ID:            g.ID,
		ClientID:      g.ClientID,
		UserID:        g.UserID,
		UserEpoch:     g.UserEpoch,
		SessionID:     g.SessionID,
		Scopes:        g.Scopes,
		OfflineAccess: row.OfflineAccess(g),
		Resources:     g.Resources,
		Nonce:         g.Nonce,
		AuthTime:      column.Time(g.AuthTime),
		AMR:           g.AMR,
		JKT:           g.JKT,
		Generation:    g.Generation,
		CreatedAt:     column.Time(g.CreatedAt),
		ExpiresAt:     column.Time(g.ExpiresAt),
		EndsAt:        column.Time(g.EndsAt),
		RevokedAt:     column.Time(now),
		Claims:        column.Claims(g.Claims),
	})
}

// DeleteExpiredGrants implements [storage.Grants].
func (db *DB) DeleteExpiredGrants(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := db.writes.DeleteExpiredGrants(ctx, litedb.DeleteExpiredGrantsParams{
		Before:  column.Time(before),
		MaxRows: int64(limit),
	})
	return int(n), err
}

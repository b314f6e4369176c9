package postgres

import (
	"context"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/postgres/internal/pgdb"
)

// CreateClient implements [storage.Clients].
func (db *DB) CreateClient(ctx context.Context, c storage.Client) error {
	return conflict(db.q.InsertClient(ctx, pgdb.InsertClientParams{
		ID:           c.ID,
		Name:         c.Name,
		AuthMethod:   c.AuthMethod,
		SecretHashes: c.SecretHashes,
		RedirectURIs: c.RedirectURIs,
		GrantTypes:   c.GrantTypes,
		Scopes:       c.Scopes,
		Resources:    c.Resources,
		FirstParty:   c.FirstParty,
		OptionalPKCE: c.OptionalPKCE,
		IDTokenAlg:   c.IDTokenAlg,
		RefreshGrace: row.Microseconds(c.RefreshGrace),
		CreatedAt:    column.Time(c.CreatedAt),
		UpdatedAt:    column.Time(c.UpdatedAt),
	}))
}

// UpdateClient implements [storage.Clients].
func (db *DB) UpdateClient(ctx context.Context, c storage.Client) error {
	return changed(db.q.UpdateClient(ctx, pgdb.UpdateClientParams{
		Name:         c.Name,
		AuthMethod:   c.AuthMethod,
		SecretHashes: c.SecretHashes,
		RedirectURIs: c.RedirectURIs,
		GrantTypes:   c.GrantTypes,
		Scopes:       c.Scopes,
		Resources:    c.Resources,
		FirstParty:   c.FirstParty,
		OptionalPKCE: c.OptionalPKCE,
		IDTokenAlg:   c.IDTokenAlg,
		RefreshGrace: row.Microseconds(c.RefreshGrace),
		UpdatedAt:    column.Time(c.UpdatedAt),
		ID:           c.ID,
	}))
}

// Client implements [storage.Clients].
func (db *DB) Client(ctx context.Context, id string) (storage.Client, error) {
	c, err := db.q.Client(ctx, id)
	return row.Client(c).Record(), found(err)
}

// ListClients implements [storage.Clients].
func (db *DB) ListClients(ctx context.Context, after string, limit int) ([]storage.Client, error) {
	rows, err := db.q.ListClients(ctx, pgdb.ListClientsParams{After: after, MaxRows: int64(limit)})
	return row.Records(rows, func(c pgdb.Client) storage.Client { return row.Client(c).Record() }), err
}

// DeleteClient implements [storage.Clients]. The schema deletes the consents.
func (db *DB) DeleteClient(ctx context.Context, id string, now time.Time) error {
	return db.tx(ctx, func(q *pgdb.Queries) error {
		if err := changed(q.DeleteClient(ctx, id)); err != nil {
			return err
		}
		return q.RevokeGrantsOfClient(ctx, pgdb.RevokeGrantsOfClientParams{
			Now:      column.Time(now),
			ClientID: id,
		})
	})
}

// Consent implements [storage.Consents].
func (db *DB) Consent(ctx context.Context, userID, clientID string) (storage.Consent, error) {
	c, err := db.q.Consent(ctx, pgdb.ConsentParams{UserID: userID, ClientID: clientID})
	return row.Consent(c).Record(), found(err)
}

// PutConsent implements [storage.Consents].
func (db *DB) PutConsent(ctx context.Context, c storage.Consent) error {
	err := db.q.PutConsent(ctx, pgdb.PutConsentParams{
		UserID:    c.UserID,
		ClientID:  c.ClientID,
		Scopes:    c.Scopes,
		GrantedAt: column.Time(c.GrantedAt),
	})
	if code(err) == foreignKeyViolation {
		return storage.ErrNotFound
	}
	return err
}

// ListConsents implements [storage.Consents].
func (db *DB) ListConsents(ctx context.Context, userID string) ([]storage.Consent, error) {
	rows, err := db.q.ListConsents(ctx, userID)
	return row.Records(rows, func(c pgdb.Consent) storage.Consent { return row.Consent(c).Record() }), err
}

// WithdrawConsent implements [storage.Consents].
func (db *DB) WithdrawConsent(ctx context.Context, userID, clientID string, now time.Time) error {
	return db.tx(ctx, func(q *pgdb.Queries) error {
		if err := q.DeleteConsent(ctx, pgdb.DeleteConsentParams{UserID: userID, ClientID: clientID}); err != nil {
			return err
		}
		return q.RevokeGrantsToClient(ctx, pgdb.RevokeGrantsToClientParams{
			Now:      column.Time(now),
			UserID:   userID,
			ClientID: clientID,
		})
	})
}

// DeleteConsent implements [storage.Consents].
func (db *DB) DeleteConsent(ctx context.Context, userID, clientID string) error {
	return db.q.DeleteConsent(ctx, pgdb.DeleteConsentParams{UserID: userID, ClientID: clientID})
}

package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/postgres/internal/pgdb"
)

// CreateClient implements [storage.Clients].
func (db *DB) CreateClient(ctx context.Context, c storage.Client) error {
	return conflict(db.q.InsertClient(ctx, pgdb.InsertClientParams{
		ID:               c.ID,
		Name:             c.Name,
		AuthMethod:       c.AuthMethod,
		SecretHashes:     c.SecretHashes,
		RedirectURIs:     c.RedirectURIs,
		GrantTypes:       c.GrantTypes,
		Scopes:           c.Scopes,
		Resources:        c.Resources,
		FirstParty:       c.FirstParty,
		OptionalPKCE:     c.OptionalPKCE,
		IDTokenAlg:       c.IDTokenAlg,
		RefreshGrace:     row.Microseconds(c.RefreshGrace),
		CreatedAt:        column.Time(c.CreatedAt),
		UpdatedAt:        column.Time(c.UpdatedAt),
		Metadata:         column.Metadata(c.Metadata),
		Backchannel:      row.Backchannel(c),
		RegistrationHash: row.RegistrationHash(c),
		UsedAt:           row.UsedAt(c),
	}))
}

// UpdateClient implements [storage.Clients].
func (db *DB) UpdateClient(ctx context.Context, c storage.Client) error {
	return changed(db.q.UpdateClient(ctx, pgdb.UpdateClientParams{
		Name:             c.Name,
		AuthMethod:       c.AuthMethod,
		SecretHashes:     c.SecretHashes,
		RedirectURIs:     c.RedirectURIs,
		GrantTypes:       c.GrantTypes,
		Scopes:           c.Scopes,
		Resources:        c.Resources,
		FirstParty:       c.FirstParty,
		OptionalPKCE:     c.OptionalPKCE,
		IDTokenAlg:       c.IDTokenAlg,
		RefreshGrace:     row.Microseconds(c.RefreshGrace),
		UpdatedAt:        column.Time(c.UpdatedAt),
		Metadata:         column.Metadata(c.Metadata),
		Backchannel:      row.Backchannel(c),
		RegistrationHash: row.RegistrationHash(c),
		ID:               c.ID,
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

// DeleteClient implements [storage.Clients].
func (db *DB) DeleteClient(ctx context.Context, id string, now time.Time) error {
	return db.tx(ctx, func(q *pgdb.Queries) error {
		if err := changed(q.DeleteClient(ctx, id)); err != nil {
			return err
		}
		return endClient(ctx, q, id, now)
	})
}

// endClient stops the tokens of a client that this transaction has removed. The
// schema deletes its consents and its logo.
func endClient(ctx context.Context, q *pgdb.Queries, id string, now time.Time) error {
	if err := q.RevokeGrantsOfClient(ctx, pgdb.RevokeGrantsOfClientParams{
		Now:      column.Time(now),
		ClientID: id,
	}); err != nil {
		return err
	}
	_, err := revoke(ctx, q, row.ClientRevocation(id, now))
	return err
}

// SetLogo implements [storage.Clients].
func (db *DB) SetLogo(ctx context.Context, clientID string, l storage.Logo) error {
	if len(l.Bytes) == 0 {
		n, err := db.q.DeleteLogo(ctx, clientID)
		if err != nil || n > 0 {
			return err
		}
		_, err = db.q.Client(ctx, clientID)
		return found(err)
	}
	err := db.q.PutLogo(ctx, pgdb.PutLogoParams{ClientID: clientID, Type: l.Type, Bytes: l.Bytes})
	if code(err) == foreignKeyViolation {
		return storage.ErrNotFound
	}
	return err
}

// Logo implements [storage.Clients].
func (db *DB) Logo(ctx context.Context, clientID string) (storage.Logo, error) {
	l, err := db.q.Logo(ctx, clientID)
	return storage.Logo{Type: l.Type, Bytes: l.Bytes}, found(err)
}

// ClientUsed implements [storage.Clients].
func (db *DB) ClientUsed(ctx context.Context, id string, now time.Time) error {
	return db.q.ClientUsed(ctx, pgdb.ClientUsedParams{Now: column.Time(now), ID: id})
}

// CountDynamicClients implements [storage.Clients].
func (db *DB) CountDynamicClients(ctx context.Context) (int, error) {
	n, err := db.q.CountDynamicClients(ctx)
	return int(n), err
}

// DeleteUnusedClients implements [storage.Clients], with a transaction for each
// client: it may have many grants.
func (db *DB) DeleteUnusedClients(ctx context.Context, since, now time.Time, limit int) (int, error) {
	ids, err := db.q.UnusedClients(ctx, pgdb.UnusedClientsParams{Since: column.Time(since), MaxRows: int64(limit)})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, id := range ids {
		err := db.tx(ctx, func(q *pgdb.Queries) error {
			if err := changed(q.DeleteUnusedClient(ctx, pgdb.DeleteUnusedClientParams{
				ID:    id,
				Since: column.Time(since),
			})); err != nil {
				return err
			}
			return endClient(ctx, q, id, now)
		})
		switch {
		case err == nil:
			n++
		case errors.Is(err, storage.ErrNotFound): // used or removed in the meantime
		default:
			return n, err
		}
	}
	return n, nil
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
	return db.txLast(ctx, func(q, last *pgdb.Queries) error {
		_, err := q.RaiseEpoch(ctx, pgdb.RaiseEpochParams{Now: column.Time(now), ID: userID})
		switch {
		case errors.Is(found(err), storage.ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		if err := last.DeleteConsent(ctx, pgdb.DeleteConsentParams{UserID: userID, ClientID: clientID}); err != nil {
			return err
		}
		if err := last.CarrySessions(ctx, userID); err != nil {
			return err
		}
		return last.RevokeGrantsToClient(ctx, pgdb.RevokeGrantsToClientParams{
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

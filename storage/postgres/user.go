package postgres

import (
	"context"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/postgres/internal/pgdb"
)

// CreateUser implements [storage.Users].
func (db *DB) CreateUser(ctx context.Context, u storage.User, passwordHash string, letters ...storage.Letter) error {
	return conflict(db.tx(ctx, func(q *pgdb.Queries) error {
		if err := q.InsertUser(ctx, pgdb.InsertUserParams{
			ID:              u.ID,
			Email:           u.Email,
			EmailKey:        storage.EmailKey(u.Email),
			Name:            u.Name,
			EmailVerifiedAt: column.Time(u.EmailVerifiedAt),
			Status:          string(u.Status),
			Epoch:           u.Epoch,
			CreatedAt:       column.Time(u.CreatedAt),
			UpdatedAt:       column.Time(u.UpdatedAt),
		}); err != nil {
			return err
		}
		if err := addPassword(ctx, q, u.ID, passwordHash, u.CreatedAt); err != nil {
			return err
		}
		return addLetters(ctx, q, letters)
	}))
}

// ReplaceRegistration implements [storage.Users].
func (db *DB) ReplaceRegistration(ctx context.Context, userID string, r storage.Registration, now time.Time, letters ...storage.Letter) error {
	return conflict(db.tx(ctx, func(q *pgdb.Queries) error {
		if err := replaceRegistration(ctx, q, userID, r, now); err != nil {
			return err
		}
		return addLetters(ctx, q, letters)
	}))
}

// replaceRegistration forgets every password before: none was of a proved
// person.
func replaceRegistration(ctx context.Context, q *pgdb.Queries, userID string, r storage.Registration, now time.Time) error {
	if err := changed(q.RenamePendingUser(ctx, pgdb.RenamePendingUserParams{
		Name: r.Name,
		Now:  column.Time(now),
		ID:   userID,
	})); err != nil {
		return err
	}
	if err := q.DeletePasswords(ctx, userID); err != nil {
		return err
	}
	return addPassword(ctx, q, userID, r.PasswordHash, now)
}

// VerifyEmail implements [storage.Users].
func (db *DB) VerifyEmail(ctx context.Context, userID string, r storage.Registration, now time.Time) error {
	return db.tx(ctx, func(q *pgdb.Queries) error {
		if r.PasswordHash != "" {
			if err := replaceRegistration(ctx, q, userID, r, now); err != nil {
				return err
			}
		}
		return changed(q.VerifyEmail(ctx, pgdb.VerifyEmailParams{
			Now: column.Time(now),
			ID:  userID,
		}))
	})
}

// User implements [storage.Users].
func (db *DB) User(ctx context.Context, id string) (storage.User, error) {
	u, err := db.q.User(ctx, id)
	return row.User(u).Record(), found(err)
}

// UserByEmail implements [storage.Users].
func (db *DB) UserByEmail(ctx context.Context, email string) (storage.User, string, error) {
	r, err := db.q.UserByEmailKey(ctx, storage.EmailKey(email))
	return row.User(r.User).Record(), r.Hash, found(err)
}

// PasswordHashes implements [storage.Users].
func (db *DB) PasswordHashes(ctx context.Context, userID string) ([]string, error) {
	return db.q.PasswordHashes(ctx, pgdb.PasswordHashesParams{
		UserID:  userID,
		MaxRows: storage.PasswordHistory,
	})
}

// SetPassword implements [storage.Users].
func (db *DB) SetPassword(ctx context.Context, c storage.PasswordChange) (int64, error) {
	now := column.Time(c.Now)
	var epoch int64
	err := db.tx(ctx, func(q *pgdb.Queries) error {
		// The user first: whoever is about to insert a session or a grant of
		// the old epoch has a lock on this row, or finds the new epoch.
		var err error
		epoch, err = q.RaiseEpoch(ctx, pgdb.RaiseEpochParams{Now: now, ID: c.UserID})
		if err != nil {
			return found(err)
		}
		if err := addPassword(ctx, q, c.UserID, c.PasswordHash, c.Now); err != nil {
			return err
		}
		if err := q.TrimPasswords(ctx, pgdb.TrimPasswordsParams{
			UserID: c.UserID,
			Keep:   storage.PasswordHistory,
		}); err != nil {
			return err
		}
		if err := q.DeleteOtherSessions(ctx, pgdb.DeleteOtherSessionsParams{
			UserID: c.UserID,
			Keep:   c.KeepSession,
		}); err != nil {
			return err
		}
		if err := q.CarrySession(ctx, pgdb.CarrySessionParams{
			Epoch:  epoch,
			ID:     c.KeepSession,
			UserID: c.UserID,
		}); err != nil {
			return err
		}
		if err := q.RevokeOtherGrants(ctx, pgdb.RevokeOtherGrantsParams{
			Now:    now,
			UserID: c.UserID,
			Keep:   c.KeepGrant,
		}); err != nil {
			return err
		}
		return q.CarryGrant(ctx, pgdb.CarryGrantParams{
			Epoch:  epoch,
			ID:     c.KeepGrant,
			UserID: c.UserID,
		})
	})
	if err != nil {
		return 0, err
	}
	return epoch, nil
}

// SetStatus implements [storage.Users].
func (db *DB) SetStatus(ctx context.Context, userID string, s storage.UserStatus, now time.Time) error {
	return db.tx(ctx, func(q *pgdb.Queries) error {
		if err := changed(q.SetStatus(ctx, pgdb.SetStatusParams{
			Status: string(s),
			Now:    column.Time(now),
			ID:     userID,
		})); err != nil {
			return err
		}
		if err := q.DeleteSessionsOfUser(ctx, userID); err != nil {
			return err
		}
		return q.RevokeGrantsOfUser(ctx, pgdb.RevokeGrantsOfUserParams{
			Now:    column.Time(now),
			UserID: userID,
		})
	})
}

// ListUsers implements [storage.Users].
func (db *DB) ListUsers(ctx context.Context, after string, limit int) ([]storage.User, error) {
	rows, err := db.q.ListUsers(ctx, pgdb.ListUsersParams{After: after, MaxRows: int64(limit)})
	return row.Records(rows, func(u pgdb.User) storage.User { return row.User(u).Record() }), err
}

func addPassword(ctx context.Context, q *pgdb.Queries, userID, hash string, now time.Time) error {
	return q.AddPassword(ctx, pgdb.AddPasswordParams{
		UserID: userID,
		Hash:   hash,
		Now:    column.Time(now),
	})
}

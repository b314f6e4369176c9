package sqlite

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/sqlite/internal/litedb"
)

// CreateUser implements [storage.Users].
func (db *DB) CreateUser(ctx context.Context, u storage.User, passwordHash string, letters ...storage.Letter) error {
	return conflict(db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		if err := q.InsertUser(ctx, litedb.InsertUserParams{
			ID:              u.ID,
			Email:           u.Email,
			EmailKey:        storage.EmailKey(u.Email),
			Name:            u.Name,
			EmailVerifiedAt: column.Time(u.EmailVerifiedAt),
			Status:          string(u.Status),
			Epoch:           u.Epoch,
			CreatedAt:       column.Time(u.CreatedAt),
			UpdatedAt:       column.Time(u.UpdatedAt),
			Profile:         column.Profile(u.Profile),
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
	return conflict(db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		if err := replaceRegistration(ctx, q, userID, r, now); err != nil {
			return err
		}
		return addLetters(ctx, q, letters)
	}))
}

// replaceRegistration forgets every password before: none was of a proved
// person.
func replaceRegistration(ctx context.Context, q *litedb.Queries, userID string, r storage.Registration, now time.Time) error {
	if err := changed(q.RenamePendingUser(ctx, litedb.RenamePendingUserParams{
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
	return db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		if r.PasswordHash != "" {
			if err := replaceRegistration(ctx, q, userID, r, now); err != nil {
				return err
			}
		}
		return changed(q.VerifyEmail(ctx, litedb.VerifyEmailParams{
			Now: column.Time(now),
			ID:  userID,
		}))
	})
}

// User implements [storage.Users].
func (db *DB) User(ctx context.Context, id string) (storage.User, error) {
	u, err := db.reads.User(ctx, id)
	return row.User(u).Record(), found(err)
}

// UserByEmail implements [storage.Users].
func (db *DB) UserByEmail(ctx context.Context, email string) (storage.User, string, error) {
	r, err := db.reads.UserByEmailKey(ctx, storage.EmailKey(email))
	return row.User(r.User).Record(), r.Hash, found(err)
}

// PasswordHashes implements [storage.Users].
func (db *DB) PasswordHashes(ctx context.Context, userID string) ([]string, error) {
	return db.reads.PasswordHashes(ctx, litedb.PasswordHashesParams{
		UserID:  userID,
		MaxRows: storage.PasswordHistory,
	})
}

// SetPassword implements [storage.Users].
func (db *DB) SetPassword(ctx context.Context, c storage.PasswordChange, letters ...storage.Letter) (int64, error) {
	var epoch int64
	err := conflict(db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		var err error
		epoch, err = q.RaiseEpoch(ctx, litedb.RaiseEpochParams{Now: column.Time(c.Now), ID: c.UserID})
		if err != nil {
			return found(err)
		}
		if c.Replaces != "" {
			current, err := q.PasswordHashes(ctx, litedb.PasswordHashesParams{UserID: c.UserID, MaxRows: 1})
			if err != nil {
				return err
			}
			if !slices.Contains(current, c.Replaces) {
				return storage.ErrConflict
			}
		}
		if err := addPassword(ctx, q, c.UserID, c.PasswordHash, c.Now); err != nil {
			return err
		}
		if err := q.TrimPasswords(ctx, litedb.TrimPasswordsParams{
			UserID: c.UserID,
			Keep:   storage.PasswordHistory,
		}); err != nil {
			return err
		}
		if err := endOthers(ctx, q, c.UserID, epoch, c.Keep, c.Now); err != nil {
			return err
		}
		return addLetters(ctx, q, letters)
	}))
	if err != nil {
		return 0, err
	}
	return epoch, nil
}

// UpgradePassword implements [storage.Users].
func (db *DB) UpgradePassword(ctx context.Context, userID, old, hash string) error {
	n, err := db.writes.UpgradePassword(ctx, litedb.UpgradePasswordParams{Hash: hash, UserID: userID, Old: old})
	if err == nil && n == 0 {
		return storage.ErrConflict
	}
	return err
}

// ChangeEmail implements [storage.Users].
func (db *DB) ChangeEmail(ctx context.Context, userID string, epoch int64, email string, now time.Time, letters ...storage.Letter) (string, error) {
	var gaveWay string
	key := storage.EmailKey(email)
	err := conflict(db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		var err error
		gaveWay, err = q.DeletePendingHolder(ctx, key)
		if err = found(err); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if err := changed(q.ChangeEmail(ctx, litedb.ChangeEmailParams{
			Email:    email,
			EmailKey: key,
			Now:      column.Time(now),
			ID:       userID,
			Epoch:    epoch,
		})); err != nil {
			return err
		}
		return addLetters(ctx, q, letters)
	}))
	if err != nil {
		return "", err
	}
	return gaveWay, nil
}

// SetProfile implements [storage.Users].
func (db *DB) SetProfile(ctx context.Context, userID, name string, p storage.Profile, now time.Time) error {
	return changed(db.writes.SetProfile(ctx, litedb.SetProfileParams{
		Name:    name,
		Profile: column.Profile(p),
		Now:     column.Time(now),
		ID:      userID,
	}))
}

// SetLocale implements [storage.Users].
func (db *DB) SetLocale(ctx context.Context, userID, locale string, now time.Time) error {
	return changed(db.writes.SetLocale(ctx, litedb.SetLocaleParams{Locale: locale, Now: column.Time(now), ID: userID}))
}

// SetStatus implements [storage.Users].
func (db *DB) SetStatus(ctx context.Context, userID string, s storage.UserStatus, now time.Time, letters ...storage.Letter) error {
	return conflict(db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		epoch, err := q.SetStatus(ctx, litedb.SetStatusParams{
			Status: string(s),
			Now:    column.Time(now),
			ID:     userID,
		})
		if err != nil {
			return found(err)
		}
		if err := endOthers(ctx, q, userID, epoch, storage.Kept{}, now); err != nil {
			return err
		}
		return addLetters(ctx, q, letters)
	}))
}

// EndEverything implements [storage.Users].
func (db *DB) EndEverything(ctx context.Context, userID string, keep storage.Kept, now time.Time) (int64, error) {
	var epoch int64
	err := db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		var err error
		epoch, err = q.RaiseEpoch(ctx, litedb.RaiseEpochParams{Now: column.Time(now), ID: userID})
		if err != nil {
			return found(err)
		}
		return endOthers(ctx, q, userID, epoch, keep, now)
	})
	if err != nil {
		return 0, err
	}
	return epoch, nil
}

// endOthers ends all that the user had before the epoch, but what is kept.
func endOthers(ctx context.Context, q *litedb.Queries, userID string, epoch int64, keep storage.Kept, now time.Time) error {
	if err := endOtherSessions(ctx, q, userID, keep.Session, now); err != nil {
		return err
	}
	if err := q.CarrySession(ctx, litedb.CarrySessionParams{
		Epoch:  epoch,
		ID:     keep.Session,
		UserID: userID,
	}); err != nil {
		return err
	}
	return q.RevokeOtherGrants(ctx, litedb.RevokeOtherGrantsParams{
		Keep:   keep.Grant,
		Now:    column.Time(now),
		Epoch:  epoch,
		UserID: userID,
	})
}

func endOtherSessions(ctx context.Context, q *litedb.Queries, userID, keep string, now time.Time) error {
	ended, err := q.DeleteOtherSessions(ctx, litedb.DeleteOtherSessionsParams{UserID: userID, Keep: keep})
	if err != nil {
		return err
	}
	return noticeEnds(ctx, q, now, ended...)
}

// DeleteUser implements [storage.Users]. The schema deletes what is left beside
// the grants.
func (db *DB) DeleteUser(ctx context.Context, userID string, now time.Time, letters ...storage.Letter) error {
	return conflict(db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		epoch, err := q.RaiseEpoch(ctx, litedb.RaiseEpochParams{Now: column.Time(now), ID: userID})
		if err != nil {
			return found(err)
		}
		if err := endOtherSessions(ctx, q, userID, "", now); err != nil {
			return err
		}
		if err := changed(q.DeleteUser(ctx, userID)); err != nil {
			return err
		}
		if err := q.RevokeOtherGrants(ctx, litedb.RevokeOtherGrantsParams{
			Now:    column.Time(now),
			Epoch:  epoch,
			UserID: userID,
		}); err != nil {
			return err
		}
		return addLetters(ctx, q, letters)
	}))
}

// DeletePendingUsers implements [storage.Users].
func (db *DB) DeletePendingUsers(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := db.writes.DeletePendingUsers(ctx, litedb.DeletePendingUsersParams{
		Before:  column.Time(before),
		MaxRows: int64(limit),
	})
	return int(n), err
}

// ListUsers implements [storage.Users].
func (db *DB) ListUsers(ctx context.Context, after string, limit int) ([]storage.User, error) {
	rows, err := db.reads.ListUsers(ctx, litedb.ListUsersParams{After: after, MaxRows: int64(limit)})
	return row.Records(rows, func(u litedb.User) storage.User { return row.User(u).Record() }), err
}

func addPassword(ctx context.Context, q *litedb.Queries, userID, hash string, now time.Time) error {
	return q.AddPassword(ctx, litedb.AddPasswordParams{
		UserID: userID,
		Hash:   hash,
		Now:    column.Time(now),
	})
}

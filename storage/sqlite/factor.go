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

// TOTP implements [storage.Factors].
func (db *DB) TOTP(ctx context.Context, userID string) (storage.TOTP, error) {
	t, err := db.reads.TOTP(ctx, userID)
	return row.TOTP(t).Record(), found(err)
}

// EnableTOTP implements [storage.Factors].
func (db *DB) EnableTOTP(ctx context.Context, e storage.Enrolment, letters ...storage.Letter) (int64, error) {
	now := column.Time(e.Now)
	var epoch int64
	err := conflict(db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		var err error
		epoch, err = q.EnableSecondFactor(ctx, litedb.EnableSecondFactorParams{Now: now, ID: e.UserID, Epoch: e.Epoch})
		if err = found(err); errors.Is(err, storage.ErrNotFound) {
			return notEnabled(ctx, q, e.UserID)
		}
		if err != nil {
			return err
		}
		if err := q.InsertTOTP(ctx, litedb.InsertTOTPParams{
			UserID:    e.UserID,
			Sealed:    e.Sealed,
			LastStep:  e.Step,
			CreatedAt: now,
		}); err != nil {
			return err
		}
		if err := addRecoveryCodes(ctx, q, e.UserID, e.RecoveryMACs); err != nil {
			return err
		}
		if err := endOthers(ctx, q, e.UserID, epoch, e.Keep, e.Now); err != nil {
			return err
		}
		return addLetters(ctx, q, letters)
	}))
	if err != nil {
		return 0, err
	}
	return epoch, nil
}

// notEnabled says why two-step sign-in was not turned on.
func notEnabled(ctx context.Context, q *litedb.Queries, userID string) error {
	u, err := q.User(ctx, userID)
	if err != nil {
		return found(err)
	}
	if u.Status == string(storage.UserActive) && u.SecondFactor {
		return storage.ErrConflict
	}
	return storage.ErrNotFound
}

// DisableTOTP implements [storage.Factors].
func (db *DB) DisableTOTP(ctx context.Context, userID string, epoch int64, keep storage.Kept, now time.Time, letters ...storage.Letter) (int64, error) {
	err := conflict(db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		var err error
		epoch, err = q.DisableSecondFactor(ctx, litedb.DisableSecondFactorParams{Now: column.Time(now), ID: userID, Epoch: epoch})
		if err = found(err); errors.Is(err, storage.ErrNotFound) {
			return notDisabled(ctx, q, userID)
		}
		if err != nil {
			return err
		}
		if err := q.DeleteTOTP(ctx, userID); err != nil {
			return err
		}
		if err := q.DeleteRecoveryCodes(ctx, userID); err != nil {
			return err
		}
		if err := endOthers(ctx, q, userID, epoch, keep, now); err != nil {
			return err
		}
		return addLetters(ctx, q, letters)
	}))
	if err != nil {
		return 0, err
	}
	return epoch, nil
}

// notDisabled says why two-step sign-in was not turned off.
func notDisabled(ctx context.Context, q *litedb.Queries, userID string) error {
	u, err := q.User(ctx, userID)
	if err == nil && u.SecondFactor {
		return storage.ErrConflict
	}
	if err == nil {
		return storage.ErrNotFound
	}
	return found(err)
}

// SpendTOTP implements [storage.Factors].
func (db *DB) SpendTOTP(ctx context.Context, userID string, step int64, now time.Time) error {
	n, err := db.writes.SpendTOTP(ctx, litedb.SpendTOTPParams{Step: step, Now: column.Time(now), UserID: userID})
	if err == nil && n == 0 {
		return storage.ErrSpent
	}
	return err
}

// FailSecondFactor implements [storage.Factors].
func (db *DB) FailSecondFactor(ctx context.Context, userID string, now time.Time) (int, error) {
	n, err := db.writes.FailSecondFactor(ctx, litedb.FailSecondFactorParams{Now: column.Time(now), UserID: userID})
	return int(n), found(err)
}

// HasRecoveryCode implements [storage.Factors].
func (db *DB) HasRecoveryCode(ctx context.Context, userID string, mac []byte) (bool, error) {
	n, err := db.reads.HasRecoveryCode(ctx, litedb.HasRecoveryCodeParams{UserID: userID, MAC: mac})
	return n > 0, err
}

// SpendRecoveryCode implements [storage.Factors].
func (db *DB) SpendRecoveryCode(ctx context.Context, userID string, mac []byte, now time.Time, letters ...storage.Letter) (int, error) {
	var left int64
	err := conflict(db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		// First the row that two codes spent at once have in common: the second
		// counts what the first has left.
		if err := changed(q.ClearFailures(ctx, userID)); err != nil {
			return err
		}
		if err := changed(q.DeleteRecoveryCode(ctx, litedb.DeleteRecoveryCodeParams{UserID: userID, MAC: mac})); err != nil {
			return err
		}
		var err error
		if left, err = q.CountRecoveryCodes(ctx, userID); err != nil {
			return err
		}
		return addLetters(ctx, q, letters)
	}))
	if err != nil {
		return 0, err
	}
	return int(left), nil
}

// ReplaceRecoveryCodes implements [storage.Factors].
func (db *DB) ReplaceRecoveryCodes(ctx context.Context, userID string, macs [][]byte, now time.Time, letters ...storage.Letter) error {
	return conflict(db.tx(ctx, db.writer, func(q *litedb.Queries) error {
		if err := changed(q.TouchSecondFactor(ctx, litedb.TouchSecondFactorParams{Now: column.Time(now), ID: userID})); err != nil {
			return err
		}
		if err := q.DeleteRecoveryCodes(ctx, userID); err != nil {
			return err
		}
		if err := addRecoveryCodes(ctx, q, userID, macs); err != nil {
			return err
		}
		return addLetters(ctx, q, letters)
	}))
}

// RecoveryCodesLeft implements [storage.Factors].
func (db *DB) RecoveryCodesLeft(ctx context.Context, userID string) (int, error) {
	n, err := db.reads.CountRecoveryCodes(ctx, userID)
	return int(n), err
}

func addRecoveryCodes(ctx context.Context, q *litedb.Queries, userID string, macs [][]byte) error {
	for _, mac := range macs {
		if err := q.InsertRecoveryCode(ctx, litedb.InsertRecoveryCodeParams{UserID: userID, MAC: mac}); err != nil {
			return err
		}
	}
	return nil
}

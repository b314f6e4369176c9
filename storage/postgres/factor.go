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

// TOTP implements [storage.Factors].
func (db *DB) TOTP(ctx context.Context, userID string) (storage.TOTP, error) {
	t, err := db.q.TOTP(ctx, userID)
	return row.TOTP(t).Record(), found(err)
}

// EnableTOTP implements [storage.Factors].
func (db *DB) EnableTOTP(ctx context.Context, e storage.Enrolment, letters ...storage.Letter) (int64, error) {
	now := column.Time(e.Now)
	var epoch int64
	err := conflict(db.txLast(ctx, func(q, last *pgdb.Queries) error {
		var err error
		epoch, err = q.EnableSecondFactor(ctx, pgdb.EnableSecondFactorParams{Now: now, ID: e.UserID, Epoch: e.Epoch})
		if err = found(err); errors.Is(err, storage.ErrNotFound) {
			return notEnabled(ctx, q, e.UserID)
		}
		if err != nil {
			return err
		}
		if err := last.InsertTOTP(ctx, pgdb.InsertTOTPParams{
			UserID:    e.UserID,
			Sealed:    e.Sealed,
			LastStep:  e.Step,
			CreatedAt: now,
		}); err != nil {
			return err
		}
		if err := addRecoveryCodes(ctx, last, e.UserID, e.RecoveryMACs); err != nil {
			return err
		}
		if err := endOthers(ctx, q, last, e.UserID, epoch, e.Keep, e.Now); err != nil {
			return err
		}
		return addLetters(ctx, last, letters)
	}))
	if err != nil {
		return 0, err
	}
	return epoch, nil
}

// notEnabled says why two-step sign-in was not turned on.
func notEnabled(ctx context.Context, q *pgdb.Queries, userID string) error {
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
	err := conflict(db.txLast(ctx, func(q, last *pgdb.Queries) error {
		var err error
		epoch, err = q.DisableSecondFactor(ctx, pgdb.DisableSecondFactorParams{Now: column.Time(now), ID: userID, Epoch: epoch})
		if err = found(err); errors.Is(err, storage.ErrNotFound) {
			return notDisabled(ctx, q, userID)
		}
		if err != nil {
			return err
		}
		if err := last.DeleteTOTP(ctx, userID); err != nil {
			return err
		}
		if err := last.DeleteRecoveryCodes(ctx, userID); err != nil {
			return err
		}
		if err := endOthers(ctx, q, last, userID, epoch, keep, now); err != nil {
			return err
		}
		return addLetters(ctx, last, letters)
	}))
	if err != nil {
		return 0, err
	}
	return epoch, nil
}

// notDisabled says why two-step sign-in was not turned off.
func notDisabled(ctx context.Context, q *pgdb.Queries, userID string) error {
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
	n, err := db.q.SpendTOTP(ctx, pgdb.SpendTOTPParams{Step: step, Now: column.Time(now), UserID: userID})
	if err == nil && n == 0 {
		return storage.ErrSpent
	}
	return err
}

// FailSecondFactor implements [storage.Factors].
func (db *DB) FailSecondFactor(ctx context.Context, userID string, now time.Time) (int, error) {
	n, err := db.q.FailSecondFactor(ctx, pgdb.FailSecondFactorParams{Now: column.Time(now), UserID: userID})
	return int(n), found(err)
}

// HasRecoveryCode implements [storage.Factors].
func (db *DB) HasRecoveryCode(ctx context.Context, userID string, mac []byte) (bool, error) {
	n, err := db.q.HasRecoveryCode(ctx, pgdb.HasRecoveryCodeParams{UserID: userID, MAC: mac})
	return n > 0, err
}

// SpendRecoveryCode implements [storage.Factors].
func (db *DB) SpendRecoveryCode(ctx context.Context, userID string, mac []byte, now time.Time, letters ...storage.Letter) (int, error) {
	var left int64
	err := conflict(db.txLast(ctx, func(q, last *pgdb.Queries) error {
		// First the row that two codes spent at once have in common: the second
		// counts what the first has left.
		if err := changed(q.ClearFailures(ctx, userID)); err != nil {
			return err
		}
		if err := changed(q.DeleteRecoveryCode(ctx, pgdb.DeleteRecoveryCodeParams{UserID: userID, MAC: mac})); err != nil {
			return err
		}
		var err error
		if left, err = q.CountRecoveryCodes(ctx, userID); err != nil {
			return err
		}
		return addLetters(ctx, last, letters)
	}))
	if err != nil {
		return 0, err
	}
	return int(left), nil
}

// ReplaceRecoveryCodes implements [storage.Factors].
func (db *DB) ReplaceRecoveryCodes(ctx context.Context, userID string, macs [][]byte, now time.Time, letters ...storage.Letter) error {
	return conflict(db.txLast(ctx, func(q, last *pgdb.Queries) error {
		if err := changed(q.TouchSecondFactor(ctx, pgdb.TouchSecondFactorParams{Now: column.Time(now), ID: userID})); err != nil {
			return err
		}
		if err := last.DeleteRecoveryCodes(ctx, userID); err != nil {
			return err
		}
		if err := addRecoveryCodes(ctx, last, userID, macs); err != nil {
			return err
		}
		return addLetters(ctx, last, letters)
	}))
}

// RecoveryCodesLeft implements [storage.Factors].
func (db *DB) RecoveryCodesLeft(ctx context.Context, userID string) (int, error) {
	n, err := db.q.CountRecoveryCodes(ctx, userID)
	return int(n), err
}

func addRecoveryCodes(ctx context.Context, q *pgdb.Queries, userID string, macs [][]byte) error {
	for _, mac := range macs {
		if err := q.InsertRecoveryCode(ctx, pgdb.InsertRecoveryCodeParams{UserID: userID, MAC: mac}); err != nil {
			return err
		}
	}
	return nil
}

package storage

import (
	"context"
	"time"
)

// A TOTP is a person's authenticator app (RFC 6238).
type TOTP struct {
	UserID string
	// Sealed is the secret, encrypted with the user's id as associated data.
	Sealed []byte
	// LastStep is the newest time-step whose code was accepted. No code of it,
	// or of one before, is accepted again (RFC 6238 section 5.2).
	LastStep  int64
	CreatedAt time.Time
	// LastUsedAt is zero until it was used to sign in.
	LastUsedAt time.Time
	// Failures counts wrong codes of any kind since the last right one, and
	// FailedAt is when the last was given.
	Failures int
	FailedAt time.Time
}

// An Enrolment turns two-step sign-in on.
type Enrolment struct {
	UserID string
	// Epoch is the user's when it was begun.
	Epoch  int64
	Sealed []byte
	// Step is the time-step of the code that confirmed it, spent by that.
	Step int64
	// RecoveryMACs are those of the recovery codes.
	RecoveryMACs [][]byte
	Keep         Kept
	Now          time.Time
}

// Factors keeps second factors. Turning one on or off raises the user's epoch,
// which ends every session and grant but those kept.
type Factors interface {
	// TOTP returns the user's authenticator app, or ErrNotFound.
	TOTP(ctx context.Context, userID string) (TOTP, error)

	// EnableTOTP turns two-step sign-in on, with its recovery codes, and adds
	// the letters, in one transaction. It returns the new epoch, ErrConflict
	// when it is on already, or ErrNotFound unless the user is active and of
	// e.Epoch.
	EnableTOTP(ctx context.Context, e Enrolment, letters ...Letter) (int64, error)

	// DisableTOTP turns it off, forgets the recovery codes and adds the letters,
	// in one transaction. It returns the new epoch, ErrNotFound when it is not
	// on, or ErrConflict unless the user is of the epoch given.
	DisableTOTP(ctx context.Context, userID string, epoch int64, keep Kept, now time.Time, letters ...Letter) (int64, error)

	// SpendTOTP accepts the code of a time-step and clears the failures, in one
	// statement. Of any number of concurrent calls with one step one gets nil,
	// the others ErrSpent, as does every step not after the newest accepted.
	SpendTOTP(ctx context.Context, userID string, step int64, now time.Time) error

	// FailSecondFactor counts a wrong code and returns how many there were in a
	// row, this one included; or ErrNotFound.
	FailSecondFactor(ctx context.Context, userID string, now time.Time) (int, error)

	// HasRecoveryCode reports whether there is a code with that MAC, not spent.
	// It is asked before what must be spent first; only SpendRecoveryCode
	// decides.
	HasRecoveryCode(ctx context.Context, userID string, mac []byte) (bool, error)

	// SpendRecoveryCode spends the code with that MAC, clears the failures and
	// adds the letters, in one transaction. It returns how many codes are left,
	// or ErrNotFound when there is no such code or it is spent.
	SpendRecoveryCode(ctx context.Context, userID string, mac []byte, now time.Time, letters ...Letter) (int, error)

	// ReplaceRecoveryCodes forgets the codes there are and keeps the MACs of new
	// ones, and adds the letters, in one transaction. It returns ErrNotFound when
	// two-step sign-in is not on.
	ReplaceRecoveryCodes(ctx context.Context, userID string, macs [][]byte, now time.Time, letters ...Letter) error

	// RecoveryCodesLeft returns how many codes are not spent.
	RecoveryCodesLeft(ctx context.Context, userID string) (int, error)
}

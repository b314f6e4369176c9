package storage

import (
	"context"
	"time"
)

// UserStatus says whether an account may be used. An unknown status may not.
type UserStatus string

// The statuses, also a CHECK in the schema.
const (
	// UserPending has registered and not yet proved the mailbox.
	UserPending UserStatus = "pending"
	// UserActive may sign in.
	UserActive UserStatus = "active"
	// UserSuspended may not sign in; an operator decided so.
	UserSuspended UserStatus = "suspended"
)

// PasswordHistory is how many passwords are remembered and refused: the current
// one and the four before.
const PasswordHistory = 5

// A User is a person with an account.
type User struct {
	// ID is a UUIDv7, the "sub" of every token. It is never given to another
	// account (OIDC Core section 2).
	ID string
	// Email as the person typed it; unique by [EmailKey].
	Email string
	// Name as the person wants apps to show it.
	Name string
	// EmailVerifiedAt is zero until the mailbox has been proved.
	EmailVerifiedAt time.Time
	Status          UserStatus
	// Epoch grows with every change that ends what was issued before it: a new
	// password, a suspension. Flows, codes, sessions and grants carry a copy,
	// and are dead when theirs is older.
	Epoch     int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// EmailVerified reports whether the mailbox has been proved.
func (u User) EmailVerified() bool { return !u.EmailVerifiedAt.IsZero() }

// A Registration is what somebody who has not yet proved the mailbox asks for.
type Registration struct {
	Name         string
	PasswordHash string
}

// A PasswordChange is a new password and what survives it.
type PasswordChange struct {
	UserID       string
	PasswordHash string
	// KeepSession and KeepGrant are the ids of the session and the grant that
	// made the change, carried over to the new epoch. Empty keeps none.
	KeepSession string
	KeepGrant   string
	Now         time.Time
}

// Users keeps accounts and their passwords. A password hash is text in a
// self-describing form ($argon2id$…, $2b$…); storage never looks inside.
type Users interface {
	// CreateUser adds u with its first password and the letters, in one
	// transaction. It returns ErrConflict when the address (whatever its case)
	// or the id is taken.
	CreateUser(ctx context.Context, u User, passwordHash string, letters ...Letter) error

	// ReplaceRegistration gives a pending user another name and password and
	// adds the letters, in one transaction: nothing of a pending account has
	// been proved. It returns ErrNotFound unless the user is pending.
	ReplaceRegistration(ctx context.Context, userID string, r Registration, now time.Time, letters ...Letter) error

	// VerifyEmail marks the mailbox of a pending user as proved and makes the
	// user active, with the name and the password of the registration whose
	// code was shown; an empty PasswordHash leaves both. The status of a user
	// who is not pending is never changed: ErrNotFound.
	VerifyEmail(ctx context.Context, userID string, r Registration, now time.Time) error

	// User returns the user, or ErrNotFound.
	User(ctx context.Context, id string) (User, error)

	// UserByEmail returns the user with that address, whatever its case, and
	// the current password hash; or ErrNotFound.
	UserByEmail(ctx context.Context, email string) (User, string, error)

	// PasswordHashes returns up to [PasswordHistory] hashes, the current first.
	PasswordHashes(ctx context.Context, userID string) ([]string, error)

	// SetPassword makes the hash the current one, trims the history, raises the
	// user's epoch and so ends every session and grant but those kept, all in
	// one transaction that updates the user first. It returns the new epoch,
	// or ErrNotFound.
	SetPassword(ctx context.Context, c PasswordChange) (int64, error)

	// SetStatus changes the status and raises the epoch, which ends every
	// session and grant. It returns ErrNotFound when there is no such user.
	SetStatus(ctx context.Context, userID string, s UserStatus, now time.Time) error

	// ListUsers returns up to limit users whose id sorts after the one given,
	// by id; ids are in order of creation.
	ListUsers(ctx context.Context, after string, limit int) ([]User, error)
}

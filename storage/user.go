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
	// SecondFactor says that two-step sign-in is on. It is changed by
	// [Factors] alone.
	SecondFactor bool
	// Profile is what apps may be told beside name and address.
	Profile Profile
	// Epoch grows with every change that ends what was issued before it: a new
	// password, a suspension, an app removed. Flows, codes, sessions and grants
	// carry a copy, and are dead when theirs is older.
	Epoch     int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// A Profile is the standard claims of OIDC Core section 5.1 that need no
// account: what a person, or an operator for them, has written down. Empty is
// not told. It is kept as JSON by these names, which are the claims'.
type Profile struct {
	GivenName         string `json:"given_name,omitempty"`
	FamilyName        string `json:"family_name,omitempty"`
	MiddleName        string `json:"middle_name,omitempty"`
	Nickname          string `json:"nickname,omitempty"`
	PreferredUsername string `json:"preferred_username,omitempty"`
	// Profile, Picture and Website are URLs.
	Profile string `json:"profile,omitempty"`
	Picture string `json:"picture,omitempty"`
	Website string `json:"website,omitempty"`
	Gender  string `json:"gender,omitempty"`
	// Birthdate is YYYY-MM-DD, 0000-MM-DD or YYYY.
	Birthdate string `json:"birthdate,omitempty"`
	// Zoneinfo is a name of the time zone database, Locale a BCP 47 tag: also
	// the language of our pages and letters to the person.
	Zoneinfo string `json:"zoneinfo,omitempty"`
	Locale   string `json:"locale,omitempty"`
	// PhoneNumber is E.164; we send nothing there.
	PhoneNumber         string   `json:"phone_number,omitempty"`
	PhoneNumberVerified bool     `json:"phone_number_verified,omitempty"`
	Address             *Address `json:"address,omitempty"`
}

// An Address is a postal address (OIDC Core section 5.1.1).
type Address struct {
	Formatted     string `json:"formatted,omitempty"`
	StreetAddress string `json:"street_address,omitempty"`
	Locality      string `json:"locality,omitempty"`
	Region        string `json:"region,omitempty"`
	PostalCode    string `json:"postal_code,omitempty"`
	Country       string `json:"country,omitempty"`
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
	// Replaces is the current hash, against which the change was proved; empty
	// replaces any.
	Replaces string
	Keep     Kept
	Now      time.Time
}

// Kept names the browser session and the grant that made a change. They are
// carried over to the user's new epoch; every other session and grant ends.
// The zero value keeps none.
type Kept struct {
	Session string
	Grant   string
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
	// user's epoch and so ends every session and grant but those kept, and adds
	// the letters, all in one transaction that updates the user first. It
	// returns the new epoch, ErrConflict when c.Replaces is no longer the current
	// hash, or ErrNotFound.
	SetPassword(ctx context.Context, c PasswordChange, letters ...Letter) (int64, error)

	// UpgradePassword replaces the current hash by another of the same password.
	// Nothing ends and the history does not grow. It returns ErrConflict when
	// old is no longer the current hash.
	UpgradePassword(ctx context.Context, userID, old, hash string) error

	// ChangeEmail gives the user an address that has just been proved, and adds
	// the letters, in one transaction. A pending user who holds the address has
	// proved nothing and gives way: the user is removed, and the id returned. It
	// returns ErrConflict when the address is taken, and ErrNotFound unless the
	// user is active and of that epoch; then nobody is removed.
	ChangeEmail(ctx context.Context, userID string, epoch int64, email string, now time.Time, letters ...Letter) (gaveWay string, err error)

	// SetProfile gives the user another name and profile, or returns ErrNotFound.
	SetProfile(ctx context.Context, userID, name string, p Profile, now time.Time) error
	// SetLocale changes Locale, and nothing else of the profile, or returns
	// ErrNotFound.
	SetLocale(ctx context.Context, userID, locale string, now time.Time) error
	// SetStatus changes the status, raises the epoch, which ends every session
	// and grant, and adds the letters. A user who never proved the mailbox
	// becomes pending instead of active. It returns ErrNotFound when there is no
	// such user.
	SetStatus(ctx context.Context, userID string, s UserStatus, now time.Time, letters ...Letter) error

	// EndEverything raises the epoch and so ends every session and grant of the
	// user but those kept, in one transaction. It returns the new epoch, or
	// ErrNotFound.
	EndEverything(ctx context.Context, userID string, keep Kept, now time.Time) (int64, error)

	// DeleteUser removes the user with everything that is theirs, and adds the
	// letters, in one transaction: passwords, factors, sessions, consents;
	// grants are revoked, not removed, so that their tokens stay dead. It
	// returns ErrNotFound when there is no such user.
	DeleteUser(ctx context.Context, userID string, now time.Time, letters ...Letter) error

	// DeletePendingUsers removes up to limit pending users who last registered
	// before that time and never proved the mailbox, and returns how many.
	DeletePendingUsers(ctx context.Context, before time.Time, limit int) (int, error)

	// ListUsers returns up to limit users whose id sorts after the one given,
	// by id; ids are in order of creation.
	ListUsers(ctx context.Context, after string, limit int) ([]User, error)
}

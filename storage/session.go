package storage

import (
	"context"
	"time"
)

// A Session is a browser in which a person is signed in. It is also how a face
// tells the provider who was proved: UserID, UserEpoch, AuthTime, AMR.
type Session struct {
	// ID is the "sid" of ID tokens. It opens nothing.
	ID string
	// SecretHash is the SHA-256 sum of the cookie's value.
	SecretHash []byte
	UserID     string
	// UserEpoch is the user's epoch when the person was proved.
	UserEpoch int64
	// AuthTime is when the person was proved (OIDC Core section 2, auth_time).
	AuthTime time.Time
	// AMR is how (RFC 8176): pwd, otp, mfa.
	AMR []string
	// Remember makes a session outlive the browser.
	Remember  bool
	CreatedAt time.Time
	// ExpiresAt is the end when nothing happens, EndsAt the end in any case.
	ExpiresAt time.Time
	EndsAt    time.Time
	// UserAgent and Address are the browser's, for the person to recognise it.
	UserAgent string
	Address   string
}

// Sessions keeps browser sessions.
type Sessions interface {
	// CreateSession adds s if its user is active and of s.UserEpoch, else it
	// returns ErrNotFound and adds nothing. An empty replaces ends no session;
	// otherwise the session of that id ends in the same transaction, as by
	// EndSession, unless s takes over its id: then its grants are those of s.
	CreateSession(ctx context.Context, s Session, replaces string) error
	// SessionBySecret returns the session that is alive at now, and its user,
	// who is active and of the session's epoch; else ErrNotFound.
	SessionBySecret(ctx context.Context, secretHash []byte, now time.Time) (Session, User, error)
	// TouchSession moves ExpiresAt, never past EndsAt. It is no error when
	// there is no such session.
	TouchSession(ctx context.Context, id string, expiresAt time.Time) error
	// EndSession removes the session, and revokes its grants that lack the
	// scope offline_access, in one transaction. It is no error when there is
	// none.
	EndSession(ctx context.Context, id string, now time.Time) error
	// ListSessions returns the user's sessions that are alive at now, the newest
	// first.
	ListSessions(ctx context.Context, userID string, now time.Time) ([]Session, error)
	// EndSessionOf is EndSession for a session of that user; ErrNotFound when
	// the user has no such session.
	EndSessionOf(ctx context.Context, userID, id string, now time.Time) error
	// DeleteExpiredSessions removes up to limit sessions that ended before now
	// and returns how many.
	DeleteExpiredSessions(ctx context.Context, now time.Time, limit int) (int, error)
}

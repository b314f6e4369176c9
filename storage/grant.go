package storage

import (
	"context"
	"time"
)

// A Grant is a person's permission to a client, from which tokens are made. One
// row lives as long as the family of its refresh tokens: a refresh token is the
// grant plus a number, and a rotation adds one.
type Grant struct {
	// ID is chosen when the code is issued, so that the primary key is the
	// truth for "spent once". Access tokens carry it in their jti.
	ID string
	// HandleHash is the SHA-256 sum of the handle inside the refresh tokens;
	// nil when the grant has none.
	HandleHash []byte
	ClientID   string
	UserID     string
	UserEpoch  int64
	// SessionID is the browser session it came from (sid), or empty.
	SessionID string
	Scopes    []string
	// Resources is the audience of its access tokens (RFC 8707).
	Resources []string
	Nonce     string
	AuthTime  time.Time
	AMR       []string
	// Claims are those asked for one by one (OIDC Core section 5.5).
	Claims ClaimsRequest
	// JKT is the thumbprint of the DPoP key the refresh tokens are bound to
	// (RFC 9449), or empty.
	JKT string
	// Generation is the number of the current refresh token, from 1.
	Generation int64
	CreatedAt  time.Time
	// RotatedAt is zero before the first rotation.
	RotatedAt time.Time
	// ExpiresAt is the end when it is not used (for a grant without a refresh
	// token: when its access token ends), EndsAt the end in any case.
	ExpiresAt time.Time
	EndsAt    time.Time
	// RevokedAt is zero while the grant is not revoked.
	RevokedAt time.Time
}

// A ClaimsRequest names claims beyond those that scopes stand for. It is kept as
// JSON by these names.
type ClaimsRequest struct {
	UserInfo []string `json:"userinfo,omitempty"`
	IDToken  []string `json:"id_token,omitempty"`
}

// A Rotation is a refresh token presented, and the time it is judged by.
type Rotation struct {
	HandleHash []byte
	ClientID   string
	// JKT is the key that was proved by DPoP, or empty.
	JKT string
	// Presented is the generation in the token, whose HMAC has been checked.
	Presented int64
	Now       time.Time
	// GraceSince is the earliest rotation after which the generation before is
	// still answered: Now minus the grace; a strict client passes [Never].
	GraceSince time.Time
	// ExpiresAt is the new idle end, cut at the grant's EndsAt.
	ExpiresAt time.Time
}

// Never is later than any time that a row holds.
var Never = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// A Verdict is what a refresh token was worth.
type Verdict string

// The verdicts. A token that is worth nothing is ErrNotFound instead: unknown,
// expired, revoked, of another client or key, or its user is not active or of
// a newer epoch.
const (
	// Rotated: the token was current. The next one is Generation.
	Rotated Verdict = "rotated"
	// Repeated: the token was the one before, within the grace. The next one is
	// Generation, the same that was given before; nothing has changed.
	Repeated Verdict = "repeated"
	// Reused: the token was older. The grant is now revoked.
	Reused Verdict = "reused"
)

// Grants keeps grants. One is alive while it is not revoked and not past either
// end, and its user is active and of the grant's epoch.
type Grants interface {
	// CreateGrant adds g if its user is active and of g.UserEpoch, and its
	// session, if it has one, has not ended or it speaks for offline access; else
	// it returns ErrNotFound and adds nothing. It returns ErrSpent when the id is
	// taken: the code was redeemed before, or its replay came first.
	CreateGrant(ctx context.Context, g Grant) error

	// Rotate judges a refresh token and moves the grant, in one statement. Of
	// any number of concurrent calls with the current generation one is
	// Rotated; the others are Repeated within the grace and Reused after it.
	// A Presented above the current generation counts as current: its HMAC is
	// ours, so a failover has lost the row's last update.
	Rotate(ctx context.Context, r Rotation) (Grant, Verdict, error)

	// LiveGrant returns the grant that is alive at now and its user; else
	// ErrNotFound.
	LiveGrant(ctx context.Context, id string, now time.Time) (Grant, User, error)

	// GrantByHandle returns the grant, alive or not, or ErrNotFound.
	GrantByHandle(ctx context.Context, handleHash []byte) (Grant, error)

	// GrantByID returns the grant, alive or not, or ErrNotFound.
	GrantByID(ctx context.Context, id string) (Grant, error)
	// ListGrants returns the user's grants that are alive at now, the newest
	// first.
	ListGrants(ctx context.Context, userID string, now time.Time) ([]Grant, error)

	// RevokeGrant revokes the grant; it is no error when it is revoked already
	// or there is none.
	RevokeGrant(ctx context.Context, id string, now time.Time) error

	// ReplayGrant revokes g because its code was redeemed a second time. When
	// there is no such row (the first redemption died before it wrote one, or
	// is still on its way) it writes a revoked one, so that none can follow.
	ReplayGrant(ctx context.Context, g Grant, now time.Time) error

	// DeleteExpiredGrants removes up to limit grants that ended before, by
	// EndsAt, and returns how many.
	DeleteExpiredGrants(ctx context.Context, before time.Time, limit int) (int, error)
}

package storage

import (
	"context"
	"time"
)

// AccessTokenLife is the longest that an access token may live. A revocation is
// kept for as long, and a minute more for clocks that differ.
const AccessTokenLife = 15 * time.Minute

// A RevocationKind says what a revocation stops.
type RevocationKind string

// The kinds.
const (
	// RevokedToken stops one access token; the key is its jti.
	RevokedToken RevocationKind = "token"
	// RevokedGrant stops every access token of a grant; the key is its id.
	RevokedGrant RevocationKind = "grant"
	// RevokedClient stops every access token of a client that was issued before
	// the revocation; the key is the client's id.
	RevokedClient RevocationKind = "client"
)

// A Revocation stops access tokens that are still signed and not yet expired.
type Revocation struct {
	// Seq is the place in the order of commits, without gaps, from 1.
	Seq  int64
	Kind RevocationKind
	Key  string
	// At is when it was revoked.
	At time.Time
	// Until is when the last token it stops has expired, and the row may go.
	Until time.Time
}

// Revocations keeps what is revoked until no token of it is alive. The
// transaction that sets a grant's RevokedAt writes its row too, whoever sets
// it; the one that deletes a client, a RevokedClient.
type Revocations interface {
	// Revoke adds a revocation of a token or a client and returns its place. The
	// given Seq is ignored.
	Revoke(ctx context.Context, r Revocation) (int64, error)
	// LastRevocation returns the highest place given out, 0 when there is none.
	LastRevocation(ctx context.Context) (int64, error)
	// RevocationsAfter returns up to limit revocations that are of a higher place
	// and not past Until, in order.
	RevocationsAfter(ctx context.Context, seq int64, now time.Time, limit int) ([]Revocation, error)
	// DeleteExpiredRevocations removes up to limit rows past Until and returns
	// how many.
	DeleteExpiredRevocations(ctx context.Context, now time.Time, limit int) (int, error)
}

package storage

import (
	"context"
	"time"
)

// A Code is an authorization code with everything that was agreed when it was
// issued: one record for OAuth, PKCE and OpenID Connect.
type Code struct {
	// Hash is the hex SHA-256 sum of the code.
	Hash     string
	ClientID string
	// RedirectURIHash is the hex SHA-256 sum of the redirect_uri of the
	// request, or empty when the request had none.
	RedirectURIHash string
	// Challenge is the S256 code challenge (RFC 7636 section 4.2), or empty.
	Challenge string
	// JKT is the DPoP key it is bound to (RFC 9449 section 10), or empty.
	JKT string
	// Grant is the grant to be made: its id, user, scopes, nonce and the rest.
	Grant Grant
	// ExpiresAt is kept inside the record and judged by the time given, not by
	// Valkey's.
	ExpiresAt time.Time
}

// A Redemption is a code presented at the token endpoint.
type Redemption struct {
	Hash     string
	ClientID string
	// RedirectURIHash is empty when the request had no redirect_uri, which a
	// code with a challenge allows (OAuth 2.1 section 10.2).
	RedirectURIHash string
	// Challenge is S256 of the verifier presented; empty when there was none.
	Challenge string
	JKT       string
	Now       time.Time
	// UsedUntil is how long the used record is kept to notice a replay: as long
	// as the access token lives.
	UsedUntil time.Time
}

// ReplayAfter is how long after a redemption a second one by the right client
// is still taken for the loser of a race, and only refused.
const ReplayAfter = 3 * time.Second

// A CodeVerdict is what a code was worth.
type CodeVerdict string

// The verdicts. A code that is worth nothing is ErrNotFound instead: unknown,
// expired, of another client, redirect URI, verifier or key; nothing changed,
// so its owner can still redeem it.
const (
	// CodeRedeemed: the first redemption.
	CodeRedeemed CodeVerdict = "redeemed"
	// CodeRaced: a second redemption within ReplayAfter. Nothing changed.
	CodeRaced CodeVerdict = "raced"
	// CodeReplayed: a second redemption later. The caller revokes the grant.
	CodeReplayed CodeVerdict = "replayed"
)

// Codes keeps authorization codes.
type Codes interface {
	// PutCode adds the code, in one round trip. It returns ErrConflict when
	// there is one of this hash, used or not.
	PutCode(ctx context.Context, c Code) error
	// RedeemCode judges a code and marks it used, in one atomic round trip. Of
	// any number of concurrent calls one is CodeRedeemed. All must match before
	// anything changes: client, redirect URI, verifier, key. A code issued with
	// a challenge is worth nothing without its verifier, and one issued without
	// is worth nothing with one. A code bound to no key takes any (RFC 9449
	// section 10).
	RedeemCode(ctx context.Context, r Redemption) (Code, CodeVerdict, error)
}

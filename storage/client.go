package storage

import (
	"context"
	"time"
)

// How a client authenticates at the token endpoint, in the words of the
// registry of RFC 7591 section 4.2.
const (
	AuthNone        = "none"
	AuthSecretBasic = "client_secret_basic"
	AuthSecretPost  = "client_secret_post"
)

// A Client is an app that people sign in to, or a service with tokens of its
// own (RFC 6749 section 2).
type Client struct {
	ID   string
	Name string
	// AuthMethod is the one way in which the client authenticates at the token
	// endpoint: AuthNone (a public client), AuthSecretBasic or AuthSecretPost.
	AuthMethod string
	// SecretHashes are SHA-256 sums of the secrets now valid: none for a public
	// client, two during a change of secret.
	SecretHashes [][]byte
	// RedirectURIs are compared exactly, but for the port of a loopback IP
	// (RFC 8252 section 7.3).
	RedirectURIs []string
	// GrantTypes as in RFC 7591 section 2: authorization_code, refresh_token,
	// client_credentials.
	GrantTypes []string
	// Scopes are all that the client may ask for.
	Scopes []string
	// Resources are the resource indicators (RFC 8707) that the client may name;
	// the first is the audience of its tokens when it names none.
	Resources []string
	// FirstParty clients belong to the operator: people are not asked for
	// consent, and refresh tokens need no offline_access.
	FirstParty bool
	// OptionalPKCE lets an OpenID confidential client go without a code
	// challenge. Public clients always need one.
	OptionalPKCE bool
	// IDTokenAlg signs ID tokens: ES256 or RS256; empty is ES256.
	IDTokenAlg string
	// RefreshGrace is how long after a rotation the refresh token before is
	// still answered with the same successor. Nil is the server's default;
	// zero is strict.
	RefreshGrace *time.Duration
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Public reports whether the client has no secret (RFC 6749 section 2.1).
func (c Client) Public() bool { return c.AuthMethod == AuthNone }

// Clients keeps registered clients.
type Clients interface {
	// CreateClient returns ErrConflict when the id is taken.
	CreateClient(ctx context.Context, c Client) error
	// UpdateClient replaces everything but the id and CreatedAt, or returns
	// ErrNotFound.
	UpdateClient(ctx context.Context, c Client) error
	// Client returns the client, or ErrNotFound.
	Client(ctx context.Context, id string) (Client, error)
	// ListClients returns up to limit clients whose id sorts (by its bytes)
	// after the one given, by id.
	ListClients(ctx context.Context, after string, limit int) ([]Client, error)
	// DeleteClient removes the client with its consents, and revokes its
	// grants, in one transaction; or returns ErrNotFound.
	DeleteClient(ctx context.Context, id string, now time.Time) error
}

package storage

import (
	"context"
	"encoding/json"
	"time"
)

// How a client authenticates at the token endpoint, in the words of the
// registry of RFC 7591 section 4.2.
const (
	AuthNone        = "none"
	AuthSecretBasic = "client_secret_basic"
	AuthSecretPost  = "client_secret_post"
	// AuthPrivateKey is a signed assertion (OIDC Core section 9, RFC 7523).
	AuthPrivateKey = "private_key_jwt"
)

// A Client is an app that people sign in to, or a service with tokens of its
// own (RFC 6749 section 2).
type Client struct {
	ID   string
	Name string
	// AuthMethod is the one way in which the client authenticates at the token
	// endpoint: AuthNone (a public client), AuthSecretBasic, AuthSecretPost or
	// AuthPrivateKey.
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
	// Metadata is the rest of what the client is registered with.
	Metadata ClientMetadata
	// Registration is set for a client that registered itself (RFC 7591).
	Registration *DynamicRegistration
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// A DynamicRegistration is what is kept of a client that registered itself.
type DynamicRegistration struct {
	// TokenHash is the SHA-256 sum of the registration access token (RFC 7592
	// section 1).
	TokenHash []byte
	// UsedAt is when somebody last signed in through the client, to about a
	// day; zero before the first time.
	UsedAt time.Time
}

// ClientMetadata is what no query looks at: names as in RFC 7591 section 2,
// OpenID Connect Registration 1.0 section 2 and the logout specifications. It
// is kept as JSON by these names, which must not change.
type ClientMetadata struct {
	URI       string   `json:"client_uri,omitempty"`
	LogoURI   string   `json:"logo_uri,omitempty"`
	PolicyURI string   `json:"policy_uri,omitempty"`
	TermsURI  string   `json:"tos_uri,omitempty"`
	Contacts  []string `json:"contacts,omitempty"`
	// ApplicationType is web or native; empty is web.
	ApplicationType string `json:"application_type,omitempty"`
	SoftwareID      string `json:"software_id,omitempty"`
	SoftwareVersion string `json:"software_version,omitempty"`
	// InitiateLoginURI is where a third party starts a sign-in (OIDC Core
	// section 4).
	InitiateLoginURI string `json:"initiate_login_uri,omitempty"`
	// PostLogoutRedirectURIs are compared exactly (RP-Initiated Logout section
	// 3.1).
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	// BackchannelLogoutURI is told when a session ends (Back-Channel Logout
	// section 2.2).
	BackchannelLogoutURI string `json:"backchannel_logout_uri,omitempty"`
	// BackchannelSessionRequired asks for sid in logout tokens, which ours
	// always have.
	BackchannelSessionRequired bool `json:"backchannel_logout_session_required,omitempty"`
	// JWKS or JWKSURI hold the client's public keys.
	JWKS    json.RawMessage `json:"jwks,omitempty"`
	JWKSURI string          `json:"jwks_uri,omitempty"`
	// AssertionAlg is the one algorithm of its assertions; empty is any we
	// know.
	AssertionAlg string `json:"token_endpoint_auth_signing_alg,omitempty"`
	// TokenURLAudience accepts the token endpoint's URL as the audience of its
	// assertions, as OIDC Core section 9 has it; without it only the issuer.
	TokenURLAudience bool `json:"token_url_audience,omitempty"`
	// UserInfoAlg and IntrospectionAlg ask for signed answers (OIDC Core section
	// 5.3.2, RFC 9701 section 4); empty is plain JSON.
	UserInfoAlg      string `json:"userinfo_signed_response_alg,omitempty"`
	IntrospectionAlg string `json:"introspection_signed_response_alg,omitempty"`
	// Introspects are the audiences whose tokens the client may check, as a
	// resource server; its own tokens it always may.
	Introspects []string `json:"introspects,omitempty"`
	// DefaultMaxAge is the max_age of requests that have none, in seconds.
	DefaultMaxAge *int64 `json:"default_max_age,omitempty"`
	// DefaultACR are the acr_values of requests that have none.
	DefaultACR []string `json:"default_acr_values,omitempty"`
	// RequireAuthTime is accepted and always kept: every ID token has auth_time.
	RequireAuthTime bool `json:"require_auth_time,omitempty"`
	// Origins are the web origins of a single-page app, which its browser may
	// call us from (CORS), beside those of its redirect URIs.
	Origins []string `json:"origins,omitempty"`
	// Accent is the app's colour on our pages, "#rrggbb", or empty.
	Accent string `json:"accent,omitempty"`
}

// A Logo is a picture that stands for a client.
type Logo struct {
	// Type is image/png, image/jpeg, image/webp or image/svg+xml.
	Type  string
	Bytes []byte
}

// ClientMemory is how long a server may use a client that it has read: how late
// a change or a deletion takes effect there. Tokens given out in that time to a
// client that was deleted are stopped too.
const ClientMemory = 5 * time.Second

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
	// SetLogo replaces the client's logo; one without bytes removes it. It
	// returns ErrNotFound when there is no such client.
	SetLogo(ctx context.Context, clientID string, l Logo) error
	// Logo returns the client's logo, or ErrNotFound.
	Logo(ctx context.Context, clientID string) (Logo, error)
	// ClientUsed moves UsedAt of a client that registered itself; it is no
	// error when there is none.
	ClientUsed(ctx context.Context, id string, now time.Time) error
	// CountDynamicClients returns how many clients registered themselves.
	CountDynamicClients(ctx context.Context) (int, error)
	// DeleteUnusedClients removes, as DeleteClient does, up to limit clients that
	// registered themselves and were neither made nor used since, and returns how
	// many.
	DeleteUnusedClients(ctx context.Context, since, now time.Time, limit int) (int, error)
}

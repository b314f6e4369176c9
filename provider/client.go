package provider

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/storage"
)

// The grant types a client may be registered for (RFC 7591 section 2).
const (
	grantCode        = "authorization_code"
	grantRefresh     = "refresh_token"
	grantCredentials = "client_credentials"
)

// NewClientSecret returns a secret of 256 random bits and the sum that storage
// keeps of it. Against so many bits a single SHA-256 is as good as a slow hash,
// and a token request stays cheap.
func NewClientSecret() (secret string, hash []byte) {
	secret = newSecret()
	return secret, sha256Of(secret)
}

// A wrongMember is a member of client metadata that cannot be registered.
type wrongMember struct {
	// member is its name in RFC 7591 section 2, or in the specification that adds
	// it; what is its name in English.
	member, what string
	// value is what it was, and why completes the sentence about it. Only value
	// may come from a stranger.
	value, why string
}

func (e *wrongMember) Error() string {
	if e.value == "" {
		return "the " + e.what + " " + e.why
	}
	return fmt.Sprintf("the %s %q %s", e.what, e.value, e.why)
}

// maxMember is how many bytes one text of client metadata may have, and
// maxMembers how many texts a list.
const (
	maxMember  = 2000
	maxMembers = 100
)

// ValidateClient says in one sentence what is wrong with a client that is to be
// registered.
func ValidateClient(c storage.Client) error {
	switch {
	case c.ID == "" || len(c.ID) > 200 || strings.ContainsFunc(c.ID, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == '"' || r == '\\' }):
		return errors.New("the client id must be 1 to 200 printable ASCII characters without space, colon, quote or backslash")
	case uuid.Validate(c.ID) == nil:
		return errors.New("the client id must not look like a UUID, which would be a person's subject")
	case c.Name == "" || len(c.Name) > 200 || strings.ContainsFunc(c.Name, deceptive):
		return errors.New("the name must be 1 to 200 bytes without control characters")
	}
	if err := validateAuthentication(c); err != nil {
		return err
	}
	if err := validateGrants(c); err != nil {
		return err
	}
	for _, u := range c.RedirectURIs {
		if err := validateRedirectURI(u, c.Public()); err != nil {
			return err
		}
	}
	if _, ok := scopeTokens(strings.Join(c.Scopes, " ")); !ok {
		return errors.New("a scope is of printable ASCII characters without space, quote or backslash, and there are at most 100")
	}
	for _, r := range c.Resources {
		if !validResource(r) {
			return &wrongMember{"resources", "resource", r, "is not an absolute URI without fragment (RFC 8707 section 2)"}
		}
	}
	if !signs(c.IDTokenAlg) {
		return &wrongMember{"id_token_signed_response_alg", "ID token algorithm", c.IDTokenAlg, "is not ES256 or RS256"}
	}
	if c.RefreshGrace != nil && (*c.RefreshGrace < 0 || *c.RefreshGrace > 5*time.Minute) {
		return errors.New("the refresh grace is from 0 to 5 minutes")
	}
	return validateMetadata(c)
}

// deceptive reports whether a character has no place in a name that people read:
// it controls something, or turns the direction of what stands around it.
func deceptive(r rune) bool {
	return unicode.IsControl(r) || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}

// signs reports whether we sign with the algorithm; empty is the default.
func signs(alg string) bool { return alg == "" || alg == "ES256" || alg == "RS256" }

func validateAuthentication(c storage.Client) error {
	keys := len(c.Metadata.JWKS) > 0 || c.Metadata.JWKSURI != ""
	switch c.AuthMethod {
	case storage.AuthNone:
		if c.OptionalPKCE {
			return errors.New("a public client cannot go without PKCE")
		}
	case storage.AuthPrivateKey:
		if !keys {
			return &wrongMember{"jwks", "key set", "", "or its address is missing, which private_key_jwt needs"}
		}
	case storage.AuthSecretBasic, storage.AuthSecretPost:
		if len(c.SecretHashes) == 0 || len(c.SecretHashes) > 2 {
			return errors.New("a confidential client has one secret, or two while it is changed")
		}
		for _, h := range c.SecretHashes {
			if len(h) != sha256.Size {
				return errors.New("a client secret is stored as its SHA-256 sum")
			}
		}
	default:
		return &wrongMember{"token_endpoint_auth_method", "authentication method", c.AuthMethod, "is not none, client_secret_basic, client_secret_post or private_key_jwt"}
	}
	switch {
	case len(c.SecretHashes) > 0 && c.Public():
		return errors.New("a public client has no secret")
	case len(c.SecretHashes) > 0 && c.AuthMethod == storage.AuthPrivateKey:
		return errors.New("a client of private_key_jwt has no secret")
	case len(c.Metadata.JWKS) > 0 && c.Metadata.JWKSURI != "":
		return &wrongMember{"jwks_uri", "key set", "", "and its address exclude each other"}
	}
	if len(c.Metadata.JWKS) > 0 {
		if err := registrableKeySet(c.Metadata.JWKS); err != nil {
			return &wrongMember{"jwks", "key set", "", "cannot be used: " + err.Error()}
		}
	}
	alg := c.Metadata.AssertionAlg
	if alg != "" && !slices.Contains(assertionAlgs, jose.SignatureAlgorithm(alg)) {
		return &wrongMember{"token_endpoint_auth_signing_alg", "assertion algorithm", alg, "is not RS256, PS256, ES256, EdDSA or a longer one of the first three"}
	}
	return nil
}

func validateGrants(c storage.Client) error {
	if len(c.GrantTypes) == 0 {
		return errors.New("the client needs a grant type")
	}
	for _, g := range c.GrantTypes {
		switch g {
		case grantCode:
			if len(c.RedirectURIs) == 0 {
				return &wrongMember{"redirect_uris", "grant authorization_code", "", "needs a redirect URI"}
			}
		case grantRefresh:
			if !slices.Contains(c.GrantTypes, grantCode) {
				return errors.New("the grant refresh_token needs authorization_code")
			}
		case grantCredentials:
			if c.Public() {
				return errors.New("a public client cannot use client_credentials")
			}
		default:
			return &wrongMember{"grant_types", "grant type", g, "is not authorization_code, refresh_token or client_credentials"}
		}
	}
	return nil
}

// validateMetadata looks at what is no column of its own.
func validateMetadata(c storage.Client) error {
	m := c.Metadata
	for _, a := range []struct{ member, what, uri string }{
		{"client_uri", "home page", m.URI},
		{"logo_uri", "logo's address", m.LogoURI},
		{"policy_uri", "privacy policy's address", m.PolicyURI},
		{"tos_uri", "terms' address", m.TermsURI},
		{"jwks_uri", "key set's address", m.JWKSURI},
		{"initiate_login_uri", "address that starts a sign-in", m.InitiateLoginURI},
		{"backchannel_logout_uri", "back-channel logout address", m.BackchannelLogoutURI},
	} {
		if a.uri != "" && !validHTTPS(a.uri) {
			return &wrongMember{a.member, a.what, a.uri, "is not an https URL without user name and fragment"}
		}
	}
	for _, l := range []struct {
		member, what string
		values       []string
	}{
		{"redirect_uris", "list of redirect URIs", c.RedirectURIs},
		{"post_logout_redirect_uris", "list of post-logout redirect URIs", m.PostLogoutRedirectURIs},
		{"contacts", "list of contacts", m.Contacts},
		{"origins", "list of origins", m.Origins},
		{"introspects", "list of audiences", m.Introspects},
		{"default_acr_values", "list of acr values", m.DefaultACR},
	} {
		if len(l.values) > maxMembers {
			return &wrongMember{l.member, l.what, "", "has more than 100 entries"}
		}
	}
	for _, u := range m.PostLogoutRedirectURIs {
		if err := validateRedirectURI(u, c.Public()); err != nil {
			err.member, err.what = "post_logout_redirect_uris", "post-logout redirect URI"
			return err
		}
	}
	for _, o := range m.Origins {
		if got, ok := originOf(o); !ok || got != o {
			return &wrongMember{"origins", "origin", o, "is not scheme and host alone, https unless it is localhost, in lower case"}
		}
	}
	for _, r := range m.Introspects {
		if !validResource(r) {
			return &wrongMember{"introspects", "audience", r, "is not an absolute URI without fragment"}
		}
	}
	for _, t := range slices.Concat(m.Contacts, m.DefaultACR, []string{m.SoftwareID, m.SoftwareVersion}) {
		if len(t) > 300 || strings.ContainsFunc(t, deceptive) {
			return &wrongMember{"contacts", "contact, acr value, software id or version", "", "must be at most 300 bytes without control characters"}
		}
	}
	switch {
	case m.ApplicationType != "" && m.ApplicationType != "web" && m.ApplicationType != "native":
		return &wrongMember{"application_type", "application type", m.ApplicationType, "is not web or native"}
	case !signs(m.UserInfoAlg):
		return &wrongMember{"userinfo_signed_response_alg", "UserInfo algorithm", m.UserInfoAlg, "is not ES256 or RS256"}
	case !signs(m.IntrospectionAlg):
		return &wrongMember{"introspection_signed_response_alg", "introspection algorithm", m.IntrospectionAlg, "is not ES256 or RS256"}
	case m.DefaultMaxAge != nil && (*m.DefaultMaxAge < 0 || *m.DefaultMaxAge > 1<<31):
		return &wrongMember{"default_max_age", "default max_age", "", "is not a number of seconds"}
	case m.Accent != "" && !validAccent(m.Accent):
		return &wrongMember{"accent", "accent", m.Accent, "is not a colour such as #1a7f5a"}
	}
	return nil
}

func validAccent(s string) bool {
	return len(s) == 7 && s[0] == '#' && strings.Trim(s[1:], "0123456789abcdefABCDEF") == ""
}

// validHTTPS reports whether s may be linked to or asked by us. Whether it may
// really be asked is judged when it is.
func validHTTPS(s string) bool {
	u, err := url.Parse(s)
	return err == nil && plainURI(s) && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && !strings.Contains(s, "#")
}

// plainURI reports whether a text is of the characters of a URI.
func plainURI(s string) bool {
	return len(s) <= maxMember && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '"' || r == '<' || r == '>' || r == '\\'
	})
}

// validateRedirectURI refuses what must not be registered (RFC 9700 section
// 2.1, RFC 8252 section 7, OAuth 2.1 section 2.3.1).
func validateRedirectURI(s string, public bool) *wrongMember {
	u, err := url.Parse(s)
	wrong := func(why string) *wrongMember { return &wrongMember{"redirect_uris", "redirect URI", s, why} }
	switch {
	case err != nil || !plainURI(s):
		return wrong("is not a URI")
	case u.Scheme == "":
		return wrong("is not absolute")
	case strings.Contains(s, "#"):
		return wrong("has a fragment")
	case strings.Contains(s, "*"):
		return wrong("has a wildcard; redirect URIs are compared exactly")
	case u.User != nil:
		return wrong("has a user name")
	}
	switch u.Scheme {
	case "https":
		if u.Hostname() == "" {
			return wrong("has no host")
		}
		return nil
	case "http":
		if loopbackName(u.Hostname()) {
			return nil
		}
		return wrong("is http, which is allowed for localhost, 127.0.0.1 and [::1] only")
	default:
		if !public || !strings.Contains(u.Scheme, ".") {
			return wrong("has a private-use scheme, which is for public clients and must contain a dot, like com.example.app")
		}
		return nil
	}
}

// loopbackName reports whether a host is this machine by name or address.
func loopbackName(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

func validResource(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= 2000 && u.Scheme != "" && !strings.Contains(s, "#") && u.User == nil &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// sameRedirect reports whether got may be redirected to when want is
// registered. Strings are compared exactly (RFC 9700 section 2.1), but for the
// port of a loopback IP, which native apps choose late (RFC 8252 section 7.3).
func sameRedirect(want, got string) bool {
	if want == got {
		return true
	}
	wantHost, wantRest, ok := splitLoopback(want)
	if !ok {
		return false
	}
	gotHost, gotRest, ok := splitLoopback(got)
	return ok && wantHost == gotHost && wantRest == gotRest
}

// splitLoopback cuts the port out of a URI of a loopback IP. It works on the
// text alone, so that nothing a parser would tolerate is compared differently
// from how a browser reads it.
func splitLoopback(s string) (host, rest string, ok bool) {
	for _, host := range []string{"http://127.0.0.1", "http://[::1]"} {
		rest, found := strings.CutPrefix(s, host)
		if !found {
			continue
		}
		if port, has := strings.CutPrefix(rest, ":"); has {
			n := 0
			for n < len(port) && port[n] >= '0' && port[n] <= '9' {
				n++
			}
			if v, err := strconv.Atoi(port[:n]); err != nil || v < 1 || v > 65535 {
				return "", "", false
			}
			rest = port[n:]
		}
		if rest != "" && rest[0] != '/' && rest[0] != '?' {
			return "", "", false
		}
		return host, rest, true
	}
	return "", "", false
}

// clientTTL is how long a client is used from memory: how late a change or a
// deletion takes effect on another server.
const clientTTL = storage.ClientMemory

// clientCache answers GetClient without a round trip. Time is the process's
// monotonic clock, since nothing here is compared with what is stored.
type clientCache struct {
	store   storage.Clients
	mu      sync.Mutex
	entries map[string]cachedClient
}

type cachedClient struct {
	client storage.Client
	until  time.Time
}

const clientCacheSize = 4096

func newClientCache(s storage.Clients) *clientCache {
	return &clientCache{store: s, entries: map[string]cachedClient{}}
}

func (c *clientCache) get(ctx context.Context, id string) (storage.Client, error) {
	if id == "" || len(id) > 200 {
		return storage.Client{}, storage.ErrNotFound
	}
	now := time.Now()
	c.mu.Lock()
	e, ok := c.entries[id]
	c.mu.Unlock()
	if ok && now.Before(e.until) {
		return e.client, nil
	}
	client, err := c.store.Client(ctx, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		delete(c.entries, id)
		return storage.Client{}, err
	}
	if len(c.entries) >= clientCacheSize {
		clear(c.entries)
	}
	c.entries[id] = cachedClient{client: client, until: now.Add(clientTTL)}
	return client, nil
}

// forget makes the next request read the client anew.
func (c *clientCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, id)
}

// usedEvery is how precisely it is known when a client that registered itself
// was last used.
const usedEvery = 24 * time.Hour

// used remembers that somebody signed in through the client, so that it is not
// taken for one that nobody needs.
func (p *Provider) used(ctx context.Context, c storage.Client, now time.Time) {
	if c.Registration == nil || now.Sub(c.Registration.UsedAt) < usedEvery {
		return
	}
	if err := p.store.ClientUsed(ctx, c.ID, now); err != nil {
		p.log.WarnContext(ctx, "the use of a client was not kept", "client", c.ID, "err", err)
		return
	}
	p.clients.forget(c.ID)
}

// engineClient is a client as fosite sees it. What fosite would compare we have
// compared before: the only redirect URI it knows is the one that matched.
type engineClient struct {
	storage.Client
	redirectURI string
}

func (c engineClient) GetID() string           { return c.ID }
func (c engineClient) GetHashedSecret() []byte { return nil }
func (c engineClient) GetRedirectURIs() []string {
	if c.redirectURI == "" {
		return nil
	}
	return []string{c.redirectURI}
}
func (c engineClient) GetGrantTypes() fosite.Arguments    { return c.GrantTypes }
func (c engineClient) GetResponseTypes() fosite.Arguments { return fosite.Arguments{"code"} }
func (c engineClient) GetScopes() fosite.Arguments        { return c.Scopes }
func (c engineClient) IsPublic() bool                     { return c.Public() }
func (c engineClient) GetAudience() fosite.Arguments      { return c.Resources }
func (c engineClient) GetResponseModes() []fosite.ResponseModeType {
	return []fosite.ResponseModeType{fosite.ResponseModeQuery}
}

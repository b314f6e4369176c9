package provider

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

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

// ValidateClient says in one sentence what is wrong with a client that is to be
// registered.
func ValidateClient(c storage.Client) error {
	switch {
	case c.ID == "" || len(c.ID) > 200 || strings.ContainsFunc(c.ID, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == '"' || r == '\\' }):
		return errors.New("the client id must be 1 to 200 printable ASCII characters without space, colon, quote or backslash")
	case uuid.Validate(c.ID) == nil:
		return errors.New("the client id must not look like a UUID, which would be a person's subject")
	case c.Name == "" || len(c.Name) > 200 || strings.ContainsFunc(c.Name, unicode.IsControl):
		return errors.New("the name must be 1 to 200 bytes without control characters")
	}
	switch c.AuthMethod {
	case storage.AuthNone:
		if len(c.SecretHashes) > 0 {
			return errors.New("a public client has no secret")
		}
		if c.OptionalPKCE {
			return errors.New("a public client cannot go without PKCE")
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
		return fmt.Errorf("the authentication method %q is not none, client_secret_basic or client_secret_post", c.AuthMethod)
	}
	if len(c.GrantTypes) == 0 {
		return errors.New("the client needs a grant type")
	}
	for _, g := range c.GrantTypes {
		switch g {
		case grantCode:
			if len(c.RedirectURIs) == 0 {
				return errors.New("the grant authorization_code needs a redirect URI")
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
			return fmt.Errorf("the grant type %q is not authorization_code, refresh_token or client_credentials", g)
		}
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
			return fmt.Errorf("the resource %q is not an absolute URI without fragment (RFC 8707 section 2)", r)
		}
	}
	switch c.IDTokenAlg {
	case "", "ES256", "RS256":
	default:
		return fmt.Errorf("the ID token algorithm %q is not ES256 or RS256", c.IDTokenAlg)
	}
	if c.RefreshGrace != nil && (*c.RefreshGrace < 0 || *c.RefreshGrace > 5*time.Minute) {
		return errors.New("the refresh grace is from 0 to 5 minutes")
	}
	return nil
}

// validateRedirectURI refuses what must not be registered (RFC 9700 section
// 2.1, RFC 8252 section 7, OAuth 2.1 section 2.3.1).
func validateRedirectURI(s string, public bool) error {
	u, err := url.Parse(s)
	wrong := func(why string) error { return fmt.Errorf("the redirect URI %q %s", s, why) }
	switch {
	case err != nil || len(s) > 2000 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '<' || r == '>' || r == '\\' }):
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
		switch u.Hostname() {
		case "localhost", "127.0.0.1", "::1":
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
const clientTTL = 5 * time.Second

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

// authenticate says which client sent a token request (RFC 6749 section 2.3).
// There is one way a client may authenticate, the one it is registered with,
// and one in a request.
func (p *Provider) authenticate(r *http.Request, form url.Values) (storage.Client, *Error) {
	failed := refuse(errInvalidClient, descriptions[errInvalidClient])
	id, secret, used := form.Get("client_id"), form.Get("client_secret"), storage.AuthNone
	if secret != "" {
		used = storage.AuthSecretPost
	}
	if headers := r.Header.Values("Authorization"); len(headers) > 0 {
		if secret != "" || form.Get("client_assertion") != "" {
			return storage.Client{}, refuse(errInvalidRequest, "The request uses more than one way to authenticate the client.")
		}
		basicID, basicSecret, ok := basic(headers)
		if !ok {
			return storage.Client{}, failed
		}
		if id != "" && id != basicID {
			return storage.Client{}, refuse(errInvalidRequest, "The client_id in the body is not the one in the Authorization header.")
		}
		id, secret, used = basicID, basicSecret, storage.AuthSecretBasic
	}
	if id == "" {
		return storage.Client{}, failed
	}
	client, err := p.clients.get(r.Context(), id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return storage.Client{}, failed
	case err != nil:
		return storage.Client{}, unavailable(fmt.Errorf("provider: client: %w", err))
	case client.AuthMethod != used:
		return storage.Client{}, failed
	case used != storage.AuthNone && !secretMatches(client, secret):
		return storage.Client{}, failed
	}
	return client, nil
}

// basic takes an Authorization header apart as RFC 6749 section 2.3.1 has it:
// both parts are form-urlencoded inside the Basic credentials.
func basic(headers []string) (id, secret string, ok bool) {
	if len(headers) != 1 {
		return "", "", false
	}
	scheme, credentials, found := strings.Cut(headers[0], " ")
	if !found || !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(credentials))
	if err != nil {
		return "", "", false
	}
	id, secret, found = strings.Cut(string(raw), ":")
	if !found {
		return "", "", false
	}
	if id, err = url.QueryUnescape(id); err != nil {
		return "", "", false
	}
	if secret, err = url.QueryUnescape(secret); err != nil || secret == "" {
		return "", "", false
	}
	return id, secret, true
}

// secretMatches compares in constant time. A client without a stored secret
// matches none.
func secretMatches(c storage.Client, secret string) bool {
	sum := sha256Of(secret)
	match := 0
	for _, h := range c.SecretHashes {
		if len(h) == sha256.Size {
			match |= subtle.ConstantTimeCompare(h, sum)
		}
	}
	return match == 1
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

package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/storage"
)

// UserInfo is the UserInfo endpoint (OIDC Core section 5.3): GET or POST, the
// access token in the Authorization header or in the form body, never in the
// query (RFC 9700 section 4.3.2).
func (p *Provider) UserInfo(w http.ResponseWriter, r *http.Request) {
	if e := method(w, r, http.MethodGet, http.MethodPost); e != nil {
		p.writeError(w, r, "userinfo", e)
		return
	}
	token, e := bearer(w, r)
	if e != nil {
		p.writeBearerError(w, r, e)
		return
	}
	claims, user, e := p.checkAccess(r.Context(), token)
	if e != nil {
		p.writeBearerError(w, r, e)
		return
	}
	if !hasScope(claims.Scope, "openid") {
		p.writeBearerError(w, r, refuse(errInsufficientScope, "The access token lacks the scope openid."))
		return
	}
	writeJSON(w, http.StatusOK, userClaims(user, claims.Scope))
}

// errNoToken asks for a token without an error code, because the request had
// none (RFC 6750 section 3.1).
var errNoToken = &Error{Status: http.StatusUnauthorized, Code: errInvalidToken, Description: "The request has no access token."}

// bearer finds the access token of a request (RFC 6750 sections 2.1 and 2.2).
func bearer(w http.ResponseWriter, r *http.Request) (string, *Error) {
	headers := r.Header.Values("Authorization")
	body := ""
	if r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		values, e := form(w, r)
		if e != nil {
			return "", e
		}
		clean, duplicate := parameters(values)
		if duplicate {
			return "", errDuplicate
		}
		body = clean.Get("access_token")
	}
	switch {
	case len(headers) > 1 || len(headers) == 1 && body != "":
		return "", refuse(errInvalidRequest, "The request has more than one access token.")
	case body != "":
		return body, nil
	case len(headers) == 0:
		return "", errNoToken
	}
	scheme, token, found := strings.Cut(headers[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", errNoToken
	}
	return strings.TrimSpace(token), nil
}

// checkAccess verifies an access token of a person: signature, typ, issuer,
// expiry, and that its grant is alive and its user the subject. The audience
// may be any of ours: UserInfo is asked with whatever token the app has.
func (p *Provider) checkAccess(ctx context.Context, token string) (accessClaims, storage.User, *Error) {
	invalid := refuse(errInvalidToken, "The access token is malformed, expired, revoked or not of this issuer.")
	var c accessClaims
	v, err := p.keys.Verify(ctx, token)
	switch {
	case errors.Is(err, keys.ErrInvalid), errors.Is(err, keys.ErrNoKey):
		return c, storage.User{}, invalid
	case err != nil:
		return c, storage.User{}, unavailable(err)
	}
	now := p.now()
	if v.Type != typeAccessToken || json.Unmarshal(v.Payload, &c) != nil || c.Issuer != p.issuer || c.Expires <= now.Unix() {
		return c, storage.User{}, invalid
	}
	if c.Subject == c.ClientID {
		return c, storage.User{}, refuse(errInsufficientScope, "The access token speaks for no person.")
	}
	g, user, err := p.store.LiveGrant(ctx, grantOf(c.JTI), now)
	switch {
	case errors.Is(err, storage.ErrNotFound), err == nil && (user.ID != c.Subject || g.ClientID != c.ClientID):
		return c, storage.User{}, invalid
	case err != nil:
		return c, storage.User{}, unavailable(fmt.Errorf("provider: grant: %w", err))
	}
	return c, user, nil
}

// writeBearerError tells an error of a protected resource (RFC 6750 section 3).
func (p *Provider) writeBearerError(w http.ResponseWriter, r *http.Request, e *Error) {
	challenge := `Bearer realm="` + p.issuer + `"`
	if e != errNoToken {
		challenge += `, error="` + e.Code + `", error_description="` + e.Description + `"`
	}
	if e.Status != http.StatusServiceUnavailable {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	p.writeError(w, r, "userinfo", e)
}

package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/storage"
)

// UserInfo is the UserInfo endpoint (OIDC Core section 5.3): GET or POST, the
// access token in the Authorization header or in the form body, never in the
// query (RFC 9700 section 4.3.2).
func (p *Provider) UserInfo(w http.ResponseWriter, r *http.Request) {
	if p.preflight(w, r, http.MethodGet, http.MethodPost) {
		return
	}
	if e := method(w, r, http.MethodGet, http.MethodPost); e != nil {
		p.writeError(w, r, "userinfo", e)
		return
	}
	token, e := bearer(w, r)
	if e != nil {
		p.writeBearerError(w, r, "userinfo", e, needsPerson)
		return
	}
	access, grant, user, e := p.checkAccess(r.Context(), token)
	client, err := p.clients.get(r.Context(), access.ClientID)
	p.allowOrigin(w, r, client) // also to read why the token is refused
	scopes := strings.Fields(access.Scope)
	switch {
	case e != nil:
	case errors.Is(err, storage.ErrNotFound): // deleted since
		e = errDead
	case err != nil:
		e = unavailable(fmt.Errorf("provider: client: %w", err))
	case !slices.Contains(scopes, "openid"):
		e = refuse(errInsufficientScope, "The access token lacks the scope openid.")
	}
	if e != nil {
		p.writeBearerError(w, r, "userinfo", e, needsPerson)
		return
	}
	person := claimsOf(user, scopes, withinScopes(grant.Claims, client.Scopes).UserInfo)
	person["sub"] = user.ID
	if client.Metadata.UserInfoAlg == "" {
		writeJSON(w, http.StatusOK, person)
		return
	}
	// A signed answer says who made it and for whom (OIDC Core section 5.3.2).
	person["iss"], person["aud"] = p.issuer, client.ID
	signed, err := p.sign(client.Metadata.UserInfoAlg, typeIDToken, person)
	if err != nil {
		p.writeBearerError(w, r, "userinfo", internal(err), needsPerson)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/jwt")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(signed))
}

// needsPerson is what the UserInfo endpoint wants; any audience of ours will do.
var needsPerson = Requirement{Scopes: []string{"openid"}}

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
// expiry, that it was not revoked, that its grant is alive and its user the
// subject. The audience may be any of ours: UserInfo is asked with whatever
// token the app has. The claims of a token that we signed are returned also when
// it is refused.
func (p *Provider) checkAccess(ctx context.Context, token string) (c accessClaims, g storage.Grant, u storage.User, e *Error) {
	if c, e = p.openAccess(ctx, token); e != nil {
		return c, g, u, e
	}
	if c.Subject == c.ClientID {
		return c, g, u, refuse(errInsufficientScope, "The access token speaks for no person.")
	}
	if e = p.live(ctx, c); e != nil {
		return c, g, u, e
	}
	g, u, err := p.store.LiveGrant(ctx, grantOf(c.JTI), p.now())
	switch {
	case errors.Is(err, storage.ErrNotFound), err == nil && (u.ID != c.Subject || g.ClientID != c.ClientID):
		return c, g, u, errDead
	case err != nil:
		return c, g, u, unavailable(fmt.Errorf("provider: grant: %w", err))
	}
	return c, g, u, nil
}

// writeBearerError tells an error of a protected resource (RFC 6750 section 3).
// Who sent no token is asked for one, and told nothing else (section 3.1).
func (p *Provider) writeBearerError(w http.ResponseWriter, r *http.Request, endpoint string, e *Error, need Requirement) {
	if challenge := p.Challenge(e, need); challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if e == errNoToken {
		writeJSON(w, e.Status, struct{}{})
		return
	}
	p.writeError(w, r, endpoint, e)
}

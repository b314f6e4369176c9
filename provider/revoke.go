package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/storage"
)

const errUnsupportedToken = "unsupported_token_type" // RFC 7009 section 2.2.1

// revokedFor is how long a revocation outlives the last token it stops, for
// clocks that differ.
const revokedFor = time.Minute

// errNotYours refuses a token of another client (RFC 7009 section 2.1), which
// stays as alive as it was. invalid_grant is the code that RFC 6749 section 5.2
// has for what "was issued to another client".
var errNotYours = refuse(errInvalidGrant, "The token was issued to another client.")

// Revoke is the revocation endpoint (RFC 7009). A refresh token ends its whole
// grant, access tokens included; an access token ends alone. What is no token of
// ours, or dead already, is answered as if it had been ended.
func (p *Provider) Revoke(w http.ResponseWriter, r *http.Request) {
	if p.preflight(w, r, http.MethodPost) {
		return
	}
	form, e := postForm(w, r)
	if e != nil {
		p.meters.revocations.Add(r.Context(), 1, e.Code)
		p.writeError(w, r, "revoke", e)
		return
	}
	p.allowClaimedOrigin(w, r, form)
	client, e := p.authenticate(r, form)
	if e == nil && !form.Has("token") {
		e = refuse(errInvalidRequest, "The parameter token is missing.")
	}
	if e == nil {
		e = p.revoke(r, client, form.Get("token"))
	}
	if e != nil {
		p.meters.revocations.Add(r.Context(), 1, e.Code)
		p.writeError(w, r, "revoke", e)
		return
	}
	p.meters.revocations.Add(r.Context(), 1, outcomeOK)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// revoke ends the token. As at introspection, a hint would tell nothing that the
// token does not.
func (p *Provider) revoke(r *http.Request, client storage.Client, token string) *Error {
	if strings.HasPrefix(token, refreshPrefix) {
		return p.revokeRefresh(r, client, token)
	}
	c, e := p.openAccess(r.Context(), token)
	switch {
	case e != nil && e.Fault():
		return e
	case e != nil:
		return p.notAccess(r.Context(), token)
	case c.ClientID != client.ID:
		return errNotYours
	}
	err := p.denylist.Revoke(r.Context(), storage.Revocation{
		Kind: storage.RevokedToken, Key: c.JTI, At: p.now(), Until: time.Unix(c.Expires, 0).UTC().Add(revokedFor),
	})
	if err != nil {
		return unavailable(fmt.Errorf("provider: revoke an access token: %w", err))
	}
	p.revoked(r, client, c.Subject, c.JTI)
	return nil
}

// notAccess answers for what is no live access token of ours. Other tokens of
// ours are not such as can be revoked (RFC 7009 section 2.2.1); all else is no
// longer valid, if it ever was, which is what the client wants (section 2.2).
func (p *Provider) notAccess(ctx context.Context, token string) *Error {
	v, err := p.keys.Verify(ctx, token)
	switch {
	case keys.IsFault(err):
		return unavailable(err)
	case err == nil && v.Type != typeAccessToken:
		return refuse(errUnsupportedToken, "Only access tokens and refresh tokens can be revoked.")
	}
	return nil
}

// revokeRefresh ends the grant behind a refresh token, of whatever generation:
// a client that signs out with an old token means the same.
func (p *Provider) revokeRefresh(r *http.Request, client storage.Client, token string) *Error {
	g, e := p.endGrant(r.Context(), client, token)
	if e == nil && g.ID != "" {
		p.revoked(r, client, g.UserID, g.ID)
	}
	return e
}

// endGrant revokes the grant of a refresh token and returns it. It returns the
// zero grant when there was nothing to end.
func (p *Provider) endGrant(ctx context.Context, client storage.Client, token string) (storage.Grant, *Error) {
	t, ours, err := p.openRefreshToken(ctx, token)
	switch {
	case err != nil:
		return storage.Grant{}, unavailable(err)
	case !ours:
		return storage.Grant{}, nil
	}
	g, err := p.store.GrantByHandle(ctx, t.handleHash())
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return storage.Grant{}, nil
	case err != nil:
		return storage.Grant{}, unavailable(fmt.Errorf("provider: grant: %w", err))
	case g.ClientID != client.ID:
		return storage.Grant{}, errNotYours
	case !g.RevokedAt.IsZero():
		return storage.Grant{}, nil
	}
	if err := p.store.RevokeGrant(ctx, g.ID, p.now()); err != nil {
		return storage.Grant{}, unavailable(fmt.Errorf("provider: revoke a grant: %w", err))
	}
	p.follow(ctx)
	return g, nil
}

// followTime is how long the answer to a revocation waits for this server to
// apply it, so that a client which asks next is not told the contrary.
const followTime = 500 * time.Millisecond

// follow has this server apply what was revoked just now. It is committed, so
// failing in that is no failure of the request: the tail goes on trying.
func (p *Provider) follow(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), followTime)
	defer cancel()
	if err := p.denylist.Follow(ctx); err != nil {
		p.denylist.Nudge()
	}
}

// revoked keeps the event of a revocation: what is the jti or the grant. subject
// is a person's, or the client's own.
func (p *Provider) revoked(r *http.Request, client storage.Client, subject, what string) {
	e := storage.Event{Kind: "token.revoked", ClientID: client.ID, Outcome: "ok", Detail: what}
	if subject != client.ID {
		e.UserID = subject
	}
	p.audit(r, e)
}

package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// Token is the token endpoint (RFC 6749 section 3.2): authorization_code with
// PKCE, refresh_token with rotation, client_credentials. Every check that can
// refuse comes before the one statement or script that spends something.
func (p *Provider) Token(w http.ResponseWriter, r *http.Request) {
	if p.preflight(w, r, http.MethodPost) {
		return
	}
	form, e := postForm(w, r)
	label := grantLabel(form.Get("grant_type"))
	refused := func(e *Error) {
		p.meters.tokens.Add(r.Context(), 1, label, e.Code)
		p.writeError(w, r, "token", e)
	}
	if e != nil {
		refused(e)
		return
	}
	p.allowClaimedOrigin(w, r, form)
	switch form.Get("grant_type") {
	case grantCode, grantRefresh, grantCredentials:
	case "":
		refused(refuse(errInvalidRequest, "The parameter grant_type is missing."))
		return
	default:
		refused(refuse(errUnsupportedGrant, descriptions[errUnsupportedGrant]))
		return
	}
	client, e := p.authenticate(r, form)
	if e != nil {
		refused(e)
		return
	}
	work := &work{now: p.now(), client: client, form: form}
	if p.from != nil {
		work.address, work.userAgent = p.from(r)
	}
	answer, e := p.grant(r, work)
	if e != nil {
		refused(e)
		return
	}
	p.meters.tokens.Add(r.Context(), 1, label, outcomeOK)
	p.used(r.Context(), client, work.now)
	writeJSON(w, http.StatusOK, answer)
}

// grant checks the request of one grant type and lets fosite answer it.
func (p *Provider) grant(r *http.Request, w *work) (map[string]any, *Error) {
	grantType := w.form.Get("grant_type")
	if !slices.Contains(w.client.GrantTypes, grantType) {
		return nil, refuse(errUnauthorizedClient, descriptions[errUnauthorizedClient])
	}
	scopes, ok := scopeTokens(w.form.Get("scope"))
	if !ok {
		return nil, refuse(errInvalidScope, "The parameter scope is malformed.")
	}
	var e *Error
	switch grantType {
	case grantCode:
		e = p.checkCode(w)
	case grantRefresh:
		e = p.checkRefresh(r, w, scopes)
	case grantCredentials:
		e = p.checkCredentials(w, scopes)
	}
	if e != nil {
		return nil, e
	}
	answer, err := p.engineTokens(withWork(r.Context(), w))
	if err != nil {
		return nil, fromFosite(err, w)
	}
	answer["token_type"] = "Bearer"
	answer["expires_in"] = int64(p.life.access / time.Second)
	answer["scope"] = strings.Join(w.scopes, " ")
	if w.refreshToken != "" {
		answer["refresh_token_expires_in"] = int64(w.grant.ExpiresAt.Sub(w.now) / time.Second)
	}
	return answer, nil
}

// checkCode refuses what is malformed before the code is looked at (RFC 6749
// section 4.1.3, RFC 7636 section 4.1), and a resource that no grant to this
// client can have (RFC 8707 section 2.2), which must not cost it the code.
func (p *Provider) checkCode(w *work) *Error {
	if !w.form.Has("code") {
		return refuse(errInvalidRequest, "The parameter code is missing.")
	}
	if v := w.form.Get("code_verifier"); v != "" && (len(v) < 43 || len(v) > 128 || !unreserved(v, "-._~")) {
		return refuse(errInvalidGrant, "The parameter code_verifier is not 43 to 128 unreserved characters.")
	}
	_, e := narrow(append([]string{p.issuer}, w.client.Resources...), w.form["resource"])
	return e
}

// checkRefresh authenticates the refresh token by its HMAC. When the request
// narrows scope or audience the grant is read first, because a rotation cannot
// be taken back.
func (p *Provider) checkRefresh(r *http.Request, w *work, scopes []string) *Error {
	invalid := refuse(errInvalidGrant, descriptions[errInvalidGrant])
	if !w.form.Has("refresh_token") {
		return refuse(errInvalidRequest, "The parameter refresh_token is missing.")
	}
	if e := p.present(r.Context(), w, w.form.Get("refresh_token")); e != nil {
		return e
	}
	if len(scopes) == 0 && !w.form.Has("resource") {
		return nil
	}
	g, err := p.store.GrantByHandle(r.Context(), w.presented.handleHash())
	switch {
	case errors.Is(err, storage.ErrNotFound), err == nil && g.ClientID != w.client.ID:
		return invalid
	case err != nil:
		return unavailable(fmt.Errorf("provider: grant: %w", err))
	}
	for _, s := range scopes {
		if !slices.Contains(g.Scopes, s) {
			return refuse(errInvalidScope, "The scope is more than was granted.")
		}
	}
	w.scopes = scopes
	var e *Error
	w.resources, e = narrow(p.permitted(w.client, g.Resources), w.form["resource"])
	return e
}

// permitted is what of the resources of a grant the client may still have: its own,
// and us.
func (p *Provider) permitted(c storage.Client, resources []string) []string {
	return slices.DeleteFunc(slices.Clone(resources), func(r string) bool {
		return r != p.issuer && !slices.Contains(c.Resources, r)
	})
}

// present authenticates a refresh token by its HMAC, and counts it: nothing is
// looked up or spent yet.
func (p *Provider) present(ctx context.Context, w *work, token string) *Error {
	t, ours, err := p.openRefreshToken(ctx, token)
	switch {
	case err != nil:
		return unavailable(err)
	case !ours:
		return refuse(errInvalidGrant, descriptions[errInvalidGrant])
	}
	if wait := p.refreshes.take(t, w.now); wait > 0 {
		p.meters.limits.Add(ctx, 1, "refresh")
		e := refuse(errUnavailable, "This grant is refreshed too often. Keep the access token until it expires.")
		e.Status, e.RetryAfter = http.StatusTooManyRequests, wait
		return e
	}
	w.presented = t
	return nil
}

// narrow returns the resources asked for, all of which must have been granted
// (RFC 8707 section 2.2).
func narrow(granted, asked []string) ([]string, *Error) {
	var out []string
	for _, r := range asked {
		if !slices.Contains(granted, r) {
			return nil, refuse(errInvalidTarget, "The resource was not granted.")
		}
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out, nil
}

// personal are the scopes that speak of a person, of whom there is none in
// client_credentials (OAuth 2.1 section 4.2).
var personal = []string{"openid", "profile", "email", "phone", "address", "offline_access"}

// checkCredentials settles scope and audience of a client's own token (RFC 6749
// section 4.4.2). Without a scope it gets all that it may have.
func (p *Provider) checkCredentials(w *work, scopes []string) *Error {
	for _, s := range scopes {
		if !slices.Contains(w.client.Scopes, s) || slices.Contains(personal, s) {
			return refuse(errInvalidScope, descriptions[errInvalidScope])
		}
	}
	if len(scopes) == 0 {
		for _, s := range w.client.Scopes {
			if !slices.Contains(personal, s) {
				scopes = append(scopes, s)
			}
		}
	}
	w.scopes = scopes
	var e *Error
	w.resources, e = p.audience(w.client, w.form["resource"])
	return e
}

// refreshes reports whether a grant comes with a refresh token: for a client
// that is registered for them, when the person agreed to offline_access (OIDC
// Core section 11), or for the operator's own.
func refreshes(c storage.Client, scopes []string) bool {
	return slices.Contains(c.GrantTypes, grantRefresh) && (c.FirstParty || slices.Contains(scopes, "offline_access"))
}

// redeem turns the code of the request into a grant: one round trip to judge
// and spend the code, one statement to insert the grant, which gives nothing
// when the person has changed since.
func (p *Provider) redeem(ctx context.Context, w *work) error {
	redirectHash := ""
	if v := w.form.Get("redirect_uri"); v != "" {
		redirectHash = sha256Hex(v)
	}
	challenge := ""
	if v := w.form.Get("code_verifier"); v != "" {
		challenge = s256(v)
	}
	code, verdict, err := p.codes.RedeemCode(ctx, storage.Redemption{
		Hash: sha256Hex(w.form.Get("code")), ClientID: w.client.ID,
		RedirectURIHash: redirectHash, Challenge: challenge,
		Now: w.now, UsedUntil: w.now.Add(p.life.access),
	})
	invalid := refuse(errInvalidGrant, descriptions[errInvalidGrant])
	switch {
	case errors.Is(err, storage.ErrNotFound):
		p.meters.redemptions.Add(ctx, 1, resultUnknown)
		return invalid
	case err != nil:
		return w.failed(fmt.Errorf("provider: redeem code: %w", err))
	}
	p.meters.redemptions.Add(ctx, 1, string(verdict))
	g := code.Grant
	g.Generation, g.CreatedAt, g.ExpiresAt = 1, w.now, w.now.Add(p.life.access)
	// A client that is told of the end of a session is told because of its grants:
	// they stay for as long as the session may last, dead though they are by then.
	if w.client.Metadata.BackchannelLogoutURI == "" || g.EndsAt.Before(g.ExpiresAt) {
		g.EndsAt = g.ExpiresAt
	}
	var first refreshToken
	if refreshes(w.client, g.Scopes) {
		first = newRefreshToken()
		g.HandleHash = first.handleHash()
		g.ExpiresAt, g.EndsAt = w.now.Add(p.life.refreshIdle), w.now.Add(p.life.refreshEnd)
	}
	switch verdict {
	case storage.CodeRedeemed:
	case storage.CodeRaced:
		// The loser of a race finds that there is the grant. There is none when the
		// database failed the first, which may then come again (sec-Q2).
	default: // storage.CodeReplayed, and whatever a driver may add
		if err := p.store.ReplayGrant(ctx, g, w.now); err != nil {
			return w.failed(fmt.Errorf("provider: replay grant: %w", err))
		}
		p.denylist.Nudge()
		p.keepEvent(ctx, w.event(storage.Event{Kind: "code.replay", UserID: g.UserID, ClientID: g.ClientID, Outcome: errInvalidGrant, Detail: g.ID}))
		return invalid
	}
	resources := g.Resources
	if w.form.Has("resource") {
		var e *Error
		if resources, e = narrow(g.Resources, w.form["resource"]); e != nil {
			return e
		}
	}
	switch err := p.store.CreateGrant(ctx, g); {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrSpent):
		return invalid
	case err != nil:
		return w.failed(fmt.Errorf("provider: create grant: %w", err))
	}
	w.code, w.grant, w.scopes, w.resources = code, &g, g.Scopes, resources
	if g.HandleHash != nil {
		w.refreshToken = p.mint(first)
	}
	return nil
}

// rotate spends the refresh token of the request in one statement.
func (p *Provider) rotate(ctx context.Context, w *work) error {
	g, verdict, err := p.store.Rotate(ctx, storage.Rotation{
		HandleHash: w.presented.handleHash(), ClientID: w.client.ID,
		Presented: int64(w.presented.generation), Now: w.now, GraceSince: p.graceSince(w.client, w.now),
		ExpiresAt: w.now.Add(p.life.refreshIdle),
	})
	invalid := refuse(errInvalidGrant, descriptions[errInvalidGrant])
	switch {
	case errors.Is(err, storage.ErrNotFound):
		p.meters.rotations.Add(ctx, 1, resultUnknown)
		return invalid
	case err != nil:
		return w.failed(fmt.Errorf("provider: rotate: %w", err))
	}
	p.meters.rotations.Add(ctx, 1, string(verdict))
	switch verdict {
	case storage.Rotated, storage.Repeated:
	default: // storage.Reused: the grant is revoked by the same statement
		p.denylist.Nudge()
		p.keepEvent(ctx, w.event(storage.Event{Kind: "token.reuse", UserID: g.UserID, ClientID: g.ClientID, Outcome: errInvalidGrant, Detail: g.ID}))
		return invalid
	}
	w.grant = &g
	if w.scopes == nil {
		w.scopes = g.Scopes
	}
	// What the client may no longer have it does not get.
	w.scopes = slices.DeleteFunc(slices.Clone(w.scopes), func(s string) bool { return !slices.Contains(w.client.Scopes, s) })
	if w.resources == nil {
		w.resources = p.permitted(w.client, g.Resources)
	}
	if len(w.resources) == 0 {
		w.resources = []string{p.issuer}
	}
	next := w.presented
	next.generation = uint32(g.Generation)
	w.refreshToken = p.mint(next)
	return nil
}

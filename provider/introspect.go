package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/denylist"
	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A Denylist says which access tokens are stopped although they are signed and
// not expired. Its errors are those of package denylist.
type Denylist interface {
	// Check returns nil, denylist.ErrRevoked, or denylist.ErrUnknown when nobody
	// can say now.
	Check(ctx context.Context, b storage.Bearer) error
	// Revoke commits the revocation of a token or a client, then makes this
	// server and its neighbours apply it.
	Revoke(ctx context.Context, r storage.Revocation) error
	// Nudge says that grants were revoked just now. It never blocks. Follow waits
	// until this server applies it.
	Nudge()
	Follow(ctx context.Context) error
}

// typeIntrospection is the typ of a signed introspection answer, and its media
// type less "application/" (RFC 9701 sections 5 and 10.1).
const typeIntrospection = "token-introspection+jwt"

// introspectionAlg signs for a resource server that asks for a signed answer
// and has registered no algorithm (RFC 9701 section 6).
const introspectionAlg = keys.RS256

// inactive is all that is said of a token that is not active, or not for the
// eyes of whoever asks (RFC 7662 section 2.2).
var inactive = map[string]any{"active": false}

// Introspect is the introspection endpoint (RFC 7662). A confidential client
// sees its own tokens, and access tokens for the resources that it is registered
// to check; every other token is inactive to it.
func (p *Provider) Introspect(w http.ResponseWriter, r *http.Request) {
	result := resultRefused
	defer func() { p.meters.introspections.Add(r.Context(), 1, result) }()
	form, e := postForm(w, r)
	if e != nil {
		p.writeError(w, r, "introspect", e)
		return
	}
	client, e := p.authenticate(r, form)
	if e == nil && client.Public() {
		// It proves nothing, so anybody could ask in its name (RFC 7662 section 2.1).
		e = refuse(errInvalidClient, "A public client cannot use introspection.")
	}
	if e == nil {
		if wait := p.introspections.take(client.ID, p.now()); wait > 0 {
			p.meters.limits.Add(r.Context(), 1, "introspection")
			e = &Error{
				Status: http.StatusTooManyRequests, Code: errUnavailable,
				Description: "This client introspects too often.", RetryAfter: wait,
			}
		}
	}
	if e == nil && !form.Has("token") {
		e = refuse(errInvalidRequest, "The parameter token is missing.")
	}
	if e != nil {
		if e.Fault() {
			result = resultFault
		}
		p.writeError(w, r, "introspect", e)
		return
	}
	var answer any
	answer, result, e = p.introspect(r.Context(), client, form.Get("token"))
	if e != nil {
		p.writeError(w, r, "introspect", e)
		return
	}
	if client.Metadata.IntrospectionAlg == "" && !acceptsSigned(r.Header.Values("Accept")) {
		writeJSON(w, http.StatusOK, answer)
		return
	}
	p.writeIntrospection(w, r, client, answer)
}

// introspect says what the client may know of a token. Our two kinds of token
// cannot be mistaken for each other, so the parameter token_type_hint, which
// saves others a search, is not looked at. Result is what it is counted as.
func (p *Provider) introspect(ctx context.Context, client storage.Client, token string) (answer any, result string, e *Error) {
	if strings.HasPrefix(token, refreshPrefix) {
		return p.introspectRefresh(ctx, client, token)
	}
	c, e := p.openCached(ctx, token)
	switch {
	case e != nil && e.Fault():
		return nil, resultFault, e
	case e != nil:
		return inactive, resultInvalid, nil
	case c.ClientID != client.ID && !slices.ContainsFunc(c.Audience, func(aud string) bool {
		return slices.Contains(client.Metadata.Introspects, aud)
	}):
		return inactive, resultDenied, nil
	}
	if e := p.live(ctx, *c); e != nil {
		if e.Fault() {
			return nil, resultFault, e
		}
		return inactive, resultDenied, nil
	}
	// What is in the token is what there is to know about it: whoever holds it
	// can read it.
	return active(c.signed), resultActive, nil
}

// active is the claims of an access token, to which is added what introspection
// says of every token that is good. They are an object that is not empty, and
// have neither name.
func active(signed []byte) json.RawMessage {
	const added = `{"active":true,"token_type":"Bearer",`
	return append([]byte(added), bytes.TrimPrefix(signed, []byte("{"))...)
}

// introspectRefresh looks up the grant of a refresh token, which only the client
// it was issued to may ask about. The grant of a person who was suspended or has
// changed the password is revoked, so the person need not be looked up.
func (p *Provider) introspectRefresh(ctx context.Context, client storage.Client, token string) (answer any, result string, e *Error) {
	t, ours, err := p.openRefreshToken(ctx, token)
	switch {
	case err != nil:
		return nil, resultFault, unavailable(err)
	case !ours:
		return inactive, resultInvalid, nil
	}
	g, err := p.store.GrantByHandle(ctx, t.handleHash())
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return inactive, resultInvalid, nil
	case err != nil:
		return nil, resultFault, unavailable(fmt.Errorf("provider: grant: %w", err))
	case g.ClientID != client.ID || !p.refreshable(g, client, t, p.now()):
		return inactive, resultDenied, nil
	}
	issued := g.RotatedAt
	if issued.IsZero() {
		issued = g.CreatedAt
	}
	return map[string]any{
		"active": true, "iss": p.issuer, "sub": g.UserID, "client_id": g.ClientID, "aud": audience(g.Resources),
		"scope": joinScopes(g.Scopes), "iat": issued.Unix(), "exp": earlier(g.ExpiresAt, g.EndsAt).Unix(),
		"auth_time": g.AuthTime.Unix(),
	}, resultActive, nil
}

// refreshable reports whether the token endpoint would take the refresh token
// now, by the rules of storage.Grants.Rotate.
func (p *Provider) refreshable(g storage.Grant, c storage.Client, t refreshToken, now time.Time) bool {
	if !g.RevokedAt.IsZero() || !now.Before(g.ExpiresAt) || !now.Before(g.EndsAt) {
		return false
	}
	if presented := int64(t.generation); presented != g.Generation-1 {
		return presented >= g.Generation
	}
	return g.RotatedAt.After(p.graceSince(c, now))
}

// graceSince is the earliest rotation after which the refresh token before is
// still good for the client (see storage.Rotation).
func (p *Provider) graceSince(c storage.Client, now time.Time) time.Time {
	grace := p.life.refreshGrace
	if c.RefreshGrace != nil {
		grace = *c.RefreshGrace
	}
	if grace == 0 {
		return storage.Never
	}
	return now.Add(-grace)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// openAccess verifies an access token: signature, typ, issuer and expiry (RFC
// 9068 section 4). Whether the token was revoked is asked by live.
func (p *Provider) openAccess(ctx context.Context, token string) (c accessClaims, e *Error) {
	v, err := p.keys.Verify(ctx, token)
	switch {
	case keys.IsFault(err):
		return c, unavailable(err)
	case err != nil, v.Type != typeAccessToken, json.Unmarshal(v.Payload, &c) != nil,
		c.Issuer != p.issuer, c.Expires <= p.now().Unix():
		return c, errDead
	}
	c.signed = v.Payload
	return c, nil
}

// errDead is the refusal of an access token, whatever is wrong with it.
var errDead = refuse(errInvalidToken, "The access token is malformed, expired, revoked or not of this issuer.")

// live refuses a verified access token that was revoked, in one trip to Valkey.
// When nobody can say whether it was, that is a fault: never is a token taken
// for live (RFC 7662 section 2.2 knows no third answer).
func (p *Provider) live(ctx context.Context, c accessClaims) *Error {
	b := storage.Bearer{JTI: c.JTI, ClientID: c.ClientID, IssuedAt: time.Unix(c.IssuedAt, 0).UTC()}
	if c.Subject != c.ClientID { // a token of the client itself has no grant
		b.GrantID = grantOf(c.JTI)
	}
	err := p.denylist.Check(ctx, b)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, denylist.ErrRevoked):
		return errDead
	}
	return unavailable(fmt.Errorf("provider: denylist: %w", err))
}

// acceptsSigned reports whether an Accept header names the media type of signed
// answers (RFC 9701 section 4). A wildcard does not: JSON satisfies it.
func acceptsSigned(accept []string) bool {
	for _, line := range accept {
		for one := range strings.SplitSeq(line, ",") {
			media, params, err := mime.ParseMediaType(one)
			if err != nil || media != "application/"+typeIntrospection {
				continue
			}
			q, err := strconv.ParseFloat(orDefault(params["q"], "1"), 64)
			if err == nil && q > 0 {
				return true
			}
		}
	}
	return false
}

// A signedIntrospection is an answer as a JWT for one resource server. sub and
// exp stay inside, so that nobody takes it for an access token (RFC 9701 section
// 5).
type signedIntrospection struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	IssuedAt int64  `json:"iat"`
	Answer   any    `json:"token_introspection"`
}

// writeIntrospection answers with a JWT.
func (p *Provider) writeIntrospection(w http.ResponseWriter, r *http.Request, client storage.Client, answer any) {
	token, err := p.sign(orDefault(client.Metadata.IntrospectionAlg, introspectionAlg), typeIntrospection, signedIntrospection{
		Issuer: p.issuer, Audience: client.ID, IssuedAt: p.now().Unix(), Answer: answer,
	})
	if err != nil {
		p.writeError(w, r, "introspect", internal(err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/"+typeIntrospection)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(token))
}

// introspectWindow is what a client's introspections are counted in.
const introspectWindow = time.Minute

// An introspectLimit bounds how often each client introspects, in this process
// alone (RFC 7662 section 4): a shared count would cost every check a trip. Only
// clients that have proved themselves are counted, so there are no more entries
// than clients.
type introspectLimit struct {
	limit int
	mu    sync.Mutex
	seen  map[string]introspectCount
}

type introspectCount struct {
	since time.Time
	n     int
}

func newIntrospectLimit(limit int) *introspectLimit {
	return &introspectLimit{limit: limit, seen: map[string]introspectCount{}}
}

// take counts one introspection and returns zero, or how long to wait.
func (l *introspectLimit) take(clientID string, now time.Time) time.Duration {
	if l.limit < 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.seen[clientID]
	if !ok || !now.Before(c.since.Add(introspectWindow)) {
		c = introspectCount{since: now}
	}
	if c.n >= l.limit {
		return c.since.Add(introspectWindow).Sub(now)
	}
	c.n++
	l.seen[clientID] = c
	return 0
}

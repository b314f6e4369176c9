package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/storage"
)

// FirstParty gives tokens to people whom another face than the authorization
// endpoint has proved: the operator's own app, which shows its own pages. Its
// tokens are those of the token endpoint: the same grants, the same signer, the
// same rotation and revocation.
type FirstParty struct {
	p        *Provider
	clientID string
}

// FirstParty returns the tokens of one client, which must be first-party and
// registered for refresh tokens whenever it is used; it need not be yet.
func (p *Provider) FirstParty(clientID string) *FirstParty {
	return &FirstParty{p: p, clientID: clientID}
}

// Tokens are an access token and the refresh token that replaces it.
type Tokens struct {
	Access, Refresh string
	// ExpiresAt is the end of the access token, RefreshExpiresAt that of the
	// refresh token if it is not used.
	ExpiresAt, RefreshExpiresAt time.Time
}

// A Caller is where a request came from, for audit events. It is never an
// identity.
type Caller struct{ Address, UserAgent string }

// A Person is whom a verified access token speaks for.
type Person struct {
	UserID string
	// GrantID is the grant that the token was made from.
	GrantID string
	// AuthTime is when the person was proved (OIDC Core section 2, auth_time).
	AuthTime time.Time
	AMR      []string
}

// client returns the client, or a refusal when it may not have tokens this way.
func (f *FirstParty) client(ctx context.Context) (storage.Client, *Error) {
	c, err := f.p.clients.get(ctx, f.clientID)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return c, internal(fmt.Errorf("provider: the first-party client %q is not registered", f.clientID))
	case err != nil:
		return c, unavailable(fmt.Errorf("provider: client: %w", err))
	case !c.FirstParty || !slices.Contains(c.GrantTypes, grantRefresh):
		return c, internal(fmt.Errorf("provider: the client %q is not first-party with refresh tokens", f.clientID))
	}
	return c, nil
}

// Issue makes a grant for the person in s, in one statement, and its first
// tokens. Only UserID, UserEpoch, AuthTime and AMR of s are read: there is no
// browser behind them. A person who has changed since the proof gets
// invalid_grant.
func (f *FirstParty) Issue(ctx context.Context, s storage.Session) (_ Tokens, err error) {
	defer func() { f.p.meters.tokens.Add(ctx, 1, grantFirstParty, outcomeOf(err)) }()
	client, e := f.client(ctx)
	if e != nil {
		return Tokens{}, e
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Tokens{}, internal(fmt.Errorf("provider: grant id: %w", err))
	}
	now, first := f.p.now(), newRefreshToken()
	g := storage.Grant{
		ID: id.String(), HandleHash: first.handleHash(), ClientID: client.ID,
		UserID: s.UserID, UserEpoch: s.UserEpoch,
		Scopes: client.Scopes, Resources: f.audience(client),
		AuthTime: s.AuthTime, AMR: s.AMR, Generation: 1,
		CreatedAt: now, ExpiresAt: now.Add(f.p.life.refreshIdle), EndsAt: now.Add(f.p.life.refreshEnd),
	}
	switch err := f.p.store.CreateGrant(ctx, g); {
	case errors.Is(err, storage.ErrNotFound):
		return Tokens{}, refuse(errInvalidGrant, descriptions[errInvalidGrant])
	case err != nil:
		return Tokens{}, unavailable(fmt.Errorf("provider: create grant: %w", err))
	}
	return f.answer(ctx, &work{
		now: now, client: client, grant: &g, scopes: g.Scopes, resources: g.Resources, refreshToken: f.p.mint(first),
	})
}

// audience is ourselves, whose account service takes the tokens, and the
// resources of the client.
func (f *FirstParty) audience(c storage.Client) []string {
	return append([]string{f.p.issuer}, c.Resources...)
}

// Refresh spends a refresh token, in one statement, and returns the next tokens.
func (f *FirstParty) Refresh(ctx context.Context, from Caller, token string) (_ Tokens, err error) {
	defer func() { f.p.meters.tokens.Add(ctx, 1, grantRefresh, outcomeOf(err)) }()
	client, e := f.client(ctx)
	if e != nil {
		return Tokens{}, e
	}
	w := &work{now: f.p.now(), client: client, address: from.Address, userAgent: from.UserAgent}
	if e := f.p.present(ctx, w, token); e != nil {
		return Tokens{}, e
	}
	if err := f.p.rotate(ctx, w); err != nil {
		return Tokens{}, fromFosite(err, w)
	}
	return f.answer(ctx, w)
}

// answer signs the access token of the unit of work.
func (f *FirstParty) answer(ctx context.Context, w *work) (Tokens, error) {
	access, _, err := accessStrategy{f.p}.GenerateAccessToken(withWork(ctx, w), nil)
	if err != nil {
		return Tokens{}, fromFosite(err, w)
	}
	return Tokens{
		Access: access, Refresh: w.refreshToken,
		// The claims of the token have whole seconds.
		ExpiresAt: w.now.Add(f.p.life.access).Truncate(time.Second), RefreshExpiresAt: w.grant.ExpiresAt,
	}, nil
}

// Verify says whom an access token speaks for: its signature, typ, issuer and
// expiry are right, it was made for this client and is meant for us, and it was
// not revoked. A token of any other client, however much a person allows it,
// opens nobody's account.
func (f *FirstParty) Verify(ctx context.Context, token string) (Person, error) {
	c, e := f.p.openAccess(ctx, token)
	if e != nil {
		return Person{}, e
	}
	if c.ClientID != f.clientID || c.Subject == c.ClientID || !slices.Contains(c.Audience, f.p.issuer) {
		return Person{}, errDead
	}
	if e := f.p.live(ctx, c); e != nil {
		return Person{}, e
	}
	if _, e := f.client(ctx); e != nil {
		return Person{}, e
	}
	return Person{
		UserID: c.Subject, GrantID: grantOf(c.JTI), AuthTime: time.Unix(c.AuthTime, 0).UTC(), AMR: c.AMR,
	}, nil
}

// Revoke ends the grant of a refresh token, and every access token made from
// it. A token that is worth nothing is no error.
func (f *FirstParty) Revoke(ctx context.Context, from Caller, token string) (err error) {
	defer func() { f.p.meters.revocations.Add(ctx, 1, outcomeOf(err)) }()
	client, e := f.client(ctx)
	if e != nil {
		return e
	}
	g, e := f.p.endGrant(ctx, client, token)
	switch {
	case e == errNotYours:
		return nil
	case e != nil:
		return e
	case g.ID == "":
		return nil
	}
	f.p.keepEvent(ctx, storage.Event{
		Kind: "token.revoked", UserID: g.UserID, ClientID: client.ID, Outcome: "ok", Detail: g.ID,
		Address: from.Address, UserAgent: from.UserAgent,
	})
	return nil
}

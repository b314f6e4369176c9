package provider

import (
	"context"
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/gatehouse-id/gatehouse/keys"
)

// A Requirement is what an API wants of an access token.
type Requirement struct {
	// Audience is the API's own resource identifier, which the token must be for
	// (RFC 9068 section 4). Required: a token for one API is good at no other.
	Audience string
	// Scopes are all needed.
	Scopes []string
}

// RequirementOf reads a requirement as gateways are configured with it: an
// audience, and scopes with spaces between them. It reports false for one that
// would let the tokens of other APIs in, or is not well-formed.
func RequirementOf(audience, scope string) (Requirement, bool) {
	scopes, ok := scopeTokens(scope)
	return Requirement{Audience: audience, Scopes: scopes}, ok && audience != ""
}

// Checked is what an access token says that passed.
type Checked struct {
	// Subject is a person's id, or the client's when the token speaks for the
	// client alone (RFC 9068 section 2.2).
	Subject  string
	ClientID string
	// Scope is what was granted, with spaces between.
	Scope string
}

var (
	errForeign = refuse(errInvalidToken, "The access token is for another API.")
	errTooFew  = refuse(errInsufficientScope, "The access token lacks a scope that is needed here.")
	// errTwoTokens would be a 400 elsewhere (RFC 6750 section 3.1). At a gateway
	// it is a 401, because some gateways turn any other refusal into a fault.
	errTwoTokens = &Error{
		Status: http.StatusUnauthorized, Code: errInvalidRequest,
		Description: "The request has more than one Authorization header.",
	}
	// errNoAudience tells the operator of a gateway that it is set up wrong.
	errNoAudience = refuse(errInvalidRequest, "The check must name one audience, and scopes as they are registered.")
)

// CheckBearer decides whether an access token opens an API (RFC 9068 section
// 4): its signature, typ and issuer, its expiry, audience and scope, and that it
// was not revoked. It costs one trip to Valkey and none to SQL. Tokens of ours
// have no nbf.
//
// The error is a refusal, or a fault when nobody can say whether the token was
// revoked: then it is not let in, and the caller should come back.
func (p *Provider) CheckBearer(ctx context.Context, token string, need Requirement) (Checked, *Error) {
	c, result, e := p.checkBearer(ctx, token, need)
	p.meters.checks.Add(ctx, 1, result)
	return c, e
}

// checkBearer also says what the check is counted as.
func (p *Provider) checkBearer(ctx context.Context, token string, need Requirement) (_ Checked, result string, _ *Error) {
	if need.Audience == "" {
		return Checked{}, resultInvalid, errNoAudience
	}
	c, e := p.openCached(ctx, token)
	switch {
	case e != nil:
		return Checked{}, checkResult(e, false), e
	case !slices.Contains(c.Audience, need.Audience):
		return Checked{}, resultDenied, errForeign
	case !granted(c.Scope, need.Scopes):
		return Checked{}, resultDenied, errTooFew
	}
	if e := p.live(ctx, *c); e != nil {
		return Checked{}, checkResult(e, true), e
	}
	return Checked{Subject: c.Subject, ClientID: c.ClientID, Scope: c.Scope}, resultActive, nil
}

// CheckAuthorization is CheckBearer for the Authorization headers of a request
// (RFC 6750 section 2.1): there must be one.
func (p *Provider) CheckAuthorization(ctx context.Context, headers []string, need Requirement) (Checked, *Error) {
	switch len(headers) {
	case 0:
		p.meters.checks.Add(ctx, 1, resultInvalid)
		return Checked{}, errNoToken
	case 1:
	default:
		p.meters.checks.Add(ctx, 1, resultInvalid)
		return Checked{}, errTwoTokens
	}
	scheme, token, found := strings.Cut(headers[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		p.meters.checks.Add(ctx, 1, resultInvalid)
		return Checked{}, errNoToken
	}
	return p.CheckBearer(ctx, strings.TrimSpace(token), need)
}

// granted reports whether a scope has all that is needed.
func granted(scope string, need []string) bool {
	for _, n := range need {
		found := false
		for s := range strings.SplitSeq(scope, " ") {
			found = found || s == n
		}
		if !found {
			return false
		}
	}
	return true
}

// Challenge is the value of WWW-Authenticate that goes with an error of
// CheckBearer (RFC 6750 section 3), empty for a fault. Who sent no token is asked
// for one and told nothing else.
func (p *Provider) Challenge(e *Error, need Requirement) string {
	if e.Fault() {
		return ""
	}
	challenge := `Bearer realm="` + p.issuer + `"`
	if e == errNoToken {
		return challenge
	}
	challenge += `, error="` + e.Code + `", error_description="` + e.Description + `"`
	if e.Code == errInsufficientScope {
		challenge += `, scope="` + joinScopes(need.Scopes) + `"`
	}
	return challenge
}

// What a request that passed is handed on with. A gateway must take these names
// out of whatever a client sends.
const (
	HeaderSubject = "X-Auth-Subject"
	HeaderClient  = "X-Auth-Client"
	HeaderScope   = "X-Auth-Scope"
)

// GatewayCheck answers the question that a gateway asks before it hands a
// request on: NGINX's auth_request, the forward authentication of Traefik and
// Caddy. The query has what the route needs, audience and scope; the access token
// is in the Authorization header, and nowhere else is looked for.
//
// 200 says who asks in headers; 401 and 403 are for the client as they are (RFC
// 6750 section 3); 503 is that nobody can say.
func (p *Provider) GatewayCheck(w http.ResponseWriter, r *http.Request) {
	need, e := gatewayQuery(w, r)
	if e != nil {
		p.writeError(w, r, "gateway", e)
		return
	}
	c, e := p.CheckAuthorization(r.Context(), r.Header["Authorization"], need)
	if e != nil {
		p.writeBearerError(w, r, "gateway", e, need)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set(HeaderSubject, c.Subject)
	h.Set(HeaderClient, c.ClientID)
	h.Set(HeaderScope, c.Scope)
	w.WriteHeader(http.StatusOK)
}

// gatewayQuery reads what the route needs. A parameter that is not known is
// refused, since a requirement that is spelled wrong would require nothing.
func gatewayQuery(w http.ResponseWriter, r *http.Request) (Requirement, *Error) {
	if e := method(w, r, http.MethodGet, http.MethodHead); e != nil {
		return Requirement{}, e
	}
	values, e := query(r)
	if e != nil {
		return Requirement{}, e
	}
	for name, all := range values {
		if name != "audience" && name != "scope" || len(all) > 1 {
			return Requirement{}, errNoAudience
		}
	}
	need, ok := RequirementOf(values.Get("audience"), values.Get("scope"))
	if !ok {
		return Requirement{}, errNoAudience
	}
	return need, nil
}

// openCached is openAccess with a memory: a gateway, or an API that introspects,
// comes with the same token whenever its holder makes a request.
func (p *Provider) openCached(ctx context.Context, token string) (*accessClaims, *Error) {
	if len(token) > keys.MaxToken {
		return nil, errDead
	}
	sum, ring, now := sha256.Sum256([]byte(token)), p.keys.JWKS(), p.now()
	if c := p.opened.get(sum, ring); c != nil && c.Expires > now.Unix() {
		return c, nil
	}
	c, e := p.openAccess(ctx, token)
	if e != nil {
		return nil, e
	}
	p.opened.put(sum, ring, &c)
	return &c, nil
}

// maxOpened is how many tokens are remembered. Each takes about a kilobyte.
const maxOpened = 64 << 10

// openedTokens remembers tokens whose signature was verified, by their SHA-256
// sum, so that none is kept. It says nothing of revocation, nor of expiry, which
// are asked each time.
//
// It has two halves, and forgets the older when the younger is full: what was
// asked for since then has moved to the younger. Only tokens that we signed get
// in.
type openedTokens struct {
	mu sync.Mutex
	// ring is the public keys that all of them were verified with. With other keys
	// they are all forgotten: one may be missing because it was stolen.
	ring       *keys.JWKS
	young, old map[[sha256.Size]byte]*accessClaims
}

// get returns the claims of a token, nil when it is not remembered. They must
// not be changed.
func (o *openedTokens) get(sum [sha256.Size]byte, ring *keys.JWKS) *accessClaims {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of(ring)
	if c := o.young[sum]; c != nil {
		return c
	}
	c := o.old[sum]
	if c != nil {
		o.add(sum, c)
	}
	return c
}

// put remembers a token that was verified with ring, or with keys after it.
func (o *openedTokens) put(sum [sha256.Size]byte, ring *keys.JWKS, c *accessClaims) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of(ring)
	o.add(sum, c)
}

// of forgets everything that was verified with another ring.
func (o *openedTokens) of(ring *keys.JWKS) {
	if o.ring != ring {
		o.ring, o.young, o.old = ring, map[[sha256.Size]byte]*accessClaims{}, nil
	}
}

func (o *openedTokens) add(sum [sha256.Size]byte, c *accessClaims) {
	if len(o.young) >= maxOpened/2 {
		o.old, o.young = o.young, map[[sha256.Size]byte]*accessClaims{}
	}
	o.young[sum] = c
}

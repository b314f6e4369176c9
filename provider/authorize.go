package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/consent"
	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/storage"
)

// FlowExpired is the code of the error page when the browser comes back to an
// interaction that is over, unknown or another browser's. It is not an OAuth
// error and is never sent to a client.
const FlowExpired = "flow_expired"

// A request is an authorize request whose client and redirect URI are known, so
// that whatever else is wrong may be told to the client.
type request struct {
	client storage.Client
	// redirectURI is where the answer goes; redirectSent says that the request
	// named it, so that the token request must as well.
	redirectURI  string
	redirectSent bool
	state        string
	scopes       []string
	resources    []string
	prompt       []string
	maxAge       *time.Duration
	nonce        string
	challenge    string
	loginHint    string
	// hintedUser is the subject of a valid id_token_hint.
	hintedUser  string
	requestedAt time.Time
	denied      bool
}

// Authorize is the authorization endpoint (RFC 6749 section 3.1, OIDC Core
// section 3.1.2). The browser comes here with a request, and again with
// ?flow=ID from each page; every time all is decided anew.
func (p *Provider) Authorize(w http.ResponseWriter, r *http.Request) {
	if e := method(w, r, http.MethodGet, http.MethodPost); e != nil {
		p.page(w, r, e)
		return
	}
	if r.Method == http.MethodPost {
		p.authorizePost(w, r)
		return
	}
	raw, e := query(r)
	if e != nil {
		p.page(w, r, e)
		return
	}
	i := storage.Interaction{Request: raw, RequestedAt: p.now()}
	if id := raw.Get("flow"); id != "" {
		var err error
		i, err = p.Interaction(r, id)
		switch {
		case errors.Is(err, storage.ErrNotFound), err == nil && i.Request == nil:
			p.page(w, r, &Error{Status: http.StatusBadRequest, Code: FlowExpired, Description: "The sign-in flow is over, unknown or of another browser."})
			return
		case err != nil:
			p.page(w, r, unavailable(err))
			return
		}
	}
	q, shown, told := p.parse(r.Context(), i)
	switch {
	case shown != nil:
		p.page(w, r, shown)
	case told != nil:
		p.finish(r.Context(), i)
		p.redirectError(w, r, q.redirectURI, q.state, told)
	default:
		p.dispatch(w, r, i, q)
	}
}

// authorizePost turns a request by POST (OIDC Core section 3.1.2.1) into one by
// GET. A POST from another site comes without our SameSite=Lax cookies; the GET
// that follows it has them.
func (p *Provider) authorizePost(w http.ResponseWriter, r *http.Request) {
	values, e := form(w, r)
	if e != nil {
		p.page(w, r, e)
		return
	}
	values.Del("flow") // pages post to themselves, never here
	encoded := values.Encode()
	if len(encoded) > maxURI-512 {
		p.page(w, r, &Error{Status: http.StatusRequestEntityTooLarge, Code: errInvalidRequest, Description: "The request is too large."})
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", p.issuer+"/authorize?"+encoded)
	w.WriteHeader(http.StatusSeeOther)
}

// dispatch does what need says.
func (p *Provider) dispatch(w http.ResponseWriter, r *http.Request, i storage.Interaction, q request) {
	ctx := r.Context()
	now := p.now()
	tell := func(e *Error) {
		p.finish(ctx, i)
		p.redirectError(w, r, q.redirectURI, q.state, e)
	}
	var session *storage.Session
	var user storage.User
	switch s, u, err := p.Session(r); {
	case err == nil:
		session, user = &s, u
	case !errors.Is(err, storage.ErrNotFound):
		tell(unavailable(err))
		return
	}
	var decision consent.Decision
	if session != nil {
		var err error
		if decision, err = p.decide(ctx, i, q, user.ID); err != nil {
			tell(unavailable(err))
			return
		}
	}
	switch next := need(q, session, decision, now); next {
	case issue:
		p.issue(w, r, i, q, *session, decision.Scopes)
	case denied:
		e := storage.Event{Kind: "consent.denied", ClientID: q.client.ID, Outcome: errAccessDenied}
		if session != nil {
			e.UserID = session.UserID
		}
		p.audit(r, e)
		tell(refuse(errAccessDenied, descriptions[errAccessDenied]))
	case loginRequired:
		tell(refuse(errLoginRequired, "The person must sign in, and prompt=none forbids showing a page."))
	case consentRequired:
		tell(refuse(errConsentRequired, "The person must agree, and prompt=none forbids showing a page."))
	default:
		if i.ID == "" {
			var err error
			if i, err = p.putInteraction(w, r, i); err != nil {
				tell(unavailable(err))
				return
			}
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Location", p.pages[next]+"?flow="+i.ID)
		w.WriteHeader(http.StatusSeeOther)
	}
}

// decide asks what of the request's scopes the person agrees to. What was agreed
// before does not count for an app that anybody on the machine could pose as.
func (p *Provider) decide(ctx context.Context, i storage.Interaction, q request, userID string) (consent.Decision, error) {
	a := consent.Asked{Scopes: q.scopes, FirstParty: q.client.FirstParty, Prompt: q.prompt}
	if i.Consented != nil && i.ConsentedBy == userID {
		a.JustAgreed = i.Consented
	}
	if p.impostors(q) {
		return consent.Decide(a), nil
	}
	remembered, err := p.store.Consent(ctx, userID, q.client.ID)
	switch {
	case err == nil:
		a.Remembered = remembered.Scopes
	case !errors.Is(err, storage.ErrNotFound):
		return consent.Decision{}, fmt.Errorf("provider: consent: %w", err)
	}
	return consent.Decide(a), nil
}

// impostors reports whether another app could receive the answer in the client's
// name: the client has no secret, and its redirect URI is of a loopback port or
// a private-use scheme, which whoever comes first may take (RFC 8252 section
// 8.6). Our own pages are nobody else's.
func (p *Provider) impostors(q request) bool {
	if !q.client.Public() || q.client.FirstParty || strings.HasPrefix(q.redirectURI, p.issuer+"/") {
		return false
	}
	return !strings.HasPrefix(q.redirectURI, "https://")
}

// finish forgets an interaction whose request has been answered, so that going
// back does not answer it again. When that fails it expires by itself.
func (p *Provider) finish(ctx context.Context, i storage.Interaction) {
	if i.ID == "" {
		return
	}
	if err := p.interactions.DeleteInteraction(ctx, i.ID); err != nil {
		p.log.WarnContext(ctx, "an answered interaction stays until it expires", "err", err)
	}
}

// issue answers with a code.
func (p *Provider) issue(w http.ResponseWriter, r *http.Request, i storage.Interaction, q request, s storage.Session, scopes []string) {
	grantID, err := uuid.NewV7()
	if err != nil {
		p.redirectError(w, r, q.redirectURI, q.state, internal(fmt.Errorf("provider: grant id: %w", err)))
		return
	}
	now := p.now()
	work := &work{now: now, client: q.client, code: storage.Code{
		ClientID:  q.client.ID,
		Challenge: q.challenge,
		ExpiresAt: now.Add(p.life.code),
		Grant: storage.Grant{
			ID: grantID.String(), ClientID: q.client.ID,
			UserID: s.UserID, UserEpoch: s.UserEpoch, SessionID: s.ID,
			Scopes: scopes, Resources: q.resources, Nonce: q.nonce,
			AuthTime: s.AuthTime, AMR: s.AMR,
		},
	}}
	if q.redirectSent {
		work.code.RedirectURIHash = sha256Hex(q.redirectURI)
	}
	code, err := p.engineCode(withWork(r.Context(), work), q, scopes, s.UserID)
	if err != nil {
		p.redirectError(w, r, q.redirectURI, q.state, fromFosite(err, work))
		return
	}
	if i.Consented != nil {
		p.audit(r, storage.Event{Kind: "consent.granted", UserID: s.UserID, ClientID: q.client.ID, Outcome: "ok", Detail: joinScopes(scopes)})
	}
	p.finish(r.Context(), i)
	p.redirect(w, q.redirectURI, q.state, url.Values{"code": {code}})
}

// parse reads an authorize request. An error to be shown means that the client
// or where it wants its answer is not known; everything else may be told to the
// client (RFC 6749 section 4.1.2.1).
func (p *Provider) parse(ctx context.Context, i storage.Interaction) (q request, shown, told *Error) {
	params, duplicate := parameters(i.Request)
	q.requestedAt, q.denied = i.RequestedAt, i.Denied
	show := func(description string) *Error {
		e := refuse(errInvalidRequest, description)
		e.ClientID = params.Get("client_id")
		return e
	}
	if len(params["client_id"]) > 1 || len(params["redirect_uri"]) > 1 {
		return q, show(errDuplicate.Description), nil
	}
	if len(params["client_id"]) == 0 {
		return q, show("The parameter client_id is missing."), nil
	}
	client, err := p.clients.get(ctx, params.Get("client_id"))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		e := show("There is no client with this client_id.")
		e.Code = errInvalidClient
		return q, e, nil
	case err != nil:
		return q, unavailable(fmt.Errorf("provider: client: %w", err)), nil
	}
	q.client = client
	scopes, scopesOK := scopeTokens(params.Get("scope"))
	openid := slices.Contains(scopes, "openid")

	registered := client.RedirectURIs
	if q.redirectURI = params.Get("redirect_uri"); q.redirectURI != "" {
		q.redirectSent = true
		if !slices.ContainsFunc(registered, func(want string) bool { return sameRedirect(want, q.redirectURI) }) {
			return q, show("The parameter redirect_uri is none of those registered for this client, which are compared exactly."), nil
		}
	} else if len(registered) == 1 && !openid {
		q.redirectURI = registered[0]
	} else {
		return q, show("The parameter redirect_uri is missing."), nil
	}

	// From here the client is told.
	q.state = params.Get("state")
	if duplicate {
		if len(params["state"]) > 1 {
			q.state = "" // which one is not ours to choose
		}
		return q, nil, errDuplicate
	}
	switch {
	case params.Has("request"):
		return q, nil, refuse(errRequestUnsupported, "The parameter request is not supported.")
	case params.Has("request_uri"):
		return q, nil, refuse(errRequestURI, "The parameter request_uri is not supported.")
	case params.Has("registration"):
		return q, nil, refuse(errRegistration, "The parameter registration is not supported.")
	case !params.Has("response_type"):
		return q, nil, refuse(errInvalidRequest, "The parameter response_type is missing.")
	case params.Get("response_type") != "code":
		return q, nil, refuse(errUnsupportedResponse, "The only response_type supported is code.")
	case params.Has("response_mode") && params.Get("response_mode") != "query":
		return q, nil, refuse(errInvalidRequest, "The only response_mode supported is query.")
	case !slices.Contains(client.GrantTypes, grantCode):
		return q, nil, refuse(errUnauthorizedClient, descriptions[errUnauthorizedClient])
	case !scopesOK:
		return q, nil, refuse(errInvalidScope, "The parameter scope is malformed.")
	}
	// Scopes that the client may not have are dropped, not refused (OIDC Core
	// section 3.1.2.1).
	for _, s := range scopes {
		if slices.Contains(client.Scopes, s) {
			q.scopes = append(q.scopes, s)
		}
	}
	if len(q.scopes) == 0 {
		return q, nil, refuse(errInvalidScope, "The request has no scope that this client may ask for.")
	}
	if told := q.parsePKCE(params, openid); told != nil {
		return q, nil, told
	}
	if told := q.parseOpenID(params); told != nil {
		return q, nil, told
	}
	var e *Error
	if q.resources, e = p.audience(client, params["resource"]); e != nil {
		return q, nil, e
	}
	if hint := params.Get("id_token_hint"); hint != "" {
		sub, ok, err := p.hintedUser(ctx, hint)
		if err != nil {
			return q, nil, unavailable(err)
		}
		if !ok {
			return q, nil, refuse(errInvalidRequest, "The parameter id_token_hint is not an ID token of this issuer.")
		}
		q.hintedUser = sub
	}
	return q, nil, nil
}

// parsePKCE reads the code challenge (RFC 7636 section 4.3). S256 is the only
// method, and only a confidential OpenID client that is registered so may go
// without (RFC 9700 section 2.1.1).
func (q *request) parsePKCE(params url.Values, openid bool) *Error {
	challenge, method := params.Get("code_challenge"), params.Get("code_challenge_method")
	if challenge == "" {
		if method != "" {
			return refuse(errInvalidRequest, "The parameter code_challenge is missing.")
		}
		if q.client.OptionalPKCE && !q.client.Public() && openid {
			return nil
		}
		return refuse(errInvalidRequest, "This client must use PKCE: the parameter code_challenge is missing.")
	}
	if method != "S256" {
		return refuse(errInvalidRequest, "The only code_challenge_method supported is S256.")
	}
	if len(challenge) != 43 || !unreserved(challenge, "-_") {
		return refuse(errInvalidRequest, "The parameter code_challenge is not a base64url SHA-256 sum.")
	}
	q.challenge = challenge
	return nil
}

// unreserved reports whether s is of letters, digits and the characters given.
func unreserved(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(more, c) >= 0) {
			return false
		}
	}
	return true
}

// parseOpenID reads the parameters of OIDC Core section 3.1.2.1.
func (q *request) parseOpenID(params url.Values) *Error {
	q.nonce, q.loginHint = params.Get("nonce"), params.Get("login_hint")
	for _, v := range strings.Fields(params.Get("prompt")) {
		switch v {
		case "none", "login", "consent", "select_account", "create":
			q.prompt = append(q.prompt, v)
		default:
			return refuse(errInvalidRequest, "The parameter prompt has an unknown value.")
		}
	}
	if len(q.prompt) > 1 && slices.Contains(q.prompt, "none") {
		return refuse(errInvalidRequest, "The value none of prompt allows no other beside it.")
	}
	if v := params.Get("max_age"); v != "" {
		seconds, err := strconv.ParseUint(v, 10, 31)
		if err != nil || !unreserved(v, "") {
			return refuse(errInvalidRequest, "The parameter max_age is not a number of seconds.")
		}
		age := time.Duration(seconds) * time.Second
		q.maxAge = &age
	}
	return nil
}

// audience says for whom the access token will be: the resources asked for (RFC
// 8707 section 2), else the client's, else ourselves.
func (p *Provider) audience(c storage.Client, asked []string) ([]string, *Error) {
	if len(asked) == 0 {
		if len(c.Resources) > 0 {
			return c.Resources[:1], nil
		}
		return []string{p.issuer}, nil
	}
	if len(asked) > maxResources {
		return nil, refuse(errInvalidTarget, "The request names too many resources.")
	}
	var out []string
	for _, r := range asked {
		if !slices.Contains(c.Resources, r) {
			return nil, refuse(errInvalidTarget, "The client may not ask for a token for this resource.")
		}
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out, nil
}

// hintedUser returns the subject of an ID token of ours, expired or not (OIDC
// Core section 3.1.2.1). An access token is no hint: typ tells them apart.
func (p *Provider) hintedUser(ctx context.Context, hint string) (sub string, ok bool, err error) {
	v, err := p.keys.Verify(ctx, hint)
	switch {
	case errors.Is(err, keys.ErrInvalid), errors.Is(err, keys.ErrNoKey):
		return "", false, nil
	case err != nil:
		return "", false, err
	}
	var claims struct {
		Iss string `json:"iss"`
		Sub string `json:"sub"`
	}
	if v.Type != typeIDToken || json.Unmarshal(v.Payload, &claims) != nil || claims.Iss != p.issuer || claims.Sub == "" {
		return "", false, nil
	}
	return claims.Sub, true, nil
}

// Asked is what the authorize request behind an interaction asks, in what the
// pages show.
type Asked struct {
	Client      storage.Client
	RedirectURI string
	// Scopes are all asked for; Missing those the person has not agreed to,
	// Known those agreed to before.
	Scopes, Missing, Known []string
	LoginHint              string
	// Reauthenticate says that the person signed in must prove it again.
	Reauthenticate bool
}

// Asked reads the request behind an interaction, for whoever is signed in at
// this browser. It is zero when there is no request, or one that /authorize
// would refuse.
func (p *Provider) Asked(r *http.Request, i storage.Interaction) (Asked, error) {
	if i.Request == nil {
		return Asked{}, nil
	}
	ctx := r.Context()
	q, shown, told := p.parse(ctx, i)
	for _, e := range []*Error{shown, told} {
		if e != nil && e.Fault() {
			return Asked{}, e
		}
	}
	if shown != nil || told != nil {
		return Asked{}, nil
	}
	a := Asked{Client: q.client, RedirectURI: q.redirectURI, Scopes: q.scopes, LoginHint: q.loginHint}
	s, _, err := p.Session(r)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		a.Missing = q.scopes
		return a, nil
	case err != nil:
		return Asked{}, err
	}
	a.Reauthenticate = q.stale(s, p.now())
	d, err := p.decide(ctx, i, q, s.UserID)
	if err != nil {
		return Asked{}, err
	}
	a.Missing = d.Missing
	for _, scope := range q.scopes {
		if !slices.Contains(a.Missing, scope) {
			a.Known = append(a.Known, scope)
		}
	}
	return a, nil
}

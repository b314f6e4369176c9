package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/consent"
	"github.com/gatehouse-id/gatehouse/storage"
)

// FlowExpired is the code of the error page when the browser comes back to an
// interaction that is over, unknown or another browser's. It is not an OAuth
// error and is never sent to a client.
const FlowExpired = "flow_expired"

// Authorize is the authorization endpoint (RFC 6749 section 3.1, OIDC Core
// section 3.1.2). The browser comes here with a request, and again with
// ?flow=ID from each page; every time all is decided anew.
func (p *Provider) Authorize(w http.ResponseWriter, r *http.Request) {
	if e := method(w, r, http.MethodGet, http.MethodPost); e != nil {
		p.authorizePage(w, r, e)
		return
	}
	if r.Method == http.MethodPost {
		p.authorizePost(w, r)
		return
	}
	raw, e := query(r)
	if e != nil {
		p.authorizePage(w, r, e)
		return
	}
	i := storage.Interaction{Request: raw, RequestedAt: p.now()}
	if id := raw.Get("flow"); id != "" {
		var err error
		i, err = p.Interaction(r, id)
		switch {
		case errors.Is(err, storage.ErrNotFound), err == nil && i.Request == nil:
			p.authorizePage(w, r, &Error{Status: http.StatusBadRequest, Code: FlowExpired, Description: "The sign-in flow is over, unknown or of another browser."})
			return
		case err != nil:
			p.authorizePage(w, r, unavailable(err))
			return
		}
	}
	q, shown, told := p.parse(r.Context(), i)
	switch {
	case shown != nil:
		p.authorizePage(w, r, shown)
	case told != nil:
		p.tell(w, r, i, q, told)
	default:
		p.dispatch(w, r, i, q)
	}
}

// pageLabels are what requests are counted under that a page must come before.
var pageLabels = map[step]string{loginPage: "login", registerPage: "register", selectPage: "select", consentPage: "consent"}

// authorizePage shows an error instead of an answer.
func (p *Provider) authorizePage(w http.ResponseWriter, r *http.Request, e *Error) {
	p.meters.authorizations.Add(r.Context(), 1, e.Code)
	p.page(w, r, e)
}

// authorizePost turns a request by POST (OIDC Core section 3.1.2.1) into one by
// GET. A POST from another site comes without our SameSite=Lax cookies; the GET
// that follows it has them.
func (p *Provider) authorizePost(w http.ResponseWriter, r *http.Request) {
	values, e := form(w, r)
	if e != nil {
		p.authorizePage(w, r, e)
		return
	}
	values.Del("flow") // pages post to themselves, never here
	encoded := values.Encode()
	if len(encoded) > maxURI-512 {
		p.authorizePage(w, r, &Error{Status: http.StatusRequestEntityTooLarge, Code: errInvalidRequest, Description: "The request is too large."})
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
	tell := func(e *Error) { p.tell(w, r, i, q, e) }
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
	switch next := need(q, session, user, decision, now); next {
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
	case unmet:
		tell(refuse(errUnmetAuthentication, "The person has no proof as strong as the claim acr demands."))
	default:
		if i.ID == "" {
			var err error
			if i, err = p.putInteraction(w, r, i); err != nil {
				tell(unavailable(err))
				return
			}
		}
		p.meters.authorizations.Add(ctx, 1, pageLabels[next])
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Location", p.pages[next]+"?flow="+i.ID)
		w.WriteHeader(http.StatusSeeOther)
	}
}

// decide asks what of the request's scopes and claims the person agrees to. What was agreed
// before does not count for an app that anybody on the machine could pose as.
func (p *Provider) decide(ctx context.Context, i storage.Interaction, q request, userID string) (consent.Decision, error) {
	a := consent.Asked{Scopes: q.asks(), FirstParty: q.client.FirstParty, Prompt: q.prompt}
	if i.Consented != nil && i.ConsentedBy == userID {
		a.JustAgreed = i.Consented
	}
	// Nobody is asked for the operator's own app, so nobody need remember.
	if p.impostors(q) || q.client.FirstParty && a.JustAgreed == nil {
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
	if q.client.Registration != nil { // anybody may register anything under any name
		return true
	}
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

// tell tells the client an error by way of the browser (RFC 6749 section
// 4.1.2.1). A client that registered itself could make of a wrong request a link
// that leads from our address to anywhere: until somebody has signed in they are
// shown the error instead, unless the request allows no page (RFC 9700 section
// 4.11.2).
func (p *Provider) tell(w http.ResponseWriter, r *http.Request, i storage.Interaction, q request, e *Error) {
	if q.client.Registration != nil && !q.silent() && !q.denied {
		if _, _, err := p.Session(r); err != nil {
			shown := *e
			shown.ClientID = q.client.ID
			p.authorizePage(w, r, &shown)
			return
		}
	}
	p.finish(r.Context(), i)
	p.meters.authorizations.Add(r.Context(), 1, e.Code)
	e = p.report(r.Context(), "authorize", e)
	p.answer(w, r, q, url.Values{"error": {e.Code}, "error_description": {e.Description}})
}

// issue answers with a code for the scopes and claims that the person agreed to.
func (p *Provider) issue(w http.ResponseWriter, r *http.Request, i storage.Interaction, q request, s storage.Session, agreed []string) {
	grantID, err := uuid.NewV7()
	if err != nil {
		p.tell(w, r, i, q, internal(fmt.Errorf("provider: grant id: %w", err)))
		return
	}
	scopes, claims := q.granted(agreed)
	now := p.now()
	work := &work{now: now, client: q.client, code: storage.Code{
		ClientID:  q.client.ID,
		Challenge: q.challenge,
		ExpiresAt: now.Add(p.life.code),
		Grant: storage.Grant{
			ID: grantID.String(), ClientID: q.client.ID,
			UserID: s.UserID, UserEpoch: s.UserEpoch, SessionID: s.ID,
			Scopes: scopes, Resources: q.resources, Nonce: q.nonce,
			AuthTime: s.AuthTime, AMR: s.AMR, Claims: claims, EndsAt: s.EndsAt,
		},
	}}
	if q.redirectSent {
		work.code.RedirectURIHash = sha256Hex(q.redirectURI)
	}
	code, err := p.engineCode(withWork(r.Context(), work), q, scopes, s.UserID)
	if err != nil {
		p.tell(w, r, i, q, fromFosite(err, work))
		return
	}
	if i.Consented != nil {
		p.audit(r, storage.Event{Kind: "consent.granted", UserID: s.UserID, ClientID: q.client.ID, Outcome: "ok", Detail: joinScopes(agreed)})
	}
	p.finish(r.Context(), i)
	p.meters.authorizations.Add(r.Context(), 1, "code")
	p.answer(w, r, q, url.Values{"code": {code}})
}

// Asked is what the authorize request behind an interaction asks, in what the
// pages show.
type Asked struct {
	Client      storage.Client
	RedirectURI string
	// Scopes are all asked for, also those of claims that are asked for by name;
	// Missing those the person has not agreed to, Known those agreed to before.
	Scopes, Missing, Known []string
	// Resources are those that an access token would be for (RFC 8707).
	Resources []string
	LoginHint string
	// UILocales are the languages that the app would like the pages in (BCP 47),
	// the most wanted first; they may be none of ours.
	UILocales []string
	// Reauthenticate says that the person signed in must prove it again, and
	// nobody else.
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
	a := Asked{
		Client: q.client, RedirectURI: q.redirectURI, Scopes: q.asks(), Resources: q.resources,
		LoginHint: q.loginHint, UILocales: q.uiLocales,
	}
	s, user, err := p.Session(r)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		a.Missing = a.Scopes
		return a, nil
	case err != nil:
		return Asked{}, err
	}
	a.Reauthenticate = q.stale(s, user, p.now()) && !q.another(s)
	d, err := p.decide(ctx, i, q, s.UserID)
	if err != nil {
		return Asked{}, err
	}
	a.Missing = d.Missing
	for _, scope := range a.Scopes {
		if !slices.Contains(a.Missing, scope) {
			a.Known = append(a.Known, scope)
		}
	}
	return a, nil
}

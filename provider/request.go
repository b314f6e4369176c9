package provider

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A request is an authorize request whose client and redirect URI are known, so
// that whatever else is wrong may be told to the client.
type request struct {
	client storage.Client
	// redirectURI is where the answer goes; redirectSent says that the request
	// named it, so that the token request must as well.
	redirectURI  string
	redirectSent bool
	// formPost says that the answer goes there by a form, not in the query.
	formPost bool
	// state comes back byte for byte.
	state     string
	scopes    []string
	resources []string
	// claims are those asked for by name; their scopes are asked about too.
	claims    storage.ClaimsRequest
	prompt    []string
	maxAge    *time.Duration
	acr       acrRequest
	nonce     string
	challenge string
	loginHint string
	uiLocales []string
	// subjects are the people one of whom it must be, by id_token_hint and the
	// claims parameter; nil is anybody.
	subjects    []string
	requestedAt time.Time
	denied      bool
	// chosen is the user that the person said to go on as.
	chosen string
}

// asks are the scopes that the person is asked about: those of the request, and
// those of the claims that it names.
func (q request) asks() []string {
	all := slices.Clone(q.scopes)
	for _, s := range scopesOf(q.claims) {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// granted is what the request gets of the scopes that the person agreed to: the
// claims that it named and no scope that it did not.
func (q request) granted(agreed []string) ([]string, storage.ClaimsRequest) {
	var scopes []string
	for _, s := range q.scopes {
		if slices.Contains(agreed, s) {
			scopes = append(scopes, s)
		}
	}
	return scopes, withinScopes(q.claims, agreed)
}

// parse reads an authorize request. An error to be shown means that the client
// or where it wants its answer is not known; everything else may be told to the
// client (RFC 6749 section 4.1.2.1).
func (p *Provider) parse(ctx context.Context, i storage.Interaction) (q request, shown, told *Error) {
	params, duplicate := parameters(i.Request)
	q.requestedAt, q.denied, q.chosen = i.RequestedAt, i.Denied, i.UserID
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

	// From here the client is told, in the way it asked for.
	q.state = params.Get("state")
	if len(params["state"]) > 1 {
		q.state = "" // which one is not ours to choose
	}
	modes := params["response_mode"]
	q.formPost = len(modes) == 1 && modes[0] == modeFormPost && isWeb(q.redirectURI)
	if p := params["prompt"]; len(p) == 1 && p[0] == "none" {
		q.prompt = p
	}
	if q.formPost && !formKeeps(q.state) {
		q.state = ""
		return q, nil, refuse(errInvalidRequest, "A form cannot return this state, which has line breaks or is not UTF-8.")
	}
	if duplicate {
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
	case params.Get("response_mode") == modeFormPost && !q.formPost:
		return q, nil, refuse(errInvalidRequest, "A form can be posted to an http or https redirect URI only.")
	case params.Has("response_mode") && params.Get("response_mode") != modeQuery && !q.formPost:
		return q, nil, refuse(errInvalidRequest, "The response_mode supported is query or form_post.")
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
	if told := q.parseOpenID(params, openid); told != nil {
		return q, nil, told
	}
	var e *Error
	if q.resources, e = p.audience(client, params["resource"]); e != nil {
		return q, nil, e
	}
	if hint := params.Get("id_token_hint"); hint != "" {
		sub, ok, err := p.hintedUser(ctx, hint, client.ID)
		if err != nil {
			return q, nil, unavailable(err)
		}
		if !ok {
			return q, nil, refuse(errInvalidRequest, "The parameter id_token_hint is not an ID token that this issuer gave to this client.")
		}
		q.subjects = narrower(q.subjects, []string{sub})
	}
	if q.subjects != nil && len(q.subjects) == 0 {
		return q, nil, refuse(errInvalidRequest, "The request is about two people at once.")
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

// parseOpenID reads the parameters of OIDC Core section 3.1.2.1. Of those that
// are wishes (display, claims_locales, ui_locales, login_hint) nothing is
// refused.
func (q *request) parseOpenID(params url.Values, openid bool) *Error {
	q.nonce, q.loginHint = params.Get("nonce"), params.Get("login_hint")
	if !utf8.ValidString(q.nonce) || strings.ContainsRune(q.nonce, 0) { // neither a token nor a database holds it
		return refuse(errInvalidRequest, "The parameter nonce is not text.")
	}
	q.uiLocales = locales(params.Get("ui_locales"))
	q.prompt = nil
	for _, v := range strings.Fields(params.Get("prompt")) {
		switch v {
		case "none", "login", "consent", "select_account", "create":
			q.prompt = append(q.prompt, v)
		default:
			return refuse(errInvalidRequest, "The parameter prompt has an unknown value.")
		}
	}
	if len(q.prompt) > 1 && q.silent() {
		return refuse(errInvalidRequest, "The value none of prompt allows no other beside it.")
	}
	if v := params.Get("max_age"); v != "" {
		seconds, err := strconv.ParseUint(v, 10, 31)
		if err != nil || !unreserved(v, "") {
			return refuse(errInvalidRequest, "The parameter max_age is not a number of seconds.")
		}
		age := time.Duration(seconds) * time.Second
		q.maxAge = &age
	} else if v := q.client.Metadata.DefaultMaxAge; v != nil {
		age := time.Duration(*v) * time.Second
		q.maxAge = &age
	}
	var asked claimsParameter
	if v := params.Get("claims"); v != "" && openid {
		var ok bool
		if asked, ok = parseClaims(v); !ok {
			return refuse(errInvalidRequest, "The parameter claims is not a claims request, or is too large.")
		}
	}
	q.claims = withinScopes(asked.request, q.client.Scopes)
	q.subjects = asked.subjects
	q.acr = acrRequested(params.Get("acr_values"), asked.acr, q.client)
	return nil
}

// maxLocales is how many languages of ui_locales are looked at.
const maxLocales = 10

// locales splits a list of BCP 47 tags, in order of preference, and drops what
// cannot be one.
func locales(s string) (tags []string) {
	for _, tag := range strings.Fields(s) {
		if len(tags) < maxLocales && len(tag) <= 35 && unreserved(tag, "-") {
			tags = append(tags, tag)
		}
	}
	return tags
}

// The response modes: OAuth 2.0 Multiple Response Types section 2.1, OAuth 2.0
// Form Post Response Mode.
const (
	modeQuery    = "query"
	modeFormPost = "form_post"
)

// isWeb reports whether a form can be posted to a redirect URI. A private-use
// scheme would lose it.
func isWeb(redirectURI string) bool {
	return strings.HasPrefix(redirectURI, "https://") || strings.HasPrefix(redirectURI, "http://")
}

// formKeeps reports whether a browser that posts s in a form sends the same
// bytes: it makes every line break CR LF, and what is not UTF-8 a question mark.
func formKeeps(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsAny(s, "\r\n\x00")
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

// hintedUser returns the subject of an ID token that we gave to the client,
// expired or not (OIDC Core section 3.1.2.1), as long as we hold the key that
// signed it.
func (p *Provider) hintedUser(ctx context.Context, hint, clientID string) (sub string, ok bool, err error) {
	t, ours, err := p.openIDToken(ctx, hint)
	if err != nil || !ours || t.Audience != clientID {
		return "", false, err
	}
	return t.Subject, true, nil
}

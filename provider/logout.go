package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A LogoutRequest is what an app asks of the end session endpoint, as far as it
// holds (RP-Initiated Logout section 2). The zero value is somebody who came by
// themselves.
type LogoutRequest struct {
	// Client is the app that asks, zero when there is none.
	Client storage.Client
	// Proved says that the hint is an ID token that we gave this client, so that
	// it, or somebody it trusts, is who asks.
	Proved bool
	// Current says that the hint is of the session at this browser. Only then may
	// the session end without asking the person (section 2).
	Current bool
	// Return is where the app wants the person back: registered, with the state
	// attached. A browser is sent there only when Proved; without proof it is a
	// link at most (section 3).
	Return string
	// UILocales are the languages asked for, the most wanted first.
	UILocales []string
	// Parameters are those of the request, to be sent again with the person's
	// answer.
	Parameters url.Values
}

// logoutParameters are the parameters of the end session endpoint. The
// logout_hint is accepted, and of no use: whose session it is the cookie says.
var logoutParameters = []string{
	"id_token_hint", "logout_hint", "client_id", "post_logout_redirect_uri", "state", "ui_locales",
}

// EndSessionRequest reads the request at the end session endpoint from the query
// of a GET, or from the form of a POST, which has been parsed. It changes
// nothing. A hint that is not ours counts as none, so the person is asked. What
// contradicts a good hint is an error, to be shown by the page for errors: a
// client_id that it was not issued to, an address that its client has not
// registered.
func (p *Provider) EndSessionRequest(r *http.Request) (LogoutRequest, *Error) {
	q, e := p.endSessionRequest(r)
	if e != nil {
		return LogoutRequest{}, p.report(r.Context(), "logout", e)
	}
	return q, nil
}

func (p *Provider) endSessionRequest(r *http.Request) (q LogoutRequest, e *Error) {
	raw := r.PostForm
	if r.Method != http.MethodPost {
		if raw, e = query(r); e != nil {
			return q, e
		}
	}
	all, _ := parameters(raw)
	q.Parameters = url.Values{}
	for _, name := range logoutParameters {
		switch values := all[name]; len(values) {
		case 0:
		case 1:
			q.Parameters.Set(name, values[0])
		default:
			return q, errDuplicate
		}
	}
	q.UILocales = strings.Fields(q.Parameters.Get("ui_locales"))

	hint, good, err := p.openIDToken(r.Context(), q.Parameters.Get("id_token_hint"))
	if err != nil {
		return q, unavailable(err)
	}
	id := q.Parameters.Get("client_id")
	if good {
		if id != "" && id != hint.Audience {
			return q, logoutRefused(id, "The client_id is not the one that the id_token_hint was issued to.")
		}
		id = hint.Audience
	}
	client, err := p.clients.get(r.Context(), id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return q, nil // nobody we know: as if nothing had been said
	case err != nil:
		return q, unavailable(fmt.Errorf("provider: client: %w", err))
	}
	q.Client, q.Proved = client, good
	if to := q.Parameters.Get("post_logout_redirect_uri"); to != "" {
		// Compared as a string: simple string comparison is what section 3 asks.
		if !slices.Contains(client.Metadata.PostLogoutRedirectURIs, to) {
			return q, logoutRefused(id, "The post_logout_redirect_uri is not registered for this client.")
		}
		q.Return = to
		if state := q.Parameters.Get("state"); state != "" {
			q.Return = withQuery(to, url.Values{"state": {state}})
		}
	}
	if !good {
		return q, nil
	}
	s, _, err := p.Session(r)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return q, nil
	case err != nil:
		return q, unavailable(err)
	}
	q.Current = hint.SessionID == s.ID && hint.Subject == s.UserID
	return q, nil
}

func logoutRefused(clientID, description string) *Error {
	e := refuse(errInvalidRequest, description)
	e.ClientID = clientID
	return e
}

// openIDToken reads an ID token of ours, also one that has expired or whose key
// is gone: as a hint it proves who it was issued to, and no more
// (RP-Initiated Logout section 4). good is false for anything else. An error is
// a fault.
func (p *Provider) openIDToken(ctx context.Context, token string) (t idToken, good bool, err error) {
	if token == "" {
		return t, false, nil
	}
	v, err := p.keys.VerifyHint(ctx, token)
	if keys.IsFault(err) {
		return t, false, err
	}
	good = err == nil && v.Type == typeIDToken && json.Unmarshal(v.Payload, &t) == nil &&
		t.Issuer == p.issuer && t.Subject != "" && t.Expires != 0 // a signed UserInfo answer has no expiry
	return t, good, nil
}

//go:build !slim

package main

import (
	"context"
	"html/template"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// A relyingParty is an app with an origin of its own, which knows the issuer
// and what it was registered as.
type relyingParty struct {
	t        *testing.T
	base     string
	issuer   string
	provider *oidc.Provider
	verifier *oidc.IDTokenVerifier
	config   oauth2.Config

	// What ties the answer to the question.
	state, nonce, pkce string

	mu     sync.Mutex
	tokens *oauth2.Token
}

// newRelyingParty starts an app on a port that its registration leaves open
// (RFC 8252 section 7.3), and has it find the provider.
func newRelyingParty(t *testing.T, issuer string, client clientRecord, alg string) *relyingParty {
	t.Helper()
	a := &relyingParty{t: t, issuer: issuer, state: "state-" + client.ID, nonce: "nonce-" + client.ID, pkce: oauth2.GenerateVerifier()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /signin", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, a.question(), http.StatusSeeOther)
	})
	mux.HandleFunc("GET /cb", a.callback)
	mux.HandleFunc("GET /bye", func(w http.ResponseWriter, r *http.Request) {
		a.show(w, `<p id="bye">signed out, {{.}}</p>`, r.FormValue("state"))
	})
	mux.HandleFunc("GET /frame", func(w http.ResponseWriter, r *http.Request) {
		a.show(w, `<iframe src="{{.}}"></iframe>`, r.FormValue("page"))
	})
	// An attacker's page: a form that is sent to us, and pictures from us.
	mux.HandleFunc("GET /forge", func(w http.ResponseWriter, r *http.Request) {
		a.show(w, `<form method="post" action="{{.to}}">{{range .field}}<input name="{{.}}" value="all">{{end}}<button id="forge">Win</button></form>
{{range .picture}}<img src="{{.}}" alt="">{{end}}`, map[string]any{"to": r.FormValue("to"), "field": r.Form["field"], "picture": r.Form["picture"]})
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	a.base = srv.URL
	if host, _, err := net.SplitHostPort(strings.TrimPrefix(a.base, "http://")); err != nil || host != "127.0.0.1" {
		t.Fatalf("the app is at %s", a.base)
	}
	var err error
	if a.provider, err = oidc.NewProvider(t.Context(), issuer); err != nil {
		t.Fatal(err)
	}
	a.verifier = a.provider.VerifierContext(t.Context(), &oidc.Config{ClientID: client.ID, SupportedSigningAlgs: []string{alg}})
	a.config = oauth2.Config{
		ClientID: client.ID, ClientSecret: client.Secret, Endpoint: a.provider.Endpoint(), RedirectURL: a.base + "/cb",
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
	}
	return a
}

// question is the authorization request.
func (a *relyingParty) question() string {
	return a.config.AuthCodeURL(a.state, oidc.Nonce(a.nonce), oauth2.S256ChallengeOption(a.pkce))
}

func (a *relyingParty) show(w http.ResponseWriter, body string, data any) {
	page := template.Must(template.New("").Parse(`<!doctype html><title>Notes</title><link rel="icon" href="data:,">` + body))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, data); err != nil {
		a.t.Error(err)
	}
}

// callback takes the answer and shows whose it is.
func (a *relyingParty) callback(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("state") != a.state || r.FormValue("iss") != a.issuer {
		a.t.Errorf("the answer is not to the question: %v", r.Form)
	}
	if code := r.FormValue("error"); code != "" {
		a.show(w, `<p id="error">{{.}}</p>`, code)
		return
	}
	tokens, err := a.config.Exchange(r.Context(), r.FormValue("code"), oauth2.VerifierOption(a.pkce))
	if err != nil {
		a.show(w, `<p id="error">{{.}}</p>`, err)
		return
	}
	id, err := a.verify(r.Context(), tokens)
	if err != nil {
		a.show(w, `<p id="error">{{.}}</p>`, err)
		return
	}
	if id.Nonce != a.nonce {
		a.t.Errorf("the nonce is %q, not %q", id.Nonce, a.nonce)
	}
	a.mu.Lock()
	a.tokens = tokens
	a.mu.Unlock()
	a.show(w, `<p id="subject">{{.}}</p>`, id.Subject)
}

// verify checks the ID token that came with an access token.
func (a *relyingParty) verify(ctx context.Context, tokens *oauth2.Token) (*oidc.IDToken, error) {
	raw, _ := tokens.Extra("id_token").(string)
	id, err := a.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	return id, id.VerifyAccessToken(tokens.AccessToken)
}

// idToken is the ID token of the sign-in before, as the app keeps it to sign
// people out with.
func (a *relyingParty) idToken() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	raw, _ := a.tokens.Extra("id_token").(string)
	return raw
}

// renew lets the access token expire and asks for another.
func (a *relyingParty) renew(ctx context.Context) (old, next *oauth2.Token, err error) {
	a.mu.Lock()
	tokens := *a.tokens
	a.mu.Unlock()
	expired := tokens
	expired.Expiry = time.Now().Add(-time.Minute)
	next, err = a.config.TokenSource(ctx, &expired).Token()
	return &tokens, next, err
}

// refresh has the access token replaced, and checks what came.
func (a *relyingParty) refresh(t *testing.T, subject string) {
	t.Helper()
	tokens, next, err := a.renew(t.Context())
	if err != nil {
		t.Fatalf("refresh: %v", err)
	}
	if next.AccessToken == tokens.AccessToken || next.RefreshToken == tokens.RefreshToken {
		t.Error("the refresh brought the tokens there were")
	}
	id, err := a.verify(t.Context(), next)
	if err != nil || id.Subject != subject {
		t.Errorf("after the refresh the ID token is %+v (%v)", id, err)
	}
	info, err := a.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(next))
	if err != nil || info.Subject != subject {
		t.Errorf("after the refresh userinfo is %+v (%v)", info, err)
	}
}

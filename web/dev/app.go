//go:build !slim

package dev

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	cookieName = "gatehouse_dev_app"
	// maxVisitors is how many browsers the app remembers; the one unseen for
	// longest is forgotten.
	maxVisitors = 256
)

// A visitor is one browser at the app. What is unexported is on its way to the
// provider and back.
type visitor struct {
	state, nonce, verifier string
	seen                   time.Time

	tokens *oauth2.Token
	// Shown on the page:
	Claims, AccessToken, Answer, UserInfo string
	Refreshes                             int
	Problem                               string
}

// shown is the data of the page. SignedIn says that the app has tokens.
type shown struct {
	visitor
	SignedIn, CanRefresh bool
}

// canRefresh reports whether the provider gave a refresh token.
func (v visitor) canRefresh() bool { return v.tokens != nil && v.tokens.RefreshToken != "" }

// app is the relying party.
type app struct {
	issuer, clientID string
	secure           bool
	http             *http.Client
	now              func() time.Time

	mu       sync.Mutex
	provider *oidc.Provider // found by discovery at the first use
	visitors map[string]visitor
}

func newApp(c Config) *app {
	return &app{
		issuer: c.Issuer, clientID: c.ClientID, secure: strings.HasPrefix(c.Issuer, "https:"),
		http: c.HTTP, now: c.Now, visitors: map[string]visitor{},
	}
}

// discover returns the provider and how to ask it.
func (a *app) discover() (*oidc.Provider, *oauth2.Config, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.provider == nil {
		// The provider keeps this context for its key set, beyond any request.
		p, err := oidc.NewProvider(oidc.ClientContext(context.Background(), a.http), a.issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("discovery: %w", err)
		}
		a.provider = p
	}
	return a.provider, &oauth2.Config{
		ClientID: a.clientID, Endpoint: a.provider.Endpoint(), RedirectURL: a.issuer + "/dev/app/callback",
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
	}, nil
}

// visitor returns what is known of this browser, and its id.
func (a *app) visitor(r *http.Request) (string, visitor) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return rand.Text(), visitor{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	v, ok := a.visitors[c.Value]
	if !ok {
		return rand.Text(), visitor{}
	}
	return c.Value, v
}

// keep remembers the visitor under the id.
func (a *app) keep(w http.ResponseWriter, id string, v visitor) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v.seen = a.now()
	if _, known := a.visitors[id]; !known && len(a.visitors) >= maxVisitors {
		oldest := ""
		for other, o := range a.visitors {
			if oldest == "" || o.seen.Before(a.visitors[oldest].seen) {
				oldest = other
			}
		}
		delete(a.visitors, oldest)
	}
	a.visitors[id] = v
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: id, Path: "/dev/app", HttpOnly: true, Secure: a.secure, SameSite: http.SameSiteLaxMode,
	})
}

func (a *app) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.visitors, id)
}

func (s *server) show(w http.ResponseWriter, r *http.Request) {
	_, v := s.app.visitor(r)
	s.write(w, r, "app", "A small app", shown{v, v.tokens != nil, v.canRefresh()})
}

// back shows the app again after something was done.
func (s *server) back(w http.ResponseWriter, r *http.Request, id string, v visitor, err error) {
	v.Problem = ""
	if err != nil {
		v.Problem = err.Error()
	}
	s.app.keep(w, id, v)
	http.Redirect(w, r, "/dev/app", http.StatusSeeOther)
}

// signIn sends the browser to the provider (OIDC Core section 3.1.2.1) with
// everything that ties the answer to this browser: state, nonce and the PKCE
// challenge.
func (s *server) signIn(w http.ResponseWriter, r *http.Request) {
	_, config, err := s.app.discover()
	id, v := s.app.visitor(r)
	if err != nil {
		s.back(w, r, id, v, err)
		return
	}
	v = visitor{state: rand.Text(), nonce: rand.Text(), verifier: oauth2.GenerateVerifier()}
	s.app.keep(w, id, v)
	http.Redirect(w, r, config.AuthCodeURL(v.state, oidc.Nonce(v.nonce), oauth2.S256ChallengeOption(v.verifier)), http.StatusSeeOther)
}

func (s *server) callback(w http.ResponseWriter, r *http.Request) {
	id, v := s.app.visitor(r)
	next, err := s.app.finish(r, v)
	s.back(w, r, id, next, err)
}

// finish turns the provider's answer into tokens and checks them.
func (a *app) finish(r *http.Request, v visitor) (visitor, error) {
	q := r.URL.Query()
	if v.state == "" || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(v.state)) != 1 {
		return v, errors.New("this answer is not to a question of this browser (state)")
	}
	asked := v
	v.state, v.nonce, v.verifier = "", "", "" // good for one answer
	if q.Get("iss") != a.issuer {             // RFC 9207 section 2.4
		return v, errors.New("the answer is of another issuer (iss)")
	}
	if code := q.Get("error"); code != "" {
		return v, fmt.Errorf("%s: %s", code, q.Get("error_description"))
	}
	provider, config, err := a.discover()
	if err != nil {
		return v, err
	}
	ctx := oidc.ClientContext(r.Context(), a.http)
	tokens, err := config.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(asked.verifier))
	if err != nil {
		return v, fmt.Errorf("token endpoint: %w", err)
	}
	return v, v.take(ctx, provider, a.clientID, tokens, asked.nonce)
}

func (s *server) refresh(w http.ResponseWriter, r *http.Request) {
	id, v := s.app.visitor(r)
	s.back(w, r, id, v, s.app.refresh(r.Context(), &v))
}

// refresh trades the refresh token for the next tokens (RFC 6749 section 6).
func (a *app) refresh(ctx context.Context, v *visitor) error {
	if !v.canRefresh() {
		return errors.New("there is no refresh token: sign in first")
	}
	provider, config, err := a.discover()
	if err != nil {
		return err
	}
	ctx = oidc.ClientContext(ctx, a.http)
	tokens, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: v.tokens.RefreshToken}).Token()
	if err != nil {
		return fmt.Errorf("token endpoint: %w", err)
	}
	if err := v.take(ctx, provider, a.clientID, tokens, ""); err != nil {
		return err
	}
	v.Refreshes++
	return nil
}

// take checks the tokens and keeps them, with what the page shows of them. An
// empty nonce is not looked for: a refreshed ID token need not have one (OIDC
// Core section 12.2).
func (v *visitor) take(ctx context.Context, provider *oidc.Provider, clientID string, tokens *oauth2.Token, nonce string) error {
	raw, _ := tokens.Extra("id_token").(string)
	if raw == "" && nonce != "" {
		return errors.New("the token endpoint gave no ID token")
	}
	if raw != "" {
		id, err := provider.Verifier(&oidc.Config{ClientID: clientID}).Verify(ctx, raw)
		if err != nil {
			return fmt.Errorf("ID token: %w", err)
		}
		if nonce != "" && subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1 {
			return errors.New("ID token: the nonce is another one")
		}
		var claims json.RawMessage
		if err := id.Claims(&claims); err != nil {
			return fmt.Errorf("ID token: %w", err)
		}
		v.Claims = pretty(claims)
	}
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil {
		return fmt.Errorf("userinfo: %w", err)
	}
	var claims json.RawMessage
	if err := info.Claims(&claims); err != nil {
		return fmt.Errorf("userinfo: %w", err)
	}
	v.tokens = tokens
	v.UserInfo = pretty(claims)
	v.AccessToken = decode(tokens.AccessToken)
	answer := map[string]any{
		"access_token": short(tokens.AccessToken), "token_type": tokens.TokenType, "expires_in": tokens.ExpiresIn,
	}
	for name, value := range map[string]string{"refresh_token": tokens.RefreshToken, "id_token": raw} {
		if value != "" {
			answer[name] = short(value)
		}
	}
	if scope, ok := tokens.Extra("scope").(string); ok {
		answer["scope"] = scope
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("token endpoint: %w", err)
	}
	v.Answer = pretty(body)
	return nil
}

func (s *server) signOut(w http.ResponseWriter, r *http.Request) {
	id, _ := s.app.visitor(r)
	s.app.forget(id)
	http.Redirect(w, r, "/dev/app", http.StatusSeeOther)
}

// decode shows a JWT's header and payload. It checks nothing: an access token
// is for the API it names, not for the app (RFC 9068 section 6).
func decode(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return token
	}
	var out []string
	for _, part := range parts[:2] {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			return token
		}
		out = append(out, pretty(raw))
	}
	return strings.Join(out, "\n")
}

func pretty(raw []byte) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return string(raw)
	}
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return string(raw)
	}
	return string(out)
}

// short keeps the page readable.
func short(token string) string {
	if len(token) <= 24 {
		return token
	}
	return fmt.Sprintf("%s… (%d characters)", token[:16], len(token))
}

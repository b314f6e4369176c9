package clients_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Where the app is that nobody runs, and where people come back to it.
const (
	notes    = "https://notes.example.org/"
	callback = notes + "callback"
	bye      = notes + "bye"
)

// TestGoOIDC is coreos/go-oidc, which finds the provider and verifies what comes
// of it, and x/oauth2, which asks.
func TestGoOIDC(t *testing.T) {
	const api = "https://api.example.org"
	h := newHouse(t)
	ada := h.account(t, "ada@example.org")
	for _, kind := range []struct {
		name, alg string
		style     oauth2.AuthStyle
		args      []string
	}{
		{"a public client, ES256", "ES256", oauth2.AuthStyleInParams, []string{"--public"}},
		{"a secret in the header, RS256", "RS256", oauth2.AuthStyleInHeader, []string{"--id-token-alg", "RS256"}},
		{"a secret in the form", "ES256", oauth2.AuthStyleInParams, []string{"--auth-method", "client_secret_post"}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			ctx := t.Context()
			app := h.client(t, append(kind.args, "--name", "Notes", "--redirect-uri", callback, "--post-logout-redirect", bye)...)
			op, err := oidc.NewProvider(ctx, h.issuer)
			if err != nil {
				t.Fatal(err)
			}
			config := oauth2.Config{
				ClientID: app.ID, ClientSecret: app.Secret, Endpoint: op.Endpoint(), RedirectURL: callback,
				Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
			}
			config.Endpoint.AuthStyle = kind.style
			verify := func(tokens *oauth2.Token) *oidc.IDToken {
				t.Helper()
				raw, _ := tokens.Extra("id_token").(string)
				id, err := op.VerifierContext(ctx, &oidc.Config{ClientID: app.ID, SupportedSigningAlgs: []string{kind.alg}}).Verify(ctx, raw)
				if err != nil {
					t.Fatal(err)
				}
				if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
					t.Errorf("at_hash: %v", err)
				}
				return id
			}
			info := func(tokens *oauth2.Token) (*oidc.UserInfo, error) {
				return op.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
			}

			person := newAgent(t, ada, notes)
			verifier := oauth2.GenerateVerifier()
			v := person.open(config.AuthCodeURL("state", oidc.Nonce("nonce"), oauth2.S256ChallengeOption(verifier)))
			if !slices.Equal(v.pages, []string{"login-form", "consent-form"}) {
				t.Errorf("on the way to the app there were %q", v.pages)
			}
			answer := query(t, v.URL)
			if answer.Get("state") != "state" || answer.Get("iss") != h.issuer {
				t.Errorf("the app was answered %v", answer)
			}
			if _, err := config.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(oauth2.GenerateVerifier())); refusal(err) != "invalid_grant" {
				t.Errorf("another verifier is answered %v", err)
			}
			v = person.open(config.AuthCodeURL("again", oidc.Nonce("nonce"), oauth2.S256ChallengeOption(verifier)))
			if len(v.pages) != 0 {
				t.Errorf("the second time there were %q", v.pages)
			}
			tokens, err := config.Exchange(ctx, query(t, v.URL).Get("code"), oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatal(err)
			}
			id := verify(tokens)
			if id.Nonce != "nonce" || id.Subject != ada.Subject || !slices.Equal(id.Audience, []string{app.ID}) {
				t.Errorf("the ID token is %+v", id)
			}
			who, err := info(tokens)
			if err != nil || who.Subject != ada.Subject || who.Email != ada.Email || !who.EmailVerified {
				t.Errorf("userinfo is %+v (%v)", who, err)
			}

			expired := *tokens
			expired.Expiry = time.Now().Add(-time.Minute)
			next, err := config.TokenSource(ctx, &expired).Token()
			if err != nil {
				t.Fatal(err)
			}
			if next.RefreshToken == tokens.RefreshToken || next.AccessToken == tokens.AccessToken {
				t.Error("the refresh brought the tokens there were")
			}
			if verify(next).Subject != ada.Subject {
				t.Error("the refresh brought another person's ID token")
			}

			var more struct {
				Revocation string `json:"revocation_endpoint"`
				EndSession string `json:"end_session_endpoint"`
			}
			if err := op.Claims(&more); err != nil {
				t.Fatal(err)
			}
			form := url.Values{"token": {next.RefreshToken}, "token_type_hint": {"refresh_token"}}
			if kind.style == oauth2.AuthStyleInParams {
				form.Set("client_id", app.ID)
				if app.Secret != "" {
					form.Set("client_secret", app.Secret)
				}
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, more.Revocation, strings.NewReader(form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if kind.style == oauth2.AuthStyleInHeader {
				req.SetBasicAuth(url.QueryEscape(app.ID), url.QueryEscape(app.Secret))
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("the revocation is answered %s", resp.Status)
			}
			if _, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: next.RefreshToken}).Token(); refusal(err) != "invalid_grant" {
				t.Errorf("a revoked refresh token is answered %v", err)
			}
			if _, err := info(next); err == nil {
				t.Error("the access token of a revoked grant is good at userinfo")
			}

			hint, _ := tokens.Extra("id_token").(string)
			v = person.open(more.EndSession + "?" + url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {bye}, "state": {"over"}}.Encode())
			if v.URL != bye+"?state=over" {
				t.Errorf("who signs out is sent to %s", v.URL)
			}
			v = person.open(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("prompt", "none")))
			if got := query(t, v.URL).Get("error"); got != "login_required" {
				t.Errorf("after signing out, prompt=none is answered %q", got)
			}
			t.Run("sec-A9 what follows a form is 303", func(t *testing.T) {
				if len(person.answers) < 2 || slices.ContainsFunc(person.answers, func(status int) bool { return status != http.StatusSeeOther }) {
					t.Errorf("forms were answered %d", person.answers)
				}
			})
		})
	}
	t.Run("sec-T5 an address that was deleted comes back as somebody else", func(t *testing.T) {
		app := h.client(t, "--name", "Notes", "--public", "--redirect-uri", callback)
		op, err := oidc.NewProvider(t.Context(), h.issuer)
		if err != nil {
			t.Fatal(err)
		}
		config := oauth2.Config{ClientID: app.ID, Endpoint: op.Endpoint(), RedirectURL: callback, Scopes: []string{oidc.ScopeOpenID, "email"}}
		subject := func(who account) string {
			t.Helper()
			verifier := oauth2.GenerateVerifier()
			v := newAgent(t, who, notes).open(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
			tokens, err := config.Exchange(t.Context(), query(t, v.URL).Get("code"), oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatal(err)
			}
			info, err := op.UserInfo(t.Context(), oauth2.StaticTokenSource(tokens))
			if err != nil || info.Email != who.Email || !info.EmailVerified {
				t.Fatalf("userinfo is %+v (%v)", info, err)
			}
			return info.Subject
		}
		emmy := h.account(t, "emmy@example.org")
		first, again := subject(emmy), subject(emmy)
		h.command(t, new(account), "user", "delete", emmy.Email)
		second := subject(h.account(t, emmy.Email))
		if first != again || second == first {
			t.Errorf("the subject was %s, then %s, and after the deletion %s", first, again, second)
		}
		for _, s := range []string{first, second} {
			if len(s) > 255 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("%q is no subject", s)
			}
		}
	})
	t.Run("client_credentials", func(t *testing.T) {
		robot := h.client(t, "--name", "Nightly", "--grant", "client_credentials", "--scope", "reports", "--resource", api)
		config := clientcredentials.Config{
			ClientID: robot.ID, ClientSecret: robot.Secret, TokenURL: h.issuer + "/token", Scopes: []string{"reports"},
			EndpointParams: url.Values{"resource": {api}}, AuthStyle: oauth2.AuthStyleInHeader,
		}
		token, err := config.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		op, err := oidc.NewProvider(t.Context(), h.issuer)
		if err != nil {
			t.Fatal(err)
		}
		// An access token is a JWT (RFC 9068); go-oidc looks at its signature,
		// audience and expiry as at an ID token's.
		verified, err := op.VerifierContext(t.Context(), &oidc.Config{ClientID: api, SupportedSigningAlgs: []string{"ES256"}}).Verify(t.Context(), token.AccessToken)
		if err != nil || verified.Subject != robot.ID {
			t.Errorf("the access token is %+v (%v)", verified, err)
		}
		config.Scopes = []string{"everything"}
		if _, err := config.Token(t.Context()); refusal(err) != "invalid_scope" {
			t.Errorf("another scope is answered %v", err)
		}
	})
}

func query(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// refusal is the error code of an answer of the token endpoint.
func refusal(err error) string {
	var e *oauth2.RetrieveError
	if !errors.As(err, &e) {
		return ""
	}
	return e.ErrorCode
}

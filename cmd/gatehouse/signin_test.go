//go:build !slim

package main

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A browser without JavaScript: it keeps cookies, follows redirects but to the
// app, and posts the forms it is shown.
type browser struct {
	t    *testing.T
	http *http.Client
	base string
	page string
	// app is the address at the app that it was last sent to.
	app *url.URL
}

func newBrowser(t *testing.T, base, app string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, base: base}
	b.http = &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), app) {
			b.app = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return b
}

func (b *browser) read(resp *http.Response, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode >= 400 {
		b.t.Fatalf("%s %s is %s:\n%s", resp.Request.Method, resp.Request.URL, resp.Status, body)
	}
	b.page = string(body)
}

func (b *browser) open(address string) { b.t.Helper(); b.read(b.http.Get(address)) }

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// form is the form with the id, which must be on the page, filled in.
func (b *browser) form(id string, values url.Values) *http.Request {
	b.t.Helper()
	form := regexp.MustCompile(`(?s)<form [^>]*id="` + id + `" method="post" action="([^"]*)".*?</form>`).FindStringSubmatch(b.page)
	if form == nil {
		b.t.Fatalf("there is no form %s on\n%s", id, b.page)
	}
	for _, input := range hidden.FindAllStringSubmatch(form[0], -1) {
		values.Set(input[1], html.UnescapeString(input[2]))
	}
	req, err := http.NewRequest(http.MethodPost, b.base+form[1], strings.NewReader(values.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", b.base)
	return req
}

// submit posts a form.
func (b *browser) submit(id string, values url.Values) {
	b.t.Helper()
	b.read(b.http.Do(b.form(id, values)))
}

var letterCode = regexp.MustCompile(`letter-code">([0-9 ]+)<`)

// The main job: a person registers, proves the mailbox, agrees, and is signed
// in to an app that knows nothing of us but what discovery tells.
func TestSignIn(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "RS256"} {
		t.Run(alg, func(t *testing.T) { signIn(t, alg) })
	}
}

func signIn(t *testing.T, alg string) {
	c := embeddedConfig(t)
	s := built(t, c)
	const callback = "https://notes.example.org/callback"
	if err := s.sql.CreateClient(context.Background(), storage.Client{
		ID: "notes", Name: "Notes", AuthMethod: storage.AuthNone, RedirectURIs: []string{callback},
		GrantTypes: []string{"authorization_code", "refresh_token"}, IDTokenAlg: alg,
		Scopes:    []string{"openid", "profile", "email", "offline_access"},
		CreatedAt: s.clock.Now(), UpdatedAt: s.clock.Now(),
	}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	}()
	await(t, "the server is ready", func() bool { return get(s.handler, "/readyz").Code == http.StatusOK })

	op, err := oidc.NewProvider(ctx, c.URL)
	if err != nil {
		t.Fatal(err)
	}
	app := oauth2.Config{ClientID: "notes", Endpoint: op.Endpoint(), RedirectURL: callback, Scopes: []string{"openid", "profile", "email", "offline_access"}}
	verifier := oauth2.GenerateVerifier()

	b := newBrowser(t, c.URL, callback)
	b.open(app.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("nonce")))
	register := regexp.MustCompile(`href="(/register[^"]*)"`).FindStringSubmatch(b.page)
	if register == nil {
		t.Fatalf("the sign-in page does not lead to registration:\n%s", b.page)
	}
	b.open(c.URL + html.UnescapeString(register[1]))
	b.submit("register-form", url.Values{"name": {"Ada Lovelace"}, "email": {"ada@example.org"}, "password": {"seventeen green lanterns"}})
	letters := newBrowser(t, c.URL, callback)
	var code []string
	await(t, "the letter with the code has come", func() bool {
		letters.open(c.URL + "/dev/mail")
		code = letterCode.FindStringSubmatch(letters.page)
		return code != nil
	})
	b.submit("verify-form", url.Values{"code": {code[1]}})
	later := regexp.MustCompile(`id="protect-later" href="([^"]*)"`).FindStringSubmatch(b.page)
	if later == nil {
		t.Fatalf("the new account is not offered a second factor:\n%s", b.page)
	}
	b.open(c.URL + html.UnescapeString(later[1]))
	b.submit("consent-form", url.Values{"decision": {"allow"}, "remember": {"1"}})
	if b.app == nil || b.app.Query().Get("state") != "state" || b.app.Query().Get("iss") != c.URL {
		t.Fatalf("the app was sent %v", b.app)
	}

	tokens, err := app.Exchange(ctx, b.app.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := op.VerifierContext(ctx, &oidc.Config{ClientID: "notes", SupportedSigningAlgs: []string{alg}}).Verify(ctx, raw)
	if err != nil {
		t.Fatalf("the ID token does not verify: %v", err)
	}
	if id.Nonce != "nonce" || id.VerifyAccessToken(tokens.AccessToken) != nil {
		t.Errorf("the ID token is not of this sign-in: %+v", id)
	}
	info, err := op.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil || info.Subject != id.Subject || info.Email != "ada@example.org" || !info.EmailVerified {
		t.Errorf("userinfo is %+v (%v)", info, err)
	}
	next, err := app.TokenSource(ctx, &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token()
	if err != nil {
		t.Fatal(err)
	}
	if next.RefreshToken == tokens.RefreshToken || next.AccessToken == tokens.AccessToken {
		t.Error("a refresh gave the same tokens")
	}

	// The same browser again: signed in and agreed, it is sent straight back.
	b.app = nil
	b.open(app.AuthCodeURL("again", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
	if b.app == nil || b.app.Query().Get("code") == "" {
		t.Errorf("the second visit does not go straight back: %v\n%s", b.app, b.page)
	}
}

//go:build !slim

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"golang.org/x/oauth2"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A ledger collects what is written by many.
type ledger struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *ledger) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// sec-O1, sec-B8: whatever a person or an app keeps secret stands in no log line
// and in no audit event, and nothing in the database's files opens anything.
// The address of the person stands in no log either.
func TestCanaries(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := embeddedConfig(t)
	var log ledger
	s, err := build(ctx, c, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), &ledger{})
	if err != nil {
		t.Fatal(err)
	}
	const callback, secret = "https://notes.example.org/callback", "canary-client-secret-0123456789abcdef"
	const first, second, email = "canary first password", "canary second password", "canary.mailbox@example.org"
	sum := sha256.Sum256([]byte(secret))
	if err := s.sql.CreateClient(ctx, storage.Client{
		ID: "notes", Name: "Notes", AuthMethod: storage.AuthSecretBasic, SecretHashes: [][]byte{sum[:]},
		RedirectURIs: []string{callback}, GrantTypes: []string{"authorization_code", "refresh_token"},
		Scopes: []string{"openid", "email", "offline_access"}, CreatedAt: s.clock.Now(), UpdatedAt: s.clock.Now(),
	}); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	await(t, "the server is ready", func() bool { return get(s.handler, "/readyz").Code == http.StatusOK })

	secrets := map[string]string{"client secret": secret, "first password": first, "second password": second}
	app := oauth2.Config{
		ClientID: "notes", ClientSecret: secret, RedirectURL: callback, Scopes: []string{"openid", "email", "offline_access"},
		Endpoint: oauth2.Endpoint{AuthURL: c.URL + "/authorize", TokenURL: c.URL + "/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
	letters := newBrowser(t, c.URL, callback)
	seen := map[string]bool{}
	mailed := func() string {
		t.Helper()
		code := ""
		await(t, "a letter brings a new code", func() bool {
			letters.open(c.URL + "/dev/mail")
			for _, m := range letterCode.FindAllStringSubmatch(letters.page, -1) {
				if !seen[m[1]] {
					seen[m[1]], code = true, m[1]
				}
			}
			return code != ""
		})
		secrets["mailed code "+code] = strings.ReplaceAll(code, " ", "")
		return code
	}
	follow := func(b *browser, link string) {
		t.Helper()
		m := regexp.MustCompile(`href="(` + link + `[^"]*)"`).FindStringSubmatch(b.page)
		if m == nil {
			t.Fatalf("no link to %s on\n%s", link, b.page)
		}
		b.open(c.URL + html.UnescapeString(m[1]))
	}

	// Register, sign in to the app, and let it do everything right and wrong.
	verifier := oauth2.GenerateVerifier()
	secrets["code verifier"] = verifier
	b := newBrowser(t, c.URL, callback)
	b.open(app.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	follow(b, "/register")
	b.submit("register-form", url.Values{"name": {"Ada"}, "email": {email}, "password": {first}})
	code := mailed()
	b.submit("verify-form", url.Values{"code": {"0000 0000"}})
	b.submit("verify-form", url.Values{"code": {code}})
	follow(b, "/authorize") // past the page that offers a second factor
	b.submit("consent-form", url.Values{"decision": {"allow"}})
	authorization := b.app.Query().Get("code")
	secrets["authorization code"] = authorization
	tokens, err := app.Exchange(ctx, authorization, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	next, err := app.TokenSource(ctx, &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token()
	if err != nil {
		t.Fatal(err)
	}
	for i, issued := range []*oauth2.Token{tokens, next} {
		secrets[fmt.Sprintf("access token %d", i)] = issued.AccessToken
		secrets[fmt.Sprintf("refresh token %d", i)] = issued.RefreshToken
		if id, ok := issued.Extra("id_token").(string); ok {
			secrets[fmt.Sprintf("ID token %d", i)] = id
		}
	}
	if _, err := app.Exchange(ctx, authorization, oauth2.VerifierOption(verifier)); err == nil {
		t.Error("a code was redeemed twice")
	}
	wrong := app
	wrong.ClientSecret = "canary-wrong-secret"
	secrets["wrong secret"] = wrong.ClientSecret
	if _, err := wrong.TokenSource(ctx, &oauth2.Token{RefreshToken: next.RefreshToken}).Token(); err == nil {
		t.Error("a wrong secret was right")
	}
	for _, token := range []string{next.AccessToken, "canary-no-token"} {
		req, _ := http.NewRequest(http.MethodGet, c.URL+"/userinfo?access_token=canary-query-token", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("User-Agent", "canary\r\nlevel=ERROR forged"[:6]+`"} {"level":"ERROR"`)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}
	secrets["no token"], secrets["token in the query"] = "canary-no-token", "canary-query-token"

	// A stranger guesses. The person forgets the password and chooses another, at
	// the browser that has signed in before: a mailbox gets one letter a minute
	// from anywhere else.
	other := newBrowser(t, c.URL, callback)
	other.open(c.URL + "/login")
	other.submit("login-form", url.Values{"identifier": {email}, "password": {"canary wrong password"}})
	secrets["wrong password"] = "canary wrong password"
	b.open(c.URL + "/reset")
	b.submit("reset-form", url.Values{"identifier": {email}})
	b.submit("reset-verify-form", url.Values{"code": {mailed()}})
	b.submit("reset-password-form", url.Values{"password": {second}})
	b.submit("login-form", url.Values{"identifier": {email}, "password": {second}})
	here, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	for who, x := range map[string]*browser{"first": b, "second": other} {
		for _, cookie := range x.http.Jar.Cookies(here) {
			if len(cookie.Value) >= 16 {
				secrets[who+" browser's cookie "+cookie.Name] = cookie.Value
			}
		}
	}

	events, err := s.sql.ListEvents(ctx, "", 1000)
	if err != nil || len(events) == 0 {
		t.Fatalf("%d audit events, %v", len(events), err)
	}
	told, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	var files bytes.Buffer
	err = filepath.WalkDir(c.StateDir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, ".db") {
			return err
		}
		raw, err := os.ReadFile(path)
		files.Write(raw)
		return err
	})
	if err != nil || files.Len() < 1<<12 {
		t.Fatalf("the database's files have %d bytes: %v", files.Len(), err)
	}
	if !bytes.Contains(files.Bytes(), []byte(email)) {
		t.Error("the address is not in the database's files, so this looks at the wrong ones")
	}
	for name, value := range secrets {
		for form, v := range map[string]string{"": value, " in hex": hex.EncodeToString([]byte(value)), " escaped": url.QueryEscape(value)} {
			for place, text := range map[string]string{"the log": log.String(), "the audit events": string(told), "the database": files.String()} {
				if strings.Contains(text, v) {
					t.Errorf("the %s%s stands in %s", name, form, place)
				}
			}
		}
	}
	if strings.Contains(log.String(), "canary.mailbox") {
		t.Error("the person's address stands in the log")
	}
	for line := range strings.Lines(log.String()) {
		var record map[string]any
		if json.Unmarshal([]byte(line), &record) != nil {
			t.Errorf("sec-O3 a log line that is no record: %s", line)
		}
	}
}

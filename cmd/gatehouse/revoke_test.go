//go:build !slim

package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// TestRevocationEverywhere ends tokens at one of two servers, or by an
// operator's command, and asks the other.
func TestRevocationEverywhere(t *testing.T) {
	t.Parallel()
	c := clustered(t, 2)
	c.client(t, "notes")
	sql := c.open(t)
	secret, hash := provider.NewClientSecret()
	now, err := sql.Time(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := sql.CreateClient(t.Context(), storage.Client{
		ID: "api", Name: "API", AuthMethod: storage.AuthSecretPost, SecretHashes: [][]byte{hash}, GrantTypes: []string{"client_credentials"},
		Metadata: storage.ClientMetadata{Introspects: []string{c.at(0)}}, CreatedAt: now, UpdatedAt: now,
	}); err != nil {
		t.Fatal(err)
	}
	c.start(t)
	b := c.signIn(t, "ada@example.org")

	// introspect answers as a resource server would that asked it: 200 for a token
	// that is active, 401 for one that is not.
	introspect := func(t *testing.T, i int, token string) int {
		t.Helper()
		resp, err := c.http.PostForm(c.at(i)+"/introspect", url.Values{"client_id": {"api"}, "client_secret": {secret}, "token": {token}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var a struct {
			Active bool `json:"active"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
			t.Fatalf("introspection answers %s (%v)", resp.Status, err)
		}
		if resp.StatusCode == http.StatusOK && !a.Active {
			return http.StatusUnauthorized
		}
		return resp.StatusCode
	}
	revoke := func(t *testing.T, token string) {
		t.Helper()
		resp, err := c.http.PostForm(c.at(0)+"/revoke", url.Values{"client_id": {"notes"}, "token": {token}})
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("revocation answers %s", resp.Status)
		}
	}
	grantOf := func(t *testing.T, token string) string {
		t.Helper()
		jti, _ := claimsOf(t, token)["jti"].(string)
		return strings.Split(jti, ".")[0]
	}
	for _, try := range []struct {
		sentence string
		end      func(t *testing.T, a answer)
		// here says that the server that was asked knows at once.
		here bool
	}{
		{"sec-E6 the access token is revoked", func(t *testing.T, a answer) { revoke(t, a.AccessToken) }, true},
		{"sec-E6 the refresh token is revoked", func(t *testing.T, a answer) { revoke(t, a.RefreshToken) }, true},
		{"an operator revokes the grant", func(t *testing.T, a answer) { c.command(t, "token", "revoke", "--grant", grantOf(t, a.AccessToken)) }, false},
		{"sec-D6 an operator signs the person out everywhere", func(t *testing.T, _ answer) { c.command(t, "user", "revoke", "ada@example.org") }, false},
	} {
		t.Run(try.sentence, func(t *testing.T) {
			a := c.tokens(t, b, "notes")
			for i := range c.urls {
				await(t, "the token is alive before, at "+c.at(i), func() bool { return introspect(t, i, a.AccessToken) == http.StatusOK })
			}
			try.end(t, a)
			told, lag := time.Now(), time.Duration(0)
			if try.here && introspect(t, 0, a.AccessToken) == http.StatusOK {
				t.Error("the server that was asked to revoke it calls it active")
			}
			for i := range c.urls {
				lag = max(lag, untilRefused(t, "the token at "+c.at(i), told, func() int { return introspect(t, i, a.AccessToken) }))
			}
			t.Logf("alive for %v after the answer", lag.Round(time.Millisecond))
			if lag > 5*time.Second {
				t.Errorf("sec-Q3 it was alive for %v", lag)
			}
		})
	}
}

// A server that took long to start can say of tokens when it says that it is ready.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	s := built(t, embeddedConfig(t))
	now, secret := s.clock.Now(), "robot's secret"
	sum := sha256.Sum256([]byte(secret))
	if err := s.sql.CreateClient(t.Context(), storage.Client{
		ID: "robot", Name: "Robot", AuthMethod: storage.AuthSecretPost, SecretHashes: [][]byte{sum[:]},
		GrantTypes: []string{"client_credentials"}, Scopes: []string{"notes"}, Resources: []string{notesAPI}, CreatedAt: now, UpdatedAt: now,
	}); err != nil {
		t.Fatal(err)
	}
	token := door{server: s}.robot(t, "notes", notesAPI)
	time.Sleep(storage.MarkLife)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	}()
	await(t, "the server is ready", s.ready.Load)
	r := httptest.NewRequest(http.MethodGet, "/gateway/check?audience="+notesAPI, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	if s.handler.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Errorf("a good token is answered %d %s", w.Code, w.Body)
	}
}

//go:build !slim

package main

import (
	"encoding/json"
	"net/http"
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

	active := func(t *testing.T, i int, token string) bool {
		t.Helper()
		resp, err := c.http.PostForm(c.at(i)+"/introspect", url.Values{"client_id": {"api"}, "client_secret": {secret}, "token": {token}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var a struct {
			Active bool `json:"active"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("introspection answers %s (%v)", resp.Status, err)
		}
		return a.Active
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
				if !active(t, i, a.AccessToken) {
					t.Fatalf("the token is dead before at %s", c.at(i))
				}
			}
			try.end(t, a)
			start := time.Now()
			if try.here && active(t, 0, a.AccessToken) {
				t.Error("the server that was asked to revoke it calls it active")
			}
			for i := range c.urls {
				await(t, "it is dead at "+c.at(i), func() bool { return !active(t, i, a.AccessToken) })
			}
			took := time.Since(start)
			t.Logf("dead at every server %v after the answer", took.Round(time.Millisecond))
			if took > 5*time.Second {
				t.Errorf("sec-Q3 it took %v", took)
			}
		})
	}
}

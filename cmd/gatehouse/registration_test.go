//go:build !slim

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// What an operator sets decides who registers, what the server fetches for a
// client, and when a client nobody uses is gone.
func TestClientsRegister(t *testing.T) {
	t.Parallel()
	png := []byte("\x89PNG\r\n\x1a\n and the rest of it")
	logos := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(png) }))
	defer logos.Close()
	c, err := parseConfig([]string{
		"GATEHOUSE_STATE_DIR=" + filepath.Join(t.TempDir(), "state"), "GATEHOUSE_ADDR=localhost:" + freePort(t),
		"GATEHOUSE_CLIENT_REGISTRATION=token", "GATEHOUSE_CLIENT_REGISTRATION_TOKEN=" + hexKey,
		"GATEHOUSE_EGRESS_ALLOW=" + logos.Listener.Addr().String(),
		"GATEHOUSE_EGRESS_CA=" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: logos.Certificate().Raw})),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := built(t, c)
	send := func(method, address, token, body string) (int, map[string]any) {
		t.Helper()
		r := httptest.NewRequest(method, address, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		var answer map[string]any
		if w.Body.Len() > 0 {
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatalf("answered %d %q", w.Code, w.Body)
			}
		}
		return w.Code, answer
	}
	document := `{"client_name":"Tide","redirect_uris":["https://app.example/cb"],"logo_uri":"` + logos.URL + `/logo.png"}`
	if code, answer := send(http.MethodPost, c.URL+"/connect/register", "another", document); code != http.StatusUnauthorized {
		t.Errorf("without the token: answered %d %v", code, answer)
	}
	code, made := send(http.MethodPost, c.URL+"/connect/register", hexKey, document)
	if code != http.StatusCreated {
		t.Fatalf("answered %d %v", code, made)
	}
	id, _ := made["client_id"].(string)
	if l, err := s.sql.Logo(context.Background(), id); err != nil || l.Type != "image/png" {
		t.Errorf("the logo is %q, %v", l.Type, err)
	}
	address, _ := made["registration_client_uri"].(string)
	token, _ := made["registration_access_token"].(string)
	if code, answer := send(http.MethodGet, address, token, ""); code != http.StatusOK || answer["client_id"] != id {
		t.Errorf("answered %d %v", code, answer)
	}
	if code, _ := send(http.MethodDelete, address, token, ""); code != http.StatusNoContent {
		t.Errorf("DELETE answered %d", code)
	}
	if code, _ := send(http.MethodGet, address, token, ""); code != http.StatusUnauthorized {
		t.Errorf("sec-I3: the deleted client is answered %d", code)
	}

	t.Run("sec-I1 a client that nobody used in 30 days is gone, and no other", func(t *testing.T) {
		ctx, now := context.Background(), s.clock.Now()
		_, hash := provider.NewClientSecret()
		for id, age := range map[string]time.Duration{"old": 31 * 24 * time.Hour, "young": 29 * 24 * time.Hour, "used": 31 * 24 * time.Hour, "operators": 400 * 24 * time.Hour} {
			at := now.Add(-age)
			c := storage.Client{
				ID: id, Name: id, AuthMethod: storage.AuthSecretBasic, SecretHashes: [][]byte{hash}, RedirectURIs: []string{"https://app.example/cb"},
				GrantTypes: []string{"authorization_code"}, CreatedAt: at, UpdatedAt: at, Registration: &storage.DynamicRegistration{TokenHash: hash},
			}
			if id == "operators" {
				c.Registration = nil
			}
			if err := s.sql.CreateClient(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.sql.ClientUsed(ctx, "used", now.Add(-24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := s.purgeOnce(ctx); err != nil {
			t.Fatal(err)
		}
		left, err := s.sql.ListClients(ctx, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, c := range left {
			ids = append(ids, c.ID)
		}
		if got := strings.Join(ids, " "); !strings.HasSuffix(got, "operators used young") || strings.Contains(got, "old") {
			t.Errorf("left are %s", got)
		}
	})
}

// Of a client's secrets the newest stands first, and two are the most.
func TestSecretChange(t *testing.T) {
	c := storage.Client{AuthMethod: storage.AuthSecretPost}
	change := func(s secretChange) string {
		t.Helper()
		secret, err := s.apply(&c)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	accepts := func(secrets ...string) {
		t.Helper()
		if len(c.SecretHashes) != len(secrets) {
			t.Fatalf("there are %d secrets, not %d", len(c.SecretHashes), len(secrets))
		}
		for i, s := range secrets {
			if sum := sha256.Sum256([]byte(s)); !bytes.Equal(c.SecretHashes[i], sum[:]) {
				t.Errorf("secret %d is another", i)
			}
		}
	}
	first := change(secretChange{})
	accepts(first)
	second := change(secretChange{another: true})
	accepts(second, first)
	third := change(secretChange{another: true})
	accepts(third, second)
	if change(secretChange{}) != "" {
		t.Error("one was made without being asked for")
	}
	change(secretChange{endOld: true})
	accepts(third)
	change(secretChange{endOld: true})
	accepts(third)
}

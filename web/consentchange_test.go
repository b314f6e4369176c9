package web_test

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

// An app that registered itself may change its registration at any moment, also
// while somebody reads what it asks for. Nobody agrees to what they were not
// shown.
func TestConsentIsToWhatWasShown(t *testing.T) {
	h := open(t, option{})
	const token = "the registration access token"
	sum := sha256.Sum256([]byte(token))
	c := app
	c.Registration = &storage.DynamicRegistration{TokenHash: sum[:]}
	c.Scopes = []string{"openid"}
	c = h.client(t, c)
	b := h.browser(t)
	b.register("asha@example.com")
	change := func(scope string) {
		t.Helper()
		body, err := json.Marshal(map[string]any{
			"client_id": c.ID, "client_name": c.Name, "redirect_uris": c.RedirectURIs, "scope": scope,
			"grant_types": c.GrantTypes, "token_endpoint_auth_method": c.AuthMethod,
		})
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequest(http.MethodPut, h.URL+"/connect/register/"+c.ID, strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		if a := b.do(r); a.StatusCode != http.StatusOK {
			t.Fatalf("PUT: %s\n%s", a.Status, a.body)
		}
	}
	ask := authorize(c, "scope", "openid email offline_access")
	const stays = `data-scope="offline_access"`

	shown := b.wants(b.open(ask), "consent", 200)
	if strings.Contains(shown.body, stays) {
		t.Fatal("asks for what the app may not have")
	}
	change("openid email offline_access")
	again := b.wants(b.follow(b.submit(shown, "/consent", "decision", "allow")), "consent", 200, stays)
	if got := home(t, b.follow(b.submit(again, "/consent", "decision", "allow"))); !got.Has("code") {
		t.Errorf("who was shown all of it and agreed: the app got %v", got)
	}

	shown = b.wants(b.open(ask), "consent", 200, stays)
	change("openid")
	less := b.wants(b.follow(b.submit(shown, "/consent", "decision", "allow")), "consent", 200)
	if strings.Contains(less.body, stays) {
		t.Error("asks for what the app may no longer have")
	}
	change("openid email offline_access")
	if got := home(t, b.follow(b.submit(less, "/consent", "decision", "deny"))); got.Get("error") != "access_denied" {
		t.Errorf("who refuses, whatever it was: the app got %v", got)
	}
}

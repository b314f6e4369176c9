package provider_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

// Whoever closes their half of the connection still reads the answer, and the
// request's context has ended by then: a guess counts all the same.
func TestGuessOfWhoHangsUpCounts(t *testing.T) {
	o := newOP(t)
	c, secret := o.client(storage.Client{
		AuthMethod: storage.AuthSecretPost, GrantTypes: []string{"client_credentials"}, RedirectURIs: []string{"https://app.example/cb"},
	})
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	try := func(ctx context.Context, secret string) int {
		t.Helper()
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.ID}, "client_secret": {secret}}
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, o.issuer+"/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		o.Token(w, r)
		return w.Code
	}
	if got := try(t.Context(), secret); got != http.StatusOK { // and the client is known
		t.Fatalf("answered %d", got)
	}
	for i := range 20 {
		if got := try(gone, "a guess"); got != http.StatusUnauthorized {
			t.Fatalf("guess %d: %d", i+1, got)
		}
	}
	for _, guess := range []string{"a guess", secret} {
		if got := try(gone, guess); got != http.StatusTooManyRequests {
			t.Errorf("after 20: %d", got)
		}
	}
}

package provider_test

import (
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A nonce comes back in a token, which is JSON, and is kept in a database: what is
// no text would come back as something else, or not at all.
func TestNonceIsText(t *testing.T) {
	o := newOP(t)
	c, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic})
	for _, nonce := range []string{"a\x00b", "a\xffb", "\xc3\x28"} {
		a := o.browser().authorize(o.request(c, "nonce", nonce))
		if a.params.Get("error") != "invalid_request" || a.params.Get("state") != "xyz" || a.params.Has("code") {
			t.Errorf("%q: %d %v", nonce, a.status, a.params)
		}
	}
	for _, nonce := range []string{"नेपाल ☂ <&>", "a\r\nb\t\x7f", "\uFFFD"} {
		r := o.tokens(c, secret, "nonce", nonce)
		if got := payload(t, r.text("id_token"))["nonce"]; got != nonce {
			t.Errorf("sent %q, got %q", nonce, got)
		}
	}
}

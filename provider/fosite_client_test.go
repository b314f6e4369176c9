package provider_test

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// What fosite would do about clients, and what we do: it is never asked who a
// client is (authenticate.go).
func TestFositeClients(t *testing.T) {
	srv := newKeyServer(t)
	o := newOP(t, allowed(t, srv.Server))
	credentials := url.Values{"grant_type": {"client_credentials"}}
	basic := storage.Client{AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"}}
	key := newSigner(t, jose.EdDSA, "")
	held, _ := o.client(machine(storage.Client{Metadata: storage.ClientMetadata{JWKS: jwks(t, key)}}))
	now := func() float64 { return float64(o.now().UnixMicro()) / 1e6 }

	for _, row := range []struct {
		sentence string
		try      func(t *testing.T)
	}{
		{"fosite-F17 the issuer is the audience of an assertion, EdDSA signs it, and the key needs no use", func(t *testing.T) {
			if r := o.asserted(key.sign(o.claims(held.ID))); r.status != 200 {
				t.Errorf("answered %d %v", r.status, r.body)
			}
		}},
		{"fosite-F17 a clock that is a little ahead is no fault of the server", func(t *testing.T) {
			for _, name := range []string{"iat", "nbf"} {
				for ahead, status := range map[float64]int{1: 200, 8: 200, 61: 401} {
					if r := o.asserted(key.sign(o.claims(held.ID, name, now()+ahead))); r.status != status {
						t.Errorf("%s %v s ahead: answered %d %v", name, ahead, r.status, r.body)
					}
				}
			}
		}},
		{"fosite-F17 a jti is spent last, by its own client, once", func(t *testing.T) {
			jti := rand.Text()
			wantError(t, o.asserted(key.sign(o.claims(held.ID, "jti", jti, "aud", "https://other.example"))), 401, "invalid_client")
			other, _ := o.client(machine(storage.Client{Metadata: storage.ClientMetadata{JWKS: jwks(t, key)}}))
			for _, id := range []string{other.ID, held.ID} {
				if r := o.asserted(key.sign(o.claims(id, "jti", jti))); r.status != 200 {
					t.Errorf("answered %d %v", r.status, r.body)
				}
				wantError(t, o.asserted(key.sign(o.claims(id, "jti", jti))), 401, "invalid_client")
			}
		}},
		{"fosite-F20 fosite-5.20 a key set is fetched once, without retries or redirects", func(t *testing.T) {
			before := srv.asked.Load()
			srv.say("", "") // 500
			c, _ := o.client(machine(storage.Client{Metadata: storage.ClientMetadata{JWKSURI: srv.URL + "/down"}}))
			for range 5 {
				wantError(t, o.asserted(key.sign(o.claims(c.ID))), 401, "invalid_client")
			}
			if n := srv.asked.Load() - before; n != 1 {
				t.Errorf("asked %d times", n)
			}
		}},
		{"fosite-F22 fosite-5.3 a client that failed to authenticate is told how", func(t *testing.T) {
			c, _ := o.client(basic)
			r := o.post(c, "wrong", credentials)
			wantError(t, r, 401, "invalid_client")
			if got := r.header.Get("WWW-Authenticate"); got != `Basic realm="`+o.issuer+`", charset="UTF-8"` {
				t.Errorf("WWW-Authenticate is %q", got)
			}
		}},
		{"fosite-F25 fosite-5.8 a client_assertion may come once", func(t *testing.T) {
			v := cloneValues(credentials)
			v["client_assertion_type"] = []string{assertionType}
			v["client_assertion"] = []string{key.sign(o.claims(held.ID)), key.sign(o.claims(held.ID))}
			wantError(t, o.do(o.tokenRequest(v)), 400, "invalid_request")
		}},
		{"fosite-F26 fosite-5.19 a secret is not cut at 72 bytes, and costs no bcrypt", func(t *testing.T) {
			long := strings.Repeat("s", 72)
			c := basic
			c.SecretHashes = [][]byte{sum(long + "right")}
			c, _ = o.client(c)
			wantError(t, o.post(c, long+"wrong", credentials), 401, "invalid_client")
			// Of many requests the quickest: each that asks bcrypt at cost 12 takes 0.24 s,
			// however idle the machine is.
			quickest := time.Hour
			for range 100 {
				began := time.Now()
				if r := o.post(c, long+"right", credentials); r.status != 200 {
					t.Fatalf("answered %d %v", r.status, r.body)
				}
				if quickest = min(quickest, time.Since(began)); quickest < 200*time.Millisecond {
					return
				}
			}
			t.Errorf("the quickest of 100 requests took %v", quickest)
		}},
		{"fosite-5.2 a grant type that there is not is unsupported", func(t *testing.T) {
			c, secret := o.client(basic)
			wantError(t, o.post(c, secret, url.Values{"grant_type": {"password"}, "username": {"x"}, "password": {"y"}}), 400, "unsupported_grant_type")
		}},
		{"fosite-5.13 a public client has no client_credentials", func(t *testing.T) {
			c, _ := o.client(storage.Client{})
			wantError(t, o.post(c, "", credentials), 400, "unauthorized_client")
		}},
		{"fosite-5.16 a description says nothing that was sent", func(t *testing.T) {
			c, secret := o.client(basic)
			canary := "canary" + rand.Text()
			for _, v := range []url.Values{
				{"grant_type": {canary}}, {"grant_type": {"client_credentials"}, "scope": {canary}}, {"grant_type": {"client_credentials"}, "resource": {"https://" + canary}},
				{"grant_type": {"authorization_code"}, "code": {canary}}, {"grant_type": {"refresh_token"}, "refresh_token": {canary}},
			} {
				r := o.post(c, secret, v)
				if r.status < 400 || r.status >= 500 || strings.Contains(r.text("error_description"), canary) {
					t.Errorf("%v: answered %d %v", v, r.status, r.body)
				}
			}
		}},
		{"fosite-5.21 no secret is the secret of a client that has none", func(t *testing.T) {
			c, _ := o.client(storage.Client{})
			for _, secret := range []string{"", "x"} {
				r := o.tokenRequest(credentials)
				r.SetBasicAuth(c.ID, secret)
				wantError(t, o.do(r), 401, "invalid_client")
			}
			for _, id := range []string{held.ID, c.ID} {
				v := cloneValues(credentials)
				v.Set("client_id", id)
				v.Set("client_secret", "x")
				wantError(t, o.do(o.tokenRequest(v)), 401, "invalid_client")
			}
			if err := provider.ValidateClient(storage.Client{
				ID: "x", Name: "X", AuthMethod: storage.AuthSecretBasic, SecretHashes: [][]byte{{}}, GrantTypes: []string{"client_credentials"},
			}); err == nil {
				t.Error("an empty hash was registered")
			}
			r := o.tokenRequest(credentials)
			r.Header.Set("Authorization", "Basic")
			if a := o.do(r); a.status != http.StatusUnauthorized {
				t.Errorf("answered %d", a.status)
			}
		}},
	} {
		t.Run(row.sentence, row.try)
	}
}

package provider_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

// The budget of round trips. A request that grows out of it is slower on every
// deployment, however fast this machine is.
func TestBudget(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{Resources: []string{"https://api.example"}})
	machine, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"}})
	credentials := url.Values{"grant_type": {"client_credentials"}}
	api, apiSecret := o.client(storage.Client{
		AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"},
		Metadata: storage.ClientMetadata{Introspects: []string{"https://api.example"}},
	})
	keeper, keeperSecret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic})
	kept := o.tokens(keeper, keeperSecret).text("refresh_token")
	b := o.browser()
	b.authorize(o.request(c)) // signs in, agrees, warms the scripts
	o.tokens(c, "")
	o.post(machine, secret, credentials)
	o.introspect(api, apiSecret, "garbage")

	var code string
	var tokens reply
	for _, try := range []struct {
		name                    string
		reads, writes, volatile int64
		do                      func()
	}{
		{"authorize with claims for the ID token", 2, 0, 1, func() {
			code = b.authorize(o.request(c, "claims", `{"id_token":{"email":null}}`)).params.Get("code")
		}},
		{"its code exchange reads the person", 1, 1, 1, func() { tokens = o.post(c, "", redemption(c, code)) }},
		{"authorize, answered at once", 2, 0, 1, func() { code = b.authorize(o.request(c)).params.Get("code") }},
		{"code exchange", 0, 1, 1, func() { tokens = o.post(c, "", redemption(c, code)) }},
		{"refresh", 0, 1, 0, func() { tokens = o.post(c, "", refresh(tokens.text("refresh_token"))) }},
		{"refresh with a scope", 1, 1, 0, func() { tokens = o.post(c, "", refresh(tokens.text("refresh_token"), "scope", "openid")) }},
		{"refresh with a resource", 1, 1, 0, func() {
			tokens = o.post(c, "", refresh(tokens.text("refresh_token"), "resource", "https://api.example"))
		}},
		{"refresh with a forged token", 0, 0, 0, func() { o.post(c, "", refresh("gate_rt_forged")) }},
		{"introspect an access token", 0, 0, 1, func() { o.introspect(api, apiSecret, tokens.text("access_token")) }},
		{"introspect a refresh token", 1, 0, 0, func() { o.introspect(keeper, keeperSecret, kept) }},
		{"introspect somebody else's, and garbage", 0, 0, 0, func() {
			o.introspect(machine, secret, tokens.text("access_token"))
			o.introspect(machine, secret, "garbage")
		}},
		{"UserInfo", 1, 0, 1, func() { tokens = o.userinfo(tokens.text("access_token")) }},
		{"client_credentials", 0, 0, 0, func() { tokens = o.post(machine, secret, credentials) }},
		{"JWKS and metadata", 0, 0, 0, func() {
			for _, path := range []string{"/jwks", "/.well-known/openid-configuration"} {
				resp, err := http.Get(o.issuer + path)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
			}
		}},
	} {
		t.Run(try.name, func(t *testing.T) {
			reads, writes, volatile := o.trips.cost(try.do)
			if reads != try.reads || writes != try.writes || volatile != try.volatile {
				t.Errorf("cost %d SQL reads, %d SQL writes, %d Valkey trips; the budget is %d, %d, %d",
					reads, writes, volatile, try.reads, try.writes, try.volatile)
			}
		})
		if tokens.status != 0 && tokens.status != http.StatusOK {
			t.Fatalf("%s: answered %d %v", try.name, tokens.status, tokens.body)
		}
	}
}

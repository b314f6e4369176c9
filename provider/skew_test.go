package provider_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// Servers go by the database's clock. What is left of the difference between
// theirs, and far more than that, does no harm.
func TestSkew(t *testing.T) {
	for _, skew := range []time.Duration{30 * time.Second, -30 * time.Second} {
		t.Run("sec-Q3 another server's clock is "+skew.String()+" ahead", func(t *testing.T) {
			var config provider.Config
			o := newOP(t, func(c *provider.Config) { config = *c })
			config.Now = func() time.Time { return o.now().Add(skew) }
			neighbour, err := provider.New(config)
			if err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			mux.HandleFunc("/token", neighbour.Token)
			mux.HandleFunc("/userinfo", neighbour.UserInfo)
			srv := httptest.NewServer(mux)
			t.Cleanup(srv.Close)
			c, _ := o.client(storage.Client{})

			here, there := o.issuer, srv.URL
			token := func(at string, form url.Values) reply {
				t.Helper()
				o.issuer = at
				defer func() { o.issuer = here }()
				r := o.post(c, "", form)
				if r.status != http.StatusOK {
					t.Fatalf("answered %d %v", r.status, r.body)
				}
				return r
			}
			first := token(there, redemption(c, o.code(c)))
			tokens := first
			for range 3 {
				for _, at := range []string{here, there} {
					o.issuer = at
					if r := o.userinfo(tokens.text("access_token")); r.status != http.StatusOK {
						t.Errorf("userinfo at %s: answered %d %v", at, r.status, r.body)
					}
					o.issuer = here
					tokens = token(at, url.Values{"grant_type": {"refresh_token"}, "client_id": {c.ID}, "refresh_token": {tokens.text("refresh_token")}})
				}
			}
			// The session is good at either, and one server's hint is to the other.
			b := o.browser()
			b.authorize(o.request(c))
			if a := b.authorize(o.request(c, "prompt", "none", "id_token_hint", first.text("id_token"))); a.params.Get("code") == "" {
				t.Errorf("prompt=none with a hint of the other server is answered %v", a.params)
			}
		})
	}
}

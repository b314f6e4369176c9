package provider_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

// What an operator takes from a client it no longer gets with refresh tokens of
// before: neither a scope nor an API.
func TestRefreshGivesNoResourceThatWasWithdrawn(t *testing.T) {
	const a, b = "https://api.example/a", "https://api.example/b"
	o := newOP(t)
	c, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, Resources: []string{a, b}})
	granted := func(resources ...string) reply {
		t.Helper()
		v := o.request(c)
		v["resource"] = resources
		r := o.post(c, secret, redemption(c, o.browser().authorize(v).params.Get("code")))
		if r.status != http.StatusOK {
			t.Fatalf("%d %v", r.status, r.body)
		}
		return r
	}
	both, one := granted(a, b), granted(a)

	changed := c
	changed.Resources = []string{b}
	if err := o.db.UpdateClient(context.Background(), changed); err != nil {
		t.Fatal(err)
	}
	o.ForgetClient(c.ID)

	for _, try := range []struct {
		sentence, token, resource, aud string
	}{
		{"of two one is left", both.text("refresh_token"), "", b},
		{"of one none, and the token is for us alone", one.text("refresh_token"), "", o.issuer},
	} {
		r := o.post(c, secret, refresh(try.token))
		if r.status != http.StatusOK {
			t.Errorf("%s: %d %v", try.sentence, r.status, r.body)
			continue
		}
		if got, _ := json.Marshal(payload(t, r.text("access_token"))["aud"]); string(got) != `"`+try.aud+`"` {
			t.Errorf("%s: the token is for %s", try.sentence, got)
		}
		wantError(t, o.post(c, secret, refresh(r.text("refresh_token"), "resource", a)), 400, "invalid_target")
	}
}

package provider_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

func (o *op) revoke(c storage.Client, secret, token string, more ...string) raw {
	o.t.Helper()
	form := url.Values{"token": {token}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return o.send("/revoke", c, secret, form)
}

func (o *op) events(kind string) []storage.Event {
	o.t.Helper()
	events, err := o.db.ListEvents(context.Background(), "", 200)
	if err != nil {
		o.t.Fatal(err)
	}
	var out []storage.Event
	for _, e := range events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

func TestRevoke(t *testing.T) {
	o := newOP(t)
	p := o.parties()
	done := func(t *testing.T, r raw) {
		t.Helper()
		if r.status != http.StatusOK || r.body != "" || r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("answered %d %q %v", r.status, r.body, r.header)
		}
	}
	// alive says whether the access token and the refresh token of the app are.
	alive := func(t *testing.T, r reply) (access, refreshing bool) {
		t.Helper()
		a := o.introspect(p.app, p.secret, r.text("access_token")).json(t)["active"].(bool)
		if info := o.userinfo(r.text("access_token")); (info.status == http.StatusOK) != a {
			t.Errorf("introspection says %v and UserInfo answers %d", a, info.status)
		}
		return a, o.introspect(p.app, p.secret, r.text("refresh_token")).json(t)["active"].(bool)
	}
	want := func(t *testing.T, r reply, access, refreshing bool) {
		t.Helper()
		if a, b := alive(t, r); a != access || b != refreshing {
			t.Errorf("the access token is alive: %v, the refresh token: %v; want %v, %v", a, b, access, refreshing)
		}
	}
	for _, hint := range []string{"", "access_token", "refresh_token", "telepathy"} {
		t.Run("hint "+hint, func(t *testing.T) {
			t.Run("sec-E6 a refresh token ends its grant, access tokens included", func(t *testing.T) {
				r := o.tokens(p.app, p.secret)
				want(t, r, true, true)
				done(t, o.revoke(p.app, p.secret, r.text("refresh_token"), "token_type_hint", hint))
				want(t, r, false, false)
				wantError(t, o.post(p.app, p.secret, refresh(r.text("refresh_token"))), http.StatusBadRequest, "invalid_grant")
				done(t, o.revoke(p.app, p.secret, r.text("refresh_token"), "token_type_hint", hint))
			})
			t.Run("an access token ends alone", func(t *testing.T) {
				r := o.tokens(p.app, p.secret)
				done(t, o.revoke(p.app, p.secret, r.text("access_token"), "token_type_hint", hint))
				want(t, r, false, true)
				next := o.post(p.app, p.secret, refresh(r.text("refresh_token")))
				want(t, next, true, true)
			})
		})
	}
	t.Run("an old refresh token ends the grant too", func(t *testing.T) {
		first := o.tokens(p.app, p.secret)
		second := o.post(p.app, p.secret, refresh(first.text("refresh_token")))
		third := o.post(p.app, p.secret, refresh(second.text("refresh_token")))
		done(t, o.revoke(p.app, p.secret, first.text("refresh_token")))
		want(t, third, false, false)
	})
	t.Run("a public client ends its own by its name", func(t *testing.T) {
		r := o.tokens(p.public, "")
		done(t, o.revoke(p.public, "", r.text("refresh_token")))
		wantError(t, o.post(p.public, "", refresh(r.text("refresh_token"))), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("a machine ends its own token", func(t *testing.T) {
		machine, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretPost, GrantTypes: []string{"client_credentials"}})
		token := o.post(machine, secret, url.Values{"grant_type": {"client_credentials"}}).text("access_token")
		done(t, o.revoke(machine, secret, token))
		wantInactive(t, o.introspect(machine, secret, token))
	})
	t.Run("sec-E6 another client's token is refused and stays alive", func(t *testing.T) {
		r := o.tokens(p.app, p.secret)
		for _, token := range []string{r.text("access_token"), r.text("refresh_token")} {
			wantRefused(t, o.revoke(p.public, "", token), http.StatusBadRequest, "invalid_grant")
			wantRefused(t, o.revoke(p.api, p.apiSecret, token), http.StatusBadRequest, "invalid_grant")
		}
		want(t, r, true, true)
	})
	t.Run("sec-E6 garbage is answered 200 and changes nothing", func(t *testing.T) {
		r := o.tokens(p.app, p.secret)
		before := len(o.events("token.revoked"))
		for _, token := range []string{"garbage", "a.b.c", "gate_rt_" + r.text("refresh_token")[8:20], "gate_rt_forged", r.text("access_token") + "x"} {
			done(t, o.revoke(p.app, p.secret, token))
		}
		want(t, r, true, true)
		if n := len(o.events("token.revoked")); n != before {
			t.Errorf("%d events of nothing", n-before)
		}
	})
	t.Run("an expired access token is answered 200", func(t *testing.T) {
		r := o.tokens(p.app, p.secret)
		o.pass(16 * time.Minute)
		done(t, o.revoke(p.app, p.secret, r.text("access_token")))
	})
	t.Run("an ID token is no token that can be revoked", func(t *testing.T) {
		r := o.tokens(p.app, p.secret)
		wantRefused(t, o.revoke(p.app, p.secret, r.text("id_token")), http.StatusBadRequest, "unsupported_token_type")
		want(t, r, true, true)
	})
	t.Run("sec-E6 a confidential client that does not authenticate is 401", func(t *testing.T) {
		r := o.tokens(p.app, p.secret)
		form := url.Values{"token": {r.text("refresh_token")}}
		for name, got := range map[string]raw{
			"no client":      o.send("/revoke", storage.Client{}, "", form),
			"a name alone":   o.send("/revoke", storage.Client{ID: p.app.ID, AuthMethod: storage.AuthNone}, "", form),
			"a wrong secret": o.send("/revoke", p.app, "wrong", form),
		} {
			t.Run(name, func(t *testing.T) { wantRefused(t, got, http.StatusUnauthorized, "invalid_client") })
		}
		want(t, r, true, true)
	})
	t.Run("a malformed request", func(t *testing.T) {
		wantRefused(t, o.send("/revoke", p.app, p.secret, url.Values{}), http.StatusBadRequest, "invalid_request")
		wantRefused(t, o.send("/revoke", p.app, p.secret, url.Values{"token": {"a", "b"}}), http.StatusBadRequest, "invalid_request")
	})
	t.Run("sec-O2 the revocation is in the audit log", func(t *testing.T) {
		r := o.tokens(p.app, p.secret)
		o.revoke(p.app, p.secret, r.text("refresh_token"))
		e := o.events("token.revoked")[0]
		if e.ClientID != p.app.ID || e.UserID != o.user.ID || e.Address != "192.0.2.7" || e.Detail == "" {
			t.Errorf("the event is %+v", e)
		}
	})
	t.Run("fosite-5.15 when storage is down it is not 200", func(t *testing.T) {
		r := o.tokens(p.app, p.secret)
		_ = o.db.Close()
		for _, token := range []string{r.text("access_token"), r.text("refresh_token")} {
			got := o.revoke(p.app, p.secret, token)
			wantRefused(t, got, http.StatusServiceUnavailable, "temporarily_unavailable")
			if got.header.Get("Retry-After") == "" {
				t.Error("there is no Retry-After")
			}
		}
	})
}

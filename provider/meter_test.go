package provider_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/meter/metertest"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// TestMeters does what apps and people do, one thing after another, and looks at
// everything that was counted meanwhile.
func TestMeters(t *testing.T) {
	m := metertest.New(t)
	o := newOP(t, func(c *provider.Config) { c.Meter, c.RefreshLimit = m.Meter, 2 })
	p := o.parties()
	own, _ := o.client(storage.Client{FirstParty: true})
	firstParty := o.FirstParty(own.ID)
	ctx := t.Context()
	app, secret := p.app, p.secret

	var code string
	var first, second reply
	var tokens provider.Tokens
	var etag string
	get := func(path string, headers ...string) {
		r, err := http.NewRequest(http.MethodGet, o.issuer+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		etag = o.fetch(r).header.Get("ETag")
	}
	ask := func(scope string) { code = o.code(app, "scope", scope, "resource", notesAPI) }

	for _, c := range []struct {
		sentence string
		do       func()
		want     []string
	}{
		{"a person signs in, agrees and comes back to the app", func() { ask("openid offline_access notes") }, []string{
			"gatehouse.authorize.requests{outcome=login} 1", "gatehouse.authorize.requests{outcome=consent} 1", "gatehouse.authorize.requests{outcome=code} 1",
		}},
		{"the app redeems the code", func() { first = o.post(app, secret, redemption(app, code)) }, []string{
			"gatehouse.code.redemptions{result=redeemed} 1", "gatehouse.token.requests{grant_type=authorization_code,outcome=ok} 1",
		}},
		{"it refreshes", func() { second = o.post(app, secret, refresh(first.text("refresh_token"))) }, []string{
			"gatehouse.refresh.rotations{result=rotated} 1", "gatehouse.token.requests{grant_type=refresh_token,outcome=ok} 1",
		}},
		{"it repeats that, because the answer was lost", func() { o.post(app, secret, refresh(first.text("refresh_token"))) }, []string{
			"gatehouse.refresh.rotations{result=repeated} 1", "gatehouse.token.requests{grant_type=refresh_token,outcome=ok} 1",
		}},
		{"sec-D1 somebody uses the old token after the grace", func() {
			o.pass(11 * time.Second)
			o.post(app, secret, refresh(first.text("refresh_token")))
		}, []string{
			"gatehouse.refresh.rotations{result=reused} 1", "gatehouse.token.requests{grant_type=refresh_token,outcome=invalid_grant} 1",
		}},
		{"a gateway asks about a token of the grant that ended", func() { o.check(forNotes, "Bearer "+second.text("access_token")) }, []string{
			"gatehouse.gateway.checks{result=denied} 1",
		}},
		{"an API introspects it", func() { o.introspect(p.api, p.apiSecret, second.text("access_token")) }, []string{
			"gatehouse.introspection.requests{result=denied} 1",
		}},
		{"somebody replays the code", func() { o.post(app, secret, redemption(app, code)) }, []string{
			"gatehouse.code.redemptions{result=replayed} 1", "gatehouse.token.requests{grant_type=authorization_code,outcome=invalid_grant} 1",
		}},
		{"a code that never was", func() { o.post(app, secret, redemption(app, "nothing")) }, []string{
			"gatehouse.code.redemptions{result=unknown} 1", "gatehouse.token.requests{grant_type=authorization_code,outcome=invalid_grant} 1",
		}},
		{"no grant type, and one of a stranger's making", func() {
			o.post(app, secret, url.Values{})
			o.post(app, secret, url.Values{"grant_type": {"urn:example:" + app.ID}})
		}, []string{
			"gatehouse.token.requests{grant_type=other,outcome=invalid_request} 1", "gatehouse.token.requests{grant_type=other,outcome=unsupported_grant_type} 1",
		}},
		{"a loop that refreshes", func() {
			r := o.tokens(app, secret, "resource", notesAPI)
			for range 3 {
				if next := o.post(app, secret, refresh(r.text("refresh_token"))); next.status == http.StatusOK {
					r = next
				}
			}
			first = r
		}, []string{
			"gatehouse.authorize.requests{outcome=login} 1", "gatehouse.authorize.requests{outcome=consent} 1", "gatehouse.authorize.requests{outcome=code} 1",
			"gatehouse.code.redemptions{result=redeemed} 1", "gatehouse.token.requests{grant_type=authorization_code,outcome=ok} 1",
			"gatehouse.refresh.rotations{result=rotated} 2", "gatehouse.token.requests{grant_type=refresh_token,outcome=ok} 2",
			"gatehouse.token.requests{grant_type=refresh_token,outcome=temporarily_unavailable} 1", "gatehouse.client.limit.refusals{limit=refresh} 1",
		}},
		{"a token that lives is checked, wanted elsewhere and introspected", func() {
			bearer := "Bearer " + first.text("access_token")
			o.check(forNotes, bearer)
			o.check(forNotes, bearer)
			o.check("audience=https://api.example/mail", bearer)
			o.introspect(p.api, p.apiSecret, first.text("access_token"))
			o.introspect(p.other, p.otherSecret, first.text("access_token"))
			o.introspect(app, secret, first.text("refresh_token"))
		}, []string{
			"gatehouse.gateway.checks{result=active} 2", "gatehouse.gateway.checks{result=denied} 1",
			"gatehouse.introspection.requests{result=active} 2", "gatehouse.introspection.requests{result=denied} 1",
		}},
		{"no token, two, and what is none", func() {
			o.check(forNotes)
			o.check(forNotes, "Bearer a", "Bearer b")
			o.check(forNotes, "Bearer garbage")
			o.introspect(p.api, p.apiSecret, "garbage")
			o.introspect(app, secret, "gate_rt_garbage")
			o.introspect(p.public, "", "garbage")
		}, []string{
			"gatehouse.gateway.checks{result=invalid} 3", "gatehouse.introspection.requests{result=invalid} 2", "gatehouse.introspection.requests{result=refused} 1",
		}},
		{"clients that are not who they say", func() {
			o.introspect(p.api, "wrong", "garbage")
			o.introspect(storage.Client{ID: "nobody", AuthMethod: storage.AuthSecretBasic}, "wrong", "garbage")
			o.post(storage.Client{ID: app.ID, AuthMethod: storage.AuthSecretPost}, secret, refresh("x"))
			o.send("/revoke", storage.Client{ID: app.ID, AuthMethod: storage.AuthSecretBasic}, "", url.Values{}, "Authorization", "Basic !")
		}, []string{
			"gatehouse.client.authentication.failures{method=client_secret_basic,reason=credentials} 1",
			"gatehouse.client.authentication.failures{method=client_secret_basic,reason=unknown} 1",
			"gatehouse.client.authentication.failures{method=client_secret_post,reason=method} 1",
			"gatehouse.client.authentication.failures{method=none,reason=malformed} 1",
			"gatehouse.introspection.requests{result=refused} 2",
			"gatehouse.token.requests{grant_type=refresh_token,outcome=invalid_client} 1",
			"gatehouse.revocation.requests{outcome=invalid_client} 1",
		}},
		{"somebody guesses a secret", func() {
			for range 21 {
				o.introspect(p.api, "wrong", "garbage")
			}
		}, []string{
			"gatehouse.client.authentication.failures{method=client_secret_basic,reason=credentials} 19",
			"gatehouse.client.authentication.failures{method=client_secret_basic,reason=limited} 2",
			"gatehouse.client.limit.refusals{limit=authentication} 2",
			"gatehouse.introspection.requests{result=refused} 21",
		}},
		{"an app revokes its token", func() {
			o.send("/revoke", app, secret, url.Values{"token": {first.text("access_token")}})
		}, []string{"gatehouse.revocation.requests{outcome=ok} 1"}},
		{"requests that cannot be answered", func() {
			o.browser().authorize(o.request(app, "redirect_uri", "https://elsewhere.example/"))
			o.browser().authorize(o.request(app, "prompt", "none"))
			o.browser().get(o.issuer + "/authorize?flow=unknown")
		}, []string{
			"gatehouse.authorize.requests{outcome=invalid_request} 1", "gatehouse.authorize.requests{outcome=login_required} 1",
			"gatehouse.authorize.requests{outcome=flow_expired} 1",
		}},
		{"the operator's own app", func() {
			var err error
			if tokens, err = firstParty.Issue(ctx, storage.Session{UserID: o.user.ID, UserEpoch: o.user.Epoch, AuthTime: o.now()}); err != nil {
				t.Error(err)
			}
			if tokens, err = firstParty.Refresh(ctx, provider.Caller{}, tokens.Refresh); err != nil {
				t.Error(err)
			}
			if _, err = firstParty.Issue(ctx, storage.Session{UserID: o.user.ID, UserEpoch: o.user.Epoch - 1, AuthTime: o.now()}); err == nil {
				t.Error("tokens for somebody who has changed")
			}
			if err := firstParty.Revoke(ctx, provider.Caller{}, tokens.Refresh); err != nil {
				t.Error(err)
			}
		}, []string{
			"gatehouse.token.requests{grant_type=first_party,outcome=ok} 1", "gatehouse.token.requests{grant_type=first_party,outcome=invalid_grant} 1",
			"gatehouse.token.requests{grant_type=refresh_token,outcome=ok} 1", "gatehouse.refresh.rotations{result=rotated} 1",
			"gatehouse.revocation.requests{outcome=ok} 1",
		}},
		{"documents are fetched", func() {
			get("/.well-known/openid-configuration")
			get("/jwks")
			get("/jwks", "If-None-Match", etag)
		}, []string{
			"gatehouse.document.requests{document=discovery,status=200} 1",
			"gatehouse.document.requests{document=jwks,status=200} 1", "gatehouse.document.requests{document=jwks,status=304} 1",
		}},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			c.do()
			m.Expect(t, "gatehouse.", c.want...)
		})
	}
}

// TestMetersOfFaults holds that what we cannot answer is no refusal.
func TestMetersOfFaults(t *testing.T) {
	m := metertest.New(t)
	o := newOP(t, func(c *provider.Config) { c.Meter, c.Denylist = m.Meter, blind{c.Denylist} })
	p := o.parties()
	token := o.tokens(p.app, p.secret, "resource", notesAPI).text("access_token")
	m.Counted(t)
	o.check(forNotes, "Bearer "+token)
	o.introspect(p.api, p.apiSecret, token)
	m.Expect(t, "gatehouse.", "gatehouse.gateway.checks{result=fault} 1", "gatehouse.introspection.requests{result=fault} 1")
}

// TestMetersCostNothing holds that a check of a gateway allocates as much with a
// meter as without one.
func TestMetersCostNothing(t *testing.T) {
	cost := func(m *metertest.Reader) float64 {
		o := newOP(t, func(c *provider.Config) {
			c.Denylist = unrevoked{c.Denylist}
			if m != nil {
				c.Meter = m.Meter
			}
		})
		app, _ := o.client(storage.Client{Resources: []string{notesAPI}})
		token := o.tokens(app, "", "resource", notesAPI).text("access_token")
		need := provider.Requirement{Audience: notesAPI}
		return allocations(func() {
			if _, e := o.CheckBearer(context.Background(), token, need); e != nil {
				t.Fatal(e)
			}
		})
	}
	if without, with := cost(nil), cost(metertest.New(t)); with > without {
		t.Errorf("%v allocations with a meter, %v without", with, without)
	}
}

// unrevoked says of every token that it was not revoked.
type unrevoked struct{ provider.Denylist }

func (unrevoked) Check(context.Context, storage.Bearer) error { return nil }

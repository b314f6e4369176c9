package provider_test

import (
	"context"
	"slices"
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

// everything is a profile that leaves no claim out.
var everything = storage.Profile{
	GivenName: "Asha", FamilyName: "Gurung", MiddleName: "Maya", Nickname: "Ash", PreferredUsername: "asha",
	Profile: "https://asha.example/", Picture: "https://asha.example/me.png", Website: "https://asha.example/blog",
	Gender: "female", Birthdate: "1990-02-28", Zoneinfo: "Asia/Kathmandu", Locale: "ne-NP",
	PhoneNumber: "+9779812345678", PhoneNumberVerified: true,
	Address: &storage.Address{Formatted: "Ward 4\nPokhara", Locality: "Pokhara", Country: "NP"},
}

// told gives the person every claim.
func (o *op) told() {
	o.t.Helper()
	if err := o.db.SetProfile(context.Background(), o.user.ID, o.user.Name, everything, o.now()); err != nil {
		o.t.Fatal(err)
	}
}

// allScopes are what a client may ask for about people.
var allScopes = []string{"openid", "profile", "email", "phone", "address", "offline_access"}

func TestClaimsParameter(t *testing.T) {
	o := newOP(t)
	o.told()
	c, _ := o.client(storage.Client{Scopes: allScopes})

	t.Run("a claim asked for by name comes, and no other of its scope", func(t *testing.T) {
		r := o.tokens(c, "", "scope", "openid", "claims", `{"userinfo":{"name":{"essential":true}}}`)
		u := o.userinfo(r.text("access_token"))
		if u.text("name") != "Asha Gurung" || len(u.body) != 2 {
			t.Errorf("UserInfo has %v", u.body)
		}
		if id := payload(t, r.text("id_token")); id["name"] != nil {
			t.Errorf("the ID token has %v", id)
		}
		if r.text("scope") != "openid" {
			t.Errorf("the scope grew to %q", r.text("scope"))
		}
	})
	t.Run("in the ID token too, also in a refreshed one", func(t *testing.T) {
		r := o.tokens(c, "", "scope", "openid offline_access", "claims", `{"id_token":{"email":null,"address":{},"updated_at":null}}`)
		for range 2 {
			id := payload(t, r.text("id_token"))
			address, _ := id["address"].(map[string]any)
			if id["email"] != "asha@example.com" || address["country"] != "NP" || id["email_verified"] != nil {
				t.Errorf("the ID token has %v", id)
			}
			if _, number := id["updated_at"].(float64); !number {
				t.Errorf("updated_at is %v", id["updated_at"])
			}
			if u := o.userinfo(r.text("access_token")); len(u.body) != 1 {
				t.Errorf("UserInfo has %v", u.body)
			}
			r = o.post(c, "", refresh(r.text("refresh_token")))
		}
	})
	t.Run("sec-A15 a claim of a scope that the client may not have is not told", func(t *testing.T) {
		narrow, _ := o.client(storage.Client{Scopes: []string{"openid", "profile"}})
		r := o.tokens(narrow, "", "scope", "openid", "claims", `{"userinfo":{"email":{"essential":true},"nickname":null}}`)
		if u := o.userinfo(r.text("access_token")); u.body["email"] != nil || u.text("nickname") != "Ash" {
			t.Errorf("UserInfo has %v", u.body)
		}
		if asked := o.asked.Load(); !slices.Equal(asked.Scopes, []string{"openid", "profile"}) {
			t.Errorf("and the person was asked about %v", asked.Scopes)
		}
	})
	t.Run("sec-A15 a claim is asked about by its scope", func(t *testing.T) {
		fresh, _ := o.client(storage.Client{Scopes: allScopes})
		b := o.browser()
		with := func(change ...string) string {
			before := o.consents.Load()
			a := b.authorize(o.request(fresh, append([]string{"scope", "openid"}, change...)...))
			switch {
			case a.params.Get("error") != "":
				return a.params.Get("error")
			case o.consents.Load() > before:
				return "asked"
			}
			return "issued"
		}
		for _, try := range []struct{ claims, prompt, want string }{
			{"", "", "asked"},
			{"", "", "issued"},
			{`{"userinfo":{"phone_number":null}}`, "none", "consent_required"},
			{`{"userinfo":{"phone_number":null}}`, "", "asked"},
			{`{"id_token":{"phone_number_verified":null}}`, "none", "issued"},
			{`{"userinfo":{"email":null}}`, "none", "consent_required"},
		} {
			if got := with("claims", try.claims, "prompt", try.prompt); got != try.want {
				t.Errorf("claims %s prompt %q: %s, want %s", try.claims, try.prompt, got, try.want)
			}
		}
	})
	t.Run("the page is told what scope a claim belongs to", func(t *testing.T) {
		fresh, _ := o.client(storage.Client{Scopes: allScopes})
		b := o.browser()
		b.authorize(o.request(fresh, "scope", "openid", "claims", `{"userinfo":{"phone_number":null}}`, "ui_locales", "ne en-GB <x> de"))
		asked := o.asked.Load()
		if asked == nil || !slices.Equal(asked.Scopes, []string{"openid", "phone"}) || !slices.Equal(asked.Missing, asked.Scopes) {
			t.Errorf("Asked is %+v", asked)
		}
		if asked != nil && !slices.Equal(asked.UILocales, []string{"ne", "en-GB", "de"}) {
			t.Errorf("UILocales is %q", asked.UILocales)
		}
	})
	t.Run("sub must be the person", func(t *testing.T) {
		b := o.browser()
		b.authorize(o.request(c))
		for _, try := range []struct{ claims, want string }{
			{`{"id_token":{"sub":{"value":"` + o.user.ID + `"}}}`, ""},
			{`{"id_token":{"sub":{"values":["nobody","` + o.user.ID + `"]}}}`, ""},
			{`{"id_token":{"sub":{"value":"nobody"}}}`, "login_required"},
			{`{"userinfo":{"sub":{"value":"nobody"}}}`, "login_required"},
			{`{"userinfo":{"sub":{"value":"nobody"}},"id_token":{"sub":{"value":"somebody"}}}`, "invalid_request"},
		} {
			if a := b.authorize(o.request(c, "prompt", "none", "claims", try.claims)); a.params.Get("error") != try.want {
				t.Errorf("%s: %v", try.claims, a.params)
			}
		}
	})
	t.Run("without openid it means nothing", func(t *testing.T) {
		r := o.tokens(c, "", "scope", "profile", "claims", `{broken`)
		wantError(t, o.userinfo(r.text("access_token")), 403, "insufficient_scope")
	})
	t.Run("what is no claims request is refused", func(t *testing.T) {
		a := o.browser().authorize(o.request(c, "claims", `{"userinfo":[]}`))
		if a.params.Get("error") != "invalid_request" {
			t.Errorf("answered %v", a.params)
		}
	})
}

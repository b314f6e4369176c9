package provider_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	pwd = "urn:gatehouse:acr:pwd"
	mfa = "urn:gatehouse:acr:mfa"
)

// session is the id of the session of the browser, by its ID token.
func (b *browser) session(t *testing.T, c storage.Client) string {
	t.Helper()
	r := b.o.post(c, "", redemption(c, b.authorize(b.o.request(c)).params.Get("code")))
	sid, _ := payload(t, r.text("id_token"))["sid"].(string)
	return sid
}

func TestACR(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{})
	b := o.browser()
	// id is the ID token of an authorize request, or the error of it.
	id := func(t *testing.T, change ...string) (map[string]any, string) {
		t.Helper()
		a := b.authorize(o.request(c, change...))
		if a.params.Get("code") == "" {
			return nil, a.params.Get("error")
		}
		r := o.post(c, "", redemption(c, a.params.Get("code")))
		if at := payload(t, r.text("access_token")); at["acr"] != payload(t, r.text("id_token"))["acr"] {
			t.Errorf("the access token has acr %v", at["acr"])
		}
		return payload(t, r.text("id_token")), ""
	}
	essential := `{"id_token":{"acr":{"essential":true,"values":["` + mfa + `"]}}}`
	for _, try := range []struct {
		name   string
		change []string
		acr    any
		error  string
	}{
		{"sec-T4 acr is what was performed", nil, pwd, ""},
		{"fosite-F13 acr_values change nothing of that", []string{"acr_values", "1 2"}, pwd, ""},
		{"acr_values are a wish, which a person without a second factor cannot fulfil", []string{"acr_values", mfa}, pwd, ""},
		{"so is a claim that is not essential", []string{"claims", `{"id_token":{"acr":{"values":["` + mfa + `"]}}}`}, pwd, ""},
		{"sec-T4 an essential one is not met", []string{"claims", essential}, nil, "unmet_authentication_requirements"},
		{"nor where no page is allowed", []string{"claims", essential, "prompt", "none"}, nil, "unmet_authentication_requirements"},
		{"an essential one that is met", []string{"claims", `{"id_token":{"acr":{"essential":true,"value":"` + pwd + `"}}}`}, pwd, ""},
		{"an essential one of many", []string{"claims", `{"id_token":{"acr":{"essential":true,"values":["gold","` + pwd + `"]}}}`}, pwd, ""},
		{"any", []string{"claims", `{"id_token":{"acr":{"essential":true}}}`}, pwd, ""},
	} {
		t.Run(try.name, func(t *testing.T) {
			got, e := id(t, try.change...)
			if e != try.error || got["acr"] != try.acr {
				t.Errorf("acr %v, error %q; want %v, %q", got["acr"], e, try.acr, try.error)
			}
		})
	}

	// The person turns the second factor on; the session that did it goes on.
	sid := b.session(t, c)
	if _, err := o.db.EnableTOTP(context.Background(), storage.Enrolment{
		UserID: o.user.ID, Epoch: o.user.Epoch, Sealed: []byte("sealed"), Step: 1, RecoveryMACs: [][]byte{[]byte("a code")},
		Keep: storage.Kept{Session: sid}, Now: o.now(),
	}); err != nil {
		t.Fatal(err)
	}
	signIns := func() int64 { return o.logins.Load() }

	t.Run("a session without it goes on while nobody asks", func(t *testing.T) {
		before := signIns()
		if got, e := id(t); e != "" || got["acr"] != pwd || signIns() != before {
			t.Errorf("acr %v, error %q, %d sign-ins", got["acr"], e, signIns()-before)
		}
		if got, e := id(t, "acr_values", mfa, "prompt", "none"); e != "" || got["acr"] != pwd {
			t.Errorf("a wish where no page is allowed: acr %v, error %q", got["acr"], e)
		}
		if _, e := id(t, "claims", essential, "prompt", "none"); e != "login_required" {
			t.Errorf("an essential one where no page is allowed: error %q", e)
		}
	})
	o.amr = []string{"pwd", "otp", "mfa"} // which every sign-in now is
	t.Run("sec-T4 step-up: the person proves it once, and not again", func(t *testing.T) {
		o.pass(time.Second)
		before := signIns()
		got, e := id(t, "acr_values", mfa+" "+pwd)
		amr, _ := got["amr"].([]any)
		if e != "" || got["acr"] != mfa || !slices.Contains(amr, any("mfa")) || signIns() != before+1 {
			t.Errorf("claims %v, error %q, %d sign-ins", got, e, signIns()-before)
		}
		for _, change := range [][]string{{"acr_values", mfa}, {"claims", essential}, {"claims", essential, "prompt", "none"}, nil} {
			if got, e := id(t, change...); e != "" || got["acr"] != mfa || signIns() != before+1 {
				t.Errorf("%q: acr %v, error %q, %d sign-ins", change, got["acr"], e, signIns()-before)
			}
		}
	})
	t.Run("default_acr_values ask for requests that do not", func(t *testing.T) {
		strict, _ := o.client(storage.Client{Metadata: storage.ClientMetadata{DefaultACR: []string{mfa}}})
		weak := o.browser()
		o.amr = []string{"pwd"}
		weak.authorize(o.request(c))
		o.amr = []string{"pwd", "otp", "mfa"}
		o.pass(time.Second)
		before := signIns()
		if a := weak.authorize(o.request(strict)); a.params.Get("code") == "" || signIns() != before+1 {
			t.Errorf("answered %v after %d sign-ins", a.params, signIns()-before)
		}
	})
	t.Run("default_max_age asks for requests without max_age", func(t *testing.T) {
		age := int64(60)
		strict, _ := o.client(storage.Client{Metadata: storage.ClientMetadata{DefaultMaxAge: &age}})
		b.authorize(o.request(strict))
		o.pass(61 * time.Second)
		before := signIns()
		if a := b.authorize(o.request(strict, "max_age", "3600")); a.params.Get("code") == "" || signIns() != before {
			t.Errorf("max_age goes before it: %v after %d sign-ins", a.params, signIns()-before)
		}
		if a := b.authorize(o.request(strict)); a.params.Get("code") == "" || signIns() != before+1 {
			t.Errorf("answered %v after %d sign-ins", a.params, signIns()-before)
		}
	})
}

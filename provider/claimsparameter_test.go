package provider

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/storage"
)

func TestParseClaims(t *testing.T) {
	acr := func(essential bool, values ...string) *acrRequest {
		return &acrRequest{values: values, essential: essential}
	}
	for _, try := range []struct {
		name string
		in   string
		want claimsParameter
	}{
		{"nothing", `{}`, claimsParameter{}},
		{"both members, in the order of the standard", `{"userinfo":{"email":null,"name":{"essential":true}},"id_token":{"phone_number":{}}}`,
			claimsParameter{request: storage.ClaimsRequest{UserInfo: []string{"name", "email"}, IDToken: []string{"phone_number"}}}},
		{"a member that is null", `{"userinfo":null}`, claimsParameter{}},
		{"unknown members and claims are ignored", `{"fee":{"x":1},"userinfo":{"shoe_size":{"essential":true},"name#de":null,"nickname":{"purpose":"x"}}}`,
			claimsParameter{request: storage.ClaimsRequest{UserInfo: []string{"nickname"}}}},
		{"claims that every ID token has are ignored", `{"id_token":{"auth_time":{"essential":true},"iss":null}}`, claimsParameter{}},
		{"sub with a value", `{"id_token":{"sub":{"value":"asha"}}}`, claimsParameter{subjects: []string{"asha"}}},
		{"sub with values", `{"userinfo":{"sub":{"values":["asha","bina"]}}}`, claimsParameter{subjects: []string{"asha", "bina"}}},
		{"sub without one", `{"id_token":{"sub":{"essential":true}}}`, claimsParameter{}},
		{"sub of two people", `{"userinfo":{"sub":{"value":"bina"}},"id_token":{"sub":{"value":"asha"}}}`, claimsParameter{subjects: []string{}}},
		{"acr", `{"id_token":{"acr":{"essential":true,"values":["a","b"]}}}`, claimsParameter{acr: acr(true, "a", "b")}},
		{"acr as a wish", `{"id_token":{"acr":null}}`, claimsParameter{acr: acr(false)}},
		{"acr is not of UserInfo", `{"userinfo":{"acr":{"essential":true,"value":"a"}}}`, claimsParameter{}},
		{"a bracket in a text is none", `{"userinfo":{"name":{"value":"` + strings.Repeat("[", 100) + `\"{"}}}`,
			claimsParameter{request: storage.ClaimsRequest{UserInfo: []string{"name"}}}},
	} {
		t.Run(try.name, func(t *testing.T) {
			got, ok := parseClaims(try.in)
			if !ok || !reflect.DeepEqual(got, try.want) {
				t.Errorf("parseClaims = %+v, %v; want %+v", got, ok, try.want)
			}
		})
	}
	deep := strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33)
	for name, in := range map[string]string{
		"no JSON": `{`, "a list": `[]`, "a text": `"x"`, "null": `null`, "a number": `1`,
		"something after it":         `{} {}`,
		"a member that is no object": `{"userinfo":[]}`, "a claim that is no object": `{"userinfo":{"name":true}}`,
		"a claim that is a list": `{"userinfo":{"name":[]}}`, "essential that is no boolean": `{"userinfo":{"name":{"essential":"yes"}}}`,
		"values that are no list": `{"id_token":{"acr":{"values":"a"}}}`, "acr that is no text": `{"id_token":{"acr":{"value":1}}}`,
		"sub that is no text": `{"id_token":{"sub":{"value":{}}}}`,
		"sec-P1 too large":    `{"userinfo":{"` + strings.Repeat("x", maxClaims) + `":null}}`,
		"sec-P1 too deep":     deep,
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := parseClaims(in); ok {
				t.Errorf("accepted as %+v", got)
			}
		})
	}
}

// Whatever a claims parameter says, no claim comes out that it did not name, and
// none that is not a standard one.
func FuzzParseClaims(f *testing.F) {
	for _, seed := range []string{
		`{"userinfo":{"name":{"essential":true}},"id_token":{"acr":{"values":["urn:gatehouse:acr:mfa"]},"sub":{"value":"x"}}}`,
		`{"userinfo":{"name":null,"name":{}}}`, `{"USERINFO":{"Name":null}}`, `{"id_token":null}`, `{"\u0075serinfo":{}}`, `[[[[`, ``, "\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := parseClaims(s)
		if !ok {
			return
		}
		if !json.Valid([]byte(s)) {
			t.Fatalf("accepted %q", s)
		}
		for _, name := range slices.Concat(c.request.UserInfo, c.request.IDToken) {
			if !slices.ContainsFunc(standardClaims, func(k claim) bool { return k.name == name }) {
				t.Fatalf("%q asks for %q", s, name)
			}
		}
	})
}

// The address of a claim's consent is its scope: nothing is asked for by name
// that no scope stands for.
func TestClaimsHaveScopes(t *testing.T) {
	all := storage.ClaimsRequest{UserInfo: []string{"name", "email"}, IDToken: []string{"address", "nickname"}}
	if got := scopesOf(all); !slices.Equal(got, []string{"profile", "email", "address"}) {
		t.Errorf("scopesOf = %v", got)
	}
	got := withinScopes(all, []string{"profile", "phone"})
	if !slices.Equal(got.UserInfo, []string{"name"}) || !slices.Equal(got.IDToken, []string{"nickname"}) {
		t.Errorf("withinScopes = %+v", got)
	}
	q := request{scopes: []string{"openid", "email"}, claims: all}
	if got := q.asks(); !slices.Equal(got, []string{"openid", "email", "profile", "address"}) {
		t.Errorf("asks = %v", got)
	}
	scopes, claims := q.granted([]string{"openid", "profile"})
	if !slices.Equal(scopes, []string{"openid"}) || !slices.Equal(claims.UserInfo, []string{"name"}) || !slices.Equal(claims.IDToken, []string{"nickname"}) {
		t.Errorf("granted = %v %+v", scopes, claims)
	}
}

// The first value is that of OIDC Core appendix A.3; the others were made with
// another implementation of the hash functions.
func TestLeftHalf(t *testing.T) {
	const token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
	for alg, want := range map[string]string{
		"RS256": "77QmUPtjPfzWtF2AnpK9RQ",
		"ES256": "77QmUPtjPfzWtF2AnpK9RQ",
		"ES384": "jtAeDp945y1dDqU3nkIVGNZP1HjH_MFs",
		"RS512": "q7nS86GgvvFaZkzALLWqJYaJIKw2wCDAVfCAsm5CrBM",
		"EdDSA": "q7nS86GgvvFaZkzALLWqJYaJIKw2wCDAVfCAsm5CrBM",
	} {
		t.Run("sec-T1 "+alg, func(t *testing.T) {
			if got := leftHalf(alg, token); got != want {
				t.Errorf("leftHalf = %s, want %s", got, want)
			}
		})
	}
}

// A client that registered itself and named no algorithm gets RS256 (OIDC
// Registration section 2); the others ES256.
func TestIDTokenAlg(t *testing.T) {
	for _, try := range []struct {
		client storage.Client
		want   string
	}{
		{storage.Client{}, keys.ES256},
		{storage.Client{IDTokenAlg: keys.RS256}, keys.RS256},
		{storage.Client{Registration: &storage.DynamicRegistration{}}, keys.RS256},
		{storage.Client{Registration: &storage.DynamicRegistration{}, IDTokenAlg: keys.ES256}, keys.ES256},
	} {
		t.Run(fmt.Sprintf("%v %q", try.client.Registration != nil, try.client.IDTokenAlg), func(t *testing.T) {
			if got := idTokenAlg(try.client); got != try.want {
				t.Errorf("idTokenAlg = %s, want %s", got, try.want)
			}
		})
	}
}

package provider_test

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/gatehouse-id/gatehouse/storage"
)

// Every claim of OIDC Core section 5.4 by its scope, of the type that section
// 5.1 gives it; and nothing that is not known.
func TestUserInfoClaims(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{Scopes: allScopes})
	bare := o.userinfo(o.tokens(c, "", "scope", "openid profile email phone address").text("access_token"))
	if got := slices.Sorted(maps.Keys(bare.body)); !slices.Equal(got, []string{"email", "email_verified", "name", "sub", "updated_at"}) {
		t.Errorf("of somebody who told nothing UserInfo has %v", got)
	}

	o.told()
	for scope, want := range map[string]map[string]any{
		"openid": {},
		"openid profile": {
			"name": "Asha Gurung", "given_name": "Asha", "family_name": "Gurung", "middle_name": "Maya", "nickname": "Ash",
			"preferred_username": "asha", "profile": "https://asha.example/", "picture": "https://asha.example/me.png",
			"website": "https://asha.example/blog", "gender": "female", "birthdate": "1990-02-28",
			"zoneinfo": "Asia/Kathmandu", "locale": "ne-NP",
		},
		"openid email":   {"email": "asha@example.com", "email_verified": true},
		"openid phone":   {"phone_number": "+9779812345678", "phone_number_verified": true},
		"address openid": {"address": map[string]any{"formatted": "Ward 4\nPokhara", "locality": "Pokhara", "country": "NP"}},
	} {
		t.Run(scope, func(t *testing.T) {
			u := o.userinfo(o.tokens(c, "", "scope", scope).text("access_token"))
			if u.header.Get("Cache-Control") != "no-store" || u.header.Get("Content-Type") != "application/json" {
				t.Errorf("sec-C8: headers %v", u.header)
			}
			if strings.Contains(scope, "profile") {
				if at, number := u.body["updated_at"].(float64); !number || at != float64(int64(at)) || time.Unix(int64(at), 0).Before(o.now().Add(-time.Minute)) {
					t.Errorf("updated_at is %v", u.body["updated_at"])
				}
				delete(u.body, "updated_at")
			}
			if u.body["sub"] != o.user.ID {
				t.Errorf("sub is %v", u.body["sub"])
			}
			delete(u.body, "sub")
			if !reflect.DeepEqual(u.body, want) {
				t.Errorf("UserInfo has %v, want %v", u.body, want)
			}
		})
	}
}

func TestUserInfoRequests(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{Scopes: allScopes})
	r := o.tokens(c, "", "scope", "openid email")
	token := r.text("access_token")
	plain := o.tokens(c, "", "scope", "email").text("access_token")
	machine, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"}})
	own := o.post(machine, secret, url.Values{"grant_type": {"client_credentials"}}).text("access_token")
	const form = "application/x-www-form-urlencoded"
	realm := `Bearer realm="` + o.issuer + `"`

	for _, try := range []struct {
		name, verb, query, contentType, body string
		authorization                        []string
		status                               int
		challenge                            string
	}{
		{"GET with a header", "GET", "", "", "", []string{"Bearer " + token}, 200, ""},
		{"the scheme in another case", "GET", "", "", "", []string{"bEARER " + token}, 200, ""},
		{"POST with a header", "POST", "", "", "", []string{"Bearer " + token}, 200, ""},
		{"POST with a header and an empty form", "POST", "", form, "", []string{"Bearer " + token}, 200, ""},
		{"POST with the token in the form", "POST", "", form, "access_token=" + token, nil, 200, ""},
		{"sec-E1 fosite-F21 a token in the query is none", "GET", "?access_token=" + token, "", "", nil, 401, realm},
		{"sec-E1 nor with a POST", "POST", "?access_token=" + token, form, "", nil, 401, realm},
		{"sec-E1 a token in the query changes nothing", "GET", "?access_token=x", "", "", []string{"Bearer " + token}, 200, ""},
		{"no token", "GET", "", "", "", nil, 401, realm},
		{"another scheme", "GET", "", "", "", []string{"Basic YTpi"}, 401, realm},
		{"a token in a body that is no form", "POST", "", "text/plain", "access_token=" + token, nil, 401, realm},
		{"two ways at once", "POST", "", form, "access_token=" + token, []string{"Bearer " + token}, 400, "invalid_request"},
		{"two headers", "GET", "", "", "", []string{"Bearer " + token, "Bearer " + token}, 400, "invalid_request"},
		{"the token twice in the form", "POST", "", form, "access_token=" + token + "&access_token=" + token, nil, 400, "invalid_request"},
		{"garbage", "GET", "", "", "", []string{"Bearer x.y.z"}, 401, "invalid_token"},
		{"sec-P3 alg none", "GET", "", "", "", []string{"Bearer eyJhbGciOiJub25lIn0." + strings.Split(token, ".")[1] + "."}, 401, "invalid_token"},
		{"sec-E2 an ID token", "GET", "", "", "", []string{"Bearer " + r.text("id_token")}, 401, "invalid_token"},
		{"sec-E3 a token without openid", "GET", "", "", "", []string{"Bearer " + plain}, 403, "insufficient_scope"},
		{"a token that speaks for no person", "GET", "", "", "", []string{"Bearer " + own}, 403, "insufficient_scope"},
	} {
		t.Run(try.name, func(t *testing.T) {
			req, err := http.NewRequest(try.verb, o.issuer+"/userinfo"+try.query, strings.NewReader(try.body))
			if err != nil {
				t.Fatal(err)
			}
			if try.contentType != "" {
				req.Header.Set("Content-Type", try.contentType)
			}
			req.Header["Authorization"] = try.authorization
			got := o.do(req)
			challenge := got.header.Get("WWW-Authenticate")
			if got.status != try.status || got.header.Get("Cache-Control") != "no-store" {
				t.Fatalf("answered %d %v %v", got.status, got.body, got.header)
			}
			switch {
			case got.status == 200:
				if challenge != "" || got.text("email") != "asha@example.com" {
					t.Errorf("answered %v %q", got.body, challenge)
				}
			case strings.HasPrefix(try.challenge, "Bearer"): // RFC 6750 section 3.1: no error, since nothing was tried
				if challenge != try.challenge || len(got.body) != 0 {
					t.Errorf("answered %v, challenge %q, want %q", got.body, challenge, try.challenge)
				}
			default:
				if !strings.HasPrefix(challenge, realm+`, error="`+try.challenge+`", error_description="`) || got.text("error") != try.challenge {
					t.Errorf("answered %v, challenge %q", got.body, challenge)
				}
				if (try.status == 403) != strings.HasSuffix(challenge, `, scope="openid"`) {
					t.Errorf("challenge %q", challenge)
				}
			}
		})
	}
	t.Run("an expired token", func(t *testing.T) {
		o.pass(16 * time.Minute)
		got := o.userinfo(token)
		wantError(t, got, 401, "invalid_token")
		if !strings.Contains(got.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("challenge %q", got.header.Get("WWW-Authenticate"))
		}
	})
	t.Run("other methods are 405", func(t *testing.T) {
		req, _ := http.NewRequest(http.MethodDelete, o.issuer+"/userinfo", nil)
		if got := o.do(req); got.status != 405 || got.header.Get("Allow") != "GET, POST" {
			t.Errorf("answered %d %v", got.status, got.header)
		}
	})
}

// A client that registered userinfo_signed_response_alg gets a JWT (OIDC Core
// section 5.3.2).
func TestSignedUserInfo(t *testing.T) {
	o := newOP(t)
	ctx := context.Background()
	verifier, err := oidc.NewProvider(ctx, o.issuer)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{"RS256", "ES256"} {
		t.Run(alg, func(t *testing.T) {
			c, _ := o.client(storage.Client{Scopes: allScopes, Metadata: storage.ClientMetadata{UserInfoAlg: alg}})
			token := o.tokens(c, "", "scope", "openid email").text("access_token")
			req, _ := http.NewRequest(http.MethodGet, o.issuer+"/userinfo", nil)
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			raw, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/jwt" || resp.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("answered %d %v", resp.StatusCode, resp.Header)
			}
			claims := payload(t, string(raw))
			if tokenHeader(t, string(raw))["alg"] != alg || claims["iss"] != o.issuer || claims["aud"] != c.ID ||
				claims["sub"] != o.user.ID || claims["email"] != "asha@example.com" || claims["nonce"] != nil {
				t.Errorf("signed %v", claims)
			}
			// go-oidc checks the signature against our JWKS.
			info, err := verifier.UserInfo(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
			if err != nil || info.Email != "asha@example.com" {
				t.Errorf("go-oidc: %+v, %v", info, err)
			}
			t.Run("it is no id_token_hint", func(t *testing.T) {
				if a := o.browser().authorize(o.request(c, "id_token_hint", string(raw))); a.params.Get("error") != "invalid_request" {
					t.Errorf("answered %v", a.params)
				}
			})
		})
	}
}

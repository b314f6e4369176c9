package provider_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// metadata reads the document at one of its addresses.
func (o *op) metadata(path string) map[string]any {
	o.t.Helper()
	resp, err := http.Get(o.issuer + path)
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var doc map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		o.t.Fatal(err)
	}
	return doc
}

func list(v any) (out []string) {
	members, _ := v.([]any)
	for _, m := range members {
		s, _ := m.(string)
		out = append(out, s)
	}
	return out
}

func TestDiscovery(t *testing.T) {
	o := newOP(t)
	doc := o.metadata("/.well-known/openid-configuration")
	if other := o.metadata("/.well-known/oauth-authorization-server"); len(other) != len(doc) || other["issuer"] != doc["issuer"] {
		t.Errorf("RFC 8414: another document: %v", other)
	}
	for name, want := range map[string]any{
		"issuer": o.issuer, "authorization_endpoint": o.issuer + "/authorize", "token_endpoint": o.issuer + "/token",
		"userinfo_endpoint": o.issuer + "/userinfo", "jwks_uri": o.issuer + "/jwks",
		"introspection_endpoint": o.issuer + "/introspect", "revocation_endpoint": o.issuer + "/revoke",
		"end_session_endpoint": o.issuer + "/logout", "registration_endpoint": nil,
		"request_parameter_supported": false, "request_uri_parameter_supported": false, "claims_parameter_supported": true,
		"authorization_response_iss_parameter_supported": true,
		"backchannel_logout_supported":                   true, "backchannel_logout_session_supported": true,
	} {
		if doc[name] != want {
			t.Errorf("%s is %v, want %v", name, doc[name], want)
		}
	}
	standard := []string{
		"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website",
		"gender", "birthdate", "zoneinfo", "locale", "updated_at", "email", "email_verified", "phone_number", "phone_number_verified", "address",
	}
	assertions := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	for name, want := range map[string][]string{
		"scopes_supported":                                         {"openid", "profile", "email", "address", "phone", "offline_access"},
		"response_types_supported":                                 {"code"},
		"response_modes_supported":                                 {"query", "form_post"},
		"grant_types_supported":                                    {"authorization_code", "refresh_token", "client_credentials"},
		"acr_values_supported":                                     {mfa, pwd},
		"subject_types_supported":                                  {"public"},
		"id_token_signing_alg_values_supported":                    o.keys.Algorithms(),
		"userinfo_signing_alg_values_supported":                    o.keys.Algorithms(),
		"introspection_signing_alg_values_supported":               o.keys.Algorithms(),
		"request_object_signing_alg_values_supported":              {"RS256", "ES256", "PS256"},
		"token_endpoint_auth_methods_supported":                    {"client_secret_basic", "client_secret_post", "private_key_jwt", "none"},
		"introspection_endpoint_auth_methods_supported":            {"client_secret_basic", "client_secret_post", "private_key_jwt"},
		"revocation_endpoint_auth_methods_supported":               {"client_secret_basic", "client_secret_post", "private_key_jwt", "none"},
		"token_endpoint_auth_signing_alg_values_supported":         assertions,
		"introspection_endpoint_auth_signing_alg_values_supported": assertions,
		"revocation_endpoint_auth_signing_alg_values_supported":    assertions,
		"display_values_supported":                                 {"page", "popup", "touch", "wap"},
		"claim_types_supported":                                    {"normal"},
		"claims_supported":                                         append([]string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"}, standard...),
		"ui_locales_supported":                                     {"en", "ne", "ar", "de", "es"},
		"code_challenge_methods_supported":                         {"S256"},
		"prompt_values_supported":                                  {"none", "login", "consent", "select_account", "create"},
	} {
		if got := list(doc[name]); !slices.Equal(got, want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	t.Run("nothing else is there", func(t *testing.T) {
		if len(doc) != 36 {
			t.Errorf("%d members: %v", len(doc), slices.Sorted(maps.Keys(doc)))
		}
	})
	t.Run("every algorithm that is named signs", func(t *testing.T) {
		for _, alg := range list(doc["id_token_signing_alg_values_supported"]) {
			c, _ := o.client(storage.Client{IDTokenAlg: alg})
			if got := tokenHeader(t, o.tokens(c, "").text("id_token"))["alg"]; got != alg {
				t.Errorf("an ID token of a client registered for %s is %v", alg, got)
			}
		}
	})
	t.Run("every parameter value that is named works", func(t *testing.T) {
		c, _ := o.client(storage.Client{})
		b := o.browser()
		b.authorize(o.request(c))
		for _, one := range []struct{ parameter, member string }{
			{"prompt", "prompt_values_supported"}, {"display", "display_values_supported"}, {"response_mode", "response_modes_supported"},
			{"acr_values", "acr_values_supported"}, {"ui_locales", "ui_locales_supported"}, {"claims_locales", "ui_locales_supported"},
		} {
			for _, v := range list(doc[one.member]) {
				o.pass(1e9)
				if a := b.authorize(o.request(c, one.parameter, v)); a.params.Get("code") == "" {
					t.Errorf("%s=%s: %d %v", one.parameter, v, a.status, a.params)
				}
			}
		}
	})
	t.Run("an unknown parameter, and hints of no use, are ignored", func(t *testing.T) {
		c, _ := o.client(storage.Client{})
		for _, change := range [][]string{
			{"extra", "foobar"}, {"display", "hologram"}, {"ui_locales", "se <x>"}, {"claims_locales", "se"}, {"login_hint", "buffy@example.com"},
			{"acr_values", "1 2"}, {"nonce", ""}, {"scope", "email openid"}, {"display", strings.Repeat("x", 500)},
		} {
			if a := o.browser().authorize(o.request(c, change...)); a.params.Get("code") == "" {
				t.Errorf("%q: %d %v", change, a.status, a.params)
			}
		}
	})
	t.Run("registration is named when it is open", func(t *testing.T) {
		open := newOP(t, func(c *provider.Config) { c.Registration.Mode = provider.RegistrationOpen })
		endpoint, _ := open.metadata("/.well-known/openid-configuration")["registration_endpoint"].(string)
		u, err := url.Parse(endpoint)
		if err != nil || !strings.HasPrefix(endpoint, open.issuer+"/") || u.Path == "" {
			t.Errorf("registration_endpoint is %q", endpoint)
		}
	})
}

package conformance_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/text/language"
)

// Kinds of metadata members.
const (
	isURL  = "an https URL"
	isList = "a list of strings"
	isBool = "a boolean"
)

// metadataMembers are those that are registered (RFC 8414, OIDC Discovery,
// RP-Initiated and Back-Channel Logout, RFC 9207, RFC 9701, Initiating User
// Registration), with their types. Others are unknown to the suite too.
var metadataMembers = map[string]string{
	"issuer":                                                   isURL,
	"authorization_endpoint":                                   isURL,
	"token_endpoint":                                           isURL,
	"userinfo_endpoint":                                        isURL,
	"jwks_uri":                                                 isURL,
	"registration_endpoint":                                    isURL,
	"introspection_endpoint":                                   isURL,
	"revocation_endpoint":                                      isURL,
	"end_session_endpoint":                                     isURL,
	"service_documentation":                                    isURL,
	"op_policy_uri":                                            isURL,
	"op_tos_uri":                                               isURL,
	"scopes_supported":                                         isList,
	"response_types_supported":                                 isList,
	"response_modes_supported":                                 isList,
	"grant_types_supported":                                    isList,
	"acr_values_supported":                                     isList,
	"subject_types_supported":                                  isList,
	"id_token_signing_alg_values_supported":                    isList,
	"userinfo_signing_alg_values_supported":                    isList,
	"introspection_signing_alg_values_supported":               isList,
	"request_object_signing_alg_values_supported":              isList,
	"token_endpoint_auth_methods_supported":                    isList,
	"token_endpoint_auth_signing_alg_values_supported":         isList,
	"introspection_endpoint_auth_methods_supported":            isList,
	"revocation_endpoint_auth_methods_supported":               isList,
	"display_values_supported":                                 isList,
	"claim_types_supported":                                    isList,
	"claims_supported":                                         isList,
	"claims_locales_supported":                                 isList,
	"ui_locales_supported":                                     isList,
	"code_challenge_methods_supported":                         isList,
	"prompt_values_supported":                                  isList,
	"claims_parameter_supported":                               isBool,
	"request_parameter_supported":                              isBool,
	"request_uri_parameter_supported":                          isBool,
	"require_request_uri_registration":                         isBool,
	"authorization_response_iss_parameter_supported":           isBool,
	"backchannel_logout_supported":                             isBool,
	"backchannel_logout_session_supported":                     isBool,
	"frontchannel_logout_supported":                            isBool,
	"frontchannel_logout_session_supported":                    isBool,
	"introspection_endpoint_auth_signing_alg_values_supported": isList,
	"revocation_endpoint_auth_signing_alg_values_supported":    isList,
}

// scopeToken is a scope (RFC 6749 section 3.3).
var scopeToken = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`)

// discovery fetches the metadata and holds it to what every plan wants of it.
func (m *module) discovery() map[string]any {
	m.Helper()
	const wellKnown = "/.well-known/openid-configuration"
	resp, body := m.op.get(m, m.op.issuer+wellKnown)
	if resp.StatusCode != http.StatusOK || mediaType(resp) != "application/json" {
		m.Fatalf("the metadata is answered with %s, %q", resp.Status, resp.Header.Get("Content-Type"))
	}
	var meta map[string]any
	if err := json.Unmarshal(body, &meta); err != nil {
		m.Fatal(err)
	}
	if meta["issuer"] != m.op.issuer {
		m.Errorf("issuer is %v", meta["issuer"])
	}
	for name, value := range meta {
		kind, known := metadataMembers[name]
		m.should("unknown metadata member "+name, known)
		ok := true
		switch kind {
		case isURL:
			s, _ := value.(string)
			u, err := url.Parse(s)
			ok = err == nil && u.Scheme == "https" && u.Host != "" && !strings.ContainsAny(s, "#?") && strings.HasPrefix(s, m.op.issuer)
		case isBool:
			_, ok = value.(bool)
		case isList:
			list, isA := value.([]any)
			ok = isA && len(list) > 0
			seen := map[any]bool{}
			for _, v := range list {
				s, isText := v.(string)
				ok = ok && isText && s != "" && !seen[v]
				seen[v] = true
			}
		}
		if !ok {
			m.Errorf("%s is %v, not %s", name, value, kind)
		}
	}
	for _, name := range []string{
		"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint", "registration_endpoint",
		"scopes_supported", "claims_supported", "request_uri_parameter_supported", "response_types_supported", "subject_types_supported",
	} {
		if meta[name] == nil {
			m.Errorf("%s is missing", name)
		}
	}
	for _, must := range []struct{ list, value string }{
		{"response_types_supported", "code"},
		{"subject_types_supported", "public"},
		{"id_token_signing_alg_values_supported", "RS256"},
		{"userinfo_signing_alg_values_supported", "RS256"},
		{"request_object_signing_alg_values_supported", "RS256"},
		{"scopes_supported", "openid"},
		{"grant_types_supported", "authorization_code"},
		{"grant_types_supported", "refresh_token"},
		{"code_challenge_methods_supported", "S256"},
		{"token_endpoint_auth_methods_supported", "client_secret_basic"},
		{"token_endpoint_auth_methods_supported", "client_secret_post"},
		{"token_endpoint_auth_methods_supported", "private_key_jwt"},
	} {
		if !m.op.offers(must.list, must.value) {
			m.Errorf("%s lacks %s", must.list, must.value)
		}
	}
	for _, not := range []struct{ list, value string }{
		{"id_token_signing_alg_values_supported", "none"},
		{"request_object_signing_alg_values_supported", "none"},
		{"code_challenge_methods_supported", "plain"},
	} {
		if m.op.offers(not.list, not.value) {
			m.Errorf("%s has %s", not.list, not.value)
		}
	}
	scopes, _ := meta["scopes_supported"].([]any)
	for _, s := range scopes {
		if text, _ := s.(string); !scopeToken.MatchString(text) {
			m.Errorf("the scope %q is malformed", s)
		}
	}
	for _, name := range []string{"ui_locales_supported", "claims_locales_supported"} {
		list, _ := meta[name].([]any)
		for _, v := range list {
			s, _ := v.(string)
			tag, err := language.Parse(s)
			if err != nil || tag.String() != s {
				m.Errorf("%s has %q, which is not a canonical BCP 47 tag (%s, %v)", name, s, tag, err)
			}
		}
	}
	return meta
}

// checkJWKS is what holds of the server's keys.
func (m *module) checkJWKS() {
	m.Helper()
	_, body := m.op.get(m, m.op.endpoint("jwks_uri"))
	var raw struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(body, &raw); err != nil || len(raw.Keys) == 0 {
		m.Fatalf("the JWKS is %s (%v)", body, err)
	}
	kids := map[any]bool{}
	for _, k := range raw.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if k[private] != nil {
				m.Errorf("the JWKS has the private member %s", private)
			}
		}
		if kid, _ := k["kid"].(string); kid == "" || kids[k["kid"]] {
			m.Errorf("the kid %v is empty or there twice", k["kid"])
		}
		kids[k["kid"]] = true
		if k["use"] != "sig" || k["alg"] == nil {
			m.Errorf("a key has use %v and alg %v", k["use"], k["alg"])
		}
	}
	for _, k := range m.op.jwks(m).Keys {
		switch key := k.Key.(type) {
		case *rsa.PublicKey:
			if key.N.BitLen() < 2048 {
				m.Errorf("an RSA key has %d bits", key.N.BitLen())
			}
		case *ecdsa.PublicKey:
			if key.Curve.Params().BitSize < 256 {
				m.Errorf("a key is of %s", key.Curve.Params().Name)
			}
		default:
			m.should("a key type that nobody can use", false)
		}
	}
}

// kids are the ids of the server's keys.
func kids(set jose.JSONWebKeySet) map[string]bool {
	ids := map[string]bool{}
	for _, k := range set.Keys {
		ids[k.KeyID] = true
	}
	return ids
}

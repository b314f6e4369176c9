package provider

import (
	"net/http"
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// metadata is the provider's metadata, one document for OIDC Discovery section
// 3 and RFC 8414 section 2, with what RP-Initiated Logout section 2.1,
// Back-Channel Logout section 2.1, RFC 9207 section 3 and RFC 9701 section 7 add.
// What is absent has a default that is right, or is not offered.
type metadata struct {
	Issuer                     string   `json:"issuer"`
	AuthorizationEndpoint      string   `json:"authorization_endpoint"`
	TokenEndpoint              string   `json:"token_endpoint"`
	UserInfoEndpoint           string   `json:"userinfo_endpoint"`
	JWKSURI                    string   `json:"jwks_uri"`
	RegistrationEndpoint       string   `json:"registration_endpoint,omitempty"`
	IntrospectionEndpoint      string   `json:"introspection_endpoint"`
	RevocationEndpoint         string   `json:"revocation_endpoint"`
	EndSessionEndpoint         string   `json:"end_session_endpoint"`
	ScopesSupported            []string `json:"scopes_supported"`
	ResponseTypesSupported     []string `json:"response_types_supported"`
	ResponseModesSupported     []string `json:"response_modes_supported"`
	GrantTypesSupported        []string `json:"grant_types_supported"`
	ACRValuesSupported         []string `json:"acr_values_supported"`
	SubjectTypesSupported      []string `json:"subject_types_supported"`
	IDTokenSigningAlgs         []string `json:"id_token_signing_alg_values_supported"`
	UserInfoSigningAlgs        []string `json:"userinfo_signing_alg_values_supported"`
	IntrospectionSigningAlgs   []string `json:"introspection_signing_alg_values_supported"`
	RequestObjectSigningAlgs   []string `json:"request_object_signing_alg_values_supported"`
	TokenAuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs              []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuthMethods   []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAuthAlgs      []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthMethods      []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgs         []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	DisplayValuesSupported     []string `json:"display_values_supported"`
	ClaimTypesSupported        []string `json:"claim_types_supported"`
	ClaimsSupported            []string `json:"claims_supported"`
	UILocalesSupported         []string `json:"ui_locales_supported,omitempty"`
	CodeChallengeMethods       []string `json:"code_challenge_methods_supported"`
	PromptValuesSupported      []string `json:"prompt_values_supported"`
	ClaimsParameterSupported   bool     `json:"claims_parameter_supported"`
	RequestParameterSupported  bool     `json:"request_parameter_supported"`
	RequestURISupported        bool     `json:"request_uri_parameter_supported"`
	AuthorizationResponseIss   bool     `json:"authorization_response_iss_parameter_supported"`
	BackchannelLogoutSupported bool     `json:"backchannel_logout_supported"`
	BackchannelLogoutSession   bool     `json:"backchannel_logout_session_supported"`
}

func (p *Provider) discovery() metadata {
	confidential := []string{storage.AuthSecretBasic, storage.AuthSecretPost, storage.AuthPrivateKey}
	everybody := append(slices.Clone(confidential), storage.AuthNone)
	var assertions []string
	for _, alg := range assertionAlgs {
		assertions = append(assertions, string(alg))
	}
	// Those of every ID token, and those that scopes or the claims parameter can
	// name.
	claims := []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"}
	for _, c := range standardClaims {
		claims = append(claims, c.name)
	}
	m := metadata{
		Issuer:                 p.issuer,
		AuthorizationEndpoint:  p.issuer + "/authorize",
		TokenEndpoint:          p.issuer + "/token",
		UserInfoEndpoint:       p.issuer + "/userinfo",
		JWKSURI:                p.issuer + "/jwks",
		IntrospectionEndpoint:  p.issuer + "/introspect",
		RevocationEndpoint:     p.issuer + "/revoke",
		EndSessionEndpoint:     p.issuer + "/logout",
		ScopesSupported:        []string{"openid", "profile", "email", "address", "phone", "offline_access"},
		ResponseTypesSupported: []string{"code"},
		ResponseModesSupported: []string{modeQuery, modeFormPost},
		GrantTypesSupported:    []string{grantCode, grantRefresh, grantCredentials},
		ACRValuesSupported:     []string{acrMFA, acrPassword},
		SubjectTypesSupported:  []string{"public"},

		IDTokenSigningAlgs:       p.keys.Algorithms(),
		UserInfoSigningAlgs:      p.keys.Algorithms(),
		IntrospectionSigningAlgs: p.keys.Algorithms(),
		// Of no use while the parameter is not supported; but an absent member
		// would say that unsigned ones are (OIDC Discovery section 3).
		RequestObjectSigningAlgs: []string{"RS256", "ES256", "PS256"},
		TokenAuthMethods:         everybody, TokenAuthAlgs: assertions,
		IntrospectionAuthMethods: confidential, IntrospectionAuthAlgs: assertions,
		RevocationAuthMethods: everybody, RevocationAuthAlgs: assertions,

		DisplayValuesSupported:     []string{"page", "popup", "touch", "wap"},
		ClaimTypesSupported:        []string{"normal"},
		ClaimsSupported:            claims,
		UILocalesSupported:         p.uiLocales,
		CodeChallengeMethods:       []string{"S256"},
		PromptValuesSupported:      []string{"none", "login", "consent", "select_account", "create"},
		ClaimsParameterSupported:   true,
		AuthorizationResponseIss:   true,
		BackchannelLogoutSupported: true,
		BackchannelLogoutSession:   true,
	}
	if p.registers() {
		m.RegistrationEndpoint = p.issuer + registrationPath
	}
	return m
}

// metadataMaxAge is how long the metadata may be cached. It changes with a
// release or a configuration.
const metadataMaxAge = time.Hour

// Discovery serves the metadata, at both well-known addresses.
func (p *Provider) Discovery(w http.ResponseWriter, r *http.Request) {
	p.serve(w, r, p.metadata)
}

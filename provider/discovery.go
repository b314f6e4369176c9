package provider

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// metadata is the provider's metadata, one document for OIDC Discovery section
// 3 and RFC 8414 section 2. What is absent has a default that would be wrong,
// or is not offered.
type metadata struct {
	Issuer                      string   `json:"issuer"`
	AuthorizationEndpoint       string   `json:"authorization_endpoint"`
	TokenEndpoint               string   `json:"token_endpoint"`
	UserinfoEndpoint            string   `json:"userinfo_endpoint"`
	JWKSURI                     string   `json:"jwks_uri"`
	ScopesSupported             []string `json:"scopes_supported"`
	ResponseTypesSupported      []string `json:"response_types_supported"`
	ResponseModesSupported      []string `json:"response_modes_supported"`
	GrantTypesSupported         []string `json:"grant_types_supported"`
	SubjectTypesSupported       []string `json:"subject_types_supported"`
	IDTokenSigningAlgs          []string `json:"id_token_signing_alg_values_supported"`
	TokenEndpointAuthMethods    []string `json:"token_endpoint_auth_methods_supported"`
	ClaimsSupported             []string `json:"claims_supported"`
	CodeChallengeMethods        []string `json:"code_challenge_methods_supported"`
	PromptValuesSupported       []string `json:"prompt_values_supported"`
	ClaimsParameterSupported    bool     `json:"claims_parameter_supported"`
	RequestParameterSupported   bool     `json:"request_parameter_supported"`
	RequestURIParameter         bool     `json:"request_uri_parameter_supported"`
	AuthorizationResponseIssued bool     `json:"authorization_response_iss_parameter_supported"`
}

func (p *Provider) discovery() metadata {
	return metadata{
		Issuer:                 p.issuer,
		AuthorizationEndpoint:  p.issuer + "/authorize",
		TokenEndpoint:          p.issuer + "/token",
		UserinfoEndpoint:       p.issuer + "/userinfo",
		JWKSURI:                p.issuer + "/jwks",
		ScopesSupported:        []string{"openid", "profile", "email", "offline_access"},
		ResponseTypesSupported: []string{"code"},
		ResponseModesSupported: []string{"query"},
		GrantTypesSupported:    []string{grantCode, grantRefresh, grantCredentials},
		SubjectTypesSupported:  []string{"public"},
		IDTokenSigningAlgs:     p.keys.Algorithms(),
		TokenEndpointAuthMethods: []string{
			storage.AuthSecretBasic, storage.AuthSecretPost, storage.AuthNone,
		},
		ClaimsSupported: []string{
			"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "amr", "sid", "at_hash",
			"name", "updated_at", "email", "email_verified",
		},
		CodeChallengeMethods:        []string{"S256"},
		PromptValuesSupported:       []string{"none", "login", "consent", "select_account", "create"},
		AuthorizationResponseIssued: true,
	}
}

// A document is a body that anybody may cache, made once.
type document struct {
	body []byte
	etag string
}

func newDocument(v any) document {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("provider: metadata: %v", err)) // text and lists of text
	}
	sum := sha256.Sum256(body)
	return document{body: body, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`}
}

// metadataMaxAge is how long the metadata may be cached. It changes with a
// release or a configuration.
const metadataMaxAge = time.Hour

// Discovery serves the metadata, at both well-known addresses.
func (p *Provider) Discovery(w http.ResponseWriter, r *http.Request) {
	p.serve(w, r, p.metadata, metadataMaxAge)
}

// JWKS serves the public keys (RFC 7517 section 5).
func (p *Provider) JWKS(w http.ResponseWriter, r *http.Request) {
	body, etag := p.keys.JWKS()
	p.serve(w, r, document{body, etag}, p.keys.JWKSMaxAge())
}

// serve answers with a cacheable document, or 304 when the client has it (RFC
// 9110 section 13.1.2). Scripts of any origin may read it; it is public.
func (p *Provider) serve(w http.ResponseWriter, r *http.Request, d document, maxAge time.Duration) {
	if e := method(w, r, http.MethodGet, http.MethodHead); e != nil {
		p.writeError(w, r, "metadata", e)
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(maxAge/time.Second)))
	h.Set("ETag", d.etag)
	h.Set("X-Content-Type-Options", "nosniff")
	if matchesETag(r.Header.Get("If-None-Match"), d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(d.body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(d.body)
	}
}

// matchesETag compares weakly, as If-None-Match is compared (RFC 9110 section
// 13.1.2).
func matchesETag(header, etag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == etag || candidate == "*" {
			return true
		}
	}
	return false
}

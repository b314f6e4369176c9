package conformance_test

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/text/language"
)

// scopeClaims are the claims of each scope (OIDC Core section 5.4).
var scopeClaims = map[string][]string{
	"profile": {
		"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
		"website", "gender", "birthdate", "zoneinfo", "locale", "updated_at",
	},
	"email":   {"email", "email_verified"},
	"phone":   {"phone_number", "phone_number_verified"},
	"address": {"address"},
}

// protocolClaims are what an ID token may have beside what was asked for.
var protocolClaims = []string{
	"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "c_hash", "nbf", "jti", "sid", "s_hash", "txn",
}

var birthdate = regexp.MustCompile(`^([0-9]{4}|[0-9]{4}-[0-9]{2}-[0-9]{2})$`)

// checkClaims looks at the types of all standard claims that there are (OIDC
// Core section 5.1).
func checkClaims(t testing.TB, where string, claims map[string]any) {
	t.Helper()
	wrong := func(name string) { t.Errorf("%s: the claim %s is %v, of the wrong type", where, name, claims[name]) }
	for name, value := range claims {
		switch name {
		case "email_verified", "phone_number_verified":
			if _, ok := value.(bool); !ok {
				wrong(name)
			}
		case "exp", "iat", "auth_time", "nbf", "updated_at":
			n, ok := value.(float64)
			if !ok || n != math.Trunc(n) || n < 1e9 || n > 1e10 {
				wrong(name)
			}
		case "address":
			members, ok := value.(map[string]any)
			if !ok || len(members) == 0 {
				wrong(name)
			}
			for _, m := range members {
				if s, ok := m.(string); !ok || s == "" || s == "null" {
					wrong(name)
				}
			}
		case "aud", "amr", "events":
		default:
			if s, ok := value.(string); !ok || s == "" || s == "null" {
				wrong(name)
			}
		}
	}
	if s, ok := claims["birthdate"].(string); ok && !birthdate.MatchString(s) {
		wrong("birthdate")
	}
	for _, name := range []string{"profile", "picture", "website"} {
		if s, ok := claims[name].(string); ok {
			if u, err := url.Parse(s); err != nil || u.Host == "" {
				wrong(name)
			}
		}
	}
	if s, ok := claims["locale"].(string); ok {
		if _, err := language.Parse(s); err != nil {
			wrong("locale")
		}
	}
}

// entropy is Shannon's, of the whole text, in bits.
func entropy(s string) float64 {
	counts := map[rune]float64{}
	for _, r := range s {
		counts[r]++
	}
	var per float64
	n := float64(len([]rune(s)))
	for _, c := range counts {
		per -= c / n * math.Log2(c/n)
	}
	return per * n
}

// checkSecret is what codes and tokens must be: 128 bits or more, and not of a
// few characters over and over; of what RFC 6749 appendix A allows.
func checkSecret(t testing.TB, what, s string) {
	t.Helper()
	if len(s)*8 < 128 || entropy(s) < 96 {
		t.Errorf("the %s has %d bytes and %.0f bits of entropy", what, len(s), entropy(s))
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		t.Errorf("the %s has characters that it may not have", what)
	}
}

// A jwt is a token that has been verified.
type jwt struct {
	alg, kid, typ string
	claims        map[string]any
}

// jwks fetches the server's keys, anew.
func (o *op) jwks(t testing.TB) jose.JSONWebKeySet {
	t.Helper()
	resp, body := o.get(t, o.endpoint("jwks_uri"))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil || resp.StatusCode != http.StatusOK || mediaType(resp) != "application/json" {
		t.Fatalf("the JWKS is %s, %q, %v", resp.Status, resp.Header.Get("Content-Type"), err)
	}
	return set
}

// verify checks a signature by the one key of the JWKS that kid, alg and use
// choose.
func (o *op) verify(t testing.TB, token string) jwt {
	t.Helper()
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		t.Fatalf("the token is no JWS that we know: %v", err)
	}
	h := parsed.Signatures[0].Header
	if h.KeyID == "" {
		t.Error("the token's header has no kid")
	}
	set := o.jwks(t)
	keys := slices.DeleteFunc(set.Key(h.KeyID), func(k jose.JSONWebKey) bool { return k.Algorithm != h.Algorithm || k.Use != "sig" })
	if len(keys) != 1 {
		t.Fatalf("%d keys of the JWKS fit kid %q and alg %s", len(keys), h.KeyID, h.Algorithm)
	}
	payload, err := parsed.Verify(keys[0].Key)
	if err != nil {
		t.Fatalf("the token's signature: %v", err)
	}
	j := jwt{alg: h.Algorithm, kid: h.KeyID}
	j.typ, _ = h.ExtraHeaders[jose.HeaderType].(string)
	if err := json.Unmarshal(payload, &j.claims); err != nil {
		t.Fatalf("the token's claims: %v", err)
	}
	return j
}

// checkIDToken is the standard checks of an ID token (OIDC Core section 3.1.3.7).
// asked are claims that it may have because the request named them.
func (m *module) checkIDToken(c *client, token, nonce string, asked ...string) jwt {
	m.Helper()
	j := m.op.verify(m, token)
	id, now := j.claims, float64(time.Now().Unix())
	checkClaims(m, "ID token", id)
	number := func(name string) float64 { n, _ := id[name].(float64); return n }
	switch aud := id["aud"].(type) {
	case string:
		if aud != c.id {
			m.Errorf("aud is %q", aud)
		}
	case []any:
		if !slices.Contains(aud, any(c.id)) {
			m.Errorf("aud is %v", aud)
		}
	default:
		m.Errorf("aud is %v", aud)
	}
	if id["iss"] != m.op.issuer {
		m.Errorf("iss is %v", id["iss"])
	}
	if iat := number("iat"); math.Abs(iat-now) > 300 {
		m.Errorf("iat is %v, now is %v", iat, now)
	}
	if exp := number("exp"); exp <= now || exp > now+50*365*86400 {
		m.Errorf("exp is %v, now is %v", exp, now)
	}
	if at := number("auth_time"); at > now+5 || at < now-365*86400 {
		m.Errorf("auth_time is %v, now is %v", at, now)
	}
	if got, _ := id["nonce"].(string); got != nonce {
		m.Errorf("nonce is %q, not %q", got, nonce)
	}
	if j.alg != "RS256" { // the default of registration, which all clients here have
		m.Errorf("alg is %s", j.alg)
	}
	if s, _ := id["sub"].(string); s == "" || len(s) > 255 {
		m.Errorf("sub is %q", s)
	}
	if s, _ := id["sid"].(string); s == "" {
		m.Error("there is no sid")
	}
	for name := range id {
		if !slices.Contains(protocolClaims, name) && !slices.Contains(asked, name) {
			m.Errorf("the ID token has %s, which nobody asked for", name)
		}
	}
	return j
}

// checkAccessTokenHash is at_hash, wherever it is (OIDC Core section 3.1.3.6).
func (m *module) checkAccessTokenHash(j jwt, access string) {
	m.Helper()
	if want := leftHalf(access); j.claims["at_hash"] != nil && j.claims["at_hash"] != want {
		m.Errorf("at_hash is %v, not %s", j.claims["at_hash"], want)
	}
}

// mediaType is the Content-Type without parameters.
func mediaType(resp *http.Response) string {
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(media)
}

// checkNoStore holds for every answer with a token or about a person.
func checkNoStore(t testing.TB, what string, resp *http.Response) {
	t.Helper()
	if resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: Cache-Control is %q", what, resp.Header.Get("Cache-Control"))
	}
}

// errorMembers are the only parameters of an error redirect.
var errorMembers = []string{"error", "error_description", "error_uri", "state", "session_state", "iss"}

// checkDescription is the charset of error_description (RFC 6749 section 5.2),
// without line breaks and tabs, which are allowed and surprise.
func checkDescription(t testing.TB, s string) {
	t.Helper()
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
		t.Errorf("error_description is %q", s)
	}
}

// unsigned returns the token with the header of one that is not signed.
func unsigned(token string) string {
	parts := strings.Split(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
}

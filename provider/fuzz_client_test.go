package provider_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-id/gatehouse/storage"
)

// wantAnswer checks what every JSON endpoint owes whoever sends whatever: an
// answer in JSON that is no fault of ours, and an error in OAuth's words.
func wantAnswer(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	if w.Code >= 500 {
		t.Fatalf("answered %d %s", w.Code, w.Body)
	}
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("answered %d %q", w.Code, w.Body)
	}
	if code, _ := body["error"].(string); (code == "") != (w.Code < 300) {
		t.Fatalf("answered %d %v", w.Code, body)
	}
	if w.Header().Get("Location") != "" {
		t.Fatalf("redirects to %q", w.Header().Get("Location"))
	}
	return body
}

// Whatever form comes, the token endpoint answers, and gives tokens only to a
// client that said who it is.
func FuzzTokenForm(f *testing.F) {
	o := newOP(f)
	c, secret := o.client(storage.Client{ID: "app", AuthMethod: storage.AuthSecretPost, GrantTypes: []string{"authorization_code", "refresh_token", "client_credentials"}})
	public, _ := o.client(storage.Client{ID: "spa"})
	code, token := o.code(public), o.tokens(public, "").text("refresh_token")
	for _, seed := range []url.Values{
		{"grant_type": {"authorization_code"}, "client_id": {"spa"}, "code": {code}, "redirect_uri": {"https://app.example/cb"}, "code_verifier": {"short"}},
		{"grant_type": {"refresh_token"}, "client_id": {"spa"}, "refresh_token": {token}, "scope": {"openid  openid \x01"}},
		{"grant_type": {"refresh_token"}, "client_id": {"spa"}, "refresh_token": {token + "A"}, "resource": {"https://api.example", "%"}},
		{"grant_type": {"client_credentials"}, "client_id": {c.ID}, "client_secret": {"wrong"}},
		{"grant_type": {"client_credentials"}, "client_id": {c.ID}, "client_assertion": {"a.b.c"}, "client_assertion_type": {assertionType}},
		{"grant_type": {"password"}, "username": {"\xff"}, "client_id": {strings.Repeat("x", 300)}},
		{"grant_type": {""}},
		{},
	} {
		f.Add(seed.Encode(), "")
	}
	f.Add("grant_type=client_credentials", "Basic "+base64.StdEncoding.EncodeToString([]byte("app:%zz")))
	f.Add("grant_type=client_credentials", "Basic "+base64.StdEncoding.EncodeToString([]byte("app:wrong")))
	f.Add("grant_type=client_credentials&client_id=a&client_id=b", "Bearer x")
	f.Add("%", "Basic !")
	f.Fuzz(func(t *testing.T, form, authorization string) {
		if strings.Contains(form+authorization, secret) {
			t.Skip("it knows the secret")
		}
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if authorization != "" {
			r.Header["Authorization"] = []string{authorization}
		}
		w := httptest.NewRecorder()
		o.Token(w, r)
		body := wantAnswer(t, w)
		if v, _ := url.ParseQuery(form); w.Code == 200 && v.Get("client_id") != public.ID {
			t.Fatalf("%q was given %v", form, body)
		}
	})
}

// Whatever is said to be a client assertion, it is refused unless the client
// signed it.
func FuzzClientAssertion(f *testing.F) {
	o := newOP(f)
	s := newSigner(f, jose.ES256, "one")
	c, _ := o.client(machine(storage.Client{ID: "robot", Metadata: storage.ClientMetadata{JWKS: jwks(f, s)}}))
	good := s.sign(o.claims(c.ID))
	for _, header := range []string{
		`{"alg":"ES256","kid":"one"}`, `{"alg":"none"}`, `{"alg":"HS256"}`, `{"alg":"ES256","crit":["b64"],"b64":false}`, `{"alg":"ES256","zip":"DEF"}`,
		`{"alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"","y":""}}`, `{"alg":"ES256","x5c":["AA=="]}`, `{"alg":["ES256"]}`, `{"alg":"ES256","kid":1}`, `[]`, `{`, ``,
	} {
		claims, _ := json.Marshal(o.claims(c.ID))
		f.Add(header, string(claims), "c2lnbmF0dXJl")
	}
	for _, claims := range []string{
		`{"iss":"robot","sub":"robot","exp":1e999}`, `{"iss":"robot","sub":"robot","exp":-1}`, `{"iss":"robot","sub":"robot","exp":null,"aud":null}`,
		`{"iss":["robot"]}`, `{"iss":"robot","aud":{}}`, `{"iss":"robot","aud":[1]}`, `{"iss":"robot","jti":{}}`, `null`, `"x"`, strings.Repeat(`{"a":`, 50), "\xff",
	} {
		f.Add(`{"alg":"ES256"}`, claims, "AA")
	}
	f.Fuzz(func(t *testing.T, header, claims, signature string) {
		encode := base64.RawURLEncoding.EncodeToString
		token := encode([]byte(header)) + "." + encode([]byte(claims)) + "." + signature
		if token == good {
			t.Skip("it is a good one")
		}
		form := url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {token}}
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		o.Token(w, r)
		if body := wantAnswer(t, w); w.Code == 200 {
			t.Fatalf("%s was believed: %v", token, body)
		}
	})
}

// Whatever document comes, registration answers, and what it registers can be
// read back and is nothing that must not be.
func FuzzRegistration(f *testing.F) {
	o := newOP(f, open)
	for _, d := range []map[string]any{
		document(), document("redirect_uris", []string{"javascript:alert(1)"}), document("redirect_uris", []string{"https://app.example/#"}),
		document("scope", "openid admin"), document("jwks", jwks(f, newSigner(f, jose.ES256, ""))), document("jwks", map[string]any{"keys": []any{1}}),
		document("contacts", []string{"\x00"}), document("default_max_age", 1e15), document("logo_uri", "https://127.0.0.1/x"), document("client_name", "\u202e"),
		document("grant_types", []string{}), document("token_endpoint_auth_method", "none", "redirect_uris", []string{"com.example:/cb"}), document("first_party", true),
	} {
		b, err := json.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	for _, s := range []string{"", "null", "[]", "{", `{"redirect_uris":null}`, `{"redirect_uris":[null]}`, `{"jwks":""}`, strings.Repeat("[", 1000), "\xff", `{"scope":{}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest(http.MethodPost, "/connect/register", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		o.Register(w, r)
		answer := wantAnswer(t, w)
		if w.Code != http.StatusCreated {
			return
		}
		id, _ := answer["client_id"].(string)
		c, err := o.db.Client(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if c.FirstParty || len(c.Resources) > 0 || c.Registration == nil || len(c.RedirectURIs) == 0 {
			t.Fatalf("%q registered %+v", body, c)
		}
		for _, u := range c.RedirectURIs {
			if strings.HasPrefix(u, "javascript:") || strings.HasPrefix(u, "data:") || strings.Contains(u, "#") {
				t.Fatalf("%q registered %q", body, u)
			}
		}
		token, _ := answer["registration_access_token"].(string)
		read := httptest.NewRequest(http.MethodGet, "/connect/register/"+id, nil)
		read.Header.Set("Authorization", "Bearer "+token)
		w = httptest.NewRecorder()
		if o.ClientConfiguration(w, read); w.Code != http.StatusOK {
			t.Fatalf("%q cannot be read back: %d %s", body, w.Code, w.Body)
		}
	})
}

package conformance_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A module is one test module of a plan, while it runs.
type module struct {
	*testing.T
	op   *op
	line line
	// path is where the relying party has its addresses for this module.
	path string
	// auth is how clients authenticate unless the module says otherwise.
	auth string
	// static says that the plan's clients are those of the operator, and taken
	// how many of them the module has.
	static bool
	taken  int
	// mode is the response_mode of every request; empty is none.
	mode string
}

// should is for what the suite warns of. It is an error here, unless it stands
// in accepted with the reason.
func (m *module) should(what string, holds bool) {
	m.Helper()
	if holds {
		return
	}
	key := m.line.plan + "/" + m.line.name + ": " + what
	if reason, ok := accepted[key]; ok {
		m.Logf("accepted: %s: %s", what, reason)
		m.op.met[key] = true
		return
	}
	m.Errorf("the suite warns: %s", what)
}

// get fetches an address without cookies.
func (o *op) get(t testing.TB, address string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return o.do(t, req)
}

func (o *op) do(t testing.TB, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	resp, err := o.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

// object is a JSON object of an answer.
func object(t testing.TB, resp *http.Response, body []byte) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal(body, &o); err != nil || mediaType(resp) != "application/json" {
		t.Fatalf("the answer is %s, %q: %.300s", resp.Status, resp.Header.Get("Content-Type"), body)
	}
	return o
}

// suiteKeys are the keys that clients of the suite sign with: made once, because
// it takes a while.
var suiteKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return keys
})

// keySet is a JWK set with one public key; without a kid if that is empty.
func keySet(key *rsa.PrivateKey, kid string) jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: kid, Algorithm: "RS256", Use: "sig"}}}
}

// A client is a relying party as the server knows it.
type client struct {
	id, secret string
	auth       string
	redirect   string
	key        *rsa.PrivateKey
	kid        string
	// audience of its assertions.
	audience string
	// registered is the answer of the registration.
	registered map[string]any
}

// client is one of the plan's clients, another at each call: of the operator or,
// where the plan says so, one that registers itself with what the module wants
// besides.
func (m *module) client(more map[string]any) *client {
	m.Helper()
	if !m.static {
		return m.register(more)
	}
	m.taken++
	id := fmt.Sprintf("conformance-%d", m.taken)
	if m.auth == "client_secret_post" {
		id = "conformance-post"
	}
	made := m.op.static[id]
	secret, _ := made["client_secret"].(string)
	if made["token_endpoint_auth_method"] != m.auth || secret == "" {
		m.Fatalf("deploy/conformance.sh made %s as %v", id, made)
	}
	return &client{id: id, secret: secret, auth: m.auth, redirect: m.callback()}
}

// register registers a client with what the suite registers and what the module
// wants besides (nil takes away), and deletes it when the module ends.
func (m *module) register(more map[string]any) *client {
	m.Helper()
	resp, answer := m.tryRegister(more)
	if resp.StatusCode != http.StatusCreated {
		m.Fatalf("the registration was answered with %s: %v", resp.Status, answer)
	}
	checkNoStore(m, "registration", resp)
	text := func(name string) string { s, _ := answer[name].(string); return s }
	c := &client{
		id: text("client_id"), secret: text("client_secret"), auth: text("token_endpoint_auth_method"), redirect: m.callback(),
		key: suiteKeys()[0], audience: m.op.endpoint("token_endpoint"), registered: answer,
	}
	_, expires := answer["client_secret_expires_at"].(float64)
	if c.id == "" || (c.secret != "") != expires || (c.secret == "") != (c.auth == "private_key_jwt") {
		m.Errorf("the client has the id %q, a secret of %d bytes and client_secret_expires_at %v", c.id, len(c.secret), answer["client_secret_expires_at"])
	}
	uri, token := text("registration_client_uri"), text("registration_access_token")
	if !strings.HasPrefix(uri, "https://") || token == "" {
		m.Fatalf("the registration has the address %q and a token of %d bytes", uri, len(token))
	}
	scopes := strings.Fields(text("scope"))
	for _, s := range []string{"openid", "profile", "email", "address", "phone", "offline_access"} {
		if !slices.Contains(scopes, s) {
			m.Errorf("a client that names no scope gets %v", scopes)
		}
	}
	m.Cleanup(func() {
		if status := m.configuration(c, http.MethodDelete, nil); status != http.StatusNoContent {
			m.Errorf("the suite warns: DELETE of the registration answered %d", status)
		}
	})
	return c
}

// tryRegister registers a client and returns whatever is answered.
func (m *module) tryRegister(more map[string]any) (*http.Response, map[string]any) {
	m.Helper()
	document := map[string]any{
		"client_name":                "The suite's client of " + m.line.name,
		"grant_types":                []string{"authorization_code"},
		"jwks":                       keySet(suiteKeys()[0], ""),
		"token_endpoint_auth_method": m.auth,
		"response_types":             []string{"code"},
		"redirect_uris":              []string{m.callback()},
		"contacts":                   []string{"suite@example.org"},
	}
	maps.Copy(document, more)
	maps.DeleteFunc(document, func(_ string, v any) bool { return v == nil })
	b, err := json.Marshal(document)
	if err != nil {
		m.Fatal(err)
	}
	req, err := http.NewRequestWithContext(m.Context(), http.MethodPost, m.op.endpoint("registration_endpoint"), bytes.NewReader(b))
	if err != nil {
		m.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, body := m.op.do(m, req)
	return resp, object(m, resp, body)
}

// configuration asks the client configuration endpoint, and returns the status
// and, into, what is answered.
func (m *module) configuration(c *client, method string, into *map[string]any) int {
	m.Helper()
	uri, _ := c.registered["registration_client_uri"].(string)
	token, _ := c.registered["registration_access_token"].(string)
	// Also when the test has ended, whose context is over then.
	req, err := http.NewRequest(method, uri, nil)
	if err != nil {
		m.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, body := m.op.do(m, req)
	if into != nil {
		*into = object(m, resp, body)
	}
	return resp.StatusCode
}

func (m *module) callback() string { return m.op.rp.url + m.path + "/callback" }

// random is a text of letters and digits, and of what is unreserved besides.
func random(n int, more string) string {
	const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	alphabet := alphanumeric + more
	b := make([]byte, n)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	for i := range min(n, len(more)) { // all of them, for certain
		b[i] = more[i]
	}
	return string(b)
}

// request is an authorize request of the client. What is given replaces what the
// suite sends by default; the empty text takes a parameter away.
func (m *module) request(c *client, given ...string) url.Values {
	m.Helper()
	v := url.Values{
		"client_id": {c.id}, "redirect_uri": {c.redirect}, "response_type": {"code"}, "scope": {"openid"},
		"state": {random(10, "")}, "nonce": {random(10, "")},
	}
	if m.mode != "" {
		v.Set("response_mode", m.mode)
	}
	for i := 0; i < len(given); i += 2 {
		if given[i+1] == "" {
			v.Del(given[i])
			continue
		}
		v.Set(given[i], given[i+1])
	}
	return v
}

func (m *module) authorizeURL(v url.Values) string {
	return m.op.endpoint("authorization_endpoint") + "?" + v.Encode()
}

// answered checks how the answer came to the relying party, and returns its
// parameters.
func (m *module) answered(c *client, v url.Values, got *call) url.Values {
	m.Helper()
	to, err := url.Parse(c.redirect)
	if err != nil {
		m.Fatal(err)
	}
	var params url.Values
	if m.mode == "form_post" {
		if got.method != http.MethodPost || got.header.Get("Content-Type") != "application/x-www-form-urlencoded" || got.rawQuery != to.RawQuery {
			m.Fatalf("the answer came by %s with %q and the query %q", got.method, got.header.Get("Content-Type"), got.rawQuery)
		}
		params = got.values()
	} else {
		if got.method != http.MethodGet || got.body != "" {
			m.Fatalf("the answer came by %s", got.method)
		}
		params = got.values()
		for name := range to.Query() { // the client's own, which stay
			params.Del(name)
		}
	}
	if got.path != to.Path {
		m.Errorf("the answer came to %s", got.path)
	}
	for name, values := range params {
		if len(values) != 1 {
			m.Errorf("%s came %d times", name, len(values))
		}
	}
	if params.Get("iss") != m.op.issuer {
		m.Errorf("iss is %q", params.Get("iss"))
	}
	if params.Get("state") != v.Get("state") || params.Has("state") != v.Has("state") {
		m.Errorf("state is %q, not %q", params.Get("state"), v.Get("state"))
	}
	return params
}

// code sends the browser with a request, which must bring a code.
func (m *module) code(c *client, b *browser, v url.Values) string {
	m.Helper()
	return m.codeOf(c, v, b.open(m.authorizeURL(v)), b)
}

func (m *module) codeOf(c *client, v url.Values, got *call, b *browser) string {
	m.Helper()
	if got == nil {
		m.Fatalf("the browser stands at the page %s:\n%s", b.page.name, b.page.body)
	}
	params := m.answered(c, v, got)
	for name := range params {
		if !slices.Contains([]string{"code", "state", "iss"}, name) {
			m.Errorf("the answer has %s=%q", name, params.Get(name))
		}
	}
	if params.Get("code") == "" {
		m.Fatalf("the answer has no code: %v", params)
	}
	checkSecret(m, "code", params.Get("code"))
	return params.Get("code")
}

// refused checks that the answer is one of these errors, by redirect.
func (m *module) refused(c *client, v url.Values, b *browser, got *call, codes ...string) {
	m.Helper()
	if got == nil {
		m.Fatalf("the browser stands at the page %s:\n%s", b.page.name, b.page.body)
	}
	params := m.answered(c, v, got)
	if !slices.Contains(codes, params.Get("error")) {
		m.Errorf("error is %q, not one of %v", params.Get("error"), codes)
	}
	for name := range params {
		if !slices.Contains(errorMembers, name) {
			m.Errorf("the error has %s=%q", name, params.Get(name))
		}
	}
	checkDescription(m, params.Get("error_description"))
	if len(b.seen) > 0 && !(m.mode == "form_post" && slices.Equal(b.seen, []string{"formpost"})) && slices.Contains(v["prompt"], "none") {
		m.Errorf("prompt=none showed %v", b.seen)
	}
}

// errorPage checks that the browser stands at a page that says what is wrong,
// and that the relying party heard nothing.
func (m *module) errorPage(b *browser, got *call, code string) {
	m.Helper()
	if got != nil {
		m.Fatalf("the browser was sent to the client: %s %s?%s", got.method, got.path, got.rawQuery)
	}
	if b.page == nil || b.page.name != "error" || b.page.status != http.StatusBadRequest {
		m.Fatalf("the browser stands at %+v", b.page)
	}
	shown := b.page.element("error-code")
	if shown == nil || shown.FirstChild == nil || shown.FirstChild.Data != code || b.page.element("error-description") == nil {
		m.Errorf("the page does not say %s:\n%s", code, b.page.body)
	}
	if n := m.op.rp.count() - b.told; n != 0 {
		m.Errorf("the client was told %d times", n)
	}
}

// token asks the token endpoint as the client.
func (m *module) token(c *client, form url.Values) (*http.Response, map[string]any) {
	m.Helper()
	form = maps.Clone(form)
	switch c.auth {
	case "client_secret_post":
		form.Set("client_id", c.id)
		form.Set("client_secret", c.secret)
	case "private_key_jwt":
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", m.assertion(c))
	}
	req, err := http.NewRequestWithContext(m.Context(), http.MethodPost, m.op.endpoint("token_endpoint"), strings.NewReader(form.Encode()))
	if err != nil {
		m.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.auth == "client_secret_basic" {
		req.SetBasicAuth(url.QueryEscape(c.id), url.QueryEscape(c.secret))
	}
	resp, body := m.op.do(m, req)
	checkNoStore(m, "token", resp)
	return resp, object(m, resp, body)
}

// assertion is a client assertion, as the suite makes it (OIDC Core section 9).
func (m *module) assertion(c *client) string {
	m.Helper()
	now := time.Now()
	return m.sign(c.key, c.kid, map[string]any{
		"iss": c.id, "sub": c.id, "aud": c.audience, "jti": random(20, ""), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
}

func (m *module) sign(key *rsa.PrivateKey, kid string, claims map[string]any) string {
	m.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		m.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		m.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		m.Fatal(err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		m.Fatal(err)
	}
	return compact
}

// exchange is the token request for a code.
func exchange(c *client, code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {c.redirect}}
}

// tokens are what a token request brought.
type tokens struct {
	access, id, refresh string
}

// checkTokens is what every token response must be (RFC 6749 section 5.1).
func (m *module) checkTokens(resp *http.Response, answer map[string]any) tokens {
	m.Helper()
	if resp.StatusCode != http.StatusOK {
		m.Fatalf("the token endpoint answered %s: %v", resp.Status, answer)
	}
	text := func(name string) string { s, _ := answer[name].(string); return s }
	if !strings.EqualFold(text("token_type"), "bearer") {
		m.Errorf("token_type is %v", answer["token_type"])
	}
	if n, _ := answer["expires_in"].(float64); n <= 0 {
		m.Errorf("the suite warns: expires_in is %v", answer["expires_in"])
	}
	got := tokens{access: text("access_token"), id: text("id_token"), refresh: text("refresh_token")}
	checkSecret(m, "access token", got.access)
	if got.refresh != "" {
		checkSecret(m, "refresh token", got.refresh)
	}
	return got
}

// tokenError checks a refusal of the token endpoint (RFC 6749 section 5.2).
func (m *module) tokenError(resp *http.Response, answer map[string]any, code string) {
	m.Helper()
	description, _ := answer["error_description"].(string)
	checkDescription(m, description)
	if resp.StatusCode != http.StatusBadRequest || answer["error"] != code || answer["access_token"] != nil {
		m.Errorf("the token endpoint answered %s: %v", resp.Status, answer)
	}
}

// A flow is a sign-in from the first request to UserInfo.
type flow struct {
	tokens
	code     string
	id       jwt
	userinfo map[string]any
}

// run is the flow of most modules: everything it brings is checked.
func (m *module) run(c *client, b *browser, given ...string) flow {
	m.Helper()
	v := m.request(c, given...)
	return m.finish(c, v, m.code(c, b, v), nil)
}

// finish redeems the code of a request and asks UserInfo.
func (m *module) finish(c *client, v url.Values, code string, inIDToken []string) flow {
	m.Helper()
	f := flow{code: code}
	f.tokens = m.checkTokens(m.token(c, exchange(c, code)))
	if f.tokens.id == "" {
		m.Fatal("there is no ID token")
	}
	f.id = m.checkIDToken(c, f.tokens.id, v.Get("nonce"), inIDToken...)
	m.checkAccessTokenHash(f.id, f.access)
	f.userinfo = m.userinfo(f, http.MethodGet, "header")
	return f
}

// userinfo asks UserInfo by the method, with the token in the header or in the
// body.
func (m *module) userinfo(f flow, method, where string) map[string]any {
	m.Helper()
	resp, body := m.askUserInfo(f.access, method, where)
	if resp.StatusCode != http.StatusOK {
		m.Fatalf("UserInfo answered %s: %s", resp.Status, body)
	}
	checkNoStore(m, "UserInfo", resp)
	claims := object(m, resp, body)
	checkClaims(m, "UserInfo", claims)
	if claims["sub"] != f.id.claims["sub"] {
		m.Errorf("sub is %v at UserInfo and %v in the ID token", claims["sub"], f.id.claims["sub"])
	}
	return claims
}

func (m *module) askUserInfo(access, method, where string) (*http.Response, []byte) {
	m.Helper()
	var body io.Reader
	if where == "body" {
		body = strings.NewReader(url.Values{"access_token": {access}}.Encode())
	}
	req, err := http.NewRequestWithContext(m.Context(), method, m.op.endpoint("userinfo_endpoint"), body)
	if err != nil {
		m.Fatal(err)
	}
	if where == "body" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		req.Header.Set("Authorization", "Bearer "+access)
	}
	return m.op.do(m, req)
}

// leftHalf is at_hash for the algorithms with SHA-256.
func leftHalf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// same checks that two flows are of one sign-in.
func (m *module) same(first, second flow) {
	m.Helper()
	for _, name := range []string{"sub", "auth_time", "sid"} {
		if first.id.claims[name] != second.id.claims[name] {
			m.Errorf("%s was %v and is %v", name, first.id.claims[name], second.id.claims[name])
		}
	}
}

// silently checks that nothing was shown but the page that posts an answer.
func (m *module) silently(b *browser) {
	m.Helper()
	for _, name := range b.seen {
		if name != "formpost" {
			m.Errorf("the person saw %v", b.seen)
		}
	}
}

// pause waits: the module is about time that passes.
func pause(d time.Duration) { <-time.After(d) }

// waitPast waits until that second is over; tokens have times in seconds.
func waitPast(second float64) { pause(time.Until(time.Unix(int64(second)+1, 0))) }

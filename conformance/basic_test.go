package conformance_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// basic are the modules of the basic plan, and of form post, whose requests all
// have response_mode=form_post. Their clients are the operator's
// (client_registration=static_client): people are asked each time about one that
// registered itself, and two modules want to go without.
func basic(plan string) []line {
	return []line{
		{plan, "oidcc-server", (*module).server, skip{}},
		{plan, "oidcc-response-type-missing", (*module).responseTypeMissing, skip{}},
		{plan, "oidcc-idtoken-signature", (*module).registersNoAlg, skip{}},
		{plan, "oidcc-idtoken-unsigned", nil, noUnsignedIDTokens},
		{plan, "oidcc-userinfo-get", func(m *module) { m.userinfoBy(http.MethodGet, "header") }, skip{}},
		{plan, "oidcc-userinfo-post-header", func(m *module) { m.userinfoBy(http.MethodPost, "header") }, skip{}},
		{plan, "oidcc-userinfo-post-body", func(m *module) { m.userinfoBy(http.MethodPost, "body") }, skip{}},
		{plan, "oidcc-ensure-request-without-nonce-succeeds-for-code-flow", func(m *module) { m.happy("nonce", "") }, skip{}},
		{plan, "oidcc-scope-profile", func(m *module) { m.scope("openid profile", "profile") }, skip{}},
		{plan, "oidcc-scope-email", func(m *module) { m.scope("openid email", "email") }, skip{}},
		{plan, "oidcc-scope-address", func(m *module) { m.scope("openid address", "address") }, skip{}},
		{plan, "oidcc-scope-phone", func(m *module) { m.scope("openid phone", "phone") }, skip{}},
		{plan, "oidcc-scope-all", func(m *module) {
			m.scope("openid profile email address phone", "profile", "email", "address", "phone")
		}, skip{}},
		{plan, "oidcc-alternate-happy-flow", (*module).alternate, skip{}},
		{plan, "oidcc-display-page", func(m *module) { m.happy("display", "page") }, skip{}},
		{plan, "oidcc-display-popup", func(m *module) { m.happy("display", "popup") }, skip{}},
		{plan, "oidcc-prompt-login", (*module).promptLogin, skip{}},
		{plan, "oidcc-prompt-none-not-logged-in", (*module).promptNoneNotLoggedIn, skip{}},
		{plan, "oidcc-prompt-none-logged-in", (*module).promptNoneLoggedIn, skip{}},
		{plan, "oidcc-max-age-1", (*module).maxAge1, skip{}},
		{plan, "oidcc-max-age-10000", (*module).maxAge10000, skip{}},
		{plan, "oidcc-ensure-request-with-unknown-parameter-succeeds", func(m *module) { m.happy("extra", "foobar") }, skip{}},
		{plan, "oidcc-id-token-hint", (*module).idTokenHint, skip{}},
		{plan, "oidcc-login-hint", (*module).loginHint, skip{}},
		{plan, "oidcc-ui-locales", func(m *module) { m.happy("ui_locales", "se") }, skip{}},
		{plan, "oidcc-claims-locales", func(m *module) { m.happy("claims_locales", "se") }, skip{}},
		{plan, "oidcc-ensure-request-with-acr-values-succeeds", (*module).acrValues, skip{}},
		{plan, "oidcc-codereuse", (*module).codeReuse, skip{}},
		{plan, "oidcc-codereuse-30seconds", (*module).codeReuseLater, skip{}},
		{plan, "oidcc-ensure-registered-redirect-uri", (*module).unregisteredRedirect, skip{}},
		{plan, "oidcc-ensure-post-request-succeeds", (*module).postRequest, skip{}},
		{plan, "oidcc-server-client-secret-post", func(m *module) { m.auth = "client_secret_post"; m.server() }, skip{}},
		{plan, "oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported", nil, noUnsignedRequests},
		{plan, "oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", nil, noUnsignedRequests},
		{plan, "oidcc-claims-essential", (*module).claimsEssential, skip{}},
		{plan, "oidcc-ensure-request-object-with-redirect-uri", nil, noUnsignedRequests},
		{plan, "oidcc-refresh-token", (*module).refreshToken, skip{}},
		{plan, "oidcc-ensure-request-with-valid-pkce-succeeds", (*module).pkce, skip{}},
	}
}

// happy is a flow whose request has a parameter more, or less.
func (m *module) happy(given ...string) {
	m.run(m.client(nil), m.op.browser(m), given...)
}

// server is the plain code flow; what it asks of every token is asked of all.
func (m *module) server() {
	f := m.run(m.client(nil), m.op.browser(m))
	if len(f.userinfo) != 1 {
		m.Errorf("UserInfo tells %v for the scope openid", f.userinfo)
	}
}

// registersNoAlg is of a client that registers itself, as it can nowhere else be
// that none is said.
func (m *module) registersNoAlg() {
	m.static = false
	if f := m.run(m.client(nil), m.op.browser(m)); f.id.alg != "RS256" || f.id.kid == "" {
		m.Errorf("the ID token has alg %s and kid %q", f.id.alg, f.id.kid)
	}
}

func (m *module) responseTypeMissing() {
	c, b := m.client(nil), m.op.browser(m)
	v := m.request(c, "response_type", "")
	if got := b.open(m.authorizeURL(v)); got != nil {
		m.refused(c, v, b, got, "unsupported_response_type", "invalid_request")
		return
	}
	m.errorPage(b, nil, "invalid_request")
}

func (m *module) userinfoBy(method, where string) {
	f := m.run(m.client(nil), m.op.browser(m))
	m.userinfo(f, method, where)
}

// scope is a flow that asks for scopes, and is told exactly their claims, at
// UserInfo and not in the ID token.
func (m *module) scope(asked string, scopes ...string) flow {
	for _, s := range scopes {
		if !m.op.offers("scopes_supported", s) {
			m.Errorf("the scope %s is not offered", s)
		}
	}
	f := m.run(m.client(nil), m.op.browser(m), "scope", asked)
	m.tells(f, scopes...)
	return f
}

// tells checks that UserInfo has every claim of the scopes and no other.
func (m *module) tells(f flow, scopes ...string) {
	m.Helper()
	want := []string{"sub"}
	for _, s := range scopes {
		want = append(want, scopeClaims[s]...)
	}
	for _, name := range want {
		if f.userinfo[name] == nil {
			m.Errorf("the suite warns: UserInfo lacks %s", name)
		}
	}
	for name := range f.userinfo {
		if !slices.Contains(want, name) {
			m.Errorf("the suite warns: UserInfo tells %s", name)
		}
	}
}

// alternate has scopes and parameters in another order than usual.
func (m *module) alternate() {
	c, b := m.client(nil), m.op.browser(m)
	v := m.request(c, "scope", "email openid")
	var pairs []string
	for pair := range strings.SplitSeq(v.Encode(), "&") {
		pairs = append(pairs, pair)
	}
	slices.Reverse(pairs)
	got := b.open(m.op.endpoint("authorization_endpoint") + "?" + strings.Join(pairs, "&"))
	m.tells(m.finish(c, v, m.codeOf(c, v, got, b), nil), "email")
}

// authTime is when the person of an ID token signed in, in seconds.
func authTime(f flow) float64 {
	at, _ := f.id.claims["auth_time"].(float64)
	return at
}

// again checks that the person had to sign in, and since when they have.
func (m *module) again(b *browser, first, second flow) {
	m.Helper()
	if len(b.logins) != 1 {
		m.Errorf("the person was not asked to sign in again: %v", b.seen)
	}
	if authTime(second) <= authTime(first) || first.id.claims["sub"] != second.id.claims["sub"] {
		m.Errorf("auth_time was %v and is %v", authTime(first), authTime(second))
	}
}

func (m *module) promptLogin() {
	c, b := m.client(nil), m.op.browser(m)
	first := m.run(c, b)
	waitPast(authTime(first))
	second := m.run(c, b, "prompt", "login")
	m.again(b, first, second)
}

func (m *module) promptNoneNotLoggedIn() {
	c, b := m.client(nil), m.op.browser(m)
	v := m.request(c, "prompt", "none", "state", random(128, "-._~"))
	m.refused(c, v, b, b.open(m.authorizeURL(v)), signedOut...)
}

// signedOut are the errors of prompt=none that say so (OIDC Core section
// 3.1.2.6).
var signedOut = []string{"login_required", "interaction_required", "account_selection_required", "consent_required"}

func (m *module) promptNoneLoggedIn() {
	c, b := m.client(nil), m.op.browser(m)
	first := m.run(c, b)
	second := m.run(c, b, "prompt", "none")
	m.silently(b)
	m.same(first, second)
}

func (m *module) maxAge1() {
	c, b := m.client(nil), m.op.browser(m)
	first := m.run(c, b)
	waitPast(authTime(first) + 1)
	second := m.run(c, b, "max_age", "1")
	m.again(b, first, second)
	if age := float64(time.Now().Unix()) - authTime(second); age > 300 {
		m.Errorf("auth_time is %v seconds ago", age)
	}
}

func (m *module) maxAge10000() {
	c, b := m.client(nil), m.op.browser(m)
	first := m.run(c, b, "max_age", "15000")
	second := m.run(c, b, "max_age", "10000")
	m.silently(b)
	m.same(first, second)
	if authTime(second) == 0 {
		m.Error("there is no auth_time")
	}
}

func (m *module) idTokenHint() {
	c, b := m.client(nil), m.op.browser(m)
	first := m.run(c, b)
	second := m.run(c, b, "prompt", "none", "id_token_hint", first.tokens.id)
	m.silently(b)
	m.same(first, second)
}

// loginHint is about somebody without an account here, and tells nobody so.
func (m *module) loginHint() {
	c, b := m.client(nil), m.op.browser(m)
	m.run(c, b, "login_hint", "buffy@localhost")
	known, unknown := m.hinted(c, person), m.hinted(c, "nobody@example.org")
	if known.status != unknown.status || strings.ReplaceAll(known.shape(), person, "") != strings.ReplaceAll(unknown.shape(), "nobody@example.org", "") {
		m.Error("the page tells whether there is an account")
	}
}

// hinted is the sign-in page for a hint.
func (m *module) hinted(c *client, hint string) *page {
	b := m.op.browser(m)
	b.undecided = true
	if b.open(m.authorizeURL(m.request(c, "login_hint", hint))); b.page == nil || b.page.element("login-form") == nil {
		m.Fatal("a hint shows no sign-in page")
	}
	return b.page
}

// shape is the text of a page without what is random in it.
func (p *page) shape() string {
	body := p.body
	for _, in := range all(p.root, "input") {
		if v := attr(in, "value"); attr(in, "type") == "hidden" && v != "" {
			body = strings.ReplaceAll(body, v, "")
		}
	}
	return body
}

func (m *module) acrValues() {
	var offered []string
	list, _ := m.op.metadata["acr_values_supported"].([]any)
	for _, v := range list {
		s, _ := v.(string)
		offered = append(offered, s)
	}
	f := m.run(m.client(nil), m.op.browser(m), "acr_values", strings.Join(offered, " "))
	if acr, _ := f.id.claims["acr"].(string); !slices.Contains(offered, acr) {
		m.Errorf("the suite warns: acr is %q, of %v", acr, offered)
	}
}

func (m *module) codeReuse() {
	c := m.client(nil)
	f := m.run(c, m.op.browser(m))
	resp, answer := m.token(c, exchange(c, f.code))
	m.tokenError(resp, answer, "invalid_grant")
}

// codeReuseLater waits as long as the suite with GATEHOUSE_TEST_SLOW, otherwise
// just longer than two requests of one client may race.
func (m *module) codeReuseLater() {
	c := m.client(nil)
	f := m.run(c, m.op.browser(m))
	wait := 4 * time.Second
	if slow() {
		wait = 30 * time.Second
	}
	pause(wait)
	resp, answer := m.token(c, exchange(c, f.code))
	m.tokenError(resp, answer, "invalid_grant")
	if resp, body := m.askUserInfo(f.access, http.MethodGet, "header"); resp.StatusCode < 400 || resp.StatusCode > 499 {
		m.Errorf("the suite warns: the token of the first use is answered with %s: %s", resp.Status, body)
	}
}

func (m *module) unregisteredRedirect() {
	c, b := m.client(nil), m.op.browser(m)
	m.errorPage(b, b.open(m.authorizeURL(m.request(c, "redirect_uri", c.redirect+"/"+random(10, "")))), "invalid_request")
}

// postRequest comes from another site, at a browser that is signed in there
// already and one that is not.
func (m *module) postRequest() {
	c, b := m.client(nil), m.op.browser(m)
	v := m.request(c)
	first := m.finish(c, v, m.codeOf(c, v, b.post(m.op.endpoint("authorization_endpoint"), v), b), nil)
	v = m.request(c)
	second := m.finish(c, v, m.codeOf(c, v, b.post(m.op.endpoint("authorization_endpoint"), v), b), nil)
	m.silently(b)
	m.same(first, second)
}

func (m *module) claimsEssential() {
	claims, err := json.Marshal(map[string]any{"userinfo": map[string]any{"name": map[string]any{"essential": true}}})
	if err != nil {
		m.Fatal(err)
	}
	f := m.run(m.client(nil), m.op.browser(m), "claims", string(claims))
	if f.userinfo["name"] == nil || len(f.userinfo) != 2 {
		m.Errorf("the suite warns: UserInfo tells %v", f.userinfo)
	}
}

// refreshToken is of two clients, neither of whom can use the other's token.
func (m *module) refreshToken() {
	grants := map[string]any{"grant_types": []string{"authorization_code", "refresh_token"}}
	one, other := m.client(grants), m.client(grants)
	b := m.op.browser(m)
	first := m.run(one, b, "scope", "openid offline_access", "prompt", "consent")
	second := m.run(other, b, "scope", "openid offline_access", "prompt", "consent", "nonce", random(43, "-._~"))
	for _, f := range []flow{first, second} {
		if f.refresh == "" {
			m.Fatal("no refresh token came")
		}
	}
	iat, _ := second.id.claims["iat"].(float64)
	waitPast(iat) // or a new one could not be told from the old
	m.refresh(one, first)
	m.refresh(other, second)
	resp, answer := m.token(one, refreshing(second.refresh))
	m.tokenError(resp, answer, "invalid_grant")
}

func refreshing(token string) map[string][]string {
	return map[string][]string{"grant_type": {"refresh_token"}, "refresh_token": {token}, "scope": {"openid offline_access"}}
}

// refresh refreshes the tokens of a flow, and compares.
func (m *module) refresh(c *client, f flow) {
	m.Helper()
	got := m.checkTokens(m.token(c, refreshing(f.refresh)))
	if got.access == f.access || got.refresh == "" {
		m.Errorf("a refresh brought the old access token (%v) or no refresh token (%v)", got.access == f.access, got.refresh == "")
	}
	if got.id == "" {
		return
	}
	nonce := ""
	j := m.op.verify(m, got.id)
	if n, ok := j.claims["nonce"].(string); ok { // it may have none (OIDC Core section 12.2)
		nonce, _ = f.id.claims["nonce"].(string)
		if n != nonce {
			m.Errorf("nonce was %q and is %q", nonce, n)
		}
	}
	j = m.checkIDToken(c, got.id, nonce)
	m.checkAccessTokenHash(j, got.access)
	for _, name := range []string{"iss", "sub", "aud", "azp", "auth_time", "sid"} {
		if j.claims[name] != f.id.claims[name] {
			m.Errorf("%s was %v and is %v", name, f.id.claims[name], j.claims[name])
		}
	}
	was, _ := f.id.claims["iat"].(float64)
	if is, _ := j.claims["iat"].(float64); is <= was {
		m.Errorf("iat was %v and is %v", was, is)
	}
}

func (m *module) pkce() {
	c, b := m.client(nil), m.op.browser(m)
	verifier := random(64, "-._~")
	v := m.request(c, "code_challenge", s256(verifier), "code_challenge_method", "S256")
	form := exchange(c, m.code(c, b, v))
	form.Set("code_verifier", verifier)
	got := m.checkTokens(m.token(c, form))
	m.checkIDToken(c, got.id, v.Get("nonce"))
}

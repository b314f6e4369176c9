package conformance_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// dynamic are the modules of the dynamic plan for response_type=code.
func dynamic(plan string) []line {
	return []line{
		{plan, "oidcc-server", (*module).server, skip{}},
		{plan, "oidcc-discovery-endpoint-verification", (*module).dynamicDiscovery, skip{}},
		{plan, "oidcc-idtoken-rs256", (*module).idTokenRS256, skip{}},
		{plan, "oidcc-userinfo-rs256", (*module).userinfoRS256, skip{}},
		{plan, "oidcc-ensure-redirect-uri-in-authorization-request", (*module).noRedirect, skip{}},
		{plan, "oidcc-redirect-uri-query-OK", (*module).redirectQuery, skip{}},
		{plan, "oidcc-redirect-uri-query-mismatch", func(m *module) { m.otherRedirect("?foo=bar", "?bar=foo") }, skip{}},
		{plan, "oidcc-redirect-uri-query-added", func(m *module) { m.otherRedirect("", "?foo=bar") }, skip{}},
		{plan, "oidcc-redirect-uri-regfrag", (*module).redirectFragment, skip{}},
		{plan, "oidcc-registration-logo-uri", (*module).logo, skip{}},
		{plan, "oidcc-registration-policy-uri", func(m *module) { m.link("policy_uri", "/policy.html") }, skip{}},
		{plan, "oidcc-registration-tos-uri", func(m *module) { m.link("tos_uri", "/tos.html") }, skip{}},
		{plan, "oidcc-registration-jwks-uri", (*module).jwksURI, skip{}},
		{plan, "oidcc-registration-sector-uri", nil, noPairwise},
		{plan, "oidcc-registration-sector-bad", nil, noPairwise},
		{plan, "oidcc-refresh-token-rp-key-rotation", (*module).rpKeyRotation, skip{}},
		{plan, "oidcc-request-uri-unsigned", nil, noUnsignedRequests},
		{plan, "oidcc-request-uri-signed-rs256", nil, noRequestURI},
		{plan, "oidcc-ensure-request-object-with-redirect-uri", nil, noUnsignedRequests},
		{plan, "oidcc-refresh-token", (*module).refreshToken, skip{}},
		{plan, "oidcc-ensure-client-assertion-with-iss-aud-succeeds", (*module).issuerAudience, skip{}},
		{plan, "oidcc-server-rotate-keys", (*module).rotateKeys, skip{}},
	}
}

// slow reports whether modules wait as long as the suite does.
func slow() bool { return os.Getenv("GATEHOUSE_TEST_SLOW") == "1" }

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (m *module) dynamicDiscovery() {
	m.discovery()
	m.checkJWKS()
	for _, want := range []struct{ list, value string }{
		{"response_types_supported", "id_token"},
		{"response_types_supported", "token id_token"},
		{"grant_types_supported", "implicit"},
	} {
		m.should(want.list+" lacks "+want.value, m.op.offers(want.list, want.value))
	}
}

func (m *module) idTokenRS256() {
	f := m.run(m.register(map[string]any{"id_token_signed_response_alg": "RS256"}), m.op.browser(m))
	if f.id.alg != "RS256" || f.id.kid == "" {
		m.Errorf("the ID token has alg %s and kid %q", f.id.alg, f.id.kid)
	}
}

func (m *module) userinfoRS256() {
	if !m.op.offers("userinfo_signing_alg_values_supported", "RS256") {
		m.Error("RS256 is not offered for UserInfo")
	}
	c, b := m.register(map[string]any{"userinfo_signed_response_alg": "RS256"}), m.op.browser(m)
	v := m.request(c)
	got := m.checkTokens(m.token(c, exchange(c, m.code(c, b, v))))
	id := m.checkIDToken(c, got.id, v.Get("nonce"))
	resp, body := m.askUserInfo(got.access, http.MethodGet, "header")
	if resp.StatusCode != http.StatusOK || mediaType(resp) != "application/jwt" {
		m.Fatalf("UserInfo answered %s, %q", resp.Status, resp.Header.Get("Content-Type"))
	}
	checkNoStore(m, "UserInfo", resp)
	j := m.op.verify(m, string(body))
	checkClaims(m, "UserInfo", j.claims)
	if j.alg != "RS256" || j.claims["nonce"] != nil || j.claims["sub"] != id.claims["sub"] {
		m.Errorf("UserInfo is %+v", j)
	}
	if j.claims["iss"] != m.op.issuer || j.claims["aud"] != c.id {
		m.Errorf("the suite warns: UserInfo has iss %v and aud %v", j.claims["iss"], j.claims["aud"])
	}
}

func (m *module) noRedirect() {
	c, b := m.register(map[string]any{"redirect_uris": []string{m.callback(), m.callback() + "/other"}}), m.op.browser(m)
	m.errorPage(b, b.open(m.authorizeURL(m.request(c, "redirect_uri", ""))), "invalid_request")
}

func (m *module) redirectQuery() {
	c, b := m.register(map[string]any{"redirect_uris": []string{m.callback() + "?foo=bar"}}), m.op.browser(m)
	c.redirect += "?foo=bar"
	v := m.request(c)
	got := b.open(m.authorizeURL(v))
	code := m.codeOf(c, v, got, b)
	if !strings.HasPrefix(got.rawQuery, "foo=bar&") {
		m.Errorf("the query is %s", got.rawQuery)
	}
	m.finish(c, v, code, nil)
}

// otherRedirect asks for an address whose query is not the one registered.
func (m *module) otherRedirect(registered, asked string) {
	c, b := m.register(map[string]any{"redirect_uris": []string{m.callback() + registered}}), m.op.browser(m)
	m.errorPage(b, b.open(m.authorizeURL(m.request(c, "redirect_uri", m.callback()+asked))), "invalid_request")
}

func (m *module) redirectFragment() {
	resp, answer := m.tryRegister(map[string]any{"redirect_uris": []string{m.callback() + "#fragment"}})
	if resp.StatusCode != http.StatusBadRequest || answer["error"] != "invalid_redirect_uri" && answer["error"] != "invalid_client_metadata" {
		m.Errorf("the registration was answered with %s: %v", resp.Status, answer)
	}
}

// signInPage is the page at which a client's people sign in.
func (m *module) signInPage(c *client) *page {
	m.Helper()
	b := m.op.browser(m)
	b.undecided = true
	b.open(m.authorizeURL(m.request(c)))
	if b.page == nil || b.page.element("login-form") == nil {
		m.Fatalf("there is no sign-in page, but %+v", b.page)
	}
	return b.page
}

// logo is shown from the server's own address: the person's browser asks the
// client for nothing.
func (m *module) logo() {
	const png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89" +
		"\x00\x00\x00\nIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00\x00\x00IEND\xaeB`\x82"
	address := m.op.rp.serve(m.path+"/logo.png", "image/png", png)
	c := m.register(map[string]any{"logo_uri": address})
	p := m.signInPage(c)
	img := p.find(func(n *html.Node) bool { return n.Data == "img" })
	if img == nil {
		m.Fatalf("the page shows no logo:\n%s", p.body)
	}
	at, err := p.url.Parse(attr(img, "src"))
	if err != nil || at.Host != p.url.Host {
		m.Fatalf("the logo is at %q", attr(img, "src"))
	}
	resp, body := m.op.get(m, at.String())
	if resp.StatusCode != http.StatusOK || mediaType(resp) != "image/png" || string(body) != png {
		m.Errorf("the logo is answered with %s, %q, %d bytes", resp.Status, resp.Header.Get("Content-Type"), len(body))
	}
	if !strings.Contains(p.header.Get("Content-Security-Policy"), "img-src 'self'") {
		m.Errorf("the policy shows no picture: %s", p.header.Get("Content-Security-Policy"))
	}
}

// link is an address of the client's own, which the sign-in page leads to.
func (m *module) link(member, path string) {
	address := m.op.rp.serve(m.path+path, "text/html", "<!doctype html><title>Words</title>")
	p := m.signInPage(m.register(map[string]any{member: address}))
	if p.find(func(n *html.Node) bool { return n.Data == "a" && attr(n, "href") == address }) == nil {
		m.Errorf("the page does not lead to %s:\n%s", address, p.body)
	}
}

// serveKeys has the relying party serve a key set.
func (m *module) serveKeys(kid string, which int) string {
	m.Helper()
	b, err := json.Marshal(keySet(suiteKeys()[which], kid))
	if err != nil {
		m.Fatal(err)
	}
	return m.op.rp.serve(m.path+"/jwks", "application/json", string(b))
}

func (m *module) jwksURI() {
	c := m.register(map[string]any{"jwks": nil, "jwks_uri": m.serveKeys("first", 0)})
	c.kid = "first"
	m.run(c, m.op.browser(m))
	if len(m.op.rp.got(m.path+"/jwks")) == 0 {
		m.Error("the server did not fetch the keys")
	}
}

// rpKeyRotation has the client sign with a new key. The server reads a key set
// anew for a key it does not know, but not before half a minute after the last
// time: without GATEHOUSE_TEST_SLOW the module ends where that wait begins.
func (m *module) rpKeyRotation() {
	c := m.register(map[string]any{
		"jwks": nil, "jwks_uri": m.serveKeys("first", 0), "grant_types": []string{"authorization_code", "refresh_token"},
	})
	c.kid = "first"
	f := m.run(c, m.op.browser(m), "scope", "openid offline_access", "prompt", "consent")
	m.serveKeys("second", 1)
	rotated := *c
	rotated.key, rotated.kid = suiteKeys()[1], "second"
	if !slow() {
		resp, answer := m.token(&rotated, refreshing(f.refresh))
		if resp.StatusCode != http.StatusUnauthorized || answer["error"] != "invalid_client" {
			m.Errorf("before the keys are read again the answer is %s: %v", resp.Status, answer)
		}
		if n := len(m.op.rp.got(m.path + "/jwks")); n != 1 {
			m.Errorf("the keys were fetched %d times in a moment", n)
		}
		m.checkTokens(m.token(c, refreshing(f.refresh))) // which cost nothing
		return
	}
	pause(31 * time.Second)
	m.refresh(&rotated, f)
}

func (m *module) issuerAudience() {
	c := m.register(nil)
	c.audience = m.op.issuer
	m.run(c, m.op.browser(m))
}

// rotateKeys has the operator rotate. What the old keys have signed stays good.
func (m *module) rotateKeys() {
	c, b := m.register(nil), m.op.browser(m)
	first := m.run(c, b)
	before := kids(m.op.jwks(m))
	m.op.command(m.T, "keys", "rotate")
	published := 0
	for deadline := time.Now().Add(20 * time.Second); ; pause(200 * time.Millisecond) {
		now := kids(m.op.jwks(m))
		for kid := range before {
			if !now[kid] {
				m.Fatalf("the suite warns: the key %s is gone", kid)
			}
		}
		if published = len(now) - len(before); published > 0 {
			break
		}
		if time.Now().After(deadline) {
			m.Fatal("no new key is published")
		}
	}
	m.checkJWKS()
	second := m.run(c, b, "id_token_hint", first.tokens.id)
	m.same(first, second)
	if len(b.logins) > 0 {
		m.Error("the person had to sign in again")
	}
	m.Logf("%d new keys", published)
}

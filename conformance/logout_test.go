package conformance_test

import (
	"crypto/tls"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

func rpInitiatedLogout(plan string) []line {
	const name = "oidcc-rp-initiated-logout"
	return []line{
		{plan, name + "-discovery-endpoint-verification", (*module).logoutDiscovery, skip{}},
		{plan, name, (*module).logout, skip{}},
		{plan, name + "-bad-post-logout-redirect-uri", (*module).logoutElsewhere, skip{}},
		{plan, name + "-modified-id-token-hint", (*module).logoutUnsigned, skip{}},
		{plan, name + "-no-id-token-hint", (*module).logoutWithoutHint, skip{}},
		{plan, name + "-no-params", func(m *module) { m.logoutShown() }, skip{}},
		{plan, name + "-no-post-logout-redirect-uri", func(m *module) { m.logoutShown("id_token_hint", "state") }, skip{}},
		{plan, name + "-no-state", (*module).logoutWithoutState, skip{}},
		{plan, name + "-only-state", func(m *module) { m.logoutShown("state") }, skip{}},
		{plan, name + "-query-added-to-post-logout-redirect-uri", (*module).logoutQuery, skip{}},
		{plan, name + "-bad-id-token-hint", (*module).logoutForeign, skip{}},
	}
}

func backchannelLogout(plan string) []line {
	return []line{
		{plan, "oidcc-backchannel-logout-discovery-endpoint-verification", (*module).backchannelDiscovery, skip{}},
		{plan, "oidcc-backchannel-rp-initiated-logout", (*module).backchannel, skip{}},
	}
}

func otherLogout(plan string) []line {
	return []line{
		{plan, "oidcc-frontchannel-rp-initiated-logout", nil, noFrontchannel},
		{plan, "oidcc-session-management-rp-initiated-logout", nil, noSessionManagement},
	}
}

func (m *module) logoutDiscovery() {
	if !strings.HasPrefix(m.op.endpoint("end_session_endpoint"), "https://") {
		m.Errorf("end_session_endpoint is %q", m.op.endpoint("end_session_endpoint"))
	}
}

func (m *module) backchannelDiscovery() {
	m.logoutDiscovery()
	for _, name := range []string{"backchannel_logout_supported", "backchannel_logout_session_supported"} {
		if m.op.metadata[name] != true {
			m.Errorf("%s is %v", name, m.op.metadata[name])
		}
	}
}

// A leaving is a person who is signed in through a client and about to sign out.
type leaving struct {
	c    *client
	b    *browser
	flow flow
	// all are the parameters of an end session request.
	all url.Values
}

func (m *module) leave(more map[string]any) leaving {
	m.Helper()
	back := m.op.rp.url + m.path + "/post_logout_redirect"
	document := map[string]any{"post_logout_redirect_uris": []string{back}}
	maps.Copy(document, more)
	l := leaving{c: m.register(document), b: m.op.browser(m)}
	l.flow = m.run(l.c, l.b, "state", random(128, "-._~"))
	l.all = url.Values{"id_token_hint": {l.flow.tokens.id}, "post_logout_redirect_uri": {back}, "state": {random(128, "-._~")}}
	return l
}

// end sends the browser to the end session endpoint with these parameters.
func (m *module) end(l leaving, params url.Values) *call {
	m.Helper()
	address := m.op.endpoint("end_session_endpoint")
	if len(params) > 0 {
		address += "?" + params.Encode()
	}
	return l.b.open(address)
}

// ended checks that the session is over, as the suite does.
func (m *module) ended(l leaving) {
	m.Helper()
	v := m.request(l.c, "prompt", "none", "state", random(128, "-._~"))
	m.refused(l.c, v, l.b, l.b.open(m.authorizeURL(v)), signedOut...)
}

// back checks that the browser came back with the state and nothing else.
func (m *module) back(got *call, l leaving, state string) {
	m.Helper()
	if got == nil {
		m.Fatalf("the browser stands at %s:\n%s", l.b.page.name, l.b.page.body)
	}
	want := url.Values{}
	if state != "" {
		want.Set("state", state)
	}
	if got.method != http.MethodGet || got.path != m.path+"/post_logout_redirect" || got.rawQuery != want.Encode() {
		m.Errorf("the browser came back by %s %s?%s, not with %s", got.method, got.path, got.rawQuery, want.Encode())
	}
}

// nowhere checks that the browser was not sent to the client, also when the
// person has confirmed, and stands at a page.
func (m *module) nowhere(got *call, l leaving) {
	m.Helper()
	if got != nil {
		m.Fatalf("the browser was sent to %s?%s", got.path, got.rawQuery)
	}
	if calls := m.op.rp.got(m.path + "/post_logout_redirect"); len(calls) > 0 {
		m.Errorf("the client heard of it: %v", calls)
	}
	if !slices.Contains([]string{"error", "logout", "signed-out"}, l.b.page.name) {
		m.Errorf("the browser stands at %s:\n%s", l.b.page.name, l.b.page.body)
	}
}

func (m *module) logout() {
	l := m.leave(nil)
	m.back(m.end(l, l.all), l, l.all.Get("state"))
	m.ended(l)
}

func (m *module) logoutWithoutState() {
	l := m.leave(nil)
	l.all.Del("state")
	m.back(m.end(l, l.all), l, "")
	m.ended(l)
}

func (m *module) logoutElsewhere() {
	l := m.leave(nil)
	l.all.Set("post_logout_redirect_uri", l.all.Get("post_logout_redirect_uri")+"/"+random(10, ""))
	m.nowhere(m.end(l, l.all), l)
}

func (m *module) logoutQuery() {
	l := m.leave(nil)
	l.all.Set("post_logout_redirect_uri", l.all.Get("post_logout_redirect_uri")+"?foo=bar")
	m.nowhere(m.end(l, l.all), l)
}

func (m *module) logoutUnsigned() {
	l := m.leave(nil)
	l.all.Set("id_token_hint", unsigned(l.flow.tokens.id))
	m.nowhere(m.end(l, l.all), l)
}

// logoutForeign has a hint that says what ours says, and that the suite has
// signed.
func (m *module) logoutForeign() {
	l := m.leave(nil)
	l.all.Set("id_token_hint", m.sign(suiteKeys()[0], l.flow.id.kid, l.flow.id.claims))
	m.nowhere(m.end(l, l.all), l)
}

func (m *module) logoutWithoutHint() {
	l := m.leave(nil)
	l.all.Del("id_token_hint")
	m.nowhere(m.end(l, l.all), l)
}

// logoutShown is a request with no address to come back to: the person is
// signed out, and told so.
func (m *module) logoutShown(with ...string) {
	l := m.leave(nil)
	params := url.Values{}
	for _, name := range with {
		params.Set(name, l.all.Get(name))
	}
	m.nowhere(m.end(l, params), l)
	if l.b.page.name != "signed-out" || l.b.page.status != http.StatusOK {
		m.Errorf("the browser stands at %s (%d)", l.b.page.name, l.b.page.status)
	}
	m.ended(l)
}

// backchannel is told of the end of the session, and the browser comes back.
func (m *module) backchannel() {
	path := m.path + "/backchannel_logout"
	l := m.leave(map[string]any{"backchannel_logout_uri": m.op.rp.url + path, "backchannel_logout_session_required": true})
	if l.c.registered["backchannel_logout_uri"] != m.op.rp.url+path || l.c.registered["backchannel_logout_session_required"] != true {
		m.Errorf("registered is %v", l.c.registered)
	}
	m.back(m.end(l, l.all), l, l.all.Get("state"))
	var calls []call
	for deadline := time.Now().Add(30 * time.Second); len(calls) == 0; pause(50 * time.Millisecond) {
		if calls = m.op.rp.got(path); time.Now().After(deadline) {
			m.Fatal("the client was not told")
		}
	}
	told := calls[0]
	if told.method != http.MethodPost || told.header.Get("Content-Type") != "application/x-www-form-urlencoded" || told.rawQuery != "" || len(told.values()) != 1 {
		m.Errorf("it was told by %s with %q: %s?%s", told.method, told.header.Get("Content-Type"), told.body, told.rawQuery)
	}
	if told.tls != tls.VersionTLS13 {
		m.Errorf("the suite warns: TLS is %s", tls.VersionName(told.tls))
	}
	j := m.op.verify(m, told.values().Get("logout_token"))
	checkClaims(m, "logout token", j.claims)
	now, id := time.Now().Unix(), l.flow.id.claims
	number := func(name string) int64 { n, _ := j.claims[name].(float64); return int64(n) }
	if j.alg != l.flow.id.alg || j.typ != "logout+jwt" {
		m.Errorf("alg is %s and typ %q", j.alg, j.typ)
	}
	for _, name := range []string{"iss", "aud", "sub", "sid"} {
		if j.claims[name] == nil || j.claims[name] != id[name] {
			m.Errorf("%s is %v in the logout token and %v in the ID token", name, j.claims[name], id[name])
		}
	}
	if jti, _ := j.claims["jti"].(string); jti == "" {
		m.Error("there is no jti")
	}
	if _, has := j.claims["nonce"]; has {
		m.Error("there is a nonce")
	}
	if events, _ := json.Marshal(j.claims["events"]); string(events) != `{"http://schemas.openid.net/event/backchannel-logout":{}}` {
		m.Errorf("events are %s", events)
	}
	if iat, exp := number("iat"), number("exp"); iat < now-60 || iat > now+5 || exp <= now || exp > iat+120 {
		m.Errorf("iat is %d and exp %d, now is %d", iat, exp, now)
	}
	m.ended(l)
}

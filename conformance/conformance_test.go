package conformance_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
)

// The plans, by the suite's names without the ending they all have.
const (
	planConfig      = "oidcc-config"
	planBasic       = "oidcc-basic"
	planFormPost    = "oidcc-formpost-basic"
	planDynamic     = "oidcc-dynamic"
	planLogout      = "oidcc-rp-initiated-logout"
	planBackchannel = "oidcc-backchannel-rp-initiated-logout"
	planOtherLogout = "oidcc-frontchannel-and-session-management"
	planThirdParty  = "oidcc-3rdparty-init-login"
)

// A line is one module of a plan.
type line struct {
	plan, name string
	run        func(*module)
	// skip says why the suite skips the module; the zero value runs it.
	skip skip
}

// A skip is why a module ends SKIPPED at the suite, and what of the metadata
// makes it. As soon as that no longer holds, the module is missing.
type skip struct {
	reason string
	holds  func(*op) bool
}

var (
	noUnsignedIDTokens = skip{
		"id_token_signing_alg_values_supported lacks none",
		func(o *op) bool { return !o.offers("id_token_signing_alg_values_supported", "none") },
	}
	noUnsignedRequests = skip{
		"request_object_signing_alg_values_supported lacks none",
		func(o *op) bool {
			return o.metadata["request_object_signing_alg_values_supported"] != nil && !o.offers("request_object_signing_alg_values_supported", "none")
		},
	}
	noRequestURI = skip{
		"request_uri_parameter_supported is false: the server fetches no request",
		func(o *op) bool { return o.metadata["request_uri_parameter_supported"] == false },
	}
	noPairwise = skip{
		"subject_types_supported lacks pairwise",
		func(o *op) bool { return !o.offers("subject_types_supported", "pairwise") },
	}
	noFrontchannel = skip{
		"frontchannel_logout_supported is absent: third-party cookies, which it needs, are not sent",
		func(o *op) bool { return o.metadata["frontchannel_logout_supported"] == nil },
	}
	noSessionManagement = skip{
		"check_session_iframe is absent, for the same reason",
		func(o *op) bool { return o.metadata["check_session_iframe"] == nil },
	}
)

// accepted are warnings and failures of the suite that we live with.
var accepted = map[string]string{
	planDynamic + "/oidcc-discovery-endpoint-verification: response_types_supported lacks id_token":       "the implicit flow is not offered (RFC 9700 section 2.1.2)",
	planDynamic + "/oidcc-discovery-endpoint-verification: response_types_supported lacks token id_token": "the implicit flow is not offered (RFC 9700 section 2.1.2)",
	planDynamic + "/oidcc-discovery-endpoint-verification: grant_types_supported lacks implicit":          "the implicit flow is not offered (RFC 9700 section 2.1.2)",
}

// expected is how many modules each plan has; a module that is forgotten is
// found by its absence.
var expected = map[string]int{
	planConfig: 1, planBasic: 38, planFormPost: 38, planDynamic: 22, planLogout: 11, planBackchannel: 2, planOtherLogout: 2, planThirdParty: 2,
}

func lines() []line {
	return slices.Concat(
		[]line{{planConfig, "oidcc-discovery-endpoint-verification", func(m *module) { m.discovery(); m.checkJWKS() }, skip{}}},
		basic(planBasic),
		basic(planFormPost),
		dynamic(planDynamic),
		rpInitiatedLogout(planLogout),
		backchannelLogout(planBackchannel),
		otherLogout(planOtherLogout),
		[]line{
			{planThirdParty, "oidcc-3rd_party-init-login", (*module).thirdParty, skip{}},
			{planThirdParty, "oidcc-3rd_party-init-login-nohttps", (*module).thirdPartyHTTP, skip{}},
		},
	)
}

// TestLines holds the list to what each plan has.
func TestLines(t *testing.T) {
	count, seen := map[string]int{}, map[string]bool{}
	for _, l := range lines() {
		count[l.plan]++
		if key := l.plan + "/" + l.name; seen[key] {
			t.Errorf("%s is there twice", key)
		} else {
			seen[key] = true
		}
		if (l.run == nil) == (l.skip.reason == "") {
			t.Errorf("%s/%s is neither run nor skipped, or both", l.plan, l.name)
		}
	}
	if !maps.Equal(count, expected) {
		t.Errorf("there are %v modules, not %v", count, expected)
	}
}

// TestConformance runs every module of every plan.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	o := start(t)
	ran, passed, skipped := 0, 0, 0
	all := lines()
	for first, last := 0, 0; first < len(all); first = last {
		for last < len(all) && all[last].plan == all[first].plan {
			last++
		}
		t.Run(all[first].plan, func(t *testing.T) {
			for n, l := range all[first:last] {
				if l.skip.reason != "" {
					skipped++
					t.Logf("%s: skipped: %s", l.name, l.skip.reason)
					if !l.skip.holds(o) {
						t.Errorf("%s: that is not so any more: write the module", l.name)
					}
					continue
				}
				t.Run(l.name, func(t *testing.T) {
					ran++
					l.run(newModule(t, o, l, n))
					if !t.Failed() {
						passed++
					}
				})
			}
		})
	}
	t.Logf("conformance: %d of %d modules passed, %d skipped as the suite skips them, %d in all", passed, ran, skipped, len(all))
	if ran+skipped == len(all) && passed == ran { // not with -run
		for key := range accepted {
			if !o.met[key] {
				t.Errorf("accepted has %q, which does not happen", key)
			}
		}
	}
}

func newModule(t *testing.T, o *op, l line, n int) *module {
	m := &module{T: t, op: o, line: l, path: fmt.Sprintf("/test/a/%s-%d", l.plan, n), auth: "client_secret_basic"}
	switch l.plan {
	case planBasic, planFormPost:
		m.static, m.path = true, "/test/a/static"
		if l.plan == planFormPost {
			m.mode = "form_post"
		}
	case planDynamic:
		m.auth = "private_key_jwt"
	}
	return m
}

// thirdParty registers an address at which others start a sign-in.
func (m *module) thirdParty() {
	address := m.op.rp.serve(m.path+"/initiate", "text/html", "<!doctype html><title>Sign in</title>")
	c := m.register(map[string]any{"initiate_login_uri": address})
	if c.registered["initiate_login_uri"] != address {
		m.Errorf("the registration has %v", c.registered["initiate_login_uri"])
	}
	var read map[string]any
	if status := m.configuration(c, http.MethodGet, &read); status != http.StatusOK || read["initiate_login_uri"] != address {
		m.Errorf("the registration is read with %d: %v", status, read)
	}
}

func (m *module) thirdPartyHTTP() {
	u, err := url.Parse(m.op.rp.url)
	if err != nil {
		m.Fatal(err)
	}
	u.Scheme = "http"
	resp, answer := m.tryRegister(map[string]any{"initiate_login_uri": u.String() + m.path + "/initiate"})
	if resp.StatusCode != http.StatusBadRequest || answer["error"] != "invalid_client_metadata" {
		m.Errorf("the registration was answered with %s: %v", resp.Status, answer)
	}
}

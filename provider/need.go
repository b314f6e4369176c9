package provider

import (
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/consent"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A step is what must happen next with an authorize request.
type step int

const (
	issue step = iota
	loginPage
	registerPage
	selectPage
	consentPage
	denied
	loginRequired
	consentRequired
	unmet
)

// need says what must happen before q may be answered (OIDC Core section
// 3.1.2.3). It is asked anew each time the browser comes to /authorize, and
// looks at nothing but what is stored. u is the person of the session.
func need(q request, s *storage.Session, u storage.User, c consent.Decision, now time.Time) step {
	switch {
	case q.denied:
		return denied
	case s == nil || q.stale(*s, u, now):
		switch {
		case q.silent():
			return loginRequired
		case slices.Contains(q.prompt, "create"):
			return registerPage
		case s != nil && q.selects(*s):
			return selectPage
		default:
			return loginPage
		}
	case !q.acr.metBy(s.AMR):
		return unmet
	case !c.Granted && q.silent():
		return consentRequired
	case !c.Granted:
		return consentPage
	default:
		return issue
	}
}

// silent reports whether the request forbids showing a page.
func (q request) silent() bool { return slices.Contains(q.prompt, "none") }

// stale reports whether the request asks for a newer or a stronger proof of the
// person than the session has, or for another person. A proof given since the
// request came is always new enough (OIDC Core section 3.1.2.1, prompt and
// max_age).
func (q request) stale(s storage.Session, u storage.User, now time.Time) bool {
	if q.another(s) {
		return true
	}
	// Every sign-in asks for the second factor of those who have one. A mere wish
	// for it is not worth an error where no page may be shown.
	if u.SecondFactor && q.acr.stepsUp(s.AMR) && (q.acr.essential || !q.silent()) {
		return true
	}
	if !s.AuthTime.Before(q.requestedAt) {
		return false
	}
	if slices.Contains(q.prompt, "login") || q.selects(s) || slices.Contains(q.prompt, "create") {
		return true
	}
	return q.maxAge != nil && now.Sub(s.AuthTime) > *q.maxAge
}

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
	consentPage
	denied
	loginRequired
	consentRequired
)

// need says what must happen before q may be answered (OIDC Core section
// 3.1.2.3). It is asked anew each time the browser comes to /authorize, and
// looks at nothing but what is stored.
func need(q request, s *storage.Session, c consent.Decision, now time.Time) step {
	silent := slices.Contains(q.prompt, "none")
	switch {
	case q.denied:
		return denied
	case s == nil || q.stale(*s, now):
		switch {
		case silent:
			return loginRequired
		case slices.Contains(q.prompt, "create"):
			return registerPage
		default:
			return loginPage
		}
	case !c.Granted && silent:
		return consentRequired
	case !c.Granted:
		return consentPage
	default:
		return issue
	}
}

// stale reports whether the request asks for a newer proof of the person than
// the session has, or for another person. A proof given since the request came
// is always new enough (OIDC Core section 3.1.2.1, prompt and max_age).
func (q request) stale(s storage.Session, now time.Time) bool {
	if q.hintedUser != "" && q.hintedUser != s.UserID {
		return true
	}
	if !s.AuthTime.Before(q.requestedAt) {
		return false
	}
	if slices.Contains(q.prompt, "login") || slices.Contains(q.prompt, "select_account") || slices.Contains(q.prompt, "create") {
		return true
	}
	return q.maxAge != nil && now.Sub(s.AuthTime) > *q.maxAge
}

package web_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestTooManyAttempts(t *testing.T) {
	h := open(t, option{})
	owner := h.browser(t)
	owner.register("known@example.com")
	owner.follow(owner.submit(owner.open("/account"), "/logout", "scope", "all"))
	// fail signs in wrongly until it is refused for a while.
	fail := func(b *browser, email string) answer {
		t.Helper()
		page := b.wants(b.open("/login"), "login", 200)
		for n := range 7 {
			a := b.submit(page, "/login", "identifier", email, "password", "another one altogether")
			if strings.HasPrefix(a.Header.Get("Location"), "/limited") {
				if n != 5 {
					t.Errorf("%s: refused at try %d", email, n+1)
				}
				return b.follow(a)
			}
		}
		t.Fatalf("%s: never refused", email)
		return answer{}
	}
	b, stranger := h.browser(t), h.browser(t)
	known := b.wants(fail(b, "known@example.com"), "error", 429, "Too many attempts",
		"To protect this account, sign-in is paused. You can try again at", "Nobody has signed in.",
		"Reset your password", "Back to sign in", `id="error-page"`, `id="error-code">limited`)
	unknown := stranger.wants(fail(stranger, "nobody@example.com"), "error", 429)
	t.Run("seed-C1 sec-L1 an unknown address reads the same", func(t *testing.T) {
		// The two were refused seconds apart: the times are told, not compared.
		times := regexp.MustCompile(`datetime="[^"]*"|\d\d:\d\d UTC|about \d+ minutes|in \d+ minutes`)
		norm := func(a answer, email string) string {
			a.Header.Del("Retry-After")
			return times.ReplaceAllString(told(a, email), "…")
		}
		if a, b := norm(known, "known@example.com"), norm(unknown, "nobody@example.com"); a != b {
			t.Errorf("the answers differ\n%s\n--- unknown ---\n%s", a, b)
		}
	})
	end := func(a answer) time.Time {
		t.Helper()
		m := regexp.MustCompile(`<time datetime="([^"]+)" data-local="time"><b>(\d\d:\d\d) UTC</b></time>, in about (\d+) minutes?\.`).FindStringSubmatch(a.body)
		if m == nil {
			t.Fatalf("no time\n%s", a.body)
		}
		at, err := time.Parse(time.RFC3339, m[1])
		if err != nil || at.Format("15:04") != m[2] {
			t.Errorf("%s is %s UTC: %v", m[1], m[2], err)
		}
		if !strings.Contains(a.body, "<title>Try again in "+m[3]+" minute") {
			t.Errorf("the title says another time than %s minutes", m[3])
		}
		return at
	}
	path := known.Request.URL.RequestURI()
	t.Run("looking at the page does not move the time", func(t *testing.T) {
		a := b.wants(b.get(path), "error", 429)
		first := end(a)
		if wait := first.Sub(h.now()); wait < 4*time.Minute || wait > 6*time.Minute {
			t.Errorf("the wait is %v", wait)
		}
		h.pass(2 * time.Minute)
		a = b.wants(b.get(path), "error", 429)
		if got := end(a); got != first {
			t.Errorf("the time moved from %v to %v", first, got)
		}
		seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
		wait := first.Sub(h.now()) // which is up to a minute longer: the time shown is a full minute
		if after := time.Duration(seconds) * time.Second; err != nil || after > wait+time.Second || after < wait-61*time.Second || after < time.Second {
			t.Errorf("Retry-After %q, %v before the time", a.Header.Get("Retry-After"), wait)
		}
		h.pass(-2 * time.Minute)
	})
	t.Run("also the right password has to wait", func(t *testing.T) {
		b.wants(b.signIn(b.open("/login"), "known@example.com"), "error", 429)
	})
	t.Run("seed-D3 the owner's own browser has not", func(t *testing.T) {
		owner.wants(owner.signIn(owner.open("/login"), "known@example.com"), "account", 200)
	})
	t.Run("Back to sign in is the page, with the address", func(t *testing.T) {
		b.wants(b.open(strings.Replace(path, "/limited", "/login", 1)), "login", 200, `value="known@example.com"`)
	})
	t.Run("after the wait the page leads on", func(t *testing.T) {
		h.pass(6 * time.Minute)
		page := b.wants(b.open(path), "login", 200)
		b.wants(b.signIn(page, "known@example.com"), "account", 200)
	})
	t.Run("without a refusal there is no page", func(t *testing.T) {
		b := h.browser(t)
		b.wants(b.open("/limited"), "login", 200)
		b.wants(b.open("/limited?flow="+b.open("/login").hidden().Get("flow")), "login", 200)
	})
}

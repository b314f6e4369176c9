package web_test

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

var (
	inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	noScript     = regexp.MustCompile(`(?s)<noscript>(.*?)</noscript>`)
	formAction   = regexp.MustCompile(`<form [^>]*method="post" action="([^"]*)">`)
)

// The page that posts an answer to the app (OAuth 2.0 Form Post Response Mode),
// whose policy lets it do that and nothing else.
func TestFormPost(t *testing.T) {
	h := open(t, option{})
	app := h.client(t, storage.Client{ID: "notes", Name: "Notes", RedirectURIs: []string{"https://app.example/cb?a=1&b=2"}})
	b := h.browser(t)
	b.register("asha@example.com")
	page := b.wants(b.open(authorize(app)), "consent", 200)
	b.follow(b.submit(page, "/consent", "decision", "allow", "remember", "1", "account", page.hidden().Get("account")))

	state := `"><script>alert(1)</script>é`
	page = b.wants(b.open(authorize(app, "response_mode", "form_post", "state", state)), "formpost", 200)

	t.Run("sec-A11 what is in the query otherwise is in the form", func(t *testing.T) {
		fields := page.hidden()
		if fields.Get("state") != state || fields.Get("iss") != h.URL || len(fields.Get("code")) < 43 || len(fields) != 3 {
			t.Errorf("the form has %v", fields)
		}
		if strings.Contains(page.body, "<script>alert") {
			t.Error("the state is a script")
		}
		if m := formAction.FindStringSubmatch(page.body); m == nil || strings.ReplaceAll(m[1], "&amp;", "&") != app.RedirectURIs[0] {
			t.Errorf("the form goes to %v", m)
		}
	})
	t.Run("sec-A11 fosite-F9 it works under its own policy", func(t *testing.T) {
		policy := strings.Split(page.Header.Get("Content-Security-Policy"), "; ")
		scripts := inlineScript.FindAllStringSubmatch(page.body, -1)
		if len(scripts) != 1 || strings.Contains(page.body, "onload") {
			t.Fatalf("scripts: %v", scripts)
		}
		sum := sha256.Sum256([]byte(scripts[0][1]))
		want := []string{
			"default-src 'none'", "style-src 'self'", "script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'",
			"form-action https://app.example", "base-uri 'none'", "frame-ancestors 'none'",
		}
		if !slices.Equal(policy, want) {
			t.Errorf("the policy is %q, want %q", policy, want)
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
			"Content-Type": "text/html; charset=utf-8",
		} {
			if got := page.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})
	t.Run("sec-A11 without scripts there is a button", func(t *testing.T) {
		form := page.body[strings.Index(page.body, "<form "):strings.Index(page.body, "</form>")]
		m := noScript.FindStringSubmatch(form)
		if m == nil || !strings.Contains(m[1], `type="submit"`) || strings.Contains(m[1], "hidden") {
			t.Errorf("noscript has %v", m)
		}
	})
	t.Run("errors are posted too", func(t *testing.T) {
		page := h.browser(t).open(authorize(app, "response_mode", "form_post", "prompt", "none"))
		if fields := page.hidden(); page.page() != "formpost" || fields.Get("error") != "login_required" || fields.Get("state") != "s" {
			t.Errorf("page %q has %v", page.page(), fields)
		}
	})
	t.Run("an IPv6 address, which a policy cannot name, is allowed by its scheme", func(t *testing.T) {
		native := h.client(t, storage.Client{ID: "native", Name: "Native", RedirectURIs: []string{"http://[::1]:8080/cb"}})
		page := h.browser(t).open(authorize(native, "response_mode", "form_post", "prompt", "none"))
		if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action http:;") {
			t.Errorf("the policy is %q", csp)
		}
	})
	t.Run("the journey through the pages ends there", func(t *testing.T) {
		other := h.client(t, storage.Client{ID: "other", Name: "Other", RedirectURIs: []string{"https://other.example/cb"}})
		page := b.wants(b.open(authorize(other, "response_mode", "form_post")), "consent", 200)
		page = b.follow(b.submit(page, "/consent", "decision", "deny", "account", page.hidden().Get("account")))
		if fields := page.hidden(); page.page() != "formpost" || fields.Get("error") != "access_denied" {
			t.Errorf("page %q has %v", page.page(), fields)
		}
	})
}

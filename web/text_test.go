package web

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
)

// used finds every key of the catalogue that templates and code name.
func used(t *testing.T) map[string]bool {
	t.Helper()
	keys := map[string]bool{}
	call := regexp.MustCompile(`\bt "([a-z_.-]+)"`)
	err := fs.WalkDir(templateFiles, "templates", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := templateFiles.ReadFile(path)
		for _, m := range call.FindAllStringSubmatch(string(raw), -1) {
			keys[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestSentences(t *testing.T) {
	c, err := loadCatalogue("en")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("every sentence that a template names is there", func(t *testing.T) {
		keys := used(t)
		if len(keys) < 30 {
			t.Fatalf("found %d keys in the templates: the search is broken", len(keys))
		}
		for key := range keys {
			if !c.has(key) {
				t.Errorf("no sentence %q", key)
			}
		}
	})
	t.Run("every page has a title", func(t *testing.T) {
		f, err := NewFrame("", Links{}, false)
		if err != nil {
			t.Fatal(err)
		}
		pages, err := f.Parse(templateFiles, "templates/*.html")
		if err != nil {
			t.Fatal(err)
		}
		for name := range pages {
			if name != "frame" && name != "partials" && name != "error" && !c.has(name+".title") {
				t.Errorf("page %q has no title", name)
			}
		}
	})
	t.Run("every event of an account has words", func(t *testing.T) {
		done := []string{
			login.EventRegistered, login.EventMailboxProved, login.EventSignIn, login.EventResetAsked, login.EventPasswordReset,
			login.EventPasswordChanged, login.EventEmailChange, login.EventEmailChanged, login.EventSecondFactorOn,
			login.EventSecondFactorOff, login.EventRecoveryUsed, login.EventRecoveryReplaced, login.EventSessionEnded,
			login.EventAppWithdrawn, login.EventSignedOutEverywhere,
			"session.ended", "consent.granted", "user.created", "user.suspended", "user.restored", "user.revoked",
		}
		refused := []string{
			login.EventSignIn, login.EventSecondFactor, login.EventCode, login.EventLimited, login.EventPasswordChanged,
			login.EventEmailChanged, login.EventSecondFactorOn, "consent.denied", "token.reuse", "code.replay",
		}
		for _, kind := range done {
			if !c.has("event." + kind + ".ok") {
				t.Errorf("no sentence for %q", kind)
			}
		}
		for _, kind := range refused {
			if !c.has("event." + kind + ".refused") {
				t.Errorf("no sentence for %q when it is refused", kind)
			}
		}
	})
	t.Run("every field has a label", func(t *testing.T) {
		for key := range inputs {
			if !c.has("field." + key + ".label") {
				t.Errorf("field %q has no label", key)
			}
		}
	})
	t.Run("no sentence holds markup but numbered elements", func(t *testing.T) {
		for key, s := range c.sentences {
			if strings.ContainsAny(placeholder.ReplaceAllString(s, ""), "<>{}") {
				t.Errorf("%s: %q", key, s)
			}
		}
	})
	t.Run("values are escaped and elements are not", func(t *testing.T) {
		c := catalogue{sentences: map[string]string{"k": "a < {name}, <0>go {name}</0>"}}
		got := string(c.html("k", "name", `<b>"`, "0", link(`/x?a=1&b="`)))
		want := `a &lt; &lt;b&gt;&#34;, <a href="/x?a=1&amp;b=&#34;">go &lt;b&gt;&#34;</a>`
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got := c.plain("k", "name", "N"); got != "a < N, go N" {
			t.Errorf("plain: %q", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	c, err := loadCatalogue("en")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range login.Reasons() {
		how, ok := refusals[reason]
		if !ok {
			t.Errorf("login.Reason %q has no page, field and sentence", reason)
			continue
		}
		key := "error." + how.sentence + ".title"
		switch how.status {
		case 200:
			key = "problem." + how.sentence
		case 303:
			key = "notice." + how.sentence
		}
		if !c.has(key) {
			t.Errorf("login.Reason %q: no sentence %q", reason, key)
		}
		if _, ok := inputs[how.field]; how.field != "" && !ok {
			t.Errorf("login.Reason %q: no input %q", reason, how.field)
		}
	}
	for page, own := range wordings {
		for field, to := range own.field {
			if _, ok := inputs[to]; !ok {
				t.Errorf("page %q, field %q: no input %q", page, field, to)
			}
		}
		for sentence, to := range own.sentence {
			if !c.has("problem."+sentence) || !c.has("problem."+to) {
				t.Errorf("page %q: no sentence %q or %q", page, sentence, to)
			}
		}
	}
	for step, page := range stepPages {
		if !c.has(page + ".title") {
			t.Errorf("step %q: no page %q", step, page)
		}
	}
	if len(refusals) != len(login.Reasons()) {
		t.Errorf("%d refusals for %d reasons", len(refusals), len(login.Reasons()))
	}
}

func TestSource(t *testing.T) {
	for _, c := range []struct{ name, redirect, want string }{
		{"nobody waits", "", ""},
		{"a web app is its origin", "https://app.example/cb?x=1", "https://app.example"},
		{"a port belongs to the origin", "http://127.0.0.1:8123/cb", "http://127.0.0.1:8123"},
		{"a custom scheme is the scheme alone", "com.example.app:/cb", "com.example.app:"},
		{"an IPv6 literal cannot be said", "http://[::1]:8123/cb", "http:"},
		{"what would end the directive is left out", "https://app.example;script-src *", ""},
		{"what is no URL is left out", "://", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := source(c.redirect); got != c.want {
				t.Errorf("source(%q) = %q, want %q", c.redirect, got, c.want)
			}
		})
	}
}

func TestInitials(t *testing.T) {
	for name, want := range map[string]string{
		"Asha Gurung": "AG", "tidepool": "T", "": "?", "<b>": "B", "आशा गुरुङ": "आग", "a b c": "AC",
	} {
		if got := initials(name); got != want {
			t.Errorf("initials(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestAcceptsGzip(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "gzip": true, "br, GZIP;q=0.5": true, "gzip;q=0": false, "gzip; q=0.0": false, "br": false, "x-gzip": false,
	} {
		if got := acceptsGzip([]string{header}); got != want {
			t.Errorf("acceptsGzip(%q) = %v, want %v", header, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	f, err := NewFrame("", Links{}, false)
	if err != nil {
		t.Fatal(err)
	}
	s := &Web{frame: f}
	for wait, want := range map[time.Duration]string{
		time.Second: "1 minute", time.Minute: "1 minute", 61 * time.Second: "2 minutes", 2 * time.Hour: "120 minutes",
		2*time.Hour + time.Second: "3 hours", 24 * time.Hour: "24 hours",
	} {
		if got := s.words(wait); got != want {
			t.Errorf("words(%v) = %q, want %q", wait, got, want)
		}
	}
}

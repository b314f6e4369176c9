package web

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
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
		f, err := NewFrame("", Theme{}, Links{}, false)
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
	t.Run("values are escaped and elements are not", func(t *testing.T) {
		got := string(c.html("login.lede", "brand", `<b>"`, "0", link(`/x?a=1&b="`)))
		want := `New to &lt;b&gt;&#34;? <a href="/x?a=1&amp;b=&#34;">Create an account</a>`
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got := c.plain("login.lede", "brand", "<N>"); got != "New to <N>? Create an account" {
			t.Errorf("plain: %q", got)
		}
	})
	t.Run("every sentence is said somewhere", func(t *testing.T) {
		words := literals(t, ".", "../text", "../mail", "../consent", "../login", "../provider", "../cmd/gatehouse")
		said := func(key string) bool {
			if words[key] {
				return true
			}
			family, rest, _ := strings.Cut(key, ".")
			switch family {
			case "problem":
				rest = strings.TrimSuffix(rest, "_field")
				return words[rest]
			case "notice":
				return words[rest]
			case "event": // kind and outcome
				dot := strings.LastIndex(rest, ".")
				return words[rest[:dot]] && words[rest[dot+1:]]
			case "scope":
				scope, what, _ := strings.Cut(rest, ".")
				return words[scope] && (what == "heading" || what == "detail") || words[key]
			case "field", "error", "letter", "common":
				for _, word := range strings.Split(rest, ".") {
					if _, err := strconv.Atoi(word); err != nil && !words[word] && word != "label" && word != "hint" && word != "title" && word != "lede" {
						return false
					}
				}
				return true
			}
			return rest == "title" // of a page
		}
		if said("problem.quux") || said("login.quux") || said("letter.test.quux") || said("event.user.sign_in.quux") {
			t.Error("what nobody says is said: the search is broken")
		}
		for key := range c.Keys() {
			if key, _, _ = strings.Cut(key, "#"); !said(key) {
				t.Errorf("nobody says %s", key)
			}
		}
	})
}

// literals are the strings in the source and the templates below the folders,
// also those before and behind a point: parts of keys are put together.
func literals(t *testing.T, folders ...string) map[string]bool {
	t.Helper()
	words := map[string]bool{}
	quoted := regexp.MustCompile(`"([a-z0-9_.-]+)"`)
	for _, folder := range folders {
		var files []string
		for _, pattern := range []string{"*.go", "templates/*.html"} {
			found, err := filepath.Glob(filepath.Join(folder, pattern))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, found...)
		}
		if len(files) == 0 {
			t.Fatalf("nothing in %s", folder)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(filepath.Base(file), "gallery") {
				continue
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range quoted.FindAllStringSubmatch(string(raw), -1) {
				words[m[1]] = true
				for _, part := range strings.Split(m[1], ".") {
					if part != m[1] && strings.Trim(m[1], ".") != m[1] || strings.HasPrefix(m[1], "error.limited") {
						words[part] = true
					}
				}
			}
		}
	}
	return words
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

func TestWords(t *testing.T) {
	f, err := NewFrame("", Theme{}, Links{}, false)
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

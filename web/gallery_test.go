package web_test

import (
	"encoding/json"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestGallery walks /dev/pages: whatever people can be shown is there, and can be
// shown.
func TestGallery(t *testing.T) {
	h := open(t, option{dev: withDev(t)})
	b := h.browser(t)
	b.open("/login") // so that forms have their tokens

	var list []struct{ Page, State, Path string }
	if err := json.Unmarshal([]byte(b.get("/dev/pages.json").body), &list); err != nil {
		t.Fatal(err)
	}
	index := b.wants(b.get("/dev/pages"), "dev-pages", 200, "Every page")
	bodies, pages := map[string]string{}, map[string]bool{}
	for _, p := range list {
		if _, twice := bodies[p.Path]; twice {
			t.Errorf("%s is there twice", p.Path)
		}
		a := b.get(p.Path)
		bodies[p.Path], pages[p.Page] = a.text(), true
		for _, fault := range faults(a.body) {
			t.Errorf("%s: %s", p.Path, fault)
		}
		if a.page() != p.Page {
			t.Errorf("%s: shows %q, status %s\n%s", p.Path, a.page(), a.Status, a.body)
		}
		if !strings.Contains(index.body, `href="`+p.Path+`"`) {
			t.Errorf("%s is not in the index", p.Path)
		}
	}

	for _, dressed := range []string{"login", "code", "consent"} {
		a := b.get("/dev/pages/" + dressed + "/app-violet")
		for _, part := range []string{`href="(/assets/app-6b4de6-[0-9a-f]+\.css)"`, `<img src="(/assets/apps/[^"]+)"`} {
			m := regexp.MustCompile(part).FindStringSubmatch(a.body)
			if m == nil {
				t.Errorf("%s: nothing like %s", dressed, part)
			} else if got := b.get(html.UnescapeString(m[1])); got.StatusCode != 200 {
				t.Errorf("%s: %s is %s", dressed, m[1], got.Status)
			}
		}
	}

	files, err := filepath.Glob("templates/*.html")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d templates, %v", len(files), err)
	}
	parts := []string{"frame", "partials", "formpost"} // the last goes on by itself
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".html"); !pages[name] && !slices.Contains(parts, name) {
			t.Errorf("the page %q is in no state", name)
		}
	}

	raw, err := os.ReadFile("../text/en.json")
	if err != nil {
		t.Fatal(err)
	}
	var text struct {
		Problem, Notice map[string]any
		Error           map[string]any
	}
	if err := json.Unmarshal(raw, &text); err != nil {
		t.Fatal(err)
	}
	// said reports whether a page shows the sentence, up to its first
	// placeholder.
	said := func(sentence any, in ...string) bool {
		s, _ := sentence.(string)
		s = regexp.MustCompile(`</?[0-9]>`).ReplaceAllString(s, "")
		for path, body := range bodies {
			if (len(in) == 0 || strings.HasPrefix(path, in[0])) && containsPieces(body, s) {
				return true
			}
		}
		return false
	}
	for kind, sentences := range map[string]map[string]any{"problem": text.Problem, "notice": text.Notice} {
		for key, sentence := range sentences {
			if !said(sentence) {
				t.Errorf("no page says %s.%s: %q", kind, key, sentence)
			}
		}
	}
	for key, page := range text.Error {
		if of, ok := page.(map[string]any); ok {
			for name, sentence := range of {
				if !said(sentence, "/dev/pages/error/") {
					t.Errorf("no page says error.%s.%s: %q", key, name, sentence)
				}
			}
		}
	}
}

// containsPieces reports whether text has all that stands between the
// placeholders of sentence, in order.
func containsPieces(text, sentence string) bool {
	text = html.UnescapeString(text)
	for _, piece := range regexp.MustCompile(`\{[a-z_]+\}`).Split(sentence, -1) {
		i := strings.Index(text, piece)
		if i < 0 {
			return false
		}
		text = text[i+len(piece):]
	}
	return true
}

var (
	anyTag   = regexp.MustCompile(`<([a-z][a-z0-9]*)((?:\s+[a-z-]+(?:="[^"]*")?)*)\s*/?>`)
	anyAttr  = regexp.MustCompile(`([a-z-]+)(?:="([^"]*)")?`)
	aForm    = regexp.MustCompile(`(?s)<form\b.*?</form>`)
	anInline = regexp.MustCompile(`<script>|\sstyle="|\son[a-z]+="`)
)

// faults lists what no page of ours may lack, whatever its state: names for
// inputs, ties that lead somewhere, a summary of problems that has the focus,
// tokens in forms, and nothing inline.
func faults(body string) (all []string) {
	fault := func(format string, a ...any) { all = append(all, fmt.Sprintf(format, a...)) }
	type tag struct {
		name string
		attr map[string]string
	}
	var tags []tag
	ids, labels, focused := map[string]bool{}, map[string]bool{}, []string{}
	for _, m := range anyTag.FindAllStringSubmatch(body, -1) {
		of := tag{m[1], map[string]string{}}
		for _, a := range anyAttr.FindAllStringSubmatch(m[2], -1) {
			of.attr[a[1]] = html.UnescapeString(a[2])
		}
		if id, ok := of.attr["id"]; ok {
			if ids[id] {
				fault("the id %q is there twice", id)
			}
			ids[id] = true
		}
		if of.name == "label" {
			labels[of.attr["for"]] = true
		}
		if _, ok := of.attr["autofocus"]; ok {
			focused = append(focused, of.attr["id"])
		}
		tags = append(tags, of)
	}
	for _, of := range tags {
		for _, tie := range []string{"aria-describedby", "aria-labelledby", "aria-controls", "for"} {
			for _, id := range strings.Fields(of.attr[tie]) {
				if !ids[id] {
					fault("%s of <%s> names %q, which is not there", tie, of.name, id)
				}
			}
		}
		if to, ok := strings.CutPrefix(of.attr["href"], "#"); ok && !ids[to] {
			fault("a link leads to #%s, which is not there", to)
		}
		kind := of.attr["type"]
		if of.name == "input" && kind != "hidden" && of.attr["aria-hidden"] != "true" {
			if id := of.attr["id"]; !labels[id] || id != of.attr["name"] && kind != "checkbox" && kind != "radio" {
				fault("the input %v has no label, or an id that is not its name", of.attr)
			}
			if _, ok := of.attr["autocomplete"]; !ok && kind != "checkbox" && kind != "radio" {
				fault("the input %v does not say what it is for", of.attr)
			}
		}
		if _, ok := of.attr["value"]; ok && kind == "password" {
			fault("a password is filled in")
		}
		if _, ok := of.attr["disabled"]; ok {
			fault("<%s> is disabled", of.name)
		}
	}
	if n := strings.Count(body, "<h1"); n != 1 {
		fault("%d h1", n)
	}
	switch problem := ids["problem"]; {
	case problem && (len(focused) != 1 || focused[0] != "problem"):
		fault("the focus is at %v, not at the summary of problems", focused)
	case problem && !strings.Contains(body, `role="alert" tabindex="-1" autofocus id="problem"`):
		fault("the summary of problems is none for assistive technology")
	case problem != strings.Contains(body, "<title>Error: "):
		fault("the title does not tell of the problem, or of one that there is not")
	case len(focused) > 1:
		fault("the focus is at %v", focused)
	}
	for _, form := range aForm.FindAllString(body, -1) {
		if !strings.Contains(form, `method="post"`) || !strings.Contains(form, "novalidate") ||
			!strings.Contains(form, `name="csrf_token"`) || !strings.Contains(form, `name="flow"`) {
			fault("a form lacks its method, novalidate, csrf_token or flow: %.120s", form)
		}
	}
	if m := anInline.FindString(body); m != "" {
		fault("has %q", m)
	}
	return all
}

// A password manager knows the fields by these (HTML section 4.10.18.7).
func TestAutofill(t *testing.T) {
	h := open(t, option{dev: withDev(t)})
	b := h.browser(t)
	b.register("asha@example.com") // so that forms have their tokens
	for _, try := range []struct{ page, id, attrs string }{
		{"login/empty", "identifier", `type="email" autocomplete="username" autocapitalize="none" maxlength="254" dir="ltr"`},
		{"login/empty", "password", `type="password" autocomplete="current-password" autocapitalize="none" maxlength="128"`},
		{"login/again", "identifier", `autocomplete="username" readonly value="asha@example.com"`},
		{"register/empty", "name", `type="text" autocomplete="name" maxlength="100"`},
		{"register/empty", "email", `type="email" autocomplete="email" autocapitalize="none" maxlength="254" dir="ltr"`},
		{"register/empty", "password", `type="password" autocomplete="new-password" maxlength="128" passwordrules="minlength: 12; maxlength: 128;"`},
		{"verify/registering", "code", `type="text" autocomplete="one-time-code" inputmode="numeric" maxlength="16" dir="ltr" autofocus`},
		{"code/empty", "code", `type="text" autocomplete="one-time-code" inputmode="numeric" maxlength="12" dir="ltr" autofocus`},
		{"recovery/empty", "recovery_code", `type="text" autocomplete="off" autocapitalize="characters" maxlength="24" dir="ltr" autofocus`},
		{"reset/empty", "identifier", `type="email" autocomplete="username" autofocus`},
		{"reset-verify/empty", "code", `autocomplete="one-time-code" inputmode="numeric" maxlength="16"`},
		{"reset-password/empty", "", `name="username" autocomplete="username" value="asha@example.com" readonly tabindex="-1" aria-hidden="true"`},
		{"reset-password/empty", "password", `type="password" autocomplete="new-password" passwordrules="minlength: 12; maxlength: 128;"`},
		{"account-password/empty", "", `name="username" autocomplete="username" value="asha@example.com" readonly tabindex="-1"`},
		{"account-password/empty", "current_password", `type="password" autocomplete="current-password"`},
		{"account-password/empty", "password", `type="password" autocomplete="new-password"`},
		{"account-confirm/empty", "", `name="username" autocomplete="username" value="asha@example.com" readonly`},
		{"account-confirm/empty", "password", `type="password" autocomplete="current-password"`},
		{"two-step-app/empty", "code", `autocomplete="one-time-code" inputmode="numeric" maxlength="12"`},
	} {
		t.Run(try.page+" "+try.id, func(t *testing.T) {
			a := b.get("/dev/pages/" + try.page)
			inputs := regexp.MustCompile(`<input [^>]*>`).FindAllString(a.body, -1)
			for _, input := range inputs {
				if try.id != "" && !strings.Contains(input, ` id="`+try.id+`"`) {
					continue
				}
				all := true
				for _, attr := range regexp.MustCompile(`[a-z-]+(="[^"]*")?`).FindAllString(try.attrs, -1) {
					all = all && strings.Contains(input, " "+attr)
				}
				if all {
					return
				}
			}
			t.Errorf("no input %q with %s in\n%s", try.id, try.attrs, strings.Join(inputs, "\n"))
		})
	}
}

// A placeholder that a template does not fill leaves a hole in the sentence.
func TestTemplatesFillTheirSentences(t *testing.T) {
	raw, err := os.ReadFile("../text/en.json")
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	sentences := map[string]string{}
	var flatten func(prefix string, tree map[string]any)
	flatten = func(prefix string, tree map[string]any) {
		for key, value := range tree {
			switch value := value.(type) {
			case string:
				sentences[prefix+key] = value
			case map[string]any:
				if other, ok := value["other"].(string); ok { // forms of a number
					sentences[prefix+key] = other
				}
				flatten(prefix+key+".", value)
			}
		}
	}
	flatten("", tree)
	files, err := filepath.Glob("templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range regexp.MustCompile(`\bt "([a-z_.-]+)"[^{}]*`).FindAllStringSubmatch(string(raw), -1) {
			seen++
			for _, hole := range regexp.MustCompile(`\{([a-z_]+)\}|<([0-9])>`).FindAllStringSubmatch(sentences[call[1]], -1) {
				if name := hole[1] + hole[2]; !strings.Contains(call[0], ` "`+name+`" `) {
					t.Errorf("%s: %s is not given %q", file, call[1], name)
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("found %d sentences in templates: the search is broken", seen)
	}
}

package text

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/feature/plural"
	cldr "golang.org/x/text/language"
)

func load(t *testing.T) map[string]*Catalogue {
	t.Helper()
	all, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// placeholders are those of a sentence, each once, in order.
func placeholders(sentence string) []string {
	found := Placeholder.FindAllString(sentence, -1)
	slices.Sort(found)
	return slices.Compact(found)
}

// faults says what a translation does not share with the English.
func faults(en, c *Catalogue) []string {
	var found []string
	fault := func(key, what string) { found = append(found, c.tag+": "+key+": "+what) }
	for key, sentence := range en.sentences {
		s, ok := c.sentences[key]
		switch {
		case !ok:
			fault(key, "is missing")
		case strings.TrimSpace(s) == "" || strings.TrimSpace(s) != s:
			fault(key, "is empty, or has space around it")
		case !slices.Equal(placeholders(s), placeholders(sentence)):
			fault(key, "has other placeholders: "+s)
		}
	}
	for key, forms := range en.plurals {
		own, ok := c.plurals[key]
		if !ok {
			fault(key, "is missing")
			continue
		}
		want := placeholders(forms["other"])
		for _, form := range c.forms {
			s, ok := own[form]
			got := placeholders(s)
			switch form {
			case "zero", "one", "two": // the word itself can say how many
				if !slices.Contains(got, "{n}") {
					got = append(got, "{n}")
					slices.Sort(got)
				}
			}
			if !ok {
				fault(key, "has no form "+form)
			} else if !slices.Equal(got, want) {
				fault(key, form+" has other placeholders: "+s)
			}
		}
		if len(own) != len(c.forms) {
			fault(key, "has forms that the language does not know")
		}
		if !slices.Contains(want, "{n}") {
			fault(key, "depends on no number")
		}
	}
	for key := range c.sentences {
		if _, ok := en.sentences[key]; !ok {
			fault(key, "is not English")
		}
	}
	for key := range c.plurals {
		if _, ok := en.plurals[key]; !ok {
			fault(key, "is not English")
		}
	}
	for key, s := range c.Keys() {
		if strings.ContainsAny(Placeholder.ReplaceAllString(s, ""), "<>{}&") {
			fault(key, "holds markup: "+s)
		}
		open := ""
		for _, m := range Placeholder.FindAllStringSubmatch(s, -1) {
			if m[2] == "" {
				continue
			}
			closes := strings.HasPrefix(m[2], "/")
			if n := strings.TrimPrefix(m[2], "/"); closes && n != open || !closes && open != "" {
				fault(key, "has elements that do not close: "+s)
			} else if closes {
				open = ""
			} else {
				open = n
			}
		}
		if open != "" {
			fault(key, "has an element that does not close: "+s)
		}
	}
	return found
}

func TestCatalogues(t *testing.T) {
	all := load(t)
	en := all[Fallback]
	if len(en.sentences) < 400 || len(en.plurals) < 5 {
		t.Fatalf("English has %d sentences and %d plurals: they are not read", len(en.sentences), len(en.plurals))
	}
	for _, tag := range Languages() {
		for _, fault := range faults(en, all[tag]) {
			t.Error(fault)
		}
	}
}

// TestFaults holds the check itself.
func TestFaults(t *testing.T) {
	en := `{"a": {"b": "Hello {name}, <0>go</0>"}, "c": {"one": "{n} code", "other": "{n} codes"}}`
	for _, c := range []struct{ sentence, own, want string }{
		{"a translation", `{"a": {"b": "<0>Weiter</0>, {name}"}, "c": {"one": "ein Code", "other": "{n} Codes"}}`, ""},
		{"a sentence is missing", `{"c": {"one": "{n} Code", "other": "{n} Codes"}}`, "a.b: is missing"},
		{"a sentence is empty", `{"a": {"b": ""}, "c": {"one": "{n} Code", "other": "{n} Codes"}}`, "a.b: is empty"},
		{"a sentence too many", `{"a": {"b": "<0>Weiter</0>, {name}", "x": "y"}, "c": {"one": "{n} Code", "other": "{n} Codes"}}`, "a.x: is not English"},
		{"a plural too many", `{"a": {"b": "<0>Weiter</0>, {name}", "x": {"other": "{n}"}}, "c": {"one": "{n} Code", "other": "{n} Codes"}}`, "a.x: is not English"},
		{"a placeholder is misspelt", `{"a": {"b": "<0>Weiter</0>, {nam}"}, "c": {"one": "{n} Code", "other": "{n} Codes"}}`, "a.b: has other placeholders"},
		{"an element is lost", `{"a": {"b": "Weiter, {name}"}, "c": {"one": "{n} Code", "other": "{n} Codes"}}`, "a.b: has other placeholders"},
		{"an element closes before it opens", `{"a": {"b": "</0>Weiter<0>, {name}"}, "c": {"one": "{n} Code", "other": "{n} Codes"}}`, "do not close"},
		{"a form is missing", `{"a": {"b": "<0>Weiter</0>, {name}"}, "c": {"other": "{n} Codes"}}`, "c: has no form one"},
		{"a form is not the language's", `{"a": {"b": "<0>Weiter</0>, {name}"}, "c": {"one": "{n} Code", "two": "{n} Codes", "other": "{n} Codes"}}`, "c: has forms"},
		{"many cannot do without their number", `{"a": {"b": "<0>Weiter</0>, {name}"}, "c": {"one": "{n} Code", "other": "Codes"}}`, "c: other has other placeholders"},
		{"a sentence for a plural", `{"a": {"b": "<0>Weiter</0>, {name}"}, "c": "{n} Codes"}`, "c: is missing"},
		{"HTML", `{"a": {"b": "<b>{name}</b> <0>go</0>"}, "c": {"one": "{n} Code", "other": "{n} Codes"}}`, "holds markup"},
		{"an entity", `{"a": {"b": "{name}&nbsp;<0>go</0>"}, "c": {"one": "{n} Code", "other": "{n} Codes"}}`, "holds markup"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			german := languages[3].language
			base, err1 := parse("en", german, []byte(en))
			own, err2 := parse("de", german, []byte(c.own))
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			got := strings.Join(faults(base, own), "\n")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	for _, raw := range []string{`{"a": 1}`, `{"a": ["b"]}`, `{"a": null}`, `[]`, `{`} {
		if _, err := parse("en", languages[0].language, []byte(raw)); err == nil {
			t.Errorf("%s was read", raw)
		}
	}
}

// TestPlurals compares our rules with those of CLDR.
func TestPlurals(t *testing.T) {
	names := map[plural.Form]string{
		plural.Zero: "zero", plural.One: "one", plural.Two: "two", plural.Few: "few", plural.Many: "many", plural.Other: "other",
	}
	for _, l := range languages {
		seen := map[string]bool{}
		for _, n := range slices.Concat(upTo(2000), []int{10_000, 1_000_000, 2_000_000, 1_000_001}) {
			want := names[plural.Cardinal.MatchPlural(cldr.MustParse(l.tag), n, 0, 0, 0, 0)]
			if l.tag == "es" && n != 0 && n%1_000_000 == 0 {
				want = "many" // CLDR 38; x/text is of CLDR 32
			}
			got := l.plural(n)
			if seen[got] = true; got != want {
				t.Errorf("%s: %d is %q, want %q", l.tag, n, got, want)
			}
		}
		if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, slices.Sorted(slices.Values(l.forms))) {
			t.Errorf("%s has the forms %v, and says %v", l.tag, got, l.forms)
		}
	}
}

func upTo(n int) []int {
	out := make([]int, n+1)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestSentence(t *testing.T) {
	all := load(t)
	noon := time.Date(2026, 11, 23, 14, 31, 0, 0, time.UTC)
	for _, c := range []struct{ about, got, want string }{
		{"a plural", all["en"].Minutes(time.Minute), "1 minute"},
		{"a wait is rounded up", all["en"].Minutes(61 * time.Second), "2 minutes"},
		{"two hours are minutes", all["en"].Minutes(2 * time.Hour), "120 minutes"},
		{"more are hours", all["en"].Minutes(2*time.Hour + time.Second), "3 hours"},
		{"Arabic has a dual", all["ar"].Minutes(2 * time.Minute), "دقيقتين"},
		{"Arabic has few", all["ar"].Minutes(5 * time.Minute), "5 دقائق"},
		{"and many", all["ar"].Minutes(15 * time.Minute), "15 دقيقة"},
		{"and hundreds, which are neither", all["ar"].Minutes(100 * time.Minute), "100 دقيقة"},
		{"Nepali digits", all["ne"].Minutes(5 * time.Minute), "५ मिनेट"},
		{"an English date", all["en"].Date(noon), "23 November 2026"},
		{"a Nepali date", all["ne"].Date(noon), "२०२६ नोभेम्बर २३"},
		{"an Arabic date", all["ar"].Date(noon), "23 نوفمبر 2026"},
		{"a German date", all["de"].Date(noon), "23. November 2026"},
		{"a Spanish date", all["es"].Date(noon), "23 de noviembre de 2026"},
		{"a Nepali time of day", all["ne"].Clock(noon), "१४:३१"},
		{"the order of words is the language's", all["ne"].Software("Firefox", "Linux"), "Linux मा Firefox"},
		{"one name is a name", all["de"].Software("", "Linux"), "Linux"},
		{"what is filled in is not read again", all["en"].Plain("two-step-app.here", "0", "x"), "On this phone? Open your authenticator app"},
		{"a value may look like a placeholder", all["en"].Plain("account.hello", "name", "{brand}"), "Hello, {brand}"},
		{"a key without sentence is the key", all["de"].Plain("no.such"), "no.such"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.about, c.got, c.want)
		}
	}
}

func TestMatch(t *testing.T) {
	for tag, want := range map[string]string{
		"en": "en", "en-GB": "en", "DE-at": "de", "es-419": "es", "ar_EG": "ar", " ne ": "ne", "ne-Deva-NP": "ne",
		"": "", "fr": "", "*": "", "eng": "", "nep": "", "-": "", "arabic": "",
	} {
		if got := Match(tag); got != want {
			t.Errorf("Match(%q) = %q, want %q", tag, got, want)
		}
	}
	if got := First("fr", "", "ar-EG", "de"); got != "ar" {
		t.Errorf("the first of ours is %q", got)
	}
	if got := First("fr"); got != "en" {
		t.Errorf("none of ours is %q", got)
	}
}

// TestScripts finds a sentence that stands in a script of another language:
// somebody has pasted it into the wrong file, or not translated it.
func TestScripts(t *testing.T) {
	own := map[string]*regexp.Regexp{"ne": regexp.MustCompile(`\p{Devanagari}`), "ar": regexp.MustCompile(`\p{Arabic}`)}
	latin := regexp.MustCompile(`\b[a-z]{3,}\b`) // a word; names begin with a capital
	for tag, c := range load(t) {
		for key, s := range c.Keys() {
			said := strings.ReplaceAll(Placeholder.ReplaceAllString(s, ""), "name@example.com", "")
			for script, letters := range own {
				if script != tag && letters.MatchString(said) {
					t.Errorf("%s: %s has letters of %s: %s", tag, key, script, s)
				}
			}
			if own[tag] != nil && (latin.MatchString(said) || !own[tag].MatchString(said) && strings.Trim(said, "–,. UTC") != "") {
				t.Errorf("%s: %s is not translated: %s", tag, key, s)
			}
		}
	}
}

// TestScopes keeps what an app will be able to do short enough to be read.
func TestScopes(t *testing.T) {
	seen := 0
	for key, s := range load(t)[Fallback].Keys() {
		if strings.HasPrefix(key, "scope.") && strings.HasSuffix(key, ".heading") {
			if seen++; len(strings.Fields(s)) > 8 {
				t.Errorf("%s has more than eight words: %s", key, s)
			}
		}
	}
	if seen < 8 {
		t.Errorf("%d scopes have words", seen)
	}
}

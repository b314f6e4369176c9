// Package text holds every sentence that Gatehouse says to people, on pages and
// in letters, in every language it speaks.
//
// A language is one JSON file, its catalogue: sentences by dotted key
// ("login.title"). A sentence is whole: it has named placeholders, {brand}, and
// elements by number, <0>…</0>, whose tags a page supplies, so that the order of
// words is the language's. What depends on a number is an object of plural
// forms (CLDR), chosen by the placeholder n.
//
// The package knows no page and no letter, executes no template, and imports
// nothing of ours.
package text

import (
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed *.json
var files embed.FS

// Fallback is the language of who has asked for none that we speak.
const Fallback = "en"

// A language is how one writes numbers and which way one reads.
type language struct {
	// name is what its speakers call it.
	name string
	dir  string
	// digits are the ten of the language, "" for 0 to 9. They are those that
	// browsers choose for it (CLDR, default numbering system), so that a time
	// written by a script looks like the sentence around it.
	digits string
	// plural is the CLDR category of a whole number.
	plural func(n int) string
	// forms are the categories that plural returns.
	forms []string
}

// languages are those we speak. English, which what is missing falls back to,
// is first.
var languages = []struct {
	tag string
	language
}{
	{"en", language{name: "English", dir: "ltr", plural: oneOther, forms: []string{"one", "other"}}},
	{"ne", language{name: "नेपाली", dir: "ltr", digits: "०१२३४५६७८९", plural: oneOther, forms: []string{"one", "other"}}},
	{"ar", language{name: "العربية", dir: "rtl", plural: arabic, forms: []string{"zero", "one", "two", "few", "many", "other"}}},
	{"de", language{name: "Deutsch", dir: "ltr", plural: oneOther, forms: []string{"one", "other"}}},
	{"es", language{name: "Español", dir: "ltr", plural: spanish, forms: []string{"one", "many", "other"}}},
}

// oneOther is the rule of languages that know one and many.
func oneOther(n int) string {
	if n == 1 {
		return "one"
	}
	return "other"
}

// spanish has a form of its own for whole millions: 1 000 000 de códigos.
func spanish(n int) string {
	switch {
	case n == 1:
		return "one"
	case n != 0 && n%1_000_000 == 0:
		return "many"
	}
	return "other"
}

func arabic(n int) string {
	switch {
	case n == 0:
		return "zero"
	case n == 1:
		return "one"
	case n == 2:
		return "two"
	case n%100 >= 3 && n%100 <= 10:
		return "few"
	case n%100 >= 11:
		return "many"
	}
	return "other"
}

// Languages lists the tags (BCP 47) of the languages there are, English first.
func Languages() []string {
	tags := make([]string, len(languages))
	for i, l := range languages {
		tags[i] = l.tag
	}
	return tags
}

// Match returns the language of ours that a tag asks for: "de-AT" is "de". What
// we do not speak is "".
func Match(tag string) string {
	primary, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(tag), "_", "-"), "-")
	for _, l := range languages {
		if strings.EqualFold(primary, l.tag) {
			return l.tag
		}
	}
	return ""
}

// First returns the first of the tags that is a language of ours, or English.
func First(tags ...string) string {
	for _, tag := range tags {
		if l := Match(tag); l != "" {
			return l
		}
	}
	return Fallback
}

// A Catalogue is one language. It is safe for concurrent use.
type Catalogue struct {
	tag string
	language
	sentences map[string]string
	plurals   map[string]map[string]string
}

// Load returns every catalogue, by tag. They are read once; nobody may change the
// map.
var Load = sync.OnceValues(readAll)

func readAll() (map[string]*Catalogue, error) {
	all := make(map[string]*Catalogue, len(languages))
	for _, l := range languages {
		raw, err := files.ReadFile(l.tag + ".json")
		if err != nil {
			return nil, fmt.Errorf("text: read %s: %w", l.tag, err)
		}
		c, err := parse(l.tag, l.language, raw)
		if err != nil {
			return nil, err
		}
		all[l.tag] = c
	}
	return all, nil
}

func parse(tag string, l language, raw []byte) (*Catalogue, error) {
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, fmt.Errorf("text: parse %s.json: %w", tag, err)
	}
	c := &Catalogue{tag: tag, language: l, sentences: map[string]string{}, plurals: map[string]map[string]string{}}
	if err := c.add("", tree); err != nil {
		return nil, fmt.Errorf("text: %s.json: %w", tag, err)
	}
	return c, nil
}

func (c *Catalogue) add(prefix string, tree map[string]any) error {
	for k, v := range tree {
		switch v := v.(type) {
		case string:
			c.sentences[prefix+k] = v
		case map[string]any:
			forms, ok := pluralForms(v)
			if ok {
				c.plurals[prefix+k] = forms
				continue
			}
			if err := c.add(prefix+k+".", v); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is a %T", prefix+k, v)
		}
	}
	return nil
}

// pluralForms tells the forms of one sentence from a section of the catalogue.
func pluralForms(tree map[string]any) (map[string]string, bool) {
	forms := map[string]string{}
	for k, v := range tree {
		s, ok := v.(string)
		switch k {
		case "zero", "one", "two", "few", "many", "other":
		default:
			ok = false
		}
		if !ok {
			return nil, false
		}
		forms[k] = s
	}
	_, ok := forms["other"]
	return forms, ok
}

// Tag is the language tag (BCP 47).
func (c *Catalogue) Tag() string { return c.tag }

// Name is what the language is called by those who speak it.
func (c *Catalogue) Name() string { return c.name }

// Dir is the direction of its script, "ltr" or "rtl".
func (c *Catalogue) Dir() string { return c.dir }

// Has reports whether there is a sentence of that key.
func (c *Catalogue) Has(key string) bool {
	_, one := c.sentences[key]
	_, many := c.plurals[key]
	return one || many
}

// Sentence is the sentence as it stands, its placeholders unfilled. n chooses
// the form of one that has several. ok is false, and the sentence is the key,
// when there is none.
func (c *Catalogue) Sentence(key string, n int) (sentence string, ok bool) {
	if s, ok := c.sentences[key]; ok {
		return s, true
	}
	if forms, ok := c.plurals[key]; ok {
		s, ok := forms[c.plural(n)]
		if !ok {
			s = forms["other"]
		}
		return s, true
	}
	return key, false
}

// Keys returns every sentence by its key; each form of a plural is one, and has
// its category after a "#".
func (c *Catalogue) Keys() map[string]string {
	all := maps.Clone(c.sentences)
	for key, forms := range c.plurals {
		for form, s := range forms {
			all[key+"#"+form] = s
		}
	}
	return all
}

// Placeholder matches {name}, and the tags <0> and </0> of an element. The name
// is the first group, or the tag's "0" or "/0" the second.
var Placeholder = regexp.MustCompile(`\{([a-z_]+)\}|<(/?[0-9])>`)

// Plain returns the sentence as text, with its placeholders filled and its
// elements gone. pairs are names and values in turn; a whole number is written
// in the digits of the language.
func (c *Catalogue) Plain(key string, pairs ...any) string {
	values := make(map[string]string, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		values[fmt.Sprint(pairs[i])] = c.Value(pairs[i+1])
	}
	s, ok := c.Sentence(key, Count(pairs))
	if !ok {
		return key
	}
	return Placeholder.ReplaceAllStringFunc(s, func(m string) string { return values[strings.Trim(m, "{}")] })
}

// Count is the number among the pairs that chooses a form: that called n.
func Count(pairs []any) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if n, ok := pairs[i+1].(int); ok && pairs[i] == "n" {
			return n
		}
	}
	return 0
}

// Value is a value as it stands in a sentence.
func (c *Catalogue) Value(v any) string {
	if n, ok := v.(int); ok {
		return c.Number(n)
	}
	return fmt.Sprint(v)
}

// Number writes n in the digits of the language.
func (c *Catalogue) Number(n int) string { return c.inDigits(strconv.Itoa(n)) }

// Date is the date of t in words, without its weekday.
func (c *Catalogue) Date(t time.Time) string {
	return c.Plain("common.date", "day", t.Day(), "month", c.Plain("common.month."+strconv.Itoa(int(t.Month()))), "year", t.Year())
}

// Clock is the time of day of t, on a clock of 24 hours.
func (c *Catalogue) Clock(t time.Time) string { return c.inDigits(t.Format("15:04")) }

// Software names a browser and the system it runs on; either may be unknown.
func (c *Catalogue) Software(browser, system string) string {
	if browser == "" || system == "" {
		return browser + system
	}
	return c.Plain("common.software", "browser", browser, "system", system)
}

// Minutes is a number of minutes, or of hours when it is long, rounded up.
func (c *Catalogue) Minutes(d time.Duration) string {
	n := int((d + time.Minute - 1) / time.Minute)
	if n > 120 {
		return c.Plain("common.hours", "n", int((d+time.Hour-1)/time.Hour))
	}
	return c.Plain("common.minutes", "n", n)
}

func (c *Catalogue) inDigits(s string) string {
	if c.digits == "" {
		return s
	}
	own := []rune(c.digits)
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return own[r-'0']
		}
		return r
	}, s)
}

package web

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"regexp"
	"strings"
	"time"
)

//go:embed text/*.json
var textFiles embed.FS

// A catalogue holds the sentences of one language by dotted key
// ("login.title"). A sentence has named placeholders, {brand}, and elements by
// number, <0>…</0>, whose tags the page supplies: word order is the language's.
type catalogue struct {
	lang      string
	sentences map[string]string
}

func loadCatalogue(lang string) (catalogue, error) {
	raw, err := textFiles.ReadFile("text/" + lang + ".json")
	if err != nil {
		return catalogue{}, fmt.Errorf("web: read sentences: %w", err)
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return catalogue{}, fmt.Errorf("web: parse text/%s.json: %w", lang, err)
	}
	c := catalogue{lang: lang, sentences: map[string]string{}}
	c.flatten("", tree)
	return c, nil
}

func (c catalogue) flatten(prefix string, tree map[string]any) {
	for k, v := range tree {
		switch v := v.(type) {
		case string:
			c.sentences[prefix+k] = v
		case map[string]any:
			c.flatten(prefix+k+".", v)
		}
	}
}

func (c catalogue) has(key string) bool { _, ok := c.sentences[key]; return ok }

// An element is the tags that stand around a part of a sentence.
type element struct{ open, end template.HTML }

func link(href string) element {
	return element{template.HTML(`<a href="` + template.HTMLEscapeString(href) + `">`), "</a>"}
}

func strong() element { return element{"<b>", "</b>"} }

func nowrap() element { return element{`<span class="nowrap">`, "</span>"} }

// ltr is for addresses and hosts, which keep their direction in every language.
func ltr() element { return element{`<b dir="ltr">`, "</b>"} }

// clock is around a time of day, which a script writes in the reader's own
// zone.
func clock(t time.Time) element {
	return element{template.HTML(`<time datetime="` + minute(t).Format(time.RFC3339) + `" data-local="time"><b>`), "</b></time>"}
}

// utc is the time of day without the reader's zone, which we do not know.
func utc(t time.Time) string { return minute(t).Format("15:04 UTC") }

// minute is the full minute not before t, so that nobody who comes at the time
// they were told is early.
func minute(t time.Time) time.Time { return t.UTC().Add(time.Minute - 1).Truncate(time.Minute) }

// bdi keeps a name that others chose from turning the sentence around it.
func bdi(name string) template.HTML {
	return template.HTML("<bdi>" + template.HTMLEscapeString(name) + "</bdi>")
}

var placeholder = regexp.MustCompile(`\{([a-z_]+)\}|<(/?[0-9])>`)

// html returns the sentence with its placeholders filled. Everything is escaped
// but what is template.HTML already. pairs are names and values in turn.
func (c catalogue) html(key string, pairs ...any) template.HTML {
	sentence, ok := c.sentences[key]
	if !ok {
		return template.HTML(template.HTMLEscapeString(key))
	}
	values := make(map[string]template.HTML, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		name := fmt.Sprint(pairs[i])
		switch v := pairs[i+1].(type) {
		case element:
			values[name], values["/"+name] = v.open, v.end
		case template.HTML:
			values[name] = v
		default:
			values[name] = template.HTML(template.HTMLEscapeString(fmt.Sprint(v)))
		}
	}
	var b strings.Builder
	at := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(sentence, -1) {
		b.WriteString(template.HTMLEscapeString(sentence[at:m[0]]))
		group := 2
		if m[2] < 0 {
			group = 4
		}
		b.WriteString(string(values[sentence[m[group]:m[group+1]]]))
		at = m[1]
	}
	b.WriteString(template.HTMLEscapeString(sentence[at:]))
	return template.HTML(b.String())
}

// plain returns the sentence as text, for titles and attributes; elements
// vanish.
func (c catalogue) plain(key string, pairs ...any) string {
	sentence, ok := c.sentences[key]
	if !ok {
		return key
	}
	values := make(map[string]string, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		values[fmt.Sprint(pairs[i])] = fmt.Sprint(pairs[i+1])
	}
	return placeholder.ReplaceAllStringFunc(sentence, func(m string) string {
		return values[strings.Trim(m, "{}")]
	})
}

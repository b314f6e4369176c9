package web

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/text"
)

// A catalogue is the sentences of one language, put into pages.
type catalogue struct{ *text.Catalogue }

// loadCatalogue returns that of a language of ours.
func loadCatalogue(lang string) (catalogue, error) {
	all, err := text.Load()
	if err != nil {
		return catalogue{}, err
	}
	c, ok := all[lang]
	if !ok {
		return catalogue{}, fmt.Errorf("web: no language %q", lang)
	}
	return catalogue{c}, nil
}

func (c catalogue) has(key string) bool { return c.Has(key) }

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
func (c catalogue) utc(t time.Time) string { return c.plain("common.utc", "time", c.Clock(minute(t))) }

// minute is the full minute not before t, so that nobody who comes at the time
// they were told is early.
func minute(t time.Time) time.Time { return t.UTC().Add(time.Minute - 1).Truncate(time.Minute) }

// bdi keeps a name that others chose from turning the sentence around it.
func bdi(name string) template.HTML {
	return template.HTML("<bdi>" + template.HTMLEscapeString(name) + "</bdi>")
}

// html returns the sentence with its placeholders filled. Everything is escaped
// but what is template.HTML already. pairs are names and values in turn.
func (c catalogue) html(key string, pairs ...any) template.HTML {
	sentence, ok := c.Sentence(key, text.Count(pairs))
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
			values[name] = template.HTML(template.HTMLEscapeString(c.Value(v)))
		}
	}
	var b strings.Builder
	at := 0
	for _, m := range text.Placeholder.FindAllStringSubmatchIndex(sentence, -1) {
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
func (c catalogue) plain(key string, pairs ...any) string { return c.Plain(key, pairs...) }

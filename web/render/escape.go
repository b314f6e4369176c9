package render

import (
	"errors"
	"fmt"
	"html/template"
	"strings"
)

// escapers are the functions that html/template puts at the end of a pipeline, by
// the place of its value in the page. Those for places where no page of ours has
// a value are missing: a template that needs one is not parsed.
//
// They do what html/template's do, to the letter, and the tests hold them to
// that. Where those would mend markup, these refuse.
var escapers = Funcs{
	"_html_template_htmlescaper":   escapeText,
	"_html_template_attrescaper":   escapeAttribute,
	"_html_template_rcdataescaper": escapeTitle,
	"_html_template_urlfilter":     filterURL,
	"_html_template_urlnormalizer": func(v any) string { return escapeURL(v, true) },
	"_html_template_urlescaper": func(v any) string {
		_, whole := v.(template.URL)
		return escapeURL(v, whole)
	},
}

// plain is a value as text, and whether it is HTML already.
func plain(v any) (text string, html bool) {
	switch v := v.(type) {
	case nil:
		return "", false
	case string:
		return v, false
	case template.HTML:
		return string(v), true
	default:
		return fmt.Sprint(v), false
	}
}

var (
	// escaped leaves no character that means something in HTML.
	escaped = strings.NewReplacer("\x00", "\uFFFD", `"`, "&#34;", "&", "&amp;", "'", "&#39;", "+", "&#43;", "<", "&lt;", ">", "&gt;")
	// quoted leaves character references as they are.
	quoted = strings.NewReplacer("\x00", "\uFFFD", `"`, "&#34;", "'", "&#39;", "+", "&#43;", "<", "&lt;", ">", "&gt;")
)

// escapeText is for text between elements.
func escapeText(v any) string {
	s, html := plain(v)
	if html {
		return s
	}
	return escaped.Replace(s)
}

var errMarkup = errors.New("an element stands in an attribute")

// escapeAttribute is for a quoted attribute, where elements have no place.
func escapeAttribute(v any) (string, error) {
	s, html := plain(v)
	switch {
	case !html:
		return escaped.Replace(s), nil
	case strings.ContainsAny(s, "<>"):
		return "", errMarkup
	default:
		return quoted.Replace(s), nil
	}
}

// escapeTitle is for the text of an element that holds nothing else.
func escapeTitle(v any) string {
	s, html := plain(v)
	if html {
		return quoted.Replace(s)
	}
	return escaped.Replace(s)
}

// filterURL lets no address through that a browser would run (javascript:).
func filterURL(v any) string {
	if u, ok := v.(template.URL); ok {
		return string(u)
	}
	s, _ := plain(v)
	scheme, _, found := strings.Cut(s, ":")
	if !found || strings.Contains(scheme, "/") || strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "mailto") {
		return s
	}
	return "#ZgotmplZ"
}

const (
	unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	reserved   = "!#$&*+,/:;=?@[]"
	hex        = "0123456789ABCDEFabcdef"
)

// escapeURL writes in percent what does not belong into an address: into a whole
// one, or into a part of it, where nothing may mean anything.
func escapeURL(v any, whole bool) string {
	s, _ := plain(v)
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case strings.IndexByte(unreserved, c) >= 0,
			whole && strings.IndexByte(reserved, c) >= 0,
			whole && c == '%' && i+2 < len(s) && strings.IndexByte(hex, s[i+1]) >= 0 && strings.IndexByte(hex, s[i+2]) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

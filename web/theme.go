package web

import "strings"

// A Theme is how the operator's pages look, beside the name.
type Theme struct {
	// Accent is the colour of links, of the first button and of the mark, and of
	// every app that has none of its own. Empty is ours.
	Accent Colour
	// Logo stands beside the name and on the browser's tab. Without bytes it is a
	// globe in the colour.
	Logo Picture
}

// accentCSS sets the accents of a colour. An app's own colour leaves the brand's
// alone: the mark stays the operator's.
func accentCSS(c Colour, brand bool) string {
	light, dark := c.onLight().css(brand), c.onDark().css(brand)
	return ":root{" + light + "}" +
		"@media (prefers-color-scheme:dark){:root:not([data-theme=light]){" + dark + "}}" +
		":root[data-theme=dark]{" + dark + "}\n"
}

func (a accents) css(brand bool) string {
	var b strings.Builder
	set := func(token string, c Colour) {
		if b.Len() > 0 {
			b.WriteByte(';')
		}
		b.WriteString(token + ":" + string(c))
	}
	set("--accent", a.accent)
	set("--accent-hover", a.hover)
	set("--on-accent", a.on)
	set("--accent-soft", a.soft)
	set("--accent-line", a.line)
	if brand {
		set("--brand", a.accent)
		set("--on-brand", a.on)
	}
	return b.String()
}

package web

import (
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// tokens reads the custom properties of a stylesheet's rules whose selector is
// the one given, in order; a later rule has the last word.
func tokens(css, selector string) map[string]Colour {
	found := map[string]Colour{}
	rule := regexp.MustCompile(`(?:^|[\n{}])\s*` + regexp.QuoteMeta(selector) + `\s*\{([^}]*)\}`)
	token := regexp.MustCompile(`--([a-z-]+):\s*(#[0-9a-f]{3,6})\b`)
	for _, r := range rule.FindAllStringSubmatch(css, -1) {
		for _, t := range token.FindAllStringSubmatch(r[1], -1) {
			c := t[2]
			if len(c) == 4 {
				c = fmt.Sprintf("#%c%c%c%c%c%c", c[1], c[1], c[2], c[2], c[3], c[3])
			}
			found[t[1]] = Colour(c)
		}
	}
	return found
}

// A mode is light or dark: how the tokens of a stylesheet are read in it.
type mode struct {
	name   string
	rules  []string // the last has the last word
	ground ground
}

func modes() []mode {
	return []mode{
		{"light", []string{":root"}, lightGround},
		{"dark, as the system says", []string{":root", ":root:not([data-theme=light])"}, darkGround},
		{"dark, as somebody chose", []string{":root", ":root[data-theme=dark]"}, darkGround},
	}
}

func (m mode) tokens(css string) map[string]Colour {
	all := map[string]Colour{}
	for _, selector := range m.rules {
		maps.Copy(all, tokens(css, selector))
	}
	return all
}

// pairs is what has to be read on what (WCAG 2.2: 1.4.3 for text, 1.4.11 for
// borders, marks and focus).
var pairs = []struct {
	on    string
	marks []string
	least float64
}{
	{"bg", []string{"text", "muted", "accent", "accent-hover", "danger"}, 4.5},
	{"surface", []string{"text", "muted", "accent", "accent-hover", "danger"}, 4.5},
	{"inset", []string{"text", "muted", "accent", "accent-hover"}, 4.5},
	{"accent-soft", []string{"text", "accent", "accent-hover"}, 4.5},
	{"accent", []string{"on-accent"}, 4.5},
	{"accent-hover", []string{"on-accent"}, 4.5},
	{"danger-soft", []string{"danger", "text"}, 4.5},
	{"danger", []string{"surface"}, 4.5},
	{"warn-soft", []string{"warn", "text"}, 4.5},
	{"ok-soft", []string{"ok", "text"}, 4.5},
	{"bg", []string{"strong", "focus", "brand"}, 3},
	{"surface", []string{"strong", "focus", "brand"}, 3},
	{"inset", []string{"strong"}, 3},
	{"accent-soft", []string{"focus"}, 3},
	{"danger-soft", []string{"focus"}, 3},
	{"brand", []string{"on-brand"}, 3},
}

// check measures every pair of a stylesheet in every mode and returns the least
// contrast of text.
func check(t *testing.T, about, css string) float64 {
	t.Helper()
	worst := math.Inf(1)
	for _, m := range modes() {
		all := m.tokens(css)
		for _, p := range pairs {
			for _, mark := range p.marks {
				if all[p.on] == "" || all[mark] == "" {
					t.Fatalf("%s, %s: there is no --%s or no --%s", about, m.name, p.on, mark)
				}
				r := contrast(all[p.on], all[mark])
				if r < p.least {
					t.Errorf("%s, %s: --%s %s on --%s %s is %.2f:1, want %v", about, m.name, mark, all[mark], p.on, all[p.on], r, p.least)
				}
				if p.least == 4.5 {
					worst = min(worst, r)
				}
			}
		}
	}
	return worst
}

func stylesheet(t testing.TB) string {
	t.Helper()
	css, err := fs.ReadFile(staticFiles, "static/app.css")
	if err != nil {
		t.Fatal(err)
	}
	return string(css)
}

// The colours that themes are measured against are those of the stylesheet.
func TestGround(t *testing.T) {
	css := stylesheet(t)
	for _, m := range modes() {
		all := m.tokens(css)
		if got := (ground{all["bg"], all["surface"], all["inset"]}); got != m.ground {
			t.Errorf("%s: the stylesheet has %v, themes are measured against %v", m.name, got, m.ground)
		}
	}
	if got := tokens(css, ":root")["accent"]; got != ourAccent {
		t.Errorf("the stylesheet's accent is %s, the favicon's %s", got, ourAccent)
	}
	if a, b := tokens(css, ":root:not([data-theme=light])"), tokens(css, ":root[data-theme=dark]"); !maps.Equal(a, b) {
		t.Errorf("dark differs from dark:\n%v\n%v", a, b)
	}
	t.Logf("our own colours: text at %.2f:1 or better", check(t, "our own", css))
}

func TestContrast(t *testing.T) {
	for _, tt := range []struct {
		a, b Colour
		want float64
	}{
		{"#000000", "#ffffff", 21},
		{"#ffffff", "#ffffff", 1},
		{"#767676", "#ffffff", 4.54}, // the greys either side of 4.5, as WCAG tools give them
		{"#777777", "#ffffff", 4.48},
		{"#ff0000", "#ffffff", 4.00},
		{"#0000ff", "#ffffff", 8.59},
	} {
		if got := contrast(tt.a, tt.b); math.Abs(got-tt.want) > .005 || contrast(tt.b, tt.a) != got {
			t.Errorf("contrast(%s, %s) = %.3f, want %.2f, either way round", tt.a, tt.b, got, tt.want)
		}
	}
}

// Every colour comes back from Oklch as it went in.
func TestOKLCH(t *testing.T) {
	if w := Colour("#ffffff").oklch(); math.Abs(w.l-1) > 1e-4 || w.c > 1e-4 {
		t.Errorf("white is %+v, want lightness 1 and no chroma", w)
	}
	for range 5000 {
		c := anyColour()
		if got := c.oklch().colour(); got != c {
			t.Fatalf("%s comes back as %s", c, got)
		}
	}
}

func anyColour() Colour { return Colour(fmt.Sprintf("#%06x", rand.IntN(1<<24))) }

// One colour in, a set out: as the design system prints it.
func TestAccents(t *testing.T) {
	for _, tt := range []struct {
		in, light, dark Colour
	}{
		{"#6b4de6", "#6954d5", "#a39ef9"},
		{"#ff6a3d", "#c03800", "#f08c6e"},
		{"#ffd400", "#7d6700", "#f4d66c"},
		{"#e91e63", "#c32856", "#f08699"},
		{"#111111", "#111111", "#d7d7d7"},
		{"#ffffff", "#696969", "#ffffff"},
	} {
		if light, dark := tt.in.onLight().accent, tt.in.onDark().accent; light != tt.light || dark != tt.dark {
			t.Errorf("%s gives %s on light and %s on dark, want %s and %s", tt.in, light, dark, tt.light, tt.dark)
		}
	}
	want := accents{accent: "#6954d5", hover: "#573dbd", on: "#ffffff", soft: "#efeffb", line: "#d4d4f5"}
	if got := Colour("#6b4de6").onLight(); got != want {
		t.Errorf("on light: %v, want %v", got, want)
	}
	want = accents{accent: "#a39ef9", hover: "#b7b4ff", on: "#14122b", soft: "#292743", line: "#44426c"}
	if got := Colour("#6b4de6").onDark(); got != want {
		t.Errorf("on dark: %v, want %v", got, want)
	}
}

// Whatever colour somebody likes, what is written in it can be read, in light
// and dark: a grid over all colours, every step of hue, and some at random.
func TestThemesCanBeRead(t *testing.T) {
	css := stylesheet(t)
	var tried []Colour
	for r := 0; r < 256; r += 17 {
		for g := 0; g < 256; g += 17 {
			for b := 0; b < 256; b += 17 {
				tried = append(tried, Colour(fmt.Sprintf("#%02x%02x%02x", r, g, b)))
			}
		}
	}
	for hue := range 360 {
		for _, l := range []float64{.2, .5, .8} {
			tried = append(tried, oklch{l, .3, float64(hue) * math.Pi / 180}.colour())
		}
	}
	for range 4000 {
		tried = append(tried, anyColour())
	}
	if testing.Short() {
		rand.Shuffle(len(tried), func(i, j int) { tried[i], tried[j] = tried[j], tried[i] })
		tried = tried[:500]
	}
	worst := math.Inf(1)
	for _, c := range tried {
		// The rules of a theme come last, so that they have the last word; those of
		// the stylesheet are parsed once.
		worst = min(worst, checkAccents(t, c))
		if t.Failed() {
			break
		}
	}
	t.Logf("%d colours: text at %.2f:1 or better", len(tried), worst)

	for _, c := range []Colour{"#6b4de6", "#ff6a3d", "#ffffff", "#000000"} {
		check(t, "the operator's "+string(c), css+accentCSS(c, true))
		check(t, "an app's "+string(c), css+accentCSS(c, false))
	}
}

// checkAccents measures what a theme changes, without a stylesheet around it.
func checkAccents(t *testing.T, c Colour) float64 {
	t.Helper()
	worst := math.Inf(1)
	for _, m := range []struct {
		name string
		accents
		ground
		text, focus Colour
	}{
		{"light", c.onLight(), lightGround, "#1a2326", "#2559d6"},
		{"dark", c.onDark(), darkGround, "#eceae5", "#9cc2ff"},
	} {
		text := func(a, b Colour) {
			r := contrast(a, b)
			worst = min(worst, r)
			if r < 4.5 {
				t.Errorf("%s, %s: %s on %s is %.2f:1", c, m.name, a, b, r)
			}
		}
		for _, a := range []Colour{m.accent, m.hover} {
			for _, b := range []Colour{m.bg, m.surface, m.inset, m.soft, m.on} {
				text(a, b)
			}
		}
		text(m.text, m.soft)
		if r := contrast(m.focus, m.soft); r < 3 {
			t.Errorf("%s, %s: the focus ring on %s is %.2f:1", c, m.name, m.soft, r)
		}
	}
	return worst
}

func TestParseColour(t *testing.T) {
	for _, s := range []string{"#0e5a70", "#FF6A3D"} {
		if c, err := ParseColour(s); err != nil || string(c) != strings.ToLower(s) {
			t.Errorf("ParseColour(%q) = %q, %v", s, c, err)
		}
	}
	for _, s := range []string{"", "0e5a70", "#0e5a7", "#0e5a700", "#0e5a7g", "red", "#0e5a70}", "#０e5a7"} {
		if c, err := ParseColour(s); err == nil || !strings.HasPrefix(err.Error(), "must be a colour") {
			t.Errorf("ParseColour(%q) = %q, %v", s, c, err)
		}
	}
}

func BenchmarkAccent(b *testing.B) {
	for b.Loop() {
		accentCSS("#ffffff", false)
	}
}

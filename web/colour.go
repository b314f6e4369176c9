package web

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Colour is an sRGB colour as CSS writes it, "#rrggbb" in lower case. The
// empty one is our own.
type Colour string

// ParseColour reads "#rrggbb", in either case.
func ParseColour(s string) (Colour, error) {
	c := Colour(strings.ToLower(s))
	if !c.valid() {
		return "", fmt.Errorf("must be a colour as #rrggbb, six hexadecimal digits after the #, not %q", s)
	}
	return c, nil
}

func (c Colour) valid() bool {
	if len(c) != 7 || c[0] != '#' {
		return false
	}
	return strings.Trim(string(c[1:]), "0123456789abcdef") == ""
}

// linear returns the colour's red, green and blue as parts of light from 0 to 1.
func (c Colour) linear() (rgb [3]float64) {
	for i := range rgb {
		n, _ := strconv.ParseUint(string(c[1+2*i:3+2*i]), 16, 8) // valid
		v := float64(n) / 255
		if v <= .04045 {
			rgb[i] = v / 12.92
		} else {
			rgb[i] = math.Pow((v+.055)/1.055, 2.4)
		}
	}
	return rgb
}

// luminance is the relative luminance of WCAG 2.2.
func (c Colour) luminance() float64 {
	rgb := c.linear()
	return .2126*rgb[0] + .7152*rgb[1] + .0722*rgb[2]
}

// contrast is the contrast ratio of WCAG 2.2, from 1 to 21.
func contrast(a, b Colour) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + .05) / (min(x, y) + .05)
}

// oklch is a colour in the polar form of Oklab (CSS Color 4 section 9.4):
// lightness from 0 to 1, chroma from 0, hue in radians. Equal steps of lightness
// look equal at every hue, which those of sRGB do not.
type oklch struct{ l, c, h float64 }

// oklch converts by the matrices of CSS Color 4 section 10.
func (c Colour) oklch() oklch {
	rgb := c.linear()
	l := math.Cbrt(.4122214708*rgb[0] + .5363325363*rgb[1] + .0514459929*rgb[2])
	m := math.Cbrt(.2119034982*rgb[0] + .6806995451*rgb[1] + .1073969566*rgb[2])
	s := math.Cbrt(.0883024619*rgb[0] + .2817188376*rgb[1] + .6299787005*rgb[2])
	a := 1.9779984951*l - 2.428592205*m + .4505937099*s
	b := .0259040371*l + .7827717662*m - .808675766*s
	return oklch{
		l: .2104542553*l + .793617785*m - .0040720468*s,
		c: math.Hypot(a, b),
		h: math.Atan2(b, a),
	}
}

// linear is the colour's light, which may be more or less than a screen has.
func (o oklch) linear() [3]float64 {
	a, b := o.c*math.Cos(o.h), o.c*math.Sin(o.h)
	l := cube(o.l + .3963377774*a + .2158037573*b)
	m := cube(o.l - .1055613458*a - .0638541728*b)
	s := cube(o.l - .0894841775*a - 1.291485548*b)
	return [3]float64{
		4.0767416621*l - 3.3077115913*m + .2309699292*s,
		-1.2684380046*l + 2.6097574011*m - .3413193965*s,
		-.0041960863*l - .7034186147*m + 1.707614701*s,
	}
}

func cube(x float64) float64 { return x * x * x }

// colour returns the colour of this lightness and hue that a screen can show,
// with as much of the chroma as that leaves.
func (o oklch) colour() Colour {
	light := o.linear()
	if !shown(light) {
		low, high := 0., o.c
		for range 24 {
			o.c = (low + high) / 2
			if shown(o.linear()) {
				low = o.c
			} else {
				high = o.c
			}
		}
		o.c = low
		light = o.linear()
	}
	var b [3]uint8
	for i, v := range light {
		v = min(1, max(0, v))
		if v <= .0031308 {
			v *= 12.92
		} else {
			v = 1.055*math.Pow(v, 1/2.4) - .055
		}
		b[i] = uint8(math.Round(v * 255))
	}
	return Colour(fmt.Sprintf("#%02x%02x%02x", b[0], b[1], b[2]))
}

// shown reports whether a screen can show the light.
func shown(rgb [3]float64) bool {
	for _, v := range rgb {
		if v < -1e-4 || v > 1+1e-4 {
			return false
		}
	}
	return true
}

// A ground is what colours stand on: the tokens of app.css by these names.
type ground struct{ bg, surface, inset Colour }

var (
	lightGround = ground{bg: "#f5f3ee", surface: "#ffffff", inset: "#faf8f4"}
	darkGround  = ground{bg: "#0f1416", surface: "#171e21", inset: "#1e272a"}
)

// accents are the colours that a theme sets: the tokens of app.css by these
// names.
type accents struct{ accent, hover, on, soft, line Colour }

// lightStep is how much lightness changes from one try to the next.
const lightStep = .005

// onLight returns the accents of a brand's colour on light pages. The hue is
// the brand's; the lightness goes down until text in the accent, and white text
// on it, can be read.
func (c Colour) onLight() accents {
	o := c.oklch()
	o.c = min(o.c, .19)
	soft := oklch{.955, min(o.c, .017), o.h}.colour()
	o.l = min(o.l, .62)
	for ; o.l > .15; o.l -= lightStep {
		a := o.colour()
		if contrast(a, lightGround.surface) >= 5 && contrast(a, lightGround.bg) >= 4.8 &&
			contrast(a, lightGround.inset) >= 4.8 && contrast(a, soft) >= 4.8 {
			break
		}
	}
	return accents{
		accent: o.colour(),
		hover:  oklch{o.l - .07, o.c, o.h}.colour(),
		on:     "#ffffff",
		soft:   soft,
		line:   oklch{.88, min(o.c, .045), o.h}.colour(),
	}
}

// onDark returns the accents of a brand's colour on dark pages: lightness goes
// up, and the text on the accent is dark.
func (c Colour) onDark() accents {
	o := c.oklch()
	strong := min(o.c, .19)
	soft := oklch{.29, min(strong, .05), o.h}.colour()
	on := oklch{.2, min(strong, .05), o.h}.colour()
	lowest := .74
	if strong < .02 { // a grey in the middle would look switched off
		lowest = .88
	}
	o.l, o.c = max(o.l, lowest), min(strong, .13)
	for ; o.l < .97; o.l += lightStep {
		a := o.colour()
		if contrast(a, on) >= 7 && contrast(a, darkGround.surface) >= 6 &&
			contrast(a, darkGround.bg) >= 6 && contrast(a, soft) >= 5 {
			break
		}
	}
	return accents{
		accent: o.colour(),
		hover:  oklch{o.l + .06, min(strong, .11), o.h}.colour(),
		on:     on,
		soft:   soft,
		line:   oklch{.4, min(strong, .07), o.h}.colour(),
	}
}

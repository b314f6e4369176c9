package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestAcceptsGzip(t *testing.T) {
	for _, tt := range []struct {
		about string
		lines []string
		want  bool
	}{
		{"nothing is asked for", nil, false},
		{"an empty line", []string{""}, false},
		{"what browsers send", []string{"gzip, deflate, br, zstd"}, true},
		{"in capitals", []string{"GZIP"}, true},
		{"on the second line", []string{"br", "gzip"}, true},
		{"with a weight", []string{"gzip;q=0.5"}, true},
		{"with a weight and spaces", []string{"gzip ; Q = 0.001"}, true},
		{"refused", []string{"gzip;q=0"}, false},
		{"refused to three places", []string{"gzip;q=0.000"}, false},
		{"anything", []string{"*"}, true},
		{"anything but gzip", []string{"*, gzip;q=0"}, false},
		{"nothing but gzip", []string{"gzip, *;q=0"}, true},
		{"nothing at all", []string{"*;q=0"}, false},
		{"rather as it is", []string{"gzip;q=0.5, identity"}, false},
		{"rather gzip", []string{"gzip, identity;q=0.5"}, true},
		{"a weight that is none", []string{"gzip;q=high"}, false},
		{"a weight out of bounds", []string{"gzip;q=2"}, false},
		{"a weight that is not a number", []string{"gzip;q=NaN"}, false},
		{"something like it", []string{"xgzip, gzipx"}, false},
	} {
		if got := acceptsGzip(tt.lines); got != tt.want {
			t.Errorf("%s: acceptsGzip(%q) = %v", tt.about, tt.lines, got)
		}
	}
}

// fetch gets an asset as a browser does that accepts these codings.
func fetch(t *testing.T, a asset, codings, have string) (*http.Response, []byte) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept-Encoding", codings)
	if have != "" {
		r.Header.Set("If-None-Match", have)
	}
	w := httptest.NewRecorder()
	a.serve(w, r)
	return w.Result(), w.Body.Bytes()
}

func unzip(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	z.Multistream(false) // browsers stop at the end of the first member
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStaticFiles(t *testing.T) {
	a, err := loadAssets(Theme{})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{a.paths["app"], a.paths["favicon"], a.sheet.path("")} {
		f, ok := a.find(path)
		if !ok {
			t.Fatalf("there is no %s", path)
		}
		plain, body := fetch(t, f, "identity", "")
		zipped, small := fetch(t, f, "gzip", "")
		if !bytes.Equal(unzip(t, small), body) || len(small) >= len(body) {
			t.Errorf("%s: %d bytes and %d compressed do not say the same", path, len(body), len(small))
		}
		if h := zipped.Header; h.Get("Content-Encoding") != "gzip" || h.Get("Vary") != "Accept-Encoding" || plain.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v", path, h)
		}
		if got := plain.Header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control: %s", path, got)
		}
		// RFC 9110 section 8.8.3: what differs in its coding has a tag of its own.
		one, two := plain.Header.Get("ETag"), zipped.Header.Get("ETag")
		if one == "" || one == two || !strings.HasPrefix(one, `"`) {
			t.Errorf("%s: tags %s and %s", path, one, two)
		}
		for _, have := range []string{two, "W/" + two, `"x", ` + two, "*"} {
			if got, b := fetch(t, f, "gzip", have); got.StatusCode != http.StatusNotModified || len(b) > 0 || got.Header.Get("ETag") != two {
				t.Errorf("%s: If-None-Match: %s is answered %d with %d bytes", path, have, got.StatusCode, len(b))
			}
		}
		if got, b := fetch(t, f, "gzip", one); got.StatusCode != http.StatusOK || len(b) == 0 {
			t.Errorf("%s: the tag of another coding is answered %d", path, got.StatusCode)
		}
	}
}

// Every accent ends the one stylesheet in its own way.
func TestSheet(t *testing.T) {
	a, err := loadAssets(Theme{Accent: "#e91e63"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadAssets(Theme{Accent: "#e91e63"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := loadAssets(Theme{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Colour{"#ff6a3d", "#6b4de6", "#000000"} {
		path := a.sheet.path(c)
		f, ok := again.find(path)
		if !ok {
			t.Fatalf("a server does not know the stylesheet %s of another", path)
		}
		_, body := fetch(t, f, "identity", "")
		_, small := fetch(t, f, "gzip, br", "")
		if !bytes.Equal(unzip(t, small), body) {
			t.Errorf("%s says another thing when compressed", path)
		}
		if !strings.HasPrefix(string(body), string(a.sheet.body)) || !strings.HasSuffix(string(body), accentCSS(c, false)) {
			t.Errorf("%s is not the stylesheet and the accent", path)
		}
		if extra := len(small) - len(a.sheet.plain.gzipped); extra > 500 {
			t.Errorf("%s costs %d bytes more than the plain stylesheet", path, extra)
		}
		if other.sheet.path(c) == path {
			t.Errorf("%s has the same address on a server of another colour", path)
		}
		if brand := tokens(string(body), ":root")["brand"]; brand != Colour("#e91e63").onLight().accent {
			t.Errorf("%s: the app's colour changed the operator's to %s", path, brand)
		}
	}
	right := a.sheet.path("#ff6a3d")
	for _, path := range []string{
		strings.Replace(right, "ff6a3d", "ff6a3e", 1), // a colour whose hash is another
		strings.Replace(right, "ff6a3d", "FF6A3D", 1),
		strings.Replace(right, "-ff6a3d", "", 1),
		"/assets/app-ff6a3d.css", "/assets/app-.css", "/assets/app-", "/assets/app.css", "/assets/",
	} {
		if _, ok := a.find(path); ok {
			t.Errorf("there is something at %s", path)
		}
	}
	for _, c := range []Colour{"", "red", "#ABCDEF", "#fff", "#12345}"} {
		if got := a.sheet.path(c); got != a.sheet.path("") {
			t.Errorf("the colour %q leads to %s", c, got)
		}
	}
}

func TestThemeOfTheOperator(t *testing.T) {
	plain, err := loadAssets(Theme{})
	if err != nil {
		t.Fatal(err)
	}
	red, err := loadAssets(Theme{Accent: "#e91e63"})
	if err != nil {
		t.Fatal(err)
	}
	icon, _ := red.find(red.paths["favicon"])
	if !bytes.Contains(icon.body, []byte(`fill="#c32856"`)) || red.paths["favicon"] == plain.paths["favicon"] || red.paths["logo"] != "" {
		t.Errorf("the favicon of a colour: %s at %s", icon.body, red.paths["favicon"])
	}
	if red.sheet.path("") == plain.sheet.path("") {
		t.Error("the stylesheet of a colour has the address of that without")
	}
	logo, err := loadAssets(Theme{Logo: Picture{Type: "image/png", Bytes: []byte("png")}})
	if err != nil {
		t.Fatal(err)
	}
	f, ok := logo.find(logo.paths["logo"])
	if !ok || f.contentType != "image/png" || f.gzipped != nil || logo.paths["favicon"] != logo.paths["logo"] {
		t.Errorf("a logo: %+v", logo.paths)
	}
}

func BenchmarkSheet(b *testing.B) {
	a, err := loadAssets(Theme{})
	if err != nil {
		b.Fatal(err)
	}
	path := a.sheet.path("#ffffff")
	for b.Loop() {
		a.find(path)
	}
}

// The stylesheet knows no left and no right, so that pages read from right to
// left are the others' mirror image.
func TestLogicalProperties(t *testing.T) {
	css := regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(stylesheet(t), "")
	sides := regexp.MustCompile(`^(left|right|top|bottom|width|height|(min|max)-(width|height)|(margin|padding|border|inset)-(left|right|top|bottom).*|float|clear)$`)
	for _, m := range regexp.MustCompile(`[;{]\s*([a-z-]+)\s*:\s*([^;{}]+)[;}]`).FindAllStringSubmatch(strings.ReplaceAll(css, ";", ";;"), -1) {
		name, value := m[1], strings.TrimSpace(m[2])
		if sides.MatchString(name) || name == "text-align" && (value == "left" || value == "right") {
			t.Errorf("%s: %s is of one side of the screen", name, value)
		}
		if f := strings.Fields(value); len(f) == 4 && (name == "margin" || name == "padding" || name == "inset") && f[1] != f[3] {
			t.Errorf("%s: %s differs from side to side", name, value)
		}
	}
	// No animation for who wants none, and edges for who sees no colours.
	for _, want := range []string{"prefers-reduced-motion: no-preference", "prefers-contrast: more", "forced-colors: active", "@media print", "prefers-color-scheme: dark"} {
		if !strings.Contains(css, want) {
			t.Errorf("the stylesheet has nothing for %s", want)
		}
	}
	moving := regexp.MustCompile(`(transition|animation)[a-z-]*\s*:`)
	if out := regexp.MustCompile(`(?s)@media \(prefers-reduced-motion: no-preference\) \{.*?\n\}`).ReplaceAllString(css, ""); moving.MatchString(out) {
		t.Errorf("something moves for who wants no motion: %s", moving.FindString(out))
	}
}

package web_test

import (
	"bytes"
	"image"
	"image/png"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/web"
)

// routes are all that the server answers, as a browser asks for them.
func (h *house) routes(t testing.TB) [][2]string {
	t.Helper()
	engine, ok := h.handler.(*gin.Engine)
	if !ok {
		t.Fatalf("the handler is a %T", h.handler)
	}
	var all [][2]string
	for _, r := range engine.Routes() {
		path := strings.NewReplacer(":id", "tidepool", "*file", "x", "*path", "mail").Replace(r.Path)
		all = append(all, [2]string{r.Method, path})
	}
	if len(all) < 60 {
		t.Fatalf("%d routes", len(all))
	}
	return all
}

// Every answer of every address has the headers that keep a browser from
// misreading it, whoever asks and however.
func TestHeadersOfEveryRoute(t *testing.T) {
	for _, https := range []bool{true, false} {
		h := open(t, option{https: https, dev: withDev(t)})
		h.client(t, storage.Client{ID: "dev-app", Name: "Small app", AuthMethod: storage.AuthNone, RedirectURIs: []string{h.URL + "/dev/app/callback"}})
		stranger, known := h.browser(t), h.browser(t)
		known.register("asha@example.com")
		asks := h.routes(t)
		asks = append(asks, [][2]string{
			{"GET", "/nowhere"}, {"PUT", "/login"}, {"GET", "/assets/apps/tidepool/x"}, {"TRACE", "/"}, {"OPTIONS", "/token"},
			{"GET", "/login?flow=nothing"}, {"GET", "/login?x=%zz"}, {"GET", "/authorize?client_id=nobody"},
			{"GET", "/" + strings.Repeat("x", 9000)},
		}...)
		for who, b := range map[string]*browser{"a stranger": stranger, "somebody": known} {
			for _, ask := range asks {
				if b == known && ask[1] == "/logout" { // would make a stranger of somebody
					continue
				}
				r, err := http.NewRequest(ask[0], h.URL+ask[1], nil)
				if err != nil {
					t.Fatal(err)
				}
				a := b.do(r)
				about := who + ": " + ask[0] + " " + ask[1][:min(len(ask[1]), 40)] + ": "
				if a.StatusCode >= 500 {
					t.Errorf("%s%s", about, a.Status)
				}
				for header, want := range map[string]string{
					"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
					"Cross-Origin-Resource-Policy": "same-origin",
				} {
					if got := a.Header.Values(header); len(got) != 1 || got[0] != want {
						t.Errorf("sec-M5 %s%s: %q, want %q", about, header, got, want)
					}
				}
				csp := a.Header.Values("Content-Security-Policy")
				if len(csp) != 1 || !strings.HasPrefix(csp[0], "default-src 'none'") || !strings.Contains(csp[0], "frame-ancestors 'none'") {
					t.Errorf("sec-A10 %sContent-Security-Policy: %q", about, csp)
				}
				if got := a.Header.Get("Strict-Transport-Security"); (got == "max-age=31536000") != https {
					t.Errorf("sec-M7 %sStrict-Transport-Security: %q", about, got)
				}
				checkPage(t, about, a)
				if c := a.Header.Get("Cache-Control"); c != "no-store" && !mayBeKept.MatchString(ask[1]) {
					t.Errorf("sec-M5 %sCache-Control: %q", about, c)
				}
				for _, header := range []string{"Server", "X-Powered-By"} {
					if got := a.Header.Get(header); got != "" {
						t.Errorf("%s%s: %s", about, header, got)
					}
				}
			}
		}
	}
}

// mayBeKept are the answers that are the same for everybody.
var mayBeKept = regexp.MustCompile(`^/(jwks|\.well-known/o|assets/app)`)

// checkPage checks what only HTML has.
func checkPage(t *testing.T, about string, a answer) {
	t.Helper()
	if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || a.Header.Get("Location") != "" {
		return
	}
	csp := a.Header.Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'", "style-src 'self'", "script-src 'self'", "img-src 'self'", "form-action 'self'",
		"base-uri 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
	} {
		if !slices.ContainsFunc(strings.Split(csp, "; "), func(d string) bool {
			return d == want || strings.HasPrefix(d, "form-action ") && strings.HasPrefix(want, "form-action ")
		}) {
			t.Errorf("sec-M5 %sCSP lacks %q: %s", about, want, csp)
		}
	}
	if a.Header.Get("Cross-Origin-Opener-Policy") != "same-origin" || !strings.Contains(a.Header.Get("Permissions-Policy"), "camera=()") {
		t.Errorf("sec-M5 %s%v", about, a.Header)
	}
}

// weigh gets a page and everything that it names as a browser does that has
// nothing of it, and returns the bytes of all answers, headers included, as
// HTTP/1.1 has them.
func (b *browser) weigh(path string) (total int, parts map[string]int) {
	b.t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // we ask for it by ourselves
	transport.TLSClientConfig = b.h.Client().Transport.(*http.Transport).TLSClientConfig
	b.t.Cleanup(transport.CloseIdleConnections)
	c := *b.http
	c.Transport = transport
	parts = map[string]int{}
	get := func(path string) *http.Response {
		r, err := http.NewRequest(http.MethodGet, b.h.URL+path, nil)
		if err != nil {
			b.t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
		a, err := c.Do(r)
		if err != nil {
			b.t.Fatal(err)
		}
		defer a.Body.Close()
		wire, err := httputil.DumpResponse(a, true)
		if err != nil {
			b.t.Fatal(err)
		}
		if a.StatusCode != http.StatusOK {
			b.t.Fatalf("GET %s: %s", path, a.Status)
		}
		parts[path] = len(wire)
		total += len(wire)
		return a
	}
	page := b.get(path)
	get(path)
	for _, m := range regexp.MustCompile(`<(?:link rel="(?:icon|stylesheet)"[^>]* href|script src|img[^>]* src)="([^"]+)"`).FindAllStringSubmatch(page.body, -1) {
		if parts[m[1]] == 0 {
			get(m[1])
		}
	}
	return total, parts
}

const (
	// The sign-in page is there in one moment on a slow phone.
	maxWeight   = 30_000
	maxRequests = 4
)

func TestWeightOfSigningIn(t *testing.T) {
	// As heavy as a logo may be, but for a little.
	logo := func() web.Picture {
		m := image.NewNRGBA(image.Rect(0, 0, 44, 44))
		for i := range m.Pix {
			m.Pix[i] = byte(rand.IntN(256)) | byte(i%4/3*255) // opaque
		}
		var b bytes.Buffer
		if err := png.Encode(&b, m); err != nil {
			t.Fatal(err)
		}
		p, err := web.ReadPicture(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, tt := range []struct {
		about  string
		theme  web.Theme
		logo   bool
		accent string
		path   func(storage.Client) string
		most   int
	}{
		{"as it comes", web.Theme{}, false, "", func(storage.Client) string { return "/login" }, maxRequests},
		{"in the operator's colour", web.Theme{Accent: "#e91e63"}, false, "", func(storage.Client) string { return "/login" }, maxRequests},
		{"on the way to an app", web.Theme{}, false, "#ff6a3d", func(c storage.Client) string { return authorize(c) }, maxRequests},
		{"with a logo of the operator's", web.Theme{Logo: logo()}, false, "", func(storage.Client) string { return "/login" }, maxRequests},
		// An app's logo is one more, and the icon on the tab stops no page.
		{"with a logo of the app's", web.Theme{}, true, "#ff6a3d", func(c storage.Client) string { return authorize(c) }, maxRequests + 1},
		{"with everything", web.Theme{Accent: "#e91e63", Logo: logo()}, true, "#ff6a3d", func(c storage.Client) string { return authorize(c) }, maxRequests + 1},
	} {
		t.Run(tt.about, func(t *testing.T) {
			h := open(t, option{theme: tt.theme, links: web.Links{Help: "https://example.org/help", Privacy: "https://example.org/privacy", Terms: "https://example.org/terms"}})
			c := h.client(t, storage.Client{ID: "kiln", Name: "Kiln Studio", RedirectURIs: []string{"https://kiln.example/callback"}, Metadata: storage.ClientMetadata{Accent: tt.accent}})
			if tt.logo {
				if err := h.sql.SetLogo(t.Context(), c.ID, storage.Logo(logo())); err != nil {
					t.Fatal(err)
				}
			}
			b := h.browser(t)
			page := b.open(tt.path(c))
			b.wants(page, "login", 200)
			total, parts := b.weigh(page.Request.URL.RequestURI())
			if total >= maxWeight || len(parts) > tt.most {
				t.Errorf("signing in weighs %d bytes in %d requests, want less than %d in %d: %v", total, len(parts), maxWeight, tt.most, parts)
			}
			t.Logf("%d bytes in %d requests: %v", total, len(parts), parts)
		})
	}
}

// The pages on the way to an app are in its colour and show its logo; those of
// the account are the operator's.
func TestLookOfAnApp(t *testing.T) {
	h := open(t, option{theme: web.Theme{Accent: "#e91e63"}})
	kiln := h.client(t, storage.Client{ID: "kiln/1 é", Name: "Kiln Studio", RedirectURIs: []string{"https://kiln.example/callback"}, Metadata: storage.ClientMetadata{Accent: "#ff6a3d"}})
	plain := h.client(t, storage.Client{ID: "plain", Name: "Plain", RedirectURIs: []string{"https://plain.example/callback"}})
	set := func(l storage.Logo) {
		t.Helper()
		if err := h.sql.SetLogo(t.Context(), kiln.ID, l); err != nil {
			t.Fatal(err)
		}
	}
	drawing := storage.Logo{Type: "image/svg+xml", Bytes: []byte(`<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0h8v8z"/></svg>`)}
	set(drawing)
	b := h.browser(t)
	sheet := regexp.MustCompile(`<link rel="stylesheet" href="([^"]+)">`)
	picture := regexp.MustCompile(`<img src="(/assets/apps/[^"]+)"[^>]* alt="">`)
	one := func(re *regexp.Regexp, a answer) string {
		t.Helper()
		switch m := re.FindAllStringSubmatch(a.body, -1); len(m) {
		case 0:
			return ""
		case 1:
			return m[0][1]
		default:
			t.Errorf("%s has %d of %s", a.page(), len(m), re)
			return ""
		}
	}

	page := b.wants(b.open(authorize(kiln)), "login", 200, "Kiln Studio")
	css := b.get(one(sheet, page))
	if css.StatusCode != 200 || !strings.Contains(css.body, "--accent:#c03800") || !strings.Contains(css.body, "--brand:#c32856") {
		t.Errorf("the stylesheet on the way to the app is %s and ends %q", css.Status, css.body[max(0, len(css.body)-600):])
	}
	path := one(picture, page)
	logo := b.get(path)
	if logo.StatusCode != 200 || logo.body != string(drawing.Bytes) || logo.Header.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("GET %s: %s %v", path, logo.Status, logo.Header)
	}
	t.Run("sec-H8 a logo opened by itself runs nothing and loads nothing", func(t *testing.T) {
		csp := logo.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "sandbox") || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "script-src") || logo.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%v", logo.Header)
		}
		if strings.Contains(page.body, "M0 0h8v8z") {
			t.Error("the SVG stands in the page")
		}
	})
	if got := one(picture, b.open(authorize(plain))); got != "" {
		t.Errorf("an app without a logo shows %s", got)
	}
	if css := one(sheet, b.open(authorize(plain))); css != one(sheet, b.open("/login")) {
		t.Errorf("an app without a colour has a stylesheet of its own, %s", css)
	}

	for _, path := range []string{
		strings.TrimSuffix(path, path[len(path)-1:]), path + "0", "/assets/apps/plain/" + path[strings.LastIndex(path, "/")+1:],
		"/assets/apps/nobody/0000000000000000", "/assets/apps/kiln", "/assets/apps/", "/assets/apps//x",
	} {
		if a := b.get(path); a.StatusCode != 404 {
			t.Errorf("GET %s: %s", path, a.Status)
		}
	}

	// Another logo has another address, soon; the old address has nothing.
	set(storage.Logo{Type: "image/svg+xml", Bytes: []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`)})
	h.pass(2 * time.Minute)
	next := one(picture, b.open(authorize(kiln)))
	if next == path || b.get(next).StatusCode != 200 || b.get(path).StatusCode != 404 {
		t.Errorf("the new logo is at %s, the old was at %s", next, path)
	}
	// What somebody put into the database past the commands is no picture of ours.
	set(storage.Logo{Type: "text/html", Bytes: []byte("<script>alert(1)</script>")})
	h.pass(2 * time.Minute)
	if a := b.wants(b.open(authorize(kiln)), "login", 200); one(picture, a) != "" || b.get(next).StatusCode == 200 {
		t.Error("a script is served as a logo")
	}
	set(storage.Logo{})
	h.pass(2 * time.Minute)
	if a := b.wants(b.open(authorize(kiln)), "login", 200); one(picture, a) != "" || !strings.Contains(a.body, ">KS</span>") {
		t.Errorf("without a logo there are no letters\n%s", a.body)
	}

	b.register("asha@example.com")
	if own := b.open("/account"); one(sheet, own) != one(sheet, h.browser(t).open("/login")) || one(picture, own) != "" {
		t.Error("the account is in an app's colour")
	}
	if a := b.wants(b.open(authorize(kiln)), "consent", 200); !strings.Contains(one(sheet, a), "ff6a3d") {
		t.Error("consent is not in the app's colour")
	}
}

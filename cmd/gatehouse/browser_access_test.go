//go:build !slim

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/gatehouse-id/gatehouse/web"
)

// axeCore is the source of axe-core, as npm installs it: in the version and with
// the content that tools/axe/package-lock.json names, once for each lock.
func axeCore(t *testing.T) string {
	t.Helper()
	const from = "../../tools/axe"
	lock, err := os.ReadFile(filepath.Join(from, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	cache = filepath.Join(cache, "gatehouse")
	home := filepath.Join(cache, fmt.Sprintf("axe-%x", sha256.Sum256(lock)))
	script := filepath.Join(home, "node_modules", "axe-core", "axe.min.js")
	if source, err := os.ReadFile(script); err == nil {
		return string(source)
	}
	without := t.Skipf
	if os.Getenv("CI") == "true" {
		without = t.Fatalf
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		without("there is no npm in PATH, which installs axe-core; .ci/install installs it")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(cache, "npm-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // or it has its place
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	install := exec.CommandContext(t.Context(), npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		without("npm does not install axe-core (%v):\n%s", err, out)
	}
	if err := os.Rename(dir, home); err != nil && !os.IsExist(err) { // by another test at the same time
		t.Fatal(err)
	}
	source, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

// kept reports whether what tests leave to look at is kept.
func kept() bool {
	f := flag.Lookup("test.artifacts")
	return f != nil && f.Value.String() == "true"
}

// A pageState is one page in one state, from the list at /dev/pages.json.
type pageState struct{ Page, State, Path string }

func pageStates(t *testing.T, base string) []pageState {
	t.Helper()
	resp, err := http.Get(base + "/dev/pages.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var all []pageState
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Fatalf("there are %d pages and states", len(all))
	}
	// What embedded mode shows besides.
	return append(all, pageState{"dev-pages", "index", "/dev/pages"}, pageState{"dev-app", "before", "/dev/app"}, pageState{"dev-mail", "empty", "/dev/mail"})
}

// Everybody can use every page in every state: WCAG 2.2 AA as axe-core and we can
// tell it, on a phone and a laptop, light and dark; in a window of 320 pixels,
// with text of twice the size and with more space in it; from left to right and
// from right to left, in words as long as they come and in another script.
func TestBrowserPages(t *testing.T) {
	t.Parallel()
	browser := chromium(t)
	c := embeddedConfig(t)
	started(t, c)
	raw, err := os.ReadFile("testdata/look.js")
	if err != nil {
		t.Fatal(err)
	}
	looking, axe := string(raw), ""
	t.Run("axe-core", func(t *testing.T) { axe = axeCore(t) })
	pictures := ""
	if kept() {
		pictures = t.ArtifactDir()
	}

	// An app's own colours are among the states; the operator's are on a server
	// of theirs.
	own := embeddedConfig(t)
	own.Theme.Accent = "#c2185b"
	own.Theme.Logo = web.Picture{Type: "image/svg+xml", Bytes: []byte(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 28 28"><circle cx="14" cy="14" r="13" fill="#c2185b"/></svg>`)}
	started(t, own)

	// As many as look at once, each in a tab of their own.
	eyes := make(chan *person, min(runtime.GOMAXPROCS(0), 4))
	for range cap(eyes) {
		p := newPerson(t, browser, phone)
		p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: axe})
			return err
		}))
		p.visit(c.URL + "/login") // whose cookie the forms are tied to
		eyes <- p
	}
	look := func(name, address string, views func(*person)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := <-eyes
			before := p.t
			p.t = t
			defer func() { p.t = before; eyes <- p }()
			p.view(view{phone, "light"})
			p.missed()
			p.visit(address)
			p.until(`document.querySelector("[autofocus]") === null || document.activeElement !== document.body`)
			p.do(chromedp.Evaluate[chromedp.Void](looking))
			p.faults("problem()")
			views(p)
			for _, said := range p.said() {
				if !strings.HasPrefix(said, "Failed to load resource: the server responded with a status of") || !strings.HasSuffix(said, ", at "+address) { // which is the page's own
					t.Errorf("the browser's console: %s", said)
				}
			}
			if n := p.missed(); n > 0 {
				t.Errorf("the page moves the focus away from where it is to be first: the browser says so %d times", n)
			}
		})
	}
	// A page is loaded once: what its reader likes changes under it.
	everywhere := func(p *person, name string) {
		for i, v := range views {
			p.view(v)
			if pictures != "" && i%2 == 0 { // two tell what there is to see, and each takes time
				p.faults("fold()")
				p.picture(filepath.Join(pictures, name+"-"+v.String()+".jpg"))
			}
			p.faults("unfold()")
			p.faults("cutOff()")
			if axe != "" {
				p.rules(v, i%2 == 0)
			}
		}
		if !strings.HasPrefix(name, "dev-pages") { // a list of words, for who works on the pages
			p.faults("targets()")
		}
		p.faults("focus()")
	}
	first := map[string]bool{}
	for _, s := range pageStates(t, c.URL) {
		look(s.Page+"/"+s.State, c.URL+s.Path, func(p *person) {
			everywhere(p, s.Page+"-"+s.State)
			p.reflow()
		})
		if first[s.Page] {
			continue
		}
		first[s.Page] = true
		for _, language := range []string{"ar", "de", "ne"} {
			address := c.URL + s.Path + "?" + url.Values{"ui_locales": {language}}.Encode()
			look(language+"/"+s.Page+"/"+s.State, address, func(p *person) {
				if language == "ar" {
					everywhere(p, s.Page+"-"+s.State+"-ar")
				} else {
					p.faults("unfold()")
				}
				p.reflow()
			})
		}
	}
	for _, sample := range []string{"login/credentials", "consent/first", "code/empty", "account/attention", "recovery-codes/first"} {
		look("operator's colour/"+sample, own.URL+"/dev/pages/"+sample, func(p *person) {
			const ours = "#0e5a70"
			if accent := patiently(p, p.tab, chromedp.Evaluate[string](`getComputedStyle(document.documentElement).getPropertyValue("--accent").trim()`)); accent == "" || accent == ours {
				p.t.Errorf("links are %q, which is our colour", accent)
			}
			everywhere(p, strings.ReplaceAll(sample, "/", "-")+"-operator")
		})
	}
}

// What colours and paper are left to the reader: pages say everything in forced
// colours, and print what is worth printing.
func TestBrowserMedia(t *testing.T) {
	t.Parallel()
	browser := chromium(t)
	c := embeddedConfig(t)
	started(t, c)
	p := newPerson(t, browser, laptop)
	pictures := t.ArtifactDir()
	// shown are those of the elements that can be seen.
	shown := func(css string) []string {
		return patiently(p, p.tab, chromedp.Evaluate[[]string](fmt.Sprintf("Array.from(document.querySelectorAll(%q)).filter(e => e.checkVisibility()).map(e => e.outerHTML.slice(0, 80))", css)))
	}
	p.visit(c.URL + "/login")

	t.Run("in forced colours controls have outlines and the focus shows", func(t *testing.T) {
		for _, sample := range []string{"login/credentials", "recovery-codes/first", "consent/first", "account/protected"} {
			p.visit(c.URL + "/dev/pages/" + sample)
			p.likes(&emulation.MediaFeature{Name: "forced-colors", Value: "active"})
			bare := patiently(p, p.tab, chromedp.Evaluate[[]string](`Array.from(document.querySelectorAll(".btn, .input"))
				.filter(e => e.checkVisibility() && parseFloat(getComputedStyle(e).borderTopWidth) < 1)
				.map(e => e.outerHTML.slice(0, 80))`))
			if len(bare) > 0 {
				t.Errorf("%s: no outline: %q", sample, bare)
			}
			p.do(chromedp.KeyEvent(kb.Tab))
			if ring := patiently(p, p.tab, chromedp.Evaluate[string](`(s => s.outlineStyle + " " + s.outlineWidth)(getComputedStyle(document.activeElement))`)); !strings.HasPrefix(ring, "solid") {
				t.Errorf("%s: the focus is shown by %q", sample, ring)
			}
			p.picture(filepath.Join(pictures, strings.ReplaceAll(sample, "/", "-")+"-forced-colors.jpg"))
		}
		p.likes()
	})
	t.Run("paper has the recovery codes, whole, and nothing to click", func(t *testing.T) {
		for _, sample := range []string{"recovery-codes/first", "login/empty"} {
			p.visit(c.URL + "/dev/pages/" + sample)
			if printed := shown(".print-only"); len(printed) > 0 {
				t.Errorf("%s: a screen shows what is for paper: %q", sample, printed)
			}
			p.medium("print")
			if left := shown("button, .btn, footer, .steps, .alert, .skip"); sample == "recovery-codes/first" && len(left) > 0 {
				t.Errorf("%s: paper has %q", sample, left)
			}
			p.picture(filepath.Join(pictures, strings.ReplaceAll(sample, "/", "-")+"-print.jpg"))
			if sample == "recovery-codes/first" {
				if n := len(shown("#codes li")); n != 10 {
					t.Errorf("paper has %d codes", n)
				}
				p.reads(".print-only", "asha@example.com")
				broken := patiently(p, p.tab, chromedp.Evaluate[[]string](`Array.from(document.querySelectorAll("#codes li"))
					.filter(e => { const r = document.createRange(); r.selectNodeContents(e); return new Set([...r.getClientRects()].map(b => b.top)).size > 1 || getComputedStyle(e).breakInside !== "avoid"; })
					.map(e => e.textContent)`))
				if len(broken) > 0 {
					t.Errorf("these codes may be broken: %q", broken)
				}
			}
			paper := patiently(p, p.tab, func(ctx context.Context, _ *chromedp.Target) ([]byte, error) {
				r, err := chromedp.Call(ctx, page.PrintToPDF, page.PrintToPDFParams{})
				return r.Data, err
			})
			if err := os.WriteFile(filepath.Join(pictures, strings.ReplaceAll(sample, "/", "-")+".pdf"), paper, 0o644); err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(paper, []byte("/Type /Page\n")); n != 1 {
				t.Errorf("%s: %d sheets of paper", sample, n)
			}
			p.medium("")
		}
	})
	t.Run("an open menu is there for everybody", func(t *testing.T) {
		raw, err := os.ReadFile("testdata/look.js")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []size{{320, 800}, laptop} {
			p.resize(s)
			p.visit(c.URL + "/dev/pages/account/protected")
			p.do(chromedp.Evaluate[chromedp.Void](string(raw)))
			p.do(chromedp.Focus(chromedp.CSS(".menu summary")))
			p.do(chromedp.KeyEvent(kb.Enter))
			p.until(`document.querySelector(".menu").open`)
			p.faults("cutOff()")
			p.faults("targets()")
			p.faults("focus()")
			p.do(chromedp.KeyEvent(kb.Escape))
			p.until(`document.activeElement.localName === "summary" && !document.querySelector(".menu").open`)
		}
	})
}

// A password manager knows the form by these, and no field is hidden from it.
func TestBrowserAutofill(t *testing.T) {
	t.Parallel()
	browser := chromium(t)
	c := embeddedConfig(t)
	started(t, c)
	p := newPerson(t, browser, phone)
	p.visit(c.URL + "/login")
	for _, tt := range []struct {
		page string
		want []string
	}{
		{"login/empty", []string{"email username identifier", "password current-password password"}},
		{"register/empty", []string{"text name name", "email email email", "password new-password password"}},
		{"verify/registering", []string{"text one-time-code code"}},
		{"code/empty", []string{"text one-time-code code"}},
		{"reset/empty", []string{"email username identifier"}},
		{"reset-password/empty", []string{"text username username", "password new-password password"}},
		{"account-password/empty", []string{"text username username", "password current-password current_password", "password new-password password"}},
		{"account-confirm/empty", []string{"text username username", "password current-password password"}},
		{"two-step-app/empty", []string{"text one-time-code code"}},
	} {
		t.Run(tt.page, func(t *testing.T) {
			p.visit(c.URL + "/dev/pages/" + tt.page)
			got := patiently(p, p.tab, chromedp.Evaluate[[]string](`Array.from(document.querySelector("main form").elements)
				.filter(e => e.localName === "input" && !["hidden", "checkbox"].includes(e.type) && e.checkVisibility())
				.map(e => e.type + " " + e.autocomplete + " " + e.name)`))
			if !slices.Equal(got, tt.want) {
				t.Errorf("the form has %q, not %q", got, tt.want)
			}
		})
	}
}

// A view is a window and what its owner likes.
type view struct {
	size
	scheme string
}

func (v view) String() string { return fmt.Sprintf("%d-%s", v.width, v.scheme) }

// views are in the order in which the least changes from one to the next, so
// that every other is of another width and of other colours.
var views = []view{{phone, "light"}, {phone, "dark"}, {laptop, "dark"}, {laptop, "light"}}

func (p *person) view(v view) {
	p.t.Helper()
	p.resize(v.size)
	p.likes(&emulation.MediaFeature{Name: "prefers-color-scheme", Value: v.scheme})
}

// likes sets what the browser tells pages of its owner.
func (p *person) likes(features ...*emulation.MediaFeature) {
	p.t.Helper()
	features = append(features, &emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "reduce"}) // or colors would be on their way
	p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		return err
	}))
}

// medium makes the page what it is on another one than a screen.
func (p *person) medium(name string) {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: name})
		return err
	}))
}

// picture keeps what the whole page looks like, in a window that has room for it:
// of what lies beyond a window, Chromium shows another part where pages are read
// from right to left.
func (p *person) picture(file string) {
	p.t.Helper()
	height := patiently(p, p.tab, chromedp.Evaluate[int64]("document.documentElement.scrollHeight"))
	p.do(chromedp.EmulateViewport(p.size.width, height))
	seen := patiently(p, p.tab, func(ctx context.Context, _ *chromedp.Target) ([]byte, error) {
		quality := int64(80)
		r, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatJpeg, Quality: &quality})
		return r.Data, err
	})
	p.do(chromedp.EmulateViewport(p.size.width, p.size.height))
	if err := os.WriteFile(file, seen, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// faults fails the test for each fault that a question of testdata/look.js finds.
func (p *person) faults(question string) {
	p.t.Helper()
	for _, fault := range patiently(p, p.tab, chromedp.Evaluate[[]string]("look."+question)) {
		p.t.Errorf("%s: %s", question, fault)
	}
}

// rules fails the test for each rule of axe-core that is broken: for all of them,
// or for those alone that may be broken in one colour and not in another.
func (p *person) rules(v view, all bool) {
	p.t.Helper()
	found := patiently(p, p.tab, chromedp.Evaluate[struct {
		Faults, Unsure []string
		Rules          int
	}](fmt.Sprintf("look.rules(%v)", all), chromedp.EvalAwaitPromise))
	if all && found.Rules < 10 {
		p.t.Errorf("%s: axe-core has looked at %d rules", v, found.Rules)
	}
	for _, fault := range found.Faults {
		p.t.Errorf("%s: %s", v, fault)
	}
	for _, what := range found.Unsure {
		p.t.Logf("%s: axe-core cannot tell: %s", v, what)
	}
}

// reflow fails the test when text is cut off for somebody who needs it large or
// spaced, or who has a narrow window (WCAG 2.2, 1.4.4, 1.4.10 and 1.4.12).
func (p *person) reflow() {
	p.t.Helper()
	for _, tt := range []struct {
		size
		percent int
		spaced  bool
	}{
		{size{320, 800}, 100, false},
		{size{320, 800}, 100, true},
		{size{640, 800}, 200, false},
		{size{1280, 800}, 200, false},
	} {
		p.do(chromedp.EmulateViewport(tt.width, tt.height))
		p.faults(fmt.Sprintf("atEase(%d, %v)", tt.percent, tt.spaced))
	}
	p.do(chromedp.Evaluate[chromedp.Void]("look.atEase(100, false)"))
}

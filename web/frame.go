package web

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/web/render"
)

// Links are the operator's own pages. An empty one is not shown.
type Links struct {
	Help    string
	Privacy string
	// Terms, when set, must be agreed to at registration.
	Terms string
}

// A Frame is what every page stands in: head, stylesheet, brand, footer, and
// the headers that go with HTML.
type Frame struct {
	brand string
	links Links
	// domain is the one whose addresses may register, empty when there are many
	// or any may.
	domain string
	// common are the headers of every answer.
	common http.Header
	text   catalogue
	assets assets
	// funcs are what templates call.
	funcs render.Funcs
}

// NewFrame compresses the static files once. secure is whether the issuer is
// https.
func NewFrame(brand string, theme Theme, links Links, secure bool) (*Frame, error) {
	if brand == "" {
		brand = "Gatehouse"
	}
	text, err := loadCatalogue("en")
	if err != nil {
		return nil, err
	}
	static, err := loadAssets(theme)
	if err != nil {
		return nil, err
	}
	f := &Frame{brand: brand, links: links, common: commonHeaders(secure), text: text, assets: static}
	f.funcs = render.Funcs{
		"asset":      func(name string) string { return static.paths[name] },
		"stylesheet": static.sheet.path,
		"t":          text.html,
		"link":       link,
		"strong":     strong,
		"nowrap":     nowrap,
		"ltr":        ltr,
		"bdi":        bdi,
		"clock":      clock,
		"utc":        text.utc,
		"at":         at,
		"initials":   initials,
		"within":     within,
		"described":  describedBy,
		"field":      f.field,
		"fieldError": f.fieldError,
	}
	return f, nil
}

// A Template is a page without its data: one of the templates it consists of is
// appended to w.
type Template interface {
	Render(w *bytes.Buffer, name string, data any) error
}

// A Page is one page to be shown in the frame.
type Page struct {
	// Name is html[data-page], and the part of the catalogue it reads.
	Name  string
	Title string
	// Status is 200 when zero.
	Status int
	// Wide is for pages that compare things.
	Wide bool
	// BodyID is the id of the body, or empty.
	BodyID string
	// App is the name of the app that waits, or empty; Logo the address of its
	// picture, and Accent its colour, where it has them.
	App    string
	Logo   string
	Accent Colour
	// Flow and CSRF are the hidden fields of its forms.
	Flow string
	CSRF string
	// Values are what the person typed, never passwords, by field.
	Values   map[string]string
	Problems []storage.Problem
	Notice   string
	// NoticeOf is the name of what the notice is about, or empty.
	NoticeOf string
	// Until is the end of the wait that Problems tell of, or zero.
	Until time.Time
	// Data is the page's own.
	Data any
	// Account is set on the pages of somebody's account.
	Account *Account
	// Redirect is where a form of the page may end up beyond this server, or
	// empty; it goes into form-action.
	Redirect string
}

// An Account is what stands around the pages of somebody's account.
type Account struct {
	// Name is the person's.
	Name string
	// Section is the page's name, by which the navigation marks where one is.
	Section string
	// SignOut is the token of the menu's form; empty in a browser that has been
	// given none.
	SignOut string
}

// within reports whether the page belongs to an entry of the navigation: it is
// that page, or one of those below it.
func within(a *Account, pages ...string) bool {
	return slices.ContainsFunc(pages, func(page string) bool { return a.Section == page || strings.HasPrefix(a.Section, page+"-") })
}

// view is what templates see.
type view struct {
	Page
	// Lang and Dir are the language of the page and the way it is read.
	Lang, Dir string
	// Language is what its readers call it, Languages where to choose another.
	Language, Languages string
	Brand               string
	Links               Links
	WindowTitle         string
	// Domain is the one whose addresses may register, or empty.
	Domain string
}

func (f *Frame) view(r *http.Request, p Page) view {
	key := "common.title"
	if len(p.Problems) > 0 {
		key = "common.title_error"
	}
	return view{
		Page: p, Lang: f.text.Tag(), Dir: f.text.Dir(), Language: f.text.Name(), Languages: languagesPath(r),
		Brand: f.brand, Links: f.links, Domain: f.domain,
		WindowTitle: f.text.plain(key, "page", p.Title, "brand", f.brand),
	}
}

// Write shows the page. It renders first and writes after, so that a fault in a
// template is an error and not half a page.
func (f *Frame) Write(w http.ResponseWriter, r *http.Request, t Template, p Page) error {
	var body bytes.Buffer
	if err := t.Render(&body, "frame", f.view(r, p)); err != nil {
		return fmt.Errorf("web: render %s: %w", p.Name, err)
	}
	f.headers(w.Header(), p.Redirect)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", f.text.Tag())
	w.Header().Add("Vary", "Accept-Language, Cookie")
	if p.Status != 0 {
		w.WriteHeader(p.Status)
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(body.Bytes()) // the reader has gone: nobody to tell
	}
	return nil
}

// headers are what goes with every page and every redirect of a page.
func (f *Frame) headers(h http.Header, redirect string) {
	action := "'self'"
	if s := source(redirect); s != "" {
		action += " " + s
	}
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "+
		"form-action "+action+"; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "browsing-topics=(), camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()")
	f.everywhere(h)
}

// everywhere are the headers of every answer, whatever it is. Unless it says
// otherwise nobody keeps it, and it may do nothing in a browser.
func (f *Frame) everywhere(h http.Header) {
	for name, value := range f.common {
		if name == csp && h[csp] != nil {
			continue
		}
		h[name] = value
	}
}

const csp = "Content-Security-Policy"

// commonHeaders are those of everywhere, made once: a check of a token sends
// little else. Nobody may change a value in place, which is of all answers.
func commonHeaders(secure bool) http.Header {
	h := http.Header{}
	h.Set("Cache-Control", "no-store")
	h.Set(csp, "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	return h
}

// source is the CSP source (CSP3 section 2.3.1) of a redirect URI: its origin,
// or its scheme alone when it has none that the grammar can say: custom schemes
// and IPv6 literals. Chromium holds the whole chain of redirects after a POST
// against form-action.
func source(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil || u.Scheme == "" || strings.ContainsAny(u.Host, " ;,'\"\\") {
		return ""
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.HasPrefix(u.Host, "[") {
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}

// at is a page's address within a flow.
func at(path, flow string) string {
	if flow == "" {
		return path
	}
	return path + "?flow=" + url.QueryEscape(flow)
}

// initials stand where there is no picture: up to two letters of a name.
func initials(name string) string {
	var out []rune
	for _, word := range strings.Fields(name) {
		for _, c := range word {
			if unicode.IsLetter(c) || unicode.IsNumber(c) {
				out = append(out, unicode.ToUpper(c))
				break
			}
		}
	}
	switch len(out) {
	case 0:
		return "?"
	case 1:
		return string(out)
	default:
		return string([]rune{out[0], out[len(out)-1]})
	}
}

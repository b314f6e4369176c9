package conformance_test

import (
	"io"
	"mime"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// A browser is one browser of the person: it keeps cookies, follows redirects,
// and fills in every form it knows, as the suite's does. It has no scripts, and
// minds the Content-Security-Policy of the page that it posts a form from.
type browser struct {
	t    testing.TB
	op   *op
	http *http.Client
	// seen are the pages shown since the last visit began, by their names.
	seen []string
	// logins are the sign-in pages among them, whole.
	logins []*page
	// page is where it stands; nil at the relying party.
	page *page
	// undecided has it stop at pages that ask instead of answering.
	undecided bool
	// told is how many calls the relying party had got when the visit began.
	told int
}

// A page is one of the server's.
type page struct {
	url    *url.URL
	status int
	header http.Header
	name   string
	root   *html.Node
	body   string
}

func (o *op) browser(t testing.TB) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, op: o}
	b.http = &http.Client{Transport: o.http.Transport, CheckRedirect: o.http.CheckRedirect, Timeout: o.http.Timeout, Jar: jar}
	return b
}

// open goes to an address and on to where it leads. It returns the call that the
// relying party got from this browser, or nil when it stands at a page.
func (b *browser) open(address string) *call {
	b.t.Helper()
	return b.visit(http.MethodGet, address, nil, false)
}

// post sends a form from another site: the cookies of the server, which are
// SameSite, do not come with it.
func (b *browser) post(address string, form url.Values) *call {
	b.t.Helper()
	return b.visit(http.MethodPost, address, form, true)
}

func (b *browser) visit(method, address string, form url.Values, crossSite bool) *call {
	b.t.Helper()
	b.seen, b.logins, b.page, b.told = nil, nil, nil, b.op.rp.count()
	var from *page // whose form was posted, until another page is shown
	for range 30 {
		at, err := url.Parse(address)
		if err != nil {
			b.t.Fatalf("the browser was sent to %q: %v", address, err)
		}
		if from != nil && !from.mayPostTo(at) {
			b.t.Fatalf("a browser that minds form-action stays at the page %s: it is %q, and the form leads to %s", from.name, from.header.Get("Content-Security-Policy"), address)
		}
		if at.Host != b.op.rp.host && !strings.HasPrefix(address, b.op.issuer+"/") {
			b.t.Fatalf("the browser was sent to %s", address)
		}
		resp, body := b.send(method, at, form, crossSite)
		if at.Host == b.op.rp.host {
			if resp.StatusCode != http.StatusOK {
				b.t.Fatalf("the relying party answered %s", resp.Status)
			}
			calls := b.op.rp.got(at.Path)
			return &calls[len(calls)-1]
		}
		if to := resp.Header.Get("Location"); to != "" {
			if resp.StatusCode != http.StatusSeeOther && resp.StatusCode != http.StatusFound {
				b.t.Errorf("%s %s redirects with %s", method, at.Path, resp.Status)
			}
			next, err := at.Parse(to)
			if err != nil {
				b.t.Fatalf("the browser was sent to %q: %v", to, err)
			}
			// Parse and String would write the address anew; the relying party is to
			// get it as it is.
			if address = to; !strings.Contains(to, "://") {
				address = next.String()
			}
			method, form, crossSite = http.MethodGet, nil, false
			continue
		}
		b.arrive(at, resp, body)
		action, filled := b.fill()
		if filled == nil {
			return nil
		}
		from, method, address, form, crossSite = b.page, http.MethodPost, action, filled, false
	}
	b.t.Fatalf("the browser goes round in circles: %v", b.seen)
	return nil
}

func (b *browser) send(method string, at *url.URL, form url.Values, crossSite bool) (*http.Response, string) {
	b.t.Helper()
	var content io.Reader
	if form != nil {
		content = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, at.String(), content)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("User-Agent", "Mozilla/5.0 (the conformance test)")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	client := b.http
	if crossSite {
		client = b.op.http
	}
	resp, err := client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if crossSite {
		b.http.Jar.SetCookies(at, resp.Cookies())
	}
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(read)
}

// arrive notes a page, and what every page must have.
func (b *browser) arrive(at *url.URL, resp *http.Response, body string) {
	b.t.Helper()
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != "text/html" {
		b.t.Fatalf("%s answered %s with %q: %.200s", at.Path, resp.Status, media, body)
	}
	root, err := html.ParseWithOptions(strings.NewReader(body), html.ParseOptionEnableScripting(false))
	if err != nil {
		b.t.Fatal(err)
	}
	p := &page{url: at, status: resp.StatusCode, header: resp.Header, root: root, body: body}
	if e := p.find(func(n *html.Node) bool { return n.Data == "html" }); e != nil {
		p.name = attr(e, "data-page")
	}
	policy := resp.Header.Get("Content-Security-Policy")
	if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		b.t.Errorf("the page %s has the headers %v", p.name, resp.Header)
	}
	b.page = p
	b.seen = append(b.seen, p.name)
	if p.element("login-form") != nil {
		b.logins = append(b.logins, p)
	}
}

// fill answers the form of the page as the person does who signs in and agrees
// to everything. It returns no values for a page that asks nothing.
func (b *browser) fill() (action string, values url.Values) {
	b.t.Helper()
	if b.undecided {
		return "", nil
	}
	for _, f := range []struct {
		form, button string
		typed        map[string]string
	}{
		{"login-form", "login-submit", map[string]string{"identifier": person, "password": password}},
		{"select-form", "select-account", nil},
		{"consent-form", "consent-allow", nil},
		{"logout-form", "logout-confirm", nil},
		{"formpost-form", "", nil},
	} {
		form := b.page.element(f.form)
		if form == nil {
			continue
		}
		if f.form == "login-form" && len(b.logins) > 1 {
			b.t.Fatalf("the person could not sign in:\n%s", b.page.body)
		}
		if f.form == "formpost-form" {
			b.page.checkFormPost(b.t)
		}
		values = url.Values{}
		for _, in := range all(form, "input") {
			name, kind := attr(in, "name"), attr(in, "type")
			switch typed, ok := f.typed[name]; {
			case name == "":
			case ok && kind != "hidden" && !has(in, "readonly"):
				values.Add(name, typed)
			case kind == "checkbox" && !has(in, "checked") && name != "scope": // what the app asks for is agreed to
			case kind == "submit":
			default:
				values.Add(name, attr(in, "value"))
			}
		}
		if button := b.page.element(f.button); button != nil && attr(button, "name") != "" {
			values.Add(attr(button, "name"), attr(button, "value"))
		}
		to, err := b.page.url.Parse(attr(form, "action"))
		if err != nil || attr(form, "method") != "post" {
			b.t.Fatalf("the form %s goes nowhere", f.form)
		}
		return to.String(), values
	}
	return "", nil
}

// mayPostTo reports whether the policy of the page lets its form end there.
func (p *page) mayPostTo(to *url.URL) bool {
	for directive := range strings.SplitSeq(p.header.Get("Content-Security-Policy"), ";") {
		words := strings.Fields(directive)
		if len(words) == 0 || words[0] != "form-action" {
			continue
		}
		origin := to.Scheme + "://" + to.Host
		self := p.url.Scheme + "://" + p.url.Host
		return slices.Contains(words, origin) || slices.Contains(words, "'self'") && origin == self
	}
	return true
}

// checkFormPost is what the page that posts an answer must be: it posts itself
// with a script that the policy names, and has a button for where there are none.
func (p *page) checkFormPost(t testing.TB) {
	t.Helper()
	script := p.find(func(n *html.Node) bool { return n.Data == "script" && n.FirstChild != nil })
	if script == nil || !strings.Contains(script.FirstChild.Data, "submit()") || !strings.Contains(p.header.Get("Content-Security-Policy"), "script-src 'sha256-") {
		t.Errorf("the page does not post itself:\n%s", p.body)
	}
	fallback := p.find(func(n *html.Node) bool { return n.Data == "noscript" && len(all(n, "button")) == 1 })
	if fallback == nil {
		t.Errorf("without scripts there is no button:\n%s", p.body)
	}
	if p.status != http.StatusOK {
		t.Errorf("the status is %d", p.status)
	}
}

// find returns the first element that is wanted.
func (p *page) find(wanted func(*html.Node) bool) *html.Node {
	for n := range p.root.Descendants() {
		if n.Type == html.ElementNode && wanted(n) {
			return n
		}
	}
	return nil
}

// element returns the element of that id, or nil.
func (p *page) element(id string) *html.Node {
	if id == "" {
		return nil
	}
	return p.find(func(n *html.Node) bool { return attr(n, "id") == id })
}

func all(within *html.Node, name string) (found []*html.Node) {
	for n := range within.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			found = append(found, n)
		}
	}
	return found
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

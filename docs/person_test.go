//go:build unix

package docs_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// A person has an account, and a browser without scripts that keeps cookies and
// shows one page.
type person struct {
	email, password string
	http            *http.Client
	at              *url.URL
	page            *html.Node
}

func newPerson(t *testing.T, email, password string) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{email: email, password: password, http: &http.Client{Jar: jar, Timeout: patience}}
	t.Cleanup(p.http.CloseIdleConnections)
	return p
}

// open goes to an address, and through the forms of Gatehouse as somebody who
// signs in and agrees.
func (p *person) open(t *testing.T, address string) {
	t.Helper()
	p.ask(t, http.MethodGet, address, "")
	for range 5 {
		if !p.submit(t, "login-form", url.Values{"identifier": {p.email}, "password": {p.password}}) &&
			!p.submit(t, "consent-form", url.Values{"decision": {"allow"}, "remember": {"1"}}) &&
			!p.submit(t, "logout-form", url.Values{"scope": {"all"}}) {
			return
		}
	}
	t.Fatalf("there is no end of forms, at %s", p.at)
}

// submit sends the form of this id, or the first with this action, if there is
// one.
func (p *person) submit(t *testing.T, name string, values url.Values) bool {
	t.Helper()
	for n := range p.page.Descendants() {
		if n.Data != "form" || attribute(n, "id") != name && attribute(n, "action") != name {
			continue
		}
		for input := range n.Descendants() {
			if input.Data == "input" && attribute(input, "type") == "hidden" {
				values.Set(attribute(input, "name"), attribute(input, "value"))
			}
		}
		to, err := p.at.Parse(attribute(n, "action"))
		if err != nil {
			t.Fatal(err)
		}
		p.ask(t, http.MethodPost, to.String(), values.Encode())
		return true
	}
	return false
}

// ask sends a request and shows what comes.
func (p *person) ask(t *testing.T, method, address, form string) {
	t.Helper()
	req, err := http.NewRequest(method, address, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,*/*;q=0.8")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	p.at = resp.Request.URL
	if p.page, err = html.Parse(resp.Body); err != nil {
		t.Fatal(err)
	}
}

// text is what can be read on the page.
func (p *person) text() string {
	var b strings.Builder
	for n := range p.page.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// reads looks for a sentence on the page.
func (p *person) reads(t *testing.T, sentence string) {
	t.Helper()
	if text := p.text(); !strings.Contains(text, sentence) {
		t.Fatalf("%s does not say %q but %q", p.at, sentence, text)
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

package clients_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// An agent is a browser without scripts, at which a person sits: it keeps
// cookies, follows redirects, and fills in the forms it is shown.
type agent struct {
	t    *testing.T
	http *http.Client
	who  account
	// app begins the addresses at which it stops, because nobody listens there;
	// empty is nowhere.
	app string
	// answers are the status codes of the redirects that followed a form.
	answers []int
}

func newAgent(t *testing.T, who account, app string) *agent {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, who: who, app: app}
	a.http = &http.Client{
		Jar: jar, Timeout: patience,
		// Apps of a test have a certificate that nobody knows.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if via[len(via)-1].Method == http.MethodPost {
				a.answers = append(a.answers, r.Response.StatusCode)
			}
			switch {
			case len(via) > 20:
				return errors.New("a circle of redirects")
			case a.app != "" && strings.HasPrefix(r.URL.String(), a.app):
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	t.Cleanup(a.http.CloseIdleConnections)
	return a
}

// A visit is where the person was led.
type visit struct {
	// URL is that of the page, or the address at the app.
	URL string `json:"url"`
	// Form is what was posted to the app, encoded; empty for a redirect.
	Form string `json:"form,omitempty"`
	// pages are the forms that were filled in on the way.
	pages []string
	page  *html.Node
}

// open goes to an address and through every form of ours, as somebody who says
// yes to everything.
func (a *agent) open(address string) visit {
	a.t.Helper()
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	var v visit
	for range 10 {
		req.Header.Set("Accept", "text/html,*/*;q=0.8")
		resp, err := a.http.Do(req)
		if err != nil {
			a.t.Fatal(err)
		}
		page, err := html.Parse(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			a.t.Fatal(err)
		}
		at := resp.Request.URL
		if resp.StatusCode >= 300 && resp.StatusCode < 400 {
			to, err := resp.Location()
			if err != nil {
				a.t.Fatal(err)
			}
			v.URL = to.String()
			return v
		}
		if resp.StatusCode >= 400 {
			a.t.Fatalf("%s %s is %s:\n%s", resp.Request.Method, at, resp.Status, text(page))
		}
		v.URL, v.page = at.String(), page
		f, known := a.fill(page)
		if !known {
			return v
		}
		v.pages = append(v.pages, f.id)
		to, err := at.Parse(f.action)
		if err != nil {
			a.t.Fatal(err)
		}
		if a.app != "" && strings.HasPrefix(to.String(), a.app) {
			v.URL, v.Form = to.String(), f.values.Encode()
			return v
		}
		if req, err = http.NewRequest(http.MethodPost, to.String(), strings.NewReader(f.values.Encode())); err != nil {
			a.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", at.Scheme+"://"+at.Host)
	}
	a.t.Fatalf("%s leads from form to form: %q", address, v.pages)
	return v
}

// A form is one of a page, filled in.
type form struct {
	id, action string
	values     url.Values
}

// fill fills in the page's form, if the page has one that a person going to an
// app or away from it meets.
func (a *agent) fill(page *html.Node) (f form, known bool) {
	answers := map[string]url.Values{
		"login-form":    {"identifier": {a.who.Email}, "password": {a.who.Password}},
		"consent-form":  {"decision": {"allow"}, "remember": {"1"}},
		"logout-form":   {"scope": {"all"}},
		"formpost-form": {},
	}
	for n := range page.Descendants() {
		if n.Data != "form" || answers[attribute(n, "id")] == nil {
			continue
		}
		f = form{attribute(n, "id"), attribute(n, "action"), answers[attribute(n, "id")]}
		for input := range n.Descendants() {
			if input.Data == "input" && attribute(input, "type") == "hidden" {
				f.values.Set(attribute(input, "name"), attribute(input, "value"))
			}
		}
		return f, true
	}
	return f, false
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// text is what can be read below a node.
func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && (d.Parent == nil || d.Parent.Data != "script" && d.Parent.Data != "style") {
			b.WriteString(d.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

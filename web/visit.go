package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	// maxForm is the largest body of a page, in bytes.
	maxForm = 64 << 10
	// maxFields is how many fields a form may have.
	maxFields = 16
)

// A visit is one request for a page.
type visit struct {
	w http.ResponseWriter
	r *http.Request
	// query is the query of a GET; form is the body of a POST. No field is there
	// twice.
	query url.Values
	form  url.Values
	// flow is what the browser is in the middle of; its ID is empty when nothing
	// is.
	flow storage.Interaction
	// named is the flow that the address names, whether or not the page is part
	// of it.
	named storage.Interaction
	// session and user are who is signed in; session is nil when nobody is.
	session *storage.Session
	user    storage.User
	// asked is what an app that waits has asked for.
	asked provider.Asked
	// own says that the page is one of the person's account, whose forms are
	// good in their session alone.
	own bool
}

// A stop ends a visit with a page of its own, and nothing changed.
type stop struct {
	status int
	// page is the key under "error" of the catalogue.
	page string
	// flow is where the person may go on, or empty.
	flow storage.Interaction
	// on is the path of the page to begin again at; empty leaves it to flow.
	on string
	// lede is the key of what the page says in its own way, or empty.
	lede string
	// client is the app that the page is about, zero when there is none.
	client storage.Client
}

func (e *stop) Error() string { return "web: " + e.page }

// get answers a GET by show, in the visitor's language.
func (s *Web) get(show func(*Web, *visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{w: w, r: r}
		err := s.read(v)
		if err == nil {
			err = show(s.toVisitor(v), v)
		}
		if err != nil {
			err = s.tryCookie(v, err)
		}
		if err != nil {
			s.toVisitor(v).fail(w, r, err)
		}
	}
}

// cookieTried is the query that a browser comes back with that was given a
// cookie and asked to come back.
const cookieTried = "cookie"

// tryCookie tells a browser that keeps no cookies from one that is new to a
// flow: neither sends one, so it is given one, and comes to the same page again.
func (s *Web) tryCookie(v *visit, err error) error {
	e, ok := errors.AsType[*stop](err)
	if _, has := s.provider.Browser(v.r); has || !ok || e.page != "expired" {
		return err
	}
	if v.query.Get(cookieTried) != "" {
		return &stop{status: http.StatusOK, page: "cookies", on: v.r.URL.EscapedPath()}
	}
	if _, err := s.provider.StartInteraction(v.w, v.r); err != nil {
		return err
	}
	v.query.Set(cookieTried, "1")
	s.redirect(v, v.r.URL.EscapedPath()+"?"+v.query.Encode())
	return nil
}

// post answers a POST from a page of ours by act: from this site, small, each
// field once, with the token that this browser was given for this flow. A flow
// that is no more sends the browser back to the page, which says so.
func (s *Web) post(path string, act func(*Web, *visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{w: w, r: r}
		if err := s.receive(v, ""); err != nil {
			s.to(r).fail(w, r, err)
			return
		}
		err := s.who(v)
		if err == nil {
			err = s.resume(v, v.form.Get("flow"))
		}
		if e, ok := errors.AsType[*stop](err); ok && e.page == "expired" {
			s.redirect(v, at(path, v.form.Get("flow")))
			return
		}
		if err == nil {
			err = act(s.toVisitor(v), v)
		}
		if err != nil {
			s.toVisitor(v).fail(w, r, err)
		}
	}
}

// read parses the query of a GET and finds who is signed in.
func (s *Web) read(v *visit) error {
	query, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil || !plain(query, "") {
		return &stop{status: http.StatusBadRequest, page: "link"}
	}
	v.query = query
	if err := s.who(v); err != nil {
		return err
	}
	// The flow says what language its app has asked for.
	if id := query.Get("flow"); id != "" {
		v.named, err = s.provider.Interaction(v.r, id)
		if errors.Is(err, storage.ErrNotFound) { // the page says so when it wants the flow
			return nil
		}
	}
	return err
}

// who finds who is signed in.
func (s *Web) who(v *visit) error {
	session, user, err := s.provider.Session(v.r)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	v.session, v.user = &session, user
	return nil
}

// receive reads the form and checks where it comes from. session is the id that
// its token must be for.
func (s *Web) receive(v *visit, session string) error {
	// Under "Referrer-Policy: no-referrer" a browser too old for Sec-Fetch-Site,
	// or one at a plain http address, sends the origin "null" from our own pages.
	// The token below decides about those.
	old := v.r.Header.Get("Sec-Fetch-Site") == "" && v.r.Header.Get("Origin") == "null"
	if err := s.crossOrigin.Check(v.r); err != nil && !old {
		return &stop{status: http.StatusForbidden, page: "expired"}
	}
	form, err := readForm(v.w, v.r)
	if err != nil {
		return err
	}
	v.form = form
	secret, ok := s.provider.Browser(v.r)
	if !ok || !s.checkCSRF(v.r.Context(), form.Get("csrf_token"), secret, form.Get("flow"), session) {
		return &stop{status: http.StatusForbidden, page: "expired"}
	}
	return nil
}

// resume reads the flow and what its app asks. An empty id is a visit outside
// any flow.
func (s *Web) resume(v *visit, id string) (err error) {
	if id == "" {
		return nil
	}
	flow := v.named
	if flow.ID != id {
		flow, err = s.provider.Interaction(v.r, id)
	}
	if errors.Is(err, storage.ErrNotFound) {
		return &stop{status: http.StatusOK, page: "expired"}
	}
	if err != nil {
		return err
	}
	v.flow = flow
	v.asked, err = s.provider.Asked(v.r, flow)
	return err
}

// begin reads the flow of a GET. A visit without one gets one, and is sent to
// the same page within it; then begun is false and the answer is written.
func (s *Web) begin(v *visit, path string) (begun bool, err error) {
	if id := v.query.Get("flow"); id != "" {
		return true, s.resume(v, id)
	}
	flow, err := s.provider.StartInteraction(v.w, v.r)
	if err != nil {
		return false, err
	}
	s.redirect(v, at(path, flow.ID))
	return false, nil
}

// redirect ends the visit with a GET of to, one of our own paths (RFC 9700
// section 4.12: 303, so that nothing posted is sent on).
func (s *Web) redirect(v *visit, to string) {
	s.frame.headers(v.w.Header(), v.asked.RedirectURI)
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusSeeOther)
}

// show writes the page within the visit's flow.
func (s *Web) show(v *visit, p Page) error {
	p.Flow, p.App = v.flow.ID, v.asked.Client.Name
	p.Logo, p.Accent = s.logoPath(v.r.Context(), v.asked.Client.ID), Colour(v.asked.Client.Metadata.Accent)
	secret, ok := s.provider.Browser(v.r)
	if ok {
		p.CSRF = s.csrf(secret, v.flow.ID, "")
	}
	if v.own {
		p.Account = &Account{Name: v.user.Name, Section: p.Name}
		if ok {
			p.CSRF, p.Account.SignOut = s.csrf(secret, v.flow.ID, v.session.ID), s.csrf(secret, "", "")
		}
	}
	p.Redirect = v.asked.RedirectURI
	if p.Title == "" {
		p.Title = s.frame.text.plain(p.Name+".title", "brand", s.frame.brand, "app", p.App)
	}
	if v.flow.Page == p.Name { // what waits in the flow is for one page
		p.Problems, p.Notice, p.NoticeOf, p.Until = v.flow.Problems, v.flow.Notice, v.flow.Typed["notice_of"], v.flow.Until
		if wait := p.Until.Sub(s.now()); wait > 0 { // RFC 6585 section 4
			p.Status = http.StatusTooManyRequests
			retryAfter(v.w.Header(), wait)
		}
	}
	return s.write(v.w, v.r, p.Name, p)
}

// retry keeps what was typed and what was wrong with it, and goes back to the
// page.
func (s *Web) retry(v *visit, page string, problems ...storage.Problem) error {
	return s.leave(v, page, "", time.Time{}, problems...)
}

// move leaves everything typed behind and goes on to another page, with a
// message or without.
func (s *Web) move(v *visit, page, notice string) error {
	return s.leave(v, page, notice, time.Time{})
}

// leave ends a POST: what the page is to say waits in the flow, also the time
// until which it holds, and the browser gets the page.
func (s *Web) leave(v *visit, page, notice string, until time.Time, problems ...storage.Problem) error {
	v.flow.Page, v.flow.Notice, v.flow.Until, v.flow.Problems = page, notice, until, problems
	if err := s.provider.SaveInteraction(v.r.Context(), v.flow); err != nil {
		return err
	}
	s.redirect(v, at(address(page), v.flow.ID))
	return nil
}

// readForm reads the body of a page's POST.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.ContentLength > maxForm {
		return nil, &stop{status: http.StatusRequestEntityTooLarge, page: "too_large"}
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") {
		return nil, &stop{status: http.StatusBadRequest, page: "form"}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, &stop{status: http.StatusRequestEntityTooLarge, page: "too_large"}
		}
		return nil, &stop{status: http.StatusBadRequest, page: "form"}
	}
	if !plain(r.PostForm, ticked(r.URL.Path)) {
		return nil, &stop{status: http.StatusBadRequest, page: "form"}
	}
	return r.PostForm, nil
}

// ticked is the name of the one field that the form at path may send more than
// once, or empty: the boxes of one list.
func ticked(path string) string {
	if path == "/consent" {
		return "scope"
	}
	return ""
}

// plain reports whether the fields are such as pages of ours send: few, each
// once but for that of boxes, and of text.
func plain(v url.Values, boxes string) bool {
	for name, values := range v {
		if name == boxes && len(values) <= maxFields {
			values = []string{strings.Join(values, "")}
		}
		if len(values) != 1 || !utf8.ValidString(name) || !utf8.ValidString(values[0]) || strings.ContainsRune(values[0], 0) {
			return false
		}
	}
	return len(v) <= maxFields
}

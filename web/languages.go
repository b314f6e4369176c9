package web

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/text/language"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/text"
	"github.com/gatehouse-id/gatehouse/web/render"
)

const (
	// languageCookie is the language that somebody has chosen for this browser.
	languageCookie = "gatehouse_language"
	// maxBack is the longest address, in bytes, that a choice of language leads
	// back to.
	maxBack = 2000
)

// in returns the frame in another language.
func (f *Frame) in(c catalogue) *Frame {
	own := *f
	own.text = c
	own.funcs = maps.Clone(f.funcs)
	maps.Copy(own.funcs, render.Funcs{"t": c.html, "utc": c.utc, "field": own.field, "fieldError": own.fieldError})
	return &own
}

// learn makes one face for each language: they differ in sentences alone. s
// itself speaks the operator's.
func (s *Web) learn(operators string) error {
	if operators != "" && text.Match(operators) == "" {
		return fmt.Errorf("web: there is no language %q", operators)
	}
	all, err := text.Load()
	if err != nil {
		return err
	}
	own := text.First(operators)
	s.speaking = make(map[string]*Web, len(all))
	for tag := range all {
		face := s
		if tag != own {
			another := *s
			face = &another
		}
		s.speaking[tag] = face
	}
	set, err := s.frame.templates()
	if err != nil {
		return err
	}
	for tag, c := range all {
		face := s.speaking[tag]
		face.speaking = s.speaking
		face.frame = face.frame.in(catalogue{c})
		spoken, err := set.With(face.frame.funcs)
		if err != nil {
			return err
		}
		face.pages = func(page string) Template { return spoken.Page(page) }
	}
	return nil
}

// write shows the page whose file has that name.
func (s *Web) write(w http.ResponseWriter, r *http.Request, file string, p Page) error {
	return s.frame.Write(w, r, s.pages(file), p)
}

// speaks is the language of this face.
func (s *Web) speaks() string { return s.frame.text.Tag() }

// to returns the face that speaks the language of a request of which nothing
// more is known.
func (s *Web) to(r *http.Request) *Web { return s.face(r, "", "") }

// toVisitor returns the face that speaks the visitor's language.
func (s *Web) toVisitor(v *visit) *Web {
	asked := v.flow.Request
	if asked == nil {
		asked = v.named.Request
	}
	return s.face(v.r, asked.Get("ui_locales"), v.user.Profile.Locale)
}

// face chooses a language: the first that an app has asked for (ui_locales,
// OIDC Core section 3.1.2.1), in this request or the one that waits behind it;
// or that was chosen in this browser; or that of the account; or the one the
// browser likes best; or the operator's.
func (s *Web) face(r *http.Request, asked, account string) *Web {
	tags := strings.Fields(asked)
	if asked == "" {
		tags = strings.Fields(r.URL.Query().Get("ui_locales"))
	}
	if c, err := r.Cookie(s.provider.CookieName(languageCookie)); err == nil {
		tags = append(tags, c.Value)
	}
	tags = append(tags, account)
	// What cannot be parsed asks for nothing.
	liked, _, _ := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	for _, tag := range liked {
		tags = append(tags, tag.String())
	}
	for _, tag := range tags {
		if face, ok := s.speaking[text.Match(tag)]; ok {
			return face
		}
	}
	return s
}

// languagesPath is where the language of the page at r can be chosen: the choice
// leads back to it.
func languagesPath(r *http.Request) string {
	to, query := r.URL.EscapedPath(), r.URL.Query()
	// Of a query, what says where one is. Whatever else an app or a stranger has
	// written there is not repeated.
	keep := url.Values{}
	for _, name := range []string{"flow", "before"} {
		if v := query.Get(name); v != "" {
			keep.Set(name, v)
		}
	}
	if len(keep) > 0 {
		to += "?" + keep.Encode()
	}
	switch {
	case r.URL.Path == "/languages":
		to = query.Get("to")
	case r.URL.Path == "/authorize" && query.Get("flow") == "": // there is no going back to it
		to = "/"
	}
	if to = ours(to); to == "/" {
		return "/languages"
	}
	return "/languages?to=" + url.QueryEscape(to)
}

// ours is an address that leads to a page of ours, and nowhere else whatever a
// browser makes of it; it is the front page instead of any other.
func ours(to string) string {
	u, err := url.Parse(to)
	if err != nil || len(to) > maxBack || u.Scheme != "" || u.Host != "" || u.User != nil ||
		!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsFunc(to, func(r rune) bool { return r <= ' ' || r == '\\' || r > '~' }) {
		return "/"
	}
	u.Fragment = ""
	return u.String()
}

// languagesPage is the data of the page.
type languagesPage struct {
	Languages []languageRow
	// To is where the choice leads back to.
	To string
}

// A languageRow is a language that can be chosen.
type languageRow struct {
	Tag, Name, Dir string
	// This says that the page is in it.
	This bool
}

func (s *Web) showLanguages(v *visit) error {
	to := ours(v.query.Get("to"))
	// A form needs the browser's cookie, which begins with a flow.
	if _, ok := s.provider.Browser(v.r); !ok && v.query.Get("flow") == "" {
		flow, err := s.provider.StartInteraction(v.w, v.r)
		if err != nil {
			return err
		}
		s.redirect(v, at("/languages", flow.ID)+"&to="+url.QueryEscape(to))
		return nil
	}
	data := languagesPage{To: to}
	for _, tag := range text.Languages() {
		l := s.speaking[tag].frame.text
		data.Languages = append(data.Languages, languageRow{tag, l.Name(), l.Dir(), tag == s.speaks()})
	}
	return s.show(v, Page{Name: "languages", Data: data})
}

// postLanguages keeps the choice: in this browser, in the account of who is
// signed in, and for the flow that the person came from, whatever its app had
// asked for.
func (s *Web) postLanguages(v *visit) error {
	tag := v.form.Get("language")
	if _, ok := s.speaking[tag]; !ok {
		return &stop{status: http.StatusBadRequest, page: "form"}
	}
	ctx, to := v.r.Context(), ours(v.form.Get("to"))
	if v.session != nil && v.user.Profile.Locale != tag {
		err := s.store.SetLocale(ctx, v.user.ID, tag, s.now().UTC())
		if err != nil && !errors.Is(err, storage.ErrNotFound) { // deleted since it was read
			return fmt.Errorf("web: keep the language: %w", err)
		}
	}
	if u, err := url.Parse(to); err == nil && u.Query().Get("flow") != "" {
		err := s.resume(v, u.Query().Get("flow"))
		if _, over := errors.AsType[*stop](err); err != nil && !over {
			return err
		}
		if err == nil && v.flow.Request.Has("ui_locales") {
			v.flow.Request.Del("ui_locales")
			if err := s.provider.SaveInteraction(ctx, v.flow); err != nil {
				return err
			}
		}
	}
	s.provider.SetCookie(v.w, languageCookie, tag, deviceLife)
	s.redirect(v, to)
	return nil
}

package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

// home is where the brand links to.
func (s *Web) home(v *visit) error {
	s.redirect(v, "/account")
	return nil
}

// loginPage is the data of the page.
type loginPage struct {
	// Again says that the person is known and must show it once more.
	Again bool
	// Open says that people may register.
	Open bool
	// Another says that the account signed in is not the one to use, AnotherAt
	// where to say so.
	Another   bool
	AnotherAt string
	// Links are the app's own pages.
	Links appLinks
}

func (s *Web) showLogin(v *visit) error {
	if v.query.Get("flow") == "" && v.session != nil {
		s.redirect(v, "/account")
		return nil
	}
	if ok, err := s.begin(v, "/login"); err != nil || !ok {
		return err
	}
	told := v.flow.Page == "login" && v.flow.Notice != ""
	if v.flow.Request == nil && v.session != nil && !told { // a visit that has reached its end
		s.redirect(v, s.onward(v.flow))
		return nil
	}
	return s.show(v, s.loginPage(v))
}

// loginPage asks for an address and its password.
func (s *Web) loginPage(v *visit) Page {
	email := v.flow.Email
	if email == "" {
		email = v.asked.LoginHint
	}
	p := Page{Name: "login"}
	data := loginPage{
		Open: s.registrationOpen, AnotherAt: anotherAt(v.flow.ID), Links: linksOf(v.asked.Client),
		Another: v.query.Get(another) == "1" || v.flow.Page == "login" && v.flow.Typed[another] == "1",
	}
	if v.asked.Reauthenticate && !data.Another {
		data.Again = true
		p.Title = s.frame.text.plain("login.title_again")
		email = v.user.Email
	}
	p.Data = data
	p.Values = with(v.flow.Typed, "identifier", email)
	return p
}

func (s *Web) postLogin(v *visit) error {
	if v.flow.ID == "" {
		return &stop{status: http.StatusForbidden, page: "expired"}
	}
	v.flow.Email = clip(v.form.Get("identifier"))
	v.flow.Typed = with(nil, "remember", v.form.Get("remember"))
	if v.form.Get(another) == "1" {
		v.flow.Typed[another] = "1"
	}
	if v.flow.Request != nil && (v.form.Get(another) == "1" || v.session == nil) {
		v.flow.UserID = "" // the account that was chosen is not the one, or is signed in no more
	}
	o, err := s.login.Login(v.r.Context(), s.from(v.r), v.form.Get("identifier"), v.form.Get("password"))
	if err != nil {
		return s.refused(v, "login", err)
	}
	return s.advance(v, o)
}

// advance takes the person where the engine says: to the page of a step, or
// signed in and back to what waits.
func (s *Web) advance(v *visit, o login.Outcome) error {
	switch o := o.(type) {
	case login.Challenge:
		page, ok := stepPages[o.Step]
		if !ok {
			return fmt.Errorf("web: no page for step %q", o.Step)
		}
		v.flow.Email = o.Email
		s.setStep(v, o.Step, o.Handle)
		return s.move(v, page, "")
	case login.PasswordReset:
		s.endStep(v)
		return s.move(v, "login", "password_changed")
	case login.Authenticated:
		if v.flow.UserID != "" && v.flow.UserID != o.UserID { // one person's page, another's password
			s.endStep(v)
			return &stop{status: http.StatusForbidden, page: "expired", on: "/account"}
		}
		// Who confirms who they are stays signed in for as long as they were.
		remember := v.flow.Typed["remember"] == "1" || v.flow.UserID != "" && v.session != nil && v.session.Remember
		from := s.from(v.r)
		err := s.provider.StartSession(v.w, v.r, storage.Session{
			UserID: o.UserID, UserEpoch: o.Epoch, AuthTime: o.At, AMR: o.AMR,
			Remember: remember, UserAgent: from.UserAgent, Address: from.Address,
		})
		if errors.Is(err, storage.ErrNotFound) { // suspended or changed since the proof
			return &stop{status: http.StatusForbidden, page: "expired", flow: v.flow}
		}
		if err != nil {
			return err
		}
		s.endStep(v)
		s.keepDevice(v.w, o.Device)
		registered := v.flow.Typed["registering"] == "1"
		v.flow.Typed = nil
		if registered {
			return s.move(v, "protect", "")
		}
		if o.RecoveryLeft >= 0 && o.RecoveryLeft <= fewCodes {
			v.flow.Typed = map[string]string{"left": strconv.Itoa(o.RecoveryLeft)}
			return s.move(v, "recovery-low", "")
		}
		v.flow.Page, v.flow.Problems, v.flow.Notice, v.flow.Until = "", nil, "", time.Time{}
		if err := s.provider.SaveInteraction(v.r.Context(), v.flow); err != nil {
			return err
		}
		s.redirect(v, s.onward(v.flow))
		return nil
	default:
		return fmt.Errorf("web: no page for outcome %T", o)
	}
}

// onward is where somebody goes who has just signed in.
func (s *Web) onward(flow storage.Interaction) string {
	switch {
	case flow.Request != nil:
		return at("/authorize", flow.ID)
	case flow.Return != "":
		return flow.Return
	default:
		return "/account"
	}
}

// showPaused tells somebody who proved the password that the account may not be
// used.
func (s *Web) showPaused(v *visit) error {
	if err := s.resume(v, v.query.Get("flow")); err != nil {
		return err
	}
	if v.flow.Page != "paused" {
		s.redirect(v, at("/login", v.flow.ID))
		return nil
	}
	return &stop{status: http.StatusForbidden, page: "paused", flow: v.flow}
}

// with returns the values with one more; an empty one is left out.
func with(typed map[string]string, name, value string) map[string]string {
	out := make(map[string]string, len(typed)+1)
	for k, v := range typed {
		out[k] = v
	}
	if value != "" {
		out[name] = clip(value)
	}
	return out
}

// clip keeps what was typed within what a field can hold, so that nobody stores
// a book in an interaction.
func clip(s string) string {
	n := 0
	for at := range s {
		if n == 256 {
			return s[:at]
		}
		n++
	}
	return s
}

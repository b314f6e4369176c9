package web

import (
	"errors"
	"net/http"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

// acting is the person at work on their own account in this browser.
func (s *Web) acting(v *visit) login.Acting {
	return login.Acting{
		UserID: v.session.UserID, AuthTime: v.session.AuthTime,
		Keep: storage.Kept{Session: v.session.ID}, From: s.from(v.r),
	}
}

// signedIn shows a page of somebody's account to them, and sends everybody else to
// sign in first.
func signedIn(show func(*Web, *visit, login.Acting) error) func(*Web, *visit) error {
	return func(s *Web, v *visit) error {
		if v.session == nil {
			return s.before(v, "/login", v.r.URL.RequestURI())
		}
		v.own = true
		err := show(s, v, s.acting(v))
		if e, ok := errors.AsType[*login.Error](err); ok && e.Reason == login.AccountRestricted {
			v.session = nil // it was ended since it was read
			return s.before(v, "/login", v.r.URL.RequestURI())
		}
		return err
	}
}

// postOwn answers a POST from a page of somebody's account by act. The token of
// the form is good for their session alone, and the flow for their account.
func (s *Web) postOwn(act func(*Web, *visit, login.Acting) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{w: w, r: r, own: true}
		err := s.who(v)
		if err == nil {
			err = s.toVisitor(v).receiveOwn(v, act)
		}
		if err != nil {
			s.toVisitor(v).fail(w, r, err)
		}
	}
}

func (s *Web) receiveOwn(v *visit, act func(*Web, *visit, login.Acting) error) error {
	if v.session == nil { // what was typed is lost: it may hold a password
		return s.before(v, "/login", v.r.URL.EscapedPath())
	}
	err := s.receive(v, v.session.ID)
	if e, ok := errors.AsType[*stop](err); ok && e.page == "expired" {
		e.on = v.r.URL.EscapedPath()
	}
	if err != nil {
		return err
	}
	err = s.resumeOwn(v, v.form.Get("flow"))
	if e, ok := errors.AsType[*stop](err); ok && e.page == "expired" {
		s.redirect(v, at(v.r.URL.EscapedPath(), v.form.Get("flow"))) // the page, which says so
		return nil
	}
	if err != nil {
		return err
	}
	s = s.toVisitor(v) // the flow may have been asked for in another language
	return act(s, v, s.acting(v))
}

// beginOwn is begin for a page of somebody's account: the flow is theirs, and
// comes back to the page from wherever it leads.
func (s *Web) beginOwn(v *visit) (begun bool, err error) {
	if id := v.query.Get("flow"); id != "" {
		return true, s.resumeOwn(v, id)
	}
	flow, err := s.provider.StartInteraction(v.w, v.r)
	if err != nil {
		return false, err
	}
	to := at(v.r.URL.EscapedPath(), flow.ID)
	flow.UserID, flow.Return = v.user.ID, to
	if err := s.provider.SaveInteraction(v.r.Context(), flow); err != nil {
		return false, err
	}
	s.redirect(v, to)
	return false, nil
}

// resumeOwn is resume for a flow of the account. One that is over, or was
// somebody else's, leads to the page anew.
func (s *Web) resumeOwn(v *visit, id string) error {
	err := s.resume(v, id)
	e, ok := errors.AsType[*stop](err)
	if ok && e.page == "expired" || err == nil && v.flow.UserID != v.user.ID {
		v.flow = storage.Interaction{}
		return &stop{status: http.StatusOK, page: "expired", on: v.r.URL.EscapedPath()}
	}
	return err
}

// confirmed reports whether the person was proved lately enough for what the
// page does. When not, they are sent to show it again and come back to the very
// same page; the answer is then written.
func (s *Web) confirmed(v *visit, who login.Acting) (bool, error) {
	if s.login.Fresh(who) {
		return true, nil
	}
	return false, s.before(v, "/account/confirm", v.r.URL.RequestURI())
}

// before puts the page at path, /login or /account/confirm, between the person
// and to, which is one of our own paths: that of this request.
func (s *Web) before(v *visit, path, to string) error {
	flow, err := s.provider.StartInteraction(v.w, v.r)
	if err != nil {
		return err
	}
	flow.Return = to
	if v.session != nil {
		flow.UserID = v.user.ID
	}
	if err := s.provider.SaveInteraction(v.r.Context(), flow); err != nil {
		return err
	}
	s.redirect(v, at(path, flow.ID))
	return nil
}

// again sends somebody whose sign-in has become too old for what they posted to
// confirm it; the page then says to send it again.
func (s *Web) again(v *visit, page string) error {
	v.flow.Page, v.flow.Notice, v.flow.Until, v.flow.Problems = page, "reauthenticate", time.Time{}, nil
	if err := s.provider.SaveInteraction(v.r.Context(), v.flow); err != nil {
		return err
	}
	return s.before(v, "/account/confirm", at(v.r.URL.EscapedPath(), v.flow.ID))
}

// changePassword is where password managers look for the page (W3C, A
// Well-Known URL for Changing Passwords).
func (s *Web) changePassword(v *visit) error {
	s.redirect(v, "/account/password")
	return nil
}

// glance is for pages of an account that are only read: a flow brings them
// nothing but a message, and one that is over is left behind.
func (s *Web) glance(v *visit) (ok bool, err error) {
	id := v.query.Get("flow")
	if id == "" {
		return true, nil
	}
	err = s.resumeOwn(v, id)
	if e, over := errors.AsType[*stop](err); over && e.page == "expired" {
		s.redirect(v, v.r.URL.EscapedPath())
		return false, nil
	}
	return err == nil, err
}

// tell leaves a page of an account for another, with a message about something
// that has a name, or about nothing in particular.
func (s *Web) tell(v *visit, page, notice, about string) error {
	v.flow.Typed = with(nil, "notice_of", about)
	return s.move(v, page, notice)
}

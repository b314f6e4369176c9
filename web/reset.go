package web

import (
	"net/http"

	"github.com/gatehouse-id/gatehouse/login"
)

func (s *Web) showReset(v *visit) error {
	if ok, err := s.begin(v, "/reset"); err != nil || !ok {
		return err
	}
	email := v.flow.Email
	if email == "" {
		email = v.asked.LoginHint
	}
	return s.show(v, Page{Name: "reset", Values: with(nil, "identifier", email)})
}

func (s *Web) postReset(v *visit) error {
	if v.flow.ID == "" {
		return &stop{status: http.StatusForbidden, page: "expired"}
	}
	v.flow.Email = clip(v.form.Get("identifier"))
	v.flow.Typed = nil
	o, err := s.login.Forgot(v.r.Context(), s.from(v.r), v.form.Get("identifier"))
	if err != nil {
		return s.refused(v, "reset", err)
	}
	return s.advance(v, o)
}

// resetPage is the data of the pages that follow.
type resetPage struct{ Email string }

func (s *Web) showResetVerify(v *visit) error {
	if ok, err := s.reach(v, "reset-verify", login.ConfirmReset); err != nil || !ok {
		return err
	}
	return s.show(v, Page{Name: "reset-verify", Data: resetPage{v.flow.Email}})
}

func (s *Web) postResetVerify(v *visit) error {
	return s.prove(v, "reset-verify", login.ConfirmReset, "code", s.login.ConfirmReset)
}

func (s *Web) showResetPassword(v *visit) error {
	if ok, err := s.reach(v, "reset-password", login.NewPassword); err != nil || !ok {
		return err
	}
	return s.show(v, Page{Name: "reset-password", Data: resetPage{v.flow.Email}})
}

func (s *Web) postResetPassword(v *visit) error {
	return s.prove(v, "reset-password", login.NewPassword, "password", s.login.NewPassword)
}

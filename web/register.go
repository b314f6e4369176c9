package web

import (
	"net/http"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

func (s *Web) showRegister(v *visit) error {
	if ok, err := s.begin(v, "/register"); err != nil || !ok {
		return err
	}
	if !s.registrationOpen {
		return s.show(v, Page{Name: "closed"})
	}
	return s.show(v, Page{Name: "register", Values: with(v.flow.Typed, "email", v.flow.Email)})
}

func (s *Web) postRegister(v *visit) error {
	if v.flow.ID == "" {
		return &stop{status: http.StatusForbidden, page: "expired"}
	}
	if !s.registrationOpen {
		s.redirect(v, at("/register", v.flow.ID))
		return nil
	}
	v.flow.Email = clip(v.form.Get("email"))
	v.flow.Typed = with(nil, "name", v.form.Get("name"))
	v.flow.Typed = with(v.flow.Typed, "terms", v.form.Get("terms"))
	v.flow.Typed = with(v.flow.Typed, "registering", "1")
	if s.frame.links.Terms != "" && v.form.Get("terms") != "1" {
		return s.retry(v, "register", storage.Problem{Field: "terms", Message: "terms"})
	}
	o, err := s.login.Register(v.r.Context(), s.from(v.r), login.Registration{
		Name: v.form.Get("name"), Email: v.form.Get("email"), Password: v.form.Get("password"),
	})
	if err != nil {
		return s.refused(v, "register", err)
	}
	return s.advance(v, o)
}

// verifyPage is the data of the page.
type verifyPage struct {
	Email string
	// Registering says that the person has just registered; else they signed in
	// before the mailbox was proved.
	Registering bool
}

func (s *Web) showVerify(v *visit) error {
	if ok, err := s.reach(v, "verify", login.VerifyEmail); err != nil || !ok {
		return err
	}
	return s.show(v, Page{Name: "verify", Data: verifyPage{
		Email: v.flow.Email, Registering: v.flow.Typed["registering"] == "1",
	}})
}

func (s *Web) postVerify(v *visit) error {
	return s.prove(v, "verify", login.VerifyEmail, "code", s.login.VerifyEmail)
}

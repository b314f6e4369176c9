package web

import "github.com/gatehouse-id/gatehouse/login"

// passwordPage is the data of the pages that ask for a password of an account
// that is known.
type passwordPage struct{ Email string }

func (s *Web) showPassword(v *visit, who login.Acting) error {
	if ok, err := s.confirmed(v, who); err != nil || !ok {
		return err
	}
	if ok, err := s.beginOwn(v); err != nil || !ok {
		return err
	}
	return s.show(v, Page{Name: "account-password", Data: passwordPage{v.user.Email}})
}

func (s *Web) postPassword(v *visit, who login.Acting) error {
	if _, err := s.login.ChangePassword(v.r.Context(), who, v.form.Get("current_password"), v.form.Get("password")); err != nil {
		return s.refused(v, "account-password", err)
	}
	return s.tell(v, "account", "password_saved", "")
}

package web

import "github.com/gatehouse-id/gatehouse/login"

// showConfirm asks somebody who is signed in to show once more who they are.
// The page that waits for it is the flow's Return.
func (s *Web) showConfirm(v *visit, who login.Acting) error {
	if v.query.Get("flow") == "" {
		s.redirect(v, "/account")
		return nil
	}
	if ok, err := s.glance(v); err != nil || !ok {
		return err
	}
	if s.login.Fresh(who) {
		s.redirect(v, s.onward(v.flow))
		return nil
	}
	return s.show(v, Page{Name: "account-confirm", Data: passwordPage{v.user.Email}})
}

// postConfirm is a sign-in to the account that is signed in to already, with
// all its steps and limits.
func (s *Web) postConfirm(v *visit, who login.Acting) error {
	v.flow.Email, v.flow.Typed = v.user.Email, nil
	o, err := s.login.Login(v.r.Context(), who.From, v.user.Email, v.form.Get("password"))
	if err != nil {
		return s.refused(v, "account-confirm", err)
	}
	return s.advance(v, o)
}

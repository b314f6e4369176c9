package web

import "net/http"

// logoutPage is the data of the page.
type logoutPage struct{ Email string }

func (s *Web) showLogout(v *visit) error {
	if v.session == nil {
		s.redirect(v, "/signed-out")
		return nil
	}
	if ok, err := s.begin(v, "/logout"); err != nil || !ok {
		return err
	}
	return s.show(v, Page{Name: "logout", Data: logoutPage{v.user.Email}})
}

// postLogout signs out. Only a POST with a token does, so that no link and no
// picture signs anybody out.
func (s *Web) postLogout(v *visit) error {
	switch v.form.Get("scope") {
	case "all":
		if err := s.provider.EndSession(v.w, v.r); err != nil {
			return err
		}
		s.redirect(v, "/signed-out")
	case "none":
		s.redirect(v, "/account")
	default:
		return &stop{status: http.StatusBadRequest, page: "form"}
	}
	return nil
}

func (s *Web) showSignedOut(v *visit) error {
	return s.show(v, Page{Name: "signed-out"})
}

package web

import "net/http"

// accountPage is the data of the pages that name who is signed in.
type accountPage struct{ Name, Email string }

func (s *Web) showAccount(v *visit) error {
	if v.session == nil {
		s.redirect(v, "/login")
		return nil
	}
	return s.show(v, Page{Name: "account", Data: accountPage{v.user.Name, v.user.Email}})
}

func (s *Web) showLogout(v *visit) error {
	if v.session == nil {
		s.redirect(v, "/signed-out")
		return nil
	}
	if ok, err := s.begin(v, "/logout"); err != nil || !ok {
		return err
	}
	return s.show(v, Page{Name: "logout", Data: accountPage{v.user.Name, v.user.Email}})
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

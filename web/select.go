package web

import "net/http"

// selectPage is the data of the page.
type selectPage struct{ UserID, UserName, UserEmail string }

// showSelect asks which account an app is to be used with. A browser has one
// session: there is the account that is signed in, and there is any other, which
// signs in.
func (s *Web) showSelect(v *visit) error {
	if v.query.Get("flow") == "" {
		s.redirect(v, "/login")
		return nil
	}
	if err := s.resume(v, v.query.Get("flow")); err != nil {
		return err
	}
	if v.session == nil || v.flow.Request == nil {
		s.redirect(v, at("/login", v.flow.ID))
		return nil
	}
	return s.show(v, Page{Name: "login-select", Data: selectPage{v.user.ID, v.user.Name, v.user.Email}})
}

func (s *Web) postSelect(v *visit) error {
	switch v.form.Get("account") {
	case "":
		return &stop{status: http.StatusBadRequest, page: "form", flow: v.flow}
	case another:
		s.redirect(v, anotherAt(v.flow.ID))
		return nil
	case v.user.ID:
		v.flow.UserID = v.user.ID
		if err := s.provider.SaveInteraction(v.r.Context(), v.flow); err != nil {
			return err
		}
	}
	// Where a tab has signed somebody else in since, the page asks again.
	s.redirect(v, s.resumeAt(v.flow))
	return nil
}

// another is the field that says that the account signed in is not the one to
// use, and the value that says so where an account is chosen.
const another = "another"

// anotherAt is the sign-in page within a flow, for any account.
func anotherAt(flow string) string { return at("/login", flow) + "&" + another + "=1" }

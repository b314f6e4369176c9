package web

import (
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/gatehouse-id/gatehouse/provider"
)

// logoutPage is the data of the page.
type logoutPage struct {
	Email string
	// Also are the apps that are signed out with it, or empty.
	Also string
	// Fields are the request of the app that asks, to be sent with the answer.
	Fields []hiddenField
}

// showLogout is the end session endpoint and the page (RP-Initiated Logout
// section 2). An app with an ID token of the session at this browser ends it at
// once; everybody else is a page that asks, so that no link and no picture signs
// anybody out.
func (s *Web) showLogout(v *visit) error {
	asked, ok := s.endSessionRequest(v)
	if !ok {
		return nil
	}
	if v.session == nil {
		return s.signedOut(v, asked)
	}
	if asked.Current && v.r.Method == http.MethodGet {
		if err := s.provider.EndSession(v.w, v.r); err != nil {
			return err
		}
		return s.signedOut(v, asked)
	}
	flow := v.query.Get("flow")
	if flow == "" {
		// The form needs the browser's cookie, so the page is shown within a flow.
		started, err := s.provider.StartInteraction(v.w, v.r)
		if err != nil {
			return err
		}
		asked.Parameters.Set("flow", started.ID)
		s.redirect(v, "/logout?"+asked.Parameters.Encode())
		return nil
	}
	if err := s.resume(v, flow); err != nil {
		return err
	}
	v.asked.Client, v.asked.RedirectURI = asked.Client, asked.Return
	also, err := s.signedOutToo(v)
	if err != nil {
		return err
	}
	page := logoutPage{Email: v.user.Email, Also: also}
	for _, name := range slices.Sorted(maps.Keys(asked.Parameters)) {
		page.Fields = append(page.Fields, hiddenField{name, asked.Parameters.Get(name)})
	}
	return s.show(v, Page{Name: "logout", Data: page})
}

// endSessionRequest reads what an app asks. When it contradicts itself, the page
// that says so has been written.
func (s *Web) endSessionRequest(v *visit) (asked provider.LogoutRequest, ok bool) {
	asked, e := s.provider.EndSessionRequest(v.r)
	if e != nil {
		s.ErrorPage(v.w, v.r, e)
	}
	return asked, e == nil
}

// signedOut sends the browser where the app wants it, or to the page that says
// that it is done. That page offers the way back to an app that has not proved
// that it asks.
func (s *Web) signedOut(v *visit, asked provider.LogoutRequest) error {
	switch {
	case asked.Return == "":
		s.redirect(v, "/signed-out")
	case !asked.Proved:
		return s.offerReturn(v, asked.Client.Name, asked.Return)
	default:
		v.asked.RedirectURI = asked.Return
		s.redirect(v, asked.Return)
	}
	return nil
}

// receiveLogout takes a POST to the end session endpoint: from our page, or from
// an app, which is sent to the page like one that used GET. The cookies of this
// site are not sent with the form of another (SameSite), so nothing can be done
// about it before.
func (s *Web) receiveLogout(w http.ResponseWriter, r *http.Request) {
	form, err := readForm(w, r)
	if err != nil {
		s.to(r).fail(w, r, err)
		return
	}
	if form.Has("csrf_token") || form.Has("scope") || form.Has("flow") {
		s.post("/logout", (*Web).postLogout)(w, r)
		return
	}
	s.redirect(&visit{w: w, r: r}, (&url.URL{Path: "/logout", RawQuery: form.Encode()}).String())
}

// postLogout signs out by the answer to the page.
func (s *Web) postLogout(v *visit) error {
	asked, ok := s.endSessionRequest(v)
	if !ok {
		return nil
	}
	switch v.form.Get("scope") {
	case "all":
		if err := s.provider.EndSession(v.w, v.r); err != nil {
			return err
		}
		return s.signedOut(v, asked)
	case "none":
		s.redirect(v, "/account")
	default:
		return &stop{status: http.StatusBadRequest, page: "form"}
	}
	return nil
}

package web

// protectPage is the data of the page.
type protectPage struct {
	// On is where somebody goes on who does without.
	On string
}

// showProtect stands once between the proof of a new account's mailbox and what
// waits behind it: the account works, and could be safer.
func (s *Web) showProtect(v *visit) error {
	if v.query.Get("flow") == "" {
		s.redirect(v, "/account")
		return nil
	}
	if err := s.resume(v, v.query.Get("flow")); err != nil {
		return err
	}
	switch {
	case v.session == nil || v.flow.Page != "protect":
		s.redirect(v, s.resumeAt(v.flow))
		return nil
	case v.user.SecondFactor: // it is done
		s.redirect(v, s.onward(v.flow))
		return nil
	}
	return s.show(v, Page{Name: "protect", Data: protectPage{s.onward(v.flow)}})
}

// postProtect sets an authenticator app up, and goes on from there to what
// waits.
func (s *Web) postProtect(v *visit) error {
	if v.session == nil || v.flow.Page != "protect" {
		s.redirect(v, s.resumeAt(v.flow))
		return nil
	}
	return s.detour(v, address("two-step-app"))
}

// detour leads through a page of the account at path, and from its end on to
// what waits behind the flow of this visit.
func (s *Web) detour(v *visit, path string) error {
	flow, err := s.provider.StartInteraction(v.w, v.r)
	if err != nil {
		return err
	}
	flow.UserID, flow.Return = v.user.ID, at(path, flow.ID)
	flow.Typed = map[string]string{afterwards: v.flow.ID}
	if err := s.provider.SaveInteraction(v.r.Context(), flow); err != nil {
		return err
	}
	s.redirect(v, flow.Return)
	return nil
}

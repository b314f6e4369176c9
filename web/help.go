package web

// showLostAccess tells what can be done by somebody who has lost all that they
// sign in with. It asks for nothing, so it tells nobody anything of an account.
func (s *Web) showLostAccess(v *visit) error {
	return s.show(v, Page{Name: "lost-access"})
}

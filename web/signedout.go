package web

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/storage"
)

// signedOutPage is the data of the page.
type signedOutPage struct {
	// App is the app that asked, and Back where it wants the person; empty when
	// none did.
	App, Back string
}

// The names under which a flow holds them.
const (
	backApp = "back_app"
	backTo  = "back_to"
)

// showSignedOut says that nobody is signed in any more. It says the same to
// somebody who was not before.
func (s *Web) showSignedOut(v *visit) error {
	var data signedOutPage
	if id := v.query.Get("flow"); id != "" && s.resume(v, id) == nil && v.flow.Page == "signed-out" {
		data = signedOutPage{v.flow.Typed[backApp], v.flow.Typed[backTo]}
	}
	return s.show(v, Page{Name: "signed-out", Data: data})
}

// offerReturn goes on to the page that says that it is done, with a link to
// where an app wants the person: one of its registered addresses, which nobody
// has proved that it asks for.
func (s *Web) offerReturn(v *visit, app, to string) error {
	flow, err := s.provider.StartInteraction(v.w, v.r)
	if err != nil {
		return err
	}
	flow.Page, flow.Typed = "signed-out", map[string]string{backApp: app, backTo: to}
	if err := s.provider.SaveInteraction(v.r.Context(), flow); err != nil {
		return err
	}
	s.redirect(v, at("/signed-out", flow.ID))
	return nil
}

// signedOutToo names the apps that lose their tokens with the session, which are
// those that were not allowed to stay connected; empty when there are none.
func (s *Web) signedOutToo(v *visit) (string, error) {
	grants, err := s.store.ListGrants(v.r.Context(), v.user.ID, s.now())
	if err != nil {
		return "", err
	}
	var names []string
	for _, g := range grants {
		if g.SessionID != v.session.ID || slices.Contains(g.Scopes, "offline_access") {
			continue
		}
		c, err := s.store.Client(v.r.Context(), g.ClientID)
		if errors.Is(err, storage.ErrNotFound) { // it is no more
			continue
		}
		if err != nil {
			return "", fmt.Errorf("web: read client: %w", err)
		}
		if !slices.Contains(names, c.Name) {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", "), nil
}

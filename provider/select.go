package provider

import (
	"slices"

	"github.com/gatehouse-id/gatehouse/storage"
)

// selects reports whether the person must still say that they go on as who is
// signed in (OIDC Core section 3.1.2.1, prompt=select_account). A browser has
// one session, so the choice is between that account and another one, which
// signs in. What they chose is the UserID of the interaction.
func (q request) selects(s storage.Session) bool {
	return slices.Contains(q.prompt, "select_account") && q.chosen != s.UserID && !q.another(s)
}

// another reports whether the request is for another person than who is signed
// in.
func (q request) another(s storage.Session) bool {
	return q.subjects != nil && !slices.Contains(q.subjects, s.UserID)
}

package web_test

import (
	"strings"
	"testing"
)

// A client's id may have what divides an address, and its app can be looked at and
// removed like any other.
func TestAppWhoseIDHasASlash(t *testing.T) {
	h := open(t, option{})
	c := app
	c.ID = "team/notes?x=%2F#1"
	c = h.client(t, c)
	b := h.browser(t)
	u := b.register("asha@example.com")
	b.follow(b.submit(b.wants(b.open(authorize(c)), "consent", 200), "/consent", "decision", "allow", "remember", "1"))
	page := b.wants(b.open("/account/apps"), "account-apps", 200, c.Name)
	const path = "/account/apps/team%2Fnotes%3Fx=%252F%231"
	if !strings.Contains(page.body, `"`+path+`"`) {
		t.Fatalf("no link to the app:\n%s", page.body)
	}
	b.wants(b.open(path), "account-apps-one", 200, c.Name)
	page = b.wants(b.open(path+"/remove"), "account-apps-remove", 200, c.Name)
	b.wants(b.follow(b.submit(page, path+"/remove")), "account-apps", 200, c.Name+" no longer has access.")
	if left, err := h.sql.ListConsents(t.Context(), u.ID); err != nil || len(left) != 0 {
		t.Errorf("left: %+v, %v", left, err)
	}
	for _, none := range []string{"/account/apps/team", "/account/apps/team/notes", "/account%2Fapps", "/login%2Fcode"} {
		b.wants(b.get(none), "error", 404)
	}
}

package login

import (
	"testing"
	"time"
)

// Events are not kept for ever. Somebody who was away for longer is told of a
// sign-in all the more.
func TestDormantAccountIsTold(t *testing.T) {
	h := newHouse(t)
	h.settle(asha)
	h.skip(time.Hour)
	h.in(h.Login(t.Context(), here, ashaEmail, ashaPassword))
	const away = 500 * 24 * time.Hour
	h.skip(away)
	if _, err := h.db.DeleteEvents(t.Context(), h.now().Add(-400*24*time.Hour), 1000); err != nil {
		t.Fatal(err)
	}
	before := len(h.letters())
	h.in(h.Login(t.Context(), From{Address: "203.0.113.9", UserAgent: here.UserAgent}, ashaEmail, ashaPassword))
	letters := h.letters()
	if len(letters) != before+1 || letters[before].Kind != LetterNewSignIn || letters[before].To != ashaEmail {
		t.Errorf("of a sign-in after %v the letters are %+v", away, letters[before:])
	}
}

package login

import (
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// Whoever moves an account to another mailbox may do so because somebody else
// reads the old one: what was mailed there proves nothing any more.
func TestResetDiesWithItsAddress(t *testing.T) {
	const elsewhere = "asha@elsewhere.example"
	for _, try := range []struct {
		sentence string
		to       string
		dies     bool
	}{
		{"another mailbox", elsewhere, true},
		{"the same, spelled differently", "Asha@example.com", false},
	} {
		t.Run(try.sentence+", before the code is entered", func(t *testing.T) {
			h := newHouse(t)
			u := h.user(h.settled())
			c := h.must(h.Forgot(t.Context(), here, ashaEmail))
			code := h.lastLetter().Code
			h.move(u, try.to)
			if try.dies {
				h.refused(Expired)(h.ConfirmReset(t.Context(), here, c.Handle, code))
				return
			}
			h.must(h.ConfirmReset(t.Context(), here, c.Handle, code))
		})
		t.Run(try.sentence+", before the new password", func(t *testing.T) {
			h := newHouse(t)
			u := h.user(h.settled())
			c := h.must(h.Forgot(t.Context(), here, ashaEmail))
			c = h.must(h.ConfirmReset(t.Context(), here, c.Handle, h.lastLetter().Code))
			h.move(u, try.to)
			o, err := h.NewPassword(t.Context(), here, c.Handle, evePassword)
			if try.dies {
				h.refused(Expired)(o, err)
				h.in(h.Login(t.Context(), here, elsewhere, ashaPassword))
				return
			}
			if _, ok := o.(PasswordReset); !ok || err != nil {
				t.Errorf("got %#v, %v", o, err)
			}
		})
	}
}

// settled registers Asha, a while ago.
func (h *house) settled() (email string) {
	h.t.Helper()
	h.settle(asha)
	h.skip(time.Hour)
	return ashaEmail
}

// move gives u an address that was proved.
func (h *house) move(u storage.User, email string) {
	h.t.Helper()
	who := Acting{UserID: u.ID, AuthTime: h.now(), From: here}
	h.skip(2 * time.Minute)
	c, err := h.ChangeEmail(h.t.Context(), who, email)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.ConfirmEmail(h.t.Context(), who, c.Handle, h.told(LetterEmailChangeCode).Code); err != nil {
		h.t.Fatal(err)
	}
}

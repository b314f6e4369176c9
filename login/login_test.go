package login

import (
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// TestNewDevice is about the letter that tells of a sign-in.
func TestNewDevice(t *testing.T) {
	ctx := t.Context()
	elsewhere := From{Address: "203.0.113.5", UserAgent: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15"}

	t.Run("a registration is told by nothing, a sign-in elsewhere is", func(t *testing.T) {
		h := newHouse(t)
		a := h.settle(asha)
		if a.Device == "" || len(h.sent(LetterNewSignIn)) != 0 {
			t.Errorf("authenticated %+v, %d letters", a, len(h.sent(LetterNewSignIn)))
		}
		known := here
		known.Device = a.Device
		b := h.in(h.Login(ctx, known, ashaEmail, ashaPassword))
		if b.Device == "" || len(h.sent(LetterNewSignIn)) != 0 {
			t.Errorf("authenticated %+v, %d letters", b, len(h.sent(LetterNewSignIn)))
		}
		h.in(h.Login(ctx, elsewhere, ashaEmail, ashaPassword))
		if l := h.told(LetterNewSignIn); l.To != ashaEmail || l.Detail != "Safari on macOS" || h.now().Sub(l.At) > time.Minute {
			t.Errorf("letter %+v", l)
		}
		other := elsewhere
		other.Device = h.settle(Registration{"Bina", binaEmail, ashaPassword}).Device
		h.in(h.Login(ctx, other, ashaEmail, ashaPassword))
		if n := len(h.sent(LetterNewSignIn)); n != 2 {
			t.Errorf("%d letters: the device of somebody else counted", n)
		}
	})

	t.Run("the first sign-in is told by nothing", func(t *testing.T) {
		h := newHouse(t)
		h.member(asha, storage.UserActive) // by an operator
		h.refused(BadCredentials)(h.Login(ctx, here, ashaEmail, evePassword))
		h.in(h.Login(ctx, here, ashaEmail, ashaPassword))
		if n := len(h.sent(LetterNewSignIn)); n != 0 {
			t.Errorf("%d letters", n)
		}
		h.in(h.Login(ctx, elsewhere, ashaEmail, ashaPassword))
		h.told(LetterNewSignIn)
	})

	t.Run("failures do not push the first sign-in out of sight", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		h.in(h.Login(ctx, here, ashaEmail, ashaPassword))
		for range 60 {
			h.record(ctx, EventSignIn, who.UserID, string(BadCredentials), elsewhere, "")
		}
		h.in(h.Login(ctx, elsewhere, ashaEmail, ashaPassword))
		h.told(LetterNewSignIn)
	})

	t.Run("with two-step sign-in the letter waits for the second factor", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		h.in(h.Login(ctx, here, ashaEmail, ashaPassword))
		secret, _ := h.protect(who)
		c := h.second(ashaEmail, ashaPassword)
		if n := len(h.sent(LetterNewSignIn)); n != 0 {
			t.Errorf("%d letters", n)
		}
		h.in(h.SecondFactor(ctx, elsewhere, c.Handle, h.code(secret, 0)))
		h.told(LetterNewSignIn)
	})
}

func TestManyFailures(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t)
	who := h.member(asha, storage.UserActive)
	h.member(Registration{"Sam", "sam@example.com", ashaPassword}, storage.UserSuspended)
	there := here
	there.Language = "ne" // of whoever guesses, who does not choose what asha reads
	for _, email := range []string{ashaEmail, "sam@example.com", "nobody@example.com"} {
		for range 5 {
			h.refused(BadCredentials)(h.Login(ctx, there, email, evePassword))
		}
		for range 5 {
			h.refused(RateLimited)(h.Login(ctx, there, email, evePassword))
		}
	}
	if l := h.told(LetterManyFailures); l.To != ashaEmail || l.Language != "" || len(h.letters()) != 1 {
		t.Errorf("letter %+v, %d letters", l, len(h.letters()))
	}
	if n := h.happened(who, EventLimited, string(RateLimited)); n != 1 {
		t.Errorf("%d events of the limit, want one for all", n)
	}
	if n := h.happened(who, EventSignIn, string(BadCredentials)); n != 5 {
		t.Errorf("%d events of wrong passwords", n)
	}
}

package login

import (
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

func TestReset(t *testing.T) {
	ctx := t.Context()

	t.Run("the mailed code and a new password end it, and nobody is signed in", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		c := h.must(h.Forgot(ctx, here, ashaEmail))
		l := h.told(LetterPasswordResetCode)
		if l.To != ashaEmail || len(l.Code) != 8 || !l.ExpiresAt.Equal(c.ExpiresAt) || c.ExpiresAt.Sub(h.now()) > 5*time.Minute {
			t.Errorf("challenge %+v, letter %+v", c, l)
		}
		n := h.must(h.ConfirmReset(ctx, here, c.Handle, l.Code))
		if n.Step != NewPassword || n.Handle == c.Handle || n.Email != ashaEmail {
			t.Errorf("challenge %+v", n)
		}
		h.isReset(h.NewPassword(ctx, here, n.Handle, newPassword))
		told := h.told(LetterPasswordChanged)
		if told.To != ashaEmail || told.Detail != "Firefox on Linux" || told.Link == "" || told.Code != "" || h.now().Sub(told.At) > time.Minute {
			t.Errorf("letter %+v", told)
		}
		for _, kind := range []string{EventResetAsked, EventPasswordReset} {
			if h.happened(who, kind, eventOK) != 1 {
				t.Errorf("no event %s", kind)
			}
		}
		if h.happened(who, EventSignIn, eventOK) != 0 {
			t.Error("somebody signed in")
		}
	})

	t.Run("every handle is good for its step and once", func(t *testing.T) {
		h := newHouse(t)
		h.member(asha, storage.UserActive)
		c := h.must(h.Forgot(ctx, here, ashaEmail))
		code := h.lastLetter().Code
		h.refused(Expired)(h.NewPassword(ctx, here, c.Handle, newPassword))
		h.refused(Expired)(h.VerifyEmail(ctx, here, c.Handle, code))
		h.refused(Expired)(h.SecondFactor(ctx, here, c.Handle, "123456"))
		n := h.must(h.ConfirmReset(ctx, here, c.Handle, code))
		h.refused(Expired)(h.ConfirmReset(ctx, here, c.Handle, code))
		h.refused(Expired)(h.ConfirmReset(ctx, here, n.Handle, code))
		h.refused(Expired)(h.Resend(ctx, here, n.Handle)) // no code is mailed for it
		h.isReset(h.NewPassword(ctx, here, n.Handle, newPassword))
		h.refused(Expired)(h.NewPassword(ctx, here, n.Handle, newPassword+" 2"))
	})

	t.Run("sec-K4: code and new password have five minutes each", func(t *testing.T) {
		h := newHouse(t)
		h.member(asha, storage.UserActive)
		c := h.must(h.Forgot(ctx, here, ashaEmail))
		h.skip(5 * time.Minute)
		h.refused(Expired)(h.ConfirmReset(ctx, here, c.Handle, h.lastLetter().Code))
		c = h.reset(ashaEmail)
		h.skip(5 * time.Minute)
		h.refused(Expired)(h.NewPassword(ctx, here, c.Handle, newPassword))
	})

	t.Run("what the policy refuses leaves the handle as it is", func(t *testing.T) {
		h := newHouse(t)
		h.member(asha, storage.UserActive)
		c := h.reset(ashaEmail)
		for range 8 { // costs nothing and is not limited
			h.refused(PasswordTooShort)(h.NewPassword(ctx, here, c.Handle, "short"))
		}
		h.refused(PasswordReused)(h.NewPassword(ctx, here, c.Handle, ashaPassword))
		h.isReset(h.NewPassword(ctx, here, c.Handle, newPassword))
	})

	t.Run("sec-K5: a reset asks for no second factor and leaves it on", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		secret, _ := h.protect(who)
		c := h.reset(ashaEmail)
		h.isReset(h.NewPassword(ctx, here, c.Handle, newPassword))
		if !h.account(who).SecondFactor {
			t.Error("two-step sign-in is off")
		}
		h.in(h.SecondFactor(ctx, here, h.second(ashaEmail, newPassword).Handle, h.code(secret, 0)))
	})

	t.Run("an account that was never proved may keep the password it asked for", func(t *testing.T) {
		h := newHouse(t)
		h.must(h.Register(ctx, here, asha))
		h.skip(time.Minute)
		c := h.reset(ashaEmail)
		h.isReset(h.NewPassword(ctx, here, c.Handle, ashaPassword))
		u := h.user(ashaEmail)
		if hashes, err := h.store.PasswordHashes(ctx, u.ID); err != nil || len(hashes) != 1 || u.Status != storage.UserActive {
			t.Errorf("%d passwords, %v, user %+v", len(hashes), err, u)
		}
		if n := len(h.sent(LetterPasswordChanged)); n != 0 {
			t.Errorf("%d letters about the change of a password that there was not", n)
		}
		h.in(h.Login(ctx, here, ashaEmail, ashaPassword))
	})

	t.Run("a new code ends the one before", func(t *testing.T) {
		h := newHouse(t)
		h.member(asha, storage.UserActive)
		c := h.must(h.Forgot(ctx, here, ashaEmail))
		old := h.lastLetter().Code
		h.refused(TooSoon)(h.Resend(ctx, here, c.Handle))
		h.skip(time.Minute)
		n := h.must(h.Resend(ctx, here, c.Handle))
		if l := h.lastLetter(); n.Step != ConfirmReset || l.Kind != LetterPasswordResetCode || l.Code == old {
			t.Errorf("challenge %+v, letter %+v", n, l)
		}
		h.refused(Expired)(h.ConfirmReset(ctx, here, c.Handle, old))
		h.refused(BadCode)(h.ConfirmReset(ctx, here, n.Handle, old))
		h.must(h.ConfirmReset(ctx, here, n.Handle, h.lastLetter().Code))
	})

	t.Run("the code of a decoy, guessed, opens nothing", func(t *testing.T) {
		h := newHouse(t)
		f := storage.Flow{
			ID: flowID(handle("decoy")), Step: string(ConfirmReset), Purpose: string(ToReset), Email: ashaEmail, Decoy: true,
			CodeMAC: h.codeMAC(flowID(handle("decoy")), "12345678"), CreatedAt: h.now(), ExpiresAt: h.now().Add(time.Minute),
		}
		if err := h.flows.PutFlow(ctx, f); err != nil {
			t.Fatal(err)
		}
		h.refused(BadCode)(h.ConfirmReset(ctx, here, handle("decoy"), "12345678"))
	})

	t.Run("an account that is gone ends the flow as a decoy ends", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		c := h.must(h.Forgot(ctx, here, ashaEmail))
		if err := h.store.DeleteUser(ctx, who.UserID, h.now()); err != nil {
			t.Fatal(err)
		}
		before := len(h.letters())
		h.skip(time.Minute)
		c = h.must(h.Resend(ctx, here, c.Handle))
		if len(h.letters()) != before {
			t.Error("somebody got a letter")
		}
		h.refused(BadCode)(h.ConfirmReset(ctx, here, c.Handle, "00000000"))
	})

	t.Run("no address and no address to be sure", func(t *testing.T) {
		h := newHouse(t)
		h.refused(EmailMissing)(h.Forgot(ctx, here, " "))
		if e := h.refused(EmailMalformed)(h.Forgot(ctx, here, "asha")); e.Field != FieldEmail {
			t.Errorf("the refusal points at %q", e.Field)
		}
	})
}

// TestFlowRaces has sixteen do the same at once with one handle. Whatever each
// of them was told, one went on.
func TestFlowRaces(t *testing.T) {
	onBoth(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		person := func(email string) Acting {
			return h.member(Registration{"Asha Rai", email, ashaPassword}, storage.UserActive)
		}
		one := func(t *testing.T, won int64) {
			t.Helper()
			if won != 1 {
				t.Errorf("%d of 16 went on", won)
			}
		}

		t.Run("the code of a registration", func(t *testing.T) {
			c := h.must(h.Register(ctx, here, Registration{"Asha Rai", "r1@example.com", ashaPassword}))
			code := h.lastLetter().Code
			one(t, race(t, func(int) (Outcome, error) { return h.VerifyEmail(ctx, here, c.Handle, code) }))
		})
		t.Run("the code of a reset", func(t *testing.T) {
			person("r2@example.com")
			c := h.must(h.Forgot(ctx, here, "r2@example.com"))
			code := h.lastLetter().Code
			one(t, race(t, func(int) (Outcome, error) { return h.ConfirmReset(ctx, here, c.Handle, code) }))
		})
		t.Run("sec-K1: the code of an app, in one flow", func(t *testing.T) {
			secret, _ := h.protect(person("r3@example.com"))
			c, code := h.second("r3@example.com", ashaPassword), h.code(secret, 0)
			one(t, race(t, func(int) (Outcome, error) { return h.SecondFactor(ctx, here, c.Handle, code) }))
		})
		t.Run("sec-K3: a recovery code, in sixteen flows", func(t *testing.T) {
			who := person("r4@example.com")
			_, codes := h.protect(who)
			flows := make([]Challenge, 16)
			for i := range flows {
				flows[i] = h.second("r4@example.com", ashaPassword)
			}
			one(t, race(t, func(i int) (Outcome, error) { return h.SecondFactor(ctx, here, flows[i].Handle, codes[0]) }))
			if left, err := h.store.RecoveryCodesLeft(ctx, who.UserID); err != nil || left != 9 || len(h.sent(LetterRecoveryUsed)) != 1 {
				t.Errorf("%d codes are left, %d letters, %v", left, len(h.sent(LetterRecoveryUsed)), err)
			}
		})
		t.Run("asking for a reset", func(t *testing.T) {
			person("r5@example.com")
			before := len(h.sent(LetterPasswordResetCode))
			one(t, race(t, func(int) (Outcome, error) { return h.Forgot(ctx, here, "r5@example.com") }))
			if n := len(h.sent(LetterPasswordResetCode)) - before; n != 1 {
				t.Errorf("%d letters", n)
			}
		})
		t.Run("registering", func(t *testing.T) {
			one(t, race(t, func(int) (Outcome, error) {
				return h.Register(ctx, here, Registration{"Asha Rai", "r6@example.com", ashaPassword})
			}))
		})
	})
}

// TestWipe empties Valkey while people are on their way. They start again, and
// are told so; nothing else is lost.
func TestWipe(t *testing.T) {
	onBoth(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		wipe := func() {
			t.Helper()
			if db, ok := h.flows.(*valkey.DB); ok && h.store != Store(h.db) {
				testenv.Wipe(t, db.URL())
				return
			}
			h.valkey.FlushAll()
		}
		who := h.member(asha, storage.UserActive)
		h.app(storage.Client{ID: "notes", Name: "Notes"})
		secret, codes := h.protect(who)
		session, grant := h.browser(who), h.use(who, "notes", "openid")
		account := h.account(who)

		atReset := h.must(h.Forgot(ctx, here, ashaEmail))
		resetCode := h.lastLetter().Code
		h.member(Registration{"Bina", binaEmail, ashaPassword}, storage.UserActive)
		atPassword := h.reset(binaEmail)
		atRegister := h.must(h.Register(ctx, here, Registration{"Carl", "carl@example.com", ashaPassword}))
		registerCode := h.lastLetter().Code
		atFactor := h.second(ashaEmail, ashaPassword)
		wipe()

		h.refused(Expired)(h.ConfirmReset(ctx, here, atReset.Handle, resetCode))
		h.refused(Expired)(h.Resend(ctx, here, atReset.Handle))
		h.refused(Expired)(h.NewPassword(ctx, here, atPassword.Handle, newPassword))
		h.refused(Expired)(h.VerifyEmail(ctx, here, atRegister.Handle, registerCode))
		h.refused(Expired)(h.SecondFactor(ctx, here, atFactor.Handle, h.code(secret, 0)))

		if h.account(who) != account || !slices.Equal(h.browsers(who), []string{session}) || !h.alive(grant) {
			t.Error("an account, a session or a grant was lost")
		}
		h.in(h.SecondFactor(ctx, here, h.second(ashaEmail, ashaPassword).Handle, h.code(secret, 0)))
		h.second(ashaEmail, ashaPassword)
		wipe()
		c := h.second(ashaEmail, ashaPassword)
		h.refused(CodeUsed)(h.SecondFactor(ctx, here, c.Handle, h.code(secret, 0))) // spent stays spent
		h.in(h.SecondFactor(ctx, here, c.Handle, codes[0]))
		c = h.must(h.Register(ctx, here, Registration{"Carl", "carl@example.com", ashaPassword}))
		h.in(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
	})
}

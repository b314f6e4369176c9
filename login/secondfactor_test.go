package login

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

func TestSignInWithSecondFactor(t *testing.T) {
	ctx := t.Context()

	t.Run("the code of the app signs in", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		secret, _ := h.protect(who)
		c := h.second(ashaEmail, ashaPassword)
		a := h.in(h.SecondFactor(ctx, here, c.Handle, h.code(secret, 0)))
		if !slices.Equal(a.AMR, []string{"pwd", "otp", "mfa"}) || a.RecoveryLeft != -1 || a.UserID != who.UserID || a.Epoch != h.account(who).Epoch {
			t.Errorf("authenticated %+v", a)
		}
		h.refused(Expired)(h.SecondFactor(ctx, here, c.Handle, h.code(secret, 1)))
		if row, err := h.store.TOTP(ctx, who.UserID); err != nil || row.LastUsedAt.IsZero() || row.Failures != 0 {
			t.Errorf("row %+v, %v", row, err)
		}
	})

	t.Run("a recovery code signs in, and its owner is told", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		_, codes := h.protect(who)
		for i, code := range codes {
			a := h.in(h.SecondFactor(ctx, here, h.second(ashaEmail, ashaPassword).Handle, code))
			if !slices.Equal(a.AMR, []string{"pwd", "mfa"}) || a.RecoveryLeft != 9-i {
				t.Errorf("authenticated %+v", a)
			}
			if n := len(h.sent(LetterRecoveryUsed)); n != i+1 {
				t.Errorf("%d letters after %d codes", n, i+1)
			}
		}
		if l := h.sent(LetterRecoveryUsed)[0]; l.To != ashaEmail || l.Detail != "Firefox on Linux" || l.Code != "" {
			t.Errorf("letter %+v", l)
		}
		var low []string
		for _, l := range h.sent(LetterRecoveryLow) {
			low = append(low, l.Detail)
		}
		if !slices.Equal(low, []string{"2", "1", "0"}) {
			t.Errorf("letters say that so many are left: %q", low)
		}
		if h.happened(who, EventRecoveryUsed, eventOK) != 10 {
			t.Error("events are missing")
		}
		h.refused(BadCode)(h.SecondFactor(ctx, here, h.second(ashaEmail, ashaPassword).Handle, codes[0]))
	})

	t.Run("what cannot be a code is no try", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		secret, _ := h.protect(who)
		c := h.second(ashaEmail, ashaPassword)
		for range 3 {
			h.refused(CodeMissing)(h.SecondFactor(ctx, here, c.Handle, " - "))
			h.refused(BadCode)(h.SecondFactor(ctx, here, c.Handle, "12345"))
			h.refused(BadCode)(h.SecondFactor(ctx, here, c.Handle, "1234567"))
			h.refused(BadCode)(h.SecondFactor(ctx, here, c.Handle, "AAAAA-AAAAA-AAAAA"))
		}
		if row, err := h.store.TOTP(ctx, who.UserID); err != nil || row.Failures != 0 {
			t.Errorf("row %+v, %v", row, err)
		}
		h.in(h.SecondFactor(ctx, here, c.Handle, h.code(secret, 0)))
	})

	t.Run("five wrong codes in one flow are enough", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		secret, _ := h.protect(who)
		c := h.second(ashaEmail, ashaPassword)
		for range 5 {
			h.refused(BadCode)(h.SecondFactor(ctx, here, c.Handle, wrongFor(h, secret)))
		}
		if e := h.refused(RateLimited)(h.SecondFactor(ctx, here, c.Handle, h.code(secret, 0))); e.RetryAfter <= 0 {
			t.Errorf("retry after %v", e.RetryAfter)
		}
		if h.happened(who, EventSecondFactor, string(BadCode)) != 5 || h.happened(who, EventLimited, string(RateLimited)) != 1 {
			t.Error("events are missing")
		}
	})

	t.Run("a mailbox to be proved comes first, and the factor after it", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		secret, _ := h.protect(who)
		u := h.account(who)
		u.EmailVerifiedAt = time.Time{}
		f := storage.Flow{Purpose: string(ToSignIn), UserID: u.ID, UserEpoch: u.Epoch, Email: u.Email, AMR: []string{amrPassword}}
		c := h.must(h.advance(ctx, here, f, u))
		if c.Step != VerifyEmail {
			t.Fatalf("challenge %+v", c)
		}
		f.Proven = []string{string(VerifyEmail)}
		c = h.must(h.advance(ctx, here, f, u))
		if c.Step != SecondFactor {
			t.Fatalf("challenge %+v", c)
		}
		h.in(h.SecondFactor(ctx, here, c.Handle, h.code(secret, 0)))
	})
}

// wrongFor is a code that the app shows at no time that is accepted now.
func wrongFor(h *house, secret string) string {
	for i := range 10 {
		code := fmt.Sprintf("%06d", i)
		if code != h.code(secret, -1) && code != h.code(secret, 0) && code != h.code(secret, 1) {
			return code
		}
	}
	panic("unreachable")
}

// TestSecondFactorDelay is sec-K2: wrong codes in a row cost ever more time,
// counted in the database, and a hundred are the end.
func TestSecondFactorDelay(t *testing.T) {
	ctx := t.Context()
	for failures, want := range map[int]time.Duration{
		10: time.Minute, 11: 2 * time.Minute, 12: 4 * time.Minute, 20: 1024 * time.Minute, 21: 24 * time.Hour, 99: 24 * time.Hour,
	} {
		if got := factorDelay(failures); got != want {
			t.Errorf("after %d wrong codes: %v, want %v", failures, got, want)
		}
	}

	h := newHouse(t)
	who := h.member(asha, storage.UserActive)
	secret, codes := h.protect(who)
	fail := func() error {
		h.skip(30 * time.Minute) // past the limits
		_, err := h.SecondFactor(ctx, here, h.second(ashaEmail, ashaPassword).Handle, wrongFor(h, secret))
		return err
	}
	for i := range 10 {
		if err := fail(); !isRefusal(err, BadCode) {
			t.Fatalf("try %d: %v", i+1, err)
		}
	}
	c := h.second(ashaEmail, ashaPassword)
	for about, code := range map[string]string{"wrong": wrongFor(h, secret), "right": h.code(secret, 0), "of recovery": codes[0]} {
		e := h.refused(SecondFactorLocked)(h.SecondFactor(ctx, here, c.Handle, code))
		if e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
			t.Errorf("a code, %s: retry after %v", about, e.RetryAfter)
		}
	}
	h.valkey.FlushAll() // which forgets nothing of this
	c = h.second(ashaEmail, ashaPassword)
	h.refused(SecondFactorLocked)(h.SecondFactor(ctx, here, c.Handle, h.code(secret, 0)))
	h.skip(time.Minute)
	h.refused(BadCode)(h.SecondFactor(ctx, here, c.Handle, wrongFor(h, secret)))
	if e := h.refused(SecondFactorLocked)(h.SecondFactor(ctx, here, c.Handle, h.code(secret, 0))); e.RetryAfter <= time.Minute {
		t.Errorf("the delay did not double: %v", e.RetryAfter)
	}

	t.Run("a right code begins anew", func(t *testing.T) {
		h.skip(2 * time.Minute)
		h.in(h.SecondFactor(ctx, here, h.second(ashaEmail, ashaPassword).Handle, h.code(secret, 0)))
		for range 10 {
			if err := fail(); !isRefusal(err, BadCode) {
				t.Fatal(err)
			}
		}
	})

	t.Run("those who try at the same moment are no exception", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		h.protect(who)
		for range 9 {
			if _, err := h.store.FailSecondFactor(ctx, who.UserID, h.now()); err != nil {
				t.Fatal(err)
			}
		}
		// Sixteen have read that there were nine, and go on at once.
		t9, err := h.store.TOTP(ctx, who.UserID)
		if err != nil {
			t.Fatal(err)
		}
		h.store = &stale{Store: h.store, totp: t9}
		compared := 0
		for range 16 {
			if _, err := h.trySecondFactor(ctx, who.UserID); err == nil {
				compared++
			} else if !isRefusal(err, SecondFactorLocked) {
				t.Fatal(err)
			}
		}
		if compared != 1 {
			t.Errorf("%d codes were compared, want the tenth alone", compared)
		}
	})

	t.Run("after a hundred no code is taken and waiting does not help", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		secret, codes := h.protect(who)
		for range maxFailures {
			if _, err := h.store.FailSecondFactor(ctx, who.UserID, h.now()); err != nil {
				t.Fatal(err)
			}
		}
		h.skip(30 * 24 * time.Hour)
		c := h.second(ashaEmail, ashaPassword)
		for _, code := range []string{h.code(secret, 0), codes[0]} {
			if e := h.refused(SecondFactorLocked)(h.SecondFactor(ctx, here, c.Handle, code)); e.RetryAfter != 0 {
				t.Errorf("retry after %v", e.RetryAfter)
			}
		}
		if left, err := h.store.RecoveryCodesLeft(ctx, who.UserID); err != nil || left != 10 {
			t.Errorf("%d codes are left, %v", left, err)
		}
	})

	t.Run("a password that is not right says nothing of it", func(t *testing.T) {
		h.refused(BadCredentials)(h.Login(ctx, here, ashaEmail, evePassword))
		if _, err := h.Login(ctx, here, ashaEmail, ashaPassword); err != nil {
			var e *Error
			t.Errorf("the password itself is refused: %v", errors.As(err, &e))
		}
	})
}

// stale answers with what was true a moment ago.
type stale struct {
	Store
	totp storage.TOTP
}

func (s *stale) TOTP(context.Context, string) (storage.TOTP, error) { return s.totp, nil }

package login

import (
	"context"
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

// between does something the next time that a limit is asked, or after that, when
// what was counted is given back.
type between struct {
	storage.Buckets
	do, after func()
}

func (b *between) Take(ctx context.Context, uses ...storage.Use) ([]storage.Hit, error) {
	if do := b.do; do != nil {
		b.do = nil
		do()
	}
	return b.Buckets.Take(ctx, uses...)
}

func (b *between) GiveBack(ctx context.Context, uses []storage.Use, hits []storage.Hit) error {
	if after := b.after; after != nil {
		b.after = nil
		after()
	}
	return b.Buckets.GiveBack(ctx, uses, hits)
}

// Of two resets one sets the password, also when it does so between what the other
// reads of the account and what it reads of its passwords.
func TestResetInTheMiddleOfAReset(t *testing.T) {
	limits := &between{}
	h := newHouse(t, func(c *Config) { limits.Buckets, c.Buckets = c.Buckets, limits })
	who := h.member(asha, storage.UserActive)
	a, b := h.reset(ashaEmail), h.reset2(ashaEmail)
	limits.do = func() { h.isReset(h.NewPassword(t.Context(), here, a.Handle, newPassword+" a")) }
	h.refused(Expired)(h.NewPassword(t.Context(), here, b.Handle, newPassword+" b"))
	if limits.do != nil {
		t.Fatal("no limit was asked")
	}
	if hashes, err := h.store.PasswordHashes(t.Context(), who.UserID); err != nil || len(hashes) != 2 {
		t.Errorf("%d passwords, %v", len(hashes), err)
	}
}

// Whoever resets the password ends what somebody else is doing to the account in a
// session of before, also when that one has looked at everything already.
func TestResetInTheMiddleOfAChange(t *testing.T) {
	ctx := t.Context()
	for _, tt := range []struct {
		about string
		on    bool // two-step sign-in, before
		begin func(h *house, who Acting, secret string) (end func() error)
		want  Reason
	}{
		{"two-step sign-in turned on", false, func(h *house, who Acting, _ string) func() error {
			e := h.enroll(who)
			return func() error {
				_, _, err := h.ConfirmSecondFactor(ctx, who, e.Handle, h.code(e.Secret, 0))
				return err
			}
		}, Expired},
		{"two-step sign-in turned off", true, func(h *house, who Acting, secret string) func() error {
			return func() error {
				_, err := h.DisableSecondFactor(ctx, who, h.code(secret, 0))
				return err
			}
		}, Reauthenticate},
		{"another address", false, func(h *house, who Acting, _ string) func() error {
			c, err := h.ChangeEmail(ctx, who, "asha@elsewhere.example")
			if err != nil {
				h.t.Fatal(err)
			}
			return func() error { return h.ConfirmEmail(ctx, who, c.Handle, h.told(LetterEmailChangeCode).Code) }
		}, Expired},
	} {
		t.Run(tt.about, func(t *testing.T) {
			limits := &between{}
			h := newHouse(t, func(c *Config) { limits.Buckets, c.Buckets = c.Buckets, limits })
			who := h.member(asha, storage.UserActive)
			secret := ""
			if tt.on {
				secret, _ = h.protect(who)
			}
			reset := h.reset(ashaEmail)
			end := tt.begin(h, who, secret)
			before := h.account(who)
			limits.after = func() { h.isReset(h.NewPassword(ctx, here, reset.Handle, newPassword)) }
			h.refusal(end(), tt.want)
			if limits.after != nil {
				t.Fatal("nothing was given back")
			}
			after := h.account(who)
			if after.Email != before.Email || after.SecondFactor != before.SecondFactor || after.Epoch != before.Epoch+1 {
				t.Errorf("the account went from %+v to %+v", before, after)
			}
			if n := len(h.sent(LetterSecondFactorOn)) + len(h.sent(LetterSecondFactorOff)); tt.on && n != 1 || !tt.on && n != 0 {
				t.Errorf("%d letters of two-step sign-in", n)
			}
		})
	}
}

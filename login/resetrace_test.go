package login

import (
	"context"
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

// between does something the next time that a limit is asked.
type between struct {
	storage.Buckets
	do func()
}

func (b *between) Take(ctx context.Context, uses ...storage.Use) ([]storage.Hit, error) {
	if do := b.do; do != nil {
		b.do = nil
		do()
	}
	return b.Buckets.Take(ctx, uses...)
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

package login

import (
	"context"
	"errors"
	"fmt"

	"github.com/gatehouse-id/gatehouse/storage"
)

// VerifyEmail proves the mailbox by the code mailed to it, makes the account
// usable and goes on to the next step.
func (e *Engine) VerifyEmail(ctx context.Context, handle, code string) (Outcome, error) {
	f, err := e.flow(ctx, handle, VerifyEmail)
	if err != nil {
		return nil, err
	}
	if err := e.checkCode(ctx, f, code); err != nil {
		return nil, err
	}
	u, err := e.complete(ctx, f)
	if err != nil {
		return nil, err
	}
	if u, err = e.recordMailbox(ctx, f, u); err != nil {
		return nil, err
	}
	f.Proven = append(f.Proven, string(VerifyEmail))
	return e.advance(ctx, f, u)
}

// recordMailbox marks the mailbox as proved, with the registration whose code
// was shown. It changes nobody who is not pending: a code lifts no suspension.
func (e *Engine) recordMailbox(ctx context.Context, f storage.Flow, u storage.User) (storage.User, error) {
	if u.EmailVerified() {
		return u, refuse(Problem{Reason: AlreadyVerified})
	}
	now := e.now().UTC()
	err := e.store.VerifyEmail(ctx, u.ID, *f.Registration, now)
	if errors.Is(err, storage.ErrNotFound) {
		// Suspended or proved since it was read.
		return u, refuse(Problem{Reason: Expired})
	}
	if err != nil {
		return u, fmt.Errorf("login: mark mailbox as proved: %w", err)
	}
	u.Name, u.Status, u.EmailVerifiedAt, u.UpdatedAt = f.Registration.Name, storage.UserActive, now, now
	return u, nil
}

// Resend mails another code for the same step. The code before dies with its
// handle.
func (e *Engine) Resend(ctx context.Context, handle string) (Outcome, error) {
	f, err := e.flow(ctx, handle, VerifyEmail)
	if err != nil {
		return nil, err
	}
	if wait := f.CreatedAt.Add(resendAfter).Sub(e.now()); wait > 0 {
		return nil, refuseFor(TooSoon, wait)
	}
	if err := e.spend(ctx, f); err != nil {
		return nil, err
	}
	// The stored address gets the letter, not the one typed. A decoy has no
	// user, so everybody is looked up in the way that serves a decoy too.
	u, _, err := e.store.UserByEmail(ctx, f.Email)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, refuse(Problem{Reason: Expired})
	}
	if err != nil {
		return nil, fmt.Errorf("login: find user: %w", err)
	}
	return e.mailCode(ctx, f, u.Email, func(l storage.Letter) error {
		return e.store.AddLetters(ctx, l)
	})
}

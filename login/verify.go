package login

import (
	"context"
	"errors"
	"fmt"

	"github.com/gatehouse-id/gatehouse/storage"
)

// VerifyEmail proves the mailbox by the code mailed to it, makes the account
// usable and goes on to the next step.
func (e *Engine) VerifyEmail(ctx context.Context, from From, handle, code string) (_ Outcome, err error) {
	defer func() { e.counted(ctx, string(VerbVerifyEmail), err) }()
	f, u, err := e.proveMailbox(ctx, from, VerbVerifyEmail, VerifyEmail, handle, code)
	if err != nil {
		return nil, err
	}
	if u, err = e.recordMailbox(ctx, f, u); err != nil {
		return nil, err
	}
	e.record(ctx, EventMailboxProved, u.ID, eventOK, from, "")
	f.Proven = append(f.Proven, string(VerifyEmail))
	return e.advance(ctx, from, f, u)
}

// proveMailbox checks the code that was mailed for a step and spends the flow.
// A dead code is told before a limit is: it is the one of which only a new code
// helps.
func (e *Engine) proveMailbox(ctx context.Context, from From, v Verb, s Step, handle, typed string) (storage.Flow, storage.User, error) {
	f, err := e.flow(ctx, handle, s)
	if err != nil {
		return f, storage.User{}, err
	}
	code, try, err := e.tryCode(ctx, f, typed)
	if err != nil {
		return f, storage.User{}, err
	}
	refund, err := e.limitFlow(ctx, v, f.ID, f, from)
	if err != nil {
		return f, storage.User{}, err
	}
	if err := e.compareCode(ctx, f, code, try); err != nil {
		if r, ok := errors.AsType[*Error](err); ok {
			e.record(ctx, EventCode, f.UserID, string(r.Reason), from, string(s))
		}
		return f, storage.User{}, err
	}
	u, err := e.complete(ctx, f)
	if err != nil {
		return f, storage.User{}, err
	}
	refund(ctx)
	return f, u, nil
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
func (e *Engine) Resend(ctx context.Context, from From, handle string) (_ Outcome, err error) {
	defer func() { e.counted(ctx, string(VerbResend), err) }()
	f, err := e.flow(ctx, handle, VerifyEmail, ConfirmReset)
	if err != nil {
		return nil, err
	}
	if wait := f.CreatedAt.Add(resendAfter).Sub(e.now()); wait > 0 {
		return nil, refuseFor(TooSoon, wait)
	}
	if _, err := e.limitFlow(ctx, VerbResend, f.ID, f, from); err != nil {
		return nil, err
	}
	if err := e.mailBudget(ctx, f.Email, from, f.UserID); err != nil {
		return nil, err
	}
	if err := e.spend(ctx, f); err != nil {
		return nil, err
	}
	// The stored address gets the letter, not the one typed. A decoy has no
	// user, so everybody is looked up in the way that serves a decoy too.
	u, _, err := e.store.UserByEmail(ctx, f.Email)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("login: find user: %w", err)
	}
	if u.ID != f.UserID {
		f.Decoy = true // it is, or the account is gone
	}
	return e.mailCode(ctx, from, f, Step(f.Step), u, e.addLetter(ctx))
}

package login

import (
	"context"
	"errors"
	"fmt"

	"github.com/gatehouse-id/gatehouse/storage"
)

// Forgot begins with an address alone, and mails it a code. The answer is the
// same for every address: one that has no account, or one that may not be used,
// gets a decoy, which costs, waits and is limited as any other flow.
func (e *Engine) Forgot(ctx context.Context, from From, email string) (_ Outcome, err error) {
	defer func() { e.counted(ctx, string(VerbForgot), err) }()
	address, reason := parseEmail(email)
	if reason != "" {
		return nil, refuse(Problem{FieldEmail, reason})
	}
	if err := e.network(ctx, from); err != nil {
		return nil, err
	}
	u, _, err := e.store.UserByEmail(ctx, address)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("login: find user: %w", err)
	}
	f := storage.Flow{Purpose: string(ToReset), UserID: u.ID, UserEpoch: u.Epoch, Email: address}
	if !usable(u.Status) {
		f.Decoy, f.UserID, f.UserEpoch = true, "", 0
	}
	if _, err := e.limitFlow(ctx, VerbForgot, address, f, from); err != nil {
		return nil, err
	}
	if err := e.mailBudget(ctx, address, from, f.UserID); err != nil {
		return nil, err
	}
	o, err := e.mailCode(ctx, from, f, ConfirmReset, u, e.addLetter(ctx))
	if err != nil {
		return nil, err
	}
	e.record(ctx, EventResetAsked, u.ID, eventOK, from, "")
	return o, nil
}

// ConfirmReset proves the mailbox of somebody who forgot the password, and asks
// for a new one. Nothing changes yet; an account whose mailbox was never proved
// becomes usable with the new password and not before.
func (e *Engine) ConfirmReset(ctx context.Context, from From, handle, code string) (_ Outcome, err error) {
	defer func() { e.counted(ctx, string(VerbConfirmReset), err) }()
	f, u, err := e.proveMailbox(ctx, from, VerbConfirmReset, ConfirmReset, handle, code)
	if err != nil {
		return nil, err
	}
	f.CodeMAC = nil
	f.Proven = append(f.Proven, string(VerifyEmail), string(ConfirmReset))
	return e.advance(ctx, from, f, u)
}

// NewPassword sets the password of somebody who forgot it, and ends every
// session and grant. It signs nobody in and asks for no second factor: that
// still stands at the next sign-in.
func (e *Engine) NewPassword(ctx context.Context, from From, handle, password string) (_ Outcome, err error) {
	defer func() { e.counted(ctx, string(VerbNewPassword), err) }()
	f, err := e.flow(ctx, handle, NewPassword)
	if err != nil {
		return nil, err
	}
	// Before the user: a password that was set in the meantime is seen by the epoch
	// that it raised. The other way round it would be replaced like that of before.
	hashes, err := e.store.PasswordHashes(ctx, f.UserID)
	if err != nil {
		return nil, fmt.Errorf("login: read passwords: %w", err)
	}
	u, err := e.flowUser(ctx, f)
	if err != nil {
		return nil, err
	}
	if reason := e.passwords.policy(password, u.Name, u.Email); reason != "" {
		return nil, refuse(Problem{FieldPassword, reason})
	}
	refund, err := e.limitFlow(ctx, VerbNewPassword, f.ID, f, from)
	if err != nil {
		return nil, err
	}
	hash, replaces, err := e.newHash(ctx, u, hashes, password)
	if err != nil {
		if isRefusal(err, Busy) {
			refund(ctx) // nothing was tried
		}
		return nil, err
	}
	letter, err := e.notice(ctx, LetterPasswordChanged, u, from)
	if err != nil {
		return nil, err
	}
	if err := e.spend(ctx, f); err != nil {
		return nil, err
	}
	if err := e.resetPassword(ctx, u, hash, replaces, letter); err != nil {
		return nil, err
	}
	refund(ctx)
	f.Proven = append(f.Proven, string(NewPassword))
	return e.advance(ctx, from, f, u)
}

// newHash returns the hash of a password that the user, who has these, has not had,
// and the one that it replaces. What there is before the mailbox was proved was
// never the owner's.
func (e *Engine) newHash(ctx context.Context, u storage.User, hashes []string, password string) (hash, replaces string, err error) {
	if u.EmailVerified() {
		if err := e.checkReused(ctx, hashes, password); err != nil {
			return "", "", err
		}
		if len(hashes) > 0 {
			replaces = hashes[0]
		}
	}
	hash, err = e.passwords.hash(ctx, password)
	return hash, replaces, err
}

// resetPassword makes hash the user's password. A pending user becomes active
// with it, and what anybody else registered for the address is forgotten; there
// was no password to tell of, so no letter tells.
func (e *Engine) resetPassword(ctx context.Context, u storage.User, hash, replaces string, letter storage.Letter) error {
	now := e.now().UTC()
	var err error
	if u.Status == storage.UserPending {
		err = e.store.VerifyEmail(ctx, u.ID, storage.Registration{Name: u.Name, PasswordHash: hash}, now)
	} else {
		_, err = e.store.SetPassword(ctx, storage.PasswordChange{
			UserID: u.ID, PasswordHash: hash, Replaces: replaces, Now: now,
		}, letter)
	}
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrConflict) {
		// Removed, suspended, proved or given another password since it was read.
		return refuse(Problem{Reason: Expired})
	}
	if err != nil {
		return fmt.Errorf("login: set password: %w", err)
	}
	e.mailed()
	return nil
}

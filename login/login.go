package login

import (
	"context"
	"errors"
	"fmt"

	"github.com/gatehouse-id/gatehouse/storage"
)

// amrPassword says that a password was shown (RFC 8176 section 2). A code sent
// by mail adds nothing to it: a mailbox is no second factor.
const amrPassword = "pwd"

// Login begins with an address and a password. An unknown address, a wrong
// password and a suspended account read and cost the same, until the password
// is right.
func (e *Engine) Login(ctx context.Context, email, password string) (Outcome, error) {
	address, reason := parseEmail(email)
	var problems []Problem
	if reason != "" {
		problems = append(problems, Problem{FieldEmail, reason})
	}
	if password == "" {
		problems = append(problems, Problem{FieldPassword, PasswordMissing})
	}
	if problems != nil {
		return nil, refuse(problems[0], problems[1:]...)
	}

	u, hash, err := e.store.UserByEmail(ctx, address)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("login: find user: %w", err)
	}
	right, err := e.passwords.check(ctx, hash, password)
	if err != nil {
		return nil, err
	}
	if !right {
		return nil, refuse(Problem{Reason: BadCredentials})
	}
	if !usable(u.Status) {
		return nil, refuse(Problem{Reason: AccountRestricted})
	}

	f := storage.Flow{
		Purpose: string(ToSignIn), UserID: u.ID, UserEpoch: u.Epoch, Email: address,
		AMR: []string{amrPassword},
	}
	if !u.EmailVerified() {
		// Another registration of the address may replace the password while we
		// wait for the code. The one that counts is the one shown here.
		f.Registration = &storage.Registration{Name: u.Name, PasswordHash: hash}
	}
	return e.advance(ctx, f, u)
}

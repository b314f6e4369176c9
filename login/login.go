package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// amrPassword says that a password was shown (RFC 8176 section 2). A code sent
// by mail adds nothing to it: a mailbox is no second factor.
const amrPassword = "pwd"

// Login begins with an address and a password. An unknown address, a wrong
// password and a suspended account read and cost the same, until the password
// is right.
func (e *Engine) Login(ctx context.Context, from From, email, password string) (_ Outcome, err error) {
	defer func() { e.counted(ctx, string(VerbLogin), err) }()
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
	if tooLongPassword(password) {
		return nil, refuse(Problem{Reason: BadCredentials}) // nobody has such a one
	}
	if err := e.network(ctx, from); err != nil {
		return nil, err
	}

	u, hash, err := e.store.UserByEmail(ctx, address)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("login: find user: %w", err)
	}
	f := storage.Flow{
		Purpose: string(ToSignIn), UserID: u.ID, UserEpoch: u.Epoch, Email: address,
		AMR: []string{amrPassword},
	}
	refund, err := e.limitFlow(ctx, VerbLogin, address, f, from)
	if err != nil {
		return nil, e.tellOfFailures(ctx, f, u, err)
	}
	right, err := e.passwords.check(ctx, hash, password)
	if err != nil {
		refund(ctx) // nothing was compared
		return nil, err
	}
	if !right {
		e.record(ctx, EventSignIn, u.ID, string(BadCredentials), from, "")
		return nil, refuse(Problem{Reason: BadCredentials})
	}
	refund(ctx)
	if !usable(u.Status) {
		e.record(ctx, EventSignIn, u.ID, string(AccountRestricted), from, "")
		return nil, refuse(Problem{Reason: AccountRestricted})
	}
	if u.EmailVerified() {
		e.upgrade(ctx, u, hash, password)
	} else {
		// Another registration of the address may replace the password while we
		// wait for the code. The one that counts is the one shown here.
		f.Registration = &storage.Registration{Name: u.Name, PasswordHash: hash}
	}
	return e.advance(ctx, from, f, u)
}

// upgrade hashes the password anew when the hash is not of the kind, or not of
// the cost, that new ones have. That it could not stops nobody: the next
// sign-in will.
func (e *Engine) upgrade(ctx context.Context, u storage.User, old, password string) {
	if !e.passwords.outdated(old, password) {
		return
	}
	hash, err := e.passwords.hash(ctx, password)
	if err == nil {
		err = e.store.UpgradePassword(ctx, u.ID, old, hash)
	}
	if _, refused := errors.AsType[*Error](err); err != nil && !refused && !errors.Is(err, storage.ErrConflict) {
		e.log.WarnContext(ctx, "password hash not upgraded", "user", u.ID, "err", err)
	}
}

// failuresTold bounds the letters about somebody who tries passwords.
var failuresTold = storage.Bucket{Name: "failures.told", Limit: 1, Window: 24 * time.Hour}

// tellOfFailures tells the owner of an account, once a day, that the limit has
// refused a sign-in, and returns that refusal. An address without account costs
// the same.
func (e *Engine) tellOfFailures(ctx context.Context, f storage.Flow, u storage.User, refusal error) error {
	if !isRefusal(refusal, RateLimited) {
		return refusal
	}
	first, err := e.once(ctx, failuresTold, bucketKey(accountOf(f)))
	if err != nil {
		return err
	}
	if !first {
		return refusal
	}
	now := e.now().UTC()
	l := Letter{Kind: LetterManyFailures, To: u.Email, Link: e.signInURL, Language: u.Profile.Locale, At: now, ExpiresAt: now.Add(noticeLife)}
	if u.Status != storage.UserActive {
		l = Letter{Kind: LetterPasswordResetCode, At: now, ExpiresAt: now} // see filler
	}
	row, err := e.sealLetter(ctx, l)
	if err != nil {
		return err
	}
	if err := e.committed(e.store.AddLetters(ctx, row)); err != nil {
		return err
	}
	return refusal
}

package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// How a person proved a second factor (RFC 8176 section 2): by a one-time
// password of the app, and by more than one factor. For a recovery code it has
// no word of its own.
const (
	amrOTP = "otp"
	amrMFA = "mfa"
)

const (
	// freeFailures is how many wrong codes in a row cost no time but that of
	// the limits; maxFailures is after how many no code is taken any more
	// (NIST SP 800-63B-4 section 3.2.2).
	freeFailures = 10
	maxFailures  = 100
	// firstDelay is the delay after freeFailures. Every other wrong code
	// doubles it, up to maxDelay.
	firstDelay = time.Minute
	maxDelay   = 24 * time.Hour
)

// fewRecoveryCodes is how many codes are left when a letter says so.
const fewRecoveryCodes = 2

// SecondFactor proves the authenticator app, by a code of six digits, or takes
// a recovery code in its place, and goes on to the next step.
//
// A wrong code reads the same whatever the account has. What is right is spent
// in an order that loses nothing but the flow when we fail: the flow, then the
// code, and the person is told last.
func (e *Engine) SecondFactor(ctx context.Context, from From, handle, code string) (_ Outcome, err error) {
	defer func() { e.counted(ctx, string(VerbSecondFactor), err) }()
	f, err := e.flow(ctx, handle, SecondFactor)
	if err != nil {
		return nil, err
	}
	typed, reason := parseSecondFactor(code)
	if reason != "" {
		return nil, refuse(Problem{FieldCode, reason})
	}
	refund, err := e.limitFlow(ctx, VerbSecondFactor, f.ID, f, from)
	if err != nil {
		return nil, err
	}
	u, err := e.flowUser(ctx, f)
	if err != nil {
		return nil, err
	}
	left, err := e.spendSecondFactor(ctx, from, u, typed, func() error { return e.spend(ctx, f) })
	if err != nil {
		return nil, err
	}
	refund(ctx)
	f.Proven = append(f.Proven, string(SecondFactor))
	if !typed.recovery {
		f.AMR = append(f.AMR, amrOTP)
	}
	f.AMR = append(f.AMR, amrMFA)
	o, err := e.advance(ctx, from, f, u)
	if a, ok := o.(Authenticated); ok {
		a.RecoveryLeft = left
		return a, nil
	}
	return o, err
}

// spendSecondFactor counts a try, compares and, when the code is right, calls
// first and then spends the code. It returns how many recovery codes are left
// when it was one of them, else -1.
func (e *Engine) spendSecondFactor(ctx context.Context, from From, u storage.User, typed secondFactor, first func() error) (left int, err error) {
	t, err := e.trySecondFactor(ctx, u.ID)
	if err == nil && typed.recovery {
		left, err = e.spendRecoveryCode(ctx, from, u, typed.code, first)
	} else if err == nil {
		left, err = -1, e.spendTOTP(ctx, u, t, typed.code, first)
	}
	if r, ok := errors.AsType[*Error](err); ok {
		e.record(ctx, EventSecondFactor, u.ID, string(r.Reason), from, "")
	}
	return left, err
}

func (e *Engine) spendTOTP(ctx context.Context, u storage.User, t storage.TOTP, code string, first func() error) error {
	secret, err := e.open(t.Sealed, []byte(u.ID))
	if err != nil {
		return fmt.Errorf("login: open secret of the authenticator app: %w", err)
	}
	now := e.now().UTC()
	step, right := matchTOTP(secret, code, now)
	switch {
	case !right:
		return refuse(Problem{FieldCode, BadCode})
	case step <= t.LastStep:
		return refuse(Problem{FieldCode, CodeUsed})
	}
	if err := first(); err != nil {
		return err
	}
	err = e.store.SpendTOTP(ctx, u.ID, step, now)
	if errors.Is(err, storage.ErrSpent) {
		return refuse(Problem{FieldCode, CodeUsed}) // elsewhere, since it was read
	}
	if err != nil {
		return fmt.Errorf("login: spend time-step: %w", err)
	}
	return nil
}

func (e *Engine) spendRecoveryCode(ctx context.Context, from From, u storage.User, code string, first func() error) (left int, err error) {
	mac := e.recoveryMAC(u.ID, code)
	has, err := e.store.HasRecoveryCode(ctx, u.ID, mac)
	if err != nil {
		return 0, fmt.Errorf("login: find recovery code: %w", err)
	}
	if !has {
		return 0, refuse(Problem{FieldCode, BadCode})
	}
	letters, err := e.recoveryLetters(ctx, from, u)
	if err != nil {
		return 0, err
	}
	if err := first(); err != nil {
		return 0, err
	}
	left, err = e.store.SpendRecoveryCode(ctx, u.ID, mac, e.now().UTC(), letters...)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, refuse(Problem{FieldCode, BadCode}) // elsewhere, since it was looked for
	}
	if err != nil {
		return 0, fmt.Errorf("login: spend recovery code: %w", err)
	}
	e.mailed()
	e.record(ctx, EventRecoveryUsed, u.ID, eventOK, from, fmt.Sprintf("%d left", left))
	return left, nil
}

// recoveryLetters are those that report the use of one more code.
func (e *Engine) recoveryLetters(ctx context.Context, from From, u storage.User) ([]storage.Letter, error) {
	left, err := e.store.RecoveryCodesLeft(ctx, u.ID)
	if err != nil {
		return nil, fmt.Errorf("login: count recovery codes: %w", err)
	}
	left-- // the one that is used
	used, err := e.notice(ctx, LetterRecoveryUsed, u, from)
	if err != nil || left > fewRecoveryCodes {
		return []storage.Letter{used}, err
	}
	now := e.now().UTC()
	low, err := e.sealLetter(ctx, Letter{
		Kind: LetterRecoveryLow, To: u.Email, Link: e.signInURL, Detail: fmt.Sprint(left), Language: from.reads(u),
		At: now, ExpiresAt: now.Add(noticeLife),
	})
	return []storage.Letter{used, low}, err
}

// trySecondFactor counts a try at the second factor, right or wrong, before
// anything is compared: only SpendTOTP and SpendRecoveryCode begin anew. It
// returns the authenticator app, or refuses when there were too many.
func (e *Engine) trySecondFactor(ctx context.Context, userID string) (storage.TOTP, error) {
	t, err := e.store.TOTP(ctx, userID)
	if errors.Is(err, storage.ErrNotFound) {
		return storage.TOTP{}, refuse(Problem{FieldCode, BadCode})
	}
	if err != nil {
		return storage.TOTP{}, fmt.Errorf("login: read second factor: %w", err)
	}
	now := e.now().UTC()
	if err := locked(t.Failures, t.FailedAt, now); err != nil {
		return storage.TOTP{}, err
	}
	n, err := e.store.FailSecondFactor(ctx, userID, now)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return storage.TOTP{}, fmt.Errorf("login: count try at the second factor: %w", err)
	}
	if n > t.Failures+1 {
		// Others try at the same moment: those who come after one that began a
		// delay wait for it.
		if err := locked(n-1, now, now); err != nil {
			return storage.TOTP{}, err
		}
	}
	return t, nil
}

// locked refuses while the delay after so many wrong codes in a row lasts.
func locked(failures int, last, now time.Time) error {
	switch {
	case failures < freeFailures:
		return nil
	case failures >= maxFailures:
		return refuse(Problem{Reason: SecondFactorLocked})
	}
	if wait := last.Add(factorDelay(failures)).Sub(now); wait > 0 {
		return refuseFor(SecondFactorLocked, wait)
	}
	return nil
}

// factorDelay is how long nobody may try after that many wrong codes in a row.
func factorDelay(failures int) time.Duration {
	delay := firstDelay
	for range failures - freeFailures {
		if delay *= 2; delay >= maxDelay {
			return maxDelay
		}
	}
	return delay
}

// A secondFactor is what somebody typed, in the form that is compared.
type secondFactor struct {
	code string
	// recovery says that it is a recovery code, else one of the app.
	recovery bool
}

// parseSecondFactor tells the codes apart by what they are made of. What can be
// neither is no try.
func parseSecondFactor(typed string) (secondFactor, Reason) {
	digits, reason := parseDigits(typed, totpDigits)
	if reason != BadCode {
		return secondFactor{code: digits}, reason
	}
	if tooLongCode(typed) {
		return secondFactor{}, BadCode
	}
	code, ok := normalRecovery(typed)
	if !ok {
		return secondFactor{}, BadCode
	}
	return secondFactor{code: code, recovery: true}, ""
}

package login

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// enrolmentLife is how long a person may take to bring a secret into an app.
const enrolmentLife = 30 * time.Minute

// An Enrollment is an authenticator app that waits for its first code.
type Enrollment struct {
	// Handle confirms it. Whoever holds it is still asked who they are.
	Handle string
	// Secret is what a person types into the app, in base32.
	Secret string
	// URI is the same as an otpauth: address, for a QR code.
	URI       string
	ExpiresAt time.Time
}

// EnrollSecondFactor begins to turn two-step sign-in on. Nothing changes before
// a code of the new secret is shown to [Engine.ConfirmSecondFactor].
func (e *Engine) EnrollSecondFactor(ctx context.Context, who Acting) (_ Enrollment, err error) {
	defer func() { e.counted(ctx, string(VerbEnrollSecondFactor), err) }()
	u, err := e.confirmed(ctx, who)
	if err != nil {
		return Enrollment{}, err
	}
	if u.SecondFactor {
		return Enrollment{}, refuse(Problem{Reason: AlreadyOn})
	}
	if _, err := e.limit(ctx, VerbEnrollSecondFactor, "", u.ID, who.From); err != nil {
		return Enrollment{}, err
	}
	handle, secret, now := rand.Text(), newTOTPSecret(), e.now().UTC()
	f := storage.Flow{
		ID: flowID(handle), Step: string(ConfirmSecondFactor), Purpose: string(ToChange),
		UserID: u.ID, UserEpoch: u.Epoch, Email: u.Email, Sealed: e.seal(secret, []byte(u.ID)),
		CreatedAt: now, ExpiresAt: now.Add(enrolmentLife),
	}
	if err := e.flows.PutFlow(ctx, f); err != nil {
		return Enrollment{}, fmt.Errorf("login: put flow: %w", err)
	}
	return e.enrollment(handle, f, secret), nil
}

func (e *Engine) enrollment(handle string, f storage.Flow, secret []byte) Enrollment {
	return Enrollment{
		Handle: handle, Secret: totpText(secret), URI: otpauthURI(e.issuer, f.Email, secret), ExpiresAt: f.ExpiresAt,
	}
}

// Enrollment returns what [Engine.EnrollSecondFactor] returned with the handle,
// so that a page that is read again shows the same secret.
func (e *Engine) Enrollment(ctx context.Context, who Acting, handle string) (Enrollment, error) {
	if _, err := e.confirmed(ctx, who); err != nil {
		return Enrollment{}, err
	}
	f, secret, err := e.waitingSecret(ctx, who, handle)
	if err != nil {
		return Enrollment{}, err
	}
	return e.enrollment(handle, f, secret), nil
}

// waitingSecret returns the flow of a handle and the secret in it.
func (e *Engine) waitingSecret(ctx context.Context, who Acting, handle string) (storage.Flow, []byte, error) {
	f, err := e.ownFlow(ctx, who, handle, ConfirmSecondFactor)
	if err != nil {
		return storage.Flow{}, nil, err
	}
	secret, err := e.open(f.Sealed, []byte(f.UserID))
	if err != nil {
		return storage.Flow{}, nil, fmt.Errorf("login: open the waiting secret: %w", err)
	}
	return f, secret, nil
}

// ConfirmSecondFactor turns two-step sign-in on by the first code of the app,
// which spends the code, and ends everything but what is kept. It returns the
// recovery codes, which are never shown again, and the user's new epoch.
func (e *Engine) ConfirmSecondFactor(ctx context.Context, who Acting, handle, code string) (recoveryCodes []string, epoch int64, err error) {
	defer func() { e.counted(ctx, string(VerbConfirmSecondFactor), err) }()
	u, err := e.confirmed(ctx, who)
	if err != nil {
		return nil, 0, err
	}
	if u.SecondFactor {
		return nil, 0, refuse(Problem{Reason: AlreadyOn})
	}
	f, secret, err := e.waitingSecret(ctx, who, handle)
	if err != nil {
		return nil, 0, err
	}
	typed, reason := parseDigits(code, totpDigits)
	if reason != "" {
		return nil, 0, refuse(Problem{FieldCode, reason})
	}
	refund, err := e.limit(ctx, VerbConfirmSecondFactor, f.ID, u.ID, who.From)
	if err != nil {
		return nil, 0, err
	}
	step, ok := matchTOTP(secret, typed, e.now())
	if !ok {
		e.record(ctx, EventSecondFactorOn, u.ID, string(BadCode), who.From, "")
		return nil, 0, refuse(Problem{FieldCode, BadCode})
	}
	if u, err = e.complete(ctx, f); err != nil {
		return nil, 0, err
	}
	refund(ctx)
	macs, shown := e.newRecoverySet(u.ID)
	letter, err := e.notice(ctx, LetterSecondFactorOn, u, who.From)
	if err != nil {
		return nil, 0, err
	}
	epoch, err = e.store.EnableTOTP(ctx, storage.Enrolment{
		UserID: u.ID, Epoch: f.UserEpoch, Sealed: f.Sealed, Step: step, RecoveryMACs: macs, Keep: who.Keep, Now: e.now().UTC(),
	}, letter)
	switch {
	case errors.Is(err, storage.ErrConflict):
		return nil, 0, refuse(Problem{Reason: AlreadyOn})
	case errors.Is(err, storage.ErrNotFound):
		// Removed, suspended or signed out everywhere since it was read.
		return nil, 0, refuse(Problem{Reason: Expired})
	case err != nil:
		return nil, 0, fmt.Errorf("login: turn the second factor on: %w", err)
	}
	e.mailed()
	e.record(ctx, EventSecondFactorOn, u.ID, eventOK, who.From, "")
	return shown, epoch, nil
}

// DisableSecondFactor turns two-step sign-in off by a code of the app or a
// recovery code, and ends everything but what is kept. It returns the user's
// new epoch.
func (e *Engine) DisableSecondFactor(ctx context.Context, who Acting, code string) (epoch int64, err error) {
	defer func() { e.counted(ctx, string(VerbDisableSecondFactor), err) }()
	u, err := e.confirmed(ctx, who)
	if err != nil {
		return 0, err
	}
	if !u.SecondFactor {
		return 0, refuse(Problem{Reason: NotOn})
	}
	typed, reason := parseSecondFactor(code)
	if reason != "" {
		return 0, refuse(Problem{FieldCode, reason})
	}
	refund, err := e.limit(ctx, VerbDisableSecondFactor, "", u.ID, who.From)
	if err != nil {
		return 0, err
	}
	if _, err := e.spendSecondFactor(ctx, who.From, u, typed, func() error { return nil }); err != nil {
		return 0, err
	}
	refund(ctx)
	letter, err := e.notice(ctx, LetterSecondFactorOff, u, who.From)
	if err != nil {
		return 0, err
	}
	epoch, err = e.store.DisableTOTP(ctx, u.ID, u.Epoch, who.Keep, e.now().UTC(), letter)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return 0, refuse(Problem{Reason: NotOn})
	case errors.Is(err, storage.ErrConflict):
		// Signed out everywhere since it was read, and so is who asks.
		return 0, refuse(Problem{Reason: Reauthenticate})
	case err != nil:
		return 0, fmt.Errorf("login: turn the second factor off: %w", err)
	}
	e.mailed()
	e.record(ctx, EventSecondFactorOff, u.ID, eventOK, who.From, "")
	return epoch, nil
}

// recoveryAgain lets one of those through who ask for new recovery codes at the
// same time: the codes of the others would be dead before they were read.
var recoveryAgain = storage.Bucket{Name: "recovery.again", Limit: 1, Window: time.Minute}

// NewRecoveryCodes replaces the recovery codes and returns the new ones, which
// are never shown again.
func (e *Engine) NewRecoveryCodes(ctx context.Context, who Acting) (_ []string, err error) {
	defer func() { e.counted(ctx, string(VerbNewRecoveryCodes), err) }()
	u, err := e.confirmed(ctx, who)
	if err != nil {
		return nil, err
	}
	if !u.SecondFactor {
		return nil, refuse(Problem{Reason: NotOn})
	}
	if _, err := e.limit(ctx, VerbNewRecoveryCodes, "", u.ID, who.From); err != nil {
		return nil, err
	}
	if _, err := e.take(ctx, []storage.Use{{Bucket: recoveryAgain, Key: bucketKey(u.ID)}}); err != nil {
		return nil, err
	}
	macs, shown := e.newRecoverySet(u.ID)
	letter, err := e.notice(ctx, LetterRecoveryReplaced, u, who.From)
	if err != nil {
		return nil, err
	}
	err = e.store.ReplaceRecoveryCodes(ctx, u.ID, macs, e.now().UTC(), letter)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, refuse(Problem{Reason: NotOn})
	}
	if err != nil {
		return nil, fmt.Errorf("login: replace recovery codes: %w", err)
	}
	e.mailed()
	e.record(ctx, EventRecoveryReplaced, u.ID, eventOK, who.From, "")
	return shown, nil
}

package login

import (
	"errors"
	"fmt"
	"time"
)

// A Reason is why a verb refused. Reasons are stable: pages, RPCs and metrics
// are keyed by them.
type Reason string

const (
	// BadCredentials: no such address, or another password. It never says
	// which.
	BadCredentials Reason = "bad_credentials"
	// AccountRestricted: the account may not be used. Said only to somebody
	// who proved the password or the mailbox.
	AccountRestricted Reason = "account_restricted"
	// AlreadyVerified: the mailbox was proved meanwhile; sign in instead. Said
	// only after the right code.
	AlreadyVerified Reason = "already_verified"

	// CodeMissing: no code was entered.
	CodeMissing Reason = "code_missing"
	// BadCode: the code is not the one that this flow waits for.
	BadCode Reason = "bad_code"
	// CodeDead: too many wrong codes; only a new code helps.
	CodeDead Reason = "code_dead"
	// Expired: the handle is unknown, spent, too old or of another step.
	Expired Reason = "expired"
	// TooSoon: a code was mailed a moment ago. RetryAfter says how long to wait.
	TooSoon Reason = "too_soon"
	// Busy: too many passwords are being hashed. RetryAfter says how long to
	// wait.
	Busy Reason = "busy"

	// RateLimited: too often. RetryAfter says how long to wait.
	RateLimited Reason = "rate_limited"
	// SecondFactorLocked: too many wrong codes in a row. RetryAfter says how
	// long to wait; zero says that waiting does not help any more.
	SecondFactorLocked Reason = "second_factor_locked"
	// CodeUsed: the code of the authenticator app is right, and it, or a later
	// one, was used before. The app shows another within half a minute.
	CodeUsed Reason = "code_used"

	// Reauthenticate: the sign-in is too old for what was asked.
	Reauthenticate Reason = "reauthenticate"
	// WrongPassword: not the current password.
	WrongPassword Reason = "wrong_password"
	// AlreadyOn: two-step sign-in is on already.
	AlreadyOn Reason = "already_on"
	// NotOn: two-step sign-in is not on.
	NotOn Reason = "not_on"
	// NotFound: the person has no such session or app.
	NotFound Reason = "not_found"

	// RegistrationClosed: nobody may register here.
	RegistrationClosed Reason = "registration_closed"
	// DomainNotAllowed: addresses of this domain may not register.
	DomainNotAllowed Reason = "domain_not_allowed"
	// NameMissing: the name is empty.
	NameMissing Reason = "name_missing"
	// NameTooLong: the name has more than [MaxName] characters.
	NameTooLong Reason = "name_too_long"
	// NameMalformed: the name has characters that no name has.
	NameMalformed Reason = "name_malformed"
	// EmailMissing: the address is empty.
	EmailMissing Reason = "email_missing"
	// EmailMalformed: the address is not one that mail could be sent to.
	EmailMalformed Reason = "email_malformed"
	// PasswordMissing: the password is empty.
	PasswordMissing Reason = "password_missing"
	// PasswordTooShort: fewer than [MinPassword] characters.
	PasswordTooShort Reason = "password_too_short"
	// PasswordTooLong: more than [MaxPassword] characters.
	PasswordTooLong Reason = "password_too_long"
	// PasswordTooManyBytes: within [MaxPassword] characters, but more bytes than
	// are hashed here: 72 where passwords are hashed by bcrypt, as written in
	// UTF-8.
	PasswordTooManyBytes Reason = "password_too_many_bytes"
	// PasswordReused: one of the last five.
	PasswordReused Reason = "password_reused"
	// PasswordCommon: one of those that attackers try first.
	PasswordCommon Reason = "password_common"
	// PasswordPersonal: it contains the person's name or address.
	PasswordPersonal Reason = "password_personal"
)

// Reasons lists every reason.
func Reasons() []Reason {
	return []Reason{
		BadCredentials, AccountRestricted, AlreadyVerified,
		CodeMissing, BadCode, CodeDead, Expired, TooSoon, Busy,
		RateLimited, SecondFactorLocked, CodeUsed,
		Reauthenticate, WrongPassword, AlreadyOn, NotOn, NotFound,
		RegistrationClosed, DomainNotAllowed,
		NameMissing, NameTooLong, NameMalformed,
		EmailMissing, EmailMalformed,
		PasswordMissing, PasswordTooShort, PasswordTooLong, PasswordTooManyBytes,
		PasswordReused, PasswordCommon, PasswordPersonal,
	}
}

// The words for what a person fills in.
const (
	FieldName     = "name"
	FieldEmail    = "email"
	FieldPassword = "password"
	FieldCurrent  = "current_password"
	FieldCode     = "code"
)

// A Problem is one thing wrong with what a person gave.
type Problem struct {
	// Field is one of FieldName, FieldEmail, FieldPassword and FieldCode;
	// empty concerns all.
	Field  string
	Reason Reason
}

// An Error is a refusal that the person may see.
type Error struct {
	// Reason and Field are those of the first problem.
	Reason Reason
	Field  string
	// RetryAfter is how long to wait before the same may succeed; zero when
	// waiting does not help.
	RetryAfter time.Duration
	// Problems are all that is wrong, in the order of the fields: never empty,
	// and at most one for each field.
	Problems []Problem
}

// Error names the reason and tells nothing about the person.
func (e *Error) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("login: refused: %s", e.Reason)
	}
	return fmt.Sprintf("login: refused: %s (%s)", e.Reason, e.Field)
}

// refuse makes an Error of one or more problems.
func refuse(first Problem, more ...Problem) *Error {
	return &Error{Reason: first.Reason, Field: first.Field, Problems: append([]Problem{first}, more...)}
}

// refuseFor refuses for a while.
func refuseFor(r Reason, wait time.Duration) *Error {
	e := refuse(Problem{Reason: r})
	e.RetryAfter = wait
	return e
}

// isRefusal reports whether err is a refusal for that reason.
func isRefusal(err error, r Reason) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Reason == r
}

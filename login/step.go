package login

import (
	"slices"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A Step is something a person proves. A flow waits for one step and its handle
// is good for that step only.
type Step string

const (
	// VerifyEmail proves the mailbox, by the code mailed to it.
	VerifyEmail Step = "verify_email"
	// ConfirmReset proves the mailbox of somebody who forgot the password, by
	// the code mailed to it.
	ConfirmReset Step = "confirm_reset"
	// NewPassword sets the password of somebody who forgot it.
	NewPassword Step = "new_password"
	// SecondFactor proves the authenticator app, or one of the recovery codes.
	SecondFactor Step = "second_factor"
	// Done is no step: everything asked for has been proved.
	Done Step = "done"
)

// A Purpose is why a person is on the way.
type Purpose string

const (
	// ToRegister creates an account. Its owner is signed in at the end.
	ToRegister Purpose = "register"
	// ToSignIn begins with the right password.
	ToSignIn Purpose = "sign_in"
	// ToReset sets a new password. It signs nobody in.
	ToReset Purpose = "reset"
)

// Proofs are the steps behind a person, in order.
type Proofs []Step

// Has reports whether s has been proved.
func (p Proofs) Has(s Step) bool { return slices.Contains(p, s) }

// next says what u must prove now: first the mailbox, then for a reset the new
// password, else the second factor. The code of a reset proves a mailbox that
// was never proved too: a reset asks for one code, whoever it is for.
func next(why Purpose, u storage.User, proven Proofs) Step {
	switch {
	case why == ToReset && !proven.Has(ConfirmReset):
		return ConfirmReset
	case !u.EmailVerified() && !proven.Has(VerifyEmail):
		return VerifyEmail
	case why == ToReset && !proven.Has(NewPassword):
		return NewPassword
	case why != ToReset && u.SecondFactor && !proven.Has(SecondFactor):
		return SecondFactor
	default:
		return Done
	}
}

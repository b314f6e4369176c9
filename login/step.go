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
)

// Proofs are the steps behind a person, in order.
type Proofs []Step

// Has reports whether s has been proved.
func (p Proofs) Has(s Step) bool { return slices.Contains(p, s) }

// next says what u must prove now. The mailbox comes first, whatever the
// purpose.
func next(_ Purpose, u storage.User, proven Proofs) Step {
	switch {
	case !u.EmailVerified() && !proven.Has(VerifyEmail):
		return VerifyEmail
	default:
		return Done
	}
}

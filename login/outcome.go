package login

import "time"

// An Outcome is where a verb leaves the person: a [Challenge], [Authenticated]
// or [PasswordReset].
//
//sumtype:decl
type Outcome interface{ outcome() }

// A Challenge asks for one more step.
type Challenge struct {
	Step Step
	// Handle is good for this step only. Whoever holds it goes on; it is kept
	// by the person's browser and nowhere else.
	Handle string
	// Email is the address as the person gave it.
	Email string
	// ExpiresAt is when the handle and the code mailed with it die.
	ExpiresAt time.Time
}

func (Challenge) outcome() {}

// Authenticated says who the person proved to be.
type Authenticated struct {
	UserID string
	// Epoch is the user's epoch at the proof; a session for it is made only
	// while the user still has it.
	Epoch int64
	// At is when the person was proved (OIDC Core section 2, auth_time).
	At time.Time
	// AMR is how (RFC 8176 section 2).
	AMR []string
	// Device is a new value for the device cookie, which [From] brings back.
	Device string
	// RecoveryLeft is how many recovery codes are left when one was used, and
	// -1 when none was.
	RecoveryLeft int
}

func (Authenticated) outcome() {}

// PasswordReset says that the new password counts and that everything before
// it has ended. Nobody is signed in by it.
type PasswordReset struct{}

func (PasswordReset) outcome() {}

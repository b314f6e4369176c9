package storage

import (
	"context"
	"time"
)

// A Flow is one step of a sign-in, registration or reset that waits for proof.
// Its handle is good for this step only.
type Flow struct {
	// ID is the hex SHA-256 sum of the handle.
	ID string
	// Step and Purpose are login's words; storage only keeps them.
	Step    string
	Purpose string
	// UserID and UserEpoch name the person, as they were when the flow began.
	// A decoy (an address without account) has no user.
	UserID    string
	UserEpoch int64
	Email     string
	// Proven are the steps behind this one.
	Proven []string
	// AMR is how the person was proved so far (RFC 8176).
	AMR []string
	// CodeMAC authenticates the mailed code that this step waits for.
	CodeMAC []byte
	// Registration is what is taken over when the mailbox is proved, or nil.
	Registration *Registration
	// Sealed is a secret that waits for confirmation (an authenticator app's),
	// encrypted.
	Sealed []byte
	// NewEmail is the address that a change of address proves.
	NewEmail string
	// Decoy flows behave like others and lead nowhere.
	Decoy     bool
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Flows keeps flows until they are spent or expire.
type Flows interface {
	// PutFlow adds or replaces f until f.ExpiresAt; the tries counted stay. It
	// returns ErrSpent when the flow was spent.
	PutFlow(ctx context.Context, f Flow) error
	// Flow returns the flow, or ErrNotFound when there is none, it is expired
	// or spent.
	Flow(ctx context.Context, id string) (Flow, error)
	// TryFlow counts a try at the flow's proof and returns how many there were,
	// this one included; or ErrNotFound. A caller counts before it compares.
	TryFlow(ctx context.Context, id string) (int, error)
	// SpendFlow ends the flow. Of concurrent callers one gets nil, the others
	// ErrNotFound; a spent flow does not come back.
	SpendFlow(ctx context.Context, id string) error
}

package storage

import (
	"context"
	"time"
)

// A Proof is a signed statement that is good once: a client assertion (RFC 7523
// section 3).
type Proof struct {
	// Issuer and ID name it: the client, and the jti.
	Issuer string
	ID     string
	// IssuedAt is its iat, or the earliest moment it can be of. It is taken at its
	// word: a proof of a clock that is ahead may be used once more after a wipe
	// within that lead.
	IssuedAt time.Time
	// Until is when it is no longer accepted for its age, and may be forgotten.
	Until time.Time
}

// Proofs remembers which proofs were used.
type Proofs interface {
	// SpendProof uses the proof. Of any number of concurrent callers one gets
	// nil, the others ErrSpent. A proof issued before the memory's birth (a wipe)
	// is ErrSpent too, since it may have been used before it; so is one that is
	// past Until. The two times are compared with now, which is to be the time of
	// the call; the birth is by the memory's own clock.
	SpendProof(ctx context.Context, p Proof, now time.Time) error
}

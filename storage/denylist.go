package storage

import (
	"context"
	"time"
)

// TailEvery is how often a server applies new revocations to the denylist, and
// MarkLife how long the denylist is then known to be complete.
const (
	TailEvery = time.Second
	MarkLife  = 4 * time.Second
)

// A Bearer is what a check knows of an access token whose signature it has
// verified.
type Bearer struct {
	JTI string
	// GrantID is empty when the token speaks for a client alone.
	GrantID  string
	ClientID string
	IssuedAt time.Time
}

// A Mark is how far a denylist has got.
type Mark struct {
	// Seq is the place up to which every revocation is applied.
	Seq int64
	// Replay names the replay after a wipe that has got this far; it is empty
	// when the denylist is complete up to Seq.
	Replay string
	// ReadAt is when this was so, by the denylist's own clock.
	ReadAt time.Time
}

// Denylist is the fast copy of [Revocations]. It may be wiped at any moment,
// also to an earlier state of its own, and then says so until it is complete
// again.
//
// The mark is the one truth about that, and moves in the same step that applies
// what it stands for: no wipe and no other server can come between the two. It
// lives for MarkLife from when the reading began that it rests on, so that a
// denylist which calls itself complete has every revocation that was committed
// MarkLife ago.
//
// Revocations that are past Until are left out, and the others forgotten then.
// Of two of one key both hold.
type Denylist interface {
	// Mark returns the mark of a complete denylist. It is ErrNotFound when there
	// is none.
	Mark(ctx context.Context) (Mark, error)
	// ClaimReplay gives one caller the work of applying everything after a wipe:
	// a mark at place 0 that names the replay. The claim ends MarkLife after its
	// last Apply. It is ErrConflict when there is a mark or another's claim.
	ClaimReplay(ctx context.Context) (Mark, error)
	// Apply adds the revocations that come next after m, in order, and moves the
	// mark to the last of them, all at once, if the mark is still m; otherwise it
	// changes nothing and is ErrConflict. It returns the mark that follows.
	//
	// The rows must have been read after m was. Last says that there were no more:
	// only that renews the mark's life, and makes of a replay a mark. ErrConflict
	// is also what comes of a reading that is older than MarkLife.
	Apply(ctx context.Context, m Mark, now time.Time, rows []Revocation, last bool) (Mark, error)
	// Deny adds revocations at once, ahead of the mark.
	Deny(ctx context.Context, now time.Time, rows ...Revocation) error
	// Denied reports in one round trip whether any revocation stops the token.
	// Complete is false when there is no mark, and then only a yes is worth
	// something.
	Denied(ctx context.Context, b Bearer) (denied, complete bool, err error)
}

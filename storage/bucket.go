package storage

import (
	"context"
	"time"
)

// A Bucket bounds how often something may happen: Limit times in a Window that
// begins with the first.
type Bucket struct {
	// Name tells buckets apart that are keyed alike: "login", "verify.user".
	Name   string
	Limit  int
	Window time.Duration
}

// A Use is one of the bucket of that key.
type Use struct {
	Bucket Bucket
	Key    string
}

// A Hit is what became of a use.
type Hit struct {
	Allowed bool
	// Left is how many more are allowed in this window.
	Left int
	// ResetAt is when the window ends, by the server's clock; it names the window
	// for GiveBack.
	ResetAt time.Time
}

// Buckets counts uses. What a bucket is keyed by is a hash; a driver never sees
// an address. A driver that cannot reach its server returns an error, and the
// caller refuses.
type Buckets interface {
	// Take returns a hit for each of the uses, in their order. Either all are
	// allowed, and each is counted; or some are not, and none is counted.
	Take(ctx context.Context, uses ...Use) ([]Hit, error)
	// GiveBack undoes what Take counted, but for uses whose window has ended since.
	GiveBack(ctx context.Context, uses []Use, hits []Hit) error
}

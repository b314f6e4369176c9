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

// A Hit is one use of a bucket.
type Hit struct {
	Allowed bool
	// Left is how many more are allowed in this window.
	Left int
	// ResetAt is when the window ends, by Valkey's clock or the process's; it
	// names the window for GiveBack.
	ResetAt time.Time
}

// Buckets counts uses. What a bucket is keyed by is a hash; a driver never sees
// an address. A driver that cannot reach its server returns an error, and the
// caller refuses.
type Buckets interface {
	// Take uses the bucket of that key once.
	Take(ctx context.Context, b Bucket, key string) (Hit, error)
	// GiveBack undoes an allowed hit, if its window is still the one it was
	// taken in.
	GiveBack(ctx context.Context, b Bucket, key string, h Hit) error
}

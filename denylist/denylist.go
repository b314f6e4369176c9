// Package denylist says of an access token whether it was revoked.
//
// Revocations are rows in SQL. Every server tails them into two copies: the one
// in Valkey that all servers share ([storage.Denylist]), and one of its own in
// memory. A check asks Valkey, and the copy in memory when Valkey is gone, slow
// or not complete after a wipe. Each of the two knows how old it is; when both
// are too old the answer is [ErrUnknown] and never that the token is good.
//
// What is promised: a check that begins [storage.MarkLife] after a revocation
// was committed, anywhere, does not accept the token, whatever happened to
// Valkey, to this server or to the one that revoked. As a rule it takes no
// longer than [storage.TailEvery].
//
// It knows nothing of signatures, of HTTP or of OAuth: who calls it has
// verified the token.
package denylist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/storage"
)

var (
	// ErrRevoked says that the token was revoked.
	ErrRevoked = errors.New("denylist: the token was revoked")
	// ErrUnknown says that neither copy is recent enough to tell: HTTP's 503.
	ErrUnknown = errors.New("denylist: not known whether the token was revoked")
)

const (
	// patience is how long Valkey has for an answer to a check, and
	// applyPatience for one page of the tail; readPatience is what the database
	// has for one. A turn that waits for any of them in vain is followed by
	// another before the memory is too old.
	patience      = 250 * time.Millisecond
	applyPatience = time.Second
	readPatience  = 2500 * time.Millisecond
	// page is how many revocations are read and applied at a time.
	page = 1000
	// sweepEvery is how often what is past its time leaves the memory.
	sweepEvery = time.Minute
	// slack is how much longer than its longest token a revocation is kept.
	slack = time.Minute
)

// Config is what a List is made of.
type Config struct {
	// Revocations and Fast are required. Fast's errors are never fatal.
	Revocations storage.Revocations
	Fast        storage.Denylist
	// Now is the database's time; nil is time.Now.
	Now func() time.Time
	// Log is where trouble is told; nil is slog.Default.
	Log *slog.Logger
	// Meter measures how far this server is behind; nil counts nothing.
	Meter metric.Meter
}

// A List answers checks on one server. It is safe for concurrent use.
type List struct {
	revocations storage.Revocations
	fast        storage.Denylist
	now         func() time.Time
	log         *slog.Logger
	meters      meters
	nudged      chan struct{}

	memory memory
	// away is set while Valkey does not answer, so that checks need not wait for
	// it: by whoever notices first. The tail takes it back.
	away atomic.Bool

	// turn is a lock of one place that can be waited for with a context. Who tails
	// holds it, and owns what is below.
	turn chan struct{}
	// began is when the last whole turn that succeeded began.
	began time.Time
	// seq is the place up to which the memory is complete.
	seq int64
	// swept is when the memory was.
	swept time.Time
}

// New returns a List whose checks work at once: every revocation is in memory.
func New(ctx context.Context, c Config) (*List, error) {
	if c.Revocations == nil || c.Fast == nil {
		return nil, errors.New("denylist: Revocations and Fast are required")
	}
	l := &List{
		revocations: c.Revocations, fast: c.Fast, now: c.Now, log: c.Log,
		nudged: make(chan struct{}, 1), turn: make(chan struct{}, 1), swept: time.Now(),
	}
	if l.now == nil {
		l.now = time.Now
	}
	if l.log == nil {
		l.log = slog.Default()
	}
	if err := l.Follow(ctx); err != nil {
		return nil, err
	}
	if err := l.measure(c.Meter); err != nil {
		return nil, err
	}
	return l, nil
}

// Check returns nil when the token is not revoked, ErrRevoked when it is, and
// ErrUnknown when that cannot be told. It reads no SQL.
func (l *List) Check(ctx context.Context, b storage.Bearer) error {
	denied, fresh := l.memory.denied(b)
	if denied {
		return ErrRevoked // a yes does not age
	}
	if !fresh || !l.away.Load() {
		denied, complete, err := l.ask(ctx, b)
		switch {
		case denied:
			return ErrRevoked
		case complete:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !l.away.Swap(true):
			l.log.WarnContext(ctx, "denylist: Valkey does not answer; revocations are read from memory", "err", err)
		}
		denied, fresh = l.memory.denied(b)
		if denied {
			return ErrRevoked
		}
	}
	if !fresh {
		return ErrUnknown
	}
	return nil
}

// ask asks Valkey.
func (l *List) ask(ctx context.Context, b storage.Bearer) (denied, complete bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return l.fast.Denied(ctx, b)
}

// Revoke stops an access token (by its jti) or all of a client's up to now.
// When it returns nil the revocation is durable and no check on this server
// accepts the token any more; other servers follow as soon as Valkey is told,
// and with the next turn of their tail if it cannot be. The zero At is now, and
// the zero Until as long as any access token lives.
func (l *List) Revoke(ctx context.Context, r storage.Revocation) error {
	if r.Key == "" || r.Kind != storage.RevokedToken && r.Kind != storage.RevokedClient {
		return fmt.Errorf("denylist: revoke: %q %q is neither a token nor a client", r.Kind, r.Key)
	}
	if r.At.IsZero() {
		r.At = l.now()
	}
	if r.Until.IsZero() {
		r.Until = r.At.Add(storage.AccessTokenLife + slack)
	}
	seq, err := l.revocations.Revoke(ctx, r)
	if err != nil {
		return fmt.Errorf("denylist: revoke: %w", err)
	}
	r.Seq = seq
	l.memory.add(r)
	if l.away.Load() {
		return nil // the tail will tell Valkey
	}
	// It is committed: whoever asked may be gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := l.fast.Deny(ctx, l.now(), r); err != nil {
		l.log.WarnContext(ctx, "denylist: Valkey was not told of a revocation; the tail will tell it", "err", err)
	}
	return nil
}

// Nudge makes the tail look at once, without waiting for it: for who has
// revoked a grant by a verb of storage.
func (l *List) Nudge() {
	select {
	case l.nudged <- struct{}{}:
	default: // one is waiting already, and its turn will see this one too
	}
}

package storage

import (
	"context"
	"time"
)

// An Event is something relevant to security that happened: who, what, when,
// from where, with what outcome. It holds no secret and no address.
type Event struct {
	// ID is a UUIDv7.
	ID string
	At time.Time
	// Kind is what happened: "token.reuse", "code.replay", "user.registered", ….
	Kind string
	// UserID and ClientID are whom it concerns, or empty.
	UserID   string
	ClientID string
	// Detail is more, as text: the grant, the reason. Never a secret.
	Detail string
}

// Audit keeps events.
type Audit interface {
	// AddEvent adds e.
	AddEvent(ctx context.Context, e Event) error
	// ListEvents returns up to limit events before the id given (empty: the
	// newest), newest first.
	ListEvents(ctx context.Context, before string, limit int) ([]Event, error)
}

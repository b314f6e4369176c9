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
	// Outcome is "ok", or the reason of a refusal.
	Outcome string
	// Address and UserAgent are where it came from, or empty.
	Address   string
	UserAgent string
	// Detail is more, as text: the grant, the session. Never a secret.
	Detail string
}

// Audit keeps events.
type Audit interface {
	// AddEvent adds e.
	AddEvent(ctx context.Context, e Event) error
	// AddRepeat adds e, and with it the letter l if an event of that kind and
	// outcome is kept of that user already, which it reports: what happens to
	// somebody for the first time is no news to them.
	AddRepeat(ctx context.Context, e Event, l Letter) (told bool, err error)
	// ListEvents returns up to limit events before the id given (empty: the
	// newest), newest first.
	ListEvents(ctx context.Context, before string, limit int) ([]Event, error)
	// ListEventsOf is ListEvents for one user.
	ListEventsOf(ctx context.Context, userID, before string, limit int) ([]Event, error)
	// DeleteEvents removes up to limit events before that time and returns how
	// many.
	DeleteEvents(ctx context.Context, before time.Time, limit int) (int, error)
}

package storage

import (
	"context"
	"net/url"
	"time"
)

// An Interaction is what one tab of one browser is in the middle of: an
// authorize request that waits behind pages, or a visit to the pages alone. It
// proves nothing by itself.
type Interaction struct {
	// ID is the "flow" parameter of the pages' addresses. It opens nothing
	// without the browser's cookie.
	ID string
	// BrowserHash is the SHA-256 sum of that cookie's value.
	BrowserHash []byte
	// Request is the authorize request as it came, nil when there is none.
	Request url.Values
	// RequestedAt is when it first came: a sign-in asked for by prompt=login
	// must be later (OIDC Core section 3.1.2.1).
	RequestedAt time.Time
	// Denied says that the person refused consent.
	Denied bool
	// Consented are the scopes agreed to for this request alone, nil when the
	// person has not been asked.
	Consented []string
	// ConsentedBy is the user who agreed.
	ConsentedBy string
	// UserID is whose account the interaction is about, empty when it is
	// anybody's: nobody else goes on with it.
	UserID string
	// Return is the path of the page of ours that waits behind it, with its
	// query; empty when none does. It is never taken from a request's
	// parameters.
	Return string
	// Page is the page of a sign-in or registration that the person is at.
	Page string
	// Email is the address the person typed, carried through the journey.
	Email string
	// Typed are the other values of the page last posted, never passwords.
	Typed map[string]string
	// Problems are what was wrong with them, by field, in order.
	Problems []Problem
	// Notice is a message for the next page: "resent", "verified".
	Notice string
	// Until is the end of a wait that Page or Problems tell of, zero when there
	// is none.
	Until     time.Time
	ExpiresAt time.Time
}

// A Problem is one thing wrong with one field of a page.
type Problem struct {
	// Field is the id of the input; empty concerns the page as a whole.
	Field string
	// Message is the key of the sentence shown.
	Message string
}

// Interactions keeps interactions until they expire.
type Interactions interface {
	// PutInteraction adds or replaces i until i.ExpiresAt.
	PutInteraction(ctx context.Context, i Interaction) error
	// Interaction returns the interaction, or ErrNotFound.
	Interaction(ctx context.Context, id string) (Interaction, error)
	// DeleteInteraction ends it; it is no error when there is none.
	DeleteInteraction(ctx context.Context, id string) error
}

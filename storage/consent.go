package storage

import (
	"context"
	"time"
)

// A Consent is what a person allows a client, remembered.
type Consent struct {
	UserID    string
	ClientID  string
	Scopes    []string
	GrantedAt time.Time
}

// Consents keeps remembered consents.
type Consents interface {
	// Consent returns what the person allows the client, or ErrNotFound.
	Consent(ctx context.Context, userID, clientID string) (Consent, error)
	// PutConsent replaces what the person allows the client. It returns
	// ErrNotFound when there is no such user or client.
	PutConsent(ctx context.Context, c Consent) error
	// ListConsents returns all that the person allows, by client id.
	ListConsents(ctx context.Context, userID string) ([]Consent, error)
	// WithdrawConsent forgets what the person allows the client, revokes their
	// grants to it and raises the user's epoch, in one transaction that updates
	// the user first: a code that is still to be redeemed gives nothing any more.
	// Sessions and other grants go along to the new epoch. It is no error when
	// there is none.
	WithdrawConsent(ctx context.Context, userID, clientID string, now time.Time) error
	// DeleteConsent forgets it; it is no error when there is none.
	DeleteConsent(ctx context.Context, userID, clientID string) error
}

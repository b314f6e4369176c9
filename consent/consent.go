// Package consent knows what a person agreed to: which scopes a client may be
// given, which must be asked for, and the words to ask with.
//
// It knows nothing of pages and nothing of tokens. [Decide] is pure.
package consent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gatehouse-id/gatehouse/storage"
)

// Asked is what is known when an authorize request is to be decided.
type Asked struct {
	// Scopes of the request, those the client may have.
	Scopes []string
	// FirstParty clients belong to the operator, who needs no permission.
	FirstParty bool
	// Prompt is the prompt parameter (OIDC Core section 3.1.2.1), split.
	Prompt []string
	// Remembered are the scopes that the person allowed this client before,
	// nil when nothing is remembered.
	Remembered []string
	// JustAgreed are the scopes that the person agreed to for this request, nil
	// when the person has not been asked for it. Not nil is an answer: nothing
	// is asked again.
	JustAgreed []string
}

// A Decision is granted, or says what to ask.
type Decision struct {
	Granted bool
	// Scopes are those granted, in the order of the request; nil when not
	// granted.
	Scopes []string
	// Missing are those to ask for, in the order of the request. It may be
	// empty although nothing is granted: a request without scopes still lets a
	// client know the person, and is asked for.
	Missing []string
}

// Decide says whether a request may be answered without asking the person
// (OIDC Core section 3.1.2.4), and with which of the scopes asked: never with
// others.
//
// A third-party client is asked for once, and again for what is new;
// offline_access and openid are scopes like any other. A first-party client is
// not asked for. prompt=consent asks for everything, whoever the client is and
// whatever is remembered.
func Decide(a Asked) Decision {
	scopes := unique(a.Scopes)
	askAnew := slices.Contains(a.Prompt, "consent")
	allowed := a.JustAgreed
	if !askAnew {
		allowed = slices.Concat(a.Remembered, a.JustAgreed)
	}
	switch {
	case a.JustAgreed != nil:
		// The answer stands, also when it leaves something out.
		return Decision{Granted: true, Scopes: among(scopes, allowed)}
	case askAnew:
		return Decision{Missing: scopes}
	case a.FirstParty:
		return Decision{Granted: true, Scopes: scopes}
	}
	missing := slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return slices.Contains(allowed, s) })
	if len(missing) > 0 || a.Remembered == nil {
		return Decision{Missing: missing}
	}
	return Decision{Granted: true, Scopes: scopes}
}

// Remember adds what the person agrees to now to what is remembered for the
// client. It returns storage.ErrNotFound when there is no such user or client.
// Of two calls at the same moment one may be lost, and its scopes are asked for
// again.
func Remember(ctx context.Context, store storage.Consents, c storage.Consent) error {
	before, err := store.Consent(ctx, c.UserID, c.ClientID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("consent: read what is remembered: %w", err)
	}
	c.Scopes = unique(slices.Concat(before.Scopes, c.Scopes))
	if err := store.PutConsent(ctx, c); err != nil {
		return fmt.Errorf("consent: remember: %w", err)
	}
	return nil
}

// Withdraw forgets what the person allowed the client, which is asked for again
// the next time. It ends no grant. It is no error when nothing is remembered.
func Withdraw(ctx context.Context, store storage.Consents, userID, clientID string) error {
	if err := store.DeleteConsent(ctx, userID, clientID); err != nil {
		return fmt.Errorf("consent: withdraw: %w", err)
	}
	return nil
}

// unique returns the scopes without repetitions, in order.
func unique(scopes []string) []string {
	var once []string
	for _, s := range scopes {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once
}

// among returns the scopes that are allowed, in order.
func among(scopes, allowed []string) []string {
	return slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return !slices.Contains(allowed, s) })
}

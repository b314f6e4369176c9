package provider

import (
	"context"
	"net/url"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A work is what one request has found and decided. fosite hands its storage and
// strategies nothing but a context to find it in: an authorize request leaves
// here the code record it wants written, a token request the client, the grant
// and the tokens it is about to answer with.
type work struct {
	now    time.Time
	client storage.Client
	form   url.Values
	// address and userAgent are where a token request came from.
	address, userAgent string

	// redirectURI is the one fosite may know of at the authorization endpoint.
	redirectURI string
	// code is the record to be written (authorize) or that was redeemed (token).
	code storage.Code
	// grant is the row behind the tokens, nil for client_credentials.
	grant *storage.Grant
	// scopes and resources are those of this answer, at most the grant's.
	scopes    []string
	resources []string
	// refreshToken is the one to answer with, "" for none.
	refreshToken string
	// presented is the refresh token of the request.
	presented refreshToken
	// fault is the first failure of storage or signer.
	fault error
}

type workKey struct{}

func withWork(ctx context.Context, w *work) context.Context {
	return context.WithValue(ctx, workKey{}, w)
}

// workOf returns the unit of work of the request that ctx belongs to.
func workOf(ctx context.Context) *work {
	w, ok := ctx.Value(workKey{}).(*work)
	if !ok {
		panic("provider: fosite was called without a unit of work")
	}
	return w
}

// failed remembers a fault and returns it, so that fosite stops.
func (w *work) failed(err error) error {
	if w.fault == nil {
		w.fault = err
	}
	return err
}

// event adds to e where the request came from.
func (w *work) event(e storage.Event) storage.Event {
	e.Address, e.UserAgent = w.address, w.userAgent
	return e
}

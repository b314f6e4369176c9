package storage

import (
	"context"
	"time"
)

// A Gateway is a reader of our keys that has registered, so that no key signs
// before the gateway has fetched it.
type Gateway struct {
	// ID is part of its own JWKS address; random text.
	ID        string
	Name      string
	CreatedAt time.Time
	// FetchedAt is when it last fetched its JWKS, zero before the first time;
	// SeenKeys are the ids of the keys in what it was given then.
	FetchedAt time.Time
	SeenKeys  []string
}

// Gateways keeps registered gateways.
type Gateways interface {
	// CreateGateway returns ErrConflict when the id is taken.
	CreateGateway(ctx context.Context, g Gateway) error
	// Gateway returns the gateway, or ErrNotFound.
	Gateway(ctx context.Context, id string) (Gateway, error)
	// ListGateways returns all, by the time they were made.
	ListGateways(ctx context.Context) ([]Gateway, error)
	// GatewayFetched writes down what a gateway was given; ErrNotFound when
	// there is no such gateway.
	GatewayFetched(ctx context.Context, id string, keys []string, now time.Time) error
	// DeleteGateway removes it, or returns ErrNotFound.
	DeleteGateway(ctx context.Context, id string) error
}

package storage

import (
	"context"
	"time"
)

// A Key is one key of one ring: asymmetric (it signs tokens) or symmetric (it
// authenticates refresh tokens, cookies, codes). What is secret in it is
// sealed before it comes here.
type Key struct {
	// ID is the kid: the RFC 7638 thumbprint of an asymmetric key, random text
	// for a symmetric one.
	ID string
	// Purpose names the ring: "sign", "refresh", "csrf", ….
	Purpose string
	// Algorithm as in RFC 7518 section 3.1: ES256, RS256, EdDSA; HS256 for a
	// symmetric key.
	Algorithm string
	// Public is the public JWK (RFC 7517) as JSON, nil for a symmetric key.
	Public []byte
	// Sealed is the private or symmetric key, encrypted.
	Sealed []byte
	// PublishedAt is when it came into JWKS, SigningAt when it signs (or mints)
	// from, RetiredAt when it stops, GoneAt when it leaves JWKS and is no longer
	// accepted. RetiredAt and GoneAt are zero until they are known.
	PublishedAt time.Time
	SigningAt   time.Time
	RetiredAt   time.Time
	GoneAt      time.Time
}

// A KeySet is every key at one version.
type KeySet struct {
	Version int64
	Keys    []Key
}

// Keys keeps the rings.
type Keys interface {
	// KeySet returns all keys; version 0 and none when there never were any.
	KeySet(ctx context.Context) (KeySet, error)
	// ReplaceKeys replaces all keys if the version is still old, and raises it
	// by one; else it returns ErrConflict and changes nothing.
	ReplaceKeys(ctx context.Context, old int64, keys []Key) error
}

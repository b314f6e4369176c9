// Package storage is the vocabulary of what Gatehouse remembers: plain records
// and the contracts that a driver keeps.
//
// There are two kinds of memory. [SQL] keeps what a restart must not lose:
// people, clients, grants, sessions, keys and letters that are still to be
// sent. [Volatile] keeps what may expire or be rebuilt: sign-in flows,
// authorize interactions and authorization codes. Volatile memory may be wiped
// at any moment; people in the middle of a sign-in start again and nothing
// else is lost.
//
// The package knows no database, no HTTP and no OAuth library. Drivers live in
// storage/postgres, storage/sqlite and storage/valkey; storage/storagetest
// states each contract as a test that every driver passes.
//
// All times are UTC and precise to the microsecond. Every method takes the
// time it acts at as a parameter, and that time is the database's (see
// [Clock]), never the process's own.
package storage

import (
	"context"
	"errors"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// What a method may answer instead of a record. Anything else is a fault of
// the memory itself.
var (
	// ErrNotFound says that there is no such record, or none that is alive.
	ErrNotFound = errors.New("storage: not found")
	// ErrConflict says that the record exists already, or has changed since
	// it was read.
	ErrConflict = errors.New("storage: conflict")
	// ErrSpent says that something single-use has been used before.
	ErrSpent = errors.New("storage: spent")
)

// SQL is the memory that a restart must not lose.
type SQL interface {
	Users
	Factors
	Clients
	Consents
	Sessions
	Grants
	Revocations
	Keys
	Gateways
	Outbox
	Notices
	Audit
	TimeSource

	// Ping reports whether the database answers.
	Ping(ctx context.Context) error
	// Close gives back connections. No method may be called after it.
	Close() error
}

// Volatile is the memory that may be lost at any moment.
type Volatile interface {
	Flows
	Interactions
	Codes
	Proofs
	Denylist
	Buckets
	TimeSource

	// Ping reports whether the server answers.
	Ping(ctx context.Context) error
	// Close gives back connections. No method may be called after it.
	Close() error
}

// A TimeSource tells what time it is by its own clock.
type TimeSource interface {
	Time(ctx context.Context) (time.Time, error)
}

// EmailKey returns the form in which an email address is compared: NFKC, lower
// case, without surrounding space. Two addresses with one key are one mailbox
// to us.
func EmailKey(email string) string {
	return strings.ToLower(norm.NFKC.String(strings.TrimSpace(email)))
}

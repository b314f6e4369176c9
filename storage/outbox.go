package storage

import (
	"context"
	"time"
)

// A Letter is a mail that is to be sent, a row written in the transaction it
// reports.
type Letter struct {
	// ID is a UUIDv7; it becomes the task's id and the Message-ID.
	ID string
	// Kind is the template: account_verification, account_exists, ….
	Kind string
	// Sealed is everything else (address, name, code), encrypted with the mail
	// key.
	Sealed    []byte
	CreatedAt time.Time
	// Deadline is when the letter has lost its point; zero is never.
	Deadline time.Time
	// FailedAt is when delivery was given up, zero before; Failure says why, in
	// words of ours that hold no address.
	FailedAt time.Time
	Failure  string
}

// Outbox keeps letters until they are delivered.
type Outbox interface {
	// AddLetters adds letters that report nothing else. It returns ErrConflict
	// when an id is taken.
	AddLetters(ctx context.Context, letters ...Letter) error
	// PendingLetters returns up to limit letters neither delivered nor given up
	// whose id sorts after the one given, by id; ids are in order of creation.
	PendingLetters(ctx context.Context, after string, limit int) ([]Letter, error)
	// ListLetters is PendingLetters with those given up among them.
	ListLetters(ctx context.Context, after string, limit int) ([]Letter, error)
	// FailLetter gives the letter up; it is no error when there is none.
	FailLetter(ctx context.Context, id, failure string, now time.Time) error
	// RetryLetter makes a letter that was given up pending again; ErrNotFound
	// when there is none.
	RetryLetter(ctx context.Context, id string) error
	// DeleteLetter removes a letter that was delivered or has lost its point.
	// It is no error when there is none.
	DeleteLetter(ctx context.Context, id string) error
}

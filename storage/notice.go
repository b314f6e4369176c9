package storage

import (
	"context"
	"time"
)

// NoticeDeadline is how long the end of a session is told to a client that does
// not answer.
const NoticeDeadline = 2 * time.Hour

// A Notice is the end of a session that a client is to be told (OIDC
// Back-Channel Logout section 2.5): a row written in the transaction that ends
// it. The logout token is signed at each try.
type Notice struct {
	// ID is the session's id and the client's, with a dot between, so that one
	// end of a session tells a client once.
	ID        string
	ClientID  string
	UserID    string
	SessionID string
	CreatedAt time.Time
	// DeliveredAt and FailedAt are zero until it is one or the other; Failure
	// says why, in words of ours.
	DeliveredAt time.Time
	FailedAt    time.Time
	Failure     string
}

// Notices keeps what clients are to be told, and for a while what became of it.
// Every method of [Sessions] and [Users] that ends sessions writes one notice
// for each client that has a back-channel logout URI and was given a grant in
// the session; the removal of expired sessions writes none.
type Notices interface {
	// PendingNotices returns up to limit notices neither delivered nor given up,
	// the oldest first.
	PendingNotices(ctx context.Context, limit int) ([]Notice, error)
	// Notice returns the notice, or ErrNotFound.
	Notice(ctx context.Context, id string) (Notice, error)
	// DeliverNotice and FailNotice end it; it is no error when there is none.
	DeliverNotice(ctx context.Context, id string, now time.Time) error
	FailNotice(ctx context.Context, id, failure string, now time.Time) error
	// ListNotices returns up to limit notices of the client, the newest first.
	ListNotices(ctx context.Context, clientID string, limit int) ([]Notice, error)
	// DeleteNotices removes up to limit notices made before that time and
	// returns how many.
	DeleteNotices(ctx context.Context, before time.Time, limit int) (int, error)
}

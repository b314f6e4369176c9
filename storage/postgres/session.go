package postgres

import (
	"context"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
	"github.com/gatehouse-id/gatehouse/storage/internal/row"
	"github.com/gatehouse-id/gatehouse/storage/postgres/internal/pgdb"
)

// createTries is how often CreateSession begins anew when others replace the same
// session at the same moment.
const createTries = 10

// CreateSession implements [storage.Sessions].
//
// Of two that replace one session by one of its id, the second waits for the row
// that the first removes and then does not see the row that the first has added. So
// it begins anew.
func (db *DB) CreateSession(ctx context.Context, s storage.Session, replaces string) error {
	err := db.createSession(ctx, s, replaces)
	for range createTries {
		if replaces != s.ID || code(err) != uniqueViolation {
			break
		}
		err = db.createSession(ctx, s, replaces)
	}
	return err
}

func (db *DB) createSession(ctx context.Context, s storage.Session, replaces string) error {
	return db.tx(ctx, func(q *pgdb.Queries) error {
		if replaces != "" {
			// First the user, then the old session, whose id the new one may keep.
			if _, err := q.LockUser(ctx, pgdb.LockUserParams{UserID: s.UserID, UserEpoch: s.UserEpoch}); err != nil {
				return found(err)
			}
			if err := endReplaced(ctx, q, s, replaces); err != nil {
				return err
			}
		}
		return changed(q.InsertSession(ctx, pgdb.InsertSessionParams{
			ID:         s.ID,
			SecretHash: s.SecretHash,
			AuthTime:   column.Time(s.AuthTime),
			AMR:        s.AMR,
			Remember:   s.Remember,
			CreatedAt:  column.Time(s.CreatedAt),
			ExpiresAt:  column.Time(s.ExpiresAt),
			EndsAt:     column.Time(s.EndsAt),
			UserAgent:  s.UserAgent,
			Address:    s.Address,
			UserID:     s.UserID,
			UserEpoch:  s.UserEpoch,
		}))
	})
}

// endReplaced removes the session that s replaces. One that gives s its id goes
// on in s, with its grants.
func endReplaced(ctx context.Context, q *pgdb.Queries, s storage.Session, replaces string) error {
	if replaces == s.ID {
		_, err := q.DeleteSession(ctx, replaces)
		return err
	}
	return endSession(ctx, q, replaces, s.CreatedAt)
}

// SessionBySecret implements [storage.Sessions].
func (db *DB) SessionBySecret(ctx context.Context, secretHash []byte, now time.Time) (storage.Session, storage.User, error) {
	r, err := db.q.SessionBySecret(ctx, pgdb.SessionBySecretParams{
		SecretHash: secretHash,
		Now:        column.Time(now),
	})
	return row.Session(r.Session).Record(), row.User(r.User).Record(), found(err)
}

// TouchSession implements [storage.Sessions].
func (db *DB) TouchSession(ctx context.Context, id string, expiresAt time.Time) error {
	return db.q.TouchSession(ctx, pgdb.TouchSessionParams{ExpiresAt: column.Time(expiresAt), ID: id})
}

// EndSession implements [storage.Sessions].
func (db *DB) EndSession(ctx context.Context, id string, now time.Time) error {
	return db.tx(ctx, func(q *pgdb.Queries) error {
		return endSession(ctx, q, id, now)
	})
}

func endSession(ctx context.Context, q *pgdb.Queries, id string, now time.Time) error {
	n, err := q.DeleteSession(ctx, id)
	if err != nil {
		return err
	}
	if n > 0 {
		if err := noticeEnds(ctx, q, now, id); err != nil {
			return err
		}
	}
	return revokeGrantsOfSession(ctx, q, id, now)
}

func revokeGrantsOfSession(ctx context.Context, q *pgdb.Queries, id string, now time.Time) error {
	return q.RevokeGrantsOfSession(ctx, pgdb.RevokeGrantsOfSessionParams{
		Now:       column.Time(now),
		SessionID: id,
	})
}

// ListSessions implements [storage.Sessions].
func (db *DB) ListSessions(ctx context.Context, userID string, now time.Time) ([]storage.Session, error) {
	rows, err := db.q.ListSessions(ctx, pgdb.ListSessionsParams{UserID: userID, Now: column.Time(now)})
	return row.Records(rows, func(s pgdb.Session) storage.Session { return row.Session(s).Record() }), err
}

// EndSessionOf implements [storage.Sessions].
func (db *DB) EndSessionOf(ctx context.Context, userID, id string, now time.Time) error {
	return db.tx(ctx, func(q *pgdb.Queries) error {
		if err := changed(q.DeleteSessionOf(ctx, pgdb.DeleteSessionOfParams{ID: id, UserID: userID})); err != nil {
			return err
		}
		if err := noticeEnds(ctx, q, now, id); err != nil {
			return err
		}
		return revokeGrantsOfSession(ctx, q, id, now)
	})
}

// DeleteExpiredSessions implements [storage.Sessions].
func (db *DB) DeleteExpiredSessions(ctx context.Context, now time.Time, limit int) (int, error) {
	n, err := db.q.DeleteExpiredSessions(ctx, pgdb.DeleteExpiredSessionsParams{
		Now:     column.Time(now),
		MaxRows: int64(limit),
	})
	return int(n), err
}

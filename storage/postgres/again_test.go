package postgres_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/postgres"
)

// TestSignInAgainAtOnce holds that somebody who presses the button twice, or is
// asked in two tabs, is signed in: each sign-in replaces the session of that id,
// whichever it finds.
func TestSignInAgainAtOnce(t *testing.T) {
	db := open(t, testenv.Postgres(t), postgres.Options{})
	ctx, now := t.Context(), time.Now().UTC().Truncate(time.Microsecond)
	u := storage.User{
		ID: uuid.Must(uuid.NewV7()).String(), Email: "ada@example.com", Name: "Ada", Status: storage.UserActive, Epoch: 1,
		EmailVerifiedAt: now, CreatedAt: now, UpdatedAt: now,
	}
	if err := db.CreateUser(ctx, u, "hash"); err != nil {
		t.Fatal(err)
	}
	session := func(secret byte) storage.Session {
		return storage.Session{
			ID: "session", SecretHash: []byte{secret}, UserID: u.ID, UserEpoch: u.Epoch, AuthTime: now, AMR: []string{"pwd"},
			CreatedAt: now, ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(time.Hour),
		}
	}
	if err := db.CreateSession(ctx, session(0), ""); err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		var all sync.WaitGroup
		start := make(chan struct{})
		for i := range 6 {
			all.Go(func() {
				<-start
				if err := db.CreateSession(ctx, session(byte(1+6*round+i)), "session"); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		close(start)
		all.Wait()
		left, err := db.ListSessions(ctx, u.ID, now)
		if err != nil || len(left) != 1 {
			t.Fatalf("round %d: left %+v, %v", round, left, err)
		}
	}
	if notices, err := db.PendingNotices(ctx, 10); err != nil || len(notices) != 0 {
		t.Errorf("told of an end that was none: %+v, %v", notices, err)
	}
	if err := db.CreateSession(ctx, session(0), ""); err == nil {
		t.Error("a session that nobody replaces was replaced")
	}
}

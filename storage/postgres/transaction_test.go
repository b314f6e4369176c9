package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/postgres"
)

// TestTransactionEndsInTime holds the row that a transaction needs: it waits no
// longer than its caller does, leaves nothing behind, and takes nothing from the
// connections of others.
func TestTransactionEndsInTime(t *testing.T) {
	url := testenv.Postgres(t)
	db := open(t, url, postgres.Options{})
	other := connect(t, url)
	u := storage.User{
		ID: uuid.Must(uuid.NewV7()).String(), Email: "ada@example.com", Name: "Ada", Status: storage.UserActive, Epoch: 1,
		EmailVerifiedAt: time.Now(), CreatedAt: time.Now(), UpdatedAt: time.Now(),
	}
	if err := db.CreateUser(t.Context(), u, "first"); err != nil {
		t.Fatal(err)
	}
	change := func(ctx context.Context) error {
		letter := storage.Letter{ID: uuid.Must(uuid.NewV7()).String(), Kind: "password_changed", Sealed: []byte("sealed"), CreatedAt: time.Now()}
		_, err := db.SetPassword(ctx, storage.PasswordChange{UserID: u.ID, PasswordHash: "second", Replaces: "first", Now: time.Now()}, letter)
		return err
	}
	exec := func(sql string) {
		t.Helper()
		if _, err := other.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}

	exec("BEGIN")
	exec("SELECT 1 FROM users FOR UPDATE")
	for range 20 { // more than there are connections
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		err := change(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want the caller's deadline", err)
		}
		if took := time.Since(start); took > 30*time.Second { // without a deadline it takes for ever
			t.Errorf("it took %v", took)
		}
	}
	exec("ROLLBACK")

	hashes, err := db.PasswordHashes(t.Context(), u.ID)
	if err != nil || len(hashes) != 1 || hashes[0] != "first" {
		t.Errorf("the passwords are %q, %v", hashes, err)
	}
	if letters, err := db.PendingLetters(t.Context(), "", 10); err != nil || len(letters) != 0 {
		t.Errorf("%d letters were left, %v", len(letters), err)
	}
	if err := change(t.Context()); err != nil {
		t.Errorf("it cannot be changed afterwards: %v", err)
	}
	// The deadline of one caller is not that of the next.
	for life := time.Second; ; life *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), life)
		defer cancel()
		u.ID, u.Email = uuid.Must(uuid.NewV7()).String(), rand.Text()+"@example.com"
		err := db.CreateUser(ctx, u, "first")
		<-ctx.Done()
		if err == nil {
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) || life > time.Minute {
			t.Fatal(err)
		}
	}
	if _, err := db.User(t.Context(), u.ID); err != nil {
		t.Error(err)
	}
}

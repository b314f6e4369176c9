package consent

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
)

func TestRememberAndWithdraw(t *testing.T) {
	ctx, now := t.Context(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	store, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "consent.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	const user, client = "0198c6f2-5a7e-7c3b-9d56-0a1b2c3d4e5f", "notes"
	u := storage.User{ID: user, Email: "asha@example.com", Status: storage.UserActive, CreatedAt: now, UpdatedAt: now}
	if err := store.CreateUser(ctx, u, "$hash"); err != nil {
		t.Fatal(err)
	}
	c := storage.Client{ID: client, Name: "Notes", AuthMethod: storage.AuthNone, CreatedAt: now, UpdatedAt: now}
	if err := store.CreateClient(ctx, c); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		sentence string
		agreed   []string
		want     []string
	}{
		{"the first consent is remembered", []string{"openid", "email"}, []string{"email", "openid"}},
		{"a later one adds to it", []string{"phone", "email"}, []string{"email", "openid", "phone"}},
		{"agreeing to less forgets nothing", []string{"openid"}, []string{"email", "openid", "phone"}},
	} {
		now = now.Add(time.Hour)
		err := Remember(ctx, store, storage.Consent{UserID: user, ClientID: client, Scopes: c.agreed, GrantedAt: now})
		if err != nil {
			t.Fatalf("%s: %v", c.sentence, err)
		}
		got, err := store.Consent(ctx, user, client)
		if err != nil {
			t.Fatalf("%s: %v", c.sentence, err)
		}
		slices.Sort(got.Scopes)
		if !slices.Equal(got.Scopes, c.want) || !got.GrantedAt.Equal(now) {
			t.Errorf("%s: remembered %v at %s, want %v at %s", c.sentence, got.Scopes, got.GrantedAt, c.want, now)
		}
	}

	err = Remember(ctx, store, storage.Consent{UserID: user, ClientID: "nobody", Scopes: []string{"openid"}, GrantedAt: now})
	if !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an unknown client is remembered: %v", err)
	}
	for range 2 {
		if err := Withdraw(ctx, store, user, client); err != nil {
			t.Fatalf("withdraw: %v", err)
		}
	}
	if _, err := store.Consent(ctx, user, client); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("after it was withdrawn the consent is %v", err)
	}
}

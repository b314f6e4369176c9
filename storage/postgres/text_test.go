package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/postgres"
)

// PostgreSQL has no text with a zero byte or one that is not UTF-8, and fails on
// it. Ids come from strangers: of such a one there is no record, and nothing is
// wrong with the database.
func TestNothingHasAnIDThatIsNoText(t *testing.T) {
	db := open(t, testenv.Postgres(t), postgres.Options{})
	ctx, now := t.Context(), time.Now()
	for _, id := range []string{"\x00", "app\x00", "\xff", "\xc3\x28"} {
		for what, err := range map[string]error{
			"client":  second(db.Client(ctx, id)),
			"logo":    second(db.Logo(ctx, id)),
			"user":    second(db.User(ctx, id)),
			"grant":   second(db.GrantByID(ctx, id)),
			"consent": second(db.Consent(ctx, id, id)),
			"gateway": second(db.Gateway(ctx, id)),
			"notice":  second(db.Notice(ctx, id)),
			"rotation": func() error {
				_, _, err := db.Rotate(ctx, storage.Rotation{HandleHash: []byte{1}, ClientID: id, Presented: 1, Now: now, GraceSince: now, ExpiresAt: now})
				return err
			}(),
		} {
			if !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s %q: %v", what, id, err)
			}
		}
	}
	if err := db.CreateClient(ctx, storage.Client{ID: "app", Name: "a\x00b", AuthMethod: storage.AuthNone, CreatedAt: now, UpdatedAt: now}); err == nil || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a value that is no text: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

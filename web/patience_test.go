package web_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// silent is a Valkey that went without a word: nothing comes back, and no error.
type silent struct{}

func (silent) Take(ctx context.Context, _ ...storage.Use) ([]storage.Hit, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("take: %w", ctx.Err())
}

func (silent) GiveBack(ctx context.Context, _ []storage.Use, _ []storage.Hit) error {
	<-ctx.Done()
	return ctx.Err()
}

// Nobody waits for ever because a database says nothing: they are told to come
// back, although the server, asked at that moment, is ready.
func TestPatience(t *testing.T) {
	h := open(t, option{patience: 200 * time.Millisecond, buckets: silent{}})
	b := h.browser(t)
	page := b.open("/login")
	for n := 0; page.page() != "login" && n < 50; n++ { // a busy machine may be too late for that, too
		page = b.open("/login")
	}
	form := b.wants(page, "login", 200).hidden()
	form.Set("identifier", "asha@example.com")
	form.Set("password", "seventeen green lanterns")
	a := b.wants(b.post("/login", form), "error", http.StatusServiceUnavailable, "back shortly")
	if got := a.Header.Get("Retry-After"); got == "" {
		t.Error("no Retry-After")
	}
}

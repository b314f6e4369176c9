package provider_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/denylist"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

// A prompt denylist is a real one whose tail has always just been: what was
// committed holds at the next check. The tail has connections of its own, so
// that no round trips are counted but those that requests cause.
type prompt struct{ *denylist.List }

// table is the revocations on the tail's connection; requests write on theirs.
type table struct {
	storage.Revocations
	requests storage.Revocations
}

func (t table) Revoke(ctx context.Context, r storage.Revocation) (int64, error) {
	return t.requests.Revoke(ctx, r)
}

// fast is the shared copy on the tail's connection; requests ask on theirs. It
// is waited for, however busy the machine is: without it a check costs no trip.
type fast struct{ tail, requests storage.Denylist }

func (f fast) Mark(ctx context.Context) (storage.Mark, error) {
	return f.tail.Mark(context.WithoutCancel(ctx))
}

func (f fast) ClaimReplay(ctx context.Context) (storage.Mark, error) {
	return f.tail.ClaimReplay(context.WithoutCancel(ctx))
}

func (f fast) Apply(ctx context.Context, m storage.Mark, now time.Time, rows []storage.Revocation, last bool) (storage.Mark, error) {
	return f.tail.Apply(context.WithoutCancel(ctx), m, now, rows, last)
}

func (f fast) Denied(ctx context.Context, b storage.Bearer) (denied, complete bool, err error) {
	return f.requests.Denied(context.WithoutCancel(ctx), b)
}

func (f fast) Deny(ctx context.Context, now time.Time, rows ...storage.Revocation) error {
	return f.requests.Deny(context.WithoutCancel(ctx), now, rows...)
}

func newPrompt(t testing.TB, o *op, dir string) prompt {
	t.Helper()
	ctx := context.Background()
	db, err := sqlite.Open(ctx, filepath.Join(dir, "gatehouse.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	mem, err := valkey.Open(ctx, o.mem.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mem.Close() })
	mem.Now = o.now
	l, err := denylist.New(ctx, denylist.Config{Revocations: table{db, o.db}, Fast: fast{mem, o.mem}, Now: o.now})
	if err != nil {
		t.Fatal(err)
	}
	return prompt{l}
}

func (p prompt) Check(ctx context.Context, b storage.Bearer) error {
	if err := p.Follow(ctx); err != nil {
		return err
	}
	return p.List.Check(ctx, b)
}

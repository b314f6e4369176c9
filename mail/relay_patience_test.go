package mail

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// A database that went without a word, in the middle of a reading, is asked again:
// letters do not wait until TCP gives up.
func TestRelayAsksAgain(t *testing.T) {
	asked := make(chan struct{}, 100)
	first := true
	r, err := NewRelay(RelayConfig{
		Pending: func(ctx context.Context, _ string, _ int) ([]Row, error) {
			asked <- struct{}{}
			if first {
				first = false
				<-ctx.Done() // and never an answer
				return nil, ctx.Err()
			}
			return nil, nil
		},
		Delete:    func(context.Context, string) error { return nil },
		Fail:      func(context.Context, string, string, time.Time) error { return nil },
		ValkeyURL: "valkey://" + miniredis.RunT(t).Addr(), Every: time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.patience = 10 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	for range 2 {
		select {
		case <-asked:
		case <-time.After(30 * time.Second):
			t.Fatal("nobody asks again")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

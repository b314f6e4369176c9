package api_test

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/gatehouse-id/gatehouse/api"
	"github.com/gatehouse-id/gatehouse/provider"
)

func newName() string { return rand.Text() }

// readiness says what readiness down says.
func readiness(down *bool) func(*api.Config) {
	return func(c *api.Config) {
		c.Ready = func(context.Context) error {
			if *down {
				return errors.New("down")
			}
			return nil
		}
	}
}

// watched are tokens that look at the deadline of a refresh.
type watched struct {
	api.Tokens
	left *time.Duration
}

func (w watched) Refresh(ctx context.Context, from provider.Caller, token string) (provider.Tokens, error) {
	if end, ok := ctx.Deadline(); ok {
		*w.left = time.Until(end)
	}
	return w.Tokens.Refresh(ctx, from, token)
}

func deadlineOf(left *time.Duration) func(*api.Config) {
	return func(c *api.Config) { c.Tokens = watched{c.Tokens, left} }
}

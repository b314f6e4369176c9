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
	end *time.Time
}

func (w watched) Refresh(ctx context.Context, from provider.Caller, token string) (provider.Tokens, error) {
	*w.end, _ = ctx.Deadline()
	return w.Tokens.Refresh(ctx, from, token)
}

func deadlineOf(end *time.Time) func(*api.Config) {
	return func(c *api.Config) { c.Tokens = watched{c.Tokens, end} }
}

package storage

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// MaxSkew is how far the clocks of host, database and Valkey may be apart when
// a server starts.
const MaxSkew = 5 * time.Second

// A Clock is the database's time, sampled now and then and carried between
// samples by the monotonic clock of the process. Two servers with clocks 30
// seconds apart agree on it.
type Clock struct {
	source TimeSource
	// offset is the source's time minus ours, in nanoseconds.
	offset atomic.Int64
}

// NewClock samples the source once.
func NewClock(ctx context.Context, source TimeSource) (*Clock, error) {
	c := &Clock{source: source}
	if err := c.Sample(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// start anchors every reading to one wall time, so that a step of the process's
// wall clock between samples changes nothing.
var start = time.Now()

func local() time.Time { return start.Add(time.Since(start)) }

// Now returns the source's time, UTC, to the microsecond.
func (c *Clock) Now() time.Time {
	return local().Add(time.Duration(c.offset.Load())).UTC().Truncate(time.Microsecond)
}

// Sample asks the source for its time, taking half the round trip for the way
// back.
func (c *Clock) Sample(ctx context.Context) error {
	before := local()
	t, err := c.source.Time(ctx)
	if err != nil {
		return fmt.Errorf("storage: sample the database's clock: %w", err)
	}
	after := local()
	middle := before.Add(after.Sub(before) / 2)
	c.offset.Store(int64(t.Sub(middle)))
	return nil
}

// Offset is the source's time minus the host's.
func (c *Clock) Offset() time.Duration { return time.Duration(c.offset.Load()) }

// Run samples every ten seconds until ctx ends. A failed sample is given to
// fail and leaves the clock as it was.
func (c *Clock) Run(ctx context.Context, fail func(error)) {
	t := time.NewTicker(10 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := c.Sample(ctx); err != nil && ctx.Err() == nil {
				fail(err)
			}
		}
	}
}

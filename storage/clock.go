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
	// local is our own time, which goes on evenly.
	local func() time.Time
	// offset is the source's time minus ours, in nanoseconds.
	offset atomic.Int64
}

// slowSample is how long a sample may take: it is wrong by half of that at most.
const slowSample = time.Second

// NewClock samples the source once.
func NewClock(ctx context.Context, source TimeSource) (*Clock, error) {
	c := &Clock{source: source, local: local}
	// There is none of before to be kept: a slow one is better than none.
	offset, _, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	c.offset.Store(int64(offset))
	return c, nil
}

// start anchors every reading to one wall time, so that a step of the process's
// wall clock between samples changes nothing.
var start = time.Now()

func local() time.Time { return start.Add(time.Since(start)) }

// Now returns the source's time, UTC, to the microsecond.
func (c *Clock) Now() time.Time {
	return c.local().Add(time.Duration(c.offset.Load())).UTC().Truncate(time.Microsecond)
}

// Sample asks the source for its time. An answer that took long, such as one that
// waited for a connection, says little of when it was given, and changes nothing.
func (c *Clock) Sample(ctx context.Context) error {
	offset, took, err := c.read(ctx)
	if err != nil {
		return err
	}
	if took <= slowSample {
		c.offset.Store(int64(offset))
	}
	return nil
}

// read returns the source's time minus ours, taking half the round trip for the way
// back.
func (c *Clock) read(ctx context.Context) (offset, took time.Duration, err error) {
	before := c.local()
	t, err := c.source.Time(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("storage: sample the database's clock: %w", err)
	}
	took = c.local().Sub(before)
	return t.Sub(before.Add(took / 2)), took, nil
}

// Offset is the source's time minus the host's, whose clock may have been set since
// the last sample.
func (c *Clock) Offset() time.Duration { return time.Until(c.Now()) }

// Run samples every ten seconds until ctx ends. A failed sample is given to
// fail and leaves the clock as it was.
func (c *Clock) Run(ctx context.Context, fail func(error)) {
	const every = 10 * time.Second
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			within, cancel := context.WithTimeout(ctx, every)
			err := c.Sample(within)
			cancel()
			if err != nil && ctx.Err() == nil {
				fail(err)
			}
		}
	}
}

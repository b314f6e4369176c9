package storage

import (
	"context"
	"testing"
	"time"
)

// A source is a database's clock.
type source func() time.Time

func (s source) Time(context.Context) (time.Time, error) { return s(), nil }

// A host whose clock is set right after the start is no longer apart from the
// database, though the time that is used goes on evenly.
func TestOffsetFollowsTheHost(t *testing.T) {
	c, err := NewClock(t.Context(), source(time.Now))
	if err != nil {
		t.Fatal(err)
	}
	c.local = func() time.Time { return local().Add(-time.Hour) } // the host's clock was an hour late, and was set
	if err := c.Sample(t.Context()); err != nil {
		t.Fatal(err)
	}
	if skew := c.Offset().Abs(); skew > time.Minute {
		t.Errorf("they are %v apart", skew)
	}
	if off := time.Since(c.Now()).Abs(); off > time.Minute {
		t.Errorf("the time that is used is %v off", off)
	}
}

// An answer that waited, for a connection or a stall of the database, does not move
// the clock by half of that.
func TestSlowSample(t *testing.T) {
	now := time.Unix(0, 0)
	wait := time.Duration(0)
	s := source(func() time.Time { now = now.Add(wait); return now })
	c := &Clock{source: s, local: func() time.Time { return now }}
	if err := c.Sample(t.Context()); err != nil || !c.Now().Equal(now) {
		t.Fatalf("%v is not %v (%v)", c.Now(), now, err)
	}
	wait = 20 * time.Second
	if err := c.Sample(t.Context()); err != nil {
		t.Error(err)
	}
	if !c.Now().Equal(now) {
		t.Errorf("the clock is off by %v", c.Now().Sub(now))
	}
}

package denylist

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/internal/meter"
	"github.com/gatehouse-id/gatehouse/storage"
)

// Where a check finds out what was revoked.
const (
	modeValkey = "valkey"
	modeMemory = "memory"
	// modeUnknown is that neither copy is recent enough.
	modeUnknown = "unknown"
)

// What comes of a turn of the tail.
const (
	turnOK     = "ok"
	turnFailed = "failed"
)

type meters struct {
	lag   *meter.Histogram
	turns *meter.Counter
}

// measure makes the instruments. What was there before New is no lag of ours,
// so it is called after the first turn.
func (l *List) measure(m metric.Meter) error {
	s := meter.On(m)
	l.meters.lag = s.Histogram("gatehouse.revocation.lag",
		"Time from a revocation to this server having read it from the database, by what was revoked: token, grant or client. What it revokes itself it applies at once.", meter.Delays(), "kind")
	l.meters.turns = s.Counter("gatehouse.denylist.turns", "{turn}",
		"Readings of the revocations from the database, by outcome: ok or failed.", "outcome")
	s.Gauge("gatehouse.denylist.tail.age", "s", "Time since this server began a reading of the revocations that left nothing out.",
		func(_ context.Context, observe meter.Observe) { observe(time.Since(l.memory.age()).Seconds()) })
	s.Gauge("gatehouse.denylist.entries", "{revocation}", "Revocations in the memory of this server, by kind.",
		func(_ context.Context, observe meter.Observe) {
			tokens, grants, clients := l.memory.size()
			observe(float64(tokens), string(storage.RevokedToken))
			observe(float64(grants), string(storage.RevokedGrant))
			observe(float64(clients), string(storage.RevokedClient))
		}, "kind")
	s.Gauge("gatehouse.denylist.mode", "{server}", "Where checks are answered from, 1 for the one of valkey, memory and unknown: in the last, tokens are answered with 503.",
		func(_ context.Context, observe meter.Observe) {
			now := l.mode()
			for _, mode := range []string{modeValkey, modeMemory, modeUnknown} {
				value := 0.0
				if mode == now {
					value = 1
				}
				observe(value, mode)
			}
		}, "mode")
	if err := s.Err(); err != nil {
		return fmt.Errorf("denylist: %w", err)
	}
	l.meters.turns.Begin([]string{turnOK, turnFailed})
	return nil
}

// turned counts a turn of the tail.
func (l *List) turned(ctx context.Context, err error) {
	outcome := turnOK
	if err != nil {
		outcome = turnFailed
	}
	l.meters.turns.Add(ctx, 1, outcome)
}

// mode is where a check would be answered from now.
func (l *List) mode() string {
	switch {
	case !l.away.Load():
		return modeValkey
	case recent(l.memory.age(), time.Now()):
		return modeMemory
	default:
		return modeUnknown
	}
}

// applied notes that rows were read into the memory.
func (l *List) applied(ctx context.Context, rows []storage.Revocation) {
	if l.meters.lag == nil || !l.meters.lag.Enabled(ctx) {
		return
	}
	now := l.now()
	for _, r := range rows {
		l.meters.lag.Record(ctx, max(now.Sub(r.At), 0), string(r.Kind))
	}
}

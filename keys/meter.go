package keys

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/internal/meter"
)

// What comes of a load for an unknown id.
const (
	reloadFound   = "found"
	reloadUnknown = "unknown"
	reloadFault   = "fault"
)

type meters struct{ signatures, reloads *meter.Counter }

func (k *Keeper) measure(m metric.Meter) error {
	s := meter.On(m)
	k.meters.signatures = s.Counter("gatehouse.key.signatures", "{signature}", "Tokens signed, by algorithm.", "algorithm")
	k.meters.reloads = s.Counter("gatehouse.key.reloads", "{reload}",
		"Readings of the keys because somebody presented an id that was not known, by outcome: found, unknown, or fault.", "outcome")
	signing := func(name, about string, of func(key *Key, a Ages) float64) {
		s.Gauge(name, "s", about, func(_ context.Context, observe meter.Observe) {
			known, now := k.known.Load(), k.now()
			for _, id := range rings() {
				if id.purpose != PurposeSign {
					continue
				}
				if key := known.rings[id].Signing(now); key != nil {
					observe(of(key, k.ages[id]), id.algorithm)
				}
			}
		}, "algorithm")
	}
	signing("gatehouse.key.age", "Time that the signing key has signed, by algorithm.", func(key *Key, _ Ages) float64 {
		return k.now().Sub(key.SigningAt).Seconds()
	})
	signing("gatehouse.key.rotation.due", "Time until the next key is due to sign, by algorithm; below zero it is late.", func(key *Key, a Ages) float64 {
		next := key.SigningAt.Add(a.Signing)
		if !key.RetiredAt.IsZero() {
			next = key.RetiredAt // the next key is published
		}
		return next.Sub(k.now()).Seconds()
	})
	if err := s.Err(); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	k.meters.signatures.Begin([]string{ES256, RS256})
	k.meters.reloads.Begin([]string{reloadFound, reloadUnknown, reloadFault})
	return nil
}

// reloaded counts a load for an unknown id.
func (k *Keeper) reloaded(ctx context.Context, id string) {
	outcome := reloadUnknown
	if k.failed != nil {
		outcome = reloadFault
	} else if _, ok := k.known.Load().byID[id]; ok {
		outcome = reloadFound
	}
	k.meters.reloads.Add(ctx, 1, outcome)
}

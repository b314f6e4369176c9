package mail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/internal/meter"
)

// An outbox is what a relay found in its last turn.
type outbox struct {
	pending int
	// oldest is when the oldest pending row was written; zero when there is none.
	oldest time.Time
}

// see adds rows that were read. Letters for nobody do not wait.
func (o *outbox) see(rows []Row) {
	for _, row := range rows {
		if row.forNobody() {
			continue
		}
		o.pending++
		if o.oldest.IsZero() || row.CreatedAt.Before(o.oldest) {
			o.oldest = row.CreatedAt
		}
	}
}

// measure makes the instruments of a relay. What it says of the outbox is what
// it reads anyway.
func (r *Relay) measure(m metric.Meter) error {
	s := meter.On(m)
	r.givenUp = s.Counter("gatehouse.outbox.given_up", "{row}",
		"Letters and notices that are tried no more, by queue (letter, notice) and reason: late when the deadline passed, failed. Servers that notice at the same moment count it each.", "queue", "reason")
	r.givenUp.Begin([]string{outcomeLate, outcomeFailed}, r.what)
	s.Gauge("gatehouse.outbox.pending", "{row}", "Letters and notices that are written and not known to be delivered, by queue, as every server sees them.",
		func(_ context.Context, observe meter.Observe) {
			if o := r.seen.Load(); o != nil {
				observe(float64(o.pending), r.what)
			}
		}, "queue")
	s.Gauge("gatehouse.outbox.oldest.age", "s", "Age of the oldest letter or notice that is written and not known to be delivered, by queue; 0 when there is none.",
		func(_ context.Context, observe meter.Observe) {
			o := r.seen.Load()
			if o == nil {
				return
			}
			age := 0.0
			if !o.oldest.IsZero() {
				age = max(r.config.Now().Sub(o.oldest).Seconds(), 0)
			}
			observe(age, r.what)
		}, "queue")
	return wrapped(s.Err())
}

func wrapped(err error) error {
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	return nil
}

// What comes of a try at a letter or a notice.
const (
	outcomeSent      = "sent"
	outcomeRefused   = "refused"   // for good
	outcomeFailed    = "failed"    // and will be tried again
	outcomeLate      = "late"      // its deadline had passed
	outcomeSealed    = "sealed"    // it could not be opened with our key
	outcomeUnwritten = "unwritten" // no letter of that kind is known here
	outcomePostponed = "postponed" // it was not tried, because of others to the same client
)

type workerMeters struct{ tries, delay *meter.Histogram }

func newWorkerMeters(m metric.Meter) (workerMeters, error) {
	s := meter.On(m)
	w := workerMeters{
		tries: s.Histogram("gatehouse.letter.delivery.duration",
			"Tries to give a letter to the mail server, by outcome: sent, refused (for good), failed (it is tried again), late, sealed (with another key), unwritten (of a kind that is not known here).", meter.Delays(), "outcome"),
		delay: s.Histogram("gatehouse.letter.delay", "Time from the writing of a letter to the mail server's taking it.", meter.Delays()),
	}
	return w, wrapped(s.Err())
}

// noticed is what came of a try at a notice.
func noticed(err error) string {
	if _, ok := errors.AsType[LaterError](err); ok {
		return outcomePostponed
	} else if err != nil {
		return outcomeFailed
	}
	return outcomeSent
}

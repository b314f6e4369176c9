package login

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/internal/meter"
	"github.com/gatehouse-id/gatehouse/storage"
)

// Steps that have no limit of their own, and so are no [Verb].
const (
	stepRegister          = "register"
	stepEndSession        = "end_session"
	stepSignOutEverywhere = "sign_out_everywhere"
	stepWithdrawApp       = "withdraw_app"
)

// outcomeFault is the outcome of a verb that we failed at.
const outcomeFault = "fault"

// meters count what people do here. Their attributes are words of this package:
// no user, no address, nothing that somebody typed.
type meters struct {
	steps, completions, refusals *meter.Counter
}

func newMeters(m metric.Meter, h *hasher) (*meters, error) {
	s := meter.On(m)
	c := &meters{
		steps: s.Counter("gatehouse.login.steps", "{step}",
			"Uses of a verb of sign-in or of the account, by outcome: ok, a reason of refusal, canceled, or fault for a failure of ours.",
			"step", "outcome"),
		completions: s.Counter("gatehouse.login.completions", "{flow}",
			"People who got to the end of signing in, of registering or of a reset.", "purpose"),
		refusals: s.Counter("gatehouse.login.limit.refusals", "{refusal}",
			"Uses that a limit refused, by the verb and by what its layer counts.", "verb", "layer"),
	}
	h.wait = s.Histogram("gatehouse.password.hash.wait",
		"How long a password waited for one of the places to be hashed in.", meter.Moments())
	places := func(name, about string, read func() int) {
		s.Gauge(name, "{password}", about, func(_ context.Context, observe meter.Observe) { observe(float64(read())) })
	}
	places("gatehouse.password.hash.running", "Passwords that are being hashed.", func() int { return len(h.running) })
	places("gatehouse.password.hash.queue.length", "Passwords that wait to be hashed.", func() int { return max(len(h.queued)-len(h.running), 0) })
	places("gatehouse.password.hash.queue.limit", "Passwords that may wait; who comes after them is refused as busy.", func() int { return cap(h.queued) - cap(h.running) })
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	counted := []string{stepRegister, stepEndSession, stepSignOutEverywhere, stepWithdrawApp}
	for _, r := range rules {
		counted = append(counted, string(r.verb))
		for _, l := range []layer{r.first, r.second} {
			if l.limit > 0 {
				c.refusals.Begin([]string{l.by}, string(r.verb))
			}
		}
	}
	for _, step := range counted {
		c.steps.Begin([]string{eventOK, outcomeFault}, step)
	}
	for _, l := range mailLayers {
		c.refusals.Begin([]string{l.by}, limitMail)
	}
	c.refusals.Begin([]string{networkLayer.by}, limitNetwork)
	c.completions.Begin([]string{string(ToRegister), string(ToSignIn), string(ToReset)})
	return c, nil
}

// counted counts a step that ended with err.
func (e *Engine) counted(ctx context.Context, step string, err error) {
	outcome := eventOK
	if r, ok := errors.AsType[*Error](err); ok {
		outcome = string(r.Reason)
	} else if errors.Is(err, context.Canceled) {
		outcome = "canceled"
	} else if err != nil {
		outcome = outcomeFault
	}
	e.meters.steps.Add(ctx, 1, step, outcome)
}

// limited counts a refusal by a bucket, whose name is that of the verb and of
// the layer.
func (e *Engine) limited(ctx context.Context, b storage.Bucket) {
	verb, layer, _ := strings.Cut(b.Name, ".")
	e.meters.refusals.Add(ctx, 1, verb, layer)
}

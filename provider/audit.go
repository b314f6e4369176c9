package provider

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/storage"
)

// audit keeps an event of a request that comes from a browser or an app. What it
// reports has happened already, so a failure here is logged and changes nothing.
// The issue of a token is no event of its own: its grant is the record of it.
func (p *Provider) audit(r *http.Request, e storage.Event) {
	if p.from != nil {
		e.Address, e.UserAgent = p.from(r)
	}
	p.keepEvent(r.Context(), e)
}

// keepWithin is how long what follows a request may take once nobody waits for
// the answer any more.
const keepWithin = 5 * time.Second

func (p *Provider) keepEvent(ctx context.Context, e storage.Event) {
	// Whoever caused it must not keep it out of the record by hanging up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepWithin)
	defer cancel()
	id, err := uuid.NewV7()
	if err == nil {
		e.ID, e.At = id.String(), p.now()
		err = p.store.AddEvent(ctx, e)
	}
	if err != nil {
		p.log.ErrorContext(ctx, "an audit event was not kept", "kind", e.Kind, "err", err)
	}
}

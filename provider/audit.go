package provider

import (
	"context"
	"net/http"

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

func (p *Provider) keepEvent(ctx context.Context, e storage.Event) {
	id, err := uuid.NewV7()
	if err == nil {
		e.ID, e.At = id.String(), p.now()
		err = p.store.AddEvent(ctx, e)
	}
	if err != nil {
		p.log.ErrorContext(ctx, "an audit event was not kept", "kind", e.Kind, "err", err)
	}
}

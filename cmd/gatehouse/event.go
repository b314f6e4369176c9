package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/storage"
)

// keepEvent keeps the audit event of what an operator has just done.
func keepEvent(ctx context.Context, sql storage.Audit, e storage.Event) error {
	id, err := uuid.NewV7()
	if err == nil {
		e.ID, e.Outcome, e.Detail = id.String(), "ok", "by an operator's command"
		err = sql.AddEvent(ctx, e)
	}
	if err != nil {
		return fmt.Errorf("it is done, but the event of it could not be kept: %w", err)
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/storage"
)

// keepEvent keeps the audit event of what an operator has just done. Its detail,
// if any, says to what.
func keepEvent(ctx context.Context, sql storage.Audit, e storage.Event) error {
	id, err := uuid.NewV7()
	if err == nil {
		e.ID, e.Outcome = id.String(), "ok"
		e.Detail = strings.TrimPrefix(e.Detail+", by an operator's command", ", ")
		err = sql.AddEvent(ctx, e)
	}
	if err != nil {
		return fmt.Errorf("it is done, but the event of it could not be kept: %w", err)
	}
	return nil
}

package valkey

import (
	"context"
	"fmt"
	"net/url"

	"github.com/valkey-io/valkey-go"

	"github.com/gatehouse-id/gatehouse/storage"
)

// An interaction is a string: its record.
func interactionKey(id string) string { return "interaction:{" + id + "}" }

// interaction is the record as it is kept. JSON would replace bytes that are
// not UTF-8, so the request is kept in the form in which it came: the client
// gets back the very state it sent.
type interaction struct {
	storage.Interaction
	Request *string
}

// PutInteraction implements [storage.Interactions].
func (d *DB) PutInteraction(ctx context.Context, i storage.Interaction) error {
	i.RequestedAt, i.ExpiresAt = micro(i.RequestedAt), micro(i.ExpiresAt)
	kept := interaction{Interaction: i}
	if i.Request != nil {
		query := i.Request.Encode()
		kept.Request = &query
	}
	record, err := encode(kept)
	if err != nil {
		return err
	}
	key, life := interactionKey(i.ID), d.life(i.ExpiresAt)
	command := d.client.B().Set().Key(key).Value(record).Px(life).Build()
	if life <= 0 { // which SET refuses
		command = d.client.B().Del().Key(key).Build()
	}
	if err := d.do(ctx, command).Error(); err != nil {
		return fmt.Errorf("valkey: put interaction: %w", err)
	}
	return nil
}

// Interaction implements [storage.Interactions].
func (d *DB) Interaction(ctx context.Context, id string) (storage.Interaction, error) {
	record, err := d.do(ctx, d.client.B().Get().Key(interactionKey(id)).Build()).ToString()
	if valkey.IsValkeyNil(err) {
		return storage.Interaction{}, storage.ErrNotFound
	}
	if err != nil {
		return storage.Interaction{}, fmt.Errorf("valkey: interaction: %w", err)
	}
	var kept interaction
	if err := decode(record, &kept); err != nil {
		return storage.Interaction{}, err
	}
	i := kept.Interaction
	if kept.Request != nil {
		if i.Request, err = url.ParseQuery(*kept.Request); err != nil {
			return storage.Interaction{}, fmt.Errorf("valkey: decode a record: %w", err)
		}
	}
	return i, nil
}

// DeleteInteraction implements [storage.Interactions].
func (d *DB) DeleteInteraction(ctx context.Context, id string) error {
	if err := d.do(ctx, d.client.B().Del().Key(interactionKey(id)).Build()).Error(); err != nil {
		return fmt.Errorf("valkey: delete interaction: %w", err)
	}
	return nil
}

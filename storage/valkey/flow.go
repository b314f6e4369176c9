package valkey

import (
	"context"
	"fmt"

	"github.com/valkey-io/valkey-go"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A flow is a hash: its record, the tries at it, and spent once the record is
// gone. What is left of a spent flow keeps a stale copy from bringing it back.
var (
	putFlow = valkey.NewLuaScript(`
if redis.call('HEXISTS', KEYS[1], 'spent') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'record', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`)

	tryFlow = valkey.NewLuaScript(`
if redis.call('HEXISTS', KEYS[1], 'record') == 0 then return 0 end
return redis.call('HINCRBY', KEYS[1], 'tries', 1)`)

	spendFlow = valkey.NewLuaScript(`
if redis.call('HEXISTS', KEYS[1], 'record') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'spent', 1)
redis.call('HDEL', KEYS[1], 'record')
return 1`)
)

func flowKey(id string) string { return "flow:{" + id + "}" }

// PutFlow implements [storage.Flows].
func (d *DB) PutFlow(ctx context.Context, f storage.Flow) error {
	f.CreatedAt, f.ExpiresAt = micro(f.CreatedAt), micro(f.ExpiresAt)
	record, err := encode(f)
	if err != nil {
		return err
	}
	put, err := d.run(ctx, putFlow, flowKey(f.ID), record, milliseconds(d.life(f.ExpiresAt))).AsInt64()
	if err != nil {
		return fmt.Errorf("valkey: put flow: %w", err)
	}
	if put == 0 {
		return storage.ErrSpent
	}
	return nil
}

// Flow implements [storage.Flows].
func (d *DB) Flow(ctx context.Context, id string) (storage.Flow, error) {
	record, err := d.do(ctx, d.client.B().Hget().Key(flowKey(id)).Field("record").Build()).ToString()
	if valkey.IsValkeyNil(err) {
		return storage.Flow{}, storage.ErrNotFound
	}
	if err != nil {
		return storage.Flow{}, fmt.Errorf("valkey: flow: %w", err)
	}
	var f storage.Flow
	return f, decode(record, &f)
}

// TryFlow implements [storage.Flows].
func (d *DB) TryFlow(ctx context.Context, id string) (int, error) {
	tries, err := d.run(ctx, tryFlow, flowKey(id)).AsInt64()
	if err != nil {
		return 0, fmt.Errorf("valkey: try flow: %w", err)
	}
	if tries == 0 {
		return 0, storage.ErrNotFound
	}
	return int(tries), nil
}

// SpendFlow implements [storage.Flows].
func (d *DB) SpendFlow(ctx context.Context, id string) error {
	spent, err := d.run(ctx, spendFlow, flowKey(id)).AsInt64()
	if err != nil {
		return fmt.Errorf("valkey: spend flow: %w", err)
	}
	if spent == 0 {
		return storage.ErrNotFound
	}
	return nil
}

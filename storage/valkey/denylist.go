package valkey

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/gatehouse-id/gatehouse/storage"
)

// The denylist is one key for each revocation, with the time of it, and the
// mark: the place as a number, or while a replay is under way its name and its
// place. All are in one slot, since a check reads them together.
const (
	denyMark   = "{deny}:mark"
	denyToken  = "{deny}:token:"
	denyGrant  = "{deny}:grant:"
	denyClient = "{deny}:client:"

	// replaying begins the mark of a replay: "replay:name:place".
	replaying = "replay:"
)

const (
	// serverClock tells the server's time in milliseconds, as now.
	serverClock = `
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
`
	// denyRows adds revocations: the keys from one on, with the time and the life
	// of each in the arguments after some.
	denyRows = `
local function deny(first, after)
	for i = first, #KEYS do
		local at, life = ARGV[after + 2*(i-first) + 1], tonumber(ARGV[after + 2*(i-first) + 2])
		local old = redis.call('GET', KEYS[i])
		if old and old > at then at = old end
		life = math.max(life, redis.call('PTTL', KEYS[i]))
		redis.call('SET', KEYS[i], at, 'PX', string.format('%d', life))
	end
end
`
)

var (
	readMark = valkey.NewLuaScript(serverClock + `
return {redis.call('GET', KEYS[1]) or '', now}`)

	claimReplay = valkey.NewLuaScript(serverClock + `
if redis.call('EXISTS', KEYS[1]) == 1 then return {'', now} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {ARGV[1], now}`)

	// A mark's life is counted from the reading it rests on. One that stays where
	// it is keeps the life that a later reading gave it.
	applyRows = valkey.NewLuaScript(serverClock + denyRows + `
local was, is, step, read, life = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('GET', KEYS[1]) ~= was then return {'', now} end
if step == 'last' then
	life = read + life - now
	if life <= 0 then return {'', now} end
	if is == was then life = math.max(life, redis.call('PTTL', KEYS[1])) end
end
if step == 'more' then
	redis.call('SET', KEYS[1], is, 'KEEPTTL')
else
	redis.call('SET', KEYS[1], is, 'PX', string.format('%d', life))
end
deny(2, 5)
return {is, now}`)

	addRows = valkey.NewLuaScript(denyRows + `
deny(1, 0)
return 1`)
)

// Mark implements [storage.Denylist].
func (d *DB) Mark(ctx context.Context) (storage.Mark, error) {
	m, err := readAs(d.run(ctx, readMark, denyMark))
	if err != nil {
		return storage.Mark{}, fmt.Errorf("valkey: mark: %w", err)
	}
	if m.ReadAt.IsZero() || m.Replay != "" {
		return storage.Mark{}, storage.ErrNotFound
	}
	return m, nil
}

// ClaimReplay implements [storage.Denylist].
func (d *DB) ClaimReplay(ctx context.Context) (storage.Mark, error) {
	claim := marked(storage.Mark{Replay: rand.Text()})
	m, err := readAs(d.run(ctx, claimReplay, denyMark, claim, milliseconds(storage.MarkLife)))
	if err != nil {
		return storage.Mark{}, fmt.Errorf("valkey: claim replay: %w", err)
	}
	if m.ReadAt.IsZero() {
		return storage.Mark{}, storage.ErrConflict
	}
	return m, nil
}

// Apply implements [storage.Denylist].
func (d *DB) Apply(ctx context.Context, m storage.Mark, now time.Time, rows []storage.Revocation, last bool) (storage.Mark, error) {
	next := m
	if len(rows) > 0 {
		next.Seq = rows[len(rows)-1].Seq
	}
	step := "more"
	switch {
	case last:
		step, next.Replay = "last", ""
	case m.Replay != "":
		step = "claim"
	}
	keys := append(make([]string, 0, 1+len(rows)), denyMark)
	life := storage.MarkLife
	if d.embedded {
		life -= embeddedTick
	}
	args := append(make([]string, 0, 5+2*len(rows)), marked(m), marked(next), step,
		strconv.FormatInt(m.ReadAt.UnixMilli(), 10), milliseconds(life))
	keys, args, err := denials(keys, args, now, rows)
	if err != nil {
		return storage.Mark{}, err
	}
	next, err = readAs(d.runOn(ctx, applyRows, keys, args...))
	if err != nil {
		return storage.Mark{}, fmt.Errorf("valkey: apply revocations: %w", err)
	}
	if next.ReadAt.IsZero() {
		return storage.Mark{}, storage.ErrConflict
	}
	return next, nil
}

// Deny implements [storage.Denylist].
func (d *DB) Deny(ctx context.Context, now time.Time, rows ...storage.Revocation) error {
	keys, args, err := denials(nil, nil, now, rows)
	if err != nil || len(keys) == 0 {
		return err
	}
	if err := d.runOn(ctx, addRows, keys, args...).Error(); err != nil {
		return fmt.Errorf("valkey: deny: %w", err)
	}
	return nil
}

// Denied implements [storage.Denylist].
func (d *DB) Denied(ctx context.Context, b storage.Bearer) (denied, complete bool, err error) {
	found, err := d.do(ctx, d.client.B().Mget().
		Key(denyMark, denyToken+b.JTI, denyGrant+b.GrantID, denyClient+b.ClientID).Build()).ToArray()
	if err != nil {
		return false, false, fmt.Errorf("valkey: denied: %w", err)
	}
	if len(found) != 4 {
		return false, false, errors.New("valkey: denied: the server's answer is not understood")
	}
	if !found[0].IsNil() {
		mark, err := found[0].ToString()
		if err != nil {
			return false, false, fmt.Errorf("valkey: denied: %w", err)
		}
		complete = !strings.HasPrefix(mark, replaying)
	}
	denied = !found[1].IsNil() || !found[2].IsNil()
	if !denied && !found[3].IsNil() {
		at, err := found[3].ToString()
		if err != nil {
			return false, false, fmt.Errorf("valkey: denied: %w", err)
		}
		denied = stamp(b.IssuedAt) <= at
	}
	return denied, complete, nil
}

// denials appends the key of every revocation that is not past Until, and the
// two arguments that go with it.
func denials(keys, args []string, now time.Time, rows []storage.Revocation) ([]string, []string, error) {
	for _, r := range rows {
		life := between(now, r.Until)
		if life <= 0 {
			continue
		}
		var key string
		switch r.Kind {
		case storage.RevokedToken:
			key = denyToken
		case storage.RevokedGrant:
			key = denyGrant
		case storage.RevokedClient:
			key = denyClient
		default:
			return nil, nil, fmt.Errorf("valkey: deny: a revocation of the unknown kind %q", r.Kind)
		}
		keys = append(keys, key+r.Key)
		args = append(args, stamp(r.At), milliseconds(life))
	}
	return keys, args, nil
}

// marked writes a mark as it is kept.
func marked(m storage.Mark) string {
	place := strconv.FormatInt(m.Seq, 10)
	if m.Replay == "" {
		return place
	}
	return replaying + m.Replay + ":" + place
}

// readAs reads the answer of a script: a mark as it is kept and the server's
// time. The mark is zero when there is none.
func readAs(answer valkey.ValkeyResult) (storage.Mark, error) {
	parts, err := answer.ToArray()
	if err != nil {
		return storage.Mark{}, err
	}
	if len(parts) != 2 {
		return storage.Mark{}, errors.New("the server's answer is not understood")
	}
	kept, err := parts[0].ToString()
	if err != nil || kept == "" {
		return storage.Mark{}, err
	}
	ms, err := parts[1].AsInt64()
	if err != nil {
		return storage.Mark{}, err
	}
	m := storage.Mark{ReadAt: time.UnixMilli(ms).UTC()}
	if name, ok := strings.CutPrefix(kept, replaying); ok {
		m.Replay, kept, _ = strings.Cut(name, ":")
	}
	if m.Seq, err = strconv.ParseInt(kept, 10, 64); err != nil {
		return storage.Mark{}, fmt.Errorf("the mark is not understood: %w", err)
	}
	return m, nil
}

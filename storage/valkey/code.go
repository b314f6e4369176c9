package valkey

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A code is a hash: its record, what has to match as fields of their own, when
// it expires, and once it is redeemed when that was and until when it is kept.
//
// Times are text of equal length (see stamp), compared as text: a Lua number
// has 53 bits, which a time in microseconds outgrows.
var (
	putCode = valkey.NewLuaScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'record', ARGV[1], 'client', ARGV[2], 'redirect', ARGV[3],
	'challenge', ARGV[4], 'jkt', ARGV[5], 'expires', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
return 1`)

	// A redirect URI may be left out when a challenge protects the code (OAuth
	// 2.1 section 10.2); a challenge, or its absence, is never forgiven (RFC
	// 9700 section 4.8.2). A code that no key was bound to may be redeemed with
	// any (RFC 9449 section 10). Whoever does not match learns nothing and
	// changes nothing.
	redeemCode = valkey.NewLuaScript(`
local client, redirect, challenge, jkt = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now, keep, race, life = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local code = redis.call('HMGET', KEYS[1], 'record', 'client', 'redirect', 'challenge', 'jkt', 'expires', 'used', 'until')
if not code[1] then return {} end
if code[2] ~= client then return {} end
if code[3] ~= redirect and (redirect ~= '' or code[4] == '') then return {} end
if code[4] ~= challenge then return {} end
if code[5] ~= '' and code[5] ~= jkt then return {} end
if code[7] then
	if code[8] <= now then return {} end
	if code[7] < race then return {'replayed', code[1]} end
	return {'raced', code[1]}
end
if code[6] <= now then return {} end
redis.call('HSET', KEYS[1], 'used', now, 'until', keep)
redis.call('PEXPIRE', KEYS[1], life)
return {'redeemed', code[1]}`)
)

// codeSlack is how much longer than its time Valkey keeps a code, so that the
// time given decides whether it is expired, not Valkey's clock.
const codeSlack = 10 * time.Minute

func codeKey(hash string) string { return "code:{" + hash + "}" }

// stamp writes a time, to the microsecond, so that the text sorts as the times
// do: counted from year 1, where the zero time is.
func stamp(t time.Time) string {
	return fmt.Sprintf("%020d", t.UnixMicro()-time.Time{}.UnixMicro())
}

// PutCode implements [storage.Codes].
func (d *DB) PutCode(ctx context.Context, c storage.Code) error {
	c.ExpiresAt = micro(c.ExpiresAt)
	g := &c.Grant
	for _, t := range []*time.Time{&g.AuthTime, &g.CreatedAt, &g.RotatedAt, &g.ExpiresAt, &g.EndsAt, &g.RevokedAt} {
		*t = micro(*t)
	}
	record, err := encode(c)
	if err != nil {
		return err
	}
	life := max(d.life(c.ExpiresAt), 0) + codeSlack
	put, err := d.run(ctx, putCode, codeKey(c.Hash), record, c.ClientID, c.RedirectURIHash,
		c.Challenge, c.JKT, stamp(c.ExpiresAt), milliseconds(life)).AsInt64()
	if err != nil {
		return fmt.Errorf("valkey: put code: %w", err)
	}
	if put == 0 {
		return storage.ErrConflict
	}
	return nil
}

// RedeemCode implements [storage.Codes].
func (d *DB) RedeemCode(ctx context.Context, r storage.Redemption) (storage.Code, storage.CodeVerdict, error) {
	// The life is by the caller's two times, so that Valkey's clock has no say.
	life := max(between(r.Now, r.UsedUntil), 0) + codeSlack
	answer, err := d.run(ctx, redeemCode, codeKey(r.Hash), r.ClientID, r.RedirectURIHash, r.Challenge, r.JKT,
		stamp(r.Now), stamp(r.UsedUntil), stamp(r.Now.Add(-storage.ReplayAfter)), milliseconds(life)).AsStrSlice()
	if err != nil {
		return storage.Code{}, "", fmt.Errorf("valkey: redeem code: %w", err)
	}
	if len(answer) == 0 {
		return storage.Code{}, "", storage.ErrNotFound
	}
	if len(answer) != 2 {
		return storage.Code{}, "", errors.New("valkey: redeem code: the server's answer is not understood")
	}
	var c storage.Code
	if err := decode(answer[1], &c); err != nil {
		return storage.Code{}, "", err
	}
	return c, storage.CodeVerdict(answer[0]), nil
}

package valkey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/gatehouse-id/gatehouse/storage"
)

// bucketPrefix begins the key of a bucket, whose value is the number of uses and
// the end of the window in milliseconds: "3 1764100000000". It lives for a second
// longer than the window. All have one hash tag, since one script counts several.
const bucketPrefix = "{uses}:"

// takeUses is given the time, then limit and window of each bucket. Its answer is
// a line of words: first "1" when all were counted, then what was used before and
// the end of the window, for each.
var takeUses = valkey.NewLuaScript(`
local now, all = tonumber(ARGV[1]), true
local used, ends = {}, {}
for i, value in ipairs(redis.call('MGET', unpack(KEYS))) do
	local n, e = string.match(value or '', '^(%d+) (%d+)$')
	n, e = tonumber(n or 0), tonumber(e or 0)
	if e <= now then n, e = 0, now + tonumber(ARGV[2*i+1]) end
	used[i], ends[i] = n, e
	if n >= tonumber(ARGV[2*i]) then all = false end
end
local answer = all and '1' or '0'
for i, key in ipairs(KEYS) do
	local e = string.format('%.0f', ends[i])
	if all then redis.call('SET', key, used[i] + 1 .. ' ' .. e, 'PX', string.format('%.0f', ends[i] - now + 1000)) end
	answer = answer .. ' ' .. used[i] .. ' ' .. e
end
return answer`)

// giveBack is given, for each bucket, the end of the window that it was used in.
var giveBack = valkey.NewLuaScript(`
for i, value in ipairs(redis.call('MGET', unpack(KEYS))) do
	local n, e = string.match(value or '', '^(%d+) (%d+)$')
	if e == ARGV[i] and tonumber(n) > 0 then
		redis.call('SET', KEYS[i], n - 1 .. ' ' .. e, 'KEEPTTL')
	end
end`)

func bucketKey(u storage.Use) string { return bucketPrefix + u.Bucket.Name + ":" + u.Key }

// Take implements [storage.Buckets], in one round trip.
func (d *DB) Take(ctx context.Context, uses ...storage.Use) ([]storage.Hit, error) {
	if len(uses) == 0 {
		return nil, nil
	}
	keys, args := make([]string, len(uses)), make([]string, 1, 1+2*len(uses))
	args[0] = strconv.FormatInt(d.now().UnixMilli(), 10)
	for i, u := range uses {
		if u.Bucket.Limit < 1 || u.Bucket.Window < time.Millisecond {
			return nil, fmt.Errorf("valkey: take: the bucket %q allows %d in %v", u.Bucket.Name, u.Bucket.Limit, u.Bucket.Window)
		}
		keys[i] = bucketKey(u)
		args = append(args, strconv.Itoa(u.Bucket.Limit), strconv.FormatInt(u.Bucket.Window.Milliseconds(), 10))
	}
	answer, err := d.runOn(ctx, takeUses, keys, args...).ToString()
	if err != nil {
		return nil, fmt.Errorf("valkey: take: %w", err)
	}
	hits, err := readHits(answer, uses)
	if err != nil {
		return nil, fmt.Errorf("valkey: take: the server answered %q: %w", answer, err)
	}
	return hits, nil
}

// readHits reads what takeUses answers.
func readHits(answer string, uses []storage.Use) ([]storage.Hit, error) {
	all, rest, _ := strings.Cut(answer, " ")
	hits := make([]storage.Hit, len(uses))
	for i, u := range uses {
		var n, end string
		n, rest, _ = strings.Cut(rest, " ")
		end, rest, _ = strings.Cut(rest, " ")
		used, err := strconv.Atoi(n)
		ends, err2 := strconv.ParseInt(end, 10, 64)
		if err := errors.Join(err, err2); err != nil {
			return nil, err
		}
		h := storage.Hit{Allowed: used < u.Bucket.Limit, Left: max(u.Bucket.Limit-used, 0), ResetAt: time.UnixMilli(ends).UTC()}
		if all == "1" {
			h.Left-- // this one
		}
		hits[i] = h
	}
	return hits, nil
}

// GiveBack implements [storage.Buckets], in one round trip.
func (d *DB) GiveBack(ctx context.Context, uses []storage.Use, hits []storage.Hit) error {
	refused := func(h storage.Hit) bool { return !h.Allowed }
	if len(hits) == 0 || slices.ContainsFunc(hits, refused) {
		return nil // none was counted
	}
	keys, args := make([]string, len(uses)), make([]string, len(uses))
	for i, u := range uses {
		keys[i], args[i] = bucketKey(u), strconv.FormatInt(hits[i].ResetAt.UnixMilli(), 10)
	}
	if err := d.runOn(ctx, giveBack, keys, args...).Error(); err != nil && !valkey.IsValkeyNil(err) {
		return fmt.Errorf("valkey: give back: %w", err)
	}
	return nil
}

package valkey

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"
	"github.com/valkey-io/valkey-go/valkeylimiter"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A bucket is valkeylimiter's: two keys with one hash tag, the number of uses
// in the window, and the window's end in milliseconds. Both outlive the window
// by a second. Uses that were refused are counted too, beyond the limit; what
// is given back is taken from the uses that were allowed.
const (
	bucketPrefix = "bucket"
	bucketEnd    = ":ex"
)

var giveBack = valkey.NewLuaScript(`
if tonumber(redis.call('GET', KEYS[2])) ~= tonumber(ARGV[1]) then return 0 end
local used = math.min(tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(ARGV[2]))
if used < 1 then return 0 end
redis.call('SET', KEYS[1], used - 1, 'KEEPTTL')
return 1`)

// bucketID is what valkeylimiter is given, and puts in braces.
func bucketID(b storage.Bucket, key string) string { return b.Name + ":" + key }

// Take implements [storage.Buckets]. The window is by the clock of this
// process, which valkeylimiter reads.
func (d *DB) Take(ctx context.Context, b storage.Bucket, key string) (storage.Hit, error) {
	// The library checks neither when they come with the call, and would allow
	// everything.
	if b.Limit < 1 || b.Window < time.Millisecond {
		return storage.Hit{}, fmt.Errorf("valkey: take: the bucket %q allows %d in %v", b.Name, b.Limit, b.Window)
	}
	r, err := d.limiter.Allow(ctx, bucketID(b, key), valkeylimiter.WithCustomRateLimit(b.Limit, b.Window))
	if err != nil {
		return storage.Hit{}, fmt.Errorf("valkey: take: %w", err)
	}
	return storage.Hit{
		Allowed: r.Allowed, Left: int(r.Remaining), ResetAt: time.UnixMilli(r.ResetAtMs).UTC(),
	}, nil
}

// GiveBack implements [storage.Buckets].
func (d *DB) GiveBack(ctx context.Context, b storage.Bucket, key string, h storage.Hit) error {
	if !h.Allowed {
		return nil
	}
	window := bucketPrefix + ":{" + b.Name + ":" + key + "}" + bucketEnd // see bucketID
	count := strings.TrimSuffix(window, bucketEnd)
	end := strconv.FormatInt(h.ResetAt.UnixMilli(), 10)
	if err := d.runOn(ctx, giveBack, []string{count, window}, end, strconv.Itoa(b.Limit)).Error(); err != nil {
		return fmt.Errorf("valkey: give back: %w", err)
	}
	return nil
}

// newLimiter makes valkeylimiter use this connection.
func (d *DB) newLimiter() (valkeylimiter.RateLimiterClient, error) {
	return valkeylimiter.NewRateLimiter(valkeylimiter.RateLimiterOption{
		ClientBuilder: func(valkey.ClientOption) (valkey.Client, error) { return limiterClient{d.client, d}, nil },
		KeyPrefix:     bucketPrefix,
		Limit:         1, Window: time.Second, // every call brings its own
	})
}

// A limiterClient is how valkeylimiter speaks with the server.
type limiterClient struct {
	valkey.Client
	db *DB
}

// Do sends a script (EVALSHA or EVAL, name, number of keys, keys, arguments).
//
// The library takes keys and arguments from memory that it gives to its next
// caller as soon as Do returns. When Do returns because the context has ended,
// the command may still wait to be sent, and would then count for somebody
// else. So what is sent is a copy.
func (c limiterClient) Do(ctx context.Context, command valkey.Completed) valkey.ValkeyResult {
	words := command.Commands()
	keys := 0
	if len(words) > 2 {
		keys, _ = strconv.Atoi(words[2])
	}
	if keys < 1 || len(words) < 3+keys {
		return valkey.NewErrorResult(errors.New("valkey: the limiter sent something else than a script"))
	}
	var text strings.Builder // one piece of memory for all
	size := 0
	for _, w := range words {
		size += len(w)
	}
	text.Grow(size)
	own := make([]string, len(words))
	for i, w := range words {
		start := text.Len()
		text.WriteString(w)
		own[i] = text.String()[start:]
	}
	return c.db.do(ctx, c.B().Arbitrary(own[:3]...).Keys(own[3:3+keys]...).Args(own[3+keys:]...).Build())
}

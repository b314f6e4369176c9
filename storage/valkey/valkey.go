// Package valkey keeps what may expire or be rebuilt: it is [storage.Volatile]
// on a Valkey server, or on one in process ([Embedded]).
//
// Every operation is one round trip. What is single-use is decided by a script
// on the server, and no such command is ever sent twice. A record is one key
// (a bucket two), and its id is the hash tag, so that keys which join it later
// share its slot of a cluster; the denylist shares one tag, and the proofs
// another. Ids are sums of secrets, never the secrets.
package valkey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	// dialTimeout and answerTimeout bound how long an operation waits for a
	// server that is gone. The address may set others (dial_timeout,
	// write_timeout).
	dialTimeout   = 2 * time.Second
	answerTimeout = 3 * time.Second

	// bufferSize is that of the connection's buffers, in bytes: far more than a
	// record has.
	bufferSize = 64 << 10

	// reads are tried again this often, on a new connection. Writes are not:
	// the answer that was lost may have been a yes.
	readRetries    = 2
	readRetryDelay = 20 * time.Millisecond

	// embeddedTick is how often the embedded server notices that time has passed:
	// a key may live so much longer there, or shorter.
	embeddedTick = time.Second
)

// DB is a connection to a Valkey server, safe for concurrent use.
type DB struct {
	// Now is the clock that the records' times are read on, the database's (see
	// [storage.Clock]): a record lives for what its ExpiresAt is ahead of it,
	// whatever time Valkey thinks it is. Nil is time.Now. Set it before use.
	Now func() time.Time
	// OnRoundTrip, if not nil, is called before every round trip. Set it before
	// use.
	OnRoundTrip func()

	client   valkey.Client
	timeout  time.Duration
	address  string
	embedded bool
	observer *observer // nil is nobody
	stop     func()
}

var _ storage.Volatile = (*DB)(nil)

// ErrAddress says of an address that it is none: to try it again is of no use.
var ErrAddress = errors.New("the address is not understood")

// Open connects to the server at address, a URL with the scheme valkey, redis
// or, for TLS, valkeys or rediss; with user, password and the number of a
// database: valkey://user:password@host:6379/0.
func Open(ctx context.Context, address string) (*DB, error) {
	return open(ctx, address, dialTimeout, answerTimeout)
}

// open is Open with what bounds the waiting where the address does not.
func open(ctx context.Context, address string, dial, answer time.Duration) (*DB, error) {
	o, err := valkey.ParseURL(address)
	if err != nil {
		// The error of url.Parse repeats the address, and with it the password.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("valkey: %w: %w", ErrAddress, err)
	}
	if o.Dialer.Timeout == 0 {
		o.Dialer.Timeout = dial
	}
	if o.ConnWriteTimeout == 0 {
		o.ConnWriteTimeout = answer
	}
	o.DisableCache = true // nothing here is read twice
	// One connection, where the default is four: commands of requests that are
	// served at once then leave in one write, which is most of what they cost.
	o.PipelineMultiplex = -1
	o.ReadBufferEachConn, o.WriteBufferEachConn = bufferSize, bufferSize
	o.RetryDelay = func(attempts int, _ valkey.Completed, _ error) time.Duration {
		if attempts > readRetries {
			return -1
		}
		return readRetryDelay
	}
	c, err := valkey.NewClient(o)
	if err != nil {
		return nil, fmt.Errorf("valkey: connect: %w", err)
	}
	d := &DB{client: c, timeout: o.ConnWriteTimeout, address: address, stop: func() {}}
	if err = d.Ping(ctx); err == nil {
		err = d.born(ctx)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return d, nil
}

// URL is the address with the password, for others that use the same server.
// It is a secret.
func (d *DB) URL() string { return d.address }

// Ping implements [storage.Volatile].
func (d *DB) Ping(ctx context.Context) error {
	if err := d.do(ctx, d.client.B().Ping().Build()).Error(); err != nil {
		return fmt.Errorf("valkey: ping: %w", err)
	}
	return nil
}

// Close implements [storage.Volatile].
func (d *DB) Close() error {
	d.client.Close()
	d.stop()
	return nil
}

// Time implements [storage.TimeSource].
func (d *DB) Time(ctx context.Context) (time.Time, error) {
	// Two numbers as text: seconds and microseconds.
	parts, err := d.do(ctx, d.client.B().Time().Build()).AsIntSlice()
	if err != nil {
		return time.Time{}, fmt.Errorf("valkey: time: %w", err)
	}
	if len(parts) != 2 {
		return time.Time{}, fmt.Errorf("valkey: time: the server answered with %d numbers", len(parts))
	}
	return time.Unix(parts[0], parts[1]*int64(time.Microsecond)).UTC(), nil
}

// CheckPolicy returns an error, a sentence that says what to do, unless every
// node of the server has the maxmemory-policy noeviction. Any other throws away
// live records when memory runs out: among them used codes, which would then
// not be noticed when they are replayed.
func (d *DB) CheckPolicy(ctx context.Context) error {
	if d.embedded {
		return nil // it has no limit
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	for node, c := range d.client.Nodes() {
		// INFO, because managed servers refuse CONFIG.
		info, err := c.Do(ctx, c.B().Info().Section("memory").Build()).ToString()
		if err != nil {
			return fmt.Errorf("valkey: %s does not tell its maxmemory-policy (let the user run INFO): %w", node, err)
		}
		policy := "unknown"
		for line := range strings.Lines(info) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:"); ok {
				policy = v
			}
		}
		if policy != "noeviction" {
			return fmt.Errorf("valkey: the maxmemory-policy of %s is %s, which may drop codes and sign-ins that are still needed: set maxmemory-policy to noeviction", node, policy)
		}
	}
	return nil
}

// do sends one command.
func (d *DB) do(ctx context.Context, c valkey.Completed) valkey.ValkeyResult {
	if d.OnRoundTrip != nil {
		d.OnRoundTrip()
	}
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	if d.observer == nil {
		return d.client.Do(ctx, c)
	}
	return d.observer.see(ctx, c.Commands()[0], func(ctx context.Context) valkey.ValkeyResult { return d.client.Do(ctx, c) })
}

// bounded gives an operation its time, if the caller has not. By itself the
// client notices a silent server only when it misses a ping.
func (d *DB) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d.timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d.timeout)
}

// run runs a script on the one key of a record. A server that does not know it
// yet is sent the text, in a second round trip.
func (d *DB) run(ctx context.Context, script *valkey.Lua, key string, args ...string) valkey.ValkeyResult {
	return d.runOn(ctx, script, []string{key}, args...)
}

// runOn runs a script on keys with one hash tag.
func (d *DB) runOn(ctx context.Context, script *valkey.Lua, keys []string, args ...string) valkey.ValkeyResult {
	if d.OnRoundTrip != nil {
		d.OnRoundTrip()
	}
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	if d.observer == nil {
		return script.Exec(ctx, d.client, keys, args)
	}
	return d.observer.see(ctx, "EVALSHA", func(ctx context.Context) valkey.ValkeyResult { return script.Exec(ctx, d.client, keys, args) })
}

// life is how long a record that expires then has to live. It is not positive
// when that is past.
func (d *DB) life(expires time.Time) time.Duration {
	return between(d.now(), expires)
}

func (d *DB) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

// between is the time from one to the other in whole milliseconds, the finest
// that the server counts in; a year at the most.
func between(from, to time.Time) time.Duration {
	return min(to.Sub(from), 365*24*time.Hour).Truncate(time.Millisecond)
}

// milliseconds writes a life as PEXPIRE takes it.
func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func encode(record any) (string, error) {
	b, err := json.Marshal(record)
	if err != nil {
		return "", fmt.Errorf("valkey: encode a record: %w", err)
	}
	return string(b), nil
}

func decode(s string, record any) error {
	if err := json.Unmarshal([]byte(s), record); err != nil {
		return fmt.Errorf("valkey: decode a record: %w", err)
	}
	return nil
}

// micro is how storage keeps times: UTC, to the microsecond.
func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

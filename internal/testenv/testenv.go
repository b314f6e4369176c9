// Package testenv opens the real servers that tests run against.
//
// Each is found in this order: an address in GATEHOUSE_TEST_POSTGRES or
// GATEHOUSE_TEST_VALKEY; a container, when a Docker engine answers and has or
// can pull the image; a private server process from binaries on the machine.
// With none of these a test is skipped with a sentence that says what to
// install, and fails instead when CI is "true".
//
// One server is started per test binary and shared by its tests; it ends with
// the binary, however that ends. What a test is given inside it is its own.
package testenv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/valkey-io/valkey-go"
)

const (
	postgresEnv = "GATEHOUSE_TEST_POSTGRES"
	valkeyEnv   = "GATEHOUSE_TEST_VALKEY"
	// containersEnv is "only" when private servers would miss the point.
	containersEnv = "GATEHOUSE_TEST_CONTAINERS"

	// patience is how long a server may take to start, or to answer.
	patience = 30 * time.Second
	// lease is how long a database of a Valkey server stays taken after its
	// test has died.
	lease = 30 * time.Second
	// starts is how often a private server is started when it ends at once:
	// another process may have taken its port.
	starts = 3
)

var (
	// errMissing says that there is no server and nothing to start one from.
	errMissing = errors.New("no server to test against")
	// errNoEngine says that there is nothing to start a container with.
	errNoEngine = errors.New("no Docker engine answers")
	// errEnded says that waiting longer is in vain.
	errEnded = errors.New("the server has ended")
)

// The servers of this test binary, started by the first test that asks.
var (
	postgresServer = sync.OnceValues(func() (string, error) {
		return open(postgresEnv, postgresContainer, postgresProcess, pingPostgres)
	})
	valkeyServer = sync.OnceValues(func() (string, error) {
		return open(valkeyEnv, valkeyContainer, valkeyProcess, pingValkey)
	})
)

// installPostgres is the advice to whom PostgreSQL is missing.
const installPostgres = "install PostgreSQL 15 or later, or start Docker, or set " + postgresEnv + " to the URL of a server"

// Postgres returns the URL of a fresh, empty database that is dropped when the
// test ends.
func Postgres(t testing.TB) string {
	t.Helper()
	return fresh(t, give(t, postgresServer, installPostgres), "template0")
}

// Valkey returns the URL of an empty database on a Valkey server that no other
// test uses at the same time, in this process or another.
func Valkey(t testing.TB) string {
	t.Helper()
	server := give(t, valkeyServer, "install valkey-server (Debian has it in bookworm-backports and later) or redis-server 7 or later, or start Docker, or set "+valkeyEnv+" to the URL of a server")
	return claim(t, server)
}

// Wipe empties the database that [Valkey] returned, as a crash or a failover
// of the server may at any moment.
func Wipe(t testing.TB, valkeyURL string) {
	t.Helper()
	c, err := dialValkey(valkeyURL)
	if err != nil {
		t.Fatalf("testenv: wipe: %v", err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Do(ctx, c.B().Flushdb().Build()).Error(); err != nil {
		t.Fatalf("testenv: wipe: %v", err)
	}
}

// give returns the server, or ends the test saying what to install.
func give(t testing.TB, server func() (string, error), install string) string {
	t.Helper()
	address, err := server()
	switch {
	case errors.Is(err, errMissing) && os.Getenv("CI") == "true":
		t.Fatalf("%v: %s", err, install)
	case errors.Is(err, errMissing):
		t.Skipf("%v: %s", err, install)
	case err != nil:
		t.Fatal(err)
	}
	return address
}

// open finds or starts a server and waits until it answers.
func open(env string, container func(context.Context) (string, error), process func() (private, error), ping func(context.Context, string) error) (string, error) {
	if address := os.Getenv(env); address != "" {
		if err := await(address, ping); err != nil {
			return "", fmt.Errorf("testenv: the server in %s does not answer: %w", env, err)
		}
		return address, nil
	}
	var refusal error
	if engine() {
		address, err := container(context.Background())
		if err == nil {
			err = await(address, ping)
		}
		if err == nil {
			return address, nil
		}
		// An engine that cannot pull is no reason to fail: the machine may have
		// the binaries. What went wrong is told when it has not.
		refusal = err
	}
	if os.Getenv(containersEnv) == "only" {
		return "", fmt.Errorf("testenv: %s allows nothing but containers: %w", containersEnv, cmp.Or(refusal, errNoEngine))
	}
	for n := 1; ; n++ {
		p, err := process()
		if errors.Is(err, errMissing) && refusal != nil {
			return "", fmt.Errorf("%w (Docker answers, but: %w)", err, refusal)
		}
		address, err := started(p, err, ping)
		if n == starts || !errors.Is(err, errEnded) {
			return address, err
		}
	}
}

// started waits for a private server.
func started(p private, err error, ping func(context.Context, string) error) (string, error) {
	if err != nil {
		return "", err
	}
	err = await(p.url, func(ctx context.Context, address string) error {
		err := ping(ctx, address)
		if err != nil && p.ended() {
			return errors.Join(errEnded, err)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("testenv: a private server did not start: %w\n%s", err, p.output())
	}
	return p.url, nil
}

// await pings until the server answers, has ended, or patience is at an end.
func await(address string, ping func(context.Context, string) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := ping(ctx, address)
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func pingPostgres(ctx context.Context, address string) error {
	c, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

func execPostgres(address, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, statement)
	return errors.Join(err, c.Close(ctx))
}

func dialValkey(address string) (valkey.Client, error) {
	o, err := valkey.ParseURL(address)
	if err != nil {
		return nil, err
	}
	o.ForceSingleClient = true
	o.DisableCache = true
	return valkey.NewClient(o)
}

func pingValkey(ctx context.Context, address string) error {
	c, err := dialValkey(address)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Do(ctx, c.B().Ping().Build()).Error()
}

// claim takes a numbered database of the server, empties it and returns its
// URL. Database 0 is the ledger of those taken: test binaries may share a
// server. A lease is renewed while its test runs.
func claim(t testing.TB, server string) string {
	t.Helper()
	ledger, err := dialValkey(server)
	if err != nil {
		t.Fatalf("testenv: valkey: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		ledger.Close()
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("testenv: %s: %v", valkeyEnv, err)
	}

	deadline := time.Now().Add(patience)
	for n := 1; ; n++ {
		u.Path = fmt.Sprintf("/%d", n)
		db, err := dialValkey(u.String())
		if err != nil && n == 1 {
			t.Fatalf("testenv: valkey has no database but 0, which cannot be shared: %v", err)
		}
		if err != nil { // there is no database n: all are taken
			if time.Now().After(deadline) {
				t.Fatalf("testenv: all %d databases of the Valkey server are taken", n-1)
			}
			time.Sleep(50 * time.Millisecond)
			n = 0
			continue
		}
		key := fmt.Sprintf("gatehouse:testenv:%d", n)
		err = ledger.Do(ctx, ledger.B().Set().Key(key).Value("taken").Nx().Px(lease).Build()).Error()
		if valkey.IsValkeyNil(err) {
			db.Close()
			continue
		}
		if err == nil {
			err = db.Do(ctx, db.B().Flushdb().Build()).Error()
		}
		if err != nil {
			t.Fatalf("testenv: take database %d: %v", n, err)
		}
		go renew(ctx, ledger, key)
		t.Cleanup(func() {
			err := errors.Join(
				db.Do(ctx, db.B().Flushdb().Build()).Error(),
				ledger.Do(ctx, ledger.B().Del().Key(key).Build()).Error(),
			)
			db.Close()
			if err != nil {
				t.Errorf("testenv: give back database %d: %v", n, err)
			}
		})
		return u.String()
	}
}

// renew keeps the lease until ctx ends.
func renew(ctx context.Context, ledger valkey.Client, key string) {
	tick := time.NewTicker(lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// A failure shows in the test itself, which has lost its server.
			ledger.Do(ctx, ledger.B().Set().Key(key).Value("taken").Px(lease).Build())
		}
	}
}

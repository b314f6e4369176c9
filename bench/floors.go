package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/valkey-io/valkey-go"
	"golang.org/x/crypto/argon2"
)

// A floor is what something costs that every server does, done in this process by
// one caller.
type floor struct {
	name string
	// each is the time that one takes, half of the time; cpu is the processor time
	// of one in this process, which for a trip is that of the one who asks.
	each, cpu time.Duration
}

// alone does something again and again for so long.
func alone(name string, enough time.Duration, do func() error) (floor, error) {
	f := floor{name: name}
	var took []time.Duration
	used := cpuOf(os.Getpid())
	before, err := used()
	if err != nil {
		return f, err
	}
	for start := time.Now(); time.Since(start) < enough; {
		began := time.Now()
		if err := do(); err != nil {
			return f, fmt.Errorf("%s: %w", name, err)
		}
		took = append(took, time.Since(began))
	}
	after, err := used()
	f.each, f.cpu = median(took), (after-before)/time.Duration(len(took))
	return f, err
}

// The floors that others are compared with.
const (
	floorSignature = "One ES256 signature"
	floorHash      = "One argon2id hash, by as many callers as processors"
	floorCommit    = "One commit in PostgreSQL"
	floorTrip      = "One trip to Valkey"
)

// floors measures what is not HTTP.
func floors(ctx context.Context, postgres, volatile string, enough time.Duration) (all []floor, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte("what is signed"))

	sql, err := pgx.Connect(ctx, postgres)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sql.Close(ctx) }() // it has answered
	if _, err := sql.Exec(ctx, "create table if not exists bench_commits (id bigint generated always as identity primary key, what text not null)"); err != nil {
		return nil, err
	}
	defer func() {
		if _, e := sql.Exec(ctx, "drop table bench_commits"); err == nil {
			err = e
		}
	}()

	options, err := valkey.ParseURL(volatile)
	if err != nil {
		return nil, err
	}
	options.DisableCache = true // as the server has it
	client, err := valkey.NewClient(options)
	if err != nil {
		return nil, err
	}
	defer client.Close()

	for _, f := range []struct {
		name string
		do   func() error
	}{
		{floorSignature, func() error {
			_, _, err := ecdsa.Sign(rand.Reader, key, digest[:])
			return err
		}},
		{floorCommit, func() error {
			_, err := sql.Exec(ctx, "insert into bench_commits (what) values ($1)", "something short")
			return err
		}},
		{floorTrip, func() error { return client.Do(ctx, client.B().Ping().Build()).Error() }},
	} {
		one, err := alone(f.name, enough, f.do)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// hashing measures a password hash as a server makes them under load: one on each
// processor at once, which share a memory that is slower than they are. It goes
// with the case that hashes.
func hashing(enough time.Duration) (floor, error) {
	var all sync.WaitGroup
	callers := runtime.GOMAXPROCS(0)
	floors, failed := make([]floor, callers), make([]error, callers)
	var done atomic.Int64
	before, err := cpuOf(os.Getpid())()
	if err != nil {
		return floor{}, err
	}
	for i := range callers {
		all.Go(func() {
			floors[i], failed[i] = alone(floorHash, enough, func() error {
				// The parameters of package login.
				argon2.IDKey([]byte("seventeen green lanterns"), []byte("sixteen bytes of"), 2, 19*1024, 1, 32)
				done.Add(1)
				return nil
			})
		})
	}
	all.Wait()
	after, err := cpuOf(os.Getpid())()
	floors[0].cpu = (after - before) / time.Duration(done.Load())
	return floors[0], errors.Join(err, errors.Join(failed...))
}

// cpuOfFloor returns the processor time of a floor of that name.
func cpuOfFloor(all []floor, name string) time.Duration {
	for _, f := range all {
		if f.name == name {
			return f.cpu
		}
	}
	return 0
}

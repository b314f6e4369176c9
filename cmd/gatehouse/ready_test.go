//go:build !slim

package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
)

// serverConfig is a server on a migrated database and a Valkey of their own.
func serverConfig(t *testing.T, environ ...string) Config {
	t.Helper()
	environ = append([]string{
		"GATEHOUSE_URL=https://id.example.org", "GATEHOUSE_ADDR=localhost:" + freePort(t),
		"GATEHOUSE_SEAL_KEY=" + hexKey, "GATEHOUSE_MAIL_KEY=" + hexKey,
	}, environ...)
	c, err := parseConfig(environ)
	if err != nil {
		t.Fatal(err)
	}
	if err := migrateSQL(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

// firstPartyClient registers the client of gRPC.
func firstPartyClient(t *testing.T, c Config, id string) {
	t.Helper()
	sql, err := openSQL(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sql.Close() }()
	if err := sql.CreateClient(t.Context(), storage.Client{
		ID: id, Name: id, AuthMethod: storage.AuthNone, FirstParty: true,
		RedirectURIs: []string{"https://app.example/callback"},
		GrantTypes:   []string{"authorization_code", "refresh_token"},
		CreatedAt:    time.Now(), UpdatedAt: time.Now(),
	}); err != nil {
		t.Fatal(err)
	}
}

// TestReady cuts a running server off from what it needs, in the two ways in
// which that happens.
func TestReady(t *testing.T) {
	t.Parallel()
	database, databaseURL := newWire(t, testenv.Postgres(t))
	valkey, valkeyURL := newWire(t, testenv.Valkey(t))
	setup := serverConfig(t, "GATEHOUSE_DATABASE_URL="+databaseURL, "GATEHOUSE_VALKEY_URL="+valkeyURL, "GATEHOUSE_GRPC_ADDR=localhost:"+freePort(t), "GATEHOUSE_GRPC_CLIENT=app")
	firstPartyClient(t, setup, "app")
	s, _ := servingGRPC(t, setup)
	conn, err := grpc.NewClient(setup.GRPCAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	health := healthv1.NewHealthClient(conn)
	status := func(service string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		r, err := health.Check(ctx, &healthv1.HealthCheckRequest{Service: service})
		if err != nil {
			return err.Error()
		}
		return r.GetStatus().String()
	}
	answers := func(path string) string { return get(s.handler, path).Body.String() }
	for _, tt := range []struct {
		name string
		down func()
		want string
		mend func(*testing.T)
	}{
		{"a database that refuses", database.cut, "not ready: database\n", database.mend},
		{"a database that is silent", database.hang, "not ready: database\n", database.mend},
		{"a Valkey that refuses", valkey.cut, "not ready: valkey\n", valkey.mend},
		{"a Valkey that is silent", valkey.hang, "not ready: valkey\n", valkey.mend},
		{"both", func() { database.cut(); valkey.cut() }, "not ready: database, valkey\n", func(t *testing.T) { database.mend(t); valkey.mend(t) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			await(t, "the server is ready", func() bool { return answers("/readyz") == "ready\n" })
			await(t, "and gRPC says so", func() bool { return status("") == "SERVING" && status("gatehouse.auth.v1.AccountService") == "SERVING" })
			tt.down()
			await(t, tt.want+", and in time", func() bool {
				started := time.Now() // a busy machine may take longer now and then
				return answers("/readyz") == tt.want && time.Since(started) <= readyWithin+time.Second
			})
			if w := get(s.handler, "/readyz"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("/readyz is %d, kept: %q", w.Code, w.Header().Get("Cache-Control"))
			}
			for _, path := range []string{"/livez", "/healthz"} {
				if w := get(s.handler, path); w.Code != http.StatusOK || w.Body.String() != "ok\n" {
					t.Errorf("%s is %d %q: the server would be started anew", path, w.Code, w.Body)
				}
			}
			await(t, "gRPC is not served", func() bool {
				return status("") == "NOT_SERVING" && status("gatehouse.auth.v1.AccountService") == "NOT_SERVING"
			})
			tt.mend(t)
			await(t, "the server is ready again", func() bool { return answers("/readyz") == "ready\n" })
			await(t, "and gRPC is served", func() bool { return status("") == "SERVING" })
		})
	}
}

// sec-P4: however many ask whether the server is ready, and however often, the
// database is asked once a second, and the answer is the same for all.
func TestProbesAreShared(t *testing.T) {
	var asked atomic.Int64
	open := make(chan error)
	r := &readiness{log: quiet, dependencies: []dependency{{"database", func(context.Context) error {
		asked.Add(1)
		return <-open
	}}}}
	answers := make(chan error, 64)
	var waiting sync.WaitGroup
	for range cap(answers) {
		waiting.Go(func() { answers <- r.check(t.Context(), time.Hour) })
	}
	open <- errors.New("gone")
	waiting.Wait()
	for range cap(answers) {
		if err := <-answers; err == nil || !strings.Contains(err.Error(), "database: gone") {
			t.Errorf("one is told %v", err)
		}
	}
	if err := r.check(t.Context(), time.Hour); err == nil {
		t.Error("what was just asked is asked again")
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the database was asked %d times", n)
	}
	go func() { open <- nil }()
	if err := r.check(t.Context(), 0); err != nil || asked.Load() != 2 {
		t.Errorf("an answer of before is given (%v)", err)
	}
}

// Whoever stops waiting leaves the question to the others.
func TestProbeGivenUp(t *testing.T) {
	open := make(chan error)
	r := &readiness{log: quiet, dependencies: []dependency{{"database", func(ctx context.Context) error {
		select {
		case err := <-open:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}}}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.check(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("one who is gone is told %v", err)
	}
	answer := make(chan error, 1)
	go func() { answer <- r.check(t.Context(), 0) }()
	open <- nil
	if err := <-answer; err != nil {
		t.Errorf("the next is told %v", err)
	}
}

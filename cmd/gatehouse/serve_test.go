//go:build !slim

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
)

var quiet = slog.New(slog.DiscardHandler)

// embeddedConfig is a server in embedded mode on a port and in a directory of
// its own.
func embeddedConfig(t *testing.T) Config {
	t.Helper()
	c, err := parseConfig([]string{
		"GATEHOUSE_STATE_DIR=" + filepath.Join(t.TempDir(), "state"),
		"GATEHOUSE_ADDR=localhost:" + freePort(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// built builds a server that ends with the test.
func built(t *testing.T, c Config) *server {
	t.Helper()
	s, err := build(context.Background(), c, quiet, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost:8080"+path, nil))
	return w
}

// await asks until ok, and fails the test when that takes too long.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after a minute: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// A request that came before the signal is answered; the server is not ready
// meanwhile, and takes no new one.
func TestShutdownDrains(t *testing.T) {
	c := embeddedConfig(t)
	s := built(t, c)
	if code := get(s.handler, "/readyz").Code; code != http.StatusServiceUnavailable {
		t.Errorf("a server that does not run yet answers /readyz with %d", code)
	}
	inside, goOn := make(chan struct{}), make(chan struct{})
	pages := s.handler
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(inside)
			<-goOn
			return
		}
		pages.ServeHTTP(w, r)
	})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	await(t, "the server is ready", func() bool { return get(s.handler, "/readyz").Code == http.StatusOK })

	answered := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + c.Addr + "/slow")
		if err == nil {
			err = resp.Body.Close()
		}
		answered <- err
	}()
	<-inside
	stop()
	await(t, "the server takes no new request", func() bool {
		resp, err := http.Get("http://" + c.Addr + "/healthz")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err != nil
	})
	if code := get(s.handler, "/readyz").Code; code != http.StatusServiceUnavailable {
		t.Errorf("a server that is ending answers /readyz with %d", code)
	}
	select {
	case err := <-ended:
		t.Fatalf("the server ended before its request: %v", err)
	default:
	}
	close(goOn)
	if err := <-answered; err != nil {
		t.Errorf("the request was cut off: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func TestAddressInUse(t *testing.T) {
	c := embeddedConfig(t)
	ls, err := listen(context.Background(), "GATEHOUSE_ADDR", c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range ls {
		defer func() { _ = l.Close() }()
	}
	if err := built(t, c).Run(context.Background()); err == nil || !strings.Contains(err.Error(), "GATEHOUSE_ADDR is "+c.Addr) {
		t.Errorf("a server on an address in use: %v", err)
	}
}

// The app of embedded mode follows the address of the server.
func TestDevClientFollowsTheAddress(t *testing.T) {
	c := embeddedConfig(t)
	first := built(t, c)
	made, err := first.sql.Client(context.Background(), devClient)
	if err != nil {
		t.Fatal(err)
	}
	if made.FirstParty || !made.Public() {
		t.Errorf("the app should be public and ask for consent: %+v", made)
	}
	c.URL = "http://localhost:9999"
	again, err := built(t, c).sql.Client(context.Background(), devClient)
	if err != nil || len(again.RedirectURIs) != 1 || again.RedirectURIs[0] != "http://localhost:9999/dev/app/callback" {
		t.Errorf("the redirect URIs are %v (%v)", again.RedirectURIs, err)
	}
	if !again.CreatedAt.Equal(made.CreatedAt) {
		t.Error("the app was made anew, not updated")
	}
}

// Elsewhere than in embedded mode nothing is done by itself, and nothing that
// is for newcomers exists.
func TestServerElsewhere(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) { elsewhere(t, testenv.Postgres(t)) })
	t.Run("SQLite", func(t *testing.T) { elsewhere(t, "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db")) })
}

func elsewhere(t *testing.T, database string) {
	ctx := context.Background()
	c, err := parseConfig([]string{
		"GATEHOUSE_DATABASE_URL=" + database,
		"GATEHOUSE_VALKEY_URL=" + testenv.Valkey(t),
		"GATEHOUSE_SEAL_KEY=" + hexKey, "GATEHOUSE_MAIL_KEY=" + hexKey,
		"GATEHOUSE_URL=https://id.example.org",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := build(ctx, c, quiet, io.Discard); err == nil || !strings.Contains(err.Error(), `run "gatehouse migrate" first`) {
		t.Fatalf("a server on an old schema: %v", err)
	}
	for range 2 { // the second time there is nothing to do
		if err := migrateSQL(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	s := built(t, c)
	if code := get(s.handler, "/.well-known/openid-configuration").Code; code != http.StatusOK {
		t.Errorf("discovery is %d", code)
	}
	for _, path := range []string{"/dev", "/dev/", "/dev/app", "/dev/app/callback", "/dev/mail"} {
		if code := get(s.handler, path).Code; code != http.StatusNotFound {
			t.Errorf("%s is %d, not 404", path, code)
		}
	}
	if _, err := s.sql.Client(ctx, devClient); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the app of embedded mode is registered (%v)", err)
	}
	if s.login.RegistrationOpen() {
		t.Error("registration is open although nobody said for whom")
	}
	// Servers of one database sign with the same keys.
	if one, two := get(s.handler, "/jwks").Body.String(), get(built(t, c).handler, "/jwks").Body.String(); one != two {
		t.Errorf("one server publishes\n%s\nand another\n%s", one, two)
	}
	// A database sealed with another key is not taken over.
	c.SealKey = Secret(strings.Repeat("x", 32))
	if _, err := build(ctx, c, quiet, io.Discard); err == nil {
		t.Error("a server with another GATEHOUSE_SEAL_KEY starts")
	}
}

// ahead is a clock that is ahead of ours.
type ahead time.Duration

func (a ahead) Time(context.Context) (time.Time, error) {
	return time.Now().Add(time.Duration(a)), nil
}

func TestClocks(t *testing.T) {
	ctx := context.Background()
	for _, tt := range []struct {
		name             string
		database, valkey time.Duration
		want             string // part of the error; empty is none
	}{
		{"one time everywhere", 0, 0, ""},
		{"a few seconds do not matter", 3 * time.Second, 0, ""},
		{"a database ahead stops the start", 9 * time.Second, 9 * time.Second, "this host and of the database"},
		{"a database behind stops the start", -9 * time.Second, -9 * time.Second, "this host and of the database"},
		{"a Valkey ahead stops the start", 0, 9 * time.Second, "the database and of Valkey"},
		{"a Valkey behind the database stops the start", 4 * time.Second, -4 * time.Second, "the database and of Valkey"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock, err := storage.NewClock(ctx, ahead(tt.database))
			if err != nil {
				t.Fatal(err)
			}
			err = checkClocks(ctx, clock, ahead(tt.valkey))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("the error is %v, without %q", err, tt.want)
			}
		})
	}
}

// Ended sessions are removed in as many batches as it takes, live ones are not.
func TestPurge(t *testing.T) {
	ctx := context.Background()
	s := built(t, embeddedConfig(t))
	now := s.clock.Now()
	u := storage.User{ID: "0198c0de-0000-7000-8000-000000000001", Email: "ada@example.org", Name: "Ada", Status: storage.UserActive, CreatedAt: now, UpdatedAt: now}
	if err := s.sql.CreateUser(ctx, u, "$argon2id$"); err != nil {
		t.Fatal(err)
	}
	const ended = 2*purgeBatch + 1
	for i := range ended + 1 {
		end := now.Add(-time.Minute)
		if i == ended {
			end = now.Add(time.Hour)
		}
		if err := s.sql.CreateSession(ctx, storage.Session{
			ID: fmt.Sprintf("session-%d", i), SecretHash: fmt.Appendf(nil, "%032d", i), UserID: u.ID, UserEpoch: u.Epoch,
			AuthTime: now, CreatedAt: now, ExpiresAt: end, EndsAt: end,
		}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.purgeOnce(ctx); err != nil {
		t.Fatal(err)
	}
	if n, err := s.sql.DeleteExpiredSessions(ctx, now, purgeBatch); n != 0 || err != nil {
		t.Errorf("%d ended sessions were left (%v)", n, err)
	}
	if _, _, err := s.sql.SessionBySecret(ctx, fmt.Appendf(nil, "%032d", ended), now); err != nil {
		t.Errorf("the live session: %v", err)
	}
}

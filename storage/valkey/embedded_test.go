//go:build !slim

package valkey_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"testing"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/storagetest"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

func embedded(t *testing.T) *valkey.DB {
	t.Helper()
	d, err := valkey.Embedded(t.Context())
	for tries := 0; err != nil && tries < 10; tries++ { // a busy machine may answer too late
		d, err = valkey.Embedded(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestVolatileEmbedded(t *testing.T) {
	t.Parallel()
	storagetest.TestVolatile(t, func(t *testing.T) (storage.Volatile, func()) {
		d := embedded(t)
		return d, func() { testenv.Wipe(t, d.URL()) }
	})
}

func TestEmbedded(t *testing.T) {
	t.Run("others reach the same memory at its address", func(t *testing.T) {
		d := embedded(t)
		if err := d.PutFlow(t.Context(), flow()); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, d.URL()).Flow(t.Context(), "flow-id"); err != nil {
			t.Error(err)
		}
	})
	t.Run("two are two", func(t *testing.T) {
		a, b := embedded(t), embedded(t)
		if err := a.PutFlow(t.Context(), flow()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Flow(t.Context(), "flow-id"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("got %v, want %v", err, storage.ErrNotFound)
		}
	})
	t.Run("it listens on loopback alone and wants its password", func(t *testing.T) {
		u, err := url.Parse(embedded(t).URL())
		if err != nil {
			t.Fatal(err)
		}
		if ip := net.ParseIP(u.Hostname()); !ip.IsLoopback() {
			t.Errorf("it listens on %s", u.Host)
		}
		for _, user := range []*url.Userinfo{nil, url.UserPassword("", "guess")} {
			u.User = user
			if d, err := valkey.Open(t.Context(), u.String()); err == nil {
				d.Close()
				t.Errorf("it lets %v in", user)
			}
		}
	})
	t.Run("it has no policy to be refused for", func(t *testing.T) {
		if err := embedded(t).CheckPolicy(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("it is waited for longer than a server that may be gone", func(t *testing.T) {
		d := embedded(t)
		// It does one thing at a time, and this one takes it four seconds or five.
		busy := direct(t, d.URL()+"?write_timeout=1m&client_cache=0")
		done := make(chan error, 1)
		go func() {
			const script = `local began = redis.call('TIME')[1]
				while redis.call('TIME')[1] - began < 5 do end`
			done <- busy.Do(context.Background(), busy.B().Eval().Script(script).Numkeys(0).Build()).Error()
		}()
		<-time.After(200 * time.Millisecond)
		if err := d.PutFlow(t.Context(), flow()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil && !valkeygo.IsValkeyNil(err) {
			t.Error(err)
		}
	})
	t.Run("closed, even twice, it is gone", func(t *testing.T) {
		d := embedded(t)
		if err := errors.Join(d.Close(), d.Close()); err != nil {
			t.Error(err)
		}
		u, err := url.Parse(d.URL())
		if err != nil {
			t.Fatal(err)
		}
		if c, err := net.Dial("tcp", u.Host); err == nil {
			c.Close()
			t.Error("it still listens")
		}
	})
}

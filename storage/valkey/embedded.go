//go:build !slim

package valkey

import (
	"context"
	"crypto/rand"
	"net/url"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// embeddedTimeout bounds how long an operation waits for the embedded server, which
// is never gone: where it is late the machine is busy, and we are late with it.
const embeddedTimeout = 20 * time.Second

// Embedded starts a server in this process, on loopback with a password of its
// own, and connects to it. It forgets everything when it is closed.
func Embedded(ctx context.Context) (*DB, error) {
	m := miniredis.NewMiniRedis()
	password := rand.Text()
	m.RequireAuth(password)
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return nil, err
	}
	// The scheme redis is the one that others understand too.
	address := url.URL{Scheme: "redis", User: url.UserPassword("", password), Host: m.Addr()}
	d, err := open(ctx, address.String(), embeddedTimeout, embeddedTimeout)
	if err != nil {
		m.Close()
		return nil, err
	}
	done := make(chan struct{})
	var pass sync.WaitGroup
	pass.Go(func() { expire(m, done) })
	d.embedded = true
	d.stop = sync.OnceFunc(func() {
		close(done)
		pass.Wait()
		m.Close()
	})
	return d, nil
}

// expire makes time pass in m, which does not by itself, until done.
func expire(m *miniredis.Miniredis, done <-chan struct{}) {
	tick := time.NewTicker(embeddedTick)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			now := time.Now()
			m.FastForward(now.Sub(last))
			last = now
		}
	}
}

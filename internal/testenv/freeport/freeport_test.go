package freeport_test

import (
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/gatehouse-id/gatehouse/internal/testenv/freeport"
)

func TestFor(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			p := freeport.For(t)
			mu.Lock()
			defer mu.Unlock()
			if seen[p] {
				t.Errorf("%s is returned twice", p)
			}
			seen[p] = true
		})
	}
	all.Wait()
	for p := range seen {
		// Whoever connects may be given one above, and browsers refuse 10080.
		if n, err := strconv.Atoi(p); err != nil || n <= 10080 || n >= 32768 {
			t.Errorf("%s is not between", p)
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", p))
		if err != nil {
			t.Errorf("nobody can listen at it: %v", err)
			continue
		}
		_ = l.Close()
	}
}

func TestReserve(t *testing.T) {
	p, release, err := freeport.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", p)
	if c, err := net.ListenPacket("udp", address); err == nil {
		_ = c.Close()
		t.Error("nobody else can see that the port is taken")
	}
	release()
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatalf("given back, the port is still taken: %v", err)
	}
	_ = c.Close()
}

package main

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// A wire is a TCP connection to a server that can be cut, or fall silent as one
// does behind a firewall that drops what it is sent.
type wire struct {
	listener net.Listener
	to       string

	mu     sync.Mutex
	silent bool
	// quiet is closed when the wire is no longer silent.
	quiet chan struct{}
	conns map[net.Conn]bool
}

// newWire leads to the server of an address such as postgres://host:port/name,
// and returns that address by way of the wire.
func newWire(t *testing.T, address string) (*wire, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l := &wire{to: u.Host, conns: map[net.Conn]bool{}, quiet: make(chan struct{})}
	if l.listener, err = net.Listen("tcp", "127.0.0.1:"+freePort(t)); err != nil { // which mend finds free again
		t.Fatal(err)
	}
	u.Host = l.listener.Addr().String()
	go l.serve(l.listener)
	t.Cleanup(l.cut)
	return l, u.String()
}

func (l *wire) serve(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		l.conns[c] = true
		l.mu.Unlock()
		go l.carry(c)
	}
}

// carry copies both ways until the wire is cut.
func (l *wire) carry(c net.Conn) {
	defer func() { _ = c.Close() }()
	l.pass()
	server, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	l.mu.Lock()
	l.conns[server] = true
	l.mu.Unlock()
	go func() {
		_, _ = io.Copy(server, loud{l, c})
		_ = server.Close()
	}()
	_, _ = io.Copy(c, loud{l, server})
}

// loud reads what is sent while the wire is not silent.
type loud struct {
	l *wire
	net.Conn
}

func (r loud) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.l.pass()
	return n, err
}

// pass waits while the wire is silent.
func (l *wire) pass() {
	l.mu.Lock()
	silent, quiet := l.silent, l.quiet
	l.mu.Unlock()
	if silent {
		<-quiet
	}
}

// hang has the wire take everything and bring nothing.
func (l *wire) hang() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
}

// cut ends every connection and refuses new ones.
func (l *wire) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent {
		l.silent = false
		close(l.quiet)
		l.quiet = make(chan struct{})
	}
	_ = l.listener.Close()
	for c := range l.conns {
		_ = c.Close()
	}
	clear(l.conns)
}

// mend has the wire work again. What was in it while it was silent is lost.
func (l *wire) mend(t *testing.T) {
	t.Helper()
	l.cut()
	l.mu.Lock()
	defer l.mu.Unlock()
	address := l.listener.Addr().String()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	l.listener = listener
	go l.serve(listener)
}

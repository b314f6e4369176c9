// Package freeport finds ports for the servers that tests start and that cannot be
// told to take any port and say which.
package freeport

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
	"testing"
)

// The ports above, the ephemeral ones, are what systems give to whoever connects or
// wants any port: from 32768 on Linux, from 49152 elsewhere. Such a port may be free
// when one looks, and somebody's when the server listens there at last, which is
// minutes later where it has to be built first. Below are those that browsers refuse
// to connect to, the last of which is 10080.
const (
	lowest = 11_000
	below  = 32_768
)

// For returns a TCP port of localhost on which nobody listens, by IPv4 or IPv6, and
// which is for this test alone: until it ends no other call returns it, in this
// process or another.
func For(t testing.TB) string {
	t.Helper()
	port, release, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return port
}

// Reserve is For until release is called, or the process ends.
func Reserve() (port string, release func(), err error) {
	for range 1000 {
		port = strconv.Itoa(lowest + rand.IntN(below-lowest))
		address := net.JoinHostPort("127.0.0.1", port)
		// By having the port of UDP of that number one tells other calls that it is
		// taken, and is in no server's way, which wants that of TCP.
		var taken net.PacketConn
		if taken, err = net.ListenPacket("udp", address); err != nil {
			continue
		}
		if inUse := errors.Join(unused(address), unused(net.JoinHostPort("::1", port))); inUse != nil {
			err = errors.Join(inUse, taken.Close())
			continue
		}
		// Being read from it stays open: what nobody holds the garbage collector closes.
		go func() { _, _ = io.Copy(io.Discard, taken.(io.Reader)) }()
		return port, func() { _ = taken.Close() }, nil
	}
	return "", nil, fmt.Errorf("freeport: none of 1,000 is: %w", err)
}

// unused returns an error when somebody listens at the address. Nobody does at one
// that this machine does not have.
func unused(address string) error {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return err
	case err != nil:
		return nil
	}
	return l.Close()
}

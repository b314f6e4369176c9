package provider

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/gatehouse-id/gatehouse/keys"
)

// sec-P1: the memory for verified tokens is bounded, and keeps those that are
// used.
func TestOpenedTokens(t *testing.T) {
	var o openedTokens
	ring := &keys.JWKS{}
	numbered := func(i int) (sum [sha256.Size]byte) {
		binary.BigEndian.PutUint64(sum[:], uint64(i))
		return sum
	}
	used := &accessClaims{Subject: "used"}
	o.put(numbered(0), ring, used)
	for i := 1; i <= 3*maxOpened; i++ {
		o.put(numbered(i), ring, &accessClaims{})
		if i%1000 == 0 && o.get(numbered(0), ring) != used {
			t.Fatalf("a token in use is forgotten after %d others", i)
		}
		if n := len(o.young) + len(o.old); n > maxOpened {
			t.Fatalf("%d tokens are remembered, of at most %d", n, maxOpened)
		}
	}
	if o.get(numbered(1), ring) != nil {
		t.Error("a token that nobody used is remembered for ever")
	}
	if o.get(numbered(0), &keys.JWKS{}) != nil {
		t.Error("a token is remembered that other keys verified")
	}
	if o.get(numbered(0), ring) != nil {
		t.Error("a token comes back with the keys of before")
	}
}

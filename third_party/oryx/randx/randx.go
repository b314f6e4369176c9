// Package randx is what fosite uses of github.com/ory/x/randx.
package randx

import (
	"crypto/rand"
	"errors"
	"math/big"
)

// AlphaUpper is the Latin alphabet in upper case.
var AlphaUpper = []rune("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

// RuneSequence returns n runes drawn from allowed, each equally likely.
func RuneSequence(n int, allowed []rune) ([]rune, error) {
	if len(allowed) == 0 {
		return nil, errors.New("randx: no runes to draw from")
	}
	out := make([]rune, n)
	for i := range out {
		j, err := rand.Int(rand.Reader, big.NewInt(int64(len(allowed))))
		if err != nil {
			return nil, err
		}
		out[i] = allowed[j.Int64()]
	}
	return out, nil
}

package provider

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/gatehouse-id/gatehouse/keys"
)

// A refreshToken is a grant plus a number: the id of the key that authenticates
// it, the handle that only its SHA-256 sum of is stored, and the generation.
// Nothing of it is looked up before its HMAC has been checked.
type refreshToken struct {
	keyID      string
	handle     [handleSize]byte
	generation uint32
}

const (
	// refreshPrefix lets a secret scanner recognise a leaked token.
	refreshPrefix = "gate_rt_"
	keyIDSize     = 8
	handleSize    = 16
	refreshBody   = keyIDSize + handleSize + 4
	refreshSize   = refreshBody + sha256.Size
)

// refreshEncoding has one spelling for one token: 60 bytes are 80 characters
// with no bits to spare.
var refreshEncoding = base64.RawURLEncoding.Strict()

// seal renders the token, authenticated by key.
func (t refreshToken) seal(key []byte) string {
	var b [refreshSize]byte
	copy(b[:keyIDSize], t.keyID)
	copy(b[keyIDSize:], t.handle[:])
	binary.BigEndian.PutUint32(b[keyIDSize+handleSize:], t.generation)
	copy(b[refreshBody:], refreshMAC(key, b[:refreshBody]))
	return refreshPrefix + refreshEncoding.EncodeToString(b[:])
}

func refreshMAC(key, body []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("gatehouse refresh token\x00"))
	m.Write(body)
	return m.Sum(nil)
}

// parseRefreshToken takes a token apart. It has not been authenticated.
func parseRefreshToken(s string) (t refreshToken, body, mac []byte, ok bool) {
	encoded, found := strings.CutPrefix(s, refreshPrefix)
	if !found || len(encoded) != refreshEncoding.EncodedLen(refreshSize) {
		return t, nil, nil, false
	}
	b, err := refreshEncoding.DecodeString(encoded)
	if err != nil || len(b) != refreshSize {
		return t, nil, nil, false
	}
	t.keyID = string(b[:keyIDSize])
	copy(t.handle[:], b[keyIDSize:])
	t.generation = binary.BigEndian.Uint32(b[keyIDSize+handleSize:])
	return t, b[:refreshBody], b[refreshBody:], true
}

// openRefreshToken returns the token if a key of ours made it. An error is a
// fault: the keys could not be read.
func (p *Provider) openRefreshToken(ctx context.Context, s string) (t refreshToken, ours bool, err error) {
	t, body, mac, ok := parseRefreshToken(s)
	if !ok {
		return t, false, nil
	}
	key, err := p.keys.SecretByID(ctx, keys.PurposeRefresh, t.keyID)
	switch {
	case errors.Is(err, keys.ErrNoKey):
		return t, false, nil
	case err != nil:
		return t, false, err
	}
	return t, hmac.Equal(mac, refreshMAC(key, body)), nil
}

// handleHash is what storage knows a handle by.
func (t refreshToken) handleHash() []byte {
	sum := sha256.Sum256(t.handle[:])
	return sum[:]
}

// newRefreshToken begins a family: a random handle, and generation 1.
func newRefreshToken() refreshToken {
	t := refreshToken{generation: 1}
	_, _ = rand.Read(t.handle[:]) // never fails
	return t
}

// mint renders the token under the key that mints now.
func (p *Provider) mint(t refreshToken) string {
	id, key := p.keys.Secret(keys.PurposeRefresh)
	t.keyID = id
	return t.seal(key)
}

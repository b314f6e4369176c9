package keys

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// ErrSealed says that a stored key does not open with the seal key given.
var ErrSealed = errors.New("the key in GATEHOUSE_SEAL_KEY does not open it: " +
	"it is not the one it was sealed with, or the stored key was changed")

// sealVersion is the first byte of everything sealed: XChaCha20-Poly1305 under
// the seal key itself.
const sealVersion = 1

// A seal closes keys for storage and opens them again. A sealed key is a
// version byte, a random nonce of 24 bytes and the ciphertext. The purpose and
// the id of the key are authenticated with it, so that a row of one ring opens
// in no other.
type seal struct{ aead cipher.AEAD }

func newSeal(key []byte) (seal, error) {
	if len(key) != chacha20poly1305.KeySize {
		return seal{}, fmt.Errorf("keys: GATEHOUSE_SEAL_KEY must be %d bytes, not %d", chacha20poly1305.KeySize, len(key))
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return seal{}, fmt.Errorf("keys: seal key: %w", err)
	}
	return seal{aead}, nil
}

func (s seal) close(purpose, id string, secret []byte) []byte {
	sealed := make([]byte, 1+s.aead.NonceSize(), 1+s.aead.NonceSize()+len(secret)+s.aead.Overhead())
	sealed[0] = sealVersion
	nonce := sealed[1:]
	rand.Read(nonce) // never fails: crypto/rand ends the process instead
	return s.aead.Seal(sealed, nonce, secret, sealedFor(purpose, id))
}

func (s seal) open(purpose, id string, sealed []byte) ([]byte, error) {
	if len(sealed) < 1+s.aead.NonceSize()+s.aead.Overhead() {
		return nil, fmt.Errorf("keys: open key %q: sealed text of %d bytes is too short", id, len(sealed))
	}
	if sealed[0] != sealVersion {
		return nil, fmt.Errorf("keys: open key %q: sealed by version %d, this program knows %d", id, sealed[0], sealVersion)
	}
	nonce, text := sealed[1:1+s.aead.NonceSize()], sealed[1+s.aead.NonceSize():]
	secret, err := s.aead.Open(nil, nonce, text, sealedFor(purpose, id))
	if err != nil {
		return nil, fmt.Errorf("keys: open key %q: %w", id, ErrSealed)
	}
	return secret, nil
}

// sealedFor is what a sealed key is bound to. A purpose has no zero byte, so
// that no two pairs give one text.
func sealedFor(purpose, id string) []byte {
	return append([]byte{sealVersion}, purpose+"\x00"+id...)
}

// A Sealer encrypts small secrets that others store, such as that of an
// authenticator app, with the seal key. What it is bound to (the user's id) is
// authenticated with it, so that a row cannot be moved to another person.
type Sealer struct{ seal seal }

// NewSealer returns a Sealer with the seal key, 32 bytes.
func NewSealer(key []byte) (*Sealer, error) {
	s, err := newSeal(key)
	if err != nil {
		return nil, err
	}
	return &Sealer{s}, nil
}

// purposeData is the purpose of what a Sealer closes. There is no such ring, so
// that nothing closed here opens as a key.
const purposeData = "data"

// Seal closes plain, bound to associated.
func (s *Sealer) Seal(plain, associated []byte) []byte {
	return s.seal.close(purposeData, string(associated), plain)
}

// Open opens what Seal closed for the same associated data. The error wraps
// [ErrSealed] when it is of another key, of another binding, or changed.
func (s *Sealer) Open(sealed, associated []byte) ([]byte, error) {
	plain, err := s.seal.open(purposeData, string(associated), sealed)
	if err != nil {
		return nil, fmt.Errorf("keys: open a sealed secret: %w", err)
	}
	return plain, nil
}

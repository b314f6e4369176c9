package mail

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/crypto/chacha20poly1305"
)

// KeySize is the length of a mail key, in bytes.
const KeySize = chacha20poly1305.KeySize

// ParseKey reads a mail key as it stands in configuration: 32 bytes, as
// hexadecimal or as base64 of either alphabet.
func ParseKey(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	if key, err := hex.DecodeString(s); err == nil && len(key) == KeySize {
		return key, nil
	}
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	if key, err := base64.RawStdEncoding.DecodeString(s); err == nil && len(key) == KeySize {
		return key, nil
	}
	return nil, fmt.Errorf("mail: a mail key is %d bytes in hexadecimal or base64", KeySize)
}

// A Sealer encrypts letters (XChaCha20-Poly1305), so that neither the outbox
// nor the queue holds an address or a code. Its key seals nothing else.
type Sealer struct{ aead cipher.AEAD }

// NewSealer returns a Sealer with a key of [KeySize] bytes.
func NewSealer(key []byte) (*Sealer, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("mail: mail key: %w", err)
	}
	return &Sealer{aead}, nil
}

// A sealedLetter is what is encrypted.
type sealedLetter struct {
	Letter
	// Trace is the span that the letter was written in, as W3C Trace Context
	// writes it; empty is none.
	Trace string `json:",omitempty"`
}

// Seal returns a new id (UUIDv7) and l encrypted for a row of that id and of
// the letter's kind; under another id or kind it does not open. The trace of ctx
// goes along.
func (s *Sealer) Seal(ctx context.Context, l Letter) (id string, sealed []byte, err error) {
	u, err := uuid.NewV7()
	if err != nil {
		return "", nil, fmt.Errorf("mail: make id: %w", err)
	}
	plain, err := json.Marshal(sealedLetter{l, traceOf(ctx)})
	if err != nil {
		return "", nil, fmt.Errorf("mail: encode letter: %w", err)
	}
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	rand.Read(nonce) // never fails (see its documentation)
	return u.String(), s.aead.Seal(nonce, nonce, plain, place(u.String(), l.Kind)), nil
}

// Open returns the letter that was sealed for the row of that id and kind.
func (s *Sealer) Open(id, kind string, sealed []byte) (Letter, error) {
	l, err := s.open(id, kind, sealed)
	return l.Letter, err
}

func (s *Sealer) open(id, kind string, sealed []byte) (sealedLetter, error) {
	if len(sealed) < s.aead.NonceSize() {
		return sealedLetter{}, errors.New("mail: sealed letter is too short")
	}
	nonce, box := sealed[:s.aead.NonceSize()], sealed[s.aead.NonceSize():]
	plain, err := s.aead.Open(nil, nonce, box, place(id, kind))
	if err != nil {
		return sealedLetter{}, errors.New("mail: letter was sealed with another key or for another row")
	}
	var l sealedLetter
	if err := json.Unmarshal(plain, &l); err != nil {
		return sealedLetter{}, fmt.Errorf("mail: decode letter: %w", err)
	}
	return l, nil
}

// place binds a sealed letter to where it stands.
func place(id, kind string) []byte { return []byte("letter\x00" + id + "\x00" + kind) }

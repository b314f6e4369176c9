package keys

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestSeal(t *testing.T) {
	s, err := newSeal(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	other, err := newSeal(bytes.Repeat([]byte{8}, 32))
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("a secret of some length")
	sealed := s.close(PurposeRefresh, "abc", secret)
	if bytes.Contains(sealed, secret) {
		t.Error("the secret stands in the sealed text")
	}
	if again := s.close(PurposeRefresh, "abc", secret); bytes.Equal(sealed, again) {
		t.Error("two sealings of one secret are equal: the nonce is not random")
	}
	flip := func(i int) []byte {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		return b
	}
	for _, c := range []struct {
		sentence    string
		seal        seal
		purpose, id string
		sealed      []byte
		want        string // of the error; empty: it opens
	}{
		{"it opens what it closed", s, PurposeRefresh, "abc", sealed, ""},
		{"sec-N1 the wrong seal key is an error that names it", other, PurposeRefresh, "abc", sealed, "GATEHOUSE_SEAL_KEY"},
		{"sec-N3 a key of one purpose opens in no other ring", s, PurposeCSRF, "abc", sealed, "GATEHOUSE_SEAL_KEY"},
		{"a key does not open under another id", s, PurposeRefresh, "abd", sealed, "GATEHOUSE_SEAL_KEY"},
		{"purpose and id do not run into each other", s, PurposeRefresh + "a", "bc", sealed, "GATEHOUSE_SEAL_KEY"},
		{"a changed nonce does not open", s, PurposeRefresh, "abc", flip(1), "GATEHOUSE_SEAL_KEY"},
		{"a changed last byte does not open", s, PurposeRefresh, "abc", flip(len(sealed) - 1), "GATEHOUSE_SEAL_KEY"},
		{"a later version is called one", s, PurposeRefresh, "abc", append([]byte{2}, sealed[1:]...), "version 2"},
		{"nothing is too short", s, PurposeRefresh, "abc", nil, "too short"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			got, err := c.seal.open(c.purpose, c.id, c.sealed)
			if c.want == "" {
				if err != nil || !bytes.Equal(got, secret) {
					t.Fatalf("open = %q, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("open = %q, %v; want an error with %q", got, err, c.want)
			}
			if named := c.want == "GATEHOUSE_SEAL_KEY"; named != errors.Is(err, ErrSealed) {
				t.Errorf("errors.Is(%v, ErrSealed) = %v", err, !named)
			}
		})
	}
}

func TestSealKeyLength(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := newSeal(make([]byte, n)); err == nil || !strings.Contains(err.Error(), "GATEHOUSE_SEAL_KEY must be 32 bytes") {
			t.Errorf("a key of %d bytes: %v", n, err)
		}
	}
}

func TestSealer(t *testing.T) {
	key := make([]byte, 32)
	s, err := NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	sealed := s.Seal([]byte("secret"), []byte("asha"))
	if plain, err := s.Open(sealed, []byte("asha")); err != nil || string(plain) != "secret" {
		t.Errorf("opened %q, %v", plain, err)
	}
	if _, err := s.Open(sealed, []byte("bina")); !errors.Is(err, ErrSealed) {
		t.Errorf("seed-G8: moved to another person it opens: %v", err)
	}
	raw, err := newSeal(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(raw.close(PurposeCSRF, "asha", []byte("key")), []byte("asha")); !errors.Is(err, ErrSealed) {
		t.Errorf("a key opens as data: %v", err)
	}
	if _, err := NewSealer(key[:16]); err == nil {
		t.Error("a key of 16 bytes was taken")
	}
}

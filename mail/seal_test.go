package mail

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"time"
)

func newTestSealer(t *testing.T, fill byte) *Sealer {
	t.Helper()
	s, err := NewSealer(bytes.Repeat([]byte{fill}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealer(t *testing.T) {
	s := newTestSealer(t, 1)
	letter := Letter{Kind: AccountVerification, To: "asha@example.com", Code: "48210937", Link: "https://id.example", Detail: "Firefox on Linux", At: noon, ExpiresAt: noon}
	id, sealed, err := s.Seal(context.Background(), letter)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("asha")) || bytes.Contains(sealed, []byte("48210937")) {
		t.Error("a sealed letter can be read")
	}
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	tests := []struct {
		about    string
		sealer   *Sealer
		id, kind string
		sealed   []byte
		opens    bool
	}{
		{"opens with its key in its place", s, id, letter.Kind, sealed, true},
		{"not with another key", newTestSealer(t, 2), id, letter.Kind, sealed, false},
		{"not for another row", s, id + "0", letter.Kind, sealed, false},
		{"not as another kind", s, id, AccountExists, sealed, false},
		{"not when a bit has changed", s, id, letter.Kind, flipped, false},
		{"not when it is cut off", s, id, letter.Kind, sealed[:10], false},
		{"not when it is empty", s, id, letter.Kind, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			got, err := tt.sealer.Open(tt.id, tt.kind, tt.sealed)
			if (err == nil) != tt.opens {
				t.Fatalf("err = %v, want it to open: %v", err, tt.opens)
			}
			if tt.opens && got != letter {
				t.Errorf("opened %+v, want %+v", got, letter)
			}
		})
	}
	again, sealedAgain, err := s.Seal(context.Background(), letter)
	if err != nil {
		t.Fatal(err)
	}
	if again == id || bytes.Equal(sealed, sealedAgain) {
		t.Error("two letters share an id or a nonce")
	}
}

func TestParseKey(t *testing.T) {
	key := bytes.Repeat([]byte{0xfb}, KeySize)
	tests := []struct {
		about, text string
		ok          bool
	}{
		{"hexadecimal", hex.EncodeToString(key), true},
		{"base64", base64.StdEncoding.EncodeToString(key), true},
		{"base64 without padding", base64.RawStdEncoding.EncodeToString(key), true},
		{"base64 for URLs", base64.URLEncoding.EncodeToString(key), true},
		{"with the line end of a file", hex.EncodeToString(key) + "\n", true},
		{"too short", hex.EncodeToString(key[1:]), false},
		{"too long", base64.StdEncoding.EncodeToString(append(key, 1)), false},
		{"nothing", "", false},
		{"a pass phrase", "correct horse battery staple", false},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			got, err := ParseKey(tt.text)
			if tt.ok != (err == nil) || tt.ok && !bytes.Equal(got, key) {
				t.Errorf("ParseKey = %x, %v", got, err)
			}
		})
	}
}

func TestConnection(t *testing.T) {
	tests := []struct {
		url              string
		addr, user, pass string
		db               int
		tls, ok          bool
	}{
		{url: "valkey://localhost:6380", addr: "localhost:6380", ok: true},
		{url: "valkey://localhost", addr: "localhost:6379", ok: true},
		{url: "redis://:secret@127.0.0.1:6379/2", addr: "127.0.0.1:6379", pass: "secret", db: 2, ok: true},
		{url: "valkeys://mail:secret@cache.example:6379", addr: "cache.example:6379", user: "mail", pass: "secret", tls: true, ok: true},
		{url: "rediss://cache.example", addr: "cache.example:6379", tls: true, ok: true},
		{url: "cache.example:6379"},
		{url: "http://cache.example"},
		{url: "valkey://"},
		{url: "valkey://localhost/x"},
		{url: "valkey://:p@ss word@localhost"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			o, err := connection(tt.url)
			if (err == nil) != tt.ok {
				t.Fatalf("err = %v, want ok %v", err, tt.ok)
			}
			if !tt.ok {
				return
			}
			if o.Addr != tt.addr || o.Username != tt.user || o.Password != tt.pass || o.DB != tt.db || (o.TLSConfig != nil) != tt.tls {
				t.Errorf("got %+v", o)
			}
		})
	}
}

func TestRetries(t *testing.T) {
	w := &Worker{now: func() time.Time { return noon }, firstRetry: firstRetry}
	t.Run("five come while a code lives", func(t *testing.T) {
		var first time.Duration
		for n := range 5 {
			first += w.retryDelay(n, nil, nil)
		}
		if first > 3*time.Minute {
			t.Errorf("the first five take %v, too long for a code of five minutes", first)
		}
	})
	t.Run("a letter without deadline is tried for more than a day", func(t *testing.T) {
		var all time.Duration
		for n := range maxRetry {
			all += w.retryDelay(n, dueError{error: errors.New("busy")}, nil)
		}
		if all < 24*time.Hour {
			t.Errorf("all retries take %v", all)
		}
	})
	t.Run("seed-F4: none comes when the code is dead, however often it was tried", func(t *testing.T) {
		for n := range maxRetry {
			for _, left := range []time.Duration{5 * time.Minute, time.Minute, 10 * time.Second, time.Second} {
				err := fmt.Errorf("wrapped: %w", dueError{errors.New("busy"), noon.Add(left)})
				if d := w.retryDelay(n, err, nil); d >= left || d <= 0 {
					t.Fatalf("after %d failures and with %v left it waits %v", n+1, left, d)
				}
			}
		}
	})
}

package login

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDevice(t *testing.T) {
	made := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	keys := map[string][]byte{"device OLD1": []byte("old key"), "device NEW1": []byte("new key"), "mail_code NEW1": []byte("new key")}
	current, now := "NEW1", made
	e := &Engine{
		now:    func() time.Time { return now },
		secret: func(purpose string) (string, []byte) { return current, keys[purpose+" "+current] },
		secretByID: func(_ context.Context, purpose, id string) ([]byte, error) {
			if key, ok := keys[purpose+" "+id]; ok {
				return key, nil
			}
			return nil, errors.New("no such key")
		},
	}
	value := e.newDevice(owner)
	parts := strings.Split(value, ".")
	current = "OLD1"
	old := e.newDevice(owner)
	current = strings.Repeat("X", maxDevice)
	keys["device "+current] = []byte("key")
	long := e.newDevice(owner)
	current = "NEW1"

	if len(value) > maxDevice {
		t.Errorf("a value has %d bytes", len(value))
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`",;\`, r) }) {
		t.Errorf("%q cannot be a cookie's value (RFC 6265 section 4.1.1)", value)
	}
	if again := e.newDevice(owner); again == value || e.deviceOf(t.Context(), again, owner) == e.deviceOf(t.Context(), value, owner) {
		t.Error("two devices are one")
	}
	flip := func(s string, i int) string { // another letter of the alphabet at i
		c := byte('A')
		if s[i] == c {
			c = 'B'
		}
		return s[:i] + string(c) + s[i+1:]
	}
	for _, tt := range []struct {
		about  string
		device string
		user   string
		after  time.Duration
		want   bool
	}{
		{"the value itself", value, owner, 0, true},
		{"almost a year later", value, owner, deviceLife - time.Second, true},
		{"a year later", value, owner, deviceLife, false},
		{"made with a key that was replaced", old, owner, 0, true},
		{"another account", value, "0198c0de-0000-7000-8000-000000000002", 0, false},
		{"no account", e.newDevice(""), "", 0, false},
		{"no cookie", "", owner, 0, false},
		{"another version", "2" + value[1:], owner, 0, false},
		{"the id of another key", strings.Replace(value, "NEW1", "OLD1", 1), owner, 0, false},
		{"the id of no key", strings.Replace(value, "NEW1", "XXXX", 1), owner, 0, false},
		{"another user in the body", parts[0] + "." + parts[1] + "." + flip(parts[2], 0) + "." + parts[3], owner, 0, false},
		{"another time in the body", parts[0] + "." + parts[1] + "." + flip(parts[2], 30) + "." + parts[3], owner, 0, false},
		{"another id in the body", parts[0] + "." + parts[1] + "." + flip(parts[2], 50) + "." + parts[3], owner, 0, false},
		{"another MAC", parts[0] + "." + parts[1] + "." + parts[2] + "." + flip(parts[3], 0), owner, 0, false},
		{"half a MAC", value[:len(value)-20], owner, 0, false},
		{"no MAC", parts[0] + "." + parts[1] + "." + parts[2] + ".", owner, 0, false},
		{"three parts", parts[0] + "." + parts[2] + "." + parts[3], owner, 0, false},
		{"five parts", value + ".x", owner, 0, false},
		{"a value that is right and too long", long, owner, 0, false},
		{"a longer text", value + strings.Repeat("A", 1<<20), owner, 0, false},
		{"no base64", "1.NEW1.!!!.!!!", owner, 0, false},
	} {
		t.Run(tt.about, func(t *testing.T) {
			now = made.Add(tt.after)
			if got := e.knownDevice(t.Context(), tt.device, tt.user); got != tt.want {
				t.Errorf("known: %v", got)
			}
		})
	}
	t.Run("the key of another purpose makes no device", func(t *testing.T) {
		now = made
		keys["device NEW1"] = []byte("another key")
		if e.knownDevice(t.Context(), value, owner) {
			t.Error("it is known")
		}
	})
}

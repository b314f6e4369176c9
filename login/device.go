package login

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
)

const (
	// deviceLife is how long a browser is known after it was signed in with.
	deviceLife = 365 * 24 * time.Hour
	// deviceVersion begins the value of the cookie.
	deviceVersion = "1"
	// maxDevice is longer than any value of ours.
	maxDevice = 256

	deviceUser = 16 // bytes of the sum of the user's id
	deviceID   = 16 // random bytes
	deviceBody = deviceUser + 8 + deviceID
)

// A device cookie says that its browser has signed in to an account before. It
// proves nothing about who holds it and opens nothing: it only parts the owner
// of the account from strangers who try passwords, and says whether a sign-in is
// worth a letter.
//
// Its value is version "." key id "." body "." MAC, the last two in base64url.
// The body is the sum of the user's id, cut off, when it was made in Unix
// seconds, and a random id.

// newDevice makes the value of a device cookie for the user.
func (e *Engine) newDevice(userID string) string {
	body := make([]byte, 0, deviceBody)
	body = append(body, deviceUserSum(userID)...)
	body = binary.BigEndian.AppendUint64(body, uint64(e.now().Unix()))
	body = append(body, make([]byte, deviceID)...)
	_, _ = rand.Read(body[deviceBody-deviceID:]) // never fails
	id, key := e.secret(PurposeDevice)
	signed := deviceVersion + "." + id + "." + base64.RawURLEncoding.EncodeToString(body)
	return signed + "." + base64.RawURLEncoding.EncodeToString(deviceMAC(key, signed))
}

// knownDevice reports whether the value is that of a device that signed in to
// the user's account within the last year.
func (e *Engine) knownDevice(ctx context.Context, device, userID string) bool {
	return e.deviceOf(ctx, device, userID) != ""
}

// deviceOf returns the id of a known device, and "" for any other value. A key
// that cannot be read makes a device unknown: its owner is then treated as
// anybody is, which is better than not at all.
func (e *Engine) deviceOf(ctx context.Context, device, userID string) string {
	if device == "" || len(device) > maxDevice || userID == "" {
		return ""
	}
	parts := strings.Split(device, ".")
	if len(parts) != 4 || parts[0] != deviceVersion {
		return ""
	}
	body, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(body) != deviceBody {
		return ""
	}
	mac, err := base64.RawURLEncoding.Strict().DecodeString(parts[3])
	if err != nil {
		return ""
	}
	key, err := e.secretByID(ctx, PurposeDevice, parts[1])
	if err != nil {
		return ""
	}
	signed := device[:strings.LastIndexByte(device, '.')]
	// Both are compared whatever the first is, in constant time.
	right := hmac.Equal(mac, deviceMAC(key, signed))
	theirs := hmac.Equal(body[:deviceUser], deviceUserSum(userID))
	made := time.Unix(int64(binary.BigEndian.Uint64(body[deviceUser:])), 0)
	if !right || !theirs || e.now().Sub(made) >= deviceLife {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(body[deviceUser+8:])
}

func deviceUserSum(userID string) []byte {
	sum := sha256.Sum256([]byte("device\x00" + userID))
	return sum[:deviceUser]
}

func deviceMAC(key []byte, signed string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("device cookie\x00" + signed))
	return m.Sum(nil)
}

package login

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/otp/hotp"
)

// What authenticator apps understand without being told: SHA-1, six digits,
// a code every thirty seconds (RFC 6238 section 1.2).
const (
	totpDigits = 6
	totpPeriod = 30 * time.Second
	// totpSecret is the length of a secret, in bytes: that of a SHA-1 sum, as
	// RFC 4226 section 4 recommends.
	totpSecret = 20
	// totpSkew is how many steps a clock may be wrong, either way.
	totpSkew = 1
)

// newTOTPSecret draws the secret of an authenticator app.
func newTOTPSecret() []byte {
	secret := make([]byte, totpSecret)
	rand.Read(secret) // never fails (see its documentation)
	return secret
}

// totpStep is the time-step that t is in (RFC 6238 section 4.2).
func totpStep(t time.Time) int64 { return t.Unix() / int64(totpPeriod/time.Second) }

// matchTOTP returns the time-step whose code this is: of the current one, the
// one before and the one after, the newest. The caller spends it.
//
// The steps are tried here and not by the library, which does not tell the one
// that matched.
func matchTOTP(secret []byte, code string, now time.Time) (step int64, ok bool) {
	current, text := totpStep(now), totpText(secret)
	for s := current - totpSkew; s <= current+totpSkew; s++ {
		want, err := hotp.GenerateCode(text, uint64(s))
		if err != nil { // a secret that base32 cannot hold, which none is
			return 0, false
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

// totpText is a secret as a person types it into an app.
func totpText(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// otpauthURI is what the QR code holds: a Key URI, which has no standard but
// the description that Google Authenticator came with. There a colon divides
// issuer and account.
//
// It is written here because the library leaves an ampersand in the issuer as
// it is, which ends the parameter.
func otpauthURI(issuer, account string, secret []byte) string {
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	issuer = strings.ReplaceAll(issuer, ":", " ")
	return fmt.Sprintf("otpauth://totp/%s:%s?secret=%s&issuer=%s&algorithm=SHA1&digits=%s&period=%s",
		escape(issuer), escape(account), totpText(secret), escape(issuer),
		strconv.Itoa(totpDigits), strconv.Itoa(int(totpPeriod/time.Second)))
}

package login

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

const (
	// recoveryCodes is how many a person gets at once.
	recoveryCodes = 10
	// recoveryAlphabet has no vowels, which spell words, and no characters that
	// are read for one another.
	recoveryAlphabet = "23456789BCDFGHJKMNPQRTVWXY"
	// recoveryLength gives 26^15, 70 bits: a code that is kept on paper needs 64
	// (NIST SP 800-63B-4 section 3.1.2).
	recoveryLength = 15
)

// newRecoveryCodes draws a set of recovery codes.
func newRecoveryCodes() [recoveryCodes]string {
	letters := big.NewInt(int64(len(recoveryAlphabet)))
	var codes [recoveryCodes]string
	for i := range codes {
		var b strings.Builder
		for range recoveryLength {
			n, err := rand.Int(rand.Reader, letters) // every letter alike, unlike a byte modulo 26
			if err != nil {
				panic(err) // crypto/rand never fails (see its documentation)
			}
			b.WriteByte(recoveryAlphabet[n.Int64()])
		}
		codes[i] = b.String()
	}
	return codes
}

// shownRecovery is a code as a person reads it: in groups of five.
func shownRecovery(code string) string {
	return code[:5] + "-" + code[5:10] + "-" + code[10:]
}

// normalRecovery reads a recovery code as people write it: in either case, in
// any script's digits, with spaces or dashes anywhere. It reports whether the
// text can be a code at all.
func normalRecovery(typed string) (string, bool) {
	if tooLongCode(typed) {
		return "", false
	}
	var b strings.Builder
	for _, r := range norm.NFKC.String(typed) {
		if d, ok := digit(r); ok {
			r = rune(d)
		}
		if r = unicode.ToUpper(r); strings.ContainsRune(recoveryAlphabet, r) {
			b.WriteRune(r)
		} else if !unicode.In(r, unicode.White_Space, unicode.Dash, unicode.Cf) {
			return "", false
		}
	}
	return b.String(), b.Len() == recoveryLength
}

// recoveryMAC is what is kept of a recovery code: the id of the key, then a MAC
// bound to the user, so that one look-up finds it. The key is not rotated: the
// codes are on paper, and nobody can compute their MACs anew.
func (e *Engine) recoveryMAC(userID, code string) []byte {
	id, key := e.secret(PurposeRecovery)
	m := hmac.New(sha256.New, key)
	m.Write([]byte("recovery code\x00" + userID + "\x00" + code))
	return m.Sum([]byte(id + "\x00"))
}

// newRecoverySet draws recovery codes for a user: what is kept of them, and what
// the person is shown.
func (e *Engine) newRecoverySet(userID string) (macs [][]byte, shown []string) {
	for _, code := range newRecoveryCodes() {
		macs = append(macs, e.recoveryMAC(userID, code))
		shown = append(shown, shownRecovery(code))
	}
	return macs, shown
}

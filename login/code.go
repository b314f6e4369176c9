package login

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	// codeDigits is the length of a mailed code: 10^8 codes and five tries at
	// each.
	codeDigits = 8
	// codeTries is how many codes may be compared with the one mailed.
	codeTries = 5
)

// newCode draws a code.
func newCode() string {
	n, err := rand.Int(rand.Reader, big.NewInt(100_000_000))
	if err != nil {
		panic(err) // crypto/rand never fails (see its documentation)
	}
	return fmt.Sprintf("%0*d", codeDigits, n)
}

// codeMAC is what a flow keeps of its code: a MAC bound to the flow, then the
// id of its key.
func (e *Engine) codeMAC(flowID, code string) []byte {
	id, key := e.secret(PurposeMailCode)
	return append(macOf(key, flowID, code), id...)
}

func macOf(key []byte, flowID, code string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("mailed code\x00" + flowID + "\x00" + code))
	return m.Sum(nil)
}

// tryCode reads a code, counts the try and refuses when the code is dead. It is
// called before compareCode, so that no number of concurrent calls compares more
// than codeTries codes.
func (e *Engine) tryCode(ctx context.Context, f storage.Flow, typed string) (code string, try int, _ error) {
	code, reason := parseCode(typed)
	if reason != "" {
		return "", 0, refuse(Problem{FieldCode, reason})
	}
	try, err := e.flows.TryFlow(ctx, f.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return "", 0, refuse(Problem{Reason: Expired})
	}
	if err != nil {
		return "", 0, fmt.Errorf("login: count try: %w", err)
	}
	if try > codeTries {
		return "", 0, refuse(Problem{FieldCode, CodeDead})
	}
	return code, try, nil
}

// compareCode compares with the code that was mailed. A decoy costs the same
// and has none.
func (e *Engine) compareCode(ctx context.Context, f storage.Flow, code string, try int) error {
	if len(f.CodeMAC) < sha256.Size {
		return errors.New("login: flow without code")
	}
	mac, keyID := f.CodeMAC[:sha256.Size], string(f.CodeMAC[sha256.Size:])
	key, err := e.secretByID(ctx, PurposeMailCode, keyID)
	if err != nil {
		return fmt.Errorf("login: key of the code: %w", err)
	}
	right := hmac.Equal(mac, macOf(key, f.ID, code))
	switch {
	case right && !f.Decoy:
		return nil
	case try == codeTries:
		return refuse(Problem{FieldCode, CodeDead})
	default:
		return refuse(Problem{FieldCode, BadCode})
	}
}

// maxCode is how many characters of a code are looked at, separators and all.
const maxCode = 24

// tooLongCode reports what is too long for any code, however it is written.
func tooLongCode(typed string) bool {
	return len(typed) > utf8.UTFMax*maxCode || utf8.RuneCountInString(typed) > maxCode
}

// parseCode reads a mailed code. What cannot be one is no try at one.
func parseCode(typed string) (string, Reason) { return parseDigits(typed, codeDigits) }

// parseDigits reads a code of n digits as people write it: in any script's
// digits, with spaces or dashes anywhere.
func parseDigits(typed string, n int) (string, Reason) {
	if tooLongCode(typed) {
		return "", BadCode
	}
	var b strings.Builder
	for _, r := range norm.NFKC.String(typed) {
		if d, ok := digit(r); ok && b.Len() < n {
			b.WriteByte(d)
		} else if !unicode.In(r, unicode.White_Space, unicode.Dash, unicode.Cf) {
			return "", BadCode
		}
	}
	switch b.Len() {
	case 0:
		return "", CodeMissing
	case n:
		return b.String(), ""
	default:
		return "", BadCode
	}
}

// digit returns the ASCII digit of a decimal digit of any script. Unicode keeps
// each script's ten in a row, from zero (Unicode Standard section 4.6).
func digit(r rune) (byte, bool) {
	for _, t := range unicode.Nd.R16 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return '0' + byte((r-rune(t.Lo))%10), true
		}
	}
	for _, t := range unicode.Nd.R32 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return '0' + byte((r-rune(t.Lo))%10), true
		}
	}
	return 0, false
}

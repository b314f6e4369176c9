package login

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

// rfcSecret is that of RFC 6238 appendix B for SHA-1.
var rfcSecret = []byte("12345678901234567890")

// TestTOTPVectors are those of RFC 6238 appendix B for SHA-1, of whose eight
// digits the last six are the code.
func TestTOTPVectors(t *testing.T) {
	for _, v := range []struct {
		unix int64
		step int64
		code string
	}{
		{59, 0x1, "287082"},
		{1111111109, 0x23523EC, "081804"},
		{1111111111, 0x23523ED, "050471"},
		{1234567890, 0x273EF07, "005924"},
		{2000000000, 0x3F940AA, "279037"},
		{20000000000, 0x27BC86AA, "353130"},
	} {
		if step, ok := matchTOTP(rfcSecret, v.code, time.Unix(v.unix, 0)); !ok || step != v.step {
			t.Errorf("at %d %s is of step %#x, %v; want %#x", v.unix, v.code, step, ok, v.step)
		}
		if _, ok := matchTOTP(rfcSecret[1:], v.code, time.Unix(v.unix, 0)); ok {
			t.Errorf("at %d %s is a code of another secret", v.unix, v.code)
		}
	}
}

func TestTOTPSteps(t *testing.T) {
	made := time.Unix(1_800_000_000, 0) // the start of a step
	code, err := totp.GenerateCode(totpText(rfcSecret), made)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		about string
		after time.Duration
		want  bool
	}{
		{"at once", 0, true},
		{"to the end of its step", 29 * time.Second, true},
		{"in the step after", 30 * time.Second, true},
		{"to the end of the step after", 59 * time.Second, true},
		{"no later", 60 * time.Second, false},
		{"from the step before", -30 * time.Second, true},
		{"no earlier", -31 * time.Second, false},
	} {
		t.Run("a code is good "+tt.about, func(t *testing.T) {
			step, ok := matchTOTP(rfcSecret, code, made.Add(tt.after))
			if ok != tt.want || ok && step != totpStep(made) {
				t.Errorf("step %d, %v; made in step %d", step, ok, totpStep(made))
			}
		})
	}
	for _, wrong := range []string{"", code[1:], code + "0", " " + code, "abcdef"} {
		if _, ok := matchTOTP(rfcSecret, wrong, made); ok {
			t.Errorf("%q was taken for %q", wrong, code)
		}
	}
}

func TestTOTPSecret(t *testing.T) {
	a, b := newTOTPSecret(), newTOTPSecret()
	if len(a) != 20 || bytes.Equal(a, b) {
		t.Errorf("secrets %x and %x", a, b)
	}
	if got := totpText(rfcSecret); got != "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" {
		t.Errorf("the secret reads %s", got)
	}
}

// TestOTPAuthURI reads what an app reads, with a brand and an address that need
// care.
func TestOTPAuthURI(t *testing.T) {
	for _, tt := range []struct{ issuer, account string }{
		{"Gatehouse", "asha@example.com"},
		{"Smith & Sons", "asha+id&all@example.com"},
		{"Räksmörgås 100% = ?", "señor@example.com"},
	} {
		uri := otpauthURI(tt.issuer, tt.account, rfcSecret)
		k, err := otp.NewKeyFromURL(uri)
		if err != nil {
			t.Fatalf("%s: %v", uri, err)
		}
		if k.Type() != "totp" || k.Issuer() != tt.issuer || k.AccountName() != tt.account || k.Secret() != totpText(rfcSecret) ||
			k.Period() != 30 || k.Digits() != otp.DigitsSix || k.Algorithm() != otp.AlgorithmSHA1 {
			t.Errorf("%s is read as %+v", uri, k)
		}
		if strings.ContainsAny(uri, "+ ") {
			t.Errorf("%s has a space or a plus, which apps read in two ways", uri)
		}
	}
	u, err := url.Parse(otpauthURI("Gate:house", "asha@example.com", rfcSecret))
	if err != nil || u.Path != "/Gate house:asha@example.com" {
		t.Errorf("an issuer with a colon: %v, %v", u, err)
	}
}

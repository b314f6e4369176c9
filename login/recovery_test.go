package login

import (
	"bytes"
	"math"
	"regexp"
	"strings"
	"testing"
)

func TestRecoveryCodes(t *testing.T) {
	t.Run("sec-K3: ten codes of 70 bits, none like another", func(t *testing.T) {
		if bits := recoveryLength * math.Log2(float64(len(recoveryAlphabet))); bits < 64 {
			t.Errorf("a code has %.1f bits", bits)
		}
		shape := regexp.MustCompile(`^[23456789BCDFGHJKMNPQRTVWXY]{15}$`)
		seen := map[string]bool{}
		for range 10 {
			codes := newRecoveryCodes()
			for _, c := range codes {
				if !shape.MatchString(c) || seen[c] {
					t.Errorf("code %q", c)
				}
				seen[c] = true
			}
		}
		if len(seen) != 100 {
			t.Errorf("%d codes of ten sets", len(seen))
		}
	})

	t.Run("every letter is as likely as another", func(t *testing.T) {
		// 300 000 letters, 11 538 of each expected with a standard deviation of
		// 107. A byte modulo 26 would make four of them 990 fewer.
		const rounds = 2000
		count := map[rune]int{}
		for range rounds {
			codes := newRecoveryCodes()
			for _, r := range strings.Join(codes[:], "") {
				count[r]++
			}
		}
		want := float64(rounds*recoveryCodes*recoveryLength) / float64(len(recoveryAlphabet))
		for _, r := range recoveryAlphabet {
			if n := float64(count[r]); math.Abs(n-want) > 5.5*math.Sqrt(want) {
				t.Errorf("%c came %v times, want about %.0f", r, n, want)
			}
		}
	})

	t.Run("seed-G11: a code is read as people write it", func(t *testing.T) {
		const code = "K4TQ9M2XHPB7CDR"
		if got := shownRecovery(code); got != "K4TQ9-M2XHP-B7CDR" {
			t.Errorf("shown as %s", got)
		}
		for _, typed := range []string{
			code, shownRecovery(code), "k4tq9-m2xhp-b7cdr", " K4TQ9 M2XHP B7CDR\r\n",
			"K4TQ9–M2XHP—B7CDR",                       // dashes of typesetters
			"Ｋ４ＴＱ９Ｍ２ＸＨＰＢ７ＣＤＲ",                         // full width
			"K٤TQ٩-M٢XHP-B٧CDR",                       // Arabic-Indic digits
			"K४TQ९M२XHPB७CDR",                         // Devanagari digits
			"\u200eK4TQ9\u00a0M2XHP\u00a0B7CDR\u200b", // marks that copying brings along
		} {
			if got, ok := normalRecovery(typed); !ok || got != code {
				t.Errorf("%q is read as %q, %v", typed, got, ok)
			}
		}
		for _, typed := range []string{
			"", "123456", code[1:], code + "2",
			"A4TQ9M2XHPB7CDR", "K4TQ9M2XHPB7CD0", "K4TQ9M2XHPB7CDO", // no such letters
			"K4TQ9_M2XHP_B7CDR",
			strings.Repeat(" ", maxCode) + code, // too long to be read
		} {
			if got, ok := normalRecovery(typed); ok {
				t.Errorf("%q is read as %q", typed, got)
			}
		}
	})

	t.Run("seed-D9: what is kept is one MAC, of this person and this code", func(t *testing.T) {
		h := newHouse(t)
		mac := h.recoveryMAC("asha", "K4TQ9M2XHPB7CDR")
		id, _ := h.secret(PurposeRecovery)
		if !bytes.HasPrefix(mac, []byte(id+"\x00")) || len(mac) != len(id)+1+32 {
			t.Errorf("MAC %q of key %q", mac, id)
		}
		if !bytes.Equal(mac, h.recoveryMAC("asha", "K4TQ9M2XHPB7CDR")) {
			t.Error("the same code has two MACs: it takes more than one look-up to find it")
		}
		if bytes.Equal(mac, h.recoveryMAC("bina", "K4TQ9M2XHPB7CDR")) || bytes.Equal(mac, h.recoveryMAC("asha", "K4TQ9M2XHPB7CDQ")) {
			t.Error("other people or codes have the same MAC")
		}
	})
}

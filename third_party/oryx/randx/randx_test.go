package randx_test

import (
	"strings"
	"testing"

	"github.com/ory/x/randx"
)

func TestRuneSequence(t *testing.T) {
	const n = 26 * 400
	got, err := randx.RuneSequence(n, randx.AlphaUpper)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != n {
		t.Fatalf("%d runes, want %d", len(got), n)
	}
	// 400 of each are expected, with a standard deviation below 20: a count
	// outside 200 to 600 comes by chance less than once in 10²⁰ runs.
	for _, r := range randx.AlphaUpper {
		if c := strings.Count(string(got), string(r)); c < 200 || c > 600 {
			t.Errorf("%c came %d times in %d, want about 400", r, c, n)
		}
	}
	for _, r := range got {
		if r < 'A' || r > 'Z' {
			t.Fatalf("drew %q, which is not in the alphabet", r)
		}
	}
}

func TestRuneSequenceRefusesAnEmptyAlphabet(t *testing.T) {
	if got, err := randx.RuneSequence(1, nil); err == nil {
		t.Errorf("RuneSequence(1, nil) = %q, want an error", string(got))
	}
}

package main

import (
	"flag"
	"slices"
	"strings"
	"testing"
)

// sec-O3: names come from strangers and are shown on an operator's terminal.
func TestPlain(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"a name stays", "Zoë Ångström 山田", "Zoë Ångström 山田"},
		{"no colours", "a\x1b[31mb", "a\uFFFD[31mb"},
		{"no second line", "a\nb\tc", "a\uFFFDb\uFFFDc"},
		{"no turned text", "a\u202eb", "a\uFFFDb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := plain(tt.in); got != tt.want {
				t.Errorf("plain(%q) is %q, not %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		operands []string
		flagged  bool
	}{
		{"a flag before", "--x a", []string{"a"}, true},
		{"a flag behind", "a --x", []string{"a"}, true},
		{"a flag between", "a --x b", []string{"a", "b"}, true},
		{"two dashes end flags", "-- a --x", []string{"a", "--x"}, false},
		{"two dashes end flags behind one", "--x -- --x", []string{"--x"}, true},
		{"nothing", "", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := flag.NewFlagSet("test", flag.ContinueOnError)
			x := fs.Bool("x", false, "")
			got, err := parse(fs, strings.Fields(tt.in))
			if err != nil || !slices.Equal(got, tt.operands) || *x != tt.flagged {
				t.Errorf("operands %q, flag %v, error %v", got, *x, err)
			}
		})
	}
}

func TestWrap(t *testing.T) {
	got := slices.Collect(wrap("aa bb cc dddddddd e", 5))
	if want := []string{"aa bb", "cc", "dddddddd", "e"}; !slices.Equal(got, want) {
		t.Errorf("the lines are %q, not %q", got, want)
	}
}

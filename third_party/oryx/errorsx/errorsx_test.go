package errorsx_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ory/x/errorsx"
)

// causer points at its cause as github.com/pkg/errors does.
type causer struct{ cause error }

func (causer) Error() string  { return "causer" }
func (c causer) Cause() error { return c.cause }

func TestWithStack(t *testing.T) {
	root := errors.New("root")
	if got := errorsx.WithStack(root); got != root {
		t.Errorf("WithStack(root) = %v, want root itself", got)
	}
	if got := errorsx.WithStack(nil); got != nil {
		t.Errorf("WithStack(nil) = %v, want nil", got)
	}
}

func TestCause(t *testing.T) {
	root := errors.New("root")
	end := causer{}
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"no error has no cause", nil, nil},
		{"an error that wraps nothing is its own cause", root, root},
		{"Unwrap is followed", fmt.Errorf("a: %w", fmt.Errorf("b: %w", root)), root},
		{"Cause is followed", causer{causer{root}}, root},
		{"both are followed in one chain", fmt.Errorf("a: %w", causer{fmt.Errorf("b: %w", root)}), root},
		{"an error whose Cause is nil is the innermost", fmt.Errorf("a: %w", end), end},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := errorsx.Cause(c.err); got != c.want {
				t.Errorf("Cause(%v) = %v, want %v", c.err, got, c.want)
			}
		})
	}
}

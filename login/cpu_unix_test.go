//go:build unix

package login

import (
	"syscall"
	"testing"
	"time"
)

// worked is the processor time that this process has used: a busy machine does
// not move it as it moves the clock on the wall.
func worked(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

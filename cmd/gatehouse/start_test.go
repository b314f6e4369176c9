//go:build !slim

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A newcomer's first start answers within two seconds: no database, no keys, no
// configuration. Keys are found by chance, so one start of ten has to; all are
// logged. What others did with the processors meanwhile does not count.
func TestStart(t *testing.T) {
	var took []time.Duration
	for range 10 {
		took = append(took, firstStart(t))
		if len(took) >= 3 && slices.Min(took) <= 2*time.Second {
			break
		}
	}
	t.Logf("from the process's start to its first answer: %v", took)
	if fastest := slices.Min(took); fastest > 2*time.Second {
		t.Errorf("the first answer came after %v", fastest)
	}
}

// firstStart runs the program in a directory that is not there yet, until it
// describes itself.
func firstStart(t *testing.T) time.Duration {
	t.Helper()
	c := embeddedConfig(t)
	cmd := exec.Command("gatehouse", "serve") // the test binary: see TestMain
	cmd.Env = []string{"GATEHOUSE_STATE_DIR=" + c.StateDir, "GATEHOUSE_ADDR=" + c.Addr}
	var log bytes.Buffer
	cmd.Stderr = &log
	started := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v:\n%s", err, log.String())
		}
	}()
	await(t, "the server describes itself", func() bool {
		resp, err := http.Get(c.URL + "/.well-known/openid-configuration")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
	return time.Since(started) - queued(cmd.Process.Pid)
}

// queued is how long the threads of a process have waited for a processor in all,
// where the system is Linux, which tells it; elsewhere zero.
func queued(pid int) (sum time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is well formed
	for _, name := range threads {
		var ran, waited int64 // in nanoseconds
		if text, err := os.ReadFile(name); err == nil {
			_, _ = fmt.Sscan(string(text), &ran, &waited)
		}
		sum += time.Duration(waited)
	}
	return sum
}

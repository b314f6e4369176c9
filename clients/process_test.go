package clients_test

import (
	"bytes"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// start starts a server that ends with the test, which it has to do without a
// complaint. What it wrote is shown when the test has failed.
func start(t *testing.T, c *exec.Cmd) {
	t.Helper()
	var log bytes.Buffer // to be read when it has ended
	c.Stderr = &log
	// A server that starts others may leave one behind that holds its output.
	c.WaitDelay = 5 * time.Second
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(patience):
			_ = c.Process.Kill()
			<-ended
			t.Errorf("%s did not end when it was told to", c.Path)
		}
		if t.Failed() || bytes.Contains(log.Bytes(), []byte("level=ERROR")) || bytes.Contains(log.Bytes(), []byte("panic:")) {
			t.Errorf("%s wrote:\n%s", c.Path, log.String())
		}
	})
}

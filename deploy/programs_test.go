//go:build unix

package deploy_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long one step may take, on a busy machine.
const patience = 30 * time.Second

// workDir has what all tests share, and others may enter it.
var workDir string

func TestMain(m *testing.M) {
	var err error
	if workDir, err = os.MkdirTemp("", "gatehouse-deploy-"); err == nil {
		err = os.Chmod(workDir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(workDir) // what it leaves is in the system's folder for that
	os.Exit(code)
}

// programs builds the server and the worker as the images have them, once, and
// returns the folder they are in.
var programs = sync.OnceValues(func() (string, error) {
	// The go command repeats a test's last result unless a file changed that the
	// test itself has looked at: so look at all.
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "artifacts" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		return "", err
	}
	for name, source := range map[string]string{"gatehouse": "./cmd/gatehouse", "gatehouse-worker": "./cmd/worker"} {
		build := exec.Command("go", "build", "-trimpath", "-tags", "slim,nomsgpack,grpcnotrace", "-ldflags", "-s -w", "-o", filepath.Join(workDir, name), source)
		build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build %s: %w\n%s", source, err, out)
		}
	}
	return workDir, nil
})

// program is the path of gatehouse or gatehouse-worker.
func program(t *testing.T, name string) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// installed finds a program that .ci/install installs, or skips the test; with
// CI=true it fails.
func installed(t *testing.T, name string, commands ...string) string {
	t.Helper()
	if path := os.Getenv("GATEHOUSE_TEST_" + strings.ToUpper(name)); path != "" {
		return path
	}
	for _, command := range commands {
		if path, err := exec.LookPath(command); err == nil {
			return path
		}
	}
	const hint = "%s is not installed; .ci/install installs it"
	if os.Getenv("CI") == "true" {
		t.Fatalf(hint, name)
	}
	t.Skipf(hint, name)
	return ""
}

// await fails the test unless ok comes true in time.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after %v: %s", patience, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

package clients_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/testenv/freeport"
)

// patience is how long one step may take, on a busy machine.
const patience = 30 * time.Second

// workDir is for what all tests share: the program.
var workDir string

func TestMain(m *testing.M) {
	var err error
	if workDir, err = os.MkdirTemp("", "gatehouse-clients-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(workDir) // what it leaves is in the system's folder for that
	os.Exit(code)
}

// program builds the server as make does, once.
var program = sync.OnceValues(func() (string, error) {
	// The go command repeats a test's last result unless a file changed that the
	// test itself has looked at: so look at all.
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "artifacts") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(workDir, "gatehouse")
	build := exec.Command("go", "build", "-trimpath", "-tags", "nomsgpack,grpcnotrace", "-ldflags=-s -w", "-o", path, "../cmd/gatehouse")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// needs skips the test, or fails it where CI=true, unless the program is there.
// It returns where.
func needs(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, names[0]+" is not in PATH; .ci/install installs it")
	return ""
}

// missing skips the test, or fails it where CI=true.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// A house is a server that runs in embedded mode, and what its operator types.
type house struct {
	issuer string
	path   string
	env    []string
}

// newHouse starts a server that ends with the test. Further settings are those
// of the environment.
func newHouse(t *testing.T, settings ...string) *house {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	port := freeport.For(t)
	h := &house{issuer: "http://localhost:" + port, path: path}
	h.env = append([]string{
		"GATEHOUSE_STATE_DIR=" + filepath.Join(t.TempDir(), "state"), "GATEHOUSE_ADDR=localhost:" + port, "GATEHOUSE_URL=" + h.issuer,
	}, settings...)
	serve := exec.Command(path, "serve")
	serve.Env = h.env
	start(t, serve)
	await(t, "the server is ready", func() bool {
		resp, err := http.Get(h.issuer + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return h
}

// command runs the command as an operator would. What it prints is decoded.
func (h *house) command(t *testing.T, into any, args ...string) {
	t.Helper()
	c := exec.Command(h.path, append(args, "--json")...)
	c.Env = h.env
	var message bytes.Buffer
	c.Stderr = &message
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		t.Fatalf("gatehouse %s: %v\n%s", strings.Join(args, " "), err, message.String())
	}
}

// A client is an app as it was registered.
type client struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

func (h *house) client(t *testing.T, args ...string) (c client) {
	t.Helper()
	h.command(t, &c, append([]string{"client", "create"}, args...)...)
	return c
}

// An account is a person's.
type account struct {
	Subject  string `json:"sub"`
	Email    string `json:"email"`
	Password string `json:"password"`
}

func (h *house) account(t *testing.T, email string) (a account) {
	t.Helper()
	h.command(t, &a, "user", "create", "--email", email, "--name", "Ada Lovelace")
	return a
}

// await asks until the answer is yes.
func await(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !yes(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}

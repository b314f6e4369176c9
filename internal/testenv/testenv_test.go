package testenv_test

import (
	"bytes"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/valkey-io/valkey-go"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
)

func TestPostgres(t *testing.T) {
	tables := func(t *testing.T, c *pgx.Conn) (n int) {
		t.Helper()
		err := c.QueryRow(t.Context(), "select count(*) from pg_tables where schemaname = 'public'").Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	connect := func(t *testing.T, address string) *pgx.Conn {
		t.Helper()
		c, err := pgx.Connect(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}

	var first string
	t.Run("a database is empty and writable", func(t *testing.T) {
		first = testenv.Postgres(t)
		c := connect(t, first)
		if n := tables(t, c); n != 0 {
			t.Errorf("it has %d tables", n)
		}
		if _, err := c.Exec(t.Context(), "create table leftover (id text)"); err != nil {
			t.Error(err)
		}
	})
	t.Run("another one is another one", func(t *testing.T) {
		second := testenv.Postgres(t)
		if second == first {
			t.Fatalf("the address is the same as before: %s", second)
		}
		if n := tables(t, connect(t, second)); n != 0 {
			t.Errorf("it has %d tables", n)
		}
	})
	t.Run("a database is gone after its test, connections or not", func(t *testing.T) {
		if first == "" {
			t.Skip("there is no server")
		}
		if _, err := pgx.Connect(t.Context(), first); err == nil || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("connecting to it: %v", err)
		}
	})
}

func TestValkey(t *testing.T) {
	connect := func(t *testing.T, address string) valkey.Client {
		t.Helper()
		o, err := valkey.ParseURL(address)
		if err != nil {
			t.Fatal(err)
		}
		c, err := valkey.NewClient(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	size := func(t *testing.T, c valkey.Client) int64 {
		t.Helper()
		n, err := c.Do(t.Context(), c.B().Dbsize().Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}

	t.Run("two at the same time do not see each other", func(t *testing.T) {
		a, b := connect(t, testenv.Valkey(t)), connect(t, testenv.Valkey(t))
		if err := a.Do(t.Context(), a.B().Set().Key("k").Value("v").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		if na, nb := size(t, a), size(t, b); na != 1 || nb != 0 {
			t.Errorf("they have %d and %d keys, want 1 and 0", na, nb)
		}
	})
	t.Run("one after another is empty", func(t *testing.T) {
		if n := size(t, connect(t, testenv.Valkey(t))); n != 0 {
			t.Errorf("it has %d keys", n)
		}
	})
	t.Run("wiped it is empty, and the one beside it is not", func(t *testing.T) {
		address := testenv.Valkey(t)
		a, b := connect(t, address), connect(t, testenv.Valkey(t))
		for _, c := range []valkey.Client{a, b} {
			if err := c.Do(t.Context(), c.B().Set().Key("k").Value("v").Build()).Error(); err != nil {
				t.Fatal(err)
			}
		}
		testenv.Wipe(t, address)
		if na, nb := size(t, a), size(t, b); na != 0 || nb != 1 {
			t.Errorf("they have %d and %d keys, want 0 and 1", na, nb)
		}
	})
}

// TestInner is run by the tests below in a test binary of its own.
func TestInner(t *testing.T) {
	out := os.Getenv("GATEHOUSE_TEST_INNER")
	switch out {
	case "":
		t.Skip("it runs inside another test")
	case "valkey":
		testenv.Valkey(t)
		return
	}
	addresses := testenv.Postgres(t) + "\n" + testenv.Valkey(t)
	if err := os.WriteFile(out, []byte(addresses), 0o600); err != nil {
		t.Fatal(err)
	}
	panic("the binary dies without cleaning up")
}

// inner runs TestInner with the variables given and returns what it printed.
func inner(t *testing.T, variables ...string) []byte {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestInner$", "-test.v")
	c.Env = append(os.Environ(), variables...)
	out, _ := c.CombinedOutput() // whether it fails is for the caller to read
	return out
}

func TestServersEndWithTheBinary(t *testing.T) {
	testenv.Postgres(t) // skips where there is none
	testenv.Valkey(t)
	for _, name := range []string{"GATEHOUSE_TEST_POSTGRES", "GATEHOUSE_TEST_VALKEY"} {
		if os.Getenv(name) != "" {
			t.Skip("the servers are not ours")
		}
	}
	if os.Getenv("TESTCONTAINERS_RYUK_DISABLED") == "true" {
		t.Skip("containers without testcontainers' reaper end by themselves, later")
	}
	temp, file := t.TempDir(), filepath.Join(t.TempDir(), "addresses")
	public(t, temp)
	out := inner(t, "GATEHOUSE_TEST_INNER="+file, "TMPDIR="+temp)
	if !bytes.Contains(out, []byte("panic: the binary dies")) {
		t.Fatalf("the inner test binary did not die as it should:\n%s", out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	there := strings.Fields(string(b))
	eventually(t, "the servers are still there", func() bool {
		// One that has gone is not looked for again: its port may be another's by then.
		there = slices.DeleteFunc(there, func(address string) bool {
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("tcp", u.Host)
			if err == nil {
				c.Close()
			}
			return err != nil
		})
		return len(there) == 0
	})
	eventually(t, "their folders are still there", func() bool {
		left, err := os.ReadDir(temp)
		return err == nil && len(left) == 0
	})
}

func TestNoServer(t *testing.T) {
	bin := t.TempDir()
	broken := "#!/bin/sh\necho I am no server\nexit 1\n"
	if err := os.WriteFile(bin+"/valkey-server", []byte(broken), 0o755); err != nil {
		t.Fatal(err)
	}
	public(t, bin)
	for _, tt := range []struct {
		sentence, ci, path, want, says string
	}{
		{"on a developer's machine the test is skipped", "", "/nonexistent", "--- SKIP: TestInner", "install valkey-server"},
		{"in CI it fails", "true", "/nonexistent", "--- FAIL: TestInner", "install valkey-server"},
		{"a server that does not start is no server missing", "", bin + ":" + os.Getenv("PATH"), "--- FAIL: TestInner", "I am no server"},
		{"and is not waited for", "", bin + ":" + os.Getenv("PATH"), "--- FAIL: TestInner", "the server has ended"},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			out := string(inner(t, "GATEHOUSE_TEST_INNER=valkey", "GATEHOUSE_TEST_VALKEY=",
				"DOCKER_HOST=unix:///nonexistent", "GATEHOUSE_TEST_CONTAINERS=", "CI="+tt.ci, "PATH="+tt.path))
			if !strings.Contains(out, tt.want) || !strings.Contains(out, tt.says) {
				t.Errorf("got:\n%s", out)
			}
		})
	}
}

// public lets every user into a temporary folder: another one runs the servers
// when we are root.
func public(t *testing.T, dir string) {
	t.Helper()
	for ; dir != filepath.Clean(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			t.Fatal(err)
		}
	}
}

// eventually polls until ok, or fails the test with the sentence.
func eventually(t *testing.T, sentence string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second) // the reaper of containers takes 10
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal(sentence)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

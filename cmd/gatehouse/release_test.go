//go:build !slim

package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// previousRelease builds the program of the last release, or of the revision in
// GATEHOUSE_TEST_RELEASE. Without either the test is skipped.
func previousRelease(t *testing.T) (binary, revision string) {
	t.Helper()
	revision = os.Getenv("GATEHOUSE_TEST_RELEASE")
	if revision == "" {
		out, err := exec.Command("git", "describe", "--tags", "--abbrev=0").Output()
		if err != nil {
			t.Skip("there is no release yet that could run on the new schema (no tag, or no history: git fetch --tags)")
		}
		revision = strings.TrimSpace(string(out))
	}
	sources := t.TempDir()
	root, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Fatalf("git rev-parse: %v", err)
	}
	archive := exec.Command("git", "archive", "--format=tar", revision)
	archive.Dir = strings.TrimSpace(string(root))
	extract := exec.Command("tar", "-x", "-C", sources)
	if extract.Stdin, err = archive.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	var message bytes.Buffer
	archive.Stderr, extract.Stderr = &message, &message
	if err := extract.Start(); err != nil {
		t.Fatal(err)
	}
	if err := archive.Run(); err != nil {
		t.Fatalf("git archive %s: %v\n%s", revision, err, message.String())
	}
	if err := extract.Wait(); err != nil {
		t.Fatalf("tar: %v\n%s", err, message.String())
	}
	binary = filepath.Join(t.TempDir(), "gatehouse")
	build := exec.Command("go", "build", "-o", binary, "./cmd/gatehouse")
	build.Dir = sources
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		if os.Getenv("CI") != "true" && strings.Contains(string(out), "dial tcp") {
			t.Skipf("what %s is made of cannot be downloaded: %s", revision, out)
		}
		t.Fatalf("build %s: %v\n%s", revision, err, out)
	}
	return binary, revision
}

// TestPreviousRelease has a server of the last release go on when the schema is
// this release's, beside one of this release, as while servers are replaced one
// by one. What one has begun the other ends.
func TestPreviousRelease(t *testing.T) {
	t.Parallel()
	old, revision := previousRelease(t)
	c := clustered(t, 2) // whose schema this release has brought up
	c.binaries = []string{old}
	c.client(t, "notes")
	c.start(t)
	b := c.signIn(t, "ada@example.org") // at the old one
	for _, tt := range []struct {
		name           string
		issues, redeem int
	}{
		{"a code of " + revision + ", redeemed at this release", 0, 1},
		{"a code of this release, redeemed at " + revision, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := c.redeem(t, tt.redeem, "notes", c.code(t, b, tt.issues, "notes"))
			if a.status != http.StatusOK {
				t.Fatalf("answered %v", a)
			}
			a = c.alive(t, "notes", a)
			for i := range 4 {
				if a = c.refresh(t, i, "notes", a.RefreshToken); a.status != http.StatusOK {
					t.Fatalf("a refresh at %s is answered %v", c.at(i), a)
				}
			}
		})
	}
}

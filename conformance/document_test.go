package conformance_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	route  = regexp.MustCompile(`\b(?:Any|GET|POST|get)\("(/[^"]*)"`)
)

// TestProtocolDocument holds docs/protocol.md to the code: what it names is
// there, and no endpoint of the protocol is left out.
func TestProtocolDocument(t *testing.T) {
	content, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	endpoints := map[string]bool{}
	rows := 0
	for line := range strings.Lines(string(content)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || strings.Contains(cells[1], "---") || strings.Contains(cells[3], "code") {
			continue
		}
		rows++
		for _, q := range quoted.FindAllStringSubmatch(cells[1], -1) {
			endpoints[q[1]] = true
		}
		files, tests := quoted.FindAllStringSubmatch(cells[3], -1), quoted.FindAllStringSubmatch(cells[4], -1)
		if len(files) == 0 || len(tests) == 0 {
			t.Errorf("no file or no test: %s", line)
		}
		for _, f := range files {
			if _, err := os.Stat(filepath.Join("..", f[1])); err != nil {
				t.Errorf("there is no %s", f[1])
			}
		}
		for _, q := range tests {
			folder, name, ok := strings.Cut(q[1], ".")
			if !ok || !hasTest(t, folder, name) {
				t.Errorf("there is no test %s", q[1])
			}
		}
	}
	if rows < 30 {
		t.Errorf("the tables have %d rows", rows)
	}
	routes, err := os.ReadFile("../web/routes.go")
	if err != nil {
		t.Fatal(err)
	}
	protocol, _, found := strings.Cut(string(routes), "// The pages.")
	paths := route.FindAllStringSubmatch(protocol, -1)
	if !found || len(paths) < 10 {
		t.Fatalf("web/routes.go has %d routes of the protocol", len(paths))
	}
	for _, p := range append(paths, []string{"", "/logout"}) {
		if !endpoints[p[1]] {
			t.Errorf("docs/protocol.md lacks %s", p[1])
		}
	}
}

// hasTest reports whether a test file of the folder has that test.
func hasTest(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

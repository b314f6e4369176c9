package gatehouse

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// securitySeries are the lines of the checklist that are promised to hold: the
// letter of each part and how many lines it has.
var securitySeries = []struct {
	part  string
	lines int
}{
	{"A", 15}, {"B", 8}, {"C", 8}, {"D", 7}, {"E", 7}, {"T", 6}, {"G", 5}, {"H", 8}, {"I", 3}, {"Q", 4},
}

// checklistRow is a row that says what the line is about and which files have its
// tests, or why there are none.
var checklistRow = regexp.MustCompile(`(?m)^\| ([A-Z]\d+) \| ([^|]+) \| ([^|]+) \|$`)

// TestSecurityChecklist holds docs/security-checklist.md to the tests: each line
// there names files with tests of its name; what is not offered says so, and has
// none.
func TestSecurityChecklist(t *testing.T) {
	doc, err := os.ReadFile("docs/security-checklist.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, row := range checklistRow.FindAllStringSubmatch(string(doc), -1) {
		if _, twice := rows[row[1]]; twice {
			t.Errorf("sec-%s stands there twice", row[1])
		}
		rows[row[1]] = row[3]
	}
	tests := securityTests(t)
	covered, offered, wanted := 0, 0, 0
	for _, s := range securitySeries {
		for n := range s.lines {
			wanted++
			id := fmt.Sprint(s.part, n+1)
			row, ok := rows[id]
			files := tests[id]
			switch {
			case !ok:
				t.Errorf("sec-%s is not in the checklist", id)
			case strings.HasPrefix(row, "not offered: "):
				if len(files) > 0 {
					t.Errorf("sec-%s is said not to be offered, and is tested in %q", id, files)
				}
				continue
			case len(files) == 0:
				t.Errorf("no test has sec-%s in its name", id)
			default:
				covered++
				for _, named := range strings.Fields(row) {
					if file := strings.Trim(named, "`"); !slices.Contains(files, file) {
						t.Errorf("%s has no test of sec-%s; these have: %q", file, id, files)
					}
				}
			}
			offered++
		}
	}
	if len(rows) != wanted {
		t.Errorf("the checklist has %d rows, not %d", len(rows), wanted)
	}
	t.Logf("%d of %d lines have a test; %d are of what is not offered", covered, offered, wanted-offered)
}

// securityTests says in which files there are tests of a line.
func securityTests(t *testing.T) map[string][]string {
	t.Helper()
	name := regexp.MustCompile(`\bsec-([A-Z]\d+)\b`)
	files := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another test has removed what it made
		}
		if err != nil {
			return err
		}
		switch skip := path != "." && strings.HasPrefix(d.Name(), ".") || path == "artifacts"; {
		case d.IsDir() && skip:
			return fs.SkipDir
		case d.IsDir() || path == "security_test.go":
			return nil
		case !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".txtar"):
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range name.FindAllStringSubmatch(string(source), -1) {
			if path := filepath.ToSlash(path); !slices.Contains(files[found[1]], path) {
				files[found[1]] = append(files[found[1]], path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

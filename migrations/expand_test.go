package migrations_test

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// lastRelease is the revision of the last release, or the one in
// GATEHOUSE_TEST_RELEASE. Without either the test is skipped.
func lastRelease(t *testing.T) string {
	t.Helper()
	if r := os.Getenv("GATEHOUSE_TEST_RELEASE"); r != "" {
		return r
	}
	out, err := exec.Command("git", "describe", "--tags", "--abbrev=0").Output()
	if err != nil {
		t.Skip("there is no release yet that a migration could break (no tag, or no history: git fetch --tags)")
	}
	return strings.TrimSpace(string(out))
}

// since lists what was added (A) or else changed in a folder since a revision.
func since(t *testing.T, revision, filter, folder string) []string {
	t.Helper()
	out, err := exec.Command("git", "diff", "--name-only", "--relative", "--diff-filter="+filter, revision, "--", folder).Output()
	if err != nil {
		t.Fatalf("git diff: %v", err)
	}
	return strings.Fields(string(out))
}

// TestExpand holds new migrations to what the release before survives: while
// servers are replaced one by one, it goes on with the new schema. SQLite is of
// one process, and none runs while it migrates.
func TestExpand(t *testing.T) {
	release := lastRelease(t)
	for _, engine := range []string{"postgres", "sqlite"} {
		if changed := since(t, release, "a", engine); len(changed) > 0 {
			t.Errorf("%q were released with %s, and have changed since; what is to be different goes into a new file", changed, release)
		}
	}
	for _, file := range since(t, release, "A", "postgres") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range contractions(string(text)) {
			t.Errorf("%s: %s. The servers of %s fail on that while they are replaced: leave it to the release after this one, and say there \"-- contract: \" and since when nobody needs it", path.Base(file), c, release)
		}
	}
}

// What takes something from the release before. A DROP INDEX only makes it slower.
var takes = []struct {
	statement *regexp.Regexp
	why       string
}{
	{regexp.MustCompile(`(?i)\bDROP\s+(TABLE|VIEW|SEQUENCE|TYPE|FUNCTION|TRIGGER|SCHEMA)\b`), "it drops what may be used"},
	{regexp.MustCompile(`(?i)\bDROP\s+COLUMN\b`), "it drops a column, which may be read"},
	{regexp.MustCompile(`(?i)\bRENAME\b`), "it renames, and the old name may be used"},
	{regexp.MustCompile(`(?i)\bSET\s+NOT\s+NULL\b`), "it requires a value, which may not be written"},
	{regexp.MustCompile(`(?i)\bALTER\s+COLUMN\s+\S+\s+(SET\s+DATA\s+)?TYPE\b`), "it changes a type, which locks and rewrites the table"},
	{regexp.MustCompile(`(?i)\bALTER\s+COLUMN\s+\S+\s+DROP\s+DEFAULT\b`), "it drops a default, which may be relied on"},
	{regexp.MustCompile(`(?i)\bCREATE\s+UNIQUE\s+INDEX\b`), "it refuses rows that may be written"},
	{regexp.MustCompile(`(?i)\bTRUNCATE\b`), "it removes rows"},
}

var (
	comment    = regexp.MustCompile(`--[^\n]*`)
	marked     = regexp.MustCompile(`(?m)^-- contract: \S`)
	addColumn  = regexp.MustCompile(`(?i)\bADD\s+COLUMN\b[^,;]*`)
	notNull    = regexp.MustCompile(`(?i)\bNOT\s+NULL\b`)
	hasDefault = regexp.MustCompile(`(?i)\bDEFAULT\b`)
	constraint = regexp.MustCompile(`(?i)\b(ADD|DROP)\s+CONSTRAINT\s+(\S+?)[,;\s]`)
	newTable   = regexp.MustCompile(`(?i)\bCREATE\s+TABLE\s+(\w+)`)
	onTable    = regexp.MustCompile(`(?i)\bON\s+(\w+)`)
)

// contractions is what a migration takes from the release before; none when it
// says that an earlier release has stopped using it.
func contractions(migration string) []string {
	if marked.MatchString(migration) {
		return nil
	}
	var found []string
	text := comment.ReplaceAllString(migration, "")
	fresh := map[string]bool{}
	for _, m := range newTable.FindAllStringSubmatch(text, -1) {
		fresh[m[1]] = true
	}
	for statement := range strings.SplitSeq(text, ";") {
		statement = strings.TrimSpace(statement) + ";"
		for _, t := range takes {
			if !t.statement.MatchString(statement) {
				continue
			}
			if on := onTable.FindStringSubmatch(statement); on != nil && fresh[on[1]] {
				continue // of a table that the release before does not know
			}
			found = append(found, fmt.Sprintf("%s (%s)", t.why, firstLine(statement)))
		}
		for _, column := range addColumn.FindAllString(statement, -1) {
			if notNull.MatchString(column) && !hasDefault.MatchString(column) {
				found = append(found, fmt.Sprintf("it adds a column without a default that must have a value (%s)", firstLine(column)))
			}
		}
		// A constraint that is dropped and added again is one that allows more.
		var dropped []string
		for _, m := range constraint.FindAllStringSubmatch(statement, -1) {
			switch {
			case strings.EqualFold(m[1], "drop"):
				dropped = append(dropped, m[2])
			case !slices.Contains(dropped, m[2]):
				found = append(found, fmt.Sprintf("it adds the constraint %s, which may refuse rows", m[2]))
			}
		}
	}
	return found
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(line)
}

func TestContractions(t *testing.T) {
	for _, tt := range []struct{ name, sql, want string }{
		{"a column that may be empty", "ALTER TABLE users ADD COLUMN nickname text;", ""},
		{"a column with a default", "ALTER TABLE users ADD COLUMN nickname text NOT NULL DEFAULT '';", ""},
		{"a column that must be written", "ALTER TABLE users\n  ADD COLUMN age int NOT NULL,\n  ADD COLUMN x int NOT NULL DEFAULT 0;", "it adds a column without a default"},
		{"a table", "CREATE TABLE cats (id text PRIMARY KEY, name text NOT NULL);\nCREATE UNIQUE INDEX cats_name ON cats (name);", ""},
		{"an index", "CREATE INDEX a ON users (b); DROP INDEX c;", ""},
		{"a unique index on what there is", "CREATE UNIQUE INDEX a ON users (name);", "it refuses rows"},
		{"a column is dropped", "ALTER TABLE users DROP COLUMN name;", "it drops a column"},
		{"a table is dropped", "drop table users;", "it drops what may be used"},
		{"a column is renamed", "ALTER TABLE users RENAME COLUMN name TO full_name;", "it renames"},
		{"a table is renamed", "ALTER TABLE users RENAME TO people;", "it renames"},
		{"a value is required", "ALTER TABLE users ALTER COLUMN name SET NOT NULL;", "it requires a value"},
		{"a type changes", "ALTER TABLE users ALTER COLUMN epoch TYPE int;", "it changes a type"},
		{"a default goes", "ALTER TABLE users ALTER COLUMN epoch DROP DEFAULT;", "it drops a default"},
		{"a constraint allows more", "ALTER TABLE users DROP CONSTRAINT c, ADD CONSTRAINT c CHECK (true);", ""},
		{"a constraint is new", "ALTER TABLE users ADD CONSTRAINT c CHECK (name <> '');", "it adds the constraint c"},
		{"words in a comment", "-- DROP TABLE users\nCREATE TABLE x (a int);", ""},
		{"what an earlier release has stopped using", "-- contract: nobody reads it since v1.2\nALTER TABLE users DROP COLUMN name;", ""},
		{"without saying since when", "-- contract:\nALTER TABLE users DROP COLUMN name;", "it drops a column"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(contractions(tt.sql), "\n")
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("found %q, not %q", got, tt.want)
			}
		})
	}
}

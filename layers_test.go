package gatehouse

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gatehouse-id/gatehouse"

// layers says which packages of ours a folder may import, below its own. What
// does not stand here may import nothing of ours. Packages inside one folder
// may import each other.
var layers = map[string][]string{
	"storage":    {"migrations"}, // the SQL drivers migrate
	"migrations": {},
	"egress":     {},
	"text":       {},
	"mail":       {"text", "internal/meter"},
	"keys":       {"storage", "internal/meter"},
	"consent":    {"storage"},
	"denylist":   {"storage", "internal/meter"},
	"login":      {"storage", "internal/meter"},
	"provider":   {"consent", "denylist", "egress", "keys", "storage", "internal/meter"},
	"web":        {"consent", "denylist", "login", "provider", "storage", "text", "internal/meter"},
	"api":        {"consent", "denylist", "login", "provider", "storage"},

	"examples": {"api"},              // an app has the contract, and nothing else
	"bench":    {"internal/testenv"}, // it measures the binary, and knows nothing of what is in it

	"internal/testenv": {"migrations"}, // tests get a database with the schema

	"cmd/worker": {"mail", "internal/telemetry"},
	"cmd/gatehouse": {
		"api", "consent", "denylist", "egress", "internal/meter", "internal/telemetry", "keys", "login", "mail", "migrations", "provider", "storage", "text", "web",
	},
}

// confined names third parties and the only folders that may import them.
var confined = map[string][]string{
	"github.com/ory/fosite":          {"provider"},
	"github.com/gin-gonic/gin":       {"web"},
	"google.golang.org/grpc":         {"api", "cmd", "examples", "internal/testenv"},
	"github.com/jackc/pgx/v5":        {"storage", "migrations", "internal/testenv", "cmd", "bench"},
	"github.com/valkey-io/valkey-go": {"storage", "internal/testenv", "cmd", "bench"},
	"github.com/hibiken/asynq":       {"mail"},
	"github.com/redis/go-redis/v9":   {"mail"}, // asynq's own, for its log
	"github.com/go-jose/go-jose/v4":  {"keys", "provider", "gatewaycheck", "examples"},
	"github.com/pquerna/otp":         {"login"},
	"github.com/boombuler/barcode":   {"web"},
}

// drivers open a memory: whoever imports one has chosen it.
var drivers = []string{"storage/postgres", "storage/sqlite", "storage/valkey"}

// within reports whether path is folder or below it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func withinAny(path string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return within(path, f) })
}

// offence says why a package of ours, given by its path below the module, may
// not import another package, given by its whole path; empty when it may.
func offence(from, imported string) string {
	for third, folders := range confined {
		if within(imported, third) && !withinAny(from, folders) {
			return "only " + strings.Join(folders, ", ") + " may"
		}
	}
	to, ours := strings.CutPrefix(imported, module+"/")
	switch {
	case !ours:
		return ""
	case withinAny(to, drivers) && !within(from, "cmd") && !within(from, "storage"):
		return "a driver is chosen by a command alone"
	case within(to, "internal/testenv") && !within(from, "internal/testenv") && from != "bench":
		return "real servers are for tests and measurements alone"
	case from == "storage" && within(to, "migrations"):
		return "the vocabulary knows no schema; its drivers do"
	}
	folder := from
	for f := range layers {
		if within(from, f) {
			folder = f
		}
	}
	if within(to, folder) || withinAny(to, layers[folder]) {
		return ""
	}
	if len(layers[folder]) == 0 {
		return folder + " may import nothing of ours"
	}
	return folder + " may import " + strings.Join(layers[folder], ", ")
}

func TestLayers(t *testing.T) {
	type pkg struct {
		ImportPath string
		Imports    []string
	}
	seen := 0
	for out := goList(t, "-e", "-json=ImportPath,Imports", "./..."); ; seen++ {
		var p pkg
		if err := out.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, imported := range p.Imports {
			if why := offence(from, imported); why != "" {
				t.Errorf("%s imports %s: %s", cmp.Or(from, "the root"), imported, why)
			}
		}
	}
	if seen < 4 {
		t.Fatalf("go list named %d packages", seen)
	}
}

// TestOffences holds the rule itself.
func TestOffences(t *testing.T) {
	for _, c := range []struct {
		sentence       string
		from, imported string
		allowed        bool
	}{
		{"the root imports nothing", "", module + "/storage", false},
		{"storage imports nothing of ours", "storage", module + "/keys", false},
		{"storage itself does not know the schema", "storage", module + "/migrations", false},
		{"a driver knows the schema", "storage/sqlite", module + "/migrations", true},
		{"a driver imports the vocabulary", "storage/postgres", module + "/storage", true},
		{"the contract suite imports the vocabulary", "storage/storagetest", module + "/storage", true},
		{"keys imports storage", "keys", module + "/storage", true},
		{"keys imports no driver", "keys", module + "/storage/sqlite", false},
		{"keys does not import its neighbour", "keys", module + "/consent", false},
		{"provider imports keys", "provider", module + "/keys", true},
		{"provider does not import login", "provider", module + "/login", false},
		{"login does not import provider", "login", module + "/provider", false},
		{"web imports login", "web", module + "/login", true},
		{"web does not import keys", "web", module + "/keys", false},
		{"web does not import mail", "web", module + "/mail", false},
		{"web/dev counts as web", "web/dev", module + "/mail", false},
		{"web imports web/dev", "web", module + "/web/dev", true},
		{"mail imports the sentences", "mail", module + "/text", true},
		{"mail imports nothing else of ours", "mail", module + "/storage", false},
		{"web imports the sentences", "web", module + "/text", true},
		{"the sentences import nothing of ours", "text", module + "/storage", false},
		{"login does not know the sentences", "login", module + "/text", false},
		{"egress imports nothing of ours", "egress", module + "/storage", false},
		{"provider imports egress", "provider", module + "/egress", true},
		{"web does not import egress", "web", module + "/egress", false},
		{"the command imports a driver", "cmd/gatehouse", module + "/storage/valkey", true},
		{"the command imports mail", "cmd/gatehouse", module + "/mail", true},
		{"the command does not import test servers", "cmd/gatehouse", module + "/internal/testenv", false},
		{"what measures a server starts others beside it", "bench", module + "/internal/testenv", true},
		{"what measures a server imports nothing of it", "bench", module + "/provider", false},
		{"the worker imports mail", "cmd/worker", module + "/mail", true},
		{"the worker does not import storage", "cmd/worker", module + "/storage", false},
		{"the worker does not import web", "cmd/worker", module + "/web", false},
		{"telemetry is for commands alone", "provider", module + "/internal/telemetry", false},
		{"telemetry is for commands", "cmd/worker", module + "/internal/telemetry", true},
		{"a folder without a line imports nothing of ours", "somewhere", module + "/storage", false},
		{"a folder is not its namesake's", "keyscope", module + "/storage", false},
		{"provider imports fosite", "provider", "github.com/ory/fosite/handler/oauth2", true},
		{"web does not import fosite", "web", "github.com/ory/fosite", false},
		{"provider does not import gin", "provider", "github.com/gin-gonic/gin", false},
		{"cmd does not import asynq", "cmd/worker", "github.com/hibiken/asynq", false},
		{"the standard library is free", "storage", "net/http", true},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			if why := offence(c.from, c.imported); (why == "") != c.allowed {
				t.Errorf("%s imports %s: %q, want allowed = %v", c.from, c.imported, why, c.allowed)
			}
		})
	}
}

// TestWorkerStaysSmall keeps out of the worker what would double its size. A
// program that can execute a template keeps every exported method of every type
// it reaches, because a template may name any of them: 1.6 MB of the worker's
// 3.7, compressed. Libraries may import the template packages, as asynq's do:
// what nobody calls is not linked.
func TestWorkerStaysSmall(t *testing.T) {
	type pkg struct {
		ImportPath string
		Imports    []string
	}
	for out := goList(t, "-deps", "-json=ImportPath,Imports", "./cmd/worker"); ; {
		var p pkg
		if err := out.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if withinAny(p.ImportPath, []string{"github.com/gin-gonic/gin", "github.com/ory/fosite"}) {
			t.Errorf("cmd/worker links %s", p.ImportPath)
		}
		if !within(p.ImportPath, module) {
			continue
		}
		for _, imported := range p.Imports {
			if imported == "html/template" || imported == "text/template" {
				t.Errorf("%s, which cmd/worker links, imports %s", p.ImportPath, imported)
			}
		}
	}
}

// goList runs go list in the root of the module and decodes what it prints.
func goList(t *testing.T, args ...string) *json.Decoder {
	t.Helper()
	// The go command repeats a test's last result unless a file changed that the
	// test itself has looked at: so look at all.
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another test has removed what it made
		}
		if err == nil && d.IsDir() && path != "." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("go", append([]string{"list"}, args...)...)
	var problems strings.Builder
	c.Stderr = &problems
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, problems.String())
	}
	return json.NewDecoder(strings.NewReader(string(out)))
}

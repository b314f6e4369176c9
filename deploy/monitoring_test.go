//go:build unix

package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// promtool runs Prometheus's own judge of rules.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	name := os.Getenv("GATEHOUSE_TEST_PROMTOOL")
	if name == "" {
		name = "promtool"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("promtool is not installed: %v", err)
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestAlerts has promtool read the rules and try them on the series of their
// tests. What metrics they ask for TestMetrics of cmd/gatehouse compares.
func TestAlerts(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", "alerts/gatehouse.yaml")
	promtool(t, "test", "rules", "alerts/gatehouse_test.yaml")

	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert  string
				Labels map[string]string
			}
		}
	}
	unmarshal(t, "alerts/gatehouse.yaml", &rules)
	tests := read(t, "alerts/gatehouse_test.yaml")
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if severity := r.Labels["severity"]; severity != "page" && severity != "ticket" {
				t.Errorf("%s has the severity %q", r.Alert, severity)
			}
			if !strings.Contains(tests, `exp_samples: [{labels: '{alertname="`+r.Alert+`"`) {
				t.Errorf("no test has %s fire", r.Alert)
			}
		}
	}
}

func unmarshal(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, name)), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// A panel of Grafana, as far as we look at it.
type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct{ Expr string }
}

// TestDashboard has promtool read what the dashboard asks for, as if each were a
// rule, and looks at where the panels stand.
func TestDashboard(t *testing.T) {
	t.Parallel()
	var d struct {
		Title  string
		UID    string
		Panels []panel
	}
	if err := json.Unmarshal([]byte(read(t, "grafana/gatehouse.json")), &d); err != nil {
		t.Fatal(err)
	}
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []rule
	var rows []string
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Errorf("%q stands on %q or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			rows = append(rows, p.Title)
		} else if len(p.Targets) == 0 {
			t.Errorf("%q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h").Replace(target.Expr)
			if regexp.MustCompile(`\$[a-z_]+`).FindString(expr) != "" && !strings.Contains(expr, `instance=~"$instance"`) {
				t.Errorf("%q asks with a variable that there is not: %s", p.Title, expr)
			}
			rules = append(rules, rule{fmt.Sprintf("panel_%d_%d", p.ID, len(rules)), expr})
		}
	}
	if got := strings.Join(rows, ", "); got != "Now, Sign-in, Tokens, Revocation, Limits, Mail, Stores, Process" {
		t.Errorf("the rows are %s", got)
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}

//go:build unix

package deploy_test

import (
	"bytes"
	"context"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// keys are the names that a program knows, by what it says with -h.
func keys(t *testing.T, name string, args ...string) map[string]bool {
	t.Helper()
	out, err := exec.Command(program(t, name), args...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	known := map[string]bool{"GOMEMLIMIT": true}
	for _, key := range regexp.MustCompile(`\b(GATEHOUSE|OTEL)_[A-Z0-9_]+`).FindAllString(string(out), -1) {
		known[key] = true
	}
	// Of the worker every key may be a file, which it says once.
	if name == "gatehouse-worker" {
		for key := range known {
			if strings.HasPrefix(key, "GATEHOUSE_") && !strings.HasSuffix(key, "_FILE") {
				known[key+"_FILE"] = true
			}
		}
	}
	known["OTEL_EXPORTER_OTLP_HEADERS_FILE"] = known["OTEL_EXPORTER_OTLP_HEADERS"]
	return known
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var secretKeys = regexp.MustCompile(`GATEHOUSE_(DATABASE_URL|VALKEY_URL|SEAL_KEY|MAIL_KEY|SMTP_URL|SMTP2GO_KEY|TLS_KEY|GRPC_TLS_KEY|CLIENT_REGISTRATION_TOKEN)$`)

// A setting is a variable of the environment that a file gives to a program.
type setting struct{ file, program, key, value string }

// settings are all that the files of compose, helm and systemd give.
func settings(t *testing.T) (all []setting) {
	t.Helper()
	for name, s := range composeFile(t).Services {
		runs, _, _ := strings.Cut(s.Image, ":")
		if runs != "gatehouse" && runs != "gatehouse-worker" {
			continue
		}
		for key, value := range s.Environment {
			all = append(all, setting{"compose.yaml, " + name, runs, key, value})
		}
	}
	of := func(file string) string {
		if strings.Contains(file, "worker") {
			return "gatehouse-worker"
		}
		return "gatehouse"
	}
	charts, err := filepath.Glob("helm/gatehouse/templates/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	variable := regexp.MustCompile(`- \{name: ([A-Z0-9_]+), value: (.*)\}`)
	for _, file := range append(charts, "helm/gatehouse/templates/_helpers.tpl") {
		for _, m := range variable.FindAllStringSubmatch(read(t, file), -1) {
			all = append(all, setting{file, of(file), m[1], m[2]})
		}
	}
	units, err := filepath.Glob("systemd/*.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range units {
		for _, m := range regexp.MustCompile(`(?m)^Environment=([A-Z0-9_]+)=(.*)$`).FindAllStringSubmatch(read(t, file), -1) {
			all = append(all, setting{file, of(file), m[1], m[2]})
		}
	}
	for _, file := range []string{"systemd/gatehouse.env", "systemd/worker.env"} {
		for _, m := range regexp.MustCompile(`(?m)^#?([A-Z0-9_]+)=(.*)$`).FindAllStringSubmatch(read(t, file), -1) {
			all = append(all, setting{file, of(file), m[1], m[2]})
		}
	}
	return all
}

// TestKeys holds what the files give to the programs against what those know: a key
// that is none stops the start.
func TestKeys(t *testing.T) {
	known := map[string]map[string]bool{"gatehouse": keys(t, "gatehouse", "serve", "-h"), "gatehouse-worker": keys(t, "gatehouse-worker", "-h")}
	for key := range known["gatehouse"] { // which both read in the same way
		if strings.HasPrefix(key, "OTEL_") {
			known["gatehouse-worker"][key] = true
		}
	}
	seen := map[string]int{}
	for _, s := range settings(t) {
		seen[strings.FieldsFunc(s.file, func(r rune) bool { return r == '/' || r == '.' })[0]]++
		if !known[s.program][s.key] {
			t.Errorf("%s: %s is no key of %s", s.file, s.key, s.program)
		}
		if secretKeys.MatchString(s.key) {
			t.Errorf("%s: %s is a secret, and stands in the environment; use %s_FILE", s.file, s.key, s.key)
		}
	}
	if seen["compose"] < 20 || seen["helm"] < 15 || seen["systemd"] < 12 {
		t.Errorf("the files have %v settings: they are no longer found", seen)
	}
}

// The parts of compose.yaml that are looked at.
type compose struct {
	Services map[string]struct {
		Image       string
		User        string
		Environment map[string]string
		Command     []string
		Secrets     []string
		Volumes     []string
		Networks    any
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		CapAdd      []string `yaml:"cap_add"`
		SecurityOpt []string `yaml:"security_opt"`
		Privileged  bool
		Ports       []any
		StopGrace   string `yaml:"stop_grace_period"`
		Deploy      struct {
			Resources struct{ Limits map[string]string }
		}
	}
	Networks map[string]struct {
		Internal bool
		IPAM     struct{ Config []struct{ Subnet string } }
	}
	Secrets map[string]struct{ File string }
}

func composeFile(t *testing.T) (c compose) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, "compose/compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCompose holds what compose.yaml promises.
func TestCompose(t *testing.T) {
	c := composeFile(t)
	if len(c.Services) < 8 {
		t.Fatalf("there are %d services", len(c.Services))
	}
	in := func(service string) (networks []string) {
		switch n := c.Services[service].Networks.(type) {
		case []any:
			for _, name := range n {
				networks = append(networks, name.(string))
			}
		case map[string]any:
			for name := range n {
				networks = append(networks, name)
			}
		}
		slices.Sort(networks)
		return networks
	}
	for name, s := range c.Services {
		if !s.ReadOnly || s.Privileged || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s is not confined", name)
		}
		if s.User == "" || strings.HasPrefix(s.User, "0") || strings.HasPrefix(s.User, "root") {
			t.Errorf("%s runs as %q", name, s.User)
		}
		for _, limit := range []string{"cpus", "memory", "pids"} {
			if s.Deploy.Resources.Limits[limit] == "" {
				t.Errorf("%s has no limit of %s", name, limit)
			}
		}
		if len(s.Ports) > 0 != (name == "envoy") {
			t.Errorf("%s publishes %v", name, s.Ports)
		}
		if _, tag, _ := strings.Cut(s.Image, ":"); tag == "" || tag == "latest" {
			t.Errorf("%s is of the image %s", name, s.Image)
		}
		for _, secret := range s.Secrets {
			if _, ok := c.Secrets[secret]; !ok {
				t.Errorf("%s has the secret %s, which is none", name, secret)
			}
		}
		for key, value := range s.Environment {
			if path, ok := strings.CutPrefix(value, "/run/secrets/"); ok && !slices.Contains(s.Secrets, path) {
				t.Errorf("%s: %s names %s, which it is not given", name, key, value)
			}
			if strings.HasPrefix(key, "GATEHOUSE_") && strings.HasSuffix(key, "_FILE") && !strings.HasPrefix(value, "/run/secrets/") {
				t.Errorf("%s: %s is %s, which is no secret", name, key, value)
			}
		}
	}
	for service, want := range map[string][]string{
		"gatehouse-1": {"back", "front", "out"}, "gatehouse-2": {"back", "front", "out"}, "worker": {"back", "out"},
		"migrate": {"back"}, "postgres": {"back"}, "valkey": {"back"}, "envoy": {"api", "edge", "front"}, "api": {"api"}, "otel-collector": {"back", "out"},
	} {
		if got := in(service); !slices.Equal(got, want) {
			t.Errorf("%s is in the networks %v, want %v", service, got, want)
		}
	}
	for _, name := range []string{"front", "api", "back"} {
		if !c.Networks[name].Internal {
			t.Errorf("the network %s leads out", name)
		}
	}
	if got := c.Services["worker"].Secrets; slices.Contains(got, "seal_key") || slices.Contains(got, "database_url") || slices.Contains(got, "valkey_url") {
		t.Errorf("the worker is given %v", got)
	}
	for _, phrase := range []string{"noeviction", "--appendonly", "/run/secrets/valkey_acl"} {
		if !slices.Contains(c.Services["valkey"].Command, phrase) {
			t.Errorf("Valkey is not told %s", phrase)
		}
	}
	// The one address that is believed is Envoy's.
	front := c.Services["envoy"].Networks.(map[string]any)["front"].(map[string]any)["ipv4_address"].(string)
	for _, service := range []string{"gatehouse-1", "gatehouse-2"} {
		if got := c.Services[service].Environment["GATEHOUSE_TRUSTED_PROXIES"]; got != front+"/32" {
			t.Errorf("%s believes %s; Envoy is at %s", service, got, front)
		}
		if got := c.Services[service].StopGrace; got != "30s" {
			t.Errorf("%s has %s to stop", service, got)
		}
	}
}

// TestComposeEnvironment has the server read the environment that compose.yaml gives
// it, with the secrets of secrets.sh.
func TestComposeEnvironment(t *testing.T) {
	dir := t.TempDir()
	secrets := func() (string, error) {
		out, err := exec.Command("compose/secrets.sh", dir).CombinedOutput()
		return string(out), err
	}
	if out, err := secrets(); err == nil || !strings.Contains(out, "smtp_url") {
		t.Errorf("without the mail server's address secrets.sh says %q (%v)", out, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "smtp_url"), []byte("smtps://user:password@mail.example.org:465"), 0o444); err != nil {
		t.Fatal(err)
	}
	before := read(t, filepath.Join(dir, "seal_key"))
	if out, err := secrets(); err != nil || read(t, filepath.Join(dir, "seal_key")) != before {
		t.Errorf("secrets.sh does not keep what is there: %s (%v)", out, err)
	}
	c := composeFile(t)
	for name, s := range c.Secrets {
		if s.File != "secrets/"+name {
			t.Errorf("the secret %s is the file %s", name, s.File)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm()&0o222 != 0 && name != "smtp_url" {
			t.Errorf("the secret %s: %v (%v)", name, info, err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory of the secrets is %v (%v)", info.Mode(), err)
	}
	values := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z_]+)="?([^"\n]*)"?$`).FindAllStringSubmatch(read(t, "compose/example.env"), -1) {
		values[m[1]] = m[2]
	}
	for _, name := range regexp.MustCompile(`\$\{([A-Z_]+)`).FindAllStringSubmatch(read(t, "compose/compose.yaml"), -1) {
		if values[name[1]] == "" {
			t.Errorf("example.env does not have %s", name[1])
		}
	}
	for _, service := range []string{"gatehouse-1", "gatehouse-2", "migrate"} {
		// It reads all keys, finds them right and has nothing to show.
		cmd := exec.Command(program(t, "gatehouse"), "domain", "show")
		for key, value := range c.Services[service].Environment {
			value = regexp.MustCompile(`\$\{([A-Z_]+)[^}]*\}`).ReplaceAllStringFunc(value, func(s string) string {
				name, _, _ := strings.Cut(strings.Trim(s, "${}"), ":")
				return values[name]
			})
			cmd.Env = append(cmd.Env, key+"="+strings.Replace(value, "/run/secrets/", dir+"/", 1))
		}
		if out, _ := cmd.CombinedOutput(); !bytes.Contains(out, []byte("registration is closed")) || bytes.Contains(out, []byte("GATEHOUSE_URL ")) {
			t.Errorf("%s: the server says: %s", service, out)
		}
	}
}

// TestReady has ready.sh ask a server that is ready only the third time, and holds
// the README to it: whoever replaces one server after the other waits in between.
func TestReady(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	// What runs in a container of Docker Compose runs here.
	program := regexp.MustCompile(`(?s)bash -c '(.*?)'`).FindStringSubmatch(strings.ReplaceAll(read(t, "compose/ready.sh"), "/8080", "/"+port))
	if program == nil {
		t.Fatal("ready.sh asks nobody")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "bash", "-c", program[1], host).CombinedOutput(); err != nil || asked.Load() != 3 {
		t.Errorf("it has asked %d times: %v\n%s", asked.Load(), err, out)
	}
	if !regexp.MustCompile(`gatehouse-1 && \./ready\.sh gatehouse-1 &&\n +docker compose up --detach --no-deps gatehouse-2 `).MatchString(read(t, "README.md")) {
		t.Error("the README replaces both servers at once")
	}
}

// TestAgree holds the files together where one says what another does.
func TestAgree(t *testing.T) {
	envoy, nginx, server := read(t, "envoy.yaml"), read(t, "nginx/gatehouse.conf"), read(t, "helm/gatehouse/templates/server.yaml")
	compose, otel := read(t, "compose/compose.yaml"), read(t, "otel.yaml")
	for _, row := range []struct{ sentence, text, phrase string }{
		{"Envoy finds HTTP where compose.yaml has it", envoy, "{address: gatehouse-2, port_value: 8080}"},
		{"Envoy finds gRPC where compose.yaml has it", envoy, "{address: gatehouse-2, port_value: 9090}"},
		{"compose.yaml has HTTP there", compose, "GATEHOUSE_ADDR: 0.0.0.0:8080"},
		{"compose.yaml has gRPC there", compose, "GATEHOUSE_GRPC_ADDR: 0.0.0.0:9090"},
		{"the example API is where Envoy looks for it", compose, "--port=9000"},
		{"Envoy looks for the API", envoy, "{address: api, port_value: 9000}"},
		{"Envoy listens where compose.yaml publishes it", compose, `{target: 8443, published: "443"`},
		{"Envoy listens", envoy, "{address: 0.0.0.0, port_value: 8443}"},
		{"the collector is where compose.yaml sends to", compose, "http://otel-collector:4317"},
		{"the collector listens", otel, "0.0.0.0:4317"},
		{"the collector reads its token from a file", otel, "${file:/run/secrets/otlp_token}"},
		{"Envoy limits what login/limit.go leaves to proxies", envoy, `/(login|register|reset)(\\?.*)?`},
		{"to 60 a minute", envoy, "{max_tokens: 60, tokens_per_fill: 1, fill_interval: 1s}"},
		{"NGINX too", nginx, "POST /(login|register|reset)$"},
		{"to 60 a minute as well", nginx, "rate=60r/m"},
		{"and Gatehouse's own limit is that", read(t, "../login/limit.go"), "networkLayer = layer{byNetwork, 60, time.Minute}"},
		{"Helm has HTTP at 8080", server, `{name: GATEHOUSE_ADDR, value: ":8080"}`},
		{"Helm has gRPC at 9090", server, `{name: GATEHOUSE_GRPC_ADDR, value: ":9090"}`},
		{"Helm has metrics at 9464", server, `{name: GATEHOUSE_METRICS_ADDR, value: ":9464"}`},
		{"a pod has longer to stop than the server takes", server, "terminationGracePeriodSeconds: 30"},
		{"a unit too", read(t, "systemd/gatehouse.service"), "TimeoutStopSec=30"},
		{"the server takes 3 s", read(t, "../cmd/gatehouse/serve.go"), "noticeTime = 3 * time.Second"},
		{"and 20 s", read(t, "../cmd/gatehouse/serve.go"), "drainTime = 20 * time.Second"},
		{"NGINX has forgotten in less than 3 s that a server was away", nginx, "max_fails=1 fail_timeout=1s"},
		{"Envoy asks those that stop while it knows of no other", envoy, "healthy_panic_threshold: {value: 1}"},
		{"Envoy reads the certificate where compose.yaml mounts it", compose, "${TLS_DIR:?set it in .env}:/etc/envoy/tls:ro"},
		{"and there", read(t, "envoy-tls.yaml"), "watched_directory: {path: /etc/envoy/tls}"},
		{"the images run as the user of the files", read(t, "Dockerfile"), "USER 65532:65532"},
		{"compose.yaml as well", compose, `user: "65532:65532"`},
		{"and Helm", read(t, "helm/gatehouse/templates/_helpers.tpl"), "runAsUser: 65532"},
		{"the image takes a command", read(t, "Dockerfile"), `ENTRYPOINT ["/usr/local/bin/gatehouse"]`},
		{"Kubernetes sets no GATEHOUSE_… of its own", read(t, "helm/gatehouse/templates/_helpers.tpl"), "enableServiceLinks: false"},
	} {
		if !strings.Contains(row.text, row.phrase) {
			t.Errorf("%s: there is no %s", row.sentence, row.phrase)
		}
	}
}

// TestSecretsAreFiles looks for a secret in any file of deploy/.
func TestSecretsAreFiles(t *testing.T) {
	inline := regexp.MustCompile(`(?i)(postgres|postgresql|valkeys?|rediss?|smtps?)://[^\s:/@"']*:([^\s@"']+)@|-----BEGIN [A-Z ]*PRIVATE KEY|\b[0-9a-f]{64}\b`)
	// What stands for a password, or for a digest.
	placeholder := regexp.MustCompile(`:(password|…|%s)@|^0{64}$`)
	n := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		n++
		for _, found := range inline.FindAllString(read(t, path), -1) {
			if !placeholder.MatchString(found) {
				t.Errorf("%s has %s", path, found)
			}
		}
		return nil
	})
	if err != nil || n < 30 {
		t.Errorf("%d files were looked at (%v)", n, err)
	}
}

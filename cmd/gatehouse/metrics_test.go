//go:build !slim

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A family is one metric as Prometheus sees it.
type family struct {
	kind, help string
	labels     map[string]bool
}

var sampleLine = regexp.MustCompile(`^([a-zA-Z0-9_]+)(?:\{(.*)\})? [-+0-9.eE]+|^([a-zA-Z0-9_]+)(?:\{(.*)\})? (?:NaN|[+-]Inf)$`)
var labelPair = regexp.MustCompile(`([a-zA-Z0-9_]+)="(?:[^"\\]|\\.)*"`)

// exposed reads the text format of Prometheus.
func exposed(t *testing.T, text string) map[string]*family {
	t.Helper()
	all := map[string]*family{}
	var last string
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, help, _ := strings.Cut(rest, " ")
			if all[name] == nil {
				all[name] = &family{labels: map[string]bool{}}
			}
			all[name].help = help
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			if all[name] == nil {
				all[name] = &family{labels: map[string]bool{}}
			}
			all[name].kind, last = kind, name
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil || !strings.HasPrefix(m[1], last) {
			t.Errorf("no line of the text format: %q", line)
			continue
		}
		for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
			if pair[1] != "le" {
				all[last].labels[pair[1]] = true
			}
		}
	}
	return all
}

// everything is all that servers expose once they have had something to do: one
// in embedded mode, with a face for gRPC, and one on PostgreSQL and Valkey.
func everything(t *testing.T, database string) map[string]*family {
	t.Helper()
	ctx := t.Context()
	all := map[string]*family{}
	add := func(text string) {
		for name, f := range exposed(t, text) {
			if all[name] != nil {
				maps.Copy(f.labels, all[name].labels)
			}
			all[name] = f
		}
	}

	c := grpcConfig(t, "GATEHOUSE_METRICS_ADDR=localhost:"+freePort(t))
	s, letters := servingGRPC(t, c)
	from := login.From{Address: "192.0.2.7"}
	if _, err := s.login.Register(ctx, from, login.Registration{Name: "Asha Rai", Email: "asha@example.com", Password: "river lantern mosaic"}); err != nil {
		t.Fatal(err)
	}
	letters.code(t, "asha@example.com", 0)
	s.endASession(t)
	if err := s.denylist.Revoke(ctx, storage.Revocation{Kind: storage.RevokedToken, Key: "a token"}); err != nil {
		t.Fatal(err)
	}
	s.denylist.Nudge()
	if err := s.purgeOnce(ctx); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(c.GRPCAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = authv1.NewAuthenticationServiceClient(conn).Login(ctx, &authv1.LoginRequest{Email: "nobody@example.com", Password: "river lantern mosaic"})
	if status.Code(err) != codes.Unauthenticated {
		t.Fatal(err)
	}
	resp, err := http.Get(c.URL + "/jwks")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	address := "http://" + c.MetricsAddr + "/metrics"
	await(t, "all has been measured", func() bool {
		body := fetch(t, address)
		add(body)
		return all["gatehouse_letter_delay_seconds"] != nil && all["gatehouse_notice_delivery_duration_seconds"] != nil &&
			all["gatehouse_revocation_lag_seconds"] != nil && all["gatehouse_outbox_pending"] != nil
	})

	c, err = parseConfig([]string{
		"GATEHOUSE_DATABASE_URL=" + database, "GATEHOUSE_VALKEY_URL=" + testenv.Valkey(t),
		"GATEHOUSE_SEAL_KEY=" + hexKey, "GATEHOUSE_MAIL_KEY=" + hexKey,
		"GATEHOUSE_URL=https://id.example.org", "GATEHOUSE_METRICS_ADDR=localhost:" + freePort(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := migrateSQL(ctx, c); err != nil {
		t.Fatal(err)
	}
	s = built(t, c)
	l, err := net.Listen("tcp", c.MetricsAddr)
	if err != nil {
		t.Fatal(err)
	}
	scraping, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.telemetry.Scrape(scraping, l) }()
	add(fetch(t, "http://"+c.MetricsAddr+"/metrics"))
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return all
}

func fetch(t *testing.T, address string) string {
	t.Helper()
	var b strings.Builder
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		b.WriteString(lines.Text() + "\n")
	}
	return b.String()
}

// endASession has somebody sign out of an app that wants to be told.
func (s *server) endASession(t *testing.T) {
	t.Helper()
	ctx, now := t.Context(), s.clock.Now()
	id := func() string { return uuid.Must(uuid.NewV7()).String() }
	u := storage.User{ID: id(), Email: "bina@example.com", Name: "Bina", Status: storage.UserActive, EmailVerifiedAt: now, CreatedAt: now, UpdatedAt: now}
	session, grant := id(), id()
	steps := []error{
		s.sql.CreateUser(ctx, u, "unused"),
		s.sql.CreateClient(ctx, storage.Client{
			ID: "notes", Name: "Notes", AuthMethod: storage.AuthNone, RedirectURIs: []string{callback}, GrantTypes: []string{"authorization_code"},
			Scopes: []string{"openid"}, CreatedAt: now, UpdatedAt: now,
			Metadata: storage.ClientMetadata{BackchannelLogoutURI: "https://notes.example.org/logout"},
		}),
	}
	if stored, err := s.sql.User(ctx, u.ID); err == nil {
		u = stored
	}
	steps = append(steps,
		s.sql.CreateSession(ctx, storage.Session{
			ID: session, SecretHash: []byte(session), UserID: u.ID, UserEpoch: u.Epoch, AuthTime: now, CreatedAt: now,
			ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(time.Hour),
		}, ""),
		s.sql.CreateGrant(ctx, storage.Grant{
			ID: grant, ClientID: "notes", UserID: u.ID, UserEpoch: u.Epoch, SessionID: session, Scopes: []string{"openid"},
			AuthTime: now, Generation: 1, CreatedAt: now, ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(time.Hour),
		}),
		s.sql.EndSession(ctx, session, now),
	)
	for _, err := range steps {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// promFamily is the name that a metric has in Prometheus.
func promFamily(name, kind, unit string) string {
	name = strings.ReplaceAll(name, ".", "_")
	if suffix := map[string]string{"s": "_seconds", "By": "_bytes", "%": "_percent"}[unit]; !strings.HasSuffix(name, suffix) {
		name += suffix
	}
	if kind == "counter" {
		name += "_total"
	}
	return name
}

// TestMetrics holds what is written about metrics against what servers expose:
// the page, the dashboard and the alert rules.
func TestMetrics(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t)
	all := everything(t, database)
	t.Run("the page lists each, and no other", func(t *testing.T) { metricsPage(t, all) })
	t.Run("the dashboard asks for what there is", func(t *testing.T) { dashboard(t, all) })
	t.Run("the alerts ask for what there is", func(t *testing.T) { alerts(t, all, database) })
}

var metricsRow = regexp.MustCompile("(?m)^\\| `([a-z0-9._]+)` \\| (counter|gauge|histogram) \\| (\\S+) \\| (.+?) \\| (.+) \\|$")

func metricsPage(t *testing.T, all map[string]*family) {
	page, err := os.ReadFile("../../docs/telemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range metricsRow.FindAllStringSubmatch(string(page), -1) {
		name, kind, unit, attributes, meaning := row[1], row[2], row[3], row[4], row[5]
		of := promFamily(name, kind, unit)
		listed[of] = true
		f := all[of]
		if f == nil && name == "go.memory.limit" {
			continue // there is none on this machine
		}
		if f == nil || f.kind != kind {
			t.Errorf("no server exposes a %s %s", kind, of)
			continue
		}
		var labels []string
		if attributes != "–" {
			for _, a := range strings.Split(attributes, ", ") {
				labels = append(labels, strings.ReplaceAll(strings.Trim(a, "`"), ".", "_"))
			}
		}
		slices.Sort(labels)
		if ours := strings.HasPrefix(name, "gatehouse."); ours {
			if has := slices.Sorted(maps.Keys(f.labels)); !slices.Equal(has, labels) {
				t.Errorf("%s has the attributes %q, and not %q", name, has, labels)
			}
			if f.help != meaning {
				t.Errorf("%s is described as\n%s\nand not as\n%s", name, f.help, meaning)
			}
			continue
		}
		for label := range f.labels { // there are some that only a failure has
			if !slices.Contains(labels, label) {
				t.Errorf("%s has the attribute %s, and not only %q", name, label, labels)
			}
		}
	}
	for name := range all {
		if !listed[name] && name != "target_info" {
			t.Errorf("the page has no row for %s", name)
		}
	}
}

var (
	matchers   = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}`)
	grouping   = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	braces     = regexp.MustCompile(`\{[^}]*\}`)
	identifier = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	matcher    = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)`)
	quoted     = regexp.MustCompile(`"[^"]*"`)
)

// byPrometheus are the labels that whoever scrapes adds.
var byPrometheus = []string{"instance", "job", "le"}

// queried checks that an expression asks for metrics and labels that there are, and
// returns the metrics.
func queried(t *testing.T, about, expr string, all map[string]*family) (metrics []string) {
	t.Helper()
	find := func(name string) *family {
		for _, suffix := range []string{"", "_bucket", "_count", "_sum"} {
			if f := all[strings.TrimSuffix(name, suffix)]; strings.HasSuffix(name, suffix) && f != nil && (f.kind == "histogram") == (suffix != "") {
				return f
			}
		}
		return nil
	}
	plain := quoted.ReplaceAllString(expr, `""`)
	for _, m := range matchers.FindAllStringSubmatch(plain, -1) {
		f := find(m[1])
		if f == nil {
			continue // said below
		}
		for _, label := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !f.labels[label[1]] && !slices.Contains(byPrometheus, label[1]) {
				t.Errorf("%s: %s has no label %s: %s", about, m[1], label[1], expr)
			}
		}
	}
	labels := map[string]bool{}
	bare := grouping.ReplaceAllString(braces.ReplaceAllString(plain, ""), "")
	for _, word := range identifier.FindAllString(bare, -1) {
		if !regexp.MustCompile(`^(gatehouse|http|rpc|db|go|process|target)(_|$)`).MatchString(word) {
			continue // a function, an operator, a unit of time
		}
		f := find(word)
		if f == nil {
			t.Errorf("%s: no server exposes %s: %s", about, word, expr)
			continue
		}
		maps.Copy(labels, f.labels)
		metrics = append(metrics, word)
	}
	if metrics == nil {
		t.Errorf("%s asks for nothing: %s", about, expr)
	}
	for _, g := range grouping.FindAllStringSubmatch(plain, -1) {
		for _, label := range identifier.FindAllString(g[1], -1) {
			if !labels[label] && !slices.Contains(byPrometheus, label) {
				t.Errorf("%s: nothing there has the label %s: %s", about, label, expr)
			}
		}
	}
	return metrics
}

func dashboard(t *testing.T, all map[string]*family) {
	text, err := os.ReadFile("../../deploy/grafana/gatehouse.json")
	if err != nil {
		t.Fatal(err)
	}
	type panel struct {
		Title   string
		Targets []struct{ Expr string }
	}
	var d struct{ Panels []panel }
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h").Replace(target.Expr)
			for _, name := range queried(t, p.Title, expr, all) {
				shown[name] = true
			}
		}
	}
	if len(shown) < 30 {
		t.Errorf("the dashboard shows %d metrics", len(shown))
	}
}

var (
	typedCommand = regexp.MustCompile(`"gatehouse ([a-z -]+)[" ]`)
	namedSetting = regexp.MustCompile(`GATEHOUSE_[A-Z_]+`)
	typedQuery   = regexp.MustCompile("`(select [^`]+)`")
)

// alerts also holds what the rules tell people to do: commands, settings and
// statements that there are.
func alerts(t *testing.T, all map[string]*family, database string) {
	text, err := os.ReadFile("../../deploy/alerts/gatehouse.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations struct{ Summary, Description string }
			}
		}
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	db, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			queried(t, r.Alert, r.Expr, all)
			n++
			advice := r.Annotations.Description
			if r.Annotations.Summary == "" || advice == "" {
				t.Errorf("%s says not what to do", r.Alert)
			}
			for _, m := range typedCommand.FindAllStringSubmatch(advice, -1) {
				words, flags, _ := strings.Cut(strings.TrimSpace(m[1]), " --")
				i := slices.IndexFunc(commands(), func(c command) bool { return c.name == words })
				if i < 0 {
					t.Errorf("%s: there is no command %q", r.Alert, words)
					continue
				}
				fs := flag.NewFlagSet("", flag.ContinueOnError)
				commands()[i].define(fs)
				if flags != "" && fs.Lookup(flags) == nil {
					t.Errorf("%s: %q has no --%s", r.Alert, words, flags)
				}
			}
			for _, key := range namedSetting.FindAllString(advice, -1) {
				if !slices.ContainsFunc(new(Config).settings(), func(s setting) bool { return s.key == key }) {
					t.Errorf("%s: there is no setting %s", r.Alert, key)
				}
			}
			for _, m := range typedQuery.FindAllStringSubmatch(advice, -1) {
				if _, err := db.Exec(t.Context(), m[1]); err != nil {
					t.Errorf("%s: %s: %v", r.Alert, m[1], err)
				}
			}
		}
	}
	if n < 10 {
		t.Errorf("there are %d alerts", n)
	}
}

//go:build !slim

package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// What the recipes of deploy/gateways protect.
const (
	notesAPI = "https://api.example.org/notes"
	mailAPI  = "https://api.example.org/mail"
)

// A gateway is a program that stands before an API, with our recipe for it.
type gateway struct {
	name string
	// recipe is its files, the one that it is started with first.
	recipe []string
	// commands are the names that the program goes by, and GATEHOUSE_TEST_<NAME>
	// says where it is otherwise.
	commands []string
	// args start it in a directory with the recipe, edited.
	args func(t *testing.T, dir, recipe string) []string
	// grpc says that it asks over gRPC.
	grpc bool
	// offline says that it verifies by the public keys and asks nobody.
	offline bool
}

// addresses are where what a recipe names is in a test.
type addresses struct {
	gatehouse, grpc, api string
	// issuer is Gatehouse by its name, and https the same behind TLS.
	issuer string
	https  *httptest.Server
}

// gateways are the recipes. What surrounds one is what Debian has there.
func gateways() []gateway {
	write := func(t *testing.T, name, text string) string {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	return []gateway{
		{
			name: "NGINX", recipe: []string{"nginx.conf"}, commands: []string{"nginx", "/usr/sbin/nginx"},
			args: func(t *testing.T, dir, recipe string) []string {
				var temp strings.Builder
				for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
					fmt.Fprintf(&temp, "%s_temp_path %s/%s;\n", kind, dir, kind)
				}
				main := write(t, filepath.Join(dir, "main.conf"), "daemon off; error_log stderr; pid "+dir+"/pid;\nevents {}\nhttp { access_log off;\n"+
					temp.String()+"include "+recipe+";\n}\n")
				return []string{"-p", dir, "-c", main}
			},
		},
		{
			name: "Caddy", recipe: []string{"Caddyfile"}, commands: []string{"caddy"},
			args: func(t *testing.T, dir, recipe string) []string {
				text, err := os.ReadFile(recipe)
				if err != nil {
					t.Fatal(err)
				}
				write(t, recipe, "{\n\tadmin off\n\tauto_https off\n}\n"+string(text))
				return []string{"run", "--adapter", "caddyfile", "--config", recipe}
			},
		},
		{
			name: "Traefik", recipe: []string{"traefik.yaml", "traefik-routes.yaml"}, commands: []string{"traefik"},
			args: func(_ *testing.T, _, recipe string) []string { return []string{"--configFile=" + recipe} },
		},
		{
			name: "Envoy", recipe: []string{"envoy.yaml"}, commands: []string{"envoy"}, grpc: true,
			args: func(_ *testing.T, _, recipe string) []string {
				return []string{"-c", recipe, "--log-level", "warning", "--use-dynamic-base-id", "--concurrency", "1"}
			},
		},
		{
			name: "Apache", recipe: []string{"apache.conf"}, commands: []string{"apache2", "/usr/sbin/apache2"}, offline: true,
			args: func(t *testing.T, dir, recipe string) []string {
				var main strings.Builder
				fmt.Fprintf(&main, "ServerRoot %s\nServerName localhost\nPidFile %[1]s/pid\nErrorLog /dev/stderr\nMutex file:%[1]s default\n", dir)
				if os.Getuid() == 0 {
					main.WriteString("User www-data\nGroup www-data\n")
				}
				for _, m := range []string{"mpm_event", "authn_core", "authz_core", "authz_user", "headers", "proxy", "proxy_http", "macro", "auth_openidc"} {
					fmt.Fprintf(&main, "LoadModule %s_module /usr/lib/apache2/modules/mod_%[1]s.so\n", m)
				}
				main.WriteString("OIDCCABundlePath " + filepath.Join(dir, "ca.pem") + "\nInclude " + recipe + "\n")
				return []string{"-DFOREGROUND", "-f", write(t, filepath.Join(dir, "main.conf"), main.String())}
			},
		},
	}
}

// program finds the program, or skips the test; with CI=true it fails.
func (g gateway) program(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("GATEHOUSE_TEST_" + strings.ToUpper(g.name)); path != "" {
		return path
	}
	for _, name := range g.commands {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const hint = "%s is not installed; .ci/install installs it"
	if os.Getenv("CI") == "true" {
		t.Fatalf(hint, g.name)
	}
	t.Skipf(hint, g.name)
	return ""
}

// start runs the program with the recipe, in which nothing but addresses is
// changed, and returns its address. It ends with the test.
func (g gateway) start(t *testing.T, at addresses) string {
	t.Helper()
	program := g.program(t)
	port := freePort(t)
	// Not below t.TempDir, which programs that drop their rights cannot enter.
	root, err := os.MkdirTemp("", "gateway")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	dir := filepath.Join(root, "port-"+port)
	for _, d := range []string{root, dir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	_, apiPort, err := net.SplitHostPort(at.api)
	if err != nil {
		t.Fatal(err)
	}
	jwks := ""
	if at.https != nil {
		jwks = at.https.URL + "/jwks"
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: at.https.Certificate().Raw})
		if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, grpcPort, _ := net.SplitHostPort(at.grpc) // empty but for Envoy
	replace := strings.NewReplacer(
		"https://id.example.org/jwks", jwks, "https://id.example.org", at.issuer,
		"127.0.0.1:8080", at.gatehouse, "127.0.0.1:9000", at.api, "127.0.0.1:8000", "127.0.0.1:"+port,
		"port_value: 8000", "port_value: "+port, "port_value: 8081", "port_value: "+grpcPort, "port_value: 9000", "port_value: "+apiPort,
		"/etc/traefik", dir,
	)
	for _, name := range g.recipe {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "gateways", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(replace.Replace(string(text))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	recipe := filepath.Join(dir, g.recipe[0])
	cmd := exec.Command(program, g.args(t, dir, recipe)...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &log, &log, root
	cmd.Env = append(os.Environ(), "HOME="+root, "XDG_CONFIG_HOME="+root, "XDG_DATA_HOME="+root)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // which also ends its workers
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", g.name, log.String())
		}
	})
	base := "http://127.0.0.1:" + port
	await(t, g.name+" listens", func() bool {
		select {
		case <-ended:
			t.Fatalf("%s ended:\n%s", g.name, log.String())
		default:
		}
		resp, err := http.Get(base + "/notes/")
		if err == nil {
			_ = resp.Body.Close()
		}
		// Traefik listens before it knows its routes.
		return err == nil && resp.StatusCode != http.StatusNotFound
	})
	return base
}

// A backend is the API that stands behind a gateway: it repeats what reached it.
type backend struct{ *httptest.Server }

// What a backend was asked with.
type asked struct {
	Method, Body string
	// Identity is every header that reads as one of ours to some server.
	Identity map[string][]string
}

func newBackend(t *testing.T) backend {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a := asked{Method: r.Method, Body: string(body), Identity: map[string][]string{}}
		for name, values := range r.Header {
			if strings.HasPrefix(strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name)), "x-auth-") {
				a.Identity[name] = values
			}
		}
		w.Header().Set("X-Reached", "yes")
		_ = json.NewEncoder(w).Encode(a)
	}))
	t.Cleanup(s.Close)
	return backend{s}
}

func (b backend) addr() string { return b.Listener.Addr().String() }

// visit sends a request through a gateway. The headers are pairs.
func visit(t *testing.T, method, address, token string, headers ...string) (*http.Response, asked) {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("a note")
	}
	req, err := http.NewRequest(method, address+"/notes/1", body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		// As it is: the canonical form would mend X_Auth_Subject.
		req.Header[headers[i]] = append(req.Header[headers[i]], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var a asked
	if resp.Header.Get("X-Reached") != "" {
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatalf("the API answered %q", text)
		}
	}
	return resp, a
}

// guarded is a cluster whose apps use the APIs of the recipes.
type guarded struct {
	*cluster
	secret string
	person *browser
}

// newGuarded starts n processes; edit changes how they will be.
func newGuarded(t *testing.T, n int, edit ...func(*testing.T, *cluster)) *guarded {
	t.Helper()
	g := &guarded{cluster: clustered(t, n)}
	for _, e := range edit {
		e(t, g.cluster)
	}
	g.client(t, "notes", "--scope", "openid email offline_access notes", "--resource", notesAPI, "--resource", mailAPI)
	var made struct {
		Secret string `json:"client_secret"`
	}
	out := g.command(t, "client", "create", "--json", "--id", "robot", "--name", "Robot", "--auth-method", "client_secret_post",
		"--grant", "client_credentials", "--scope", "notes other", "--resource", notesAPI, "--resource", mailAPI)
	if err := json.Unmarshal(out, &made); err != nil {
		t.Fatal(err)
	}
	g.secret = made.Secret
	g.client(t, "phone")                                                                    // of those who sign in over gRPC
	g.env = append(g.env, "GATEHOUSE_GRPC_CLIENT=phone", "GATEHOUSE_GRPC_ADDR=127.0.0.1:1") // as the commands read it
	for range n {
		g.grpc = append(g.grpc, "127.0.0.1:"+freePort(t))
	}
	g.cluster.start(t)
	g.person = g.signIn(t, "ada@example.org")
	return g
}

// robot is a token of the client itself.
func (g *guarded) robot(t *testing.T, scope, resource string) string {
	t.Helper()
	a, err := g.token(0, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"robot"}, "client_secret": {g.secret}, "scope": {scope}, "resource": {resource},
	})
	if err != nil || a.AccessToken == "" {
		t.Fatalf("client_credentials: %v (%v)", a, err)
	}
	return a.AccessToken
}

// ada is what the app is given for the person at the browser.
func (g *guarded) ada(t *testing.T) (a answer, idToken string) {
	t.Helper()
	return g.grant(t, "notes", "openid offline_access notes")
}

// grant signs the person in to an app for the API.
func (g *guarded) grant(t *testing.T, client, scope string) (a answer, idToken string) {
	t.Helper()
	b := g.person
	b.t, b.app = t, nil
	b.open(g.at(0) + "/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {callback}, "scope": {scope}, "state": {"state"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"}, "resource": {notesAPI},
	}.Encode())
	if b.app == nil { // the app is somebody else's
		b.submit("consent-form", url.Values{"decision": {"allow"}, "remember": {"1"}})
	}
	if b.app == nil {
		t.Fatalf("no code:\n%s", b.page)
	}
	resp, err := g.http.PostForm(g.at(0)+"/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {client}, "code": {b.app.Query().Get("code")},
		"redirect_uri": {callback}, "code_verifier": {verifier},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var both struct {
		answer
		IDToken string `json:"id_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&both); err != nil || both.AccessToken == "" {
		t.Fatalf("the code is answered %s (%v)", resp.Status, err)
	}
	return both.answer, both.IDToken
}

// addr is where a process listens.
func (g *guarded) addr(i int) string { return strings.TrimPrefix(g.at(i), "http://") }

// tls is the first process behind TLS.
func (g *guarded) tls(t *testing.T) *httptest.Server {
	t.Helper()
	target, err := url.Parse(g.at(0))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	t.Cleanup(s.Close)
	return s
}

// TestGateways starts each program with its recipe before an API.
func TestGateways(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, 2)
	back := newBackend(t)
	t.Run("1 MB of headers for Gatehouse itself", func(t *testing.T) {
		if status := g.checkAt(t, 0, strings.Repeat("x", 1<<20)); status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("answered %d", status)
		}
	})
	for _, gw := range gateways() {
		t.Run(gw.name, func(t *testing.T) {
			g.through(t, gw, gw.start(t, addresses{
				gatehouse: g.addr(0), grpc: g.grpc[0], api: back.addr(), issuer: g.at(0), https: g.tls(t),
			}))
			if !gw.offline {
				fallsClosed(t, gw, back, g.robot(t, "notes", notesAPI))
			}
		})
	}
}

// through is what a gateway must do.
func (g *guarded) through(t *testing.T, gw gateway, base string) {
	ada, idToken := g.ada(t)
	robot := g.robot(t, "notes other", notesAPI)
	person, _ := claimsOf(t, ada.AccessToken)["sub"].(string)

	for _, row := range []struct {
		sentence string
		token    string
		status   int
		subject  string
		code     string // of the challenge
	}{
		{"a person's token opens the API", ada.AccessToken, http.StatusOK, person, ""},
		{"a client's own token opens the API", robot, http.StatusOK, "robot", ""},
		{"no token", "", http.StatusUnauthorized, "", ""},
		{"sec-E3 a token for another API", g.robot(t, "notes", mailAPI), http.StatusUnauthorized, "", "invalid_token"},
		{"a token without the scope", g.robot(t, "other", notesAPI), http.StatusForbidden, "", "insufficient_scope"},
		{"sec-E2 an ID token", idToken, http.StatusUnauthorized, "", "invalid_token"},
		{"garbage", "garbage", http.StatusUnauthorized, "", "invalid_token"},
		{"a token whose signature was changed", robot[:len(robot)-6] + "AAAAAA", http.StatusUnauthorized, "", "invalid_token"},
		{"sec-P3 alg none", "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + strings.Split(robot, ".")[1] + ".", http.StatusUnauthorized, "", "invalid_token"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			resp, a := visit(t, http.MethodGet, base, row.token)
			challenge := resp.Header.Get("WWW-Authenticate")
			switch {
			case gw.offline && row.status != http.StatusOK:
				// mod_auth_openidc has words of its own.
				if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
					t.Errorf("answered %s", resp.Status)
				}
			case resp.StatusCode != row.status:
				t.Fatalf("answered %s, want %d (%q)", resp.Status, row.status, challenge)
			case row.status == http.StatusOK:
				if got := a.Identity["X-Auth-Subject"]; len(got) != 1 || got[0] != row.subject {
					t.Errorf("the API is told that it is %q, not %q", got, row.subject)
				}
			case row.code == "" && challenge != `Bearer realm="`+g.at(0)+`"`:
				t.Errorf("the challenge is %q", challenge)
			case row.code != "" && !strings.Contains(challenge, `error="`+row.code+`"`):
				t.Errorf("the challenge is %q, without %s", challenge, row.code)
			}
			if n := len(resp.Header.Values("WWW-Authenticate")); n > 1 {
				t.Errorf("%d challenges: %q", n, resp.Header.Values("WWW-Authenticate"))
			}
			if row.status != http.StatusOK && resp.Header.Get("X-Reached") != "" {
				t.Error("it reached the API")
			}
		})
	}
	t.Run("a body arrives", func(t *testing.T) {
		resp, a := visit(t, http.MethodPost, base, robot)
		if resp.StatusCode != http.StatusOK || a.Method != http.MethodPost || a.Body != "a note" {
			t.Errorf("answered %s, the API got %+v", resp.Status, a)
		}
	})
	t.Run("nobody can say who he is in headers", func(t *testing.T) {
		lies := []string{
			"X-Auth-Subject", "admin", "x-auth-client", "admin", "X-AUTH-SCOPE", "everything",
		}
		aliases := append([]string{
			"X_Auth_Subject", "admin", "X-Auth_Client", "admin", "x_auth-scope", "everything", "X.Auth.Subject", "admin", "X-Auth.Scope", "everything",
		}, lies...)
		if resp, a := visit(t, http.MethodGet, base, robot, aliases...); resp.StatusCode >= 500 || len(a.Identity) > 3 {
			t.Errorf("with other spellings it is answered %s, and the API got %q", resp.Status, a.Identity)
		}
		_, a := visit(t, http.MethodGet, base, robot, lies...)
		if got := a.Identity["X-Auth-Subject"]; len(got) != 1 || got[0] != "robot" {
			t.Errorf("the subject is %q", got)
		}
		for name, values := range a.Identity {
			if strings.Contains(strings.Join(values, " "), "admin") || strings.Contains(strings.Join(values, " "), "everything") {
				t.Errorf("%s: %q reaches the API", name, values)
			}
		}
		if resp, _ := visit(t, http.MethodGet, base, "", lies...); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("without a token they are answered %s", resp.Status)
		}
	})
	t.Run("two Authorization headers", func(t *testing.T) {
		resp, _ := visit(t, http.MethodGet, base, robot, "Authorization", "Bearer garbage")
		if resp.StatusCode < 400 || resp.StatusCode >= 500 || resp.Header.Get("X-Reached") != "" {
			t.Errorf("answered %s", resp.Status)
		}
	})
	t.Run("a token in the query", func(t *testing.T) {
		resp, err := http.Get(base + "/notes/1?access_token=" + robot)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("sec-E1 answered %s", resp.Status)
		}
	})
	t.Run("1 MB of headers", func(t *testing.T) { tooMuch(t, base) })
	if gw.offline {
		return
	}
	t.Run("sec-E6 a token that was revoked at another server is refused within 5 s", func(t *testing.T) {
		resp, err := g.http.PostForm(g.at(1)+"/revoke", url.Values{"client_id": {"notes"}, "token": {ada.AccessToken}})
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		lag := untilRefused(t, "the token", time.Now(), func() int {
			resp, _ := visit(t, http.MethodGet, base, ada.AccessToken)
			return resp.StatusCode
		})
		if lag > 5*time.Second {
			t.Errorf("it was let in for %v", lag)
		}
	})
}

// tooMuch sends more headers than anybody has a use for. A gateway may hang up
// while they are still being sent.
func tooMuch(t *testing.T, base string) {
	req, err := http.NewRequest(http.MethodGet, base+"/notes/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 1<<20))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Logf("it hangs up: %v", err)
		return
	}
	_ = resp.Body.Close()
	if resp.StatusCode < 400 || resp.StatusCode >= 500 {
		t.Errorf("answered %s", resp.Status)
	}
}

// fallsClosed holds a gateway whose Gatehouse is away, or cannot say.
func fallsClosed(t *testing.T, gw gateway, back backend, token string) {
	t.Run("nobody gets in while Gatehouse is away", func(t *testing.T) {
		nowhere := "127.0.0.1:" + freePort(t)
		base := gw.start(t, addresses{gatehouse: nowhere, grpc: nowhere, api: back.addr()})
		if resp, _ := visit(t, http.MethodGet, base, token); resp.StatusCode < 500 || resp.Header.Get("X-Reached") != "" {
			t.Errorf("answered %s", resp.Status)
		}
	})
	if gw.grpc {
		return // see TestExternalAuthorization
	}
	t.Run("nobody gets in while Gatehouse cannot say, and 503 tells when to come back", func(t *testing.T) {
		unsure := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		t.Cleanup(unsure.Close)
		base := gw.start(t, addresses{gatehouse: unsure.Listener.Addr().String(), api: back.addr()})
		resp, _ := visit(t, http.MethodGet, base, token)
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "5" || resp.Header.Get("X-Reached") != "" {
			t.Errorf("answered %s %v", resp.Status, resp.Header)
		}
	})
}

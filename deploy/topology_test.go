//go:build linux

package deploy_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5"
	"github.com/valkey-io/valkey-go"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/internal/testenv/freeport"
)

const (
	issuer   = "https://id.example.org"
	notesAPI = "https://api.example.org/notes"
	callback = "https://notes.example.org/callback"
)

// A topology is what compose.yaml starts, as processes of this machine: two
// servers, the worker, a database, Valkey and a mail server. A proxy comes before
// it. The servers have an address of loopback each, the proxy comes to them from
// 127.0.0.1, and people from others.
type topology struct {
	log     *chronicle
	env     []string
	servers [2]*server
	post    *postOffice
	api     *httptest.Server
	// certificate is for the names of the issuer and of the API.
	certificate certificate
}

// A server is one of the two.
type server struct {
	name       string
	http, grpc string
	*process
}

// A process is a program that runs, and what it wrote.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	out   *transcript
}

// A transcript is what programs write, to be read at any time.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(b)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// A chronicle tells in sentences what happened when.
type chronicle struct {
	t     *testing.T
	start time.Time
	text  strings.Builder
}

func (c *chronicle) say(format string, args ...any) {
	fmt.Fprintf(&c.text, "%6.2f s  %s\n", time.Since(c.start).Seconds(), fmt.Sprintf(format, args...))
}

// tell shows the chronicle at the end, and keeps it among the artifacts.
func (c *chronicle) tell() {
	c.t.Log("\n" + c.text.String())
	write(c.t, filepath.Join(c.t.ArtifactDir(), "topology.log"), c.text.String())
}

// newTopology starts everything but a proxy.
func newTopology(t *testing.T) *topology {
	t.Helper()
	top := &topology{post: newPostOffice(t), certificate: newCertificate(t)}
	secrets := top.secrets(t)
	databaseURL := ownedDatabase(t)
	valkeyURL, workerURL := restrictedValkey(t, filepath.Join(secrets, "valkey_acl"))
	worker := program(t, "gatehouse-worker")
	top.log = &chronicle{t: t, start: time.Now()}
	t.Cleanup(top.log.tell)
	top.env = []string{
		"GATEHOUSE_URL=" + issuer,
		"GATEHOUSE_DATABASE_URL=" + databaseURL, "GATEHOUSE_VALKEY_URL=" + valkeyURL,
		"GATEHOUSE_SEAL_KEY_FILE=" + filepath.Join(secrets, "seal_key"), "GATEHOUSE_MAIL_KEY_FILE=" + filepath.Join(secrets, "mail_key"),
		"GATEHOUSE_REGISTRATION_DOMAINS=example.org", "GATEHOUSE_LOG=json",
		"GATEHOUSE_TRUSTED_PROXIES=127.0.0.1/32",
	}
	top.command(t, "migrate")
	top.log.say("gatehouse migrate: the database has this release's schema")
	var records []struct{ Name, Value string }
	if err := json.Unmarshal(top.command(t, "domain", "show", "--json"), &records); err != nil || len(records) != 1 {
		t.Fatalf("the records are %v (%v)", records, err)
	}
	top.env = append(top.env, "GATEHOUSE_DNS="+nameserver(t, records[0].Name, records[0].Value))
	top.command(t, "client", "create", "--id", "notes", "--name", "Notes", "--public", "--first-party", "--redirect-uri", callback,
		"--scope", "openid email offline_access notes", "--resource", notesAPI)
	top.command(t, "client", "create", "--id", "grpc", "--name", "gRPC API", "--public", "--first-party", "--redirect-uri", issuer+"/")
	top.env = append(top.env, "GATEHOUSE_GRPC_CLIENT=grpc")

	for i := range top.servers {
		host := fmt.Sprintf("127.0.0.%d", 11+i)
		top.servers[i] = &server{name: fmt.Sprintf("gatehouse-%d", i+1), http: freeAddress(t, host), grpc: freeAddress(t, host)}
		top.start(t, top.servers[i])
	}
	for _, s := range top.servers {
		top.ready(t, s)
	}
	run(t, exec.Command(worker),
		"GATEHOUSE_VALKEY_URL="+workerURL, "GATEHOUSE_MAIL_KEY_FILE="+filepath.Join(secrets, "mail_key"),
		"GATEHOUSE_SMTP_URL="+top.post.url, "GATEHOUSE_MAIL_FROM=Example ID <no-reply@id.example.org>")
	top.log.say("gatehouse-1, gatehouse-2 and gatehouse-worker run")

	top.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(r.Header)
	}))
	t.Cleanup(top.api.Close)
	return top
}

// secrets makes the files of compose.yaml as its operator does.
func (top *topology) secrets(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "smtp_url"), []byte(top.post.url), 0o444); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("compose/secrets.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("secrets.sh: %v\n%s", err, out)
	}
	return dir
}

// ownedDatabase is a database whose owner, as that of postgres-init.sh, may do
// nothing else in the server.
func ownedDatabase(t *testing.T) string {
	t.Helper()
	admin := testenv.Postgres(t)
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	c, err := pgx.Connect(ctx, admin)
	if err != nil {
		t.Fatal(err)
	}
	name, password := strings.TrimPrefix(u.Path, "/"), rand.Text()
	do := func(statements ...string) {
		for _, s := range statements {
			if _, err := c.Exec(ctx, s); err != nil {
				t.Errorf("%s: %v", s, err)
			}
		}
	}
	do("create role "+name+" login password '"+password+"'", "alter database "+name+" owner to "+name, "revoke all on database "+name+" from public")
	t.Cleanup(func() {
		do("reassign owned by "+name+" to current_user", "drop owned by "+name, "drop role "+name)
		_ = c.Close(ctx) // the server is private
	})
	u.User = url.UserPassword(name, password)
	return u.String()
}

// restrictedValkey is Valkey for the server and for the worker, each a user who
// may do what secrets.sh lets it.
func restrictedValkey(t *testing.T, acl string) (server, worker string) {
	t.Helper()
	admin := testenv.Valkey(t)
	option, err := valkey.ParseURL(admin)
	if err != nil {
		t.Fatal(err)
	}
	option.ForceSingleClient, option.DisableCache = true, true
	c, err := valkey.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(acl)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	user := func(name string) string {
		line := regexp.MustCompile(`(?m)^user ` + name + ` on #[0-9a-f]{64} (.*)$`).FindStringSubmatch(string(text))
		if line == nil {
			t.Fatalf("%s has no user %s:\n%s", acl, name, text)
		}
		unique, password := name+"-"+rand.Text(), rand.Text()
		rules := append([]string{"on", ">" + password}, strings.Fields(line[1])...)
		if err := c.Do(ctx, c.B().AclSetuser().Username(unique).Rule(rules...).Build()).Error(); err != nil {
			t.Fatalf("ACL SETUSER %s: %v", name, err)
		}
		t.Cleanup(func() { _ = c.Do(ctx, c.B().AclDeluser().Username(unique).Build()).Error() })
		u, err := url.Parse(admin)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(unique, password)
		return u.String()
	}
	t.Cleanup(c.Close)
	return user("gatehouse"), user("worker")
}

// command runs gatehouse as an operator does and returns what it prints.
func (top *topology) command(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(program(t, "gatehouse"), args...)
	var message bytes.Buffer
	cmd.Env, cmd.Stderr = top.env, &message
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gatehouse %s: %v\n%s", strings.Join(args, " "), err, message.String())
	}
	return out
}

// run starts a program, which ends with the test.
func run(t *testing.T, cmd *exec.Cmd, env ...string) *process {
	t.Helper()
	p := &process{cmd: cmd, ended: make(chan struct{}), out: &transcript{}}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	cmd.Env = append(cmd.Env, env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if text := p.out.String(); t.Failed() || strings.Contains(text, `"level":"ERROR"`) || strings.Contains(text, "panic:") {
			t.Errorf("%s wrote:\n%s", filepath.Base(cmd.Path), text)
		}
	})
	return p
}

// end sends the signal and waits until the process is gone.
func (p *process) end(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal) // it may have ended before
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

func (top *topology) start(t *testing.T, s *server) {
	t.Helper()
	s.process = run(t, exec.Command(program(t, "gatehouse"), "serve"), append(top.env, "GATEHOUSE_ADDR="+s.http, "GATEHOUSE_GRPC_ADDR="+s.grpc)...)
}

// ready waits until a server says that it is.
func (top *topology) ready(t *testing.T, s *server) {
	t.Helper()
	await(t, s.name+" is ready", func() bool {
		select {
		case <-s.ended:
			t.Fatalf("%s ended:\n%s", s.name, s.out)
		default:
		}
		return s.isReady()
	})
}

func (s *server) isReady() bool {
	resp, err := http.Get("http://" + s.http + "/readyz")
	if err == nil {
		_ = resp.Body.Close()
	}
	return err == nil && resp.StatusCode == http.StatusOK
}

func freeAddress(t *testing.T, host string) string {
	t.Helper()
	return net.JoinHostPort(host, freeport.For(t))
}

// nameserver answers questions for one TXT record, and returns where.
func nameserver(t *testing.T, name, value string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		b := make([]byte, 1<<12)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Authoritative, m.Additionals = true, true, nil
			if q := m.Questions[0]; q.Name.String() == name+"." && q.Type == dnsmessage.TypeTXT {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
					Body:   &dnsmessage.TXTResource{TXT: []string{value}},
				}}
			} else {
				m.RCode = dnsmessage.RCodeNameError
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

// A postOffice is a mail server that takes every letter.
type postOffice struct {
	url string

	mu      sync.Mutex
	letters map[string][]string // by recipient
}

func newPostOffice(t *testing.T) *postOffice {
	t.Helper()
	p := &postOffice{letters: map[string][]string{}}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &clerk{office: p}, nil }))
	s.Domain = "post.example"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	p.url = "smtp://" + l.Addr().String()
	return p
}

type clerk struct {
	office *postOffice
	to     []string
}

func (*clerk) Reset()                               {}
func (*clerk) Logout() error                        { return nil }
func (*clerk) Mail(string, *smtp.MailOptions) error { return nil }
func (c *clerk) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.to = append(c.to, to)
	return nil
}

func (c *clerk) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	c.office.mu.Lock()
	defer c.office.mu.Unlock()
	for _, to := range c.to {
		c.office.letters[to] = append(c.office.letters[to], string(b))
	}
	return err
}

var mailedCode = regexp.MustCompile(`(?m)^\s*(\d{4} ?\d{4}|\d{8})\s*$`)

// code waits for the letter with a code to an address.
func (p *postOffice) code(t *testing.T, to string) (code string) {
	t.Helper()
	await(t, "a letter with a code has come to "+to, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, letter := range p.letters[to] {
			if m := mailedCode.FindStringSubmatch(strings.ReplaceAll(letter, "\r", "")); m != nil {
				code = m[1]
			}
		}
		return code != ""
	})
	return code
}

// A certificate is a key pair and who believes it, in PEM.
type certificate struct {
	cert, key []byte
	roots     *x509.CertPool
}

func newCertificate(t *testing.T) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "id.example.org"}, DNSNames: []string{"id.example.org", "api.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := certificate{
		cert:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		roots: x509.NewCertPool(),
	}
	c.roots.AppendCertsFromPEM(c.cert)
	return c
}

// A proxy stands before a topology, by a file of deploy/.
type proxy struct {
	name string
	// open and secure are where it listens: for http, which it does not serve, and
	// for https.
	open, secure string
	// tls is the directory that it reads the certificate from anew, or empty.
	tls string
	// log is what it has logged, and lines are what a line of a request has.
	log   func() string
	lines func(method, path string) []string
	// guards says that it also stands before the API.
	guards bool
	// sound reports whether it finds every server well, gRPC with HTTP. Nil where it
	// cannot be asked.
	sound func() (bool, error)
}

// listenPorts are free ports for a proxy.
func (p *proxy) listen(t *testing.T) (open, secure string) {
	t.Helper()
	p.open, p.secure = freeAddress(t, "127.0.0.1"), freeAddress(t, "127.0.0.1")
	_, open, _ = net.SplitHostPort(p.open)
	_, secure, _ = net.SplitHostPort(p.secure)
	return open, secure
}

// client is somebody at the address, who finds every name at the proxy.
func (p *proxy) client(t *testing.T, top *topology, address string) *http.Client {
	t.Helper()
	dialer := &net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: top.certificate.roots},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, to string) (net.Conn, error) {
			if strings.HasSuffix(to, ":80") {
				return dialer.DialContext(ctx, "tcp", p.open)
			}
			return dialer.DialContext(ctx, "tcp", p.secure)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Timeout: patience, Transport: transport}
}

// up waits until the proxy finds both servers.
func (p *proxy) up(t *testing.T, top *topology, process *process) {
	t.Helper()
	c := p.client(t, top, "127.0.0.50")
	await(t, p.name+" serves", func() bool {
		select {
		case <-process.ended:
			t.Fatalf("%s ended:\n%s", p.name, process.out)
		default:
		}
		resp, err := c.Get(issuer + "/.well-known/openid-configuration")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
}

// directory is one that programs may enter that drop their rights.
func directory(t *testing.T, top *topology) string {
	t.Helper()
	dir, err := os.MkdirTemp(workDir, "proxy-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tls.crt"), string(top.certificate.cert))
	write(t, filepath.Join(dir, "tls.key"), string(top.certificate.key))
	return dir
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// edited is a file of deploy/ with addresses of the test, each of which must be in
// it.
func edited(t *testing.T, name string, pairs ...string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%s does not contain %s", name, pairs[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// comesFrom is the header by which a test tells NGINX where it comes from.
const comesFrom = "X-Test-Comes-From"

// startNGINX starts nginx/gatehouse.conf, surrounded by what Debian has there.
func startNGINX(t *testing.T, top *topology) *proxy {
	t.Helper()
	p := &proxy{name: "NGINX"}
	binary := installed(t, p.name, "nginx", "/usr/sbin/nginx")
	dir := directory(t, top)
	open, secure := p.listen(t)
	write(t, filepath.Join(dir, "gatehouse.conf"), edited(t, "nginx/gatehouse.conf",
		"10.0.0.11:8080", top.servers[0].http, "10.0.0.12:8080", top.servers[1].http,
		"listen 80;", "listen 127.0.0.1:"+open+";", "listen [::]:80;", "",
		"listen 443 ", "listen 127.0.0.1:"+secure+" ", "listen [::]:443 ssl http2;", "",
		"/etc/nginx/tls/id.example.org", dir+"/tls", "/var/log/nginx", dir,
	))
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	write(t, filepath.Join(dir, "main.conf"), "daemon off; error_log stderr; pid "+dir+"/pid;\nevents {}\nhttp {\n"+
		temp.String()+
		// So that a test can come from addresses that this machine does not have.
		"set_real_ip_from 127.0.0.0/8; real_ip_header "+comesFrom+";\ninclude "+dir+"/gatehouse.conf;\n}\n")
	process := run(t, exec.Command(binary, "-p", dir, "-c", filepath.Join(dir, "main.conf")))
	p.log = func() string {
		b, err := os.ReadFile(filepath.Join(dir, "gatehouse.log"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	p.lines = func(method, path string) []string { return []string{`"` + method + " " + path + `"`} }
	p.up(t, top, process)
	return p
}

// startEnvoy starts envoy.yaml.
func startEnvoy(t *testing.T, top *topology) *proxy {
	t.Helper()
	p := &proxy{name: "Envoy", guards: true}
	binary := installed(t, p.name, "envoy")
	dir := directory(t, top)
	open, secure := p.listen(t)
	at := func(address string) string {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return "{address: " + host + ", port_value: " + port + "}"
	}
	pairs := []string{
		"{address: 0.0.0.0, port_value: 8080}", "{address: 127.0.0.1, port_value: " + open + "}",
		"{address: 0.0.0.0, port_value: 8443}", "{address: 127.0.0.1, port_value: " + secure + "}",
		"{address: api, port_value: 9000}", at(top.api.Listener.Addr().String()),
		"/etc/envoy/", dir + "/",
	}
	for _, s := range top.servers {
		pairs = append(pairs, "{address: "+s.name+", port_value: 8080}", at(s.http), "{address: "+s.name+", port_value: 9090}", at(s.grpc))
	}
	write(t, filepath.Join(dir, "envoy.yaml"), edited(t, "envoy.yaml", pairs...))
	write(t, filepath.Join(dir, "envoy-tls.yaml"), edited(t, "envoy-tls.yaml", "/etc/envoy/tls/", dir+"/", "/etc/envoy/tls", dir))
	process := run(t, exec.Command(binary, "--config-path", filepath.Join(dir, "envoy.yaml"), "--disable-hot-restart",
		"--log-level", "warning", "--concurrency", "1", "--file-flush-interval-msec", "20",
		// envoy.yaml has no admin address; this test's has, to see what Envoy thinks.
		"--config-yaml", "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}",
		"--admin-address-path", filepath.Join(dir, "admin")))
	p.sound = func() (bool, error) { return healthy(filepath.Join(dir, "admin")) }
	p.tls = dir
	p.log = process.out.String
	p.lines = func(method, path string) []string {
		return []string{`"method":"` + method + `"`, `"path":"` + path + `"`}
	}
	p.up(t, top, process)
	return p
}

// healthy asks the Envoy whose admin address is in the file whether the servers of
// all its clusters pass their health checks.
func healthy(file string) (bool, error) {
	address, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	resp, err := http.Get("http://" + string(address) + "/clusters?format=json")
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	var clusters struct {
		Statuses []struct {
			Hosts []struct {
				Health map[string]any `json:"health_status"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&clusters); err != nil {
		return false, err
	}
	for _, c := range clusters.Statuses {
		for _, h := range c.Hosts {
			if h.Health["failed_active_health_check"] == true || h.Health["eds_health_status"] != "HEALTHY" {
				return false, nil
			}
		}
	}
	return len(clusters.Statuses) > 0, nil
}

// answered does something that ends in a request of this method and path, and
// returns the server that answered it, as the proxy logs it.
func (p *proxy) answered(t *testing.T, top *topology, method, path string, do func()) *server {
	t.Helper()
	logged := func() (lines []string) {
		for line := range strings.Lines(p.log()) {
			whole := strings.HasSuffix(line, "\n") // or it is being written
			if whole && !slices.ContainsFunc(p.lines(method, path), func(part string) bool { return !strings.Contains(line, part) }) {
				lines = append(lines, line)
			}
		}
		return lines
	}
	before := len(logged())
	do()
	var line string
	await(t, "the proxy logs "+method+" "+path, func() bool {
		lines := logged()
		if len(lines) > before {
			line = lines[len(lines)-1]
		}
		return line != ""
	})
	var last *server
	at := -1
	for _, s := range top.servers { // of several, the last has answered
		if i := strings.LastIndex(line, s.http); i > at {
			at, last = i, s
		}
	}
	if last == nil {
		t.Fatalf("nobody has answered: %s", line)
	}
	return last
}

// both waits until the proxy sends requests to both servers again.
func (p *proxy) both(t *testing.T, top *topology) {
	t.Helper()
	c := p.client(t, top, "127.0.0.50")
	seen := map[*server]bool{}
	await(t, p.name+" asks both servers", func() bool {
		<-time.After(100 * time.Millisecond) // 20 a second is the proxy's limit
		seen[p.answered(t, top, http.MethodGet, "/.well-known/openid-configuration", func() {
			resp, err := c.Get(issuer + "/.well-known/openid-configuration")
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		})] = true
		return len(seen) == len(top.servers)
	})
	if p.sound == nil {
		return
	}
	await(t, p.name+" finds both servers well", func() bool {
		sound, err := p.sound()
		if err != nil {
			t.Fatal(err)
		}
		return sound
	})
}

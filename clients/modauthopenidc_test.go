//go:build unix

package clients_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/testenv/freeport"
)

// apacheModules is where Debian keeps them.
const apacheModules = "/usr/lib/apache2/modules"

// apacheConfig is an Apache that signs people in for the app behind it, which
// knows them by headers.
var apacheConfig = template.Must(template.New("").Parse(`
ServerRoot {{.Dir}}
DefaultRuntimeDir {{.Dir}}
PidFile {{.Dir}}/pid
ServerName 127.0.0.1
Listen 127.0.0.1:{{.Port}}
ErrorLog {{.Dir}}/log
LogLevel warn auth_openidc:info
{{range .Modules}}LoadModule {{.}}_module {{$.Folder}}/mod_{{.}}.so
{{end}}
SSLEngine on
SSLCertificateFile {{.Dir}}/certificate.pem
SSLCertificateKeyFile {{.Dir}}/key.pem

OIDCProviderMetadataURL {{.Issuer}}/.well-known/openid-configuration
OIDCClientID {{.Client.ID}}
OIDCClientSecret {{.Client.Secret}}
OIDCRedirectURI {{.Base}}/app/callback
OIDCCryptoPassphrase {{.Passphrase}}
OIDCScope "openid profile email"
OIDCPKCEMethod S256
OIDCRemoteUserClaim email

ProxyPass /app/callback !
ProxyPass / http://{{.Behind}}/
<Location /app>
	AuthType openid-connect
	Require valid-user
</Location>
`))

// TestModAuthOpenIDC is Apache's mod_auth_openidc as Debian builds it, in front
// of an app that knows nothing of signing in.
func TestModAuthOpenIDC(t *testing.T) {
	apache := needs(t, "apache2", "/usr/sbin/apache2")
	if _, err := os.Stat(filepath.Join(apacheModules, "mod_auth_openidc.so")); err != nil {
		missing(t, "there is no mod_auth_openidc for Apache; .ci/install installs it")
	}
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// OIDC_CLAIM_sub, as Go writes it.
		claim := func(name string) string { return strings.Join(r.Header["Oidc_claim_"+name], " ") }
		_, _ = fmt.Fprintf(w, "%s: subject %q, mail %q, name %q", r.URL.Path, claim("sub"), claim("email"), claim("name"))
	}))
	t.Cleanup(behind.Close)

	s := newApacheServer(t)
	h := newHouse(t, "GATEHOUSE_EGRESS_ALLOW=127.0.0.1:"+s.Port, "GATEHOUSE_EGRESS_CA="+s.certificate)
	ada := h.account(t, "ada@example.org")
	s.Issuer, s.Behind = h.issuer, strings.TrimPrefix(behind.URL, "http://")
	s.Client = h.client(t, "--name", "Wiki", "--redirect-uri", s.Base+"/app/callback",
		"--post-logout-redirect", s.Base+"/bye", "--backchannel", s.Base+"/app/callback?logout=backchannel")
	s.run(t, apache)
	page := s.Base + "/app/page?a=b"

	// inside reports whether the app shows the page to the person without asking
	// the provider.
	inside := func(a *agent) bool {
		a.app = h.issuer
		defer func() { a.app = "" }()
		return !strings.HasPrefix(a.open(page).URL, h.issuer)
	}
	person := newAgent(t, ada, "")
	if inside(person) {
		t.Fatal("the app is open to everybody")
	}
	v := person.open(page)
	if v.URL != page || !slices.Equal(v.pages, []string{"login-form", "consent-form"}) {
		t.Errorf("the person was led through %q to %s", v.pages, v.URL)
	}
	for _, want := range []string{"/app/page: ", strconv.Quote(ada.Subject), strconv.Quote(ada.Email), `name "Ada Lovelace"`} {
		if got := text(v.page); !strings.Contains(got, want) {
			t.Errorf("the app does not know %s: %s", want, got)
		}
	}
	if !inside(person) {
		t.Error("the app asks again")
	}

	t.Run("RP-initiated logout", func(t *testing.T) {
		person.t = t
		v := person.open(s.Base + "/app/callback?logout=" + url.QueryEscape(s.Base+"/bye"))
		if v.URL != s.Base+"/bye" {
			t.Errorf("who signs out is led through %q to %s", v.pages, v.URL)
		}
		if inside(person) {
			t.Error("the session of the app goes on")
		}
		if v := person.open(page); !slices.Contains(v.pages, "login-form") {
			t.Errorf("the session of the provider goes on: %q", v.pages)
		}
	})
	t.Run("back-channel logout", func(t *testing.T) {
		other := newAgent(t, ada, "")
		other.open(page)
		if !inside(other) || !inside(person) {
			t.Fatal("nobody is signed in")
		}
		if v := person.open(h.issuer + "/logout"); !slices.Contains(v.pages, "logout-form") {
			t.Fatalf("signing out is %q", v.pages)
		}
		await(t, "the app's session has ended with the provider's", func() bool { return !inside(person) })
		if !inside(other) {
			t.Error("another browser's session has ended too")
		}
	})
}

// An apacheServer is what the configuration says.
type apacheServer struct {
	Dir, Folder, Port, Base string
	Modules                 []string
	Issuer, Behind          string
	Client                  client
	Passphrase              string

	certificate string
	as          *syscall.Credential
}

// newApacheServer makes a folder with a certificate for this machine, which
// belongs to whoever the server is to run as: where the test is root, it is
// Debian's user for that.
func newApacheServer(t *testing.T) *apacheServer {
	t.Helper()
	// Not t.TempDir, which is closed to other users.
	dir, err := os.MkdirTemp("", "gatehouse-apache-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &apacheServer{
		Dir: dir, Folder: apacheModules, Port: freeport.For(t), Passphrase: rand.Text(),
		Modules: []string{"mpm_event", "authn_core", "authz_core", "authz_user", "proxy", "proxy_http", "socache_shmcb", "ssl", "auth_openidc"},
	}
	s.Base = "https://127.0.0.1:" + s.Port
	if os.Geteuid() == 0 {
		u, err := user.Lookup("www-data")
		if err != nil {
			t.Fatal(err)
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 != nil || err2 != nil {
			t.Fatalf("%v, %v", err1, err2)
		}
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	s.own(t, dir)

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
	s.write(t, "certificate.pem", s.certificate)
	s.write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return s
}

func (s *apacheServer) own(t *testing.T, path string) {
	t.Helper()
	if s.as == nil {
		return
	}
	if err := os.Chown(path, int(s.as.Uid), int(s.as.Gid)); err != nil {
		t.Fatal(err)
	}
}

func (s *apacheServer) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s.own(t, path)
}

// run runs Apache until the test ends.
func (s *apacheServer) run(t *testing.T, apache string) {
	t.Helper()
	var config bytes.Buffer
	if err := apacheConfig.Execute(&config, s); err != nil {
		t.Fatal(err)
	}
	s.write(t, "apache.conf", config.String())
	c := exec.Command(apache, "-D", "FOREGROUND", "-f", filepath.Join(s.Dir, "apache.conf"))
	c.Dir, c.Env = s.Dir, []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(s.Dir, "log")); t.Failed() {
			t.Logf("Apache's log (%v):\n%s", err, log)
		}
	})
	start(t, c)
	await(t, "Apache listens", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.Port)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

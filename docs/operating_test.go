//go:build unix

package docs_test

import (
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
)

// operates gives the page what an operator has: databases, a Valkey, a mail
// server, and a name.
func (r *reader) operates(t *testing.T) {
	t.Helper()
	database, restored, valkey := testenv.Postgres(t), testenv.Postgres(t), testenv.Valkey(t)
	// PostgreSQL's programs dump no server that is newer than they are.
	if out, err := exec.Command("pg_dump", "--schema-only", "--file="+os.DevNull, database).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "server version mismatch") {
			t.Skipf("pg_dump is older than the PostgreSQL of the tests: %s", out)
		}
		t.Fatalf("pg_dump: %v\n%s", err, out)
	}
	post := postOffice(t)
	for _, u := range []string{database, restored, valkey, post} {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		r.ports[parsed.Port()] = parsed.Port() // these stay as they are
	}
	// valkey-cli wants the name of the user who needs none.
	if u, err := url.Parse(valkey); err == nil && u.User != nil && u.User.Username() == "" {
		password, _ := u.User.Password()
		u.User = url.UserPassword("default", password)
		valkey = u.String()
	}
	r.replace = []string{
		"postgres://gatehouse:password@db.example.org/gatehouse", database,
		"postgres://gatehouse:password@db.example.org/restored", restored,
		"valkey://valkey.example.org:6379", valkey,
		"smtps://user:password@smtp.example.org", post,
		"https://id.example.org", "http://localhost:8080",
		"/etc/gatehouse", filepath.Join(r.home, "etc"),
	}
	r.env = append(r.env, "GATEHOUSE_ADDR="+r.here(t, "localhost:8080")) // which is the default
}

// postOffice is a mail server that takes every letter.
func postOffice(t *testing.T) string {
	t.Helper()
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return clerk{}, nil }))
	s.Domain = "smtp.example.org"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }() // until Close
	t.Cleanup(func() { _ = s.Close() })
	return "smtp://" + l.Addr().String()
}

type clerk struct{}

func (clerk) Reset()                               {}
func (clerk) Logout() error                        { return nil }
func (clerk) Mail(string, *smtp.MailOptions) error { return nil }
func (clerk) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (clerk) Data(letter io.Reader) error {
	_, err := io.Copy(io.Discard, letter)
	return err
}

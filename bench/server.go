package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
)

// servers is what testenv thinks is a test: it gives databases to this program
// and takes them back at its end.
type servers struct {
	testing.TB
	cleanups []func()
	failed   error
}

func (*servers) Helper()            {}
func (s *servers) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }
func (s *servers) Errorf(format string, args ...any) {
	s.failed = errors.Join(s.failed, fmt.Errorf(format, args...))
}
func (s *servers) Fatal(args ...any)                 { panic(stopped{errors.New(fmt.Sprint(args...))}) }
func (s *servers) Fatalf(format string, args ...any) { panic(stopped{fmt.Errorf(format, args...)}) }
func (s *servers) Skipf(format string, args ...any)  { s.Fatalf(format, args...) }

// stopped is the panic by which testenv ends what it takes for a test.
type stopped struct{ error }

// open returns the addresses of an empty PostgreSQL database and an empty Valkey.
func (s *servers) open() (postgres, valkey string, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case stopped:
			err = p.error
		default:
			panic(p)
		}
	}()
	return testenv.Postgres(s), testenv.Valkey(s), nil
}

func (s *servers) close() error {
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
	return s.failed
}

// A gatehouse is the binary that is measured, with its configuration.
type gatehouse struct {
	binary string
	addr   string // host:port
	env    []string
}

const key = "6261746368206f66206b65797320666f722062656e63686d61726b73206f6e6c"

// configure makes the configuration of a production server. Clients come from
// addresses of their own, as behind a proxy, because one address may sign in only
// so often; and may refresh as often as they like.
func configure(binary, postgres, valkey string) (*gatehouse, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return &gatehouse{binary: binary, addr: addr, env: []string{
		"GATEHOUSE_URL=http://" + addr, "GATEHOUSE_ADDR=" + addr,
		"GATEHOUSE_DATABASE_URL=" + postgres, "GATEHOUSE_VALKEY_URL=" + valkey,
		"GATEHOUSE_SEAL_KEY=" + key, "GATEHOUSE_MAIL_KEY=" + key,
		"GATEHOUSE_TRUSTED_PROXIES=127.0.0.0/8", "GATEHOUSE_REFRESH_LIMIT=-1",
	}}, nil
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// command runs a command of the operator; what it prints as JSON goes into v,
// unless that is nil.
func (g *gatehouse) command(v any, args ...string) error {
	cmd := exec.Command(g.binary, args...)
	cmd.Env = g.env
	var message bytes.Buffer
	cmd.Stderr = &message
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("gatehouse %s: %w\n%s", strings.Join(args, " "), err, message.Bytes())
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(out, v)
}

// A process is a server that this program started.
type process struct {
	cmd *exec.Cmd
	log bytes.Buffer
	// ready is how long it took from its start to its first answer of 200.
	ready time.Duration
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// serve starts the server and waits until it is ready.
func (g *gatehouse) serve(more ...string) (*process, error) {
	cmd := exec.Command(g.binary, "serve")
	cmd.Env = append(g.env[:len(g.env):len(g.env)], more...)
	return start(cmd, g.addr, "/readyz")
}

// start starts a server and asks at path, a thousand times a second, until the
// answer is 200.
func start(cmd *exec.Cmd, addr, path string) (*process, error) {
	p := &process{cmd: cmd}
	cmd.Stdout, cmd.Stderr = io.Discard, &p.log
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(began) < patience {
		if ask(addr, path) {
			p.ready = time.Since(began)
			return p, nil
		}
		time.Sleep(time.Millisecond)
	}
	p.kill()
	return nil, fmt.Errorf("%s is not ready after %v:\n%s", cmd, patience, p.log.Bytes())
}

func ask(addr, path string) bool {
	c, err := dial(addr, addr)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	a, err := c.get(path, "")
	return err == nil && a.status == http.StatusOK
}

// kill ends the process at once, as it needs no farewell.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// complaints returns an error when the server met one, and tells its warnings,
// such as that of a database that a busy machine made slow. The process has ended.
func (p *process) complaints(say func(string, ...any)) error {
	for line := range strings.Lines(p.log.String()) {
		switch line = strings.TrimSpace(line); {
		case strings.Contains(line, "level=ERROR"), strings.Contains(line, "panic"):
			return fmt.Errorf("the server complained: %s", line)
		case strings.Contains(line, "level=WARN"):
			say("the server warned: %s\n", line)
		}
	}
	return nil
}

// helloArg is the operand by which this program serves the floor of HTTP.
const helloArg = "hello"

// hello starts a server of net/http that says hello, as it comes.
func hello() (*process, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	p, err := start(exec.Command(self, helloArg, addr), addr, "/")
	return p, addr, err
}

func serveHello(ctx context.Context, addr string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	}))
}

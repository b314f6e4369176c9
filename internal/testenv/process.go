package testenv

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/gatehouse-id/gatehouse/internal/testenv/freeport"
)

// postgresSettings make a server fast, because nothing it holds is worth a
// flush to disk, and unkind: a time that a driver forgets to turn into UTC
// shows.
var postgresSettings = []string{
	"-c", "fsync=off",
	"-c", "synchronous_commit=off",
	"-c", "full_page_writes=off",
	"-c", "max_connections=300",
	"-c", "timezone=<+0545>-05:45",
}

// valkeySettings keep everything in memory and give each test a database.
var valkeySettings = []string{
	"--save", "",
	"--appendonly", "no",
	"--databases", "256",
}

// A private server is a process of this test binary.
type private struct {
	url string
	dir string
}

// ended reports whether the process has ended already.
func (p private) ended() bool {
	_, err := os.Stat(filepath.Join(p.dir, "ended"))
	return err == nil
}

// output is what the server wrote, for the error when it did not start.
func (p private) output() []byte {
	b, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return []byte(err.Error())
	}
	return b
}

func postgresProcess() (private, error) {
	bin, ok := postgresBinaries()
	if !ok {
		return private{}, errMissing
	}
	dir, err := workDir()
	if err != nil {
		return private{}, err
	}
	secret := rand.Text()
	data, pwfile := filepath.Join(dir, "data"), filepath.Join(dir, "password")
	if err := writeFile(pwfile, secret); err != nil {
		return private{}, err
	}
	initdb := func(more ...string) error {
		c := exec.Command(filepath.Join(bin, "initdb"), append([]string{
			"--pgdata", data, "--username", "postgres", "--pwfile", pwfile,
			"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync",
		}, more...)...)
		if err := unprivileged(c, dir); err != nil {
			return err
		}
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("testenv: initdb: %w\n%s", err, out)
		}
		return nil
	}
	// Most servers sort text as people do, so ours does too where it can: an
	// "order by" that means bytes has to say so.
	if initdb("--locale-provider", "icu", "--icu-locale", "en-US") != nil {
		if err := initdb(); err != nil {
			return private{}, err
		}
	}
	port, _, err := freeport.Reserve() // until this process ends, and the server with it
	if err != nil {
		return private{}, err
	}
	err = launch(dir, append([]string{
		filepath.Join(bin, "postgres"), "-D", data, "-p", port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
	}, postgresSettings...)...)
	u := url.URL{Scheme: "postgres", User: url.UserPassword("postgres", secret), Host: net.JoinHostPort("127.0.0.1", port), Path: "/postgres", RawQuery: "sslmode=disable"}
	return private{u.String(), dir}, err
}

// postgresBinaries finds the folder that has both postgres and initdb: beside
// the postgres of PATH, or where distributions hide it; the newest first.
func postgresBinaries() (string, bool) {
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
		"/usr/pgsql-*/bin",                   // Red Hat
		"/opt/homebrew/opt/postgresql@*/bin", // Homebrew
		"/usr/local/opt/postgresql@*/bin",    // Homebrew on Intel
	} {
		found, _ := filepath.Glob(pattern) // the patterns are well formed
		dirs = append(dirs, found...)
	}
	digits := regexp.MustCompile(`\d+`)
	version := func(dir string) int {
		n, _ := strconv.Atoi(digits.FindString(dir)) // every pattern has its number
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = slices.Insert(dirs, 0, filepath.Dir(path))
		}
	}
	for _, dir := range dirs {
		_, err1 := exec.LookPath(filepath.Join(dir, "postgres"))
		_, err2 := exec.LookPath(filepath.Join(dir, "initdb"))
		if err1 == nil && err2 == nil {
			return dir, true
		}
	}
	return "", false
}

func valkeyProcess() (private, error) {
	bin, ok := valkeyBinary()
	if !ok {
		return private{}, errMissing
	}
	dir, err := workDir()
	if err != nil {
		return private{}, err
	}
	port, _, err := freeport.Reserve() // until this process ends, and the server with it
	if err != nil {
		return private{}, err
	}
	secret := rand.Text()
	err = launch(dir, append([]string{
		bin, "--bind", "127.0.0.1", "--port", port, "--requirepass", secret, "--dir", dir,
	}, valkeySettings...)...)
	u := url.URL{Scheme: "valkey", User: url.UserPassword("", secret), Host: net.JoinHostPort("127.0.0.1", port)}
	return private{u.String(), dir}, err
}

// valkeyBinary finds valkey-server, or a redis-server of version 7 or later.
func valkeyBinary() (string, bool) {
	if path, err := exec.LookPath("valkey-server"); err == nil {
		return path, true
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", false
	}
	out, err := exec.Command(path, "--version").Output()
	m := regexp.MustCompile(`v=(\d+)\.`).FindSubmatch(out)
	if err != nil || m == nil {
		return "", false
	}
	major, err := strconv.Atoi(string(bytes.TrimSpace(m[1])))
	return path, err == nil && major >= 7
}

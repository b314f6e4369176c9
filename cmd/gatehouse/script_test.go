//go:build !slim

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain has this binary be the command where somebody runs it by that name,
// which the tests have in PATH.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "gatehouse" {
		main() // which exits
	}
	dir, err := os.MkdirTemp("", "gatehouse-path-")
	if err != nil {
		log.Fatal(err)
	}
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(dir, "gatehouse"))
	}
	if err == nil {
		err = os.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	}
	if err != nil {
		log.Fatal(err)
	}
	// Much that is tested here waits: for a time to pass, for another process. Who
	// says -parallel has it otherwise: Run reads the flags.
	if err := flag.Set("test.parallel", strconv.Itoa(runtime.GOMAXPROCS(0)+1)); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	endBrowser()
	_ = os.RemoveAll(dir)
	if err := migrated.Drop(); err != nil {
		log.Print(err)
	}
	os.Exit(code)
}

// TestScripts runs what an operator or an app could type. Beside testscript's
// own commands there are:
//
//	gatehouse ARGUMENTS...
//
// runs the command in this process, where it does not have to start and reads the
// same of the environment; exec runs it as a process.
//
//	http [-H header]... [-u id:secret] METHOD PATH [name=value]...
//
// sends a request to a server in embedded mode, started by the first one with
// the script's environment, and writes status line, headers and body to the
// file resp. The values are a form: the query of a GET, else the body.
//
//	until PATTERN [-H header]... [-u id:secret] METHOD PATH [name=value]...
//
// does the same until the answer matches.
//
//	json NAME FILE KEY
//
// sets the environment variable NAME to the string at KEY of a JSON object.
//
//	repeat NAME TEXT COUNT
//
// sets the environment variable NAME to TEXT, COUNT times.
//
//	dns [NAME=VALUE]...
//
// has a DNS server at GATEHOUSE_DNS, started by the first one, serve these TXT
// records and no others.
//
//	letter NAME ADDRESS [WHY]
//
// puts a letter into the outbox, given up when there is a reason, and sets the
// environment variable NAME to its id.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", "atexit_sleep_ms=0") // or the race detector has each process wait for a second at its end
			e.Setenv("GATEHOUSE_STATE_DIR", e.WorkDir+"/state")
			e.Setenv("GATEHOUSE_ADDR", "localhost:"+freePort(t))
			e.Values[running{}] = new(bool)
			e.Values[resolving{}] = new(nameserver)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"gatehouse": gatehouseCommand,

			"http":   httpCommand,
			"until":  untilCommand,
			"json":   jsonCommand,
			"repeat": repeatCommand,
			"dns":    dnsCommand,
			"letter": letterCommand,
		},
	})
}

func gatehouseCommand(ts *testscript.TestScript, neg bool, args []string) {
	code := run(context.Background(), args, terminal{environment(ts), strings.NewReader(""), ts.Stdout(), ts.Stderr()})
	if (code != 0) != neg {
		ts.Fatalf("the exit code is %d", code)
	}
}

// environment is what a command started by the script would see.
func environment(ts *testscript.TestScript) []string {
	env := []string{"HOME=" + ts.Getenv("HOME")}
	for _, s := range new(Config).settings() {
		for _, k := range []string{s.key, s.key + "_FILE"} {
			if v := ts.Getenv(k); v != "" {
				env = append(env, k+"="+v)
			}
		}
	}
	return env
}

// running is the key of a *bool: whether the script's server runs.
type running struct{}

// serveOnce starts the script's server, unless it runs, and waits until it
// answers. The server stops with the script.
func serveOnce(ts *testscript.TestScript) {
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	code := make(chan int, 1)
	started := time.Now()
	go func() {
		code <- run(ctx, []string{"serve"}, terminal{environment(ts), strings.NewReader(""), io.Discard, &log})
	}()
	ts.Defer(func() {
		cancel()
		if c := <-code; c != 0 {
			ts.Logf("the server's exit code was %d", c)
		}
		ts.Logf("the server's log:\n%s", log.String())
	})
	base := "http://" + ts.Getenv("GATEHOUSE_ADDR")
	for deadline := started.Add(time.Minute); time.Now().Before(deadline); {
		select {
		case c := <-code:
			code <- c
			ts.Fatalf("the server ended with code %d before it answered", c)
		case <-time.After(10 * time.Millisecond):
		}
		r, err := http.Get(base + "/.well-known/openid-configuration")
		if err == nil {
			_ = r.Body.Close()
			ts.Logf("the server answered after %v", time.Since(started).Round(time.Millisecond))
			return
		}
	}
	ts.Fatalf("the server did not answer within a minute")
}

func httpCommand(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "usage: http [-H header]... [-u id:secret] METHOD PATH [name=value]..."
	header := http.Header{}
	var user *url.Userinfo
	for len(args) > 1 && (args[0] == "-H" || args[0] == "-u") {
		switch args[0] {
		case "-H":
			name, value, _ := strings.Cut(args[1], ":")
			header.Add(name, strings.TrimSpace(value))
		case "-u":
			id, secret, _ := strings.Cut(args[1], ":")
			user = url.UserPassword(id, secret)
		}
		args = args[2:]
	}
	if len(args) < 2 || neg {
		ts.Fatalf(usage)
	}
	method, path, params := args[0], args[1], args[2:]
	var form []string // in the order given, also what is repeated
	for _, p := range params {
		name, value, ok := strings.Cut(p, "=")
		if !ok {
			ts.Fatalf(usage)
		}
		form = append(form, url.QueryEscape(name)+"="+url.QueryEscape(value))
	}
	if started := ts.Value(running{}).(*bool); !*started {
		serveOnce(ts)
		*started = true
	}
	var body io.Reader
	if encoded := strings.Join(form, "&"); method == http.MethodGet && encoded != "" {
		path += "?" + encoded
	} else if method != http.MethodGet {
		body = strings.NewReader(encoded)
	}
	req, err := http.NewRequest(method, "http://"+ts.Getenv("GATEHOUSE_ADDR")+path, body)
	ts.Check(err)
	req.Header = header
	if body != nil && header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if user != nil {
		// RFC 6749 section 2.3.1: both are form-encoded first.
		secret, _ := user.Password()
		req.SetBasicAuth(url.QueryEscape(user.Username()), url.QueryEscape(secret))
	}
	client := http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	ts.Check(err)
	// The server gives its Valkey a moment, which may not be enough on a busy machine.
	// It says then to try again.
	for tries := 0; resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" && tries < 300; tries++ {
		_ = resp.Body.Close()
		<-time.After(100 * time.Millisecond)
		if req.GetBody != nil {
			req.Body, err = req.GetBody()
			ts.Check(err)
		}
		resp, err = client.Do(req)
		ts.Check(err)
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	ts.Check(err)
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s\n", resp.Proto, resp.Status)
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		for _, v := range resp.Header[name] {
			fmt.Fprintf(&out, "%s: %s\n", name, v)
		}
	}
	fmt.Fprintf(&out, "\n%s", content)
	ts.Check(os.WriteFile(ts.MkAbs("resp"), out.Bytes(), 0o600))
	ts.Logf("%s %s", resp.Proto, resp.Status)
}

// untilCommand repeats a request until the answer matches.
func untilCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 || neg {
		ts.Fatalf("usage: until PATTERN ARGUMENTS OF HTTP...")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(time.Minute); ; <-time.After(50 * time.Millisecond) {
		httpCommand(ts, false, args[1:])
		if want.MatchString(ts.ReadFile("resp")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no answer matches %s after a minute", args[0])
		}
	}
}

func jsonCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 || neg {
		ts.Fatalf("usage: json NAME FILE KEY")
	}
	content := ts.ReadFile(args[1])
	// The file resp holds headers before the object.
	if i := strings.Index(content, "{"); i > 0 {
		content = content[i:]
	}
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(content), &object))
	value, ok := object[args[2]].(string)
	if !ok {
		ts.Fatalf("%s has no string %q", args[1], args[2])
	}
	ts.Setenv(args[0], value)
}

func repeatCommand(ts *testscript.TestScript, neg bool, args []string) {
	var count int
	if len(args) == 3 && !neg {
		_, err := fmt.Sscan(args[2], &count)
		ts.Check(err)
	}
	if count == 0 {
		ts.Fatalf("usage: repeat NAME TEXT COUNT")
	}
	ts.Setenv(args[0], strings.Repeat(args[1], count))
}

//go:build unix

package docs_test

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
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

	"github.com/gatehouse-id/gatehouse/internal/testenv/freeport"
)

// patience is how long one step may take, on a busy machine that compiles an example
// for the first time.
const patience = 5 * time.Minute

// runnable are the pages that are run.
func runnable(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob("quickstart/*.md")
	if err != nil {
		t.Fatal(err)
	}
	// The one that waits most begins first.
	return append([]string{"operating.md", "../README.md"}, pages...)
}

// TestPages does what the pages say, each with a server of its own, in a copy of
// those parts of the checkout that readers use.
func TestPages(t *testing.T) {
	for _, file := range runnable(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".md"), func(t *testing.T) {
			t.Parallel()
			p := readPage(t, file)
			for _, program := range append([]string{"curl"}, p.needs...) {
				needs(t, program, "/usr/sbin/"+program)
			}
			r := newReader(t)
			if file == "operating.md" {
				r.operates(t)
			} else {
				r.develops(t)
			}
			r.follow(t, p)
		})
	}
}

// A reader is somebody who follows a page.
type reader struct {
	// home is the copy of the checkout; the commands begin there.
	home string
	env  []string
	// ports are of this test, by those on the page.
	ports map[string]string
	// replace is what else is another here than on the page.
	replace []string
	// seen is all that was printed so far, and by is who printed last and goes on.
	seen *transcript
	by   *transcript
	// stops end the commands that stay.
	stops []func()

	person *person
	window *window
}

func newReader(t *testing.T) *reader {
	t.Helper()
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	// Not below t.TempDir, which programs that drop their rights cannot enter.
	home, err := os.MkdirTemp("", "gatehouse-docs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	r := &reader{home: home, ports: map[string]string{}, seen: &transcript{}}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GATEHOUSE_") {
			r.env = append(r.env, e)
		}
	}
	r.env = append(r.env,
		"PATH="+bin+":"+os.Getenv("PATH")+":/usr/sbin",
		"CGO_ENABLED=0", "GOFLAGS="+os.Getenv("GOFLAGS")+" -trimpath", // as the server is built: nothing is compiled twice
		"npm_config_fetch_retries=5",
		"BROWSER=true", "DISPLAY=", "WAYLAND_DISPLAY=", // nobody opens a window
	)
	// Node 18, which Debian 12 has, keeps what the quick start needs of a newer one
	// behind a flag.
	if version, err := exec.Command("node", "--version").Output(); err == nil && strings.HasPrefix(string(version), "v18.") {
		r.env = append(r.env, "NODE_OPTIONS=--experimental-global-webcrypto")
	}
	for _, name := range []string{"examples", "deploy/gateways", "go.mod", "go.sum"} {
		r.copy(t, name)
	}
	for from, to := range map[string]string{bin: "bin", "../third_party": "third_party"} {
		from, err := filepath.Abs(from)
		if err == nil {
			err = os.Symlink(from, filepath.Join(home, to))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// copy copies a file or a folder of the repository, with the addresses of this
// test.
func (r *reader) copy(t *testing.T, name string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join("..", name), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(r.home, strings.TrimPrefix(path, ".."))
		if d.IsDir() {
			if d.Name() == "node_modules" {
				return fs.SkipDir
			}
			return os.MkdirAll(to, 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, []byte(r.here(t, string(content))), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

var address = regexp.MustCompile(`\b(localhost|127\.0\.0\.1):(\d{4,5})\b`)

// here is text of a page with the addresses of this test: its ports are free.
func (r *reader) here(t *testing.T, text string) string {
	t.Helper()
	text = strings.NewReplacer(r.replace...).Replace(text)
	return address.ReplaceAllStringFunc(text, func(found string) string {
		host, port, _ := strings.Cut(found, ":")
		// What has been replaced already is not replaced again.
		if slices.Contains(slices.Collect(maps.Values(r.ports)), port) {
			return found
		}
		if r.ports[port] == "" {
			r.ports[port] = freeport.For(t)
		}
		return host + ":" + r.ports[port]
	})
}

// develops starts the server that needs nothing, as make run does.
func (r *reader) develops(t *testing.T) {
	t.Helper()
	r.env = append(r.env, "GATEHOUSE_STATE_DIR="+filepath.Join(r.home, "state"), "GATEHOUSE_ADDR="+r.here(t, "localhost:8080"))
	r.stay(t, "gatehouse serve")
	await(t, "the server is ready", func() bool {
		resp, err := http.Get("http://" + r.here(t, "localhost:8080") + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// follow does one step after the other.
func (r *reader) follow(t *testing.T, p page) {
	t.Helper()
	for _, s := range p.steps {
		at := fmt.Sprintf("%s:%d", p.file, s.line)
		wants := r.here(t, s.prints)
		switch {
		case s.mark == "from", s.mark == "not run":
		case s.mark == "then":
			r.do(t, at, r.here(t, s.rest))
		case s.lang == "text":
			r.waitFor(t, at, r.here(t, s.text))
		case s.mark == "stays":
			r.stay(t, r.fill(t, at, s.text))
			r.waitFor(t, at, wants)
		default:
			out, err := r.run(t, r.fill(t, at, s.text))
			if (err != nil) != (s.mark == "fails") {
				t.Fatalf("%s: %s\nends with %v:\n%s", at, s.text, err, out)
			}
			if s.shows && !prints(wants, out) {
				t.Fatalf("%s: %s\nprints\n%s\nand not\n%s", at, s.text, out, wants)
			}
		}
	}
}

// What a reader copies from what was printed, by the name of the variable that it
// goes into.
var copied = map[string]*regexp.Regexp{
	"CLIENT_SECRET": regexp.MustCompile(`(?m)^client secret +(\S+)$`),
	"PASSWORD":      regexp.MustCompile(`(?m)^password +(\S+)$`),
	"TOKEN":         regexp.MustCompile(`"access_token":"([^"]+)"`),
}

var blank = regexp.MustCompile(`\b([A-Z_]+)=…`)

// fill writes into a command what the page leaves to its reader.
func (r *reader) fill(t *testing.T, at, command string) string {
	t.Helper()
	return r.here(t, blank.ReplaceAllStringFunc(command, func(found string) string {
		name, _, _ := strings.Cut(found, "=")
		value := r.last(copied[name])
		if value == "" {
			t.Fatalf("%s: nothing was printed that goes into %s", at, name)
		}
		return name + "='" + value + "'"
	}))
}

// last returns what was printed last of something.
func (r *reader) last(what *regexp.Regexp) string {
	if what == nil {
		return ""
	}
	if all := what.FindAllStringSubmatch(r.seen.String(), -1); len(all) > 0 {
		return all[len(all)-1][1]
	}
	return ""
}

// Variables and the directory go from one block to the next, as in one terminal.
const before = `set -a; if test -e "$TERMINAL"; then . "$TERMINAL"; fi
`
const after = `
set +e; { export -p | grep -v ' TERMINAL='; printf 'cd "%s"\n' "$PWD"; } >"$TERMINAL"`

// shell is a command as it is typed.
func (r *reader) shell(script string) *exec.Cmd {
	c := exec.Command("sh", "-c", script)
	c.Dir = r.home
	c.Env = append(r.env[:len(r.env):len(r.env)], "TERMINAL="+filepath.Join(r.home, ".terminal"))
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a shell's children end with it
	c.WaitDelay = 5 * time.Second
	return c
}

// run runs a command to its end. It stops at the first that fails.
func (r *reader) run(t *testing.T, command string) (string, error) {
	t.Helper()
	c := r.shell(before + "set -e\n" + command + after)
	var out transcript
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) })
	err := c.Wait()
	late.Stop()
	_, _ = r.seen.Write([]byte(out.String()))
	return out.String(), err
}

// stay starts a command that ends with the test.
func (r *reader) stay(t *testing.T, command string) {
	t.Helper()
	c := r.shell(before + command)
	out := &transcript{}
	r.by = out
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait() // how it ends, the page does not say
		close(ended)
	}()
	stop := sync.OnceFunc(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(patience):
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			<-ended
			t.Errorf("%s did not end when it was told to", command)
		}
	})
	r.stops = append(r.stops, stop)
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("%s printed\n%s", command, out)
		}
	})
}

// waitFor waits until the command that stays has printed something.
func (r *reader) waitFor(t *testing.T, at, text string) {
	t.Helper()
	if r.by == nil {
		t.Fatalf("%s: nothing runs that could print this", at)
	}
	pattern := regexp.MustCompile(`(?m)^` + printed(text) + `$`)
	defer func() {
		if t.Failed() {
			t.Logf("%s: not printed: %s", at, text)
		}
	}()
	await(t, at+": it prints what the page says", func() bool { return pattern.MatchString(r.by.String()) })
	_, _ = r.seen.Write([]byte(r.by.String()))
}

// deeds are what a person can do.
var deeds = map[*regexp.Regexp]func(t *testing.T, r *reader, words []string){
	regexp.MustCompile(`^signs in at (\S+) and reads "(.+)"$`): func(t *testing.T, r *reader, words []string) {
		r.person = newPerson(t, r.who(t), r.last(copied["PASSWORD"]))
		r.person.open(t, words[1])
		r.person.reads(t, words[2])
	},
	regexp.MustCompile(`^signs out and reads "(.+)"$`): func(t *testing.T, r *reader, words []string) {
		if !r.person.submit(t, "/logout", url.Values{}) {
			t.Fatal("there is no button to sign out")
		}
		r.person.reads(t, words[1])
	},
	regexp.MustCompile(`^(?:still signed in|signed out), opens (\S+) and reads "(.+)"$`): func(t *testing.T, r *reader, words []string) {
		r.person.ask(t, http.MethodGet, words[1], "")
		r.person.reads(t, words[2])
	},
	regexp.MustCompile(`^still signed in, tries (\S+) until it says "(.+)"$`): func(t *testing.T, r *reader, words []string) {
		await(t, words[1]+" says "+words[2], func() bool {
			r.person.ask(t, http.MethodGet, words[1], "")
			return strings.Contains(r.person.text(), words[2])
		})
	},
	regexp.MustCompile(`^stops what was started last$`): func(t *testing.T, r *reader, _ []string) {
		last := len(r.stops) - 1
		if last < 0 {
			t.Fatal("nothing runs")
		}
		r.stops[last]()
		r.stops = r.stops[:last]
	},
	regexp.MustCompile(`^opens the address that was printed, signs in and reads "(.+)"$`): func(t *testing.T, r *reader, words []string) {
		r.person = newPerson(t, r.who(t), r.last(copied["PASSWORD"]))
		r.person.open(t, r.last(regexp.MustCompile(`(?m)^(http://\S+/authorize\S+)$`)))
		r.person.reads(t, words[1])
	},
	regexp.MustCompile(`^in Chromium signs in at (\S+) and reads "(.+)"$`): func(t *testing.T, r *reader, words []string) {
		r.window = newWindow(t)
		r.window.visit(words[1])
		r.window.reads("Nobody is signed in.")
		r.window.press("Sign in")
		r.window.signIn(r.who(t), r.last(copied["PASSWORD"]))
		r.window.reads(words[2])
	},
	regexp.MustCompile(`^in Chromium presses "(.+)" and reads "(.+)"$`): func(_ *testing.T, r *reader, words []string) {
		r.window.press(words[1])
		r.window.reads(words[2])
	},
}

// do does a deed.
func (r *reader) do(t *testing.T, at, deed string) {
	t.Helper()
	for pattern, do := range deeds {
		if words := pattern.FindStringSubmatch(deed); words != nil {
			do(t, r, words)
			return
		}
	}
	t.Fatalf("%s: nobody knows how somebody %s", at, deed)
}

// who is the address of the account that was made last.
func (r *reader) who(t *testing.T) string {
	t.Helper()
	return cmp.Or(r.last(regexp.MustCompile(`(?m)^email +(\S+)$`)), "nobody@example.com")
}

// A transcript is what was printed. Two may write to it.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// workDir is for what all tests share: the programs.
var workDir string

func TestMain(m *testing.M) {
	var err error
	if workDir, err = os.MkdirTemp("", "gatehouse-docs-bin-"); err == nil {
		err = os.Chmod(workDir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(workDir) // what it leaves is in the system's folder for that
	os.Exit(code)
}

// programs builds the server and the worker as make does, once, and returns the
// folder they are in.
var programs = sync.OnceValues(func() (string, error) {
	// The go command repeats a test's last result unless a file changed that the
	// test itself has looked at: so look at all.
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "artifacts" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		return "", err
	}
	for name, folder := range map[string]string{"gatehouse": "../cmd/gatehouse", "gatehouse-worker": "../cmd/worker"} {
		build := exec.Command("go", "build", "-trimpath", "-tags", "nomsgpack,grpcnotrace", "-ldflags=-s -w", "-o", filepath.Join(workDir, name), folder)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build: %w\n%s", err, out)
		}
	}
	return workDir, nil
})

// needs skips the test, or fails it where CI=true, unless a program is there under
// one of its names. It returns where.
func needs(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	why := names[0] + " is not in PATH; .ci/install installs it"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
	return ""
}

// await asks until the answer is yes.
func await(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !yes(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}

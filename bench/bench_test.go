package main

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPercentile(t *testing.T) {
	ms := func(values ...int) (d []time.Duration) {
		for _, v := range values {
			d = append(d, time.Duration(v)*time.Millisecond)
		}
		return d
	}
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	for _, tt := range []struct {
		sentence string
		sorted   []time.Duration
		of, want int
	}{
		{"one value is every percentile", ms(7), 99, 7},
		{"the median of two is the lower", ms(1, 9), 50, 1},
		{"the median of three", ms(1, 5, 9), 50, 5},
		{"of a hundred values one is above the 99th", ms(hundred...), 99, 99},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			if got := percentile(tt.sorted, tt.of); got != ms(tt.want)[0] {
				t.Errorf("got %v, want %d ms", got, tt.want)
			}
		})
	}
	if got := median(ms(9, 1, 5)); got != ms(5)[0] {
		t.Errorf("the median of what is not sorted is %v", got)
	}
}

func TestScale(t *testing.T) {
	near := func(got, want float64) bool { return math.Abs(got-want) < 1e-9 }
	refresh := benchCase{signatures: 2, target: 0.18}
	for _, tt := range []struct {
		sentence string
		scale    scale
		want     float64
	}{
		{"where the targets were set they stand", scale{hello: 0.011, signature: 0.024}, 0.18},
		{"on a machine that is half as fast they double", scale{hello: 0.022, signature: 0.048}, 0.36},
		{"slow signatures move only their part", scale{hello: 0.011, signature: 0.048}, 0.18 + 2*0.024},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			if got := tt.scale.target(refresh); !near(got, tt.want) {
				t.Errorf("the target is %v, want %v", got, tt.want)
			}
		})
	}
	if got := (scale{hello: 1}).target(benchCase{}); got != 0 {
		t.Errorf("a case without a target has %v", got)
	}
	if got := (scale{hash: 20}).bare(benchCase{hashes: 1}, 22); !near(got, 2) {
		t.Errorf("less its hash it costs %v", got)
	}
	if got := apart([]float64{0.21, 0.20, 0.22}); !near(got, 0.1) {
		t.Errorf("apart by %v", got)
	}
	if got := (result{rounds: 2000, cpu: time.Second}).perThousand(); !near(got, 0.5) {
		t.Errorf("2000 rounds in a second of CPU are %v per 1,000", got)
	}
}

func TestParseStat(t *testing.T) {
	s, err := parseStat("4711 (a) b (c) S 42 4711 4711 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 9 0 100 1 1\n")
	if err != nil || s.parent != 42 || s.cpu != 3*time.Second {
		t.Errorf("%+v, %v; want parent 42 and 3s", s, err)
	}
	for _, line := range []string{"", "4711 name S 1", "4711 (name) S 1 2 3", "4711 (name) S x 1 1 1 1 1 1 1 1 1 1 y 1"} {
		if _, err := parseStat(line); err == nil {
			t.Errorf("%q is taken for a line of /proc/PID/stat", line)
		}
	}
	if got := kilobytes("VmPeak:\t 9 kB\nVmRSS:\t    2048 kB\n", "VmRSS"); got != 2<<20 {
		t.Errorf("VmRSS is %d", got)
	}
}

func TestBetween(t *testing.T) {
	const page = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n"
	got, err := between(page, "x", "new\n")
	if want := "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nb\n"; err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
	if again, err := between(got, "x", "new"); err != nil || again != got {
		t.Errorf("the same once more is %q, %v", again, err)
	}
	if _, err := between(page, "y", "new"); err == nil {
		t.Error("a page without the comments is written")
	}
}

// The client understands what servers of net/http answer: a length, chunks,
// nothing; and keeps its connection.
func TestConn(t *testing.T) {
	long := strings.Repeat("0123456789", 1000)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-From", r.RemoteAddr)
		switch r.URL.Path {
		case "/short":
			_, _ = io.WriteString(w, "short")
		case "/long":
			_, _ = io.WriteString(w, long)
		case "/form":
			_, _ = io.WriteString(w, r.FormValue("a")+r.Header.Get("X-More"))
		default:
			http.Redirect(w, r, "/elsewhere", http.StatusSeeOther)
		}
	}))
	defer s.Close()
	addr := strings.TrimPrefix(s.URL, "http://")
	c, err := dial(addr, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	from := ""
	for _, tt := range []struct {
		path, form string
		status     int
		body       string
	}{
		{"/short", "", 200, "short"},
		{"/long", "", 200, long},
		{"/form", "a=1&b=2", 200, "1yes"},
		{"/nowhere", "", 303, ""},
		{"/short", "", 200, "short"},
	} {
		var a answer
		if tt.form != "" {
			a, err = c.post(tt.path, "X-More: yes\r\n", tt.form)
		} else {
			a, err = c.get(tt.path, "")
		}
		if err != nil {
			t.Fatalf("%s: %v", tt.path, err)
		}
		if a.want(tt.status) != nil || tt.body != "" && string(a.body) != tt.body {
			t.Errorf("%s is answered %d %.40q", tt.path, a.status, a.body)
		}
		if tt.status == 303 && a.field("location") != "/elsewhere" {
			t.Errorf("%s leads to %q", tt.path, a.field("location"))
		}
		if from == "" {
			from = a.field("X-From")
		}
		if a.field("X-From") != from {
			t.Errorf("%s is asked for on another connection", tt.path)
		}
	}
}

func TestLoop(t *testing.T) { synctest.Test(t, testLoop) }

func testLoop(t *testing.T) {
	var used time.Duration
	m := meter{cpu: func() (time.Duration, error) { used += time.Second; return used, nil }}
	work := func() error { time.Sleep(time.Millisecond); return nil }
	r, err := loop([]round{work, work}, 10*time.Millisecond, 100*time.Millisecond, m)
	if err != nil {
		t.Fatal(err)
	}
	// At both ends a round of each may count or not.
	if r.rounds < 198 || r.rounds > 202 || r.p50 != time.Millisecond || r.cpu != time.Second || r.took != 100*time.Millisecond {
		t.Errorf("%+v", r)
	}
	if _, err := loop([]round{func() error { return io.EOF }}, time.Minute, time.Minute, m); !errors.Is(err, io.EOF) {
		t.Errorf("a round that fails: %v", err)
	}
}

// TestRun measures everything for a moment, and writes a page of it.
func TestRun(t *testing.T) {
	if os.Getenv("GATEHOUSE_TEST_SLOW") != "1" {
		t.Skip("it builds the server; GATEHOUSE_TEST_SLOW=1 runs it")
	}
	binary := filepath.Join(t.TempDir(), "gatehouse")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "slim,nomsgpack,grpcnotrace", "-o", binary, "../cmd/gatehouse")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("<!-- bench-http: begin -->\n<!-- bench-http: end -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), self)
	run.Env = append(os.Environ(), "GATEHOUSE_TEST_BENCH="+binary+" "+page)
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if !strings.Contains(string(b), "| "+c.name+" | ") {
			t.Errorf("the page says nothing of %s:\n%s", c.name, b)
		}
	}
}

// TestMain lets this binary be the program, which starts itself as the server
// that says hello.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == helloArg {
		main()
		return
	}
	if binary, page, ok := strings.Cut(os.Getenv("GATEHOUSE_TEST_BENCH"), " "); ok {
		b := bench{binary: binary, page: page, command: "go test", connections: 2, measured: 200 * time.Millisecond, warm: 100 * time.Millisecond, out: os.Stdout}
		fail(b.run(context.Background()))
		return
	}
	os.Exit(m.Run())
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/valkey-io/valkey-go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 3 && os.Args[1] == helloArg {
		fail(serveHello(ctx, os.Args[2]))
		return
	}
	b := bench{out: os.Stdout}
	flag.StringVar(&b.binary, "gatehouse", "bin/gatehouse", "the `binary` that is measured")
	flag.IntVar(&b.connections, "c", 8, "how many connections ask at once")
	flag.DurationVar(&b.measured, "d", 5*time.Second, "how long each case is measured")
	flag.DurationVar(&b.warm, "warm", time.Second, "how long each case runs before that")
	flag.StringVar(&b.only, "only", "", "measure only the cases whose name contains this `text`")
	flag.StringVar(&b.page, "write", "", "the `file` that gets the result between its comments (default only print it)")
	flag.StringVar(&b.command, "command", "go run ./bench", "the `command` that the page names")
	flag.StringVar(&b.profile, "profile", "", "a `folder` for profiles of the server, which must be built with -tags bench")
	growth := flag.Bool("growth", false, "measure how costs grow with the number of grants instead")
	most := flag.Int("grants", 10_000_000, "with how many grants -growth ends")
	flag.Parse()
	if *growth {
		fail(b.growth(ctx, *most))
		return
	}
	fail(b.run(ctx))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A bench is what the flags say.
type bench struct {
	binary, only, page, command, profile string
	connections                          int
	measured, warm                       time.Duration
	// out is told how it goes, and the result.
	out io.Writer
}

// say tells what may be lost: the result is on the page.
func (b *bench) say(format string, args ...any) { _, _ = fmt.Fprintf(b.out, format, args...) }

// starts is how often the server is started to see how long it takes.
const starts = 10

// run measures everything once.
func (b *bench) run(ctx context.Context) (err error) {
	r, err := b.begin()
	if err != nil {
		return err
	}
	var databases servers
	defer func() { err = errors.Join(err, databases.close()) }()
	postgres, volatile, err := databases.open()
	if err != nil {
		return err
	}
	if r.versions, err = versions(ctx, postgres, volatile); err != nil {
		return err
	}
	g, err := configure(b.binary, postgres, volatile)
	if err != nil {
		return err
	}
	if err := g.command(nil, "migrate"); err != nil {
		return err
	}
	w, err := settle(g, b.connections)
	if err != nil {
		return err
	}
	if r.starts, err = b.startTimes(g); err != nil {
		return err
	}
	if r.floors, err = floors(ctx, postgres, volatile, b.warm); err != nil {
		return err
	}
	if r.hello, err = b.hello(); err != nil {
		return err
	}
	if err := b.measure(ctx, w, r); err != nil {
		return err
	}
	text := r.markdown()
	b.say("\n%s", text)
	if b.page == "" {
		return nil
	}
	return replace(b.page, "bench-http", text)
}

// begin looks at the machine.
func (b *bench) begin() (r *report, err error) {
	r = &report{
		command: b.command, at: time.Now(), results: map[string]result{},
		connections: b.connections, measured: b.measured, warm: b.warm,
	}
	if r.load, err = load(); err != nil {
		return nil, err
	}
	r.machine, err = machine()
	return r, err
}

// versions names what else was at work.
func versions(ctx context.Context, postgres, volatile string) (string, error) {
	c, err := pgx.Connect(ctx, postgres)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close(ctx) }() // it has answered
	var sql, fsync string
	if err := c.QueryRow(ctx, "select split_part(current_setting('server_version'), ' ', 1), current_setting('fsync')").Scan(&sql, &fsync); err != nil {
		return "", err
	}
	o, err := valkey.ParseURL(volatile)
	if err != nil {
		return "", err
	}
	o.DisableCache = true
	v, err := valkey.NewClient(o)
	if err != nil {
		return "", err
	}
	defer v.Close()
	info, err := v.Do(ctx, v.B().Info().Section("server").Build()).ToString()
	if err != nil {
		return "", err
	}
	version := map[string]string{}
	for line := range strings.Lines(info) {
		k, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		version[k] = value
	}
	name := "Valkey " + version["valkey_version"]
	if version["valkey_version"] == "" {
		name = "Redis " + version["redis_version"]
	}
	return fmt.Sprintf("%s, PostgreSQL %s (fsync %s) and %s on the same machine", runtime.Version(), sql, fsync, name), nil
}

// startTimes starts the server again and again, on a schema that is current and
// keys that are made.
func (b *bench) startTimes(g *gatehouse) (all []time.Duration, err error) {
	for range starts {
		p, err := g.serve()
		if err != nil {
			return nil, err
		}
		all = append(all, p.ready)
		p.kill()
		if err := p.complaints(b.say); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// hello measures the floor of HTTP.
func (b *bench) hello() (result, error) {
	p, addr, err := hello()
	if err != nil {
		return result{}, err
	}
	defer p.kill()
	workers := make([]round, b.connections)
	for i := range workers {
		c, err := dial(addr, addr)
		if err != nil {
			return result{}, err
		}
		defer func() { _ = c.Close() }()
		if workers[i], err = document("/")(nil, c, i); err != nil {
			return result{}, err
		}
	}
	return loop(workers, b.warm, b.measured, meter{cpu: cpuOf(p.pid())})
}

// measure runs the cases against one server, which first rests.
func (b *bench) measure(ctx context.Context, w *world, r *report) error {
	var more []string
	if b.profile != "" {
		more = []string{"GATEHOUSE_TEST_PROFILE=" + b.profile}
	}
	p, err := w.serve(more...)
	if err != nil {
		return err
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			p.kill()
		}
	}
	defer end()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(3 * time.Second):
	}
	if r.idle, err = memoryOf(p.pid()); err != nil {
		return err
	}
	for _, c := range cases {
		if !strings.Contains(c.name, b.only) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.results[c.name], err = b.one(w, c, meter{cpu: cpuOf(p.pid())}, p); err != nil {
			return fmt.Errorf("%s: %w\n%s", c.name, err, &p.log)
		}
		if c.hashes > 0 {
			hash, err := hashing(b.measured)
			if err != nil {
				return err
			}
			r.floors = append(r.floors, hash)
		}
	}
	if r.loaded, err = memoryOf(p.pid()); err != nil {
		return err
	}
	end()
	return p.complaints(b.say)
}

// one measures one case.
func (b *bench) one(w *world, c benchCase, m meter, p *process) (result, error) {
	workers := make([]round, b.connections)
	for i := range workers {
		conn, err := dial(w.addr, w.addr)
		if err != nil {
			return result{}, err
		}
		defer func() { _ = conn.Close() }()
		if workers[i], err = c.worker(w, conn, i); err != nil {
			return result{}, err
		}
	}
	if b.profile != "" {
		// Such a server begins a profile at the first signal and ends it at the next.
		signalled := func() error { return p.cmd.Process.Signal(syscall.SIGUSR1) }
		if err := signalled(); err != nil {
			return result{}, err
		}
		defer func() {
			_ = signalled()
			time.Sleep(time.Second) // it is written
		}()
	}
	r, err := loop(workers, b.warm, b.measured, m)
	if err == nil {
		b.say("%-48s %8.0f/s  p50 %s  p99 %s  %.4f CPU-s per 1,000\n", c.name, r.perSecond(), ms(r.p50), ms(r.p99), r.perThousand())
	}
	return r, err
}

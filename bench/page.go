package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// A report is all that one run has found.
type report struct {
	command  string
	at       time.Time
	machine  string
	versions string
	load     float64
	// connections, measured and warm say how the loop was run.
	connections    int
	measured, warm time.Duration
	hello          result
	floors         []floor
	results        map[string]result // by the name of the case
	idle, loaded   memory
	starts         []time.Duration
}

func (r *report) scale() scale {
	return scale{
		hello:     r.hello.perThousand(),
		signature: thousand(cpuOfFloor(r.floors, floorSignature)),
		hash:      thousand(cpuOfFloor(r.floors, floorHash)),
	}
}

// The targets that are not CPU time.
const (
	targetIdle   = 30 << 20
	targetLoaded = 120 << 20
	targetStart  = 50 * time.Millisecond
)

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "**missed**"
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// busy says whether the machine had other work, by its load before the run.
func busy(load float64) string {
	if load < 0.5 {
		return fmt.Sprintf("The machine was quiet (load average %.1f before it began).", load)
	}
	return fmt.Sprintf("The machine was busy with other work (load average %.1f before it began): "+
		"times are too long and rates too low; CPU time and ratios suffer less.", load)
}

// introduction says what was run, where and when.
func introduction(r *report) string {
	return fmt.Sprintf("`%s`, %s UTC: %d connections, %v a case after %v of warm-up. %s; %s. %s\n",
		r.command, r.at.UTC().Format("2 January 2006, 15:04"), r.connections, r.measured, r.warm, r.machine, r.versions, busy(r.load))
}

// markdown is the part of the page that a run writes.
func (r *report) markdown() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	s := r.scale()
	say("%s\n", introduction(r))
	say("| | per second | p50 | p99 | CPU-s per 1,000 | × hello | target | target here | |\n|---|--:|--:|--:|--:|--:|--:|--:|---|\n")
	line := func(name string, m result, cost float64) {
		say("| %s | %.0f | %s | %s | %.4f | %.1f |", name, m.perSecond(), ms(m.p50), ms(m.p99), cost, cost/s.hello)
	}
	line("(net/http says hello)", r.hello, s.hello)
	say(" | | |\n")
	for _, c := range cases {
		m, ok := r.results[c.name]
		if !ok {
			continue
		}
		cost := m.perThousand()
		line(c.name, m, cost)
		if t := s.target(c); t > 0 {
			say(" %.3f | %.4f | %s |\n", c.target, t, verdict(cost <= t))
		} else {
			say(" | | |\n")
		}
		if c.hashes > 0 {
			say("| – less the hash | | | | %.4f | %.1f | | | |\n", s.bare(c, cost), s.bare(c, cost)/s.hello)
		}
	}
	say("\n| Floor | CPU | median |\n|---|--:|--:|\n")
	for _, f := range r.floors {
		say("| %s | %.4f ms | %s |\n", f.name, float64(f.cpu)/float64(time.Millisecond), ms(f.each))
	}
	start := median(r.starts)
	say("\n| | | target | |\n|---|--:|--:|---|\n")
	say("| Resident memory, idle | %s (%s of it not the file's) | %s | %s |\n", mib(r.idle.total), mib(r.idle.own), mib(targetIdle), verdict(r.idle.total <= targetIdle))
	say("| Resident memory, at most under this load | %s | %s | %s |\n", mib(r.loaded.peak), mib(targetLoaded), verdict(r.loaded.peak <= targetLoaded))
	say("| From start to ready, median of %d | %s | %s | %s |\n", len(r.starts), ms(start), ms(targetStart), verdict(start <= targetStart))
	return b.String()
}

// A stage is what cases cost with so many grants.
type stage struct {
	grants  int
	hello   float64
	results map[string]result
	// scans are the tables that were read from end to end meanwhile, and how often.
	scans []string
}

// growthTarget is how far the costs may be apart.
const growthTarget = 0.10

// markdownOfGrowth is the part of the page about how costs grow.
func markdownOfGrowth(r *report, stages []stage) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	say("%s\n|", introduction(r))
	for _, s := range stages {
		say(" | %d grants", s.grants)
	}
	say(" | apart | |\n|---|%s--:|---|\n", strings.Repeat("--:|", len(stages)))
	for _, c := range grown() {
		var sql, costs []float64
		say("| %s: the server's CPU-s per 1,000 |", c.name)
		for _, s := range stages {
			m := s.results[c.name]
			sql = append(sql, perThousand(m.sql, m.rounds))
			costs = append(costs, m.perThousand())
			say(" %.4f |", m.perThousand())
		}
		a := apart(costs)
		say(" %.0f %% | %s |\n| – PostgreSQL's |", a*100, verdict(a <= growthTarget))
		for _, cost := range sql {
			say(" %.4f |", cost)
		}
		say(" | |\n| – per second |")
		for _, s := range stages {
			say(" %.0f |", s.results[c.name].perSecond())
		}
		say(" | |\n")
	}
	say("| (hello, to see how evenly the machine ran) |")
	for _, s := range stages {
		say(" %.4f |", s.hello)
	}
	say(" | |\n\n")
	last := stages[len(stages)-1]
	if len(last.scans) == 0 {
		say("With %d grants no table was read from end to end, neither by requests nor by the cleanup of every minute (`pg_stat_user_tables`).\n", last.grants)
	} else {
		say("With %d grants these tables were read from end to end: %s.\n", last.grants, strings.Join(last.scans, ", "))
	}
	return b.String()
}

// replace puts text between the two comments of that name in a file, or returns
// an error when it has no such comments.
func replace(path, name, text string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	page, err := between(string(b), name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(page), 0o644)
}

func between(page, name, text string) (string, error) {
	begin, end := "<!-- "+name+": begin -->\n", "<!-- "+name+": end -->"
	before, rest, ok1 := strings.Cut(page, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return "", fmt.Errorf("there are no lines %q and %q", strings.TrimSpace(begin), end)
	}
	return before + begin + "\n" + strings.TrimSpace(text) + "\n\n" + end + after, nil
}

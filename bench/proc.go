package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc: USER_HZ is 100 on every Linux that Go runs
// on (proc(5)).
const tick = 10 * time.Millisecond

// stat is what /proc/PID/stat says of a process.
type stat struct {
	parent int
	// cpu is user and system time, of all threads.
	cpu time.Duration
}

func statOf(pid int) (stat, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(b))
}

// parseStat reads a line of proc(5), whose second field is the program's name in
// parentheses and may hold anything.
func parseStat(line string) (s stat, err error) {
	_, _, ok := strings.Cut(line, "(")
	end := strings.LastIndexByte(line, ')')
	if !ok || end < 0 {
		return s, fmt.Errorf("not a line of /proc/PID/stat: %q", line)
	}
	const parent, utime, stime = 1, 11, 12 // fields 4, 14 and 15, after the name
	f := strings.Fields(line[end+1:])
	if len(f) <= stime {
		return s, fmt.Errorf("too few fields in /proc/PID/stat: %q", line)
	}
	var ticks [2]int64
	s.parent, err = strconv.Atoi(f[parent])
	for i, n := range []int{utime, stime} {
		var e error
		ticks[i], e = strconv.ParseInt(f[n], 10, 64)
		err = errors.Join(err, e)
	}
	s.cpu = time.Duration(ticks[0]+ticks[1]) * tick
	return s, err
}

// cpuOf reads the processor time of a process.
func cpuOf(pid int) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		s, err := statOf(pid)
		return s.cpu, err
	}
}

// cpuOfBackends reads the processor time of PostgreSQL's client backends that
// live, children of postmaster. Those that write behind (checkpoints, vacuum) are
// not counted: they follow a clock of their own.
func cpuOfBackends(postmaster int) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			return 0, err
		}
		var sum time.Duration
		for _, name := range stats {
			b, err := os.ReadFile(name)
			if err != nil {
				continue // it has ended
			}
			s, err := parseStat(string(b))
			if err != nil {
				return 0, err
			}
			if s.parent != postmaster {
				continue
			}
			// "postgres: user database 127.0.0.1(4711) idle"; others have no address.
			title, err := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline"))
			if err == nil && strings.Contains(string(title), "127.0.0.1(") {
				sum += s.cpu
			}
		}
		return sum, nil
	}
}

// memory is what a process has resident, in bytes.
type memory struct {
	// total is VmRSS, peak the highest it ever was (VmHWM), own what no file backs.
	total, peak, own int64
}

func memoryOf(pid int) (memory, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return memory{}, err
	}
	return memory{total: kilobytes(string(b), "VmRSS"), peak: kilobytes(string(b), "VmHWM"), own: kilobytes(string(b), "RssAnon")}, nil
}

// kilobytes returns a line "name:   123 kB" in bytes, zero when there is none.
func kilobytes(text, name string) int64 {
	for line := range strings.Lines(text) {
		v, ok := strings.CutPrefix(line, name+":")
		f := strings.Fields(v)
		if !ok || len(f) != 2 || f[1] != "kB" {
			continue
		}
		n, err := strconv.ParseInt(f[0], 10, 64)
		if err == nil {
			return n << 10
		}
	}
	return 0
}

// load is the load average of the last minute.
func load() (float64, error) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	one, _, _ := strings.Cut(string(b), " ")
	return strconv.ParseFloat(one, 64)
}

// machine names the processor, how many there are and how much memory.
func machine() (string, error) {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	model := runtime.GOARCH
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, _ := strings.Cut(s.Text(), ":"); strings.TrimSpace(k) == "model name" {
			model = strings.TrimSpace(v)
			break
		}
	}
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d processors (%s), %d GiB", runtime.NumCPU(), model, (kilobytes(string(info), "MemTotal")+1<<29)>>30), nil
}

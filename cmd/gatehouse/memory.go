package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"path"
	"runtime"
	"strconv"
	"strings"

	"github.com/gatehouse-id/gatehouse/login"
)

const (
	// memoryShare of what the process may use is what Go may: the rest is for
	// stacks of the system and for what the kernel keeps for it.
	memoryShare = 0.9
	// memoryBase is what the server uses under load beside password hashes.
	memoryBase = 96 << 20
	// noMemoryLimit is more than a machine has, which version 1 of control groups
	// says for none.
	noMemoryLimit = 1 << 60
)

// memory is how much of it there is, in bytes, and what fits.
type memory struct {
	// limit is Go's, zero for none.
	limit int64
	// from is who set it.
	from string
	// hashes is how many passwords are hashed at once.
	hashes int
	// warning is what does not fit, a sentence or empty.
	warning string
}

// readMemory decides how much memory Go may use. That is what GOMEMLIMIT says,
// which Go has read already: its limit is given, as [debug.SetMemoryLimit]
// returns it. Without it a share of what the container may have, by the control
// groups that root knows.
func readMemory(root fs.FS, environ []string, given int64) (memory, error) {
	m := memory{hashes: runtime.GOMAXPROCS(0)}
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, "GOMEMLIMIT="); ok && v != "" {
			m.from = "GOMEMLIMIT"
		}
	}
	if m.from != "" {
		if given != math.MaxInt64 { // which is off
			m.limit = given
		}
	} else {
		container, err := containerLimit(root)
		if err != nil {
			return m, err
		}
		m.limit = int64(float64(container) * memoryShare)
		m.from = "the container"
	}
	if m.limit == 0 {
		return m, nil
	}
	m.hashes = min(m.hashes, max(1, int((m.limit-memoryBase)/login.HashMemory)))
	if least := int64(memoryBase + login.HashMemory); m.limit < least {
		m.warning = fmt.Sprintf("%s leaves Go %s of memory, and this server uses up to %s while one password is hashed; give it more, or it is slow and may be killed under load",
			m.from, mebibytes(m.limit), mebibytes(least))
	}
	return m, nil
}

// attributes are m for the line that says that the server has started.
func (m memory) attributes() []any {
	if m.limit == 0 {
		return nil
	}
	return []any{slog.String("memory", mebibytes(m.limit)+" by "+m.from), slog.Int("hashes", m.hashes)}
}

func mebibytes(n int64) string { return strconv.FormatInt(n>>20, 10) + " MiB" }

// containerLimit is the least limit of memory among the control groups that the
// process is in, zero for none. It knows version 2 (memory.max) and version 1
// (memory.limit_in_bytes), mounted where Linux distributions and container
// engines do.
func containerLimit(root fs.FS) (int64, error) {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // not Linux
	}
	if err != nil {
		return 0, fmt.Errorf("read the control groups: %w", err)
	}
	limit := int64(noMemoryLimit)
	for line := range strings.Lines(string(groups)) {
		// hierarchy:controllers:path, see cgroups(7).
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mount, file := "", ""
		switch {
		case parts[0] == "0" && parts[1] == "":
			mount, file = "sys/fs/cgroup", "memory.max"
		case strings.Contains(","+parts[1]+",", ",memory,"):
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path may be that of the host, and its own group is
		// what is mounted: the last of those asked.
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			b, err := fs.ReadFile(root, path.Join(mount, group, file))
			if err == nil {
				if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 { // "max" is none
					limit = min(limit, n)
				}
			} else if !errors.Is(err, fs.ErrNotExist) {
				return 0, fmt.Errorf("read the memory limit: %w", err)
			}
			if group == "/" {
				break
			}
		}
	}
	if limit == noMemoryLimit {
		return 0, nil
	}
	return limit, nil
}

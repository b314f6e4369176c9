package main

import (
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
)

func TestMemory(t *testing.T) {
	type files map[string]string
	const mib = 1 << 20
	cores := runtime.GOMAXPROCS(0)
	for _, tt := range []struct {
		name    string
		files   files
		environ []string
		given   int64
		limit   int64
		hashes  int
		warning string // part of it
	}{
		{"no control groups", nil, nil, math.MaxInt64, 0, cores, ""},
		{"a container of Docker, version 2", files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n"}, nil, math.MaxInt64, 1024 * mib * 9 / 10, cores, ""},
		{"a unit of systemd", files{"proc/self/cgroup": "0::/system.slice/gatehouse.service\n", "sys/fs/cgroup/system.slice/gatehouse.service/memory.max": "268435456\n", "sys/fs/cgroup/system.slice/memory.max": "max\n"}, nil, math.MaxInt64, 256 * mib * 9 / 10, min(cores, 7), ""},
		{"the limit of a group above", files{"proc/self/cgroup": "0::/pod/gatehouse\n", "sys/fs/cgroup/pod/gatehouse/memory.max": "1073741824\n", "sys/fs/cgroup/pod/memory.max": "536870912\n"}, nil, math.MaxInt64, 512 * mib * 9 / 10, cores, ""},
		{"no limit, version 2", files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, nil, math.MaxInt64, 0, cores, ""},
		{"version 1", files{"proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/abc\n0::/\n", "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "536870912\n"}, nil, math.MaxInt64, 512 * mib * 9 / 10, cores, ""},
		{"version 1 with the path of the host", files{"proc/self/cgroup": "4:cpu,memory:/docker/abc\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n"}, nil, math.MaxInt64, 512 * mib * 9 / 10, cores, ""},
		{"no limit, version 1", files{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, nil, math.MaxInt64, 0, cores, ""},
		{"too little for anything", files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "67108864\n"}, nil, math.MaxInt64, 64 * mib * 9 / 10, 1, "the container leaves Go 57 MiB of memory, and this server uses up to 115 MiB"},
		{"GOMEMLIMIT goes first", files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "67108864\n"}, []string{"GOMEMLIMIT=1GiB"}, 1024 * mib, 1024 * mib, cores, ""},
		{"and hashes follow it", nil, []string{"GOMEMLIMIT=120MiB"}, 120 * mib, 120 * mib, 1, ""},
		{"GOMEMLIMIT=off is no limit", files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "67108864\n"}, []string{"GOMEMLIMIT=off"}, math.MaxInt64, 0, cores, ""},
		{"an empty one is none", files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n"}, []string{"GOMEMLIMIT="}, math.MaxInt64, 1024 * mib * 9 / 10, cores, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, content := range tt.files {
				root[name] = &fstest.MapFile{Data: []byte(content)}
			}
			m, err := readMemory(root, tt.environ, tt.given)
			if err != nil {
				t.Fatal(err)
			}
			if m.limit != tt.limit || m.hashes != tt.hashes {
				t.Errorf("limit %d and %d hashes, not %d and %d", m.limit, m.hashes, tt.limit, tt.hashes)
			}
			if (tt.warning == "") != (m.warning == "") || !strings.Contains(m.warning, tt.warning) {
				t.Errorf("the warning is %q", m.warning)
			}
			if (m.limit == 0) != (m.attributes() == nil) {
				t.Errorf("the log is told %v", m.attributes())
			}
		})
	}
	// What this machine says can be read, whatever it is.
	m, err := readMemory(os.DirFS("/"), nil, math.MaxInt64)
	if err != nil || m.hashes < 1 {
		t.Errorf("here: %+v (%v)", m, err)
	}
	t.Logf("here: %+v", m)
}

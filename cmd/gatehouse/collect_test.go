//go:build !slim

package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/gatehouse-id/gatehouse/login"
)

func TestMemoryGoal(t *testing.T) {
	const hash = login.HashMemory
	for _, tt := range []struct {
		sentence        string
		alive, pointers uint64
		hashes          int
		want            int64
	}{
		{"a small heap has the least", 8 << 20, 6 << 20, 2, leastMemory},
		{"two hashes beside it fit in", 8<<20 + 2*hash, 6 << 20, 2, leastMemory},
		{"of sixteen there is room for eight more", 8<<20 + 16*hash, 6 << 20, 16, 14<<20 + 24*hash},
		{"a large heap may double, but for what has no pointers", 200 << 20, 150 << 20, 2, 350<<20 + hash},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			if got := memoryGoal(tt.alive, tt.pointers, tt.hashes); got != tt.want {
				t.Errorf("the goal is %d bytes, want %d", got, tt.want)
			}
		})
	}
}

func TestPaceCollections(t *testing.T) {
	percent := debug.SetGCPercent(100)
	limit := func() int64 { return debug.SetMemoryLimit(-1) }
	before := limit()
	defer func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(before)
	}()
	paceCollections([]string{"GOGC=100"}, memory{hashes: 1})()
	if limit() != before || debug.SetGCPercent(100) != 100 {
		t.Fatal("GOGC in the environment is overruled")
	}

	stop := paceCollections([]string{"GOGC=", "HOME=/"}, memory{hashes: 1})
	defer stop()
	first := limit()
	held := make([]byte, 256<<20)
	await(t, "the goal rises with what is alive", func() bool {
		runtime.GC()
		return limit() > first+100<<20 && limit() < math.MaxInt64
	})
	runtime.KeepAlive(held)
	await(t, "and falls with it", func() bool {
		runtime.GC()
		return limit() < first+100<<20
	})

	stop()
	const most = 32 << 20
	defer paceCollections(nil, memory{hashes: 1, limit: most})()
	if limit() != most {
		t.Errorf("the goal is %d where no more than %d may be used", limit(), most)
	}
}

package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync/atomic"

	"github.com/gatehouse-id/gatehouse/login"
)

const (
	// collectPercent is GOGC. By itself Go collects when as much has been allocated
	// as is alive, which for a server that holds next to nothing is every few
	// hundred requests: a tenth of all that it does.
	collectPercent = 400
	// leastMemory is how much Go has before its collections have to keep up.
	leastMemory = 88 << 20
)

// memoryGoal is how much Go may use, in bytes, when so much is alive, stacks included,
// so much of that has pointers, and so many passwords are hashed at once. Above leastMemory
// there is room for as much again as has pointers, because by those goes what a
// collection costs, and for half of the hashes. A hash's memory has none: by
// collectPercent alone it would make room for four times as much garbage.
func memoryGoal(alive, pointers uint64, hashes int) int64 {
	return max(leastMemory, int64(alive+pointers)+int64(hashes)*login.HashMemory/2)
}

// paceCollections bounds Go's memory anew after each collection, until it is
// stopped: m may bound it too. Where the environment says GOGC that is what is
// done, and nothing else.
func paceCollections(environ []string, m memory) (stop func()) {
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, "GOGC="); ok && v != "" {
			return func() {}
		}
	}
	p := &pacer{most: m.limit, hashes: m.hashes, samples: []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}, // a connection that idles is mostly a stack
		{Name: "/gc/scan/heap:bytes"}, {Name: "/gc/scan/stack:bytes"},
	}}
	if p.most == 0 {
		p.most = math.MaxInt64
	}
	debug.SetGCPercent(collectPercent)
	p.set()
	p.await()
	return func() { p.stopped.Store(true) }
}

// A pacer bounds Go's memory, by most in any case.
type pacer struct {
	most    int64
	hashes  int
	goal    int64
	samples []metrics.Sample
	stopped atomic.Bool
}

// await has the next collection set the goal for those after it.
func (p *pacer) await() {
	type unreachable struct{ self *unreachable }
	gone := &unreachable{}
	gone.self = gone // pointers keep it from sharing its place with what lives longer
	runtime.AddCleanup(gone, func(p *pacer) {
		if !p.stopped.Load() {
			p.set()
			p.await()
		}
	}, p)
}

// set sets the goal when it is to change by a tenth: it stops the world for a
// moment.
func (p *pacer) set() {
	metrics.Read(p.samples)
	n := func(i int) uint64 { return p.samples[i].Value.Uint64() }
	goal := min(p.most, memoryGoal(n(0)+n(1), n(2)+n(3), p.hashes))
	if change := goal - p.goal; 10*max(change, -change) > p.goal {
		p.goal = goal
		debug.SetMemoryLimit(goal)
	}
}

//go:build !slim

package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
)

// Stacks are memory that no collection gives back: a goal below them would have Go
// collect without end while connections idle.
func TestPaceLeavesRoomForStacks(t *testing.T) {
	percent, before := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	defer func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(before)
	}()
	defer paceCollections(nil, memory{hashes: 1})()
	stacks := func() int64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}}
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
	runtime.GC()
	first := debug.SetMemoryLimit(-1)
	over := make(chan struct{})
	var idle sync.WaitGroup
	for i := range 10_000 {
		idle.Go(func() { deep(over, i) })
	}
	await(t, "the goal rises by what stacks take", func() bool {
		runtime.GC()
		return stacks() > leastMemory && debug.SetMemoryLimit(-1) > first+stacks()/2
	})
	close(over)
	idle.Wait()
	await(t, "they are given back, for the tests that follow", func() bool {
		runtime.GC()
		return stacks() < leastMemory/4
	})
}

// deep waits with a stack of 16 KB.
//
//go:noinline
func deep(over chan struct{}, i int) byte {
	var room [8 << 10]byte
	room[i%len(room)] = 1
	<-over
	return room[(i+1)%len(room)]
}

//go:build bench

package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"syscall"
)

// A server built with -tags bench writes profiles into the folder that
// GATEHOUSE_TEST_PROFILE names: SIGUSR1 begins one of the processor's time, the
// next SIGUSR1 ends it and adds one of what was allocated. It is init, so that a
// server for production has not a line of it.
func init() {
	dir := os.Getenv("GATEHOUSE_TEST_PROFILE")
	if dir == "" {
		return
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		for n := 1; ; n++ {
			<-asked
			f, err := os.Create(filepath.Join(dir, fmt.Sprintf("cpu-%d.pprof", n)))
			if err != nil {
				panic(err)
			}
			if err := pprof.StartCPUProfile(f); err != nil {
				panic(err)
			}
			<-asked
			pprof.StopCPUProfile()
			_ = f.Close()
			if f, err = os.Create(filepath.Join(dir, fmt.Sprintf("heap-%d.pprof", n))); err != nil {
				panic(err)
			}
			runtime.GC() // the profile is as of the last
			_ = pprof.Lookup("allocs").WriteTo(f, 0)
			_ = f.Close()
		}
	}()
}

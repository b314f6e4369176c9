package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A round is what one worker does again and again: one request, or a few that
// belong together.
type round func() error

// A result is what so many rounds have cost.
type result struct {
	rounds   int
	took     time.Duration
	p50, p99 time.Duration
	// cpu and sql are the processor time of the server and of PostgreSQL's
	// backends meanwhile.
	cpu, sql time.Duration
}

// perSecond is rounds a second.
func (r result) perSecond() float64 { return float64(r.rounds) / r.took.Seconds() }

// perThousand is CPU seconds per thousand rounds.
func (r result) perThousand() float64 { return perThousand(r.cpu, r.rounds) }

func perThousand(cpu time.Duration, rounds int) float64 {
	return cpu.Seconds() * 1000 / float64(rounds)
}

// A meter reads what processes have used until now.
type meter struct {
	// cpu is the server's processor time; sql that of PostgreSQL's backends, or
	// nil.
	cpu, sql func() (time.Duration, error)
}

func (m meter) read() (cpu, sql time.Duration, err error) {
	if cpu, err = m.cpu(); err == nil && m.sql != nil {
		sql, err = m.sql()
	}
	return cpu, sql, err
}

// loop lets all workers go on for a while without looking, and then for as long
// as is measured. A round counts when it ends within that time.
func loop(workers []round, warm, measured time.Duration, m meter) (result, error) {
	const (
		warming = iota
		counting
		over
	)
	var phase atomic.Int32
	latencies := make([][]time.Duration, len(workers))
	failures := make(chan error, len(workers))
	var all sync.WaitGroup
	for i, work := range workers {
		latencies[i] = make([]time.Duration, 0, 1<<16)
		all.Go(func() {
			for last := time.Now(); ; {
				err := work()
				now := time.Now()
				if err != nil {
					failures <- err
					return
				}
				switch phase.Load() {
				case counting:
					latencies[i] = append(latencies[i], now.Sub(last))
				case over:
					return
				}
				last = now
			}
		})
	}
	pause := func(d time.Duration) error {
		select {
		case err := <-failures:
			return err
		case <-time.After(d):
			return nil
		}
	}
	r, err := func() (r result, err error) {
		defer func() {
			phase.Store(over)
			all.Wait()
		}()
		if err := pause(warm); err != nil {
			return r, err
		}
		cpu, sql, err := m.read()
		if err != nil {
			return r, err
		}
		start := time.Now()
		phase.Store(counting)
		if err := pause(measured); err != nil {
			return r, err
		}
		r.took = time.Since(start)
		phase.Store(over)
		if r.cpu, r.sql, err = m.read(); err != nil {
			return r, err
		}
		r.cpu, r.sql = r.cpu-cpu, r.sql-sql
		return r, nil
	}()
	if err != nil {
		return r, err
	}
	var sorted []time.Duration
	for _, l := range latencies {
		sorted = append(sorted, l...)
	}
	if len(sorted) == 0 {
		return r, fmt.Errorf("nothing was answered within %v", measured)
	}
	slices.Sort(sorted)
	r.rounds, r.p50, r.p99 = len(sorted), percentile(sorted, 50), percentile(sorted, 99)
	return r, nil
}

// percentile is the smallest of the sorted values that at least so many of a
// hundred are not above.
func percentile(sorted []time.Duration, of int) time.Duration {
	return sorted[max((len(sorted)*of+99)/100, 1)-1]
}

// median is that of at least one value.
func median(values []time.Duration) time.Duration {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return percentile(sorted, 50)
}

package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/web"
)

const (
	// readyWithin is how long a dependency has to show that it is there.
	readyWithin = 2 * time.Second
	// probeFresh is how old the answer to a probe may be: any number of probes
	// asks the database once in that time.
	probeFresh = time.Second
	// healthEvery is how often the health of gRPC follows that of the server.
	healthEvery = time.Second
)

// A dependency is what the server cannot do its work without.
type dependency struct {
	name string
	ping func(context.Context) error
}

// readiness knows whether the dependencies are there. Of any number of callers
// at once one asks them, and all are told.
type readiness struct {
	dependencies []dependency
	log          *slog.Logger

	mu sync.Mutex
	// round is the last that began; down is what the one before it ended with.
	round *round
	down  bool
}

// A round asks every dependency once.
type round struct {
	done chan struct{}
	// ended and err are there when done is closed.
	ended time.Time
	err   error
}

// check returns nil or a [web.NotReadyError]. The answer is of a round that is
// going on, or ended no longer ago than fresh, or begins now.
func (r *readiness) check(ctx context.Context, fresh time.Duration) error {
	r.mu.Lock()
	n := r.round
	if n == nil || n.isOver(fresh) {
		n = &round{done: make(chan struct{})}
		r.round = n
		// Not ctx: others wait for the same answer.
		go r.ask(context.WithoutCancel(ctx), n)
	}
	r.mu.Unlock()
	select {
	case <-n.done:
		return n.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isOver reports whether the round ended longer ago than fresh.
func (n *round) isOver(fresh time.Duration) bool {
	select {
	case <-n.done:
		return time.Since(n.ended) >= fresh
	default:
		return false
	}
}

// ask asks all dependencies at once, and logs when what they say has changed.
func (r *readiness) ask(ctx context.Context, n *round) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	errs := make([]error, len(r.dependencies))
	var all sync.WaitGroup
	for i, d := range r.dependencies {
		all.Go(func() { errs[i] = d.ping(ctx) })
	}
	all.Wait()
	var missing []string
	for i, err := range errs {
		if err != nil {
			missing = append(missing, r.dependencies[i].name)
		}
	}
	if missing != nil {
		n.err = &web.NotReadyError{Missing: missing, Err: errors.Join(errs...)}
	}
	r.mu.Lock()
	was, is := r.down, n.err != nil
	r.down = is
	r.mu.Unlock()
	switch {
	case is && !was:
		r.log.WarnContext(ctx, "not ready", "err", n.err)
	case was && !is:
		r.log.InfoContext(ctx, "ready again")
	}
	n.ended = time.Now()
	close(n.done)
}

// isReady says whether and why not the server can do its work, at this moment.
func (s *server) isReady(ctx context.Context) error { return s.readyOf(ctx, 0) }

// probed is isReady for those who ask again and again.
func (s *server) probed(ctx context.Context) error { return s.readyOf(ctx, probeFresh) }

func (s *server) readyOf(ctx context.Context, fresh time.Duration) error {
	if !s.ready.Load() {
		return &web.NotReadyError{Missing: []string{"starting or stopping"}}
	}
	return s.readiness.check(ctx, fresh)
}

// watchReadiness has the health of gRPC (grpc.health.v1) say what /readyz says.
func (s *server) watchReadiness(ctx context.Context) error {
	if s.api == nil {
		return nil
	}
	t := time.NewTicker(healthEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		err := s.probed(ctx)
		if ctx.Err() == nil {
			s.api.SetReady(err == nil)
		}
	}
}

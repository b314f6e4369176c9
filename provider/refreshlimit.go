package provider

import (
	"sync"
	"time"
)

// refreshWindow is what a grant's refreshes are counted in.
const refreshWindow = 5 * time.Minute

// refreshCounts is how many grants are counted at once. When more refresh in
// one window, counting begins anew: what it stops is a loop in one app, and a
// loop is back at once.
const refreshCounts = 1 << 16

// A refreshLimit stops an app that refreshes in a loop. It counts the
// generations that a grant goes through, in this process alone: repeats of one
// request are not counted, since they change nothing.
type refreshLimit struct {
	limit int
	mu    sync.Mutex
	seen  map[[handleSize]byte]refreshCount
}

type refreshCount struct {
	since time.Time
	// last is the generation last counted.
	last uint32
	n    int
}

func newRefreshLimit(limit int) *refreshLimit {
	return &refreshLimit{limit: limit, seen: map[[handleSize]byte]refreshCount{}}
}

// take counts a refresh and returns zero, or how long to wait.
func (l *refreshLimit) take(t refreshToken, now time.Time) time.Duration {
	if l.limit < 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.seen[t.handle]
	if !ok || !now.Before(c.since.Add(refreshWindow)) {
		if len(l.seen) >= refreshCounts {
			clear(l.seen)
		}
		c = refreshCount{since: now}
	}
	if t.generation != c.last {
		if c.n >= l.limit {
			return c.since.Add(refreshWindow).Sub(now)
		}
		c.last = t.generation
		c.n++
		l.seen[t.handle] = c
	}
	return 0
}

package denylist

import (
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A memory is this server's own copy. Its zero value is empty and old.
type memory struct {
	mu sync.RWMutex
	// asOf is when the last reading began that left nothing out.
	asOf   time.Time
	token  map[string]entry
	grant  map[string]entry
	client map[string]entry
}

// An entry says when something was revoked, and until when that matters.
type entry struct{ at, until time.Time }

// denied reports whether a revocation stops the token, and whether the memory
// is recent enough that a no is worth something.
func (m *memory) denied(b storage.Bearer) (denied, fresh bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	fresh = recent(m.asOf, time.Now())
	if _, ok := m.token[b.JTI]; ok {
		return true, fresh
	}
	if _, ok := m.grant[b.GrantID]; ok {
		return true, fresh
	}
	c, ok := m.client[b.ClientID]
	return ok && !b.IssuedAt.After(c.at), fresh
}

// recent reports whether less than MarkLife has passed from t to now. The
// monotonic clock stands still while a machine sleeps, and the wall clock can be
// set back: the one that says more is believed.
func recent(t, now time.Time) bool {
	return now.Sub(t) < storage.MarkLife && now.Round(0).Sub(t.Round(0)) < storage.MarkLife
}

func (m *memory) add(rows ...storage.Revocation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range rows {
		var in *map[string]entry
		switch r.Kind {
		case storage.RevokedToken:
			in = &m.token
		case storage.RevokedGrant:
			in = &m.grant
		case storage.RevokedClient:
			in = &m.client
		}
		if *in == nil {
			*in = make(map[string]entry)
		}
		e := entry{r.At, r.Until}
		if old, ok := (*in)[r.Key]; ok {
			e.at, e.until = later(e.at, old.at), later(e.until, old.until)
		}
		(*in)[r.Key] = e
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// read notes that everything that was committed when t began is there.
func (m *memory) read(t time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asOf = t
}

// sweep forgets what is past its time.
func (m *memory) sweep(now time.Time) {
	for _, in := range []*map[string]entry{&m.token, &m.grant, &m.client} {
		m.mu.Lock()
		left := make(map[string]entry)
		for key, e := range *in {
			if now.Before(e.until) {
				left[key] = e
			}
		}
		*in = left // a new one, since a map does not shrink
		m.mu.Unlock()
	}
}

// size is how many entries there are.
func (m *memory) size() (tokens, grants, clients int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.token), len(m.grant), len(m.client)
}

// age is when the last reading began that left nothing out.
func (m *memory) age() time.Time {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.asOf
}

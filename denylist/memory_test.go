package denylist

import (
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

func TestMemory(t *testing.T) {
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	row := func(kind storage.RevocationKind, key string, at, until time.Duration) storage.Revocation {
		return storage.Revocation{Kind: kind, Key: key, At: noon.Add(at), Until: noon.Add(until)}
	}
	var m memory
	if denied, fresh := m.denied(storage.Bearer{}); denied || fresh {
		t.Errorf("an empty memory: denied %t, fresh %t", denied, fresh)
	}
	m.add(
		row(storage.RevokedToken, "t", 0, time.Minute),
		row(storage.RevokedGrant, "g", 0, 2*time.Minute),
		row(storage.RevokedClient, "c", time.Second, 3*time.Minute),
		row(storage.RevokedClient, "c", 0, 4*time.Minute), // neither time goes back
	)
	after := noon.Add(2 * time.Second)
	for _, tt := range []struct {
		sentence string
		swept    time.Duration
		b        storage.Bearer
		want     bool
	}{
		{"a token", 0, storage.Bearer{JTI: "t", IssuedAt: after}, true},
		{"a grant", 0, storage.Bearer{GrantID: "g", IssuedAt: after}, true},
		{"a client, before", 0, storage.Bearer{ClientID: "c", IssuedAt: noon.Add(time.Second)}, true},
		{"a client, after", 0, storage.Bearer{ClientID: "c", IssuedAt: after}, false},
		{"the name of another kind", 0, storage.Bearer{JTI: "g", GrantID: "c", ClientID: "t"}, false},
		{"a token whose time is not over", time.Minute - 1, storage.Bearer{JTI: "t"}, true},
		{"a token whose time is over", time.Minute, storage.Bearer{JTI: "t"}, false},
		{"a grant beside it", time.Minute, storage.Bearer{GrantID: "g"}, true},
		{"a client until the later of two ends", 4*time.Minute - 1, storage.Bearer{ClientID: "c", IssuedAt: noon}, true},
		{"nothing stays", 4 * time.Minute, storage.Bearer{ClientID: "c", IssuedAt: noon}, false},
	} {
		m.sweep(noon.Add(tt.swept))
		if denied, _ := m.denied(tt.b); denied != tt.want {
			t.Errorf("%s: denied %t", tt.sentence, denied)
		}
	}
	if n := len(m.token) + len(m.grant) + len(m.client); n != 0 {
		t.Errorf("%d are kept for nothing", n)
	}
}

func TestRecent(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		sentence string
		t        time.Time
		want     bool
	}{
		{"never", time.Time{}, false},
		{"now", now, true},
		{"just before MarkLife is over", now.Add(-storage.MarkLife + 1), true},
		{"MarkLife ago", now.Add(-storage.MarkLife), false},
		{"MarkLife ago by the wall clock alone, as after a sleep", now.Round(0).Add(-storage.MarkLife), false},
	} {
		if got := recent(tt.t, now); got != tt.want {
			t.Errorf("%s: %t", tt.sentence, got)
		}
	}
}

package denylist_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/denylist"
	"github.com/gatehouse-id/gatehouse/internal/meter/metertest"
	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
)

// expectLags waits until exactly those lags were measured: a revocation is
// applied a moment before its lag is.
func expectLags(t *testing.T, m *metertest.Reader, want ...string) {
	t.Helper()
	for deadline := time.Now().Add(inTime); ; time.Sleep(5 * time.Millisecond) {
		got := m.Total(t, "gatehouse.revocation.lag")
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("measured %q, want %q", got, want)
		}
	}
}

// TestMeters holds what each kind of revocation and each state of the copies is
// measured as.
func TestMeters(t *testing.T) {
	t.Parallel()
	s := site{sql: openSQLite(t), valkeyURL: testenv.Valkey(t)}
	m := metertest.New(t)
	w := newWire(t)
	fast := openValkey(t, w.to(t, s.valkeyURL))
	l := s.idle(t, func(c *denylist.Config) {
		c.Meter, c.Fast, c.Log = m.Meter, patient{fast}, slog.New(slog.DiscardHandler)
	})
	gauge := func(name string, want float64) {
		t.Helper()
		if v, ok := m.Gauge(t, name); !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
		}
	}
	gauge("gatehouse.denylist.mode{mode=valkey}", 1)
	gauge("gatehouse.denylist.mode{mode=memory}", 0)
	gauge("gatehouse.denylist.mode{mode=unknown}", 0)

	_, r := bearer()
	s.revokeOnly(t, r)
	s.revokeOnly(t, storage.Revocation{Kind: storage.RevokedClient, Key: "some app"})
	g, _ := s.grant(t)
	must(t, s.sql.RevokeGrant(t.Context(), g, time.Now()))
	began := time.Now()
	must(t, l.Follow(t.Context()))
	m.Expect(t, "gatehouse.",
		"gatehouse.revocation.lag{kind=client} 1", "gatehouse.revocation.lag{kind=grant} 1", "gatehouse.revocation.lag{kind=token} 1")
	for _, kind := range []string{"token", "grant", "client"} {
		gauge("gatehouse.denylist.entries{kind="+kind+"}", 1)
	}
	if age, ok := m.Gauge(t, "gatehouse.denylist.tail.age"); !ok || age <= 0 || age > time.Since(began).Seconds() {
		t.Errorf("the tail is %v s old (%v), and read %v ago", age, ok, time.Since(began))
	}

	w.cut()
	for deadline := time.Now().Add(inTime); ; {
		must(t, l.Follow(t.Context()))
		gauge("gatehouse.denylist.mode{mode=valkey}", 0)
		if v, _ := m.Gauge(t, "gatehouse.denylist.mode{mode=memory}"); v == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a copy that was read just now is not believed")
		}
	}
	for deadline := time.Now().Add(inTime); ; time.Sleep(50 * time.Millisecond) {
		if v, _ := m.Gauge(t, "gatehouse.denylist.mode{mode=unknown}"); v == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a copy that nobody keeps up is still believed")
		}
	}
	if age, _ := m.Gauge(t, "gatehouse.denylist.tail.age"); age < storage.MarkLife.Seconds() {
		t.Errorf("nobody reads, and the tail is %v s old", age)
	}
}

// TestTurns holds that a tail which cannot read is seen.
func TestTurns(t *testing.T) {
	t.Parallel()
	m := metertest.New(t)
	db := openSQLite(t)
	s := site{sql: db, valkeyURL: embedded(t).URL()}
	l := s.server(t, func(c *denylist.Config) { c.Meter, c.Log = m.Meter, slog.New(slog.DiscardHandler) })
	until := func(turn string) {
		t.Helper()
		for deadline := time.Now().Add(inTime); ; time.Sleep(5 * time.Millisecond) {
			l.Nudge()
			if slices.ContainsFunc(m.Counted(t), func(line string) bool { return strings.HasPrefix(line, turn) }) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("no %s", turn)
			}
		}
	}
	until("gatehouse.denylist.turns{outcome=ok}")
	must(t, db.Close())
	until("gatehouse.denylist.turns{outcome=failed}")
}

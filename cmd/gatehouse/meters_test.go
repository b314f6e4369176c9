//go:build !slim

package main

import (
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/meter/metertest"
	"github.com/gatehouse-id/gatehouse/storage"
)

// TestServerMeters follows one server from before it is ready until its Valkey is
// gone.
func TestServerMeters(t *testing.T) {
	t.Parallel()
	m := metertest.New(t)
	s, err := build(t.Context(), embeddedConfig(t), quiet, &transcript{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() }) // Valkey has been closed
	if err := s.measure(m.Meter); err != nil {
		t.Fatal(err)
	}
	gauges := func(want map[string]float64) {
		t.Helper()
		for name, value := range want {
			if v, ok := m.Gauge(t, name); !ok || v != value {
				t.Errorf("%s is %v (%v), want %v", name, v, ok, value)
			}
		}
	}
	const ready, database, valkey = "gatehouse.ready", "gatehouse.dependency.reachable{dependency=database}", "gatehouse.dependency.reachable{dependency=valkey}"
	gauges(map[string]float64{ready: 0, database: 1, valkey: 1})
	s.ready.Store(true)
	gauges(map[string]float64{ready: 1, database: 1, valkey: 1})
	if v, ok := m.Gauge(t, "gatehouse.clock.skew"); !ok || v < -storage.MaxSkew.Seconds() || v > storage.MaxSkew.Seconds() {
		t.Errorf("the clocks are %v s apart (%v)", v, ok)
	}

	now := s.clock.Now()
	u := storage.User{ID: "u", Email: "asha@example.com", Status: storage.UserActive, EmailVerifiedAt: now, CreatedAt: now, UpdatedAt: now}
	if err := s.sql.CreateUser(t.Context(), u, "unused"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"over", "also over", "alive"} {
		ends := now.Add(-time.Minute)
		if id == "alive" {
			ends = now.Add(time.Hour)
		}
		if err := s.sql.CreateSession(t.Context(), storage.Session{
			ID: id, SecretHash: []byte(id), UserID: u.ID, AuthTime: now, CreatedAt: now.Add(-time.Hour), ExpiresAt: ends, EndsAt: ends,
		}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.purgeOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.Expect(t, "gatehouse.cleanup.rows", "gatehouse.cleanup.rows{table=sessions} 2")
	if batches := m.Total(t, "gatehouse.cleanup.duration"); len(batches) != len(s.purgeables(now)) {
		t.Errorf("batches %q", batches)
	}

	if err := s.volatile.(interface{ Close() error }).Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "a server without Valkey is not ready", func() bool {
		v, _ := m.Gauge(t, ready)
		return v == 0
	})
	gauges(map[string]float64{ready: 0, database: 1, valkey: 0})
}

package keys

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/meter/metertest"
	"github.com/gatehouse-id/gatehouse/storage"
)

// failing is a store that can be made to fail.
type failing struct {
	storage.Keys
	err error
}

func (f *failing) KeySet(ctx context.Context) (storage.KeySet, error) {
	if f.err != nil {
		return storage.KeySet{}, f.err
	}
	return f.Keys.KeySet(ctx)
}

func TestMeters(t *testing.T) {
	m := metertest.New(t)
	c, store := newClock(), &failing{Keys: openStore(t)}
	k := open(t, store, c.Now, func(c *Config) { c.Meter = m.Meter })
	gauge := func(name string, want time.Duration) {
		t.Helper()
		for _, alg := range []string{ES256, RS256} {
			v, ok := m.Gauge(t, name+"{algorithm="+alg+"}")
			if got := time.Duration(v * float64(time.Second)); !ok || (got-want).Abs() > time.Millisecond {
				t.Errorf("%s of %s is %v (%v), want %v", name, alg, got, ok, want)
			}
		}
	}
	const day = 24 * time.Hour

	t.Run("signatures count by algorithm", func(t *testing.T) {
		m.Counted(t)
		token, _ := sign(t, k, ES256)
		sign(t, k, ES256)
		sign(t, k, RS256)
		if _, err := k.Verify(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Sign("HS256", TypeJWT, []byte("{}")); err == nil {
			t.Error("signed with what does not sign")
		}
		m.Expect(t, "gatehouse.", "gatehouse.key.signatures{algorithm=ES256} 2", "gatehouse.key.signatures{algorithm=RS256} 1")
	})
	t.Run("a key grows old until the next is due", func(t *testing.T) {
		gauge("gatehouse.key.age", 0)
		gauge("gatehouse.key.rotation.due", 90*day)
		c.forward(80 * day)
		gauge("gatehouse.key.age", 80*day)
		gauge("gatehouse.key.rotation.due", 10*day)
	})
	t.Run("a key that is published moves the day", func(t *testing.T) {
		if err := k.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		gauge("gatehouse.key.age", 80*day)
		gauge("gatehouse.key.rotation.due", day) // it signs in a day, as nobody is waited for
		c.forward(day)
		gauge("gatehouse.key.age", 0)
	})
	t.Run("a rotation that does not happen is late", func(t *testing.T) {
		c.forward(91 * day)
		gauge("gatehouse.key.rotation.due", -day)
	})
	t.Run("a load for an id that is not known says what came of it", func(t *testing.T) {
		another := open(t, store, c.Now)
		if err := another.RotateEmergency(t.Context()); err != nil {
			t.Fatal(err)
		}
		token, _ := sign(t, another, ES256)
		m.Counted(t)
		if _, err := k.Verify(t.Context(), token); err != nil {
			t.Error(err)
		}
		c.forward(2 * time.Second)
		stranger := strings.Split(token, ".")
		stranger[0] = encodeHeader(ES256, strings.Repeat("A", 43), TypeJWT)
		if _, err := k.Verify(t.Context(), strings.Join(stranger, ".")); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
		c.forward(2 * time.Second)
		store.err = errors.New("the database is away")
		if _, err := k.Verify(t.Context(), strings.Join(stranger, ".")); !IsFault(err) {
			t.Error(err)
		}
		m.Expect(t, "gatehouse.", "gatehouse.key.reloads{outcome=found} 1", "gatehouse.key.reloads{outcome=unknown} 1", "gatehouse.key.reloads{outcome=fault} 1")
	})
}

package web_test

import (
	"errors"
	"testing"

	"github.com/gatehouse-id/gatehouse/internal/meter/metertest"
)

// TestMeters shows people error pages, and looks at what was counted.
func TestMeters(t *testing.T) {
	m := metertest.New(t)
	h := open(t, option{meter: m.Meter})
	for _, c := range []struct {
		sentence string
		do       func()
		want     string
	}{
		{"a page that is none", func() { h.browser(t).get("/nothing-here") }, "gatehouse.page.errors{page=not_found} 1"},
		{"an app that nobody knows", func() { h.browser(t).get("/authorize?client_id=nobody") }, "gatehouse.page.errors{page=unknown_app} 1"},
		{"a flow that is over", func() { h.browser(t).get("/authorize?flow=ended") }, "gatehouse.page.errors{page=expired} 1"},
		{"a database that is away", func() {
			_ = h.sql.Close()
			h.mu.Lock()
			h.down = errors.New("the database is away")
			h.mu.Unlock()
			h.browser(t).get("/authorize?client_id=somebody")
		}, "gatehouse.page.errors{page=down} 1"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			c.do()
			m.Expect(t, "gatehouse.", c.want)
		})
	}
}

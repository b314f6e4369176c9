package mail

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/internal/meter/metertest"
	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
)

// measured waits until those lines of Total are there.
func measured(t *testing.T, m *metertest.Reader, name string, want ...string) {
	t.Helper()
	var got []string
	defer func() {
		if t.Failed() {
			t.Logf("counted %q, want %q", got, want)
		}
	}()
	eventually(t, name+" is counted", func() bool {
		got = m.Total(t, name)
		return slices.Equal(got, want)
	})
}

func TestMeters(t *testing.T) {
	t.Parallel()
	m := metertest.New(t)
	p := newPost(t, &smtp.SMTPError{Code: 451, Message: "not now"})
	o := newOfficeMeasured(t, testenv.Valkey(t), 20*time.Millisecond, p, m.Meter)
	gauge := func(name string) float64 {
		v, ok := m.Gauge(t, name+"{queue=letter}")
		if !ok {
			return -1
		}
		return v
	}
	eventually(t, "the outbox was read, and is empty", func() bool {
		return gauge("gatehouse.outbox.pending") == 0 && gauge("gatehouse.outbox.oldest.age") == 0
	})
	hour := time.Now().Add(time.Hour)

	t.Run("a letter waits while the mail server does not take it, and is sent then", func(t *testing.T) {
		id, sealed, err := o.sealer.Seal(t.Context(), Letter{Kind: AccountVerification, To: "asha@example.com", Code: "48210937", At: time.Now(), ExpiresAt: hour})
		if err != nil {
			t.Fatal(err)
		}
		taken := make(chan struct{})
		p.mu.Lock()
		p.taken = func() { <-taken } // which is what the second try waits for
		p.mu.Unlock()
		before := time.Now()
		o.commit(id, sealed, hour)
		measured(t, m, "gatehouse.letter.delivery.duration", "gatehouse.letter.delivery.duration{outcome=failed} 1")
		// commit writes it as one of a minute ago.
		n, age := gauge("gatehouse.outbox.pending"), gauge("gatehouse.outbox.oldest.age")
		if n != 1 || age < 60 || age > 60+time.Since(before).Seconds() {
			t.Errorf("%v wait, the oldest for %v s", n, age)
		}
		close(taken)
		measured(t, m, "gatehouse.letter.delivery.duration",
			"gatehouse.letter.delivery.duration{outcome=failed} 1", "gatehouse.letter.delivery.duration{outcome=sent} 1")
		measured(t, m, "gatehouse.letter.delay", "gatehouse.letter.delay 1")
		eventually(t, "nothing waits", func() bool { return gauge("gatehouse.outbox.pending") == 0 })
	})
	t.Run("a letter that is refused for good is given up", func(t *testing.T) {
		p.mu.Lock()
		p.answers = []*smtp.SMTPError{{Code: 550, Message: "nobody here"}}
		p.mu.Unlock()
		o.write(hour)
		measured(t, m, "gatehouse.outbox.given_up", "gatehouse.outbox.given_up{queue=letter,reason=failed} 1")
		measured(t, m, "gatehouse.letter.delivery.duration", "gatehouse.letter.delivery.duration{outcome=failed} 1",
			"gatehouse.letter.delivery.duration{outcome=refused} 1", "gatehouse.letter.delivery.duration{outcome=sent} 1")
	})
	t.Run("a letter whose time is over is late, one for nobody is nothing", func(t *testing.T) {
		o.write(time.Now().Add(-time.Second))
		now := time.Now().UTC()
		if err := o.db.AddLetters(t.Context(), storage.Letter{ID: uuid.Must(uuid.NewV7()).String(), Kind: AccountVerification, Sealed: []byte("x"), CreatedAt: now, Deadline: now}); err != nil {
			t.Fatal(err)
		}
		measured(t, m, "gatehouse.outbox.given_up",
			"gatehouse.outbox.given_up{queue=letter,reason=failed} 1", "gatehouse.outbox.given_up{queue=letter,reason=late} 1")
		eventually(t, "nothing waits", func() bool { return o.pending() == 0 && gauge("gatehouse.outbox.pending") == 0 })
	})
	t.Run("a letter sealed with another key is told from a mail server that is away", func(t *testing.T) {
		id, sealed, err := newTestSealer(t, 2).Seal(t.Context(), Letter{Kind: AccountVerification, To: "asha@example.com", Code: "48210937", ExpiresAt: hour})
		if err != nil {
			t.Fatal(err)
		}
		o.commit(id, sealed, hour)
		eventually(t, "it is counted", func() bool {
			return slices.ContainsFunc(m.Total(t, "gatehouse.letter.delivery.duration"), func(line string) bool {
				return strings.HasPrefix(line, "gatehouse.letter.delivery.duration{outcome=sealed} ") // it is tried again and again
			})
		})
	})
}

func TestMetersOfNotices(t *testing.T) {
	t.Parallel()
	m := metertest.New(t)
	b := newNoticeboard(t)
	b.meter, b.firstRetry = m.Meter, maxDelay // so that what is late fails once
	b.tell = func(id string, try int) error {
		switch {
		case id == "late":
			b.moved.Store(int64(time.Minute)) // past its deadline
			return errors.New("it does not answer")
		case id == "slow" && try == 1:
			return LaterError{After: time.Millisecond, Because: errors.New("busy")}
		}
		return nil
	}
	b.post("quick", time.Hour)
	b.post("slow", time.Hour)
	b.post("late", time.Minute)
	b.run()
	b.until("all have ended", func() bool { return len(b.told) >= 2 && len(b.failed) == 1 })
	measured(t, m, "gatehouse.notice.delivery.duration", "gatehouse.notice.delivery.duration{outcome=failed} 1",
		"gatehouse.notice.delivery.duration{outcome=postponed} 1", "gatehouse.notice.delivery.duration{outcome=sent} 2")
	measured(t, m, "gatehouse.outbox.given_up", "gatehouse.outbox.given_up{queue=notice,reason=late} 1")
	eventually(t, "nothing waits", func() bool {
		v, ok := m.Gauge(t, "gatehouse.outbox.pending{queue=notice}")
		return ok && v == 0
	})
}

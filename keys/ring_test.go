package keys

import (
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

// hourly ages a key in minutes: published 16, signing 90, retired 60.
var hourly = Ages{Published: 16 * time.Minute, Signing: 90 * time.Minute, Retired: time.Hour}

// aged is a key at minutes after noon; 0 and below for retired and gone leave
// them unknown.
func aged(id string, published, signing, retired, gone int) Key {
	k := Key{Key: storage.Key{ID: id, PublishedAt: at(published), SigningAt: at(signing)}}
	if retired > 0 {
		k.RetiredAt = at(retired)
	}
	if gone > 0 {
		k.GoneAt = at(gone)
	}
	return k
}

func ids(r Ring) (s string) {
	for _, k := range r {
		s += k.ID + " "
	}
	return s
}

func TestRingAtATime(t *testing.T) {
	first := aged("first", 0, 0, 0, 0)
	old, young := aged("old", 0, 0, 96, 156), aged("young", 80, 96, 0, 0)
	for _, c := range []struct {
		sentence string
		ring     Ring
		now      time.Time
		signs    string
		accepted string
		due      bool
	}{
		{"an empty ring signs nothing and needs its first key", nil, noon, "", "", true},
		{"the first key signs at once", Ring{first}, noon, "first", "first ", false},
		{"the first key signs on a server whose clock is behind", Ring{first}, at(-1), "first", "first ", false},
		{"a key in the middle of its time needs no successor", Ring{first}, at(73), "first", "first ", false},
		{"the successor is due when it can still be published long enough", Ring{first}, at(74), "first", "first ", true},
		{"a key whose successor never came goes on signing", Ring{first}, at(100_000), "first", "first ", true},
		{"sec-N2 a published key does not sign before its time", Ring{old, young}, at(95), "old", "old young ", false},
		{"the next key takes over without a gap", Ring{old, young}, at(96), "young", "old young ", false},
		{"the order of rows does not matter", Ring{young, old}, at(96), "young", "young old ", false},
		{"sec-N2 a retired key is accepted until its last token is dead", Ring{old, young}, at(155), "young", "old young ", false},
		{"a gone key is not accepted", Ring{old, young}, at(156), "young", "young ", false},
		{"a clock set back finds the key of that time", Ring{old, young}, at(50), "old", "old young ", false},
		{"a ring without a signing key needs one although another waits", Ring{young}, at(90), "", "young ", true},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			signs := ""
			if k := c.ring.Signing(c.now); k != nil {
				signs = k.ID
			}
			if signs != c.signs {
				t.Errorf("signs %q, want %q", signs, c.signs)
			}
			if got := ids(c.ring.Accepted(c.now)); got != c.accepted {
				t.Errorf("accepts %q, want %q", got, c.accepted)
			}
			if got := c.ring.Due(c.now, hourly); got != c.due {
				t.Errorf("due is %v, want %v", got, c.due)
			}
		})
	}
}

func TestKeyState(t *testing.T) {
	k := aged("k", 10, 26, 116, 176)
	for _, c := range []struct {
		sentence string
		minute   int
		want     State
	}{
		{"published from the first moment", 10, Published},
		{"published to the last", 25, Published},
		{"signing from its time on", 26, Signing},
		{"signing to the last", 115, Signing},
		{"retired when the next one signs", 116, Retired},
		{"gone in the end", 176, Gone},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			if got := k.State(at(c.minute)); got != c.want {
				t.Errorf("state is %s, want %s", got, c.want)
			}
		})
	}
}

func TestRingPublish(t *testing.T) {
	key := func(id string) Key { return Key{Key: storage.Key{ID: id}} }
	for _, c := range []struct {
		sentence string
		ring     Ring
		now      int
		want     Ring
	}{
		{"the first key signs at once", nil, 0, Ring{aged("new", 0, 0, 0, 0)}},
		{
			"a successor waits, and the key before it retires when it signs",
			Ring{aged("first", 0, 0, 0, 0)}, 80,
			Ring{aged("first", 0, 0, 96, 156), aged("new", 80, 96, 0, 0)},
		},
		{
			"the end of a key that has one does not move",
			Ring{aged("old", 0, 0, 20, 80), aged("first", 4, 20, 0, 0)}, 40,
			Ring{aged("old", 0, 0, 20, 80), aged("first", 4, 20, 56, 116), aged("new", 40, 56, 0, 0)},
		},
		{
			"without a signing key there is nothing to wait for",
			Ring{aged("old", 0, 0, 20, 80)}, 40,
			Ring{aged("old", 0, 0, 20, 80), aged("new", 40, 40, 0, 0)},
		},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			got := c.ring.Publish(key("new"), at(c.now), hourly)
			if len(got) != len(c.want) {
				t.Fatalf("%d keys, want %d", len(got), len(c.want))
			}
			for i := range got {
				g, w := got[i].Key, c.want[i].Key
				if g.ID != w.ID || !g.PublishedAt.Equal(w.PublishedAt) || !g.SigningAt.Equal(w.SigningAt) ||
					!g.RetiredAt.Equal(w.RetiredAt) || !g.GoneAt.Equal(w.GoneAt) {
					t.Errorf("key %d is %+v, want %+v", i, g, w)
				}
			}
		})
	}
}

func TestRingAwait(t *testing.T) {
	// Published 16 minutes, at most 60, and a minute for every server to know.
	asked := hourly
	asked.Deadline, asked.Settle = time.Hour, time.Minute
	seen, unseen := func(id string) bool { return id == "young" }, func(string) bool { return false }
	waiting := func(moment int) Ring {
		return Ring{aged("older", 0, 0, 50, 110), aged("old", 30, 50, moment, moment+60), aged("young", 80, moment, 0, 0)}
	}
	for _, c := range []struct {
		sentence string
		ring     Ring
		ages     Ages
		now      int
		seen     func(string) bool
		moment   int // at which young takes over from old; 0 is that nothing moves
	}{
		{"a key that everybody knows takes over when it has been public long enough", waiting(96), asked, 80, seen, 0},
		{"a key that somebody does not know waits for the deadline", waiting(96), asked, 80, unseen, 140},
		{"and waits on", waiting(140), asked, 120, unseen, 0},
		{"known early, it still is public long enough", waiting(140), asked, 82, seen, 96},
		{"known late, it takes over when every server can know that", waiting(140), asked, 120, seen, 121},
		{"that moment does not move while it comes", waiting(121), asked, 120, seen, 0},
		{"known just before the deadline changes nothing", waiting(140), asked, 139, seen, 0},
		{"somebody new who does not know it is waited for", waiting(96), asked, 95, unseen, 140},
		{"but not when servers would not learn of it in time", waiting(121), func() Ages { a := asked; a.Settle = 2 * time.Minute; return a }(), 120, unseen, 0},
		{"the deadline needs nobody", waiting(140), asked, 140, unseen, 0},
		{"where nobody is asked nothing moves", waiting(96), hourly, 80, unseen, 0},
		{"a ring without a waiting key is left", Ring{aged("old", 0, 0, 0, 0)}, asked, 80, unseen, 0},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			before := slices.Clone(c.ring)
			got, moved := c.ring.Await(at(c.now), c.ages, c.seen)
			for i := range before {
				if before[i].Key.SigningAt != c.ring[i].SigningAt || before[i].GoneAt != c.ring[i].GoneAt {
					t.Fatal("Await changed its ring")
				}
			}
			want := before
			if c.moment > 0 {
				want = waiting(c.moment)
			}
			if moved != (c.moment > 0) || len(got) != len(want) {
				t.Fatalf("moved is %v, %d keys", moved, len(got))
			}
			for i, k := range got {
				w := want[i]
				if k.ID != w.ID || !k.SigningAt.Equal(w.SigningAt) || !k.RetiredAt.Equal(w.RetiredAt) || !k.GoneAt.Equal(w.GoneAt) {
					t.Errorf("%s signs from %s to %s and is gone at %s, want %s, %s, %s", k.ID,
						clockOf(k.SigningAt), clockOf(k.RetiredAt), clockOf(k.GoneAt), clockOf(w.SigningAt), clockOf(w.RetiredAt), clockOf(w.GoneAt))
				}
			}
		})
	}
}

func clockOf(t time.Time) string { return t.Format("15:04") }

// TestRingThroughTheYears lives minute by minute through many rotations: there
// is always exactly one signing key, it was published long enough, and what the
// one before it signed last is accepted for its whole life.
func TestRingThroughTheYears(t *testing.T) {
	var r Ring
	signed := map[string]time.Time{} // the last time that each key signed
	rotations := 0
	for m := range 2000 {
		now := at(m)
		if r.Due(now, hourly) {
			rotations++
			r = r.Publish(Key{Key: storage.Key{ID: string(rune('A' + rotations))}}, now, hourly)
		}
		r = r.Accepted(now)
		s := r.Signing(now)
		if s == nil {
			t.Fatalf("minute %d: nobody signs", m)
		}
		if first := s.SigningAt.Equal(noon); !first && now.Sub(s.PublishedAt) < hourly.Published {
			t.Fatalf("minute %d: %s signs %s after it was published", m, s.ID, now.Sub(s.PublishedAt))
		}
		signed[s.ID] = now
		for id, last := range signed {
			accepted := false
			for _, k := range r {
				accepted = accepted || k.ID == id
			}
			if !accepted && now.Sub(last) < hourly.Retired {
				t.Fatalf("minute %d: %s is not accepted %s after it signed", m, id, now.Sub(last))
			}
		}
		if len(r) > 3 {
			t.Fatalf("minute %d: %d keys are kept", m, len(r))
		}
	}
	if rotations != 2000/90+1 {
		t.Errorf("%d rotations in 2000 minutes, want %d", rotations, 2000/90+1)
	}
}

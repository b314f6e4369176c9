package keys

import (
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A State is an age of a key. A key grows from one to the next by time alone.
type State string

// The ages, in order.
const (
	// Published is in JWKS, so that verifiers come to know it, and does not
	// sign yet.
	Published State = "published"
	// Signing signs, or mints.
	Signing State = "signing"
	// Retired signs no more; what it signed is still accepted.
	Retired State = "retired"
	// Gone is neither in JWKS nor accepted, but in hints: see [Keeper.VerifyHint].
	Gone State = "gone"
)

// Ages says how long a key stays in each state.
type Ages struct {
	// Published is how long a key is known, at least, before it signs, unless it
	// is the first of its ring.
	Published time.Duration
	// Deadline is how long it waits, at most, for readers who are asked whether
	// they know it. Zero is that nobody is asked.
	Deadline time.Duration
	// Settle is how long every server is given to learn of a change.
	Settle time.Duration
	// Signing is how long it signs.
	Signing time.Duration
	// Retired is how long what it signed last may still come back.
	Retired time.Duration
	// Hints is how long, after it is gone, what it signed may come back as a hint.
	Hints time.Duration
}

// A Key is a stored key with what was sealed in it.
type Key struct {
	storage.Key
	// signer is what an asymmetric key does, nil for a symmetric one.
	signer *signer
	// secret is the symmetric key, nil for an asymmetric one.
	secret []byte
}

// State is the age of the key at now. The first key of a ring has nobody to
// wait for: it signs from the moment it exists, also on a server whose clock is
// a moment behind that of the server that made it.
func (k Key) State(now time.Time) State {
	switch {
	case !k.GoneAt.IsZero() && !now.Before(k.GoneAt):
		return Gone
	case !k.RetiredAt.IsZero() && !now.Before(k.RetiredAt):
		return Retired
	case now.Before(k.SigningAt) && k.SigningAt.After(k.PublishedAt):
		return Published
	default:
		return Signing
	}
}

// A Ring is the keys of one purpose and algorithm. Its methods are pure: they
// know no clock and change nothing.
type Ring []Key

// Signing returns the key that signs at now, nil when there is none. At the
// moment one key takes over from another, the newer signs.
func (r Ring) Signing(now time.Time) *Key {
	var s *Key
	for i := range r {
		if r[i].State(now) != Signing {
			continue
		}
		if s == nil || r[i].SigningAt.After(s.SigningAt) {
			s = &r[i]
		}
	}
	return s
}

// Waiting reports whether a key is published that does not sign yet.
func (r Ring) Waiting(now time.Time) bool {
	for i := range r {
		if r[i].State(now) == Published {
			return true
		}
	}
	return false
}

// Accepted returns the keys whose signatures count at now: all but those gone.
// A key that does not sign yet is among them, because the server that signs
// with it may have a clock that is a moment ahead.
func (r Ring) Accepted(now time.Time) Ring {
	var accepted Ring
	for _, k := range r {
		if k.State(now) != Gone {
			accepted = append(accepted, k)
		}
	}
	return accepted
}

// Kept returns the keys that are not yet forgotten at now: those accepted, and
// those good for hints.
func (r Ring) Kept(now time.Time, a Ages) Ring {
	var kept Ring
	for _, k := range r {
		if k.GoneAt.IsZero() || now.Before(k.GoneAt.Add(a.Hints)) {
			kept = append(kept, k)
		}
	}
	return kept
}

// Due reports whether a new key must be published at now: none signs, or the
// one that does ends its time just when a key published now could take over.
func (r Ring) Due(now time.Time, a Ages) bool {
	s := r.Signing(now)
	if s == nil {
		return true
	}
	return !r.Waiting(now) && !now.Before(s.SigningAt.Add(a.Signing-a.Published))
}

// Await returns the ring with the moment at which its waiting key takes over set
// anew, and whether that moved. Seen says whether everybody who is asked knows
// the key: until then it waits for its deadline, and after that no longer than
// it must. A moment that not every server would learn of in time is left.
//
// The deadline needs no decision at its time, and nobody who makes one: the
// moment is always set, and every server acts on it by itself.
func (r Ring) Await(now time.Time, a Ages, seen func(id string) bool) (Ring, bool) {
	i := slices.IndexFunc(r, func(k Key) bool { return k.State(now) == Published })
	if i < 0 || a.Deadline == 0 {
		return r, false
	}
	planned := r[i].SigningAt
	var moment time.Time
	if seen(r[i].ID) {
		moment = r[i].PublishedAt.Add(a.Published)
		if soon := now.Add(a.Settle); moment.Before(soon) {
			moment = soon
		}
		if !moment.Before(planned) {
			return r, false
		}
	} else {
		moment = r[i].PublishedAt.Add(a.Deadline)
		if !moment.After(planned) || planned.Before(now.Add(a.Settle)) {
			return r, false
		}
	}
	next := slices.Clone(r)
	next[i].SigningAt = moment
	for j := range next {
		if next[j].RetiredAt.Equal(planned) {
			next[j].RetiredAt, next[j].GoneAt = moment, moment.Add(a.Retired)
		}
	}
	return next, true
}

// Publish returns the ring with k published at now. The keys before it sign
// until k does, and are accepted for a.Retired after that.
func (r Ring) Publish(k Key, now time.Time, a Ages) Ring {
	k.PublishedAt, k.SigningAt = now, now
	if r.Signing(now) != nil {
		k.SigningAt = now.Add(a.Published)
	}
	next := make(Ring, 0, len(r)+1)
	for _, old := range r {
		if old.RetiredAt.IsZero() {
			old.RetiredAt = k.SigningAt
			old.GoneAt = k.SigningAt.Add(a.Retired)
		}
		next = append(next, old)
	}
	return append(next, k)
}

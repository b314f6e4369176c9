package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A household is a person with two sessions and four grants: what there is to
// end, and to tell.
type household struct {
	user storage.User
	// told has a back-channel logout URI, quiet has none.
	told, quiet storage.Client
	// first and second are sessions; all grants but away's are of the first.
	first, second storage.Session
	// plain, offline and away are to told, silent is to quiet.
	plain, offline, silent, away storage.Grant
}

func newHousehold(t *testing.T, db storage.SQL) household {
	t.Helper()
	ctx := t.Context()
	h := household{user: addUser(t, db), told: newClient(newID()), quiet: newClient(newID())}
	h.quiet.Metadata.BackchannelLogoutURI = ""
	must(t, db.CreateClient(ctx, h.told))
	must(t, db.CreateClient(ctx, h.quiet))
	h.first, h.second = newSession(h.user), newSession(h.user)
	must(t, db.CreateSession(ctx, h.first, ""))
	must(t, db.CreateSession(ctx, h.second, ""))
	add := func(c storage.Client, s storage.Session, scopes ...string) storage.Grant {
		return addGrant(t, db, h.user, func(g *storage.Grant) { g.ClientID, g.SessionID, g.Scopes = c.ID, s.ID, scopes })
	}
	h.plain = add(h.told, h.first, "openid")
	h.offline = add(h.told, h.first, "openid", "offline_access")
	h.silent = add(h.quiet, h.first, "openid")
	h.away = add(h.told, h.second, "openid")
	return h
}

func (h household) keepsSecond() storage.Kept {
	return storage.Kept{Session: h.second.ID, Grant: h.away.ID}
}

// ending is when a household is ended.
var ending = after(time.Minute)

// endings are the verbs that end sessions or grants, and what each ends of a
// household.
var endings = []struct {
	name    string
	do      func(db storage.SQL, t *testing.T, h household) error
	revoked func(h household) []storage.Grant
	// told are the sessions whose end is told.
	told func(h household) []storage.Session
}{
	{"EndSession", func(db storage.SQL, t *testing.T, h household) error {
		return db.EndSession(t.Context(), h.first.ID, ending)
	}, signedOut, onlyFirst},
	{"EndSessionOf", func(db storage.SQL, t *testing.T, h household) error {
		return db.EndSessionOf(t.Context(), h.user.ID, h.first.ID, ending)
	}, signedOut, onlyFirst},
	{"CreateSession in place of another", func(db storage.SQL, t *testing.T, h household) error {
		s := newSession(h.user)
		s.CreatedAt = ending
		return db.CreateSession(t.Context(), s, h.first.ID)
	}, signedOut, onlyFirst},
	{"CreateSession in place of another's", func(db storage.SQL, t *testing.T, h household) error {
		s := newSession(addUser(t, db))
		s.CreatedAt = ending
		return db.CreateSession(t.Context(), s, h.first.ID)
	}, signedOut, onlyFirst},
	{"CreateSession that keeps the id", func(db storage.SQL, t *testing.T, h household) error {
		s := newSession(h.user)
		s.ID = h.first.ID
		return db.CreateSession(t.Context(), s, h.first.ID)
	}, noGrant, noSession},
	{"CreateSession that fails", func(db storage.SQL, t *testing.T, h household) error {
		s := newSession(h.user)
		s.UserEpoch--
		err := db.CreateSession(t.Context(), s, h.first.ID)
		want(t, "CreateSession", err, storage.ErrNotFound)
		return nil
	}, noGrant, noSession},
	{"DeleteExpiredSessions", func(db storage.SQL, t *testing.T, h household) error {
		_, err := db.DeleteExpiredSessions(t.Context(), after(24*time.Hour), 1000)
		return err
	}, noGrant, noSession},
	{"EndEverything", func(db storage.SQL, t *testing.T, h household) error {
		_, err := db.EndEverything(t.Context(), h.user.ID, storage.Kept{}, ending)
		return err
	}, allGrants, bothSessions},
	{"EndEverything that keeps", func(db storage.SQL, t *testing.T, h household) error {
		_, err := db.EndEverything(t.Context(), h.user.ID, h.keepsSecond(), ending)
		return err
	}, allOfFirst, onlyFirst},
	{"SetPassword", func(db storage.SQL, t *testing.T, h household) error {
		_, err := db.SetPassword(t.Context(), storage.PasswordChange{
			UserID: h.user.ID, PasswordHash: "new", Keep: h.keepsSecond(), Now: ending,
		})
		return err
	}, allOfFirst, onlyFirst},
	{"SetPassword that is refused", func(db storage.SQL, t *testing.T, h household) error {
		_, err := db.SetPassword(t.Context(), storage.PasswordChange{
			UserID: h.user.ID, PasswordHash: "new", Replaces: "other", Now: ending,
		})
		want(t, "SetPassword", err, storage.ErrConflict)
		return nil
	}, noGrant, noSession},
	{"SetPassword that is undone at the end", func(db storage.SQL, t *testing.T, h household) error {
		l := newLetter()
		_, err := db.SetPassword(t.Context(), storage.PasswordChange{UserID: h.user.ID, PasswordHash: "new", Now: ending}, l, l)
		want(t, "SetPassword", err, storage.ErrConflict)
		return nil
	}, noGrant, noSession},
	{"SetStatus", func(db storage.SQL, t *testing.T, h household) error {
		return db.SetStatus(t.Context(), h.user.ID, storage.UserSuspended, ending)
	}, allGrants, bothSessions},
	{"EnableTOTP", func(db storage.SQL, t *testing.T, h household) error {
		e := enrolment(h.user.ID)
		e.Keep, e.Now = h.keepsSecond(), ending
		_, err := db.EnableTOTP(t.Context(), e)
		return err
	}, allOfFirst, onlyFirst},
	{"EnableTOTP, kept, and DisableTOTP", func(db storage.SQL, t *testing.T, h household) error {
		e := enrolment(h.user.ID)
		e.Keep, e.Now = h.keepsSecond(), ending
		if _, err := db.EnableTOTP(t.Context(), e); err != nil {
			return err
		}
		_, err := db.DisableTOTP(t.Context(), h.user.ID, h.user.Epoch+1, storage.Kept{}, ending)
		return err
	}, allGrants, bothSessions},
	{"DeleteUser", func(db storage.SQL, t *testing.T, h household) error {
		return db.DeleteUser(t.Context(), h.user.ID, ending)
	}, allGrants, bothSessions},
	{"WithdrawConsent", func(db storage.SQL, t *testing.T, h household) error {
		return db.WithdrawConsent(t.Context(), h.user.ID, h.told.ID, ending)
	}, func(h household) []storage.Grant { return []storage.Grant{h.plain, h.offline, h.away} }, noSession},
	{"RevokeGrant, twice", func(db storage.SQL, t *testing.T, h household) error {
		return errors.Join(
			db.RevokeGrant(t.Context(), h.plain.ID, ending),
			db.RevokeGrant(t.Context(), h.plain.ID, after(time.Hour)))
	}, onlyPlain, noSession},
	{"ReplayGrant, twice", func(db storage.SQL, t *testing.T, h household) error {
		return errors.Join(
			db.ReplayGrant(t.Context(), h.plain, ending),
			db.ReplayGrant(t.Context(), h.plain, after(time.Hour)))
	}, onlyPlain, noSession},
	{"Rotate that finds a reuse", func(db storage.SQL, t *testing.T, h household) error {
		r := rotation(h.plain)
		r.Now = after(30 * time.Second)
		for range 2 {
			if _, verdict, err := db.Rotate(t.Context(), r); err != nil || verdict != storage.Rotated {
				return fmt.Errorf("%v %w", verdict, err)
			}
			r.Presented++
		}
		r.Now, r.Presented = ending, 1
		_, verdict, err := db.Rotate(t.Context(), r)
		equal(t, "verdict", verdict, storage.Reused)
		return err
	}, onlyPlain, noSession},
	{"Rotate, repeated", func(db storage.SQL, t *testing.T, h household) error {
		r := rotation(h.plain)
		for _, want := range []storage.Verdict{storage.Rotated, storage.Repeated} {
			if _, verdict, err := db.Rotate(t.Context(), r); err != nil || verdict != want {
				return fmt.Errorf("%v %w", verdict, err)
			}
		}
		return nil
	}, noGrant, noSession},
}

func noGrant(household) []storage.Grant          { return nil }
func onlyPlain(h household) []storage.Grant      { return []storage.Grant{h.plain} }
func signedOut(h household) []storage.Grant      { return []storage.Grant{h.plain, h.silent} }
func allOfFirst(h household) []storage.Grant     { return []storage.Grant{h.plain, h.offline, h.silent} }
func allGrants(h household) []storage.Grant      { return append(allOfFirst(h), h.away) }
func noSession(household) []storage.Session      { return nil }
func onlyFirst(h household) []storage.Session    { return []storage.Session{h.first} }
func bothSessions(h household) []storage.Session { return []storage.Session{h.first, h.second} }

// dead is the last that a token stopped at that time may live.
func dead(at time.Time) time.Time { return at.Add(storage.AccessTokenLife + time.Minute) }

func lastRevocation(t *testing.T, db storage.SQL) int64 {
	t.Helper()
	seq, err := db.LastRevocation(t.Context())
	must(t, err)
	return seq
}

func revocationsAfter(t *testing.T, db storage.SQL, seq int64, now time.Time) []storage.Revocation {
	t.Helper()
	rows, err := db.RevocationsAfter(t.Context(), seq, now, 1000)
	must(t, err)
	return rows
}

// wantRevocations reads what was revoked after last, in any order.
func wantRevocations(t *testing.T, db storage.SQL, last int64, want []storage.Revocation) {
	t.Helper()
	got := revocationsAfter(t, db, last, noon)
	equal(t, "last place", lastRevocation(t, db), last+int64(len(want)))
	for i := range got {
		equal(t, "place", got[i].Seq, last+int64(i)+1)
		got[i].Seq = 0
	}
	byKey := func(a, b storage.Revocation) int { return compare(a.Key, b.Key) }
	slices.SortFunc(got, byKey)
	slices.SortFunc(want, byKey)
	equal(t, "revocations", got, want)
}

func testRevocations(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	token := func(key string, until time.Time) storage.Revocation {
		return storage.Revocation{Kind: storage.RevokedToken, Key: key, At: noon, Until: until}
	}

	t.Run("nothing is revoked at first", func(t *testing.T) {
		equal(t, "last", lastRevocation(t, db), 0)
		equal(t, "revocations", len(revocationsAfter(t, db, 0, noon)), 0)
	})
	t.Run("a revocation comes back as it was, with its place", func(t *testing.T) {
		for i, r := range []storage.Revocation{
			token("jti-1", after(time.Minute)),
			{Kind: storage.RevokedClient, Key: "client", At: noon, Until: dead(noon)},
			token("jti-2", after(2*time.Minute)),
		} {
			seq, err := db.Revoke(ctx, r)
			must(t, err)
			equal(t, "place", seq, int64(i+1))
			r.Seq = seq
			equal(t, "revocations", revocationsAfter(t, db, seq-1, noon), []storage.Revocation{r})
		}
	})
	t.Run("they are read in order, so many at a time, while a token may be alive", func(t *testing.T) {
		read := func(seq int64, now time.Time, limit int) (keys []string) {
			rows, err := db.RevocationsAfter(ctx, seq, now, limit)
			must(t, err)
			for _, r := range rows {
				keys = append(keys, r.Key)
			}
			return keys
		}
		equal(t, "two", read(0, noon, 2), []string{"jti-1", "client"})
		equal(t, "after the first", read(1, noon, 10), []string{"client", "jti-2"})
		equal(t, "a minute later", read(0, after(time.Minute), 10), []string{"client", "jti-2"})
		equal(t, "later", read(0, after(2*time.Minute), 10), []string{"client"})
		equal(t, "after the last", len(read(3, noon, 10)), 0)
	})
	t.Run("those of dead tokens are removed, so many at a time, and their places are not given again", func(t *testing.T) {
		for _, c := range []struct {
			now  time.Time
			want int
		}{{noon, 0}, {after(time.Hour), 2}, {after(time.Hour), 1}, {after(time.Hour), 0}} {
			n, err := db.DeleteExpiredRevocations(ctx, c.now, 2)
			must(t, err)
			equal(t, "removed", n, c.want)
			equal(t, "last", lastRevocation(t, db), 3)
		}
		seq, err := db.Revoke(ctx, token("jti-3", after(time.Hour)))
		must(t, err)
		equal(t, "place", seq, 4)
		must(t, db.RevokeGrant(ctx, addGrant(t, db, addUser(t, db)).ID, noon))
		equal(t, "last", lastRevocation(t, db), 5)
	})
	for _, verb := range endings {
		t.Run("sec-B5 "+verb.name+" adds one for each grant that it ends", func(t *testing.T) {
			h := newHousehold(t, db)
			last := lastRevocation(t, db)
			must(t, verb.do(db, t, h))

			var want []storage.Revocation
			ended := map[string]bool{}
			for _, g := range verb.revoked(h) {
				ended[g.ID] = true
				want = append(want, storage.Revocation{Kind: storage.RevokedGrant, Key: g.ID, At: ending, Until: dead(ending)})
			}
			wantRevocations(t, db, last, want)
			for _, g := range []storage.Grant{h.plain, h.offline, h.silent, h.away} {
				got, err := db.GrantByID(ctx, g.ID)
				must(t, err)
				equal(t, "revoked", !got.RevokedAt.IsZero(), ended[g.ID])
			}
		})
	}
	t.Run("a grant that is written revoked has one", func(t *testing.T) {
		u := addUser(t, db)
		last := lastRevocation(t, db)
		replayed := newGrant(u)
		must(t, db.ReplayGrant(ctx, replayed, ending))
		created := addGrant(t, db, u, func(g *storage.Grant) { g.RevokedAt = ending })
		wantRevocations(t, db, last, []storage.Revocation{
			{Kind: storage.RevokedGrant, Key: replayed.ID, At: ending, Until: dead(ending)},
			{Kind: storage.RevokedGrant, Key: created.ID, At: ending, Until: dead(ending)},
		})
	})
	t.Run("a deleted client has one, and each of its grants", func(t *testing.T) {
		h := newHousehold(t, db)
		before := lastRevocation(t, db)
		must(t, db.DeleteClient(ctx, h.told.ID, ending))
		last := ending.Add(storage.ClientMemory)
		want := []storage.Revocation{{Kind: storage.RevokedClient, Key: h.told.ID, At: last, Until: dead(last)}}
		for _, g := range []storage.Grant{h.plain, h.offline, h.away} {
			want = append(want, storage.Revocation{Kind: storage.RevokedGrant, Key: g.ID, At: ending, Until: dead(ending)})
		}
		wantRevocations(t, db, before, want)
	})
	t.Run("the end of a token's life keeps every digit", func(t *testing.T) {
		for _, us := range []int{0, 1, 500000, 999499, 999500, 999999} {
			at := time.Date(2031, 12, 31, 23, 59, 59, us*1000, time.UTC)
			g := addGrant(t, db, addUser(t, db))
			last := lastRevocation(t, db)
			must(t, db.RevokeGrant(ctx, g.ID, at))
			wantRevocations(t, db, last, []storage.Revocation{{Kind: storage.RevokedGrant, Key: g.ID, At: at, Until: dead(at)}})
			equal(t, "before the end", len(revocationsAfter(t, db, last, dead(at).Add(-time.Microsecond))), 1)
			equal(t, "at the end", len(revocationsAfter(t, db, last, dead(at))), 0)
		}
	})
}

// testRevocationRaces has everybody revoke at once while others read.
func testRevocationRaces(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	const revokers, rounds = 16, 6

	// Rows that may go, so that the janitor has some to remove.
	expired := storage.Revocation{Kind: storage.RevokedToken, Key: "old", At: after(-time.Hour), Until: after(-time.Minute)}
	for range 10 {
		_, err := db.Revoke(ctx, expired)
		must(t, err)
	}
	first := lastRevocation(t, db)
	// Made before anybody reads: what races are the revocations.
	var households [rounds][revokers]household
	var shared [rounds]household
	for round := range rounds {
		for i := range revokers {
			households[round][i] = newHousehold(t, db)
		}
		shared[round] = newHousehold(t, db)
	}

	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			// The last turn begins when all is written.
			for seq, over := first, false; ; {
				select {
				case <-done:
					over = true
				default:
				}
				last, err := db.LastRevocation(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				rows, err := db.RevocationsAfter(ctx, seq, noon, 1000)
				if err != nil {
					t.Error(err)
					return
				}
				for _, r := range rows {
					if r.Seq != seq+1 {
						t.Errorf("place %d was read after %d", r.Seq, seq)
						return
					}
					seq = r.Seq
				}
				if seq < last {
					t.Errorf("%d is the last place, but only %d were read", last, seq)
					return
				}
				if over {
					return
				}
			}
		})
	}
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if _, err := db.DeleteExpiredRevocations(ctx, noon, 3); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})

	var mu sync.Mutex
	wanted := map[string]bool{}
	revoked := func(kind storage.RevocationKind, keys ...string) {
		mu.Lock()
		defer mu.Unlock()
		for _, key := range keys {
			wanted[string(kind)+" "+key] = true
		}
	}
	for round := range rounds {
		shared := shared[round]
		together(revokers, func(i int) {
			h := households[round][i]
			var err error
			switch i % 8 {
			case 0:
				_, err = db.SetPassword(ctx, storage.PasswordChange{UserID: h.user.ID, PasswordHash: "new", Keep: h.keepsSecond(), Now: ending})
				revoked(storage.RevokedGrant, h.plain.ID, h.offline.ID, h.silent.ID)
			case 1:
				err = db.DeleteClient(ctx, h.told.ID, ending)
				revoked(storage.RevokedClient, h.told.ID)
				revoked(storage.RevokedGrant, h.plain.ID, h.offline.ID, h.away.ID)
			case 2:
				r := rotation(h.plain)
				for _, presented := range []int64{1, 2, 1} {
					r.Presented = presented
					if _, _, err = db.Rotate(ctx, r); err != nil {
						break
					}
				}
				revoked(storage.RevokedGrant, h.plain.ID)
			case 3:
				jti := newID()
				_, err = db.Revoke(ctx, storage.Revocation{Kind: storage.RevokedToken, Key: jti, At: ending, Until: dead(ending)})
				revoked(storage.RevokedToken, jti)
			case 4:
				err = db.EndSession(ctx, h.first.ID, ending)
				revoked(storage.RevokedGrant, h.plain.ID, h.silent.ID)
			case 5:
				// Undone after everything was revoked.
				l := newLetter()
				_, err = db.SetPassword(ctx, storage.PasswordChange{UserID: h.user.ID, PasswordHash: "new", Now: ending}, l, l)
				if errors.Is(err, storage.ErrConflict) {
					err = nil
				}
			case 6:
				// Against the next, about the same grants.
				_, err = db.EndEverything(ctx, shared.user.ID, shared.keepsSecond(), ending)
				revoked(storage.RevokedGrant, shared.plain.ID, shared.offline.ID, shared.silent.ID)
			case 7:
				r := rotation(shared.away)
				r.Presented, r.Now = 0, ending
				if _, _, err = db.Rotate(ctx, r); errors.Is(err, storage.ErrNotFound) {
					err = nil
				}
				err = errors.Join(err, db.WithdrawConsent(ctx, shared.user.ID, shared.told.ID, ending))
				revoked(storage.RevokedGrant, shared.plain.ID, shared.offline.ID, shared.away.ID)
			}
			if err != nil {
				t.Errorf("revoker %d: %v", i%8, err)
			}
		})
	}
	close(done)
	readers.Wait()

	var rows []storage.Revocation
	for seq := first; ; seq = rows[len(rows)-1].Seq {
		page := revocationsAfter(t, db, seq, noon)
		if len(page) == 0 {
			break
		}
		rows = append(rows, page...)
	}
	for i, r := range rows {
		equal(t, "place", r.Seq, first+int64(i)+1)
		if key := string(r.Kind) + " " + r.Key; !wanted[key] {
			t.Errorf("%s was revoked twice, or should not be", key)
		} else {
			delete(wanted, key)
		}
	}
	equal(t, "not revoked", len(wanted), 0)
}

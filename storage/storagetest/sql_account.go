package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

func testUpgrades(t *testing.T, db storage.SQL) {
	ctx := t.Context()

	t.Run("another hash of the same password ends nothing and is no history", func(t *testing.T) {
		u, other := addUser(t, db), addUser(t, db)
		epoch, err := db.SetPassword(ctx, storage.PasswordChange{UserID: u.ID, PasswordHash: "current", Now: noon})
		must(t, err)
		u.Epoch, u.UpdatedAt = epoch, noon
		s, g := newSession(u), addGrant(t, db, u)
		must(t, db.CreateSession(ctx, s, ""))

		must(t, db.UpgradePassword(ctx, u.ID, "current", "better"))
		hashes, err := db.PasswordHashes(ctx, u.ID)
		must(t, err)
		equal(t, "hashes", hashes, []string{"better", "hash of " + u.ID})
		wantUser(t, db, u)
		_, _, err = db.SessionBySecret(ctx, s.SecretHash, noon)
		must(t, err)
		_, _, err = db.LiveGrant(ctx, g.ID, noon)
		must(t, err)

		for _, old := range []string{"current", "hash of " + u.ID, ""} {
			want(t, fmt.Sprintf("%q is not current", old), db.UpgradePassword(ctx, u.ID, old, "worse"), storage.ErrConflict)
		}
		want(t, "of nobody", db.UpgradePassword(ctx, newID(), "current", "worse"), storage.ErrConflict)
		for id, wanted := range map[string][]string{u.ID: hashes, other.ID: {"hash of " + other.ID}} {
			hashes, err := db.PasswordHashes(ctx, id)
			must(t, err)
			equal(t, "hashes", hashes, wanted)
		}
	})
	t.Run("of 64 upgrades of one hash one wins", func(t *testing.T) {
		u := addUser(t, db)
		var errs [64]error
		together(len(errs), func(i int) { errs[i] = db.UpgradePassword(ctx, u.ID, "hash of "+u.ID, fmt.Sprint(i)) })
		winner := one(t, errs[:], storage.ErrConflict)
		hashes, err := db.PasswordHashes(ctx, u.ID)
		must(t, err)
		equal(t, "hashes", hashes, []string{fmt.Sprint(winner)})
	})
	t.Run("an upgrade never undoes a new password that it races", func(t *testing.T) {
		for range 50 {
			u := addUser(t, db)
			together(2, func(i int) {
				var err error
				if i == 0 {
					_, err = db.SetPassword(ctx, storage.PasswordChange{UserID: u.ID, PasswordHash: "new", Now: noon})
				} else if err = db.UpgradePassword(ctx, u.ID, "hash of "+u.ID, "better"); errors.Is(err, storage.ErrConflict) {
					err = nil
				}
				if err != nil {
					t.Error(err)
				}
			})
			_, hash, err := db.UserByEmail(ctx, u.Email)
			must(t, err)
			equal(t, "current", hash, "new")
		}
	})
}

// testEndings states of every verb that raises the epoch and may keep
// something what ends and what does not.
func testEndings(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	now := after(time.Minute)

	for _, verb := range []struct {
		name string
		// second says whether two-step sign-in is on before and after.
		second [2]bool
		do     func(t *testing.T, userID string, keep storage.Kept) (int64, error)
	}{
		{"a new password", [2]bool{}, func(t *testing.T, userID string, keep storage.Kept) (int64, error) {
			return db.SetPassword(ctx, storage.PasswordChange{UserID: userID, PasswordHash: "new", Keep: keep, Now: now})
		}},
		{"two-step sign-in turned on", [2]bool{false, true}, func(t *testing.T, userID string, keep storage.Kept) (int64, error) {
			e := enrolment(userID)
			e.Keep, e.Now = keep, now
			return db.EnableTOTP(ctx, e)
		}},
		{"two-step sign-in turned off", [2]bool{true, false}, func(t *testing.T, userID string, keep storage.Kept) (int64, error) {
			return db.DisableTOTP(ctx, userID, epochOf(t, db, userID), keep, now)
		}},
		{"signing out everywhere", [2]bool{}, func(t *testing.T, userID string, keep storage.Kept) (int64, error) {
			return db.EndEverything(ctx, userID, keep, now)
		}},
	} {
		begin := func(t *testing.T) storage.User {
			t.Helper()
			u := addUser(t, db)
			if verb.second[0] {
				u = enable(t, db, u)
			}
			return u
		}
		t.Run("sec-D6 "+verb.name+" ends all but what made the change", func(t *testing.T) {
			u, other := begin(t), addUser(t, db)
			kept, ended, others := newSession(u), newSession(u), newSession(other)
			for _, s := range []storage.Session{kept, ended, others} {
				must(t, db.CreateSession(ctx, s, ""))
			}
			offline := func(g *storage.Grant) { g.Scopes = []string{"offline_access"} }
			keptGrant, endedGrant, othersGrant := addGrant(t, db, u), addGrant(t, db, u, offline), addGrant(t, db, other)
			epoch, err := verb.do(t, u.ID, storage.Kept{Session: kept.ID, Grant: keptGrant.ID})
			must(t, err)
			equal(t, "epoch", epoch, u.Epoch+1)
			u.Epoch, u.UpdatedAt, u.SecondFactor = epoch, now, verb.second[1]
			kept.UserEpoch, keptGrant.UserEpoch = epoch, epoch

			s, su, err := db.SessionBySecret(ctx, kept.SecretHash, now)
			must(t, err)
			equal(t, "the session kept", s, kept)
			equal(t, "its user", su, u)
			g, gu, err := db.LiveGrant(ctx, keptGrant.ID, now)
			must(t, err)
			equal(t, "the grant kept", g, keptGrant)
			equal(t, "its user", gu, u)

			_, _, err = db.SessionBySecret(ctx, ended.SecretHash, now)
			want(t, "the other session", err, storage.ErrNotFound)
			equal(t, "the other grant is revoked", grant(t, db, endedGrant).RevokedAt, now)
			_, _, err = db.Rotate(ctx, rotation(endedGrant))
			want(t, "its refresh token", err, storage.ErrNotFound)

			_, _, err = db.SessionBySecret(ctx, others.SecretHash, now)
			must(t, err)
			_, _, err = db.LiveGrant(ctx, othersGrant.ID, now)
			must(t, err)

			// The session is removed, not only dead: its id can be taken again.
			ended.UserEpoch = epoch
			must(t, db.CreateSession(ctx, ended, ""))
		})
		t.Run(verb.name+" keeps nothing of another user", func(t *testing.T) {
			u, other := begin(t), addUser(t, db)
			session := newSession(other)
			must(t, db.CreateSession(ctx, session, ""))
			g := addGrant(t, db, other)
			_, err := verb.do(t, u.ID, storage.Kept{Session: session.ID, Grant: g.ID})
			must(t, err)
			s, _, err := db.SessionBySecret(ctx, session.SecretHash, noon)
			must(t, err)
			equal(t, "another's session", s, session)
			equal(t, "another's grant", grant(t, db, g), g)
		})
		t.Run(verb.name+" keeps nothing that is dead, and nothing unasked", func(t *testing.T) {
			u := begin(t)
			revoked := addGrant(t, db, u, func(g *storage.Grant) { g.RevokedAt = noon })
			_, err := verb.do(t, u.ID, storage.Kept{Grant: revoked.ID})
			must(t, err)
			equal(t, "the revoked grant", grant(t, db, revoked), revoked)

			u = begin(t)
			bare := addGrant(t, db, u, func(g *storage.Grant) { g.SessionID = "" })
			_, err = verb.do(t, u.ID, storage.Kept{})
			must(t, err)
			equal(t, "revoked", grant(t, db, bare).RevokedAt, now)
		})
		t.Run(verb.name+" of nobody is not found", func(t *testing.T) {
			_, err := verb.do(t, newID(), storage.Kept{})
			want(t, verb.name, err, storage.ErrNotFound)
		})
	}

	t.Run("a new password and its letters are written together or not at all", func(t *testing.T) {
		u, l := addUser(t, db), newLetter()
		change := storage.PasswordChange{UserID: u.ID, PasswordHash: "new", Now: now}
		epoch, err := db.SetPassword(ctx, change, l)
		must(t, err)
		equal(t, "letters", letters(t, db), []storage.Letter{l})

		change.PasswordHash = "newer"
		_, err = db.SetPassword(ctx, change, newLetter(), l)
		want(t, "SetPassword", err, storage.ErrConflict)
		u.Epoch, u.UpdatedAt = epoch, now
		wantUser(t, db, u)
		hashes, err := db.PasswordHashes(ctx, u.ID)
		must(t, err)
		equal(t, "hashes", hashes, []string{"new", "hash of " + u.ID})
		equal(t, "letters", letters(t, db), []storage.Letter{l})
	})
}

func testAddresses(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	now := after(time.Minute)
	newEmail := func() string { return "New." + newID() + "@Example.com" }

	t.Run("a proved address takes the place of the one before, which is free again", func(t *testing.T) {
		u, l := addUser(t, db), newLetter()
		s, g := newSession(u), addGrant(t, db, u)
		must(t, db.CreateSession(ctx, s, ""))
		old := u.Email
		u.Email, u.EmailVerifiedAt, u.UpdatedAt = newEmail(), now, now
		must(t, none(db.ChangeEmail(ctx, u.ID, u.Epoch, u.Email, now, l)))
		wantUser(t, db, u)
		equal(t, "letters", letters(t, db), []storage.Letter{l})
		got, hash, err := db.UserByEmail(ctx, u.Email)
		must(t, err)
		equal(t, "by the new address", got, u)
		equal(t, "the password", hash, "hash of "+u.ID)
		_, _, err = db.SessionBySecret(ctx, s.SecretHash, noon)
		must(t, err)
		_, _, err = db.LiveGrant(ctx, g.ID, noon)
		must(t, err)

		_, _, err = db.UserByEmail(ctx, old)
		want(t, "by the old address", err, storage.ErrNotFound)
		other := newUser()
		other.Email = old
		must(t, db.CreateUser(ctx, other, "hash"))
	})
	t.Run("a person may write the address in another case", func(t *testing.T) {
		u := addUser(t, db)
		u.Email, u.EmailVerifiedAt, u.UpdatedAt = "ADA."+u.ID+"@example.COM", now, now
		must(t, none(db.ChangeEmail(ctx, u.ID, u.Epoch, u.Email, now)))
		wantUser(t, db, u)
	})
	suspended := newUser()
	suspended.Status = storage.UserSuspended
	must(t, db.CreateUser(ctx, suspended, "hash"))
	t.Run("an address is taken whatever its case, by whoever has proved it or may not be removed", func(t *testing.T) {
		u := addUser(t, db)
		unproved := addPending(t, db)
		must(t, db.SetStatus(ctx, unproved.ID, storage.UserSuspended, now))
		unproved.Status, unproved.Epoch, unproved.UpdatedAt = storage.UserSuspended, unproved.Epoch+1, now
		before := letters(t, db)
		for _, taken := range []storage.User{addUser(t, db), suspended, unproved} {
			for _, email := range []string{taken.Email, "aDA." + taken.ID + "@eXAMPLE.com", " " + taken.Email} {
				gaveWay, err := db.ChangeEmail(ctx, u.ID, u.Epoch, email, now, newLetter())
				want(t, email, err, storage.ErrConflict)
				equal(t, "gave way", gaveWay, "")
			}
			wantUser(t, db, taken)
		}
		wantUser(t, db, u)
		equal(t, "letters", letters(t, db), before)
	})
	t.Run("who has not proved an address gives way to who has", func(t *testing.T) {
		u, pending := addUser(t, db), addPending(t, db)
		u.Email, u.EmailVerifiedAt, u.UpdatedAt = "aDA."+pending.ID+"@eXAMPLE.com", now, now
		gaveWay, err := db.ChangeEmail(ctx, u.ID, u.Epoch, u.Email, now)
		must(t, err)
		equal(t, "gave way", gaveWay, pending.ID)
		wantUser(t, db, u)
		_, err = db.User(ctx, pending.ID)
		want(t, "User", err, storage.ErrNotFound)
		hashes, err := db.PasswordHashes(ctx, pending.ID)
		must(t, err)
		equal(t, "passwords", len(hashes), 0)
	})
	t.Run("and stays when the address does not move", func(t *testing.T) {
		u, pending, l := addUser(t, db), addPending(t, db), newLetter()
		must(t, db.AddLetters(ctx, l))
		for name, c := range map[string]struct {
			id    string
			epoch int64
			more  []storage.Letter
			err   error
		}{
			"another epoch":   {u.ID, u.Epoch - 1, nil, storage.ErrNotFound},
			"nobody":          {newID(), u.Epoch, nil, storage.ErrNotFound},
			"suspended":       {suspended.ID, suspended.Epoch, nil, storage.ErrNotFound},
			"a letter of old": {u.ID, u.Epoch, []storage.Letter{l}, storage.ErrConflict},
		} {
			gaveWay, err := db.ChangeEmail(ctx, c.id, c.epoch, pending.Email, now, c.more...)
			want(t, name, err, c.err)
			equal(t, "gave way", gaveWay, "")
			wantUser(t, db, pending)
		}
		wantUser(t, db, u)
	})
	t.Run("only an active user gets another address, in the epoch that it was asked for", func(t *testing.T) {
		before := letters(t, db)
		ended := addUser(t, db)
		ended.UpdatedAt = now
		var err error
		ended.Epoch, err = db.EndEverything(ctx, ended.ID, storage.Kept{}, now)
		must(t, err)
		for name, u := range map[string]storage.User{"pending": addPending(t, db), "suspended": suspended, "of another epoch": ended} {
			epoch := u.Epoch
			if u.ID == ended.ID {
				epoch--
			}
			want(t, name, none(db.ChangeEmail(ctx, u.ID, epoch, newEmail(), now, newLetter())), storage.ErrNotFound)
			wantUser(t, db, u)
		}
		want(t, "nobody", none(db.ChangeEmail(ctx, newID(), 0, newEmail(), now, newLetter())), storage.ErrNotFound)
		equal(t, "letters", letters(t, db), before)
	})
	t.Run("a letter that is there already changes nothing", func(t *testing.T) {
		u, l := addUser(t, db), newLetter()
		must(t, db.AddLetters(ctx, l))
		want(t, "ChangeEmail", none(db.ChangeEmail(ctx, u.ID, u.Epoch, newEmail(), now, l)), storage.ErrConflict)
		wantUser(t, db, u)
	})
	t.Run("of 16 people who want one address one gets it, whoever has registered it", func(t *testing.T) {
		pending := addPending(t, db)
		email := pending.Email
		var users [16]storage.User
		for i := range users {
			users[i] = addUser(t, db)
		}
		var errs [16]error
		var gaveWay [16]string
		together(len(errs), func(i int) { gaveWay[i], errs[i] = db.ChangeEmail(ctx, users[i].ID, users[i].Epoch, email, now) })
		winner := one(t, errs[:], storage.ErrConflict)
		got, _, err := db.UserByEmail(ctx, email)
		must(t, err)
		equal(t, "who has it", got.ID, users[winner].ID)
		equal(t, "who gave way", gaveWay[winner], pending.ID)
	})
}

func testDeletion(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	now := after(time.Minute)
	must(t, db.CreateClient(ctx, newClient("calendar")))
	// furnish gives a user one of everything.
	furnish := func(t *testing.T, u storage.User) (storage.User, storage.Session, storage.Grant) {
		t.Helper()
		u = enable(t, db, u)
		s := newSession(u)
		must(t, db.CreateSession(ctx, s, ""))
		must(t, db.PutConsent(ctx, storage.Consent{UserID: u.ID, ClientID: "calendar", Scopes: []string{"openid"}, GrantedAt: noon}))
		return u, s, addGrant(t, db, u, func(g *storage.Grant) { g.Scopes = []string{"openid", "offline_access"} })
	}

	t.Run("sec-D6 a deleted user leaves revoked grants and events, and nothing else", func(t *testing.T) {
		u, s, g := furnish(t, addUser(t, db))
		other, othersSession, othersGrant := furnish(t, addUser(t, db))
		before := addGrant(t, db, u, func(g *storage.Grant) { g.RevokedAt = noon })
		event := storage.Event{ID: newID(), At: noon, Kind: "signed_in", UserID: u.ID, Outcome: "ok"}
		must(t, db.AddEvent(ctx, event))
		l := newLetter()
		must(t, db.DeleteUser(ctx, u.ID, now, l))

		_, err := db.User(ctx, u.ID)
		want(t, "User", err, storage.ErrNotFound)
		_, _, err = db.UserByEmail(ctx, u.Email)
		want(t, "UserByEmail", err, storage.ErrNotFound)
		_, _, err = db.SessionBySecret(ctx, s.SecretHash, noon)
		want(t, "SessionBySecret", err, storage.ErrNotFound)
		_, _, err = db.LiveGrant(ctx, g.ID, noon)
		want(t, "LiveGrant", err, storage.ErrNotFound)
		_, _, err = db.Rotate(ctx, rotation(g))
		want(t, "Rotate", err, storage.ErrNotFound)
		want(t, "the grant's id stays spent", db.CreateGrant(ctx, func() storage.Grant {
			again := newGrant(other)
			again.ID = g.ID
			return again
		}()), storage.ErrSpent)
		g.RevokedAt = now
		equal(t, "the grant", grant(t, db, g), g)
		equal(t, "a grant revoked before", grant(t, db, before), before)
		events, err := db.ListEventsOf(ctx, u.ID, "", 10)
		must(t, err)
		equal(t, "events", events, []storage.Event{event})
		equal(t, "letters", letters(t, db), []storage.Letter{l})

		// A user of the same id, which no program makes, would inherit what is
		// left.
		heir := u
		heir.SecondFactor = false
		must(t, db.CreateUser(ctx, heir, "hash"))
		wantUser(t, db, heir)
		hashes, err := db.PasswordHashes(ctx, u.ID)
		must(t, err)
		equal(t, "passwords", hashes, []string{"hash"})
		_, err = db.TOTP(ctx, u.ID)
		want(t, "TOTP", err, storage.ErrNotFound)
		left, err := db.RecoveryCodesLeft(ctx, u.ID)
		must(t, err)
		equal(t, "recovery codes", left, 0)
		consents, err := db.ListConsents(ctx, u.ID)
		must(t, err)
		equal(t, "consents", len(consents), 0)
		sessions, err := db.ListSessions(ctx, u.ID, noon)
		must(t, err)
		equal(t, "sessions", len(sessions), 0)
		grants, err := db.ListGrants(ctx, u.ID, noon)
		must(t, err)
		equal(t, "grants", len(grants), 0)

		wantUser(t, db, other)
		_, _, err = db.SessionBySecret(ctx, othersSession.SecretHash, noon)
		must(t, err)
		_, _, err = db.LiveGrant(ctx, othersGrant.ID, noon)
		must(t, err)
		_, err = db.TOTP(ctx, other.ID)
		must(t, err)
		_, err = db.Consent(ctx, other.ID, "calendar")
		must(t, err)
	})
	t.Run("a code of theirs that is replayed later stays dead", func(t *testing.T) {
		u := addUser(t, db)
		g := newGrant(u)
		must(t, db.DeleteUser(ctx, u.ID, now))
		want(t, "CreateGrant", db.CreateGrant(ctx, g), storage.ErrNotFound)
		must(t, db.ReplayGrant(ctx, g, now))
		_, _, err := db.LiveGrant(ctx, g.ID, noon)
		want(t, "LiveGrant", err, storage.ErrNotFound)
	})
	t.Run("the address can be registered again", func(t *testing.T) {
		u := addUser(t, db)
		must(t, db.DeleteUser(ctx, u.ID, now))
		again := newUser()
		again.Email = u.Email
		must(t, db.CreateUser(ctx, again, "hash"))
	})
	t.Run("a user who is pending or suspended can be deleted", func(t *testing.T) {
		suspended := addUser(t, db)
		must(t, db.SetStatus(ctx, suspended.ID, storage.UserSuspended, noon))
		for _, u := range []storage.User{addPending(t, db), suspended} {
			must(t, db.DeleteUser(ctx, u.ID, now))
			_, err := db.User(ctx, u.ID)
			want(t, "User", err, storage.ErrNotFound)
		}
	})
	t.Run("a deletion and its letters are written together or not at all", func(t *testing.T) {
		u, s, g := furnish(t, addUser(t, db))
		l := newLetter()
		must(t, db.AddLetters(ctx, l))
		before := letters(t, db)
		want(t, "nobody", db.DeleteUser(ctx, newID(), now, newLetter()), storage.ErrNotFound)
		want(t, "a letter that is there already", db.DeleteUser(ctx, u.ID, now, newLetter(), l), storage.ErrConflict)
		equal(t, "letters", letters(t, db), before)
		wantUser(t, db, u)
		_, _, err := db.SessionBySecret(ctx, s.SecretHash, noon)
		must(t, err)
		equal(t, "grant", grant(t, db, g), g)
	})
	t.Run("sec-D6 nothing of theirs survives a deletion that it races", func(t *testing.T) {
		for range 50 {
			u := enable(t, db, addUser(t, db))
			g, s := newGrant(u), newSession(u)
			together(6, func(i int) {
				var err error
				switch i {
				case 0:
					err = db.DeleteUser(ctx, u.ID, now)
				case 1:
					err = db.CreateGrant(ctx, g)
				case 2:
					err = db.CreateSession(ctx, s, "")
				case 3:
					err = db.PutConsent(ctx, storage.Consent{UserID: u.ID, ClientID: "calendar", GrantedAt: noon})
				case 4:
					err = db.ReplaceRecoveryCodes(ctx, u.ID, [][]byte{sum("new")}, noon)
				case 5:
					_, err = db.SetPassword(ctx, storage.PasswordChange{UserID: u.ID, PasswordHash: "new", Now: noon})
				}
				if err != nil && !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("%d: %v", i, err)
				}
			})
			got, err := db.GrantByHandle(ctx, g.HandleHash)
			if !errors.Is(err, storage.ErrNotFound) {
				must(t, err)
				if got.RevokedAt.IsZero() {
					t.Error("a grant is not revoked")
				}
			}
			left, err := db.RecoveryCodesLeft(ctx, u.ID)
			must(t, err)
			equal(t, "recovery codes", left, 0)
		}
	})
}

func testPendingUsers(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	registered := func(t *testing.T, at time.Time) storage.User {
		t.Helper()
		u := newUser()
		u.Status, u.EmailVerifiedAt = storage.UserPending, time.Time{}
		u.CreatedAt, u.UpdatedAt = at, at
		must(t, db.CreateUser(ctx, u, "first"))
		return u
	}
	long := after(-48 * time.Hour)
	limit := after(-24 * time.Hour)

	t.Run("users who registered long ago and proved nothing are removed, so many at a time", func(t *testing.T) {
		var gone []storage.User
		for range 3 {
			gone = append(gone, registered(t, long))
		}
		stay := []storage.User{registered(t, limit), registered(t, noon)}

		again := registered(t, long)
		must(t, db.ReplaceRegistration(ctx, again.ID, storage.Registration{Name: "Again", PasswordHash: "again"}, noon))
		again.Name, again.UpdatedAt = "Again", noon

		proved := newUser()
		proved.CreatedAt, proved.UpdatedAt = long, long
		suspended := proved
		suspended.ID, suspended.Email, suspended.Status = newID(), "suspended@example.com", storage.UserSuspended
		never := suspended
		never.ID, never.Email, never.EmailVerifiedAt = newID(), "never@example.com", time.Time{}
		demoted := proved
		demoted.ID, demoted.Email, demoted.Status = newID(), "demoted@example.com", storage.UserPending
		for _, u := range []storage.User{proved, suspended, never, demoted} {
			must(t, db.CreateUser(ctx, u, "hash"))
		}
		stay = append(stay, again, proved, suspended, never, demoted)

		for _, wanted := range []int{2, 1, 0} {
			n, err := db.DeletePendingUsers(ctx, limit, 2)
			must(t, err)
			equal(t, "removed", n, wanted)
		}
		for _, u := range gone {
			_, err := db.User(ctx, u.ID)
			want(t, "User", err, storage.ErrNotFound)
			hashes, err := db.PasswordHashes(ctx, u.ID)
			must(t, err)
			equal(t, "passwords", len(hashes), 0)
			u.CreatedAt, u.UpdatedAt = noon, noon
			u.ID = newID()
			must(t, db.CreateUser(ctx, u, "the address is free again"))
		}
		for _, u := range stay {
			wantUser(t, db, u)
		}
	})
	t.Run("nobody who proves the mailbox at that moment is removed", func(t *testing.T) {
		for range 50 {
			u := registered(t, long)
			var proved error
			together(2, func(i int) {
				if i == 0 {
					proved = db.VerifyEmail(ctx, u.ID, storage.Registration{Name: "Proved", PasswordHash: "proved"}, noon)
					return
				}
				if _, err := db.DeletePendingUsers(ctx, limit, 10); err != nil {
					t.Error(err)
				}
			})
			got, err := db.User(ctx, u.ID)
			if proved == nil {
				must(t, err)
				equal(t, "status", got.Status, storage.UserActive)
				continue
			}
			want(t, "VerifyEmail", proved, storage.ErrNotFound)
			want(t, "User", err, storage.ErrNotFound)
		}
	})
	t.Run("servers that clean up at once remove each user once", func(t *testing.T) {
		for range 10 {
			for range 20 {
				registered(t, long)
			}
			var removed [4]int
			together(len(removed), func(i int) {
				var err error
				if removed[i], err = db.DeletePendingUsers(ctx, limit, 20); err != nil {
					t.Error(err)
				}
			})
			n, err := db.DeletePendingUsers(ctx, limit, 100)
			must(t, err)
			for _, r := range removed {
				n += r
			}
			equal(t, "removed", n, 20)
		}
	})
}

// none is what went wrong, of a call that has a result too.
func none(_ any, err error) error { return err }

// testEveryRace does all that changes one user at once: no two of them may wait
// for each other in a circle, which a database ends with an error.
func testEveryRace(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	expected := []error{storage.ErrNotFound, storage.ErrConflict, storage.ErrSpent}

	for range 20 {
		u := addUser(t, db)
		client := newClient(newID())
		must(t, db.CreateClient(ctx, client))
		must(t, db.PutConsent(ctx, storage.Consent{UserID: u.ID, ClientID: client.ID, GrantedAt: noon}))
		var sessions [4]storage.Session
		for i := range sessions {
			sessions[i] = newSession(u)
			must(t, db.CreateSession(ctx, sessions[i], ""))
			addGrant(t, db, u, func(g *storage.Grant) { g.SessionID, g.ClientID = sessions[i].ID, client.ID })
		}
		mac := sum("code")

		verbs := []func() error{
			func() error {
				return none(db.SetPassword(ctx, storage.PasswordChange{UserID: u.ID, PasswordHash: "new", Now: noon}))
			},
			func() error { return db.UpgradePassword(ctx, u.ID, "hash of "+u.ID, "better") },
			func() error {
				u, err := db.User(ctx, u.ID)
				if err != nil {
					return err
				}
				return none(db.ChangeEmail(ctx, u.ID, u.Epoch, "x"+u.Email, noon))
			},
			func() error { return db.SetStatus(ctx, u.ID, storage.UserActive, noon) },
			func() error { return none(db.EndEverything(ctx, u.ID, storage.Kept{Session: sessions[0].ID}, noon)) },
			func() error {
				u, err := db.User(ctx, u.ID)
				if err != nil {
					return err
				}
				e := enrolment(u.ID)
				e.Epoch = u.Epoch
				return none(db.EnableTOTP(ctx, e))
			},
			func() error {
				u, err := db.User(ctx, u.ID)
				if err != nil {
					return err
				}
				return none(db.DisableTOTP(ctx, u.ID, u.Epoch, storage.Kept{}, noon))
			},
			func() error { return db.SpendTOTP(ctx, u.ID, step+1, noon) },
			func() error { return none(db.FailSecondFactor(ctx, u.ID, noon)) },
			func() error { return none(db.SpendRecoveryCode(ctx, u.ID, mac, noon)) },
			func() error { return db.ReplaceRecoveryCodes(ctx, u.ID, [][]byte{mac, sum("other")}, noon) },
			func() error { return db.WithdrawConsent(ctx, u.ID, client.ID, noon) },
			func() error {
				return db.PutConsent(ctx, storage.Consent{UserID: u.ID, ClientID: client.ID, GrantedAt: noon})
			},
			func() error { return db.DeleteClient(ctx, client.ID, noon) },
			func() error { return db.EndSession(ctx, sessions[1].ID, noon) },
			func() error { return db.EndSessionOf(ctx, u.ID, sessions[2].ID, noon) },
			func() error {
				u, err := db.User(ctx, u.ID)
				if err != nil {
					return err
				}
				return db.CreateSession(ctx, newSession(u), sessions[3].ID)
			},
			func() error { return db.DeleteUser(ctx, u.ID, noon) },
			func() error { return db.SetProfile(ctx, u.ID, "Ada", storage.Profile{Nickname: "A"}, noon) },
			func() error { return db.SetLocale(ctx, u.ID, "ne", noon) },
			func() error { return db.SetLogo(ctx, client.ID, storage.Logo{Type: "image/png", Bytes: mac}) },
			func() error { return db.ClientUsed(ctx, client.ID, noon) },
			func() error { return none(db.DeleteUnusedClients(ctx, noon, noon, 10)) },
			func() error {
				return none(db.Revoke(ctx, storage.Revocation{Kind: storage.RevokedToken, Key: "jti", At: noon, Until: noon}))
			},
			func() error { return none(db.DeleteExpiredRevocations(ctx, after(time.Hour), 10)) },
			func() error { return none(db.DeleteNotices(ctx, after(time.Hour), 10)) },
		}
		together(2*len(verbs), func(i int) {
			err := verbs[i%len(verbs)]()
			if err != nil && !slices.ContainsFunc(expected, func(e error) bool { return errors.Is(err, e) }) {
				t.Errorf("verb %d: %v", i%len(verbs), err)
			}
		})
	}
}

package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// step is the time-step that confirms an enrolment.
const step = 64_000_000

func macs(set string) [][]byte {
	var all [][]byte
	for i := range 10 {
		all = append(all, sum(fmt.Sprint(set, " ", i)))
	}
	return all
}

func enrolment(userID string) storage.Enrolment {
	return storage.Enrolment{
		UserID:       userID,
		Epoch:        newUser().Epoch, // to whom nothing has happened yet
		Sealed:       []byte{0, 1, 254, 255},
		Step:         step,
		RecoveryMACs: macs(userID),
		Now:          noon,
	}
}

// enable turns two-step sign-in on and returns the user as it is then.
func enable(t *testing.T, db storage.SQL, u storage.User) storage.User {
	t.Helper()
	epoch, err := db.EnableTOTP(t.Context(), enrolment(u.ID))
	must(t, err)
	u.SecondFactor, u.Epoch, u.UpdatedAt = true, epoch, noon
	return u
}

// epochOf is the user's epoch now; of nobody it is zero.
func epochOf(t *testing.T, db storage.SQL, userID string) int64 {
	t.Helper()
	u, err := db.User(t.Context(), userID)
	if !errors.Is(err, storage.ErrNotFound) {
		must(t, err)
	}
	return u.Epoch
}

// wantTOTP reads the authenticator app back.
func wantTOTP(t *testing.T, db storage.SQL, want storage.TOTP) {
	t.Helper()
	got, err := db.TOTP(t.Context(), want.UserID)
	must(t, err)
	equal(t, "TOTP", got, want)
}

func wantCodesLeft(t *testing.T, db storage.SQL, u storage.User, want int) {
	t.Helper()
	n, err := db.RecoveryCodesLeft(t.Context(), u.ID)
	must(t, err)
	equal(t, "codes left", n, want)
}

func testSecondFactors(t *testing.T, db storage.SQL) {
	ctx := t.Context()

	t.Run("it is on as it was enrolled, and the user says so", func(t *testing.T) {
		u := addUser(t, db)
		l := newLetter()
		e := enrolment(u.ID)
		epoch, err := db.EnableTOTP(ctx, e, l)
		must(t, err)
		equal(t, "epoch", epoch, u.Epoch+1)
		u.SecondFactor, u.Epoch, u.UpdatedAt = true, epoch, noon
		wantUser(t, db, u)
		byEmail, _, err := db.UserByEmail(ctx, u.Email)
		must(t, err)
		equal(t, "by address", byEmail, u)
		wantTOTP(t, db, storage.TOTP{UserID: u.ID, Sealed: e.Sealed, LastStep: step, CreatedAt: noon})
		wantCodesLeft(t, db, u, 10)
		equal(t, "letters", letters(t, db), []storage.Letter{l})
	})
	t.Run("it is turned on once, and a second enrolment changes nothing", func(t *testing.T) {
		u := enable(t, db, addUser(t, db))
		before := letters(t, db)
		e := enrolment(u.ID)
		e.Sealed, e.RecoveryMACs, e.Now = []byte("mallory's"), macs("mallory"), after(time.Hour)
		_, err := db.EnableTOTP(ctx, e, newLetter())
		want(t, "EnableTOTP", err, storage.ErrConflict)
		wantUser(t, db, u)
		wantTOTP(t, db, storage.TOTP{UserID: u.ID, Sealed: enrolment(u.ID).Sealed, LastStep: step, CreatedAt: noon})
		has, err := db.HasRecoveryCode(ctx, u.ID, macs("mallory")[0])
		must(t, err)
		equal(t, "has a code of the second", has, false)
		equal(t, "letters", letters(t, db), before)
	})
	t.Run("of 64 enrolments at once one wins", func(t *testing.T) {
		u := addUser(t, db)
		var errs [64]error
		together(len(errs), func(i int) {
			e := enrolment(u.ID)
			e.Sealed, e.RecoveryMACs = fmt.Append(nil, i), macs(fmt.Sprint(u.ID, i))
			_, errs[i] = db.EnableTOTP(ctx, e)
		})
		winner := one(t, errs[:], storage.ErrConflict)
		wantTOTP(t, db, storage.TOTP{UserID: u.ID, Sealed: fmt.Append(nil, winner), LastStep: step, CreatedAt: noon})
		wantCodesLeft(t, db, u, 10)
		has, err := db.HasRecoveryCode(ctx, u.ID, macs(fmt.Sprint(u.ID, winner))[9])
		must(t, err)
		equal(t, "has a code of the winner", has, true)
	})
	t.Run("only an active user turns it on", func(t *testing.T) {
		suspended := enable(t, db, addUser(t, db))
		must(t, db.SetStatus(ctx, suspended.ID, storage.UserSuspended, noon))
		idle := addUser(t, db)
		must(t, db.SetStatus(ctx, idle.ID, storage.UserSuspended, noon))
		before := letters(t, db)
		for name, id := range map[string]string{
			"nobody":                newID(),
			"pending":               addPending(t, db).ID,
			"suspended":             idle.ID,
			"suspended, with it on": suspended.ID,
		} {
			_, err := db.EnableTOTP(ctx, enrolment(id), newLetter())
			want(t, name, err, storage.ErrNotFound)
		}
		_, err := db.TOTP(ctx, idle.ID)
		want(t, "TOTP", err, storage.ErrNotFound)
		wantCodesLeft(t, db, idle, 0)
		equal(t, "letters", letters(t, db), before)
	})
	t.Run("turned off, nothing of it is left, and it can be turned on again", func(t *testing.T) {
		u, other := enable(t, db, addUser(t, db)), enable(t, db, addUser(t, db))
		l := newLetter()
		now := after(time.Minute)
		epoch, err := db.DisableTOTP(ctx, u.ID, u.Epoch, storage.Kept{}, now, l)
		must(t, err)
		equal(t, "epoch", epoch, u.Epoch+1)
		u.SecondFactor, u.Epoch, u.UpdatedAt = false, epoch, now
		wantUser(t, db, u)
		_, err = db.TOTP(ctx, u.ID)
		want(t, "TOTP", err, storage.ErrNotFound)
		wantCodesLeft(t, db, u, 0)
		if !slices.Contains(ids(letters(t, db)), l.ID) {
			t.Error("no letter")
		}

		before := letters(t, db)
		for _, id := range []string{u.ID, newID()} {
			_, err = db.DisableTOTP(ctx, id, u.Epoch, storage.Kept{}, now, newLetter())
			want(t, "DisableTOTP", err, storage.ErrNotFound)
		}
		wantUser(t, db, u)
		equal(t, "letters", letters(t, db), before)

		wantUser(t, db, other)
		wantCodesLeft(t, db, other, 10)
		e := enrolment(u.ID)
		e.Epoch, e.Sealed, e.Step = u.Epoch, []byte("second"), step+50
		_, err = db.EnableTOTP(ctx, e)
		must(t, err)
		wantTOTP(t, db, storage.TOTP{UserID: u.ID, Sealed: e.Sealed, LastStep: e.Step, CreatedAt: noon})
	})
	t.Run("an operator turns it off for a user who is suspended", func(t *testing.T) {
		u := enable(t, db, addUser(t, db))
		must(t, db.SetStatus(ctx, u.ID, storage.UserSuspended, noon))
		_, err := db.DisableTOTP(ctx, u.ID, u.Epoch+1, storage.Kept{}, noon)
		must(t, err)
	})
	t.Run("what was begun before everything ended turns nothing on or off", func(t *testing.T) {
		off, on := addUser(t, db), enable(t, db, addUser(t, db))
		for _, u := range []*storage.User{&off, &on} {
			epoch, err := db.EndEverything(ctx, u.ID, storage.Kept{}, after(time.Minute))
			must(t, err)
			u.Epoch, u.UpdatedAt = epoch, after(time.Minute)
		}
		before := letters(t, db)
		e := enrolment(off.ID)
		e.Epoch = off.Epoch - 1
		_, err := db.EnableTOTP(ctx, e, newLetter())
		want(t, "EnableTOTP", err, storage.ErrNotFound)
		_, err = db.DisableTOTP(ctx, on.ID, on.Epoch-1, storage.Kept{}, noon, newLetter())
		want(t, "DisableTOTP", err, storage.ErrConflict)
		wantUser(t, db, off)
		wantUser(t, db, on)
		wantCodesLeft(t, db, on, 10)
		equal(t, "letters", letters(t, db), before)
	})
	t.Run("a change and its letters are written together or not at all", func(t *testing.T) {
		off, on, l := addUser(t, db), enable(t, db, addUser(t, db)), newLetter()
		must(t, db.AddLetters(ctx, l))
		before := letters(t, db)
		_, err := db.EnableTOTP(ctx, enrolment(off.ID), newLetter(), l)
		want(t, "EnableTOTP", err, storage.ErrConflict)
		_, err = db.DisableTOTP(ctx, on.ID, on.Epoch, storage.Kept{}, after(time.Hour), newLetter(), l)
		want(t, "DisableTOTP", err, storage.ErrConflict)
		_, err = db.SpendRecoveryCode(ctx, on.ID, macs(on.ID)[0], noon, newLetter(), l)
		want(t, "SpendRecoveryCode", err, storage.ErrConflict)
		want(t, "ReplaceRecoveryCodes", db.ReplaceRecoveryCodes(ctx, on.ID, macs("new")[:3], after(time.Hour), newLetter(), l), storage.ErrConflict)
		wantUser(t, db, off)
		wantUser(t, db, on)
		_, err = db.TOTP(ctx, off.ID)
		want(t, "TOTP", err, storage.ErrNotFound)
		wantCodesLeft(t, db, off, 0)
		wantTOTP(t, db, storage.TOTP{UserID: on.ID, Sealed: enrolment(on.ID).Sealed, LastStep: step, CreatedAt: noon})
		wantCodesLeft(t, db, on, 10)
		equal(t, "letters", letters(t, db), before)
	})
}

func ids(letters []storage.Letter) []string {
	var all []string
	for _, l := range letters {
		all = append(all, l.ID)
	}
	return all
}

func testTimeSteps(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	now := after(time.Minute)

	t.Run("sec-K1 seed-B2 a step is accepted once, and none before it", func(t *testing.T) {
		u, other := enable(t, db, addUser(t, db)), enable(t, db, addUser(t, db))
		totp := storage.TOTP{UserID: u.ID, Sealed: enrolment(u.ID).Sealed, LastStep: step, CreatedAt: noon}
		for _, c := range []struct {
			step int64
			want error
		}{
			{step, storage.ErrSpent}, // by the enrolment
			{step - 1, storage.ErrSpent},
			{step + 1, nil},
			{step + 1, storage.ErrSpent},
			{step, storage.ErrSpent},
			{step + 5, nil},
			{step + 4, storage.ErrSpent},
			{step + 5, storage.ErrSpent},
			{step + 6, nil},
		} {
			want(t, fmt.Sprint(c.step-step), db.SpendTOTP(ctx, u.ID, c.step, now), c.want)
			if c.want == nil {
				totp.LastStep, totp.LastUsedAt = c.step, now
			}
			wantTOTP(t, db, totp)
			now = now.Add(time.Second)
		}
		wantUser(t, db, u)
		wantTOTP(t, db, storage.TOTP{UserID: other.ID, Sealed: enrolment(other.ID).Sealed, LastStep: step, CreatedAt: noon})
	})
	t.Run("without an authenticator app no step is accepted", func(t *testing.T) {
		want(t, "off", db.SpendTOTP(ctx, addUser(t, db).ID, step, noon), storage.ErrSpent)
		want(t, "of nobody", db.SpendTOTP(ctx, newID(), step, noon), storage.ErrSpent)
	})
	t.Run("sec-K1 of 64 uses of one step one wins", func(t *testing.T) {
		for range 5 {
			u := enable(t, db, addUser(t, db))
			var errs [64]error
			together(len(errs), func(i int) { errs[i] = db.SpendTOTP(ctx, u.ID, step+1, now) })
			one(t, errs[:], storage.ErrSpent)
		}
	})
	t.Run("of 64 steps at once the newest is accepted and all are spent", func(t *testing.T) {
		u := enable(t, db, addUser(t, db))
		var errs [64]error
		together(len(errs), func(i int) { errs[i] = db.SpendTOTP(ctx, u.ID, step+1+int64(i), now) })
		must(t, errs[63])
		want(t, "the newest again", db.SpendTOTP(ctx, u.ID, step+64, now), storage.ErrSpent)
	})
	t.Run("sec-K2 wrong codes are counted until a right one", func(t *testing.T) {
		u, other := enable(t, db, addUser(t, db)), enable(t, db, addUser(t, db))
		totp := storage.TOTP{UserID: u.ID, Sealed: enrolment(u.ID).Sealed, LastStep: step, CreatedAt: noon}
		fail := func(times int) {
			t.Helper()
			for range times {
				totp.Failures++
				totp.FailedAt = after(time.Duration(totp.Failures) * time.Second)
				n, err := db.FailSecondFactor(ctx, u.ID, totp.FailedAt)
				must(t, err)
				equal(t, "failures", n, totp.Failures)
			}
			wantTOTP(t, db, totp)
		}
		cleared := func() {
			t.Helper()
			totp.Failures, totp.FailedAt = 0, time.Time{}
			wantTOTP(t, db, totp)
		}

		fail(3)
		want(t, "a step that is spent", db.SpendTOTP(ctx, u.ID, step, now), storage.ErrSpent)
		_, err := db.SpendRecoveryCode(ctx, u.ID, sum("guess"), now)
		want(t, "a recovery code that is none", err, storage.ErrNotFound)
		must(t, db.ReplaceRecoveryCodes(ctx, u.ID, macs(u.ID), now))
		fail(2)
		must(t, db.SpendTOTP(ctx, u.ID, step+1, now))
		totp.LastStep, totp.LastUsedAt = step+1, now
		cleared()

		fail(2)
		_, err = db.SpendRecoveryCode(ctx, u.ID, macs(u.ID)[0], now)
		must(t, err)
		cleared()
		fail(1)

		wantTOTP(t, db, storage.TOTP{UserID: other.ID, Sealed: enrolment(other.ID).Sealed, LastStep: step, CreatedAt: noon})
		for _, id := range []string{addUser(t, db).ID, newID()} {
			_, err = db.FailSecondFactor(ctx, id, now)
			want(t, "FailSecondFactor", err, storage.ErrNotFound)
		}
	})
	t.Run("sec-K2 of 64 wrong codes at once each is counted", func(t *testing.T) {
		u := enable(t, db, addUser(t, db))
		var counts [64]int
		together(len(counts), func(i int) {
			var err error
			if counts[i], err = db.FailSecondFactor(ctx, u.ID, now); err != nil {
				t.Error(err)
			}
		})
		slices.Sort(counts[:])
		for i, n := range counts {
			equal(t, "count", n, i+1)
		}
	})
}

func testRecoveryCodes(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	has := func(t *testing.T, u storage.User, mac []byte, wanted bool) {
		t.Helper()
		got, err := db.HasRecoveryCode(ctx, u.ID, mac)
		must(t, err)
		equal(t, "has the code", got, wanted)
	}

	t.Run("sec-K3 a code is spent once, and says how many are left", func(t *testing.T) {
		u, other := enable(t, db, addUser(t, db)), enable(t, db, addUser(t, db))
		for i, mac := range macs(u.ID) {
			has(t, u, mac, true)
			l := newLetter()
			left, err := db.SpendRecoveryCode(ctx, u.ID, mac, noon, l)
			must(t, err)
			equal(t, "left", left, 9-i)
			wantCodesLeft(t, db, u, left)
			has(t, u, mac, false)
			before := letters(t, db)
			if before[len(before)-1].ID != l.ID {
				t.Error("no letter")
			}
			_, err = db.SpendRecoveryCode(ctx, u.ID, mac, noon, newLetter())
			want(t, "a second time", err, storage.ErrNotFound)
			equal(t, "letters", letters(t, db), before)
		}
		wantUser(t, db, u)
		wantCodesLeft(t, db, other, 10)
	})
	t.Run("a code is good for its owner alone, while two-step sign-in is on", func(t *testing.T) {
		u, other := enable(t, db, addUser(t, db)), enable(t, db, addUser(t, db))
		off := enable(t, db, addUser(t, db))
		_, err := db.DisableTOTP(ctx, off.ID, off.Epoch, storage.Kept{}, noon)
		must(t, err)
		for name, c := range map[string]struct {
			user storage.User
			mac  []byte
		}{
			"a guess":       {u, sum("guess")},
			"none":          {u, nil},
			"another's":     {u, macs(other.ID)[0]},
			"turned off":    {off, macs(off.ID)[0]},
			"one of nobody": {newUser(), macs(u.ID)[0]},
		} {
			has(t, c.user, c.mac, false)
			_, err := db.SpendRecoveryCode(ctx, c.user.ID, c.mac, noon)
			want(t, name, err, storage.ErrNotFound)
		}
		wantCodesLeft(t, db, u, 10)
		wantCodesLeft(t, db, other, 10)
	})
	t.Run("sec-K3 of 64 uses of one code one wins", func(t *testing.T) {
		u := enable(t, db, addUser(t, db))
		before := len(letters(t, db))
		var errs [64]error
		var lefts [64]int
		together(len(errs), func(i int) {
			lefts[i], errs[i] = db.SpendRecoveryCode(ctx, u.ID, macs(u.ID)[3], noon, newLetter())
		})
		equal(t, "left", lefts[one(t, errs[:], storage.ErrNotFound)], 9)
		wantCodesLeft(t, db, u, 9)
		equal(t, "letters", len(letters(t, db)), before+1)
	})
	t.Run("of ten codes at once each says how many it left", func(t *testing.T) {
		for range 10 {
			u := enable(t, db, addUser(t, db))
			var lefts [10]int
			together(len(lefts), func(i int) {
				var err error
				if lefts[i], err = db.SpendRecoveryCode(ctx, u.ID, macs(u.ID)[i], noon); err != nil {
					t.Error(err)
				}
			})
			slices.Sort(lefts[:])
			equal(t, "left", lefts, [10]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
		}
	})
	t.Run("sec-K3 new codes replace all of the old", func(t *testing.T) {
		u, l := enable(t, db, addUser(t, db)), newLetter()
		now := after(time.Minute)
		_, err := db.SpendRecoveryCode(ctx, u.ID, macs(u.ID)[0], noon)
		must(t, err)
		must(t, db.ReplaceRecoveryCodes(ctx, u.ID, macs("new"), now, l))
		wantCodesLeft(t, db, u, 10)
		for _, mac := range macs(u.ID) {
			has(t, u, mac, false)
		}
		for _, mac := range macs("new") {
			has(t, u, mac, true)
		}
		if !slices.Contains(ids(letters(t, db)), l.ID) {
			t.Error("no letter")
		}
		// Nothing else ends.
		u.UpdatedAt = now
		wantUser(t, db, u)
	})
	t.Run("without two-step sign-in there are no codes", func(t *testing.T) {
		u := addUser(t, db)
		before := letters(t, db)
		for _, id := range []string{u.ID, newID()} {
			want(t, "ReplaceRecoveryCodes", db.ReplaceRecoveryCodes(ctx, id, macs("new"), after(time.Hour), newLetter()), storage.ErrNotFound)
		}
		wantCodesLeft(t, db, u, 0)
		wantUser(t, db, u)
		equal(t, "letters", letters(t, db), before)
	})
	t.Run("of sets made at once one stays, and none where it is turned off", func(t *testing.T) {
		for range 20 {
			u := enable(t, db, addUser(t, db))
			together(5, func(i int) {
				var err error
				if i == 0 {
					_, err = db.DisableTOTP(ctx, u.ID, u.Epoch, storage.Kept{}, noon)
				} else {
					err = db.ReplaceRecoveryCodes(ctx, u.ID, macs(fmt.Sprint(i)), noon)
				}
				if err != nil && !errors.Is(err, storage.ErrNotFound) {
					t.Error(err)
				}
			})
			wantCodesLeft(t, db, u, 0)

			u = enable(t, db, addUser(t, db))
			together(4, func(i int) {
				if err := db.ReplaceRecoveryCodes(ctx, u.ID, macs(fmt.Sprint(i)), noon); err != nil {
					t.Error(err)
				}
			})
			wantCodesLeft(t, db, u, 10)
		}
	})
}

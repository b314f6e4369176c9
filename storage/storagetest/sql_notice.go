package storagetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

func pendingNotices(t *testing.T, db storage.SQL) []storage.Notice {
	t.Helper()
	notices, err := db.PendingNotices(t.Context(), 1000)
	must(t, err)
	return notices
}

// noticesOf returns the pending notices about the user, by id.
func noticesOf(t *testing.T, db storage.SQL, userID string) []storage.Notice {
	t.Helper()
	var of []storage.Notice
	for _, n := range pendingNotices(t, db) {
		if n.UserID == userID {
			of = append(of, n)
		}
	}
	slices.SortFunc(of, func(a, b storage.Notice) int { return compare(a.ID, b.ID) })
	return of
}

func (h household) notice(s storage.Session) storage.Notice {
	return storage.Notice{
		ID:        s.ID + "." + h.told.ID,
		ClientID:  h.told.ID,
		UserID:    h.user.ID,
		SessionID: s.ID,
		CreatedAt: ending,
	}
}

func testNotices(t *testing.T, db storage.SQL) {
	ctx := t.Context()

	for _, verb := range endings {
		t.Run(verb.name+" tells each client of each session that it ends", func(t *testing.T) {
			h := newHousehold(t, db)
			bystander := newHousehold(t, db)
			must(t, verb.do(db, t, h))

			var want []storage.Notice
			for _, s := range verb.told(h) {
				want = append(want, h.notice(s))
			}
			slices.SortFunc(want, func(a, b storage.Notice) int { return compare(a.ID, b.ID) })
			equal(t, "notices", noticesOf(t, db, h.user.ID), want)
			equal(t, "notices of a bystander", len(noticesOf(t, db, bystander.user.ID)), 0)
		})
	}
	t.Run("one end of a session is told once, whoever ends it", func(t *testing.T) {
		for range 10 {
			h := newHousehold(t, db)
			together(4, func(i int) {
				var err error
				switch i {
				case 0, 1:
					err = db.EndSession(ctx, h.first.ID, ending)
				case 2:
					_, err = db.EndEverything(ctx, h.user.ID, h.keepsSecond(), ending)
				case 3:
					_, err = db.SetPassword(ctx, storage.PasswordChange{
						UserID: h.user.ID, PasswordHash: "new", Keep: h.keepsSecond(), Now: ending,
					})
				}
				if err != nil {
					t.Error(err)
				}
			})
			must(t, db.EndSession(ctx, h.first.ID, after(time.Hour)))
			equal(t, "notices", noticesOf(t, db, h.user.ID), []storage.Notice{h.notice(h.first)})
		}
	})
	t.Run("a session that has expired and is removed is not told when it is ended", func(t *testing.T) {
		h := newHousehold(t, db)
		_, err := db.DeleteExpiredSessions(ctx, after(24*time.Hour), 1000)
		must(t, err)
		must(t, db.EndSession(ctx, h.first.ID, ending))
		equal(t, "notices", len(noticesOf(t, db, h.user.ID)), 0)
	})
	t.Run("a client is told by what it is registered with when the session ends", func(t *testing.T) {
		h := newHousehold(t, db)
		h.told.Metadata.BackchannelLogoutURI = ""
		must(t, db.UpdateClient(ctx, h.told))
		h.quiet.Metadata.BackchannelLogoutURI = "https://quiet.example/logout"
		must(t, db.UpdateClient(ctx, h.quiet))
		must(t, db.EndSession(ctx, h.first.ID, ending))
		notices := noticesOf(t, db, h.user.ID)
		equal(t, "notices", len(notices), 1)
		equal(t, "told", notices[0].ClientID, h.quiet.ID)
	})
	t.Run("a grant that was revoked before is told all the same", func(t *testing.T) {
		h := newHousehold(t, db)
		must(t, db.WithdrawConsent(ctx, h.user.ID, h.told.ID, noon))
		must(t, db.EndSession(ctx, h.second.ID, ending))
		equal(t, "notices", noticesOf(t, db, h.user.ID), []storage.Notice{h.notice(h.second)})
	})
	t.Run("a notice is pending until it is delivered or given up, and what came of it stays", func(t *testing.T) {
		h := newHousehold(t, db)
		must(t, db.EndSession(ctx, h.first.ID, ending))
		must(t, db.EndSession(ctx, h.second.ID, ending))
		delivered, failed := h.notice(h.first), h.notice(h.second)
		must(t, db.DeliverNotice(ctx, delivered.ID, after(time.Hour)))
		must(t, db.FailNotice(ctx, failed.ID, "no answer", after(2*time.Hour)))
		delivered.DeliveredAt = after(time.Hour)
		failed.FailedAt, failed.Failure = after(2*time.Hour), "no answer"
		// The first word is the last.
		must(t, db.FailNotice(ctx, delivered.ID, "too late", after(3*time.Hour)))
		must(t, db.DeliverNotice(ctx, failed.ID, after(3*time.Hour)))

		equal(t, "pending", len(noticesOf(t, db, h.user.ID)), 0)
		for _, n := range []storage.Notice{delivered, failed} {
			got, err := db.Notice(ctx, n.ID)
			must(t, err)
			equal(t, "notice", got, n)
		}
	})
	t.Run("an unknown notice is not found", func(t *testing.T) {
		_, err := db.Notice(ctx, "s.c")
		want(t, "Notice", err, storage.ErrNotFound)
		must(t, db.DeliverNotice(ctx, "s.c", noon))
		must(t, db.FailNotice(ctx, "s.c", "x", noon))
	})
	t.Run("notices are listed and removed by their age", func(t *testing.T) {
		_, err := db.DeleteNotices(ctx, after(24*time.Hour), 1000)
		must(t, err)
		equal(t, "left", len(pendingNotices(t, db)), 0)

		u, c := addUser(t, db), newClient(newID())
		must(t, db.CreateClient(ctx, c))
		var byAge []string
		// Made in another order than that of their ids.
		for i, minutes := range []int{3, 1, 2, 4} {
			s := newSession(u)
			s.ID = fmt.Sprintf("session-%d", i)
			must(t, db.CreateSession(ctx, s, ""))
			addGrant(t, db, u, func(g *storage.Grant) { g.ClientID, g.SessionID = c.ID, s.ID })
			must(t, db.EndSession(ctx, s.ID, after(time.Duration(minutes)*time.Minute)))
		}
		for _, i := range []int{1, 2, 0, 3} {
			byAge = append(byAge, fmt.Sprintf("session-%d.%s", i, c.ID))
		}
		ids := func(notices []storage.Notice, err error) (ids []string) {
			t.Helper()
			must(t, err)
			for _, n := range notices {
				ids = append(ids, n.ID)
			}
			return ids
		}
		equal(t, "pending", ids(db.PendingNotices(ctx, 3)), byAge[:3])
		must(t, db.DeliverNotice(ctx, byAge[0], after(time.Hour)))
		equal(t, "pending", ids(db.PendingNotices(ctx, 10)), byAge[1:])
		equal(t, "listed", ids(db.ListNotices(ctx, c.ID, 3)), []string{byAge[3], byAge[2], byAge[1]})
		equal(t, "all listed", len(ids(db.ListNotices(ctx, c.ID, 10))), 4)
		equal(t, "another's", len(ids(db.ListNotices(ctx, "other", 10))), 0)

		n, err := db.DeleteNotices(ctx, after(3*time.Minute), 1)
		must(t, err)
		equal(t, "removed", n, 1)
		n, err = db.DeleteNotices(ctx, after(3*time.Minute), 10)
		must(t, err)
		equal(t, "removed", n, 1)
		equal(t, "left", ids(db.ListNotices(ctx, c.ID, 10)), []string{byAge[3], byAge[2]})
	})
}

package storagetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/storage"
)

// TestSQL states the contract of [storage.SQL]. Each call of open returns an
// empty database with the current schema, closed when the test ends.
func TestSQL(t *testing.T, open func(t *testing.T) storage.SQL) {
	for _, part := range []struct {
		name string
		test func(t *testing.T, db storage.SQL)
	}{
		{"users", testUsers},
		{"registration", testRegistration},
		{"passwords", testPasswords},
		{"upgrades of passwords", testUpgrades},
		{"endings", testEndings},
		{"addresses", testAddresses},
		{"status", testStatus},
		{"deletion", testDeletion},
		{"pending users", testPendingUsers},
		{"second factors", testSecondFactors},
		{"time-steps", testTimeSteps},
		{"recovery codes", testRecoveryCodes},
		{"clients", testClients},
		{"consents", testConsents},
		{"sessions", testSessions},
		{"grants", testGrants},
		{"rotation", testRotation},
		{"races of rotations", testRotationRaces},
		{"races of users", testUserRaces},
		{"races of everything", testEveryRace},
		{"replays", testReplays},
		{"revocations", testRevocations},
		{"races of revocations", testRevocationRaces},
		{"notices", testNotices},
		{"records", testRecords},
		{"logos", testLogos},
		{"dynamic clients", testDynamicClients},
		{"keys", testKeys},
		{"letters", testLetters},
		{"events", testEvents},
		{"events that repeat", testRepeat},
		{"time", testTime},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

// TestStatements proves that what every request does takes one statement and
// no transaction. Each call of open returns a database as for [TestSQL] that
// gives every statement to onQuery.
func TestStatements(t *testing.T, open func(t *testing.T, onQuery func(sql string)) storage.SQL) {
	var mu sync.Mutex
	var seen []string
	db := open(t, func(sql string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, sql)
	})
	u := addUser(t, db)
	s := newSession(u)
	must(t, db.CreateSession(t.Context(), s, ""))
	g, alive := newGrant(u), addGrant(t, db, u)
	enrolled := addUser(t, db)
	enable(t, db, enrolled)

	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"CreateGrant is one statement", func() error {
			return db.CreateGrant(t.Context(), g)
		}},
		{"Rotate is one statement", func() error {
			_, _, err := db.Rotate(t.Context(), rotation(g))
			return err
		}},
		{"Rotate is one statement when it finds a reuse", func() error {
			r := rotation(g)
			r.Presented = 0
			_, _, err := db.Rotate(t.Context(), r)
			return err
		}},
		{"RevokeGrant is one statement", func() error {
			return db.RevokeGrant(t.Context(), g.ID, noon)
		}},
		{"LiveGrant is one statement", func() error {
			_, _, err := db.LiveGrant(t.Context(), alive.ID, noon)
			return err
		}},
		{"SessionBySecret is one statement", func() error {
			_, _, err := db.SessionBySecret(t.Context(), s.SecretHash, noon)
			return err
		}},
		{"SpendTOTP is one statement", func() error {
			return db.SpendTOTP(t.Context(), enrolled.ID, step+1, noon)
		}},
		{"FailSecondFactor is one statement", func() error {
			_, err := db.FailSecondFactor(t.Context(), enrolled.ID, noon)
			return err
		}},
		{"UpgradePassword is one statement", func() error {
			return db.UpgradePassword(t.Context(), u.ID, "hash of "+u.ID, "better")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen = nil
			must(t, c.do())
			if len(seen) != 1 {
				t.Errorf("statements: %q", seen)
			}
		})
	}
}

// TestByHand proves that what a user has is dead when the user's row says so,
// also when no verb has ended it, and that a revocation is written for a grant
// that no verb has revoked: an operator may use SQL. exec runs a statement with
// one argument, written ?.
func TestByHand(t *testing.T, db storage.SQL, exec func(sql, arg string) error) {
	for _, change := range []string{
		"UPDATE users SET status = 'suspended' WHERE id = ?",
		"UPDATE users SET status = 'pending' WHERE id = ?",
		"UPDATE users SET epoch = epoch + 1 WHERE id = ?",
	} {
		t.Run(change, func(t *testing.T) {
			u := addUser(t, db)
			g := addGrant(t, db, u)
			s := newSession(u)
			must(t, db.CreateSession(t.Context(), s, ""))
			must(t, exec(change, u.ID))

			_, _, err := db.LiveGrant(t.Context(), g.ID, noon)
			want(t, "LiveGrant", err, storage.ErrNotFound)
			_, _, err = db.Rotate(t.Context(), rotation(g))
			want(t, "Rotate", err, storage.ErrNotFound)
			_, _, err = db.SessionBySecret(t.Context(), s.SecretHash, noon)
			want(t, "SessionBySecret", err, storage.ErrNotFound)
			grants, err := db.ListGrants(t.Context(), u.ID, noon)
			must(t, err)
			equal(t, "grants listed", len(grants), 0)
			sessions, err := db.ListSessions(t.Context(), u.ID, noon)
			must(t, err)
			equal(t, "sessions listed", len(sessions), 0)
			equal(t, "the grant kept", grant(t, db, g), g)
		})
	}

	t.Run("a grant that is revoked has one revocation", func(t *testing.T) {
		g := addGrant(t, db, addUser(t, db))
		last := lastRevocation(t, db)
		must(t, exec("UPDATE grants SET revoked_at = created_at WHERE id = ?", g.ID))
		must(t, exec("UPDATE grants SET revoked_at = ends_at WHERE id = ?", g.ID))
		wantRevocations(t, db, last, []storage.Revocation{{Kind: storage.RevokedGrant, Key: g.ID, At: noon, Until: dead(noon)}})
	})
}

// noon is when tests happen, with every digit that must be kept.
var noon = time.Date(2031, 5, 4, 12, 0, 0, 123456000, time.UTC)

func after(d time.Duration) time.Time { return noon.Add(d) }

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

func newUser() storage.User {
	id := newID()
	return storage.User{
		ID:              id,
		Email:           "Ada." + id + "@Example.com",
		Name:            "Ada Lovelace",
		EmailVerifiedAt: after(-time.Hour),
		Status:          storage.UserActive,
		Epoch:           3,
		CreatedAt:       after(-2 * time.Hour),
		UpdatedAt:       after(-time.Hour),
	}
}

func addUser(t *testing.T, db storage.SQL) storage.User {
	t.Helper()
	u := newUser()
	must(t, db.CreateUser(t.Context(), u, "hash of "+u.ID))
	return u
}

func addPending(t *testing.T, db storage.SQL) storage.User {
	t.Helper()
	u := newUser()
	u.Status = storage.UserPending
	u.EmailVerifiedAt = time.Time{}
	must(t, db.CreateUser(t.Context(), u, "first"))
	return u
}

func newClient(id string) storage.Client {
	return storage.Client{
		ID:           id,
		Name:         "Calendar",
		AuthMethod:   storage.AuthSecretBasic,
		SecretHashes: [][]byte{sum("one"), sum("two")},
		RedirectURIs: []string{"https://calendar.example/callback?a=1&b=\"2\"", "http://127.0.0.1/cb"},
		GrantTypes:   []string{"authorization_code", "refresh_token"},
		Scopes:       []string{"openid", "email", "offline_access"},
		Resources:    []string{"https://api.example/"},
		FirstParty:   true,
		OptionalPKCE: true,
		IDTokenAlg:   "RS256",
		RefreshGrace: new(1500 * time.Millisecond),
		Metadata:     storage.ClientMetadata{BackchannelLogoutURI: "https://calendar.example/logout"},
		CreatedAt:    noon,
		UpdatedAt:    noon,
	}
}

func newSession(u storage.User) storage.Session {
	id := newID()
	return storage.Session{
		ID:         id,
		SecretHash: sum("cookie of " + id),
		UserID:     u.ID,
		UserEpoch:  u.Epoch,
		AuthTime:   after(-time.Minute),
		AMR:        []string{"pwd", "otp", "mfa"},
		Remember:   true,
		CreatedAt:  noon,
		ExpiresAt:  after(time.Hour),
		EndsAt:     after(8 * time.Hour),
		UserAgent:  "Mozilla/5.0 (X11; Linux x86_64)",
		Address:    "2001:db8::1",
	}
}

func newGrant(u storage.User) storage.Grant {
	id := newID()
	return storage.Grant{
		ID:         id,
		HandleHash: sum("handle of " + id),
		ClientID:   "calendar",
		UserID:     u.ID,
		UserEpoch:  u.Epoch,
		Scopes:     []string{"openid", "email"},
		Resources:  []string{"https://api.example/", "https://files.example/"},
		Nonce:      "n-0S6_WzA2Mj",
		AuthTime:   after(-time.Minute),
		AMR:        []string{"pwd"},
		Generation: 1,
		CreatedAt:  noon,
		ExpiresAt:  after(time.Hour),
		EndsAt:     after(8 * time.Hour),
	}
}

func addGrant(t *testing.T, db storage.SQL, u storage.User, change ...func(*storage.Grant)) storage.Grant {
	t.Helper()
	g := newGrant(u)
	for _, c := range change {
		c(&g)
	}
	must(t, db.CreateGrant(t.Context(), g))
	return g
}

// rotation presents the current token of a new grant, a minute later, with a
// grace of ten seconds.
func rotation(g storage.Grant) storage.Rotation {
	return storage.Rotation{
		HandleHash: g.HandleHash,
		ClientID:   g.ClientID,
		JKT:        g.JKT,
		Presented:  g.Generation,
		Now:        after(time.Minute),
		GraceSince: after(50 * time.Second),
		ExpiresAt:  after(2 * time.Hour),
	}
}

func newLetter() storage.Letter {
	return storage.Letter{
		ID:        newID(),
		Kind:      "account_verification",
		Sealed:    []byte{0, 1, 254, 255},
		CreatedAt: noon,
		Deadline:  after(5 * time.Minute),
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want says what a method answered in place of a record.
func want(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// wantUser reads the user back.
func wantUser(t *testing.T, db storage.SQL, want storage.User) {
	t.Helper()
	got, err := db.User(t.Context(), want.ID)
	must(t, err)
	equal(t, "user", got, want)
}

// grant reads the grant back, alive or not.
func grant(t *testing.T, db storage.SQL, g storage.Grant) storage.Grant {
	t.Helper()
	got, err := db.GrantByHandle(t.Context(), g.HandleHash)
	must(t, err)
	return got
}

func letters(t *testing.T, db storage.SQL) []storage.Letter {
	t.Helper()
	l, err := db.PendingLetters(t.Context(), "", 100)
	must(t, err)
	return l
}

// together calls do n times at once and returns when all have.
func together(n int, do func(i int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-gate
			do(i)
		})
	}
	close(gate)
	wg.Wait()
}

// one says that of several calls one succeeded and which, and that the others
// got the error.
func one(t *testing.T, errs []error, others error) (winner int) {
	t.Helper()
	winner = -1
	for i, err := range errs {
		switch {
		case err != nil:
			want(t, "a loser", err, others)
		case winner >= 0:
			t.Error("a second winner")
		default:
			winner = i
		}
	}
	if winner < 0 {
		t.Fatal("no winner")
	}
	return winner
}

func testUsers(t *testing.T, db storage.SQL) {
	ctx := t.Context()

	t.Run("a user comes back as it was", func(t *testing.T) {
		u := addUser(t, db)
		wantUser(t, db, u)
		p := addPending(t, db)
		wantUser(t, db, p)
	})
	t.Run("times are UTC, to the microsecond, whatever came in", func(t *testing.T) {
		u := newUser()
		u.CreatedAt = noon.Add(789).In(time.FixedZone("", 5*3600))
		must(t, db.CreateUser(ctx, u, "hash"))
		u.CreatedAt = noon
		wantUser(t, db, u)
	})
	t.Run("an unknown user is not found", func(t *testing.T) {
		_, err := db.User(ctx, newID())
		want(t, "User", err, storage.ErrNotFound)
		_, _, err = db.UserByEmail(ctx, "nobody@example.com")
		want(t, "UserByEmail", err, storage.ErrNotFound)
		_, err = db.SetPassword(ctx, storage.PasswordChange{UserID: newID(), PasswordHash: "x", Now: noon})
		want(t, "SetPassword", err, storage.ErrNotFound)
		want(t, "SetStatus", db.SetStatus(ctx, newID(), storage.UserSuspended, noon), storage.ErrNotFound)
		hashes, err := db.PasswordHashes(ctx, newID())
		must(t, err)
		equal(t, "hashes", len(hashes), 0)
	})
	t.Run("an address is found whatever its case, with the current password", func(t *testing.T) {
		u := newUser()
		u.Email = "Grace.Hopper@Example.com"
		must(t, db.CreateUser(ctx, u, "old"))
		epoch, err := db.SetPassword(ctx, storage.PasswordChange{UserID: u.ID, PasswordHash: "new", Now: after(time.Minute)})
		must(t, err)
		u.Epoch, u.UpdatedAt = epoch, after(time.Minute)
		for _, email := range []string{u.Email, "grace.hopper@example.com", " GRACE.HOPPER@EXAMPLE.COM "} {
			got, hash, err := db.UserByEmail(ctx, email)
			must(t, err)
			equal(t, email, got, u)
			equal(t, email, hash, "new")
		}
	})
	t.Run("an address is taken whatever its case, and nothing is written", func(t *testing.T) {
		u := newUser()
		u.Email = "Alan@Example.com"
		must(t, db.CreateUser(ctx, u, "hash"))
		other := newUser()
		other.Email = "aLAN@exampLE.com"
		before := len(letters(t, db))
		want(t, "CreateUser", db.CreateUser(ctx, other, "hash", newLetter()), storage.ErrConflict)
		_, err := db.User(ctx, other.ID)
		want(t, "the loser", err, storage.ErrNotFound)
		equal(t, "letters", len(letters(t, db)), before)
	})
	t.Run("an id is taken", func(t *testing.T) {
		u := addUser(t, db)
		other := newUser()
		other.ID = u.ID
		want(t, "CreateUser", db.CreateUser(ctx, other, "hash"), storage.ErrConflict)
		wantUser(t, db, u)
	})
	t.Run("a user and the letters are written together or not at all", func(t *testing.T) {
		a, b := newLetter(), newLetter()
		u := newUser()
		must(t, db.CreateUser(ctx, u, "hash", a, b))
		equal(t, "letters", letters(t, db), []storage.Letter{a, b})

		other := newUser()
		want(t, "CreateUser", db.CreateUser(ctx, other, "hash", newLetter(), a), storage.ErrConflict)
		_, err := db.User(ctx, other.ID)
		want(t, "the user of a letter that is there already", err, storage.ErrNotFound)
		equal(t, "letters", letters(t, db), []storage.Letter{a, b})
	})
	t.Run("of 64 registrations of one address one wins", func(t *testing.T) {
		var errs [64]error
		together(len(errs), func(i int) {
			u := newUser()
			u.Email = "race@example.com"
			errs[i] = db.CreateUser(ctx, u, "hash")
		})
		one(t, errs[:], storage.ErrConflict)
	})
	t.Run("users are listed by id, page by page", func(t *testing.T) {
		all, err := db.ListUsers(ctx, "", 1000)
		must(t, err)
		if len(all) < 6 {
			t.Fatalf("only %d users to list", len(all))
		}
		if !slices.IsSortedFunc(all, func(a, b storage.User) int { return compare(a.ID, b.ID) }) {
			t.Error("not in order of their ids")
		}
		var paged []storage.User
		last := ""
		for {
			page, err := db.ListUsers(ctx, last, 2)
			must(t, err)
			if len(page) == 0 {
				break
			}
			if len(page) > 2 {
				t.Fatalf("a page of %d", len(page))
			}
			paged = append(paged, page...)
			last = page[len(page)-1].ID
		}
		equal(t, "pages", paged, all)
	})
}

// compare orders by bytes, as the contracts say.
func compare(a, b string) int { return slices.Compare([]byte(a), []byte(b)) }

func testRegistration(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	second := storage.Registration{Name: "Second", PasswordHash: "second"}

	t.Run("a pending registration is replaced, with its letters", func(t *testing.T) {
		u, l := addPending(t, db), newLetter()
		must(t, db.ReplaceRegistration(ctx, u.ID, second, after(time.Minute), l))
		u.Name, u.UpdatedAt = "Second", after(time.Minute)
		wantUser(t, db, u)
		equal(t, "letters", letters(t, db), []storage.Letter{l})
		hashes, err := db.PasswordHashes(ctx, u.ID)
		must(t, err)
		equal(t, "hashes: what was never proved is no history", hashes, []string{"second"})

		want(t, "a letter that is there already", db.ReplaceRegistration(ctx, u.ID, storage.Registration{Name: "Third", PasswordHash: "third"}, noon, l), storage.ErrConflict)
		wantUser(t, db, u)
	})
	t.Run("a proved mailbox makes a pending user active, with the registration shown", func(t *testing.T) {
		u := addPending(t, db)
		must(t, db.VerifyEmail(ctx, u.ID, second, after(time.Minute)))
		u.Name, u.Status = "Second", storage.UserActive
		u.EmailVerifiedAt, u.UpdatedAt = after(time.Minute), after(time.Minute)
		wantUser(t, db, u)
		hashes, err := db.PasswordHashes(ctx, u.ID)
		must(t, err)
		equal(t, "hashes", hashes, []string{"second"})
	})
	t.Run("without a password, name and password stay", func(t *testing.T) {
		u := addPending(t, db)
		must(t, db.VerifyEmail(ctx, u.ID, storage.Registration{Name: "Ignored"}, after(time.Minute)))
		u.Status = storage.UserActive
		u.EmailVerifiedAt, u.UpdatedAt = after(time.Minute), after(time.Minute)
		wantUser(t, db, u)
		hashes, err := db.PasswordHashes(ctx, u.ID)
		must(t, err)
		equal(t, "hashes", hashes, []string{"first"})
	})
	for _, status := range []storage.UserStatus{storage.UserActive, storage.UserSuspended} {
		t.Run("a code shown late changes nothing of a user who is "+string(status), func(t *testing.T) {
			u := newUser()
			u.Status = status
			must(t, db.CreateUser(ctx, u, "mine"))
			before := letters(t, db)
			want(t, "VerifyEmail", db.VerifyEmail(ctx, u.ID, second, after(time.Minute)), storage.ErrNotFound)
			want(t, "VerifyEmail", db.VerifyEmail(ctx, u.ID, storage.Registration{}, after(time.Minute)), storage.ErrNotFound)
			want(t, "ReplaceRegistration", db.ReplaceRegistration(ctx, u.ID, second, after(time.Minute), newLetter()), storage.ErrNotFound)
			wantUser(t, db, u)
			hashes, err := db.PasswordHashes(ctx, u.ID)
			must(t, err)
			equal(t, "hashes", hashes, []string{"mine"})
			equal(t, "letters", letters(t, db), before)
		})
	}
	t.Run("an unknown user is not found", func(t *testing.T) {
		want(t, "VerifyEmail", db.VerifyEmail(ctx, newID(), second, noon), storage.ErrNotFound)
		want(t, "ReplaceRegistration", db.ReplaceRegistration(ctx, newID(), second, noon), storage.ErrNotFound)
	})
}

func testPasswords(t *testing.T, db storage.SQL) {
	ctx := t.Context()

	t.Run("the last five are remembered, the current first", func(t *testing.T) {
		u := addUser(t, db)
		other := addUser(t, db)
		for i := 1; i <= 6; i++ {
			epoch, err := db.SetPassword(ctx, storage.PasswordChange{UserID: u.ID, PasswordHash: fmt.Sprint(i), Now: after(time.Minute)})
			must(t, err)
			equal(t, "epoch", epoch, u.Epoch+int64(i))
		}
		hashes, err := db.PasswordHashes(ctx, u.ID)
		must(t, err)
		equal(t, "hashes", hashes, []string{"6", "5", "4", "3", "2"})
		u.Epoch, u.UpdatedAt = u.Epoch+6, after(time.Minute)
		wantUser(t, db, u)

		hashes, err = db.PasswordHashes(ctx, other.ID)
		must(t, err)
		equal(t, "hashes of another", hashes, []string{"hash of " + other.ID})
	})
	t.Run("a password proved against one that was replaced changes nothing", func(t *testing.T) {
		u := addUser(t, db)
		change := storage.PasswordChange{UserID: u.ID, PasswordHash: "second", Replaces: "hash of " + u.ID, Now: after(time.Minute)}
		epoch, err := db.SetPassword(ctx, change)
		must(t, err)
		u.Epoch, u.UpdatedAt = epoch, change.Now
		s, g := newSession(u), addGrant(t, db, u)
		must(t, db.CreateSession(ctx, s, ""))
		before := letters(t, db)

		for _, replaces := range []string{change.Replaces, "never"} {
			_, err = db.SetPassword(ctx, storage.PasswordChange{
				UserID: u.ID, PasswordHash: "third", Replaces: replaces, Now: after(time.Hour),
			}, newLetter())
			want(t, "SetPassword", err, storage.ErrConflict)
		}
		wantUser(t, db, u)
		hashes, err := db.PasswordHashes(ctx, u.ID)
		must(t, err)
		equal(t, "hashes", hashes, []string{"second", "hash of " + u.ID})
		equal(t, "letters", letters(t, db), before)
		_, _, err = db.SessionBySecret(ctx, s.SecretHash, noon)
		must(t, err)
		_, _, err = db.LiveGrant(ctx, g.ID, noon)
		must(t, err)

		_, err = db.SetPassword(ctx, storage.PasswordChange{UserID: newID(), PasswordHash: "x", Replaces: "y", Now: noon})
		want(t, "of nobody", err, storage.ErrNotFound)
	})
	t.Run("seed-B1 of 16 changes proved against one password one wins", func(t *testing.T) {
		u := addUser(t, db)
		var errs [16]error
		together(len(errs), func(i int) {
			_, errs[i] = db.SetPassword(ctx, storage.PasswordChange{
				UserID: u.ID, PasswordHash: fmt.Sprint("new ", i), Replaces: "hash of " + u.ID, Now: after(time.Minute),
			}, newLetter())
		})
		winner := one(t, errs[:], storage.ErrConflict)
		hashes, err := db.PasswordHashes(ctx, u.ID)
		must(t, err)
		equal(t, "hashes", hashes, []string{fmt.Sprint("new ", winner), "hash of " + u.ID})
		equal(t, "letters", len(letters(t, db)), 1)
	})
}

func testStatus(t *testing.T, db storage.SQL) {
	ctx := t.Context()

	t.Run("sec-D6 a suspension ends everything, and lifting it brings nothing back", func(t *testing.T) {
		u := addUser(t, db)
		s := newSession(u)
		must(t, db.CreateSession(ctx, s, ""))
		g := addGrant(t, db, u, func(g *storage.Grant) { g.Scopes = []string{"offline_access"} })
		now := after(time.Minute)

		dead := func() {
			t.Helper()
			_, _, err := db.SessionBySecret(ctx, s.SecretHash, now)
			want(t, "SessionBySecret", err, storage.ErrNotFound)
			_, _, err = db.LiveGrant(ctx, g.ID, now)
			want(t, "LiveGrant", err, storage.ErrNotFound)
			_, _, err = db.Rotate(ctx, rotation(g))
			want(t, "Rotate", err, storage.ErrNotFound)
			equal(t, "revoked", grant(t, db, g).RevokedAt, now)
			// Agreed to before, inserted after.
			want(t, "CreateGrant", db.CreateGrant(ctx, newGrant(u)), storage.ErrNotFound)
			want(t, "CreateSession", db.CreateSession(ctx, newSession(u), ""), storage.ErrNotFound)
		}
		must(t, db.SetStatus(ctx, u.ID, storage.UserSuspended, now))
		dead()
		after1 := u
		after1.Status, after1.Epoch, after1.UpdatedAt = storage.UserSuspended, u.Epoch+1, now
		wantUser(t, db, after1)
		want(t, "a grant of the new epoch", db.CreateGrant(ctx, newGrant(after1)), storage.ErrNotFound)
		want(t, "a session of the new epoch", db.CreateSession(ctx, newSession(after1), ""), storage.ErrNotFound)

		must(t, db.SetStatus(ctx, u.ID, storage.UserActive, now))
		dead()
		after1.Status, after1.Epoch = storage.UserActive, u.Epoch+2
		wantUser(t, db, after1)
		must(t, db.CreateGrant(ctx, newGrant(after1)))
		// The session is removed, not only dead: its id can be taken again.
		s.UserEpoch = after1.Epoch
		must(t, db.CreateSession(ctx, s, ""))
	})
	t.Run("seed-A3 lifting the suspension of somebody who never proved the mailbox proves nothing", func(t *testing.T) {
		u := addPending(t, db)
		now := after(time.Minute)
		must(t, db.SetStatus(ctx, u.ID, storage.UserSuspended, now))
		u.Status, u.Epoch, u.UpdatedAt = storage.UserSuspended, u.Epoch+1, now
		wantUser(t, db, u)
		want(t, "a code shown in the meantime", db.VerifyEmail(ctx, u.ID, storage.Registration{}, now), storage.ErrNotFound)

		must(t, db.SetStatus(ctx, u.ID, storage.UserActive, now))
		u.Status, u.Epoch = storage.UserPending, u.Epoch+1
		wantUser(t, db, u)
		must(t, db.VerifyEmail(ctx, u.ID, storage.Registration{}, now))
		u.Status, u.EmailVerifiedAt = storage.UserActive, now
		wantUser(t, db, u)
	})
	t.Run("a status and its letters are written together or not at all", func(t *testing.T) {
		u, l := addUser(t, db), newLetter()
		must(t, db.SetStatus(ctx, u.ID, storage.UserActive, noon, l))
		equal(t, "letters", letters(t, db), []storage.Letter{l})
		want(t, "SetStatus", db.SetStatus(ctx, u.ID, storage.UserSuspended, after(time.Hour), newLetter(), l), storage.ErrConflict)
		want(t, "SetStatus", db.SetStatus(ctx, newID(), storage.UserSuspended, noon, newLetter()), storage.ErrNotFound)
		u.Epoch, u.UpdatedAt = u.Epoch+1, noon
		wantUser(t, db, u)
		equal(t, "letters", letters(t, db), []storage.Letter{l})
	})
	t.Run("an unknown status is refused", func(t *testing.T) {
		u := addUser(t, db)
		if err := db.SetStatus(ctx, u.ID, "trusted", noon); err == nil {
			t.Error("accepted")
		}
		wantUser(t, db, u)
	})
}

func testClients(t *testing.T, db storage.SQL) {
	ctx := t.Context()

	t.Run("a client comes back as it was", func(t *testing.T) {
		for _, c := range []storage.Client{
			newClient("full"),
			{ID: "bare", Name: "Bare", AuthMethod: storage.AuthNone, CreatedAt: noon, UpdatedAt: noon},
			{ID: "strict", AuthMethod: storage.AuthNone, RefreshGrace: new(time.Duration(0)), CreatedAt: noon, UpdatedAt: noon},
		} {
			must(t, db.CreateClient(ctx, c))
			got, err := db.Client(ctx, c.ID)
			must(t, err)
			equal(t, c.ID, got, c)
		}
	})
	t.Run("an id is taken", func(t *testing.T) {
		c := newClient("taken")
		must(t, db.CreateClient(ctx, c))
		want(t, "CreateClient", db.CreateClient(ctx, storage.Client{
			ID: "taken", AuthMethod: storage.AuthNone, CreatedAt: noon, UpdatedAt: noon,
		}), storage.ErrConflict)
		got, err := db.Client(ctx, c.ID)
		must(t, err)
		equal(t, "client", got, c)
	})
	t.Run("everything but the id and the creation can be replaced", func(t *testing.T) {
		must(t, db.CreateClient(ctx, newClient("replaced")))
		c := storage.Client{
			ID: "replaced", Name: "New", AuthMethod: storage.AuthNone, Scopes: []string{"openid"},
			CreatedAt: after(time.Hour), UpdatedAt: after(time.Hour),
		}
		must(t, db.UpdateClient(ctx, c))
		got, err := db.Client(ctx, c.ID)
		must(t, err)
		c.CreatedAt = noon
		equal(t, "client", got, c)
	})
	t.Run("an unknown client is not found", func(t *testing.T) {
		_, err := db.Client(ctx, "nobody")
		want(t, "Client", err, storage.ErrNotFound)
		want(t, "UpdateClient", db.UpdateClient(ctx, newClient("nobody")), storage.ErrNotFound)
		want(t, "DeleteClient", db.DeleteClient(ctx, "nobody", noon), storage.ErrNotFound)
	})
	t.Run("clients are listed by the bytes of their ids, page by page", func(t *testing.T) {
		// A locale would put these in another order.
		for _, id := range []string{"a", "B", "Z-1", "b", "é", "_"} {
			must(t, db.CreateClient(ctx, newClient(id)))
		}
		var ids []string
		last := ""
		for {
			page, err := db.ListClients(ctx, last, 2)
			must(t, err)
			if len(page) == 0 {
				break
			}
			for _, c := range page {
				ids = append(ids, c.ID)
			}
			last = ids[len(ids)-1]
		}
		equal(t, "ids", ids, []string{"B", "Z-1", "_", "a", "b", "bare", "full", "replaced", "strict", "taken", "é"})
	})
	t.Run("sec-D6 a deleted client takes its consents along and its grants are revoked", func(t *testing.T) {
		u := addUser(t, db)
		must(t, db.CreateClient(ctx, newClient("gone")))
		must(t, db.CreateClient(ctx, newClient("stays")))
		of := func(id string) func(*storage.Grant) { return func(g *storage.Grant) { g.ClientID = id } }
		gone, stays := addGrant(t, db, u, of("gone")), addGrant(t, db, u, of("stays"))
		for _, id := range []string{"gone", "stays"} {
			must(t, db.PutConsent(ctx, storage.Consent{UserID: u.ID, ClientID: id, Scopes: []string{"openid"}, GrantedAt: noon}))
		}
		now := after(time.Minute)
		must(t, db.DeleteClient(ctx, "gone", now))

		_, err := db.Client(ctx, "gone")
		want(t, "Client", err, storage.ErrNotFound)
		_, err = db.Consent(ctx, u.ID, "gone")
		want(t, "Consent", err, storage.ErrNotFound)
		equal(t, "revoked", grant(t, db, gone).RevokedAt, now)
		_, _, err = db.Rotate(ctx, rotation(gone))
		want(t, "Rotate", err, storage.ErrNotFound)

		_, err = db.Consent(ctx, u.ID, "stays")
		must(t, err)
		_, _, err = db.LiveGrant(ctx, stays.ID, now)
		must(t, err)
	})
}

func testConsents(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	u := addUser(t, db)
	must(t, db.CreateClient(ctx, newClient("calendar")))
	c := storage.Consent{UserID: u.ID, ClientID: "calendar", Scopes: []string{"openid", "email"}, GrantedAt: noon}

	_, err := db.Consent(ctx, u.ID, "calendar")
	want(t, "before any", err, storage.ErrNotFound)
	must(t, db.PutConsent(ctx, c))
	got, err := db.Consent(ctx, u.ID, "calendar")
	must(t, err)
	equal(t, "consent", got, c)

	c.Scopes, c.GrantedAt = []string{"openid"}, after(time.Hour)
	must(t, db.PutConsent(ctx, c))
	got, err = db.Consent(ctx, u.ID, "calendar")
	must(t, err)
	equal(t, "replaced", got, c)

	for _, missing := range []storage.Consent{
		{UserID: newID(), ClientID: "calendar", GrantedAt: noon},
		{UserID: u.ID, ClientID: "nobody", GrantedAt: noon},
	} {
		want(t, "of nobody", db.PutConsent(ctx, missing), storage.ErrNotFound)
	}

	g := addGrant(t, db, u)
	must(t, db.DeleteConsent(ctx, u.ID, "calendar"))
	must(t, db.DeleteConsent(ctx, u.ID, "calendar"))
	_, err = db.Consent(ctx, u.ID, "calendar")
	want(t, "deleted", err, storage.ErrNotFound)
	equal(t, "a consent deleted revokes nothing", grant(t, db, g), g)

	t.Run("a person's consents are listed by client", func(t *testing.T) {
		u, other := addUser(t, db), addUser(t, db)
		var wanted []storage.Consent
		for _, id := range []string{"B", "a", "b"} {
			must(t, db.CreateClient(ctx, newClient(id)))
			wanted = append(wanted, storage.Consent{UserID: u.ID, ClientID: id, Scopes: []string{"openid"}, GrantedAt: noon})
		}
		for _, i := range []int{2, 0, 1} {
			must(t, db.PutConsent(ctx, wanted[i]))
			must(t, db.PutConsent(ctx, storage.Consent{UserID: other.ID, ClientID: wanted[i].ClientID, GrantedAt: noon}))
		}
		got, err := db.ListConsents(ctx, u.ID)
		must(t, err)
		equal(t, "consents", got, wanted)
		got, err = db.ListConsents(ctx, newID())
		must(t, err)
		equal(t, "consents of nobody", len(got), 0)
	})
	t.Run("a consent withdrawn revokes what that person granted that client, and no more", func(t *testing.T) {
		u, other := addUser(t, db), addUser(t, db)
		must(t, db.CreateClient(ctx, newClient("withdrawn")))
		must(t, db.CreateClient(ctx, newClient("stays")))
		of := func(u storage.User, id string) storage.Grant {
			must(t, db.PutConsent(ctx, storage.Consent{UserID: u.ID, ClientID: id, GrantedAt: noon}))
			return addGrant(t, db, u, func(g *storage.Grant) { g.ClientID, g.Scopes = id, []string{"offline_access"} })
		}
		withdrawn, stays, others := of(u, "withdrawn"), of(u, "stays"), of(other, "withdrawn")
		session := newSession(u)
		must(t, db.CreateSession(ctx, session, ""))
		now := after(time.Minute)
		must(t, db.WithdrawConsent(ctx, u.ID, "withdrawn", now))
		must(t, db.WithdrawConsent(ctx, u.ID, "withdrawn", now))

		session.UserEpoch += 2
		got, user, err := db.SessionBySecret(ctx, session.SecretHash, now)
		must(t, err)
		equal(t, "session", got, session)
		equal(t, "epoch", user.Epoch, session.UserEpoch)
		_, _, err = db.LiveGrant(ctx, stays.ID, now)
		must(t, err)
		_, _, err = db.LiveGrant(ctx, others.ID, now)
		must(t, err)
		withdrawn.RevokedAt, stays.UserEpoch = now, session.UserEpoch
		for _, g := range []storage.Grant{withdrawn, stays, others} {
			equal(t, "grant", grant(t, db, g), g)
		}
		_, err = db.Consent(ctx, u.ID, "withdrawn")
		want(t, "Consent", err, storage.ErrNotFound)
		_, err = db.Consent(ctx, u.ID, "stays")
		must(t, err)
		_, err = db.Consent(ctx, other.ID, "withdrawn")
		must(t, err)
	})
	t.Run("without a consent, as a first-party client has none, its grants are revoked all the same", func(t *testing.T) {
		u := addUser(t, db)
		g := addGrant(t, db, u)
		must(t, db.WithdrawConsent(ctx, u.ID, g.ClientID, noon))
		equal(t, "revoked", grant(t, db, g).RevokedAt, noon)
		// Agreed to before, inserted after.
		want(t, "CreateGrant", db.CreateGrant(ctx, newGrant(u)), storage.ErrNotFound)
	})
	t.Run("what an older epoch ended does not come back", func(t *testing.T) {
		u := addUser(t, db)
		s, g := newSession(u), newGrant(u)
		must(t, db.CreateSession(ctx, s, ""))
		must(t, db.CreateGrant(ctx, g))
		_, err := db.EndEverything(ctx, u.ID, storage.Kept{}, noon)
		must(t, err)
		must(t, db.WithdrawConsent(ctx, u.ID, "withdrawn", noon))
		_, _, err = db.SessionBySecret(ctx, s.SecretHash, noon)
		want(t, "SessionBySecret", err, storage.ErrNotFound)
		_, _, err = db.LiveGrant(ctx, g.ID, noon)
		want(t, "LiveGrant", err, storage.ErrNotFound)
	})
	t.Run("nobody allows nothing", func(t *testing.T) {
		must(t, db.WithdrawConsent(ctx, newID(), "withdrawn", noon))
	})
}

func testSessions(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	add := func(t *testing.T, u storage.User) storage.Session {
		t.Helper()
		s := newSession(u)
		must(t, db.CreateSession(ctx, s, ""))
		return s
	}
	alive := func(t *testing.T, s storage.Session, now time.Time) error {
		t.Helper()
		_, _, err := db.SessionBySecret(ctx, s.SecretHash, now)
		return err
	}

	t.Run("a session comes back as it was, with its user", func(t *testing.T) {
		u := addUser(t, db)
		s := add(t, u)
		got, gotUser, err := db.SessionBySecret(ctx, s.SecretHash, noon)
		must(t, err)
		equal(t, "session", got, s)
		equal(t, "user", gotUser, u)
	})
	t.Run("a session is found until either end", func(t *testing.T) {
		u := addUser(t, db)
		s := add(t, u)
		must(t, alive(t, s, s.ExpiresAt.Add(-time.Microsecond)))
		want(t, "at its idle end", alive(t, s, s.ExpiresAt), storage.ErrNotFound)

		must(t, db.TouchSession(ctx, s.ID, after(2*time.Hour)))
		must(t, alive(t, s, s.ExpiresAt))
		must(t, db.TouchSession(ctx, s.ID, s.EndsAt.Add(time.Hour)))
		got, _, err := db.SessionBySecret(ctx, s.SecretHash, noon)
		must(t, err)
		equal(t, "moved past the absolute end", got.ExpiresAt, s.EndsAt)
		want(t, "at its absolute end", alive(t, s, s.EndsAt), storage.ErrNotFound)
		must(t, db.TouchSession(ctx, newID(), after(time.Hour)))

		s = newSession(u)
		s.ExpiresAt = s.EndsAt.Add(time.Hour)
		must(t, db.CreateSession(ctx, s, ""))
		want(t, "at its absolute end", alive(t, s, s.EndsAt), storage.ErrNotFound)
	})
	t.Run("an unknown secret is not found", func(t *testing.T) {
		_, _, err := db.SessionBySecret(ctx, sum("guess"), noon)
		want(t, "SessionBySecret", err, storage.ErrNotFound)
		_, _, err = db.SessionBySecret(ctx, nil, noon)
		want(t, "SessionBySecret", err, storage.ErrNotFound)
	})
	t.Run("only an active user of that epoch gets one", func(t *testing.T) {
		stale := newSession(addUser(t, db))
		stale.UserEpoch--
		early := newSession(addUser(t, db))
		early.UserEpoch++
		for name, s := range map[string]storage.Session{
			"an older epoch": stale,
			"a newer epoch":  early,
			"nobody":         newSession(newUser()),
			"pending":        newSession(addPending(t, db)),
		} {
			want(t, name, db.CreateSession(ctx, s, ""), storage.ErrNotFound)
			want(t, name, alive(t, s, noon), storage.ErrNotFound)
		}
	})
	t.Run("a sign-in replaces the session that the browser had", func(t *testing.T) {
		u := addUser(t, db)
		victim := add(t, addUser(t, db))
		s, bystander := newSession(u), add(t, u)
		must(t, db.CreateSession(ctx, s, victim.ID))
		must(t, alive(t, s, noon))
		must(t, alive(t, bystander, noon))
		want(t, "the one before", alive(t, victim, noon), storage.ErrNotFound)
	})
	t.Run("and may take over its id", func(t *testing.T) {
		u := addUser(t, db)
		before, s := add(t, u), newSession(u)
		s.ID = before.ID
		must(t, db.CreateSession(ctx, s, before.ID))
		must(t, alive(t, s, noon))
		want(t, "the one before", alive(t, before, noon), storage.ErrNotFound)
	})
	t.Run("a sign-in that fails replaces nothing", func(t *testing.T) {
		before := add(t, addUser(t, db))
		stale := newSession(addUser(t, db))
		stale.UserEpoch--
		want(t, "CreateSession", db.CreateSession(ctx, stale, before.ID), storage.ErrNotFound)
		must(t, alive(t, before, noon))
	})
	t.Run("signing out revokes the grants of the session, but offline access", func(t *testing.T) {
		u := addUser(t, db)
		s := add(t, u)
		of := func(sid string, scopes ...string) storage.Grant {
			return addGrant(t, db, u, func(g *storage.Grant) { g.SessionID, g.Scopes = sid, scopes })
		}
		now := after(time.Minute)
		bound := of(s.ID, "openid")
		offline := of(s.ID, "openid", "offline_access")
		similar := of(s.ID, "openid", "offline-access")
		other := of(add(t, u).ID, "openid")
		none := of("", "openid")
		must(t, db.EndSession(ctx, s.ID, now))

		want(t, "the session", alive(t, s, noon), storage.ErrNotFound)
		for name, g := range map[string]storage.Grant{"bound": bound, "with a similar scope": similar} {
			equal(t, name, grant(t, db, g).RevokedAt, now)
		}
		for name, g := range map[string]storage.Grant{"offline": offline, "of another session": other, "of no session": none} {
			equal(t, name, grant(t, db, g).RevokedAt, time.Time{})
		}

		must(t, db.EndSession(ctx, s.ID, now))
		must(t, db.EndSession(ctx, "", now))
		equal(t, "of no session", grant(t, db, none).RevokedAt, time.Time{})
	})
	t.Run("a session that has ended gives no grant, but for offline access", func(t *testing.T) {
		u := addUser(t, db)
		s := add(t, u)
		of := func(scopes ...string) storage.Grant {
			g := newGrant(u)
			g.SessionID, g.Scopes = s.ID, scopes
			return g
		}
		must(t, db.CreateGrant(ctx, of("openid")))
		must(t, db.EndSession(ctx, s.ID, after(time.Minute)))
		late := of("openid")
		want(t, "CreateGrant", db.CreateGrant(ctx, late), storage.ErrNotFound)
		must(t, db.CreateGrant(ctx, of("openid", "offline_access")))
		must(t, db.ReplayGrant(ctx, late, after(time.Minute)))
		replayed, err := db.GrantByID(ctx, late.ID)
		must(t, err)
		equal(t, "a replay is written", replayed.RevokedAt, after(time.Minute))
	})
	t.Run("a code redeemed while its session ends leaves no grant alive", func(t *testing.T) {
		u := addUser(t, db)
		var made int
		for range 40 {
			s, g := add(t, u), newGrant(u)
			g.SessionID = s.ID
			errs := make([]error, 2)
			together(2, func(i int) {
				if i == 0 {
					errs[0] = db.CreateGrant(ctx, g)
				} else {
					errs[1] = db.EndSession(ctx, s.ID, after(time.Minute))
				}
			})
			must(t, errs[1])
			if errs[0] != nil {
				want(t, "CreateGrant", errs[0], storage.ErrNotFound)
				continue
			}
			made++
			equal(t, "the grant", grant(t, db, g).RevokedAt, after(time.Minute))
		}
		t.Logf("%d of 40 came before the end", made)
	})
	t.Run("a person's sessions that are alive are listed, the newest first", func(t *testing.T) {
		u := addUser(t, db)
		add(t, addUser(t, db))
		var wanted []storage.Session
		for _, d := range []time.Duration{2 * time.Second, time.Second, 3 * time.Second} {
			s := newSession(u)
			s.CreatedAt = after(d)
			must(t, db.CreateSession(ctx, s, ""))
			wanted = append(wanted, s)
		}
		wanted = []storage.Session{wanted[2], wanted[0], wanted[1]}
		idle, old := newSession(u), newSession(u)
		idle.ExpiresAt = noon
		old.EndsAt = noon
		must(t, db.CreateSession(ctx, idle, ""))
		must(t, db.CreateSession(ctx, old, ""))

		got, err := db.ListSessions(ctx, u.ID, noon)
		must(t, err)
		equal(t, "sessions", got, wanted)
		got, err = db.ListSessions(ctx, newID(), noon)
		must(t, err)
		equal(t, "sessions of nobody", len(got), 0)
	})
	t.Run("a person ends a session of theirs, with its grants, and no other's", func(t *testing.T) {
		u, other := addUser(t, db), addUser(t, db)
		s, others := add(t, u), add(t, other)
		g := addGrant(t, db, u, func(g *storage.Grant) { g.SessionID = s.ID })
		othersGrant := addGrant(t, db, other, func(g *storage.Grant) { g.SessionID = others.ID })
		offline := addGrant(t, db, u, func(g *storage.Grant) { g.SessionID, g.Scopes = s.ID, []string{"offline_access"} })
		now := after(time.Minute)

		want(t, "another's", db.EndSessionOf(ctx, u.ID, others.ID, now), storage.ErrNotFound)
		want(t, "unknown", db.EndSessionOf(ctx, u.ID, newID(), now), storage.ErrNotFound)
		must(t, alive(t, others, noon))
		equal(t, "another's grant", grant(t, db, othersGrant), othersGrant)

		must(t, db.EndSessionOf(ctx, u.ID, s.ID, now))
		want(t, "the session", alive(t, s, noon), storage.ErrNotFound)
		equal(t, "its grant", grant(t, db, g).RevokedAt, now)
		equal(t, "its grant with offline access", grant(t, db, offline), offline)
		want(t, "ended before", db.EndSessionOf(ctx, u.ID, s.ID, now), storage.ErrNotFound)
	})
	t.Run("expired sessions are removed, so many at a time", func(t *testing.T) {
		u := addUser(t, db)
		for range 3 {
			s := newSession(u)
			s.ExpiresAt = after(-time.Hour)
			must(t, db.CreateSession(ctx, s, ""))
		}
		living := add(t, u)
		for _, wanted := range []int{2, 1, 0} {
			n, err := db.DeleteExpiredSessions(ctx, noon, 2)
			must(t, err)
			equal(t, "removed", n, wanted)
		}
		must(t, alive(t, living, noon))
	})
}

func testGrants(t *testing.T, db storage.SQL) {
	ctx := t.Context()

	t.Run("a grant comes back as it was, with its user", func(t *testing.T) {
		u := addUser(t, db)
		bare := storage.Grant{
			ID: newID(), HandleHash: sum("bare"), ClientID: "calendar", UserID: u.ID, UserEpoch: u.Epoch, Generation: 1,
			AuthTime: noon, CreatedAt: noon, ExpiresAt: after(time.Hour), EndsAt: after(time.Hour),
		}
		must(t, db.CreateGrant(ctx, bare))
		full := addGrant(t, db, u, func(g *storage.Grant) { g.JKT = "thumbprint" })
		for _, g := range []storage.Grant{bare, full} {
			got, gotUser, err := db.LiveGrant(ctx, g.ID, noon)
			must(t, err)
			equal(t, "grant", got, g)
			equal(t, "user", gotUser, u)
			equal(t, "by handle", grant(t, db, g), g)
		}
	})
	t.Run("any number of grants has no handle, and none is found by it", func(t *testing.T) {
		u := addUser(t, db)
		for range 2 {
			g := addGrant(t, db, u, func(g *storage.Grant) { g.HandleHash = nil })
			got, _, err := db.LiveGrant(ctx, g.ID, noon)
			must(t, err)
			equal(t, "grant", got, g)
		}
		_, err := db.GrantByHandle(ctx, nil)
		want(t, "GrantByHandle", err, storage.ErrNotFound)
		_, _, err = db.Rotate(ctx, rotation(newGrantWithoutHandle(u)))
		want(t, "Rotate", err, storage.ErrNotFound)
	})
	t.Run("an unknown grant is not found", func(t *testing.T) {
		_, _, err := db.LiveGrant(ctx, newID(), noon)
		want(t, "LiveGrant", err, storage.ErrNotFound)
		_, err = db.GrantByHandle(ctx, sum("guess"))
		want(t, "GrantByHandle", err, storage.ErrNotFound)
		must(t, db.RevokeGrant(ctx, newID(), noon))
	})
	t.Run("only an active user of that epoch gets one", func(t *testing.T) {
		stale := newGrant(addUser(t, db))
		stale.UserEpoch--
		early := newGrant(addUser(t, db))
		early.UserEpoch++
		for name, g := range map[string]storage.Grant{
			"an older epoch": stale,
			"a newer epoch":  early,
			"nobody":         newGrant(newUser()),
			"pending":        newGrant(addPending(t, db)),
		} {
			want(t, name, db.CreateGrant(ctx, g), storage.ErrNotFound)
			_, err := db.GrantByHandle(ctx, g.HandleHash)
			want(t, name, err, storage.ErrNotFound)
		}
	})
	t.Run("an id is spent once", func(t *testing.T) {
		u := addUser(t, db)
		g := addGrant(t, db, u)
		again := newGrant(u)
		again.ID = g.ID
		want(t, "CreateGrant", db.CreateGrant(ctx, again), storage.ErrSpent)
		must(t, db.RevokeGrant(ctx, g.ID, noon))
		want(t, "CreateGrant", db.CreateGrant(ctx, again), storage.ErrSpent)
	})
	t.Run("of 64 redemptions of one id one wins", func(t *testing.T) {
		u := addUser(t, db)
		id := newID()
		var errs [64]error
		together(len(errs), func(i int) {
			g := newGrant(u)
			g.ID = id
			errs[i] = db.CreateGrant(ctx, g)
		})
		one(t, errs[:], storage.ErrSpent)
	})
	t.Run("a grant is alive until either end", func(t *testing.T) {
		g := addGrant(t, db, addUser(t, db))
		_, _, err := db.LiveGrant(ctx, g.ID, g.ExpiresAt.Add(-time.Microsecond))
		must(t, err)
		_, _, err = db.LiveGrant(ctx, g.ID, g.ExpiresAt)
		want(t, "at its idle end", err, storage.ErrNotFound)
		g = addGrant(t, db, addUser(t, db), func(g *storage.Grant) { g.ExpiresAt = g.EndsAt.Add(time.Hour) })
		_, _, err = db.LiveGrant(ctx, g.ID, g.EndsAt)
		want(t, "at its absolute end", err, storage.ErrNotFound)
	})
	t.Run("a person's grants that are alive are listed, the newest first", func(t *testing.T) {
		u := addUser(t, db)
		addGrant(t, db, addUser(t, db))
		made := func(d time.Duration) storage.Grant {
			return addGrant(t, db, u, func(g *storage.Grant) { g.CreatedAt = after(d) })
		}
		second, first, third := made(2*time.Second), made(time.Second), made(3*time.Second)
		addGrant(t, db, u, func(g *storage.Grant) { g.ExpiresAt = noon })
		addGrant(t, db, u, func(g *storage.Grant) { g.EndsAt = noon })
		addGrant(t, db, u, func(g *storage.Grant) { g.RevokedAt = noon })

		got, err := db.ListGrants(ctx, u.ID, noon)
		must(t, err)
		equal(t, "grants", got, []storage.Grant{third, second, first})
		got, err = db.ListGrants(ctx, newID(), noon)
		must(t, err)
		equal(t, "grants of nobody", len(got), 0)
	})
	t.Run("a revoked grant is dead, and its first revocation stands", func(t *testing.T) {
		g := addGrant(t, db, addUser(t, db))
		must(t, db.RevokeGrant(ctx, g.ID, noon))
		must(t, db.RevokeGrant(ctx, g.ID, after(time.Minute)))
		_, _, err := db.LiveGrant(ctx, g.ID, noon)
		want(t, "LiveGrant", err, storage.ErrNotFound)
		g.RevokedAt = noon
		equal(t, "grant", grant(t, db, g), g)
	})
	t.Run("grants past their absolute end are removed, so many at a time", func(t *testing.T) {
		u := addUser(t, db)
		for range 3 {
			addGrant(t, db, u, func(g *storage.Grant) { g.EndsAt = after(-time.Hour) })
		}
		idle := addGrant(t, db, u, func(g *storage.Grant) { g.ExpiresAt = after(-time.Hour) })
		for _, wanted := range []int{2, 1, 0} {
			n, err := db.DeleteExpiredGrants(ctx, noon, 2)
			must(t, err)
			equal(t, "removed", n, wanted)
		}
		equal(t, "one that is only idle", grant(t, db, idle), idle)
	})
}

func newGrantWithoutHandle(u storage.User) storage.Grant {
	g := newGrant(u)
	g.HandleHash = nil
	return g
}

// testRotation is the table of what a refresh token may be worth. Every grant
// stands at generation 5, last rotated at noon.
func testRotation(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	now := after(time.Minute)
	revoked := func(g *storage.Grant) { g.RevokedAt = now }
	rotated := func(next int64) func(*storage.Grant) {
		return func(g *storage.Grant) { g.Generation, g.RotatedAt, g.ExpiresAt = next, now, after(2*time.Hour) }
	}

	for _, c := range []struct {
		name   string
		grant  func(*storage.Grant)
		ask    func(*storage.Rotation)
		want   storage.Verdict // empty is ErrNotFound
		change func(*storage.Grant)
	}{
		{"the current token is rotated", nil, nil, storage.Rotated, rotated(6)},
		{"one above the current counts as current: a failover lost the last update", nil,
			func(r *storage.Rotation) { r.Presented = 6 }, storage.Rotated, rotated(7)},
		{"one far above the current does too", nil,
			func(r *storage.Rotation) { r.Presented = 50 }, storage.Rotated, rotated(51)},
		{"a first rotation sets its time", func(g *storage.Grant) { g.RotatedAt = time.Time{} }, nil, storage.Rotated, rotated(6)},
		{"sec-D2 the one before is repeated within the grace, and nothing changes", nil,
			func(r *storage.Rotation) { r.Presented, r.GraceSince = 4, noon.Add(-time.Microsecond) }, storage.Repeated, nil},
		{"sec-D1 the one before is reuse at the end of the grace", nil,
			func(r *storage.Rotation) { r.Presented, r.GraceSince = 4, noon }, storage.Reused, revoked},
		{"sec-D1 the one before is reuse for a strict client", nil,
			func(r *storage.Rotation) { r.Presented, r.GraceSince = 4, storage.Never }, storage.Reused, revoked},
		{"sec-D1 an older one is reuse, also within the grace", nil,
			func(r *storage.Rotation) { r.Presented, r.GraceSince = 3, after(-time.Hour) }, storage.Reused, revoked},
		{"the one before is reuse when the grant never rotated", func(g *storage.Grant) { g.RotatedAt = time.Time{} },
			func(r *storage.Rotation) { r.Presented, r.GraceSince = 4, after(-time.Hour) }, storage.Reused, revoked},

		{"an unknown handle is nothing", nil, func(r *storage.Rotation) { r.HandleHash = sum("guess") }, "", nil},
		{"sec-D3 another client gets nothing and harms nothing", nil, func(r *storage.Rotation) { r.ClientID = "mallory" }, "", nil},
		{"another client harms nothing with an old token", nil,
			func(r *storage.Rotation) { r.ClientID, r.Presented = "mallory", 1 }, "", nil},
		{"sec-D3 another key gets nothing and harms nothing", func(g *storage.Grant) { g.JKT = "mine" },
			func(r *storage.Rotation) { r.JKT = "other" }, "", nil},
		{"a bound token without a key gets nothing", func(g *storage.Grant) { g.JKT = "mine" },
			func(r *storage.Rotation) { r.JKT = "" }, "", nil},
		{"a bound token with its key is rotated", func(g *storage.Grant) { g.JKT = "mine" }, nil, storage.Rotated, rotated(6)},
		{"a token that is not bound may come with a key", nil,
			func(r *storage.Rotation) { r.JKT = "any" }, storage.Rotated, rotated(6)},
		{"a revoked grant is nothing", func(g *storage.Grant) { g.RevokedAt = noon }, nil, "", nil},
		{"a revoked grant is nothing to an old token", func(g *storage.Grant) { g.RevokedAt = noon },
			func(r *storage.Rotation) { r.Presented = 1 }, "", nil},
		{"a grant is nothing at its idle end", func(g *storage.Grant) { g.ExpiresAt = now }, nil, "", nil},
		{"a grant is something just before", func(g *storage.Grant) { g.ExpiresAt = now.Add(time.Microsecond) }, nil, storage.Rotated, rotated(6)},
		{"a grant is nothing at its absolute end", func(g *storage.Grant) { g.EndsAt = now }, nil, "", nil},
		{"the idle end is cut at the absolute end", func(g *storage.Grant) { g.EndsAt = after(90 * time.Minute) }, nil, storage.Rotated,
			func(g *storage.Grant) { rotated(6)(g); g.ExpiresAt = after(90 * time.Minute) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := addUser(t, db)
			g := addGrant(t, db, u, func(g *storage.Grant) {
				g.Generation, g.RotatedAt = 5, noon
				if c.grant != nil {
					c.grant(g)
				}
			})
			r := rotation(g)
			if c.ask != nil {
				c.ask(&r)
			}
			got, verdict, err := db.Rotate(ctx, r)
			if c.change != nil {
				c.change(&g)
			}
			if c.want == "" {
				want(t, "Rotate", err, storage.ErrNotFound)
			} else {
				must(t, err)
				equal(t, "verdict", verdict, c.want)
				equal(t, "the grant answered", got, g)
			}
			equal(t, "the grant kept", grant(t, db, g), g)
		})
	}

	t.Run("a rotated grant goes on, token by token", func(t *testing.T) {
		g := addGrant(t, db, addUser(t, db))
		r := rotation(g)
		for n := int64(1); n <= 5; n++ {
			r.Presented = n
			got, verdict, err := db.Rotate(ctx, r)
			must(t, err)
			equal(t, "verdict", verdict, storage.Rotated)
			equal(t, "next", got.Generation, n+1)
		}
		r.Presented = 1
		_, verdict, err := db.Rotate(ctx, r)
		must(t, err)
		equal(t, "the first again", verdict, storage.Reused)
		r.Presented = 6
		_, _, err = db.Rotate(ctx, r)
		want(t, "the current one after a reuse", err, storage.ErrNotFound)
	})
}

func testRotationRaces(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	const workers = 64
	u := addUser(t, db)

	race := func(t *testing.T, g storage.Grant, graceSince time.Time) (map[storage.Verdict]int, map[int64]int) {
		t.Helper()
		r := rotation(g)
		r.GraceSince = graceSince
		var mu sync.Mutex
		verdicts, successors := map[storage.Verdict]int{}, map[int64]int{}
		together(workers, func(int) {
			got, verdict, err := db.Rotate(ctx, r)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, storage.ErrNotFound):
				verdicts["gone"]++
			case err != nil:
				t.Error(err)
			default:
				verdicts[verdict]++
				successors[got.Generation]++
			}
		})
		return verdicts, successors
	}

	t.Run("sec-D2 within the grace one is rotated and all get the same successor", func(t *testing.T) {
		for range 10 {
			g := addGrant(t, db, u)
			verdicts, successors := race(t, g, noon)
			equal(t, "verdicts", verdicts, map[storage.Verdict]int{storage.Rotated: 1, storage.Repeated: workers - 1})
			equal(t, "successors", successors, map[int64]int{2: workers})
		}
	})
	t.Run("a strict client has one rotated, and the second revokes", func(t *testing.T) {
		for range 10 {
			g := addGrant(t, db, u)
			verdicts, _ := race(t, g, storage.Never)
			equal(t, "verdicts", verdicts, map[storage.Verdict]int{storage.Rotated: 1, storage.Reused: 1, "gone": workers - 2})
			equal(t, "revoked", grant(t, db, g).RevokedAt, after(time.Minute))
		}
	})
	t.Run("a revocation is never lost to a rotation", func(t *testing.T) {
		for range 50 {
			g := addGrant(t, db, u)
			together(4, func(i int) {
				var err error
				if i == 0 {
					err = db.RevokeGrant(ctx, g.ID, after(time.Minute))
				} else if _, _, err = db.Rotate(ctx, rotation(g)); errors.Is(err, storage.ErrNotFound) {
					err = nil
				}
				if err != nil {
					t.Error(err)
				}
			})
			equal(t, "revoked", grant(t, db, g).RevokedAt, after(time.Minute))
		}
	})
}

func testUserRaces(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	now := after(time.Minute)
	setPassword := func(t *testing.T, u storage.User, keepGrant string) {
		_, err := db.SetPassword(ctx, storage.PasswordChange{UserID: u.ID, PasswordHash: "new", Keep: storage.Kept{Grant: keepGrant}, Now: now})
		if err != nil {
			t.Error(err)
		}
	}

	t.Run("sec-D6 no grant or session of before survives a password change that it races", func(t *testing.T) {
		for range 100 {
			u := addUser(t, db)
			grants := []storage.Grant{newGrant(u), newGrant(u), newGrant(u)}
			session := newSession(u)
			together(5, func(i int) {
				switch i {
				case 0:
					setPassword(t, u, "")
				case 1:
					if err := db.CreateSession(ctx, session, ""); err != nil && !errors.Is(err, storage.ErrNotFound) {
						t.Error(err)
					}
				default:
					if err := db.CreateGrant(ctx, grants[i-2]); err != nil && !errors.Is(err, storage.ErrNotFound) {
						t.Error(err)
					}
				}
			})
			for _, g := range grants {
				got, err := db.GrantByHandle(ctx, g.HandleHash)
				if errors.Is(err, storage.ErrNotFound) {
					continue
				}
				must(t, err)
				if got.RevokedAt.IsZero() {
					t.Error("a grant of the old epoch is not revoked")
				}
			}
			// The row is gone, not only dead: its id can be taken again.
			u, err := db.User(ctx, u.ID)
			must(t, err)
			session.UserEpoch = u.Epoch
			must(t, db.CreateSession(ctx, session, ""))
		}
	})
	t.Run("no grant to a client survives its removal that it races, and every other grant does", func(t *testing.T) {
		for range 20 {
			u := addUser(t, db)
			other := addGrant(t, db, u, func(g *storage.Grant) { g.ClientID = "other" })
			session := newSession(u)
			must(t, db.CreateSession(ctx, session, ""))
			grants := []storage.Grant{newGrant(u), newGrant(u), newGrant(u)}
			together(5, func(i int) {
				switch i {
				case 0:
					if err := db.WithdrawConsent(ctx, u.ID, grants[0].ClientID, now); err != nil {
						t.Error(err)
					}
				case 1:
					if _, verdict, err := db.Rotate(ctx, rotation(other)); err != nil || verdict != storage.Rotated {
						t.Errorf("another client's refresh token: %q, %v", verdict, err)
					}
				default:
					if err := db.CreateGrant(ctx, grants[i-2]); err != nil && !errors.Is(err, storage.ErrNotFound) {
						t.Error(err)
					}
				}
			})
			for _, g := range grants {
				_, _, err := db.LiveGrant(ctx, g.ID, now)
				want(t, "LiveGrant", err, storage.ErrNotFound)
			}
			_, _, err := db.LiveGrant(ctx, other.ID, now)
			must(t, err)
			_, _, err = db.SessionBySecret(ctx, session.SecretHash, now)
			must(t, err)
		}
	})
	t.Run("a sign-in that replaces a session and a password change do not wait for each other", func(t *testing.T) {
		for range 100 {
			u := addUser(t, db)
			before := newSession(u)
			must(t, db.CreateSession(ctx, before, ""))
			together(2, func(i int) {
				if i == 0 {
					setPassword(t, u, "")
				} else if err := db.CreateSession(ctx, newSession(u), before.ID); err != nil && !errors.Is(err, storage.ErrNotFound) {
					t.Error(err)
				}
			})
		}
	})
	t.Run("the grant that is kept can be refreshed during the change", func(t *testing.T) {
		for range 50 {
			u := addUser(t, db)
			g := addGrant(t, db, u)
			together(3, func(i int) {
				if i == 0 {
					setPassword(t, u, g.ID)
					return
				}
				if _, _, err := db.Rotate(ctx, rotation(g)); err != nil {
					t.Error(err)
				}
			})
			if _, _, err := db.LiveGrant(ctx, g.ID, now); err != nil {
				t.Error(err)
			}
		}
	})
}

func testReplays(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	now := after(time.Minute)

	t.Run("sec-B5 a replay after the grant revokes it", func(t *testing.T) {
		g := addGrant(t, db, addUser(t, db))
		replayed := g
		replayed.HandleHash = nil
		must(t, db.ReplayGrant(ctx, replayed, now))
		must(t, db.ReplayGrant(ctx, replayed, after(time.Hour)))
		g.RevokedAt = now
		equal(t, "grant", grant(t, db, g), g)
		_, _, err := db.Rotate(ctx, rotation(g))
		want(t, "Rotate", err, storage.ErrNotFound)
	})
	t.Run("a replay before the grant spends its id", func(t *testing.T) {
		g := newGrant(addUser(t, db))
		must(t, db.ReplayGrant(ctx, g, now))
		want(t, "CreateGrant", db.CreateGrant(ctx, g), storage.ErrSpent)
		_, _, err := db.LiveGrant(ctx, g.ID, now)
		want(t, "LiveGrant", err, storage.ErrNotFound)
		_, _, err = db.Rotate(ctx, rotation(g))
		want(t, "Rotate", err, storage.ErrNotFound)
	})
	t.Run("a replay races the grant, and the grant is dead", func(t *testing.T) {
		u := addUser(t, db)
		for range 100 {
			g := newGrant(u)
			together(3, func(i int) {
				if i > 0 {
					if err := db.ReplayGrant(ctx, g, now); err != nil {
						t.Error(err)
					}
				} else if err := db.CreateGrant(ctx, g); err != nil && !errors.Is(err, storage.ErrSpent) {
					t.Error(err)
				}
			})
			_, _, err := db.LiveGrant(ctx, g.ID, noon)
			want(t, "LiveGrant", err, storage.ErrNotFound)
			want(t, "CreateGrant", db.CreateGrant(ctx, g), storage.ErrSpent)
		}
	})
}

func testKeys(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	key := func(id string) storage.Key {
		return storage.Key{
			ID: id, Purpose: "sign", Algorithm: "ES256", Public: []byte(`{"kty":"EC"}`), Sealed: []byte{0, 255},
			PublishedAt: noon, SigningAt: after(time.Hour), RetiredAt: after(2 * time.Hour), GoneAt: after(3 * time.Hour),
		}
	}
	symmetric := storage.Key{
		ID: "z", Purpose: "csrf", Algorithm: "HS256", Sealed: []byte("sealed"), PublishedAt: noon, SigningAt: noon,
	}

	set, err := db.KeySet(ctx)
	must(t, err)
	equal(t, "at first", set, storage.KeySet{})

	first := []storage.Key{key("a"), key("b"), symmetric}
	must(t, db.ReplaceKeys(ctx, 0, first))
	set, err = db.KeySet(ctx)
	must(t, err)
	equal(t, "after one replacement", set, storage.KeySet{Version: 1, Keys: first})

	for _, old := range []int64{0, 2} {
		want(t, "another version", db.ReplaceKeys(ctx, old, []storage.Key{key("c")}), storage.ErrConflict)
	}
	if err := db.ReplaceKeys(ctx, 1, []storage.Key{key("c"), key("c")}); err == nil {
		t.Error("one key twice was accepted")
	}
	set, err = db.KeySet(ctx)
	must(t, err)
	equal(t, "after replacements that failed", set, storage.KeySet{Version: 1, Keys: first})

	t.Run("sec-N2 of 64 replacements of one version one wins", func(t *testing.T) {
		var errs [64]error
		together(len(errs), func(i int) {
			errs[i] = db.ReplaceKeys(ctx, 1, []storage.Key{key(fmt.Sprint(i))})
		})
		winner := fmt.Sprint(one(t, errs[:], storage.ErrConflict))
		set, err := db.KeySet(ctx)
		must(t, err)
		equal(t, "keys", set, storage.KeySet{Version: 2, Keys: []storage.Key{key(winner)}})
	})
	t.Run("version and keys are always of one moment", func(t *testing.T) {
		together(4, func(i int) {
			if i == 0 {
				for v := int64(2); v < 30; v++ {
					if err := db.ReplaceKeys(ctx, v, []storage.Key{key(fmt.Sprint("version ", v+1))}); err != nil {
						t.Error(err)
					}
				}
				return
			}
			for {
				set, err := db.KeySet(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				if set.Version > 2 && (len(set.Keys) != 1 || set.Keys[0].ID != fmt.Sprint("version ", set.Version)) {
					t.Errorf("version %d with keys %v", set.Version, set.Keys)
				}
				if set.Version == 30 {
					return
				}
			}
		})
	})
}

func testLetters(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	first, second, third := newLetter(), newLetter(), newLetter()
	first.CreatedAt = after(time.Hour) // the id alone is the order
	third.Deadline = time.Time{}
	must(t, db.AddLetters(ctx, second, first))
	must(t, db.AddLetters(ctx, third))
	must(t, db.AddLetters(ctx))
	pages := func(list func(after string) ([]storage.Letter, error)) (all []storage.Letter) {
		t.Helper()
		for last := ""; ; last = all[len(all)-1].ID {
			page, err := list(last)
			must(t, err)
			if len(page) == 0 {
				return all
			}
			all = append(all, page...)
			if len(page) > 2 || len(all) > 3 {
				t.Fatalf("a page of %d, %d in all", len(page), len(all))
			}
		}
	}
	pending := func(after string) ([]storage.Letter, error) { return db.PendingLetters(ctx, after, 2) }
	every := func(after string) ([]storage.Letter, error) { return db.ListLetters(ctx, after, 2) }

	equal(t, "by id, page by page", pages(pending), []storage.Letter{first, second, third})
	equal(t, "by id, page by page", pages(every), []storage.Letter{first, second, third})

	want(t, "an id that is taken", db.AddLetters(ctx, newLetter(), first), storage.ErrConflict)
	equal(t, "nothing was added", letters(t, db), []storage.Letter{first, second, third})

	failed := second
	failed.FailedAt, failed.Failure = after(time.Minute), "the server refused the address"
	must(t, db.FailLetter(ctx, second.ID, failed.Failure, failed.FailedAt))
	must(t, db.FailLetter(ctx, newID(), "none", noon))
	equal(t, "one given up is not pending", pages(pending), []storage.Letter{first, third})
	equal(t, "and is listed with its reason", pages(every), []storage.Letter{first, failed, third})

	want(t, "a retry of one that is pending", db.RetryLetter(ctx, first.ID), storage.ErrNotFound)
	want(t, "a retry of none", db.RetryLetter(ctx, newID()), storage.ErrNotFound)
	must(t, db.RetryLetter(ctx, second.ID))
	equal(t, "one retried is pending as before", pages(pending), []storage.Letter{first, second, third})
	want(t, "a second retry", db.RetryLetter(ctx, second.ID), storage.ErrNotFound)

	must(t, db.FailLetter(ctx, first.ID, failed.Failure, noon))
	for _, l := range []storage.Letter{first, second, second} {
		must(t, db.DeleteLetter(ctx, l.ID))
	}
	equal(t, "delivered", pages(every), []storage.Letter{third})
}

func testEvents(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	ada, grace := newID(), newID()
	var events []storage.Event
	add := func(e storage.Event) {
		t.Helper()
		e.ID = newID()
		must(t, db.AddEvent(ctx, e))
		events = append([]storage.Event{e}, events...)
	}
	for i := range 5 {
		add(storage.Event{
			At: after(time.Duration(i) * time.Second), Kind: "token.reuse", UserID: []string{ada, grace}[i%2],
			ClientID: "calendar", Outcome: "reused", Address: "192.0.2.1", UserAgent: "curl/8", Detail: fmt.Sprint("grant ", i),
		})
	}
	add(storage.Event{At: noon, Kind: "keys.rotated"})

	for _, c := range []struct {
		name   string
		user   string
		before string
		limit  int
		want   []storage.Event
	}{
		{"the newest", "", "", 2, events[:2]},
		{"the ones before", "", events[1].ID, 3, events[2:5]},
		{"the last", "", events[4].ID, 3, events[5:]},
		{"no more", "", events[5].ID, 3, nil},
		{"the newest of one user", ada, "", 2, []storage.Event{events[1], events[3]}},
		{"the ones before of one user", ada, events[3].ID, 2, []storage.Event{events[5]}},
		{"no more of one user", ada, events[5].ID, 2, nil},
		{"those of another", grace, "", 10, []storage.Event{events[2], events[4]}},
		{"those of nobody", newID(), "", 10, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := func(before string) ([]storage.Event, error) { return db.ListEvents(ctx, before, c.limit) }
			if c.user != "" {
				list = func(before string) ([]storage.Event, error) { return db.ListEventsOf(ctx, c.user, before, c.limit) }
			}
			got, err := list(c.before)
			must(t, err)
			equal(t, "events", got, c.want)
		})
	}
	t.Run("an event about nobody is not listed for the empty id", func(t *testing.T) {
		for _, before := range []string{"", newID()} {
			got, err := db.ListEventsOf(ctx, "", before, 10)
			must(t, err)
			equal(t, "events", len(got), 0)
		}
	})
	t.Run("old events are removed, the oldest first, so many at a time", func(t *testing.T) {
		// Four happened before, two of them at noon.
		for _, wanted := range []int{3, 1, 0} {
			n, err := db.DeleteEvents(ctx, after(3*time.Second), 3)
			must(t, err)
			equal(t, "removed", n, wanted)
			if wanted == 3 {
				left, err := db.ListEvents(ctx, "", 10)
				must(t, err)
				equal(t, "left", left, events[1:4])
			}
		}
		left, err := db.ListEvents(ctx, "", 10)
		must(t, err)
		equal(t, "left", left, events[1:3])
	})
}

// testRepeat: a letter about what happened goes with the event, but not the first
// time.
func testRepeat(t *testing.T, db storage.SQL) {
	ctx := t.Context()
	ada := newID()
	repeat := func(e storage.Event, told bool) storage.Letter {
		t.Helper()
		e.ID = newID()
		l := newLetter()
		got, err := db.AddRepeat(ctx, e, l)
		must(t, err)
		equal(t, "told", got, told)
		kept, err := db.ListEvents(ctx, "", 1)
		must(t, err)
		equal(t, "the event is kept", kept, []storage.Event{e})
		return l
	}
	ok := storage.Event{At: noon, Kind: "user.sign_in", UserID: ada, Outcome: "ok", Address: "192.0.2.1", UserAgent: "curl/8", Detail: "pwd"}
	other := func(change func(*storage.Event)) storage.Event { e := ok; change(&e); return e }
	for _, e := range []storage.Event{
		other(func(e *storage.Event) { e.Outcome = "bad_credentials" }),
		other(func(e *storage.Event) { e.Kind = "user.registered" }),
		other(func(e *storage.Event) { e.UserID = newID() }),
		other(func(e *storage.Event) { e.UserID = "" }),
		other(func(e *storage.Event) { e.UserID = "" }),
	} {
		repeat(e, false)
	}
	repeat(ok, false)
	second := repeat(ok, true)
	third := repeat(ok, true)
	equal(t, "letters", letters(t, db), []storage.Letter{second, third})

	e := ok
	e.ID = newID()
	_, err := db.AddRepeat(ctx, e, second)
	want(t, "a letter that is there already", err, storage.ErrConflict)
	kept, err := db.ListEventsOf(ctx, ada, "", 1)
	must(t, err)
	if kept[0].ID == e.ID {
		t.Error("the event of a letter that was not added is kept")
	}
}

func testTime(t *testing.T, db storage.SQL) {
	before := time.Now()
	first, err := db.Time(t.Context())
	must(t, err)
	second, err := db.Time(t.Context())
	must(t, err)
	if first.Location() != time.UTC || first.Nanosecond()%1000 != 0 {
		t.Errorf("%v is not UTC to the microsecond", first)
	}
	if second.Before(first) {
		t.Errorf("%v came after %v", second, first)
	}
	// The tests' servers are on this machine or a near one.
	if first.Before(before.Add(-storage.MaxSkew)) || first.After(time.Now().Add(storage.MaxSkew)) {
		t.Errorf("%v is off: it was %v before", first, before)
	}
	must(t, db.Ping(t.Context()))
}

package login

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/gatehouse-id/gatehouse/storage"
)

// TestSeed has a row for every defect, of those found in the system that this
// one replaces, that a sign-in engine can have; each shows the opposite. Where
// the others are shown, and which do not apply, is in docs/seed-findings.md.
func TestSeed(t *testing.T) {
	for _, row := range []struct {
		finding, shows string
		test           func(*testing.T)
	}{
		{"seed-A2", "a reset ends every session and grant", seedA2},
		{"seed-A3", "whoever has the mailbox has the account", seedA3},
		{"seed-A8", "a proof of the mailbox lifts no suspension", seedA8},
		{"seed-A9", "a status that nobody knows opens nothing", seedA9},
		{"seed-A10", "the handle is spent first and the person is told last", seedA10},
		{"seed-A11", "what was true when a flow began is looked at again", seedA11},
		{"seed-B1", "sixteen resets at once set one password", seedB1},
		{"seed-B2", "the code of a time-step is accepted once", seedB2},
		{"seed-B3", "a fault of ours burns no recovery code and gives no token", seedB3},
		{"seed-B4", "a registration that failed can be tried again", seedB4},
		{"seed-B5", "a letter is committed with what it reports, or neither is", seedB5},
		{"seed-B6", "a second start replaces nothing and breaks nothing", seedB6},
		{"seed-B7", "a mailed code is kept as a MAC alone", seedB7},
		{"seed-B8", "a handle is kept as a hash alone", seedB8},
		{"seed-B9", "five wrong codes end a code", seedB9},
		{"seed-C1", "an unknown address takes as long as a known one", seedC1},
		{"seed-C2", "the state of an account is told to whoever has the password", seedC2},
		{"seed-C3", "a decoy cannot be told from a reset", seedC3},
		{"seed-C4", "forgot password has one answer", seedC4},
		{"seed-C5", "registration has one answer", seedC5},
		{"seed-C6", "a wrong second factor reads the same whatever there is", seedC6},
		{"seed-D1", "sixty spellings of an address share one bucket", seedD1},
		{"seed-D2", "sixteen spellings of an address get one letter", seedD2},
		{"seed-D3", "a stranger's failures do not stop a known device", seedD3},
		{"seed-D4", "registration costs nothing before the cheap checks, and one mailbox one letter", seedD4},
		{"seed-D5", "a text of three megabytes reaches no key and no hash", seedD5},
		{"seed-D6", "what succeeds fills no bucket", seedD6},
		{"seed-D7", "another code and a try at one have budgets of their own", seedD7},
		{"seed-D9", "a recovery code costs no password hash", seedD9},
		{"seed-D10", "hashing is bounded, and a refusal says when to come back", seedD10},
		{"seed-E1", "every byte of a password counts, and what bcrypt would not read is refused", seedE1},
		{"seed-E2", "the policy is asked where a password is set, not where it is used", seedE2},
		{"seed-E3", "five passwords are remembered, and hashes grow up at sign-in", seedE3},
		{"seed-E4", "letters go to the stored address", seedE4},
		{"seed-G4", "no secret and no address in refusals, events or logs", seedG4},
		{"seed-G8", "the secret of an app does not open in another row", seedG8},
		{"seed-G11", "codes are taken as they are shown", seedG11},
	} {
		t.Run(row.finding+" "+row.shows, row.test)
	}
}

const newPassword = "seventeen green lanterns"

// reset takes a person through a reset, up to the new password.
func (h *house) reset(email string) Challenge {
	h.t.Helper()
	c := h.must(h.Forgot(h.t.Context(), here, email))
	if c.Step != ConfirmReset {
		h.t.Fatalf("challenge %+v", c)
	}
	return h.confirmed(c)
}

// confirmed enters the code of a reset.
func (h *house) confirmed(c Challenge) Challenge {
	h.t.Helper()
	l := h.lastLetter()
	if l.Kind != LetterPasswordResetCode {
		h.t.Fatalf("letter %+v", l)
	}
	c = h.must(h.ConfirmReset(h.t.Context(), here, c.Handle, l.Code))
	if c.Step != NewPassword {
		h.t.Fatalf("challenge %+v", c)
	}
	return c
}

// second signs in up to the second factor.
func (h *house) second(email, password string) Challenge {
	h.t.Helper()
	c := h.must(h.Login(h.t.Context(), here, email, password))
	if c.Step != SecondFactor {
		h.t.Fatalf("challenge %+v", c)
	}
	return c
}

// isReset fails unless the outcome is a reset, which signs nobody in.
func (h *house) isReset(o Outcome, err error) {
	h.t.Helper()
	if _, ok := o.(PasswordReset); !ok || err != nil {
		h.t.Fatalf("got %#v, %v; want a reset", o, err)
	}
}

func seedA2(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	who := h.member(asha, storage.UserActive)
	h.app(storage.Client{ID: "notes", Name: "Notes"})
	h.browser(who)
	g := h.use(who, "notes", "openid", "offline_access")
	before := h.account(who)
	c := h.reset(ashaEmail)
	if len(h.browsers(who)) != 1 || !h.alive(g) {
		t.Error("something ended before the new password")
	}
	h.isReset(h.NewPassword(ctx, here, c.Handle, newPassword))
	if n := len(h.browsers(who)); n != 0 || h.alive(g) {
		t.Errorf("%d sessions are alive, the grant: %v", n, h.alive(g))
	}
	if u := h.account(who); u.Epoch != before.Epoch+1 {
		t.Errorf("the epoch went from %d to %d", before.Epoch, u.Epoch)
	}
	h.refused(BadCredentials)(h.Login(ctx, here, ashaEmail, ashaPassword))
	h.in(h.Login(ctx, here, ashaEmail, newPassword))
}

func seedA3(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	// The attacker registers the victim's address and is at the door.
	theirs := h.must(h.Register(ctx, here, eve))
	leaked := h.lastLetter().Code
	h.skip(time.Minute)
	theirLogin := h.must(h.Login(ctx, here, ashaEmail, evePassword))
	leakedLogin := h.lastLetter().Code
	h.skip(time.Minute)

	c := h.reset(ashaEmail)
	if u := h.user(ashaEmail); u.Status != storage.UserPending || u.EmailVerified() {
		t.Errorf("between the code and the new password the account is %+v", u)
	}
	// Between the two steps of the victim the old password opens nothing.
	h.skip(time.Minute)
	if o, err := h.Login(ctx, here, ashaEmail, evePassword); err == nil {
		if c, ok := o.(Challenge); !ok || c.Step != VerifyEmail {
			t.Fatalf("the attacker got %#v", o)
		}
	}
	h.isReset(h.NewPassword(ctx, here, c.Handle, ashaPassword))

	// Not with the password, and not even with a code that leaked.
	h.refused(BadCredentials)(h.Login(ctx, here, ashaEmail, evePassword))
	for about, err := range map[string]error{
		"the registration": errorOf(h.VerifyEmail(ctx, here, theirs.Handle, leaked)),
		"the sign-in":      errorOf(h.VerifyEmail(ctx, here, theirLogin.Handle, leakedLogin)),
	} {
		if err == nil {
			t.Errorf("%s of the attacker went on", about)
		}
	}
	h.refused(BadCredentials)(h.Login(ctx, here, ashaEmail, evePassword))
	if a := h.in(h.Login(ctx, here, ashaEmail, ashaPassword)); a.UserID != h.user(ashaEmail).ID {
		t.Errorf("authenticated %+v", a)
	}
}

func errorOf(_ Outcome, err error) error { return err }

func seedA8(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.must(h.Register(ctx, here, asha))
	id := h.user(ashaEmail).ID
	h.skip(time.Minute)
	c := h.reset(ashaEmail)
	if err := h.store.SetStatus(ctx, id, storage.UserSuspended, h.now()); err != nil {
		t.Fatal(err)
	}
	h.refused(AccountRestricted)(h.NewPassword(ctx, here, c.Handle, newPassword))
	if u := h.user(ashaEmail); u.Status != storage.UserSuspended || u.EmailVerified() {
		t.Errorf("user %+v", u)
	}
	// Somebody active who is suspended on the way is stopped at each step.
	h.member(Registration{"Bo", binaEmail, ashaPassword}, storage.UserActive)
	c = h.must(h.Forgot(ctx, here, binaEmail))
	code := h.lastLetter().Code
	if err := h.store.SetStatus(ctx, h.user(binaEmail).ID, storage.UserSuspended, h.now()); err != nil {
		t.Fatal(err)
	}
	h.refused(AccountRestricted)(h.ConfirmReset(ctx, here, c.Handle, code))
	h.refused(AccountRestricted)(h.Login(ctx, here, binaEmail, ashaPassword))
}

func seedA9(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	for _, s := range []storage.UserStatus{"", "banned", "ACTIVE", "deleted"} {
		if usable(s) {
			t.Errorf("%q may go on", s)
		}
	}
	who := h.member(asha, storage.UserActive)
	if err := h.store.SetStatus(ctx, who.UserID, "banned", h.now()); err == nil {
		t.Error("the database took a status that there is not")
	}
}

// broken is a store that fails where it is told to.
type broken struct {
	Store
	verifyEmail, spendRecovery error
}

var errBroken = errors.New("the disk is gone")

func (b *broken) VerifyEmail(ctx context.Context, id string, r storage.Registration, now time.Time) error {
	if b.verifyEmail != nil {
		return b.verifyEmail
	}
	return b.Store.VerifyEmail(ctx, id, r, now)
}

func (b *broken) SpendRecoveryCode(ctx context.Context, id string, mac []byte, now time.Time, l ...storage.Letter) (int, error) {
	if b.spendRecovery != nil {
		return 0, b.spendRecovery
	}
	return b.Store.SpendRecoveryCode(ctx, id, mac, now, l...)
}

// brokenFlows do not spend.
type brokenFlows struct{ storage.Flows }

func (brokenFlows) SpendFlow(context.Context, string) error { return errBroken }

func seedA10(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	c := h.must(h.Register(ctx, here, asha))
	code := h.lastLetter().Code
	h.store = &broken{Store: h.store, verifyEmail: errBroken}
	if o, err := h.VerifyEmail(ctx, here, c.Handle, code); !errors.Is(err, errBroken) || o != nil {
		t.Errorf("got %#v, %v; want the fault and nobody signed in", o, err)
	}
	h.store = h.config.Store
	h.refused(Expired)(h.VerifyEmail(ctx, here, c.Handle, code))
	if h.user(ashaEmail).EmailVerified() {
		t.Error("the mailbox is proved")
	}
	h.skip(time.Minute)
	c = h.must(h.Register(ctx, here, asha))
	h.in(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
}

func seedA11(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	who := h.member(asha, storage.UserActive)

	t.Run("a second factor turned off ends a sign-in that asked for it", func(t *testing.T) {
		secret, codes := h.protect(who)
		c := h.second(ashaEmail, ashaPassword)
		if _, err := h.DisableSecondFactor(ctx, who, codes[0]); err != nil {
			t.Fatal(err)
		}
		h.refused(Expired)(h.SecondFactor(ctx, here, c.Handle, h.code(secret, 0)))
	})
	t.Run("a second factor turned on is asked for by a reset's next sign-in", func(t *testing.T) {
		c := h.reset(ashaEmail)
		h.protect(who)
		h.refused(Expired)(h.NewPassword(ctx, here, c.Handle, newPassword))
	})
	t.Run("a new password ends a sign-in with the old one", func(t *testing.T) {
		h.skip(time.Minute)
		c := h.second(ashaEmail, ashaPassword)
		r := h.reset(ashaEmail)
		h.isReset(h.NewPassword(ctx, here, r.Handle, newPassword))
		h.refused(Expired)(h.SecondFactor(ctx, here, c.Handle, "123456"))
	})
}

// race has sixteen do the same at once, and returns how many had success. The
// others were refused.
func race(t *testing.T, do func(i int) (Outcome, error)) int64 {
	t.Helper()
	var won atomic.Int64
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			o, err := do(i)
			if err == nil && o != nil {
				won.Add(1)
			} else if _, refused := errors.AsType[*Error](err); !refused {
				t.Errorf("a fault: %#v, %v", o, err)
			}
		})
	}
	all.Wait()
	return won.Load()
}

func seedB1(t *testing.T) {
	onBoth(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		who := h.member(asha, storage.UserActive)
		c := h.reset(ashaEmail)
		won := race(t, func(i int) (Outcome, error) {
			return h.NewPassword(ctx, here, c.Handle, fmt.Sprintf("%s %d", newPassword, i))
		})
		hashes, err := h.store.PasswordHashes(ctx, who.UserID)
		if err != nil || won != 1 || len(hashes) != 2 || len(h.sent(LetterPasswordChanged)) != 1 {
			t.Errorf("%d resets, %d passwords, %d letters, %v", won, len(hashes), len(h.sent(LetterPasswordChanged)), err)
		}
	})
	t.Run("from two resets at once", func(t *testing.T) {
		ctx, h := t.Context(), newHouse(t)
		who := h.member(asha, storage.UserActive)
		a := h.reset(ashaEmail)
		b := h.reset2(ashaEmail)
		var all sync.WaitGroup
		for i, c := range []Challenge{a, b} {
			all.Go(func() {
				_, err := h.NewPassword(ctx, here, c.Handle, fmt.Sprintf("%s %d", newPassword, i))
				if err != nil && !isRefusal(err, Expired) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if hashes, err := h.store.PasswordHashes(ctx, who.UserID); err != nil || len(hashes) != 2 {
			t.Errorf("%d passwords, %v", len(hashes), err)
		}
	})
}

func seedB2(t *testing.T) {
	onBoth(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		who := h.member(asha, storage.UserActive)
		secret, _ := h.protect(who)
		code := h.code(secret, 1)
		flows := make([]Challenge, 16)
		for i := range flows {
			flows[i] = h.second(ashaEmail, ashaPassword)
		}
		if won := race(t, func(i int) (Outcome, error) { return h.SecondFactor(ctx, here, flows[i].Handle, code) }); won != 1 {
			t.Errorf("%d signed in with one code", won)
		}
	})
	t.Run("one after the other", func(t *testing.T) {
		ctx, h := t.Context(), newHouse(t)
		secret, _ := h.protect(h.member(asha, storage.UserActive))
		code := h.code(secret, 0)
		h.in(h.SecondFactor(ctx, here, h.second(ashaEmail, ashaPassword).Handle, code))
		c := h.second(ashaEmail, ashaPassword)
		h.refused(CodeUsed)(h.SecondFactor(ctx, here, c.Handle, code))
		h.refused(CodeUsed)(h.SecondFactor(ctx, here, c.Handle, h.code(secret, -1))) // one before it
		h.in(h.SecondFactor(ctx, here, c.Handle, h.code(secret, 1)))
	})
}

func seedB3(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	who := h.member(asha, storage.UserActive)
	_, codes := h.protect(who)
	left := func(want int) {
		t.Helper()
		if n, err := h.store.RecoveryCodesLeft(ctx, who.UserID); err != nil || n != want {
			t.Errorf("%d recovery codes are left, %v; want %d", n, err, want)
		}
	}

	c := h.second(ashaEmail, ashaPassword)
	h.flows = brokenFlows{h.flows}
	if o, err := h.SecondFactor(ctx, here, c.Handle, codes[0]); !errors.Is(err, errBroken) || o != nil {
		t.Errorf("got %#v, %v; want the fault", o, err)
	}
	h.flows = h.config.Flows
	left(10)

	h.store = &broken{Store: h.store, spendRecovery: errBroken}
	if o, err := h.SecondFactor(ctx, here, c.Handle, codes[0]); !errors.Is(err, errBroken) || o != nil {
		t.Errorf("got %#v, %v; want the fault", o, err)
	}
	h.store = h.config.Store
	left(10)
	h.refused(Expired)(h.SecondFactor(ctx, here, c.Handle, codes[0])) // the flow is spent

	h.in(h.SecondFactor(ctx, here, h.second(ashaEmail, ashaPassword).Handle, codes[0]))
	left(9)
}

func seedB4(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	seal := h.letter
	h.letter = func(context.Context, Letter) (storage.Letter, error) { return storage.Letter{}, errBroken }
	if _, err := h.Register(ctx, here, asha); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	if users, err := h.store.ListUsers(ctx, "", 10); err != nil || len(users) != 0 {
		t.Errorf("%d users, %v", len(users), err)
	}
	h.letter = seal
	h.skip(time.Minute)
	h.must(h.Register(ctx, here, asha)) // whose answer is lost
	h.skip(time.Minute)
	c := h.must(h.Register(ctx, here, asha))
	h.in(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
}

func seedB5(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	who := h.member(asha, storage.UserActive)
	c := h.reset(ashaEmail)
	before, err := h.store.PasswordHashes(ctx, who.UserID)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := h.store.PendingLetters(ctx, "", 1)
	if err != nil || len(rows) == 0 {
		t.Fatalf("%d letters, %v", len(rows), err)
	}
	h.letter = func(context.Context, Letter) (storage.Letter, error) { return storage.Letter{ID: rows[0].ID}, nil } // taken
	if o, err := h.NewPassword(ctx, here, c.Handle, newPassword); err == nil {
		t.Errorf("got %#v although the letter could not be written", o)
	}
	after, err := h.store.PasswordHashes(ctx, who.UserID)
	if err != nil || !slices.Equal(before, after) {
		t.Errorf("the password changed without its letter; %v", err)
	}
}

func seedB6(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	a := h.must(h.Forgot(ctx, here, ashaEmail))
	codeA := h.lastLetter().Code
	h.skip(time.Minute)
	b := h.must(h.Forgot(ctx, here, ashaEmail))
	codeB := h.lastLetter().Code
	if a.Handle == b.Handle || codeA == codeB {
		t.Error("two starts share a handle or a code")
	}
	h.must(h.ConfirmReset(ctx, here, a.Handle, codeA))
	c := h.must(h.ConfirmReset(ctx, here, b.Handle, codeB))
	h.isReset(h.NewPassword(ctx, here, c.Handle, newPassword))
}

func seedB7(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	c := h.must(h.Forgot(ctx, here, ashaEmail))
	code := h.lastLetter().Code
	f, err := h.flows.Flow(ctx, flowID(c.Handle))
	if err != nil {
		t.Fatal(err)
	}
	if kept := fmt.Sprintf("%+v %s", f, f.CodeMAC); len(code) != 8 || strings.Contains(kept, code) || strings.Contains(h.valkey.Dump(), code) {
		t.Errorf("code %q is in the memory: %s", code, kept)
	}
	// Without the key the MAC tells nothing, and it is of this flow alone.
	if string(f.CodeMAC[:32]) != string(macOf([]byte("the key of mailed codes, first"), f.ID, code)) ||
		string(f.CodeMAC[:32]) == string(macOf([]byte("the key of mailed codes, second"), f.ID, code)) {
		t.Error("the MAC is not made with the key")
	}
}

func seedB8(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.protect(h.member(asha, storage.UserActive))
	reset := h.must(h.Forgot(ctx, here, ashaEmail))
	code := h.lastLetter().Code
	handles := []string{h.second(ashaEmail, ashaPassword).Handle, reset.Handle}
	handles = append(handles, h.must(h.ConfirmReset(ctx, here, reset.Handle, code)).Handle)
	dump := h.valkey.Dump()
	for _, handle := range handles {
		if strings.Contains(dump, handle) {
			t.Errorf("handle %s is in the memory", handle)
		}
	}
	if !strings.Contains(dump, flowID(handles[0])) {
		t.Error("the flow is not in the dump either, so this test proves nothing")
	}
}

func seedB9(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	c := h.must(h.Forgot(ctx, here, ashaEmail))
	right := h.lastLetter().Code
	for range 4 {
		h.refused(BadCode)(h.ConfirmReset(ctx, here, c.Handle, otherThan(right)))
	}
	h.refused(CodeDead)(h.ConfirmReset(ctx, here, c.Handle, otherThan(right)))
	h.refused(CodeDead)(h.ConfirmReset(ctx, here, c.Handle, right))
}

// seedC1 measures processor time, of known and unknown addresses in turn, so
// that whatever else the machine does falls on both. A measurement that is off
// is taken again: noise passes, a defect does not.
func seedC1(t *testing.T) {
	ctx := t.Context()
	const tries, within, measurements = 200, 0.10, 3
	h := newHouse(t, slow)
	hash := argonHash(ashaPassword)
	now := h.now()
	for i := range tries {
		u := storage.User{
			ID: uuid.Must(uuid.NewV7()).String(), Email: fmt.Sprintf("known%d@example.com", i), Name: "Known",
			Status: storage.UserActive, EmailVerifiedAt: now, CreatedAt: now, UpdatedAt: now,
		}
		if err := h.store.CreateUser(ctx, u, hash); err != nil {
			t.Fatal(err)
		}
	}
	try := func(email string, i int) time.Duration {
		from := From{Address: fmt.Sprintf("2001:db8:0:%x::1", i)} // no two of one network
		hashes, before := h.hashes.Load(), worked(t)
		h.refused(BadCredentials)(h.Login(ctx, from, email, evePassword))
		took := worked(t) - before
		if n := h.hashes.Load() - hashes; n != 1 {
			t.Fatalf("%d hashes", n)
		}
		return took
	}
	median := func(d []time.Duration) time.Duration {
		slices.Sort(d)
		return (d[len(d)/2-1] + d[len(d)/2]) / 2
	}
	var off float64
	for m := range measurements {
		var known, unknown []time.Duration
		for i := range tries {
			first := func() { known = append(known, try(fmt.Sprintf("known%d@example.com", i), i)) }
			then := func() { unknown = append(unknown, try(fmt.Sprintf("unknown%d@example.com", i), i)) }
			if i%2 == 1 { // who comes second may find caches warm, or memory to be collected
				first, then = then, first
			}
			first()
			then()
		}
		k, u := median(known), median(unknown)
		off = math.Abs(float64(k-u)) / float64(u)
		t.Logf("measurement %d: medians %v for known and %v for unknown addresses, %.1f %% apart", m+1, k, u, 100*off)
		if off <= within {
			return
		}
		h.skip(30 * time.Minute)
	}
	t.Errorf("the medians were %.1f %% apart in each of %d measurements", 100*off, measurements)
}

func seedC2(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	for i, status := range []storage.UserStatus{storage.UserSuspended, storage.UserPending, storage.UserActive} {
		email := fmt.Sprintf("person%d@example.com", i)
		h.member(Registration{"Person", email, ashaPassword}, status)
		h.refused(BadCredentials)(h.Login(ctx, here, email, evePassword))
	}
	h.refused(AccountRestricted)(h.Login(ctx, here, "person0@example.com", ashaPassword))
	if c := h.must(h.Login(ctx, here, "person1@example.com", ashaPassword)); c.Step != VerifyEmail {
		t.Errorf("challenge %+v", c)
	}
}

// seedC3 does all that can be done with a reset whose letter one does not have,
// for addresses with and without an account, and compares every answer.
func seedC3(t *testing.T) {
	ctx := t.Context()
	answers := func(email string) (got []string) {
		h := newHouse(t)
		h.member(asha, storage.UserActive)
		h.member(Registration{"Sam", "sam@example.com", ashaPassword}, storage.UserSuspended)
		h.member(Registration{"Pia", "pia@example.com", ashaPassword}, storage.UserPending)
		say := func(o Outcome, err error) Challenge {
			c, _ := o.(Challenge)
			wait := time.Duration(0)
			if r, ok := errors.AsType[*Error](err); ok {
				wait = r.RetryAfter.Round(10 * time.Second)
			}
			got = append(got, fmt.Sprintf("%s %d %v %v %v", c.Step, len(c.Handle), c.Email == email && c.ExpiresAt.After(h.now()), err, wait))
			return c
		}
		c := say(h.Forgot(ctx, here, email))
		say(h.Forgot(ctx, here, email)) // at once
		say(h.Resend(ctx, here, c.Handle))
		for range 7 {
			say(h.ConfirmReset(ctx, here, c.Handle, "00000000"))
		}
		say(h.VerifyEmail(ctx, here, c.Handle, "00000000"))
		say(h.NewPassword(ctx, here, c.Handle, newPassword))
		say(h.SecondFactor(ctx, here, c.Handle, "123456"))
		h.skip(time.Minute)
		old := c.Handle
		c = say(h.Resend(ctx, here, c.Handle))
		say(h.Resend(ctx, here, old))
		say(h.ConfirmReset(ctx, here, c.Handle, "00000000"))
		say(h.ConfirmReset(ctx, here, old, "00000000"))
		h.skip(5 * time.Minute)
		say(h.ConfirmReset(ctx, here, c.Handle, "00000000"))
		c = say(h.Forgot(ctx, here, email))
		say(h.ConfirmReset(ctx, here, c.Handle, "00000000"))
		for range 5 {
			h.skip(time.Minute)
			say(h.Forgot(ctx, here, email))
		}
		for _, l := range h.letters() {
			if l.To != email {
				t.Errorf("a letter went to %s", l.To)
			}
		}
		if n := len(h.letters()); (n > 0) != (email == ashaEmail || email == "pia@example.com") {
			t.Errorf("%d letters were written for %s", n, email)
		}
		return got
	}
	known := answers(ashaEmail)
	for about, email := range map[string]string{
		"unknown": "nobody@example.com", "suspended": "sam@example.com", "unproved": "pia@example.com",
		"of another domain": "asha@example.org",
	} {
		if got := answers(email); !slices.Equal(got, known) {
			t.Errorf("%s:\n%s\nknown:\n%s", about, strings.Join(got, "\n"), strings.Join(known, "\n"))
		}
	}
}

func seedC4(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	h.member(Registration{"Pia", "pia@example.com", evePassword}, storage.UserPending)
	for _, email := range []string{ashaEmail, "pia@example.com", "nobody@example.com"} {
		if c := h.must(h.Forgot(ctx, here, email)); c.Step != ConfirmReset || c.Email != email || len(c.Handle) != 26 {
			t.Errorf("challenge %+v", c)
		}
	}
	h.skip(time.Minute)
	// For a mailbox that was never proved the one code proves both.
	c := h.reset("pia@example.com")
	if h.user("pia@example.com").EmailVerified() {
		t.Error("the account is open before it has a password of its owner")
	}
	h.isReset(h.NewPassword(ctx, here, c.Handle, newPassword))
	if u := h.user("pia@example.com"); !u.EmailVerified() || u.Status != storage.UserActive || u.Name != "Pia" {
		t.Errorf("user %+v", u)
	}
	h.in(h.Login(ctx, here, "pia@example.com", newPassword))
	h.refused(BadCredentials)(h.Login(ctx, here, "pia@example.com", evePassword))
}

func seedC5(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	a := h.must(h.Register(ctx, here, eve))
	b := h.must(h.Register(ctx, here, Registration{"Eve", "new@example.com", evePassword}))
	if a.Step != b.Step || len(a.Handle) != len(b.Handle) || a.Email != ashaEmail {
		t.Errorf("challenges %+v and %+v", a, b)
	}
	if l := h.told(LetterAccountExists); l.To != ashaEmail || l.Code != "" {
		t.Errorf("letter %+v", l)
	}
}

func seedC6(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	who := h.member(asha, storage.UserActive)
	secret, codes := h.protect(who)
	answer := func(code string) string {
		h.skip(30 * time.Minute)
		if code == "" {
			code = wrongFor(h, secret)
		}
		e := h.refused(BadCode)(h.SecondFactor(ctx, here, h.second(ashaEmail, ashaPassword).Handle, code))
		return e.Error() + e.RetryAfter.String()
	}
	wrongRecovery := "BCDFG-BCDFG-BCDFG"
	first := answer("")
	for about, got := range map[string]string{
		"a wrong recovery code": answer(wrongRecovery),
		"a spent recovery code": func() string {
			h.in(h.SecondFactor(ctx, here, h.second(ashaEmail, ashaPassword).Handle, codes[0]))
			return answer(codes[0])
		}(),
		"a recovery code when there are none": func() string {
			if err := h.store.ReplaceRecoveryCodes(ctx, who.UserID, nil, h.now()); err != nil {
				t.Fatal(err)
			}
			return answer(codes[1])
		}(),
	} {
		if got != first {
			t.Errorf("%s: %q, a wrong code of the app: %q", about, got, first)
		}
	}
}

// spellings are ways to write one address.
func spellings(email string, n int) []string {
	var all []string
	for i := range n {
		b := []byte(email)
		for j := range b {
			if b[j] != '@' && b[j] != '.' && i>>(j%6)&1 == 1 {
				b[j] -= 'a' - 'A'
			}
		}
		all = append(all, string(b))
	}
	return all
}

func seedD1(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	all := append(spellings(ashaEmail, 57), " "+ashaEmail, ashaEmail+"\t", "ａｓｈａ＠ｅｘａｍｐｌｅ．ｃｏｍ")
	if slices.Sort(all); len(slices.Compact(slices.Clone(all))) != 60 {
		t.Fatalf("%d spellings", len(slices.Compact(all)))
	}
	checked := 0
	for i, email := range all {
		_, err := h.Login(ctx, From{Address: fmt.Sprintf("2001:db8:0:%x::1", i)}, email, evePassword)
		switch {
		case isRefusal(err, BadCredentials):
			checked++
		case !isRefusal(err, RateLimited):
			t.Fatalf("%q: %v", email, err)
		}
	}
	if checked != 5 || h.hashes.Load() != 5 {
		t.Errorf("%d of 60 guesses were checked, with %d hashes; want 5", checked, h.hashes.Load())
	}
}

func seedD2(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	for i, email := range spellings(ashaEmail, 16) {
		for range 5 {
			_, err := h.Forgot(ctx, From{Address: fmt.Sprintf("2001:db8:0:%x::1", i)}, email)
			if err != nil && !isRefusal(err, RateLimited) {
				t.Fatal(err)
			}
		}
	}
	if n := len(h.letters()); n != 1 {
		t.Errorf("%d letters were written", n)
	}
	// The part after a plus sign is no other mailbox to the budget.
	h.skip(time.Minute)
	h.must(h.Register(ctx, here, Registration{"Eve", "asha+1@example.com", evePassword}))
	h.refused(RateLimited)(h.Register(ctx, here, Registration{"Eve", "asha+2@example.com", evePassword}))
}

func seedD3(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	stranger := func(i int) From { return From{Address: fmt.Sprintf("2001:db8:0:%x::1", i)} }
	owner := here
	owner.Device = h.in(h.Login(ctx, here, ashaEmail, ashaPassword)).Device

	for i := range 8 { // more than enough
		_, _ = h.Login(ctx, stranger(i), ashaEmail, evePassword)
	}
	h.refused(RateLimited)(h.Login(ctx, here, ashaEmail, ashaPassword))
	h.in(h.Login(ctx, owner, ashaEmail, ashaPassword))

	theirs := h.must(h.Forgot(ctx, stranger(0), ashaEmail))
	for i := range 5 {
		_, err := h.ConfirmReset(ctx, stranger(i), theirs.Handle, "00000000")
		if !isRefusal(err, BadCode) && !isRefusal(err, CodeDead) {
			t.Fatal(err)
		}
	}
	h.refused(RateLimited)(h.Forgot(ctx, stranger(9), ashaEmail)) // the mailbox has had its letter
	c := h.must(h.Forgot(ctx, owner, ashaEmail))
	c = h.must(h.ConfirmReset(ctx, owner, c.Handle, h.lastLetter().Code))
	h.isReset(h.NewPassword(ctx, owner, c.Handle, newPassword))

	// A cookie of another account, or one made up, is no such device.
	h.member(Registration{"Eve", "eve@example.com", evePassword}, storage.UserActive)
	forged := From{Address: "2001:db8:0:77::1", Device: h.in(h.Login(ctx, stranger(20), "eve@example.com", evePassword)).Device}
	h.refused(RateLimited)(h.Login(ctx, forged, ashaEmail, newPassword))
}

func seedD4(t *testing.T) {
	ctx, h := t.Context(), newHouse(t, func(c *Config) { c.Domains = []string{"example.com"} })
	for range 3 {
		h.refused(DomainNotAllowed)(h.Register(ctx, here, Registration{"Eve", "eve@example.org", evePassword}))
		h.refused(PasswordTooShort)(h.Register(ctx, here, Registration{"Eve", "eve@example.com", "short"}))
	}
	if n := h.hashes.Load(); n != 0 {
		t.Errorf("%d hashes for what was refused", n)
	}
	h.must(h.Register(ctx, here, eve))
	for i := range 8 {
		h.refused(RateLimited)(h.Register(ctx, here, Registration{"Eve", fmt.Sprintf("asha+%d@example.com", i), evePassword}))
	}
	if n := h.hashes.Load(); n != 1 || len(h.letters()) != 1 {
		t.Errorf("%d hashes and %d letters", n, len(h.letters()))
	}
	// One network registers so often and no oftener.
	refused := 0
	for i := range 100 {
		_, err := h.Register(ctx, From{Address: "198.51.100.9"}, Registration{"Eve", fmt.Sprintf("eve%d@example.com", i), evePassword})
		if isRefusal(err, RateLimited) {
			refused++
		} else if err != nil && !isRefusal(err, Busy) {
			t.Fatal(err)
		}
		if refused > 2 {
			break
		}
	}
	if refused == 0 {
		t.Error("one network registered a hundred accounts")
	}
	// What was registered and not proved goes, and its address is free again.
	if n, err := h.store.DeletePendingUsers(ctx, h.now().Add(time.Minute), 1000); err != nil || n == 0 {
		t.Errorf("%d removed, %v", n, err)
	}
}

func seedD5(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	huge := strings.Repeat("x", 3<<20)
	digits := strings.Repeat("1", 3<<20)
	c := h.must(h.Forgot(ctx, here, ashaEmail))
	before, hashes := len(h.valkey.Dump()), h.hashes.Load()
	commands := h.asked.Load()
	for about, do := range map[string]func() (Outcome, error){
		"handle: verify":          func() (Outcome, error) { return h.VerifyEmail(ctx, here, huge, "12345678") },
		"handle: confirm reset":   func() (Outcome, error) { return h.ConfirmReset(ctx, here, huge, "12345678") },
		"handle: new password":    func() (Outcome, error) { return h.NewPassword(ctx, here, huge, newPassword) },
		"handle: second factor":   func() (Outcome, error) { return h.SecondFactor(ctx, here, huge, "123456") },
		"handle: resend":          func() (Outcome, error) { return h.Resend(ctx, here, huge) },
		"handle of 25 characters": func() (Outcome, error) { return h.Resend(ctx, here, c.Handle[1:]) },
		"handle of 27 characters": func() (Outcome, error) { return h.Resend(ctx, here, c.Handle+"A") },
		"email: sign in":          func() (Outcome, error) { return h.Login(ctx, here, huge+"@example.com", ashaPassword) },
		"email: of 255 bytes": func() (Outcome, error) {
			return h.Login(ctx, here, "a@"+strings.Repeat("b.", 124)+"c.com", ashaPassword)
		},
		"email: forgot":   func() (Outcome, error) { return h.Forgot(ctx, here, huge+"@example.com") },
		"email: register": func() (Outcome, error) { return h.Register(ctx, here, Registration{"A", huge + "@a.bc", ashaPassword}) },
		"name: register": func() (Outcome, error) {
			return h.Register(ctx, here, Registration{huge, "a@example.com", ashaPassword})
		},
		"password: sign in":  func() (Outcome, error) { return h.Login(ctx, here, ashaEmail, huge) },
		"password: register": func() (Outcome, error) { return h.Register(ctx, here, Registration{"A", "a@example.com", huge}) },
	} {
		if o, err := do(); err == nil {
			t.Errorf("%s: got %#v", about, o)
		}
	}
	if n := h.asked.Load() - commands; n != 0 {
		t.Errorf("%d commands reached Valkey", n)
	}
	// What comes with a handle that is one may read the flow, and no more.
	for _, code := range []string{huge, digits, strings.Repeat("1 ", 12) + "1", strings.Repeat("\u0661", 25)} {
		h.refused(BadCode)(h.ConfirmReset(ctx, here, c.Handle, code))
		h.refused(Expired)(h.SecondFactor(ctx, here, c.Handle, code))
	}
	code := h.lastLetter().Code
	c = h.must(h.ConfirmReset(ctx, here, c.Handle, strings.Join(strings.Split(code, ""), " "))) // no try was counted
	h.refused(PasswordTooLong)(h.NewPassword(ctx, here, c.Handle, huge))
	h.refused(PasswordTooLong)(h.NewPassword(ctx, here, c.Handle, strings.Repeat("\U0001F511", MaxPassword)+"x"))
	if h.hashes.Load() != hashes || len(h.valkey.Dump()) > before+4096 {
		t.Errorf("%d hashes, the memory grew from %d to %d", h.hashes.Load()-hashes, before, len(h.valkey.Dump()))
	}
	if _, reason := parseSecondFactor(huge); reason != BadCode {
		t.Errorf("a huge second factor: %s", reason)
	}
}

func seedD6(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	for range 12 {
		h.in(h.Login(ctx, here, ashaEmail, ashaPassword))
	}
	for range 4 { // and failures alone still fill it
		h.refused(BadCredentials)(h.Login(ctx, here, ashaEmail, evePassword))
		h.in(h.Login(ctx, here, ashaEmail, ashaPassword))
	}
	h.refused(BadCredentials)(h.Login(ctx, here, ashaEmail, evePassword))
	h.refused(RateLimited)(h.Login(ctx, here, ashaEmail, ashaPassword))
}

func seedD7(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	c := h.must(h.Forgot(ctx, here, ashaEmail))
	for range 5 {
		_, _ = h.ConfirmReset(ctx, here, c.Handle, "00000000")
	}
	h.skip(time.Minute)
	c = h.must(h.Resend(ctx, here, c.Handle)) // tries at a code do not count
	for range 2 {
		h.skip(time.Minute)
		c = h.must(h.Resend(ctx, here, c.Handle))
	}
	h.skip(30 * time.Minute)
	c = h.must(h.Forgot(ctx, here, ashaEmail))
	h.skip(time.Minute)
	c = h.must(h.Resend(ctx, here, c.Handle))
	h.must(h.ConfirmReset(ctx, here, c.Handle, h.lastLetter().Code)) // and resends do not count as tries
	seen := map[string]bool{}
	for _, r := range rules {
		if seen[string(r.verb)] {
			t.Errorf("two verbs share the bucket %q", r.verb)
		}
		seen[string(r.verb)] = true
	}
}

func seedD9(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	_, codes := h.protect(h.member(asha, storage.UserActive))
	c := h.second(ashaEmail, ashaPassword)
	before := h.hashes.Load()
	h.refused(BadCode)(h.SecondFactor(ctx, here, c.Handle, "BCDFG-BCDFG-BCDFG"))
	h.in(h.SecondFactor(ctx, here, c.Handle, codes[9]))
	if n := h.hashes.Load() - before; n != 0 {
		t.Errorf("%d hashes", n)
	}
}

func seedD10(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	c := h.reset(ashaEmail)
	for range cap(h.passwords.queued) {
		h.passwords.queued <- struct{}{}
	}
	for about, do := range map[string]func() (Outcome, error){
		"sign-in":      func() (Outcome, error) { return h.Login(ctx, here, ashaEmail, ashaPassword) },
		"new password": func() (Outcome, error) { return h.NewPassword(ctx, here, c.Handle, newPassword) },
		"registration": func() (Outcome, error) {
			return h.Register(ctx, here, Registration{"A", "a@example.com", ashaPassword})
		},
	} {
		if e := h.refused(Busy)(do()); e.RetryAfter <= 0 {
			t.Errorf("%s: retry after %v", about, e.RetryAfter)
		}
	}
	for range cap(h.passwords.queued) {
		<-h.passwords.queued
	}
	h.isReset(h.NewPassword(ctx, here, c.Handle, newPassword)) // the flow was not spent by being busy
	for range 6 {
		_, err := h.Login(ctx, here, ashaEmail, evePassword)
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason == RateLimited && (e.RetryAfter <= 0 || e.RetryAfter > 5*time.Minute) {
			t.Errorf("refused with %+v", err)
		}
	}
}

func seedE1(t *testing.T) {
	ctx, h := t.Context(), newHouse(t, slow)
	long := "orchid " + strings.Repeat("é", 64) // more than 72 bytes
	h.settle(Registration{"Asha Rai", ashaEmail, long})
	h.in(h.Login(ctx, here, ashaEmail, long))
	h.refused(BadCredentials)(h.Login(ctx, here, ashaEmail, strings.TrimSuffix(long, "é")+"e"))

	b := newHouse(t, slow, func(c *Config) { c.Bcrypt = true })
	e := b.refused(PasswordTooManyBytes)(b.Register(ctx, here, Registration{"Asha Rai", ashaEmail, long}))
	if e.Field != FieldPassword {
		t.Errorf("the refusal points at %q", e.Field)
	}
	b.settle(asha)
	b.refused(BadCredentials)(b.Login(ctx, here, ashaEmail, long))
	c := b.reset2(ashaEmail)
	b.refused(PasswordTooManyBytes)(b.NewPassword(ctx, here, c.Handle, long))
	b.isReset(b.NewPassword(ctx, here, c.Handle, newPassword))
	if hashes, err := b.store.PasswordHashes(ctx, b.user(ashaEmail).ID); err != nil || !strings.HasPrefix(hashes[0], "$2a$10$") {
		t.Errorf("hashes %q, %v", hashes, err)
	}
	if !strings.HasPrefix(b.passwords.decoy, "$2a$10$") {
		t.Error("the decoy is of another kind than the others")
	}
	// 72 bytes exactly are read, and the 73rd of another password is too.
	exact := strings.Repeat("orchid é ", 8)[:72]
	if b.passwords.policy(exact, "", "") != "" || b.passwords.policy(exact+"x", "", "") != PasswordTooManyBytes {
		t.Error("the bound is not at 72 bytes")
	}
}

// reset2 is reset a minute later, when the mailbox may have another letter.
func (h *house) reset2(email string) Challenge {
	h.t.Helper()
	h.skip(time.Minute)
	return h.reset(email)
}

func seedE2(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(Registration{"Asha Rai", ashaEmail, "password"}, storage.UserActive) // from before there was a policy
	h.in(h.Login(ctx, here, ashaEmail, "password"))
	c := h.reset(ashaEmail)
	for password, want := range map[string]Reason{
		"": PasswordMissing, "short": PasswordTooShort, "password123456": PasswordCommon,
		"my name is asha rai": PasswordPersonal, "asha@example.com!": PasswordPersonal,
	} {
		if e := h.refused(want)(h.NewPassword(ctx, here, c.Handle, password)); e.Field != FieldPassword {
			t.Errorf("the refusal points at %q", e.Field)
		}
	}
	h.isReset(h.NewPassword(ctx, here, c.Handle, newPassword))
}

func seedE3(t *testing.T) {
	t.Run("the last five passwords are refused", func(t *testing.T) {
		ctx, h := t.Context(), newHouse(t)
		who := h.member(asha, storage.UserActive)
		all := []string{ashaPassword}
		for i := range 5 {
			h.skip(30 * time.Minute)
			c := h.reset(ashaEmail)
			for _, old := range all[:min(len(all), 4)] { // one more, and the limit refuses
				h.refused(PasswordReused)(h.NewPassword(ctx, here, c.Handle, old))
			}
			all = append(all, fmt.Sprintf("%s %d", newPassword, i))
			h.isReset(h.NewPassword(ctx, here, c.Handle, all[len(all)-1]))
		}
		hashes, err := h.store.PasswordHashes(ctx, who.UserID)
		if err != nil || len(hashes) != storage.PasswordHistory {
			t.Errorf("%d hashes are kept, %v", len(hashes), err)
		}
		h.skip(30 * time.Minute)
		c := h.reset(ashaEmail)
		h.refused(PasswordReused)(h.NewPassword(ctx, here, c.Handle, all[1]))
		h.refused(PasswordReused)(h.NewPassword(ctx, here, c.Handle, all[5]))
		h.isReset(h.NewPassword(ctx, here, c.Handle, ashaPassword)) // the sixth may come back
	})

	upgrades := []struct {
		about  string
		bcrypt bool
		hash   string
		want   string
		hashes int64
	}{
		{"bcrypt becomes argon2id", false, bcryptHash(t, bcrypt.MinCost), argonPrefix, 2},
		{"a weaker argon2id becomes the current one", false, weakHash(), argonPrefix, 2},
		{"the current argon2id stays", false, argonHash(ashaPassword), argonPrefix, 1},
		{"argon2id becomes bcrypt where that is the choice", true, argonHash(ashaPassword), "$2a$10$", 2},
		{"bcrypt of another cost becomes that of ours", true, bcryptHash(t, bcrypt.MinCost), "$2a$10$", 2},
		{"bcrypt of our cost stays", true, bcryptHash(t, bcryptCost), "$2a$10$", 1},
	}
	for _, tt := range upgrades {
		t.Run(tt.about, func(t *testing.T) {
			ctx, h := t.Context(), newHouse(t, slow, func(c *Config) { c.Bcrypt = tt.bcrypt })
			now := h.now()
			u := storage.User{
				ID: uuid.Must(uuid.NewV7()).String(), Email: ashaEmail, Name: "Asha", Status: storage.UserActive,
				EmailVerifiedAt: now, CreatedAt: now, UpdatedAt: now,
			}
			if err := h.store.CreateUser(ctx, u, tt.hash); err != nil {
				t.Fatal(err)
			}
			h.refused(BadCredentials)(h.Login(ctx, here, ashaEmail, evePassword))
			if _, hash, _ := h.store.UserByEmail(ctx, ashaEmail); hash != tt.hash {
				t.Error("a wrong password changed the hash")
			}
			before := h.hashes.Load()
			a := h.in(h.Login(ctx, here, ashaEmail, ashaPassword))
			_, hash, err := h.store.UserByEmail(ctx, ashaEmail)
			if err != nil || !strings.HasPrefix(hash, tt.want) || (hash == tt.hash) != (tt.hashes == 1) {
				t.Errorf("the hash is %q, %v", hash, err)
			}
			if n := h.hashes.Load() - before; n != tt.hashes {
				t.Errorf("%d hashes, want %d", n, tt.hashes)
			}
			if all, err := h.store.PasswordHashes(ctx, u.ID); err != nil || len(all) != 1 || a.Epoch != u.Epoch {
				t.Errorf("%d hashes are kept, epoch %d, %v", len(all), a.Epoch, err)
			}
			h.in(h.Login(ctx, here, ashaEmail, ashaPassword))
			h.refused(BadCredentials)(h.Login(ctx, here, ashaEmail, evePassword))
		})
	}
}

func seedE4(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	h.member(asha, storage.UserActive)
	c := h.must(h.Forgot(ctx, here, "ASHA@Example.COM"))
	h.skip(time.Minute)
	h.must(h.Resend(ctx, here, c.Handle))
	for _, l := range h.letters() {
		if l.To != ashaEmail {
			t.Errorf("a letter goes to %q", l.To)
		}
	}
	if n := len(h.letters()); n != 2 {
		t.Errorf("%d letters", n)
	}
}

// seedG4 is sec-O1 for the engine: what would betray a person stays out of
// everything that is written down in the clear.
func seedG4(t *testing.T) {
	ctx := t.Context()
	var log strings.Builder
	h := newHouse(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	who := h.member(asha, storage.UserActive)
	secret, codes := h.protect(who)
	secrets := []string{ashaEmail, ashaPassword, evePassword, newPassword, secret, codes[0], strings.ReplaceAll(codes[0], "-", "")}
	var said []string
	say := func(o Outcome, err error) Challenge {
		if err != nil {
			said = append(said, err.Error())
		}
		c, _ := o.(Challenge)
		if c.Handle != "" {
			secrets = append(secrets, c.Handle)
		}
		return c
	}
	say(h.Login(ctx, here, ashaEmail, evePassword))
	c := say(h.Login(ctx, here, ashaEmail, ashaPassword))
	const mistyped = "BCDFGHJKMNPQRTV"
	secrets = append(secrets, mistyped)
	say(h.SecondFactor(ctx, here, c.Handle, mistyped))
	say(h.SecondFactor(ctx, here, c.Handle, codes[0]))
	c = say(h.Forgot(ctx, here, ashaEmail))
	say(h.ConfirmReset(ctx, here, c.Handle, "00000000"))
	code := h.lastLetter().Code
	secrets = append(secrets, code)
	c = say(h.ConfirmReset(ctx, here, c.Handle, code))
	say(h.NewPassword(ctx, here, c.Handle, ashaPassword))
	say(h.NewPassword(ctx, here, c.Handle, newPassword))
	h.store = &noEvents{h.store} // which is told to the log
	say(h.Login(ctx, here, ashaEmail, evePassword))
	h.store = h.config.Store

	events, err := h.store.ListEvents(ctx, "", 1000)
	if err != nil || len(events) < 6 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	said = append(said, fmt.Sprintf("%+v", events), log.String())
	if !strings.Contains(log.String(), "event not kept") {
		t.Error("that an event was not kept is not in the log")
	}
	for _, s := range secrets {
		for _, text := range said {
			if strings.Contains(strings.ToLower(text), strings.ToLower(s)) {
				t.Errorf("%q is in %q", s, text)
			}
		}
	}
}

// noEvents cannot keep events.
type noEvents struct{ Store }

func (noEvents) AddEvent(context.Context, storage.Event) error { return errBroken }

func seedG8(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	a := h.member(asha, storage.UserActive)
	h.protect(a)
	row, err := h.store.TOTP(ctx, a.UserID)
	if err != nil {
		t.Fatal(err)
	}
	b := h.member(Registration{"Bina", binaEmail, ashaPassword}, storage.UserActive)
	if _, err := h.open(row.Sealed, []byte(b.UserID)); err == nil {
		t.Error("the secret of one opens in the row of another")
	}
	if _, err := h.open(row.Sealed, []byte(a.UserID)); err != nil {
		t.Error(err)
	}
}

func seedG11(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	secret, codes := h.protect(h.member(asha, storage.UserActive))
	dashes := h.code(secret, 0)
	for _, typed := range []string{
		codes[0], strings.ToLower(codes[1]), strings.ReplaceAll(codes[2], "-", ""), strings.ReplaceAll(codes[3], "-", " \u2013 "),
		dashes[:3] + " " + dashes[3:],
	} {
		h.in(h.SecondFactor(ctx, here, h.second(ashaEmail, ashaPassword).Handle, typed))
	}
	c := h.must(h.Forgot(ctx, here, ashaEmail))
	code := h.lastLetter().Code
	h.must(h.ConfirmReset(ctx, here, c.Handle, code[:4]+" "+code[4:]))
}

// bcryptHash is a hash of Asha's password.
func bcryptHash(t *testing.T, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(ashaPassword), cost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// weakHash is a hash of Asha's password by argon2id at half the cost.
func weakHash() string {
	salt := make([]byte, argonSalt)
	key := argon2.IDKey([]byte(ashaPassword), salt, 1, argonMemory, argonLanes, argonKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=1,p=1$%s$%s", argon2.Version, argonMemory,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

// onBoth runs a test on what is embedded and on servers.
func onBoth(t *testing.T, test func(*testing.T, *house)) {
	t.Run("SQLite, Valkey in process", func(t *testing.T) { test(t, newHouse(t)) })
	t.Run("PostgreSQL, Valkey", func(t *testing.T) { test(t, newHouse(t, withServers(t))) })
}

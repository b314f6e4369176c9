package login

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pquerna/otp/totp"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/postgres"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

const binaEmail = "bina@example.com"

// member is somebody who has an account and has just signed in.
func (h *house) member(r Registration, status storage.UserStatus) Acting {
	h.t.Helper()
	now := h.now().UTC()
	u := storage.User{
		ID: uuid.Must(uuid.NewV7()).String(), Email: r.Email, Name: r.Name, Status: status, CreatedAt: now, UpdatedAt: now,
	}
	if status != storage.UserPending {
		u.EmailVerifiedAt = now
	}
	hash, err := h.passwords.create(r.Password)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.store.CreateUser(h.t.Context(), u, hash); err != nil {
		h.t.Fatal(err)
	}
	return Acting{UserID: u.ID, AuthTime: now, From: here}
}

// browser signs a person's browser in.
func (h *house) browser(who Acting) string {
	h.t.Helper()
	u := h.account(who)
	now, id := h.now().UTC(), uuid.Must(uuid.NewV7()).String()
	err := h.store.CreateSession(h.t.Context(), storage.Session{
		ID: id, SecretHash: []byte(id), UserID: u.ID, UserEpoch: u.Epoch, AuthTime: now, CreatedAt: now,
		ExpiresAt: now.Add(24 * time.Hour), EndsAt: now.Add(24 * time.Hour),
	}, "")
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// browsers are the sessions that are alive.
func (h *house) browsers(who Acting) []string {
	h.t.Helper()
	sessions, err := h.Sessions(h.t.Context(), who)
	if err != nil {
		h.t.Fatal(err)
	}
	var ids []string
	for _, s := range sessions {
		if _, _, err := h.store.SessionBySecret(h.t.Context(), s.SecretHash, h.now()); err != nil {
			h.t.Errorf("session %s is listed and opens nothing: %v", s.ID, err)
		}
		ids = append(ids, s.ID)
	}
	return ids
}

// app registers a client.
func (h *house) app(c storage.Client) storage.Client {
	h.t.Helper()
	c.AuthMethod, c.CreatedAt, c.UpdatedAt = storage.AuthNone, h.now().UTC(), h.now().UTC()
	if err := h.store.(storage.Clients).CreateClient(h.t.Context(), c); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// use gives an app tokens of a person.
func (h *house) use(who Acting, clientID string, scopes ...string) storage.Grant {
	h.t.Helper()
	u, now := h.account(who), h.now().UTC()
	id := uuid.Must(uuid.NewV7()).String()
	g := storage.Grant{
		ID: id, HandleHash: []byte(id), ClientID: clientID, UserID: u.ID, UserEpoch: u.Epoch, Scopes: scopes, AuthTime: now,
		Generation: 1, CreatedAt: now, ExpiresAt: now.Add(24 * time.Hour), EndsAt: now.Add(48 * time.Hour),
	}
	if err := h.store.CreateGrant(h.t.Context(), g); err != nil {
		h.t.Fatal(err)
	}
	return g
}

// alive reports whether a grant is.
func (h *house) alive(g storage.Grant) bool {
	h.t.Helper()
	_, _, err := h.store.LiveGrant(h.t.Context(), g.ID, h.now())
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		h.t.Fatal(err)
	}
	return err == nil
}

// account is a person as stored.
func (h *house) account(who Acting) storage.User {
	h.t.Helper()
	u, err := h.store.User(h.t.Context(), who.UserID)
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

// hasPassword reports whether that is the person's password.
func (h *house) hasPassword(who Acting, password string) bool {
	h.t.Helper()
	hashes, err := h.store.PasswordHashes(h.t.Context(), who.UserID)
	if err != nil || len(hashes) == 0 {
		h.t.Fatal(hashes, err)
	}
	right, err := h.passwords.matches(hashes[0], password)
	if err != nil {
		h.t.Fatal(err)
	}
	return right
}

// sent are the letters of a kind, oldest first.
func (h *house) sent(kind string) []Letter {
	h.t.Helper()
	rows, err := h.store.PendingLetters(h.t.Context(), "", 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	var letters []Letter
	for _, r := range rows {
		var l Letter
		if err := json.Unmarshal(r.Sealed, &l); err != nil {
			h.t.Fatal(err)
		}
		if l.Kind == kind {
			letters = append(letters, l)
		}
	}
	return letters
}

// told returns the one letter of its kind.
func (h *house) told(kind string) Letter {
	h.t.Helper()
	letters := h.sent(kind)
	if len(letters) != 1 {
		h.t.Fatalf("%d letters of kind %s, want one", len(letters), kind)
	}
	return letters[0]
}

// happened counts the events of a kind and outcome.
func (h *house) happened(who Acting, kind, outcome string) int {
	h.t.Helper()
	events, err := h.store.ListEventsOf(h.t.Context(), who.UserID, "", 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	n := 0
	for _, e := range events {
		if e.Kind == kind && e.Outcome == outcome {
			if e.Address != here.Address || e.UserAgent != here.UserAgent {
				h.t.Errorf("event %+v does not say from where", e)
			}
			n++
		}
	}
	return n
}

// refusal fails unless err is a refusal for that reason.
func (h *house) refusal(err error, want Reason) *Error {
	h.t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Reason != want {
		h.t.Fatalf("got %v; want a refusal: %s", err, want)
	}
	return e
}

// code is what the authenticator app shows, some steps from now.
func (h *house) code(secret string, steps int) string {
	h.t.Helper()
	code, err := totp.GenerateCode(secret, h.now().Add(time.Duration(steps)*totpPeriod))
	if err != nil {
		h.t.Fatal(err)
	}
	return code
}

// enroll begins to turn two-step sign-in on, with a secret whose codes of the
// steps around now are all different: one is then not taken for another.
func (h *house) enroll(who Acting) Enrollment {
	h.t.Helper()
	for {
		e, err := h.EnrollSecondFactor(h.t.Context(), who)
		if err != nil {
			h.t.Fatal(err)
		}
		seen := map[string]bool{}
		for steps := -5; steps <= 1; steps++ {
			seen[h.code(e.Secret, steps)] = true
		}
		if len(seen) == 7 {
			return e
		}
	}
}

// protect turns two-step sign-in on, and returns the app's secret and the
// recovery codes.
func (h *house) protect(who Acting) (secret string, codes []string) {
	h.t.Helper()
	e := h.enroll(who)
	codes, _, err := h.ConfirmSecondFactor(h.t.Context(), who, e.Handle, h.code(e.Secret, -1))
	if err != nil {
		h.t.Fatal(err)
	}
	return e.Secret, codes
}

// verbs are those of a signed-in person, as far as a stranger gets with each.
var verbs = []struct {
	name  string
	fresh bool
	do    func(ctx context.Context, h *house, who Acting) error
}{
	{"change password", true, func(ctx context.Context, h *house, who Acting) error {
		_, err := h.ChangePassword(ctx, who, ashaPassword, "copper orchid thunder")
		return err
	}},
	{"change email", true, func(ctx context.Context, h *house, who Acting) error {
		_, err := h.ChangeEmail(ctx, who, "new@example.com")
		return err
	}},
	{"enroll second factor", true, func(ctx context.Context, h *house, who Acting) error {
		_, err := h.EnrollSecondFactor(ctx, who)
		return err
	}},
	{"enrollment", true, func(ctx context.Context, h *house, who Acting) error {
		_, err := h.Enrollment(ctx, who, rand.Text())
		return err
	}},
	{"confirm second factor", true, func(ctx context.Context, h *house, who Acting) error {
		_, _, err := h.ConfirmSecondFactor(ctx, who, rand.Text(), "123456")
		return err
	}},
	{"disable second factor", true, func(ctx context.Context, h *house, who Acting) error {
		_, err := h.DisableSecondFactor(ctx, who, "123456")
		return err
	}},
	{"new recovery codes", true, func(ctx context.Context, h *house, who Acting) error {
		_, err := h.NewRecoveryCodes(ctx, who)
		return err
	}},
	{"confirm email", false, func(ctx context.Context, h *house, who Acting) error {
		return h.ConfirmEmail(ctx, who, rand.Text(), "12345678")
	}},
	{"sessions", false, func(ctx context.Context, h *house, who Acting) error {
		_, err := h.Sessions(ctx, who)
		return err
	}},
	{"end session", false, func(ctx context.Context, h *house, who Acting) error { return h.EndSession(ctx, who, "id") }},
	{"apps", false, func(ctx context.Context, h *house, who Acting) error {
		_, err := h.Apps(ctx, who)
		return err
	}},
	{"withdraw app", false, func(ctx context.Context, h *house, who Acting) error { return h.WithdrawApp(ctx, who, "id") }},
	{"sign out everywhere", false, func(ctx context.Context, h *house, who Acting) error {
		_, err := h.SignOutEverywhere(ctx, who)
		return err
	}},
	{"delete account", true, func(ctx context.Context, h *house, who Acting) error { return h.DeleteAccount(ctx, who) }}, // the last: it succeeds
}

func TestActing(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t)
	who := h.member(asha, storage.UserActive)
	suspended := h.member(Registration{"Bina", binaEmail, ashaPassword}, storage.UserSuspended)
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			h.refusal(v.do(ctx, h, suspended), AccountRestricted)
			h.refusal(v.do(ctx, h, Acting{UserID: uuid.NewString(), AuthTime: h.now()}), AccountRestricted)

			before := h.account(who)
			old := who
			old.AuthTime = h.now().Add(-5*time.Minute - time.Second)
			err := v.do(ctx, h, old)
			e, _ := errors.AsType[*Error](err)
			if asked := e != nil && e.Reason == Reauthenticate; asked != v.fresh {
				t.Errorf("sec-K7: somebody who signed in 5 minutes ago gets %v; want a fresh sign-in asked for: %v", err, v.fresh)
			}
			if v.fresh && h.account(who) != before {
				t.Error("something changed")
			}
			fresh := who
			fresh.AuthTime = h.now().Add(-4*time.Minute - 59*time.Second)
			err = v.do(ctx, h, fresh)
			if e, _ := errors.AsType[*Error](err); e != nil && e.Reason == Reauthenticate {
				t.Error("a fresh sign-in is not taken for one")
			}
		})
	}
}

func TestChangePassword(t *testing.T) {
	ctx := t.Context()
	const next = "seventeen green lanterns"

	t.Run("the current password sets another, and everything else ends", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		h.app(storage.Client{ID: "notes", Name: "Notes"})
		mine, other, tokens := h.browser(who), h.browser(who), h.use(who, "notes", "openid")
		who.Keep.Session = mine
		epoch, err := h.ChangePassword(ctx, who, ashaPassword, next)
		if err != nil {
			t.Fatal(err)
		}
		u := h.account(who)
		if epoch != 1 || u.Epoch != epoch || !h.hasPassword(who, next) || h.hasPassword(who, ashaPassword) {
			t.Errorf("epoch %d, user %+v", epoch, u)
		}
		if got := h.browsers(who); !slices.Equal(got, []string{mine}) || h.alive(tokens) {
			t.Errorf("sessions %v of %s (kept) and %s; the tokens are alive: %v", got, mine, other, h.alive(tokens))
		}
		if l := h.told(LetterPasswordChanged); l.To != ashaEmail || l.Detail != "Firefox on Linux" || l.At.IsZero() || l.Code != "" {
			t.Errorf("sec-J6: letter %+v", l)
		}
		if h.happened(who, EventPasswordChanged, eventOK) != 1 {
			t.Error("no event was kept")
		}
	})

	t.Run("a wrong current password changes nothing", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		before := h.account(who)
		_, err := h.ChangePassword(ctx, who, "not the password", next)
		if e := h.refusal(err, WrongPassword); e.Field != FieldCurrent {
			t.Errorf("it is told at %q", e.Field)
		}
		if h.account(who) != before || !h.hasPassword(who, ashaPassword) || len(h.letters()) != 0 {
			t.Error("something changed")
		}
		if h.happened(who, EventPasswordChanged, string(WrongPassword)) != 1 {
			t.Error("no event was kept")
		}
	})

	t.Run("every problem is told at once, and nothing is hashed for it", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		_, err := h.ChangePassword(ctx, who, "", "short")
		e := h.refusal(err, PasswordMissing)
		if want := []Problem{{FieldCurrent, PasswordMissing}, {FieldPassword, PasswordTooShort}}; !slices.Equal(e.Problems, want) {
			t.Errorf("problems %+v", e.Problems)
		}
		_, err = h.ChangePassword(ctx, who, ashaPassword, "my name is asha rai")
		h.refusal(err, PasswordPersonal)
		_, err = h.ChangePassword(ctx, who, strings.Repeat("x", MaxPassword+1), next)
		h.refusal(err, WrongPassword)
		if n := h.hashes.Load(); n != 0 {
			t.Errorf("%d hashes", n)
		}
	})

	t.Run("the last five passwords are refused, and one before them is not", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		all := []string{ashaPassword}
		for i := range 5 {
			p := fmt.Sprintf("passphrase of the %dth day", i)
			if _, err := h.ChangePassword(ctx, who, all[i], p); err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		for _, p := range all[1:] {
			_, err := h.ChangePassword(ctx, who, all[5], p)
			if e := h.refusal(err, PasswordReused); e.Field != FieldPassword {
				t.Errorf("it is told at %q", e.Field)
			}
		}
		if _, err := h.ChangePassword(ctx, who, all[5], all[0]); err != nil {
			t.Errorf("the sixth of the past: %v", err)
		}
		// Eleven calls by somebody who knows the password used up nothing.
		for range 6 {
			_, err := h.ChangePassword(ctx, who, "not the password", next)
			h.refusal(err, WrongPassword)
		}
		_, err := h.ChangePassword(ctx, who, all[0], next)
		if e := h.refusal(err, RateLimited); e.RetryAfter <= 0 || e.RetryAfter > time.Hour {
			t.Errorf("seed-D10: wait %v", e.RetryAfter)
		}
		if _, err := h.ChangeEmail(ctx, who, "new@example.com"); err != nil {
			t.Errorf("seed-D7: another verb has no limit of its own: %v", err)
		}
	})
}

func TestChangeEmail(t *testing.T) {
	ctx := t.Context()
	const moved = "asha.rai@new.example"

	t.Run("the new mailbox is proved and the old one told", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		c, err := h.ChangeEmail(ctx, who, " "+moved)
		if err != nil || c.Step != ConfirmEmail || c.Email != moved || len(c.Handle) != 26 {
			t.Fatalf("challenge %+v, %v", c, err)
		}
		code, notice := h.told(LetterEmailChangeCode), h.told(LetterEmailChanging)
		if code.To != moved || len(code.Code) != 8 || !code.ExpiresAt.Equal(c.ExpiresAt) {
			t.Errorf("letter to the new address: %+v", code)
		}
		if notice.To != ashaEmail || notice.Detail != "a•••@new.example" || notice.Code != "" {
			t.Errorf("letter to the old address: %+v", notice)
		}
		if u := h.account(who); u.Email != ashaEmail {
			t.Errorf("before the code the address is %s", u.Email)
		}
		h.refusal(h.ConfirmEmail(ctx, who, c.Handle, "00000000"), BadCode)
		if err := h.ConfirmEmail(ctx, who, c.Handle, code.Code[:4]+" "+code.Code[4:]); err != nil {
			t.Fatal(err)
		}
		if u := h.account(who); u.Email != moved || !u.EmailVerified() || u.Status != storage.UserActive {
			t.Errorf("after the code: %+v", u)
		}
		h.refusal(h.ConfirmEmail(ctx, who, c.Handle, code.Code), Expired)
		if h.happened(who, EventEmailChange, eventOK) != 1 || h.happened(who, EventEmailChanged, eventOK) != 1 {
			t.Error("the events were not kept")
		}
	})

	t.Run("sec-L2: an address with an account gets the same answer, and its owner a letter", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		bina := h.member(Registration{"Bina", binaEmail, ashaPassword}, storage.UserActive)
		c, err := h.ChangeEmail(ctx, who, "BINA@example.com")
		if err != nil || c.Step != ConfirmEmail || c.Email != "BINA@example.com" || len(c.Handle) != 26 || c.ExpiresAt.IsZero() {
			t.Fatalf("challenge %+v, %v", c, err)
		}
		if l := h.told(LetterAccountExists); l.To != binaEmail || l.Code != "" {
			t.Errorf("seed-E4: letter %+v", l)
		}
		if l := h.told(LetterEmailChanging); l.To != ashaEmail || l.Detail != "B•••@example.com" {
			t.Errorf("letter %+v", l)
		}
		for range 4 {
			h.refusal(h.ConfirmEmail(ctx, who, c.Handle, "00000000"), BadCode)
		}
		h.refusal(h.ConfirmEmail(ctx, who, c.Handle, "00000000"), CodeDead)
		if h.account(bina).Email != binaEmail || h.account(who).Email != ashaEmail {
			t.Error("an address moved")
		}
	})

	t.Run("an address that is taken before the code comes reads as expired", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		c, err := h.ChangeEmail(ctx, who, moved)
		if err != nil {
			t.Fatal(err)
		}
		h.member(Registration{"Bina", moved, ashaPassword}, storage.UserActive)
		h.refusal(h.ConfirmEmail(ctx, who, c.Handle, h.told(LetterEmailChangeCode).Code), Expired)
		if u := h.account(who); u.Email != ashaEmail {
			t.Errorf("the address is %s", u.Email)
		}
	})

	t.Run("seed-D4: a registration that was never proved holds no address", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		h.member(Registration{"Eve", moved, evePassword}, storage.UserPending)
		c, err := h.ChangeEmail(ctx, who, moved)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.ConfirmEmail(ctx, who, c.Handle, h.told(LetterEmailChangeCode).Code); err != nil {
			t.Fatal(err)
		}
		u, _, err := h.store.UserByEmail(ctx, moved)
		if err != nil || u.ID != who.UserID || !h.hasPassword(who, ashaPassword) {
			t.Errorf("the address belongs to %+v, %v", u, err)
		}
	})

	t.Run("a challenge is good for the person who asked, as they were", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		bina := h.member(Registration{"Bina", binaEmail, ashaPassword}, storage.UserActive)
		c, err := h.ChangeEmail(ctx, who, moved)
		if err != nil {
			t.Fatal(err)
		}
		code := h.told(LetterEmailChangeCode).Code
		h.refusal(h.ConfirmEmail(ctx, bina, c.Handle, code), Expired)
		_, _, err = h.ConfirmSecondFactor(ctx, who, c.Handle, "123456")
		h.refusal(err, Expired)
		if _, err := h.SignOutEverywhere(ctx, who); err != nil {
			t.Fatal(err)
		}
		h.refusal(h.ConfirmEmail(ctx, who, c.Handle, code), Expired)
		if u := h.account(who); u.Email != ashaEmail {
			t.Errorf("the address is %s", u.Email)
		}
	})

	t.Run("bad addresses", func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.Domains = []string{"example.com"} })
		who := h.member(asha, storage.UserActive)
		for address, want := range map[string]Reason{
			"": EmailMissing, "asha": EmailMalformed, moved: DomainNotAllowed,
			"asha\r\nbcc: all@example.com": EmailMalformed,
		} {
			_, err := h.ChangeEmail(ctx, who, address)
			if e := h.refusal(err, want); e.Field != FieldEmail {
				t.Errorf("%q is told at %q", address, e.Field)
			}
		}
		if len(h.letters()) != 0 {
			t.Error("letters were written")
		}
	})

	t.Run("sec-L4: strangers' mailboxes get few letters", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		if _, err := h.ChangeEmail(ctx, who, moved); err != nil {
			t.Fatal(err)
		}
		_, err := h.ChangeEmail(ctx, who, strings.ToUpper(moved))
		if e := h.refusal(err, RateLimited); e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
			t.Errorf("wait %v", e.RetryAfter)
		}
		for i := range 4 {
			if _, err := h.ChangeEmail(ctx, who, fmt.Sprintf("stranger%d@example.com", i)); err != nil {
				t.Fatal(err)
			}
		}
		_, err = h.ChangeEmail(ctx, who, "stranger@example.com")
		h.refusal(err, RateLimited)
	})
}

func TestMaskedEmail(t *testing.T) {
	for address, want := range map[string]string{
		"asha@example.com": "a•••@example.com", "a@example.com": "a•••@example.com", "émile@example.com": "é•••@example.com",
	} {
		if got := maskedEmail(address); got != want {
			t.Errorf("%s is shown as %s, want %s", address, got, want)
		}
	}
}

func TestSessions(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t)
	who := h.member(asha, storage.UserActive)
	bina := h.member(Registration{"Bina", binaEmail, ashaPassword}, storage.UserActive)
	h.app(storage.Client{ID: "notes", Name: "Notes"})
	mine, other, hers := h.browser(who), h.browser(who), h.browser(bina)

	t.Run("a person sees and ends their own, not those of others", func(t *testing.T) {
		h.refusal(h.EndSession(ctx, who, hers), NotFound)
		h.refusal(h.EndSession(ctx, who, "unknown"), NotFound)
		if got := h.browsers(bina); !slices.Equal(got, []string{hers}) {
			t.Errorf("Bina's sessions are %v", got)
		}
		if err := h.EndSession(ctx, who, other); err != nil {
			t.Fatal(err)
		}
		h.refusal(h.EndSession(ctx, who, other), NotFound)
		if got := h.browsers(who); !slices.Equal(got, []string{mine}) {
			t.Errorf("sessions are %v", got)
		}
		if h.happened(who, EventSessionEnded, eventOK) != 1 {
			t.Error("no event was kept")
		}
	})

	t.Run("all end but the one that asked", func(t *testing.T) {
		who := who
		h.browser(who)
		kept, ended := h.use(who, "notes", "openid"), h.use(who, "notes", "openid")
		who.Keep = storage.Kept{Session: mine, Grant: kept.ID}
		epoch, err := h.SignOutEverywhere(ctx, who)
		if err != nil || epoch != h.account(who).Epoch {
			t.Errorf("epoch %d, %v", epoch, err)
		}
		if got := h.browsers(who); !slices.Equal(got, []string{mine}) || !h.alive(kept) || h.alive(ended) {
			t.Errorf("sessions are %v; tokens kept: %v, ended: %v", got, h.alive(kept), !h.alive(ended))
		}
		if got := h.browsers(bina); len(got) != 1 {
			t.Errorf("Bina's sessions are %v", got)
		}
		if h.happened(who, EventSignedOutEverywhere, eventOK) != 1 {
			t.Error("no event was kept")
		}
	})
}

func TestApps(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t)
	who := h.member(asha, storage.UserActive)
	bina := h.member(Registration{"Bina", binaEmail, ashaPassword}, storage.UserActive)
	h.app(storage.Client{ID: "notes", Name: "Tidepool Notes"})
	h.app(storage.Client{ID: "portal", Name: "Portal", FirstParty: true})
	h.app(storage.Client{ID: "never", Name: "Never used"})
	agreed := h.now().UTC().Truncate(time.Microsecond)
	if err := h.store.PutConsent(ctx, storage.Consent{UserID: who.UserID, ClientID: "notes", Scopes: []string{"profile", "openid"}, GrantedAt: agreed}); err != nil {
		t.Fatal(err)
	}
	h.skip(time.Minute)
	notes, portal := h.use(who, "notes", "openid", "email"), h.use(who, "portal", "openid")
	hers := h.use(bina, "notes", "openid")

	t.Run("an app is listed for what was agreed to and for its tokens", func(t *testing.T) {
		apps, err := h.Apps(ctx, who)
		if err != nil || len(apps) != 2 {
			t.Fatalf("apps %+v, %v", apps, err)
		}
		p, n := apps[0], apps[1]
		if p.ClientID != "portal" || p.Name != "Portal" || !p.FirstParty || !slices.Equal(p.Scopes, []string{"openid"}) ||
			p.AllowedAt.IsZero() || !p.LastUsedAt.Equal(p.AllowedAt) {
			t.Errorf("first %+v", p)
		}
		if n.ClientID != "notes" || n.FirstParty || !slices.Equal(n.Scopes, []string{"email", "openid", "profile"}) ||
			!n.AllowedAt.Equal(agreed) || !n.LastUsedAt.Equal(notes.CreatedAt.Truncate(time.Microsecond)) {
			t.Errorf("second %+v", n)
		}
	})

	t.Run("what is taken back ends at once, for that person and app", func(t *testing.T) {
		h.refusal(h.WithdrawApp(ctx, who, "never"), NotFound)
		h.refusal(h.WithdrawApp(ctx, who, "unknown"), NotFound)
		if err := h.WithdrawApp(ctx, who, "notes"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.store.Consent(ctx, who.UserID, "notes"); !errors.Is(err, storage.ErrNotFound) || h.alive(notes) {
			t.Errorf("consent: %v; the tokens are alive: %v", err, h.alive(notes))
		}
		if !h.alive(portal) || !h.alive(hers) {
			t.Error("tokens of others ended")
		}
		h.refusal(h.WithdrawApp(ctx, who, "notes"), NotFound)
		if err := h.WithdrawApp(ctx, who, "portal"); err != nil || h.alive(portal) {
			t.Errorf("an app that asked for no consent: %v, alive %v", err, h.alive(portal))
		}
		if h.happened(who, EventAppWithdrawn, eventOK) != 2 {
			t.Error("the events were not kept")
		}
	})
}

func TestDeleteAccount(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t)
	who := h.member(asha, storage.UserActive)
	h.app(storage.Client{ID: "notes", Name: "Notes"})
	h.protect(who)
	session, tokens := h.browser(who), h.use(who, "notes", "openid")
	if err := h.DeleteAccount(ctx, who); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.store.UserByEmail(ctx, ashaEmail); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the account: %v", err)
	}
	if _, _, err := h.store.SessionBySecret(ctx, []byte(session), h.now()); !errors.Is(err, storage.ErrNotFound) || h.alive(tokens) {
		t.Errorf("the session: %v; the tokens are alive: %v", err, h.alive(tokens))
	}
	if l := h.told(LetterAccountDeleted); l.To != ashaEmail {
		t.Errorf("letter %+v", l)
	}
	if h.happened(who, EventDeleted, eventOK) != 1 {
		t.Error("no event was kept")
	}
	again := h.member(asha, storage.UserActive)
	if again.UserID == who.UserID {
		t.Error("the address brings the account back")
	}
}

func TestSecondFactor(t *testing.T) {
	ctx := t.Context()

	t.Run("the first code turns it on, and gives ten recovery codes", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		mine, other := h.browser(who), h.browser(who)
		who.Keep.Session = mine
		before := h.account(who)
		e := h.enroll(who)
		if life := e.ExpiresAt.Sub(h.now()); life > 30*time.Minute || life < 29*time.Minute || len(e.Secret) != 32 ||
			!strings.HasPrefix(e.URI, "otpauth://totp/Gatehouse:asha%40example.com?secret="+e.Secret) {
			t.Errorf("enrollment %+v", e)
		}
		// A wrong code changes nothing, not even the secret.
		_, _, err := h.ConfirmSecondFactor(ctx, who, e.Handle, h.code(e.Secret, -3))
		if r := h.refusal(err, BadCode); r.Field != FieldCode {
			t.Errorf("it is told at %q", r.Field)
		}
		_, _, err = h.ConfirmSecondFactor(ctx, who, e.Handle, " ")
		h.refusal(err, CodeMissing)
		if same, err := h.Enrollment(ctx, who, e.Handle); err != nil || same.Secret != e.Secret || same.URI != e.URI || same.Handle != e.Handle {
			t.Errorf("read again: %+v, %v", same, err)
		}
		if h.account(who) != before || len(h.letters()) != 0 {
			t.Error("something changed before the confirmation")
		}
		typed := h.code(e.Secret, 0)
		codes, epoch, err := h.ConfirmSecondFactor(ctx, who, e.Handle, typed[:3]+" "+typed[3:])
		if err != nil {
			t.Fatal(err)
		}
		u := h.account(who)
		if !u.SecondFactor || u.Epoch != epoch || epoch != before.Epoch+1 {
			t.Errorf("epoch %d, user %+v", epoch, u)
		}
		if got := h.browsers(who); !slices.Equal(got, []string{mine}) {
			t.Errorf("sessions %v of %s (kept) and %s", got, mine, other)
		}
		if len(codes) != 10 || len(codes[0]) != 17 || codes[0][5] != '-' {
			t.Errorf("recovery codes %q", codes)
		}
		if n, err := h.store.RecoveryCodesLeft(ctx, who.UserID); n != 10 || err != nil {
			t.Errorf("%d codes left, %v", n, err)
		}
		if l := h.told(LetterSecondFactorOn); l.To != ashaEmail || l.Detail != "Firefox on Linux" {
			t.Errorf("letter %+v", l)
		}
		if h.happened(who, EventSecondFactorOn, eventOK) != 1 {
			t.Error("no event was kept")
		}
		// seed-B2: the code that confirmed it is spent.
		if err := h.store.SpendTOTP(ctx, who.UserID, totpStep(h.now())-1, h.now()); !errors.Is(err, storage.ErrSpent) {
			t.Errorf("the step before: %v", err)
		}
		_, err = h.EnrollSecondFactor(ctx, who)
		h.refusal(err, AlreadyOn)
		_, _, err = h.ConfirmSecondFactor(ctx, who, e.Handle, typed)
		h.refusal(err, AlreadyOn)
	})

	t.Run("sec-K1 seed-G8: the secret is sealed, for this person alone", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		bina := h.member(Registration{"Bina", binaEmail, ashaPassword}, storage.UserActive)
		e, err := h.EnrollSecondFactor(ctx, who)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = h.ConfirmSecondFactor(ctx, bina, e.Handle, h.code(e.Secret, 0))
		h.refusal(err, Expired)
		_, err = h.Enrollment(ctx, bina, e.Handle)
		h.refusal(err, Expired)
		if _, _, err := h.ConfirmSecondFactor(ctx, who, e.Handle, h.code(e.Secret, -1)); err != nil {
			t.Fatal(err)
		}
		row, err := h.store.TOTP(ctx, who.UserID)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := h.open(row.Sealed, []byte(who.UserID))
		if err != nil || totpText(secret) != e.Secret {
			t.Errorf("opened %x, %v", secret, err)
		}
		if strings.Contains(string(row.Sealed), string(secret)) {
			t.Error("the secret is readable in its row")
		}
		if _, err := h.open(row.Sealed, []byte(bina.UserID)); err == nil {
			t.Error("moved to another person's row it opens")
		}
	})

	t.Run("an enrolment ends after half an hour and with everything else", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		e, err := h.EnrollSecondFactor(ctx, who)
		if err != nil {
			t.Fatal(err)
		}
		h.skip(29 * time.Minute)
		who.AuthTime = h.now()
		if _, err := h.Enrollment(ctx, who, e.Handle); err != nil {
			t.Errorf("within half an hour: %v", err)
		}
		h.skip(time.Minute)
		_, _, err = h.ConfirmSecondFactor(ctx, who, e.Handle, h.code(e.Secret, 0))
		h.refusal(err, Expired)

		e, err = h.EnrollSecondFactor(ctx, who)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.SignOutEverywhere(ctx, who); err != nil {
			t.Fatal(err)
		}
		_, _, err = h.ConfirmSecondFactor(ctx, who, e.Handle, h.code(e.Secret, 0))
		h.refusal(err, Expired)
		if h.account(who).SecondFactor {
			t.Error("it is on")
		}
	})

	t.Run("a code of the app turns it off, once", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		_, err := h.DisableSecondFactor(ctx, who, "123456")
		h.refusal(err, NotOn)
		secret, _ := h.protect(who)
		mine, _ := h.browser(who), h.browser(who)
		who.Keep.Session = mine
		before := h.account(who)
		_, err = h.DisableSecondFactor(ctx, who, h.code(secret, -1))
		h.refusal(err, CodeUsed)
		_, err = h.DisableSecondFactor(ctx, who, h.code(secret, -5))
		h.refusal(err, BadCode)
		if h.account(who) != before {
			t.Error("something changed")
		}
		epoch, err := h.DisableSecondFactor(ctx, who, h.code(secret, 0))
		if err != nil {
			t.Fatal(err)
		}
		u := h.account(who)
		if u.SecondFactor || u.Epoch != epoch || epoch != before.Epoch+1 {
			t.Errorf("epoch %d, user %+v", epoch, u)
		}
		if got := h.browsers(who); !slices.Equal(got, []string{mine}) {
			t.Errorf("sessions %v", got)
		}
		if l := h.told(LetterSecondFactorOff); l.To != ashaEmail {
			t.Errorf("letter %+v", l)
		}
		if h.happened(who, EventSecondFactorOff, eventOK) != 1 {
			t.Error("no event was kept")
		}
		if _, err := h.EnrollSecondFactor(ctx, who); err != nil {
			t.Errorf("it cannot be turned on again: %v", err)
		}
	})

	t.Run("a recovery code turns it off, however it is written", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		_, codes := h.protect(who)
		_, err := h.DisableSecondFactor(ctx, who, "22222-22222-22222")
		h.refusal(err, BadCode)
		if _, err := h.DisableSecondFactor(ctx, who, strings.ToLower(strings.ReplaceAll(codes[3], "-", " "))); err != nil {
			t.Fatal(err)
		}
		if h.account(who).SecondFactor {
			t.Error("it is on")
		}
		if h.told(LetterRecoveryUsed).To != ashaEmail || h.told(LetterSecondFactorOff).To != ashaEmail {
			t.Error("letters went elsewhere")
		}
	})

	t.Run("sec-K3: new recovery codes replace the whole set", func(t *testing.T) {
		h := newHouse(t)
		who := h.member(asha, storage.UserActive)
		_, err := h.NewRecoveryCodes(ctx, who)
		h.refusal(err, NotOn)
		_, old := h.protect(who)
		before := h.account(who)
		codes, err := h.NewRecoveryCodes(ctx, who)
		if err != nil || len(codes) != 10 || codes[0] == old[0] {
			t.Fatalf("codes %q, %v", codes, err)
		}
		if after := h.account(who); after.Epoch != before.Epoch {
			t.Error("it ended sessions")
		}
		if l := h.told(LetterRecoveryReplaced); l.To != ashaEmail {
			t.Errorf("letter %+v", l)
		}
		if h.happened(who, EventRecoveryReplaced, eventOK) != 1 {
			t.Error("no event was kept")
		}
		_, err = h.DisableSecondFactor(ctx, who, old[0])
		h.refusal(err, BadCode)
		if _, err := h.DisableSecondFactor(ctx, who, codes[0]); err != nil {
			t.Error(err)
		}
	})
}

// withServers lets a house stand on PostgreSQL and a Valkey server.
func withServers(t *testing.T) func(*Config) {
	return func(c *Config) {
		t.Helper()
		db, err := postgres.Open(t.Context(), testenv.Postgres(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		if err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		memory, err := valkey.Open(t.Context(), testenv.Valkey(t)+patient)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = memory.Close() })
		memory.Now = c.Now
		c.Store, c.Flows, c.Buckets = db, memory, memory
	}
}

// wanting is an error of a verb that was not to succeed, but may.
func wanting(err error) error {
	if err == nil {
		return refuse(Problem{Reason: NotFound})
	}
	return err
}

// TestAccountRaces has sixteen do the same at once, for every verb that changes
// something: one of them does it, and there is one letter.
func TestAccountRaces(t *testing.T) {
	t.Run("SQLite, Valkey in process", func(t *testing.T) { accountRaces(t) })
	t.Run("PostgreSQL, Valkey", func(t *testing.T) { accountRaces(t, withServers(t)) })
}

func accountRaces(t *testing.T, change ...func(*Config)) {
	ctx := t.Context()
	h := newHouse(t, change...)
	h.passwords.queued = make(chan struct{}, 1000)
	h.app(storage.Client{ID: "notes", Name: "Notes"})
	people := 0
	person := func(t *testing.T) Acting {
		h.t = t
		people++
		return h.member(Registration{"Asha Rai", fmt.Sprintf("asha%d@example.com", people), ashaPassword}, storage.UserActive)
	}
	// race returns how many of sixteen had success.
	race := func(t *testing.T, do func(i int) error) (won int) {
		t.Helper()
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				err := do(i)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if _, refused := errors.AsType[*Error](err); !refused {
					t.Errorf("a fault: %v", err)
				}
			})
		}
		all.Wait()
		return won
	}
	// once fails unless one of the sixteen succeeded, one letter was written and
	// the epoch moved by the number given.
	once := func(t *testing.T, who Acting, won int, kind string, before storage.User, epochs int64) {
		t.Helper()
		letters := slices.DeleteFunc(h.sent(kind), func(l Letter) bool { return l.To != before.Email })
		if won != 1 || len(letters) != 1 {
			t.Errorf("%d of 16 succeeded, and %d letters were written", won, len(letters))
		}
		if u := h.account(who); u.Epoch != before.Epoch+epochs {
			t.Errorf("the epoch went from %d to %d", before.Epoch, u.Epoch)
		}
	}

	t.Run("change password", func(t *testing.T) {
		who := person(t)
		before := h.account(who)
		won := race(t, func(i int) error {
			_, err := h.ChangePassword(ctx, who, ashaPassword, fmt.Sprintf("seventeen green lanterns %d", i))
			return err
		})
		once(t, who, won, LetterPasswordChanged, before, 1)
		if hashes, err := h.store.PasswordHashes(ctx, who.UserID); err != nil || len(hashes) != 2 {
			t.Errorf("%d passwords, %v", len(hashes), err)
		}
	})

	t.Run("change email", func(t *testing.T) {
		who := person(t)
		before := h.account(who)
		var mu sync.Mutex
		var c Challenge
		won := race(t, func(int) error {
			got, err := h.ChangeEmail(ctx, who, "moved-"+before.Email)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				c = got
			}
			return err
		})
		once(t, who, won, LetterEmailChanging, before, 0)
		code := h.told(LetterEmailChangeCode).Code
		if won := race(t, func(int) error { return h.ConfirmEmail(ctx, who, c.Handle, code) }); won != 1 {
			t.Errorf("%d confirmed it", won)
		}
		if u := h.account(who); u.Email != "moved-"+before.Email {
			t.Errorf("the address is %s", u.Email)
		}
	})

	t.Run("one address, sixteen people", func(t *testing.T) {
		var who [16]Acting
		var handles, codes [16]string
		for i := range who {
			who[i] = person(t)
			// Each proves a mailbox that is one and the same in the end: those who
			// were before are put behind each other by the clock of the budget, so
			// the flows are made by hand.
			handles[i], codes[i] = rand.Text(), newCode()
			id := flowID(handles[i])
			if err := h.flows.PutFlow(ctx, storage.Flow{
				ID: id, Step: string(ConfirmEmail), Purpose: string(ToChange), UserID: who[i].UserID,
				Email: h.account(who[i]).Email, NewEmail: "everybody@example.com", CodeMAC: h.codeMAC(id, codes[i]),
				CreatedAt: h.now(), ExpiresAt: h.now().Add(challengeLife),
			}); err != nil {
				t.Fatal(err)
			}
		}
		if won := race(t, func(i int) error { return h.ConfirmEmail(ctx, who[i], handles[i], codes[i]) }); won != 1 {
			t.Errorf("%d got it", won)
		}
	})

	t.Run("second factor on, recovery codes, off", func(t *testing.T) {
		who := person(t)
		before := h.account(who)
		e, err := h.EnrollSecondFactor(ctx, who)
		if err != nil {
			t.Fatal(err)
		}
		won := race(t, func(int) error {
			_, _, err := h.ConfirmSecondFactor(ctx, who, e.Handle, h.code(e.Secret, 0))
			return err
		})
		once(t, who, won, LetterSecondFactorOn, before, 1)

		before = h.account(who)
		var mu sync.Mutex
		var codes []string
		won = race(t, func(int) error {
			got, err := h.NewRecoveryCodes(ctx, who)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				codes = got
			}
			return err
		})
		once(t, who, won, LetterRecoveryReplaced, before, 0)
		if len(codes) != 10 {
			t.Fatalf("codes %q", codes)
		}

		won = race(t, func(int) error {
			_, err := h.DisableSecondFactor(ctx, who, codes[4])
			return err
		})
		once(t, who, won, LetterSecondFactorOff, before, 1)
		once(t, who, won, LetterRecoveryUsed, before, 1)
	})

	t.Run("two enrolments", func(t *testing.T) {
		who := person(t)
		before := h.account(who)
		var enrolled [2]Enrollment
		for i := range enrolled {
			var err error
			if enrolled[i], err = h.EnrollSecondFactor(ctx, who); err != nil {
				t.Fatal(err)
			}
		}
		won := race(t, func(i int) error {
			e := enrolled[i%2]
			_, _, err := h.ConfirmSecondFactor(ctx, who, e.Handle, h.code(e.Secret, 0))
			return err
		})
		once(t, who, won, LetterSecondFactorOn, before, 1)
	})

	t.Run("second factor off by one code of the app", func(t *testing.T) {
		who := person(t)
		secret, _ := h.protect(who)
		before := h.account(who)
		code := h.code(secret, 0)
		won := race(t, func(int) error {
			_, err := h.DisableSecondFactor(ctx, who, code)
			return err
		})
		once(t, who, won, LetterSecondFactorOff, before, 1)
	})

	t.Run("end session, withdraw app", func(t *testing.T) {
		who := person(t)
		mine, other := h.browser(who), h.browser(who)
		h.refusal(h.EndSession(ctx, who, "\x00\xff"), NotFound)
		h.refusal(h.WithdrawApp(ctx, who, "\x00\xff"), NotFound)
		if won := race(t, func(int) error { return h.EndSession(ctx, who, other) }); won != 1 {
			t.Errorf("%d ended it", won)
		}
		tokens := h.use(who, "notes", "openid")
		race(t, func(int) error { return h.WithdrawApp(ctx, who, "notes") })
		if got := h.browsers(who); !slices.Equal(got, []string{mine}) || h.alive(tokens) {
			t.Errorf("sessions %v, tokens alive: %v", got, h.alive(tokens))
		}
	})

	t.Run("sign out everywhere keeps the one that asked", func(t *testing.T) {
		who := person(t)
		mine, tokens := h.browser(who), h.use(who, "notes", "openid")
		h.browser(who)
		who.Keep.Session = mine
		if won := race(t, func(int) error {
			_, err := h.SignOutEverywhere(ctx, who)
			return err
		}); won != 16 {
			t.Errorf("%d of 16 succeeded", won)
		}
		if got := h.browsers(who); !slices.Equal(got, []string{mine}) || h.alive(tokens) {
			t.Errorf("sessions %v, tokens alive: %v", got, h.alive(tokens))
		}
	})

	t.Run("delete account while all else goes on", func(t *testing.T) {
		who := person(t)
		secret, _ := h.protect(who)
		code := h.code(secret, 0)
		deleted := race(t, func(i int) error {
			switch i % 5 {
			case 0:
				return h.DeleteAccount(ctx, who)
			case 1:
				_, err := h.SignOutEverywhere(ctx, who)
				return wanting(err)
			case 2:
				_, err := h.ChangePassword(ctx, who, ashaPassword, "seventeen green lanterns")
				return wanting(err)
			case 3:
				_, err := h.DisableSecondFactor(ctx, who, code)
				return wanting(err)
			default:
				_, err := h.NewRecoveryCodes(ctx, who)
				return wanting(err)
			}
		})
		if _, err := h.store.User(ctx, who.UserID); deleted != 1 || !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%d deleted the account, which is %v", deleted, err)
		}
	})

	t.Run("delete account", func(t *testing.T) {
		who := person(t)
		before := h.account(who)
		won := race(t, func(int) error { return h.DeleteAccount(ctx, who) })
		letters := slices.DeleteFunc(h.sent(LetterAccountDeleted), func(l Letter) bool { return l.To != before.Email })
		if won != 1 || len(letters) != 1 {
			t.Errorf("%d of 16 succeeded, and %d letters were written", won, len(letters))
		}
	})
}

package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/gatehouse-id/gatehouse/internal/testenv/migrated"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

const (
	ashaEmail    = "asha@example.com"
	ashaPassword = "river lantern mosaic"
	evePassword  = "copper orchid thunder"
)

var (
	asha = Registration{Name: "Asha Rai", Email: ashaEmail, Password: ashaPassword}
	eve  = Registration{Name: "Eve", Email: ashaEmail, Password: evePassword} // Eve does not read Asha's mail
)

// here is where tests sign in from.
var here = From{Address: "192.0.2.7", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}

// patient, behind the URL of a Valkey, lets a busy machine take its time.
const patient = "?dial_timeout=1m&write_timeout=1m"

// house is an engine with the memory it works on.
type house struct {
	*Engine
	t       *testing.T
	db      *sqlite.DB
	valkey  *miniredis.Miniredis
	config  Config
	skipped atomic.Int64 // how far the clock is ahead of when it began
	hashes  atomic.Int64
	// asked is how many commands the valkey had, but for the PING that its client
	// sends by itself after each second in which there was nothing else.
	asked atomic.Int64

	mu         sync.Mutex
	statements []string
}

func newHouse(t *testing.T, change ...func(*Config)) *house {
	t.Helper()
	ctx := t.Context()
	h := &house{t: t}
	var err error
	h.db, err = sqlite.Options{OnQuery: func(sql string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.statements = append(h.statements, sql)
	}}.Open(ctx, migrated.SQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.db.Close() })
	h.valkey = miniredis.RunT(t)
	h.valkey.Server().SetPreHook(func(_ *server.Peer, command string, _ ...string) bool {
		if command != "PING" {
			h.asked.Add(1)
		}
		return false
	})
	flows, err := valkey.Open(ctx, "valkey://"+h.valkey.Addr()+patient)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flows.Close() })
	now := steadyClock(&h.skipped)
	flows.Now = now
	aead, err := chacha20poly1305.NewX(make([]byte, chacha20poly1305.KeySize))
	if err != nil {
		t.Fatal(err)
	}

	h.config = Config{
		Store: h.db, Flows: flows, Buckets: flows,
		Secret:     func(string) (string, []byte) { return "k1", []byte("the key of mailed codes, first") },
		SecretByID: secretByID,
		// The letters stay in the outbox, unsealed, where the test reads them.
		Letter: func(_ context.Context, l Letter) (storage.Letter, error) {
			open, err := json.Marshal(l)
			return storage.Letter{ID: uuid.Must(uuid.NewV7()).String(), Sealed: open}, err
		},
		Seal: func(plain, associated []byte) []byte {
			nonce := make([]byte, aead.NonceSize())
			_, _ = rand.Read(nonce)
			return aead.Seal(nonce, nonce, plain, associated)
		},
		Open: func(sealed, associated []byte) ([]byte, error) {
			return aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], associated)
		},
		SignInURL: "https://id.example/login",
		Now:       now,
		Hasher:    quick{},
	}
	for _, c := range change {
		c(&h.config)
	}
	h.Engine, err = New(h.config)
	if err != nil {
		t.Fatal(err)
	}
	h.passwords.hashed = func() { h.hashes.Add(1) }
	return h
}

// steadyClock goes on by what is added to skipped and by a microsecond each time
// it is looked at: no limit, no code and no step of an app ends because the
// machine is slow. It begins in the middle of such a step.
func steadyClock(skipped *atomic.Int64) func() time.Time {
	began := time.Now().Truncate(totpPeriod).Add(totpPeriod / 2)
	return func() time.Time { return began.Add(time.Duration(skipped.Add(int64(time.Microsecond)))) }
}

// quick stands in for argon2id where a test is not about the hash. Tests that are
// have slow.
type quick struct{}

func (quick) Hash(password string) (string, error) { return quickHash(rand.Text(), password), nil }

func (quick) Matches(hash, password string) (bool, error) {
	salt, _, _ := strings.Cut(strings.TrimPrefix(hash, "quick$"), "$")
	return hash == quickHash(salt, password), nil
}

func quickHash(salt, password string) string {
	return fmt.Sprintf("quick$%s$%x", salt, sha256.Sum256([]byte(salt+password)))
}

// slow lets a house hash as servers do.
func slow(c *Config) { c.Hasher = nil }

func secretByID(_ context.Context, _, id string) ([]byte, error) {
	switch id {
	case "k1":
		return []byte("the key of mailed codes, first"), nil
	case "k2":
		return []byte("the key of mailed codes, second"), nil
	default:
		return nil, fmt.Errorf("no key %q", id)
	}
}

// skip moves every clock. Buckets outlive their window by a second.
func (h *house) skip(d time.Duration) {
	h.skipped.Add(int64(d))
	h.valkey.FastForward(d + time.Second)
}

// letters are those committed, oldest first, but for those for nobody.
func (h *house) letters() []Letter {
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
		if r.Kind != l.Kind || !r.Deadline.Equal(l.ExpiresAt.Truncate(time.Microsecond)) || r.CreatedAt.IsZero() {
			h.t.Errorf("row %+v of letter %+v", r, l)
		}
		if nobody := !r.Deadline.After(r.CreatedAt); nobody != (l.To == "") || nobody && l.Code+l.Link+l.Detail != "" {
			h.t.Errorf("row %+v of letter %+v", r, l)
		} else if !nobody {
			letters = append(letters, l)
		}
	}
	return letters
}

func (h *house) lastLetter() Letter {
	h.t.Helper()
	letters := h.letters()
	if len(letters) == 0 {
		h.t.Fatal("no letter was written")
	}
	return letters[len(letters)-1]
}

func (h *house) user(email string) storage.User {
	h.t.Helper()
	u, _, err := h.store.UserByEmail(h.t.Context(), email)
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

// must returns the challenge, and fails for anything else.
func (h *house) must(o Outcome, err error) Challenge {
	h.t.Helper()
	c, ok := o.(Challenge)
	if err != nil || !ok {
		h.t.Fatalf("got %#v, %v; want a challenge", o, err)
	}
	return c
}

// in returns who was authenticated, and fails for anything else.
func (h *house) in(o Outcome, err error) Authenticated {
	h.t.Helper()
	a, ok := o.(Authenticated)
	if err != nil || !ok {
		h.t.Fatalf("got %#v, %v; want somebody authenticated", o, err)
	}
	return a
}

// refused fails unless err is a refusal for that reason.
func (h *house) refused(want Reason) func(Outcome, error) *Error {
	return func(o Outcome, err error) *Error {
		h.t.Helper()
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Reason != want || o != nil {
			h.t.Fatalf("got %#v, %v; want a refusal: %s", o, err, want)
		}
		return e
	}
}

// settle registers r and proves its mailbox.
func (h *house) settle(r Registration) Authenticated {
	h.t.Helper()
	c := h.must(h.Register(h.t.Context(), here, r))
	return h.in(h.VerifyEmail(h.t.Context(), here, c.Handle, h.lastLetter().Code))
}

func TestRegistration(t *testing.T) {
	ctx := t.Context()

	t.Run("a mailed code makes the account and signs its owner in", func(t *testing.T) {
		var mailed atomic.Int64
		h := newHouse(t, func(c *Config) { c.Mailed = func() { mailed.Add(1) } })
		c := h.must(h.Register(ctx, here, Registration{Name: "  Asha Rai ", Email: " Asha@Example.COM ", Password: ashaPassword}))
		if c.Step != VerifyEmail || c.Email != "Asha@example.com" || len(c.Handle) < 26 {
			t.Errorf("challenge %+v", c)
		}
		if life := c.ExpiresAt.Sub(h.now()); life > 5*time.Minute || life < 4*time.Minute {
			t.Errorf("the challenge lives %v, want five minutes", life)
		}
		l := h.lastLetter()
		if l.Kind != LetterAccountVerification || l.To != "Asha@example.com" || len(l.Code) != 8 || !l.ExpiresAt.Equal(c.ExpiresAt) || mailed.Load() != 1 {
			t.Errorf("letter %+v, told of %d", l, mailed.Load())
		}
		if u := h.user(ashaEmail); u.Status != storage.UserPending || u.EmailVerified() {
			t.Errorf("before the code: %+v", u)
		}
		a := h.in(h.VerifyEmail(ctx, here, c.Handle, l.Code))
		u := h.user(ashaEmail)
		if u.Status != storage.UserActive || !u.EmailVerified() || u.Name != "Asha Rai" {
			t.Errorf("after the code: %+v", u)
		}
		if a.UserID != u.ID || a.Epoch != u.Epoch || !slices.Equal(a.AMR, []string{"pwd"}) || h.now().Sub(a.At) > time.Minute {
			t.Errorf("authenticated %+v", a)
		}
		h.refused(Expired)(h.VerifyEmail(ctx, here, c.Handle, l.Code))
	})

	t.Run("every problem is told at once", func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.Domains = []string{"Example.com"} })
		tests := []struct {
			about string
			r     Registration
			want  []Problem
		}{
			{"nothing", Registration{}, []Problem{{FieldName, NameMissing}, {FieldEmail, EmailMissing}, {FieldPassword, PasswordMissing}}},
			{"a blank name", Registration{" \t", ashaEmail, ashaPassword}, []Problem{{FieldName, NameMissing}}},
			{"a long name", Registration{strings.Repeat("é", 101), ashaEmail, ashaPassword}, []Problem{{FieldName, NameTooLong}}},
			{"sec-L5: a name of two lines", Registration{"Asha\r\nBcc: all@example.com", ashaEmail, ashaPassword}, []Problem{{FieldName, NameMalformed}}},
			{"a name that turns the text around it", Registration{"Asha \u202egnp.exe", ashaEmail, ashaPassword}, []Problem{{FieldName, NameMalformed}}},
			{"a foreign domain", Registration{"Asha", "asha@example.org", ashaPassword}, []Problem{{FieldEmail, DomainNotAllowed}}},
			{"a subdomain is foreign", Registration{"Asha", "asha@mail.example.com", ashaPassword}, []Problem{{FieldEmail, DomainNotAllowed}}},
			{"a short password", Registration{"Asha", ashaEmail, "elevenchars"}, []Problem{{FieldPassword, PasswordTooShort}}},
			{"both", Registration{"", "asha", ashaPassword}, []Problem{{FieldName, NameMissing}, {FieldEmail, EmailMalformed}}},
		}
		for _, tt := range tests {
			t.Run(tt.about, func(t *testing.T) {
				_, err := h.Register(ctx, here, tt.r)
				e, ok := errors.AsType[*Error](err)
				if !ok || !slices.Equal(e.Problems, tt.want) || e.Reason != tt.want[0].Reason || e.Field != tt.want[0].Field {
					t.Errorf("got %+v, want %+v", err, tt.want)
				}
			})
		}
		if n := h.hashes.Load(); n != 0 {
			t.Errorf("seed-D4: %d passwords were hashed for what was refused anyway", n)
		}
		if len(h.letters()) != 0 {
			t.Error("letters were written")
		}
		h.must(h.Register(ctx, here, Registration{"Asha Rai", "asha@EXAMPLE.com", ashaPassword}))
	})

	t.Run("nobody registers where registration is closed", func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.Closed = true })
		h.refused(RegistrationClosed)(h.Register(ctx, here, asha))
		if h.RegistrationOpen() {
			t.Error("it says that it is open")
		}
	})

	t.Run("sec-L2 seed-C5: a taken address gets the same answer, and its owner a letter", func(t *testing.T) {
		h := newHouse(t)
		h.settle(asha)
		before := h.user(ashaEmail)
		h.skip(time.Minute)
		c := h.must(h.Register(ctx, here, Registration{"Eve", "ASHA@example.com", evePassword}))
		if c.Step != VerifyEmail || c.Email != "ASHA@example.com" || len(c.Handle) != 26 || c.ExpiresAt.IsZero() {
			t.Errorf("challenge %+v", c)
		}
		l := h.lastLetter()
		if l.Kind != LetterAccountExists || l.Code != "" || l.Link != "https://id.example/login" {
			t.Errorf("letter %+v", l)
		}
		if l.To != ashaEmail {
			t.Errorf("seed-E4: the letter goes to %q, not to the stored address", l.To)
		}
		h.refused(TooSoon)(h.Resend(ctx, here, c.Handle))
		for range 4 {
			h.refused(BadCode)(h.VerifyEmail(ctx, here, c.Handle, "00000000"))
		}
		h.refused(CodeDead)(h.VerifyEmail(ctx, here, c.Handle, "00000000"))
		h.refused(CodeDead)(h.VerifyEmail(ctx, here, c.Handle, "00000000"))
		h.skip(time.Minute)
		c2 := h.must(h.Resend(ctx, here, c.Handle))
		if c2.Handle == c.Handle || c2.Email != c.Email {
			t.Errorf("resent challenge %+v", c2)
		}
		if l := h.lastLetter(); l.Kind != LetterAccountExists || len(h.letters()) != 3 {
			t.Errorf("letter %+v", l)
		}
		h.refused(RateLimited)(h.VerifyEmail(ctx, here, c2.Handle, "00000000")) // as if it were real
		if after := h.user(ashaEmail); after != before {
			t.Errorf("the account changed from %+v to %+v", before, after)
		}
		h.in(h.Login(ctx, here, ashaEmail, ashaPassword))
	})

	t.Run("the code of a decoy, guessed, opens nothing", func(t *testing.T) {
		h := newHouse(t)
		h.settle(asha)
		f := storage.Flow{
			ID: flowID(handle("decoy")), Step: string(VerifyEmail), Purpose: string(ToRegister), Email: ashaEmail, Decoy: true,
			CodeMAC: h.codeMAC(flowID(handle("decoy")), "12345678"), CreatedAt: h.now(), ExpiresAt: h.now().Add(time.Minute),
		}
		if err := h.flows.PutFlow(ctx, f); err != nil {
			t.Fatal(err)
		}
		h.refused(BadCode)(h.VerifyEmail(ctx, here, handle("decoy"), "12345678"))
	})

	t.Run("many registrations of one address at once make one account", func(t *testing.T) {
		h := newHouse(t)
		var all sync.WaitGroup
		for range 8 { // past the limit, which lets one through
			all.Go(func() {
				if _, err := h.register(ctx, here, ashaEmail, storage.Registration{Name: asha.Name, PasswordHash: "x"}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if users, err := h.db.ListUsers(ctx, "", 10); err != nil || len(users) != 1 || len(h.letters()) != 8 {
			t.Errorf("%d users, %d letters, %v", len(users), len(h.letters()), err)
		}
	})
}

// TestPreHijack is seed-A3: whatever somebody without the mailbox does before,
// between and after, the account ends with the password of whoever has it.
func TestPreHijack(t *testing.T) {
	ctx := t.Context()
	endsWithAsha := func(t *testing.T, h *house) {
		t.Helper()
		if a := h.in(h.Login(ctx, here, ashaEmail, ashaPassword)); a.UserID != h.user(ashaEmail).ID {
			t.Errorf("authenticated %+v", a)
		}
		h.refused(BadCredentials)(h.Login(ctx, here, ashaEmail, evePassword))
		if u := h.user(ashaEmail); u.Name != asha.Name {
			t.Errorf("the account is called %q", u.Name)
		}
	}

	t.Run("seed-A3: the attacker registers first", func(t *testing.T) {
		h := newHouse(t)
		h.must(h.Register(ctx, here, eve))
		h.skip(time.Minute)
		c := h.must(h.Register(ctx, here, asha))
		h.in(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
		endsWithAsha(t, h)
	})
	t.Run("seed-A3: the attacker registers while the owner looks for the letter", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		code := h.lastLetter().Code
		h.skip(time.Minute)
		h.must(h.Register(ctx, here, eve))
		h.in(h.VerifyEmail(ctx, here, c.Handle, code))
		endsWithAsha(t, h)
	})
	t.Run("seed-A3: the owner enters the code that the attacker caused", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		code := h.lastLetter().Code
		h.skip(time.Minute)
		h.must(h.Register(ctx, here, eve))
		h.refused(BadCode)(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
		h.in(h.VerifyEmail(ctx, here, c.Handle, code))
		endsWithAsha(t, h)
	})
	t.Run("seed-A3: the attacker registers while the owner signs in to the unproved account", func(t *testing.T) {
		h := newHouse(t)
		h.must(h.Register(ctx, here, asha))
		h.skip(time.Minute)
		c := h.must(h.Login(ctx, here, ashaEmail, ashaPassword))
		code := h.lastLetter().Code
		h.skip(time.Minute)
		h.must(h.Register(ctx, here, eve))
		h.in(h.VerifyEmail(ctx, here, c.Handle, code))
		endsWithAsha(t, h)
	})
	t.Run("seed-A3: the attacker is signing in when the owner proves the mailbox", func(t *testing.T) {
		h := newHouse(t)
		h.must(h.Register(ctx, here, eve))
		h.skip(time.Minute)
		theirs := h.must(h.Login(ctx, here, ashaEmail, evePassword))
		leaked := h.lastLetter().Code
		h.skip(time.Minute)
		c := h.must(h.Register(ctx, here, asha))
		h.in(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
		h.refused(AlreadyVerified)(h.VerifyEmail(ctx, here, theirs.Handle, leaked)) // even with the code
		endsWithAsha(t, h)
	})
	t.Run("seed-A3: a new code belongs to the registration that asked for it", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		h.skip(time.Minute)
		h.must(h.Register(ctx, here, eve))
		h.skip(time.Minute)
		c = h.must(h.Resend(ctx, here, c.Handle))
		h.in(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
		endsWithAsha(t, h)
	})
}

func TestSignIn(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t, slow)
	h.settle(asha)
	h.settle(Registration{"Sam", "sam@example.com", "velvet anchor parade"})
	if err := h.db.SetStatus(ctx, h.user("sam@example.com").ID, storage.UserSuspended, h.now()); err != nil {
		t.Fatal(err)
	}
	h.must(h.Register(ctx, here, Registration{"Pia", "pia@example.com", "velvet anchor parade"}))
	old, err := bcrypt.GenerateFromPassword([]byte("velvet anchor parade"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	err = h.db.CreateUser(ctx, storage.User{
		ID: uuid.Must(uuid.NewV7()).String(), Email: "bo@example.com", Name: "Bo", Status: storage.UserActive,
		EmailVerifiedAt: h.now(), CreatedAt: h.now(), UpdatedAt: h.now(),
	}, string(old))
	if err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		about, email, password string
		want                   any // Reason, Step, or Done for somebody signed in
	}{
		{"the right password", ashaEmail, ashaPassword, Done},
		{"seed-D1: the case of the address does not matter", "ASHA@EXAMPLE.COM", ashaPassword, Done},
		{"space around the address does not matter", " " + ashaEmail + " ", ashaPassword, Done},
		{"an address in full width", "ａｓｈａ＠ｅｘａｍｐｌｅ．ｃｏｍ", ashaPassword, Done},
		{"sec-J2: space around a password matters", ashaEmail, ashaPassword + " ", BadCredentials},
		{"sec-J2: the case of a password matters", ashaEmail, strings.ToUpper(ashaPassword), BadCredentials},
		{"a bcrypt hash", "bo@example.com", "velvet anchor parade", Done},
		{"a bcrypt hash and another password", "bo@example.com", "velvet anchor parade2", BadCredentials},
		{"a wrong password", ashaEmail, evePassword, BadCredentials},
		{"sec-L1: an unknown address", "nobody@example.com", ashaPassword, BadCredentials},
		{"seed-C2: a suspended account and a wrong password", "sam@example.com", ashaPassword, BadCredentials},
		{"seed-C2: a suspended account and the right password", "sam@example.com", "velvet anchor parade", AccountRestricted},
		{"an unproved account and a wrong password", "pia@example.com", ashaPassword, BadCredentials},
		{"an unproved account and the right password", "pia@example.com", "velvet anchor parade", VerifyEmail},
		{"seed-E2: the policy for new passwords is not asked", ashaEmail, "short", BadCredentials},
		{"seed-E1: the longest password", ashaEmail, strings.Repeat("é", MaxPassword), BadCredentials},
		{"seed-D5: a password longer than any", ashaEmail, strings.Repeat("é", MaxPassword+1), BadCredentials},
		{"seed-D5: a password of more bytes than any", ashaEmail, strings.Repeat("\U0001F511", MaxPassword) + "x", BadCredentials},
		{"no address", "", ashaPassword, EmailMissing},
		{"no address to be sure", "asha", ashaPassword, EmailMalformed},
		{"no password", ashaEmail, "", PasswordMissing},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			h.skip(30 * time.Minute) // past every limit
			before := h.hashes.Load()
			o, err := h.Login(ctx, here, tt.email, tt.password)
			hashes := h.hashes.Load() - before
			var got any
			switch o := o.(type) {
			case Challenge:
				got = o.Step
			case Authenticated, PasswordReset:
				got = Done
			case nil:
				e, ok := errors.AsType[*Error](err)
				if !ok {
					t.Fatal(err)
				}
				got = e.Reason
				if e.Reason == BadCredentials && e.Field != "" {
					t.Errorf("the refusal points at %q", e.Field)
				}
			}
			if got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			wantHashes := int64(1)
			if tooLongPassword(tt.password) {
				wantHashes = 0
			}
			if tt.about == "a bcrypt hash" {
				wantHashes = 2 // and another, of the current kind
			}
			if slices.Contains([]any{EmailMissing, EmailMalformed, PasswordMissing}, got) {
				wantHashes = 0
			}
			if hashes != wantHashes {
				t.Errorf("sec-L1 seed-C1: %d hashes, want %d", hashes, wantHashes)
			}
		})
	}

	t.Run("an unproved account is signed in by the code", func(t *testing.T) {
		h.skip(30 * time.Minute)
		c := h.must(h.Login(ctx, here, "pia@example.com", "velvet anchor parade"))
		l := h.lastLetter()
		if l.Kind != LetterAccountVerification || l.To != "pia@example.com" {
			t.Errorf("letter %+v", l)
		}
		h.in(h.VerifyEmail(ctx, here, c.Handle, l.Code))
		h.in(h.Login(ctx, here, "pia@example.com", "velvet anchor parade"))
	})
}

func TestCodes(t *testing.T) {
	ctx := t.Context()

	t.Run("seed-G11: a code is taken as people write it", func(t *testing.T) {
		tests := []struct {
			about, typed string
			code         string
			reason       Reason
		}{
			{"as shown", "4821 0937", "48210937", ""},
			{"without space", "48210937", "48210937", ""},
			{"with dashes", "4821-0937", "48210937", ""},
			{"with a long dash and a narrow space", "4821\u20130\u202f937", "48210937", ""},
			{"with space around, pasted with a line end", " 48210937\r\n", "48210937", ""},
			{"with a mark that turns the text", "\u200e48210937\u200f", "48210937", ""},
			{"in Devanagari", "४८२१ ०९३७", "48210937", ""},
			{"in Arabic", "٤٨٢١٠٩٣٧", "48210937", ""},
			{"in full width", "４８２１０９３７", "48210937", ""},
			{"in mathematical digits", "𝟒𝟖𝟐𝟏𝟎𝟗𝟑𝟕", "48210937", ""},
			{"in Adlam", "𞥔𞥘𞥒𞥑𞥐𞥙𞥓𞥗", "48210937", ""},
			{"nothing", "", "", CodeMissing},
			{"only space", " - ", "", CodeMissing},
			{"too short", "4821093", "", BadCode},
			{"too long", "482109370", "", BadCode},
			{"letters", "4821093O", "", BadCode},
			{"a sign", "+48210937", "", BadCode},
			{"a roman numeral", "4821093Ⅶ", "", BadCode},
		}
		for _, tt := range tests {
			t.Run(tt.about, func(t *testing.T) {
				if code, reason := parseCode(tt.typed); code != tt.code || reason != tt.reason {
					t.Errorf("parseCode = %q, %q; want %q, %q", code, reason, tt.code, tt.reason)
				}
			})
		}
	})

	t.Run("sec-K4 seed-B9: five wrong codes end it, also for the right one", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		right := h.lastLetter().Code
		wrong := otherThan(right)
		for range 4 {
			e := h.refused(BadCode)(h.VerifyEmail(ctx, here, c.Handle, wrong))
			if e.Field != FieldCode {
				t.Errorf("the refusal points at %q", e.Field)
			}
		}
		h.refused(CodeMissing)(h.VerifyEmail(ctx, here, c.Handle, " "))   // no try
		h.refused(BadCode)(h.VerifyEmail(ctx, here, c.Handle, right+"0")) // no try either
		h.refused(CodeDead)(h.VerifyEmail(ctx, here, c.Handle, wrong))
		h.refused(CodeDead)(h.VerifyEmail(ctx, here, c.Handle, right))
		if h.user(ashaEmail).EmailVerified() {
			t.Error("the mailbox is proved")
		}
		h.skip(time.Minute)
		c = h.must(h.Resend(ctx, here, c.Handle))
		h.refused(RateLimited)(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
		h.skip(30 * time.Minute)
		c = h.must(h.Register(ctx, here, asha))
		h.in(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
	})

	t.Run("sec-K4: the fifth try may be right", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		right := h.lastLetter().Code
		for range 4 {
			h.refused(BadCode)(h.VerifyEmail(ctx, here, c.Handle, otherThan(right)))
		}
		h.in(h.VerifyEmail(ctx, here, c.Handle, right))
	})

	t.Run("sec-K4: a code is good for five minutes", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		h.skip(5 * time.Minute)
		h.refused(Expired)(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
		h.refused(Expired)(h.Resend(ctx, here, c.Handle))
	})

	t.Run("sec-K4: the code of one flow opens no other", func(t *testing.T) {
		h := newHouse(t)
		a := h.must(h.Register(ctx, here, asha))
		codeA := h.lastLetter().Code
		b := h.must(h.Register(ctx, here, Registration{"Bo", "bo@example.com", "velvet anchor parade"}))
		codeB := h.lastLetter().Code
		if codeA == codeB {
			t.Fatal("two codes are the same")
		}
		h.refused(BadCode)(h.VerifyEmail(ctx, here, b.Handle, codeA))
		h.refused(BadCode)(h.VerifyEmail(ctx, here, a.Handle, codeB))
		h.in(h.VerifyEmail(ctx, here, a.Handle, codeA))
	})

	t.Run("a handle is good for its step only", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		code := h.lastLetter().Code
		f, err := h.flows.Flow(ctx, flowID(c.Handle))
		if err != nil {
			t.Fatal(err)
		}
		f.ID, f.Step, f.CreatedAt = flowID(handle("another")), "another_step", f.CreatedAt.Add(-2*time.Minute)
		f.CodeMAC = h.codeMAC(f.ID, code)
		if err := h.flows.PutFlow(ctx, f); err != nil {
			t.Fatal(err)
		}
		h.refused(Expired)(h.Resend(ctx, here, handle("another")))
		h.refused(Expired)(h.VerifyEmail(ctx, here, handle("another"), code))
		h.refused(Expired)(h.VerifyEmail(ctx, here, "", code))
		h.refused(Expired)(h.VerifyEmail(ctx, here, strings.Repeat("x", 3<<20), code)) // seed-D5
		if h.user(ashaEmail).EmailVerified() {
			t.Error("the mailbox is proved")
		}
		h.in(h.VerifyEmail(ctx, here, c.Handle, code))
	})

	t.Run("the MAC of a code is worth nothing in another flow", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		f, err := h.flows.Flow(ctx, flowID(c.Handle))
		if err != nil {
			t.Fatal(err)
		}
		f.ID = flowID(handle("copy"))
		if err := h.flows.PutFlow(ctx, f); err != nil {
			t.Fatal(err)
		}
		h.refused(BadCode)(h.VerifyEmail(ctx, here, handle("copy"), h.lastLetter().Code))
	})

	t.Run("a new code ends the one before", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		old := h.lastLetter().Code
		e := h.refused(TooSoon)(h.Resend(ctx, here, c.Handle))
		if e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
			t.Errorf("retry after %v", e.RetryAfter)
		}
		h.skip(time.Minute)
		c2 := h.must(h.Resend(ctx, here, c.Handle))
		h.refused(Expired)(h.VerifyEmail(ctx, here, c.Handle, old))
		h.refused(BadCode)(h.VerifyEmail(ctx, here, c2.Handle, old))
		h.refused(TooSoon)(h.Resend(ctx, here, c2.Handle))
		h.in(h.VerifyEmail(ctx, here, c2.Handle, h.lastLetter().Code))
	})

	t.Run("a code outlives a change of its key", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		h.secret = func(string) (string, []byte) { return "k2", []byte("the key of mailed codes, second") }
		h.in(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
	})

	t.Run("sec-K4 seed-B1: of 64 right codes at once one signs in", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		code := h.lastLetter().Code
		var in atomic.Int64
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				o, err := h.VerifyEmail(ctx, here, c.Handle, code)
				if _, ok := o.(Authenticated); ok {
					in.Add(1)
				} else if e, ok := errors.AsType[*Error](err); !ok || e.Reason != Expired && e.Reason != CodeDead {
					t.Errorf("a loser got %#v, %v", o, err)
				}
			})
		}
		all.Wait()
		if in.Load() != 1 {
			t.Errorf("%d signed in", in.Load())
		}
	})

	t.Run("of 64 requests for a new code at once one is met", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		h.skip(time.Minute)
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() { _, _ = h.Resend(ctx, here, c.Handle) })
		}
		all.Wait()
		if n := len(h.letters()); n != 2 {
			t.Errorf("%d letters, want the first and one more", n)
		}
	})

	t.Run("seed-A8: a code lifts no suspension", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		if err := h.db.SetStatus(ctx, h.user(ashaEmail).ID, storage.UserSuspended, h.now()); err != nil {
			t.Fatal(err)
		}
		h.refused(AccountRestricted)(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
		if u := h.user(ashaEmail); u.Status != storage.UserSuspended || u.EmailVerified() {
			t.Errorf("user %+v", u)
		}
	})

	t.Run("a code from before a suspension is dead after it", func(t *testing.T) {
		h := newHouse(t)
		c := h.must(h.Register(ctx, here, asha))
		for _, s := range []storage.UserStatus{storage.UserSuspended, storage.UserPending} {
			if err := h.db.SetStatus(ctx, h.user(ashaEmail).ID, s, h.now()); err != nil {
				t.Fatal(err)
			}
		}
		h.refused(Expired)(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
		if h.user(ashaEmail).EmailVerified() {
			t.Error("the mailbox is proved")
		}
	})

	t.Run("codes are drawn from all there are", func(t *testing.T) {
		seen := make(map[string]bool)
		zero := false
		for range 1000 {
			c := newCode()
			if len(c) != 8 {
				t.Fatalf("code %q", c)
			}
			seen[c], zero = true, zero || c[0] == '0'
		}
		if len(seen) < 990 || !zero {
			t.Errorf("%d different codes of 1000, one with a leading zero: %v", len(seen), zero)
		}
	})
}

// otherThan returns a code that is not the one given.
func otherThan(code string) string {
	if code == "00000000" {
		return "00000001"
	}
	return "00000000"
}

// handle is a handle of that name.
func handle(name string) string { return (name + strings.Repeat("X", handleLength))[:handleLength] }

// A cost is how much work something was.
type cost struct {
	hashes int64
	// sql and valkey are round trips.
	sql, valkey int64
}

// costOf measures what do does.
func (h *house) costOf(do func()) cost {
	count := func() cost {
		h.mu.Lock()
		defer h.mu.Unlock()
		return cost{h.hashes.Load(), int64(len(h.statements)), h.asked.Load()}
	}
	before := count()
	do()
	after := count()
	return cost{after.hashes - before.hashes, after.sql - before.sql, after.valkey - before.valkey}
}

// TestEqualWork compares what a stranger can ask for, for each state of an
// address: as many hashes, as many round trips to the database and to Valkey.
func TestEqualWork(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t)
	// states makes an address of each kind.
	n := 0
	states := func() map[string]string {
		n++
		at := func(who string) string { return fmt.Sprintf("%s%d@example.com", who, n) }
		h.member(Registration{"Known", at("known"), "velvet anchor parade"}, storage.UserActive)
		h.member(Registration{"Unproved", at("unproved"), "velvet anchor parade"}, storage.UserPending)
		h.member(Registration{"Suspended", at("suspended"), "velvet anchor parade"}, storage.UserSuspended)
		twoStep := h.member(Registration{"Two", at("twostep"), "velvet anchor parade"}, storage.UserActive)
		h.protect(twoStep)
		return map[string]string{
			"new": at("new"), "known": at("known"), "unproved": at("unproved"), "suspended": at("suspended"),
			"with two-step sign-in": at("twostep"), "foreign": at("foreign.example."),
		}
	}
	// Valkey is sent the text of a script once, and then its sum.
	c := h.must(h.Register(ctx, here, asha))
	h.skip(time.Minute)
	c = h.must(h.Resend(ctx, here, c.Handle))
	h.refused(BadCode)(h.VerifyEmail(ctx, here, c.Handle, "00000000"))
	h.in(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
	h.in(h.Login(ctx, here, ashaEmail, ashaPassword))

	tests := []struct {
		about string
		// before is what happens first, and is not measured.
		before func(email string) Challenge
		do     func(email string, c Challenge)
	}{
		{"sec-L2 seed-C5: register", nil, func(email string, _ Challenge) {
			h.must(h.Register(ctx, here, Registration{"Somebody", email, evePassword}))
		}},
		{"sec-L1 seed-C1: sign in with a wrong password", nil, func(email string, _ Challenge) {
			h.refused(BadCredentials)(h.Login(ctx, here, email, evePassword))
		}},
		{"seed-C1: sign in once too often", func(email string) Challenge {
			for range 5 {
				h.refused(BadCredentials)(h.Login(ctx, From{Address: "2001:db8:" + fmt.Sprint(n) + "::1"}, email, evePassword))
			}
			return Challenge{}
		}, func(email string, _ Challenge) {
			h.refused(RateLimited)(h.Login(ctx, From{Address: "2001:db8:99::1"}, email, evePassword))
			h.refused(RateLimited)(h.Login(ctx, From{Address: "2001:db8:99::1"}, email, evePassword))
		}},
		{"sec-L2 seed-C4: forgot password", nil, func(email string, _ Challenge) {
			if c := h.must(h.Forgot(ctx, here, email)); c.Step != ConfirmReset || c.Email != email {
				t.Errorf("challenge %+v", c)
			}
		}},
		{"seed-C3: a wrong code of a reset", func(email string) Challenge {
			return h.must(h.Forgot(ctx, here, email))
		}, func(_ string, c Challenge) {
			h.refused(BadCode)(h.ConfirmReset(ctx, here, c.Handle, "00000000"))
		}},
		{"seed-C3: another code of a reset", func(email string) Challenge {
			c := h.must(h.Forgot(ctx, here, email))
			h.skip(time.Minute)
			return c
		}, func(email string, c Challenge) {
			if c := h.must(h.Resend(ctx, here, c.Handle)); c.Step != ConfirmReset || c.Email != email {
				t.Errorf("challenge %+v", c)
			}
		}},
		{"seed-C5: a wrong code of a registration", func(email string) Challenge {
			return h.must(h.Register(ctx, here, Registration{"Somebody", email, evePassword}))
		}, func(_ string, c Challenge) {
			h.refused(BadCode)(h.VerifyEmail(ctx, here, c.Handle, "00000000"))
		}},
		{"seed-C5: another code of a registration", func(email string) Challenge {
			c := h.must(h.Register(ctx, here, Registration{"Somebody", email, evePassword}))
			h.skip(time.Minute)
			return c
		}, func(email string, c Challenge) {
			h.must(h.Resend(ctx, here, c.Handle))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			costs := map[string]cost{}
			for state, email := range states() {
				h.skip(time.Minute) // past the limit of one network
				var c Challenge
				if tt.before != nil {
					c = tt.before(email)
				}
				costs[state] = h.costOf(func() { tt.do(email, c) })
			}
			for state, c := range costs {
				if c != costs["known"] || c.sql == 0 || c.valkey == 0 {
					t.Errorf("%s costs %+v, known costs %+v", state, c, costs["known"])
				}
			}
		})
	}
}

func TestHashingIsBounded(t *testing.T) {
	h := newHouse(t)
	for range cap(h.passwords.queued) {
		h.passwords.queued <- struct{}{}
	}
	for about, do := range map[string]func() (Outcome, error){
		"seed-D10: sign-in":      func() (Outcome, error) { return h.Login(t.Context(), here, ashaEmail, ashaPassword) },
		"seed-D10: registration": func() (Outcome, error) { return h.Register(t.Context(), here, asha) },
	} {
		t.Run(about, func(t *testing.T) {
			if e := h.refused(Busy)(do()); e.RetryAfter <= 0 {
				t.Errorf("retry after %v", e.RetryAfter)
			}
		})
	}
	<-h.passwords.queued
	t.Run("whoever waits gives up with the request", func(t *testing.T) {
		for range cap(h.passwords.running) {
			h.passwords.running <- struct{}{}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.Login(ctx, here, ashaEmail, ashaPassword); !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
		if len(h.passwords.queued) != cap(h.passwords.queued)-1 {
			t.Error("the place in the queue was not given back")
		}
	})
}

// TestSecretsAtRest looks for what a dump of the memory would give away.
func TestSecretsAtRest(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t)
	c := h.must(h.Register(ctx, here, asha))
	dump := h.valkey.Dump()
	for about, secret := range map[string]string{
		"sec-B8 seed-B8: the handle":   c.Handle,
		"sec-B8 seed-B7: the code":     h.lastLetter().Code,
		"sec-B8: the password":         ashaPassword,
		"seed-B8: the handle, by name": strings.ToLower(c.Handle),
	} {
		t.Run(about, func(t *testing.T) {
			if strings.Contains(dump, secret) {
				t.Error("is in the dump")
			}
		})
	}
	if !strings.Contains(dump, flowID(c.Handle)) {
		t.Error("the flow is not in the dump either, so this test proves nothing")
	}
}

// TestReasons holds the list against the declarations.
func TestReasons(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "error.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.ValueSpec); ok {
			if id, ok := s.Type.(*ast.Ident); ok && id.Name == "Reason" {
				declared += len(s.Names)
			}
		}
		return true
	})
	reasons := Reasons()
	slices.Sort(reasons)
	if unique := slices.Compact(slices.Clone(reasons)); len(unique) != len(reasons) || len(reasons) != declared {
		t.Errorf("%d reasons, %d of them different, %d declared", len(reasons), len(unique), declared)
	}
}

func TestNew(t *testing.T) {
	h := newHouse(t)
	for about, change := range map[string]func(*Config){
		"without a store":            func(c *Config) { c.Store = nil },
		"without flows":              func(c *Config) { c.Flows = nil },
		"without a secret":           func(c *Config) { c.Secret = nil },
		"without older secrets":      func(c *Config) { c.SecretByID = nil },
		"without letters":            func(c *Config) { c.Letter = nil },
		"without buckets":            func(c *Config) { c.Buckets = nil },
		"without a seal":             func(c *Config) { c.Seal = nil },
		"without what opens it":      func(c *Config) { c.Open = nil },
		"with a domain that is none": func(c *Config) { c.Domains = []string{"@example.com"} },
	} {
		t.Run(about, func(t *testing.T) {
			c := h.config
			change(&c)
			if _, err := New(c); err == nil {
				t.Error("an engine was made")
			}
		})
	}
}

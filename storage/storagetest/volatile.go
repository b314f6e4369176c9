// Package storagetest states the contracts of package storage as tests that
// every driver passes. A driver's own test is one call.
package storagetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// TestVolatile states the contract of [storage.Volatile]. Open returns an empty
// memory, closed when the test ends, whose clock is the real one, and what wipes
// it as a crash does.
func TestVolatile(t *testing.T, open func(t *testing.T) (s storage.Volatile, wipe func())) {
	// What takes a while beside the others, however few processors there are.
	var inTime sync.WaitGroup
	defer inTime.Wait()
	inTime.Go(func() {
		t.Run("DenylistInTime", func(t *testing.T) {
			testDenylistInTime(t, func(t *testing.T) denylist { s, wipe := open(t); return denylist{s, wipe} })
		})
	})
	t.Run("Flows", func(t *testing.T) { s, _ := open(t); testFlows(t, s) })
	t.Run("Interactions", func(t *testing.T) { s, _ := open(t); testInteractions(t, s) })
	t.Run("Codes", func(t *testing.T) { s, _ := open(t); testCodes(t, s) })
	t.Run("Buckets", func(t *testing.T) { s, _ := open(t); testBuckets(t, s) })
	t.Run("Proofs", func(t *testing.T) { s, wipe := open(t); testProofs(t, s, wipe) })
	t.Run("Denylist", func(t *testing.T) { s, wipe := open(t); testDenylist(t, denylist{s, wipe}) })
	t.Run("Server", func(t *testing.T) { s, _ := open(t); testVolatileServer(t, s) })
}

func testVolatileServer(t *testing.T, s storage.Volatile) {
	t.Run("it answers", func(t *testing.T) {
		if err := s.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("it tells the time, UTC to the microsecond", func(t *testing.T) {
		got, err := s.Time(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(got).Abs(); d > time.Minute {
			t.Errorf("it is %v away from ours", d)
		}
		if got.Location() != time.UTC || !got.Equal(got.Truncate(time.Microsecond)) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("a context that has ended ends the call", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Flow(ctx, "x"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}

// now is a real time as storage keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// digest is what a record is filed under: the hex SHA-256 sum of a fresh secret.
func digest() string {
	sum := sha256.Sum256([]byte(rand.Text()))
	return hex.EncodeToString(sum[:])
}

// Values that a careless encoding changes.
var (
	large   = strings.Repeat("große Ähnlichkeit ", 10_000)
	unicode = "Ünïcödé – 日本語 – 👩‍👩‍👧 – \u0000\u2028<&>'\"\\%"
)

func sampleFlow() storage.Flow {
	created := now()
	return storage.Flow{
		ID: digest(), Step: "verify_email", Purpose: "register",
		UserID: "0197f2a8-0000-7000-8000-000000000001", UserEpoch: 1<<53 + 1,
		Email: unicode, Proven: []string{"password"}, AMR: []string{"pwd"},
		CodeMAC:      []byte{0, 1, 0xff, 0xfe},
		Registration: &storage.Registration{Name: unicode, PasswordHash: large},
		Decoy:        true, CreatedAt: created, ExpiresAt: created.Add(5 * time.Minute),
	}
}

func testFlows(t *testing.T, s storage.Flows) {
	put := func(t *testing.T, f storage.Flow) storage.Flow {
		t.Helper()
		if err := s.PutFlow(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		return f
	}
	gone := func(t *testing.T, id string) {
		t.Helper()
		if _, err := s.Flow(t.Context(), id); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Flow: %v, want %v", err, storage.ErrNotFound)
		}
		if _, err := s.TryFlow(t.Context(), id); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("TryFlow: %v, want %v", err, storage.ErrNotFound)
		}
		if err := s.SpendFlow(t.Context(), id); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("SpendFlow: %v, want %v", err, storage.ErrNotFound)
		}
	}

	t.Run("a flow comes back as it was put", func(t *testing.T) {
		for _, f := range []storage.Flow{
			sampleFlow(),
			{ID: digest(), ExpiresAt: storage.Never},
			{ID: digest(), ExpiresAt: now().Add(time.Minute), Proven: []string{}, CodeMAC: []byte{}},
		} {
			put(t, f)
			got, err := s.Flow(t.Context(), f.ID)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, f) {
				t.Errorf("got %s,\nwant %s", abridged(got), abridged(f))
			}
		}
	})
	t.Run("times come back UTC, to the microsecond", func(t *testing.T) {
		f := sampleFlow()
		want := f.ExpiresAt
		f.ExpiresAt = want.Add(999 * time.Nanosecond).In(time.FixedZone("", 5*3600))
		put(t, f)
		got, err := s.Flow(t.Context(), f.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got.ExpiresAt != want {
			t.Errorf("got %v, want %v", got.ExpiresAt, want)
		}
	})
	t.Run("an unknown flow is not found", func(t *testing.T) {
		gone(t, digest())
	})
	t.Run("a flow put after its time is not found", func(t *testing.T) {
		f := sampleFlow()
		f.ExpiresAt = now().Add(-time.Second)
		put(t, f)
		gone(t, f.ID)
	})
	t.Run("a flow expires by itself in real time, whatever happens to it", func(t *testing.T) {
		f := sampleFlow()
		// It is tried and put again before it expires, if need be with a longer life.
		// The embedded memory lets it go up to two seconds early.
		for life := 1500 * time.Millisecond; ; life *= 2 {
			f.ID, f.ExpiresAt = digest(), now().Add(life)
			put(t, f)
			_, err := s.TryFlow(t.Context(), f.ID)
			put(t, f)
			if now().Add(2*time.Second).Before(f.ExpiresAt) && err != nil || life > time.Minute {
				t.Fatal(err)
			}
			if err == nil {
				break
			}
		}
		eventually(t, "the flow is still there", func() bool {
			_, err := s.Flow(t.Context(), f.ID)
			return errors.Is(err, storage.ErrNotFound)
		})
		gone(t, f.ID)
	})
	t.Run("of 64 that spend a flow one succeeds", func(t *testing.T) {
		f := put(t, sampleFlow())
		errs := parallel(64, func(int) error { return s.SpendFlow(t.Context(), f.ID) })
		won := 0
		for _, err := range errs {
			switch {
			case err == nil:
				won++
			case !errors.Is(err, storage.ErrNotFound):
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d succeeded", won)
		}
		gone(t, f.ID)
	})
	t.Run("a spent flow does not come back, not even when a stale copy is put", func(t *testing.T) {
		f := put(t, sampleFlow())
		if err := s.SpendFlow(t.Context(), f.ID); err != nil {
			t.Fatal(err)
		}
		gone(t, f.ID)
		if err := s.PutFlow(t.Context(), f); !errors.Is(err, storage.ErrSpent) {
			t.Errorf("PutFlow: %v, want %v", err, storage.ErrSpent)
		}
		gone(t, f.ID)
	})
	t.Run("64 concurrent tries are counted exactly", func(t *testing.T) {
		f := put(t, sampleFlow())
		counts := make([]int, 64)
		for _, err := range parallel(len(counts), func(i int) (err error) {
			counts[i], err = s.TryFlow(t.Context(), f.ID)
			return err
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		seen := make(map[int]bool)
		for _, n := range counts {
			seen[n] = true
		}
		for n := 1; n <= len(counts); n++ {
			if !seen[n] {
				t.Errorf("nobody was told %d", n)
			}
		}
	})
	t.Run("replacing a flow keeps its tries", func(t *testing.T) {
		f := put(t, sampleFlow())
		for range 3 {
			if _, err := s.TryFlow(t.Context(), f.ID); err != nil {
				t.Fatal(err)
			}
		}
		f.CodeMAC = []byte("another")
		put(t, f)
		if got, err := s.Flow(t.Context(), f.ID); err != nil || !bytes.Equal(got.CodeMAC, f.CodeMAC) {
			t.Errorf("got %q, %v", got.CodeMAC, err)
		}
		if n, err := s.TryFlow(t.Context(), f.ID); n != 4 || err != nil {
			t.Errorf("the next try is number %d, %v; want 4", n, err)
		}
	})
}

func sampleInteraction() storage.Interaction {
	return storage.Interaction{
		ID: rand.Text(), BrowserHash: []byte{0xff, 0, 1},
		Request: url.Values{
			"state":     {"not UTF-8: \xff\xfe", "second"},
			"nonce":     {unicode},
			"client_id": {""},
			"claims":    {large},
		},
		RequestedAt: now(), Denied: true,
		Consented: []string{"openid", "email"}, ConsentedBy: "someone",
		UserID: "someone", Return: "/account/devices?flow=" + unicode,
		Page: "login", Email: "ü@example.com", Typed: map[string]string{"name": unicode},
		Problems:  []storage.Problem{{Field: "email", Message: "taken"}, {Message: "again"}},
		Notice:    "resent",
		ExpiresAt: now().Add(time.Hour),
	}
}

func testInteractions(t *testing.T, s storage.Interactions) {
	put := func(t *testing.T, i storage.Interaction) storage.Interaction {
		t.Helper()
		if err := s.PutInteraction(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		return i
	}
	gone := func(t *testing.T, id string) {
		t.Helper()
		if _, err := s.Interaction(t.Context(), id); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Interaction: %v, want %v", err, storage.ErrNotFound)
		}
	}

	t.Run("an interaction comes back as it was put, the request byte for byte", func(t *testing.T) {
		for _, i := range []storage.Interaction{
			sampleInteraction(),
			{ID: rand.Text(), ExpiresAt: storage.Never},
			{ID: rand.Text(), ExpiresAt: now().Add(time.Minute), Request: url.Values{}, Consented: []string{}},
		} {
			put(t, i)
			got, err := s.Interaction(t.Context(), i.ID)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, i) {
				t.Errorf("got %s,\nwant %s", abridged(got), abridged(i))
			}
		}
	})
	t.Run("a second put replaces it", func(t *testing.T) {
		i := put(t, sampleInteraction())
		i.Page, i.Request = "consent", nil
		put(t, i)
		if got, err := s.Interaction(t.Context(), i.ID); err != nil || !reflect.DeepEqual(got, i) {
			t.Errorf("got %s, %v", abridged(got), err)
		}
	})
	t.Run("an unknown interaction is not found, and can be deleted", func(t *testing.T) {
		id := rand.Text()
		gone(t, id)
		if err := s.DeleteInteraction(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
	t.Run("a deleted interaction is not found", func(t *testing.T) {
		i := put(t, sampleInteraction())
		if err := s.DeleteInteraction(t.Context(), i.ID); err != nil {
			t.Fatal(err)
		}
		gone(t, i.ID)
	})
	t.Run("an interaction put after its time is not found", func(t *testing.T) {
		i := put(t, sampleInteraction())
		i.ExpiresAt = now().Add(-time.Second)
		put(t, i)
		gone(t, i.ID)
	})
	t.Run("an interaction expires by itself in real time", func(t *testing.T) {
		i := sampleInteraction()
		i.ExpiresAt = now().Add(1200 * time.Millisecond)
		put(t, i)
		eventually(t, "the interaction is still there", func() bool {
			_, err := s.Interaction(t.Context(), i.ID)
			return errors.Is(err, storage.ErrNotFound)
		})
	})
}

// sampleCode is a code with everything, and the redemption that fits it. Its
// times are of another year: the server's clock has no say.
func sampleCode() (storage.Code, storage.Redemption) {
	issued := time.Date(2031, 2, 3, 4, 5, 6, 789_000, time.UTC)
	c := storage.Code{
		Hash: digest(), ClientID: "the client", RedirectURIHash: digest(),
		Challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", JKT: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
		Grant: storage.Grant{
			ID: "0197f2a8-0000-7000-8000-000000000002", HandleHash: []byte{0, 0xff},
			ClientID: "the client", UserID: "a user", UserEpoch: 1<<53 + 1, SessionID: "a session",
			Scopes: []string{"openid", "offline_access"}, Resources: []string{"https://api.example.com/" + unicode},
			Nonce: unicode, AuthTime: issued.Add(-time.Hour), AMR: []string{"pwd", "otp"},
			JKT: "a key", Generation: 1<<53 + 1, CreatedAt: issued,
			ExpiresAt: issued.Add(24 * time.Hour), EndsAt: storage.Never,
		},
		ExpiresAt: issued.Add(time.Minute),
	}
	return c, storage.Redemption{
		Hash: c.Hash, ClientID: c.ClientID, RedirectURIHash: c.RedirectURIHash,
		Challenge: c.Challenge, JKT: c.JKT,
		Now: issued.Add(time.Second), UsedUntil: issued.Add(10 * time.Minute),
	}
}

func testCodes(t *testing.T, s storage.Codes) {
	put := func(t *testing.T, c storage.Code) {
		t.Helper()
		if err := s.PutCode(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	// expect redeems and checks the verdict; an empty one is ErrNotFound.
	expect := func(t *testing.T, r storage.Redemption, want storage.CodeVerdict) storage.Code {
		t.Helper()
		c, got, err := s.RedeemCode(t.Context(), r)
		if want == "" {
			if !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("got %q, %v; want %v", got, err, storage.ErrNotFound)
			}
			if !reflect.DeepEqual(c, storage.Code{}) {
				t.Errorf("a stranger was told %s", abridged(c))
			}
			return c
		}
		if err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
		return c
	}

	t.Run("a code comes back as it was put, with each verdict", func(t *testing.T) {
		c, r := sampleCode()
		c.Grant.Nonce = large
		put(t, c)
		redeemed := expect(t, r, storage.CodeRedeemed)
		raced := expect(t, r, storage.CodeRaced)
		r.Now = r.Now.Add(time.Minute)
		replayed := expect(t, r, storage.CodeReplayed)
		for _, got := range []storage.Code{redeemed, raced, replayed} {
			if !reflect.DeepEqual(got, c) {
				t.Errorf("got %s,\nwant %s", abridged(got), abridged(c))
			}
		}
	})
	t.Run("an unknown code is not found", func(t *testing.T) {
		_, r := sampleCode()
		expect(t, r, "")
	})
	t.Run("a code is not put twice, used or not", func(t *testing.T) {
		c, r := sampleCode()
		put(t, c)
		if err := s.PutCode(t.Context(), c); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("got %v, want %v", err, storage.ErrConflict)
		}
		expect(t, r, storage.CodeRedeemed)
		if err := s.PutCode(t.Context(), c); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("after it is used: got %v, want %v", err, storage.ErrConflict)
		}
		expect(t, r, storage.CodeRaced)
	})
	t.Run("of 64 that redeem a code one succeeds and 63 raced", func(t *testing.T) {
		c, r := sampleCode()
		put(t, c)
		verdicts := make([]storage.CodeVerdict, 64)
		for _, err := range parallel(len(verdicts), func(i int) (err error) {
			mine := r
			mine.Now = r.Now.Add(time.Duration(i) * time.Millisecond) // their clocks differ
			_, verdicts[i], err = s.RedeemCode(t.Context(), mine)
			return err
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		count := make(map[storage.CodeVerdict]int)
		for _, v := range verdicts {
			count[v]++
		}
		if count[storage.CodeRedeemed] != 1 || count[storage.CodeRaced] != 63 {
			t.Errorf("got %v", count)
		}
	})

	// Each mismatch is worth nothing before and after the redemption, however
	// late, and takes nothing from the owner.
	for _, tt := range []struct {
		sentence string
		change   func(c *storage.Code, r *storage.Redemption)
	}{
		{"sec-B3 another client", func(_ *storage.Code, r *storage.Redemption) { r.ClientID = "another" }},
		{"no client", func(_ *storage.Code, r *storage.Redemption) { r.ClientID = "" }},
		{"sec-B3 another redirect URI", func(_ *storage.Code, r *storage.Redemption) { r.RedirectURIHash = digest() }},
		{"a redirect URI where the request had none", func(c *storage.Code, _ *storage.Redemption) { c.RedirectURIHash = "" }},
		{"no redirect URI for a code without a challenge", func(c *storage.Code, r *storage.Redemption) {
			c.Challenge, r.Challenge, r.RedirectURIHash = "", "", ""
		}},
		{"sec-B2 a wrong verifier", func(_ *storage.Code, r *storage.Redemption) { r.Challenge = strings.ToLower(r.Challenge) }},
		{"sec-B2 no verifier for a code with a challenge", func(_ *storage.Code, r *storage.Redemption) { r.Challenge = "" }},
		{"sec-B2 a verifier for a code without a challenge", func(c *storage.Code, _ *storage.Redemption) { c.Challenge = "" }},
		{"another key", func(_ *storage.Code, r *storage.Redemption) { r.JKT = "another" }},
		{"no key for a code that is bound to one", func(_ *storage.Code, r *storage.Redemption) { r.JKT = "" }},
	} {
		t.Run(tt.sentence+" is worth nothing, and the owner still redeems", func(t *testing.T) {
			c, right := sampleCode()
			wrong := right
			tt.change(&c, &wrong)
			// The owner's request fits what the code has become.
			right.RedirectURIHash, right.Challenge = c.RedirectURIHash, c.Challenge
			put(t, c)
			expect(t, wrong, "")
			expect(t, wrong, "")
			expect(t, right, storage.CodeRedeemed)
			expect(t, wrong, "")
			wrong.Now = wrong.Now.Add(time.Minute)
			expect(t, wrong, "")
			expect(t, right, storage.CodeRaced)
		})
	}
	for _, tt := range []struct {
		sentence string
		change   func(c *storage.Code, r *storage.Redemption)
	}{
		{"a code with a challenge needs no redirect URI", func(_ *storage.Code, r *storage.Redemption) { r.RedirectURIHash = "" }},
		{"a code without a challenge needs no verifier", func(c *storage.Code, r *storage.Redemption) { c.Challenge, r.Challenge = "", "" }},
		{"a request without redirect URI makes a code without", func(c *storage.Code, r *storage.Redemption) {
			c.Challenge, c.RedirectURIHash, r.Challenge, r.RedirectURIHash = "", "", "", ""
		}},
		{"a code may live as long as it likes", func(c *storage.Code, _ *storage.Redemption) { c.ExpiresAt = storage.Never }},
		{"a code bound to no key takes any", func(c *storage.Code, _ *storage.Redemption) { c.JKT = "" }},
		{"a code bound to no key takes none", func(c *storage.Code, r *storage.Redemption) { c.JKT, r.JKT = "", "" }},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			c, r := sampleCode()
			tt.change(&c, &r)
			put(t, c)
			expect(t, r, storage.CodeRedeemed)
			expect(t, r, storage.CodeRaced)
		})
	}

	t.Run("sec-B4 a code expires by the time given, to the microsecond", func(t *testing.T) {
		for _, year := range []int{1971, 2020, 2031, 9998} {
			c, r := sampleCode()
			c.ExpiresAt = time.Date(year, 2, 3, 4, 5, 6, 789_000, time.UTC)
			put(t, c)
			for _, late := range []time.Duration{0, time.Microsecond, time.Hour} {
				r.Now = c.ExpiresAt.Add(late)
				r.UsedUntil = r.Now.Add(time.Hour)
				expect(t, r, "")
			}
			r.Now = c.ExpiresAt.Add(-time.Microsecond)
			expect(t, r, storage.CodeRedeemed)
		}
	})
	for _, tt := range []struct {
		sentence string
		after    time.Duration
		want     storage.CodeVerdict
	}{
		{"by a clock that is behind raced", -time.Second, storage.CodeRaced},
		{"at the same time raced", 0, storage.CodeRaced},
		{"within three seconds raced", storage.ReplayAfter, storage.CodeRaced},
		{"sec-B5 later than three seconds is a replay", storage.ReplayAfter + time.Microsecond, storage.CodeReplayed},
		{"sec-B5 when the code would have expired is a replay", 5 * time.Minute, storage.CodeReplayed},
		{"until the record ends is a replay", 10*time.Minute - time.Microsecond, storage.CodeReplayed},
		{"after that is not found", 10 * time.Minute, ""},
	} {
		t.Run("a second redemption "+tt.sentence, func(t *testing.T) {
			c, r := sampleCode()
			put(t, c)
			r.UsedUntil = r.Now.Add(10 * time.Minute)
			expect(t, r, storage.CodeRedeemed)
			again := r
			again.Now = r.Now.Add(tt.after)
			again.UsedUntil = again.Now.Add(10 * time.Minute)
			expect(t, again, tt.want)
			expect(t, again, tt.want) // and nothing has changed
		})
	}
}

// parallel calls f n times at once and returns what each call returned.
func parallel(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}

// eventually polls until ok, or fails the test with the sentence.
func eventually(t *testing.T, sentence string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal(sentence)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// abridged prints a record without its long values.
func abridged(record any) string {
	return strings.ReplaceAll(fmt.Sprintf("%+v", record), large, "…")
}

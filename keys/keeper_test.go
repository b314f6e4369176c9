package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
)

var sealKey = bytes.Repeat([]byte{42}, 32)

// A clock is a time that tests move.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.nanos.Store(noon.UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *clock) forward(d time.Duration) { c.nanos.Add(int64(d)) }

// newDatabases makes the databases that tests get copies of, one without keys and
// one with those of noon: schema and keys take longer to make than most tests.
var newDatabases = sync.OnceValues(func() (of struct{ empty, keys []byte }, err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "gatehouse")
	if err != nil {
		return of, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "keys.db")
	made := func(do func(*sqlite.DB) error) (database []byte, err error) {
		s, err := sqlite.Open(ctx, file)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(do(s), s.Close()); err != nil {
			return nil, err
		}
		return os.ReadFile(file)
	}
	if of.empty, err = made(func(s *sqlite.DB) error { return s.Migrate(ctx) }); err != nil {
		return of, err
	}
	of.keys, err = made(func(s *sqlite.DB) error {
		_, err := New(ctx, Config{Store: s, SealKey: sealKey, Now: newClock().Now})
		return err
	})
	return of, err
})

// openStore opens a database with the keys of noon.
func openStore(t testing.TB) storage.SQL {
	t.Helper()
	of, err := newDatabases()
	if err != nil {
		t.Fatal(err)
	}
	return openCopy(t, of.keys)
}

// openEmptyStore opens a database without keys.
func openEmptyStore(t testing.TB) storage.SQL {
	t.Helper()
	of, err := newDatabases()
	if err != nil {
		t.Fatal(err)
	}
	return openCopy(t, of.empty)
}

func openCopy(t testing.TB, database []byte) storage.SQL {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.db")
	if err := os.WriteFile(file, database, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func open(t testing.TB, store storage.Keys, now func() time.Time, change ...func(*Config)) *Keeper {
	t.Helper()
	c := Config{Store: store, SealKey: sealKey, Now: now, Log: slog.New(slog.DiscardHandler)}
	for _, edit := range change {
		edit(&c)
	}
	k, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// jwks parses what a keeper publishes.
func jwks(t testing.TB, k *Keeper) jose.JSONWebKeySet {
	t.Helper()
	return parsed(t, k.JWKS().Body)
}

func parsed(t testing.TB, body []byte) jose.JSONWebKeySet {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil {
		t.Fatal(err)
	}
	return set
}

func kids(t testing.TB, k *Keeper) []string {
	t.Helper()
	var ids []string
	published := k.JWKS() // once: Run may publish others in the meantime
	for _, key := range parsed(t, published.Body).Keys {
		ids = append(ids, key.KeyID)
	}
	if told := published.KeyIDs; !slices.Equal(ids, told) {
		t.Fatalf("JWKS holds %v, KeyIDs says %v", ids, told)
	}
	return ids
}

// sign signs and returns the kid as well.
func sign(t testing.TB, k *Keeper, alg string) (token, kid string) {
	t.Helper()
	token, err := k.Sign(alg, TypeAccessToken, []byte(`{"sub":"asha"}`))
	if err != nil {
		t.Fatal(err)
	}
	h, ok := decodeHeader(token[:strings.IndexByte(token, '.')])
	if !ok {
		t.Fatalf("Sign wrote a header that cannot be read: %s", token)
	}
	return token, h.KeyID
}

func TestJWKS(t *testing.T) {
	t.Parallel()
	k := open(t, openStore(t), newClock().Now)
	body, etag := k.JWKS().Body, k.JWKS().ETag
	if len(etag) < 18 || etag[0] != '"' || etag[len(etag)-1] != '"' {
		t.Errorf("ETag %s is not strong", etag)
	}

	t.Run("sec-N5 public members only", func(t *testing.T) {
		var set struct {
			Keys []map[string]any `json:"keys"`
		}
		if err := json.Unmarshal(body, &set); err != nil {
			t.Fatal(err)
		}
		members := map[string][]string{
			"EC":  {"alg", "crv", "kid", "kty", "use", "x", "y"},
			"RSA": {"alg", "e", "kid", "kty", "n", "use"},
		}
		for _, key := range set.Keys {
			var got []string
			for m := range key {
				got = append(got, m)
			}
			slices.Sort(got)
			if want := members[key["kty"].(string)]; !slices.Equal(got, want) {
				t.Errorf("a %s key has the members %v, want %v", key["kty"], got, want)
			}
			if key["use"] != "sig" {
				t.Errorf("use is %v", key["use"])
			}
		}
	})

	t.Run("sec-N5 one key of each algorithm, each kid its thumbprint", func(t *testing.T) {
		var algorithms []string
		for _, key := range jwks(t, k).Keys {
			algorithms = append(algorithms, key.Algorithm)
			sum, err := key.Thumbprint(crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			if want := base64.RawURLEncoding.EncodeToString(sum); key.KeyID != want {
				t.Errorf("kid is %s, want the thumbprint %s", key.KeyID, want)
			}
		}
		if want := []string{ES256, RS256}; !slices.Equal(algorithms, want) || !slices.Equal(k.Algorithms(), want) {
			t.Errorf("JWKS has %v, Algorithms %v, want %v", algorithms, k.Algorithms(), want)
		}
	})

	t.Run("sec-N1 RSA keys have 3072 bits", func(t *testing.T) {
		for _, key := range jwks(t, k).Keys {
			if r, ok := key.Key.(*rsa.PublicKey); ok && r.N.BitLen() < 3072 {
				t.Errorf("an RSA key has %d bits", r.N.BitLen())
			}
		}
	})
}

func TestStoredKeysAreSealed(t *testing.T) {
	t.Parallel()
	store := openEmptyStore(t)
	k := open(t, store, newClock().Now)
	set, err := store.KeySet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != len(rings()) {
		t.Fatalf("%d keys are stored, want %d", len(set.Keys), len(rings()))
	}

	t.Run("sec-N1 nothing secret is stored in clear", func(t *testing.T) {
		for _, row := range set.Keys {
			secret, err := k.seal.open(row.Purpose, row.ID, row.Sealed)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(row.Sealed, secret) || bytes.Contains(row.Public, []byte(`"d"`)) {
				t.Errorf("key %s of %s is stored in clear", row.ID, row.Purpose)
			}
		}
	})

	t.Run("sec-N1 another seal key stops the start and names the setting", func(t *testing.T) {
		_, err := New(t.Context(), Config{Store: store, SealKey: bytes.Repeat([]byte{1}, 32)})
		if !errors.Is(err, ErrSealed) || !strings.Contains(err.Error(), "GATEHOUSE_SEAL_KEY") {
			t.Errorf("New with another seal key: %v", err)
		}
	})

	t.Run("a changed public half is not published", func(t *testing.T) {
		forged := slices.Clone(set.Keys)
		for i := range forged {
			if forged[i].Purpose == PurposeSign {
				forged[i].Public = []byte(`{"kty":"EC","kid":"forged"}`)
			}
		}
		if err := store.ReplaceKeys(t.Context(), set.Version, forged); err != nil {
			t.Fatal(err)
		}
		if got, want := kids(t, open(t, store, newClock().Now)), kids(t, k); !slices.Equal(got, want) {
			t.Errorf("published %v, want %v", got, want)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	store := openStore(t)
	for _, c := range []struct {
		sentence string
		config   Config
		want     string
	}{
		{"a store is required", Config{SealKey: sealKey}, "Store is required"},
		{"a seal key is required", Config{Store: store}, "GATEHOUSE_SEAL_KEY"},
		{"a key must sign for longer than it waits", Config{Store: store, SealKey: sealKey, SignEvery: 24 * time.Hour}, "SignEvery"},
		{"sec-N2 a key waits for two caches to end", Config{Store: store, SealKey: sealKey, Publish: 29 * time.Minute}, "Publish (29m0s) must be at least twice JWKSMaxAge (15m0s)"},
		{"gateways are waited for to the end of that at least", Config{Store: store, SealKey: sealKey, Deadline: time.Hour}, "Deadline"},
		{"max-age is in seconds", Config{Store: store, SealKey: sealKey, JWKSMaxAge: 1500 * time.Millisecond}, "JWKSMaxAge"},
		{"and there is some", Config{Store: store, SealKey: sealKey, JWKSMaxAge: time.Millisecond}, "JWKSMaxAge"},
		{"no token lives for less than no time", Config{Store: store, SealKey: sealKey, TokenLife: -1}, "TokenLife"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			if _, err := New(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("New: %v, want an error with %q", err, c.want)
			}
		})
	}
}

// TestCreationRace starts eight servers on one empty database.
func TestCreationRace(t *testing.T) {
	t.Parallel()
	store, now := openEmptyStore(t), newClock().Now
	keepers := make([]*Keeper, 8)
	var g sync.WaitGroup
	for i := range keepers {
		g.Go(func() {
			k, err := New(t.Context(), Config{Store: store, SealKey: sealKey, Now: now})
			if err != nil {
				t.Error(err)
				return
			}
			keepers[i] = k
		})
	}
	g.Wait()
	if t.Failed() {
		return
	}
	t.Run("sec-N2 one key in each ring", func(t *testing.T) {
		set, err := store.KeySet(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(set.Keys) != len(rings()) || set.Version != 1 {
			t.Errorf("%d keys at version %d, want %d at version 1", len(set.Keys), set.Version, len(rings()))
		}
	})
	body, etag := keepers[0].JWKS().Body, keepers[0].JWKS().ETag
	id, secret := keepers[0].Secret(PurposeRefresh)
	for i, k := range keepers {
		if j := k.JWKS(); !bytes.Equal(j.Body, body) || j.ETag != etag {
			t.Errorf("server %d publishes another JWKS", i)
		}
		if n, s := k.Secret(PurposeRefresh); n != id || !bytes.Equal(s, secret) {
			t.Errorf("server %d has another refresh secret", i)
		}
		token, _ := sign(t, k, ES256)
		if _, err := keepers[0].Verify(t.Context(), token); err != nil {
			t.Errorf("server 0 does not verify a token of server %d: %v", i, err)
		}
	}
}

// TestRotate follows one rotation on two servers, of which the second never
// reloads by itself.
func TestRotate(t *testing.T) {
	t.Parallel()
	store, now := openStore(t), newClock()
	a, b := open(t, store, now.Now), open(t, store, now.Now)
	oldToken, old := sign(t, a, ES256)
	etag := a.JWKS().ETag

	if err := a.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(kids(t, a)); n != 4 {
		t.Fatalf("%d keys are published after a rotation, want 4", n)
	}
	if a.JWKS().ETag == etag {
		t.Error("JWKS changed and its ETag did not")
	}
	if err := a.Rotate(t.Context()); err != nil || len(kids(t, a)) != 4 {
		t.Errorf("a second rotation while the first waits: %v, %d keys", err, len(kids(t, a)))
	}

	now.forward(24*time.Hour - time.Microsecond)
	if _, kid := sign(t, a, ES256); kid != old {
		t.Error("the new key signs before it was published long enough")
	}
	now.forward(time.Microsecond)
	token, young := sign(t, a, ES256)
	if young == old {
		t.Error("the new key does not sign when its time has come")
	}
	if _, kid := sign(t, a, RS256); !slices.Contains(kids(t, a), kid) {
		t.Error("the RS256 key that signs is not published")
	}
	if slices.Contains(kids(t, b), young) {
		t.Fatal("the second server has reloaded, which this test does not want")
	}
	if v, err := b.Verify(t.Context(), token); err != nil || v.KeyID != young {
		t.Errorf("the second server does not learn of a new key by its kid: %v", err)
	}
	if !slices.Contains(kids(t, b), young) {
		t.Error("the second server learned of the key and does not publish it")
	}

	now.forward(storage.AccessTokenLife + a.JWKSMaxAge() - time.Microsecond)
	if _, err := b.Verify(t.Context(), oldToken); err != nil {
		t.Errorf("a retired key does not verify to the end of its last token: %v", err)
	}
	now.forward(time.Microsecond)
	if _, err := b.Verify(t.Context(), oldToken); !errors.Is(err, ErrInvalid) {
		t.Errorf("a gone key still verifies: %v", err)
	}
	if err := b.advance(t.Context(), aging); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(kids(t, b), old) {
		t.Error("a gone key is still published")
	}
	if slices.ContainsFunc(b.Keys(), func(k KeyInfo) bool { return k.ID == old }) {
		t.Error("a gone key is still listed")
	}

	// What a gone key signed is still good as a hint, on every server.
	for i, k := range []*Keeper{a, b} {
		if v, err := k.VerifyHint(t.Context(), oldToken); err != nil || v.KeyID != old {
			t.Errorf("server %d does not take a hint of a gone key: %v", i, err)
		}
	}
	now.forward(31*24*time.Hour - time.Microsecond)
	if _, err := b.VerifyHint(t.Context(), oldToken); err != nil {
		t.Errorf("a hint is not good to the end: %v", err)
	}
	now.forward(time.Microsecond)
	if _, err := b.VerifyHint(t.Context(), oldToken); !errors.Is(err, ErrInvalid) {
		t.Errorf("a hint is good for ever: %v", err)
	}
	if err := b.advance(t.Context(), aging); err != nil {
		t.Fatal(err)
	}
	set, err := store.KeySet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(set.Keys, func(k storage.Key) bool { return k.ID == old }) {
		t.Error("a forgotten key is still stored")
	}
}

// TestNeverUnpublished lives through a year of automatic rotations on two
// servers that reload in turn, 40 seconds apart. Whatever JWKS either of them
// handed out within JWKSMaxAge and JWKSStale, a verifier may still go by it: the
// key that signs must be in all of them. Keys are published as late as may be.
func TestNeverUnpublished(t *testing.T) {
	t.Parallel()
	store, now := openStore(t), newClock()
	late := func(c *Config) { c.Publish = 30 * time.Minute }
	two := []*Keeper{open(t, store, now.Now, late), open(t, store, now.Now, late)}
	type answer struct {
		at   time.Time
		kids []string
	}
	var cached []answer
	signed := map[string]bool{}
	for turn := range 400 {
		k := two[turn%2]
		if turn%100 == 0 { // up to just before the next rotation, then through it
			now.forward(k.ages[ringID{PurposeSign, ES256}].Signing - time.Hour)
		}
		ask := func() {
			for _, k := range two {
				cached = append(cached, answer{now.Now(), kids(t, k)})
			}
		}
		ask()
		if err := k.advance(t.Context(), aging); err != nil {
			t.Fatal(err)
		}
		ask()
		now.forward(40 * time.Second)
		cached = slices.DeleteFunc(cached, func(a answer) bool { return now.Now().Sub(a.at) > k.JWKSMaxAge()+k.JWKSStale() })
		for _, k := range two {
			token, kid := sign(t, k, ES256)
			signed[kid] = true
			for _, a := range cached {
				if !slices.Contains(a.kids, kid) {
					t.Fatalf("sec-N2 %s signs and is not in the JWKS of %s ago", kid, now.Now().Sub(a.at))
				}
			}
			if _, err := two[turn%2].Verify(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(signed) != 5 {
		t.Errorf("%d keys signed in four quarters, want 5", len(signed))
	}
}

// TestGateways has a key wait for two gateways, on two servers.
func TestGateways(t *testing.T) {
	t.Parallel()
	type turn struct {
		sentence string
		after    time.Duration
		// edge and far say whether that gateway fetches before the servers look.
		edge, far bool
		signs     string // which key: "old" or "new"
		warns     string // part of what the log says then; empty is that it is silent
	}
	for _, c := range []struct {
		sentence string
		turns    []turn
	}{
		{"sec-N2 it takes over in its time when both have fetched it", []turn{
			{"nobody has", time.Hour, false, false, "old", ""},
			{"one has", time.Hour, true, false, "old", ""},
			{"both have", time.Hour, false, true, "old", ""},
			{"before its time", 21*time.Hour - time.Second, false, false, "old", ""},
			{"in its time", time.Second, false, false, "new", ""},
		}},
		{"sec-N2 it waits for the last, and a minute for the servers", []turn{
			{"one has", time.Hour, true, false, "old", ""},
			{"its time passes", 23 * time.Hour, true, false, "old", "gateways=[far]"},
			{"that is said once", time.Hour, true, false, "old", ""},
			{"the last comes", time.Hour, false, true, "old", ""},
			{"the servers may not all know", time.Minute - time.Second, false, false, "old", ""},
			{"they do", time.Second, false, false, "new", ""},
		}},
		{"sec-N2 it waits no longer than its deadline", []turn{
			{"one has", 71 * time.Hour, true, false, "old", "waits for gateways"},
			{"just before", time.Hour - time.Second, false, false, "old", ""},
			{"the deadline passes", time.Second, false, false, "new", "before its deadline\" kid="},
			{"that is said once", time.Second, false, false, "new", ""},
		}},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			store, now := openStore(t), newClock()
			for _, id := range []string{"edge", "far"} {
				if err := store.CreateGateway(t.Context(), storage.Gateway{ID: id, Name: id, CreatedAt: now.Now()}); err != nil {
					t.Fatal(err)
				}
			}
			var log bytes.Buffer
			asking := func(c *Config) { c.Gateways = store }
			a := open(t, store, now.Now, asking, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			b := open(t, store, now.Now, asking)
			old := map[string]string{}
			for _, alg := range a.Algorithms() {
				_, old[alg] = sign(t, a, alg)
			}
			fetch := func(id string) {
				if err := store.GatewayFetched(t.Context(), id, a.JWKS().KeyIDs, now.Now()); err != nil {
					t.Fatal(err)
				}
			}
			fetch("edge")
			fetch("far")
			if err := b.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			look := func() {
				for _, k := range []*Keeper{a, b} {
					if err := k.advance(t.Context(), aging); err != nil {
						t.Fatal(err)
					}
				}
			}
			look()
			for _, turn := range c.turns {
				now.forward(turn.after)
				log.Reset()
				if turn.edge {
					fetch("edge")
				}
				if turn.far {
					fetch("far")
				}
				look()
				for _, k := range []*Keeper{a, b} {
					for _, alg := range []string{ES256, RS256} {
						if _, kid := sign(t, k, alg); (kid != old[alg]) != (turn.signs == "new") {
							t.Errorf("%s: %s is signed by %s, want the %s key", turn.sentence, alg, kid, turn.signs)
						}
					}
				}
				if said := log.String(); (said != "") != (turn.warns != "") || !strings.Contains(said, turn.warns) {
					t.Errorf("%s: the log says %q, want %q", turn.sentence, said, turn.warns)
				}
			}
		})
	}
	t.Run("a store that does not list them holds everything", func(t *testing.T) {
		store, now := openStore(t), newClock()
		k := open(t, store, now.Now, func(c *Config) { c.Gateways = noGateways{} })
		if err := k.Rotate(t.Context()); err == nil || len(kids(t, k)) != 2 {
			t.Errorf("a rotation of which nobody knows for whom it waits: %v, %d keys", err, len(kids(t, k)))
		}
	})
}

// noGateways is a list that cannot be read.
type noGateways struct{}

func (noGateways) ListGateways(context.Context) ([]storage.Gateway, error) {
	return nil, errors.New("the store is down")
}

// TestRotateEmergency drops the signing keys under two servers, of which one
// learns of it by itself.
func TestRotateEmergency(t *testing.T) {
	t.Parallel()
	store, now := openStore(t), newClock()
	if err := store.CreateGateway(t.Context(), storage.Gateway{ID: "far", Name: "far", CreatedAt: now.Now()}); err != nil {
		t.Fatal(err)
	}
	asking := func(c *Config) { c.Gateways, c.Audit = store, store }
	a, b := open(t, store, now.Now, asking), open(t, store, now.Now, asking)
	b.every = 10 * time.Millisecond
	if err := a.Rotate(t.Context()); err != nil { // a retired key to be
		t.Fatal(err)
	}
	now.forward(72 * time.Hour)
	if err := a.Rotate(t.Context()); err != nil { // and one that waits
		t.Fatal(err)
	}
	before := kids(t, a)
	if len(before) != 6 {
		t.Fatalf("%d keys before the emergency, want 6", len(before))
	}
	token, old := sign(t, a, ES256)
	refresh, secret := a.Secret(PurposeRefresh)
	go b.Run(t.Context())
	await := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !done(); <-time.After(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	await("the second server does not know the keys", func() bool { return b.JWKS().ETag == a.JWKS().ETag })

	if err := a.RotateEmergency(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := kids(t, a)
	if len(after) != 2 || slices.ContainsFunc(after, func(kid string) bool { return slices.Contains(before, kid) }) {
		t.Errorf("sec-N2 after the emergency %v are published, before it %v", after, before)
	}
	await("sec-N2 the second server goes on with the old keys", func() bool { return b.JWKS().ETag == a.JWKS().ETag })
	for i, k := range []*Keeper{a, b} {
		if _, kid := sign(t, k, ES256); kid == old || !slices.Contains(after, kid) {
			t.Errorf("sec-N2 server %d signs with %s", i, kid)
		}
		if _, err := k.Verify(t.Context(), token); !errors.Is(err, ErrInvalid) {
			t.Errorf("sec-N2 server %d accepts a token of a dropped key: %v", i, err)
		}
		if id, s := k.Secret(PurposeRefresh); id != refresh || !bytes.Equal(s, secret) {
			t.Errorf("server %d has another refresh secret", i)
		}
	}
	set, err := store.KeySet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if slices.Contains(before, k.ID) {
			t.Error("a dropped key is still stored")
		}
	}

	t.Run("sec-O2 there is an event of each rotation and of the emergency", func(t *testing.T) {
		events, err := store.ListEvents(t.Context(), "", 10)
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, e := range events {
			kinds = append(kinds, e.Kind)
		}
		if want := []string{"key.emergency", "key.rotated", "key.rotated"}; !slices.Equal(kinds, want) {
			t.Errorf("events are %v, want %v", kinds, want)
		}
		for _, kid := range after {
			if !strings.Contains(events[0].Detail, kid) {
				t.Errorf("the event says %q and not %s", events[0].Detail, kid)
			}
		}
	})
}

// TestRotationUnderLoad signs and verifies on two servers while keys are
// rotated, retired and dropped under them.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	store, now := openStore(t), newClock()
	late := func(c *Config) { c.Publish = 30 * time.Minute }
	two := []*Keeper{open(t, store, now.Now, late), open(t, store, now.Now, late)}
	first := kids(t, two[0])
	ctx, stop := context.WithCancel(t.Context())
	var load, turns sync.WaitGroup
	var verified atomic.Int64
	for i := range 4 {
		load.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				payload, signed := fmt.Appendf(nil, `{"n":%d}`, n), now.Now()
				token, err := two[i%2].Sign(ES256, TypeJWT, payload)
				if err != nil {
					t.Errorf("sign: %v", err)
					return
				}
				v, err := two[(i+1)%2].Verify(t.Context(), token)
				if now.Now().Sub(signed) > storage.AccessTokenLife {
					continue // held up for longer than the token lives
				}
				if err != nil || !bytes.Equal(v.Payload, payload) {
					t.Errorf("verify: %q, %v", v.Payload, err)
					return
				}
				two[i%2].JWKS()
				two[i%2].Secret(PurposeCSRF)
				verified.Add(1)
			}
		})
	}
	// Both at once, and neither ahead of the other by more than a step: a server
	// reloads far more often than keys change.
	both := func(do func(k *Keeper) error) {
		var each sync.WaitGroup
		for _, k := range two {
			each.Go(func() {
				if err := do(k); err != nil {
					t.Errorf("rotate or advance: %v", err)
				}
			})
		}
		each.Wait()
	}
	turns.Go(func() {
		for range 3 {
			both(func(k *Keeper) error { return k.Rotate(t.Context()) })
			// Small steps: a token is verified well within its life.
			for range 40 {
				now.forward(time.Minute)
				both(func(k *Keeper) error { return k.advance(t.Context(), aging) })
			}
		}
	})
	turns.Wait()
	stop()
	load.Wait()
	if verified.Load() == 0 {
		t.Error("nothing was verified")
	}
	for _, k := range two {
		if err := k.advance(t.Context(), aging); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(kids(t, k), func(kid string) bool { return slices.Contains(first, kid) }) {
			t.Error("no key was dropped under the load")
		}
	}
	if a, b := kids(t, two[0]), kids(t, two[1]); !slices.Equal(a, b) {
		t.Errorf("in the end the servers publish %v and %v", a, b)
	}
}

func TestRunReloads(t *testing.T) {
	t.Parallel()
	store, now := openStore(t), newClock()
	a, b := open(t, store, now.Now), open(t, store, now.Now)
	b.every = 10 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		b.Run(ctx)
		close(ended)
	}()
	if err := a.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := kids(t, a)
	deadline := time.After(30 * time.Second)
	for !slices.Equal(kids(t, b), want) {
		select {
		case <-deadline:
			t.Fatal("Run did not take over the keys of another server")
		case <-time.After(5 * time.Millisecond):
		}
	}
	stop()
	select {
	case <-ended:
	case <-deadline:
		t.Fatal("Run did not end with its context")
	}
}

// mute is a store that does not answer the next reader.
type mute struct {
	storage.Keys
	next atomic.Bool
	fell atomic.Int64
}

func (m *mute) KeySet(ctx context.Context) (storage.KeySet, error) {
	if m.next.CompareAndSwap(true, false) {
		m.fell.Add(1)
		<-ctx.Done()
		return storage.KeySet{}, ctx.Err()
	}
	return m.Keys.KeySet(ctx)
}

// A database that went away without a word is asked again when it is back.
func TestRunAsksAgain(t *testing.T) {
	t.Parallel()
	store, now := openStore(t), newClock()
	m := &mute{Keys: store}
	a, b := open(t, store, now.Now), open(t, m, now.Now)
	b.every, b.within = 10*time.Millisecond, 100*time.Millisecond
	m.next.Store(true)
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { b.Run(ctx) })
	defer run.Wait()
	defer stop()
	if err := a.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := kids(t, a)
	for deadline := time.Now().Add(30 * time.Second); !slices.Equal(kids(t, b), want); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it waits for an answer to what it asked %d times", m.fell.Load())
		}
	}
	if m.fell.Load() != 1 {
		t.Error("it was always answered, which this test does not want")
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	store, now := openStore(t), newClock()
	k, other := open(t, store, now.Now), open(t, store, now.Now)
	purposes := []string{PurposeRefresh, PurposeCSRF, PurposeMailCode, PurposeRecovery, PurposeDevice}
	seen := map[string]bool{}
	for _, p := range purposes {
		id, key := k.Secret(p)
		if len(id) != 8 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" || len(key) != 32 {
			t.Errorf("secret of %s: id %q, %d bytes", p, id, len(key))
		}
		if seen[string(key)] {
			t.Errorf("sec-N3 %s has the key of another purpose", p)
		}
		seen[string(key)] = true
		for _, q := range purposes {
			got, err := other.SecretByID(t.Context(), q, id)
			if q == p && (err != nil || !bytes.Equal(got, key)) {
				t.Errorf("another server does not know the secret of %s: %v", p, err)
			}
			if q != p && !errors.Is(err, ErrNoKey) {
				t.Errorf("sec-N3 the secret of %s serves %s: %v", p, q, err)
			}
		}
	}
	id, key := k.Secret(PurposeRefresh)
	csrf, _ := k.Secret(PurposeCSRF)
	recovery, _ := k.Secret(PurposeRecovery)

	// The end of its quarter: the successor mints, the old one is accepted.
	now.forward(90*24*time.Hour - time.Minute)
	if err := k.advance(t.Context(), aging); err != nil {
		t.Fatal(err)
	}
	if got, _ := k.Secret(PurposeRefresh); got != id {
		t.Error("a secret mints before the other servers know it")
	}
	now.forward(time.Minute)
	young, _ := k.Secret(PurposeRefresh)
	if young == id {
		t.Error("the secret was not rotated")
	}
	if got, _ := k.Secret(PurposeRecovery); got != recovery {
		t.Error("the key of recovery codes was rotated, which are on paper")
	}
	if _, err := other.SecretByID(t.Context(), PurposeRefresh, young); err != nil {
		t.Errorf("another server does not learn of a new secret by its id: %v", err)
	}
	now.forward(30 * 24 * time.Hour)
	if got, err := k.SecretByID(t.Context(), PurposeRefresh, id); err != nil || !bytes.Equal(got, key) {
		t.Errorf("sec-N3 a refresh token unused for 30 days is refused: %v", err)
	}
	if _, err := k.SecretByID(t.Context(), PurposeCSRF, csrf); !errors.Is(err, ErrNoKey) {
		t.Errorf("a CSRF secret is accepted after a month: %v", err)
	}
	now.forward(24 * time.Hour)
	if _, err := k.SecretByID(t.Context(), PurposeRefresh, id); !errors.Is(err, ErrNoKey) {
		t.Errorf("a secret is accepted for ever: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a purpose without secrets did not panic")
		}
	}()
	k.Secret(PurposeSign)
}

// counted counts how often keys are read from a store.
type counted struct {
	storage.Keys
	reads atomic.Int64
}

func (c *counted) KeySet(ctx context.Context) (storage.KeySet, error) {
	c.reads.Add(1)
	return c.Keys.KeySet(ctx)
}

func TestUnknownKeyLoadsOnceASecond(t *testing.T) {
	t.Parallel()
	store, now := &counted{Keys: openStore(t)}, newClock()
	k := open(t, store, now.Now)
	token, kid := sign(t, k, ES256)
	unknown := encodeHeader(ES256, strings.Repeat("A", len(kid)), TypeJWT) + token[strings.IndexByte(token, '.'):]
	verify := func(token string) {
		if _, err := k.Verify(t.Context(), token); !errors.Is(err, ErrInvalid) {
			t.Errorf("an unknown kid: %v", err)
		}
	}
	before := store.reads.Load()
	var g sync.WaitGroup
	for range 100 {
		g.Go(func() { verify(unknown) })
		g.Go(func() {
			if _, err := k.SecretByID(t.Context(), PurposeRefresh, "AAAAAAAA"); !errors.Is(err, ErrNoKey) {
				t.Errorf("an unknown secret: %v", err)
			}
		})
	}
	g.Wait()
	if n := store.reads.Load() - before; n != 1 {
		t.Errorf("200 unknown ids made %d loads, want 1", n)
	}
	now.forward(time.Second)
	verify(unknown)
	if n := store.reads.Load() - before; n != 2 {
		t.Errorf("after a second there were %d loads, want 2", n)
	}
	now.forward(time.Second)
	verify(encodeHeader(ES256, "short", TypeJWT) + token[strings.IndexByte(token, '.'):])
	if n := store.reads.Load() - before; n != 2 {
		t.Error("an id that cannot be ours was looked up")
	}
}

func TestStoreDown(t *testing.T) {
	t.Parallel()
	store, now := openStore(t), newClock()
	k := open(t, store, now.Now)
	token, kid := sign(t, k, ES256)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Verify(t.Context(), token); err != nil {
		t.Errorf("a known key does not verify without the store: %v", err)
	}
	sign(t, k, RS256)
	unknown := encodeHeader(ES256, strings.Repeat("A", len(kid)), TypeJWT) + token[strings.IndexByte(token, '.'):]
	for range 2 { // the second within the second in which nothing is loaded
		if _, err := k.Verify(t.Context(), unknown); !IsFault(err) {
			t.Errorf("without the store an unknown kid is judged: %v", err)
		}
		if _, err := k.SecretByID(t.Context(), PurposeRefresh, "AAAAAAAA"); !IsFault(err) {
			t.Errorf("without the store an unknown secret is judged: %v", err)
		}
	}
	if err := k.Rotate(t.Context()); err == nil {
		t.Error("a rotation without the store succeeds")
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	now := newClock()
	k := open(t, openStore(t), now.Now)
	if err := k.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := func() (s []string) {
		for _, i := range k.Keys() {
			s = append(s, fmt.Sprintf("%s %s %s", i.Purpose, i.Algorithm, i.State))
		}
		return s
	}
	want := []string{
		"sign ES256 signing", "sign ES256 published", "sign RS256 signing", "sign RS256 published",
		"refresh HS256 signing", "csrf HS256 signing", "mail_code HS256 signing",
		"recovery HS256 signing", "device HS256 signing",
	}
	if got := list(); !slices.Equal(got, want) {
		t.Errorf("keys are %q, want %q", got, want)
	}
	now.forward(24 * time.Hour)
	want[0], want[1], want[2], want[3] = "sign ES256 retired", "sign ES256 signing", "sign RS256 retired", "sign RS256 signing"
	if got := list(); !slices.Equal(got, want) {
		t.Errorf("a day later keys are %q, want %q", got, want)
	}
}

// TestKeysOfANewerRelease keeps what this program does not know: it may run
// beside one that does.
func TestKeysOfANewerRelease(t *testing.T) {
	t.Parallel()
	store, now := openStore(t), newClock()
	k := open(t, store, now.Now)
	set, err := store.KeySet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	newer := storage.Key{
		ID: "newer", Purpose: PurposeSign, Algorithm: "EdDSA", Public: []byte(`{}`), Sealed: []byte{9},
		PublishedAt: noon, SigningAt: noon,
	}
	if err := store.ReplaceKeys(t.Context(), set.Version, append(set.Keys, newer)); err != nil {
		t.Fatal(err)
	}
	if err := k.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	set, err = store.KeySet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(set.Keys, func(k storage.Key) bool { return k.ID == "newer" }) {
		t.Error("a rotation dropped a key of an unknown algorithm")
	}
}

// TestStandardVerifiers verifies with the library of a relying party, which
// knows nothing but the address of JWKS.
func TestStandardVerifiers(t *testing.T) {
	t.Parallel()
	k := open(t, openStore(t), newClock().Now)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(k.JWKS().Body)
	}))
	defer server.Close()
	for _, alg := range k.Algorithms() {
		token, _ := sign(t, k, alg)
		set := oidc.NewRemoteKeySet(t.Context(), server.URL)
		payload, err := set.VerifySignature(t.Context(), token)
		if err != nil || string(payload) != `{"sub":"asha"}` {
			t.Errorf("%s: go-oidc reads %q, %v", alg, payload, err)
		}
	}
}

// Package keys owns the keys that sign tokens and the secrets that
// authenticate refresh tokens, pages and mailed codes.
//
// Keys stand in rings, one for each purpose and algorithm, and age from
// published through signing and retired to gone (see [State]). What is due is
// decided by [Ring], which is pure; [Keeper] caches the rings, carries out what
// is due by compare-and-swap, so that any number of servers agree, and signs.
// What is secret is sealed before it is stored.
//
// The package knows nothing of OAuth, of claims or of HTTP.
package keys

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-id/gatehouse/storage"
)

// What keys are for. A key of one purpose serves no other.
const (
	// PurposeSign signs ID tokens, access tokens and logout tokens; their typ
	// keeps them apart.
	PurposeSign = "sign"
	// PurposeRefresh authenticates refresh tokens.
	PurposeRefresh = "refresh"
	// PurposeCSRF authenticates the forms of pages.
	PurposeCSRF = "csrf"
	// PurposeMailCode keys the hashes of mailed codes.
	PurposeMailCode = "mail_code"
	// PurposeRecovery keys the hashes of recovery codes. Its key is never
	// rotated: the codes are on paper, and nobody knows when they are used.
	PurposeRecovery = "recovery"
	// PurposeDevice authenticates the cookie of a browser that has signed in
	// before.
	PurposeDevice = "device"
)

// hs256 is the algorithm under which symmetric keys are stored.
const hs256 = "HS256"

const (
	// reloadEvery is how often Run asks the store for news.
	reloadEvery = 5 * time.Second
	// reloadAtMost is the least time between two loads for an unknown id.
	reloadAtMost = time.Second
	// settle is how long every server is given to learn of a change: many
	// times reloadEvery. Until then a server may hand out the JWKS of before.
	settle = time.Minute
)

// How long a symmetric key is accepted after it stops minting: as long as the
// longest-lived thing that bears it.
const (
	// refreshRetired is the idle life of a refresh token, 30 days, and a day.
	refreshRetired = 31 * 24 * time.Hour
	// csrfRetired is how old a page may be that is still posted.
	csrfRetired = 24 * time.Hour
	// mailCodeRetired is far above the life of a mailed code.
	mailCodeRetired = time.Hour
	// deviceRetired is the life of a device's cookie, a year, and a day.
	deviceRetired = 366 * 24 * time.Hour
	// forever is longer than any key is kept.
	forever = 100 * 365 * 24 * time.Hour
)

// Config is what a Keeper needs. Store and SealKey are required.
type Config struct {
	Store storage.Keys
	// SealKey is 32 bytes and seals what is secret in the store.
	SealKey []byte
	// Now is the time; nil is time.Now. On several servers it must be the
	// database's: see storage.Clock.
	Now func() time.Time
	// Log is told what happened in Run; nil is slog.Default().
	Log *slog.Logger
	// JWKSMaxAge is how long verifiers may cache JWKS, 15 minutes by default. A
	// new key signs only when it has been published that long, and a minute
	// more for every server to publish it.
	JWKSMaxAge time.Duration
	// SignEvery is how long a key signs, or mints, before the next takes over;
	// 90 days by default.
	SignEvery time.Duration
	// TokenLife is the life of the longest-lived signed token, one hour by
	// default. A retired key is accepted that long, and a minute more.
	TokenLife time.Duration
}

// A Keeper holds the keys of one server. Its methods may be called by any
// number of goroutines.
type Keeper struct {
	store storage.Keys
	seal  seal
	now   func() time.Time
	log   *slog.Logger
	ages  map[ringID]Ages
	every time.Duration

	// known is the keys as last loaded. Whoever signs or verifies reads it and
	// nothing else; it is replaced as a whole, by the holder of turn.
	known atomic.Pointer[known]
	// turn is a lock of one place that can be waited for with a context. Its
	// holder alone loads and stores keys.
	turn chan struct{}
	// loaded is when keys were last loaded for an unknown id, and failed what
	// came of it. The holder of turn owns both.
	loaded time.Time
	failed error
	maxAge time.Duration
}

// A ringID names a ring.
type ringID struct{ purpose, algorithm string }

// rings are all rings, in the order of JWKS and of Keys.
func rings() []ringID {
	return []ringID{
		{PurposeSign, ES256},
		{PurposeSign, RS256},
		{PurposeRefresh, hs256},
		{PurposeCSRF, hs256},
		{PurposeMailCode, hs256},
		{PurposeRecovery, hs256},
		{PurposeDevice, hs256},
	}
}

// known is every key at one version, opened. It does not change.
type known struct {
	rings map[ringID]Ring
	byID  map[string]Key
	jwks  []byte
	etag  string
}

// New loads the keys and makes those that are missing. Of several servers that
// start at once one makes them and the others take them over.
func New(ctx context.Context, c Config) (*Keeper, error) {
	if c.Store == nil {
		return nil, errors.New("keys: Store is required")
	}
	seal, err := newSeal(c.SealKey)
	if err != nil {
		return nil, err
	}
	k := &Keeper{store: c.Store, seal: seal, now: c.Now, log: c.Log, every: reloadEvery, turn: make(chan struct{}, 1)}
	if k.now == nil {
		k.now = time.Now
	}
	if k.log == nil {
		k.log = slog.Default()
	}
	maxAge := cmp.Or(c.JWKSMaxAge, 15*time.Minute)
	signEvery := cmp.Or(c.SignEvery, 90*24*time.Hour)
	tokenLife := cmp.Or(c.TokenLife, time.Hour)
	k.maxAge = maxAge
	if maxAge < 0 || tokenLife < 0 || signEvery <= maxAge+settle {
		return nil, fmt.Errorf("keys: SignEvery (%s) must be longer than JWKSMaxAge (%s) and a minute, and nothing negative", signEvery, maxAge)
	}
	signing := Ages{Published: maxAge + settle, Signing: signEvery, Retired: tokenLife + settle}
	minting := func(retired time.Duration) Ages {
		return Ages{Published: settle, Signing: signEvery, Retired: retired}
	}
	k.ages = map[ringID]Ages{
		{PurposeSign, ES256}:     signing,
		{PurposeSign, RS256}:     signing,
		{PurposeRefresh, hs256}:  minting(refreshRetired),
		{PurposeCSRF, hs256}:     minting(csrfRetired),
		{PurposeMailCode, hs256}: minting(mailCodeRetired),
		{PurposeRecovery, hs256}: {Published: settle, Signing: forever, Retired: forever},
		{PurposeDevice, hs256}:   minting(deviceRetired),
	}
	k.known.Store(&known{})
	if err := k.advance(ctx, k.due); err != nil {
		return nil, err
	}
	return k, nil
}

// Run reloads the keys every few seconds and rotates those whose time has come,
// until ctx ends. A server that cannot reach the store goes on with the keys it
// has.
func (k *Keeper) Run(ctx context.Context) {
	t := time.NewTicker(k.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := k.advance(ctx, k.due); err != nil && ctx.Err() == nil {
				k.log.ErrorContext(ctx, "keys not reloaded", "err", err)
			}
		}
	}
}

// Rotate publishes the next signing key of each algorithm now. It signs once
// verifiers have had the time to learn of it; the key before it retires at that
// moment. An algorithm whose next key is already waiting is left as it is.
func (k *Keeper) Rotate(ctx context.Context) error {
	return k.advance(ctx, func(id ringID, r Ring, now time.Time) bool {
		return k.due(id, r, now) || id.purpose == PurposeSign && !r.Waiting(now)
	})
}

func (k *Keeper) due(id ringID, r Ring, now time.Time) bool { return r.Due(now, k.ages[id]) }

// advance loads the keys, publishes a new one in every ring that is due and
// drops what is gone. When another server was faster it looks again.
func (k *Keeper) advance(ctx context.Context, due func(ringID, Ring, time.Time) bool) error {
	if err := k.lock(ctx); err != nil {
		return err
	}
	defer k.unlock()
	for {
		set, err := k.load(ctx)
		if err != nil {
			return err
		}
		next, changed, err := k.next(set.Keys, due)
		if err != nil {
			return err
		}
		if !changed {
			return nil
		}
		err = k.store.ReplaceKeys(ctx, set.Version, next)
		if err == nil {
			_, err = k.load(ctx)
			return err
		}
		if !errors.Is(err, storage.ErrConflict) {
			return fmt.Errorf("keys: replace keys: %w", err)
		}
	}
}

// next returns the keys that are to stand instead of those stored, and whether
// they differ. Keys of rings unknown to this program, which a newer one may
// have made, are kept until they are gone.
func (k *Keeper) next(stored []storage.Key, due func(ringID, Ring, time.Time) bool) (next []storage.Key, changed bool, err error) {
	now := k.now()
	var fresh []Key
	for _, id := range rings() {
		if !due(id, k.known.Load().rings[id], now) {
			continue
		}
		key, err := k.make(id)
		if err != nil {
			return nil, false, fmt.Errorf("keys: make a %s key: %w", id.algorithm, err)
		}
		fresh = append(fresh, key)
	}
	// Making an RSA key takes a while, and a key is published when it is
	// stored, not before. Drivers keep microseconds.
	now = k.now().UTC().Truncate(time.Microsecond)
	all := make(map[ringID]Ring)
	for _, key := range stored {
		id := ringID{key.Purpose, key.Algorithm}
		all[id] = append(all[id], Key{Key: key})
	}
	for _, key := range fresh {
		id := ringID{key.Purpose, key.Algorithm}
		all[id] = all[id].Publish(key, now, k.ages[id])
	}
	for _, r := range all {
		for _, key := range r.Accepted(now) {
			next = append(next, key.Key)
		}
	}
	return next, len(fresh) > 0 || len(next) != len(stored), nil
}

// inOrder compares keys by age, so that every server publishes one JWKS.
func inOrder(a, b storage.Key) int {
	return cmp.Or(a.PublishedAt.Compare(b.PublishedAt), a.SigningAt.Compare(b.SigningAt), cmp.Compare(a.ID, b.ID))
}

// make makes a key for a ring, sealed.
func (k *Keeper) make(id ringID) (Key, error) {
	key := Key{Key: storage.Key{Purpose: id.purpose, Algorithm: id.algorithm}}
	if id.purpose != PurposeSign {
		key.ID = rand.Text()[:8]
		secret := make([]byte, 32)
		rand.Read(secret) // never fails: crypto/rand ends the process instead
		key.Sealed = k.seal.close(id.purpose, key.ID, secret)
		return key, nil
	}
	private, err := generate(id.algorithm)
	if err != nil {
		return Key{}, err
	}
	s, err := newSigner(id.algorithm, private)
	if err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Key{}, err
	}
	key.ID = s.id
	key.Sealed = k.seal.close(id.purpose, key.ID, der)
	key.Public, err = s.public.MarshalJSON()
	return key, err
}

// load reads the keys and makes them known. The caller holds turn, so that what
// is known never goes back to something older.
func (k *Keeper) load(ctx context.Context) (storage.KeySet, error) {
	set, err := k.store.KeySet(ctx)
	if err != nil {
		return storage.KeySet{}, fmt.Errorf("keys: load keys: %w", err)
	}
	slices.SortFunc(set.Keys, inOrder)
	next := &known{rings: make(map[ringID]Ring), byID: make(map[string]Key)}
	before := k.known.Load()
	for _, stored := range set.Keys {
		id := ringID{stored.Purpose, stored.Algorithm}
		if _, ok := k.ages[id]; !ok {
			continue
		}
		key := Key{Key: stored}
		if old, ok := before.byID[stored.ID]; ok && old.Purpose == stored.Purpose && old.Algorithm == stored.Algorithm {
			key.signer, key.secret = old.signer, old.secret
		} else if err := k.open(&key); err != nil {
			return storage.KeySet{}, err
		}
		next.rings[id] = append(next.rings[id], key)
		next.byID[key.ID] = key
	}
	if next.jwks, err = next.publish(k.now()); err != nil {
		return storage.KeySet{}, fmt.Errorf("keys: encode JWKS: %w", err)
	}
	sum := sha256.Sum256(next.jwks)
	next.etag = `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	k.known.Store(next)
	return set, nil
}

// open opens what is sealed in a key. The public half is computed from the
// private one: a row that somebody changed publishes nothing.
func (k *Keeper) open(key *Key) error {
	secret, err := k.seal.open(key.Purpose, key.ID, key.Sealed)
	if err != nil {
		return err
	}
	if key.Purpose != PurposeSign {
		key.secret = secret
		return nil
	}
	s, err := parseSigner(key.Algorithm, secret)
	if err != nil {
		return fmt.Errorf("keys: open key %q: %w", key.ID, err)
	}
	if s.id != key.ID {
		return fmt.Errorf("keys: open key %q: it holds the key %q", key.ID, s.id)
	}
	key.signer = s
	return nil
}

// publish is the JWK Set (RFC 7517 section 5) at now.
func (n *known) publish(now time.Time) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, id := range rings() {
		if id.purpose != PurposeSign {
			continue
		}
		for _, key := range n.rings[id].Accepted(now) {
			set.Keys = append(set.Keys, key.signer.public)
		}
	}
	return json.Marshal(set)
}

// JWKS returns the public keys as a JWK Set (RFC 7517 section 5) and its strong
// entity tag, quotes included. The body must not be changed.
func (k *Keeper) JWKS() (body []byte, etag string) {
	n := k.known.Load()
	return n.jwks, n.etag
}

// JWKSMaxAge is how long verifiers may cache JWKS: the max-age of its response.
func (k *Keeper) JWKSMaxAge() time.Duration { return k.maxAge }

// Algorithms returns the algorithms that Sign can use now, the default first.
func (k *Keeper) Algorithms() []string {
	n, now := k.known.Load(), k.now()
	var algorithms []string
	for _, id := range rings() {
		if id.purpose == PurposeSign && n.rings[id].Signing(now) != nil {
			algorithms = append(algorithms, id.algorithm)
		}
	}
	return algorithms
}

// Secret returns the 32 bytes that authenticate what is made now for a purpose,
// and their id, eight characters that are safe in a URL. The key must not be
// changed. A purpose that has no secrets is a mistake in the program, and
// Secret panics: a nil key would authenticate everything.
func (k *Keeper) Secret(purpose string) (id string, key []byte) {
	s := k.known.Load().rings[ringID{purpose, hs256}].Signing(k.now())
	if s == nil {
		panic("keys: no secret for purpose " + purpose)
	}
	return s.ID, s.secret
}

// SecretByID returns the secret of that id and purpose, also one that mints no
// more, as long as it is accepted; else [ErrNoKey]. An unknown id loads the keys
// once more, at most once a second. Any other error is the store's.
func (k *Keeper) SecretByID(ctx context.Context, purpose, id string) ([]byte, error) {
	key, err := k.find(ctx, purpose, id)
	if err != nil {
		return nil, err
	}
	return key.secret, nil
}

// find returns the key of that purpose and id that is accepted now. An id that
// cannot be one of ours costs no trip to the store.
func (k *Keeper) find(ctx context.Context, purpose, id string) (Key, error) {
	key, ok := k.known.Load().byID[id]
	if !ok {
		length := 8
		if purpose == PurposeSign {
			length = base64.RawURLEncoding.EncodedLen(sha256.Size)
		}
		if len(id) != length {
			return Key{}, ErrNoKey
		}
		if err := k.reload(ctx, id); err != nil {
			return Key{}, err
		}
		key, ok = k.known.Load().byID[id]
	}
	if !ok || key.Purpose != purpose || key.State(k.now()) == Gone {
		return Key{}, ErrNoKey
	}
	return key, nil
}

// reload loads the keys for an unknown id, at most once a second. Those who
// come meanwhile wait for the one load and share what comes of it: a failure
// must not read as "no such key". The load does not end with the request that
// asked for it.
func (k *Keeper) reload(ctx context.Context, id string) error {
	if err := k.lock(ctx); err != nil {
		return err
	}
	defer k.unlock()
	now := k.now()
	if _, ok := k.known.Load().byID[id]; ok {
		return nil
	}
	if now.Sub(k.loaded).Abs() >= reloadAtMost {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reloadEvery)
		defer cancel()
		k.loaded = now
		_, k.failed = k.load(ctx)
	}
	return k.failed
}

func (k *Keeper) lock(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("keys: wait for the keys to load: %w", ctx.Err())
	}
}

func (k *Keeper) unlock() { <-k.turn }

// KeyInfo is what an operator may know of a key. It holds no secret.
type KeyInfo struct {
	ID        string
	Purpose   string
	Algorithm string
	State     State
	// RetiredAt and GoneAt are zero until the next key is published.
	PublishedAt, SigningAt, RetiredAt, GoneAt time.Time
}

// Keys lists the keys, ring by ring, oldest first.
func (k *Keeper) Keys() []KeyInfo {
	n, now := k.known.Load(), k.now()
	var list []KeyInfo
	for _, id := range rings() {
		for _, key := range n.rings[id] {
			list = append(list, KeyInfo{
				ID: key.ID, Purpose: key.Purpose, Algorithm: key.Algorithm, State: key.State(now),
				PublishedAt: key.PublishedAt, SigningAt: key.SigningAt, RetiredAt: key.RetiredAt, GoneAt: key.GoneAt,
			})
		}
	}
	return list
}

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
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"

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
	// reloadEvery is how often, at least, Run asks the store for news. A key that
	// was dropped in an emergency is refused everywhere that soon.
	reloadEvery = 2 * time.Second
	// reloadAtMost is the least time between two loads for an unknown id.
	reloadAtMost = time.Second
	// reloadWithin is how long a load may take that a request waits for.
	reloadWithin = 5 * time.Second
	// advanceWithin is how long Run waits for a store that does not answer before
	// it asks again. Making a key counts.
	advanceWithin = 30 * time.Second
	// settle is how long every server is given, at most, to learn of a change.
	// Until then a server may hand out the JWKS of before.
	settle = time.Minute
	// settleReloads is how many times a server asks for news while a change
	// settles, at least.
	settleReloads = 10
)

// mintEvery is how long a symmetric key mints before the next takes over.
const mintEvery = 90 * 24 * time.Hour

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
	// Gateways are registered readers of JWKS: no key signs before each of them
	// was given it, or its Deadline has passed. Nil is none.
	Gateways Gateways
	// Audit keeps an event of every rotation; nil keeps none.
	Audit storage.Audit
	// JWKSMaxAge is how long verifiers may cache JWKS, in whole seconds; 15
	// minutes by default.
	JWKSMaxAge time.Duration
	// Publish is how long a key is in JWKS before it signs, a day by default and
	// never less than twice JWKSMaxAge: a verifier may use what it has for a third
	// longer while it asks again (see [Keeper.JWKSStale]), and the rest is for
	// every server to publish the key.
	Publish time.Duration
	// Deadline is how long a key waits for Gateways, at most; Publish and two days
	// by default.
	Deadline time.Duration
	// SignEvery is how long a key signs before the next takes over; 90 days by
	// default. It is longer when Gateways are waited for.
	SignEvery time.Duration
	// TokenLife is the life of the longest-lived signed token,
	// [storage.AccessTokenLife] by default. A retired key is accepted that long,
	// and one JWKSMaxAge more.
	TokenLife time.Duration
	// HintLife is how old an ID token may be that comes back as a hint, whichever
	// key signed it: 31 days by default, the longest session and a day.
	HintLife time.Duration
	// Meter counts signatures and says how old the keys are; nil counts nothing.
	Meter metric.Meter
}

// Gateways tells what registered readers of JWKS were last given.
type Gateways interface {
	ListGateways(ctx context.Context) ([]storage.Gateway, error)
}

// A Keeper holds the keys of one server. Its methods may be called by any
// number of goroutines.
type Keeper struct {
	store    storage.Keys
	gateways Gateways
	audit    storage.Audit
	seal     seal
	now      func() time.Time
	log      *slog.Logger
	ages     map[ringID]Ages
	every    time.Duration
	within   time.Duration
	maxAge   time.Duration

	// known is the keys as last loaded. Whoever signs or verifies reads it and
	// nothing else; it is replaced as a whole, by the holder of turn.
	known atomic.Pointer[known]
	// turn is a lock of one place that can be waited for with a context. Its
	// holder alone loads and stores keys.
	turn chan struct{}
	// loaded is when keys were last loaded for an unknown id, and failed what
	// came of it, and held names, for each waiting key, the gateways that it was
	// last held for. The holder of turn owns them.
	loaded time.Time
	failed error
	held   map[string][]string
	meters meters
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
	jwks  *JWKS
}

// A JWKS is the public keys at one moment. It does not change, and one with
// other keys is another.
type JWKS struct {
	// Body is a JWK Set (RFC 7517 section 5).
	Body []byte
	// ETag is a strong entity tag (RFC 9110 section 8.8.3), quotes included.
	ETag string
	// KeyIDs are the kids in Body.
	KeyIDs []string
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
	k := &Keeper{
		store: c.Store, gateways: c.Gateways, audit: c.Audit, seal: seal, now: c.Now, log: c.Log,
		turn: make(chan struct{}, 1), held: make(map[string][]string), within: advanceWithin,
	}
	if k.now == nil {
		k.now = time.Now
	}
	if k.log == nil {
		k.log = slog.Default()
	}
	k.maxAge = cmp.Or(c.JWKSMaxAge, 15*time.Minute)
	publish := cmp.Or(c.Publish, 24*time.Hour)
	deadline := cmp.Or(c.Deadline, publish+48*time.Hour)
	signEvery := cmp.Or(c.SignEvery, 90*24*time.Hour)
	tokenLife := cmp.Or(c.TokenLife, storage.AccessTokenLife)
	hintLife := cmp.Or(c.HintLife, 31*24*time.Hour)
	switch {
	case k.maxAge < time.Second || k.maxAge%time.Second != 0:
		return nil, fmt.Errorf("keys: JWKSMaxAge (%s) must be whole seconds", k.maxAge)
	case publish < 2*k.maxAge:
		return nil, fmt.Errorf("keys: Publish (%s) must be at least twice JWKSMaxAge (%s)", publish, k.maxAge)
	case deadline < publish:
		return nil, fmt.Errorf("keys: Deadline (%s) must not be before Publish (%s)", deadline, publish)
	case signEvery <= publish:
		return nil, fmt.Errorf("keys: SignEvery (%s) must be longer than Publish (%s)", signEvery, publish)
	case tokenLife < 0 || hintLife < 0:
		return nil, fmt.Errorf("keys: TokenLife (%s) and HintLife (%s) must not be negative", tokenLife, hintLife)
	}
	settle := min(settle, k.maxAge/2)
	k.every = min(reloadEvery, settle/settleReloads)
	signing := Ages{Published: publish, Deadline: deadline, Settle: settle, Signing: signEvery, Retired: tokenLife + k.maxAge, Hints: hintLife}
	minting := func(retired time.Duration) Ages {
		return Ages{Published: settle, Settle: settle, Signing: mintEvery, Retired: retired}
	}
	k.ages = map[ringID]Ages{
		{PurposeSign, ES256}:     signing,
		{PurposeSign, RS256}:     signing,
		{PurposeRefresh, hs256}:  minting(refreshRetired),
		{PurposeCSRF, hs256}:     minting(csrfRetired),
		{PurposeMailCode, hs256}: minting(mailCodeRetired),
		{PurposeRecovery, hs256}: {Published: settle, Settle: settle, Signing: forever, Retired: forever},
		{PurposeDevice, hs256}:   minting(deviceRetired),
	}
	k.known.Store(&known{})
	if err := k.measure(c.Meter); err != nil {
		return nil, err
	}
	if err := k.advance(ctx, aging); err != nil {
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
			if err := k.look(ctx); err != nil && ctx.Err() == nil {
				k.log.ErrorContext(ctx, "keys not reloaded", "err", err)
			}
		}
	}
}

// look is one turn of Run. A connection on which nothing ever comes back must not
// keep this server from learning of new keys on another.
func (k *Keeper) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, k.within)
	defer cancel()
	return k.advance(ctx, aging)
}

// Rotate publishes the next signing key of each algorithm now. It signs once
// verifiers have had the time to learn of it and the gateways were given it; the
// key before it retires at that moment. An algorithm whose next key is already
// waiting is left as it is.
func (k *Keeper) Rotate(ctx context.Context) error { return k.advance(ctx, rotating) }

// RotateEmergency drops every signing key, because one of them may be known to
// others, and has new ones sign at once. What the dropped keys signed is refused
// by every server as soon as it has reloaded. Whoever caches JWKS takes until
// then to know the new keys, and goes on believing in the old: unlike Rotate
// this is seen. Keys of other purposes stay.
func (k *Keeper) RotateEmergency(ctx context.Context) error { return k.advance(ctx, replacing) }

// A cause is why keys change.
type cause int

const (
	// aging is that the time of keys has come.
	aging cause = iota
	// rotating is that somebody asked for the next signing keys.
	rotating
	// replacing is that the signing keys may be known to others.
	replacing
)

// kind is the kind of the event that is kept of it.
func (c cause) kind() string {
	if c == replacing {
		return "key.emergency"
	}
	return "key.rotated"
}

// due reports whether a ring needs a new key.
func (k *Keeper) due(why cause, id ringID, now time.Time) bool {
	r := k.known.Load().rings[id]
	if r.Due(now, k.ages[id]) {
		return true
	}
	return id.purpose == PurposeSign && (why == replacing || why == rotating && !r.Waiting(now))
}

// advance loads the keys and carries out what is due: it publishes new keys,
// sets the moment at which those that wait take over, and drops what is gone.
// When another server was faster it looks again.
func (k *Keeper) advance(ctx context.Context, why cause) error {
	if err := k.lock(ctx); err != nil {
		return err
	}
	defer k.unlock()
	for {
		set, err := k.load(ctx)
		if err != nil {
			return err
		}
		c, err := k.change(ctx, set.Keys, why)
		if err != nil {
			return err
		}
		if !c.changed {
			return nil
		}
		err = k.store.ReplaceKeys(ctx, set.Version, c.keys)
		if errors.Is(err, storage.ErrConflict) {
			continue
		}
		if err != nil {
			return fmt.Errorf("keys: replace keys: %w", err)
		}
		_, err = k.load(ctx)
		return errors.Join(err, k.keepEvent(ctx, why, c.rotated))
	}
}

// A change is what is to stand instead of the keys stored.
type change struct {
	keys    []storage.Key
	changed bool
	// rotated are the new keys that follow others.
	rotated []Key
}

// change decides what is due. Keys of rings unknown to this program, which a
// newer one may have made, are kept until they are gone.
func (k *Keeper) change(ctx context.Context, stored []storage.Key, why cause) (c change, err error) {
	now := k.now()
	var fresh []Key
	for _, id := range rings() {
		if !k.due(why, id, now) {
			continue
		}
		key, err := k.make(id)
		if err != nil {
			return c, fmt.Errorf("keys: make a %s key: %w", id.algorithm, err)
		}
		fresh = append(fresh, key)
	}
	// Making an RSA key takes a while, and a key is published when it is
	// stored, not before. Drivers keep microseconds.
	now = k.now().UTC().Truncate(time.Microsecond)
	all := make(map[ringID]Ring)
	for _, key := range stored {
		if why == replacing && key.Purpose == PurposeSign {
			continue // also of an algorithm that a newer release has
		}
		id := ringID{key.Purpose, key.Algorithm}
		all[id] = append(all[id], Key{Key: key})
	}
	for _, key := range fresh {
		id := ringID{key.Purpose, key.Algorithm}
		if k.known.Load().rings[id].Signing(now) != nil {
			c.rotated = append(c.rotated, key)
		}
		all[id] = all[id].Publish(key, now, k.ages[id])
	}
	moved, err := k.await(ctx, all, now)
	if err != nil {
		return c, err
	}
	for id, r := range all {
		for _, key := range r.Kept(now, k.ages[id]) {
			c.keys = append(c.keys, key.Key)
		}
	}
	c.changed = len(fresh) > 0 || moved || len(c.keys) != len(stored)
	return c, nil
}

// await sets the moment at which each waiting key takes over: see [Ring.Await].
func (k *Keeper) await(ctx context.Context, all map[ringID]Ring, now time.Time) (moved bool, err error) {
	var gateways []storage.Gateway
	asked := false
	for _, id := range rings() {
		a := k.ages[id]
		i := slices.IndexFunc(all[id], func(key Key) bool { return key.State(now) == Published })
		if a.Deadline == 0 || i < 0 {
			continue
		}
		if k.gateways != nil && !asked {
			if gateways, err = k.gateways.ListGateways(ctx); err != nil {
				return false, fmt.Errorf("keys: list gateways: %w", err)
			}
			asked = true
		}
		next, m := all[id].Await(now, a, func(kid string) bool { return len(Unseen(gateways, kid)) == 0 })
		all[id], moved = next, moved || m
		if key := next[i]; !now.Before(key.PublishedAt.Add(a.Published)) {
			k.hold(ctx, key, Unseen(gateways, key.ID))
		}
	}
	k.release(ctx, now)
	return moved, nil
}

// hold says, once, that a key would sign by now if it were not for the gateways
// without it.
func (k *Keeper) hold(ctx context.Context, key Key, without []string) {
	if len(without) == 0 {
		delete(k.held, key.ID)
		return
	}
	if _, told := k.held[key.ID]; !told {
		k.log.WarnContext(ctx, "the next signing key waits for gateways that have not fetched it",
			"kid", key.ID, "gateways", without, "until", key.SigningAt)
	}
	k.held[key.ID] = without
}

// release says, once, that a key was held for gateways until its deadline.
func (k *Keeper) release(ctx context.Context, now time.Time) {
	for kid, without := range k.held {
		key, ok := k.known.Load().byID[kid]
		if ok && key.State(now) == Published {
			continue
		}
		delete(k.held, kid)
		if ok {
			k.log.WarnContext(ctx, "a key signs that gateways have not fetched before its deadline", "kid", kid, "gateways", without)
		}
	}
}

// Unseen returns the names of the gateways that were last given a JWKS without
// that key, or none yet.
func Unseen(gateways []storage.Gateway, kid string) (names []string) {
	for _, g := range gateways {
		if !slices.Contains(g.SeenKeys, kid) {
			names = append(names, g.Name)
		}
	}
	return names
}

// keepEvent keeps the event of new keys that follow others.
func (k *Keeper) keepEvent(ctx context.Context, why cause, rotated []Key) error {
	if k.audit == nil || len(rotated) == 0 {
		return nil
	}
	by := "because of their age"
	if why != aging {
		by = "by an operator's command"
	}
	var published []string
	for _, key := range rotated {
		published = append(published, key.Purpose+" "+key.Algorithm+" "+key.ID)
	}
	id, err := uuid.NewV7()
	if err == nil {
		err = k.audit.AddEvent(ctx, storage.Event{
			ID: id.String(), At: k.now(), Kind: why.kind(), Outcome: "ok",
			Detail: by + ": " + strings.Join(published, ", "),
		})
	}
	if err != nil {
		return fmt.Errorf("keys: it is done, but the event of it could not be kept: %w", err)
	}
	return nil
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
	if next.jwks, err = next.publish(k.now(), before.jwks); err != nil {
		return storage.KeySet{}, fmt.Errorf("keys: encode JWKS: %w", err)
	}
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

// publish is the public keys at now: the ones before when they are the same.
func (n *known) publish(now time.Time, before *JWKS) (*JWKS, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	var ids []string
	for _, id := range rings() {
		if id.purpose != PurposeSign {
			continue
		}
		for _, key := range n.rings[id].Accepted(now) {
			set.Keys = append(set.Keys, key.signer.public)
			ids = append(ids, key.ID)
		}
	}
	if before != nil && slices.Equal(ids, before.KeyIDs) { // a kid is its key's thumbprint
		return before, nil
	}
	body, err := json.Marshal(set)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	return &JWKS{Body: body, ETag: etag, KeyIDs: ids}, nil
}

// JWKS returns the public keys. It takes no lock and makes nothing. The result
// must not be changed.
func (k *Keeper) JWKS() *JWKS { return k.known.Load().jwks }

// JWKSMaxAge is how long verifiers may cache JWKS: the max-age of its response.
func (k *Keeper) JWKSMaxAge() time.Duration { return k.maxAge }

// JWKSStale is how much longer they may use it while they ask for a new one: the
// stale-while-revalidate of its response (RFC 5861 section 3). Both and the time
// that a change takes to settle are less than two max-ages.
func (k *Keeper) JWKSStale() time.Duration { return (k.maxAge / 3).Truncate(time.Second) }

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
	if key.State(k.now()) == Gone {
		return nil, ErrNoKey
	}
	return key.secret, nil
}

// find returns the key of that purpose and id, which may be gone. An id that
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
	if !ok || key.Purpose != purpose {
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
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reloadWithin)
		defer cancel()
		k.loaded = now
		_, k.failed = k.load(ctx)
		k.reloaded(ctx, id)
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

// Keys lists the keys that are accepted, ring by ring, oldest first.
func (k *Keeper) Keys() []KeyInfo {
	n, now := k.known.Load(), k.now()
	var list []KeyInfo
	for _, id := range rings() {
		for _, key := range n.rings[id].Accepted(now) {
			list = append(list, KeyInfo{
				ID: key.ID, Purpose: key.Purpose, Algorithm: key.Algorithm, State: key.State(now),
				PublishedAt: key.PublishedAt, SigningAt: key.SigningAt, RetiredAt: key.RetiredAt, GoneAt: key.GoneAt,
			})
		}
	}
	return list
}

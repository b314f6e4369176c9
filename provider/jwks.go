package provider

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"mime"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"github.com/gatehouse-id/gatehouse/egress"
	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	// maxKeySet is how many bytes a client's key set may have, and maxKeys how
	// many keys.
	maxKeySet = 64 << 10
	maxKeys   = 20
	// keySetAge is how long a fetched key set is used.
	keySetAge = 15 * time.Minute
	// keySetPause is the least time between two fetches of one address, whatever
	// came of the first. A key that is new at the client is known here after
	// that time.
	keySetPause = 30 * time.Second
	// maxKeySets is how many addresses are remembered, and so how many may be
	// fetched in keySetPause.
	maxKeySets = 1024
)

// keySets finds the public keys of clients.
type keySets struct {
	egress  *egress.Client
	flights singleflight.Group
	mu      sync.Mutex
	sets    map[string]keySet
}

// A keySet is what came of fetching an address.
type keySet struct {
	keys []jose.JSONWebKey
	// fetched is when keys were read, tried when that was last attempted, and
	// err what came of it.
	fetched, tried time.Time
	err            error
}

func newKeySets(e *egress.Client) *keySets {
	return &keySets{egress: e, sets: map[string]keySet{}}
}

var errNoKeySet = errors.New("the client has no key set")

// verify reports whether a key of the client made the signature. What no known
// key verifies may be made by a new one, so that the key set is read again, but
// no more often than keySetPause says.
func (k *keySets) verify(ctx context.Context, client storage.Client, a *assertion, now time.Time) (bool, error) {
	if len(client.Metadata.JWKS) > 0 {
		keys, err := parseKeySet(client.Metadata.JWKS)
		return err == nil && verifies(a, keys), err
	}
	address := client.Metadata.JWKSURI
	if address == "" {
		return false, errNoKeySet
	}
	before := k.known(address)
	if now.Before(before.fetched.Add(keySetAge)) && verifies(a, before.keys) {
		return true, nil
	}
	// The fetch is everybody's who waits, so it does not end with one of them.
	fetching := k.flights.DoChan(address, func() (any, error) {
		return k.fetch(context.WithoutCancel(ctx), address, now), nil
	})
	var set keySet
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case r := <-fetching:
		set = r.Val.(keySet)
	}
	switch {
	case set.err == nil && !set.fetched.Equal(before.fetched):
		return verifies(a, set.keys), nil
	case now.Before(set.fetched.Add(2 * keySetAge)):
		// While the client's address is down its keys of before are better than
		// none, but not for long: one may have been withdrawn.
		return !now.Before(set.fetched.Add(keySetAge)) && verifies(a, set.keys), set.err
	}
	return false, set.err
}

func (k *keySets) known(address string) keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sets[address]
}

var errTooManyKeySets = errors.New("too many key sets are being fetched")

// fetch reads the key set anew unless that was tried a moment ago.
func (k *keySets) fetch(ctx context.Context, address string, now time.Time) keySet {
	set := k.known(address)
	if !set.tried.IsZero() && now.Before(set.tried.Add(keySetPause)) {
		return set
	}
	if !k.room(address, now) {
		return keySet{err: errTooManyKeySets}
	}
	set.tried = now
	d, err := k.egress.Get(ctx, address, maxKeySet)
	if err == nil && !isJSON(d.Type) {
		err = errors.New("the key set is not JSON by its Content-Type")
	}
	var keys []jose.JSONWebKey
	if err == nil {
		keys, err = parseKeySet(d.Body)
	}
	if set.err = err; err == nil {
		set.keys, set.fetched = keys, now
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sets[address] = set
	return set
}

// room makes place for one more address. Those tried a moment ago stay, because
// what is forgotten may be fetched again.
func (k *keySets) room(address string, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.sets[address]; ok || len(k.sets) < maxKeySets {
		return true
	}
	for a, s := range k.sets {
		if !now.Before(s.tried.Add(keySetPause)) {
			delete(k.sets, a)
		}
	}
	return len(k.sets) < maxKeySets
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
}

// named returns the keys by that id and, when there is none of it, those that
// have no id. Without an id it returns all.
func named(keys []jose.JSONWebKey, kid string) []jose.JSONWebKey {
	if kid == "" {
		return keys
	}
	var matching, nameless []jose.JSONWebKey
	for _, k := range keys {
		switch k.KeyID {
		case kid:
			matching = append(matching, k)
		case "":
			nameless = append(nameless, k)
		}
	}
	if len(matching) > 0 {
		return matching
	}
	return nameless
}

// privateMembers are the members of a JWK that are not public (RFC 7518 section
// 6). A key that has one is nobody's but its owner's.
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}

var (
	errKeySet  = errors.New("it is not a JWK set of at most 20 keys")
	errPrivate = errors.New("it has a private or symmetric key")
)

// parseKeySet reads a JWK set (RFC 7517 section 5). Keys that are not public,
// not known or too weak are left out.
func parseKeySet(b []byte) ([]jose.JSONWebKey, error) {
	raw, err := rawKeys(b)
	if err != nil {
		return nil, err
	}
	var keys []jose.JSONWebKey
	for _, r := range raw {
		if isPrivate(r) {
			continue
		}
		// Certificates are not looked at: their chain would be work, and their key
		// is the one beside them.
		for _, name := range []string{"x5c", "x5u", "x5t", "x5t#S256"} {
			delete(r, name)
		}
		one, err := json.Marshal(r)
		if err != nil {
			continue
		}
		var k jose.JSONWebKey
		if json.Unmarshal(one, &k) == nil && usable(k) {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func rawKeys(b []byte) ([]map[string]json.RawMessage, error) {
	var set struct {
		Keys []map[string]json.RawMessage `json:"keys"`
	}
	if len(b) > maxKeySet || !shallow(b) || json.Unmarshal(b, &set) != nil || set.Keys == nil || len(set.Keys) > maxKeys {
		return nil, errKeySet
	}
	return set.Keys, nil
}

func isPrivate(key map[string]json.RawMessage) bool {
	for _, name := range privateMembers {
		if _, ok := key[name]; ok {
			return true
		}
	}
	return false
}

// registrableKeySet says what is wrong with a key set that is to be registered.
// Unlike one that is fetched, it may hold nothing private: whoever sends us a
// private key should hear of it.
func registrableKeySet(b []byte) error {
	raw, err := rawKeys(b)
	if err != nil {
		return err
	}
	for _, r := range raw {
		if isPrivate(r) {
			return errPrivate
		}
	}
	keys, err := parseKeySet(b)
	if err == nil && len(keys) == 0 {
		err = errors.New("it has no key that we can verify with")
	}
	return err
}

// usable reports whether a key can verify signatures of ours at all: RSA of 2048
// to 8192 bits, the curves of ECDSA, Ed25519.
func usable(k jose.JSONWebKey) bool {
	if k.Use != "" && k.Use != "sig" {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= 2048 && key.N.BitLen() <= 8192 && key.E >= 3 && key.E%2 == 1
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256() || key.Curve == elliptic.P384() || key.Curve == elliptic.P521()
	case ed25519.PublicKey:
		return len(key) == ed25519.PublicKeySize
	}
	return false
}

// fits reports whether a usable key is of the kind that the algorithm wants, and
// is not registered for another (RFC 8725 section 3.1).
func fits(k jose.JSONWebKey, alg string) bool {
	if k.Algorithm != "" && k.Algorithm != alg {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		return alg == map[elliptic.Curve]string{elliptic.P256(): "ES256", elliptic.P384(): "ES384", elliptic.P521(): "ES512"}[key.Curve]
	case ed25519.PublicKey:
		return alg == string(jose.EdDSA)
	}
	return false
}

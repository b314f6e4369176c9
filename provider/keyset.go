package provider

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/storage"
)

// jwksPath is where the public keys are, and with an id behind it where they are
// for one gateway.
const jwksPath = "/jwks"

const (
	// gatewayMaxAge is how long a gateway may cache what it is given at its own
	// address, at most: it is asked for often so that a key need not wait long.
	gatewayMaxAge = time.Minute
	// noteEvery is how often a gateway's fetch is written down when it was given
	// the same keys again.
	noteEvery = time.Minute
	// noteWithin is how long that may take.
	noteWithin = 5 * time.Second
)

// publicKeys are the keys as they are published: to everybody, and with the same
// bytes to a gateway.
type publicKeys struct {
	jwks          *keys.JWKS
	open, gateway *document
}

// publicKeys makes the documents once for each set of keys.
func (p *Provider) publicKeys() *publicKeys {
	jwks := p.keys.JWKS()
	if k := p.published.Load(); k != nil && k.jwks == jwks {
		return k
	}
	age := p.keys.JWKSMaxAge()
	cache := maxAge(age)
	if stale := p.keys.JWKSStale(); stale > 0 {
		cache += ", stale-while-revalidate=" + strconv.Itoa(int(stale/time.Second)) // RFC 5861 section 3
	}
	k := &publicKeys{
		jwks:    jwks,
		open:    newDocument("jwks", jwks.Body, jwks.ETag, cache),
		gateway: newDocument("jwks", jwks.Body, jwks.ETag, maxAge(min(age, gatewayMaxAge))),
	}
	p.published.Store(k)
	return k
}

// JWKS serves the public keys (RFC 7517 section 5).
func (p *Provider) JWKS(w http.ResponseWriter, r *http.Request) {
	p.serve(w, r, p.publicKeys().open)
}

// NewGateway makes the record of a gateway of that name.
func NewGateway(name string, now time.Time) storage.Gateway {
	return storage.Gateway{ID: rand.Text(), Name: name, CreatedAt: now}
}

// GatewayJWKS returns the address at which a gateway has the public keys.
func GatewayJWKS(issuer string, g storage.Gateway) string { return issuer + jwksPath + "/" + g.ID }

// gatewayID reports whether an id has the form of those of NewGateway.
func gatewayID(id string) bool {
	return len(id) == 26 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// GatewayKeys serves the public keys to a registered gateway, at /jwks/ and its
// id, and writes down which it was given: no key signs before it was given that.
// When the database cannot say whether there is such a gateway it has its keys
// all the same.
func (p *Provider) GatewayKeys(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimPrefix(r.URL.Path, jwksPath+"/")
	var g storage.Gateway
	err := storage.ErrNotFound
	if gatewayID(id) {
		g, err = p.store.Gateway(r.Context(), id)
	}
	if errors.Is(err, storage.ErrNotFound) {
		p.writeError(w, r, "jwks", &Error{Status: http.StatusNotFound, Code: errInvalidRequest, Description: "There is no such gateway."})
		return
	}
	k := p.publicKeys()
	if !p.serve(w, r, k.gateway) {
		return
	}
	// The answer is on its way before it is written down.
	if http.NewResponseController(w).Flush() != nil {
		return
	}
	now := p.now()
	if err == nil && (now.Sub(g.FetchedAt) >= noteEvery || !slices.Equal(g.SeenKeys, k.jwks.KeyIDs)) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), noteWithin)
		defer cancel()
		err = p.store.GatewayFetched(ctx, id, k.jwks.KeyIDs, now)
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) { // it may have been removed meanwhile
		p.log.WarnContext(r.Context(), "a gateway's fetch of the keys was not noted", "err", fmt.Errorf("provider: gateway: %w", err))
	}
}

package provider

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-id/gatehouse/storage"
)

// assertionType is the client_assertion_type of a signed JWT (RFC 7523 section
// 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const (
	// maxAssertion is how many bytes a client assertion may have.
	maxAssertion = 16 << 10
	// maxAssertionLife is how far ahead an assertion may expire.
	maxAssertionLife = 10 * time.Minute
	// clientSkew is how far a client's clock may be ahead of ours.
	clientSkew = time.Minute
	// maxJTI is how many bytes a jti may have.
	maxJTI = 512
)

// assertionAlgs are what a client may sign with. Neither none nor an HMAC is
// among them: a public key must never be taken for a shared secret (RFC 8725
// sections 2.1 and 3.1).
var assertionAlgs = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// An assertion is a client assertion (RFC 7523 section 3) that is well-formed
// and not yet believed.
type assertion struct {
	alg, kid string
	claims   assertionClaims
	jws      *jose.JSONWebSignature
}

type assertionClaims struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Audience  audience     `json:"aud"`
	Expires   *numericDate `json:"exp"`
	IssuedAt  *numericDate `json:"iat"`
	NotBefore *numericDate `json:"nbf"`
	JTI       string       `json:"jti"`
}

// A numericDate is seconds since 1970, which may have a fraction (RFC 7519
// section 2).
type numericDate float64

// maxNumericDate is the year 9999, beyond which nothing here is a time.
const maxNumericDate = 253402300799

func (d *numericDate) UnmarshalJSON(b []byte) error {
	var f float64
	if bytes.Equal(b, []byte("null")) || json.Unmarshal(b, &f) != nil || f < 0 || f > maxNumericDate {
		return errors.New("not a NumericDate")
	}
	*d = numericDate(f)
	return nil
}

func (d numericDate) time() time.Time { return time.UnixMicro(int64(float64(d) * 1e6)) }

// parseAssertion reads a JWT in compact form. Header parameters that would
// change what is signed, or that would have to be understood, are refused (crit,
// b64 and zip); those that bring or name a key are not looked at, since keys
// are the registered ones alone (RFC 8725 section 3.10).
func parseAssertion(token string) (*assertion, bool) {
	if len(token) > maxAssertion || strings.Count(token, ".") != 2 {
		return nil, false
	}
	first, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil || !shallow(raw) {
		return nil, false
	}
	var header map[string]json.RawMessage
	if json.Unmarshal(raw, &header) != nil {
		return nil, false
	}
	for _, name := range []string{"crit", "b64", "zip", "enc"} {
		if _, ok := header[name]; ok {
			return nil, false
		}
	}
	a := &assertion{}
	if json.Unmarshal(header["alg"], &a.alg) != nil {
		return nil, false
	}
	if kid, ok := header["kid"]; ok && json.Unmarshal(kid, &a.kid) != nil {
		return nil, false
	}
	if a.jws, err = jose.ParseSignedCompact(token, assertionAlgs); err != nil {
		return nil, false
	}
	payload := a.jws.UnsafePayloadWithoutVerification()
	if !shallow(payload) || json.Unmarshal(payload, &a.claims) != nil {
		return nil, false
	}
	return a, true
}

// checkAssertion reports whether the client made the assertion, for this server,
// now, and for the first time. Its jti is spent last, when everything else is
// right and the signature verified, so that nobody can spend another's.
func (p *Provider) checkAssertion(ctx context.Context, client storage.Client, a *assertion, now time.Time) *Error {
	refused := func(why string) *Error {
		p.log.DebugContext(ctx, "client assertion refused", "client", client.ID, "why", why)
		return refuse(errInvalidClient, descriptions[errInvalidClient])
	}
	c := a.claims
	switch {
	case c.Issuer != client.ID || c.Subject != client.ID:
		return refused("iss and sub are not the client")
	case client.Metadata.AssertionAlg != "" && client.Metadata.AssertionAlg != a.alg:
		return refused("the client is registered with another alg")
	case !p.audienceOfAssertion(client, c.Audience):
		return refused("aud is not this server")
	case c.Expires == nil:
		return refused("there is no exp")
	case !c.Expires.time().After(now):
		return refused("it has expired")
	case c.Expires.time().After(now.Add(maxAssertionLife)):
		return refused("exp is too far ahead")
	case c.IssuedAt != nil && c.IssuedAt.time().After(now.Add(clientSkew)):
		return refused("iat is in the future")
	case c.NotBefore != nil && c.NotBefore.time().After(now.Add(clientSkew)):
		return refused("nbf is in the future")
	case c.JTI == "" || len(c.JTI) > maxJTI:
		return refused("there is no jti, or it is too long")
	}
	switch ok, err := p.keySets.verify(ctx, client, a, now); {
	case err != nil && !ok:
		// The client's own address did not answer as it should: its fault, not ours.
		p.log.WarnContext(ctx, "the key set of a client was not read", "client", client.ID, "err", err)
		return refused("there are no keys")
	case !ok:
		return refused("no key verifies it")
	}
	// What has no iat can be as old as its exp allows. A clock that is ahead is not
	// allowed for: that would refuse every client for a minute after each wipe,
	// against a replay within a minute of it.
	proof := storage.Proof{Issuer: client.ID, ID: c.JTI, IssuedAt: c.Expires.time().Add(-maxAssertionLife), Until: c.Expires.time()}
	if c.IssuedAt != nil {
		proof.IssuedAt = c.IssuedAt.time()
	}
	// Its keys may have been fetched meanwhile: the time is of this call.
	switch err := p.proofs.SpendProof(ctx, proof, p.now()); {
	case errors.Is(err, storage.ErrSpent):
		return refused("its jti was used before")
	case err != nil:
		return unavailable(fmt.Errorf("provider: spend a client assertion: %w", err))
	}
	return nil
}

// audienceOfAssertion reports whether the assertion is for this server: for the
// issuer or, when the client is registered so, the token endpoint (OIDC Core
// section 9). Another server's address beside ours does no harm: the jti is
// spent here.
func (p *Provider) audienceOfAssertion(client storage.Client, aud audience) bool {
	return slices.Contains(aud, p.issuer) ||
		client.Metadata.TokenURLAudience && slices.Contains(aud, p.issuer+"/token")
}

// verifies reports whether one of the keys made the signature.
func verifies(a *assertion, keys []jose.JSONWebKey) bool {
	for _, k := range named(keys, a.kid) {
		if !fits(k, a.alg) {
			continue
		}
		if _, err := a.jws.Verify(k.Key); err == nil {
			return true
		}
	}
	return false
}

// maxDepth is how deep JSON from strangers may be nested.
const maxDepth = 32

// shallow reports whether JSON is nested no deeper than maxDepth. It reads no
// more of JSON than where strings end.
func shallow(b []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}

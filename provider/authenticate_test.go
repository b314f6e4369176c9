package provider_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-id/gatehouse/egress"
	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// signer makes client assertions.
type signer struct {
	t   testing.TB
	alg jose.SignatureAlgorithm
	key any
	kid string
}

func newSigner(t testing.TB, alg jose.SignatureAlgorithm, kid string) signer {
	t.Helper()
	var key any
	var err error
	switch alg {
	case jose.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jose.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signer{t, alg, key, kid}
}

func (s signer) public() jose.JSONWebKey {
	k := jose.JSONWebKey{Key: s.key, KeyID: s.kid}
	return k.Public()
}

// jwks is the key set of the signers.
func jwks(t testing.TB, signers ...signer) json.RawMessage {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, s := range signers {
		set.Keys = append(set.Keys, s.public())
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sign makes a JWS of claims, with more header parameters when there are some.
func (s signer) sign(claims any, header ...any) string {
	s.t.Helper()
	o := (&jose.SignerOptions{}).WithType("JWT")
	if s.kid != "" {
		o = o.WithHeader("kid", s.kid)
	}
	for i := 0; i < len(header); i += 2 {
		o = o.WithHeader(jose.HeaderKey(header[i].(string)), header[i+1])
	}
	j, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: s.key}, o)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := json.Marshal(claims)
	if err != nil {
		s.t.Fatal(err)
	}
	signed, err := j.Sign(b)
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// claims are those of a good assertion; change edits them (nil removes).
func (o *op) claims(id string, change ...any) map[string]any {
	now := float64(o.now().UnixMicro()) / 1e6
	c := map[string]any{"iss": id, "sub": id, "aud": o.issuer, "iat": now, "exp": now + 60, "jti": rand.Text()}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == nil {
			delete(c, change[i].(string))
		} else {
			c[change[i].(string)] = change[i+1]
		}
	}
	return c
}

// asserted sends a client_credentials request with the assertion.
func (o *op) asserted(assertion string, change ...string) reply {
	o.t.Helper()
	v := url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {assertion}}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == "" {
			v.Del(change[i])
		} else {
			v.Set(change[i], change[i+1])
		}
	}
	return o.do(o.tokenRequest(v))
}

func (o *op) tokenRequest(v url.Values) *http.Request {
	o.t.Helper()
	r, err := http.NewRequest(http.MethodPost, o.issuer+"/token", strings.NewReader(v.Encode()))
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func machine(c storage.Client) storage.Client {
	c.AuthMethod, c.GrantTypes = storage.AuthPrivateKey, []string{"client_credentials"}
	return c
}

func TestAssertion(t *testing.T) {
	var config provider.Config
	o := newOP(t, func(c *provider.Config) { config = *c })
	s := newSigner(t, jose.ES256, "")
	other := newSigner(t, jose.ES256, "")
	c, _ := o.client(machine(storage.Client{Metadata: storage.ClientMetadata{JWKS: jwks(t, s)}}))
	oidc, _ := o.client(machine(storage.Client{Metadata: storage.ClientMetadata{JWKS: jwks(t, s), TokenURLAudience: true}}))
	now := func() float64 { return float64(o.now().Unix()) }
	publicJWK := s.public()

	for _, try := range []struct {
		sentence  string
		assertion func() string
		ok        bool
	}{
		{"the issuer is the audience", func() string { return s.sign(o.claims(c.ID)) }, true},
		{"one of several audiences", func() string { return s.sign(o.claims(c.ID, "aud", []string{"https://other.example", o.issuer})) }, true},
		{"fosite-F17 iat a minute ahead", func() string { return s.sign(o.claims(c.ID, "iat", now()+50)) }, true},
		{"fosite-F17 nbf a minute ahead", func() string { return s.sign(o.claims(c.ID, "nbf", now()+50)) }, true},
		// As old as its exp allows, which must not be before the memory's birth.
		{"no iat", func() string {
			return s.sign(o.claims(c.ID, "iat", nil, "exp", float64(o.now().UnixMicro())/1e6+599.95))
		}, true},
		{"exp in ten minutes", func() string { return s.sign(o.claims(c.ID, "exp", now()+599)) }, true},
		{"the token endpoint as audience, for a client that is registered so", func() string { return s.sign(o.claims(oidc.ID, "aud", o.issuer+"/token")) }, true},
		{"the issuer, for that client", func() string { return s.sign(o.claims(oidc.ID)) }, true},
		{"sec-H6 jku, x5u and jwk are not looked at", func() string {
			return s.sign(o.claims(c.ID), "jku", o.issuer+"/evil", "x5u", o.issuer+"/evil")
		}, true},

		{"sec-C5 the token endpoint as audience", func() string { return s.sign(o.claims(c.ID, "aud", o.issuer+"/token")) }, false},
		{"sec-C5 another audience", func() string { return s.sign(o.claims(c.ID, "aud", "https://other.example")) }, false},
		{"sec-C5 no audience", func() string { return s.sign(o.claims(c.ID, "aud", nil)) }, false},
		{"sec-C5 an audience that is a number", func() string { return s.sign(o.claims(c.ID, "aud", 1)) }, false},
		{"sec-C5 iat two minutes ahead", func() string { return s.sign(o.claims(c.ID, "iat", now()+120)) }, false},
		{"sec-C5 nbf two minutes ahead", func() string { return s.sign(o.claims(c.ID, "nbf", now()+120)) }, false},
		{"sec-C5 exp passed", func() string { return s.sign(o.claims(c.ID, "exp", now()-1)) }, false},
		{"sec-C5 exp in eleven minutes", func() string { return s.sign(o.claims(c.ID, "exp", now()+660)) }, false},
		{"sec-C5 no exp", func() string { return s.sign(o.claims(c.ID, "exp", nil)) }, false},
		{"sec-C5 an exp of text", func() string { return s.sign(o.claims(c.ID, "exp", "soon")) }, false},
		{"sec-C5 an exp that is no time", func() string { return s.sign(o.claims(c.ID, "exp", 1e300)) }, false},
		{"sec-C5 no jti", func() string { return s.sign(o.claims(c.ID, "jti", nil)) }, false},
		{"sec-C5 a very long jti", func() string { return s.sign(o.claims(c.ID, "jti", strings.Repeat("j", 600))) }, false},
		{"sec-C5 no sub", func() string { return s.sign(o.claims(c.ID, "sub", nil)) }, false},
		{"sec-C5 another's sub", func() string { return s.sign(o.claims(c.ID, "sub", oidc.ID)) }, false},
		{"sec-C5 no iss", func() string { return s.sign(o.claims(c.ID, "iss", nil)) }, false},
		{"sec-C5 nobody's iss", func() string { return s.sign(o.claims("nobody")) }, false},
		{"sec-C5 another's key", func() string { return other.sign(o.claims(c.ID)) }, false},
		{"sec-C5 none", func() string { return unsigned(o.claims(c.ID), `{"alg":"none"}`) + "." }, false},
		{"sec-C5 an HMAC with the public key", func() string {
			h := signer{t, jose.HS256, []byte(jwks(t, s)), ""}
			return h.sign(o.claims(c.ID))
		}, false},
		{"sec-H6 a key of its own in the header", func() string {
			return other.sign(o.claims(c.ID), "jwk", other.public())
		}, false},
		{"sec-P3 b64", func() string { return s.sign(o.claims(c.ID), "b64", true) }, false},
		{"sec-P3 crit", func() string { return s.sign(o.claims(c.ID), "crit", []string{"exp"}) }, false},
		{"sec-P3 zip", func() string { return s.sign(o.claims(c.ID), "zip", "DEF") }, false},
		{"sec-P3 a JWE", func() string {
			e, err := jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.ECDH_ES, Key: &publicJWK}, nil)
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := e.Encrypt([]byte("{}"))
			if err != nil {
				t.Fatal(err)
			}
			token, err := sealed.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			return token
		}, false},
		{"sec-P1 more than 16 KB", func() string { return s.sign(o.claims(c.ID, "extra", strings.Repeat("a", 17<<10))) }, false},
		{"sec-P1 very deep", func() string {
			return s.sign(o.claims(c.ID, "extra", json.RawMessage(strings.Repeat("[", 40)+strings.Repeat("]", 40))))
		}, false},
		{"no JWT", func() string { return "a.b.c" }, false},
		{"a JWS in JSON", func() string { return `{"payload":"e30","signatures":[]}` }, false},
	} {
		t.Run(try.sentence, func(t *testing.T) {
			r := o.asserted(try.assertion(), "client_id", "")
			if try.ok {
				// What has no iat is good as soon as the memory is old enough for it.
				for end := time.Now().Add(30 * time.Second); try.sentence == "no iat" && r.status != http.StatusOK && time.Now().Before(end); {
					o.pass(10 * time.Second)
					r = o.asserted(try.assertion(), "client_id", "")
				}
				if r.status != http.StatusOK {
					t.Errorf("answered %d %v", r.status, r.body)
				}
				return
			}
			wantError(t, r, http.StatusUnauthorized, "invalid_client")
			o.pass(10 * time.Second) // so that these do not add up to a guesser
		})
	}
	t.Run("client_id may be there, but must match", func(t *testing.T) {
		if r := o.asserted(s.sign(o.claims(c.ID)), "client_id", c.ID); r.status != 200 {
			t.Errorf("answered %d %v", r.status, r.body)
		}
		wantError(t, o.asserted(s.sign(o.claims(c.ID)), "client_id", oidc.ID), 401, "invalid_client")
	})
	t.Run("the type of the assertion", func(t *testing.T) {
		wantError(t, o.asserted(s.sign(o.claims(c.ID)), "client_assertion_type", ""), 400, "invalid_request")
		wantError(t, o.asserted(s.sign(o.claims(c.ID)), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), 400, "invalid_request")
		wantError(t, o.asserted("", "client_assertion", ""), 401, "invalid_client")
	})
	t.Run("sec-C2 two methods in one request", func(t *testing.T) {
		wantError(t, o.asserted(s.sign(o.claims(c.ID)), "client_secret", "x", "client_id", c.ID), 400, "invalid_request")
		r := o.tokenRequest(url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {s.sign(o.claims(c.ID))}})
		r.SetBasicAuth(c.ID, "x")
		wantError(t, o.do(r), 400, "invalid_request")
	})
	t.Run("sec-C6 a jti is good once, for its client", func(t *testing.T) {
		claims := o.claims(c.ID)
		if r := o.asserted(s.sign(claims)); r.status != 200 {
			t.Fatalf("answered %d %v", r.status, r.body)
		}
		wantError(t, o.asserted(s.sign(claims)), 401, "invalid_client")
		if r := o.asserted(s.sign(o.claims(oidc.ID, "jti", claims["jti"]))); r.status != 200 {
			t.Errorf("another client's: answered %d %v", r.status, r.body)
		}
	})
	t.Run("sec-C6 what is refused spends no jti", func(t *testing.T) {
		claims := o.claims(c.ID)
		for _, bad := range []string{other.sign(claims), s.sign(withClaim(claims, "aud", "https://other.example"))} {
			wantError(t, o.asserted(bad), 401, "invalid_client")
		}
		if r := o.asserted(s.sign(claims)); r.status != 200 {
			t.Errorf("answered %d %v", r.status, r.body)
		}
	})
	t.Run("sec-C6 fosite-F19 of 50 at once, at two servers, one wins", func(t *testing.T) {
		neighbour, err := provider.New(config)
		if err != nil {
			t.Fatal(err)
		}
		second := httptest.NewServer(http.HandlerFunc(neighbour.Token))
		defer second.Close()
		token := s.sign(o.claims(c.ID))
		var won atomic.Int64
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				r := o.tokenRequest(url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {token}})
				if i%2 == 0 {
					r.URL.Host = strings.TrimPrefix(second.URL, "http://")
				}
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				switch resp.StatusCode {
				case 200:
					won.Add(1)
				case 401, 429:
				default:
					t.Errorf("answered %d", resp.StatusCode)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("%d won", won.Load())
		}
		o.pass(2 * time.Minute)
	})
	t.Run("it costs one trip to Valkey more", func(t *testing.T) {
		token := s.sign(o.claims(c.ID))
		if reads, writes, volatile := o.trips.cost(func() { o.asserted(token) }); reads > 1 || writes != 0 || volatile != 1 {
			t.Errorf("cost %d, %d, %d", reads, writes, volatile)
		}
	})
	t.Run("a wipe of the memory makes nothing good again", func(t *testing.T) {
		before, another := o.claims(c.ID), o.claims(c.ID, "exp", now()+300)
		for _, claims := range []map[string]any{before, another} {
			if r := o.asserted(s.sign(claims)); r.status != 200 {
				t.Fatalf("answered %d %v", r.status, r.body)
			}
		}
		testenv.Wipe(t, o.mem.URL())
		// These are older than the memory now. What is signed at a whole second is as
		// old as it says.
		o.pass(10*time.Second + o.now().Truncate(time.Second).Add(time.Second).Sub(o.now()))
		wantError(t, o.asserted(s.sign(before)), 401, "invalid_client")
		// Nor when the memory works again.
		for deadline := time.Now().Add(30 * time.Second); o.asserted(s.sign(o.claims(c.ID))).status != 200; o.pass(10 * time.Second) {
			if time.Now().After(deadline) {
				t.Fatal("after a wipe nothing is good")
			}
		}
		wantError(t, o.asserted(s.sign(another)), 401, "invalid_client")
		wantError(t, o.asserted(s.sign(withClaim(before, "iat", nil))), 401, "invalid_client")
	})
}

func withClaim(c map[string]any, name string, value any) map[string]any {
	out := map[string]any{}
	for k, v := range c {
		out[k] = v
	}
	if out[name] = value; value == nil {
		delete(out, name)
	}
	return out
}

func unsigned(claims map[string]any, header string) string {
	b, _ := json.Marshal(claims)
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(b)
}

func TestAssertionAlgorithms(t *testing.T) {
	o := newOP(t)
	rs := newSigner(t, jose.RS256, "")
	es, es384, es512, ed := newSigner(t, jose.ES256, ""), newSigner(t, jose.ES384, ""), newSigner(t, jose.ES512, ""), newSigner(t, jose.EdDSA, "")
	c, _ := o.client(machine(storage.Client{Metadata: storage.ClientMetadata{JWKS: jwks(t, es, rs, es384, es512, ed)}}))
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512} {
		s := rs
		s.alg = alg
		if r := o.asserted(s.sign(o.claims(c.ID))); r.status != 200 {
			t.Errorf("%s: answered %d %v", alg, r.status, r.body)
		}
	}
	for _, s := range []signer{es, es384, es512, ed} {
		if r := o.asserted(s.sign(o.claims(c.ID))); r.status != 200 {
			t.Errorf("fosite-F17 %s: answered %d %v", s.alg, r.status, r.body)
		}
	}
	t.Run("sec-C5 a client may be registered with one", func(t *testing.T) {
		c, _ := o.client(machine(storage.Client{Metadata: storage.ClientMetadata{JWKS: jwks(t, es, rs), AssertionAlg: "PS256"}}))
		wantError(t, o.asserted(rs.sign(o.claims(c.ID))), 401, "invalid_client")
		wantError(t, o.asserted(es.sign(o.claims(c.ID))), 401, "invalid_client")
		ps := rs
		ps.alg = jose.PS256
		if r := o.asserted(ps.sign(o.claims(c.ID))); r.status != 200 {
			t.Errorf("answered %d %v", r.status, r.body)
		}
	})
	t.Run("sec-P3 a key that says its algorithm serves no other", func(t *testing.T) {
		k := rs.public()
		k.Algorithm = "PS256"
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k}})
		if err != nil {
			t.Fatal(err)
		}
		c, _ := o.client(machine(storage.Client{Metadata: storage.ClientMetadata{JWKS: set}}))
		wantError(t, o.asserted(rs.sign(o.claims(c.ID))), 401, "invalid_client")
	})
	t.Run("a key by its id, and one without an id for any", func(t *testing.T) {
		a, b, nameless := newSigner(t, jose.ES256, "a"), newSigner(t, jose.ES256, "b"), newSigner(t, jose.ES256, "")
		c, _ := o.client(machine(storage.Client{Metadata: storage.ClientMetadata{JWKS: jwks(t, a, b, nameless)}}))
		for _, s := range []signer{a, b, {t, jose.ES256, nameless.key, "c"}, {t, jose.ES256, a.key, ""}} {
			if r := o.asserted(s.sign(o.claims(c.ID))); r.status != 200 {
				t.Errorf("kid %q: answered %d %v", s.kid, r.status, r.body)
			}
		}
		wantError(t, o.asserted(signer{t, jose.ES256, a.key, "b"}.sign(o.claims(c.ID))), 401, "invalid_client")
	})
}

// keyServer serves a key set at an address of this machine, over TLS.
type keyServer struct {
	*httptest.Server
	asked atomic.Int64
	body  atomic.Pointer[string]
	typ   atomic.Pointer[string]
}

func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	k := &keyServer{}
	k.say("application/json", `{"keys":[]}`)
	k.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		k.asked.Add(1)
		if *k.typ.Load() == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", *k.typ.Load())
		_, _ = w.Write([]byte(*k.body.Load()))
	}))
	t.Cleanup(k.Close)
	return k
}

func (k *keyServer) say(contentType, body string) { k.typ.Store(&contentType); k.body.Store(&body) }

// allowed lets the OP ask the servers, as an operator may.
func allowed(t *testing.T, servers ...*httptest.Server) func(*provider.Config) {
	t.Helper()
	c := egress.Config{Roots: x509.NewCertPool()}
	for _, s := range servers {
		c.Roots.AddCert(s.Certificate())
		c.Allow = append(c.Allow, s.Listener.Addr().String())
	}
	e, err := egress.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *provider.Config) { c.Egress = e }
}

func TestKeySetAddress(t *testing.T) {
	srv := newKeyServer(t)
	o := newOP(t, allowed(t, srv.Server))
	first, second := newSigner(t, jose.ES256, "one"), newSigner(t, jose.RS256, "two")
	srv.say("application/jwk-set+json; charset=utf-8", string(jwks(t, first)))
	client := func(path string) storage.Client {
		c, _ := o.client(machine(storage.Client{Metadata: storage.ClientMetadata{JWKSURI: srv.URL + path}}))
		return c
	}
	c := client("/jwks")

	t.Run("the set is fetched once and kept", func(t *testing.T) {
		for range 5 {
			if r := o.asserted(first.sign(o.claims(c.ID))); r.status != 200 {
				t.Fatalf("answered %d %v", r.status, r.body)
			}
		}
		if n := srv.asked.Load(); n != 1 {
			t.Errorf("fetched %d times", n)
		}
	})
	t.Run("sec-H5 a new key works within a minute", func(t *testing.T) {
		srv.say("application/json", string(jwks(t, second)))
		o.pass(31 * time.Second)
		if r := o.asserted(second.sign(o.claims(c.ID))); r.status != 200 {
			t.Errorf("answered %d %v", r.status, r.body)
		}
		wantError(t, o.asserted(first.sign(o.claims(c.ID))), 401, "invalid_client")
		if n := srv.asked.Load(); n != 2 {
			t.Errorf("fetched %d times", n)
		}
	})
	t.Run("sec-H5 1,000 unknown keys cost one fetch in 30 seconds", func(t *testing.T) {
		o.pass(31 * time.Second)
		before := srv.asked.Load()
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				for j := range 100 {
					s := first
					s.kid = fmt.Sprintf("unknown-%d-%d", i, j)
					r := o.tokenRequest(url.Values{
						"grant_type": {"client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {s.sign(o.claims(c.ID))},
					})
					r.Header.Set("X-Test-Address", fmt.Sprintf("192.0.2.%d", j)) // below the limit of each
					wantError(t, o.do(r), 401, "invalid_client")
				}
			})
		}
		all.Wait()
		if n := srv.asked.Load() - before; n != 1 {
			t.Errorf("fetched %d times", n)
		}
		if r := o.asserted(second.sign(o.claims(c.ID))); r.status != 200 {
			t.Errorf("a known key: answered %d %v", r.status, r.body)
		}
	})
	t.Run("an address that fails is not asked again at once, and its old keys last a while", func(t *testing.T) {
		srv.say("", "")
		before := srv.asked.Load()
		o.pass(16 * time.Minute)
		for range 3 {
			if r := o.asserted(second.sign(o.claims(c.ID))); r.status != 200 {
				t.Fatalf("answered %d %v", r.status, r.body)
			}
		}
		if n := srv.asked.Load() - before; n != 1 {
			t.Errorf("fetched %d times", n)
		}
		o.pass(20 * time.Minute)
		wantError(t, o.asserted(second.sign(o.claims(c.ID))), 401, "invalid_client")
	})

	many := make([]signer, 21)
	for i := range many {
		many[i] = newSigner(t, jose.ES256, strconv.Itoa(i))
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // too small on purpose
	if err != nil {
		t.Fatal(err)
	}
	weak := signer{t, jose.RS256, small, "weak"}
	twin := newSigner(t, jose.ES256, "one")
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: first.key, KeyID: "one"}, second.public()}})
	if err != nil {
		t.Fatal(err)
	}
	for i, try := range []struct {
		sentence, typ, body string
		signer              signer
		ok                  bool
	}{
		{"sec-H4 twenty keys", "application/json", string(jwks(t, many[:20]...)), many[19], true},
		{"sec-H4 twenty-one keys", "application/json", string(jwks(t, many...)), many[0], false},
		{"sec-H4 another content type", "text/html", string(jwks(t, first)), first, false},
		{"sec-H4 a private key is not used", "application/json", string(private), first, false},
		{"sec-H4 a public key beside it is", "application/json", string(private), second, true},
		{"sec-H4 a symmetric key is not used", "application/json", `{"keys":[{"kty":"oct","kid":"one","k":"c2VjcmV0"}]}`, first, false},
		{"sec-H4 two keys of one id", "application/json", string(jwks(t, twin, first)), first, true},
		{"sec-H4 an RSA key of 1024 bits", "application/json", string(jwks(t, weak)), weak, false},
		{"sec-H4 a key that is not understood, and one that is", "application/json", strings.Replace(string(jwks(t, first)), `[`, `[{"kty":"XYZ"},{"kty":"RSA"},`, 1), first, true},
		{"sec-H3 more than 64 KB", "application/json", string(jwks(t, first)) + strings.Repeat(" ", 64<<10), first, false},
		{"no JSON", "application/json", "<html>", first, false},
		{"no keys", "application/json", `{}`, first, false},
	} {
		t.Run(try.sentence, func(t *testing.T) {
			srv.say(try.typ, try.body)
			c := client("/" + strconv.Itoa(i))
			r := o.asserted(try.signer.sign(o.claims(c.ID)))
			if try.ok && r.status != 200 {
				t.Errorf("answered %d %v", r.status, r.body)
			} else if !try.ok {
				wantError(t, r, 401, "invalid_client")
			}
		})
	}
	t.Run("fosite-F20 an address nobody allowed is not asked", func(t *testing.T) {
		o := newOP(t)
		before := srv.asked.Load()
		c, _ := o.client(machine(storage.Client{Metadata: storage.ClientMetadata{JWKSURI: srv.URL + "/jwks"}}))
		wantError(t, o.asserted(first.sign(o.claims(c.ID))), 401, "invalid_client")
		if srv.asked.Load() != before {
			t.Error("it was asked")
		}
	})
}

func TestClientSecrets(t *testing.T) {
	o := newOP(t)
	credentials := url.Values{"grant_type": {"client_credentials"}}
	service := storage.Client{AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"}}

	t.Run("sec-C1 the methods of the token endpoint", func(t *testing.T) {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			r, err := http.NewRequest(method, o.issuer+"/token", nil)
			if err != nil {
				t.Fatal(err)
			}
			if a := o.do(r); a.status != 405 || a.header.Get("Allow") != "POST" {
				t.Errorf("%s: answered %d %v", method, a.status, a.header)
			}
		}
	})
	t.Run("sec-C1 a secret in the query", func(t *testing.T) {
		c, secret := o.client(storage.Client{AuthMethod: storage.AuthSecretPost, GrantTypes: []string{"client_credentials"}})
		r := o.tokenRequest(credentials)
		r.URL.RawQuery = url.Values{"client_id": {c.ID}, "client_secret": {secret}}.Encode()
		wantError(t, o.do(r), 400, "invalid_request")
	})
	t.Run("sec-C1 Basic is form-urlencoded inside", func(t *testing.T) {
		for _, secret := range []string{"a:b", "50%", "a+b", "a b", "ü"} {
			c := service
			c.SecretHashes = [][]byte{sum(secret)}
			c, _ = o.client(c)
			if r := o.post(c, secret, credentials); r.status != 200 {
				t.Errorf("%q: answered %d %v", secret, r.status, r.body)
			}
		}
	})
	t.Run("sec-C2 another method than the registered", func(t *testing.T) {
		c, secret := o.client(service)
		c.AuthMethod = storage.AuthSecretPost
		r := o.post(c, secret, credentials)
		wantError(t, r, 401, "invalid_client")
		if !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("fosite-F22: WWW-Authenticate is %q", r.header.Get("WWW-Authenticate"))
		}
	})
	t.Run("sec-C3 two secrets while they change", func(t *testing.T) {
		one, oneHash := provider.NewClientSecret()
		two, twoHash := provider.NewClientSecret()
		c := service
		c.SecretHashes = [][]byte{twoHash, oneHash}
		c, _ = o.client(c)
		for _, secret := range []string{one, two} {
			if r := o.post(c, secret, credentials); r.status != 200 {
				t.Errorf("answered %d %v", r.status, r.body)
			}
		}
		wantError(t, o.post(c, "", credentials), 401, "invalid_client")
		wantError(t, o.post(c, string(oneHash), credentials), 401, "invalid_client")
		if len(one) < 43 || one == two {
			t.Errorf("a secret is %q", one)
		}
	})
	t.Run("sec-C4 guesses", func(t *testing.T) {
		c, secret := o.client(service)
		try := func(address, secret string) reply {
			r := o.tokenRequest(credentials)
			r.SetBasicAuth(c.ID, secret)
			r.Header.Set("X-Test-Address", address)
			return o.do(r)
		}
		for i := range 20 {
			if r := try("198.51.100.1", "wrong"); r.status != 401 {
				t.Fatalf("guess %d: answered %d %v", i, r.status, r.body)
			}
		}
		r := try("198.51.100.1", "wrong")
		if after, err := strconv.Atoi(r.header.Get("Retry-After")); r.status != 429 || err != nil || after < 1 || after > 60 {
			t.Errorf("answered %d %v, Retry-After %q", r.status, r.body, r.header.Get("Retry-After"))
		}
		if r := try("198.51.100.1", secret); r.status != 429 {
			t.Errorf("the right secret after too many wrong ones: answered %d", r.status)
		}
		if r := try("198.51.100.2", secret); r.status != 200 {
			t.Errorf("another address: answered %d %v", r.status, r.body)
		}
		other, otherSecret := o.client(service)
		q := o.tokenRequest(credentials)
		q.SetBasicAuth(other.ID, otherSecret)
		q.Header.Set("X-Test-Address", "198.51.100.1")
		if r := o.do(q); r.status != 200 {
			t.Errorf("another client: answered %d %v", r.status, r.body)
		}
		o.pass(61 * time.Second)
		if r := try("198.51.100.1", secret); r.status != 200 {
			t.Errorf("a minute later: answered %d %v", r.status, r.body)
		}
	})
	t.Run("sec-C7 a public client has no tokens of its own", func(t *testing.T) {
		c, _ := o.client(storage.Client{})
		wantError(t, o.post(c, "", credentials), 400, "unauthorized_client")
		if err := provider.ValidateClient(storage.Client{ID: "x", Name: "X", AuthMethod: storage.AuthNone, GrantTypes: []string{"client_credentials"}}); err == nil {
			t.Error("one was registered")
		}
		if err := provider.ValidateClient(storage.Client{ID: o.user.ID, Name: "X", AuthMethod: storage.AuthNone, RedirectURIs: []string{"https://app.example/"}, GrantTypes: []string{"authorization_code"}}); err == nil {
			t.Error("a client has a person's subject")
		}
	})
	t.Run("sec-C8 what holds tokens is not kept", func(t *testing.T) {
		c, secret := o.client(service)
		for _, r := range []reply{o.post(c, secret, credentials), o.post(c, "wrong", credentials)} {
			if r.header.Get("Cache-Control") != "no-store" || r.header.Get("Content-Type") != "application/json" || r.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers %v", r.header)
			}
		}
	})
}

func TestOrigins(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{
		RedirectURIs: []string{"https://app.example/cb", "http://localhost:3000/cb", "com.example.app:/cb"},
		GrantTypes:   []string{"authorization_code"}, Metadata: storage.ClientMetadata{Origins: []string{"https://spa.example:8443"}},
	})
	other, _ := o.client(storage.Client{RedirectURIs: []string{"https://other.example/cb"}})
	send := func(method, path, origin string, c storage.Client) *http.Response {
		t.Helper()
		r, err := http.NewRequest(method, o.issuer+path, strings.NewReader(url.Values{"grant_type": {"authorization_code"}, "code": {"x"}, "client_id": {c.ID}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", origin)
		if method == http.MethodOptions {
			r.Header.Set("Access-Control-Request-Method", "POST")
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		if resp.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Error("sec-M8: credentials are allowed")
		}
		return resp
	}
	for _, try := range []struct {
		sentence, origin string
		client           storage.Client
		allowed          bool
	}{
		{"sec-M8 that of a redirect URI", "https://app.example", c, true},
		{"sec-M8 that of one on this machine, with its port", "http://localhost:3000", c, true},
		{"sec-M8 one that was registered", "https://spa.example:8443", c, true},
		{"sec-M8 another's", "https://other.example", c, false},
		{"sec-M8 nobody's", "https://evil.example", c, false},
		{"sec-M8 another port", "https://app.example:8443", c, false},
		{"sec-M8 another scheme", "http://app.example", c, false},
		{"sec-M8 a name that ends alike", "https://evil-app.example", c, false},
		{"sec-M8 null", "null", c, false},
		{"sec-M8 of a client there is none of", "https://app.example", storage.Client{ID: "nobody"}, false},
		{"sec-M8 of the other client", "https://app.example", other, false},
	} {
		t.Run(try.sentence, func(t *testing.T) {
			h := send(http.MethodPost, "/token", try.origin, try.client).Header
			got := h.Get("Access-Control-Allow-Origin")
			if try.allowed && got != try.origin || !try.allowed && got != "" {
				t.Errorf("Access-Control-Allow-Origin is %q", got)
			}
			if !slices.Contains(h.Values("Vary"), "Origin") {
				t.Errorf("Vary is %q", h.Values("Vary"))
			}
			if try.allowed && !strings.Contains(h.Get("Access-Control-Expose-Headers"), "WWW-Authenticate") {
				t.Errorf("exposes %q", h.Get("Access-Control-Expose-Headers"))
			}
		})
	}
	t.Run("sec-M8 UserInfo and revocation as the token endpoint, introspection never", func(t *testing.T) {
		secret, hash := provider.NewClientSecret()
		server, _ := o.client(storage.Client{AuthMethod: storage.AuthSecretPost, SecretHashes: [][]byte{hash}})
		token := o.tokens(server, secret, "scope", "openid").text("access_token")
		for _, try := range []struct {
			path string
			form url.Values
			own  string
		}{
			{"/userinfo", url.Values{"access_token": {token}}, "https://app.example"},
			{"/revoke", url.Values{"client_id": {server.ID}, "client_secret": {secret}, "token": {"garbage"}}, "https://app.example"},
			{"/introspect", url.Values{"client_id": {server.ID}, "client_secret": {secret}, "token": {token}}, ""},
		} {
			for _, origin := range []string{"https://app.example", "https://evil.example"} {
				r, err := http.NewRequest(http.MethodPost, o.issuer+try.path, strings.NewReader(try.form.Encode()))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Header.Set("Origin", origin)
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				want := ""
				if origin == try.own {
					want = origin
				}
				if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != 200 || got != want {
					t.Errorf("%s from %s: answered %d, Access-Control-Allow-Origin %q", try.path, origin, resp.StatusCode, got)
				}
			}
		}
	})
	t.Run("sec-M8 a preflight is answered for apps, and costs nothing", func(t *testing.T) {
		for path, methods := range map[string]string{"/token": "POST", "/userinfo": "GET, POST", "/revoke": "POST", "/connect/register": "POST", "/connect/register/x": "GET, PUT, DELETE"} {
			reads, writes, volatile := o.trips.cost(func() {
				resp := send(http.MethodOptions, path, "https://app.example", c)
				if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example" || resp.Header.Get("Access-Control-Allow-Methods") != methods {
					t.Errorf("%s: answered %d %v", path, resp.StatusCode, resp.Header)
				}
			})
			if reads+writes+volatile != 0 {
				t.Errorf("cost %d %d %d", reads, writes, volatile)
			}
		}
		if resp := send(http.MethodOptions, "/token", "null", c); resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("null is answered %v", resp.Header)
		}
	})
	t.Run("sec-M8 metadata and keys are everybody's, pages nobody's", func(t *testing.T) {
		for path, want := range map[string]string{"/jwks": "*", "/.well-known/openid-configuration": "*", "/authorize": ""} {
			if got := send(http.MethodGet, path, "https://app.example", c).Header.Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("%s: %q", path, got)
			}
		}
	})
}

func sum(s string) []byte {
	b := sha256.Sum256([]byte(s))
	return b[:]
}

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/keys"
)

// maxAnswer is how much the doctor reads of an answer: a page is less.
const maxAnswer = 1 << 20

// An issuer is what the doctor learnt at GATEHOUSE_URL.
type issuer struct {
	// jwksURI is where the keys are; empty is that nobody answered as the issuer.
	jwksURI string
	// date is the Date of an answer, which came when asked.
	date, asked time.Time
}

// outside asks as people's browsers do: over the address that they have.
type outside struct {
	client http.Client
}

// newOutside believes the certificates that these have signed; nil is those that
// the system does.
func newOutside(roots *x509.CertPool) *outside {
	return &outside{http.Client{
		Timeout: examineTime,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// A reply is what came back, read to its end.
type reply struct {
	status  string // such as "200 OK"
	code    int
	proto   string
	header  http.Header
	cookies []*http.Cookie
	tls     *tls.ConnectionState
	body    []byte
}

func (o *outside) get(ctx context.Context, address string, header http.Header) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return reply{}, err
	}
	req.Header = header
	resp, err := o.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return reply{resp.Status, resp.StatusCode, resp.Proto, resp.Header, resp.Cookies(), resp.TLS, body}, err
}

// seeIssuer asks at GATEHOUSE_URL who is there, and how a request arrives.
func (d *doctor) seeIssuer(ctx context.Context) []finding {
	o := newOutside(d.roots)
	// What comes behind what is wrong is not looked at.
	notThere := func(issuer, secured finding) []finding {
		first := issuer
		if !secured.OK && issuer.Seen == unseen("issuer", "tls").Seen {
			first = secured
		}
		return []finding{issuer, secured, unseen("proxy", first.Name), unseen("cookies", first.Name)}
	}
	r, err := o.get(ctx, d.config.URL+"/.well-known/openid-configuration", nil)
	if why, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return notThere(unseen("issuer", "tls"), bad("tls", "the certificate at %s is not believed: %v; renew it, serve it with those that signed it, or have this machine trust them", d.config.URL, why.Err))
	}
	if err != nil {
		// http says the method and the address first.
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return notThere(bad("issuer", "nobody answers at %s: %v; start \"gatehouse serve\", or have the name and the proxy lead to it", d.config.URL, err), unseen("tls", "issuer"))
	}
	d.issuer.asked = time.Now()
	if r.header.Get("Age") == "" { // which a cache adds (RFC 9111 section 5.1): the Date is of before
		d.issuer.date, _ = http.ParseTime(r.header.Get("Date")) // without one there is none to compare
	}
	secured := d.seeTLS(r.tls)
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	switch err := json.Unmarshal(r.body, &metadata); {
	case r.code != http.StatusOK:
		return notThere(bad("issuer", "%s answers %s to discovery; have the proxy pass every path on to the server", d.config.URL, r.status), secured)
	case err != nil:
		return notThere(bad("issuer", "%s does not answer with metadata; have the proxy lead to \"gatehouse serve\"", d.config.URL), secured)
	case metadata.Issuer != d.config.URL:
		return notThere(bad("issuer", "the server at %s says that it is %s; set its GATEHOUSE_URL to what people type", d.config.URL, metadata.Issuer), secured)
	case !strings.HasPrefix(metadata.JWKSURI, d.config.URL+"/"):
		return notThere(bad("issuer", "its keys are at %s, elsewhere; something between rewrites what it says", metadata.JWKSURI), secured)
	}
	d.issuer.jwksURI = metadata.JWKSURI
	return []finding{
		good("issuer", "%s says so of itself, over %s", metadata.Issuer, r.proto),
		secured, d.seeProxy(ctx, o), d.seeCookies(ctx, o),
	}
}

// seeTLS judges what is spoken at GATEHOUSE_URL, whose certificate was believed.
func (d *doctor) seeTLS(s *tls.ConnectionState) finding {
	if s == nil {
		return good("tls", "none: %s is this machine", d.config.URL)
	}
	leaf, now := s.PeerCertificates[0], time.Now()
	left, life := leaf.NotAfter.Sub(now), leaf.NotAfter.Sub(leaf.NotBefore)
	days := int(left.Hours() / 24)
	if left < life/10 {
		return bad("tls", "the certificate expires in %d days, at %s; renew it, or see why that has not happened", days, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return good("tls", "%s, a certificate of %s for %s, which expires in %d days", tls.VersionName(s.Version), leaf.Issuer, names(leaf), days)
}

// seeProxy asks the server how a request arrived.
func (d *doctor) seeProxy(ctx context.Context, o *outside) finding {
	if d.sealKey == nil {
		return unseen("proxy", "configuration")
	}
	key, err := newSightingKey(d.sealKey)
	if err != nil {
		return bad("proxy", "%v", err)
	}
	r, err := o.get(ctx, d.config.URL+sightingPath, http.Header{
		sightingHeader: {key.prove(time.Now())}, "X-Forwarded-For": {pretended},
	})
	if err != nil {
		return bad("proxy", "it could not be asked: %v", err)
	}
	var v sighting
	if r.code != http.StatusOK || json.Unmarshal(r.body, &v) != nil {
		return bad("proxy", "the server answers %s to the doctor; give it and the doctor the same GATEHOUSE_SEAL_KEY, set the clocks right, and have the proxy pass %s on with all headers", r.status, sightingPath)
	}
	seen, wrong := v.judge(d.config)
	return finding{"proxy", !wrong, seen}
}

// seeCookies looks at what the sign-in page sets.
func (d *doctor) seeCookies(ctx context.Context, o *outside) finding {
	r, err := o.get(ctx, d.config.URL+"/login", nil)
	if err != nil {
		return bad("cookies", "the sign-in page could not be asked for: %v", err)
	}
	if len(r.cookies) == 0 {
		return bad("cookies", "the sign-in page (%s, %d bytes) sets none; have the proxy leave Set-Cookie alone, and see what the server's log says", r.status, len(r.body))
	}
	var seen []string
	for _, c := range r.cookies {
		why := ""
		switch https := d.config.secureURL(); {
		case !c.HttpOnly:
			why = "may be read by scripts"
		case c.SameSite != http.SameSiteLaxMode && c.SameSite != http.SameSiteStrictMode:
			why = "has no SameSite"
		case https && !c.Secure:
			why = "is not Secure"
		case https && !strings.HasPrefix(c.Name, "__Host-"):
			why = "does not begin with __Host-"
		case https && (c.Path != "/" || c.Domain != ""):
			why = "is of another path or domain, so that browsers refuse its name"
		}
		if why != "" {
			return bad("cookies", "%s %s; have the proxy leave Set-Cookie alone", c.Name, why)
		}
		seen = append(seen, c.Name)
	}
	return good("cookies", "%s, as they should be", strings.Join(seen, ", "))
}

// seeJWKS signs something as the server would, and believes it as an app would.
func (d *doctor) seeJWKS(ctx context.Context) finding {
	switch {
	case d.issuer.jwksURI == "":
		return unseen("jwks", "issuer")
	case d.keeper == nil:
		return unseen("jwks", "keys")
	}
	r, err := newOutside(d.roots).get(ctx, d.issuer.jwksURI, nil)
	if err != nil {
		return bad("jwks", "the keys could not be fetched: %v", err)
	}
	var set struct {
		Keys []publicKey `json:"keys"`
	}
	if r.code != http.StatusOK || json.Unmarshal(r.body, &set) != nil {
		return bad("jwks", "%s answers %s, and no keys; have the proxy pass it on", d.issuer.jwksURI, r.status)
	}
	for _, kid := range d.keeper.JWKS().KeyIDs {
		if !slices.ContainsFunc(set.Keys, func(k publicKey) bool { return k.ID == kid }) {
			return bad("jwks", "the key %s of the database is not among those at %s; have nobody keep that address longer than its Cache-Control says, and see that the server uses this database", kid, d.issuer.jwksURI)
		}
	}
	// The type is one that nobody accepts.
	token, err := d.keeper.Sign(keys.ES256, "gatehouse-doctor", []byte(`{}`))
	if err != nil {
		return bad("jwks", "%v", err)
	}
	kid, err := verifyES256(token, set.Keys)
	if err != nil {
		return bad("jwks", "what the server signs, an app refuses: %v; see that the server uses this database and this GATEHOUSE_SEAL_KEY", err)
	}
	return good("jwks", "%d keys, and what %s signs is believed", len(set.Keys), kid)
}

// A publicKey is a member of a JWK set (RFC 7517), as far as ES256 needs it.
type publicKey struct {
	ID    string `json:"kid"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// verifyES256 checks a compact JWS (RFC 7518 section 3.4) by the key that it
// names, which it returns. It is what an app does, with nothing of ours.
func verifyES256(token string, set []publicKey) (kid string, err error) {
	decode := base64.RawURLEncoding.DecodeString
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("it is no compact JWS")
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	h, err1 := decode(parts[0])
	signature, err2 := decode(parts[2])
	if err := errors.Join(err1, err2, json.Unmarshal(h, &header)); err != nil || len(signature) != 64 {
		return "", fmt.Errorf("it is malformed (%w)", err)
	}
	i := slices.IndexFunc(set, func(k publicKey) bool { return k.ID == header.KeyID && k.Curve == "P-256" })
	if i < 0 {
		return "", fmt.Errorf("no P-256 key is called %s", header.KeyID)
	}
	x, err1 := decode(set[i].X)
	y, err2 := decode(set[i].Y)
	if len(x) != 32 || len(y) != 32 || err1 != nil || err2 != nil {
		return "", fmt.Errorf("the key %s is malformed", header.KeyID)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return "", fmt.Errorf("the key %s is malformed: %w", header.KeyID, err)
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return "", fmt.Errorf("the signature is not by the key %s", header.KeyID)
	}
	return header.KeyID, nil
}

package provider

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/storage"
)

// The typ headers keep the two kinds of token apart, which one ring signs.
const (
	typeIDToken     = "JWT"
	typeAccessToken = "at+jwt" // RFC 9068 section 2.1
)

// accessTokenAlg signs access tokens, which resource servers read, not clients.
const accessTokenAlg = keys.ES256

// idTokenAlg is the algorithm of what a client is given to read about people: ID
// tokens and logout tokens (Back-Channel Logout section 2.4). A client that
// registered itself and named none expects RS256 (OIDC Registration section 2,
// id_token_signed_response_alg).
func idTokenAlg(c storage.Client) string {
	switch {
	case c.IDTokenAlg != "":
		return c.IDTokenAlg
	case c.Registration != nil:
		return keys.RS256
	}
	return keys.ES256
}

func joinScopes(scopes []string) string { return strings.Join(scopes, " ") }

// s256 is the S256 transformation of a code verifier (RFC 7636 section 4.2).
func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// codeStrategy makes codes of 256 random bits, known to storage by their
// SHA-256 sum.
type codeStrategy struct{}

func (codeStrategy) AuthorizeCodeSignature(_ context.Context, code string) string {
	return sha256Hex(code)
}

func (codeStrategy) GenerateAuthorizeCode(context.Context, fosite.Requester) (code, signature string, err error) {
	code = newSecret()
	return code, sha256Hex(code), nil
}

func (codeStrategy) ValidateAuthorizeCode(context.Context, fosite.Requester, string) error {
	return nil
}

// refreshStrategy hands out the token that the unit of work holds.
type refreshStrategy struct{}

func (refreshStrategy) RefreshTokenSignature(context.Context, string) string { return "-" }

func (refreshStrategy) GenerateRefreshToken(ctx context.Context, _ fosite.Requester) (token, signature string, err error) {
	return workOf(ctx).refreshToken, "-", nil
}

func (refreshStrategy) ValidateRefreshToken(context.Context, fosite.Requester, string) error {
	return nil
}

// accessClaims is an access token (RFC 9068 section 2.2).
type accessClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Expires  int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	JTI      string   `json:"jti"`
	ClientID string   `json:"client_id"`
	Scope    string   `json:"scope,omitempty"`
	AuthTime int64    `json:"auth_time,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`

	// signed is the whole of a token that was opened, as JSON.
	signed []byte
}

// audience is one string or several (RFC 7519 section 4.1.3).
type audience []string

func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// accessStrategy signs access tokens, which are not stored. The jti names the
// grant and the generation, so that either can be denied.
type accessStrategy struct{ p *Provider }

func (accessStrategy) AccessTokenSignature(context.Context, string) string { return "-" }

func (s accessStrategy) GenerateAccessToken(ctx context.Context, _ fosite.Requester) (token, signature string, err error) {
	w := workOf(ctx)
	c := accessClaims{
		Issuer: s.p.issuer, Subject: w.client.ID, Audience: w.resources,
		IssuedAt: w.now.Unix(), Expires: w.now.Add(s.p.life.access).Unix(),
		ClientID: w.client.ID, Scope: joinScopes(w.scopes),
	}
	if g := w.grant; g != nil {
		c.Subject, c.AuthTime, c.ACR, c.AMR = g.UserID, g.AuthTime.Unix(), acrOf(g.AMR), g.AMR
		c.JTI = newJTI(g.ID, g.Generation)
	} else {
		c.JTI = newJTI(w.client.ID, 0)
	}
	token, err = s.p.sign(accessTokenAlg, typeAccessToken, c)
	if err != nil {
		return "", "", w.failed(err)
	}
	return token, "-", nil
}

func (accessStrategy) ValidateAccessToken(context.Context, fosite.Requester, string) error {
	return errNotUsed
}

func newJTI(grant string, generation int64) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return grant + "." + strconv.FormatInt(generation, 10) + "." + base64.RawURLEncoding.EncodeToString(b[:])
}

// grantOf returns the grant that a jti names: everything before the last two
// dots, since a client id may have dots of its own.
func grantOf(jti string) string {
	for range 2 {
		i := strings.LastIndexByte(jti, '.')
		if i < 0 {
			return ""
		}
		jti = jti[:i]
	}
	return jti
}

// idToken is an ID token (OIDC Core section 2). Claims about the person are at the
// UserInfo endpoint (section 5.4), but for those that the request wanted here by
// name (section 5.5).
type idToken struct {
	Issuer          string   `json:"iss"`
	Subject         string   `json:"sub"`
	Audience        string   `json:"aud"`
	Expires         int64    `json:"exp"`
	IssuedAt        int64    `json:"iat"`
	AuthTime        int64    `json:"auth_time"`
	Nonce           string   `json:"nonce,omitempty"`
	ACR             string   `json:"acr,omitempty"`
	AMR             []string `json:"amr,omitempty"`
	SessionID       string   `json:"sid,omitempty"`
	AccessTokenHash string   `json:"at_hash,omitempty"`
	// person are the claims asked for by name.
	person map[string]any
}

// MarshalJSON puts the claims about the person beside the others, whose names
// are none of theirs.
func (t idToken) MarshalJSON() ([]byte, error) {
	type protocol idToken // without this method
	own, err := json.Marshal(protocol(t))
	if err != nil || len(t.person) == 0 {
		return own, err
	}
	person, err := json.Marshal(t.person)
	if err != nil {
		return nil, err
	}
	return append(append(own[:len(own)-1], ','), person[1:]...), nil
}

// idTokenStrategy signs ID tokens with the algorithm the client is registered
// for.
type idTokenStrategy struct{ p *Provider }

func (s idTokenStrategy) GenerateIDToken(ctx context.Context, _ time.Duration, _ fosite.Requester) (string, error) {
	w := workOf(ctx)
	g, alg := w.grant, idTokenAlg(w.client)
	t := idToken{
		Issuer: s.p.issuer, Subject: g.UserID, Audience: w.client.ID,
		IssuedAt: w.now.Unix(), Expires: w.now.Add(s.p.life.access).Unix(),
		AuthTime: g.AuthTime.Unix(), ACR: acrOf(g.AMR), AMR: g.AMR, SessionID: g.SessionID,
	}
	if g.Generation == 1 {
		// The nonce ties the first ID token to the browser that asked; a refreshed
		// one may go without (OIDC Core section 12.2).
		t.Nonce = g.Nonce
	}
	if answer, ok := ctx.Value(fosite.AccessResponseContextKey).(fosite.AccessResponder); ok {
		t.AccessTokenHash = leftHalf(alg, answer.GetAccessToken())
	}
	if names := withinScopes(g.Claims, w.client.Scopes).IDToken; len(names) > 0 {
		u, err := s.p.store.User(ctx, g.UserID)
		if err != nil {
			return "", w.failed(fmt.Errorf("provider: the person of an ID token: %w", err))
		}
		t.person = claimsOf(u, nil, names)
	}
	token, err := s.p.sign(alg, typeIDToken, t)
	if err != nil {
		return "", w.failed(err)
	}
	return token, nil
}

// leftHalf is the value of at_hash: the left half of the hash that the signing
// algorithm uses, which for Ed25519 is SHA-512 (OIDC Core section 3.1.3.6).
func leftHalf(alg, token string) string {
	var sum []byte
	switch {
	case strings.HasSuffix(alg, "256"):
		h := sha256.Sum256([]byte(token))
		sum = h[:]
	case strings.HasSuffix(alg, "384"):
		h := sha512.Sum384([]byte(token))
		sum = h[:]
	default: // *512, EdDSA
		h := sha512.Sum512([]byte(token))
		sum = h[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

func (p *Provider) sign(alg, typ string, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("provider: claims: %w", err)
	}
	token, err := p.keys.Sign(alg, typ, payload)
	if err != nil {
		return "", fmt.Errorf("provider: sign %s: %w", typ, err)
	}
	return token, nil
}

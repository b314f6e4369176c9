package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// The algorithms of signing keys (RFC 7518 section 3.1). ES256 is the default;
// every OpenID provider must have RS256 (OIDC Core section 15.1).
const (
	ES256 = "ES256"
	RS256 = "RS256"
)

// The "typ" of tokens (RFC 8725 section 3.11). It is what keeps tokens of one
// key apart.
const (
	TypeJWT         = "JWT"        // an ID token
	TypeAccessToken = "at+jwt"     // RFC 9068 section 2.1
	TypeLogoutToken = "logout+jwt" // OIDC Back-Channel Logout section 2.4
)

// MaxToken is the length, in bytes, of the longest token signed or read.
const MaxToken = 16 << 10

// rsaBits is the size of the RSA keys made here.
const rsaBits = 3072

var (
	// ErrNoKey says that there is no such key.
	ErrNoKey = errors.New("keys: no such key")
	// ErrInvalid says that a token is not one that these keys signed.
	ErrInvalid = errors.New("keys: token not signed by us")
)

// IsFault reports whether err, of [Keeper.Verify] or [Keeper.SecretByID], says
// that the keys could not be loaded, and nothing about what was presented.
func IsFault(err error) bool {
	return err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNoKey)
}

// Verified is what a token says about itself once its signature holds. Nothing
// else has been judged: not its expiry, not its audience.
type Verified struct {
	Algorithm string
	KeyID     string
	// Type is the "typ" header. The caller must compare it: ID tokens and
	// access tokens have the same keys.
	Type string
	// Payload is the claims, as signed.
	Payload []byte
}

// A signer is one asymmetric key, opened. It does not change.
type signer struct {
	id        string
	algorithm string
	private   crypto.Signer
	public    jose.JSONWebKey
	// headers are the protected headers of the usual types, encoded.
	headers map[string]string
}

// generate makes a private key.
func generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RS256:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return nil, fmt.Errorf("unknown algorithm %q", algorithm)
	}
}

// newSigner precomputes what signing needs. The kid is the RFC 7638 thumbprint.
func newSigner(algorithm string, private crypto.Signer) (*signer, error) {
	switch key := private.(type) {
	case *ecdsa.PrivateKey:
		if algorithm != ES256 || key.Curve != elliptic.P256() {
			return nil, fmt.Errorf("an EC key does not sign %s", algorithm)
		}
	case *rsa.PrivateKey:
		if algorithm != RS256 || key.N.BitLen() < rsaBits {
			return nil, fmt.Errorf("an RSA key of %d bits does not sign %s", key.N.BitLen(), algorithm)
		}
	default:
		return nil, fmt.Errorf("a %T does not sign %s", private, algorithm)
	}
	public := jose.JSONWebKey{Key: private.Public(), Algorithm: algorithm, Use: "sig"}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("thumbprint: %w", err)
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)

	s := &signer{id: public.KeyID, algorithm: algorithm, private: private, public: public}
	s.headers = make(map[string]string)
	for _, typ := range []string{TypeJWT, TypeAccessToken, TypeLogoutToken} {
		s.headers[typ] = encodeHeader(algorithm, s.id, typ)
	}
	return s, nil
}

// parseSigner reads the PKCS#8 form in which private keys are sealed.
func parseSigner(algorithm string, der []byte) (*signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	private, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T does not sign", key)
	}
	return newSigner(algorithm, private)
}

// header is the protected header of a token of that type, encoded.
func (s *signer) header(typ string) string {
	if h, ok := s.headers[typ]; ok {
		return h
	}
	return encodeHeader(s.algorithm, s.id, typ)
}

// A header is the protected header of every token of ours, in this order. Its
// bytes are a contract between releases that run side by side: see
// [Keeper.Verify].
type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

func encodeHeader(algorithm, id, typ string) string {
	text, err := json.Marshal(header{algorithm, id, typ})
	if err != nil {
		panic(err) // three strings always marshal
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// signature signs with the forms of RFC 7518: r and s as 64 bytes (section
// 3.4), or PKCS #1 v1.5 (section 3.3).
func (s *signer) signature(input []byte) ([]byte, error) {
	digest := sha256.Sum256(input)
	switch key := s.private.(type) {
	case *ecdsa.PrivateKey:
		r, v, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			return nil, err
		}
		sig := make([]byte, 64)
		r.FillBytes(sig[:32])
		v.FillBytes(sig[32:])
		return sig, nil
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	default:
		return nil, fmt.Errorf("a %T does not sign", s.private)
	}
}

// Sign returns the payload as a compact JWS (RFC 7515 section 7.1) whose header
// has alg, kid and typ. It takes no lock. It returns [ErrNoKey] when no key of
// that algorithm signs.
func (k *Keeper) Sign(alg, typ string, payload []byte) (string, error) {
	key := k.known.Load().rings[ringID{PurposeSign, alg}].Signing(k.now())
	if key == nil {
		return "", fmt.Errorf("keys: sign %s: %w", alg, ErrNoKey)
	}
	s := key.signer
	header := s.header(typ)
	enc := base64.RawURLEncoding
	token := make([]byte, 0, len(header)+enc.EncodedLen(len(payload))+enc.EncodedLen(rsaBits/8)+2)
	token = append(token, header...)
	token = append(token, '.')
	token = enc.AppendEncode(token, payload)
	sig, err := s.signature(token)
	if err != nil {
		return "", fmt.Errorf("keys: sign with %s: %w", s.id, err)
	}
	token = append(token, '.')
	token = enc.AppendEncode(token, sig)
	if len(token) > MaxToken {
		return "", fmt.Errorf("keys: sign %s: the token would have %d bytes, more than %d", typ, len(token), MaxToken)
	}
	k.meters.signatures.Add(context.Background(), 1, alg)
	return string(token), nil
}

// Verify checks that one of our keys signed the token, whatever its age but
// gone, and returns what was signed. A key is looked up by its kid and among
// our own alone. When the kid is unknown the keys are loaded once more, at most
// once a second, because another server may have made it just now.
//
// The protected header must be, byte for byte, the one that [Keeper.Sign]
// writes for that key and type. That refuses in one comparison what RFC 8725
// section 3 warns of: alg none or of another kind of key, crit, b64, zip,
// embedded or linked keys, and names given twice.
//
// Verify returns an error that is [ErrInvalid] for a token that is not ours,
// and any other when the keys could not be loaded (see [IsFault]).
func (k *Keeper) Verify(ctx context.Context, token string) (Verified, error) {
	v, key, err := k.verify(ctx, token)
	if err == nil && key.State(k.now()) == Gone {
		return Verified{}, fmt.Errorf("%w: the key is gone", ErrInvalid)
	}
	return v, err
}

// VerifyHint is [Keeper.Verify] for a token that proves nothing but that we once
// signed it: an id_token_hint (OIDC Core section 3.1.2.1, RP-Initiated Logout
// section 4). It accepts keys that are gone for as long as Config.HintLife, but
// none that was dropped in an emergency.
func (k *Keeper) VerifyHint(ctx context.Context, token string) (Verified, error) {
	v, key, err := k.verify(ctx, token)
	if err == nil && key.State(k.now()) == Gone && !k.now().Before(key.GoneAt.Add(k.ages[ringID{key.Purpose, key.Algorithm}].Hints)) {
		return Verified{}, fmt.Errorf("%w: the key is forgotten", ErrInvalid)
	}
	return v, err
}

func (k *Keeper) verify(ctx context.Context, token string) (Verified, Key, error) {
	if len(token) > MaxToken {
		return Verified{}, Key{}, fmt.Errorf("%w: %d bytes", ErrInvalid, len(token))
	}
	encoded, rest, _ := strings.Cut(token, ".")
	h, ok := decodeHeader(encoded)
	if !ok || !strict(rest) {
		return Verified{}, Key{}, fmt.Errorf("%w: not a compact JWS", ErrInvalid)
	}
	key, err := k.find(ctx, PurposeSign, h.KeyID)
	if errors.Is(err, ErrNoKey) {
		return Verified{}, Key{}, fmt.Errorf("%w: unknown kid", ErrInvalid)
	}
	if err != nil {
		return Verified{}, Key{}, err
	}
	s := key.signer
	if encoded != s.header(h.Type) {
		return Verified{}, Key{}, fmt.Errorf("%w: header not as we write it", ErrInvalid)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(s.algorithm)})
	if err != nil {
		return Verified{}, Key{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	payload, err := jws.Verify(s.public)
	if err != nil {
		return Verified{}, Key{}, fmt.Errorf("%w: signature does not match", ErrInvalid)
	}
	return Verified{Algorithm: s.algorithm, KeyID: s.id, Type: h.Type, Payload: payload}, key, nil
}

func decodeHeader(encoded string) (h header, ok bool) {
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || json.Unmarshal(text, &h) != nil {
		return header{}, false
	}
	return h, true
}

// strict reports whether rest is a payload and a signature in the one base64url
// form of their bytes: no line breaks, no stray bits (RFC 4648 section 3.5).
func strict(rest string) bool {
	payload, sig, ok := strings.Cut(rest, ".")
	if !ok || strings.ContainsAny(rest, "\r\n") {
		return false
	}
	for _, part := range []string{payload, sig} {
		if _, err := base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return false
		}
	}
	return true
}

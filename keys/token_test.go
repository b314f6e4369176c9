package keys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

var b64 = base64.RawURLEncoding

func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	k := open(t, openStore(t), newClock().Now)
	for _, c := range []struct{ alg, typ, payload string }{
		{ES256, TypeJWT, `{"sub":"asha"}`},
		{ES256, TypeAccessToken, `{"sub":"asha"}`},
		{RS256, TypeJWT, `{"sub":"asha"}`},
		{RS256, TypeLogoutToken, `{}`},
		{ES256, "a type of \"tomorrow\"", `{}`},
		{ES256, TypeJWT, strings.Repeat("x", 11_000)},
	} {
		token, err := k.Sign(c.alg, c.typ, []byte(c.payload))
		if err != nil {
			t.Fatal(err)
		}
		v, err := k.Verify(t.Context(), token)
		if err != nil || v.Algorithm != c.alg || v.Type != c.typ || string(v.Payload) != c.payload {
			t.Errorf("%s %s: verified %+v, %v", c.alg, c.typ, v, err)
		}
		jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(c.alg)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jws.Verify(jwks(t, k)); err != nil {
			t.Errorf("%s %s: go-jose does not verify with JWKS: %v", c.alg, c.typ, err)
		}
		if c.alg == ES256 && len(jws.Signatures[0].Signature) != 64 {
			t.Errorf("an ES256 signature has %d bytes, want 64 (RFC 7518 section 3.4)", len(jws.Signatures[0].Signature))
		}
	}
	if _, err := k.Sign("EdDSA", TypeJWT, nil); !errors.Is(err, ErrNoKey) {
		t.Errorf("an algorithm without a key: %v", err)
	}
	if _, err := k.Sign(ES256, TypeJWT, make([]byte, MaxToken)); err == nil {
		t.Error("Sign made a token that Verify refuses for its length")
	}
}

func TestTamperedTokens(t *testing.T) {
	t.Parallel()
	k := open(t, openStore(t), newClock().Now)
	token, kid := sign(t, k, ES256)
	_, rsaKid := sign(t, k, RS256)
	part := strings.Split(token, ".")
	header, payload, sig := part[0], part[1], part[2]
	ours := k.known.Load().byID[kid].signer
	foreignKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := newSigner(ES256, foreignKey)
	if err != nil {
		t.Fatal(err)
	}

	join := func(parts ...string) string { return strings.Join(parts, ".") }
	// signed is a token with that header, truly signed by s.
	signed := func(s *signer, header string) string {
		input := join(b64.EncodeToString([]byte(header)), payload)
		sig, err := s.signature([]byte(input))
		if err != nil {
			t.Fatal(err)
		}
		return join(input, b64.EncodeToString(sig))
	}
	text := func(format string, args ...any) string { return fmt.Sprintf(format, args...) }
	mac := func(header string, secret []byte) string {
		input := join(b64.EncodeToString([]byte(header)), payload)
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		return join(input, b64.EncodeToString(m.Sum(nil)))
	}
	public, err := x509.MarshalPKIXPublicKey(ours.public.Key)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := foreign.public.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	// stray is the signature with an unused bit of its last character set.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	stray := sig[:len(sig)-1] + string(alphabet[strings.IndexByte(alphabet, sig[len(sig)-1])+1])

	if _, err := k.Verify(t.Context(), signed(ours, text(`{"alg":"ES256","kid":"%s","typ":"at+jwt"}`, kid))); err != nil {
		t.Fatalf("the table below proves nothing: %v", err)
	}
	for _, c := range []struct{ sentence, token string }{
		{"nothing", ""},
		{"dots", ".."},
		{"one part", header},
		{"two parts", join(header, payload)},
		{"four parts", join(token, sig)},
		{"five parts, as a JWE has (P3)", join(header, payload, payload, payload, sig)},
		{"the JSON serialization", text(`{"payload":"%s","protected":"%s","signature":"%s"}`, payload, header, sig)},
		{"no signature", join(header, payload, "")},
		{"a truncated signature", token[:len(token)-2]},
		{"half a signature", join(header, payload, sig[:43])},
		{"an ASN.1 signature", join(header, payload, b64.EncodeToString([]byte("\x30\x06\x02\x01\x01\x02\x01\x01")))},
		{"a signature of zeros", join(header, payload, b64.EncodeToString(make([]byte, 64)))},
		{"another payload", join(header, b64.EncodeToString([]byte(`{"sub":"eve"}`)), sig)},
		{"no payload", join(header, "", sig)},
		{"a line break", join(header, payload[:4]+"\n"+payload[4:], sig)},
		{"a line break in the signature", token + "\n"},
		{"padding", token + "="},
		{"stray bits in the signature", join(header, payload, stray)},
		{"the alphabet of plain base64", join(header, payload, strings.NewReplacer("-", "+", "_", "/").Replace(sig)+"+")},
		{"longer than 16 KB (P1)", signed(ours, text(`{"alg":"ES256","kid":"%s","typ":"%s"}`, kid, strings.Repeat("a", MaxToken)))},
		{"alg none", join(b64.EncodeToString([]byte(text(`{"alg":"none","kid":"%s","typ":"at+jwt"}`, kid))), payload, "")},
		{"alg none with a signature", signed(ours, text(`{"alg":"none","kid":"%s","typ":"at+jwt"}`, kid))},
		{"HS256 with the public key as DER", mac(text(`{"alg":"HS256","kid":"%s","typ":"at+jwt"}`, kid), public)},
		{"HS256 with the public key as JWK", mac(text(`{"alg":"HS256","kid":"%s","typ":"at+jwt"}`, kid), jwk)},
		{"RS256 for an EC key (P3)", signed(ours, text(`{"alg":"RS256","kid":"%s","typ":"at+jwt"}`, kid))},
		{"ES256 for an RSA key (P3)", signed(ours, text(`{"alg":"ES256","kid":"%s","typ":"at+jwt"}`, rsaKid))},
		{"ES384", signed(ours, text(`{"alg":"ES384","kid":"%s","typ":"at+jwt"}`, kid))},
		{"a foreign key with our kid", signed(foreign, text(`{"alg":"ES256","kid":"%s","typ":"at+jwt"}`, kid))},
		{"a foreign key with its own kid", signed(foreign, text(`{"alg":"ES256","kid":"%s","typ":"at+jwt"}`, foreign.id))},
		{"a foreign key in the header (H6)", signed(foreign, text(`{"alg":"ES256","jwk":%s,"kid":"%s","typ":"at+jwt"}`, jwk, kid))},
		{"our key in the header (H6)", signed(ours, text(`{"alg":"ES256","jwk":%s,"kid":"%s","typ":"at+jwt"}`, jwk, kid))},
		{"jku (H6)", signed(ours, text(`{"alg":"ES256","jku":"https://evil.example/jwks","kid":"%s","typ":"at+jwt"}`, kid))},
		{"x5u (H6)", signed(ours, text(`{"alg":"ES256","x5u":"https://evil.example/x","kid":"%s","typ":"at+jwt"}`, kid))},
		{"no kid", signed(ours, `{"alg":"ES256","typ":"at+jwt"}`)},
		{"the kid of another key", signed(ours, text(`{"alg":"ES256","kid":"%s","typ":"at+jwt"}`, rsaKid))},
		{"a kid of another case", signed(ours, text(`{"alg":"ES256","kid":"%s","typ":"at+jwt"}`, strings.ToUpper(kid)))},
		{"a symmetric key's id as kid", signed(ours, text(`{"alg":"ES256","kid":"%s","typ":"at+jwt"}`, secretID(k)))},
		{"a kid that is a path", signed(ours, `{"alg":"ES256","kid":"../../etc/passwd","typ":"at+jwt"}`)},
		{"crit unknown (P3)", signed(ours, text(`{"alg":"ES256","crit":["x"],"kid":"%s","typ":"at+jwt","x":1}`, kid))},
		{"b64 false (P3)", signed(ours, text(`{"alg":"ES256","b64":false,"crit":["b64"],"kid":"%s","typ":"at+jwt"}`, kid))},
		{"b64 true (P3)", signed(ours, text(`{"alg":"ES256","b64":true,"crit":["b64"],"kid":"%s","typ":"at+jwt"}`, kid))},
		{"zip (P3)", signed(ours, text(`{"alg":"ES256","zip":"DEF","kid":"%s","typ":"at+jwt"}`, kid))},
		{"enc", signed(ours, text(`{"alg":"ES256","enc":"A256GCM","kid":"%s","typ":"at+jwt"}`, kid))},
		{"alg twice", signed(ours, text(`{"alg":"none","alg":"ES256","kid":"%s","typ":"at+jwt"}`, kid))},
		{"kid twice", signed(ours, text(`{"alg":"ES256","kid":"x","kid":"%s","typ":"at+jwt"}`, kid))},
		{"another typ under the old signature", join(b64.EncodeToString([]byte(text(`{"alg":"ES256","kid":"%s","typ":"JWT"}`, kid))), payload, sig)},
		{"no typ", signed(ours, text(`{"alg":"ES256","kid":"%s"}`, kid))},
		{"a space in the header", signed(ours, text(`{"alg":"ES256", "kid":"%s","typ":"at+jwt"}`, kid))},
		{"a header that is a list", signed(ours, `["ES256"]`)},
		{"a header that is null", signed(ours, `null`)},
		{"a header that is no JSON", signed(ours, `{`)},
	} {
		t.Run("sec-P3 "+c.sentence, func(t *testing.T) {
			v, err := k.Verify(t.Context(), c.token)
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("Verify = %+v, %v, want ErrInvalid", v, err)
			}
			if v.Payload != nil {
				t.Errorf("a refused token gave its payload: %q", v.Payload)
			}
		})
	}
}

func secretID(k *Keeper) string {
	id, _ := k.Secret(PurposeRefresh)
	return id
}

// FuzzVerify holds that whatever verifies was signed: its payload and type are
// those of the one token that these keys ever signed.
func FuzzVerify(f *testing.F) {
	k := open(f, openStore(f), newClock().Now)
	const payload = `{"sub":"asha"}`
	var tokens []string
	for _, alg := range k.Algorithms() {
		token, _ := sign(f, k, alg)
		tokens = append(tokens, token)
	}
	f.Add(0, 0, byte(0), "")
	f.Add(0, 40, byte(1), "")
	f.Add(1, 150, byte('.'), "eyJhbGciOiJub25lIn0..")
	f.Add(0, 400, byte(7), `{"alg":"none"}`)
	f.Fuzz(func(t *testing.T, which, position int, change byte, inserted string) {
		b := []byte(tokens[uint(which)%uint(len(tokens))])
		i := int(uint(position) % uint(len(b)))
		b[i] ^= change
		token := string(b[:i]) + inserted + string(b[i:])
		v, err := k.Verify(t.Context(), token)
		if err != nil {
			if IsFault(err) {
				t.Fatalf("a token made the store fail: %v", err)
			}
			return
		}
		if string(v.Payload) != payload || v.Type != TypeAccessToken {
			t.Errorf("%q verifies to %q of type %q", token, v.Payload, v.Type)
		}
		if token != tokens[uint(which)%uint(len(tokens))] {
			t.Errorf("%q verifies and was never signed", token)
		}
	})
}

func benchmarkSign(b *testing.B, alg string) {
	k := open(b, openStore(b), nil)
	payload := []byte(`{"iss":"https://id.example","sub":"0198c6f2-5a7e-7c3b-9d56-0a1b2c3d4e5f","aud":"https://api.example","exp":1790000000,"iat":1789999100,"jti":"x.1.y","client_id":"web","scope":"openid email"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Sign(alg, TypeAccessToken, payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignES256(b *testing.B) { benchmarkSign(b, ES256) }
func BenchmarkSignRS256(b *testing.B) { benchmarkSign(b, RS256) }

func BenchmarkVerifyES256(b *testing.B) {
	k := open(b, openStore(b), nil)
	token, _ := sign(b, k, ES256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}

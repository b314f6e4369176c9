//go:build !slim

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// TestVerifiers is APIs that have no gateway and verify access tokens by
// themselves. They know our discovery document and nothing else of us.
func TestVerifiers(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, 1)
	ada, idToken := g.ada(t)
	robot := g.robot(t, "notes other", notesAPI)
	parts := strings.Split(robot, ".")
	tokens := []struct {
		sentence, token string
		good            bool
	}{
		{"a person's token", ada.AccessToken, true},
		{"a client's own token", robot, true},
		{"sec-E3 a token for another API", g.robot(t, "notes", mailAPI), false},
		{"a token without the scope", g.robot(t, "other", notesAPI), false},
		{"sec-E2 an ID token", idToken, false},
		{"sec-P3 alg none", "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + parts[1] + ".", false},
		{"claims of another token", parts[0] + "." + strings.Split(ada.AccessToken, ".")[1] + "." + parts[2], false},
		{"garbage", "garbage", false},
	}
	all := make([]string, len(tokens))
	for i := range tokens {
		all[i] = tokens[i].token
	}
	for _, api := range []struct {
		name string
		// verify says of each token whether it is good.
		verify func(t *testing.T, issuer string, tokens []string) []bool
	}{
		{"go-oidc", verifyByGoOIDC},
		{"lestrrat-go/jwx", verifyByJWX},
		{"jose, on Node", verifyByJose},
	} {
		t.Run(api.name, func(t *testing.T) {
			got := api.verify(t, g.at(0), all)
			if len(got) != len(tokens) {
				t.Fatalf("%d answers to %d tokens", len(got), len(tokens))
			}
			for i, row := range tokens {
				if got[i] != row.good {
					t.Errorf("%s: good is %v", row.sentence, got[i])
				}
			}
		})
	}
}

func hasScope(scope, want string) bool { return slices.Contains(strings.Fields(scope), want) }

// verifyByGoOIDC takes the API for a client whose id is its audience. The library
// does not look at typ; an ID token has another audience, and no scope.
func verifyByGoOIDC(t *testing.T, issuer string, tokens []string) (good []bool) {
	op, err := oidc.NewProvider(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	verifier := op.VerifierContext(context.Background(), &oidc.Config{ClientID: notesAPI, SupportedSigningAlgs: []string{oidc.ES256}})
	for _, token := range tokens {
		verified, err := verifier.Verify(t.Context(), token)
		var claims struct {
			Scope string `json:"scope"`
		}
		good = append(good, err == nil && verified.Claims(&claims) == nil && hasScope(claims.Scope, "notes"))
	}
	return good
}

func verifyByJWX(t *testing.T, issuer string, tokens []string) (good []bool) {
	op, err := oidc.NewProvider(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	var discovered struct {
		JWKSURI string `json:"jwks_uri"`
	}
	if err := op.Claims(&discovered); err != nil {
		t.Fatal(err)
	}
	keys, err := jwk.Fetch(t.Context(), discovered.JWKSURI)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(text string) bool {
		token, err := jwt.ParseString(text, jwt.WithKeySet(keys), jwt.WithIssuer(issuer), jwt.WithAudience(notesAPI), jwt.WithRequiredClaim("exp"))
		if err != nil {
			return false
		}
		message, err := jws.ParseString(text)
		if err != nil || len(message.Signatures()) != 1 {
			return false
		}
		typ, _ := message.Signatures()[0].ProtectedHeaders().Type()
		var scope string
		return token.Get("scope", &scope) == nil && typ == "at+jwt" && hasScope(scope, "notes")
	}
	for _, token := range tokens {
		good = append(good, verify(token))
	}
	return good
}

// joseAPI reads tokens, one a line, and writes a verdict for each.
const joseAPI = `
const { createRemoteJWKSet, jwtVerify } = require('jose')
const [issuer, audience] = process.argv.slice(2)

async function main() {
  const discovered = await (await fetch(issuer + '/.well-known/openid-configuration')).json()
  const keys = createRemoteJWKSet(new URL(discovered.jwks_uri))
  const verdicts = []
  for (const token of require('fs').readFileSync(0, 'utf8').split('\n')) {
    try {
      const { payload } = await jwtVerify(token, keys, { issuer, audience, typ: 'at+jwt', algorithms: ['ES256'] })
      verdicts.push((payload.scope ?? '').split(' ').includes('notes'))
    } catch (e) {
      if (!e.code) throw e // not of jose
      verdicts.push(false)
    }
  }
  console.log(JSON.stringify(verdicts))
}
main()
`

func verifyByJose(t *testing.T, issuer string, tokens []string) (good []bool) {
	node, err := exec.LookPath("node")
	const library = "/usr/share/nodejs" // where Debian has it
	if _, missing := os.Stat(filepath.Join(library, "jose")); err != nil || missing != nil {
		const hint = "node and its library jose are not installed; .ci/install installs them"
		if os.Getenv("CI") == "true" {
			t.Fatal(hint)
		}
		t.Skip(hint)
	}
	script := filepath.Join(t.TempDir(), "api.js")
	if err := os.WriteFile(script, []byte(joseAPI), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, script, issuer, notesAPI)
	cmd.Env = append(os.Environ(), "NODE_PATH="+library)
	cmd.Stdin = strings.NewReader(strings.Join(tokens, "\n"))
	var message bytes.Buffer
	cmd.Stderr = &message
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, message.String())
	}
	if err := json.Unmarshal(out, &good); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return good
}

// What only tests verify with is not in the program.
func TestVerifiersAreNotInTheProgram(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if slices.ContainsFunc(packages, func(path string) bool { return strings.HasPrefix(path, "github.com/lestrrat-go/") }) {
		t.Error("the program contains lestrrat-go/jwx")
	}
	if !slices.Contains(packages, "github.com/gatehouse-id/gatehouse/provider") {
		t.Fatalf("go list says %s", out)
	}
}

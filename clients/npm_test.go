package clients_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// installed is the folder with the libraries of npm/package-lock.json, as npm
// installs them: checked against the sums in there, and without running anything
// of theirs. It is kept from one run to the next.
var installed = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, name := range []string{"npm/package.json", "npm/package-lock.json"} {
		b, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		sum.Write(b)
	}
	dir := filepath.Join(cache, "gatehouse-clients", hex.EncodeToString(sum.Sum(nil)[:8]))
	modules := filepath.Join(dir, "node_modules")
	if _, err := os.Stat(modules); err == nil {
		return modules, nil
	}
	// Somebody else may do the same at the same time, and may be stopped halfway.
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "install-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	for _, name := range []string{"package.json", "package-lock.json"} {
		b, err := os.ReadFile(filepath.Join("npm", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(work, name), b, 0o600)
		}
		if err != nil {
			return "", err
		}
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=5")
	npm.Dir = work
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.Rename(work, dir); err != nil {
		if _, there := os.Stat(modules); there != nil {
			return "", err
		}
	}
	return modules, nil
})

// libraries is the folder of the npm libraries; the test is skipped where there
// is no npm.
func libraries(t *testing.T) string {
	t.Helper()
	needs(t, "npm")
	dir, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// runScript runs one of the scripts, which is the app; a is the browser and the
// person. It returns what the script has done.
func runScript(t *testing.T, name string, given map[string]any, a *agent) (did []string) {
	t.Helper()
	node := needs(t, "node")
	// A script finds libraries beside itself.
	dir := t.TempDir()
	if err := os.Symlink(libraries(t), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{name, "talk.mjs"} {
		b, err := os.ReadFile(filepath.Join("npm", file))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	env, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{filepath.Join(dir, name)}
	// Node 18, which Debian 12 has, keeps the global crypto of the libraries behind
	// a flag; later ones may not know that.
	if version, err := exec.Command(node, "--version").Output(); err == nil && strings.HasPrefix(string(version), "v18.") {
		args = append([]string{"--experimental-global-webcrypto"}, args...)
	}
	script := exec.CommandContext(t.Context(), node, args...)
	script.Env = []string{"PATH=" + os.Getenv("PATH"), "GIVEN=" + string(env)}
	var complaint bytes.Buffer
	script.Stderr = &complaint
	in, err := script.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := script.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }() // a script that waits then ends
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var said struct{ Open, Did string }
		if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
			t.Errorf("the script says %s", lines.Text())
			continue
		}
		if said.Did != "" {
			did = append(did, said.Did)
			continue
		}
		answer, err := json.Marshal(a.open(said.Open))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(append(answer, '\n')); err != nil {
			t.Error(err) // it has ended; why stands below
		}
	}
	if err := script.Wait(); err != nil {
		t.Errorf("%s: %v after %q\n%s", name, err, did, complaint.String())
	}
	return did
}

// TestNPM is openid-client and oauth4webapi on Node.js.
func TestNPM(t *testing.T) {
	libraries(t) // before the server is built for nothing
	const token = "an-initial-access-token-for-a-test"
	h := newHouse(t, "GATEHOUSE_CLIENT_REGISTRATION=token", "GATEHOUSE_CLIENT_REGISTRATION_TOKEN="+token)
	ada := h.account(t, "ada@example.org")

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private := jose.JSONWebKey{Key: key, KeyID: "one", Algorithm: "ES256", Use: "sig"}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{private.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(keys, set, 0o600); err != nil {
		t.Fatal(err)
	}
	app := func(args ...string) client {
		return h.client(t, append(args, "--name", "Notes", "--redirect-uri", callback, "--post-logout-redirect", bye)...)
	}
	given := map[string]any{
		"issuer": h.issuer, "callback": callback, "bye": bye, "person": ada, "key": private, "initialAccessToken": token,
		"clients": map[string]client{
			"spa":    app("--public"),
			"basic":  app(),
			"post":   app("--auth-method", "client_secret_post"),
			"signer": app("--private-key-jwt", "--jwks", keys),
			"robot":  h.client(t, "--name", "Nightly", "--grant", "client_credentials", "--scope", "reports"),
		},
	}
	for _, tt := range []struct {
		script string
		// kinds are of clients that a person signs in to; more is what else the
		// script does.
		kinds, more []string
		// each is what it does with every kind, and confidential what it does with
		// those that are not public as well.
		each         []string
		confidential string
	}{
		{
			script: "openid-client.mjs",
			kinds:  []string{"public", "client_secret_basic", "client_secret_post, form_post", "private_key_jwt", "registered"},
			more:   []string{"registration", "client_credentials"},
			each:   []string{"code and PKCE", "userinfo", "refresh", "revocation", "end of the session"}, confidential: "introspection",
		},
		{
			script: "oauth4webapi.mjs",
			kinds:  []string{"public, form_post", "client_secret_basic", "private_key_jwt"},
			more:   []string{"discovery, oidc", "discovery, oauth2"},
			each:   []string{"code and PKCE", "userinfo", "refresh", "access token as a JWT", "revocation", "end of the session"}, confidential: "signed introspection",
		},
	} {
		t.Run(strings.TrimSuffix(tt.script, ".mjs"), func(t *testing.T) {
			did := runScript(t, tt.script, given, newAgent(t, ada, notes))
			want := slices.Clone(tt.more)
			for _, kind := range tt.kinds {
				for _, what := range tt.each {
					want = append(want, kind+": "+what)
				}
				if !strings.HasPrefix(kind, "public") {
					want = append(want, kind+": "+tt.confidential)
				}
			}
			for _, what := range want {
				if !slices.Contains(did, what) {
					t.Errorf("not done: %s", what)
				}
			}
			if len(did) != len(want) {
				t.Errorf("%d things were done, not %d", len(did), len(want))
			}
			t.Logf("%d of %d", len(did), len(want))
		})
	}
}

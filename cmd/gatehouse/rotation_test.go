//go:build !slim

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// The times of a rotation, which is days at work.
var quickKeys = []string{
	"GATEHOUSE_JWKS_MAX_AGE=1s", "GATEHOUSE_KEY_PUBLISH=3s", "GATEHOUSE_KEY_DEADLINE=1m", "GATEHOUSE_KEY_LIFE=1h",
}

// TestRotation rotates the keys of three processes under constant traffic of
// verified tokens, and none is refused (sec-N2): not by verifiers that keep JWKS
// for all of its max-age and know nothing else, however new or old the token;
// not by go-oidc; not by the processes themselves. Then a gateway that has not
// fetched the next key holds it back.
func TestRotation(t *testing.T) {
	t.Parallel()
	rotations := 5
	if os.Getenv("GATEHOUSE_TEST_SLOW") != "" {
		rotations = 20
	}
	c := clustered(t, 3)
	c.env = append(c.env, quickKeys...)
	var service clientRecord
	if err := json.Unmarshal(c.command(t, "client", "create", "--id", "service", "--name", "Service",
		"--grant", "client_credentials", "--scope", "notes", "--json"), &service); err != nil {
		t.Fatal(err)
	}
	c.client(t, "notes", "--id-token-alg", "RS256")
	c.start(t)
	ada := c.signIn(t, "ada@example.org")
	edge := strings.TrimSpace(string(c.command(t, "gateway", "create", "edge")))

	tr := &traffic{cluster: c, service: url.UserPassword("service", service.Secret), app: c.tokens(t, ada, "notes")}
	for i := range c.urls {
		tr.caches = append(tr.caches, &cachedKeys{name: fmt.Sprintf("a cache of server %d", i), url: c.at(i) + "/jwks"})
		tr.remote = append(tr.remote, oidc.NewRemoteKeySet(t.Context(), c.at(i)+"/jwks"))
	}
	tr.caches = append(tr.caches, &cachedKeys{name: "the gateway", url: edge})

	t.Run("sec-N2: no token is refused while keys rotate", func(t *testing.T) {
		stop := tr.start(t)
		for n := range rotations {
			before := tr.signing()
			c.command(t, "keys", "rotate")
			await(t, "every server signs with new keys", func() bool {
				return t.Failed() || !slices.ContainsFunc(tr.signing(), func(kid string) bool { return slices.Contains(before, kid) })
			})
			if t.Failed() {
				t.Errorf("in rotation %d", n)
				break
			}
		}
		await(t, "there was traffic", func() bool {
			return t.Failed() || tr.issued.Load() >= int64(10*rotations) && tr.verified.Load() >= int64(100*rotations)
		})
		stop()
		published := len(tr.caches[0].fresh(t))
		t.Logf("%d rotations, %d tokens, %d verifications; %d keys are published", rotations, tr.issued.Load(), tr.verified.Load(), published)
		if published != 2*(rotations+1) {
			t.Errorf("%d keys are published, want two of each rotation and those before", published)
		}
	})
	if t.Failed() {
		return
	}

	t.Run("sec-N2: a key waits for a gateway that has not fetched it", func(t *testing.T) {
		far := strings.TrimSpace(string(c.command(t, "gateway", "create", "far")))
		stop := tr.start(t)
		before := tr.signing()
		c.command(t, "keys", "rotate")
		time.Sleep(6 * time.Second) // twice the time it is published
		if now := tr.signing(); !slices.Equal(now, before) {
			t.Errorf("%v sign, and before %v did, although a gateway has fetched nothing", now, before)
		}
		var waiting []keyRecord
		if err := json.Unmarshal(c.command(t, "keys", "list", "--json"), &waiting); err != nil {
			t.Fatal(err)
		}
		for _, k := range waiting {
			if k.State == "published" && !slices.Equal(k.WaitsFor, []string{"far"}) {
				t.Errorf("%s waits for %v", k.ID, k.WaitsFor)
			}
		}
		(&cachedKeys{url: far}).fresh(t)
		await(t, "the key signs when the gateway has fetched it", func() bool {
			return t.Failed() || !slices.ContainsFunc(tr.signing(), func(kid string) bool { return slices.Contains(before, kid) })
		})
		stop()
	})
}

// TestEmergency has a signing key known to others, on three processes as they
// are configured by default.
func TestEmergency(t *testing.T) {
	t.Parallel()
	c := clustered(t, 3)
	c.client(t, "notes")
	c.start(t)
	ada := c.signIn(t, "ada@example.org")
	old := c.alive(t, "notes", c.tokens(t, ada, "notes"))
	before := (&cachedKeys{url: c.at(0) + "/jwks"}).fresh(t)

	c.command(t, "keys", "rotate", "--emergency")
	done, lag := time.Now(), time.Duration(0)
	for i := range c.urls {
		lag = max(lag, untilRefused(t, "what the old keys signed at "+c.at(i), done, func() int { return c.userinfo(t, i, old.AccessToken) }))
	}
	t.Logf("accepted for %v", lag.Round(time.Millisecond))
	if lag > 5*time.Second {
		t.Errorf("sec-N2: what the old keys signed is accepted for %v", lag)
	}
	for i := range c.urls {
		for _, kid := range (&cachedKeys{url: c.at(i) + "/jwks"}).fresh(t) {
			if slices.Contains(before, kid) {
				t.Errorf("sec-N2: server %d still publishes a dropped key", i)
			}
		}
	}
	c.alive(t, "notes", c.refresh(t, 1, "notes", old.RefreshToken))
	c.alive(t, "notes", c.tokens(t, ada, "notes")) // and she is still signed in
}

// traffic has tokens issued at every process and verified by everybody.
type traffic struct {
	*cluster
	service          *url.Userinfo
	caches           []*cachedKeys
	remote           []*oidc.RemoteKeySet
	issued, verified atomic.Int64

	mu sync.Mutex
	// app are the tokens of an app, of which each refresh brings the next.
	app answer
	// signs are the kids of the newest tokens of each server, and past are tokens
	// of the keys before: they have not expired.
	signs map[string]string
	past  []string
}

// A set is the tokens of one round: an access token without a person, one with,
// and an ID token.
type set struct{ service, app, id string }

func (s set) each() []string { return []string{s.service, s.app, s.id} }

// tokens has a process issue a set.
func (tr *traffic) tokens(i int) (s set, err error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	req, err := http.NewRequest(http.MethodPost, tr.at(i)+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return s, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	secret, _ := tr.service.Password()
	req.SetBasicAuth(tr.service.Username(), secret)
	if s.service, _, err = tr.ask(req); err != nil {
		return s, err
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	form = refreshForm("notes", tr.app.RefreshToken)
	if req, err = http.NewRequest(http.MethodPost, tr.at(i)+"/token", strings.NewReader(form.Encode())); err != nil {
		return s, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if s.app, s.id, err = tr.ask(req); err != nil {
		return s, err
	}
	return s, nil
}

// ask sends a token request. The caller holds mu when it is a refresh.
func (tr *traffic) ask(req *http.Request) (access, id string, err error) {
	resp, err := tr.http.Do(req)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var a struct {
		Access  string `json:"access_token"`
		ID      string `json:"id_token"`
		Refresh string `json:"refresh_token"`
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", "", err
	}
	if err := json.Unmarshal(body, &a); err != nil || resp.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("the token endpoint answers %d %s", resp.StatusCode, body)
	}
	if a.Refresh != "" {
		tr.app.RefreshToken = a.Refresh
	}
	return a.Access, a.ID, nil
}

// userinfo is what a process says to an access token.
func (tr *traffic) userinfo(at, token string) int {
	req, err := http.NewRequest(http.MethodGet, at+"/userinfo", nil)
	if err != nil {
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := tr.http.Do(req)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body) // for the connection's sake
	_ = resp.Body.Close()
	return resp.StatusCode
}

// signing are the kids of the newest tokens, none before there are some.
func (tr *traffic) signing() (kids []string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, kid := range tr.signs {
		kids = append(kids, kid)
	}
	slices.Sort(kids)
	return slices.Compact(kids)
}

// start starts the traffic, and returns when every server has issued tokens. It
// ends with the function returned.
func (tr *traffic) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	tr.mu.Lock()
	tr.signs, tr.past = map[string]string{}, nil
	tr.mu.Unlock()
	var wg sync.WaitGroup
	for i := range tr.urls {
		wg.Go(func() {
			for ctx.Err() == nil && !t.Failed() {
				s, err := tr.tokens(i)
				if err != nil {
					t.Error(err)
					return
				}
				tr.issued.Add(3)
				tr.verify(t, i, s)
				time.Sleep(50 * time.Millisecond) // others have tests too
			}
		})
	}
	// A token may come late: it is good until it expires.
	wg.Go(func() {
		for ctx.Err() == nil && !t.Failed() {
			tr.mu.Lock()
			var token string
			if len(tr.past) > 0 {
				token = tr.past[rand.IntN(len(tr.past))]
			}
			tr.mu.Unlock()
			if token != "" {
				tr.everywhere(t, token)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(stop)
	await(t, "every server has issued tokens", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return t.Failed() || len(tr.signs) == 3*len(tr.urls)
	})
	return stop
}

// verify has everybody verify a new set of tokens, and takes note of its keys.
func (tr *traffic) verify(t *testing.T, i int, s set) {
	for n, token := range s.each() {
		tr.everywhere(t, token)
		kid := kidOf(token)
		tr.mu.Lock()
		name := fmt.Sprintf("server %d, token %d", i, n)
		if tr.signs[name] != kid {
			tr.signs[name], tr.past = kid, append(tr.past, token)
		}
		tr.mu.Unlock()
	}
	for _, at := range tr.urls {
		tr.verified.Add(1)
		if status := tr.userinfo(at, s.app); status != http.StatusOK {
			t.Errorf("%s answers %d to a good access token", at, status)
		}
	}
}

// everywhere has everybody verify one token.
func (tr *traffic) everywhere(t *testing.T, token string) {
	for _, c := range tr.caches {
		tr.verified.Add(1)
		if err := c.verify(token); err != nil {
			t.Errorf("%s refuses a good token: %v", c.name, err)
		}
	}
	for _, r := range tr.remote {
		tr.verified.Add(1)
		if _, err := r.VerifySignature(context.Background(), token); err != nil {
			t.Errorf("go-oidc refuses a good token: %v", err)
		}
	}
}

func kidOf(token string) string {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	if err != nil {
		return "none: " + err.Error()
	}
	return jws.Signatures[0].Header.KeyID
}

// cachedKeys is a verifier that asks for JWKS when its max-age is over and never
// before, not even for a key it does not know: the least that we may expect.
type cachedKeys struct {
	name, url string

	mu    sync.Mutex
	set   jose.JSONWebKeySet
	etag  string
	until time.Time
}

// fetch asks for the keys, if they are others than before.
func (c *cachedKeys) fetch() (jose.JSONWebKeySet, error) {
	req, err := http.NewRequest(http.MethodGet, c.url, nil)
	if err != nil {
		return c.set, err
	}
	if c.etag != "" {
		req.Header.Set("If-None-Match", c.etag)
	}
	asked := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return c.set, err
	}
	defer func() { _ = resp.Body.Close() }()
	directive, _, _ := strings.Cut(resp.Header.Get("Cache-Control"), ", stale")
	seconds, err := strconv.Atoi(strings.TrimPrefix(directive, "public, max-age="))
	if err != nil {
		return c.set, fmt.Errorf("%d, Cache-Control %q", resp.StatusCode, resp.Header.Get("Cache-Control"))
	}
	// An answer is as old as the question (RFC 9111 section 4.2.3): it may have been on
	// its way for all of that time.
	c.until = asked.Add(time.Duration(seconds) * time.Second)
	switch resp.StatusCode {
	case http.StatusNotModified:
		return c.set, nil
	case http.StatusOK:
		c.etag, c.set = resp.Header.Get("ETag"), jose.JSONWebKeySet{}
		err := json.NewDecoder(resp.Body).Decode(&c.set)
		return c.set, err
	default:
		return c.set, fmt.Errorf("status %d", resp.StatusCode)
	}
}

func (c *cachedKeys) verify(token string) error {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	if err != nil {
		return err
	}
	c.mu.Lock()
	if time.Now().After(c.until) {
		if _, err := c.fetch(); err != nil {
			c.mu.Unlock()
			return err
		}
	}
	keys := c.set.Key(jws.Signatures[0].Header.KeyID)
	c.mu.Unlock()
	if len(keys) != 1 {
		return fmt.Errorf("%d keys have its kid", len(keys))
	}
	_, err = jws.Verify(keys[0])
	return err
}

// fresh asks for the keys now and returns their ids.
func (c *cachedKeys) fresh(t *testing.T) (kids []string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	set, err := c.fetch()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		kids = append(kids, k.KeyID)
	}
	return kids
}

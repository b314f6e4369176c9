package provider

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// presented is how a request says which client it is from (RFC 6749 section
// 2.3).
type presented struct {
	// method is the method of RFC 7591 section 2 that was used.
	method    string
	id        string
	secret    string
	assertion *assertion
}

// authenticate says which client sent a request. There is one way a client may
// authenticate, the one it is registered with, and one in a request.
func (p *Provider) authenticate(r *http.Request, form url.Values) (storage.Client, *Error) {
	by, e := present(r.Header, form)
	if e != nil {
		p.notAuthenticated(r, by, "malformed")
		return storage.Client{}, e
	}
	failed := refuse(errInvalidClient, descriptions[errInvalidClient])
	client, err := p.clients.get(r.Context(), by.id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		p.notAuthenticated(r, by, "unknown")
		return storage.Client{}, failed
	case err != nil:
		p.notAuthenticated(r, by, resultFault)
		return storage.Client{}, unavailable(fmt.Errorf("provider: client: %w", err))
	case client.AuthMethod != by.method:
		p.notAuthenticated(r, by, "method")
		return storage.Client{}, failed
	case by.method == storage.AuthNone:
		return client, nil
	}
	key := sha256Hex(client.ID + "\x00" + p.address(r))
	now := p.now()
	if wait := p.guesses.wait(key, now); wait > 0 {
		p.notAuthenticated(r, by, "limited")
		return storage.Client{}, tooManyGuesses(wait)
	}
	if by.method == storage.AuthPrivateKey {
		e = p.checkAssertion(r.Context(), client, by.assertion, now)
	} else if !secretMatches(client, by.secret) {
		e = failed
	}
	switch {
	case e == nil:
		return client, nil
	case e.Fault():
		p.notAuthenticated(r, by, resultFault)
		return storage.Client{}, e
	}
	// Who hangs up has guessed too: who closes their half of the connection still
	// reads the answer.
	hits, err := p.buckets.Take(context.WithoutCancel(r.Context()), storage.Use{Bucket: guessing, Key: key})
	switch {
	case err != nil:
		p.notAuthenticated(r, by, resultFault)
		return storage.Client{}, unavailable(fmt.Errorf("provider: count a failed authentication: %w", err))
	case !hits[0].Allowed:
		p.notAuthenticated(r, by, "limited")
		wait := min(max(hits[0].ResetAt.Sub(now), time.Second), guessing.Window)
		p.guesses.stop(key, now.Add(wait), now)
		return storage.Client{}, tooManyGuesses(wait)
	}
	p.notAuthenticated(r, by, "credentials")
	return storage.Client{}, e
}

// notAuthenticated counts a request whose client was not authenticated.
func (p *Provider) notAuthenticated(r *http.Request, by presented, reason string) {
	p.meters.failures.Add(r.Context(), 1, by.method, reason)
	if reason == "limited" {
		p.meters.limits.Add(r.Context(), 1, "authentication")
	}
}

// present takes the request apart. Two methods in one request are refused (RFC
// 6749 section 2.3).
func present(header http.Header, form url.Values) (presented, *Error) {
	twice := refuse(errInvalidRequest, "The request uses more than one way to authenticate the client.")
	failed := refuse(errInvalidClient, descriptions[errInvalidClient])
	by := presented{method: storage.AuthNone, id: form.Get("client_id")}
	headers := header.Values("Authorization")
	asserts := form.Has("client_assertion") || form.Has("client_assertion_type")
	switch secret := form.Get("client_secret"); {
	case secret != "" && (asserts || len(headers) > 0), asserts && len(headers) > 0:
		return by, twice
	case secret != "":
		by.method, by.secret = storage.AuthSecretPost, secret
	case len(headers) > 0:
		id, secret, ok := basic(headers)
		if !ok {
			return by, failed
		}
		if by.id != "" && by.id != id {
			return by, refuse(errInvalidRequest, "The client_id in the body is not the one in the Authorization header.")
		}
		by.method, by.id, by.secret = storage.AuthSecretBasic, id, secret
	case asserts:
		if form.Get("client_assertion_type") != assertionType {
			return by, refuse(errInvalidRequest, "The parameter client_assertion_type must be "+assertionType+".")
		}
		a, ok := parseAssertion(form.Get("client_assertion"))
		if !ok {
			return by, failed
		}
		if by.id != "" && by.id != a.claims.Issuer {
			return by, failed
		}
		by.method, by.id, by.assertion = storage.AuthPrivateKey, a.claims.Issuer, a
	}
	if by.id == "" {
		return by, failed
	}
	return by, nil
}

// basic takes an Authorization header apart as RFC 6749 section 2.3.1 has it:
// both parts are form-urlencoded inside the Basic credentials.
func basic(headers []string) (id, secret string, ok bool) {
	if len(headers) != 1 {
		return "", "", false
	}
	scheme, credentials, found := strings.Cut(headers[0], " ")
	if !found || !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(credentials))
	if err != nil {
		return "", "", false
	}
	id, secret, found = strings.Cut(string(raw), ":")
	if !found {
		return "", "", false
	}
	if id, err = url.QueryUnescape(id); err != nil {
		return "", "", false
	}
	if secret, err = url.QueryUnescape(secret); err != nil || secret == "" {
		return "", "", false
	}
	return id, secret, true
}

// secretMatches compares in constant time. A client without a stored secret
// matches none.
func secretMatches(c storage.Client, secret string) bool {
	sum := sha256Of(secret)
	match := 0
	for _, h := range c.SecretHashes {
		if len(h) == sha256.Size {
			match |= subtle.ConstantTimeCompare(h, sum)
		}
	}
	return match == 1
}

// address is where a request came from.
func (p *Provider) address(r *http.Request) string {
	if p.from != nil {
		address, _ := p.from(r)
		return address
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// guessing counts the failed authentications of one client from one address,
// and of nobody else, so that a stranger cannot lock a client out.
var guessing = storage.Bucket{Name: "client.guess", Limit: 20, Window: time.Minute}

func tooManyGuesses(wait time.Duration) *Error {
	return &Error{
		Status: http.StatusTooManyRequests, Code: errUnavailable, RetryAfter: wait,
		Description: "This client failed to authenticate too often from this address.",
	}
}

// guesses remembers who used their guesses up, so that neither a right secret
// nor a wrong one is looked at until the window ends. It costs a request that
// is right nothing: the bucket itself is asked only when one was wrong.
type guesses struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// stops is how many are remembered at once; when there are more, it begins anew,
// and the bucket says so again at the next wrong guess.
const stops = 4096

func newGuesses() *guesses { return &guesses{until: map[string]time.Time{}} }

func (g *guesses) wait(key string, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.until[key].Sub(now)
}

func (g *guesses) stop(key string, until, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for k, t := range g.until {
		if !t.After(now) {
			delete(g.until, k)
		}
	}
	if len(g.until) >= stops {
		clear(g.until)
	}
	g.until[key] = until
}

//go:build !slim

package main

import (
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	// crashes is how often the server is killed, each time in the middle of
	// perCrash registrations that it has acknowledged and some that it has not.
	crashes  = 5
	perCrash = 20
	// people register and apps refresh at the same time. One core hashes one
	// password at a time, and a short queue waits for it.
	people = 6
	apps   = 4
)

// TestCrash kills the server while people register and apps refresh. After
// each crash nothing that it had acknowledged is missing: the account and its
// letter of everybody who was told to look for one, the last refresh token
// that each app was given, the session of whoever was signed in.
//
// A killed process loses what it had not yet handed to the operating system.
// What a machine without power loses is another matter, which SQLite's
// synchronous and PostgreSQL's fsync decide and no test here can show.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		open func(*testing.T) *cluster
	}{
		{"PostgreSQL and Valkey", func(t *testing.T) *cluster { return clustered(t, 1) }},
		{"embedded mode", embedded},
	} {
		t.Run(tt.name, func(t *testing.T) { crash(t, tt.open(t)) })
	}
}

func crash(t *testing.T, c *cluster) {
	// An answer that was lost on the way is asked for again after the restart,
	// which a busy machine may take long for.
	c.client(t, "notes", "--refresh-grace", "1m")
	c.start(t)
	b := c.signIn(t, "ada@example.org")
	l := &load{cluster: c}
	for range apps {
		l.apps = append(l.apps, c.tokens(t, b, "notes"))
	}
	var there int
	for n := range crashes {
		l.run(t)
		there = l.checkRegistrations(t)
		c.start(t)
		for i, a := range l.apps {
			l.apps[i] = c.alive(t, "notes", a)
		}
		c.code(t, b, 0, "notes") // she is still signed in
		if t.Failed() {
			t.Fatalf("after crash %d", n+1)
		}
	}
	t.Logf("%d crashes: %d registrations acknowledged, %d cut off, %d there; %d refreshes acknowledged, %d cut off",
		crashes, len(l.registered), l.cutRegistrations, there, l.refreshes, l.cutRefreshes)
	if l.cutRegistrations == 0 || l.cutRefreshes == 0 {
		t.Error("no crash was in the middle of something")
	}
	if c.valkeyURL != "" {
		return // the letters wait for gatehouse-worker
	}
	sql := c.open(t)
	await(t, "the letters are delivered", func() bool {
		letters, err := sql.PendingLetters(t.Context(), "", 1)
		return err == nil && len(letters) == 0
	})
	c.servers[0].kill()
	l.printed.WriteString(c.servers[0].out.String())
	l.checkRegistrations(t)
}

// A load is people who register and apps that refresh until the server is gone.
type load struct {
	*cluster
	people atomic.Int64

	mu sync.Mutex
	// registered are the addresses whose registration was acknowledged.
	registered []string
	// apps are the last answers that each app was given.
	apps []answer
	// printed is what the servers so far wrote to standard output, which in
	// embedded mode is letters.
	printed strings.Builder
	// Cut off is what was on its way when the server was killed.
	refreshes, cutRegistrations, cutRefreshes int
}

// run keeps the server busy, kills it and returns when everybody has noticed.
func (l *load) run(t *testing.T) {
	t.Helper()
	enough := make(chan struct{})
	var acknowledged atomic.Int64
	var wg sync.WaitGroup
	for range people {
		wg.Go(func() {
			for gone := false; !gone; {
				email := fmt.Sprintf("person%d@example.org", l.people.Add(1))
				client, form, err := l.registerPage()
				if err == nil {
					form.Set("email", email)
					err = l.register(client, form)
				}
				l.mu.Lock()
				switch {
				case err == nil:
					l.registered = append(l.registered, email)
				case form != nil && midway(err):
					l.cutRegistrations++
				}
				l.mu.Unlock()
				if gone = l.gone(t, err); !gone && acknowledged.Add(1) == perCrash {
					close(enough)
				}
			}
		})
	}
	for i := range l.apps {
		wg.Go(func() {
			for gone := false; !gone; {
				a, err := l.token(0, refreshForm("notes", l.apps[i].RefreshToken))
				if a.status != 0 && (a.status != http.StatusOK || err != nil) {
					err = refused{a.String()}
				}
				l.mu.Lock()
				switch {
				case err == nil:
					l.apps[i] = a
					l.refreshes++
				case midway(err):
					l.cutRefreshes++
				}
				l.mu.Unlock()
				gone = l.gone(t, err)
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(5 * time.Minute):
		t.Errorf("only %d of %d registrations were acknowledged within 5 minutes", acknowledged.Load(), perCrash)
	}
	l.servers[0].kill()
	wg.Wait()
	l.printed.WriteString(l.servers[0].out.String())
}

// A refused request was answered, but not as it should be.
type refused struct{ answer string }

func (r refused) Error() string { return "the server answered " + r.answer }

// gone reports whether err says that there is no server any more. An answer
// that should not be fails the test and ends the load as well.
func (l *load) gone(t *testing.T, err error) bool {
	if _, ok := errors.AsType[refused](err); ok {
		t.Error(err)
	}
	return err != nil
}

// midway reports whether a request was with the server when that was killed.
func midway(err error) bool {
	_, answered := errors.AsType[refused](err)
	return !answered && !errors.Is(err, syscall.ECONNREFUSED)
}

// registerPage opens the page in a new browser and returns the form on it,
// filled in but for the address.
func (l *load) registerPage() (http.Client, url.Values, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return http.Client{}, nil, err
	}
	client := http.Client{Jar: jar, Timeout: l.http.Timeout, Transport: l.http.Transport}
	resp, err := client.Get(l.at(0) + "/register")
	if err != nil {
		return client, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		return client, nil, err
	}
	form := url.Values{"name": {"Ada Lovelace"}, "password": {"seventeen green lanterns"}}
	for _, input := range hidden.FindAllStringSubmatch(string(page), -1) {
		form.Set(input[1], html.UnescapeString(input[2]))
	}
	return client, form, nil
}

// register posts the form and returns nil when the server says that a letter is
// on its way.
func (l *load) register(client http.Client, form url.Values) error {
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.PostForm(l.at(0)+"/register", form)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, "/verify?") {
		return refused{resp.Status + " " + to}
	}
	return nil
}

// checkRegistrations looks through the memory of a server that was killed and
// returns how many have registered. An account and its letter come together or
// not at all, acknowledged or not.
func (l *load) checkRegistrations(t *testing.T) (there int) {
	t.Helper()
	ctx := t.Context()
	config, err := parseConfig(l.env)
	if err != nil {
		t.Fatal(err)
	}
	if config.Embedded() {
		// A copy, so that the next start meets the files as the crash left them.
		dir := filepath.Join(t.TempDir(), "state")
		if err := os.CopyFS(dir, os.DirFS(config.StateDir)); err != nil {
			t.Fatal(err)
		}
		config.StateDir = dir
	}
	sql, err := openSQL(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sql.Close() }()

	written := map[string]bool{} // the addresses of letters
	key, err := config.mailKey()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := mail.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	letters, err := sql.PendingLetters(ctx, "", 10*crashes*perCrash)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range letters {
		letter, err := sealer.Open(row.ID, row.Kind, row.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		written[letter.To] = true
	}
	for line := range strings.Lines(l.printed.String()) {
		if to, ok := strings.CutPrefix(line, "To: "); ok {
			written[strings.TrimSpace(to)] = true
		}
	}
	users, err := sql.ListUsers(ctx, "", 10*crashes*perCrash)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		if u.Status != storage.UserPending {
			continue
		}
		there++
		if !written[u.Email] {
			t.Errorf("the account of %s is there without its letter", u.Email)
		}
	}
	for _, email := range l.registered {
		if u, hash, err := sql.UserByEmail(ctx, email); err != nil || u.Status != storage.UserPending || hash == "" {
			t.Errorf("the registration of %s was acknowledged, and is %+v (%v)", email, u, err)
		}
	}
	return there
}

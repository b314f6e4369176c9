//go:build !slim

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/gatehouse-id/gatehouse/denylist"
	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A cluster is server processes that share what they remember, and what an
// operator types beside them. Each server is this test binary, run under the name
// of the command (see TestMain); what is typed runs in this process.
type cluster struct {
	env []string
	// urls are where the processes answer; the first is the issuer of all.
	urls []string
	// grpc is where they answer gRPC; empty is that they do not.
	grpc []string
	// metrics is where the first tells its metrics; empty is nowhere.
	metrics string
	servers []*process
	// binaries are the programs of the processes where they are not of this
	// release; empty is this one.
	binaries []string
	// valkeyURL is empty in embedded mode.
	valkeyURL string
	// complains says that the processes may: the test takes away what they need.
	complains bool
	http      http.Client
}

// embedded is one process that keeps everything itself.
func embedded(t *testing.T) *cluster {
	t.Helper()
	return newCluster(t, 1, "", "GATEHOUSE_STATE_DIR="+filepath.Join(t.TempDir(), "state"))
}

// clustered is n processes on one PostgreSQL and one Valkey.
func clustered(t *testing.T, n int) *cluster {
	t.Helper()
	valkeyURL := testenv.Valkey(t)
	c := newCluster(t, n, valkeyURL,
		"GATEHOUSE_DATABASE_URL="+migrated.Postgres(t), "GATEHOUSE_VALKEY_URL="+valkeyURL,
		"GATEHOUSE_SEAL_KEY="+hexKey, "GATEHOUSE_MAIL_KEY="+hexKey,
		"GATEHOUSE_REGISTRATION_DOMAINS=example.org")
	c.proveDomains(t)
	return c
}

// migrated is a database as it is after a first start: with this release's schema,
// and with keys, sealed with hexKey.
var migrated = testenv.Template{Prepare: func(ctx context.Context, databaseURL string) error {
	environ := []string{
		"GATEHOUSE_URL=https://id.example.org", "GATEHOUSE_DATABASE_URL=" + databaseURL, "GATEHOUSE_VALKEY_URL=valkey://127.0.0.1:1",
		"GATEHOUSE_SEAL_KEY=" + hexKey, "GATEHOUSE_MAIL_KEY=" + hexKey,
	}
	for _, args := range [][]string{{"migrate"}, {"keys", "list"}} {
		if code, _, message := typed(ctx, environ, args...); code != 0 {
			return fmt.Errorf("gatehouse %q ends with %d: %s", args, code, message)
		}
	}
	return nil
}}

// proveDomains publishes the records of the cluster's domains.
func (c *cluster) proveDomains(t *testing.T) {
	t.Helper()
	var records []domainRecord
	if err := json.Unmarshal(c.command(t, "domain", "show", "--json"), &records); err != nil {
		t.Fatal(err)
	}
	dns := &nameserver{records: map[string]string{}}
	for _, r := range records {
		dns.records[r.Name+"."] = r.Value
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go dns.serve(conn)
	c.env = append(c.env, "GATEHOUSE_DNS="+conn.LocalAddr().String())
}

// newCluster prepares a cluster; nothing runs yet.
func newCluster(t *testing.T, n int, valkeyURL string, env ...string) *cluster {
	t.Helper()
	c := &cluster{
		env: env, valkeyURL: valkeyURL,
		servers: make([]*process, n),
		http:    http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: crowd}},
	}
	for range n {
		c.urls = append(c.urls, "http://localhost:"+freePort(t))
	}
	// All that a crowd of tests does comes from one address, and their apps
	// refresh in loops.
	c.env = append(c.env, "GATEHOUSE_URL="+c.urls[0],
		"GATEHOUSE_TRUSTED_PROXIES=127.0.0.0/8,::1/128", "GATEHOUSE_REFRESH_LIMIT=-1")
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// at is the address of a process: counting goes around.
func (c *cluster) at(i int) string { return c.urls[i%len(c.urls)] }

// command runs the command as an operator would and returns what it prints.
func (c *cluster) command(t *testing.T, args ...string) []byte {
	t.Helper()
	code, out, message := typed(t.Context(), c.env, args...)
	if code != 0 {
		t.Fatalf("gatehouse %s ends with %d:\n%s", strings.Join(args, " "), code, message)
	}
	return []byte(out)
}

// client registers an app of the operator's own: nobody is asked for consent. Its
// grace is the longest there is, so that what a busy machine is late with is within
// it, unless more says otherwise.
func (c *cluster) client(t *testing.T, id string, more ...string) {
	t.Helper()
	c.command(t, append([]string{
		"client", "create", "--id", id, "--name", "Notes", "--public", "--first-party", "--redirect-uri", callback,
		"--refresh-grace", "5m",
	}, more...)...)
}

// open opens the memory on a connection of the test's own.
func (c *cluster) open(t *testing.T) storage.SQL {
	t.Helper()
	config, err := parseConfig(c.env)
	if err != nil {
		t.Fatal(err)
	}
	sql, err := openSQL(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sql.Close() })
	return sql
}

// A process is a server that runs.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	// out and log are what it wrote, to be read when it has ended.
	out, log bytes.Buffer
}

// start starts every process and waits until it is ready. They end with the
// test, and none may have complained.
func (c *cluster) start(t *testing.T) {
	t.Helper()
	for i, address := range c.urls {
		binary := "gatehouse"
		if i < len(c.binaries) && c.binaries[i] != "" {
			binary = c.binaries[i]
		}
		p := &process{cmd: exec.Command(binary, "serve"), ended: make(chan struct{})}
		p.cmd.Env = append([]string{"GATEHOUSE_ADDR=" + strings.TrimPrefix(address, "http://")}, c.env...)
		if i < len(c.grpc) {
			p.cmd.Env = append(p.cmd.Env, "GATEHOUSE_GRPC_ADDR="+c.grpc[i])
		}
		if i == 0 && c.metrics != "" {
			p.cmd.Env = append(p.cmd.Env, "GATEHOUSE_METRICS_ADDR="+c.metrics)
		}
		p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = p.cmd.Wait() // it is killed, always
			close(p.ended)
		}()
		t.Cleanup(func() {
			p.kill()
			log := p.log.String()
			if t.Failed() || !c.complains && complaint(log) || strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
				t.Errorf("the log of the server at %s:\n%s", address, log)
			}
		})
		c.servers[i] = p
	}
	for i, address := range c.urls {
		await(t, address+" is ready", func() bool {
			select {
			case <-c.servers[i].ended:
				t.Fatalf("the server at %s ended:\n%s", address, c.servers[i].log.String())
			default:
			}
			resp, err := c.http.Get(address + "/readyz")
			if err == nil {
				_ = resp.Body.Close()
			}
			return err == nil && resp.StatusCode == http.StatusOK
		})
	}
}

// complaint reports whether a server told of an error. That it had no time, on a
// busy machine, for what it does again is none.
func complaint(log string) bool {
	for line := range strings.Lines(log) {
		late := strings.Contains(line, "context deadline exceeded") || strings.Contains(line, "i/o timeout") ||
			strings.Contains(line, denylist.ErrUnknown.Error())
		if strings.Contains(line, "level=ERROR") && !late {
			return true
		}
	}
	return false
}

// kill ends the process as a crash does (on Unix by SIGKILL) and waits until
// it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended before
	<-p.ended
}

const callback = "https://notes.example.org/callback"

// signIn makes an account and returns a browser in which its person is signed
// in, at the first process.
func (c *cluster) signIn(t *testing.T, email string) *browser {
	t.Helper()
	var u userRecord
	if err := json.Unmarshal(c.command(t, "user", "create", "--email", email, "--name", "Ada Lovelace", "--json"), &u); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, c.at(0), callback)
	b.open(c.at(0) + "/login")
	b.submit("login-form", url.Values{"identifier": {email}, "password": {u.Password}})
	return b
}

var verifier = oauth2.GenerateVerifier()

// authorizeURL asks a process for a code.
func (c *cluster) authorizeURL(i int, client string) string {
	return c.at(i) + "/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {callback},
		"scope": {"openid email offline_access"}, "state": {"state"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}.Encode()
}

// code has a process issue a code to the person at the browser.
func (c *cluster) code(t *testing.T, b *browser, i int, client string) string {
	t.Helper()
	b.t, b.app = t, nil
	b.open(c.authorizeURL(i, client))
	if b.app == nil || b.app.Query().Get("code") == "" {
		t.Fatalf("%s did not send the browser back with a code, but to %v\n%s", c.at(i), b.app, b.page)
	}
	return b.app.Query().Get("code")
}

// An answer is what the token endpoint said.
type answer struct {
	status       int
	Error        string `json:"error"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.Error) }

// invalid reports whether the answer is invalid_grant (RFC 6749 section 5.2).
func (a answer) invalid() bool {
	return a.status == http.StatusBadRequest && a.Error == "invalid_grant"
}

func (c *cluster) token(i int, form url.Values) (a answer, err error) {
	resp, err := c.http.PostForm(c.at(i)+"/token", form)
	if err != nil {
		return a, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	a.status = resp.StatusCode
	return a, json.Unmarshal(body, &a)
}

// redeem presents a code to a process.
func (c *cluster) redeem(t *testing.T, i int, client, code string) answer {
	t.Helper()
	a, err := c.token(i, url.Values{
		"grant_type": {"authorization_code"}, "client_id": {client}, "code": {code},
		"redirect_uri": {callback}, "code_verifier": {verifier},
	})
	if err != nil {
		t.Error(err) // Fatal is for the test's own goroutine
	}
	return a
}

func refreshForm(client, token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {token}}
}

// refresh presents a refresh token to a process.
func (c *cluster) refresh(t *testing.T, i int, client, token string) answer {
	t.Helper()
	a, err := c.token(i, refreshForm(client, token))
	if err != nil {
		t.Error(err)
	}
	return a
}

// tokens are those of a new grant.
func (c *cluster) tokens(t *testing.T, b *browser, client string) answer {
	t.Helper()
	a := c.redeem(t, 0, client, c.code(t, b, 0, client))
	if a.status != http.StatusOK || a.AccessToken == "" || a.RefreshToken == "" {
		t.Fatalf("a code is answered %v", a)
	}
	return a
}

// userinfo is the status that a process answers to an access token with. Who is
// told 503, by a server that had no time to read what was revoked, comes again.
func (c *cluster) userinfo(t *testing.T, i int, accessToken string) (status int) {
	t.Helper()
	await(t, c.at(i)+" can say of a token", func() bool {
		req, err := http.NewRequest(http.MethodGet, c.at(i)+"/userinfo", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+accessToken)
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body) // for the connection's sake
		_ = resp.Body.Close()
		status = resp.StatusCode
		return status != http.StatusServiceUnavailable
	})
	return status
}

// alive fails the test unless the tokens are good at every process. It returns
// those that came by the refresh.
func (c *cluster) alive(t *testing.T, client string, a answer) answer {
	t.Helper()
	for i := range c.urls {
		if status := c.userinfo(t, i, a.AccessToken); status != http.StatusOK {
			t.Errorf("the access token is answered %d at %s", status, c.at(i))
		}
	}
	var next answer
	for i := range c.urls { // at once, so within the grace
		if next = c.refresh(t, i, client, a.RefreshToken); next.status != http.StatusOK {
			t.Errorf("the refresh token is answered %v at %s", next, c.at(i))
		}
	}
	return next
}

// dead fails the test unless no process takes any of the tokens.
func (c *cluster) dead(t *testing.T, client string, all ...answer) {
	t.Helper()
	for i := range c.urls {
		for n, a := range all {
			if status := c.userinfo(t, i, a.AccessToken); status != http.StatusUnauthorized {
				t.Errorf("access token %d is answered %d at %s", n+1, status, c.at(i))
			}
			if got := c.refresh(t, i, client, a.RefreshToken); !got.invalid() {
				t.Errorf("refresh token %d is answered %v at %s", n+1, got, c.at(i))
			}
		}
	}
}

// untilRefused asks until it is told 401, and returns how long after since it last
// asked and was told 200. When it asked counts, not when it was told: what is
// promised of those who ask later does not depend on how busy the machine is.
func untilRefused(t *testing.T, what string, since time.Time, ask func() (status int)) (lag time.Duration) {
	t.Helper()
	await(t, what+" is refused", func() bool {
		asked := time.Now()
		status := ask()
		if status == http.StatusOK {
			lag = max(lag, asked.Sub(since))
		}
		return status == http.StatusUnauthorized
	})
	return lag
}

// crowd is how many do the same at once.
const crowd = 64

// together asks n times, all at once.
func together(n int, ask func(i int) answer) []answer {
	answers := make([]answer, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			<-start
			answers[i] = ask(i)
		})
	}
	close(start)
	wg.Wait()
	return answers
}

// crowds has more and more do the same at once, in the end the crowd, five times; or
// as many as this machine has answers for within the time that makes them be at
// once. What ask returns judges what holds only within it.
func crowds(t *testing.T, within time.Duration, ask func(n int) (judge func(*testing.T))) {
	t.Helper()
	for n, rounds := crowd/8, 0; rounds < 5; {
		began := time.Now()
		judge := ask(n)
		took := time.Since(began)
		if took < within {
			judge(t)
		}
		switch {
		case took > within:
			n = max(n/2, 2)
			rounds++
		case n < crowd && 3*took < within:
			n *= 2
		default:
			rounds++
		}
		if rounds == 5 {
			t.Logf("%d did it at once, within %v", n, took.Round(time.Millisecond))
		}
	}
}

// TestCluster is what must hold however many processes there are, and however
// many ask at once. The client impatient has a grace that a test can outwait.
func TestCluster(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		open func(*testing.T) *cluster
	}{
		{"two processes on PostgreSQL and Valkey", func(t *testing.T) *cluster { return clustered(t, 2) }},
		{"one process in embedded mode", embedded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.open(t)
			c.client(t, "notes")
			c.client(t, "impatient", "--refresh-grace", grace.String())
			c.start(t)
			ada := c.signIn(t, "ada@example.org")
			for _, row := range []struct {
				sentence string
				test     func(*testing.T, *cluster, *browser)
			}{
				{"a code issued at one process is redeemed at another", oneThenOther},
				{"who signed in at one process is signed in at another", signedInEverywhere},
				{"sec-B7: of 64 redemptions at once one succeeds, and its tokens live", redeemedOnce},
				{"sec-B5: a code used again after 4 s is refused, and the tokens of its first use die", replayed},
				{"sec-D2: 64 refreshes at once get one successor, and it lives", oneSuccessor},
				{"sec-D1: the generation before last kills the grant, even within the grace", beforeLast},
				{"sec-D1: after the grace the generation before kills the grant", afterGrace},
				{"sec-D6: a password changed while a code is redeemed leaves no live grant", passwordRace},
				{"codes are lost with volatile memory, sessions and refresh tokens are not", wiped},
			} {
				t.Run(row.sentence, func(t *testing.T) { row.test(t, c, ada) })
			}
		})
	}
}

const grace = time.Second

func oneThenOther(t *testing.T, c *cluster, b *browser) {
	for i := range 2 {
		a := c.redeem(t, i+1, "notes", c.code(t, b, i, "notes"))
		if a.status != http.StatusOK {
			t.Fatalf("a code of %s is answered %v at %s", c.at(i), a, c.at(i+1))
		}
		c.alive(t, "notes", a)
	}
}

func signedInEverywhere(t *testing.T, c *cluster, b *browser) {
	c.code(t, b, 1, "notes")
	// Also halfway: the page of one process, with its form token, is posted to
	// the other.
	email := "grace@example.org"
	var u userRecord
	if err := json.Unmarshal(c.command(t, "user", "create", "--email", email, "--name", "Grace Hopper", "--json"), &u); err != nil {
		t.Fatal(err)
	}
	other := newBrowser(t, c.at(1), callback)
	other.open(c.authorizeURL(0, "notes"))
	other.submit("login-form", url.Values{"identifier": {email}, "password": {u.Password}})
	if other.app == nil || other.app.Query().Get("code") == "" || other.app.Query().Get("iss") != c.at(0) {
		t.Errorf("a sign-in begun at %s and ended at %s leads to %v", c.at(0), c.at(1), other.app)
	}
}

func redeemedOnce(t *testing.T, c *cluster, b *browser) {
	crowds(t, storage.ReplayAfter, func(n int) (judge func(t *testing.T)) {
		code := c.code(t, b, 0, "notes")
		answers := together(n, func(i int) answer { return c.redeem(t, i, "notes", code) })
		var winners []answer
		for _, a := range answers {
			switch {
			case a.status == http.StatusOK:
				winners = append(winners, a)
			case !a.invalid():
				t.Errorf("a loser is answered %v", a)
			}
		}
		if len(winners) != 1 {
			t.Fatalf("%d of %d redemptions succeeded", len(winners), n)
		}
		// Unless losers came so late that they were replays, which kill the tokens.
		return func(t *testing.T) { c.alive(t, "notes", winners[0]) }
	})
}

func replayed(t *testing.T, c *cluster, b *browser) {
	code := c.code(t, b, 0, "notes")
	first := c.redeem(t, 0, "notes", code)
	next := c.alive(t, "notes", first)
	time.Sleep(4 * time.Second)
	if a := c.redeem(t, 1, "notes", code); !a.invalid() {
		t.Errorf("the code used again is answered %v", a)
	}
	c.dead(t, "notes", first, next)
}

func oneSuccessor(t *testing.T, c *cluster, b *browser) {
	a := c.tokens(t, b, "notes")
	crowds(t, writeTime/2, func(n int) (judge func(t *testing.T)) {
		answers := together(n, func(i int) answer { return c.refresh(t, i, "notes", a.RefreshToken) })
		next := answers[0]
		for _, got := range answers {
			if got.status != http.StatusOK {
				t.Errorf("a refresh is answered %v", got)
			}
			if got.RefreshToken != next.RefreshToken {
				t.Errorf("there are two successors")
			}
			if status := c.userinfo(t, 0, got.AccessToken); status != http.StatusOK {
				t.Errorf("an access token is answered %d", status)
			}
		}
		if next.RefreshToken == "" || next.RefreshToken == a.RefreshToken {
			t.Fatal("the refresh token was not rotated")
		}
		a = next
		return func(*testing.T) {}
	})
	c.alive(t, "notes", a)
}

func beforeLast(t *testing.T, c *cluster, b *browser) {
	first := c.tokens(t, b, "notes")
	second := c.refresh(t, 0, "notes", first.RefreshToken)
	third := c.refresh(t, 1, "notes", second.RefreshToken)
	if third.status != http.StatusOK {
		t.Fatalf("the second refresh is answered %v", third)
	}
	if a := c.refresh(t, 0, "notes", first.RefreshToken); !a.invalid() {
		t.Errorf("the generation before last is answered %v", a)
	}
	c.dead(t, "notes", third, second, first)
}

func afterGrace(t *testing.T, c *cluster, b *browser) {
	first := c.tokens(t, b, "impatient")
	second := c.refresh(t, 0, "impatient", first.RefreshToken)
	if second.status != http.StatusOK {
		t.Fatalf("the refresh is answered %v", second)
	}
	time.Sleep(grace + grace/2)
	if status := c.userinfo(t, 0, second.AccessToken); status != http.StatusOK {
		t.Errorf("the access token is answered %d before anything was reused", status)
	}
	for _, a := range together(crowd, func(i int) answer { return c.refresh(t, i, "impatient", first.RefreshToken) }) {
		if !a.invalid() {
			t.Errorf("the generation before is answered %v", a)
		}
	}
	c.dead(t, "impatient", second, first)
}

// passwordRace lets a password change and a redemption meet in every way: one
// long before the other, by and by closer, and the other way round.
func passwordRace(t *testing.T, c *cluster, _ *browser) {
	const rounds, steps = 300, 10
	ctx := t.Context()
	sql := c.open(t)
	b := c.signIn(t, "race@example.org")
	// The browser that changes the password stays signed in.
	session, user := c.session(t, sql, b)

	var won, lost, met int
	var width time.Duration // the longer of the two, in the round before
	for round := range rounds {
		code := c.code(t, b, round, "notes")
		now, err := sql.Time(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var a answer
		var changed, redeemed span
		// How far the redemption goes ahead of the change.
		ahead := width * time.Duration(round%(2*steps+1)-steps) / steps
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(ahead)
			changed = during(func() {
				_, err = sql.SetPassword(ctx, storage.PasswordChange{
					UserID: user, PasswordHash: fmt.Sprintf("$argon2id$%d", round), Keep: storage.Kept{Session: session}, Now: now,
				})
			})
		})
		wg.Go(func() {
			time.Sleep(-ahead)
			redeemed = during(func() { a = c.redeem(t, round/2, "notes", code) })
		})
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		width = max(changed.end.Sub(changed.start), redeemed.end.Sub(redeemed.start))
		if changed.start.Before(redeemed.end) && redeemed.start.Before(changed.end) {
			met++
		}
		switch {
		case a.status == http.StatusOK:
			won++
			if redeemed.start.After(changed.end) {
				t.Error("a code was redeemed after the password had changed")
			}
			c.dead(t, "notes", a)
		case a.invalid():
			lost++
			if redeemed.end.Before(changed.start) {
				t.Error("a code was refused before the password changed")
			}
		default:
			t.Errorf("the code is answered %v", a)
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	t.Logf("of %d redemptions %d were before the change and %d after it; %d met it", rounds, won, lost, met)
	if won == 0 || lost == 0 || met == 0 {
		t.Error("the two did not race")
	}
}

// A span is when something began and ended.
type span struct{ start, end time.Time }

func during(do func()) span {
	start := time.Now()
	do()
	return span{start, time.Now()}
}

// session returns the ids of the browser's session and of its person.
func (c *cluster) session(t *testing.T, sql storage.SQL, b *browser) (session, user string) {
	t.Helper()
	u, err := url.Parse(c.at(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range b.http.Jar.Cookies(u) {
		if cookie.Name != "gatehouse_session" {
			continue
		}
		now, err := sql.Time(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		secret := sha256.Sum256([]byte(cookie.Value))
		s, _, err := sql.SessionBySecret(t.Context(), secret[:], now)
		if err != nil {
			t.Fatal(err)
		}
		return s.ID, s.UserID
	}
	t.Fatal("nobody is signed in")
	return "", ""
}

func wiped(t *testing.T, c *cluster, b *browser) {
	before := c.tokens(t, b, "notes")
	unused, used := c.code(t, b, 0, "notes"), c.code(t, b, 1, "notes")
	kept := c.redeem(t, 0, "notes", used)
	if c.valkeyURL != "" {
		testenv.Wipe(t, c.valkeyURL)
	} else { // it is memory of the process
		c.servers[0].kill()
		c.start(t)
	}
	for i := range c.urls {
		for _, code := range []string{unused, used} {
			if a := c.redeem(t, i, "notes", code); !a.invalid() {
				t.Errorf("a lost code is answered %v at %s", a, c.at(i))
			}
		}
	}
	c.alive(t, "notes", before)
	c.alive(t, "notes", kept)
	c.alive(t, "notes", c.tokens(t, b, "notes")) // and the browser is signed in
}

//go:build linux

package deploy_test

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// TestTopology is the production shape under each proxy of ours: a person gets in
// and stays in although servers die.
func TestTopology(t *testing.T) {
	for _, proxied := range []struct {
		name  string
		start func(*testing.T, *topology) *proxy
	}{
		{"NGINX", startNGINX},
		{"Envoy", startEnvoy},
	} {
		t.Run(proxied.name, func(t *testing.T) {
			t.Parallel()
			top := newTopology(t)
			p := proxied.start(t, top)
			top.log.say("%s is in front", p.name)
			top.outside(t, p)
			ada := top.register(t, p)
			tokens := top.stays(t, p, ada)
			if p.tls != "" {
				top.renewed(t, p)
			}
			if p.guards {
				top.guarded(t, p, tokens)
			} else {
				top.revoked(t, p, tokens, nil)
			}
			top.drains(t, p)
			top.forged(t, p)
			top.limited(t, p)
		})
	}
}

// A browser without JavaScript: it keeps cookies, follows redirects but to the
// app, and posts the forms it is shown.
type browser struct {
	t    *testing.T
	http *http.Client
	page string
	// app is the address at the app that it was last sent to.
	app *url.URL
	// lie is what it says in X-Forwarded-For.
	lie string
}

func newBrowser(t *testing.T, client *http.Client) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, http: client}
	client.Jar = jar
	client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			b.app = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	return b
}

func (b *browser) do(r *http.Request) {
	b.t.Helper()
	if b.lie != "" {
		r.Header.Set("X-Forwarded-For", b.lie)
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode >= 400 {
		b.t.Fatalf("%s %s is %s:\n%s", resp.Request.Method, resp.Request.URL, resp.Status, body)
	}
	b.page = string(body)
}

func (b *browser) open(address string) {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.do(r)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// submit posts the form with the id, which must be on the page.
func (b *browser) submit(id string, values url.Values) {
	b.t.Helper()
	form := regexp.MustCompile(`(?s)<form [^>]*id="` + id + `" method="post" action="([^"]*)".*?</form>`).FindStringSubmatch(b.page)
	if form == nil {
		b.t.Fatalf("there is no form %s on\n%s", id, b.page)
	}
	for _, input := range hidden.FindAllStringSubmatch(form[0], -1) {
		values.Set(input[1], html.UnescapeString(input[2]))
	}
	r, err := http.NewRequest(http.MethodPost, issuer+form[1], strings.NewReader(values.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", issuer)
	b.do(r)
}

// follow opens the link that the pattern finds.
func (b *browser) follow(pattern string) {
	b.t.Helper()
	link := regexp.MustCompile(pattern).FindStringSubmatch(b.page)
	if link == nil {
		b.t.Fatalf("there is no link %s on\n%s", pattern, b.page)
	}
	b.open(issuer + html.UnescapeString(link[1]))
}

// code is the code that the app was sent.
func (b *browser) code() string {
	b.t.Helper()
	if b.app == nil || b.app.Query().Get("code") == "" || b.app.Query().Get("iss") != issuer {
		b.t.Fatalf("the app was not sent a code but %v\n%s", b.app, b.page)
	}
	return b.app.Query().Get("code")
}

var verifier = oauth2.GenerateVerifier()

func authorize() string {
	return issuer + "/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {"notes"}, "redirect_uri": {callback}, "scope": {"openid email offline_access notes"},
		"state": {"state"}, "resource": {notesAPI},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}.Encode()
}

// An account is somebody's who has registered, in whose browser they are signed
// in.
type account struct {
	*browser
	email, password string
}

// An answer is what the token endpoint said.
type answer struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
}

// post sends a form as an app does.
func (b *browser) post(path string, form url.Values) (a answer) {
	b.t.Helper()
	resp, err := b.http.PostForm(issuer+path, form)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s is answered %s: %s (%v)", path, resp.Status, body, err)
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &a); err != nil {
			b.t.Fatalf("%s is answered %q", path, body)
		}
	}
	return a
}

func (b *browser) redeem(code string) answer {
	b.t.Helper()
	return b.post("/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"notes"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier},
	})
}

// again starts a server that has ended, and waits until the proxy knows.
func (top *topology) again(t *testing.T, p *proxy, s *server) {
	t.Helper()
	top.start(t, s)
	top.ready(t, s)
	top.log.say("%s is started again", s.name)
	p.both(t, top)
	top.log.say("%s sends requests to both", p.name)
}

// outside is what the world sees: https, and nothing of what watches the servers.
func (top *topology) outside(t *testing.T, p *proxy) {
	t.Helper()
	c := p.client(t, top, "127.0.0.50")
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, row := range []struct {
		address, location string
		status            int
	}{
		{"http://id.example.org/login?x=y", "https://id.example.org/login?x=y", http.StatusMovedPermanently},
		{issuer + "/readyz", "", http.StatusNotFound},
		{issuer + "/livez", "", http.StatusNotFound},
		{issuer + "/jwks", "", http.StatusOK},
	} {
		resp, err := c.Get(row.address)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		location := strings.Replace(resp.Header.Get("Location"), ":443/", "/", 1)
		if resp.StatusCode != row.status || location != row.location {
			t.Errorf("%s is answered %s, to %q", row.address, resp.Status, location)
		}
	}
	if resp, err := c.Get(issuer + "/jwks"); err != nil || resp.ProtoMajor != 2 {
		t.Errorf("HTTP/2 is not spoken (%v)", err)
	} else {
		_ = resp.Body.Close()
	}
}

// register makes an account, and kills the server with whom it began.
func (top *topology) register(t *testing.T, p *proxy) account {
	t.Helper()
	a := account{newBrowser(t, p.client(t, top, "127.0.0.51")), "ada@example.org", "seventeen green lanterns"}
	a.open(authorize())
	a.follow(`href="(/register[^"]*)"`)
	first := p.answered(t, top, http.MethodPost, "/register", func() {
		a.submit("register-form", url.Values{"name": {"Ada Lovelace"}, "email": {a.email}, "password": {a.password}})
	})
	top.log.say("Ada registers; the form is taken by %s", first.name)
	first.end(syscall.SIGKILL)
	top.log.say("%s is killed (SIGKILL)", first.name)
	code := top.post.code(t, a.email)
	top.log.say("the worker has sent the letter with the code")
	second := p.answered(t, top, http.MethodPost, "/verify", func() { a.submit("verify-form", url.Values{"code": {code}}) })
	top.log.say("the form with the code is taken by %s, and the account is made", second.name)
	if second == first {
		t.Errorf("both forms were taken by %s, which was dead", first.name)
	}
	a.follow(`id="protect-later" href="([^"]*)"`)
	top.log.say("Ada is signed in, and the app is sent a code")
	a.code()
	top.again(t, p, first)
	return a
}

// stays exchanges the code and refreshes, each at whichever server comes, and asks
// both about the tokens.
func (top *topology) stays(t *testing.T, p *proxy, a account) answer {
	t.Helper()
	var tokens, next answer
	s := p.answered(t, top, http.MethodPost, "/token", func() { tokens = a.redeem(a.code()) })
	top.log.say("the code is exchanged at %s", s.name)
	s = p.answered(t, top, http.MethodPost, "/token", func() {
		next = a.post("/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {"notes"}, "refresh_token": {tokens.RefreshToken}})
	})
	top.log.say("the refresh token is used at %s", s.name)
	if next.RefreshToken == tokens.RefreshToken || next.AccessToken == "" {
		t.Error("the refresh token was not rotated")
	}
	for _, s := range top.servers {
		if status := top.check(t, s, next.AccessToken); status != http.StatusOK {
			t.Errorf("the access token is answered %d at %s", status, s.name)
		}
	}
	return next
}

// check asks one server about an access token, as a gateway does.
func (top *topology) check(t *testing.T, s *server, token string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+s.http+"/gateway/check?scope=notes&audience="+url.QueryEscape(notesAPI), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// revoked revokes a token through the proxy, and asks everybody until nobody lets it
// in: the servers and, if there is one, the gateway.
func (top *topology) revoked(t *testing.T, p *proxy, tokens answer, gateway func() int) {
	t.Helper()
	b := newBrowser(t, p.client(t, top, "127.0.0.52"))
	var start time.Time
	by := p.answered(t, top, http.MethodPost, "/revoke", func() {
		b.post("/revoke", url.Values{"client_id": {"notes"}, "token": {tokens.RefreshToken}, "token_type_hint": {"refresh_token"}})
		start = time.Now()
	})
	top.log.say("the grant is revoked at %s", by.name)
	var lag time.Duration
	refuses := func(name string, ask func() int) {
		t.Helper()
		await(t, name+" refuses the access token", func() bool {
			asked := time.Since(start)
			refused := ask() == http.StatusUnauthorized
			if !refused {
				lag = max(lag, asked)
			}
			return refused
		})
	}
	for _, s := range top.servers {
		refuses(s.name, func() int { return top.check(t, s, tokens.AccessToken) })
	}
	if gateway != nil {
		refuses(p.name, gateway)
	}
	top.log.say("its access token is refused by everybody; who asked %d ms after that was the last to be let in", lag.Milliseconds())
	if lag > 5*time.Second {
		t.Errorf("a revoked token was let in for %v", lag)
	}
}

// renewed moves a new certificate into place, as what renews certificates does.
func (top *topology) renewed(t *testing.T, p *proxy) {
	t.Helper()
	top.certificate = newCertificate(t)
	for name, content := range map[string][]byte{"tls.key": top.certificate.key, "tls.crt": top.certificate.cert} {
		next := filepath.Join(t.TempDir(), name)
		write(t, next, string(content))
		if err := os.Rename(next, filepath.Join(p.tls, name)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, p.name+" shows the new certificate", func() bool {
		c := p.client(t, top, "127.0.0.50")
		resp, err := c.Get(issuer + "/jwks")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil
	})
	top.log.say("a new certificate is moved into place, and %s shows it", p.name)
}

// guarded is the API behind Envoy.
func (top *topology) guarded(t *testing.T, p *proxy, tokens answer) {
	t.Helper()
	c := p.client(t, top, "127.0.0.52")
	var reached http.Header
	ask := func(token string) int {
		r, err := http.NewRequest(http.MethodGet, notesAPI+"/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Auth-Subject", "admin")
		r.Header.Set("X-Forwarded-For", "203.0.113.7")
		r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		reached = nil
		if resp.StatusCode == http.StatusOK {
			if err := json.NewDecoder(resp.Body).Decode(&reached); err != nil {
				t.Fatal(err)
			}
		}
		return resp.StatusCode
	}
	if status := ask(""); status != http.StatusUnauthorized {
		t.Errorf("without a token the API is answered %d", status)
	}
	if status := ask("garbage"); status != http.StatusUnauthorized {
		t.Errorf("with garbage the API is answered %d", status)
	}
	if status := ask(tokens.AccessToken); status != http.StatusOK {
		t.Fatalf("with a good token the API is answered %d", status)
	}
	subject := reached.Values("X-Auth-Subject")
	if len(subject) != 1 || subject[0] == "admin" || reached.Get("X-Auth-Client") != "notes" || reached.Get("X-Forwarded-For") != "127.0.0.52" || reached.Get("Traceparent") != "" {
		t.Errorf("the API was told %v", reached)
	}
	top.log.say("Envoy asks over gRPC and lets the token in; the API is told who it is for, whatever the client said")
	top.servers[0].end(syscall.SIGKILL)
	killed := time.Now()
	for range 10 {
		if status := ask(tokens.AccessToken); status != http.StatusOK {
			t.Errorf("with gatehouse-1 dead the API is answered %d", status)
		}
	}
	top.log.say("gatehouse-1 is killed (SIGKILL), and ten requests to the API are answered within %d ms", time.Since(killed).Milliseconds())
	top.again(t, p, top.servers[0])
	top.revoked(t, p, tokens, func() int { return ask(tokens.AccessToken) })
}

// drains ends the server that has shown the form, politely, and posts the form
// while it leaves; then it starts that one again, and ends the other.
func (top *topology) drains(t *testing.T, p *proxy) {
	t.Helper()
	a := account{newBrowser(t, p.client(t, top, "127.0.0.53")), "ada@example.org", "seventeen green lanterns"}
	first := p.answered(t, top, http.MethodGet, "/login", func() { a.open(authorize()) })
	top.log.say("Ada signs in at another browser; the page is shown by %s", first.name)
	stopping := time.Now()
	if err := first.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	top.log.say("%s is told to stop (SIGTERM)", first.name)
	taken := p.answered(t, top, http.MethodPost, "/login", func() {
		a.submit("login-form", url.Values{"identifier": {a.email}, "password": {a.password}})
	})
	top.log.say("the form is taken by %s", taken.name)
	code := a.code()
	asked := a.asks(first)
	top.log.say("%s has ended %.1f s after the signal; of %d requests meanwhile none failed", first.name, time.Since(stopping).Seconds(), asked)
	second := p.answered(t, top, http.MethodPost, "/token", func() { a.redeem(code) })
	top.log.say("the code is exchanged at %s", second.name)
	if second == first {
		t.Fatalf("a code was exchanged by %s, which had ended", first.name)
	}

	// Nobody waits with the second of the two until the proxy has looked at the first.
	top.start(t, first)
	await(t, first.name+" is ready again", func() bool {
		<-time.After(50 * time.Millisecond)
		a.open(issuer + "/account")
		return first.isReady()
	})
	if err := second.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	top.log.say("%s is started again, and as soon as it is ready %s is told to stop", first.name, second.name)
	asked = a.asks(second)
	top.log.say("%s has ended; of %d requests meanwhile none failed", second.name, asked)
}

// asks asks for a page again and again while a server leaves, and counts. Every
// answer must be a good one, and the server's end too.
func (a account) asks(leaving *server) (n int) {
	a.t.Helper()
	for {
		select {
		case <-leaving.ended:
			if state := leaving.cmd.ProcessState; state.ExitCode() != 0 {
				a.t.Errorf("%s ended with %v:\n%s", leaving.name, state, leaving.out)
			}
			return n
		case <-time.After(50 * time.Millisecond): // 20 a second is the proxy's limit
			a.open(issuer + "/account")
			n++
		}
	}
}

// forged says another address in X-Forwarded-For, and looks at what the account
// knows about its devices.
func (top *topology) forged(t *testing.T, p *proxy) {
	t.Helper()
	const lie = "203.0.113.7"
	b := newBrowser(t, p.client(t, top, "127.0.0.54"))
	b.lie = lie + ", 127.0.0.1"
	b.open(authorize())
	b.submit("login-form", url.Values{"identifier": {"ada@example.org"}, "password": {"seventeen green lanterns"}})
	b.code()
	b.open(issuer + "/account/devices")
	if strings.Contains(b.page, lie) || !strings.Contains(b.page, ">127.0.0.54<") || !strings.Contains(b.page, ">127.0.0.51<") {
		t.Errorf("the account does not know its devices by their addresses:\n%s", b.page)
	}
	top.log.say("a browser at 127.0.0.54 says X-Forwarded-For: %s; the account shows 127.0.0.54", b.lie)
}

// limited asks from one address until it is told to wait, with another lie each
// time; others do not notice.
func (top *topology) limited(t *testing.T, p *proxy) {
	t.Helper()
	c, other := p.client(t, top, "127.0.0.55"), p.client(t, top, "127.0.0.56")
	ask := func(c *http.Client, lie string, headers ...string) *http.Response {
		r, err := http.NewRequest(http.MethodPost, issuer+"/login", strings.NewReader("identifier=ada@example.org"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Forwarded-For", lie)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body) // for the connection's sake
		_ = resp.Body.Close()
		return resp
	}
	// attempts asks until it is told to wait, and counts those that were let through:
	// 60, and one more for each second that it took.
	attempts := func(who string, ask func(n int) *http.Response) (let int) {
		t.Helper()
		start := time.Now()
		for {
			resp := ask(let)
			most := 60 + int(time.Since(start).Seconds()) + 1
			switch {
			case resp.StatusCode == http.StatusTooManyRequests:
				if resp.Header.Get("Retry-After") == "" {
					t.Error("who is limited is not told how long to wait")
				}
				if let < 60 {
					t.Errorf("%d attempts were let through from %s", let, who)
				}
				return let
			case resp.StatusCode >= 500:
				t.Fatalf("an attempt is answered %s", resp.Status)
			case let == most:
				t.Fatalf("more than %d attempts were let through from %s", most, who)
			}
			let++
		}
	}
	let := attempts("one address", func(n int) *http.Response { return ask(c, fmt.Sprintf("203.0.113.%d", n%256)) })
	if resp := ask(other, ""); resp.StatusCode == http.StatusTooManyRequests {
		t.Error("another address is limited too")
	}
	top.log.say("after %d attempts to sign in from 127.0.0.55, each with another X-Forwarded-For, the answer is 429; 127.0.0.56 is not limited", let)
	if p.name == "NGINX" { // whose expression for IPv6 is ours
		// The third and fourth group have a byte that is a line feed.
		attempts("one /64", func(n int) *http.Response { return ask(c, "", comesFrom, fmt.Sprintf("2001:db8:a0a:a0a::%x", n)) })
		if resp := ask(c, "", comesFrom, "2001:db8:a0a:a0b::1"); resp.StatusCode == http.StatusTooManyRequests {
			t.Error("another /64 is limited too")
		}
		top.log.say("addresses of one /64 share that limit")
	}
}

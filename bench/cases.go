package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

const (
	notesAPI = "https://notes.example.org/api"
	callback = "https://notes.example.org/callback"
	// verifier is the one of every code: it costs the server the same as others.
	verifier = "a-code-verifier-of-forty-three-characters-ok"
)

// A world is a server with clients and people.
type world struct {
	*gatehouse
	// robot and apis are the secrets of the client "robot", which has tokens of its
	// own, and of the clients "api-0" and so on, which introspect.
	robot  string
	apis   []string
	people []person
}

type person struct{ Email, Password string }

// settle makes clients, and as many people as there are to be workers.
func settle(g *gatehouse, workers int) (*world, error) {
	w := &world{gatehouse: g}
	if err := g.command(nil, "client", "create", "--id", "notes", "--name", "Notes", "--public", "--first-party", "--redirect-uri", callback,
		"--scope", "openid email offline_access notes", "--resource", notesAPI); err != nil {
		return nil, err
	}
	var made struct {
		Secret string `json:"client_secret"`
	}
	if err := g.command(&made, "client", "create", "--json", "--id", "robot", "--name", "Robot", "--grant", "client_credentials",
		"--scope", "notes", "--resource", notesAPI); err != nil {
		return nil, err
	}
	w.robot = made.Secret
	for i := range workers {
		// One client may introspect a thousand times a second and no more, so each
		// worker is a server of the API.
		if err := g.command(&made, "client", "create", "--json", "--id", fmt.Sprintf("api-%d", i), "--name", "API", "--grant", "client_credentials",
			"--scope", "", "--introspects", notesAPI); err != nil {
			return nil, err
		}
		w.apis = append(w.apis, made.Secret)
	}
	for i := range workers {
		var p person
		if err := g.command(&p, "user", "create", "--json", "--email", fmt.Sprintf("person-%d@example.org", i), "--name", "Ada Lovelace"); err != nil {
			return nil, err
		}
		w.people = append(w.people, p)
	}
	return w, nil
}

// A benchCase is one kind of round.
type benchCase struct {
	name string
	// signatures is how many the server makes in a round by ES256, and hashes how
	// many passwords it checks.
	signatures, hashes int
	// target is the CPU seconds per thousand rounds to stay within, on a machine
	// where hello costs targetHello and a signature targetSignature; zero is none.
	target float64
	// worker prepares one worker, on a connection of its own.
	worker func(w *world, c *conn, i int) (round, error)
}

// cases is everything measured, in the order of the table.
var cases = []benchCase{
	{name: "Discovery", target: 0.015, worker: document("/.well-known/openid-configuration")},
	{name: "JWKS", target: 0.015, worker: document("/jwks")},
	{name: "client_credentials (ES256)", signatures: 1, target: 0.08, worker: credentials},
	{name: "Code flow: authorize + token (PKCE, ID token)", signatures: 2, target: 0.40, worker: code},
	{name: "Refresh with ID token (ES256)", signatures: 2, target: 0.18, worker: refresh},
	{name: "Introspection of an access token", target: 0.06, worker: introspect},
	{name: "Gateway check (as NGINX asks)", target: 0.03, worker: gateway},
	{name: "Sign-in by form posts + token", signatures: 2, hashes: 1, worker: signIn},
}

// grown are the cases that must cost the same however many grants there are.
func grown() (cs []benchCase) {
	for _, c := range cases {
		for _, word := range []string{"client_credentials", "Code", "Refresh", "Introspection"} {
			if strings.HasPrefix(c.name, word) {
				cs = append(cs, c)
			}
		}
	}
	return cs
}

func document(path string) func(*world, *conn, int) (round, error) {
	return func(_ *world, c *conn, _ int) (round, error) {
		return func() error {
			a, err := c.get(path, "")
			if err != nil {
				return err
			}
			return a.want(http.StatusOK)
		}, nil
	}
}

// tokens are what the token endpoint answers with.
type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
}

func (c *conn) tokens(lines, form string) (t tokens, err error) {
	a, err := c.post("/token", lines, form)
	if err == nil {
		err = a.want(http.StatusOK)
	}
	if err == nil {
		err = json.Unmarshal(a.body, &t)
	}
	return t, err
}

func basic(id, secret string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret)) + "\r\n"
}

func credentials(w *world, c *conn, _ int) (round, error) {
	auth := basic("robot", w.robot)
	return func() error {
		a, err := c.post("/token", auth, "grant_type=client_credentials&scope=notes")
		if err != nil {
			return err
		}
		return a.want(http.StatusOK)
	}, nil
}

// A browser is a person at one connection: it keeps cookies, and says by which
// address it came to the proxy.
type browser struct {
	*conn
	person  person
	from    string
	cookies map[string]string
}

func (w *world) browser(c *conn, i int) *browser {
	return &browser{conn: c, person: w.people[i%len(w.people)], from: fmt.Sprintf("X-Forwarded-For: 192.0.2.%d\r\n", i%250), cookies: map[string]string{}}
}

func (b *browser) lines() string {
	var all []string
	for name, value := range b.cookies {
		all = append(all, name+"="+value)
	}
	if len(all) == 0 {
		return b.from
	}
	return b.from + "Cookie: " + strings.Join(all, "; ") + "\r\n"
}

func (b *browser) keep(a answer) {
	for _, line := range a.head {
		name, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(name, "Set-Cookie") {
			continue
		}
		pair, _, _ := strings.Cut(strings.TrimSpace(value), ";")
		if name, value, ok := strings.Cut(pair, "="); ok {
			b.cookies[name] = value
		}
	}
}

// open gets a page.
func (b *browser) open(path string) (answer, error) {
	a, err := b.get(path, b.lines())
	b.keep(a)
	return a, err
}

// authorizePath asks for a code.
var authorizePath = "/authorize?" + url.Values{
	"response_type": {"code"}, "client_id": {"notes"}, "redirect_uri": {callback},
	"scope": {"openid offline_access notes"}, "state": {"8b1c3f0e6d"}, "nonce": {"5f9d2c7a1e"},
	"code_challenge": {challenge()}, "code_challenge_method": {"S256"},
}.Encode()

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// hidden finds a hidden field of a form.
var hidden = regexp.MustCompile(`<input type="hidden" name="([a-z_]+)" value="([^"]*)">`)

var errElsewhere = errors.New("the browser was sent elsewhere")

// follow returns where the browser is sent within this server.
func (b *browser) follow(a answer) (string, error) {
	if err := a.want(http.StatusSeeOther); err != nil {
		return "", err
	}
	to := a.field("Location")
	if !strings.HasPrefix(to, "/") {
		return "", fmt.Errorf("%w: %s", errElsewhere, to)
	}
	return to, nil
}

// codeOf returns the code that the browser is sent back to the app with.
func codeOf(a answer) (string, error) {
	if err := a.want(http.StatusSeeOther); err != nil {
		return "", err
	}
	u, err := url.Parse(a.field("Location"))
	if err != nil {
		return "", err
	}
	code := u.Query().Get("code")
	if code == "" || !strings.HasPrefix(a.field("Location"), callback) {
		return "", fmt.Errorf("%w: %s", errElsewhere, u)
	}
	return code, nil
}

// signIn goes from the app to the sign-in page and back with a code.
func (b *browser) signIn() (code string, err error) {
	a, err := b.open(authorizePath)
	if err != nil {
		return "", err
	}
	to, err := b.follow(a)
	if err != nil {
		return "", err
	}
	if a, err = b.open(to); err == nil {
		err = a.want(http.StatusOK)
	}
	if err != nil {
		return "", err
	}
	form := url.Values{"identifier": {b.person.Email}, "password": {b.person.Password}}
	for _, m := range hidden.FindAllStringSubmatch(string(a.body), -1) {
		if !form.Has(m[1]) {
			form.Set(m[1], html.UnescapeString(m[2]))
		}
	}
	a, err = b.post("/login", b.lines(), form.Encode())
	b.keep(a)
	if err != nil {
		return "", err
	}
	if to, err = b.follow(a); err != nil {
		return "", err
	}
	if a, err = b.open(to); err != nil {
		return "", err
	}
	return codeOf(a)
}

// redeem gets the tokens of a code.
func (b *browser) redeem(code string) (tokens, error) {
	t, err := b.tokens(b.from, "grant_type=authorization_code&client_id=notes&redirect_uri="+url.QueryEscape(callback)+
		"&code_verifier="+verifier+"&code="+code)
	if err == nil && (t.Access == "" || t.Refresh == "" || t.ID == "") {
		err = errors.New("a code gave no access token, refresh token or ID token")
	}
	return t, err
}

// again gets a code from /authorize at once, as for who is signed in.
func (b *browser) again() (string, error) {
	a, err := b.open(authorizePath)
	if err != nil {
		return "", err
	}
	return codeOf(a)
}

func code(w *world, c *conn, i int) (round, error) {
	b := w.browser(c, i)
	if _, err := b.signIn(); err != nil {
		return nil, err
	}
	return func() error {
		code, err := b.again()
		if err == nil {
			_, err = b.redeem(code)
		}
		return err
	}, nil
}

// grants makes new grants of one person.
func (w *world) grants(c *conn, i, n int) ([]tokens, error) {
	b := w.browser(c, i)
	code, err := b.signIn()
	all := make([]tokens, n)
	for j := 0; j < n && err == nil; j++ {
		if all[j], err = b.redeem(code); err == nil && j < n-1 {
			code, err = b.again()
		}
	}
	return all, err
}

// chains is how many grants each worker of refresh takes in turn, and how many
// access tokens those that look at tokens do.
const chains = 50

func refresh(w *world, c *conn, i int) (round, error) {
	all, err := w.grants(c, i, chains)
	next := 0
	return func() error {
		t := &all[next%chains]
		next++
		got, err := c.tokens("", "grant_type=refresh_token&client_id=notes&refresh_token="+t.Refresh)
		if err == nil && (got.Access == "" || got.ID == "" || got.Refresh == t.Refresh) {
			err = errors.New("a refresh gave no access token, no ID token, or the refresh token of before")
		}
		t.Refresh = got.Refresh
		return err
	}, err
}

func introspect(w *world, c *conn, i int) (round, error) {
	all, err := w.grants(c, i, chains)
	auth := basic(fmt.Sprintf("api-%d", i), w.apis[i])
	next := 0
	return func() error {
		t := all[next%chains]
		next++
		a, err := c.post("/introspect", auth, "token="+t.Access)
		if err == nil {
			err = a.want(http.StatusOK)
		}
		if err == nil && !strings.Contains(string(a.body), `"active":true`) {
			err = fmt.Errorf("a live token is not active: %s", a.body)
		}
		return err
	}, err
}

func gateway(w *world, c *conn, i int) (round, error) {
	all, err := w.grants(c, i, chains)
	path := "/gateway/check?scope=notes&audience=" + url.QueryEscape(notesAPI)
	next := 0
	return func() error {
		t := all[next%chains]
		next++
		a, err := c.get(path, "Authorization: Bearer "+t.Access+"\r\nX-Original-URI: /notes/1\r\nX-Original-Method: GET\r\n")
		if err == nil {
			err = a.want(http.StatusOK)
		}
		return err
	}, err
}

// signIn signs in at a browser that has done so before, so that no letter is
// written of it.
func signIn(w *world, c *conn, i int) (round, error) {
	b := w.browser(c, i)
	if _, err := b.signIn(); err != nil {
		return nil, err
	}
	return func() error {
		for name := range b.cookies {
			if strings.HasSuffix(name, "gatehouse_session") {
				delete(b.cookies, name)
			}
		}
		code, err := b.signIn()
		if err == nil {
			_, err = b.redeem(code)
		}
		return err
	}, nil
}

//go:build !slim

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// patience is how long one step of a person may take, on a busy machine.
	patience = 20 * time.Second
	password = "seventeen green lanterns"
)

// A size is that of a window, in CSS pixels.
type size struct{ width, height int64 }

var (
	phone  = size{390, 844}
	laptop = size{1280, 900}
)

// chromium starts a browser that ends with the test, and returns the context
// that its profiles are made of.
func chromium(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	switch {
	case path == "" && os.Getenv("CI") == "true":
		t.Fatal("there is no Chromium in PATH; .ci/install installs it")
	case path == "":
		t.Skip("there is no Chromium in PATH; .ci/install installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // which root cannot have; the pages are ours
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		// Going back is to ask the server, not to show a page kept in memory.
		chromedp.Flag("disable-features", "Translate,BackForwardCache"),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}

// A person sits at a window of a profile that nobody used before.
type person struct {
	t   *testing.T
	tab context.Context
	// size is the window's.
	size size
	// scripts is whether the browser runs any.
	scripts bool
	// status is that of the page last loaded.
	status int64

	mu sync.Mutex
	// complaints are what the browser wrote to its console.
	complaints []string
}

// newPerson opens a profile, which closes with the test. Anything that the
// browser complains about, such as a breach of a Content-Security-Policy, fails
// the test.
func newPerson(t *testing.T, browser context.Context, s size) *person {
	t.Helper()
	p := &person{t: t, scripts: true}
	p.tab = p.open(browser, chromedp.WithNewBrowserContext())
	p.resize(s)
	t.Cleanup(func() {
		for _, c := range p.said() {
			t.Errorf("the browser's console: %s", c)
		}
	})
	return p
}

// open opens a tab that p listens to.
func (p *person) open(parent context.Context, options ...chromedp.ContextOption) context.Context {
	p.t.Helper()
	tab, stop := chromedp.NewContext(parent, append(options, chromedp.WithListener(p.listen))...)
	p.t.Cleanup(stop)
	if err := chromedp.Do(tab); err != nil {
		p.t.Fatalf("open a tab: %v", err)
	}
	return tab
}

func (p *person) listen(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		p.complaints = append(p.complaints, fmt.Sprintf("%s, at %s", e.Entry.Text, e.Entry.URL))
	case *runtime.EventExceptionThrown:
		p.complaints = append(p.complaints, fmt.Sprintf("%s, at %s", e.ExceptionDetails.Text, e.ExceptionDetails.URL))
	case *runtime.EventConsoleAPICalled:
		for _, arg := range e.Args {
			p.complaints = append(p.complaints, fmt.Sprintf("%s: %s", e.Type, arg.Value))
		}
	}
}

// said returns what the browser has complained about, and forgets it.
func (p *person) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.complaints
	p.complaints = nil
	return all
}

// patiently runs one step in a tab and returns what it gives.
func patiently[T any](p *person, tab context.Context, step chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(tab, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, step)
	if err != nil {
		p.t.Fatalf("%v\nat %s\nconsole: %q", err, p.where(tab), p.said())
	}
	return v
}

// where says what the tab shows, for a message.
func (p *person) where(tab context.Context) string {
	ctx, cancel := context.WithTimeout(tab, patience)
	defer cancel()
	at, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		return at
	}
	return at + "\n" + text
}

func (p *person) do(step chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	patiently(p, p.tab, step)
}

// load takes a step that ends on another page, and waits for it.
func (p *person) load(step chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	response := patiently(p, p.tab, func(ctx context.Context, _ *chromedp.Target) (int64, error) {
		r, err := chromedp.RunResponse(ctx, step)
		if err != nil || r == nil {
			return 0, err
		}
		return r.Status, nil
	})
	p.status = response
}

func (p *person) visit(address string) { p.t.Helper(); p.load(chromedp.Navigate(address)) }
func (p *person) click(css string)     { p.t.Helper(); p.load(chromedp.Click(chromedp.CSS(css))) }
func (p *person) reload()              { p.t.Helper(); p.load(chromedp.Reload()) }
func (p *person) back()                { p.t.Helper(); p.load(chromedp.NavigateBack()) }
func (p *person) forward()             { p.t.Helper(); p.load(chromedp.NavigateForward()) }

// fill replaces what is in a field by typing.
func (p *person) fill(id, text string) {
	p.t.Helper()
	// Not chromedp's Clear and SendKeys: the second reads attributes of the field
	// while the event of the first changes them.
	p.do(chromedp.Focus(chromedp.ID(id)))
	p.do(chromedp.Evaluate[chromedp.Void]("document.activeElement.select()"))
	p.do(chromedp.KeyEvent(text))
}

// text is what can be read in an element, which must come in time.
func (p *person) text(css string) string {
	p.t.Helper()
	return patiently(p, p.tab, chromedp.Text(chromedp.CSS(css)))
}

func (p *person) value(id string) string {
	p.t.Helper()
	return patiently(p, p.tab, chromedp.Value(chromedp.ID(id)))
}

func (p *person) address() string {
	p.t.Helper()
	return patiently(p, p.tab, chromedp.Location())
}

func (p *person) has(css string) bool {
	p.t.Helper()
	nodes := patiently(p, p.tab, chromedp.QueryNodeIDs(chromedp.CSSAll(css), chromedp.AtLeast(0)))
	return len(nodes) > 0
}

// on fails the test unless the page is the named one.
func (p *person) on(page string) {
	p.t.Helper()
	a := patiently(p, p.tab, chromedp.AttributeValue(chromedp.CSS("html"), "data-page"))
	if a.Value != page {
		p.t.Fatalf("the page is %q (%d), not %q\nat %s\nconsole: %q", a.Value, p.status, page, p.where(p.tab), p.said())
	}
}

// reads fails the test unless the element contains every text.
func (p *person) reads(css string, texts ...string) {
	p.t.Helper()
	got := p.text(css)
	for _, want := range texts {
		if !strings.Contains(got, want) {
			p.t.Errorf("%s does not say %q:\n%s", css, want, got)
		}
	}
}

func (p *person) resize(s size) {
	p.t.Helper()
	p.size = s
	p.do(chromedp.EmulateViewport(s.width, s.height))
}

// withoutScripts is what somebody sees whose browser runs none.
func (p *person) withoutScripts() {
	p.t.Helper()
	p.scripts = false
	p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}))
}

// photograph keeps the page as pictures among the test's artifacts: on a phone
// and a laptop, light and dark. It fails the test when a page is wider than its
// window.
func (p *person) photograph(name string) {
	p.t.Helper()
	defer p.resize(p.size)
	for _, s := range []size{phone, laptop} {
		p.do(chromedp.EmulateViewport(s.width, s.height))
		for _, scheme := range []string{"dark", "light"} {
			p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
				_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{
						{Name: "prefers-color-scheme", Value: scheme},
						{Name: "prefers-reduced-motion", Value: "reduce"}, // or colors would be on their way
					},
				})
				return err
			}))
			if wide := patiently(p, p.tab, chromedp.Evaluate[int64]("document.documentElement.scrollWidth")); wide > s.width {
				p.t.Errorf("the page %s is %d pixels wide in a window of %d", name, wide, s.width)
			}
			picture := patiently(p, p.tab, chromedp.FullScreenshot(100))
			file := fmt.Sprintf("%s-%d-%s.png", name, s.width, scheme)
			if err := os.WriteFile(filepath.Join(p.t.ArtifactDir(), file), picture, 0o644); err != nil {
				p.t.Fatal(err)
			}
		}
	}
}

// letters are those to an address that /dev/mail shows, newest first.
func (p *person) letters(base, to string) (codes []string) {
	p.t.Helper()
	tab := p.open(p.tab)
	defer func() { _ = chromedp.Cancel(tab) }()
	find := fmt.Sprintf("Array.from(document.querySelectorAll(`.letter[data-to=%q] .letter-code`), e => e.textContent)", to)
	await(p.t, "a letter to "+to+" has come", func() bool {
		patiently(p, tab, chromedp.Navigate(base+"/dev/mail"))
		codes = patiently(p, tab, chromedp.Evaluate[[]string](find))
		return len(codes) > 0
	})
	return codes
}

// signIn fills the page of that name.
func (p *person) signIn(email, password string) {
	p.t.Helper()
	p.on("login")
	p.fill("identifier", email)
	p.fill("password", password)
	p.click("#login-submit")
}

// started runs a server until the test ends.
func started(t *testing.T, c Config) *server {
	t.Helper()
	s := built(t, c)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	await(t, "the server is ready", func() bool { return get(s.handler, "/readyz").Code == http.StatusOK })
	return s
}

// byOperator runs a command as an operator would beside the server, and reads the
// JSON that it prints.
func byOperator(t *testing.T, c Config, input string, into any, args ...string) {
	t.Helper()
	var out, problems bytes.Buffer
	environ := []string{"GATEHOUSE_STATE_DIR=" + c.StateDir, "GATEHOUSE_ADDR=" + c.Addr}
	if code := run(context.Background(), append(args, "--json"), terminal{environ, strings.NewReader(input), &out, &problems}); code != 0 {
		t.Fatalf("gatehouse %q ends with %d: %s", args, code, problems.String())
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		t.Fatalf("gatehouse %q prints %s: %v", args, out.String(), err)
	}
}

func createUserAs(t *testing.T, c Config, email, name string) userRecord {
	t.Helper()
	var u userRecord
	byOperator(t, c, password+"\n", &u, "user", "create", "--email", email, "--name", name, "--password-stdin")
	return u
}

// The main job, as people meet it.
func TestBrowser(t *testing.T) {
	browser := chromium(t)
	c := embeddedConfig(t)
	started(t, c)
	for _, tt := range []struct {
		name    string
		size    size
		scripts bool
		email   string
	}{
		{"somebody registers on a laptop and signs in to an app", laptop, true, "ada@example.org"},
		{"the same on a phone", phone, true, "grace@example.org"},
		{"the same without JavaScript", laptop, false, "hedy@example.org"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPerson(t, browser, tt.size)
			if !tt.scripts {
				p.withoutScripts()
			}
			register(p, c.URL, tt.email)
			useApp(p, c.URL, tt.email)
		})
	}
	t.Run("reloading and going back lose nothing and send nothing twice", func(t *testing.T) {
		goBack(newPerson(t, browser, laptop), c.URL)
	})
	t.Run("somebody mistypes the password, refuses, and agrees for once", func(t *testing.T) {
		u := createUserAs(t, c, "mary@example.org", "Mary Somerville")
		refuse(newPerson(t, browser, phone), c.URL, u.Email)
	})
	t.Run("photographs", func(t *testing.T) {
		photographPages(newPerson(t, browser, laptop), c.URL)
	})
}

// register goes from the app to the page that asks for consent.
func register(p *person, base, email string) {
	p.t.Helper()
	p.visit(base + "/dev/app")
	p.on("dev-app")
	p.click("#app-signin")
	p.on("login")
	p.reads("main", "Sign in to continue to Example app")
	if shown := p.has(".pw-toggle:not([hidden])"); shown != p.scripts {
		p.t.Errorf("the button that shows the password is there: %v; scripts run: %v", shown, p.scripts)
	}
	p.click(".lede a")
	p.on("register")
	p.fill("name", "Ada Lovelace")
	p.fill("email", email)
	p.fill("password", password)
	p.click("#register-submit")
	p.on("verify")
	p.reads(".lede", "8-digit code to "+email)
	p.fill("code", p.letters(base, email)[0])
	p.click("#code-submit")
	p.on("consent")
}

// useApp goes from the consent page through what the app can do, and signs out.
func useApp(p *person, base, email string) {
	p.t.Helper()
	host := strings.TrimPrefix(base, "http://")
	p.reads("h1", "Allow Example app to use your Gatehouse account?")
	p.reads("#consent-redirect", host)
	p.reads(".who", "Ada Lovelace", email)
	p.reads("#consent-scopes", "See your name and profile", "Ada Lovelace", "See your email address", email, "Stay connected when you")
	if list := p.text("#consent-scopes"); strings.Contains(list, "openid") || strings.Contains(list, "offline_access") {
		p.t.Errorf("the consent page speaks in scopes:\n%s", list)
	}
	p.click("#consent-allow")

	p.on("dev-app")
	if p.has("#app-error") {
		p.t.Fatalf("the app says %s", p.text("#app-error"))
	}
	var claims, info struct {
		Issuer        string `json:"iss"`
		Subject       string `json:"sub"`
		Name          string `json:"name"`
		Email         string `json:"email"`
		EmailVerified bool   `json:"email_verified"`
	}
	p.decode("#app-claims", &claims)
	p.decode("#app-userinfo", &info)
	if claims.Issuer != base || claims.Subject == "" || info.Subject != claims.Subject {
		p.t.Errorf("the ID token is of %+v, userinfo of %+v", claims, info)
	}
	if info.Name != "Ada Lovelace" || info.Email != email || !info.EmailVerified {
		p.t.Errorf("userinfo says %+v", info)
	}
	p.reads("#app-access-token", `"typ": "at+jwt"`, claims.Subject)
	p.reads("#app-answer", "id_token", "refresh_token", "offline_access")
	first := p.text("#app-access-token")
	p.click("#app-refresh")
	p.on("dev-app")
	p.reads("#app-refreshes", "1")
	if p.has("#app-error") || p.text("#app-access-token") == first {
		p.t.Error("the refresh brought no other access token")
	}

	// The provider remembers both the person and the answer.
	p.click("#app-signout")
	p.on("dev-app")
	p.click("#app-signin")
	p.on("dev-app")
	p.decode("#app-claims", &info)
	if info.Subject != claims.Subject {
		p.t.Errorf("the second sign-in is of %q, not of %q", info.Subject, claims.Subject)
	}

	// Signed out of the provider as well, the answer alone is remembered.
	p.visit(base + "/logout")
	p.on("logout")
	p.click("#logout-confirm")
	p.on("signed-out")
	p.visit(base + "/dev/app")
	p.click("#app-signout")
	p.click("#app-signin")
	p.signIn(email, password)
	p.on("dev-app")
	p.decode("#app-claims", &info)
}

// decode reads the JSON that the element shows.
func (p *person) decode(css string, into any) {
	p.t.Helper()
	if text := p.text(css); json.Unmarshal([]byte(text), into) != nil {
		p.t.Errorf("%s is not JSON:\n%s", css, text)
	}
}

func goBack(p *person, base string) {
	const email = "emmy@example.org"
	p.visit(base + "/register")
	p.on("register")
	p.fill("name", "Emmy Noether")
	p.fill("email", email)
	p.fill("password", "short")
	p.click("#register-submit")
	p.on("register")
	p.reads("#problem", "There is a problem", "Choose a password with 12 characters or more")
	p.reload()
	p.reads("#problem", "Choose a password with 12 characters or more")
	if name, mailbox, secret := p.value("name"), p.value("email"), p.value("password"); name != "Emmy Noether" || mailbox != email || secret != "" {
		p.t.Errorf("the form came back with %q, %q and the password %q", name, mailbox, secret)
	}
	p.fill("password", password)
	p.click("#register-submit")
	p.on("verify")
	verify := p.address()
	code := p.letters(base, email)[0]

	// Five wrong codes would end the right one: none of these reloads sends
	// what was typed once.
	p.fill("code", wrongCode(code))
	p.click("#code-submit")
	for range 6 {
		p.reload()
		p.on("verify")
		p.reads("#problem", "That code isn’t right")
	}
	p.back()
	p.on("verify")
	p.back()
	p.on("register")
	if name, mailbox, secret := p.value("name"), p.value("email"), p.value("password"); name != "Emmy Noether" || mailbox != email || secret != "" {
		p.t.Errorf("going back shows %q, %q and the password %q", name, mailbox, secret)
	}
	p.forward()
	p.on("verify")
	if at := p.address(); at != verify {
		p.t.Errorf("going forward leads to %s, not to %s", at, verify)
	}
	if all := p.letters(base, email); len(all) != 1 {
		p.t.Errorf("%d letters were sent, not 1", len(all))
	}

	// Who goes back may correct the address. The code of the other one is then
	// of no use.
	const corrected = "noether@example.org"
	p.back()
	p.on("register")
	p.fill("email", corrected)
	p.fill("password", password)
	p.click("#register-submit")
	p.on("verify")
	p.reads(".lede", corrected)
	p.fill("code", code)
	p.click("#code-submit")
	p.on("verify")
	p.reads("#problem", "That code isn’t right")
	p.fill("code", p.letters(base, corrected)[0])
	p.click("#code-submit")
	p.on("account")
	p.reads("#account-email", corrected)

	// A step that is done leads on, not to an error.
	p.visit(verify)
	p.on("account")
}

// wrongCode is as long as the code, and another one.
func wrongCode(code string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return r
		}
		return '0' + (r-'0'+1)%10
	}, code)
}

func refuse(p *person, base, email string) {
	p.visit(base + "/dev/app")
	p.click("#app-signin")
	p.signIn(email, "seventeen green lantern")
	p.on("login")
	p.reads("#problem", "Your email or password is incorrect. Check both and try again.")
	if kept, secret := p.value("identifier"), p.value("password"); kept != email || secret != "" {
		p.t.Errorf("the form came back with %q and the password %q", kept, secret)
	}
	p.signIn(email, password)
	p.on("consent")
	p.click("#consent-deny")
	p.on("dev-app")
	p.reads("#app-error", "access_denied")

	// A refusal is of this once, and so is consent without the tick.
	p.click("#app-signin")
	p.on("consent")
	p.do(chromedp.Click(chromedp.ID("remember")))
	p.click("#consent-allow")
	p.on("dev-app")
	p.reads("#app-userinfo", email)
	p.click("#app-signout")
	p.click("#app-signin")
	p.on("consent")
}

func photographPages(p *person, base string) {
	const email = "sofia@example.org"
	p.visit(base + "/dev/app")
	p.photograph("app-before")
	p.click("#app-signin")
	p.photograph("login")
	p.fill("identifier", email)
	p.fill("password", password)
	p.click("#login-submit")
	p.photograph("login-error")
	p.click(".lede a")
	p.photograph("register")
	p.fill("name", "Ada Lovelace")
	p.fill("email", email)
	p.click("#register-submit")
	p.photograph("register-error")
	p.fill("password", password)
	p.click("#register-submit")
	p.on("verify")
	p.photograph("verify")
	p.fill("code", p.letters(base, email)[0])
	p.click("#code-submit")
	p.on("consent")
	p.photograph("consent")
	p.click("#consent-allow")
	p.photograph("app")
	for _, page := range []string{"account", "account/password", "account/two-step", "account/two-step/app", "account/devices", "account/apps", "account/activity"} {
		p.visit(base + "/" + page)
		p.photograph(strings.ReplaceAll(page, "/", "-"))
	}
	p.visit(base + "/dev/mail")
	p.photograph("mail")
	p.visit(base + "/logout")
	p.photograph("logout")
	p.click("#logout-confirm")
	p.photograph("signed-out")

	for _, c := range p.said() {
		p.t.Errorf("the browser's console: %s", c)
	}
	p.visit(base + "/authorize?client_id=nobody&response_type=code")
	if p.on("error"); p.status != http.StatusBadRequest {
		p.t.Errorf("the error page is %d", p.status)
	}
	p.do(chromedp.Click(chromedp.CSS("summary")))
	p.reads("#error-code", "invalid_client")
	p.photograph("error")
	p.said() // that an error page is an error
}

// An app on another origin: Chromium holds what follows a form against
// form-action (CSP3), so that its own page is where a wrong one would show.
func TestBrowserOtherOrigin(t *testing.T) {
	browser := chromium(t)
	c := embeddedConfig(t)
	started(t, c)
	for _, tt := range []struct {
		name, alg string
		register  []string
	}{
		{"a public client, ES256", "ES256", []string{"--public"}},
		{"a client with a secret, RS256", "RS256", []string{"--id-token-alg", "RS256"}},
	} {
		t.Run("sec-M6/"+tt.name, func(t *testing.T) {
			u := createUserAs(t, c, strings.ToLower(tt.alg)+"@example.org", "Ada Lovelace")
			var client clientRecord
			byOperator(t, c, "", &client, append([]string{"client", "create", "--name", "Notes", "--redirect-uri", "http://127.0.0.1/cb"}, tt.register...)...)
			app := newRelyingParty(t, c.URL, client, tt.alg)
			p := newPerson(t, browser, laptop)
			p.visit(app.base + "/signin")
			p.signIn(u.Email, password)
			p.on("consent")
			p.reads("h1", "Allow Notes to use")
			p.reads("#consent-redirect", strings.TrimPrefix(app.base, "http://"))
			p.click("#consent-allow")
			p.reads("#subject", u.ID)
			if at := p.address(); !strings.HasPrefix(at, app.base+"/cb?") {
				t.Errorf("the app was reached at %s", at)
			}
			app.refresh(t, u.ID)

			p.visit(app.base + "/signin")
			if client.AuthMethod == "none" {
				// RFC 8252 section 8.6: any program of this machine could be it.
				p.on("consent")
				p.click("#consent-deny")
				p.reads("#error", "access_denied")
				return
			}
			p.reads("#subject", u.ID)

			// Where nobody is signed in, it is the form of the password that ends at
			// the app.
			elsewhere := newPerson(t, browser, phone)
			elsewhere.visit(app.base + "/signin")
			elsewhere.signIn(u.Email, password)
			elsewhere.reads("#subject", u.ID)
		})
	}
	t.Run("sec-A10", func(t *testing.T) {
		var client clientRecord
		byOperator(t, c, "", &client, "client", "create", "--name", "Frames", "--public", "--redirect-uri", "http://127.0.0.1/cb")
		app := newRelyingParty(t, c.URL, client, "ES256")
		p := newPerson(t, browser, laptop)
		for _, page := range []string{
			"/login", "/register", "/verify", "/consent", "/logout", "/account", "/signed-out", "/dev/app", "/nowhere",
			"/authorize?client_id=nobody", app.question(),
		} {
			if !strings.HasPrefix(page, c.URL) {
				page = c.URL + page
			}
			p.visit(app.base + "/frame?page=" + url.QueryEscape(page))
			var said []string
			await(t, "Chromium refuses to frame "+page, func() bool {
				said = append(said, p.said()...)
				return slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, "frame-ancestors 'none'") })
			})
		}
		p.said()
	})
}

// A relyingParty is an app with an origin of its own, which knows the issuer
// and what it was registered as.
type relyingParty struct {
	t        *testing.T
	base     string
	issuer   string
	provider *oidc.Provider
	verifier *oidc.IDTokenVerifier
	config   oauth2.Config

	// What ties the answer to the question.
	state, nonce, pkce string

	mu     sync.Mutex
	tokens *oauth2.Token
}

// newRelyingParty starts an app on a port that its registration leaves open
// (RFC 8252 section 7.3), and has it find the provider.
func newRelyingParty(t *testing.T, issuer string, client clientRecord, alg string) *relyingParty {
	t.Helper()
	a := &relyingParty{t: t, issuer: issuer, state: "state-" + client.ID, nonce: "nonce-" + client.ID, pkce: oauth2.GenerateVerifier()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /signin", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, a.question(), http.StatusSeeOther)
	})
	mux.HandleFunc("GET /cb", a.callback)
	mux.HandleFunc("GET /frame", func(w http.ResponseWriter, r *http.Request) {
		a.show(w, `<iframe src="{{.}}"></iframe>`, r.FormValue("page"))
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	a.base = srv.URL
	if host, _, err := net.SplitHostPort(strings.TrimPrefix(a.base, "http://")); err != nil || host != "127.0.0.1" {
		t.Fatalf("the app is at %s", a.base)
	}
	var err error
	if a.provider, err = oidc.NewProvider(t.Context(), issuer); err != nil {
		t.Fatal(err)
	}
	a.verifier = a.provider.VerifierContext(t.Context(), &oidc.Config{ClientID: client.ID, SupportedSigningAlgs: []string{alg}})
	a.config = oauth2.Config{
		ClientID: client.ID, ClientSecret: client.Secret, Endpoint: a.provider.Endpoint(), RedirectURL: a.base + "/cb",
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
	}
	return a
}

// question is the authorization request.
func (a *relyingParty) question() string {
	return a.config.AuthCodeURL(a.state, oidc.Nonce(a.nonce), oauth2.S256ChallengeOption(a.pkce))
}

func (a *relyingParty) show(w http.ResponseWriter, body string, data any) {
	page := template.Must(template.New("").Parse(`<!doctype html><title>Notes</title><link rel="icon" href="data:,">` + body))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, data); err != nil {
		a.t.Error(err)
	}
}

// callback takes the answer and shows whose it is.
func (a *relyingParty) callback(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("state") != a.state || r.FormValue("iss") != a.issuer {
		a.t.Errorf("the answer is not to the question: %v", r.Form)
	}
	if code := r.FormValue("error"); code != "" {
		a.show(w, `<p id="error">{{.}}</p>`, code)
		return
	}
	tokens, err := a.config.Exchange(r.Context(), r.FormValue("code"), oauth2.VerifierOption(a.pkce))
	if err != nil {
		a.show(w, `<p id="error">{{.}}</p>`, err)
		return
	}
	id, err := a.verify(r.Context(), tokens)
	if err != nil {
		a.show(w, `<p id="error">{{.}}</p>`, err)
		return
	}
	if id.Nonce != a.nonce {
		a.t.Errorf("the nonce is %q, not %q", id.Nonce, a.nonce)
	}
	a.mu.Lock()
	a.tokens = tokens
	a.mu.Unlock()
	a.show(w, `<p id="subject">{{.}}</p>`, id.Subject)
}

// verify checks the ID token that came with an access token.
func (a *relyingParty) verify(ctx context.Context, tokens *oauth2.Token) (*oidc.IDToken, error) {
	raw, _ := tokens.Extra("id_token").(string)
	id, err := a.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	return id, id.VerifyAccessToken(tokens.AccessToken)
}

// refresh lets the access token expire and has it replaced.
func (a *relyingParty) refresh(t *testing.T, subject string) {
	t.Helper()
	a.mu.Lock()
	tokens := *a.tokens
	a.mu.Unlock()
	expired := tokens
	expired.Expiry = time.Now().Add(-time.Minute)
	next, err := a.config.TokenSource(t.Context(), &expired).Token()
	if err != nil {
		t.Fatalf("refresh: %v", err)
	}
	if next.AccessToken == tokens.AccessToken || next.RefreshToken == tokens.RefreshToken {
		t.Error("the refresh brought the tokens there were")
	}
	id, err := a.verify(t.Context(), next)
	if err != nil || id.Subject != subject {
		t.Errorf("after the refresh the ID token is %+v (%v)", id, err)
	}
	info, err := a.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(next))
	if err != nil || info.Subject != subject {
		t.Errorf("after the refresh userinfo is %+v (%v)", info, err)
	}
}

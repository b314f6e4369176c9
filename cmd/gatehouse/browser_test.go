//go:build !slim

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const (
	// patience is how long one step of a person may take, on a busy machine.
	patience = time.Minute
	password = "seventeen green lanterns"
)

// A size is that of a window, in CSS pixels.
type size struct{ width, height int64 }

var (
	phone  = size{390, 844}
	laptop = size{1280, 900}
)

// chromium returns the context that profiles of the browser are made of. There is
// one browser for all tests, which the first of them starts.
func chromium(t *testing.T) context.Context {
	t.Helper()
	ctx, err := theBrowser()
	switch {
	case errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	return ctx
}

// endBrowser ends the browser, if there is one. TestMain calls it.
var endBrowser = func() {}

var theBrowser = sync.OnceValues(func() (context.Context, error) {
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		return nil, fmt.Errorf("there is no Chromium in PATH, which .ci/install installs: %w", exec.ErrNotFound)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // which root cannot have; the pages are ours
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		// Going back is to ask the server, not to show a page kept in memory.
		chromedp.Flag("disable-features", "Translate,BackForwardCache"),
		// A process that starts on a busy machine is waited for, as everything is.
		chromedp.WSURLReadTimeout(patience),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, end := chromedp.NewContext(allocator)
	endBrowser = func() {
		end()
		stop()
	}
	if err := chromedp.Do(ctx); err != nil {
		return nil, fmt.Errorf("start Chromium: %w", err)
	}
	return ctx, nil
})

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
	// late is how often it wrote that it was too late for autofocus.
	late int
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
		if strings.HasPrefix(e.Entry.Text, "Autofocus processing was blocked") {
			p.late++ // somebody typed, or a script moved the focus, before the page was there as a whole
			return
		}
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

// missed returns how often the focus was elsewhere before a page had put it where
// it is to be, and forgets it.
func (p *person) missed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.late
	p.late = 0
	return n
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

// fill replaces what is in a field by typing: the last key is pressed, and what is
// before it is there at once, because each key takes time.
func (p *person) fill(id, text string) {
	p.t.Helper()
	_, last := utf8.DecodeLastRuneInString(text)
	p.paste(id, text[:len(text)-last])
	p.do(chromedp.KeyEvent(text[len(text)-last:]))
}

// paste replaces what is in a field at once, as from the clipboard.
func (p *person) paste(id, text string) {
	p.t.Helper()
	// Not chromedp's Clear and SendKeys: the second reads attributes of the field
	// while the event of the first changes them.
	p.do(chromedp.Focus(chromedp.ID(id)))
	p.do(chromedp.Evaluate[chromedp.Void]("document.activeElement.select()"))
	p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, input.InsertText, input.InsertTextParams{Text: text})
		return err
	}))
}

// until waits for a condition, in JavaScript, that must come true in time.
func (p *person) until(condition string) {
	p.t.Helper()
	await(p.t, condition, func() bool {
		return patiently(p, p.tab, chromedp.Evaluate[bool](condition))
	})
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

// decode reads the JSON that the element shows.
func (p *person) decode(css string, into any) {
	p.t.Helper()
	if text := p.text(css); json.Unmarshal([]byte(text), into) != nil {
		p.t.Errorf("%s is not JSON:\n%s", css, text)
	}
}

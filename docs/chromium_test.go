//go:build unix

package docs_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A window is one of Chromium, which blocks cookies of third parties.
type window struct {
	t   *testing.T
	tab context.Context
}

// newWindow starts a Chromium that ends with the test, in which it must not
// complain of a page.
func newWindow(t *testing.T) *window {
	t.Helper()
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(needs(t, "chromium", "chromium-browser", "google-chrome")),
		chromedp.NoSandbox, // which root cannot have; the pages are ours
		chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(patience), // until it has started
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("test-third-party-cookie-phaseout", true),
	)...)
	t.Cleanup(stop)
	tab, stop := chromedp.NewContext(allocator, chromedp.WithListener(func(event any) {
		switch e := event.(type) {
		case *log.EventEntryAdded:
			t.Errorf("the browser's console: %s, at %s", e.Entry.Text, e.Entry.URL)
		case *runtime.EventExceptionThrown:
			t.Errorf("the browser's console: %s, at %s", e.ExceptionDetails.Text, e.ExceptionDetails.URL)
		}
	}))
	t.Cleanup(stop)
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return &window{t, tab}
}

// patiently runs one step and returns what it gives.
func patiently[T any](w *window, step chromedp.Action[T]) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.tab, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, step)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *window) visit(address string) { w.t.Helper(); patiently(w, chromedp.Navigate(address)) }

func (w *window) click(css string) { w.t.Helper(); patiently(w, chromedp.Click(chromedp.CSS(css))) }

func (w *window) fill(id, text string) {
	w.t.Helper()
	patiently(w, chromedp.Focus(chromedp.ID(id)))
	patiently(w, chromedp.KeyEvent(text))
}

// press presses a button by what stands on it.
func (w *window) press(label string) {
	w.t.Helper()
	if !patiently(w, chromedp.Evaluate[bool](fmt.Sprintf(
		"(() => { const b = [...document.querySelectorAll('button')].find((b) => b.textContent === %q); b?.click(); return !!b })()", label))) {
		w.t.Fatalf("there is no button %q", label)
	}
}

// reads waits for a sentence on the page.
func (w *window) reads(sentence string) {
	w.t.Helper()
	var text string
	await(w.t, fmt.Sprintf("the page says %q", sentence), func() bool {
		// The page may go away at any moment: then there is another soon.
		text, _ = chromedp.Run(w.tab, chromedp.Evaluate[string]("document.body?.innerText ?? ''"))
		return strings.Contains(text, sentence)
	})
}

// signIn signs in and agrees.
func (w *window) signIn(email, password string) {
	w.t.Helper()
	w.fill("identifier", email)
	w.fill("password", password)
	w.click("#login-submit")
	w.click("#consent-allow")
}

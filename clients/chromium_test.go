package clients_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A window is one of Chromium, of a profile that nobody used before.
type window struct {
	t   *testing.T
	tab context.Context

	mu sync.Mutex
	// complaints are what the browser wrote to its console, such as a breach of a
	// Content-Security-Policy or an answer that a script may not read.
	complaints []string
}

// newWindow starts a Chromium that blocks cookies of third parties, and ends
// with the test, in which it must not complain.
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
	w := &window{t: t}
	tab, stop := chromedp.NewContext(allocator, chromedp.WithListener(w.listen))
	t.Cleanup(stop)
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	w.tab = tab
	t.Cleanup(func() {
		for _, c := range w.said() {
			t.Errorf("the browser's console: %s", c)
		}
	})
	return w
}

func (w *window) listen(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		w.complaints = append(w.complaints, fmt.Sprintf("%s, at %s", e.Entry.Text, e.Entry.URL))
	case *runtime.EventExceptionThrown:
		w.complaints = append(w.complaints, fmt.Sprintf("%s, at %s", e.ExceptionDetails.Text, e.ExceptionDetails.URL))
	case *runtime.EventConsoleAPICalled:
		for _, arg := range e.Args {
			w.complaints = append(w.complaints, fmt.Sprintf("%s: %s", e.Type, arg.Value))
		}
	}
}

// said returns what the browser has complained about.
func (w *window) said() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.complaints)
}

// where says what the window shows, for a message.
func (w *window) where() string {
	ctx, cancel := context.WithTimeout(w.tab, patience)
	defer cancel()
	at, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	body, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		return at
	}
	return at + "\n" + body
}

// patiently runs one step and returns what it gives.
func patiently[T any](w *window, step chromedp.Action[T]) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.tab, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, step)
	if err != nil {
		w.t.Fatalf("%v, at %s\nconsole: %q", err, w.where(), w.said())
	}
	return v
}

func (w *window) visit(address string) { w.t.Helper(); patiently(w, chromedp.Navigate(address)) }
func (w *window) click(css string)     { w.t.Helper(); patiently(w, chromedp.Click(chromedp.CSS(css))) }

func (w *window) fill(id, text string) {
	w.t.Helper()
	patiently(w, chromedp.Focus(chromedp.ID(id)))
	patiently(w, chromedp.Evaluate[chromedp.Void]("document.activeElement.select()"))
	patiently(w, chromedp.KeyEvent(text))
}

// shows waits until the element has JSON in it that fits.
func shows[T any](w *window, what, css string, fits func(T) bool) (v T) {
	w.t.Helper()
	var got string
	defer func() {
		if w.t.Failed() {
			w.t.Logf("%s shows %s", css, got)
		}
	}()
	await(w.t, what, func() bool {
		ctx, cancel := context.WithTimeout(w.tab, patience)
		defer cancel()
		// The page may go away at any moment: then there is another soon.
		got, _ = chromedp.Run(ctx, chromedp.Text(chromedp.CSS(css)))
		v = *new(T)
		return json.Unmarshal([]byte(got), &v) == nil && fits(v)
	})
	return v
}

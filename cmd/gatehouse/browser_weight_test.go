//go:build !slim

package main

import (
	"context"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// The page that everybody meets first, in a browser that has nothing of ours yet:
// what comes over the wire, with the headers, in how many answers, and whether
// anything moves after it was first shown.
func TestBrowserWeight(t *testing.T) {
	const mostBytes, mostAnswers = 30_000, 5
	browser := chromium(t)
	c := embeddedConfig(t)
	started(t, c)
	for _, s := range []size{phone, laptop} {
		p := newPerson(t, browser, s)
		var mu sync.Mutex
		var answers, bytes int
		listening := chromedp.Listen(p.tab, func(event any) {
			if e, ok := event.(*network.EventLoadingFinished); ok {
				mu.Lock()
				defer mu.Unlock()
				answers++
				bytes += int(e.EncodedDataLength)
			}
		})
		if listening != nil {
			t.Fatal(listening)
		}
		p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
			return err
		}))
		// A page without parts, because Chromium gives the window its size while the
		// first one of a site begins: under load after that was painted.
		p.visit(c.URL + "/livez")
		mu.Lock()
		answers, bytes = 0, 0
		mu.Unlock()
		p.visit(c.URL + "/login")
		p.on("login")
		shift := patiently(p, p.tab, chromedp.Evaluate[float64](`new Promise(done => {
			let sum = 0;
			new PerformanceObserver(list => { for (const e of list.getEntries()) sum += e.value; }).observe({ type: 'layout-shift', buffered: true });
			requestAnimationFrame(() => setTimeout(() => done(sum), 300));
		})`, chromedp.EvalAwaitPromise))
		mu.Lock()
		t.Logf("the sign-in page in a window of %d pixels: %d bytes in %d answers; layout shift %v", s.width, bytes, answers, shift)
		if answers == 0 || answers >= mostAnswers || bytes == 0 || bytes >= mostBytes {
			t.Errorf("the sign-in page takes %d bytes in %d answers; less than %d in less than %d are allowed", bytes, answers, mostBytes, mostAnswers)
		}
		mu.Unlock()
		if shift != 0 {
			t.Errorf("the sign-in page moves by %v after it was shown", shift)
		}
	}
}

package login

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestBrowser(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                  "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36":                         "Chrome on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0":           "Edge on Windows",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36":                         "Chrome on Android",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/138.0 Mobile/15E148 Safari/604.1":  "Chrome on iPhone",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15":                   "Safari on macOS",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36":                          "Chrome on ChromeOS",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 OPR/120.0.0.0":                     "Opera on Linux",
		"curl/8.5.0": "", "": "",
		"Visit https://evil.example/ now":                 "",
		"sec-L5: Firefox/1 <a href=//evil.example> Linux": "Firefox on Linux",
		"something on Windows":                            "Windows",
	} {
		if got := (From{UserAgent: agent}).Browser(); got != want {
			t.Errorf("%q is called %q, want %q", agent, got, want)
		}
	}
}

// TestRecord is sec-O3: what a stranger sends is bounded, and is text.
func TestRecord(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	from := From{Address: "192.0.2.7", UserAgent: "\xff" + strings.Repeat("é", 3<<20)}
	h.record(ctx, EventSignIn, "", eventOK, from, "")
	events, err := h.store.ListEvents(ctx, "", 10)
	if err != nil || len(events) != 1 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	if e := events[0]; len(e.UserAgent) != maxUserAgent || !utf8.ValidString(e.UserAgent) || e.Address != from.Address || e.At.IsZero() {
		t.Errorf("event %+v", e)
	}
}

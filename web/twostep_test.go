package web_test

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image/color"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/boombuler/barcode/qr"
)

var (
	shownSecret = regexp.MustCompile(`<code class="secret" id="two-step-secret">([A-Z2-7]{4}(?: [A-Z2-7]{4})*)</code>`)
	shownCode   = regexp.MustCompile(`<li>([0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]{5})</li>`)
	appLink     = regexp.MustCompile(`<a href="(otpauth://totp/[^"]+)">`)
)

// secret is the setup key on the page.
func (b *browser) secret(page answer) string {
	b.t.Helper()
	m := shownSecret.FindStringSubmatch(page.body)
	if m == nil {
		b.t.Fatalf("no setup key\n%s", page.body)
	}
	return strings.ReplaceAll(m[1], " ", "")
}

// codes are the recovery codes on the page.
func (b *browser) codes(page answer) []string {
	b.t.Helper()
	var codes []string
	for _, m := range shownCode.FindAllStringSubmatch(page.body, -1) {
		codes = append(codes, m[1])
	}
	if len(codes) != 10 {
		b.t.Fatalf("%d recovery codes\n%s", len(codes), page.body)
	}
	return codes
}

// scan is the app that got the secret.
func (b *browser) scan(secret string) *phone {
	b.t.Helper()
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		b.t.Fatal(err)
	}
	return &phone{t: b.t, h: b.h, secret: raw}
}

// turnOn goes from the account to the page of recovery codes.
func (b *browser) turnOn() (page answer, p *phone) {
	b.t.Helper()
	page = b.wants(b.open("/account/two-step/app"), "two-step-app", 200)
	p = b.scan(b.secret(page))
	page = b.wants(b.follow(b.submit(page, "/account/two-step/app", "code", p.code())), "recovery-codes", 200)
	p.recovery = b.codes(page)
	return page, p
}

// secondFactor says whether two-step sign-in is on for the address.
func (h *house) secondFactor(t testing.TB, email string) bool {
	t.Helper()
	u, _, err := h.sql.UserByEmail(t.Context(), email)
	if err != nil {
		t.Fatal(err)
	}
	return u.SecondFactor
}

func TestTurnTwoStepOn(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	b.register("asha@example.com")
	b.wants(b.open("/account/two-step"), "two-step", 200, "Two-step sign-in", "Turn on", `href="/account/two-step/app"`,
		"signs you out on all your other devices")

	page := b.wants(b.open("/account/two-step/app"), "two-step-app", 200, "Set up your authenticator app", "step 2 of 3",
		`<img class="qr" id="two-step-qr" src="/account/two-step/qr.svg"`, "The setup key below does the same thing.",
		"asha@example.com", "Time-based, 6 digits, every 30 seconds", `autocomplete="one-time-code"`, `href="/account/two-step"`)
	secret := b.secret(page)
	p := b.scan(secret)
	if m := appLink.FindStringSubmatch(page.body); m == nil || !strings.Contains(m[1], "secret="+secret+"&amp;") {
		t.Errorf("the link to an app holds another secret: %v", m)
	}
	again := func(page answer) {
		t.Helper()
		if got := b.secret(page); got != secret {
			t.Errorf("the page shows another secret than before")
		}
	}
	again(b.get(page.Request.URL.RequestURI())) // refreshed
	again(b.open("/account/two-step/app"))      // another tab
	b.wants(b.open("/account/two-step"), "two-step", 200, "Turn on")
	for _, c := range []struct{ name, typed, want string }{
		{"nothing", "", "Enter the 6-digit code from your authenticator app"},
		{"five digits", "12345", "Enter all 6 digits of the code"},
		{"a wrong code", p.wrong(), "Check that you scanned this page’s QR code, then enter the newest code."},
	} {
		got := b.follow(b.submit(page, "/account/two-step/app", "code", c.typed))
		b.wants(got, "two-step-app", 200, "There is a problem", c.want, `href="#code"`, `id="code-error"`)
		again(got)
		if h.secondFactor(t, "asha@example.com") {
			t.Fatalf("%s turned it on", c.name)
		}
	}

	page = b.wants(b.follow(b.submit(page, "/account/two-step/app", "code", p.code())), "recovery-codes", 200,
		"Save your recovery codes", "step 3 of 3", "We won’t show these codes again.", "I’ve saved these codes", "data-print", "data-copy")
	if !h.secondFactor(t, "asha@example.com") {
		t.Fatal("the right code did not turn it on")
	}
	p.recovery = b.codes(page)
	b.wants(b.follow(b.submit(page, "/account/two-step/recovery")), "recovery-codes", 200,
		"Tick the box once you’ve saved your codes", `href="#saved"`, `aria-describedby="saved-error"`)
	b.wants(b.follow(b.submit(page, "/account/two-step/recovery", "saved", "1")), "two-step", 200,
		"Two-step sign-in is on.", "10 of 10 left", "Turn off", "Added ")
	b.wants(b.open("/account/two-step/app"), "two-step", 200)

	h.pass(30 * time.Second)
	other := h.browser(t)
	page = other.wants(other.signIn(other.open("/login"), "asha@example.com"), "code", 200)
	other.wants(other.follow(other.submit(page, "/login/code", "code", p.code())), "account", 200)
	third := h.browser(t)
	page = third.wants(third.signIn(third.open("/login"), "asha@example.com"), "code", 200)
	page = third.open("/login/recovery?flow=" + page.hidden().Get("flow"))
	third.wants(third.follow(third.submit(page, "/login/recovery", "recovery_code", p.recovery[9])), "account", 200)
	b.wants(b.open("/account/two-step"), "two-step", 200, "9 of 10 left", "last used")

	for name, secret := range map[string]string{"setup key": secret, "recovery code": p.recovery[0]} {
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("sec-O1 the log holds the %s", name)
		}
	}
}

func TestLeaveTwoStepSetup(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	b.register("asha@example.com")
	page := b.wants(b.open("/account/two-step/app"), "two-step-app", 200)
	first := b.secret(page)
	p := b.scan(first)
	b.wants(b.open("/account/two-step"), "two-step", 200, "Turn on")
	if h.secondFactor(t, "asha@example.com") {
		t.Fatal("looking at the page turned it on")
	}
	other := h.browser(t)
	other.wants(other.signIn(other.open("/login"), "asha@example.com"), "account", 200)
	if got := other.secret(other.open("/account/two-step/app")); got == first {
		t.Error("another browser reads the secret that waits here")
	}

	t.Run("a setup that took too long is told, and begins again", func(t *testing.T) {
		h.pass(31 * time.Minute)
		page := b.wants(b.open("/account/two-step/app"), "account-confirm", 200)
		page = b.wants(b.follow(b.submit(page, "/account/confirm", "password", password)), "two-step-app", 200)
		if b.secret(page) == first {
			t.Error("a secret of 31 minutes ago")
		}
		b.http.Jar.SetCookies(page.Request.URL, []*http.Cookie{{Name: "gatehouse_enrol", Value: "LOST", Path: "/"}})
		page = b.follow(b.submit(page, "/account/two-step/app", "code", p.code()))
		b.wants(page, "two-step-app", 200, "That setup took longer than 30 minutes")
	})
}

func TestTwoStepAsksForAFreshSignIn(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	b.register("asha@example.com")
	h.pass(6 * time.Minute)
	b.wants(b.open("/account/two-step"), "two-step", 200)
	page := b.wants(b.open("/account/two-step/app"), "account-confirm", 200)
	page = b.wants(b.follow(b.submit(page, "/account/confirm", "password", password)), "two-step-app", 200)
	secret := b.secret(page)

	h.pass(6 * time.Minute) // the person looks for the phone
	page = b.wants(b.follow(b.submit(page, "/account/two-step/app", "code", b.scan(secret).code())), "account-confirm", 200)
	page = b.wants(b.follow(b.submit(page, "/account/confirm", "password", password)), "two-step-app", 200)
	if got := b.secret(page); got != secret {
		t.Error("the secret is another one after the sign-in")
	}
	page = b.follow(b.submit(page, "/account/two-step/app", "code", b.scan(secret).code()))
	b.wants(page, "recovery-codes", 200)
	for _, path := range []string{"/account/two-step/off", "/account/two-step/recovery/new"} {
		b.wants(b.open(path), strings.NewReplacer("/account/two-step/off", "two-step-off", "/account/two-step/recovery/new", "recovery-codes-new").Replace(path), 200)
		h.pass(6 * time.Minute)
		b.wants(b.open(path), "account-confirm", 200)
		h.pass(-6 * time.Minute)
	}
	h.pass(29 * time.Minute) // reading the codes again asks for nothing
	b.codes(b.wants(b.get(page.Request.URL.RequestURI()), "recovery-codes", 200))
}

func TestQRCode(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	b.register("asha@example.com")
	b.wants(b.get("/account/two-step/qr.svg"), "error", 404)
	page := b.open("/account/two-step/app")
	uri := strings.ReplaceAll(appLink.FindStringSubmatch(page.body)[1], "&amp;", "&")
	a := b.get("/account/two-step/qr.svg")
	for name, want := range map[string]string{
		"Content-Type": "image/svg+xml", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	t.Run("the picture is the link's QR code in a quiet zone", func(t *testing.T) {
		want, err := qr.Encode(uri, qr.L, qr.Unicode)
		if err != nil {
			t.Fatal(err)
		}
		n := want.Bounds().Dx()
		var svg struct {
			ViewBox string `xml:"viewBox,attr"`
			Paths   []struct {
				D string `xml:"d,attr"`
			} `xml:"path"`
		}
		if err := xml.Unmarshal([]byte(a.body), &svg); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("0 0 %d %[1]d", n+8); svg.ViewBox != want || len(svg.Paths) != 2 {
			t.Fatalf("viewBox %q and %d paths, want %q and 2", svg.ViewBox, len(svg.Paths), want)
		}
		dark := map[[2]int]bool{}
		for _, run := range strings.Split(strings.TrimPrefix(svg.Paths[1].D, "M"), "M") {
			var x, y, w, back int
			if _, err := fmt.Sscanf(run, "%d %dh%dv1h-%dz", &x, &y, &w, &back); err != nil || w != back {
				t.Fatalf("run %q: %v", run, err)
			}
			for i := range w {
				dark[[2]int{x + i, y}] = true
			}
		}
		for y := range n + 8 {
			for x := range n + 8 {
				isDark := x >= 4 && x < n+4 && y >= 4 && y < n+4 && want.At(x-4, y-4) == color.Black
				if dark[[2]int{x, y}] != isDark {
					t.Fatalf("module %d, %d: dark is %v, want %v", x, y, !isDark, isDark)
				}
			}
		}
	})
	t.Run("sec-K1 nobody else gets it", func(t *testing.T) {
		nobody := h.browser(t)
		nobody.wants(nobody.get("/account/two-step/qr.svg"), "error", 404)
		other := h.browser(t)
		other.wants(other.signIn(other.open("/login"), "asha@example.com"), "account", 200)
		other.wants(other.get("/account/two-step/qr.svg"), "error", 404)
		stranger := h.browser(t)
		stranger.register("stranger@example.com")
		stranger.http.Jar.SetCookies(page.Request.URL, slices.DeleteFunc(b.http.Jar.Cookies(page.Request.URL),
			func(c *http.Cookie) bool { return c.Name != "gatehouse_enrol" }))
		stranger.wants(stranger.get("/account/two-step/qr.svg"), "error", 404)
	})
	b.follow(b.submit(page, "/account/two-step/app", "code", b.scan(b.secret(page)).code()))
	b.wants(b.get("/account/two-step/qr.svg"), "error", 404)
}

func TestRecoveryCodesAreShownOnce(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	b.register("asha@example.com")
	page, p := b.turnOn()
	at, flow := page.Request.URL.RequestURI(), page.hidden().Get("flow")
	file := "/account/two-step/recovery.txt?flow=" + flow
	if got := b.codes(b.get(at)); !slices.Equal(got, p.recovery) {
		t.Error("refreshed, the page shows other codes")
	}

	t.Run("the file has the same codes", func(t *testing.T) {
		a := b.get(file)
		kind, params, err := mime.ParseMediaType(a.Header.Get("Content-Disposition"))
		if err != nil || kind != "attachment" || params["filename"] != "127.0.0.1-recovery-codes.txt" {
			t.Errorf("Content-Disposition %q: %v", a.Header.Get("Content-Disposition"), err)
		}
		if a.StatusCode != 200 || a.Header.Get("Content-Type") != "text/plain; charset=utf-8" || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %v", a.Status, a.Header)
		}
		for _, want := range append(p.recovery, "Gatehouse recovery codes", "Account: asha@example.com", "Created: ", "\n 1. ", "\n10. ") {
			if !strings.Contains(a.body, want) {
				t.Errorf("the file does not have %q\n%s", want, a.body)
			}
		}
	})
	t.Run("sec-K3 storage holds no code that it can read", func(t *testing.T) {
		i, err := h.volatile.Interaction(t.Context(), flow)
		if err != nil {
			t.Fatal(err)
		}
		if len(i.Typed) == 0 {
			t.Fatal("the flow holds nothing: the codes are elsewhere")
		}
		record, err := json.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range i.Typed {
			raw, _ := base64.RawURLEncoding.DecodeString(v)
			record = append(record, raw...)
		}
		for _, code := range p.recovery {
			for _, form := range []string{code, strings.ReplaceAll(code, "-", "")} {
				if bytes.Contains(record, []byte(form)) {
					t.Errorf("the record holds %s", form)
				}
			}
		}
	})
	gone := func(b *browser) {
		t.Helper()
		for _, path := range []string{at, file} {
			a := b.open(path)
			if a.page() == "recovery-codes" || strings.Contains(a.body, p.recovery[0]) {
				t.Errorf("GET %s shows the codes\n%s", path, a.body)
			}
		}
	}
	t.Run("sec-K3 nobody else reads them", func(t *testing.T) {
		gone(h.browser(t))
		h.pass(30 * time.Second)
		other := h.browser(t)
		step := other.wants(other.signIn(other.open("/login"), "asha@example.com"), "code", 200)
		other.wants(other.follow(other.submit(step, "/login/code", "code", p.code())), "account", 200)
		gone(other)
	})
	t.Run("sec-K3 nor who signs in next in this browser", func(t *testing.T) {
		h.browser(t).register("next@example.com")
		b := &browser{t, h, b.http}
		b.wants(b.follow(b.submit(b.open("/logout"), "/logout", "scope", "all")), "signed-out", 200)
		gone(b)
		b.wants(b.signIn(b.open("/login"), "next@example.com"), "account", 200)
		gone(b)
		// What the flow says of whose it is does not decide alone.
		i, err := h.volatile.Interaction(t.Context(), flow)
		if err != nil {
			t.Fatal(err)
		}
		u, _, err := h.sql.UserByEmail(t.Context(), "next@example.com")
		if err != nil {
			t.Fatal(err)
		}
		owner := i.UserID
		i.UserID = u.ID
		if err := h.volatile.PutInteraction(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		gone(b)
		i.UserID = owner
		if err := h.volatile.PutInteraction(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		h.pass(30 * time.Second)
		b.follow(b.submit(b.open("/logout"), "/logout", "scope", "all"))
		step := b.wants(b.signIn(b.open("/login"), "asha@example.com"), "code", 200)
		b.wants(b.follow(b.submit(step, "/login/code", "code", p.code())), "account", 200)
	})
	t.Run("after Finish they are gone for ever", func(t *testing.T) {
		page := b.wants(b.get(at), "recovery-codes", 200)
		key := b.http.Jar.Cookies(page.Request.URL)
		b.wants(b.follow(b.submit(page, "/account/two-step/recovery", "saved", "1")), "two-step", 200)
		gone(b)
		i, err := h.volatile.Interaction(t.Context(), flow)
		if err != nil || len(i.Typed) != 0 {
			t.Errorf("the flow still holds something: %v, %v", i.Typed, err)
		}
		for _, c := range b.http.Jar.Cookies(page.Request.URL) {
			if c.Name == "gatehouse_codes" {
				t.Error("the browser still has the key")
			}
		}
		b.http.Jar.SetCookies(page.Request.URL, key) // somebody kept it
		gone(b)
		b.wants(b.open(at), "two-step", 200)
		b.wants(b.follow(b.submit(page, "/account/two-step/recovery", "saved", "1")), "two-step", 200)
	})
}

// Nobody loses codes by a second click, or by an answer that never came.
func TestRecoveryCodesOfAFormSentTwice(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	b.register("asha@example.com")
	page := b.wants(b.open("/account/two-step/app"), "two-step-app", 200)
	p := b.scan(b.secret(page))
	twice := func(page answer, path string, values ...string) answer {
		t.Helper()
		before := b.http.Jar.Cookies(page.Request.URL)
		first := b.submit(page, path, values...)
		for _, c := range b.http.Jar.Cookies(page.Request.URL) { // the answer's never came
			b.http.Jar.SetCookies(page.Request.URL, []*http.Cookie{{Name: c.Name, Path: "/", MaxAge: -1}})
		}
		for _, c := range before {
			c.Path = "/"
		}
		b.http.Jar.SetCookies(page.Request.URL, before)
		second := b.wants(b.follow(b.submit(page, path, values...)), "recovery-codes", 200)
		if got := b.codes(b.follow(first)); !slices.Equal(got, b.codes(second)) {
			t.Errorf("POST %s twice made codes twice", path)
		}
		return second
	}
	page = twice(page, "/account/two-step/app", "code", p.code())
	b.follow(b.submit(page, "/account/two-step/recovery", "saved", "1"))
	page = b.wants(b.open("/account/two-step/recovery/new"), "recovery-codes-new", 200)
	codes := b.codes(twice(page, "/account/two-step/recovery/new"))
	page = b.open("/account/two-step/off")
	b.wants(b.follow(b.submit(page, "/account/two-step/off", "code", codes[0])), "two-step", 200, "Two-step sign-in is off.")
}

func TestNewRecoveryCodes(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	b := h.browser(t)
	b.register("asha@example.com")
	b.wants(b.open("/account/two-step/recovery/new"), "two-step", 200, "Turn on")
	page, p := b.turnOn()
	b.follow(b.submit(page, "/account/two-step/recovery", "saved", "1"))
	page = b.wants(b.open("/account/two-step/recovery/new"), "recovery-codes-new", 200, "Make new recovery codes?", "stop working straight away")
	page = b.wants(b.follow(b.submit(page, "/account/two-step/recovery/new")), "recovery-codes", 200)
	if strings.Contains(page.body, "step 3 of 3") {
		t.Error("new codes are a step of nothing")
	}
	codes := b.codes(page)
	b.wants(b.follow(b.submit(page, "/account/two-step/recovery", "saved", "1")), "two-step", 200, "You have 10 new recovery codes.")
	page = b.open("/account/two-step/recovery/new")
	b.wants(b.follow(b.submit(page, "/account/two-step/recovery/new")), "recovery-codes-new", 429, "You’ve asked for this too often. Try again at")

	use := func(code string) answer {
		t.Helper()
		b = h.browser(t)
		page := b.wants(b.signIn(b.open(authorize(c)), "asha@example.com"), "code", 200)
		page = b.open("/login/recovery?flow=" + page.hidden().Get("flow"))
		return b.follow(b.submit(page, "/login/recovery", "recovery_code", code))
	}
	b.wants(use(p.recovery[0]), "recovery", 200, "already been used")
	for _, code := range codes[:6] {
		h.pass(10 * time.Second) // new codes are made once a minute
		b.wants(use(code), "consent", 200)
	}
	page = b.wants(use(codes[6]), "recovery-low", 200, "Make new codes", "Continue to Tidepool Notes")
	flow := page.hidden().Get("flow")
	page = b.wants(b.follow(b.submit(page, "/login/recovery/low")), "recovery-codes-new", 200, `href="/authorize?flow=`+flow+`"`)
	page = b.wants(b.follow(b.submit(page, "/account/two-step/recovery/new")), "recovery-codes", 200)
	b.codes(page)
	if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' https://app.tidepool.example;") {
		t.Errorf("sec-M6 the way back to the app is shut: %s", csp)
	}
	b.wants(b.follow(b.submit(page, "/account/two-step/recovery", "saved", "1")), "consent", 200)
}

func TestTurnTwoStepOff(t *testing.T) {
	h := open(t, option{})
	b := h.browser(t)
	b.register("asha@example.com")
	b.wants(b.open("/account/two-step/off"), "two-step", 200, "Turn on")
	h.stop() // so that the app still shows the code that turned it on
	page, p := b.turnOn()
	b.follow(b.submit(page, "/account/two-step/recovery", "saved", "1"))
	page = b.wants(b.open("/account/two-step/off"), "two-step-off", 200, "Turn off two-step sign-in?",
		"Anyone who knows your password could sign in.", "Keep it on", `href="/account/two-step"`)
	for _, c := range []struct{ name, typed, want string }{
		{"nothing", "", "Enter a code from your authenticator app, or a recovery code"},
		{"a wrong code", p.wrong(), "Wait for a new one to appear in your app"},
		{"the code that turned it on", p.code(), "That code has already been used."},
		{"no recovery code", "22222-22222-22222", "That code isn’t right."},
	} {
		b.wants(b.follow(b.submit(page, "/account/two-step/off", "code", c.typed)), "two-step-off", 200, c.want, `href="#code"`)
		if !h.secondFactor(t, "asha@example.com") {
			t.Fatalf("%s turned it off", c.name)
		}
	}
	b.wants(b.follow(b.submit(page, "/account/two-step/off", "code", p.recovery[3])), "two-step", 200, "Two-step sign-in is off.", "Turn on")
	if h.secondFactor(t, "asha@example.com") {
		t.Fatal("a recovery code did not turn it off")
	}
	b.wants(b.follow(b.submit(page, "/account/two-step/off", "code", p.recovery[4])), "two-step", 200)

	page, p = b.turnOn()
	b.follow(b.submit(page, "/account/two-step/recovery", "saved", "1"))
	h.pass(30 * time.Second)
	page = b.open("/account/two-step/off")
	b.wants(b.follow(b.submit(page, "/account/two-step/off", "code", p.code())), "two-step", 200, "Two-step sign-in is off.")
}

func TestTwoStepCSRF(t *testing.T) {
	h := open(t, option{})
	off, on, stranger := h.browser(t), h.browser(t), h.browser(t)
	off.register("off@example.com")
	on.register("on@example.com")
	enrol := off.wants(off.open("/account/two-step/app"), "two-step-app", 200)
	app := off.scan(off.secret(enrol))
	codes, p := on.turnOn()
	renew := on.wants(on.open("/account/two-step/recovery/new"), "recovery-codes-new", 200)
	leave := on.wants(on.open("/account/two-step/off"), "two-step-off", 200)
	stranger.register("stranger@example.com")
	theirs := stranger.wants(stranger.open("/account/two-step/app"), "two-step-app", 200).hidden()

	posts := []struct {
		path string
		b    *browser
		page answer
		add  []string
		done string
	}{
		{"/account/two-step/recovery", on, codes, []string{"saved", "1"}, "two-step"},
		{"/account/two-step/recovery/new", on, renew, nil, "recovery-codes"},
		{"/account/two-step/off", on, leave, []string{"code", p.recovery[0]}, "two-step"},
		{"/account/two-step/app", off, enrol, []string{"code", app.code()}, "recovery-codes"},
	}
	for _, r := range posts {
		outside := r.b.open("/logout").hidden() // of this browser, for no session
		for _, a := range []struct {
			name   string
			change func(url.Values)
			header []string
		}{
			{"no token", func(f url.Values) { f.Del("csrf_token") }, nil},
			{"another browser's token", func(f url.Values) { f.Set("csrf_token", theirs.Get("csrf_token")) }, nil},
			{"another browser's token and flow", func(f url.Values) {
				f.Set("csrf_token", theirs.Get("csrf_token"))
				f.Set("flow", theirs.Get("flow"))
			}, nil},
			{"the token of a page outside the account", func(f url.Values) {
				f.Set("csrf_token", outside.Get("csrf_token"))
				f.Set("flow", outside.Get("flow"))
			}, nil},
			{"no flow", func(f url.Values) { f.Set("flow", "") }, nil},
			{"from another site", func(url.Values) {}, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}},
		} {
			t.Run("sec-A14 "+r.path+" with "+a.name, func(t *testing.T) {
				f := r.page.hidden()
				for i := 0; i+1 < len(r.add); i += 2 {
					f.Set(r.add[i], r.add[i+1])
				}
				a.change(f)
				r.b.wants(r.b.post(r.path, f, a.header...), "error", 403, "That took a while")
			})
		}
	}
	if h.secondFactor(t, "off@example.com") || !h.secondFactor(t, "on@example.com") {
		t.Fatal("sec-A14 a forged form changed two-step sign-in")
	}
	for _, r := range posts { // the same forms, as the pages send them
		if r.path == "/account/two-step/off" {
			r.add = []string{"code", on.codes(on.open(codes.Request.URL.RequestURI()))[0]}
		}
		page := r.b.wants(r.b.follow(r.b.submit(r.page, r.path, r.add...)), r.done, 200)
		if r.path == "/account/two-step/recovery/new" {
			codes = page
		}
	}
}

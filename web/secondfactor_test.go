package web_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A phone is an authenticator app.
type phone struct {
	t      testing.TB
	h      *house
	secret []byte
	// recovery are the codes on paper.
	recovery []string
}

// code is what the app shows now (RFC 4226 section 5.3, RFC 6238).
func (p *phone) code() string {
	m := hmac.New(sha1.New, p.secret)
	_ = binary.Write(m, binary.BigEndian, p.h.now().Unix()/30)
	sum := m.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[len(sum)-1]&15:]) & (1<<31 - 1)
	return fmt.Sprintf("%06d", n%1_000_000)
}

// wrong is a code that no clock near ours shows.
func (p *phone) wrong() string {
	var near []string
	for steps := -2; steps <= 2; steps++ {
		off := time.Duration(steps*30) * time.Second
		p.h.pass(off)
		near = append(near, p.code())
		p.h.pass(-off)
	}
	for n := 0; ; n++ {
		if c := fmt.Sprintf("%06d", n); !slices.Contains(near, c) {
			return c
		}
	}
}

// twoStep turns two-step sign-in on for the user, and waits until the app shows
// another code than the one that was used for it.
func (h *house) twoStep(t testing.TB, u storage.User) *phone {
	t.Helper()
	who := login.Acting{UserID: u.ID, AuthTime: h.now()}
	e, err := h.engine.EnrollSecondFactor(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	p := &phone{t: t, h: h}
	if p.secret, err = base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(e.Secret); err != nil {
		t.Fatal(err)
	}
	if p.recovery, _, err = h.engine.ConfirmSecondFactor(t.Context(), who, e.Handle, p.code()); err != nil {
		t.Fatal(err)
	}
	h.pass(30 * time.Second)
	return p
}

func TestSecondFactorPage(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	p := h.twoStep(t, h.browser(t).register("asha@example.com"))
	b := h.browser(t)
	start := func(b *browser) answer {
		t.Helper()
		return b.wants(b.signIn(b.open("/login"), "asha@example.com"), "code", 200)
	}

	page := b.wants(b.signIn(b.open(authorize(c)), "asha@example.com"), "code", 200,
		"Sign in to continue to", "Tidepool Notes", "Enter your sign-in code", "6-digit code for Gatehouse",
		"The code changes every 30 seconds.", `autocomplete="one-time-code"`, `maxlength="12"`, "autofocus",
		"Signing in as asha@example.com", "Not you?")
	flow := page.hidden().Get("flow")
	if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' https://app.tidepool.example;") {
		t.Errorf("sec-M6 the way back to the app is shut: %s", csp)
	}
	b.wants(b.open("/account"), "login", 200) // the password alone signs nobody in
	for _, r := range []struct{ name, typed, want string }{
		{"nothing", " ", "Enter the 6-digit code from your authenticator app"},
		{"five digits", "12345", "Enter all 6 digits of the code"},
		{"seven digits", "१२३४५६७", "Enter all 6 digits of the code"},
		{"a wrong code", p.wrong(), "check that your phone sets its time automatically."},
	} {
		t.Run(r.name, func(t *testing.T) {
			a := b.wants(b.follow(b.submit(page, "/login/code", "code", r.typed)), "code", 200, r.want,
				"<title>Error: Enter your sign-in code – Gatehouse</title>", `id="code-error"`, `aria-describedby="code-hint code-error"`)
			if strings.Contains(a.body, `value="`+r.typed) {
				t.Error("the page repeats the code")
			}
		})
	}
	t.Run("refresh and Back are no tries", func(t *testing.T) {
		for range 8 {
			b.wants(b.get("/login/code?flow="+flow), "code", 200, "That code isn’t right")
			b.wants(b.get("/login?flow="+flow), "login", 200, `value="asha@example.com"`)
			b.wants(b.get("/login/recovery?flow="+flow), "recovery", 200)
		}
	})
	right := p.code()
	t.Run("sec-L6 the right code leads back to the app, and headers do not say where from", func(t *testing.T) {
		form := page.hidden()
		form.Set("code", right)
		b.wants(b.follow(b.post("/login/code", form, "X-Forwarded-For", "192.0.2.9", "X-Real-Ip", "192.0.2.9",
			"Forwarded", "for=192.0.2.9")), "consent", 200)
		u, _, err := h.sql.UserByEmail(t.Context(), "asha@example.com")
		if err != nil {
			t.Fatal(err)
		}
		sessions, err := h.sql.ListSessions(t.Context(), u.ID, h.now())
		if err != nil || len(sessions) == 0 {
			t.Fatal(sessions, err)
		}
		if got := sessions[0]; !slices.Contains(got.AMR, "otp") || got.Address != "127.0.0.1" || got.UserAgent != "Go-http-client/1.1" {
			t.Errorf("session %+v", got)
		}
	})
	t.Run("Back after it leads on", func(t *testing.T) {
		b.wants(b.open("/login/code?flow="+flow), "consent", 200)
		b.wants(b.open("/login/recovery?flow="+flow), "consent", 200)
		b.wants(b.follow(b.submit(page, "/login/code", "code", right)), "consent", 200)
	})
	t.Run("seed-B2 the same code is told to be used, to whoever has it", func(t *testing.T) {
		b := h.browser(t)
		b.wants(b.follow(b.submit(start(b), "/login/code", "code", right)), "code", 200, "That code has already been used. Wait for the next one.")
	})
	for name, typed := range map[string]func(string) string{
		"with a space":         func(c string) string { return " " + c[:3] + " " + c[3:] + " " },
		"with a dash":          func(c string) string { return c[:3] + "-" + c[3:] },
		"in Devanagari digits": func(c string) string { return strings.Map(func(r rune) rune { return r - '0' + '०' }, c) },
		"in Arabic digits":     func(c string) string { return strings.Map(func(r rune) rune { return r - '0' + '٠' }, c) },
	} {
		t.Run("a code "+name+" is the code", func(t *testing.T) {
			h.pass(30 * time.Second)
			b := h.browser(t)
			b.wants(b.follow(b.submit(start(b), "/login/code", "code", typed(p.code()))), "account", 200)
		})
	}
	t.Run("an expired step starts again with the address kept", func(t *testing.T) {
		b := h.browser(t)
		page := start(b)
		h.pass(5*time.Minute + time.Second)
		a := b.follow(b.submit(page, "/login/code", "code", p.code()))
		flow := page.hidden().Get("flow")
		for range 2 { // also after a refresh
			b.wants(a, "error", 200, "That took a while, so we started again", `href="/login?flow=`+flow+`"`)
			a = b.get(a.Request.URL.RequestURI())
		}
		b.wants(b.open("/login?flow="+flow), "login", 200, `value="asha@example.com"`)
	})
	t.Run("without the step there is no page", func(t *testing.T) {
		b := h.browser(t)
		page := b.open("/login")
		for _, path := range []string{"/login/code", "/login/recovery", "/login/recovery/low"} {
			b.wants(b.open(path), "login", 200)
			b.wants(b.open(path+"?flow="+page.hidden().Get("flow")), "login", 200)
		}
		b.wants(b.follow(b.submit(page, "/login/code", "code", p.code())), "login", 200)
		b.wants(b.follow(b.submit(page, "/login/recovery", "recovery_code", p.recovery[9])), "login", 200)
		b.wants(b.open("/account"), "login", 200)
	})
	t.Run("seed-D2 five wrong codes: too many attempts, and the password again after the wait", func(t *testing.T) {
		h.pass(time.Hour)
		b := h.browser(t)
		page := start(b)
		var a answer
		for n := range 6 {
			if a = b.follow(b.submit(page, "/login/code", "code", p.wrong())); a.page() != "code" {
				b.wants(a, "error", 429, "You’ve entered too many wrong codes.")
				if n < 4 {
					t.Errorf("after %d", n+1)
				}
				break
			}
		}
		b.wants(a, "error", 429)
		if strings.Contains(a.body, "asha@") {
			t.Error("the page says which account")
		}
		b.wants(b.follow(b.submit(page, "/login/code", "code", p.code())), "login", 200)
		h.pass(time.Hour)
		b.wants(b.follow(b.submit(page, "/login/code", "code", p.code())), "error", 200) // the flow is over, too
		b.wants(b.follow(b.submit(start(b), "/login/code", "code", p.code())), "account", 200)
	})
}

// Wrong codes in a row are counted beyond what limits forget.
func TestSecondFactorLocked(t *testing.T) {
	h := open(t, option{})
	u := h.browser(t).register("asha@example.com")
	p := h.twoStep(t, u)
	fail := func(n int) {
		t.Helper()
		for range n {
			if _, err := h.sql.FailSecondFactor(t.Context(), u.ID, h.now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	try := func() answer {
		t.Helper()
		b := h.browser(t)
		page := b.wants(b.signIn(b.open("/login"), "asha@example.com"), "code", 200)
		return b.follow(b.submit(page, "/login/code", "code", p.code()))
	}
	b := h.browser(t)
	fail(12)
	a := b.wants(try(), "error", 429, "You’ve entered too many wrong codes. You can try again at", `data-local="time"`)
	if a.Header.Get("Retry-After") == "" {
		t.Error("sec-K2 no Retry-After")
	}
	fail(100)
	h.pass(48 * time.Hour)
	a = b.wants(try(), "error", 429, "two-step sign-in is locked", "contact support", "<title>Too many attempts – Gatehouse</title>")
	if a.Header.Get("Retry-After") != "" || strings.Contains(a.body, "<time") {
		t.Error("sec-K2 the page names a time, and no time helps")
	}
}

func TestRecoveryPage(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	p := h.twoStep(t, h.browser(t).register("asha@example.com"))
	b := h.browser(t)
	start := func(path string) answer {
		t.Helper()
		page := b.wants(b.signIn(b.open(path), "asha@example.com"), "code", 200, "Can’t use your authenticator app?")
		return b.wants(b.open("/login/recovery?flow="+page.hidden().Get("flow")), "recovery", 200, "Use a recovery code",
			"Each code works once.", "15 characters, like K4TQ9-M2XHP-7WRD6.", `autocapitalize="characters"`, `maxlength="24"`)
	}
	page := start(authorize(c))
	b.wants(b.follow(b.submit(page, "/login/recovery")), "recovery", 200, "Enter one of your recovery codes", `href="#recovery_code"`)
	b.wants(b.follow(b.submit(page, "/login/recovery", "recovery_code", "22222-22222-22222")), "recovery", 200,
		"That recovery code isn’t right, or it has already been used. Try another one.", `id="recovery_code-error"`)
	b.wants(b.follow(b.submit(page, "/login/recovery", "recovery_code", strings.ToLower(" "+strings.ReplaceAll(p.recovery[0], "-", " ")))), "consent", 200)

	t.Run("sec-K3 a code works once", func(t *testing.T) {
		b = h.browser(t)
		b.wants(b.follow(b.submit(start("/login"), "/login/recovery", "recovery_code", p.recovery[0])), "recovery", 200, "already been used")
	})
	t.Run("few left are told once, on the way", func(t *testing.T) {
		for n, code := range p.recovery[1:] {
			b = h.browser(t)
			page := start(authorize(c))
			a := b.follow(b.submit(page, "/login/recovery", "recovery_code", code))
			left := 8 - n
			if left > 3 {
				b.wants(a, "consent", 200)
				continue
			}
			flow := page.hidden().Get("flow")
			b.wants(a, "recovery-low", 200, fmt.Sprintf("You have %s recovery code", []string{"no", "1", "2", "3"}[left]),
				`href="/authorize?flow=`+flow+`"`, "Continue to Tidepool Notes")
			b.wants(b.get("/login/recovery/low?flow="+flow), "recovery-low", 200) // refreshed
			b.wants(b.open("/authorize?flow="+flow), "consent", 200)

			other := h.browser(t)
			other.open("/login")
			other.wants(other.get("/login/recovery/low?flow="+flow), "error", 200)
		}
	})
}

// The device cookie comes at the end of a sign-in, and goes back with the next.
func TestDevice(t *testing.T) {
	for _, https := range []bool{false, true} {
		h := open(t, option{https: https})
		b := h.browser(t)
		b.register("asha@example.com")
		b.follow(b.submit(b.open("/account"), "/logout", "scope", "all"))
		count := func() int {
			h.mu.Lock()
			defer h.mu.Unlock()
			n := 0
			for _, l := range h.letters {
				if l.Kind == login.LetterNewSignIn {
					n++
				}
			}
			return n
		}
		before := count()
		a := b.submit(b.open("/login"), "/login", "identifier", "asha@example.com", "password", "another one altogether")
		for _, k := range a.Cookies() {
			if strings.Contains(k.Name, "device") {
				t.Error("a wrong password makes the device known")
			}
		}
		a = b.submit(b.follow(a), "/login", "identifier", "asha@example.com", "password", password)
		if n := count() - before; n != 0 {
			t.Errorf("%d letters about a new device, from the one that registered", n)
		}
		i := slices.IndexFunc(a.Cookies(), func(k *http.Cookie) bool { return strings.HasSuffix(k.Name, "gatehouse_device") })
		if i < 0 {
			t.Fatal("no device cookie")
		}
		if k := a.Cookies()[i]; !k.HttpOnly || k.Secure != https || k.SameSite != http.SameSiteLaxMode || k.MaxAge != 365*24*60*60 {
			t.Errorf("sec-M1 %s", k.Raw)
		}
		stranger := h.browser(t)
		stranger.wants(stranger.signIn(stranger.open("/login"), "asha@example.com"), "account", 200)
		if n := count() - before; n != 1 {
			t.Errorf("%d letters about a new device", n)
		}
	}
}

package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
)

const newPassword = "nine copper kettles whistle"

func TestReset(t *testing.T) {
	h := open(t, option{})
	c := h.client(t, app)
	signedIn := h.browser(t)
	p := h.twoStep(t, signedIn.register("asha@example.com"))
	signedIn = h.browser(t)
	h.pass(time.Minute) // a letter a minute
	code := signedIn.wants(signedIn.signIn(signedIn.open("/login"), "asha@example.com"), "code", 200)
	signedIn.wants(signedIn.follow(signedIn.submit(code, "/login/code", "code", p.code())), "account", 200)

	b := h.browser(t)
	page := b.wants(b.open(authorize(c)), "login", 200)
	page = b.follow(b.submit(page, "/login", "identifier", "asha@example.com", "password", "another one altogether"))
	link := regexp.MustCompile(`href="(/reset\?flow=[^"]+)">Forgot your password\?`).FindStringSubmatch(page.body)
	if link == nil {
		t.Fatalf("no link to the reset\n%s", page.body)
	}
	page = b.wants(b.open(link[1]), "reset", 200, "Reset your password", `value="asha@example.com"`, `autocomplete="username"`,
		"autofocus", "Back to sign in")
	for _, r := range []struct{ typed, want string }{
		{"", "Enter your email address"}, {"asha@", "Enter an email address in the right format"},
	} {
		b.wants(b.follow(b.submit(page, "/reset", "identifier", r.typed)), "reset", 200, r.want, `href="#identifier"`, `id="identifier-error"`)
	}
	page = b.wants(b.follow(b.submit(page, "/reset", "identifier", "asha@example.com")), "reset-verify", 200,
		"Step 2 of 3", "If asha@example.com matches an account, we’ve sent it an 8-digit code. It works for 5 minutes.",
		"Try another address", `autocomplete="one-time-code"`)
	flow := page.hidden().Get("flow")
	letter := h.letter(t)
	if letter.Kind != login.LetterPasswordResetCode || letter.To != "asha@example.com" {
		t.Fatalf("the letter is %q to %q", letter.Kind, letter.To)
	}
	b.wants(b.open("/reset/password?flow="+flow), "reset-verify", 200) // no step is skipped
	b.wants(b.open("/verify?flow="+flow), "reset-verify", 200)
	b.wants(b.follow(b.submit(page, "/reset/password", "password", newPassword)), "reset-verify", 200)
	b.wants(b.follow(b.submit(page, "/reset/verify")), "reset-verify", 200, "Enter the 8-digit code from the email")
	b.wants(b.follow(b.submit(page, "/reset/verify", "code", other(letter.Code))), "reset-verify", 200, "That code isn’t right", `id="code-error"`)
	b.wants(b.follow(b.submit(page, "/reset/verify", "action", "resend")), "reset-verify", 200, "You can ask for another code in 1 minute")
	for range 3 {
		b.wants(b.get("/reset/verify?flow="+flow), "reset-verify", 200)
	}
	devanagari := strings.Map(func(r rune) rune { return r - '0' + '०' }, letter.Code)
	page = b.wants(b.follow(b.submit(page, "/reset/verify", "code", " "+devanagari[:12]+" "+devanagari[12:])), "reset-password", 200,
		"Step 3 of 3", "Choose a new password", "For asha@example.com", `name="username" value="asha@example.com" autocomplete="username"`,
		`autocomplete="new-password"`, "not one of your last 5", "This signs you out on all your devices.")
	b.wants(b.open("/reset/verify?flow="+flow), "reset-password", 200) // Back leads on
	for _, r := range []struct{ typed, want string }{
		{"", "Choose a password"}, {"short", "Choose a password with 12 characters or more"},
		{password, "Choose a password you haven’t used before"},
	} {
		b.wants(b.follow(b.submit(page, "/reset/password", "password", r.typed)), "reset-password", 200, r.want, `id="password-error"`)
	}
	b.wants(b.get("/reset/password?flow="+flow), "reset-password", 200)
	page = b.wants(b.follow(b.submit(page, "/reset/password", "password", newPassword)), "login", 200,
		"Your password has been changed. Sign in with the new one.", `role="status"`, `value="asha@example.com"`, "Tidepool Notes")

	t.Run("a reset signs nobody in and everybody out", func(t *testing.T) {
		b.wants(b.open("/account"), "login", 200)
		signedIn.wants(signedIn.open("/account"), "login", 200)
	})
	t.Run("Back after it leads to sign in", func(t *testing.T) {
		b.wants(b.open("/reset/password?flow="+flow), "login", 200)
		b.wants(b.open("/reset/verify?flow="+flow), "login", 200)
		b.wants(b.follow(b.submit(page, "/reset/password", "password", "yet another long one")), "login", 200)
	})
	t.Run("the second factor still stands, and then the app", func(t *testing.T) {
		h.pass(30 * time.Second)
		b.wants(b.signIn(page, "asha@example.com"), "login", 200, "Your email or password is incorrect")
		page := b.wants(b.follow(b.submit(page, "/login", "identifier", "asha@example.com", "password", newPassword)), "code", 200)
		b.wants(b.follow(b.submit(page, "/login/code", "code", p.code())), "consent", 200)
	})
}

// other is another code.
func other(code string) string {
	if code == "00000000" {
		return "00000001"
	}
	return "00000000"
}

func TestResetEnds(t *testing.T) {
	h := open(t, option{})
	h.browser(t).register("asha@example.com")
	b := h.browser(t)
	start := func() answer {
		t.Helper()
		h.pass(time.Hour) // whatever was limited is no more
		page := b.wants(b.open("/reset"), "reset", 200)
		return b.wants(b.follow(b.submit(page, "/reset", "identifier", "asha@example.com")), "reset-verify", 200)
	}
	t.Run("an expired code leads to the page that sends another, with the address kept", func(t *testing.T) {
		page := start()
		h.pass(5*time.Minute + time.Second)
		page = b.wants(b.follow(b.submit(page, "/reset/verify", "code", h.letter(t).Code)), "reset", 200,
			"That code has expired. Send a new code.", `value="asha@example.com"`)
		b.wants(b.follow(b.submit(page, "/reset", "identifier", "asha@example.com")), "reset-verify", 200)
	})
	t.Run("an expired last step says to start the reset again", func(t *testing.T) {
		page := start()
		page = b.wants(b.follow(b.submit(page, "/reset/verify", "code", h.letter(t).Code)), "reset-password", 200)
		h.pass(5*time.Minute + time.Second)
		flow := page.hidden().Get("flow")
		a := b.follow(b.submit(page, "/reset/password", "password", newPassword))
		for range 2 {
			b.wants(a, "error", 200, "That took a while", `href="/reset?flow=`+flow+`">Start the reset again`)
			a = b.get(a.Request.URL.RequestURI())
		}
		b.wants(b.open("/reset?flow="+flow), "reset", 200, `value="asha@example.com"`)
		b.wants(b.signIn(b.open("/login"), "asha@example.com"), "account", 200) // with the password as it was
		b.wants(b.follow(b.submit(b.open("/account"), "/logout", "scope", "all")), "signed-out", 200)
	})
	t.Run("five wrong codes end the code", func(t *testing.T) {
		page := start()
		right := h.letter(t).Code
		for range 4 {
			b.wants(b.follow(b.submit(page, "/reset/verify", "code", other(right))), "reset-verify", 200, "That code isn’t right")
		}
		b.wants(b.follow(b.submit(page, "/reset/verify", "code", other(right))), "reset-verify", 200,
			"That code no longer works because it was entered wrongly too many times. Send a new code.", `<details class="more" open>`)
		if a := b.follow(b.submit(page, "/reset/verify", "code", right)); a.page() == "reset-password" {
			t.Error("the right code still works")
		}
	})
	t.Run("a new code ends the one before", func(t *testing.T) {
		page := start()
		old := h.letter(t).Code
		h.pass(61 * time.Second)
		page = b.wants(b.follow(b.submit(page, "/reset/verify", "action", "resend")), "reset-verify", 200, "We’ve sent a new code. Only the newest one works.")
		if next := h.letter(t).Code; next != old { // equal once in 100 million
			b.wants(b.follow(b.submit(page, "/reset/verify", "code", old)), "reset-verify", 200, "That code isn’t right")
		}
		b.wants(b.follow(b.submit(page, "/reset/verify", "code", h.letter(t).Code)), "reset-password", 200)
	})
	t.Run("also somebody signed in with another account reads that it is done", func(t *testing.T) {
		bo := h.browser(t)
		bo.register("bo@example.com")
		h.pass(time.Hour)
		page := bo.wants(bo.open("/reset"), "reset", 200)
		page = bo.wants(bo.follow(bo.submit(page, "/reset", "identifier", "asha@example.com")), "reset-verify", 200)
		page = bo.wants(bo.follow(bo.submit(page, "/reset/verify", "code", h.letter(t).Code)), "reset-password", 200)
		bo.wants(bo.follow(bo.submit(page, "/reset/password", "password", newPassword)), "login", 200, "Your password has been changed.")
	})
	t.Run("too many new codes are told with the time, and the code stays good", func(t *testing.T) {
		page := start()
		var a answer
		for range 5 {
			h.pass(61 * time.Second)
			if a = b.follow(b.submit(page, "/reset/verify", "action", "resend")); strings.Contains(a.body, `id="problem"`) {
				break
			}
		}
		b.wants(a, "reset-verify", 429, "You’ve asked for several codes. Try again at", `data-local="time"`, " UTC</b></time>.")
		b.wants(b.open("/limited?flow="+page.hidden().Get("flow")), "login", 200) // which is another page's matter
		b.wants(b.follow(b.submit(page, "/reset/verify", "code", h.letter(t).Code)), "reset-password", 200)
	})
}

// ids is what differs between two browsers that do the same.
var ids = regexp.MustCompile(`(flow=|flow%3D|name="flow" value="|name="csrf_token" value="|_step_)[A-Za-z0-9._-]+|=[a-z_]+\.[A-Z0-9]{26}`)

// told is everything an answer tells, but for ids, the address and the time.
func told(a answer, email string) string {
	a.Header.Del("Date")
	a.Header.Del("Content-Length") // of two addresses
	names := make([]string, 0, len(a.Header))
	for name := range a.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	var all strings.Builder
	fmt.Fprintln(&all, a.Status)
	for _, name := range names {
		fmt.Fprintln(&all, name, a.Header[name])
	}
	all.WriteString(a.body)
	out := strings.ReplaceAll(ids.ReplaceAllString(all.String(), "$1…"), email, "…@…")
	out = regexp.MustCompile(`Max-Age=\d+`).ReplaceAllString(out, "Max-Age=…")
	return regexp.MustCompile(`id="error-reference">[^<]*<`).ReplaceAllString(out, "")
}

// Nothing that anybody can see tells whether there is an account.
func TestResetTellsNothing(t *testing.T) {
	h := open(t, option{})
	h.browser(t).register("known@example.com")
	h.pass(time.Hour)
	h.stop() // the two ask one after the other, and are told times
	type step struct {
		name string
		do   func(b *browser, last answer, email string) answer
	}
	post := func(path string, values ...string) func(*browser, answer, string) answer {
		return func(b *browser, last answer, email string) answer {
			form := last.hidden()
			for i := 0; i+1 < len(values); i += 2 {
				form.Set(values[i], strings.ReplaceAll(values[i+1], "EMAIL", email))
			}
			return b.post(path, form)
		}
	}
	get := func(b *browser, last answer, _ string) answer { return b.get(last.Header.Get("Location")) }
	steps := []step{
		{"asks", post("/reset", "identifier", "EMAIL")}, {"reads", get},
		{"asks again at once", post("/reset/verify", "action", "resend")}, {"reads", get},
		{"nothing", post("/reset/verify")}, {"reads", get},
	}
	for n := range 4 {
		steps = append(steps, step{fmt.Sprintf("wrong %d", n), post("/reset/verify", "code", "00000000")}, step{"reads", get})
	}
	steps = append(steps,
		step{"a new code", func(b *browser, last answer, _ string) answer {
			return post("/reset/verify", "action", "resend")(b, last, "")
		}}, step{"reads", get},
		step{"wrong", post("/reset/verify", "code", "00000000")}, step{"reads", get},
		step{"wrong", post("/reset/verify", "code", "00000000")}, step{"reads", get},
	)
	emails := []string{"known@example.com", "unknown@example.com"}
	browsers, last, page := make([]*browser, 2), make([]answer, 2), make([]answer, 2)
	for i := range emails {
		browsers[i] = h.browser(t)
		page[i] = browsers[i].open("/reset")
	}
	for n, s := range steps {
		if s.name == "a new code" {
			h.pass(61 * time.Second)
		}
		for i, email := range emails {
			from := page[i]
			if s.name == "reads" {
				from = last[i]
			}
			last[i] = s.do(browsers[i], from, email)
			if s.name == "reads" {
				page[i] = last[i]
			}
		}
		t.Run(fmt.Sprintf("seed-C1 sec-L2 %d %s", n, s.name), func(t *testing.T) {
			if a, b := told(last[0], emails[0]), told(last[1], emails[1]); a != b {
				t.Errorf("the answers differ\n%s\n--- unknown ---\n%s", a, b)
			}
		})
		if page[0].hidden().Get("flow") == "" {
			break // at the page that says to wait
		}
	}
	if len(h.letters) < 2 {
		t.Error("nothing was sent to the known address: the test shows nothing")
	}
	for _, l := range h.letters {
		if l.To == "unknown@example.com" {
			t.Errorf("a letter %q to nobody", l.Kind)
		}
	}
}

// A handle opens its own step, in the browser that was given it.
func TestSteps(t *testing.T) {
	h := open(t, option{})
	u := h.browser(t).register("asha@example.com")
	p := h.twoStep(t, u)
	home, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	// at leaves a browser at a step, and returns its page and handle.
	at := map[string]func(b *browser) answer{
		"verify_email": func(b *browser) answer {
			return b.follow(b.submit(b.open("/register"), "/register", "name", "B", "email", "b@example.com", "password", password))
		},
		"second_factor": func(b *browser) answer { return b.signIn(b.open("/login"), "asha@example.com") },
		"confirm_reset": func(b *browser) answer {
			return b.follow(b.submit(b.open("/reset"), "/reset", "identifier", "asha@example.com"))
		},
		"new_password": func(b *browser) answer {
			page := b.follow(b.submit(b.open("/reset"), "/reset", "identifier", "asha@example.com"))
			return b.follow(b.submit(page, "/reset/verify", "code", h.letter(t).Code))
		},
	}
	forms := map[string]struct{ page, path, field string }{
		"verify_email":  {"verify", "/verify", "code"},
		"second_factor": {"code", "/login/code", "code"},
		"confirm_reset": {"reset-verify", "/reset/verify", "code"},
		"new_password":  {"reset-password", "/reset/password", "password"},
	}
	cookie := func(b *browser, flow string) *http.Cookie {
		t.Helper()
		for _, k := range b.http.Jar.Cookies(home) {
			if k.Name == "gatehouse_step_"+flow {
				return &http.Cookie{Name: k.Name, Value: k.Value, Path: "/"}
			}
		}
		t.Fatal("no step")
		return nil
	}
	for from, walk := range at {
		for to, form := range forms {
			if from == to {
				continue
			}
			t.Run("sec-A13 a handle of "+from+" does not open "+to, func(t *testing.T) {
				h.pass(time.Hour)
				b := h.browser(t)
				page := b.wants(walk(b), forms[from].page, 200)
				k := cookie(b, page.hidden().Get("flow"))
				_, handle, _ := strings.Cut(k.Value, ".")
				proof := h.letter(t).Code
				switch to {
				case "second_factor":
					proof = p.code()
				case "new_password":
					proof = newPassword
				}
				k.Value = to + "." + handle
				b.http.Jar.SetCookies(home, []*http.Cookie{k})
				a := b.follow(b.submit(page, form.path, form.field, proof))
				if got := a.page(); got == "account" || got == "reset-password" || strings.Contains(a.text(), "has been changed") {
					t.Errorf("came to %q", got)
				}
				b.wants(b.open("/account"), "login", 200)
			})
		}
		t.Run("sec-A13 a "+from+" of another browser is not opened by its flow and cookie", func(t *testing.T) {
			h.pass(time.Hour)
			first, second := h.browser(t), h.browser(t)
			page := first.wants(walk(first), forms[from].page, 200)
			flow := page.hidden().Get("flow")
			mine := second.open("/login").hidden()
			second.http.Jar.SetCookies(home, []*http.Cookie{cookie(first, flow)})
			for _, path := range []string{forms[from].path, "/reset", "/login/recovery", "/login/recovery/low", "/limited"} {
				second.wants(second.get(path+"?flow="+flow), "error", 200, "That took a while")
			}
			mine.Set("flow", flow)
			mine.Set(forms[from].field, h.letter(t).Code)
			second.wants(second.post(forms[from].path, mine), "error", 403)
		})
	}
	t.Run("a handle changes at each step", func(t *testing.T) {
		h.pass(time.Hour)
		b := h.browser(t)
		page := at["confirm_reset"](b)
		flow := page.hidden().Get("flow")
		before := cookie(b, flow).Value
		page = b.wants(b.follow(b.submit(page, "/reset/verify", "code", h.letter(t).Code)), "reset-password", 200)
		after := cookie(b, flow).Value
		_, old, _ := strings.Cut(before, ".")
		_, next, _ := strings.Cut(after, ".")
		if old == next {
			t.Error("the handle is the same")
		}
		b.http.Jar.SetCookies(home, []*http.Cookie{{Name: "gatehouse_step_" + flow, Value: before, Path: "/"}})
		b.wants(b.follow(b.submit(page, "/reset/verify", "code", h.letter(t).Code)), "reset", 200, "That code has expired")
	})
	t.Run("what is no step of ours is none", func(t *testing.T) {
		b := h.browser(t)
		flow := b.open("/login").hidden().Get("flow")
		for _, value := range []string{"x", ".", "second_factor", "second_factor.", "nothing.AAAA", strings.Repeat("a", 5000)} {
			b.http.Jar.SetCookies(home, []*http.Cookie{{Name: "gatehouse_step_" + flow, Value: value, Path: "/"}})
			b.wants(b.open("/login/code?flow="+flow), "login", 200)
		}
	})
}

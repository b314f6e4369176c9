//go:build !slim

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"
)

// A journey is somebody's way through all that can be done, with a server of
// their own, so that nobody is held up for what others do.
type journey struct {
	*person
	base, email, password string
	// secret is that of the authenticator app, step the time-step whose code was
	// used last, and codes are the recovery codes not used yet.
	secret string
	step   int64
	codes  []string
}

// Every flow from end to end, as people meet it.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := chromium(t)
	for _, tt := range []struct {
		name    string
		size    size
		scripts bool
	}{
		{"on a laptop", laptop, true},
		{"on a phone", phone, true},
		{"on a laptop without JavaScript", laptop, false},
		{"on a phone without JavaScript", phone, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := embeddedConfig(t)
			started(t, c)
			p := newPerson(t, browser, tt.size)
			if !tt.scripts {
				p.withoutScripts()
			}
			j := &journey{person: p, base: c.URL, email: "ada@example.org", password: password}
			for _, chapter := range []struct {
				name string
				tell func(*journey)
			}{
				{"somebody comes from an app and registers", (*journey).register},
				{"they set two-step sign-in up", (*journey).protect},
				{"they allow the app, and it can do what it was allowed", (*journey).useApp},
				{"they sign out, and going back shows nobody", (*journey).signOut},
				{"they sign in with a code of the authenticator app", (*journey).signInByCode},
				{"they sign in with recovery codes, until few are left and they make new ones", (*journey).useRecoveryCodes},
				{"they choose an account for an app", (*journey).chooseAccount},
				{"they look after the account", (*journey).lookAfter},
				{"they turn two-step sign-in off and change the password", (*journey).changePassword},
				{"they choose a language", (*journey).chooseLanguage},
				{"they forget the password", func(j *journey) { j.forget(createUserAs(t, c, "mary@example.org", "Mary Somerville").Email) }},
				{"they refuse an app, and allow it for once", func(j *journey) { j.refuse(createUserAs(t, c, "lise@example.org", "Lise Meitner").Email) }},
				{"a flow has expired", (*journey).expire},
				{"they try too often", (*journey).tryTooOften},
			} {
				if !t.Run(chapter.name, func(t *testing.T) {
					before := p.t
					p.t = t
					defer func() { p.t = before }()
					chapter.tell(j)
				}) {
					return // what follows builds on it
				}
			}
		})
	}
	t.Run("reloading and going back lose nothing and send nothing twice", func(t *testing.T) {
		t.Parallel()
		c := embeddedConfig(t)
		started(t, c)
		goBack(newPerson(t, browser, laptop), c.URL)
	})
}

// register goes from the app to the offer to set two-step sign-in up.
func (j *journey) register() {
	j.t.Helper()
	j.visit(j.base + "/dev/app")
	j.on("dev-app")
	j.click("#app-signin")
	j.on("login")
	j.reads("main", "Sign in to continue to Example app")
	if shown := j.has(".pw-toggle:not([hidden])"); shown != j.scripts {
		j.t.Errorf("the button that shows the password is there: %v; scripts run: %v", shown, j.scripts)
	}
	j.click(".lede a")
	j.on("register")
	j.fill("name", "Ada Lovelace")
	j.fill("email", j.email)
	j.fill("password", "short")
	j.click("#register-submit")
	j.on("register")
	j.atProblem("Choose a password with 12 characters or more")
	if name, email, secret := j.value("name"), j.value("email"), j.value("password"); name != "Ada Lovelace" || email != j.email || secret != "" {
		j.t.Errorf("the form came back with %q, %q and the password %q", name, email, secret)
	}
	j.fill("password", j.password)
	j.click("#register-submit")
	j.on("verify")
	j.reads(".lede", "8-digit code to "+j.email)
	code := j.letters(j.base, j.email)[0]
	j.paste("code", code[:4]+" "+code[len(code)-4:]+" ")
	j.click("#code-submit")
	j.on("protect")
}

// atProblem fails the test unless the page says what is wrong, and the focus is
// there; and follows the link from there to the field.
func (j *journey) atProblem(text string) {
	j.t.Helper()
	j.reads("#problem", "There is a problem", text)
	j.until(`document.activeElement.id === "problem"`)
	if !j.has("#problem a") {
		return
	}
	j.do(chromedp.Click(chromedp.CSS("#problem a")))
	j.until(`document.activeElement.getAttribute("aria-invalid") === "true"`)
}

// protect sets the authenticator app up, on the way to the app.
func (j *journey) protect() {
	j.t.Helper()
	j.click("#protect-app")
	j.on("two-step-app")
	j.until(`document.getElementById("two-step-qr").naturalWidth > 100`)
	j.do(chromedp.Click(chromedp.CSS("summary")))
	j.secret = strings.ReplaceAll(j.text("#two-step-secret"), " ", "")
	if !j.has(fmt.Sprintf("a[href^='otpauth://totp/'][href*='secret=%s']", j.secret)) {
		j.t.Error("the link for an app on this device has another secret")
	}
	j.fill("code", "12345")
	j.click("#two-step-app-submit")
	j.on("two-step-app")
	j.atProblem("")
	code := j.code()
	j.paste("code", code[:3]+" "+code[3:])
	j.click("#two-step-app-submit")
	j.on("recovery-codes")
	j.codes = j.readCodes()
	j.click("#recovery-codes-submit")
	j.on("recovery-codes")
	j.atProblem("")
	j.do(chromedp.Click(chromedp.ID("saved")))
	j.click("#recovery-codes-submit")
	j.on("consent")
}

// readCodes are the recovery codes that the page shows.
func (j *journey) readCodes() []string {
	j.t.Helper()
	codes := patiently(j.person, j.tab, chromedp.Evaluate[[]string]("Array.from(document.querySelectorAll(`#codes li`), e => e.textContent.trim())"))
	if len(codes) != 10 {
		j.t.Fatalf("the page shows %d recovery codes", len(codes))
	}
	return codes
}

// code is what the authenticator app shows next: each code is good once.
func (j *journey) code() string {
	j.t.Helper()
	j.step = max(j.step+1, time.Now().Unix()/30)
	code, err := totp.GenerateCode(j.secret, time.Unix(j.step*30, 0))
	if err != nil {
		j.t.Fatal(err)
	}
	return code
}

// useApp goes from the consent page through what the app can do.
func (j *journey) useApp() {
	j.t.Helper()
	host := strings.TrimPrefix(j.base, "http://")
	j.reads("h1", "Allow Example app to use your Gatehouse account?")
	j.reads("#consent-redirect", host)
	j.reads(".who", "Ada Lovelace", j.email)
	j.reads("#consent-scopes", "See your name and profile", "Ada Lovelace", "See your email address", j.email, "Stay connected when you")
	if list := j.text("#consent-scopes"); strings.Contains(list, "openid") || strings.Contains(list, "offline_access") {
		j.t.Errorf("the consent page speaks in scopes:\n%s", list)
	}
	j.click("#consent-allow")

	j.on("dev-app")
	if j.has("#app-error") {
		j.t.Fatalf("the app says %s", j.text("#app-error"))
	}
	var claims, info struct {
		Issuer        string `json:"iss"`
		Subject       string `json:"sub"`
		Name          string `json:"name"`
		Email         string `json:"email"`
		EmailVerified bool   `json:"email_verified"`
	}
	j.decode("#app-claims", &claims)
	j.decode("#app-userinfo", &info)
	if claims.Issuer != j.base || claims.Subject == "" || info.Subject != claims.Subject {
		j.t.Errorf("the ID token is of %+v, userinfo of %+v", claims, info)
	}
	if info.Name != "Ada Lovelace" || info.Email != j.email || !info.EmailVerified {
		j.t.Errorf("userinfo says %+v", info)
	}
	j.reads("#app-access-token", `"typ": "at+jwt"`, claims.Subject)
	j.reads("#app-answer", "id_token", "refresh_token", "offline_access")
	first := j.text("#app-access-token")
	j.click("#app-refresh")
	j.on("dev-app")
	j.reads("#app-refreshes", "1")
	if j.has("#app-error") || j.text("#app-access-token") == first {
		j.t.Error("the refresh brought no other access token")
	}

	// The provider remembers both the person and the answer.
	j.click("#app-signout")
	j.on("dev-app")
	j.click("#app-signin")
	j.on("dev-app")
	j.decode("#app-claims", &info)
	if info.Subject != claims.Subject {
		j.t.Errorf("the second sign-in is of %q, not of %q", info.Subject, claims.Subject)
	}
}

// signOut signs out of the provider. Whoever then goes back finds nobody.
func (j *journey) signOut() {
	j.t.Helper()
	j.visit(j.base + "/account")
	j.on("account")
	j.reads("#account-email", j.email)
	j.visit(j.base + "/account/devices")
	j.do(chromedp.Click(chromedp.CSS(".menu summary")))
	j.click("#account-signout")
	j.on("signed-out")
	for range 2 {
		j.back()
		j.on("login")
	}
	j.visit(j.base + "/logout")
	j.on("signed-out")
}

// signInWith signs in to the app with the password alone.
func (j *journey) signInWith(email, password string) {
	j.t.Helper()
	j.visit(j.base + "/dev/app")
	if j.has("#app-signout") {
		j.click("#app-signout")
	}
	j.click("#app-signin")
	j.signIn(email, password)
}

func (j *journey) signInByCode() {
	j.t.Helper()
	j.signInWith(j.email, j.password)
	j.on("code")
	j.until(`document.activeElement.id === "code"`)
	code := j.code()
	j.fill("code", wrongCode(code))
	j.click("#code-submit")
	j.on("code")
	j.atProblem("That code isn’t right")
	j.paste("code", code[:3]+" "+code[3:])
	j.click("#code-submit")
	j.on("dev-app") // the answer was remembered
	j.reads("#app-userinfo", j.email)
}

func (j *journey) useRecoveryCodes() {
	j.t.Helper()
	for first := true; !j.has("html[data-page=recovery-low]"); first = false {
		if !first && j.scripts != (j.size == laptop) {
			j.on("dev-app")
			return // two who come to the end will do: it takes long
		}
		if len(j.codes) == 0 {
			j.t.Fatal("nobody says that the recovery codes come to an end")
		}
		j.forgetCookies()
		j.signInWith(j.email, j.password)
		j.on("code")
		if first {
			j.do(chromedp.Click(chromedp.CSS("summary")))
			j.click("#code-recovery")
			j.on("recovery")
			j.fill("recovery_code", "23456-789BC-DFGHJ")
			j.click("#code-submit")
			j.on("recovery")
			j.atProblem("")
		} else {
			j.visit(strings.Replace(j.address(), "/login/code", "/login/recovery", 1))
		}
		j.paste("recovery_code", strings.ToLower(strings.ReplaceAll(j.codes[0], "-", " ")))
		j.codes = j.codes[1:]
		j.click("#code-submit")
	}
	j.reads("h1", fmt.Sprint(len(j.codes)))
	j.click("#low-new")
	if j.has("#recovery-codes-new-submit") {
		j.click("#recovery-codes-new-submit")
	}
	j.on("recovery-codes")
	j.codes = j.readCodes()
	j.do(chromedp.Click(chromedp.ID("saved")))
	j.click("#recovery-codes-submit")
	j.on("dev-app")
	j.reads("#app-userinfo", j.email)
}

// forgetCookies makes the profile a new one.
func (j *journey) forgetCookies() {
	j.t.Helper()
	j.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, network.ClearBrowserCookies, struct{}{})
		return err
	}))
}

func (j *journey) chooseAccount() {
	j.t.Helper()
	question := j.base + "/authorize?" + url.Values{
		"client_id": {devClient}, "redirect_uri": {j.base + "/dev/app/callback"}, "response_type": {"code"}, "scope": {"openid"},
		"state": {"a state of nobody's"}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
		"prompt": {"select_account"},
	}.Encode()
	j.visit(question)
	j.on("login-select")
	j.reads("#select-account", "Ada Lovelace", j.email)
	j.click("#select-another")
	j.on("login")
	j.back()
	j.on("login-select")
	j.click("#select-account")
	j.on("dev-app")
	j.reads("#app-error", "this answer is not to a question of this browser") // which is the app's business
}

func (j *journey) lookAfter() {
	j.t.Helper()
	// Somebody else's device, or the person's other one.
	other := *j
	other.person = newPerson(j.t, j.tab, phone)
	other.visit(j.base + "/login")
	other.signIn(j.email, j.password)
	other.do(chromedp.Click(chromedp.CSS("summary")))
	other.click("#code-recovery")
	other.fill("recovery_code", j.codes[0])
	j.codes = j.codes[1:]
	other.click("#code-submit")
	other.on("account")

	j.visit(j.base + "/account")
	j.on("account")
	j.reads("#account-email", j.email)
	j.click("a[href='/account/devices']")
	j.on("account-devices")
	j.click("#devices button[name=session]")
	j.on("account-devices")
	j.until(`document.querySelector("#notice") !== null`)
	other.reload()
	other.on("login")

	j.click(".sidenav a[href='/account/apps']")
	j.on("account-apps")
	j.reads("#apps", "Example app")
	j.click("#apps h2 a")
	j.on("account-apps-one")
	j.click("#app-remove")
	j.on("account-apps-remove")
	j.click("#app-remove-submit")
	j.on("account-apps")
	j.until(`document.querySelector("#notice") !== null && document.querySelector("#apps") === null`)

	j.click(".sidenav a[href='/account/activity']")
	j.on("account-activity")
	j.reads("main", "Signed in")
	// What was removed is asked for again.
	j.visit(j.base + "/dev/app")
	j.click("#app-signout")
	j.click("#app-signin")
	j.on("consent")
}

func (j *journey) changePassword() {
	j.t.Helper()
	j.visit(j.base + "/account/two-step")
	j.on("two-step")
	j.click("#two-step-off")
	j.on("two-step-off")
	j.fill("code", j.codes[0])
	j.codes = j.codes[1:]
	j.click("#two-step-off-submit")
	j.on("two-step")
	j.until(`document.querySelector("#notice, #two-step-on") !== null`)

	j.visit(j.base + "/.well-known/change-password")
	j.on("account-password")
	j.fill("current_password", "not this one at all")
	j.fill("password", "eighteen green lanterns")
	j.click("#password-submit")
	j.on("account-password")
	j.atProblem("")
	j.fill("current_password", j.password)
	j.password = "eighteen green lanterns"
	j.fill("password", j.password)
	j.click("#password-submit")
	j.until(`document.querySelector("#notice") !== null`)
	j.forgetCookies()
	j.visit(j.base + "/login")
	j.signIn(j.email, j.password)
	j.on("account")
}

func (j *journey) chooseLanguage() {
	j.t.Helper()
	j.visit(j.base + "/account/password")
	j.click("#languages")
	j.on("languages")
	j.click("button[lang=ar]")
	j.on("account-password")
	j.until(`document.documentElement.lang === "ar" && document.documentElement.dir === "rtl"`)
	j.click("#languages")
	j.click("button[lang=en]")
	j.on("account-password")
	j.until(`document.documentElement.lang === "en" && document.documentElement.dir === "ltr"`)
}

// forget chooses a new password by a code in a letter.
func (j *journey) forget(email string) {
	j.t.Helper()
	j.forgetCookies()
	j.visit(j.base + "/login")
	j.click("#login-forgot")
	j.on("reset")
	j.click("#reset-submit")
	j.on("reset")
	j.atProblem("")
	j.fill("identifier", email)
	j.click("#reset-submit")
	j.on("reset-verify")
	j.reads(".lede", email)
	j.fill("code", "1")
	j.click("#code-submit")
	j.on("reset-verify")
	j.atProblem("")
	j.paste("code", j.letters(j.base, email)[0])
	j.click("#code-submit")
	j.on("reset-password")
	if kept := patiently(j.person, j.tab, chromedp.Evaluate[string]("document.querySelector(`form input[autocomplete=username]`).value")); kept != email {
		j.t.Errorf("a password manager would keep the password for %q", kept)
	}
	const another = "nineteen green lanterns"
	j.fill("password", password)
	j.click("#reset-password-submit")
	j.on("reset-password")
	j.atProblem("")
	j.fill("password", another)
	j.click("#reset-password-submit")
	j.signIn(email, another)
	j.on("account")
}

func (j *journey) expire() {
	j.t.Helper()
	j.forgetCookies()
	for _, page := range []string{"login", "register", "verify", "consent", "login/code", "reset/password"} {
		j.visit(j.base + "/" + page + "?flow=0198a3c1-5f10-7c4e-9a55-2f3b8f0f1a01")
		j.on("error")
		j.reads("h1", "That took a while, so we started again")
	}
	j.click("#error-action")
	j.on("login")
}

func (j *journey) tryTooOften() {
	j.t.Helper()
	j.visit(j.base + "/login")
	for range 6 {
		j.signIn("nobody@example.org", "a guess of somebody's")
	}
	j.on("error")
	if j.status != http.StatusTooManyRequests {
		j.t.Errorf("the page is %d", j.status)
	}
	j.reads("h1", "Too many attempts")
	j.reads("main", "You can try again at")
	j.reload()
	j.on("error")
	j.said() // that an error page is an error
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
	p.on("protect")
	p.click("#protect-later")
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

func (j *journey) refuse(email string) {
	j.t.Helper()
	j.forgetCookies()
	j.visit(j.base + "/dev/app")
	j.click("#app-signin")
	j.signIn(email, "seventeen green lantern")
	j.on("login")
	j.atProblem("Your email or password is incorrect. Check both and try again.")
	if kept, secret := j.value("identifier"), j.value("password"); kept != email || secret != "" {
		j.t.Errorf("the form came back with %q and the password %q", kept, secret)
	}
	j.signIn(email, password)
	j.on("consent")
	j.click("#consent-deny")
	j.on("dev-app")
	j.reads("#app-error", "access_denied")

	// A refusal is of this once, and so is consent without the tick.
	j.click("#app-signin")
	j.on("consent")
	j.do(chromedp.Click(chromedp.ID("remember")))
	j.click("#consent-allow")
	j.on("dev-app")
	j.reads("#app-userinfo", email)
	j.click("#app-signout")
	j.click("#app-signin")
	j.on("consent")
}

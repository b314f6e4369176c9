package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/login"
)

// TestReasons meets every reason of the login engine over gRPC.
func TestReasons(t *testing.T) {
	register := func(h *house, email, password, name string) (string, error) {
		r, err := h.Register(h.ctx(), &authv1.RegisterRequest{Email: email, Password: password, Name: name})
		return r.GetVerification().GetHandle(), err
	}
	verify := func(h *house, handle, code string) error {
		_, err := h.AccountVerification(h.ctx(), &authv1.AccountVerificationRequest{Handle: handle, Code: code})
		return err
	}
	logIn := func(h *house, password string) error {
		_, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: ashaEmail, Password: password})
		return err
	}
	second := func(h *house, totp string) error {
		in, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: ashaEmail, Password: ashaPassword})
		must(h.t, err)
		_, err = h.LoginTwoFactor(h.ctx(), &authv1.LoginTwoFactorRequest{
			Handle: in.GetTotp().GetHandle(), Code: &authv1.LoginTwoFactorRequest_Totp{Totp: totp},
		})
		return err
	}
	registering := func(email, password, name string) func(*house) error {
		return func(h *house) error { _, err := register(h, email, password, name); return err }
	}
	changing := func(current, password string) func(*house) error {
		return func(h *house) error {
			h.person(ashaEmail)
			_, err := h.account.ChangePassword(h.as(h.signIn(ashaEmail)), &authv1.ChangePasswordRequest{CurrentPassword: current, Password: password})
			return err
		}
	}
	registered := func(h *house) string {
		handle, err := register(h, ashaEmail, ashaPassword, "Asha")
		must(h.t, err)
		return handle
	}

	cases := []struct {
		sentence string
		reason   login.Reason
		code     string
		// fields are the violations, retry whether waiting is said to help.
		fields string
		retry  bool
		change change
		do     func(*house) error
	}{
		{"a wrong password", login.BadCredentials, "UNAUTHENTICATED", "", false, change{}, func(h *house) error {
			h.person(ashaEmail)
			return logIn(h, "another password")
		}},
		{"an account that is suspended, to who knows the password", login.AccountRestricted, "PERMISSION_DENIED", "", false, change{}, func(h *house) error {
			h.suspend(h.person(ashaEmail))
			return logIn(h, ashaPassword)
		}},
		{"a mailbox that was proved by another registration", login.AlreadyVerified, "FAILED_PRECONDITION", "", false, change{}, func(h *house) error {
			first := registered(h)
			code := h.code(ashaEmail)
			h.skip(time.Minute)
			second, err := register(h, ashaEmail, newPassword, "Eve")
			must(h.t, err)
			must(h.t, verify(h, second, h.code(ashaEmail)))
			return verify(h, first, code)
		}},
		{"a code of spaces", login.CodeMissing, "INVALID_ARGUMENT", "code: CODE_MISSING", false, change{}, func(h *house) error {
			return verify(h, registered(h), "  - ")
		}},
		{"a wrong code", login.BadCode, "INVALID_ARGUMENT", "code: BAD_CODE", false, change{}, func(h *house) error {
			handle := registered(h)
			return verify(h, handle, other(h.code(ashaEmail)))
		}},
		{"a wrong code of the app, told of the field that was sent", login.BadCode, "INVALID_ARGUMENT", "totp: BAD_CODE", false, change{}, func(h *house) error {
			h.person(ashaEmail)
			secret, _, _ := h.twoStep(ashaEmail)
			return second(h, other(h.totp(secret)))
		}},
		{"the fifth wrong code", login.CodeDead, "FAILED_PRECONDITION", "code: CODE_DEAD", false, change{}, func(h *house) error {
			handle := registered(h)
			wrong := other(h.code(ashaEmail))
			for range 4 {
				want(h.t, verify(h, handle, wrong), "INVALID_ARGUMENT BAD_CODE")
			}
			return verify(h, handle, wrong)
		}},
		{"a handle that nobody has", login.Expired, "ABORTED", "", false, change{}, func(h *house) error {
			return verify(h, strings.Repeat("A", 26), "12345678")
		}},
		{"another code at once", login.TooSoon, "RESOURCE_EXHAUSTED", "", true, change{}, func(h *house) error {
			_, err := h.ResendAccountVerification(h.ctx(), &authv1.ResendAccountVerificationRequest{Handle: registered(h)})
			return err
		}},
		{"more passwords than can be hashed", login.Busy, "RESOURCE_EXHAUSTED", "", true, change{}, func(h *house) error {
			h.person(ashaEmail)
			var g errgroup.Group
			release := make(chan struct{})
			wait := func() { <-release }
			h.hashing.Store(&wait)
			refused := make(chan error, 100)
			for range 90 {
				g.Go(func() error {
					// Limits count addresses; those nobody has are hashed for as well.
					_, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: "x" + strings.ToLower(newName()) + "@example.com", Password: ashaPassword})
					if strings.Contains(verdict(h.t, err), "BUSY") {
						refused <- err
					}
					return nil
				})
			}
			err := <-refused
			close(release)
			_ = g.Wait()
			return err
		}},
		{"the sixth wrong password", login.RateLimited, "RESOURCE_EXHAUSTED", "", true, change{}, func(h *house) error {
			h.person(ashaEmail)
			for range 5 {
				want(h.t, logIn(h, "another password"), "UNAUTHENTICATED BAD_CREDENTIALS")
			}
			return logIn(h, ashaPassword)
		}},
		{"ten wrong codes of the app", login.SecondFactorLocked, "RESOURCE_EXHAUSTED", "", true, change{}, func(h *house) error {
			u := h.person(ashaEmail)
			secret, _, _ := h.twoStep(ashaEmail)
			for range 10 {
				_, err := h.db.FailSecondFactor(h.ctx(), u.ID, h.now())
				must(h.t, err)
			}
			return second(h, h.totp(secret))
		}},
		{"a code of the app that was used", login.CodeUsed, "INVALID_ARGUMENT", "totp: CODE_USED", false, change{}, func(h *house) error {
			h.person(ashaEmail)
			secret, _, _ := h.twoStep(ashaEmail)
			code := h.totp(secret)
			must(h.t, second(h, code))
			return second(h, code)
		}},
		{"a sign-in of six minutes ago", login.Reauthenticate, "FAILED_PRECONDITION", "", false, change{}, func(h *house) error {
			h.person(ashaEmail)
			token := h.signIn(ashaEmail)
			h.skip(6 * time.Minute)
			_, err := h.account.EnableTwoFactor(h.as(token), &authv1.EnableTwoFactorRequest{})
			return err
		}},
		{"not the current password", login.WrongPassword, "INVALID_ARGUMENT", "current_password: WRONG_PASSWORD", false, change{}, changing("another password", newPassword)},
		{"two-step sign-in twice", login.AlreadyOn, "FAILED_PRECONDITION", "", false, change{}, func(h *house) error {
			h.person(ashaEmail)
			_, _, token := h.twoStep(ashaEmail)
			_, err := h.account.EnableTwoFactor(h.as(token), &authv1.EnableTwoFactorRequest{})
			return err
		}},
		{"recovery codes without two-step sign-in", login.NotOn, "FAILED_PRECONDITION", "", false, change{}, func(h *house) error {
			h.person(ashaEmail)
			_, err := h.account.NewRecoveryCodes(h.as(h.signIn(ashaEmail)), &authv1.NewRecoveryCodesRequest{})
			return err
		}},
		{"a session of nobody", login.NotFound, "NOT_FOUND", "", false, change{}, func(h *house) error {
			h.person(ashaEmail)
			_, err := h.account.RevokeSession(h.as(h.signIn(ashaEmail)), &authv1.RevokeSessionRequest{Id: "' or 1=1 --"})
			return err
		}},
		{"a closed door", login.RegistrationClosed, "FAILED_PRECONDITION", "", false, change{login: func(c *login.Config) { c.Closed = true }}, registering(ashaEmail, ashaPassword, "Asha")},
		{"a foreign domain", login.DomainNotAllowed, "INVALID_ARGUMENT", "email: DOMAIN_NOT_ALLOWED", false, change{}, registering("asha@example.net", ashaPassword, "Asha")},
		{"a name of spaces", login.NameMissing, "INVALID_ARGUMENT", "name: NAME_MISSING", false, change{}, registering(ashaEmail, ashaPassword, "  ")},
		{"a name that grows in its one form", login.NameTooLong, "INVALID_ARGUMENT", "name: NAME_TOO_LONG", false, change{}, registering(ashaEmail, ashaPassword, strings.Repeat("\u0958", 100))},
		{"a name with a line end", login.NameMalformed, "INVALID_ARGUMENT", "name: NAME_MALFORMED", false, change{}, registering(ashaEmail, ashaPassword, "Asha\nRai")},
		{"an address of spaces", login.EmailMissing, "INVALID_ARGUMENT", "email: EMAIL_MISSING", false, change{}, func(h *house) error {
			_, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: "  ", Password: ashaPassword})
			return err
		}},
		{"an address without a dot in its domain", login.EmailMalformed, "INVALID_ARGUMENT", "email: EMAIL_MALFORMED", false, change{}, registering("asha@localhost", ashaPassword, "Asha")},
		{"a short password", login.PasswordTooShort, "INVALID_ARGUMENT", "password: PASSWORD_TOO_SHORT", false, change{}, registering(ashaEmail, "river moss", "Asha")},
		{"a long password", login.PasswordTooLong, "INVALID_ARGUMENT", "password: PASSWORD_TOO_LONG", false, change{}, registering(ashaEmail, strings.Repeat("river moss ", 12), "Asha")},
		{"a password of more than bcrypt reads", login.PasswordTooManyBytes, "INVALID_ARGUMENT", "password: PASSWORD_TOO_MANY_BYTES", false, change{login: func(c *login.Config) { c.Bcrypt = true }}, registering(ashaEmail, strings.Repeat("river moss ", 7), "Asha")},
		{"a password that everybody has", login.PasswordCommon, "INVALID_ARGUMENT", "password: PASSWORD_COMMON", false, change{}, registering(ashaEmail, "passwordpassword", "Asha")},
		{"a password with the name in it", login.PasswordPersonal, "INVALID_ARGUMENT", "password: PASSWORD_PERSONAL", false, change{}, registering(ashaEmail, "the asha of rivers", "Asha")},
		{"the password of before", login.PasswordReused, "INVALID_ARGUMENT", "password: PASSWORD_REUSED", false, change{}, changing(ashaPassword, ashaPassword)},
		{"everything at once, in the order of the fields", login.NameMissing, "INVALID_ARGUMENT", "name: NAME_MISSING email: DOMAIN_NOT_ALLOWED password: PASSWORD_TOO_SHORT", false, change{}, registering("asha@example.net", "river moss", " ")},
	}
	met := map[login.Reason]bool{
		// The contract does not let an empty password in: see TestBadInput.
		login.PasswordMissing: true,
	}
	for _, c := range cases {
		met[c.reason] = true
		t.Run(c.sentence, func(t *testing.T) {
			h := newHouse(t, embedded, c.change)
			p := problemOf(t, c.do(h))
			if got, want := screaming(p.code)+" "+p.reason, c.code+" "+strings.ToUpper(string(c.reason)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if got := strings.Join(p.fields, " "); got != c.fields {
				t.Errorf("the violations are %q, want %q", got, c.fields)
			}
			if (p.retry > 0) != c.retry || p.retry%time.Second != 0 {
				t.Errorf("retry after %v", p.retry)
			}
			if p.message == "" || strings.Contains(p.message, "login:") {
				t.Errorf("the message is %q", p.message)
			}
			if log := h.logged(); strings.Contains(log, "ERROR") {
				t.Errorf("a refusal was logged as a fault:\n%s", log)
			}
		})
	}
	for _, r := range login.Reasons() {
		if !met[r] {
			t.Errorf("no call was refused for %s", r)
		}
	}
}

// other is a code of as many digits that is not this one.
func other(code string) string {
	last := code[len(code)-1]
	return code[:len(code)-1] + string('0'+(last-'0'+1)%10)
}

// TestFaults: what is no refusal is our fault, logged once under a reference
// that the client is told, and by nothing else.
func TestFaults(t *testing.T) {
	for _, k := range []kind{servers, embedded} {
		t.Run(string(k), func(t *testing.T) {
			down := false
			h := newHouse(t, k, change{api: readiness(&down)})
			h.person(ashaEmail)
			token := h.signIn(ashaEmail)
			must(t, h.db.Close())
			calls := map[string]func() error{
				"Login": func() error {
					_, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: ashaEmail, Password: ashaPassword})
					return err
				},
				// The provider itself knows what it could not reach.
				"Profile": func() error {
					_, err := h.account.Profile(h.as(token), &authv1.ProfileRequest{})
					return err
				},
				"Refresh": func() error {
					_, err := h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: token.GetRefreshToken()})
					return err
				},
			}
			for name, call := range calls {
				for _, down = range []bool{false, true} {
					before := strings.Count(h.logged(), "call failed")
					p := problemOf(t, call())
					wanted, told := "INTERNAL INTERNAL", down || name != "Login"
					if told {
						wanted = "UNAVAILABLE UNAVAILABLE"
					}
					if got := screaming(p.code) + " " + p.reason; got != wanted || (p.retry > 0) != told {
						t.Errorf("%s: got %s, retry after %v; want %s", name, got, p.retry, wanted)
					}
					if n := strings.Count(h.logged(), "call failed") - before; n != 1 {
						t.Errorf("%s: it was logged %d times", name, n)
					}
					if p.reference == "" || strings.Count(h.logged(), p.reference) != 1 {
						t.Errorf("%s: the reference %q is not in the log once", name, p.reference)
					}
				}
			}
			if strings.Contains(h.logged(), ashaEmail) || strings.Contains(h.logged(), ashaPassword) || strings.Contains(h.logged(), token.GetAccessToken()) {
				t.Error("the log names the person or a secret")
			}
		})
	}
}

// TestPanic: a panic ends one call, not the server.
func TestPanic(t *testing.T) {
	h := newHouse(t, embedded)
	h.person(ashaEmail)
	boom := func() { panic("boom with " + ashaEmail[:4]) }
	h.hashing.Store(&boom)
	_, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: ashaEmail, Password: ashaPassword})
	want(t, err, "INTERNAL INTERNAL")
	if p := problemOf(t, err); strings.Contains(p.message, "boom") || strings.Count(h.logged(), p.reference) != 1 {
		t.Errorf("got %q, and the log\n%s", p.message, h.logged())
	}
	h.hashing.Store(nil)
	h.signIn(ashaEmail)
}

// TestDeadline: a call ends by its own deadline, and by ours.
func TestDeadline(t *testing.T) {
	var end time.Time
	h := newHouse(t, embedded, change{api: deadlineOf(&end)})
	h.person(ashaEmail)
	release := make(chan struct{})
	wait := func() { <-release }
	h.hashing.Store(&wait)
	ctx, cancel := context.WithTimeout(h.ctx(), 50*time.Millisecond)
	defer cancel()
	_, err := h.Login(ctx, &authv1.LoginRequest{Email: ashaEmail, Password: ashaPassword})
	want(t, err, "DEADLINE_EXCEEDED")
	close(release)
	h.hashing.Store(nil)

	// An hour is asked for; the database sees half a minute.
	ctx, cancel = context.WithTimeout(h.ctx(), time.Hour)
	defer cancel()
	before := time.Now()
	_, _ = h.Refresh(ctx, &authv1.RefreshRequest{RefreshToken: "x"})
	if end.Before(before.Add(30*time.Second)) || end.After(time.Now().Add(30*time.Second)) {
		t.Errorf("a call that may take an hour has %v", end.Sub(before))
	}
}

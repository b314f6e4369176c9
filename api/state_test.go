package api_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/storage"
)

// The states that an account can be in.
const (
	unknown   = "unknown"
	pending   = "pending"
	active    = "active"
	twoStep   = "active, two-step sign-in"
	suspended = "suspended"
	deleted   = "deleted"
)

var states = []string{unknown, pending, active, twoStep, suspended, deleted}

// a person in a state.
type subject struct {
	storage.User
	email, secret string
	recovery      []string
}

// put makes somebody in that state. Nobody has had a letter.
func (h *house) put(state string) *subject {
	h.t.Helper()
	p := &subject{email: strings.ToLower(newName()) + "@example.com"}
	if state == unknown {
		return p
	}
	if state == pending {
		now := h.now()
		p.User = storage.User{
			ID: uuid.Must(uuid.NewV7()).String(), Email: p.email, Name: "Asha", Status: storage.UserPending, Epoch: 1, CreatedAt: now, UpdatedAt: now,
		}
		must(h.t, h.db.CreateUser(context.Background(), p.User, "plain$"+ashaPassword))
		return p
	}
	p.User = h.person(p.email)
	switch state {
	case twoStep:
		p.secret, p.recovery, _ = h.twoStep(p.email)
	case suspended:
		h.suspend(p.User)
	case deleted:
		h.delete(p.User)
	}
	return p
}

// mailed is the code that was mailed to the person, or one that nobody has.
func (h *house) mailed(p *subject) string {
	rows, err := h.db.PendingLetters(context.Background(), "", 1000)
	must(h.t, err)
	if codes := h.codes(rows, p.email); len(codes) > 0 {
		return codes[len(codes)-1]
	}
	return "12345678"
}

// TestStates calls every method of AuthenticationService about somebody in every
// state. What a stranger can ask for reads the same for all of them.
func TestStates(t *testing.T) {
	h := newHouse(t, servers)
	logIn := func(p *subject, password string) (*authv1.LoginResponse, string) {
		r, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: p.email, Password: password})
		v := verdict(t, err)
		switch r.GetNext().(type) {
		case *authv1.LoginResponse_Token:
			v = "token"
		case *authv1.LoginResponse_Totp:
			v = "totp"
		case *authv1.LoginResponse_Verification:
			v = "verification"
		}
		return r, v
	}
	register := func(p *subject) (string, error) {
		r, err := h.Register(h.ctx(), &authv1.RegisterRequest{Email: p.email, Password: newPassword, Name: "Eve"})
		return r.GetVerification().GetHandle(), err
	}
	forgot := func(p *subject) (string, error) {
		r, err := h.ForgotPassword(h.ctx(), &authv1.ForgotPasswordRequest{Email: p.email})
		return r.GetVerification().GetHandle(), err
	}
	verify := func(p *subject, handle string) (string, error) {
		r, err := h.Verification(h.ctx(), &authv1.VerificationRequest{Handle: handle, Code: h.mailed(p)})
		return r.GetReset_().GetHandle(), err
	}

	const bad, code, restricted = "UNAUTHENTICATED BAD_CREDENTIALS", "INVALID_ARGUMENT BAD_CODE", "PERMISSION_DENIED ACCOUNT_RESTRICTED"
	for _, c := range []struct {
		method string
		do     func(*subject) string
		// want is by the states, in their order.
		want [6]string
	}{
		{"Login, right password", func(p *subject) string { _, v := logIn(p, ashaPassword); return v },
			[6]string{bad, "verification", "token", "totp", restricted, bad}},
		{"Login, wrong password", func(p *subject) string { _, v := logIn(p, "another password"); return v },
			[6]string{bad, bad, bad, bad, bad, bad}},
		{"Register", func(p *subject) string { _, err := register(p); return verdict(t, err) },
			[6]string{"ok", "ok", "ok", "ok", "ok", "ok"}},
		{"AccountVerification", func(p *subject) string {
			handle, err := register(p)
			must(t, err)
			r, err := h.AccountVerification(h.ctx(), &authv1.AccountVerificationRequest{Handle: handle, Code: h.mailed(p)})
			if r.GetToken() != nil {
				return "token"
			}
			return verdict(t, err)
		}, [6]string{"token", "token", code, code, code, "token"}},
		{"AccountVerification after Login", func(p *subject) string {
			in, v := logIn(p, ashaPassword)
			if v != "verification" {
				return "not asked"
			}
			r, err := h.AccountVerification(h.ctx(), &authv1.AccountVerificationRequest{Handle: in.GetVerification().GetHandle(), Code: h.mailed(p)})
			if r.GetToken() != nil && r.GetDevice() != "" {
				return "token"
			}
			return verdict(t, err)
		}, [6]string{"not asked", "token", "not asked", "not asked", "not asked", "not asked"}},
		{"ResendAccountVerification after Register", func(p *subject) string {
			handle, err := register(p)
			must(t, err)
			_, err = h.ResendAccountVerification(h.ctx(), &authv1.ResendAccountVerificationRequest{Handle: handle})
			return verdict(t, err)
		}, same("RESOURCE_EXHAUSTED TOO_SOON")},
		{"LoginTwoFactor", func(p *subject) string {
			in, v := logIn(p, ashaPassword)
			if v != "totp" {
				return "not asked"
			}
			r, err := h.LoginTwoFactor(h.ctx(), &authv1.LoginTwoFactorRequest{
				Handle: in.GetTotp().GetHandle(), Code: &authv1.LoginTwoFactorRequest_Recovery{Recovery: p.recovery[0]},
			})
			if r.GetToken() != nil && r.GetRecoveryCodesLeft() == 9 {
				return "token"
			}
			return verdict(t, err)
		}, [6]string{"not asked", "not asked", "not asked", "token", "not asked", "not asked"}},
		{"ForgotPassword", func(p *subject) string { _, err := forgot(p); return verdict(t, err) }, same("ok")},
		{"ResendAccountVerification after ForgotPassword", func(p *subject) string {
			handle, err := forgot(p)
			must(t, err)
			_, err = h.ResendAccountVerification(h.ctx(), &authv1.ResendAccountVerificationRequest{Handle: handle})
			return verdict(t, err)
		}, same("RESOURCE_EXHAUSTED TOO_SOON")},
		{"Verification", func(p *subject) string {
			handle, err := forgot(p)
			must(t, err)
			_, err = verify(p, handle)
			return verdict(t, err)
		}, [6]string{code, "ok", "ok", "ok", code, code}},
		{"ResetPassword, and Login with it", func(p *subject) string {
			handle, err := forgot(p)
			must(t, err)
			if handle, err = verify(p, handle); err != nil {
				return "not asked"
			}
			_, err = h.ResetPassword(h.ctx(), &authv1.ResetPasswordRequest{Handle: handle, Password: newPassword})
			must(t, err)
			if _, v := logIn(p, ashaPassword); v != bad {
				t.Errorf("after a reset the old password leads to %s", v)
			}
			_, v := logIn(p, newPassword)
			return v
		}, [6]string{"not asked", "token", "token", "totp", "not asked", "not asked"}},
		{"Refresh of nothing", func(*subject) string {
			_, err := h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: "x"})
			return verdict(t, err)
		}, same("UNAUTHENTICATED INVALID_TOKEN")},
		{"Logout of nothing", func(*subject) string {
			_, err := h.Logout(h.ctx(), &authv1.LogoutRequest{RefreshToken: "x"})
			return verdict(t, err)
		}, same("ok")},
	} {
		for i, state := range states {
			t.Run(c.method+"/"+state, func(t *testing.T) {
				if got := c.do(h.put(state)); got != c.want[i] {
					t.Errorf("got %s, want %s", got, c.want[i])
				}
			})
		}
	}

	// What happens between a challenge and its answer: in each column to the one
	// in the row.
	challenges := map[string]func(*subject) (answer func() error){
		"AccountVerification": func(p *subject) func() error {
			in, _ := logIn(p, ashaPassword)
			mailed := h.mailed(p)
			return func() error {
				_, err := h.AccountVerification(h.ctx(), &authv1.AccountVerificationRequest{Handle: in.GetVerification().GetHandle(), Code: mailed})
				return err
			}
		},
		"Verification": func(p *subject) func() error {
			handle, err := forgot(p)
			must(t, err)
			mailed := h.mailed(p)
			return func() error {
				_, err := h.Verification(h.ctx(), &authv1.VerificationRequest{Handle: handle, Code: mailed})
				return err
			}
		},
		"ResetPassword": func(p *subject) func() error {
			handle, err := forgot(p)
			must(t, err)
			handle, err = verify(p, handle)
			must(t, err)
			return func() error {
				_, err := h.ResetPassword(h.ctx(), &authv1.ResetPasswordRequest{Handle: handle, Password: "a third password"})
				return err
			}
		},
		"LoginTwoFactor": func(p *subject) func() error {
			in, _ := logIn(p, ashaPassword)
			return func() error {
				_, err := h.LoginTwoFactor(h.ctx(), &authv1.LoginTwoFactorRequest{
					Handle: in.GetTotp().GetHandle(), Code: &authv1.LoginTwoFactorRequest_Recovery{Recovery: p.recovery[0]},
				})
				return err
			}
		},
		"Refresh": func(p *subject) func() error {
			token := h.signIn(p.email)
			return func() error {
				_, err := h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: token.GetRefreshToken()})
				return err
			}
		},
		"Logout": func(p *subject) func() error {
			token := h.signIn(p.email)
			return func() error {
				_, err := h.Logout(h.ctx(), &authv1.LogoutRequest{RefreshToken: token.GetRefreshToken()})
				return err
			}
		},
	}
	begins := map[string]string{"AccountVerification": pending, "LoginTwoFactor": twoStep}
	meanwhile := map[string]func(*subject){
		"suspended": func(p *subject) { h.suspend(p.User) },
		"deleted":   func(p *subject) { h.delete(p.User) },
		"another password": func(p *subject) {
			_, err := h.db.SetPassword(context.Background(), storage.PasswordChange{UserID: p.ID, PasswordHash: "plain$x", Now: h.now()})
			must(t, err)
		},
	}
	for method, begin := range challenges {
		for what, happens := range meanwhile {
			if method == "AccountVerification" && what == "another password" {
				continue // who is pending has none that counts
			}
			t.Run(method+"/meanwhile "+what, func(t *testing.T) {
				state, ok := begins[method]
				if !ok {
					state = active
				}
				p := h.put(state)
				answer := begin(p)
				happens(p)
				wanted := "ABORTED EXPIRED"
				switch {
				case method == "Refresh":
					wanted = "UNAUTHENTICATED INVALID_TOKEN"
				case method == "Logout":
					wanted = "ok"
				case what == "suspended":
					wanted = restricted
				}
				want(t, answer(), wanted)
				if method == "Logout" {
					return
				}
				// And there is no second try.
				if v := verdict(t, answer()); v == "ok" {
					t.Error("the second answer was taken")
				}
			})
		}
	}
	if log := h.logged(); strings.Contains(log, "ERROR") {
		t.Errorf("there were faults:\n%s", log)
	}
}

func same(v string) [6]string { return [6]string{v, v, v, v, v, v} }

// TestHandles: a handle is good for its step, its person, its time, and once.
func TestHandles(t *testing.T) {
	h := newHouse(t, embedded)
	forgot := func(email string) string {
		r, err := h.ForgotPassword(h.ctx(), &authv1.ForgotPasswordRequest{Email: email})
		must(t, err)
		return r.GetVerification().GetHandle()
	}
	eve := h.put(active)
	evesToken := h.signIn(eve.email)

	// A handle of each step, each of somebody of their own.
	handles := map[string]func() (handle string, token *authv1.Token){
		"AccountVerification": func() (string, *authv1.Token) {
			r, err := h.Register(h.ctx(), &authv1.RegisterRequest{Email: h.put(unknown).email, Password: newPassword, Name: "Asha"})
			must(t, err)
			return r.GetVerification().GetHandle(), nil
		},
		"Verification": func() (string, *authv1.Token) { return forgot(h.put(active).email), nil },
		"ResetPassword": func() (string, *authv1.Token) {
			p := h.put(active)
			r, err := h.Verification(h.ctx(), &authv1.VerificationRequest{Handle: forgot(p.email), Code: h.mailed(p)})
			must(t, err)
			return r.GetReset_().GetHandle(), nil
		},
		"LoginTwoFactor": func() (string, *authv1.Token) {
			r, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: h.put(twoStep).email, Password: ashaPassword})
			must(t, err)
			return r.GetTotp().GetHandle(), nil
		},
		"ConfirmEmail": func() (string, *authv1.Token) {
			p := h.put(active)
			token := h.signIn(p.email)
			r, err := h.account.ChangeEmail(h.as(token), &authv1.ChangeEmailRequest{Email: h.put(unknown).email})
			must(t, err)
			return r.GetHandle(), token
		},
		"ConfirmTwoFactor": func() (string, *authv1.Token) {
			p := h.put(active)
			token := h.signIn(p.email)
			r, err := h.account.EnableTwoFactor(h.as(token), &authv1.EnableTwoFactorRequest{})
			must(t, err)
			return r.GetHandle(), token
		},
	}
	answers := map[string]func(handle string, token *authv1.Token) error{
		"AccountVerification": func(handle string, _ *authv1.Token) error {
			_, err := h.AccountVerification(h.ctx(), &authv1.AccountVerificationRequest{Handle: handle, Code: "12345678"})
			return err
		},
		"ResendAccountVerification": func(handle string, _ *authv1.Token) error {
			_, err := h.ResendAccountVerification(h.ctx(), &authv1.ResendAccountVerificationRequest{Handle: handle})
			return err
		},
		"Verification": func(handle string, _ *authv1.Token) error {
			_, err := h.Verification(h.ctx(), &authv1.VerificationRequest{Handle: handle, Code: "12345678"})
			return err
		},
		"ResetPassword": func(handle string, _ *authv1.Token) error {
			_, err := h.ResetPassword(h.ctx(), &authv1.ResetPasswordRequest{Handle: handle, Password: ashaPassword}) // the one before
			return err
		},
		"LoginTwoFactor": func(handle string, _ *authv1.Token) error {
			_, err := h.LoginTwoFactor(h.ctx(), &authv1.LoginTwoFactorRequest{Handle: handle, Code: &authv1.LoginTwoFactorRequest_Totp{Totp: "123456"}})
			return err
		},
		"ConfirmEmail": func(handle string, token *authv1.Token) error {
			_, err := h.account.ConfirmEmail(h.as(token), &authv1.ConfirmEmailRequest{Handle: handle, Code: "12345678"})
			return err
		},
		"ConfirmTwoFactor": func(handle string, token *authv1.Token) error {
			_, err := h.account.ConfirmTwoFactor(h.as(token), &authv1.ConfirmTwoFactorRequest{Handle: handle, Code: "123456"})
			return err
		},
	}
	const gone = "ABORTED EXPIRED"
	for _, step := range slices.Sorted(maps.Keys(handles)) {
		for _, method := range slices.Sorted(maps.Keys(answers)) {
			t.Run("the handle of "+step+" at "+method, func(t *testing.T) {
				handle, token := handles[step]()
				wanted := gone
				switch {
				case method == step && step == "ResetPassword":
					wanted = "INVALID_ARGUMENT PASSWORD_REUSED"
				case method == step:
					wanted = "INVALID_ARGUMENT BAD_CODE"
				case method == "ResendAccountVerification" && (step == "AccountVerification" || step == "Verification"):
					wanted = "RESOURCE_EXHAUSTED TOO_SOON"
				}
				if token == nil {
					token = evesToken
				}
				want(t, answers[method](handle, token), wanted)
			})
		}
	}
	for _, step := range []string{"ConfirmEmail", "ConfirmTwoFactor"} {
		t.Run("the handle of another person at "+step, func(t *testing.T) {
			handle, _ := handles[step]()
			want(t, answers[step](handle, evesToken), gone)
		})
	}
	for _, step := range slices.Sorted(maps.Keys(handles)) {
		t.Run("the handle of "+step+" after its time", func(t *testing.T) {
			handle, token := handles[step]()
			life := 5 * time.Minute
			wanted := gone
			if step == "ConfirmTwoFactor" { // whose secret lives on when the sign-in is too old
				life, wanted = 30*time.Minute, "UNAUTHENTICATED INVALID_TOKEN"
			}
			if token == nil {
				token = evesToken
			}
			h.skip(life + time.Second)
			want(t, answers[step](handle, token), wanted)
		})
	}
}

package api_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
)

// raw sends bytes as they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (raw) Name() string                       { return "proto" }

var _ encoding.Codec = raw{}

// TestBadInput: what breaks a rule, or is too long, is refused before a password
// is hashed, a key is used, or anything is looked up.
func TestBadInput(t *testing.T) {
	const mb3 = 3 << 20
	h := newHouse(t, servers)
	token := h.signIn(h.put(active).email)
	type call = func(string) error
	// Every text of every request, with the others as they should be.
	texts := map[string]call{
		"Register.email": func(s string) error {
			_, err := h.Register(h.ctx(), &authv1.RegisterRequest{Email: s, Password: ashaPassword, Name: "Asha"})
			return err
		},
		"Register.password": func(s string) error {
			_, err := h.Register(h.ctx(), &authv1.RegisterRequest{Email: ashaEmail, Password: s, Name: "Asha"})
			return err
		},
		"Register.name": func(s string) error {
			_, err := h.Register(h.ctx(), &authv1.RegisterRequest{Email: ashaEmail, Password: ashaPassword, Name: s})
			return err
		},
		"AccountVerification.handle": func(s string) error {
			_, err := h.AccountVerification(h.ctx(), &authv1.AccountVerificationRequest{Handle: s, Code: "12345678"})
			return err
		},
		"AccountVerification.code": func(s string) error {
			_, err := h.AccountVerification(h.ctx(), &authv1.AccountVerificationRequest{Handle: nobodys, Code: s})
			return err
		},
		"ResendAccountVerification.handle": func(s string) error {
			_, err := h.ResendAccountVerification(h.ctx(), &authv1.ResendAccountVerificationRequest{Handle: s})
			return err
		},
		"Login.email": func(s string) error {
			_, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: s, Password: ashaPassword})
			return err
		},
		"Login.password": func(s string) error {
			_, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: ashaEmail, Password: s})
			return err
		},
		"LoginTwoFactor.handle": func(s string) error {
			_, err := h.LoginTwoFactor(h.ctx(), &authv1.LoginTwoFactorRequest{Handle: s, Code: &authv1.LoginTwoFactorRequest_Totp{Totp: "123456"}})
			return err
		},
		"LoginTwoFactor.totp": func(s string) error {
			_, err := h.LoginTwoFactor(h.ctx(), &authv1.LoginTwoFactorRequest{Handle: nobodys, Code: &authv1.LoginTwoFactorRequest_Totp{Totp: s}})
			return err
		},
		"LoginTwoFactor.recovery": func(s string) error {
			_, err := h.LoginTwoFactor(h.ctx(), &authv1.LoginTwoFactorRequest{Handle: nobodys, Code: &authv1.LoginTwoFactorRequest_Recovery{Recovery: s}})
			return err
		},
		"ForgotPassword.email": func(s string) error {
			_, err := h.ForgotPassword(h.ctx(), &authv1.ForgotPasswordRequest{Email: s})
			return err
		},
		"Verification.handle": func(s string) error {
			_, err := h.Verification(h.ctx(), &authv1.VerificationRequest{Handle: s, Code: "12345678"})
			return err
		},
		"Verification.code": func(s string) error {
			_, err := h.Verification(h.ctx(), &authv1.VerificationRequest{Handle: nobodys, Code: s})
			return err
		},
		"ResetPassword.handle": func(s string) error {
			_, err := h.ResetPassword(h.ctx(), &authv1.ResetPasswordRequest{Handle: s, Password: newPassword})
			return err
		},
		"ResetPassword.password": func(s string) error {
			_, err := h.ResetPassword(h.ctx(), &authv1.ResetPasswordRequest{Handle: nobodys, Password: s})
			return err
		},
		"Refresh.refresh_token": func(s string) error {
			_, err := h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: s})
			return err
		},
		"Logout.refresh_token": func(s string) error {
			_, err := h.Logout(h.ctx(), &authv1.LogoutRequest{RefreshToken: s})
			return err
		},
		"ChangePassword.current_password": func(s string) error {
			_, err := h.account.ChangePassword(h.as(token), &authv1.ChangePasswordRequest{CurrentPassword: s, Password: newPassword})
			return err
		},
		"ChangePassword.password": func(s string) error {
			_, err := h.account.ChangePassword(h.as(token), &authv1.ChangePasswordRequest{CurrentPassword: ashaPassword, Password: s})
			return err
		},
		"ChangeEmail.email": func(s string) error {
			_, err := h.account.ChangeEmail(h.as(token), &authv1.ChangeEmailRequest{Email: s})
			return err
		},
		"ConfirmEmail.handle": func(s string) error {
			_, err := h.account.ConfirmEmail(h.as(token), &authv1.ConfirmEmailRequest{Handle: s, Code: "12345678"})
			return err
		},
		"ConfirmEmail.code": func(s string) error {
			_, err := h.account.ConfirmEmail(h.as(token), &authv1.ConfirmEmailRequest{Handle: nobodys, Code: s})
			return err
		},
		"ConfirmTwoFactor.handle": func(s string) error {
			_, err := h.account.ConfirmTwoFactor(h.as(token), &authv1.ConfirmTwoFactorRequest{Handle: s, Code: "123456"})
			return err
		},
		"ConfirmTwoFactor.code": func(s string) error {
			_, err := h.account.ConfirmTwoFactor(h.as(token), &authv1.ConfirmTwoFactorRequest{Handle: nobodys, Code: s})
			return err
		},
		"DisableTwoFactor.totp": func(s string) error {
			_, err := h.account.DisableTwoFactor(h.as(token), &authv1.DisableTwoFactorRequest{Code: &authv1.DisableTwoFactorRequest_Totp{Totp: s}})
			return err
		},
		"DisableTwoFactor.recovery": func(s string) error {
			_, err := h.account.DisableTwoFactor(h.as(token), &authv1.DisableTwoFactorRequest{Code: &authv1.DisableTwoFactorRequest_Recovery{Recovery: s}})
			return err
		},
		"RevokeSession.id": func(s string) error {
			_, err := h.account.RevokeSession(h.as(token), &authv1.RevokeSessionRequest{Id: s})
			return err
		},
		"WithdrawConsent.client_id": func(s string) error {
			_, err := h.account.WithdrawConsent(h.as(token), &authv1.WithdrawConsentRequest{ClientId: s})
			return err
		},
	}
	untouched := func(t *testing.T, what string, do func() error) error {
		t.Helper()
		before := h.touched()
		err := do()
		if after := h.touched(); after != before {
			t.Errorf("%s: hashes, statements, trips and keys were %v, and are %v", what, before, after)
		}
		return err
	}
	for name, do := range texts {
		t.Run(name, func(t *testing.T) {
			_, field, _ := strings.Cut(name, ".")
			for what, s := range map[string]string{"empty": "", "1,000 characters": strings.Repeat("a", 1000), "60,000 characters": strings.Repeat("é", 30_000)} {
				err := untouched(t, what, func() error { return do(s) })
				want(t, err, "INVALID_ARGUMENT INVALID_REQUEST")
				p := problemOf(t, err)
				if len(p.fields) == 0 {
					t.Errorf("%s: no field is named", what)
				}
				for _, f := range p.fields {
					if !strings.HasPrefix(f, field+": ") {
						t.Errorf("%s: the violation is %q", what, f)
					}
				}
				if strings.Contains(err.Error(), "aaaa") {
					t.Errorf("%s: the error repeats it", what)
				}
			}
			err := untouched(t, "3 MB", func() error { return do(strings.Repeat("a", mb3)) })
			want(t, err, "RESOURCE_EXHAUSTED")
			// What is not UTF-8 is not sent by a client that keeps to protobuf.
		})
	}

	send := func(method string, body []byte) error {
		var answer []byte
		return h.conn.Invoke(h.ctx(), method, &body, &answer, grpc.ForceCodec(raw{}))
	}
	message := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		must(t, err)
		return b
	}
	for _, c := range []struct {
		sentence, method string
		body             []byte
		wanted           string
	}{
		{"bytes that are no message", "AuthenticationService/Login", []byte{0xff, 0xff, 0xff}, "INVALID_ARGUMENT MALFORMED_REQUEST"},
		{"a message that is cut off", "AuthenticationService/Login", message(&authv1.LoginRequest{Email: ashaEmail})[:5], "INVALID_ARGUMENT MALFORMED_REQUEST"},
		{"text that is not UTF-8", "AuthenticationService/Login", append([]byte{10, 2}, 0xc3, 0x28), "INVALID_ARGUMENT MALFORMED_REQUEST"},
		{"a length that runs over", "AuthenticationService/Login", []byte{10, 0xff, 0xff, 0xff, 0xff, 0x0f}, "INVALID_ARGUMENT MALFORMED_REQUEST"},
		{"bytes that are no message, where a token is asked for", "AccountService/DeleteAccount", []byte{0xff}, "INVALID_ARGUMENT MALFORMED_REQUEST"},
		{"nothing", "AuthenticationService/Login", nil, "INVALID_ARGUMENT INVALID_REQUEST"},
		{"a number where a text is", "AuthenticationService/Login", []byte{8, 1}, "INVALID_ARGUMENT INVALID_REQUEST"},
		{"a number of an unknown field is passed over, the rest is not", "AuthenticationService/Login", []byte{0xf8, 0x07, 1}, "INVALID_ARGUMENT INVALID_REQUEST"},
		{"sec-A1 no token", "AccountService/DeleteAccount", nil, "UNAUTHENTICATED INVALID_TOKEN"},
		{"a method that there is not", "AuthenticationService/Impersonate", nil, "UNIMPLEMENTED"},
		{"the oneof is missing", "AuthenticationService/LoginTwoFactor", message(&authv1.LoginTwoFactorRequest{Handle: nobodys}), "INVALID_ARGUMENT INVALID_REQUEST"},
		{"both arms of a oneof: the last is the one that was set", "AuthenticationService/LoginTwoFactor",
			append(message(&authv1.LoginTwoFactorRequest{Handle: nobodys, Code: &authv1.LoginTwoFactorRequest_Totp{Totp: "123456"}}),
				message(&authv1.LoginTwoFactorRequest{Code: &authv1.LoginTwoFactorRequest_Recovery{Recovery: "x"}})...), "INVALID_ARGUMENT INVALID_REQUEST"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			err := untouched(t, c.sentence, func() error { return send("/gatehouse.auth.v1."+c.method, c.body) })
			want(t, err, c.wanted)
		})
	}
	t.Run("the missing oneof is named", func(t *testing.T) {
		_, err := h.account.DisableTwoFactor(h.as(token), &authv1.DisableTwoFactorRequest{})
		if p := problemOf(t, err); len(p.fields) != 1 || p.fields[0] != "code: REQUIRED" {
			t.Errorf("got %v", p)
		}
	})
	t.Run("metadata without end", func(t *testing.T) {
		err := untouched(t, "", func() error {
			return accountCalls["Profile"].do(bearing("Bearer "+strings.Repeat("a", 20<<10)), h)
		})
		if status.Code(err) == codes.OK {
			t.Error("it was taken")
		}
	})
	t.Run("a call that was given up before it began", func(t *testing.T) {
		ctx, cancel := context.WithCancel(h.ctx())
		cancel()
		err := untouched(t, "", func() error {
			_, err := h.Login(ctx, &authv1.LoginRequest{Email: ashaEmail, Password: ashaPassword})
			return err
		})
		want(t, err, "CANCELED")
	})
	if log := h.logged(); strings.Contains(log, "ERROR") {
		t.Errorf("bad input was logged as a fault:\n%s", log)
	}
}

package api_test

import (
	"testing"
	"time"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
)

// TestFlows goes every way through the contract once, as an app does.
func TestFlows(t *testing.T) {
	for _, k := range []kind{servers, embedded} {
		t.Run(string(k), func(t *testing.T) {
			h := newHouse(t, k)

			// Register, prove the mailbox, be signed in.
			r, err := h.Register(h.ctx(), &authv1.RegisterRequest{Email: ashaEmail, Password: ashaPassword, Name: "Asha Rai"})
			must(t, err)
			if left := r.GetVerification().GetExpiresAt().AsTime().Sub(h.now()); left < 4*time.Minute || left > 5*time.Minute {
				t.Errorf("the challenge lives for %v", left)
			}
			v, err := h.AccountVerification(h.ctx(), &authv1.AccountVerificationRequest{Handle: r.GetVerification().GetHandle(), Code: h.code(ashaEmail)})
			must(t, err)
			token := v.GetToken()
			if token == nil || v.GetDevice() == "" {
				t.Fatalf("the proof led to %v", v)
			}
			if left := token.GetExpiresAt().AsTime().Sub(h.now()); left < 14*time.Minute || left > 15*time.Minute {
				t.Errorf("the access token lives for %v", left)
			}
			if left := token.GetRefreshExpiresAt().AsTime().Sub(h.now()); left < 29*24*time.Hour || left > 30*24*time.Hour {
				t.Errorf("the refresh token lives for %v", left)
			}
			p, err := h.account.Profile(h.as(token), &authv1.ProfileRequest{})
			must(t, err)
			if p.GetEmail() != ashaEmail || p.GetName() != "Asha Rai" || !p.GetEmailVerified() || p.GetTwoFactor() || p.GetUserId() != h.user(ashaEmail).ID {
				t.Errorf("the profile is %v", p)
			}

			// Refresh; the successor works, and the account goes on with it.
			f, err := h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: token.GetRefreshToken()})
			must(t, err)
			_, err = h.account.Profile(h.as(f.GetToken()), &authv1.ProfileRequest{})
			must(t, err)

			// Two-step sign-in: on, used by app and by recovery code, new codes, off.
			secret, recovery, _ := h.twoStep(ashaEmail)
			in, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: ashaEmail, Password: ashaPassword, Device: v.GetDevice()})
			must(t, err)
			two, err := h.LoginTwoFactor(h.ctx(), &authv1.LoginTwoFactorRequest{
				Handle: in.GetTotp().GetHandle(), Code: &authv1.LoginTwoFactorRequest_Totp{Totp: h.totp(secret)},
			})
			must(t, err)
			if two.GetToken() == nil || two.RecoveryCodesLeft != nil || two.GetDevice() == "" {
				t.Errorf("the second factor led to %v", two)
			}
			in, err = h.Login(h.ctx(), &authv1.LoginRequest{Email: ashaEmail, Password: ashaPassword})
			must(t, err)
			two, err = h.LoginTwoFactor(h.ctx(), &authv1.LoginTwoFactorRequest{
				Handle: in.GetTotp().GetHandle(), Code: &authv1.LoginTwoFactorRequest_Recovery{Recovery: recovery[0]},
			})
			must(t, err)
			if two.GetToken() == nil || two.GetRecoveryCodesLeft() != 9 {
				t.Errorf("the recovery code led to %v", two)
			}
			token = two.GetToken()
			codes, err := h.account.NewRecoveryCodes(h.as(token), &authv1.NewRecoveryCodesRequest{})
			must(t, err)
			if len(codes.GetRecoveryCodes()) != 10 {
				t.Errorf("there are %d recovery codes", len(codes.GetRecoveryCodes()))
			}
			_, err = h.account.DisableTwoFactor(h.as(token), &authv1.DisableTwoFactorRequest{
				Code: &authv1.DisableTwoFactorRequest_Recovery{Recovery: codes.GetRecoveryCodes()[0]},
			})
			must(t, err)

			// The address changes, then the password, and the token goes on.
			c, err := h.account.ChangeEmail(h.as(token), &authv1.ChangeEmailRequest{Email: "rai@example.com"})
			must(t, err)
			_, err = h.account.ConfirmEmail(h.as(token), &authv1.ConfirmEmailRequest{Handle: c.GetHandle(), Code: h.code("rai@example.com")})
			must(t, err)
			_, err = h.account.ChangePassword(h.as(token), &authv1.ChangePasswordRequest{CurrentPassword: ashaPassword, Password: newPassword})
			must(t, err)
			p, err = h.account.Profile(h.as(token), &authv1.ProfileRequest{})
			must(t, err)
			if p.GetEmail() != "rai@example.com" {
				t.Errorf("the profile is %v", p)
			}

			// Apps, sessions, everywhere.
			apps, err := h.account.ListConnectedApps(h.as(token), &authv1.ListConnectedAppsRequest{})
			must(t, err)
			if a := apps.GetApps(); len(a) != 1 || a[0].GetClientId() != appID || !a[0].GetFirstParty() || a[0].GetLastUsedAt() == nil {
				t.Errorf("the apps are %v", a)
			}
			sessions, err := h.account.ListSessions(h.as(token), &authv1.ListSessionsRequest{})
			must(t, err)
			if len(sessions.GetSessions()) != 0 {
				t.Errorf("there are browsers: %v", sessions)
			}
			_, err = h.account.RevokeAllSessions(h.as(token), &authv1.RevokeAllSessionsRequest{})
			must(t, err)

			// Forgot the password; a new one ends the tokens.
			h.skip(time.Minute) // since the last letter
			g, err := h.ForgotPassword(h.ctx(), &authv1.ForgotPasswordRequest{Email: "rai@example.com"})
			must(t, err)
			w, err := h.Verification(h.ctx(), &authv1.VerificationRequest{Handle: g.GetVerification().GetHandle(), Code: h.code("rai@example.com")})
			must(t, err)
			_, err = h.ResetPassword(h.ctx(), &authv1.ResetPasswordRequest{Handle: w.GetReset_().GetHandle(), Password: "third password here"})
			must(t, err)
			_, err = h.account.Profile(h.as(token), &authv1.ProfileRequest{})
			want(t, err, "UNAUTHENTICATED INVALID_TOKEN")
		})
	}
}

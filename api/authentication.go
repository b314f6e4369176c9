package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// authentication is AuthenticationService: a verb of the login engine each, and
// what its outcome is called in the contract.
type authentication struct {
	authv1.UnsafeAuthenticationServiceServer
	*Server
}

func (s authentication) Register(ctx context.Context, r *authv1.RegisterRequest) (*authv1.RegisterResponse, error) {
	from := s.from(ctx, "")
	from.Language = s.language(r.GetLanguage())
	o, err := s.login.Register(ctx, from, login.Registration{
		Name: r.GetName(), Email: r.GetEmail(), Password: r.GetPassword(),
	})
	if err != nil {
		return nil, err
	}
	c, err := challengeOf(o, login.VerifyEmail)
	return &authv1.RegisterResponse{Verification: c}, err
}

func (s authentication) AccountVerification(ctx context.Context, r *authv1.AccountVerificationRequest) (*authv1.AccountVerificationResponse, error) {
	o, err := s.login.VerifyEmail(ctx, s.from(ctx, r.GetDevice()), r.GetHandle(), r.GetCode())
	if err != nil {
		return nil, err
	}
	if a, ok := o.(login.Authenticated); ok {
		t, err := s.issue(ctx, a)
		return &authv1.AccountVerificationResponse{Next: &authv1.AccountVerificationResponse_Token{Token: t}, Device: a.Device}, err
	}
	c, err := challengeOf(o, login.SecondFactor)
	return &authv1.AccountVerificationResponse{Next: &authv1.AccountVerificationResponse_Totp{Totp: c}}, err
}

func (s authentication) ResendAccountVerification(ctx context.Context, r *authv1.ResendAccountVerificationRequest) (*authv1.ResendAccountVerificationResponse, error) {
	o, err := s.login.Resend(ctx, s.from(ctx, r.GetDevice()), r.GetHandle())
	if err != nil {
		return nil, err
	}
	c, err := challengeOf(o, login.VerifyEmail, login.ConfirmReset)
	return &authv1.ResendAccountVerificationResponse{Verification: c}, err
}

func (s authentication) Login(ctx context.Context, r *authv1.LoginRequest) (*authv1.LoginResponse, error) {
	o, err := s.login.Login(ctx, s.from(ctx, r.GetDevice()), r.GetEmail(), r.GetPassword())
	if err != nil {
		return nil, err
	}
	switch o := o.(type) {
	case login.Authenticated:
		t, err := s.issue(ctx, o)
		return &authv1.LoginResponse{Next: &authv1.LoginResponse_Token{Token: t}, Device: o.Device}, err
	case login.Challenge:
		if o.Step == login.VerifyEmail {
			return &authv1.LoginResponse{Next: &authv1.LoginResponse_Verification{Verification: challenge(o)}}, nil
		}
	case login.PasswordReset:
	}
	c, err := challengeOf(o, login.SecondFactor)
	return &authv1.LoginResponse{Next: &authv1.LoginResponse_Totp{Totp: c}}, err
}

func (s authentication) LoginTwoFactor(ctx context.Context, r *authv1.LoginTwoFactorRequest) (*authv1.LoginTwoFactorResponse, error) {
	code := r.GetTotp()
	if _, ok := r.GetCode().(*authv1.LoginTwoFactorRequest_Recovery); ok {
		code = r.GetRecovery()
	}
	o, err := s.login.SecondFactor(ctx, s.from(ctx, r.GetDevice()), r.GetHandle(), code)
	if err != nil {
		return nil, err
	}
	a, ok := o.(login.Authenticated)
	if !ok {
		return nil, unexpected(o)
	}
	t, err := s.issue(ctx, a)
	out := &authv1.LoginTwoFactorResponse{Token: t, Device: a.Device}
	if a.RecoveryLeft >= 0 {
		left := int32(a.RecoveryLeft) // ten at most
		out.RecoveryCodesLeft = &left
	}
	return out, err
}

func (s authentication) ForgotPassword(ctx context.Context, r *authv1.ForgotPasswordRequest) (*authv1.ForgotPasswordResponse, error) {
	o, err := s.login.Forgot(ctx, s.from(ctx, r.GetDevice()), r.GetEmail())
	if err != nil {
		return nil, err
	}
	c, err := challengeOf(o, login.ConfirmReset)
	return &authv1.ForgotPasswordResponse{Verification: c}, err
}

func (s authentication) Verification(ctx context.Context, r *authv1.VerificationRequest) (*authv1.VerificationResponse, error) {
	o, err := s.login.ConfirmReset(ctx, s.from(ctx, r.GetDevice()), r.GetHandle(), r.GetCode())
	if err != nil {
		return nil, err
	}
	c, err := challengeOf(o, login.NewPassword)
	return &authv1.VerificationResponse{Reset_: c}, err
}

func (s authentication) ResetPassword(ctx context.Context, r *authv1.ResetPasswordRequest) (*authv1.ResetPasswordResponse, error) {
	o, err := s.login.NewPassword(ctx, s.from(ctx, r.GetDevice()), r.GetHandle(), r.GetPassword())
	if err != nil {
		return nil, err
	}
	if _, ok := o.(login.PasswordReset); !ok {
		return nil, unexpected(o)
	}
	return &authv1.ResetPasswordResponse{}, nil
}

func (s authentication) Refresh(ctx context.Context, r *authv1.RefreshRequest) (*authv1.RefreshResponse, error) {
	t, err := s.tokens.Refresh(ctx, s.caller(ctx), r.GetRefreshToken())
	if err != nil {
		return nil, err
	}
	return &authv1.RefreshResponse{Token: tokenOf(t)}, nil
}

func (s authentication) Logout(ctx context.Context, r *authv1.LogoutRequest) (*authv1.LogoutResponse, error) {
	if err := s.tokens.Revoke(ctx, s.caller(ctx), r.GetRefreshToken()); err != nil {
		return nil, err
	}
	return &authv1.LogoutResponse{}, nil
}

// issue gives tokens to who was proved. Somebody who has changed since, by a new
// password or a suspension, begins anew.
func (s *Server) issue(ctx context.Context, a login.Authenticated) (*authv1.Token, error) {
	t, err := s.tokens.Issue(ctx, storage.Session{UserID: a.UserID, UserEpoch: a.Epoch, AuthTime: a.At, AMR: a.AMR})
	if p, ok := errors.AsType[*provider.Error](err); ok && !p.Fault() && p.Code == "invalid_grant" {
		how := refusals[login.Expired]
		return nil, tell(how.code, reasonOf(login.Expired), how.sentence, nil)
	}
	if err != nil {
		return nil, err
	}
	return tokenOf(t), nil
}

func tokenOf(t provider.Tokens) *authv1.Token {
	return &authv1.Token{
		AccessToken: t.Access, RefreshToken: t.Refresh,
		ExpiresAt: timestamppb.New(t.ExpiresAt), RefreshExpiresAt: timestamppb.New(t.RefreshExpiresAt),
	}
}

// challengeOf is the challenge that an outcome must be, of one of the steps.
func challengeOf(o login.Outcome, steps ...login.Step) (*authv1.Challenge, error) {
	c, ok := o.(login.Challenge)
	if !ok || !slices.Contains(steps, c.Step) {
		return nil, unexpected(o)
	}
	return challenge(c), nil
}

func challenge(c login.Challenge) *authv1.Challenge {
	return &authv1.Challenge{Handle: c.Handle, ExpiresAt: timestamppb.New(c.ExpiresAt)}
}

// unexpected is an outcome for which the contract has no word. What is in it is
// not repeated.
func unexpected(o login.Outcome) error {
	if c, ok := o.(login.Challenge); ok {
		return fmt.Errorf("api: a challenge of step %q here", c.Step)
	}
	return fmt.Errorf("api: a %T here", o)
}

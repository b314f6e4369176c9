package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
)

// account is AccountService: a verb of a signed-in person each.
type account struct {
	authv1.UnsafeAccountServiceServer
	*Server
}

func (s account) Profile(ctx context.Context, _ *authv1.ProfileRequest) (*authv1.ProfileResponse, error) {
	u, err := s.login.Profile(ctx, who(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.ProfileResponse{
		UserId: u.ID, Email: u.Email, EmailVerified: u.EmailVerified(), Name: u.Name,
		TwoFactor: u.SecondFactor, Language: u.Profile.Locale, CreatedAt: timestamppb.New(u.CreatedAt),
	}, nil
}

func (s account) ChangePassword(ctx context.Context, r *authv1.ChangePasswordRequest) (*authv1.ChangePasswordResponse, error) {
	_, err := s.login.ChangePassword(ctx, who(ctx), r.GetCurrentPassword(), r.GetPassword())
	return &authv1.ChangePasswordResponse{}, err
}

func (s account) ChangeEmail(ctx context.Context, r *authv1.ChangeEmailRequest) (*authv1.ChangeEmailResponse, error) {
	c, err := s.login.ChangeEmail(ctx, who(ctx), r.GetEmail())
	if err != nil {
		return nil, err
	}
	return &authv1.ChangeEmailResponse{Handle: c.Handle, ExpiresAt: timestamppb.New(c.ExpiresAt)}, nil
}

func (s account) ConfirmEmail(ctx context.Context, r *authv1.ConfirmEmailRequest) (*authv1.ConfirmEmailResponse, error) {
	return &authv1.ConfirmEmailResponse{}, s.login.ConfirmEmail(ctx, who(ctx), r.GetHandle(), r.GetCode())
}

func (s account) EnableTwoFactor(ctx context.Context, _ *authv1.EnableTwoFactorRequest) (*authv1.EnableTwoFactorResponse, error) {
	e, err := s.login.EnrollSecondFactor(ctx, who(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.EnableTwoFactorResponse{
		Handle: e.Handle, Secret: e.Secret, Uri: e.URI, ExpiresAt: timestamppb.New(e.ExpiresAt),
	}, nil
}

func (s account) ConfirmTwoFactor(ctx context.Context, r *authv1.ConfirmTwoFactorRequest) (*authv1.ConfirmTwoFactorResponse, error) {
	codes, _, err := s.login.ConfirmSecondFactor(ctx, who(ctx), r.GetHandle(), r.GetCode())
	return &authv1.ConfirmTwoFactorResponse{RecoveryCodes: codes}, err
}

func (s account) DisableTwoFactor(ctx context.Context, r *authv1.DisableTwoFactorRequest) (*authv1.DisableTwoFactorResponse, error) {
	code := r.GetTotp()
	if _, ok := r.GetCode().(*authv1.DisableTwoFactorRequest_Recovery); ok {
		code = r.GetRecovery()
	}
	_, err := s.login.DisableSecondFactor(ctx, who(ctx), code)
	return &authv1.DisableTwoFactorResponse{}, err
}

func (s account) NewRecoveryCodes(ctx context.Context, _ *authv1.NewRecoveryCodesRequest) (*authv1.NewRecoveryCodesResponse, error) {
	codes, err := s.login.NewRecoveryCodes(ctx, who(ctx))
	return &authv1.NewRecoveryCodesResponse{RecoveryCodes: codes}, err
}

func (s account) ListSessions(ctx context.Context, _ *authv1.ListSessionsRequest) (*authv1.ListSessionsResponse, error) {
	sessions, err := s.login.Sessions(ctx, who(ctx))
	if err != nil {
		return nil, err
	}
	out := &authv1.ListSessionsResponse{}
	for _, one := range sessions {
		out.Sessions = append(out.Sessions, &authv1.Session{
			Id: one.ID, SignedInAt: timestamppb.New(one.AuthTime), ExpiresAt: timestamppb.New(one.ExpiresAt),
			UserAgent: one.UserAgent, Address: one.Address,
		})
	}
	return out, nil
}

func (s account) RevokeSession(ctx context.Context, r *authv1.RevokeSessionRequest) (*authv1.RevokeSessionResponse, error) {
	return &authv1.RevokeSessionResponse{}, s.login.EndSession(ctx, who(ctx), r.GetId())
}

func (s account) RevokeAllSessions(ctx context.Context, _ *authv1.RevokeAllSessionsRequest) (*authv1.RevokeAllSessionsResponse, error) {
	_, err := s.login.SignOutEverywhere(ctx, who(ctx))
	return &authv1.RevokeAllSessionsResponse{}, err
}

func (s account) ListConnectedApps(ctx context.Context, _ *authv1.ListConnectedAppsRequest) (*authv1.ListConnectedAppsResponse, error) {
	apps, err := s.login.Apps(ctx, who(ctx))
	if err != nil {
		return nil, err
	}
	out := &authv1.ListConnectedAppsResponse{}
	for _, a := range apps {
		one := &authv1.App{
			ClientId: a.ClientID, Name: a.Name, FirstParty: a.FirstParty, Scopes: a.Scopes,
			AllowedAt: timestamppb.New(a.AllowedAt),
		}
		if !a.LastUsedAt.IsZero() {
			one.LastUsedAt = timestamppb.New(a.LastUsedAt)
		}
		out.Apps = append(out.Apps, one)
	}
	return out, nil
}

func (s account) WithdrawConsent(ctx context.Context, r *authv1.WithdrawConsentRequest) (*authv1.WithdrawConsentResponse, error) {
	return &authv1.WithdrawConsentResponse{}, s.login.WithdrawApp(ctx, who(ctx), r.GetClientId())
}

func (s account) DeleteAccount(ctx context.Context, _ *authv1.DeleteAccountRequest) (*authv1.DeleteAccountResponse, error) {
	return &authv1.DeleteAccountResponse{}, s.login.DeleteAccount(ctx, who(ctx))
}

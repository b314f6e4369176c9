package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/storage"
)

// An accountCall is a method of AccountService, called as somebody who could
// mean it.
type accountCall struct {
	do func(context.Context, *house) error
	// fresh is whether it asks for a fresh sign-in; active and twoStep are what
	// it says without and with two-step sign-in.
	fresh           bool
	active, twoStep string
}

const nobodys = "AAAAAAAAAAAAAAAAAAAAAAAAAA"

// accountCalls has every method of AccountService.
var accountCalls = map[string]accountCall{
	"Profile": {func(ctx context.Context, h *house) error {
		_, err := h.account.Profile(ctx, &authv1.ProfileRequest{})
		return err
	}, false, "ok", "ok"},
	"ChangePassword": {func(ctx context.Context, h *house) error {
		_, err := h.account.ChangePassword(ctx, &authv1.ChangePasswordRequest{CurrentPassword: ashaPassword, Password: newPassword})
		return err
	}, true, "ok", "ok"},
	"ChangeEmail": {func(ctx context.Context, h *house) error {
		_, err := h.account.ChangeEmail(ctx, &authv1.ChangeEmailRequest{Email: strings.ToLower(newName()) + "@example.com"})
		return err
	}, true, "ok", "ok"},
	"ConfirmEmail": {func(ctx context.Context, h *house) error {
		_, err := h.account.ConfirmEmail(ctx, &authv1.ConfirmEmailRequest{Handle: nobodys, Code: "12345678"})
		return err
	}, false, "ABORTED EXPIRED", "ABORTED EXPIRED"},
	"EnableTwoFactor": {func(ctx context.Context, h *house) error {
		_, err := h.account.EnableTwoFactor(ctx, &authv1.EnableTwoFactorRequest{})
		return err
	}, true, "ok", "FAILED_PRECONDITION ALREADY_ON"},
	"ConfirmTwoFactor": {func(ctx context.Context, h *house) error {
		_, err := h.account.ConfirmTwoFactor(ctx, &authv1.ConfirmTwoFactorRequest{Handle: nobodys, Code: "123456"})
		return err
	}, true, "ABORTED EXPIRED", "FAILED_PRECONDITION ALREADY_ON"},
	"DisableTwoFactor": {func(ctx context.Context, h *house) error {
		_, err := h.account.DisableTwoFactor(ctx, &authv1.DisableTwoFactorRequest{Code: &authv1.DisableTwoFactorRequest_Recovery{Recovery: "22222-22222-22222"}})
		return err
	}, true, "FAILED_PRECONDITION NOT_ON", "INVALID_ARGUMENT BAD_CODE"},
	"NewRecoveryCodes": {func(ctx context.Context, h *house) error {
		_, err := h.account.NewRecoveryCodes(ctx, &authv1.NewRecoveryCodesRequest{})
		return err
	}, true, "FAILED_PRECONDITION NOT_ON", "ok"},
	"ListSessions": {func(ctx context.Context, h *house) error {
		_, err := h.account.ListSessions(ctx, &authv1.ListSessionsRequest{})
		return err
	}, false, "ok", "ok"},
	"RevokeSession": {func(ctx context.Context, h *house) error {
		_, err := h.account.RevokeSession(ctx, &authv1.RevokeSessionRequest{Id: "0199aaaa-0000-7000-8000-000000000000"})
		return err
	}, false, "NOT_FOUND NOT_FOUND", "NOT_FOUND NOT_FOUND"},
	"RevokeAllSessions": {func(ctx context.Context, h *house) error {
		_, err := h.account.RevokeAllSessions(ctx, &authv1.RevokeAllSessionsRequest{})
		return err
	}, false, "ok", "ok"},
	"ListConnectedApps": {func(ctx context.Context, h *house) error {
		_, err := h.account.ListConnectedApps(ctx, &authv1.ListConnectedAppsRequest{})
		return err
	}, false, "ok", "ok"},
	"WithdrawConsent": {func(ctx context.Context, h *house) error {
		_, err := h.account.WithdrawConsent(ctx, &authv1.WithdrawConsentRequest{ClientId: "nobody"})
		return err
	}, false, "NOT_FOUND NOT_FOUND", "NOT_FOUND NOT_FOUND"},
	"DeleteAccount": {func(ctx context.Context, h *house) error {
		_, err := h.account.DeleteAccount(ctx, &authv1.DeleteAccountRequest{})
		return err
	}, true, "ok", "ok"},
}

const invalidToken = "UNAUTHENTICATED INVALID_TOKEN"

// TestAccountStates calls every method of AccountService as somebody in every
// state, and with a sign-in that is no longer fresh.
func TestAccountStates(t *testing.T) {
	methods := authv1.AccountService_ServiceDesc.Methods
	if len(methods) != len(accountCalls) {
		t.Fatalf("there are %d methods and %d calls", len(methods), len(accountCalls))
	}
	h := newHouse(t, servers)
	for _, m := range methods {
		c, ok := accountCalls[m.MethodName]
		if !ok {
			t.Fatalf("no call of %s", m.MethodName)
		}
		t.Run(m.MethodName, func(t *testing.T) {
			p := h.put(active)
			want(t, c.do(h.as(h.signIn(p.email)), h), c.active)

			p = h.put(active)
			_, _, token := h.twoStep(p.email)
			want(t, c.do(h.as(token), h), c.twoStep)

			p = h.put(active)
			token = h.signIn(p.email)
			h.suspend(p.User)
			want(t, c.do(h.as(token), h), invalidToken)

			p = h.put(active)
			token = h.signIn(p.email)
			h.delete(p.User)
			want(t, c.do(h.as(token), h), invalidToken)

			p = h.put(active)
			token = h.signIn(p.email)
			h.skip(5*time.Minute + time.Second)
			wanted := c.active
			if c.fresh {
				wanted = "FAILED_PRECONDITION REAUTHENTICATE"
			}
			want(t, c.do(h.as(token), h), wanted)
			// Refreshing makes no sign-in fresh.
			r, err := h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: token.GetRefreshToken()})
			if m.MethodName == "DeleteAccount" || !c.fresh {
				return
			}
			must(t, err)
			want(t, c.do(h.as(r.GetToken()), h), wanted)
		})
	}
	if log := h.logged(); strings.Contains(log, "ERROR") {
		t.Errorf("there were faults:\n%s", log)
	}
}

// TestBearer: an account is opened by a live access token of the one client that
// is meant for us, and by nothing else.
func TestBearer(t *testing.T) {
	h := newHouse(t, servers)
	p := h.put(active)
	token := h.signIn(p.email)
	parts := strings.Split(token.GetAccessToken(), ".")
	claims := func(change func(map[string]any)) string {
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		must(t, err)
		d := json.NewDecoder(bytes.NewReader(payload))
		d.UseNumber()
		var c map[string]any
		must(t, d.Decode(&c))
		change(c)
		payload, err = json.Marshal(c)
		must(t, err)
		return string(payload)
	}
	sign := func(typ string, change func(map[string]any)) string {
		signed, err := h.keeper.Sign("ES256", typ, []byte(claims(change)))
		must(t, err)
		return signed
	}
	same := func(map[string]any) {}
	issue := func(client string) string {
		t, err := h.provider.FirstParty(client).Issue(h.ctx(), storage.Session{UserID: p.ID, UserEpoch: p.Epoch, AuthTime: h.now()})
		must(h.t, err)
		return t.Access
	}
	h.client(storage.Client{ID: "other", FirstParty: true})
	h.client(storage.Client{ID: "third", FirstParty: true})
	thirds := issue("third")
	third, err := h.db.Client(h.ctx(), "third")
	must(t, err)
	third.FirstParty = false
	must(t, h.db.UpdateClient(h.ctx(), third))
	revoked := h.signIn(p.email)
	_, err = h.Logout(h.ctx(), &authv1.LogoutRequest{RefreshToken: revoked.GetRefreshToken()})
	must(t, err)
	withdrawn := func() string {
		p := h.put(active)
		token := h.signIn(p.email)
		_, err := h.account.WithdrawConsent(h.as(token), &authv1.WithdrawConsentRequest{ClientId: appID})
		must(t, err)
		return token.GetAccessToken()
	}()
	flipped := parts[0] + "." + parts[1] + "." + flip(parts[2])

	for _, c := range []struct {
		sentence string
		headers  []string // pairs
		wanted   string
	}{
		{"the token", []string{"authorization", "Bearer " + token.GetAccessToken()}, "ok"},
		{"the scheme's case does not matter", []string{"authorization", "bearer " + token.GetAccessToken()}, "ok"},
		{"signed as we sign, to show that the others fail for what they say", []string{"authorization", "Bearer " + sign("at+jwt", same)}, "ok"},
		{"sec-A1 nothing", nil, invalidToken},
		{"sec-A1 a user id in a header", []string{"x-user-id", p.ID, "x-role", "admin", "x-jti", "1"}, invalidToken},
		{"sec-A1 the headers that gateways hand on", []string{"x-auth-subject", p.ID, "x-gatehouse-subject", p.ID, "x-forwarded-user", p.ID}, invalidToken},
		{"another scheme", []string{"authorization", "Basic " + token.GetAccessToken()}, invalidToken},
		{"no scheme", []string{"authorization", token.GetAccessToken()}, invalidToken},
		{"no token", []string{"authorization", "Bearer "}, invalidToken},
		{"two tokens", []string{"authorization", "Bearer " + token.GetAccessToken(), "authorization", "Bearer " + token.GetAccessToken()}, invalidToken},
		{"two words", []string{"authorization", "Bearer " + token.GetAccessToken() + " x"}, invalidToken},
		{"no JWT", []string{"authorization", "Bearer x"}, invalidToken},
		{"the refresh token", []string{"authorization", "Bearer " + token.GetRefreshToken()}, invalidToken},
		{"another signature", []string{"authorization", "Bearer " + flipped}, invalidToken},
		{"no signature", []string{"authorization", "Bearer " + base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + "."}, invalidToken},
		{"an ID token of the same claims", []string{"authorization", "Bearer " + sign("JWT", same)}, invalidToken},
		{"a token of another first-party client", []string{"authorization", "Bearer " + issue("other")}, invalidToken},
		{"a token of a third party", []string{"authorization", "Bearer " + thirds}, invalidToken},
		{"a token for somebody else", []string{"authorization", "Bearer " + sign("at+jwt", func(c map[string]any) { c["aud"] = "https://api.example" })}, invalidToken},
		{"a token of another issuer", []string{"authorization", "Bearer " + sign("at+jwt", func(c map[string]any) { c["iss"] = "https://id.example.net" })}, invalidToken},
		{"a token of the client itself", []string{"authorization", "Bearer " + sign("at+jwt", func(c map[string]any) { c["sub"] = appID })}, invalidToken},
		{"a token that has expired", []string{"authorization", "Bearer " + sign("at+jwt", func(c map[string]any) { c["exp"] = h.now().Unix() })}, invalidToken},
		{"a token whose grant was revoked", []string{"authorization", "Bearer " + revoked.GetAccessToken()}, invalidToken},
		{"a token of consent that was withdrawn", []string{"authorization", "Bearer " + withdrawn}, invalidToken},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			for _, name := range slices.Sorted(maps.Keys(accountCalls)) {
				if c.wanted == "ok" && name != "Profile" {
					continue
				}
				want(t, accountCalls[name].do(metadata.AppendToOutgoingContext(h.ctx(), c.headers...), h), c.wanted)
			}
		})
	}
	t.Run("headers that name somebody change nothing beside a token", func(t *testing.T) {
		other := h.put(active)
		r, err := h.account.Profile(metadata.AppendToOutgoingContext(h.as(token), "x-user-id", other.ID, "x-auth-subject", other.ID), &authv1.ProfileRequest{})
		must(t, err)
		if r.GetUserId() != p.ID {
			t.Errorf("the profile is of %s", r.GetUserId())
		}
	})
	t.Run("a token changes nothing where none is asked for", func(t *testing.T) {
		_, err := h.Login(bearing("Bearer x"), &authv1.LoginRequest{Email: p.email, Password: ashaPassword})
		want(t, err, "ok")
	})
}

// flip changes the first character of a signature.
func flip(signature string) string {
	if signature[0] == 'A' {
		return "B" + signature[1:]
	}
	return "A" + signature[1:]
}

// TestEndsEverythingElse: what ends everything else leaves the grant of the call
// alone.
func TestEndsEverythingElse(t *testing.T) {
	for _, k := range []kind{servers, embedded} {
		t.Run(string(k), func(t *testing.T) {
			h := newHouse(t, k)
			for name, call := range map[string]func(*subject, *authv1.Token) error{
				"ChangePassword":    func(_ *subject, t *authv1.Token) error { return accountCalls["ChangePassword"].do(h.as(t), h) },
				"RevokeAllSessions": func(_ *subject, t *authv1.Token) error { return accountCalls["RevokeAllSessions"].do(h.as(t), h) },
				"ConfirmTwoFactor": func(p *subject, t *authv1.Token) error {
					e, err := h.account.EnableTwoFactor(h.as(t), &authv1.EnableTwoFactorRequest{})
					must(h.t, err)
					_, err = h.account.ConfirmTwoFactor(h.as(t), &authv1.ConfirmTwoFactorRequest{Handle: e.GetHandle(), Code: h.totp(e.GetSecret())})
					return err
				},
			} {
				p := h.put(active)
				kept, ended := h.signIn(p.email), h.signIn(p.email)
				must(t, call(p, kept))
				_, err := h.account.Profile(h.as(kept), &authv1.ProfileRequest{})
				want(t, err, "ok")
				_, err = h.account.Profile(h.as(ended), &authv1.ProfileRequest{})
				want(t, err, invalidToken)
				_, err = h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: ended.GetRefreshToken()})
				want(t, err, invalidToken)
				r, err := h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: kept.GetRefreshToken()})
				if err != nil {
					t.Errorf("after %s the grant of the call is dead: %v", name, err)
					continue
				}
				_, err = h.account.Profile(h.as(r.GetToken()), &authv1.ProfileRequest{})
				want(t, err, "ok")
			}
		})
	}
}

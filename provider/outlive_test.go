package provider_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// An app that has no refresh token, only somebody signed in, is told of the end
// of their session for as long as that may last: its grant is dead long before,
// and what is dead is removed a day later.
func TestLogoutIsToldToWhoHasNoRefreshToken(t *testing.T) {
	ctx := context.Background()
	for _, try := range []struct {
		sentence string
		remember bool
		after    time.Duration
	}{
		{"a session that is not remembered", false, 50 * time.Minute},
		{"a session that is remembered", true, 20 * 24 * time.Hour},
	} {
		t.Run(try.sentence, func(t *testing.T) {
			o := newOP(t)
			c, secret := o.client(storage.Client{
				AuthMethod: storage.AuthSecretBasic,
				Metadata:   storage.ClientMetadata{BackchannelLogoutURI: "https://app.example/logout"},
			})
			b := o.browser()
			w := httptest.NewRecorder()
			if err := o.StartSession(w, httptest.NewRequest(http.MethodPost, o.issuer+"/login", nil), storage.Session{
				UserID: o.user.ID, UserEpoch: o.user.Epoch, AuthTime: o.now(), AMR: o.amr, Remember: try.remember,
			}); err != nil {
				t.Fatal(err)
			}
			b.client.Jar.SetCookies(nil, w.Result().Cookies())
			code := b.authorize(o.request(c, "scope", "openid")).params.Get("code")
			r := o.post(c, secret, redemption(c, code))
			if r.status != http.StatusOK || r.text("refresh_token") != "" {
				t.Fatalf("%d %v", r.status, r.body)
			}
			if got := r.body["expires_in"]; got != 900. {
				t.Errorf("the access token lives %v seconds", got)
			}

			o.pass(try.after)
			if _, err := o.db.DeleteExpiredGrants(ctx, o.now().Add(-24*time.Hour), 100); err != nil {
				t.Fatal(err)
			}
			live, err := o.db.ListGrants(ctx, o.user.ID, o.now())
			if err != nil || len(live) != 0 {
				t.Errorf("the app still has %d grants, %v", len(live), err)
			}
			request := httptest.NewRequest(http.MethodPost, o.issuer+"/logout", nil)
			for _, cookie := range w.Result().Cookies() {
				request.AddCookie(cookie)
			}
			if err := o.EndSession(httptest.NewRecorder(), request); err != nil {
				t.Fatal(err)
			}
			notices, err := o.db.PendingNotices(ctx, 10)
			if err != nil || len(notices) != 1 || notices[0].ClientID != c.ID {
				t.Errorf("told: %+v, %v", notices, err)
			}
		})
	}
}

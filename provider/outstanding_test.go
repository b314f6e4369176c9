package provider_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A code that an app has and has not yet redeemed gives it nothing when what it
// was issued for has ended in the meantime.
func TestOutstandingCode(t *testing.T) {
	ctx := context.Background()
	web := storage.Client{AuthMethod: storage.AuthSecretBasic}
	own := web
	own.FirstParty = true
	const online, offline = "openid email", "openid email offline_access"
	// session is that of the code: the person has no other.
	session := func(o *op) string {
		o.t.Helper()
		s, err := o.db.ListSessions(ctx, o.user.ID, o.now())
		if err != nil || len(s) != 1 {
			o.t.Fatalf("%d sessions, %v", len(s), err)
		}
		return s[0].ID
	}
	remove := func(o *op, c storage.Client) error {
		return o.db.WithdrawConsent(ctx, o.user.ID, c.ID, o.now())
	}
	for _, try := range []struct {
		sentence string
		client   storage.Client
		scope    string
		// what happens between the code and its redemption.
		then func(o *op, c storage.Client) error
		ok   bool
	}{
		{"nothing happens", web, offline, func(*op, storage.Client) error { return nil }, true},
		{"the app is removed", web, offline, remove, false},
		{"the app is removed, whose answer was for this once", web, offline, func(o *op, c storage.Client) error {
			return errors.Join(o.db.DeleteConsent(ctx, o.user.ID, c.ID), remove(o, c))
		}, false},
		{"the operator's own app is removed, which nobody is asked for", own, online, remove, false},
		{"the app is removed and allowed again", web, offline, func(o *op, c storage.Client) error {
			return errors.Join(remove(o, c), o.db.PutConsent(ctx, storage.Consent{
				UserID: o.user.ID, ClientID: c.ID, Scopes: []string{"openid"}, GrantedAt: o.now(),
			}))
		}, false},
		{"somebody else removes the app", web, offline, func(o *op, c storage.Client) error {
			return o.db.WithdrawConsent(ctx, o.person("bina@example.com").ID, c.ID, o.now())
		}, true},
		{"the password is changed at this browser", web, offline, func(o *op, _ storage.Client) error {
			_, err := o.db.SetPassword(ctx, storage.PasswordChange{
				UserID: o.user.ID, PasswordHash: "new", Keep: storage.Kept{Session: session(o)}, Now: o.now(),
			})
			return err
		}, false},
		{"the password is reset", web, offline, func(o *op, _ storage.Client) error {
			_, err := o.db.SetPassword(ctx, storage.PasswordChange{UserID: o.user.ID, PasswordHash: "new", Now: o.now()})
			return err
		}, false},
		{"the person signs out everywhere else", web, offline, func(o *op, _ storage.Client) error {
			_, err := o.db.EndEverything(ctx, o.user.ID, storage.Kept{Session: session(o)}, o.now())
			return err
		}, false},
		{"the account is suspended", web, offline, func(o *op, _ storage.Client) error {
			return o.db.SetStatus(ctx, o.user.ID, storage.UserSuspended, o.now())
		}, false},
		{"the account is suspended and restored", web, offline, func(o *op, _ storage.Client) error {
			return errors.Join(o.db.SetStatus(ctx, o.user.ID, storage.UserSuspended, o.now()), o.db.SetStatus(ctx, o.user.ID, storage.UserActive, o.now()))
		}, false},
		{"the account is deleted", web, offline, func(o *op, _ storage.Client) error { return o.db.DeleteUser(ctx, o.user.ID, o.now()) }, false},
		{"the person signs out", web, online, func(o *op, _ storage.Client) error { return o.db.EndSession(ctx, session(o), o.now()) }, false},
		{"the device is signed out from another", web, online, func(o *op, _ storage.Client) error {
			return o.db.EndSessionOf(ctx, o.user.ID, session(o), o.now())
		}, false},
		{"the person signs out of an app that may go on without them", web, offline, func(o *op, _ storage.Client) error {
			return o.db.EndSession(ctx, session(o), o.now())
		}, true},
	} {
		t.Run(try.sentence, func(t *testing.T) {
			o := newOP(t)
			c, secret := o.client(try.client)
			code := o.code(c, "scope", try.scope)
			if err := try.then(o, c); err != nil {
				t.Fatal(err)
			}
			r := o.post(c, secret, redemption(c, code))
			if try.ok {
				if r.status != http.StatusOK {
					t.Errorf("answered %d %v", r.status, r.body)
				}
				return
			}
			wantError(t, r, http.StatusBadRequest, "invalid_grant")
			live, err := o.db.ListGrants(ctx, o.user.ID, o.now())
			if err != nil || len(live) != 0 {
				t.Errorf("the app has %d grants, %v", len(live), err)
			}
		})
	}
}

//go:build !slim

package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
)

// TestUserChange is what an operator's verb leaves behind: what ended, who was
// told, and the event of it.
func TestUserChange(t *testing.T) {
	ctx := t.Context()
	type left struct {
		session, tokens, factor bool
		epoch                   int64
		letter, event           string
	}
	for _, tt := range []struct {
		verb string
		want left
	}{
		{"suspend", left{factor: true, epoch: 1, letter: login.LetterAccountPaused, event: eventSuspended}},
		{"restore", left{session: true, tokens: true, factor: true}}, // of an account that is active
		{"revoke", left{factor: true, epoch: 1, event: eventRevoked}},
		{"reset-second-factor", left{epoch: 1, letter: login.LetterSecondFactorOff, event: login.EventSecondFactorOff}},
		{"delete", left{letter: login.LetterAccountDeleted, event: login.EventDeleted}},
	} {
		t.Run(tt.verb, func(t *testing.T) {
			state := t.TempDir()
			environ := []string{"GATEHOUSE_STATE_DIR=" + state}
			command := func(args ...string) {
				t.Helper()
				var out, stderr bytes.Buffer
				if code := run(ctx, args, terminal{environ, strings.NewReader(""), &out, &stderr}); code != 0 {
					t.Fatalf("%s: code %d: %s", args, code, stderr.String())
				}
			}
			command("user", "create", "--email", "ada@example.org", "--name", "Ada")
			command("client", "create", "--id", "notes", "--name", "Notes", "--public", "--redirect-uri", "https://notes.example/cb")

			db, err := sqlite.Open(ctx, filepath.Join(state, "gatehouse.db"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			u, _, err := db.UserByEmail(ctx, "ada@example.org")
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now().UTC()
			end := now.Add(time.Hour)
			if _, err := db.EnableTOTP(ctx, storage.Enrolment{UserID: u.ID, Epoch: u.Epoch, Sealed: []byte("sealed"), Now: now}); err != nil {
				t.Fatal(err)
			}
			if u, err = db.User(ctx, u.ID); err != nil {
				t.Fatal(err)
			}
			secret := []byte("the sum of a cookie's value.....")
			if err := errors.Join(
				db.CreateSession(ctx, storage.Session{ID: "sid", SecretHash: secret, UserID: u.ID, UserEpoch: u.Epoch, AuthTime: now, CreatedAt: now, ExpiresAt: end, EndsAt: end}, ""),
				db.CreateGrant(ctx, storage.Grant{ID: "grant", ClientID: "notes", UserID: u.ID, UserEpoch: u.Epoch, AuthTime: now, Generation: 1, CreatedAt: now, ExpiresAt: end, EndsAt: end}),
			); err != nil {
				t.Fatal(err)
			}

			command("user", tt.verb, "ada@example.org")

			var got left
			_, _, err = db.SessionBySecret(ctx, secret, now)
			got.session = err == nil
			_, _, err = db.LiveGrant(ctx, "grant", now)
			got.tokens = err == nil
			_, err = db.TOTP(ctx, u.ID)
			got.factor = err == nil
			if after, err := db.User(ctx, u.ID); err == nil {
				got.epoch = after.Epoch - u.Epoch
			}
			letters, err := db.PendingLetters(ctx, "", 10)
			if err != nil || len(letters) > 1 {
				t.Fatalf("%d letters, %v", len(letters), err)
			}
			for _, l := range letters {
				got.letter = l.Kind
				if o := openLetter(t, environ, l); o.To != "ada@example.org" || o.Kind != l.Kind || o.Link != "http://localhost:8080/login" || !o.ExpiresAt.Equal(l.Deadline) {
					t.Errorf("letter %+v", o)
				}
			}
			events, err := db.ListEventsOf(ctx, u.ID, "", 10)
			if err != nil || len(events) > 2 {
				t.Fatalf("events %+v, %v", events, err)
			}
			for _, e := range events {
				if e.Kind == "user.created" {
					continue // before
				}
				if got.event = e.Kind; e.Outcome != "ok" || e.Detail == "" {
					t.Errorf("event %+v", e)
				}
			}
			if got != tt.want {
				t.Errorf("left %+v, want %+v", got, tt.want)
			}
		})
	}
}

// openLetter reads a letter as the worker does.
func openLetter(t *testing.T, environ []string, l storage.Letter) mail.Letter {
	t.Helper()
	c, err := parseConfig(environ)
	if err != nil {
		t.Fatal(err)
	}
	key, err := c.mailKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := mail.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.Open(l.ID, l.Kind, l.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

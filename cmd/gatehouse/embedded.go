//go:build !slim

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
	"github.com/gatehouse-id/gatehouse/web"
	"github.com/gatehouse-id/gatehouse/web/dev"
)

// slim is whether this binary lacks what is in this file.
const slim = false

// openSQLite opens the file at path, making it and its directory for their
// owner alone when they are missing.
func openSQLite(ctx context.Context, path string) (database, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// Not the type *sqlite.DB: a nil one would not be a nil database.
	db, err := sqlite.Open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

func openEmbeddedValkey(ctx context.Context) (*valkey.DB, error) { return valkey.Embedded(ctx) }

// devClient is the app at /dev/app.
const devClient = "dev-app"

// embed adds what embedded mode has besides: a mail worker in this process, and
// the handler of /dev, an app to sign in to. Unless there is a mail server,
// letters are printed to out and shown at /dev/mail.
func (s *server) embed(ctx context.Context, sealer *mail.Sealer, valkeyURL string, out io.Writer) (http.Handler, error) {
	mailbox := mail.NewMailbox(out)
	var sender mail.Sender = mailbox
	if s.config.sends() {
		var err error
		if sender, err = s.config.sender(); err != nil {
			return nil, err
		}
	}
	worker, err := mail.NewWorker(mail.WorkerConfig{
		ValkeyURL: valkeyURL, Sealer: sealer, Sender: sender, Brand: s.config.Brand, Now: s.clock.Now, Log: s.log, Meter: s.telemetry.Meter("mail"), Tracer: s.telemetry.Tracer("mail"),
	})
	if err != nil {
		return nil, err
	}
	s.jobs = append(s.jobs, worker.Run)
	if err := s.registerDevClient(ctx); err != nil {
		return nil, err
	}
	frame, err := web.NewFrame(s.config.Brand, s.config.Theme, s.config.Links, s.provider.Secure())
	if err != nil {
		return nil, err
	}
	return dev.New(dev.Config{
		Frame: frame, Issuer: s.config.URL, ClientID: devClient,
		Letters: func() []dev.Letter { return letters(mailbox) },
		Now:     s.clock.Now, Log: s.log,
	})
}

// registerDevClient makes the client of /dev/app what it should be, whatever
// it was: the address may have changed since the last start. It is not first
// party, so that its reader sees the consent page.
func (s *server) registerDevClient(ctx context.Context) error {
	now := s.clock.Now()
	c := storage.Client{
		ID: devClient, Name: "Example app", AuthMethod: storage.AuthNone,
		RedirectURIs: []string{s.config.URL + "/dev/app/callback"},
		GrantTypes:   []string{"authorization_code", "refresh_token"},
		Scopes:       []string{"openid", "profile", "email", "offline_access"},
		CreatedAt:    now, UpdatedAt: now,
	}
	err := s.sql.CreateClient(ctx, c)
	if errors.Is(err, storage.ErrConflict) {
		err = s.sql.UpdateClient(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("register the app at /dev/app: %w", err)
	}
	return nil
}

// letters is the mailbox as /dev/mail shows it.
func letters(b *mail.Mailbox) []dev.Letter {
	messages := b.List()
	ls := make([]dev.Letter, len(messages))
	for i, m := range messages {
		ls[i] = dev.Letter{Kind: m.Kind, To: m.To, Subject: m.Subject, Text: m.Text, Code: m.Code, At: m.Date}
	}
	return ls
}

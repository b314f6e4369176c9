// Package web is the HTML face of Gatehouse: the pages a person sees, and the
// one list of every address the server answers.
//
// It decides nothing about who somebody is (package login) or what an app may
// have (packages provider and consent). A page reads what waits, shows it, and
// turns what was posted into one call of those engines. Every POST is answered
// by a redirect, refusals included: what was typed and what was wrong with it
// wait in the interaction, so refreshing and going back are harmless.
package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/internal/meter"
	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A Store is what pages read, and where consent is kept.
type Store interface {
	storage.Users
	storage.Clients
	storage.Consents
	// TOTP and RecoveryCodesLeft are those of [storage.Factors].
	TOTP(ctx context.Context, userID string) (storage.TOTP, error)
	RecoveryCodesLeft(ctx context.Context, userID string) (int, error)
	// ListGrants is that of [storage.Grants].
	ListGrants(ctx context.Context, userID string, now time.Time) ([]storage.Grant, error)
	// ListEventsOf is that of [storage.Audit].
	ListEventsOf(ctx context.Context, userID, before string, limit int) ([]storage.Event, error)
}

// patience is that of Config, if it says nothing.
const patience = 25 * time.Second

// Config says what the face is made of.
type Config struct {
	Provider *provider.Provider
	Login    *login.Engine
	Store    Store
	// Secret and SecretByID give the keys of CSRF tokens, as a keys.Keeper does
	// for its purpose "csrf".
	Secret     func() (id string, key []byte)
	SecretByID func(ctx context.Context, id string) ([]byte, error)

	// Issuer is the issuer identifier, which is also where this server is.
	Issuer string
	// Brand is the operator's name; empty is Gatehouse.
	Brand string
	// Theme is how the operator's pages look.
	Theme Theme
	// Links are the operator's own pages.
	Links Links
	// Language is spoken to who asks for none that we speak: a tag of
	// [text.Languages]; empty is English.
	Language string
	// RegistrationOpen says that people may register by themselves.
	RegistrationOpen bool
	// TrustedProxies are the networks of the proxies in front, whose
	// X-Forwarded-For says who is behind them. Empty: nobody's does.
	TrustedProxies []netip.Prefix
	// Ready reports whether the server can do its work at this moment, and when it
	// cannot, what is missing: see [NotReadyError]. Nil is always.
	Ready func(ctx context.Context) error
	// Probe is Ready for /readyz, which may be asked very often. Nil is Ready.
	Probe func(ctx context.Context) error
	// Patience is how long a request may take in all. A database from which
	// nothing comes back is answered for then, with 503. Zero is 25 seconds: less
	// than servers of ours may write for, so that whoever waits is told.
	Patience time.Duration
	// Dev answers under /dev/ in embedded mode. Nil elsewhere: then there is no
	// such address.
	Dev http.Handler
	// Route is told the pattern of the address that a request was found to have,
	// before it is answered. Nil is nobody.
	Route func(ctx context.Context, pattern string)
	// Now is nil for time.Now.
	Now func() time.Time
	// Log is nil for slog.Default.
	Log *slog.Logger
	// Meter counts the error pages that people see. Nil counts nothing.
	Meter metric.Meter
}

// Web answers every HTTP request. It is safe for concurrent use.
type Web struct {
	provider         *provider.Provider
	login            *login.Engine
	store            Store
	trustedProxies   []netip.Prefix
	secret           func() (string, []byte)
	secretByID       func(context.Context, string) ([]byte, error)
	issuer           *url.URL
	frame            *Frame
	pages            func(page string) Template
	speaking         map[string]*Web
	logos            *logos
	crossOrigin      *http.CrossOriginProtection
	registrationOpen bool
	ready            func(context.Context) error
	probe            func(context.Context) error
	patience         time.Duration
	dev              http.Handler
	route            func(context.Context, string)
	now              func() time.Time
	log              *slog.Logger
	handler          http.Handler
	errorPages       *meter.Counter
}

// New checks c, parses the pages and compresses the static files, once.
func New(c Config) (*Web, error) {
	if c.Provider == nil || c.Login == nil || c.Store == nil || c.Secret == nil || c.SecretByID == nil {
		return nil, errors.New("web: Provider, Login, Store, Secret and SecretByID are required")
	}
	issuer, err := url.Parse(c.Issuer)
	if err != nil || issuer.Host == "" {
		return nil, fmt.Errorf("web: the issuer %q is not a URL", c.Issuer)
	}
	frame, err := NewFrame(c.Brand, c.Theme, c.Links, issuer.Scheme == "https")
	if err != nil {
		return nil, err
	}
	if domains := c.Login.Domains(); len(domains) == 1 {
		frame.domain = domains[0]
	}
	s := &Web{
		provider: c.Provider, login: c.Login, store: c.Store,
		trustedProxies: slices.Clone(c.TrustedProxies), secret: c.Secret, secretByID: c.SecretByID,
		issuer: issuer, frame: frame, crossOrigin: http.NewCrossOriginProtection(),
		registrationOpen: c.RegistrationOpen, ready: c.Ready, probe: c.Probe, patience: cmp.Or(c.Patience, patience), dev: c.Dev, route: c.Route, now: c.Now, log: c.Log,
		logos: newLogos(),
	}
	if s.dev != nil {
		s.dev = s.withGallery(s.dev)
	}
	if s.ready == nil {
		s.ready = func(context.Context) error { return nil }
	}
	if s.probe == nil {
		s.probe = s.ready
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if err := s.crossOrigin.AddTrustedOrigin(issuer.Scheme + "://" + issuer.Host); err != nil {
		return nil, fmt.Errorf("web: trust the issuer's origin: %w", err)
	}
	instruments := meter.On(c.Meter)
	s.errorPages = instruments.Counter("gatehouse.page.errors", "{page}",
		"Error pages shown, by page: expired, link, limited, fault, down and others.", "page")
	if err := instruments.Err(); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	s.errorPages.Begin([]string{"expired", "link", "limited", "fault", "down"})
	if err := s.learn(c.Language); err != nil {
		return nil, err
	}
	if s.handler, err = s.routes(); err != nil {
		return nil, err
	}
	return s, nil
}

// Handler answers every HTTP request of the server.
func (s *Web) Handler() http.Handler { return s.handler }

package provider

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ory/fosite"
	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/egress"
	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/storage"
)

// Store is what the provider remembers where a restart must not lose it.
type Store interface {
	storage.Users
	storage.Clients
	storage.Consents
	storage.Sessions
	storage.Grants
	storage.Gateways
	storage.Audit
}

// Config says what a [Provider] is made of. Zero durations mean the default.
type Config struct {
	// Issuer is the issuer identifier (OIDC Discovery section 3), a URL without
	// query, fragment or trailing slash. It is never derived from a request.
	Issuer       string
	Store        Store
	Codes        storage.Codes
	Interactions storage.Interactions
	Keys         *keys.Keeper

	// Denylist is asked about every access token that is presented. Required.
	Denylist Denylist
	// SessionEnded is called when a session has ended, so that the apps that were
	// signed in to with it are told soon. Nil does nothing.
	SessionEnded func()

	// Proofs remembers client assertions and Buckets counts failed client
	// authentications and registrations. Both are required.
	Proofs  storage.Proofs
	Buckets storage.Buckets
	// Egress fetches the key sets and logos of clients. Nil reaches public
	// addresses alone.
	Egress *egress.Client
	// Registration says how clients may register themselves. Zero is that they may
	// not.
	Registration Registration

	// ErrorPage shows an error to the person at the browser, where redirecting
	// back to the app would be unsafe. Required.
	ErrorPage func(http.ResponseWriter, *http.Request, *Error)
	// FormPost sends the browser on with a form that it posts to action, which is
	// a redirect URI of the client (OAuth 2.0 Form Post Response Mode). Required.
	FormPost func(w http.ResponseWriter, r *http.Request, action string, fields url.Values)
	// LoginPath, RegisterPath and ConsentPath are the pages: /login, /register
	// and /consent by default.
	LoginPath, RegisterPath, ConsentPath string

	// UILocales are the languages of the pages, as BCP 47 tags. Nil says nothing.
	UILocales []string

	// From says where a request came from, for audit events: the person's address
	// and user agent. Nil says nothing.
	From func(*http.Request) (address, userAgent string)

	// Now is the database's time. Nil is time.Now.
	Now func() time.Time
	// Log is nil for slog.Default.
	Log *slog.Logger
	// Meter counts what the endpoints answer. Nil counts nothing.
	Meter metric.Meter

	// AccessTokenLife is how long access tokens and ID tokens live: 15 minutes.
	AccessTokenLife time.Duration
	// RefreshIdle is how long an unused refresh token lives: 30 days.
	RefreshIdle time.Duration
	// RefreshEnd is how long a grant lives however much it is used: 180 days.
	RefreshEnd time.Duration
	// RefreshGrace is how long the refresh token before the current one is still
	// answered with the same successor: 10 seconds. A client may have its own.
	RefreshGrace time.Duration
	// RefreshLimit is how often a grant may be refreshed in five minutes: 30. A
	// negative one is no limit.
	RefreshLimit int
	// IntrospectLimit is how often a client may introspect in a minute, at each
	// server: 60,000. A negative one is no limit.
	IntrospectLimit int
	// CodeLife is how long an authorization code lives: 60 seconds.
	CodeLife time.Duration
	// InteractionLife is how long an authorize request waits behind pages: 30
	// minutes.
	InteractionLife time.Duration
	// SessionIdle and SessionEnd are the lives of a browser session without
	// "keep me signed in", 1 hour and 12 hours; RememberLife is both with it: 30
	// days.
	SessionIdle, SessionEnd, RememberLife time.Duration
}

// A Provider answers the endpoints. It is safe for concurrent use.
type Provider struct {
	issuer         string
	secure         bool
	store          Store
	codes          storage.Codes
	interactions   storage.Interactions
	keys           *keys.Keeper
	errorPage      func(http.ResponseWriter, *http.Request, *Error)
	formPost       func(w http.ResponseWriter, r *http.Request, action string, fields url.Values)
	uiLocales      []string
	from           func(*http.Request) (address, userAgent string)
	pages          map[step]string
	now            func() time.Time
	log            *slog.Logger
	life           lifetimes
	clients        *clientCache
	proofs         storage.Proofs
	buckets        storage.Buckets
	guesses        *guesses
	egress         *egress.Client
	keySets        *keySets
	registration   Registration
	refreshes      *refreshLimit
	denylist       Denylist
	sessionEnded   func()
	introspections *introspectLimit
	opened         openedTokens
	engine         *fosite.Fosite
	metadata       *document
	published      atomic.Pointer[publicKeys]
	meters         meters
}

type lifetimes struct {
	access, refreshIdle, refreshEnd, refreshGrace, code, interaction time.Duration
	sessionIdle, sessionEnd, remember                                time.Duration
}

// New checks c and composes fosite's handlers.
func New(c Config) (*Provider, error) {
	if c.Store == nil || c.Codes == nil || c.Interactions == nil || c.Keys == nil || c.Denylist == nil || c.Proofs == nil || c.Buckets == nil || c.ErrorPage == nil || c.FormPost == nil {
		return nil, errors.New("provider: Store, Codes, Interactions, Keys, Denylist, Proofs, Buckets, ErrorPage and FormPost are required")
	}
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") ||
		u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.HasSuffix(c.Issuer, "/") {
		return nil, fmt.Errorf("provider: the issuer %q is not a URL without query, fragment and trailing slash", c.Issuer)
	}
	p := &Provider{
		issuer:       c.Issuer,
		secure:       u.Scheme == "https",
		store:        c.Store,
		codes:        c.Codes,
		interactions: c.Interactions,
		keys:         c.Keys,
		errorPage:    c.ErrorPage,
		formPost:     c.FormPost,
		uiLocales:    c.UILocales,
		from:         c.From,
		now:          c.Now,
		log:          c.Log,
		pages: map[step]string{
			loginPage:    orDefault(c.LoginPath, "/login"),
			registerPage: orDefault(c.RegisterPath, "/register"),
			selectPage:   "/login/select",
			consentPage:  orDefault(c.ConsentPath, "/consent"),
		},
		life: lifetimes{
			access:       orDefault(c.AccessTokenLife, 15*time.Minute),
			refreshIdle:  orDefault(c.RefreshIdle, 30*24*time.Hour),
			refreshEnd:   orDefault(c.RefreshEnd, 180*24*time.Hour),
			refreshGrace: orDefault(c.RefreshGrace, 10*time.Second),
			code:         orDefault(c.CodeLife, time.Minute),
			interaction:  orDefault(c.InteractionLife, 30*time.Minute),
			sessionIdle:  orDefault(c.SessionIdle, time.Hour),
			sessionEnd:   orDefault(c.SessionEnd, 12*time.Hour),
			remember:     orDefault(c.RememberLife, 30*24*time.Hour),
		},
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.log == nil {
		p.log = slog.Default()
	}
	if id, _ := p.keys.Secret(keys.PurposeRefresh); len(id) != keyIDSize {
		return nil, fmt.Errorf("provider: the refresh key's id has %d characters, not %d", len(id), keyIDSize)
	}
	if p.meters, err = newMeters(c.Meter); err != nil {
		return nil, err
	}
	p.clients = newClientCache(c.Store)
	p.proofs, p.buckets, p.guesses = c.Proofs, c.Buckets, newGuesses()
	if p.egress = c.Egress; p.egress == nil {
		if p.egress, err = egress.New(egress.Config{}); err != nil {
			return nil, err
		}
	}
	p.keySets = newKeySets(p.egress)
	if err := p.setRegistration(c.Registration); err != nil {
		return nil, err
	}
	p.refreshes = newRefreshLimit(orDefault(c.RefreshLimit, 30))
	p.introspections = newIntrospectLimit(orDefault(c.IntrospectLimit, 60_000))
	p.denylist, p.sessionEnded = c.Denylist, c.SessionEnded
	if p.sessionEnded == nil {
		p.sessionEnded = func() {}
	}
	p.engine = compose(p)
	p.metadata = newMetadata(p.discovery())
	return p, nil
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

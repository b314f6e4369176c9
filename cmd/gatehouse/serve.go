package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gatehouse-id/gatehouse/api"
	"github.com/gatehouse-id/gatehouse/denylist"
	"github.com/gatehouse-id/gatehouse/egress"
	"github.com/gatehouse-id/gatehouse/internal/telemetry"
	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
	"github.com/gatehouse-id/gatehouse/text"
	"github.com/gatehouse-id/gatehouse/web"
)

func serveCommand() command {
	return command{
		name:  "serve",
		about: "Run the server; without configuration in embedded mode, all in one process and for this machine",
		example: "gatehouse serve\n" +
			"GATEHOUSE_URL=https://id.example.org GATEHOUSE_DATABASE_URL=postgres://gatehouse@db/gatehouse \\\n" +
			"  GATEHOUSE_VALKEY_URL=valkey://valkey:6379 GATEHOUSE_SEAL_KEY_FILE=/run/secrets/seal \\\n" +
			"  GATEHOUSE_MAIL_KEY_FILE=/run/secrets/mail gatehouse serve",
		more: new(Config).describe,
		define: func(*flag.FlagSet) action {
			return func(ctx context.Context, t terminal, _ []string) error {
				c, err := readConfig(t)
				if err != nil {
					return err
				}
				log := newLog(t, c)
				if c.memory, err = readMemory(os.DirFS("/"), t.environ, debug.SetMemoryLimit(-1)); err != nil {
					log.Warn("Go's memory is not bounded", "err", err)
				}
				if c.memory.limit > 0 {
					debug.SetMemoryLimit(c.memory.limit)
				}
				defer paceCollections(t.environ, c.memory)()
				s, err := build(ctx, c, log, t.out)
				if err != nil && ctx.Err() != nil {
					// What could not be done because of that is nobody's fault.
					log.Info("told to stop before the start was over")
					return nil
				}
				if err != nil {
					return err
				}
				return s.Run(ctx)
			}
		},
	}
}

// A server is everything that one process runs.
type server struct {
	config    Config
	log       *slog.Logger
	telemetry *telemetry.Telemetry
	sql       storage.SQL
	volatile  storage.Volatile
	clock     *storage.Clock
	keeper    *keys.Keeper
	relay     *mail.Relay
	denylist  *denylist.List
	login     *login.Engine
	provider  *provider.Provider
	handler   http.Handler
	// certificate is what HTTP is encrypted by, and grpcCertificate what gRPC is;
	// nil is nothing.
	certificate, grpcCertificate *certificate
	// api is the gRPC face, or nil.
	api *api.Server
	// ready is whether requests are welcome: from the first listener until
	// shutdown begins.
	ready     atomic.Bool
	readiness *readiness
	cleanup   cleanup
	// opened is when denylist had read what was revoked.
	opened time.Time
	// jobs run from start to end, beside the requests.
	jobs []func(context.Context) error
	// closers are run in reverse.
	closers []func() error
}

// build makes a server of c: everything is opened here, once, in the order of
// dependence, and nothing runs yet. Letters of embedded mode are printed to
// out.
func build(ctx context.Context, c Config, log *slog.Logger, out io.Writer) (_ *server, err error) {
	s := &server{config: c, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()

	if err := s.openTelemetry(); err != nil {
		return nil, err
	}
	log = s.log // which names the trace of what it is told

	// A key that is missing is told before a database is opened.
	sealKey, err := c.sealKey()
	if err != nil {
		return nil, err
	}
	mailKey, err := c.mailKey()
	if err != nil {
		return nil, err
	}
	if err := s.proveDomains(ctx, sealKey); err != nil {
		return nil, err
	}

	// Pages need the sentences. They are read while databases are connected to, and
	// an error is told by whoever needs them.
	go func() { _, _ = text.Load() }()

	if s.sql, err = (observer{s.telemetry.Tracer("storage"), s.telemetry.Meter("storage")}).openSQL(ctx, c); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.sql.Close)
	volatile, err := openValkey(ctx, c)
	if err != nil {
		return nil, err
	}
	s.volatile = volatile
	s.closers = append(s.closers, volatile.Close)
	s.readiness = &readiness{log: log, dependencies: []dependency{{"database", s.sql.Ping}, {"valkey", s.volatile.Ping}}}
	if s.clock, err = storage.NewClock(ctx, s.sql); err != nil {
		return nil, err
	}
	volatile.Now = s.clock.Now
	if err := volatile.Observe(s.telemetry.Tracer("storage"), s.telemetry.Meter("storage")); err != nil {
		return nil, err
	}
	if err := checkClocks(ctx, s.clock, s.volatile); err != nil {
		return nil, err
	}
	if err := volatile.CheckPolicy(ctx); err != nil {
		return nil, usagef("GATEHOUSE_VALKEY_URL: %w", err)
	}

	if s.keeper, err = openKeeper(ctx, c, s.sql, sealKey, s.clock, log, s.telemetry.Meter("keys")); err != nil {
		return nil, err
	}
	sealer, err := mail.NewSealer(mailKey)
	if err != nil {
		return nil, err
	}
	if s.relay, err = mail.NewRelay(mail.RelayConfig{
		Pending: s.pendingLetters, Delete: s.sql.DeleteLetter, Fail: s.sql.FailLetter, ValkeyURL: volatile.URL(), Now: s.clock.Now, Log: log, Meter: s.telemetry.Meter("mail"),
	}); err != nil {
		return nil, err
	}
	if s.denylist, err = denylist.New(ctx, denylist.Config{Revocations: s.sql, Fast: s.volatile, Now: s.clock.Now, Log: log, Meter: s.telemetry.Meter("denylist")}); err != nil {
		return nil, err
	}
	s.opened = time.Now()
	if err := s.measure(s.telemetry.Meter("cmd/gatehouse")); err != nil {
		return nil, err
	}
	s.jobs = append(s.jobs, s.watchClock, s.rotateKeys, s.purge, s.relay.Run, s.denylist.Run, s.watchReadiness)
	notices, err := s.openNotices(volatile.URL())
	if err != nil {
		return nil, err
	}

	factors, err := keys.NewSealer(sealKey)
	if err != nil {
		return nil, err
	}
	if s.login, err = login.New(login.Config{
		Store: s.sql, Flows: s.volatile, Buckets: s.volatile,
		// login's purposes are rings of keys, by the same names.
		Secret: s.keeper.Secret, SecretByID: s.keeper.SecretByID,
		Seal: factors.Seal, Open: factors.Open,
		Letter: func(ctx context.Context, l login.Letter) (storage.Letter, error) {
			l.Language = cmp.Or(l.Language, c.Language)
			id, sealed, err := sealer.Seal(ctx, mail.Letter(l))
			return storage.Letter{ID: id, Sealed: sealed}, err
		},
		// What ends sessions or grants is told to the person in a letter.
		Mailed:    func() { s.relay.Nudge(); s.denylist.Nudge(); notices.Nudge() },
		SignInURL: c.URL + "/login", Issuer: c.Brand,
		Domains: c.RegistrationDomains, Closed: !c.registrationOpen(),
		Bcrypt: c.Bcrypt, Hashes: c.memory.hashes, Proxied: len(c.TrustedProxies) > 0,
		Now: s.clock.Now, Log: log, Meter: s.telemetry.Meter("login"),
	}); err != nil {
		return nil, err
	}
	outward, err := openEgress(c, s.telemetry.RoundTripper)
	if err != nil {
		return nil, err
	}
	registration := c.ClientRegistration
	registration.Token = string(c.ClientToken)
	var face *web.Web // which is asked for error pages only after it is made
	if s.provider, err = provider.New(provider.Config{
		Issuer: c.URL, Store: s.sql, Codes: s.volatile, Interactions: s.volatile, Proofs: s.volatile, Buckets: s.volatile, Keys: s.keeper,
		ErrorPage: func(w http.ResponseWriter, r *http.Request, e *provider.Error) { face.ErrorPage(w, r, e) },
		FormPost: func(w http.ResponseWriter, r *http.Request, action string, fields url.Values) {
			face.FormPost(w, r, action, fields)
		},
		Egress:       outward,
		Registration: registration,
		UILocales:    text.Languages(),
		From:         func(r *http.Request) (string, string) { return web.From(r, c.TrustedProxies) },
		Denylist:     s.denylist,
		SessionEnded: notices.Nudge,
		RefreshLimit: c.RefreshLimit,
		Now:          s.clock.Now, Log: log, Meter: s.telemetry.Meter("provider"),
	}); err != nil {
		return nil, err
	}
	var dev http.Handler
	if c.Embedded() {
		if dev, err = s.embed(ctx, sealer, volatile.URL(), out); err != nil {
			return nil, err
		}
	}
	if face, err = web.New(web.Config{
		Provider: s.provider, Login: s.login, Store: s.sql,
		Secret:     s.secret(keys.PurposeCSRF),
		SecretByID: s.secretByID(keys.PurposeCSRF),
		Issuer:     c.URL, Brand: c.Brand, Language: c.Language, Theme: c.Theme, Links: c.Links, RegistrationOpen: c.registrationOpen(),
		TrustedProxies: c.TrustedProxies,
		Ready:          s.isReady, Probe: s.probed, Dev: dev, Route: s.told(), Now: s.clock.Now, Log: log, Meter: s.telemetry.Meter("web"),
	}); err != nil {
		return nil, err
	}
	if s.handler, err = s.traced(face.Handler()); err != nil {
		return nil, err
	}
	doctor, err := newSightingKey(sealKey)
	if err != nil {
		return nil, err
	}
	s.handler = s.sighted(s.handler, doctor)
	if c.TLSCert != "" {
		if s.certificate, err = openCertificate(c.tlsPair(), log); err != nil {
			return nil, err
		}
		s.jobs = append(s.jobs, s.certificate.watch)
	}
	return s, s.openGRPC(ctx)
}

// pendingLetters is the outbox as the relay reads it.
func (s *server) pendingLetters(ctx context.Context, after string, limit int) ([]mail.Row, error) {
	letters, err := s.sql.PendingLetters(ctx, after, limit)
	rows := make([]mail.Row, len(letters))
	for i, l := range letters {
		rows[i] = mail.Row(l)
	}
	return rows, err
}

// secret and secretByID give the keys of one purpose to those who must have no
// others.
func (s *server) secret(purpose string) func() (string, []byte) {
	return func() (string, []byte) { return s.keeper.Secret(purpose) }
}

func (s *server) secretByID(purpose string) func(context.Context, string) ([]byte, error) {
	return func(ctx context.Context, id string) ([]byte, error) { return s.keeper.SecretByID(ctx, purpose, id) }
}

// rotateKeys lets keys age.
func (s *server) rotateKeys(ctx context.Context) error {
	s.keeper.Run(ctx)
	return nil
}

// openEgress makes what asks servers at the word of a client.
func openEgress(c Config, observe func(http.RoundTripper) http.RoundTripper) (*egress.Client, error) {
	e := egress.Config{Allow: c.EgressAllow, Observe: observe}
	if c.EgressCA != "" {
		var err error
		if e.Roots, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("read the certificates of the system: %w", err)
		}
		e.Roots.AppendCertsFromPEM([]byte(c.EgressCA)) // which parseConfig has looked at
	}
	return egress.New(e)
}

// openValkey connects to Valkey, or starts one in this process.
func openValkey(ctx context.Context, c Config) (*valkey.DB, error) {
	if c.Embedded() {
		return openEmbeddedValkey(ctx)
	}
	db, err := valkey.Open(ctx, string(c.ValkeyURL))
	if err != nil {
		err = fmt.Errorf("GATEHOUSE_VALKEY_URL does not lead to a server: %w", err)
		if errors.Is(err, valkey.ErrAddress) {
			err = usageError{err}
		}
		return nil, err
	}
	return db, nil
}

// checkClocks refuses to start where tokens would be judged by the wrong time.
func checkClocks(ctx context.Context, clock *storage.Clock, volatile storage.TimeSource) error {
	if skew := clock.Offset().Abs(); skew > storage.MaxSkew {
		return usagef("the clocks of this host and of the database are %v apart; set them right (more than %v is too much)", skew.Round(100*time.Millisecond), storage.MaxSkew)
	}
	t, err := volatile.Time(ctx)
	if err != nil {
		return fmt.Errorf("read the clock of GATEHOUSE_VALKEY_URL: %w", err)
	}
	if skew := t.Sub(clock.Now()).Abs(); skew > storage.MaxSkew {
		return usagef("the clocks of the database and of Valkey are %v apart; set them right (more than %v is too much)", skew.Round(100*time.Millisecond), storage.MaxSkew)
	}
	return nil
}

// watchClock keeps the clock close to the database's.
func (s *server) watchClock(ctx context.Context) error {
	s.clock.Run(ctx, func(err error) {
		s.log.WarnContext(ctx, "the database's clock was not read", "err", err)
	})
	return nil
}

// How shutdown goes on.
const (
	// noticeTime is how long balancers have to see that the server is no longer
	// ready, before it stops listening.
	noticeTime = 3 * time.Second
	// drainTime is how long requests have to end.
	drainTime = 20 * time.Second
)

// Run serves until ctx ends, then stops in reverse: first the server is no
// longer ready, then it takes no more requests and calls and ends those it has,
// then the jobs end, then the connections close.
func (s *server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.close()) }()
	opening := context.WithoutCancel(ctx) // who is told to stop now stops as below
	listeners, err := listen(opening, "GATEHOUSE_ADDR", s.config.Addr)
	if err != nil {
		return err
	}
	calls, err := s.listenGRPC(opening)
	if err != nil {
		closeAll(listeners)
		return err
	}
	scrapes, err := s.listenMetrics(opening)
	if err != nil {
		closeAll(append(listeners, calls...))
		return err
	}
	srv := newHTTPServer(s.handler, s.certificate, s.log)
	jobs, stopJobs := context.WithCancel(context.WithoutCancel(ctx))
	defer stopJobs()

	// Where it took long to start, what was revoked is read again before anybody may
	// ask about a token. An error is told by the job that does so from now on.
	if time.Since(s.opened) > storage.TailEvery {
		_ = s.denylist.Follow(ctx)
	}
	s.ready.Store(true) // before anything that may end it
	g, ending := errgroup.WithContext(ctx)
	for _, l := range listeners {
		g.Go(func() error { return serving(serveHTTP(srv, l)) })
	}
	for _, l := range calls {
		g.Go(func() error { return s.api.Serve(l) })
	}
	for _, job := range s.jobs {
		g.Go(func() error { return job(jobs) })
	}
	for _, l := range scrapes {
		g.Go(func() error { return s.telemetry.Scrape(jobs, l) })
	}
	s.ready.Store(true) // before it can be taken back
	g.Go(func() error {
		<-ending.Done()
		defer stopJobs()
		s.ready.Store(false)
		if s.api != nil {
			s.api.Leave()
		}
		s.log.Info("stopping")
		if ctx.Err() != nil && !s.config.Embedded() { // not when the server failed by itself
			time.Sleep(noticeTime)
		}
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		stopped := make(chan error, 1)
		go func() { stopped <- s.stopGRPC(drain) }()
		if err := srv.Shutdown(drain); err != nil {
			return errors.Join(fmt.Errorf("requests were cut off after %v: %w", drainTime, err), srv.Close(), <-stopped)
		}
		return <-stopped
	})
	s.announce()
	// What it took to start is given back when the first requests have their answer.
	time.AfterFunc(time.Second, debug.FreeOSMemory)
	return g.Wait()
}

// closeAll closes listeners that nobody has used.
func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

// serving takes the end of a server that was shut down for the success it is.
func serving(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// announce says in one line what was started, and in embedded mode what that
// is.
func (s *server) announce() {
	if w := s.config.memory.warning; w != "" {
		s.log.Warn(w)
	}
	if s.config.Embedded() {
		s.log.Info("embedded mode: everything is in this process, for this machine", append([]any{
			"url", s.config.URL, "state", s.config.StateDir,
			"app", s.config.URL + "/dev/app", "mail", s.config.URL + "/dev/mail",
		}, s.config.memory.attributes()...)...)
		if s.config.EmbeddedAsked && !s.config.sends() {
			s.log.Warn("whoever can reach this server can read its letters at /dev/mail")
		}
		return
	}
	s.log.Info("serving", append([]any{"url", s.config.URL, "addr", s.config.Addr, "tls", s.certificate != nil}, s.config.memory.attributes()...)...)
	if s.config.secureURL() && s.certificate == nil && len(s.config.TrustedProxies) == 0 {
		s.log.Warn("a proxy in front speaks https, and GATEHOUSE_TRUSTED_PROXIES does not name it: all people have its address, and share what one address may do; name its network")
	}
}

// close gives back what build opened, in reverse. What was measured is told
// before the connections close, because some of it is asked there.
func (s *server) close() error {
	s.closeTelemetry()
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

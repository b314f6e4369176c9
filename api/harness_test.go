package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/pquerna/otp/totp"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/gatehouse-id/gatehouse/api"
	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/denylist"
	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/internal/testenv/migrated"
	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/postgres"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

const (
	ashaEmail    = "asha@example.com"
	ashaPassword = "river lantern mosaic"
	newPassword  = "copper orchid thunder"
	// appID is the first-party client.
	appID = "app"
)

// database is a storage.SQL that can be made.
type database interface {
	storage.SQL
	Migrate(ctx context.Context) error
}

// patience, behind the URL of a Valkey, lets a busy machine take its time. A
// benchmark measures what servers do, who have less.
func patience(t testing.TB) string {
	if _, ok := t.(*testing.B); ok {
		return ""
	}
	return "?dial_timeout=1m&write_timeout=1m"
}

// A kind says what a house keeps its things in.
type kind string

const (
	servers  kind = "PostgreSQL and Valkey"
	embedded kind = "embedded"
)

// A house is a gRPC server over bufconn, with everything behind it.
type house struct {
	t        testing.TB
	config   login.Config
	db       database
	mem      *valkey.DB
	mini     *miniredis.Miniredis // of embedded houses
	keeper   *keys.Keeper
	login    *login.Engine
	provider *provider.Provider
	server   *api.Server
	listener *bufconn.Listener
	conn     *grpc.ClientConn
	authv1.AuthenticationServiceClient
	account authv1.AccountServiceClient

	began time.Time
	ahead atomic.Int64 // how far the clock is ahead of when it began
	// statements, trips and hashes count what calls have touched, and key uses.
	statements, trips, hashes, keys atomic.Int64
	// hashing, if set, is called by every hash.
	hashing atomic.Pointer[func()]
	mu      sync.Mutex
	log     bytes.Buffer
}

// change edits what a house is made of.
type change struct {
	login func(*login.Config)
	api   func(*api.Config)
}

func newHouse(t testing.TB, k kind, changes ...change) *house {
	t.Helper()
	ctx := context.Background()
	h := &house{t: t, began: time.Now().UTC().Truncate(time.Microsecond)}
	var before goleak.Option
	t.Cleanup(func() { // registered first, run last
		if before == nil {
			return // there is no server, and nothing began
		}
		err := goleak.Find(before)
		for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); {
			err = goleak.Find(before)
		}
		if err != nil {
			t.Error(err)
		}
	})
	var sqlURL, valkeyURL string
	if k == servers { // which stay for other tests, when this one starts them
		sqlURL, valkeyURL = testenv.Postgres(t), testenv.Valkey(t)+patience(t)
	}
	before = goleak.IgnoreCurrent()
	count := func(string) { h.statements.Add(1) }
	var err error
	switch k {
	case servers:
		h.db, err = postgres.Options{OnQuery: count}.Open(ctx, sqlURL)
		if err == nil {
			h.mem, err = valkey.Open(ctx, valkeyURL)
		}
	case embedded:
		h.db, err = sqlite.Options{OnQuery: count}.Open(ctx, migrated.SQLite(t))
		h.mini = miniredis.RunT(t)
		if err == nil {
			h.mem, err = valkey.Open(ctx, "valkey://"+h.mini.Addr()+patience(t))
		}
	}
	must(t, err)
	t.Cleanup(func() { _ = h.db.Close(); _ = h.mem.Close() })
	must(t, h.db.Migrate(ctx))
	h.mem.OnRoundTrip, h.mem.Now = func() { h.trips.Add(1) }, h.now

	seal := make([]byte, 32)
	_, _ = rand.Read(seal)
	log := slog.New(slog.NewTextHandler(h, nil))
	keeper, err := keys.New(ctx, keys.Config{Store: h.db, SealKey: seal, Now: h.now, Log: log})
	must(t, err)
	h.keeper = keeper
	factors, err := keys.NewSealer(seal)
	must(t, err)
	h.config = login.Config{
		Store: h.db, Flows: h.mem, Buckets: h.mem,
		Secret: func(purpose string) (string, []byte) {
			h.keys.Add(1)
			return keeper.Secret(purpose)
		},
		SecretByID: keeper.SecretByID,
		Seal:       factors.Seal, Open: factors.Open,
		// The letters stay in the outbox, unsealed, where the test reads them.
		Letter: func(_ context.Context, l login.Letter) (storage.Letter, error) {
			open, err := json.Marshal(l)
			return storage.Letter{ID: uuid.Must(uuid.NewV7()).String(), Sealed: open}, err
		},
		Domains: []string{"example.com"}, Proxied: true, Hasher: plain{h}, Now: h.now, Log: log,
	}
	for _, c := range changes {
		if c.login != nil {
			c.login(&h.config)
		}
	}
	h.login, err = login.New(h.config)
	must(t, err)
	list, err := denylist.New(ctx, denylist.Config{Revocations: h.db, Fast: h.mem, Now: h.now, Log: log})
	must(t, err)
	h.provider, err = provider.New(provider.Config{
		Issuer: "https://id.example", Store: h.db, Codes: h.mem, Interactions: h.mem, Proofs: h.mem, Buckets: h.mem,
		Keys: keeper, Denylist: prompt{list}, Now: h.now, Log: log, RefreshLimit: -1,
		From:      func(*http.Request) (string, string) { return "", "" },
		ErrorPage: func(http.ResponseWriter, *http.Request, *provider.Error) {},
		FormPost:  func(http.ResponseWriter, *http.Request, string, url.Values) {},
	})
	must(t, err)
	h.client(storage.Client{ID: appID, FirstParty: true})
	h.serve(log, changes...)
	return h
}

// serve makes the gRPC server and a connection to it.
func (h *house) serve(log *slog.Logger, changes ...change) {
	h.t.Helper()
	c := api.Config{Login: h.login, Tokens: h.provider.FirstParty(appID), Log: log}
	for _, change := range changes {
		if change.api != nil {
			change.api(&c)
		}
	}
	var err error
	h.server, err = api.New(c)
	must(h.t, err)
	h.listener = bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(h.listener) }()
	h.conn = h.dial()
	h.AuthenticationServiceClient, h.account = authv1.NewAuthenticationServiceClient(h.conn), authv1.NewAccountServiceClient(h.conn)
	h.t.Cleanup(func() {
		_ = h.conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.server.Stop(ctx); err != nil {
			h.t.Error(err)
		}
		if err := <-served; err != nil {
			h.t.Error(err)
		}
	})
}

func (h *house) dial(options ...grpc.DialOption) *grpc.ClientConn {
	h.t.Helper()
	conn, err := grpc.NewClient("passthrough:///bufconn", append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return h.listener.DialContext(ctx) }),
	}, options...)...)
	must(h.t, err)
	return conn
}

// plain hashes nothing: the engine's own tests do.
type plain struct{ h *house }

func (p plain) Hash(password string) (string, error) {
	p.h.hashes.Add(1)
	if f := p.h.hashing.Load(); f != nil {
		(*f)()
	}
	return "plain$" + password, nil
}

func (p plain) Matches(hash, password string) (bool, error) {
	p.h.hashes.Add(1)
	if f := p.h.hashing.Load(); f != nil {
		(*f)()
	}
	return hash == "plain$"+password, nil
}

// prompt knows of every revocation at once, where a server has five seconds.
type prompt struct{ *denylist.List }

func (p prompt) Check(ctx context.Context, b storage.Bearer) error {
	if err := p.Follow(ctx); err != nil {
		return err
	}
	return p.List.Check(ctx, b)
}

// Write keeps the log.
func (h *house) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(b)
}

func (h *house) logged() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.String()
}

// now goes on by a microsecond each time it is looked at: nothing ends because the
// machine is slow.
func (h *house) now() time.Time {
	return h.began.Add(time.Duration(h.ahead.Add(int64(time.Microsecond))))
}

// skip moves every clock of an embedded house, and all but Valkey's of a real
// one.
func (h *house) skip(d time.Duration) {
	h.ahead.Add(int64(d))
	if h.mini != nil {
		h.mini.FastForward(d + time.Second)
	}
}

func (h *house) client(c storage.Client) {
	h.t.Helper()
	c.Name, c.AuthMethod, c.RedirectURIs = "The app "+c.ID, storage.AuthNone, []string{"https://app.example/callback"}
	c.GrantTypes, c.Scopes = []string{"authorization_code", "refresh_token"}, []string{"openid", "email", "offline_access"}
	c.CreatedAt, c.UpdatedAt = h.now(), h.now()
	must(h.t, provider.ValidateClient(c))
	must(h.t, h.db.CreateClient(context.Background(), c))
}

// person makes an active account.
func (h *house) person(email string) storage.User {
	h.t.Helper()
	now := h.now()
	u := storage.User{
		ID: uuid.Must(uuid.NewV7()).String(), Email: email, Name: "Asha Rai", EmailVerifiedAt: now,
		Status: storage.UserActive, Epoch: 1, CreatedAt: now, UpdatedAt: now,
	}
	must(h.t, h.db.CreateUser(context.Background(), u, "plain$"+ashaPassword))
	return h.user(email)
}

func (h *house) user(email string) storage.User {
	h.t.Helper()
	u, _, err := h.db.UserByEmail(context.Background(), email)
	must(h.t, err)
	return u
}

func (h *house) suspend(u storage.User) {
	h.t.Helper()
	must(h.t, h.db.SetStatus(context.Background(), u.ID, storage.UserSuspended, h.now()))
}

func (h *house) delete(u storage.User) {
	h.t.Helper()
	must(h.t, h.db.DeleteUser(context.Background(), u.ID, h.now()))
}

// code is the one in the last letter to the address.
func (h *house) code(email string) string {
	h.t.Helper()
	rows, err := h.db.PendingLetters(context.Background(), "", 1000)
	must(h.t, err)
	codes := h.codes(rows, email)
	if len(codes) == 0 {
		h.t.Fatalf("no letter with a code to %s", email)
	}
	return codes[len(codes)-1]
}

// codes are those in the letters to the address, the oldest first.
func (h *house) codes(rows []storage.Letter, email string) (codes []string) {
	h.t.Helper()
	for _, row := range rows {
		var l login.Letter
		must(h.t, json.Unmarshal(row.Sealed, &l))
		if l.To == email && l.Code != "" {
			codes = append(codes, l.Code)
		}
	}
	return codes
}

// signIn returns the tokens of a person who needs only a password.
func (h *house) signIn(email string) *authv1.Token {
	h.t.Helper()
	r, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: email, Password: ashaPassword})
	must(h.t, err)
	if r.GetToken() == nil {
		h.t.Fatalf("logging in led to %T, not to tokens", r.GetNext())
	}
	return r.GetToken()
}

// twoStep turns two-step sign-in on, and returns the app's secret, the recovery
// codes and the tokens it was done with.
func (h *house) twoStep(email string) (secret string, recovery []string, t *authv1.Token) {
	h.t.Helper()
	t = h.signIn(email)
	e, err := h.account.EnableTwoFactor(h.as(t), &authv1.EnableTwoFactorRequest{})
	must(h.t, err)
	c, err := h.account.ConfirmTwoFactor(h.as(t), &authv1.ConfirmTwoFactorRequest{Handle: e.GetHandle(), Code: h.totp(e.GetSecret())})
	must(h.t, err)
	h.skip(30 * time.Second) // each code counts once
	return e.GetSecret(), c.GetRecoveryCodes(), t
}

func (h *house) totp(secret string) string {
	h.t.Helper()
	code, err := totp.GenerateCode(secret, h.now())
	must(h.t, err)
	return code
}

func (h *house) ctx() context.Context { return context.Background() }

// as is the context of a call with the access token.
func (h *house) as(t *authv1.Token) context.Context { return bearing("Bearer " + t.GetAccessToken()) }

func bearing(authorization string) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", authorization)
}

// touched is how many hashes, statements and round trips there were so far.
func (h *house) touched() [4]int64 {
	return [4]int64{h.hashes.Load(), h.statements.Load(), h.trips.Load(), h.keys.Load()}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A problem is an error as a client reads it.
type problem struct {
	code   codes.Code
	reason string
	retry  time.Duration
	// fields are the violations, as "field: REASON".
	fields    []string
	reference string
	message   string
}

func problemOf(t testing.TB, err error) problem {
	t.Helper()
	s, ok := status.FromError(err)
	if !ok {
		t.Fatalf("%v is no status", err)
	}
	p := problem{code: s.Code(), message: s.Message()}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if p.reason = d.GetReason(); d.GetDomain() != "gatehouse.auth.v1" {
				t.Errorf("the domain is %q", d.GetDomain())
			}
			p.reference = d.GetMetadata()["reference"]
		case *errdetails.RetryInfo:
			p.retry = d.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				p.fields = append(p.fields, v.GetField()+": "+v.GetReason())
			}
		default:
			t.Errorf("a detail is a %T", d)
		}
	}
	return p
}

// verdict is an error in a word or two: "ok", or code and reason.
func verdict(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return "ok"
	}
	p := problemOf(t, err)
	return strings.TrimSpace(screaming(p.code) + " " + p.reason)
}

// screaming is a code as the contract's comments write it.
func screaming(c codes.Code) string {
	if c == codes.OK {
		return "OK"
	}
	var b strings.Builder
	for i, r := range c.String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

func want(t testing.TB, err error, verdictWanted string) {
	t.Helper()
	if got := verdict(t, err); got != verdictWanted {
		t.Errorf("got %s (%v), want %s", got, err, verdictWanted)
	}
}

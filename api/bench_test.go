//go:build unix

package api_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pquerna/otp/totp"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// profileDir, if set, is where the benchmark writes what pprof reads, of the
// calls alone.
const profileDir = "GATEHOUSE_PROFILE"

// What a call is to cost beside its password hashes at most (see
// docs/benchmarks.md). What is printed is what was measured, and its target.
const (
	wantAllocs = 400
	wantBytes  = 40_000
	otherCPU   = 300 * time.Microsecond
)

// moreAllocs is how far above its target a method may be before that is an
// error: allocations are the same on every machine.
const moreAllocs = 1.15

// callers is how many call at once, as in the measurement that ours is compared
// with.
const callers = 12

// BenchmarkRPC prints, for every method that a person signs in by, what the
// table in docs/benchmarks.md says of it: over bufconn, on PostgreSQL and Valkey,
// with no hash, with bcrypt and with argon2id. Go collects as in the server.
func BenchmarkRPC(b *testing.B) {
	for _, k := range hashings {
		b.Run(k.name, func(b *testing.B) {
			s := newStand(b, k)
			for _, m := range measured {
				if m.cpu == 0 && k.bare != nil {
					continue // it is no method, and hashes nothing
				}
				b.Run(m.name, func(b *testing.B) { s.measure(b, m) })
			}
			s.print()
		})
	}
}

// A hashing is what passwords are hashed by.
type hashing struct {
	name, title string
	config      func(c *login.Config, passes *atomic.Int64)
	// hash is what is kept of a password, and bare one pass and nothing else.
	hash func(password string) (string, error)
	bare func() error
}

var hashings = []hashing{
	{
		name: "nothing", title: "What is not the hash",
		config: func(c *login.Config, passes *atomic.Int64) { c.Hasher = nothing{passes} },
		hash:   func(password string) (string, error) { return password, nil },
	},
	{
		name: "bcrypt", title: "bcrypt, cost 10",
		config: func(c *login.Config, _ *atomic.Int64) { c.Hasher, c.Bcrypt = nil, true },
		hash: func(password string) (string, error) {
			hash, err := bcrypt.GenerateFromPassword([]byte(password), 10)
			return string(hash), err
		},
		bare: func() error { _, err := bcrypt.GenerateFromPassword([]byte(ashaPassword), 10); return err },
	},
	{
		name: "argon2id", title: "argon2id, 19 MiB, 2 passes over it",
		config: func(c *login.Config, _ *atomic.Int64) { c.Hasher = nil },
		hash:   login.HashPassword,
		bare: func() error {
			argon2.IDKey([]byte(ashaPassword), []byte(ashaPassword)[:16], 2, 19*1024, 1, 32)
			return nil
		},
	},
}

// nothing is the hasher that does nothing, and counts how often.
type nothing struct{ passes *atomic.Int64 }

func (n nothing) Hash(password string) (string, error) {
	n.passes.Add(1)
	return password, nil
}

func (n nothing) Matches(hash, password string) (bool, error) {
	n.passes.Add(1)
	return hash == password, nil
}

// A method is one row of the table; without a target for the processor's time it
// is no method, but a part of all.
type method struct {
	name string
	// passes are the password hashes that a call makes or checks.
	passes int
	// limited says that allocations are bounded; cpu is the target.
	limited bool
	cpu     time.Duration
	// seed makes all that one call needs.
	seed func(s *stand) (call, error)
}

// A call is one request that has not been sent.
type call struct {
	request proto.Message
	send    func() error
	// late, if not nil, completes the request with what does not keep.
	late func() error
}

// of is a call that is answered with something that is good.
func of[Q, R proto.Message](send func(context.Context, Q, ...grpc.CallOption) (R, error), request Q, good func(R) bool) call {
	return call{request: request, send: func() error {
		r, err := send(context.Background(), request)
		if err == nil && !good(r) {
			err = errors.New("it led elsewhere")
		}
		return err
	}}
}

// The first three are what every method is made of.
var measured = []method{
	{"(a call that does nothing)", 0, false, 0, func(s *stand) (call, error) {
		return of(healthv1.NewHealthClient(s.conn).Check, &healthv1.HealthCheckRequest{},
			func(r *healthv1.HealthCheckResponse) bool {
				return r.GetStatus() == healthv1.HealthCheckResponse_SERVING
			}), nil
	}},
	{"(a trip to PostgreSQL)", 0, false, 0, func(s *stand) (call, error) {
		return call{send: func() error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // as a call has
			defer cancel()
			_, err := s.db.Time(ctx)
			return err
		}}, nil
	}},
	{"(a trip to Valkey)", 0, false, 0, func(s *stand) (call, error) {
		return call{send: func() error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if _, err := s.mem.Flow(ctx, "none"); !errors.Is(err, storage.ErrNotFound) {
				return fmt.Errorf("a flow that is not there: %w", err)
			}
			return nil
		}}, nil
	}},
	{"Register", 1, true, 400 * time.Microsecond, func(s *stand) (call, error) {
		return of(s.Register, &authv1.RegisterRequest{Email: address(), Password: ashaPassword, Name: "Asha Rai"},
			func(r *authv1.RegisterResponse) bool { return r.GetVerification().GetHandle() != "" }), nil
	}},
	{"AccountVerification", 0, false, otherCPU, func(s *stand) (call, error) {
		c, code, err := s.registered(s.seeder)
		return of(s.AccountVerification, &authv1.AccountVerificationRequest{Handle: c.Handle, Code: code},
			func(r *authv1.AccountVerificationResponse) bool { return r.GetToken() != nil }), err
	}},
	{"ResendAccountVerification", 0, false, otherCPU, func(s *stand) (call, error) {
		c, _, err := s.registered(s.earlier)
		return of(s.ResendAccountVerification, &authv1.ResendAccountVerificationRequest{Handle: c.Handle},
			func(r *authv1.ResendAccountVerificationResponse) bool { return r.GetVerification().GetHandle() != "" }), err
	}},
	{"Login", 1, true, 250 * time.Microsecond, func(s *stand) (call, error) {
		u, err := s.account()
		return s.logIn(u, ""), err
	}},
	{"Login from a known device", 1, true, 250 * time.Microsecond, func(s *stand) (call, error) {
		u, err := s.account()
		if err != nil {
			return call{}, err
		}
		o, err := s.seeder.Login(context.Background(), login.From{}, u.Email, ashaPassword)
		if err != nil {
			return call{}, err
		}
		return s.logIn(u, o.(login.Authenticated).Device), nil
	}},
	{"Login from another device", 1, true, 250 * time.Microsecond, func(s *stand) (call, error) {
		u, err := s.account()
		if err != nil {
			return call{}, err
		}
		_, err = s.seeder.Login(context.Background(), login.From{}, u.Email, ashaPassword)
		return s.logIn(u, ""), err
	}},
	{"LoginTwoFactor, TOTP", 0, false, otherCPU, func(s *stand) (call, error) {
		handle, secret, _, err := s.challenged()
		code := &authv1.LoginTwoFactorRequest_Totp{Totp: "000000"}
		c := s.secondFactor(&authv1.LoginTwoFactorRequest{Handle: handle, Code: code})
		c.late = func() (err error) { code.Totp, err = totp.GenerateCode(secret, s.now()); return err }
		return c, err
	}},
	{"LoginTwoFactor, recovery code", 0, false, otherCPU, func(s *stand) (call, error) {
		handle, _, recovery, err := s.challenged()
		if err != nil {
			return call{}, err
		}
		return s.secondFactor(&authv1.LoginTwoFactorRequest{Handle: handle, Code: &authv1.LoginTwoFactorRequest_Recovery{Recovery: recovery[0]}}), nil
	}},
	{"ForgotPassword", 0, false, otherCPU, func(s *stand) (call, error) {
		u, err := s.account()
		return of(s.ForgotPassword, &authv1.ForgotPasswordRequest{Email: u.Email},
			func(r *authv1.ForgotPasswordResponse) bool { return r.GetVerification().GetHandle() != "" }), err
	}},
	{"Verification", 0, false, otherCPU, func(s *stand) (call, error) {
		u, err := s.account()
		if err != nil {
			return call{}, err
		}
		c, code, err := s.forgotten(u)
		return of(s.Verification, &authv1.VerificationRequest{Handle: c.Handle, Code: code},
			func(r *authv1.VerificationResponse) bool { return r.GetReset_().GetHandle() != "" }), err
	}},
	{"ResetPassword, one before", 2, true, 600 * time.Microsecond, func(s *stand) (call, error) { return s.reset(1) }},
	{"ResetPassword, five before", 6, true, 600 * time.Microsecond, func(s *stand) (call, error) {
		return s.reset(storage.PasswordHistory)
	}},
	{"Refresh", 0, false, otherCPU, func(s *stand) (call, error) {
		t, err := s.issued()
		return of(s.Refresh, &authv1.RefreshRequest{RefreshToken: t.Refresh},
			func(r *authv1.RefreshResponse) bool { return r.GetToken() != nil }), err
	}},
	{"Logout", 0, false, otherCPU, func(s *stand) (call, error) {
		t, err := s.issued()
		return of(s.Logout, &authv1.LogoutRequest{RefreshToken: t.Refresh}, func(*authv1.LogoutResponse) bool { return true }), err
	}},
}

// A stand is a house whose calls are measured.
type stand struct {
	*house
	hashing hashing
	// seeder does what comes before a call, on the same databases, without hash
	// and without limits: each call meets its own for the first time. What
	// earlier does was 90 seconds ago.
	seeder, earlier *login.Engine
	// kept is the hash of everybody's password.
	kept   string
	passes atomic.Int64
	codes  sync.Map // by address
	rows   map[string]row
}

func newStand(t testing.TB, k hashing) *stand {
	t.Helper()
	s := &stand{hashing: k, rows: map[string]row{}}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	sealer, err := mail.NewSealer(key)
	must(t, err)
	s.house = newHouse(t, servers, change{login: func(c *login.Config) {
		k.config(c, &s.passes)
		c.Letter = func(ctx context.Context, l login.Letter) (storage.Letter, error) {
			id, sealed, err := sealer.Seal(ctx, mail.Letter(l))
			return storage.Letter{ID: id, Sealed: sealed}, err
		}
	}})
	s.kept, err = k.hash(ashaPassword)
	must(t, err)
	c := s.config
	c.Buckets, c.Hasher, c.Bcrypt = unlimited{}, seeding{s.kept}, false
	c.Letter = func(ctx context.Context, l login.Letter) (storage.Letter, error) {
		if l.Code != "" {
			s.codes.Store(l.To, l.Code)
		}
		return storage.Letter{ID: uuid.Must(uuid.NewV7()).String(), Sealed: []byte("seed")}, nil
	}
	s.seeder, err = login.New(c)
	must(t, err)
	c.Now = func() time.Time { return s.now().Add(-90 * time.Second) }
	s.earlier, err = login.New(c)
	must(t, err)
	return s
}

// seeding takes the one hash there is for right.
type seeding struct{ kept string }

func (s seeding) Hash(string) (string, error)          { return s.kept, nil }
func (s seeding) Matches(hash, _ string) (bool, error) { return hash == s.kept, nil }

// unlimited are the buckets of seeding.
type unlimited struct{}

func (unlimited) Take(_ context.Context, uses ...storage.Use) ([]storage.Hit, error) {
	hits := make([]storage.Hit, len(uses))
	for i := range hits {
		hits[i] = storage.Hit{Allowed: true, Left: 1}
	}
	return hits, nil
}
func (unlimited) GiveBack(context.Context, []storage.Use, []storage.Hit) error { return nil }

// address is nobody's.
func address() string { return strings.ToLower(newName()) + "@example.com" }

// account makes somebody whose password is ashaPassword.
func (s *stand) account() (storage.User, error) {
	now := s.now()
	u := storage.User{
		ID: uuid.Must(uuid.NewV7()).String(), Email: address(), Name: "Asha Rai", EmailVerifiedAt: now,
		Status: storage.UserActive, Epoch: 1, CreatedAt: now, UpdatedAt: now,
	}
	if err := s.db.CreateUser(context.Background(), u, s.kept); err != nil {
		return storage.User{}, err
	}
	u, _, err := s.db.UserByEmail(context.Background(), u.Email)
	return u, err
}

func (s *stand) logIn(u storage.User, device string) call {
	return of(s.Login, &authv1.LoginRequest{Email: u.Email, Password: ashaPassword, Device: device},
		func(r *authv1.LoginResponse) bool { return r.GetToken() != nil })
}

func (s *stand) secondFactor(r *authv1.LoginTwoFactorRequest) call {
	return of(s.LoginTwoFactor, r, func(r *authv1.LoginTwoFactorResponse) bool { return r.GetToken() != nil })
}

// challengeTo is the challenge that an outcome is, and the code that was mailed.
func (s *stand) challengeTo(email string, o login.Outcome, err error) (login.Challenge, string, error) {
	if err != nil {
		return login.Challenge{}, "", err
	}
	code, ok := s.codes.LoadAndDelete(email)
	if !ok {
		return login.Challenge{}, "", errors.New("no letter")
	}
	return o.(login.Challenge), code.(string), nil
}

// registered is somebody who has been mailed a code.
func (s *stand) registered(e *login.Engine) (login.Challenge, string, error) {
	email := address()
	o, err := e.Register(context.Background(), login.From{}, login.Registration{Name: "Asha Rai", Email: email, Password: ashaPassword})
	return s.challengeTo(email, o, err)
}

func (s *stand) forgotten(u storage.User) (login.Challenge, string, error) {
	o, err := s.seeder.Forgot(context.Background(), login.From{}, u.Email)
	return s.challengeTo(u.Email, o, err)
}

// challenged is somebody with two-step sign-in who has shown the password.
func (s *stand) challenged() (handle, secret string, recovery []string, err error) {
	ctx := context.Background()
	u, err := s.account()
	if err != nil {
		return "", "", nil, err
	}
	then := s.now().Add(-90 * time.Second)
	who := login.Acting{UserID: u.ID, AuthTime: then}
	e, err := s.earlier.EnrollSecondFactor(ctx, who)
	if err != nil {
		return "", "", nil, err
	}
	code, err := totp.GenerateCode(e.Secret, then)
	if err != nil {
		return "", "", nil, err
	}
	recovery, _, err = s.earlier.ConfirmSecondFactor(ctx, who, e.Handle, code)
	if err != nil {
		return "", "", nil, err
	}
	o, err := s.seeder.Login(ctx, login.From{}, u.Email, ashaPassword)
	if err != nil {
		return "", "", nil, err
	}
	return o.(login.Challenge).Handle, e.Secret, recovery, nil
}

// reset is the last call of somebody who has had so many passwords.
func (s *stand) reset(passwords int) (call, error) {
	ctx := context.Background()
	u, err := s.account()
	if err != nil {
		return call{}, err
	}
	for range passwords - 1 {
		if u.Epoch, err = s.db.SetPassword(ctx, storage.PasswordChange{UserID: u.ID, PasswordHash: s.kept, Now: s.now()}); err != nil {
			return call{}, err
		}
	}
	c, code, err := s.forgotten(u)
	if err != nil {
		return call{}, err
	}
	o, err := s.seeder.ConfirmReset(ctx, login.From{}, c.Handle, code)
	if err != nil {
		return call{}, err
	}
	return of(s.ResetPassword, &authv1.ResetPasswordRequest{Handle: o.(login.Challenge).Handle, Password: newPassword},
		func(*authv1.ResetPasswordResponse) bool { return true }), nil
}

// issued are tokens of somebody who has signed in.
func (s *stand) issued() (provider.Tokens, error) {
	u, err := s.account()
	if err != nil {
		return provider.Tokens{}, err
	}
	return s.provider.FirstParty(appID).Issue(context.Background(), storage.Session{
		UserID: u.ID, UserEpoch: u.Epoch, AuthTime: s.now(), AMR: []string{"pwd"},
	})
}

// seed makes n calls.
func (s *stand) seed(b *testing.B, m method) []call {
	b.Helper()
	calls := make([]call, b.N)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(calls)); i = next.Add(1) - 1 {
				var err error
				if calls[i], err = m.seed(s); err != nil {
					b.Errorf("seed: %v", err)
					return
				}
			}
		})
	}
	workers.Wait()
	if b.Failed() {
		b.FailNow()
	}
	for _, c := range calls {
		if c.late != nil {
			must(b, c.late())
		}
	}
	return calls
}

// A row is what the calls of a method cost, each.
type row struct {
	calls         int
	size          float64       // of the request as it is sent, in bytes
	latency       time.Duration // of all, over their number
	median        time.Duration
	bytes, allocs float64
	cpu           time.Duration
	passes        float64
	bare          time.Duration // of so many passes alone
}

func (s *stand) measure(b *testing.B, m method) {
	calls := s.seed(b, m)
	took := make([]time.Duration, len(calls))
	var next atomic.Int64
	var before, after runtime.MemStats
	s.passes.Store(0)
	runtime.GC()
	defer paceCollections()()
	stop := s.profile(b, m)
	runtime.ReadMemStats(&before)
	cpu := worked(b)
	b.ReportAllocs()
	b.SetParallelism((callers + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := next.Add(1) - 1
			start := time.Now()
			if err := calls[i].send(); err != nil {
				b.Error(err)
			}
			took[i] = time.Since(start)
		}
	})
	b.StopTimer()
	cpu = worked(b) - cpu
	runtime.ReadMemStats(&after)
	stop()
	if b.Failed() {
		b.FailNow()
	}

	n := float64(b.N)
	r := row{
		calls: b.N, latency: b.Elapsed() / time.Duration(b.N), cpu: cpu / time.Duration(b.N),
		bytes: float64(after.TotalAlloc-before.TotalAlloc) / n, allocs: float64(after.Mallocs-before.Mallocs) / n,
		passes: float64(m.passes),
	}
	for _, c := range calls {
		if c.request != nil {
			r.size += float64(proto.Size(c.request)) / n
		}
	}
	slices.Sort(took)
	r.median = took[len(took)/2]
	if s.hashing.bare == nil {
		if r.passes = float64(s.passes.Load()) / n; r.passes != float64(m.passes) {
			b.Errorf("a call hashes %v times, not %d", r.passes, m.passes)
		}
		// Of few calls, what connections and caches cost once counts too much.
		if m.limited && b.N >= 1000 && (r.allocs > wantAllocs*moreAllocs || r.bytes > wantBytes) {
			b.Errorf("a call costs %.0f allocations and %.0f bytes", r.allocs, r.bytes)
		}
	} else if m.passes > 0 {
		r.bare = s.alone(b, m.passes)
		b.ReportMetric(float64(r.bare.Nanoseconds()), "bare-ns/op")
	}
	b.ReportMetric(r.size, "request-B")
	b.ReportMetric(r.passes, "passes/op")
	b.ReportMetric(float64(r.cpu.Nanoseconds()), "cpu-ns/op")
	b.ReportMetric(float64(r.median.Nanoseconds()), "median-ns")
	s.rows[m.name] = r
}

// paceCollections has Go collect as cmd/gatehouse/collect.go has it in the server,
// for what is alive now, until it is stopped. Where the environment says GOGC, that
// is what is done.
func paceCollections() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/heap:bytes"}}
	metrics.Read(samples)
	goal := max(88<<20, int64(samples[0].Value.Uint64()+samples[1].Value.Uint64())+int64(runtime.GOMAXPROCS(0))*login.HashMemory/2)
	percent, limit := debug.SetGCPercent(400), debug.SetMemoryLimit(goal)
	return func() { debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) }
}

// alone is how long so many passes of the hash take when as many run at once as
// calls did, and nothing else does.
func (s *stand) alone(b *testing.B, passes int) time.Duration {
	cores := runtime.GOMAXPROCS(0)
	enough := time.Now().Add(time.Second)
	var done atomic.Int64
	var workers sync.WaitGroup
	start := time.Now()
	for range cores {
		workers.Go(func() {
			for ok := true; ok; ok = time.Now().Before(enough) {
				if err := s.hashing.bare(); err != nil {
					b.Error(err)
				}
				done.Add(1)
			}
		})
	}
	workers.Wait()
	return time.Since(start) * time.Duration(passes) / time.Duration(done.Load())
}

// profile writes profiles until it is stopped, if they are wanted.
func (s *stand) profile(b *testing.B, m method) (stop func()) {
	dir := os.Getenv(profileDir)
	if dir == "" {
		return func() {}
	}
	name, _, _ := strings.Cut(m.name, ",")
	file := func(kind string) *os.File {
		f, err := os.Create(filepath.Join(dir, strings.ToLower(name)+"-"+s.hashing.name+"-"+kind+".pprof"))
		must(b, err)
		return f
	}
	heap := func(kind string) {
		runtime.GC() // the profile is as of the last
		f := file(kind)
		must(b, pprof.Lookup("allocs").WriteTo(f, 0))
		must(b, f.Close())
	}
	// Every allocation is looked at, which takes time that is no call's.
	if runtime.MemProfileRate == 1 {
		heap("before")
		return func() { heap("heap") }
	}
	cpu := file("cpu")
	must(b, pprof.StartCPUProfile(cpu))
	return func() {
		pprof.StopCPUProfile()
		must(b, cpu.Close())
	}
}

// worked is the processor time that this process has used: server, client and
// all between them. The databases are other processes.
func worked(t testing.TB) time.Duration {
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// print writes the table, in Markdown.
func (s *stand) print() {
	if len(s.rows) == 0 {
		return
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }
	hashes := s.hashing.bare != nil
	var t strings.Builder
	fmt.Fprintf(&t, "\n%s (%d callers, GOMAXPROCS %d)\n\n", s.hashing.title, callers, runtime.GOMAXPROCS(0))
	t.WriteString("| Endpoints | Size (B) | Latency | Memory (B/op) | Heap (allocs/op) | Cryptographic Passes |")
	if hashes {
		t.WriteString(" Bare hash | Median of one call |\n|---|--:|--:|--:|--:|--:|--:|--:|\n")
	} else {
		t.WriteString(" CPU | Target | Median of one call |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	}
	for _, m := range measured {
		r, ok := s.rows[m.name]
		if !ok {
			continue
		}
		fmt.Fprintf(&t, "| %s | %.0f | %s | %.0f | %.0f | %.0f |", m.name, r.size, ms(r.latency), r.bytes, r.allocs, r.passes)
		if hashes {
			bare := "–"
			if m.passes > 0 {
				bare = ms(r.bare)
			}
			fmt.Fprintf(&t, " %s |", bare)
		} else {
			target := "–"
			switch {
			case m.cpu == 0:
			case r.cpu <= m.cpu:
				target = ms(m.cpu) + ", met"
			default:
				target = ms(m.cpu) + ", missed"
			}
			fmt.Fprintf(&t, " %s | %s |", ms(r.cpu), target)
		}
		fmt.Fprintf(&t, " %s |\n", ms(r.median))
	}
	fmt.Println(t.String())
}

//go:build unix

package api_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-id/gatehouse/api"
	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/storage"
)

// soakTime, if set, is how long TestSoak calls.
const soakTime = "GATEHOUSE_TEST_SOAK"

const (
	// soakSamples are how often memory is looked at; the first fifth is not
	// counted, in which pools and caches fill.
	soakSamples = 30
	soakWarm    = soakSamples / 5
	// soakGrowth is how much the heap may grow in all, in bytes. The denylist
	// keeps a minute of revocations that are past their time; whatever each call
	// left behind would be many times that in ten minutes.
	soakGrowth = 2 << 20
	// soakPause is by how much the clock moves on at each sample: revocations are
	// kept as long as the tokens that they are of.
	soakPause = 17 * time.Minute
)

// TestSoak lets eight clients do all there is to do, with mistakes and rubbish
// among it, and looks at memory and goroutines while they rest. Neither grows;
// newHouse sees that no goroutine is left at the end.
func TestSoak(t *testing.T) {
	long, err := time.ParseDuration(os.Getenv(soakTime))
	if err != nil {
		t.Skipf("it takes long: set %s to a duration such as 10m", soakTime)
	}
	s := newSoak(t)
	var calls, journeys atomic.Int64
	var resting sync.RWMutex
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var clients sync.WaitGroup
	defer clients.Wait() // also when a sample fails
	defer stop()
	for range 8 {
		clients.Go(func() {
			for ctx.Err() == nil {
				resting.RLock()
				j := s.journeys()[rand.IntN(len(s.journeys()))]
				n, err := j.do()
				resting.RUnlock()
				calls.Add(int64(n))
				journeys.Add(1)
				if err != nil {
					t.Errorf("%s: %v", j.about, err)
					stop()
				}
			}
		})
	}

	var heap, goroutines, at []float64
	for i := range soakSamples {
		select {
		case <-time.After(long / soakSamples):
		case <-ctx.Done():
			return
		}
		resting.Lock()
		s.skip(soakPause)
		time.Sleep(50 * time.Millisecond) // streams end a little later than their calls
		runtime.GC()
		runtime.GC() // what finalizers and pools held
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		g := runtime.NumGoroutine()
		resting.Unlock()
		if i >= soakWarm {
			at, heap, goroutines = append(at, float64(calls.Load())), append(heap, float64(m.HeapAlloc)), append(goroutines, float64(g))
		}
		t.Logf("%3.0f %%: %d calls in %d journeys, %.2f MiB, %d objects, %d goroutines",
			100*float64(i+1)/soakSamples, calls.Load(), journeys.Load(), float64(m.HeapAlloc)/(1<<20), m.HeapObjects, g)
	}
	stop()
	clients.Wait()

	made := at[len(at)-1] - at[0]
	grown := slope(at, heap) * made
	t.Logf("over %.0f calls the heap grew by %.0f KiB (%.2f bytes a call) and goroutines by %.2f", made, grown/1024, grown/made, slope(at, goroutines)*made)
	if grown > soakGrowth {
		t.Error("the heap grows")
	}
	if slope(at, goroutines)*made > 4 {
		t.Errorf("the goroutines grow: %v", goroutines)
	}
}

// slope is that of the straight line that is nearest to the points.
func slope(x, y []float64) float64 {
	var mx, my, sxy, sxx float64
	for i := range x {
		mx, my = mx+x[i]/float64(len(x)), my+y[i]/float64(len(y))
	}
	for i := range x {
		sxy, sxx = sxy+(x[i]-mx)*(y[i]-my), sxx+(x[i]-mx)*(x[i]-mx)
	}
	return sxy / sxx
}

// A soak is a stand whose letters can be read.
type soak struct{ *stand }

func newSoak(t *testing.T) *soak {
	s := &soak{&stand{kept: ashaPassword}}
	key := make([]byte, 32)
	sealer, err := mail.NewSealer(key)
	must(t, err)
	// What is logged of calls that were cut off would stay in the house.
	quiet := slog.New(slog.DiscardHandler)
	s.house = newHouse(t, servers, change{api: func(c *api.Config) { c.Log = quiet }, login: func(c *login.Config) {
		c.Log = quiet
		c.Hasher = nothing{&s.passes}
		c.Letter = func(ctx context.Context, l login.Letter) (storage.Letter, error) {
			if l.Code != "" {
				s.codes.Store(l.To, l.Code)
			}
			id, sealed, err := sealer.Seal(ctx, mail.Letter(l))
			return storage.Letter{ID: id, Sealed: sealed}, err
		}
	}})
	return s
}

// A journey is what one person does in a row.
type journey struct {
	about string
	do    func() (calls int, err error)
}

func (s *soak) journeys() []journey {
	return []journey{
		{"register, prove the mailbox, refresh, look, log out", s.join},
		{"mistake the password, forget it, set another, log in", s.forget},
		{"turn two-step sign-in on, log in by a recovery code, turn it off, leave", s.protect},
		{"send rubbish", s.rubbish},
	}
}

// steps runs them until one fails, and says how many there were.
func steps(all ...func() error) (int, error) {
	for i, step := range all {
		if err := step(); err != nil {
			return i + 1, fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return len(all), nil
}

// refused is a step that must end with that code.
func refused(code codes.Code, step func() error) func() error {
	return func() error {
		if err := step(); status.Code(err) != code {
			return fmt.Errorf("%w, not %v", err, code)
		}
		return nil
	}
}

func (s *soak) code(email string) string {
	code, _ := s.codes.LoadAndDelete(email)
	text, _ := code.(string)
	return text
}

func (s *soak) join() (int, error) {
	email := address()
	var handle string
	var token *authv1.Token
	refresh := func() error {
		r, err := s.Refresh(s.ctx(), &authv1.RefreshRequest{RefreshToken: token.GetRefreshToken()})
		token = r.GetToken()
		return err
	}
	verify := func(code string) error {
		r, err := s.AccountVerification(s.ctx(), &authv1.AccountVerificationRequest{Handle: handle, Code: code})
		token = r.GetToken()
		return err
	}
	return steps(
		func() error {
			r, err := s.Register(s.ctx(), &authv1.RegisterRequest{Email: email, Password: ashaPassword, Name: "Asha Rai"})
			handle = r.GetVerification().GetHandle()
			return err
		},
		refused(codes.InvalidArgument, func() error { return verify("no code") }),
		func() error { return verify(s.code(email)) },
		refresh, refresh,
		func() error { _, err := s.house.account.Profile(s.as(token), &authv1.ProfileRequest{}); return err },
		func() error {
			_, err := s.house.account.ListSessions(s.as(token), &authv1.ListSessionsRequest{})
			return err
		},
		func() error {
			_, err := s.Logout(s.ctx(), &authv1.LogoutRequest{RefreshToken: token.GetRefreshToken()})
			return err
		},
		refused(codes.Unauthenticated, refresh),
	)
}

func (s *soak) logIn(email, password string) (*authv1.LoginResponse, error) {
	return s.Login(s.ctx(), &authv1.LoginRequest{Email: email, Password: password})
}

func (s *soak) forget() (int, error) {
	u, err := s.stand.account()
	if err != nil {
		return 0, err
	}
	var handle string
	return steps(
		refused(codes.Unauthenticated, func() error { _, err := s.logIn(u.Email, newPassword); return err }),
		func() error {
			r, err := s.ForgotPassword(s.ctx(), &authv1.ForgotPasswordRequest{Email: u.Email})
			handle = r.GetVerification().GetHandle()
			return err
		},
		refused(codes.ResourceExhausted, func() error {
			_, err := s.ResendAccountVerification(s.ctx(), &authv1.ResendAccountVerificationRequest{Handle: handle})
			return err
		}),
		func() error {
			r, err := s.Verification(s.ctx(), &authv1.VerificationRequest{Handle: handle, Code: s.code(u.Email)})
			handle = r.GetReset_().GetHandle()
			return err
		},
		func() error {
			_, err := s.ResetPassword(s.ctx(), &authv1.ResetPasswordRequest{Handle: handle, Password: newPassword})
			return err
		},
		func() error { _, err := s.logIn(u.Email, newPassword); return err },
	)
}

func (s *soak) protect() (int, error) {
	u, err := s.stand.account()
	if err != nil {
		return 0, err
	}
	var token *authv1.Token
	var e *authv1.EnableTwoFactorResponse
	var recovery []string
	var handle string
	return steps(
		func() error { r, err := s.logIn(u.Email, ashaPassword); token = r.GetToken(); return err },
		func() (err error) {
			e, err = s.house.account.EnableTwoFactor(s.as(token), &authv1.EnableTwoFactorRequest{})
			return err
		},
		func() error {
			code, err := totp.GenerateCode(e.GetSecret(), s.now())
			if err != nil {
				return err
			}
			r, err := s.house.account.ConfirmTwoFactor(s.as(token), &authv1.ConfirmTwoFactorRequest{Handle: e.GetHandle(), Code: code})
			recovery = r.GetRecoveryCodes()
			return err
		},
		func() error {
			r, err := s.logIn(u.Email, ashaPassword)
			handle = r.GetTotp().GetHandle()
			return err
		},
		func() error {
			if len(recovery) == 0 {
				return errors.New("no recovery codes")
			}
			r, err := s.LoginTwoFactor(s.ctx(), &authv1.LoginTwoFactorRequest{
				Handle: handle, Code: &authv1.LoginTwoFactorRequest_Recovery{Recovery: recovery[0]},
			})
			token = r.GetToken()
			return err
		},
		func() error {
			_, err := s.house.account.DeleteAccount(s.as(token), &authv1.DeleteAccountRequest{})
			return err
		},
	)
}

func (s *soak) rubbish() (int, error) {
	long := string(make([]byte, 100<<10))
	return steps(
		refused(codes.ResourceExhausted, func() error { _, err := s.logIn(long, long); return err }),
		refused(codes.InvalidArgument, func() error { _, err := s.logIn("", ""); return err }),
		refused(codes.Unauthenticated, func() error { _, err := s.logIn(address(), ashaPassword); return err }),
		refused(codes.Unauthenticated, func() error {
			_, err := s.house.account.Profile(bearing("Bearer rubbish"), &authv1.ProfileRequest{})
			return err
		}),
		refused(codes.Canceled, func() error {
			ctx, cancel := context.WithCancel(s.ctx())
			cancel()
			_, err := s.Login(ctx, &authv1.LoginRequest{Email: address(), Password: ashaPassword})
			return err
		}),
		refused(codes.DeadlineExceeded, func() error {
			ctx, cancel := context.WithTimeout(s.ctx(), 200*time.Microsecond)
			defer cancel()
			_, err := s.Login(ctx, &authv1.LoginRequest{Email: address(), Password: ashaPassword})
			if status.Code(err) == codes.Unauthenticated {
				return status.FromContextError(context.DeadlineExceeded).Err() // it was quick
			}
			return err
		}),
	)
}

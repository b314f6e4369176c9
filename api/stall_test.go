package api_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-id/gatehouse/api"
	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
)

// arrivals tells of every call when its headers have come, with its deadline.
type arrivals chan time.Time

func (a arrivals) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	end, _ := ctx.Deadline()
	a <- end
	return ctx
}
func (arrivals) HandleRPC(context.Context, stats.RPCStats)                         {}
func (arrivals) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (arrivals) HandleConn(context.Context, stats.ConnStats)                       {}

// stalled begins a call whose request never comes, and returns when it has begun
// there, with its deadline there.
func (h *house) stalled(ctx context.Context, seen arrivals, method string) (grpc.ClientStream, time.Time) {
	h.t.Helper()
	s, err := h.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	must(h.t, err)
	return s, <-seen
}

func seeing(seen arrivals) change {
	return change{api: func(c *api.Config) {
		c.Reflection = true
		c.Options = append(c.Options, grpc.StatsHandler(seen))
	}}
}

// TestStalled: whoever begins a call and never sends its request has no longer
// than others.
func TestStalled(t *testing.T) {
	seen := make(arrivals, 1)
	h := newHouse(t, embedded, seeing(seen))
	for _, method := range []string{
		authv1.AuthenticationService_Login_FullMethodName, authv1.AccountService_Profile_FullMethodName, "/grpc.health.v1.Health/Check",
	} {
		ctx, cancel := context.WithCancel(h.ctx())
		before := time.Now()
		s, end := h.stalled(ctx, seen, method)
		if end.After(time.Now().Add(30*time.Second)) || end.Before(before.Add(30*time.Second)) {
			t.Errorf("a stalled call of %s ends at %v, and began after %v", method, end, before)
		}
		if os.Getenv("GATEHOUSE_TEST_SLOW") != "" {
			var answer []byte
			if err := s.RecvMsg(&answer); status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("a stalled call of %s says %v", method, err)
			}
		}
		cancel()
	}
}

// TestStopEndsStalled: streams that nothing would end end with the server, also
// when their request never came.
func TestStopEndsStalled(t *testing.T) {
	for _, method := range []string{"/grpc.health.v1.Health/Watch", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"} {
		t.Run(method, func(t *testing.T) {
			seen := make(arrivals, 1)
			h := newHouse(t, embedded, seeing(seen))
			s, end := h.stalled(h.ctx(), seen, method)
			if !end.IsZero() {
				t.Errorf("it ends by itself at %v", end)
			}
			ctx, cancel := context.WithTimeout(h.ctx(), time.Minute)
			defer cancel()
			if err := h.server.Stop(ctx); err != nil {
				t.Errorf("stopping says %v", err)
			}
			var answer []byte
			if err := s.RecvMsg(&answer); status.Code(err) != codes.Canceled {
				t.Errorf("the stream says %v", err)
			}
		})
	}
}

// TestHungUp: who hangs up keeps nothing out of the record or the log.
func TestHungUp(t *testing.T) {
	for _, k := range []kind{servers, embedded} {
		t.Run(string(k), func(t *testing.T) {
			h := newHouse(t, k)
			p := h.put(active)
			hungUp := func(password string, then func()) {
				t.Helper()
				ctx, hangUp := context.WithCancel(h.ctx())
				done := make(chan struct{})
				var once atomic.Bool
				wait := func() {
					if once.Swap(true) {
						return
					}
					hangUp()
					<-done
					then()
				}
				h.hashing.Store(&wait)
				defer h.hashing.Store(nil)
				_, err := h.Login(ctx, &authv1.LoginRequest{Email: p.email, Password: password})
				want(t, err, "CANCELED")
				// The server has seen it when another call of the connection is answered.
				_, _ = h.Logout(h.ctx(), &authv1.LogoutRequest{RefreshToken: "x"})
				close(done)
			}
			hungUp("another password", func() {})
			eventually(t, "the wrong password is kept", func() bool {
				events, err := h.db.ListEventsOf(h.ctx(), p.ID, "", 10)
				must(t, err)
				return len(events) == 1 && events[0].Kind == "user.sign_in" && events[0].Outcome == "bad_credentials"
			})
			hungUp(ashaPassword, func() { panic("boom") })
			eventually(t, "the panic is logged", func() bool { return strings.Contains(h.logged(), "boom") })
			if log := h.logged(); strings.Contains(log, "not kept") {
				t.Errorf("the log says\n%s", log)
			}
		})
	}
}

// eventually waits for what happens by itself.
func eventually(t *testing.T, sentence string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("it never happens that %s", sentence)
			return
		}
	}
}

// TestTokenEnds: an access token is said to end when it does.
func TestTokenEnds(t *testing.T) {
	h := newHouse(t, embedded)
	now := h.now()
	h.skip(now.Truncate(time.Second).Add(1900 * time.Millisecond).Sub(now)) // claims have whole seconds
	token := h.signIn(h.put(active).email)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token.GetAccessToken(), ".")[1])
	must(t, err)
	var claims struct {
		Exp int64 `json:"exp"`
	}
	must(t, json.Unmarshal(payload, &claims))
	if got := token.GetExpiresAt().AsTime(); !got.Equal(time.Unix(claims.Exp, 0)) {
		t.Errorf("the token ends at %v, and is said to at %v", time.Unix(claims.Exp, 0).UTC(), got)
	}
}

// TestDemoted: a client that is no longer the operator's own opens no account,
// whatever it was when the server began.
func TestDemoted(t *testing.T) {
	for _, firstParty := range []bool{true, false} {
		h := newHouse(t, embedded)
		c, err := h.db.Client(h.ctx(), appID)
		must(t, err)
		c.FirstParty = firstParty
		must(t, h.db.UpdateClient(h.ctx(), c))
		now := h.now().Unix()
		payload, err := json.Marshal(map[string]any{
			"iss": "https://id.example", "aud": "https://id.example", "sub": h.put(active).ID, "client_id": appID,
			"iat": now, "exp": now + 900, "auth_time": now, "jti": "grant.1.x",
		})
		must(t, err)
		token, err := h.keeper.Sign("ES256", "at+jwt", payload)
		must(t, err)
		_, err = h.account.Profile(bearing("Bearer "+token), &authv1.ProfileRequest{})
		if firstParty {
			want(t, err, "ok")
		} else {
			want(t, err, "INTERNAL INTERNAL")
		}
	}
}

// TestLimitsTellNothing: in whatever order a stranger registers an address, asks for
// a reset, asks for codes again and tries some, no limit tells whether it has an
// account.
func TestLimitsTellNothing(t *testing.T) {
	h := newHouse(t, embedded)
	for _, steps := range []string{
		"register resend resend resend later forgot resend resend resend",
		"forgot resend resend resend later register resend resend resend",
		"forgot guess guess guess minute register minute forgot guess guess guess",
		"register guess guess guess minute forgot minute register guess guess guess",
	} {
		t.Run(steps, func(t *testing.T) {
			said := map[string]string{}
			for _, state := range states {
				said[state] = h.limits(h.put(state), steps)
			}
			if !strings.Contains(said[active], "RATE_LIMITED") {
				t.Errorf("no limit was met: %s", said[active])
			}
			for _, state := range states {
				if said[state] != said[active] {
					t.Errorf("%s: %s\n%s: %s", active, said[active], state, said[state])
				}
			}
		})
	}
}

// limits is what a stranger reads who takes the steps with somebody's address.
func (h *house) limits(p *subject, steps string) string {
	h.skip(time.Hour)
	var said []string
	var handle string
	guess := func() error { return nil }
	for _, step := range strings.Fields(steps) {
		var err error
		switch step {
		case "register":
			var r *authv1.RegisterResponse
			r, err = h.Register(h.ctx(), &authv1.RegisterRequest{Email: p.email, Password: newPassword, Name: "Eve"})
			handle, guess = r.GetVerification().GetHandle(), func() error {
				_, err := h.AccountVerification(h.ctx(), &authv1.AccountVerificationRequest{Handle: handle, Code: other(h.mailed(p))})
				return err
			}
		case "forgot":
			var r *authv1.ForgotPasswordResponse
			r, err = h.ForgotPassword(h.ctx(), &authv1.ForgotPasswordRequest{Email: p.email})
			handle, guess = r.GetVerification().GetHandle(), func() error {
				_, err := h.Verification(h.ctx(), &authv1.VerificationRequest{Handle: handle, Code: other(h.mailed(p))})
				return err
			}
		case "resend":
			h.skip(time.Minute)
			var r *authv1.ResendAccountVerificationResponse
			r, err = h.ResendAccountVerification(h.ctx(), &authv1.ResendAccountVerificationRequest{Handle: handle})
			handle = r.GetVerification().GetHandle()
		case "guess":
			err = guess()
		case "minute":
			h.skip(time.Minute)
		case "later": // a quarter of an hour after the first letter
			h.skip(12 * time.Minute)
		}
		said = append(said, verdict(h.t, err))
	}
	return strings.Join(said, ", ")
}

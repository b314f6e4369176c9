package api_test

import (
	"strings"
	"sync"
	"testing"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
)

const crowd = 64

// together calls do so many times at once and returns what each said.
func together(do func() string) map[string]int {
	var (
		start sync.WaitGroup
		done  sync.WaitGroup
		mu    sync.Mutex
	)
	said := map[string]int{}
	start.Add(1)
	for range crowd {
		done.Go(func() {
			start.Wait()
			v := do()
			mu.Lock()
			said[v]++
			mu.Unlock()
		})
	}
	start.Done()
	done.Wait()
	return said
}

// TestOneWinner: of 64 right answers at once to one challenge, one goes on.
func TestOneWinner(t *testing.T) {
	for _, k := range []kind{servers, embedded} {
		t.Run(string(k), func(t *testing.T) {
			h := newHouse(t, k)
			for _, c := range []struct {
				method string
				begin  func() (answer func() error)
			}{
				{"sec-B1 AccountVerification", func() func() error {
					p := h.put(pending)
					in, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: p.email, Password: ashaPassword})
					must(t, err)
					code := h.mailed(p)
					return func() error {
						_, err := h.AccountVerification(h.ctx(), &authv1.AccountVerificationRequest{Handle: in.GetVerification().GetHandle(), Code: code})
						return err
					}
				}},
				{"sec-B1 Verification", func() func() error {
					p := h.put(active)
					f, err := h.ForgotPassword(h.ctx(), &authv1.ForgotPasswordRequest{Email: p.email})
					must(t, err)
					code := h.mailed(p)
					return func() error {
						_, err := h.Verification(h.ctx(), &authv1.VerificationRequest{Handle: f.GetVerification().GetHandle(), Code: code})
						return err
					}
				}},
				{"sec-B1 ResetPassword", func() func() error {
					p := h.put(active)
					f, err := h.ForgotPassword(h.ctx(), &authv1.ForgotPasswordRequest{Email: p.email})
					must(t, err)
					v, err := h.Verification(h.ctx(), &authv1.VerificationRequest{Handle: f.GetVerification().GetHandle(), Code: h.mailed(p)})
					must(t, err)
					return func() error {
						_, err := h.ResetPassword(h.ctx(), &authv1.ResetPasswordRequest{Handle: v.GetReset_().GetHandle(), Password: newPassword})
						return err
					}
				}},
				{"sec-B2 LoginTwoFactor by the app", func() func() error {
					p := h.put(twoStep)
					in, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: p.email, Password: ashaPassword})
					must(t, err)
					code := h.totp(p.secret)
					return func() error {
						_, err := h.LoginTwoFactor(h.ctx(), &authv1.LoginTwoFactorRequest{Handle: in.GetTotp().GetHandle(), Code: &authv1.LoginTwoFactorRequest_Totp{Totp: code}})
						return err
					}
				}},
				{"sec-B2 LoginTwoFactor by a recovery code", func() func() error {
					p := h.put(twoStep)
					in, err := h.Login(h.ctx(), &authv1.LoginRequest{Email: p.email, Password: ashaPassword})
					must(t, err)
					return func() error {
						_, err := h.LoginTwoFactor(h.ctx(), &authv1.LoginTwoFactorRequest{Handle: in.GetTotp().GetHandle(), Code: &authv1.LoginTwoFactorRequest_Recovery{Recovery: p.recovery[0]}})
						return err
					}
				}},
			} {
				t.Run(c.method, func(t *testing.T) {
					answer := c.begin()
					said := together(func() string { return verdict(t, answer()) })
					if said["ok"] != 1 {
						t.Errorf("%d went on: %v", said["ok"], said)
					}
					for v := range said {
						if strings.HasPrefix(v, "INTERNAL") || strings.HasPrefix(v, "UNAVAILABLE") {
							t.Errorf("some met a fault: %v\n%s", said, h.logged())
						}
					}
				})
			}
		})
	}
}

// TestOneSuccessor: of 64 refreshes with one token at once, all that succeed get
// the same successor, and it works.
func TestOneSuccessor(t *testing.T) {
	for _, k := range []kind{servers, embedded} {
		t.Run("sec-A4 "+string(k), func(t *testing.T) {
			h := newHouse(t, k)
			token := h.signIn(h.put(active).email)
			var mu sync.Mutex
			next := map[string]int{}
			said := together(func() string {
				r, err := h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: token.GetRefreshToken()})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					next[r.GetToken().GetRefreshToken()]++
				}
				return verdict(t, err)
			})
			if len(next) != 1 || said["ok"] != crowd {
				t.Fatalf("there are %d successors: %v", len(next), said)
			}
			for token := range next {
				_, err := h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: token})
				must(t, err)
			}
		})
		t.Run("sec-A5 "+string(k)+", a token of before ends the family", func(t *testing.T) {
			h := newHouse(t, k)
			first := h.signIn(h.put(active).email)
			second, err := h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: first.GetRefreshToken()})
			must(t, err)
			third, err := h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: second.GetToken().GetRefreshToken()})
			must(t, err)
			_, err = h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: first.GetRefreshToken()})
			want(t, err, invalidToken)
			_, err = h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: third.GetToken().GetRefreshToken()})
			want(t, err, invalidToken)
			_, err = h.account.Profile(h.as(third.GetToken()), &authv1.ProfileRequest{})
			want(t, err, invalidToken)
		})
	}
}

// TestChangeAgainstRefresh: however a change of password and refreshes of another
// grant meet, no token of that grant outlives the change.
func TestChangeAgainstRefresh(t *testing.T) {
	for _, k := range []kind{servers, embedded} {
		t.Run("sec-A2 "+string(k), func(t *testing.T) {
			h := newHouse(t, k)
			for range 5 {
				p := h.put(active)
				kept, thief := h.signIn(p.email), h.signIn(p.email)
				stolen := make(chan *authv1.Token, 1)
				begun := make(chan struct{})
				go func() { // who refreshes for as long as it works
					once := sync.OnceFunc(func() { close(begun) })
					token := thief
					for {
						r, err := h.Refresh(h.ctx(), &authv1.RefreshRequest{RefreshToken: token.GetRefreshToken()})
						once()
						if err != nil {
							stolen <- token
							return
						}
						token = r.GetToken()
					}
				}()
				<-begun
				must(t, accountCalls["ChangePassword"].do(h.as(kept), h))
				last := <-stolen
				_, err := h.account.Profile(h.as(last), &authv1.ProfileRequest{})
				want(t, err, invalidToken)
				_, err = h.account.Profile(h.as(kept), &authv1.ProfileRequest{})
				want(t, err, "ok")
			}
		})
	}
}

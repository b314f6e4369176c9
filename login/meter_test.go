package login

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/meter/metertest"
	"github.com/gatehouse-id/gatehouse/storage"
)

// TestMeters does what people do, one thing after another, and looks at
// everything that was counted meanwhile.
func TestMeters(t *testing.T) {
	ctx := t.Context()
	m := metertest.New(t)
	h := newHouse(t, func(c *Config) { c.Meter = m.Meter })
	var c Challenge
	var who Acting
	var secret string
	for _, tt := range []struct {
		sentence string
		do       func()
		want     []string
	}{
		{"somebody registers", func() { c = h.must(h.Register(ctx, here, asha)) }, []string{
			"gatehouse.login.steps{outcome=ok,step=register} 1", "gatehouse.password.hash.wait 1",
		}},
		{"enters a wrong code, and the right one", func() {
			h.refused(BadCode)(h.VerifyEmail(ctx, here, c.Handle, "00000000"))
			a := h.in(h.VerifyEmail(ctx, here, c.Handle, h.lastLetter().Code))
			who = Acting{UserID: a.UserID, AuthTime: a.At, From: here}
		}, []string{
			"gatehouse.login.steps{outcome=bad_code,step=verify_email} 1", "gatehouse.login.steps{outcome=ok,step=verify_email} 1",
			"gatehouse.login.completions{purpose=register} 1",
		}},
		{"signs in with a wrong password, and with the right one", func() {
			h.refused(BadCredentials)(h.Login(ctx, here, ashaEmail, evePassword))
			h.in(h.Login(ctx, here, ashaEmail, ashaPassword))
		}, []string{
			"gatehouse.login.steps{outcome=bad_credentials,step=login} 1", "gatehouse.login.steps{outcome=ok,step=login} 1",
			"gatehouse.login.completions{purpose=sign_in} 1", "gatehouse.password.hash.wait 2",
		}},
		{"turns two-step sign-in on", func() { secret, _ = h.protect(who) }, []string{
			"gatehouse.login.steps{outcome=ok,step=enroll_second_factor} 1", "gatehouse.login.steps{outcome=ok,step=confirm_second_factor} 1",
		}},
		{"and signs in with it: one sign-in in two steps", func() {
			c = h.must(h.Login(ctx, here, ashaEmail, ashaPassword))
			h.in(h.SecondFactor(ctx, here, c.Handle, h.code(secret, 0)))
		}, []string{
			"gatehouse.login.steps{outcome=ok,step=login} 1", "gatehouse.login.steps{outcome=ok,step=second_factor} 1",
			"gatehouse.login.completions{purpose=sign_in} 1", "gatehouse.password.hash.wait 1",
		}},
		{"forgets the password", func() {
			h.skip(time.Minute)
			c = h.must(h.Forgot(ctx, here, ashaEmail))
			c = h.must(h.ConfirmReset(ctx, here, c.Handle, h.lastLetter().Code))
			if o, err := h.NewPassword(ctx, here, c.Handle, evePassword); err != nil || o != (PasswordReset{}) {
				t.Errorf("%v, %v", o, err)
			}
		}, []string{
			"gatehouse.login.steps{outcome=ok,step=forgot} 1", "gatehouse.login.steps{outcome=ok,step=confirm_reset} 1",
			"gatehouse.login.steps{outcome=ok,step=new_password} 1", "gatehouse.login.completions{purpose=reset} 1",
			"gatehouse.password.hash.wait 2", // one for the passwords before, one for the new one
		}},
		{"asks for too many letters", func() {
			h.refused(RateLimited)(h.Forgot(ctx, here, ashaEmail))
		}, []string{
			"gatehouse.login.steps{outcome=rate_limited,step=forgot} 1", "gatehouse.login.limit.refusals{layer=minute,verb=mail} 1",
		}},
		{"somebody guesses passwords, of nobody's", func() {
			for range 5 {
				h.refused(BadCredentials)(h.Login(ctx, here, binaEmail, evePassword))
			}
			h.refused(RateLimited)(h.Login(ctx, here, binaEmail, evePassword))
		}, []string{
			"gatehouse.login.steps{outcome=bad_credentials,step=login} 5", "gatehouse.login.steps{outcome=rate_limited,step=login} 1",
			"gatehouse.login.limit.refusals{layer=email,verb=login} 1", "gatehouse.password.hash.wait 5",
		}},
		{"changes something of the account", func() {
			who.AuthTime = h.now().Add(-time.Hour)
			h.refusal(h.DeleteAccount(ctx, who), Reauthenticate)
			_, err := h.SignOutEverywhere(ctx, who)
			if err != nil {
				t.Error(err)
			}
		}, []string{
			"gatehouse.login.steps{outcome=reauthenticate,step=delete_account} 1", "gatehouse.login.steps{outcome=ok,step=sign_out_everywhere} 1",
		}},
		{"a person who closes the page", func() {
			gone, leave := context.WithCancel(ctx)
			leave()
			if _, err := h.Login(gone, here, ashaEmail, evePassword); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		}, []string{"gatehouse.login.steps{outcome=canceled,step=login} 1"}},
		{"a memory that is away", func() {
			h.valkey.Close()
			if _, err := h.Login(ctx, here, ashaEmail, evePassword); err == nil {
				t.Error("signed in without a memory")
			}
		}, []string{"gatehouse.login.steps{outcome=fault,step=login} 1"}},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			tt.do()
			m.Expect(t, "gatehouse.", tt.want...)
		})
	}
}

// TestEveryVerbIsCounted calls every verb, with nothing that makes sense, and
// looks for its count.
func TestEveryVerbIsCounted(t *testing.T) {
	m := metertest.New(t)
	h := newHouse(t, func(c *Config) { c.Meter = m.Meter })
	quiet := []string{"Profile", "Fresh", "Sessions", "Apps", "Enrollment", "RegistrationOpen", "Domains"} // they read
	engine := reflect.ValueOf(h.Engine)
	for i := range engine.NumMethod() {
		name := engine.Type().Method(i).Name
		arguments := []reflect.Value{reflect.ValueOf(t.Context())}
		method := engine.Method(i)
		for n := 1; n < method.Type().NumIn(); n++ {
			arguments = append(arguments, reflect.Zero(method.Type().In(n)))
		}
		if slices.Contains(quiet, name) {
			continue
		}
		method.Call(arguments)
		if got := m.Counted(t); len(got) != 1 || !strings.HasPrefix(got[0], "gatehouse.login.steps{") {
			t.Errorf("%s: counted %q", name, got)
		}
	}
}

// TestMetersOfTheQueue looks at the queue of passwords while it is full.
func TestMetersOfTheQueue(t *testing.T) {
	m := metertest.New(t)
	h := newHouse(t, func(c *Config) { c.Meter = m.Meter })
	gauge := func(name string) float64 {
		v, ok := m.Gauge(t, "gatehouse.password.hash."+name)
		if !ok {
			t.Errorf("there is no %s", name)
		}
		return v
	}
	if gauge("running") != 0 || gauge("queue.length") != 0 {
		t.Error("an empty queue has somebody in it")
	}
	places, queue := cap(h.passwords.running), cap(h.passwords.queued)
	if int(gauge("queue.limit")) != queue-places {
		t.Errorf("the queue has room for %v, not %d", gauge("queue.limit"), queue-places)
	}
	for range places {
		h.passwords.running <- struct{}{}
	}
	for range queue {
		h.passwords.queued <- struct{}{}
	}
	if int(gauge("running")) != places || int(gauge("queue.length")) != queue-places {
		t.Errorf("%v run and %v wait", gauge("running"), gauge("queue.length"))
	}
	h.member(asha, storage.UserActive)
	h.refused(Busy)(h.Login(t.Context(), here, ashaEmail, ashaPassword))
	m.Expect(t, "gatehouse.", "gatehouse.login.steps{outcome=busy,step=login} 1")
}

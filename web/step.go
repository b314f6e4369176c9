package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
)

// stepPages are the pages of the login engine's steps.
var stepPages = map[login.Step]string{
	login.VerifyEmail:  "verify",
	login.SecondFactor: "code",
	login.ConfirmReset: "reset-verify",
	login.NewPassword:  "reset-password",
}

// addresses are the paths of pages that are not called after their path.
var addresses = map[string]string{
	"code":           "/login/code",
	"recovery":       "/login/recovery",
	"recovery-low":   "/login/recovery/low",
	"login-select":   "/login/select",
	"protect":        "/register/protect",
	"reset-verify":   "/reset/verify",
	"reset-password": "/reset/password",

	"two-step":           "/account/two-step",
	"two-step-app":       "/account/two-step/app",
	"two-step-off":       "/account/two-step/off",
	"recovery-codes":     "/account/two-step/recovery",
	"recovery-codes-new": "/account/two-step/recovery/new",

	"account-password":       "/account/password",
	"account-devices":        "/account/devices",
	"account-devices-others": "/account/devices/others",
	"account-apps":           "/account/apps",
	"account-confirm":        "/account/confirm",
}

// address is the path of a page.
func address(page string) string {
	if path, ok := addresses[page]; ok {
		return path
	}
	return "/" + page
}

// stepCookie holds the step of the login engine that a flow is at, and its
// handle. The handle is what opens the step; the flow's id, which stands in
// addresses, does not. The engine looks at the handle alone: the step is there
// to find the page.
func stepCookie(flow string) string { return "gatehouse_step_" + flow }

// step returns the step that the flow is at.
func (s *Web) step(v *visit) (step login.Step, handle string, ok bool) {
	c, err := v.r.Cookie(s.provider.CookieName(stepCookie(v.flow.ID)))
	if err != nil || len(c.Value) > 64 {
		return "", "", false
	}
	name, handle, ok := strings.Cut(c.Value, ".")
	if _, known := stepPages[login.Step(name)]; !known || !ok || handle == "" {
		return "", "", false
	}
	return login.Step(name), handle, true
}

// setStep keeps the step while the flow lives; the engine ends it earlier, and
// says so better than a lost cookie can.
func (s *Web) setStep(v *visit, step login.Step, handle string) {
	life := v.flow.ExpiresAt.Sub(s.now()).Truncate(time.Second)
	if life <= 0 {
		life = -1
	}
	s.provider.SetCookie(v.w, stepCookie(v.flow.ID), string(step)+"."+handle, life)
}

// endStep forgets the step.
func (s *Web) endStep(v *visit) { s.provider.SetCookie(v.w, stepCookie(v.flow.ID), "", -1) }

// reach reads the flow of a GET of a step's page. Who is not at that step is
// sent where they belong; then reached is false and the answer is written.
func (s *Web) reach(v *visit, page string, want login.Step) (reached bool, err error) {
	if v.query.Get("flow") == "" {
		s.redirect(v, "/login")
		return false, nil
	}
	err = s.resume(v, v.query.Get("flow"))
	if e, ok := errors.AsType[*stop](err); ok && e.page == "expired" && page == "verify" {
		e.lede = "error.verify_elsewhere"
	}
	if err != nil {
		return false, err
	}
	step, _, ok := s.step(v)
	switch {
	case ok && step == want:
		return true, nil
	case ok: // back to what is done, or ahead of it
		s.redirect(v, at(address(stepPages[step]), v.flow.ID))
	case v.flow.Page == page: // it was here and has ended
		return false, &stop{status: http.StatusOK, page: "expired", flow: v.flow}
	default:
		s.redirect(v, s.resumeAt(v.flow))
	}
	return false, nil
}

// prove answers the POST of a step's page: the field is what verb wants to see.
// The button "Send a new code" of the pages that have it posts there, too.
func (s *Web) prove(v *visit, page string, want login.Step, field string,
	verb func(context.Context, login.From, string, string) (login.Outcome, error),
) error {
	step, handle, ok := s.step(v)
	if !ok || step != want {
		s.redirect(v, at(address(page), v.flow.ID)) // which knows where the person belongs
		return nil
	}
	if v.form.Get("action") == "resend" {
		return s.resend(v, page, handle)
	}
	o, err := verb(v.r.Context(), s.from(v.r), handle, v.form.Get(field))
	if err != nil {
		return s.refused(v, page, err)
	}
	return s.advance(v, o)
}

// resend mails another code.
func (s *Web) resend(v *visit, page, handle string) error {
	o, err := s.login.Resend(v.r.Context(), s.from(v.r), handle)
	if e, ok := errors.AsType[*login.Error](err); ok && e.Reason == login.RateLimited {
		return s.enoughMail(v, page, e)
	}
	if err != nil {
		return s.refused(v, page, err)
	}
	if c, ok := o.(login.Challenge); ok {
		s.setStep(v, c.Step, c.Handle)
	}
	return s.move(v, page, "resent")
}

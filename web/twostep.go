package web

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

// enrolCookie holds the handle of the authenticator app that waits for its
// first code. A browser has one, whatever its tabs: a person who scanned the QR
// code in one may go on in another.
const enrolCookie = "gatehouse_enrol"

// twoStepPage is the data of the page.
type twoStepPage struct {
	// On says that two-step sign-in is on, and the rest is of it.
	On bool
	// AddedOn is the day, and UsedOn is empty when the app has signed nobody in.
	AddedOn, UsedOn string
	// Left is how many recovery codes are left.
	Left int
	// Few says that this is so few that the person should know.
	Few bool
}

func (s *Web) showTwoStep(v *visit, _ login.Acting) error {
	if id := v.query.Get("flow"); id != "" { // it may have news
		if err := s.resumeOwn(v, id); err != nil {
			return err
		}
	}
	var data twoStepPage
	app, err := s.store.TOTP(v.r.Context(), v.user.ID)
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return err
	default:
		left, err := s.store.RecoveryCodesLeft(v.r.Context(), v.user.ID)
		if err != nil {
			return err
		}
		data = twoStepPage{On: true, AddedOn: s.day(app.CreatedAt).Text, Left: left, Few: left <= fewCodes}
		if !app.LastUsedAt.IsZero() {
			data.UsedOn = s.day(app.LastUsedAt).Text
		}
	}
	return s.show(v, Page{Name: "two-step", Data: data})
}

// enrolPage is the data of the page that sets an authenticator app up.
type enrolPage struct {
	Email string
	// Secret is in groups of four letters.
	Secret string
	// URI opens an app on this device.
	URI string
	// Back is where somebody goes who leaves it.
	Back string
	// QR is the path of the picture that says the same.
	QR string
}

// enrolment returns the authenticator app that waits in this browser for its
// first code, or reports that none does.
func (s *Web) enrolment(v *visit, who login.Acting) (login.Enrollment, bool, error) {
	handle, ok := s.enrolHandle(v)
	if !ok {
		return login.Enrollment{}, false, nil
	}
	e, err := s.login.Enrollment(v.r.Context(), who, handle)
	if r, ok := errors.AsType[*login.Error](err); ok && r.Reason == login.Expired { // or somebody else's
		return login.Enrollment{}, false, nil
	}
	return e, err == nil, err
}

func (s *Web) enrolHandle(v *visit) (handle string, ok bool) {
	c, err := v.r.Cookie(s.provider.CookieName(enrolCookie))
	if err != nil || c.Value == "" || len(c.Value) > 64 {
		return "", false
	}
	return c.Value, true
}

// showEnrol shows the secret that waits. Who has none gets one, which changes
// nothing yet.
func (s *Web) showEnrol(v *visit, who login.Acting) error {
	if ok, err := s.confirmed(v, who); err != nil || !ok {
		return err
	}
	if v.user.SecondFactor {
		s.redirect(v, address("two-step"))
		return nil
	}
	if ok, err := s.beginOwn(v); err != nil || !ok {
		return err
	}
	e, waits, err := s.enrolment(v, who)
	if err == nil && !waits {
		if e, err = s.login.EnrollSecondFactor(v.r.Context(), who); err == nil {
			s.provider.SetCookie(v.w, enrolCookie, e.Handle, e.ExpiresAt.Sub(s.now()).Truncate(time.Second))
		}
	}
	if err != nil {
		return s.refused(v, "two-step", err)
	}
	back := address("two-step")
	if id := v.flow.Typed[afterwards]; id != "" {
		back = at(address("protect"), id)
	}
	s.setCodesKey(v, s.codesKey(v))
	return s.show(v, Page{Name: "two-step-app", Wide: true, Data: enrolPage{
		Email: v.user.Email, Secret: fours(e.Secret), URI: e.URI, QR: "/account/two-step/qr.svg", Back: back,
	}})
}

// fours is a secret as people copy it by hand.
func fours(secret string) string {
	var groups []string
	for group := range slices.Chunk([]byte(secret), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, " ")
}

// showQR is the picture of the secret that waits. For everybody but its person
// there is none.
func (s *Web) showQR(v *visit) error {
	none := &stop{status: http.StatusNotFound, page: "not_found"}
	if v.session == nil {
		return none
	}
	e, waits, err := s.enrolment(v, s.acting(v))
	if _, refused := errors.AsType[*login.Error](err); refused || err == nil && !waits {
		return none
	}
	if err != nil {
		return err
	}
	picture, err := qrCode(e.URI)
	if err != nil {
		return err
	}
	h := v.w.Header()
	s.frame.headers(h, "")
	h.Set("Content-Type", "image/svg+xml")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if v.r.Method != http.MethodHead {
		_, _ = v.w.Write(picture) // the reader has gone: nobody to tell
	}
	return nil
}

func (s *Web) postEnrol(v *visit, who login.Acting) error {
	if n := digits(v.form.Get("code")); n > 0 && n != totpDigits {
		return s.retry(v, "two-step-app", storage.Problem{Field: "code", Message: "totp_length"})
	}
	handle, _ := s.enrolHandle(v)
	codes, _, err := s.login.ConfirmSecondFactor(v.r.Context(), who, handle, v.form.Get("code"))
	if r, ok := errors.AsType[*login.Error](err); ok && r.Reason == login.Expired {
		return s.move(v, "two-step-app", "enrol_expired")
	}
	if err != nil {
		return s.refusedCodes(v, "two-step-app", err)
	}
	s.provider.SetCookie(v.w, enrolCookie, "", -1)
	return s.keepCodes(v, codes, true)
}

func (s *Web) showTwoStepOff(v *visit, who login.Acting) error {
	if ok, err := s.confirmed(v, who); err != nil || !ok {
		return err
	}
	if !v.user.SecondFactor {
		s.redirect(v, address("two-step"))
		return nil
	}
	if ok, err := s.beginOwn(v); err != nil || !ok {
		return err
	}
	return s.show(v, Page{Name: "two-step-off"})
}

func (s *Web) postTwoStepOff(v *visit, who login.Acting) error {
	if _, err := s.login.DisableSecondFactor(v.r.Context(), who, v.form.Get("code")); err != nil {
		return s.refused(v, "two-step-off", err)
	}
	return s.move(v, "two-step", "two_step_off")
}

package web

import (
	"strconv"
	"unicode"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

// fewCodes is how many recovery codes left are few enough to say so.
const fewCodes = 3

// codePage is the data of the page.
type codePage struct{ Email string }

func (s *Web) showCode(v *visit) error {
	if ok, err := s.reach(v, "code", login.SecondFactor); err != nil || !ok {
		return err
	}
	return s.show(v, Page{Name: "code", Data: codePage{v.flow.Email}})
}

// totpDigits is how long a code of an authenticator app is.
const totpDigits = 6

func (s *Web) postCode(v *visit) error {
	// A slip of the finger is no try: what is too short cannot be right.
	if n := digits(v.form.Get("code")); n > 0 && n != totpDigits {
		return s.retry(v, "code", storage.Problem{Field: "code", Message: "totp_length"})
	}
	return s.prove(v, "code", login.SecondFactor, "code", s.login.SecondFactor)
}

// digits counts those of any script.
func digits(s string) int {
	n := 0
	for _, c := range s {
		if unicode.Is(unicode.Nd, c) {
			n++
		}
	}
	return n
}

func (s *Web) showRecovery(v *visit) error {
	if ok, err := s.reach(v, "recovery", login.SecondFactor); err != nil || !ok {
		return err
	}
	return s.show(v, Page{Name: "recovery"})
}

func (s *Web) postRecovery(v *visit) error {
	return s.prove(v, "recovery", login.SecondFactor, "recovery_code", s.login.SecondFactor)
}

// lowPage is the data of the page.
type lowPage struct {
	// On is where the person was going.
	On string
}

// showRecoveryLow stands once between a sign-in by one of the last recovery
// codes and what waits behind it.
func (s *Web) showRecoveryLow(v *visit) error {
	if err := s.resume(v, v.query.Get("flow")); err != nil {
		return err
	}
	if v.session == nil || v.flow.Page != "recovery-low" {
		s.redirect(v, s.resumeAt(v.flow))
		return nil
	}
	return s.show(v, s.lowPage(v))
}

// lowPage says how many recovery codes are left.
func (s *Web) lowPage(v *visit) Page {
	p := Page{Name: "recovery-low", Data: lowPage{On: s.onward(v.flow)}}
	left, err := strconv.Atoi(v.flow.Typed["left"])
	if err != nil || left == 0 {
		p.Title = s.frame.text.plain("recovery-low.title_none")
	} else {
		p.Title = s.frame.text.plain("recovery-low.title", "n", left)
	}
	return p
}

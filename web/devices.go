package web

import (
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A deviceRow is a browser that is signed in.
type deviceRow struct {
	// ID is the session's, which opens nothing.
	ID   string
	Name string
	// This says that it is the browser that reads the page.
	This  bool
	Phone bool
	// SignedIn is when the person was last proved there, and Methods how.
	SignedIn moment
	Methods  string
	// Address and UserAgent are what the browser came with.
	Address, UserAgent string
}

// devices are the person's, this one first and then the newest.
func (s *Web) devices(v *visit, who login.Acting) ([]deviceRow, error) {
	sessions, err := s.login.Sessions(v.r.Context(), who)
	if err != nil {
		return nil, err
	}
	var rows []deviceRow
	for _, session := range sessions {
		name := s.deviceName(session.UserAgent)
		row := deviceRow{
			ID: session.ID, Name: name, This: session.ID == v.session.ID,
			Phone:    strings.Contains(name, "Android") || strings.Contains(name, "iPhone") || strings.Contains(name, "iPad"),
			SignedIn: s.recent(session.AuthTime), Methods: s.methods(session.AMR),
			Address: session.Address, UserAgent: session.UserAgent,
		}
		if row.This {
			rows = slices.Insert(rows, 0, row)
		} else {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// deviceName says what a user agent is, in words.
func (s *Web) deviceName(userAgent string) string {
	if name := s.frame.text.Software(login.From{UserAgent: userAgent}.Software()); name != "" {
		return name
	}
	return s.frame.text.plain("account-devices.unknown")
}

// methods says how somebody was proved (RFC 8176 section 2); empty is by
// nothing that has a word.
func (s *Web) methods(amr []string) string {
	key := ""
	switch {
	case !slices.Contains(amr, "pwd"):
		return ""
	case slices.Contains(amr, "otp"):
		key = "app"
	case slices.Contains(amr, "mfa"):
		key = "recovery"
	default:
		key = "password"
	}
	return s.frame.text.plain("common.methods." + key)
}

// devicesPage is the data of the page.
type devicesPage struct {
	Devices []deviceRow
	// Others is how many there are besides this one.
	Others int
}

func (s *Web) showDevices(v *visit, who login.Acting) error {
	if ok, err := s.beginOwn(v); err != nil || !ok {
		return err
	}
	rows, err := s.devices(v, who)
	if err != nil {
		return err
	}
	return s.show(v, Page{Name: "account-devices", Data: devicesPage{rows, others(rows)}})
}

func others(rows []deviceRow) int {
	n := 0
	for _, row := range rows {
		if !row.This {
			n++
		}
	}
	return n
}

// postDevices signs one browser out.
func (s *Web) postDevices(v *visit, who login.Acting) error {
	id := v.form.Get("session")
	if id == v.session.ID {
		if err := s.provider.EndSession(v.w, v.r); err != nil {
			return err
		}
		s.redirect(v, "/signed-out")
		return nil
	}
	sessions, err := s.login.Sessions(v.r.Context(), who)
	if err == nil {
		err = s.login.EndSession(v.r.Context(), who, id)
	}
	if err != nil {
		return s.refused(v, "account-devices", err)
	}
	i := slices.IndexFunc(sessions, func(session storage.Session) bool { return session.ID == id })
	if i < 0 { // it began after the list was read
		return s.move(v, "account-devices", "others_signed_out")
	}
	return s.tell(v, "account-devices", "device_signed_out", s.deviceName(sessions[i].UserAgent))
}

func (s *Web) showOtherDevices(v *visit, who login.Acting) error {
	if ok, err := s.beginOwn(v); err != nil || !ok {
		return err
	}
	rows, err := s.devices(v, who)
	if err != nil {
		return err
	}
	n := others(rows)
	if n == 0 {
		s.redirect(v, "/account/devices")
		return nil
	}
	return s.show(v, s.othersPage(n))
}

// othersPage asks before it signs n other devices out.
func (s *Web) othersPage(n int) Page {
	return Page{Name: "account-devices-others", Title: s.frame.text.plain("account-devices-others.title", "n", n)}
}

func (s *Web) postOtherDevices(v *visit, who login.Acting) error {
	if _, err := s.login.SignOutEverywhere(v.r.Context(), who); err != nil {
		return s.refused(v, "account-devices-others", err)
	}
	return s.tell(v, "account-devices", "others_signed_out", "")
}

package web

import (
	"errors"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	// shortList is how many devices and apps the overview shows, and
	// shortActivity how many events.
	shortList     = 3
	shortActivity = 5
)

// overviewPage is the data of the page.
type overviewPage struct {
	Name, Email string
	// SecondFactor says that two-step sign-in is on, Since when.
	SecondFactor bool
	Since        moment
	// RecoveryLeft is how many recovery codes are left, RecoveryLow that they
	// are few.
	RecoveryLeft int
	RecoveryLow  bool

	Devices      []deviceRow
	DevicesCount int
	Apps         []appRow
	AppsCount    int
	Activity     []eventRow
}

func (s *Web) showAccount(v *visit, who login.Acting) error {
	if ok, err := s.glance(v); err != nil || !ok {
		return err
	}
	ctx := v.r.Context()
	data := overviewPage{Name: v.user.Name, Email: v.user.Email}
	if v.user.SecondFactor {
		t, err := s.store.TOTP(ctx, v.user.ID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) { // turned off since the user was read
			return err
		}
		data.SecondFactor, data.Since = err == nil, s.day(t.CreatedAt)
		if data.RecoveryLeft, err = s.store.RecoveryCodesLeft(ctx, v.user.ID); err != nil {
			return err
		}
		data.RecoveryLow = data.RecoveryLeft <= fewCodes
	}
	devices, err := s.devices(v, who)
	if err != nil {
		return err
	}
	apps, err := s.apps(v, who)
	if err != nil {
		return err
	}
	data.Devices, data.DevicesCount = devices[:min(shortList, len(devices))], len(devices)
	data.Apps, data.AppsCount = apps[:min(shortList, len(apps))], len(apps)
	if data.Activity, _, err = s.activity(v, "", shortActivity); err != nil {
		return err
	}
	return s.show(v, Page{Name: "account", Data: data})
}

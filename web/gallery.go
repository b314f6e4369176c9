//go:build !slim

package web

import (
	"embed"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// galleryPath is where embedded mode shows every page in every state, to whoever
// works on the pages. They are shown as the handlers show them, for a person, an
// app and a flow that do not exist: their forms lead nowhere.
const galleryPath = "/dev/pages"

// A sample is one page in one state.
type sample struct {
	// Page is the page's name, State what is particular; in small letters with
	// dashes, for they stand in the address.
	Page, State string
	show        func(s *Web, v *visit) error
}

// path is the sample's address.
func (p sample) path() string { return galleryPath + "/" + p.Page + "/" + p.State }

// withGallery answers under galleryPath, and leaves the rest of /dev to others.
func (s *Web) withGallery(others http.Handler) http.Handler {
	all := samples()
	mux := http.NewServeMux()
	mux.Handle("/", others)
	mux.HandleFunc("GET "+galleryPath, s.galleryIndex(all))
	mux.HandleFunc("GET "+galleryPath+".json", galleryList(all))
	mux.HandleFunc("GET "+galleryPath+"/qr.svg", s.gallerySVG)
	for _, p := range all {
		mux.HandleFunc("GET "+p.path(), s.get(func(s *Web, v *visit) error {
			return p.show(s.imagine(v), v)
		}))
	}
	return mux
}

// imagine makes up who visits, and what for, and returns a face whose operator
// has every page of their own that there can be.
func (s *Web) imagine(v *visit) *Web {
	furnished, frame := *s, *s.frame
	for _, link := range []*string{&frame.links.Help, &frame.links.Privacy, &frame.links.Terms} {
		if *link == "" {
			*link = "https://meridian.example/"
		}
	}
	if frame.domain == "" {
		frame.domain = "meridian.example"
	}
	furnished.frame = &frame
	now := s.now()
	v.user = storage.User{
		ID: "0198a3c1-5f10-7c4e-9a55-2f3b8f0f1a01", Name: "Asha Gurung", Email: "asha@example.com",
		EmailVerifiedAt: now, CreatedAt: now,
		Profile: storage.Profile{
			PhoneNumber: "+9779812345421", Address: &storage.Address{Locality: "Pokhara", Country: "Nepal"},
		},
	}
	v.session = &storage.Session{ID: "0198a3c1-5f10-7c4e-9a55-2f3b8f0f1a02", UserID: v.user.ID, AuthTime: now}
	v.flow = storage.Interaction{ID: "sample", Email: v.user.Email, Request: url.Values{}}
	v.asked = provider.Asked{
		Client: storage.Client{
			ID: "tidepool", Name: "Tidepool Notes", AuthMethod: storage.AuthSecretBasic,
			RedirectURIs: []string{"https://app.tidepool.example/callback"},
		},
		RedirectURI: "https://app.tidepool.example/callback",
		Scopes:      []string{"openid", "profile", "email", "offline_access"},
		Missing:     []string{"openid", "profile", "email", "offline_access"},
	}
	return &furnished
}

// alone is a visit that no app waits for.
func alone(show func(*Web, *visit) error) func(*Web, *visit) error {
	return func(s *Web, v *visit) error {
		v.asked, v.flow.Request = provider.Asked{}, nil
		return show(s, v)
	}
}

// atHome is a visit to the person's own account.
func atHome(show func(*Web, *visit) error) func(*Web, *visit) error {
	return alone(func(s *Web, v *visit) error {
		v.own = true
		return show(s, v)
	})
}

// sampleApp is the client of the samples with a picture. It is no client's id.
const sampleApp = "sample:kiln"

// sampleLogo is a round kiln with its fire.
const sampleLogo = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="14" fill="#6b4de6"/><path d="M14 50V34a18 18 0 0 1 36 0v16z" fill="#fff"/><path d="M24 50V38a8 8 0 0 1 16 0v12z" fill="#ffb020"/></svg>`

// dressed is the page on the way to an app with a picture, and a colour of its
// own.
func dressed(accent string, show func(*Web, *visit) error) func(*Web, *visit) error {
	return func(s *Web, v *visit) error {
		picture, err := newAsset("image/svg+xml", []byte(sampleLogo))
		if err != nil {
			return err
		}
		s.logos.put(sampleApp, logo{asset: picture, found: true, until: s.now().Add(logoLife)})
		c := &v.asked.Client
		c.ID, c.Name, c.Metadata.Accent = sampleApp, "Kiln Studio", accent
		v.asked.RedirectURI = "https://kiln.example/callback"
		return show(s, v)
	}
}

// told is the page with a message.
func told(page, notice, about string, show func(*Web, *visit) error) func(*Web, *visit) error {
	return func(s *Web, v *visit) error {
		v.flow.Page, v.flow.Notice, v.flow.Typed = page, notice, with(nil, "notice_of", about)
		return show(s, v)
	}
}

// wrong is the page with problems.
func wrong(page string, show func(*Web, *visit) error, problems ...storage.Problem) func(*Web, *visit) error {
	return func(s *Web, v *visit) error {
		v.flow.Page, v.flow.Problems = page, problems
		return show(s, v)
	}
}

// page shows a page that needs nothing but its data.
func page(p Page) func(*Web, *visit) error {
	return func(s *Web, v *visit) error { return s.show(v, p) }
}

// galleryFiles is a page of its own, of nobody else's.
//
//go:embed gallery/dev-pages.html
var galleryFiles embed.FS

// An entry is a sample as the lists have it.
type entry struct {
	Page  string `json:"page"`
	State string `json:"state"`
	Path  string `json:"path"`
}

func (s *Web) galleryIndex(all []sample) http.HandlerFunc {
	type group struct {
		Name    string
		Samples []entry
	}
	var groups []group
	for _, p := range all {
		i := slices.IndexFunc(groups, func(g group) bool { return g.Name == p.Page })
		if i < 0 {
			i, groups = len(groups), append(groups, group{Name: p.Page})
		}
		groups[i].Samples = append(groups[i].Samples, entry{p.Page, p.State, p.path()})
	}
	return s.get(func(_ *Web, v *visit) error {
		pages, err := s.frame.Parse(galleryFiles, "gallery/*.html")
		if err != nil {
			return err
		}
		return s.frame.Write(v.w, v.r, pages["dev-pages"], Page{Name: "dev-pages", Title: "Every page", Wide: true, Data: groups})
	})
}

// galleryList is the index for programs.
func galleryList(all []sample) http.HandlerFunc {
	list := make([]entry, len(all))
	for i, p := range all {
		list[i] = entry{p.Page, p.State, p.path()}
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(list) // the reader has gone: nobody to tell
	}
}

// sampleURI is what the QR code of the samples says.
const sampleURI = "otpauth://totp/Meridian%20ID:asha@example.com?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Meridian%20ID"

func (s *Web) gallerySVG(w http.ResponseWriter, r *http.Request) {
	picture, err := qrCode(sampleURI)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.frame.headers(w.Header(), "")
	w.Header().Set("Content-Type", "image/svg+xml")
	_, _ = w.Write(picture) // the reader has gone: nobody to tell
}

// samples are all pages in all their states.
func samples() []sample {
	var all []sample
	add := func(page, state string, show func(*Web, *visit) error) {
		all = append(all, sample{page, state, show})
	}
	// says adds a state for each message of the page, and refuses one for each
	// problem at the field (empty: of the page as a whole).
	says := func(page, about string, show func(*Web, *visit) error, notices ...string) {
		for _, n := range notices {
			add(page, "told-"+dashes(n), told(page, n, about, show))
		}
	}
	refuses := func(page, field string, show func(*Web, *visit) error, problems ...string) {
		for _, p := range problems {
			add(page, dashes(p), wrong(page, show, storage.Problem{Field: field, Message: p}))
		}
	}

	const theirs = "https://app.tidepool.example/legal"

	// Sign-in.
	signIn := func(set func(*visit)) func(*Web, *visit) error {
		return func(s *Web, v *visit) error {
			v.flow.Email = ""
			if set != nil {
				set(v)
			}
			return s.show(v, s.loginPage(v))
		}
	}
	typed := signIn(func(v *visit) { v.flow.Email = v.user.Email })
	add("login", "empty", signIn(nil))
	add("login", "no-app", alone(signIn(nil)))
	add("login", "again", signIn(func(v *visit) { v.asked.Reauthenticate = true }))
	add("login", "another", signIn(func(v *visit) {
		v.flow.Page, v.flow.Typed = "login", map[string]string{another: "1"}
	}))
	add("login", "their-terms", signIn(func(v *visit) { v.asked.Client.Metadata.PolicyURI, v.asked.Client.Metadata.TermsURI = theirs, theirs }))
	// Colours that white stands on, that black does, and that are next to
	// invisible where pages are dark.
	add("login", "app-violet", dressed("#6b4de6", typed))
	add("login", "app-yellow", dressed("#ffd60a", typed))
	add("login", "app-navy", dressed("#00003c", typed))
	add("login", "app-wrong", dressed("#6b4de6", wrong("login", typed, storage.Problem{Field: "identifier", Message: "credentials"})))
	add("login-select", "one", func(s *Web, v *visit) error {
		return s.show(v, Page{Name: "login-select", Data: selectPage{v.user.ID, v.user.Name, v.user.Email}})
	})
	says("login", "", typed, "verified", "code_expired", "password_changed")
	refuses("login", "identifier", typed, "credentials", "email_missing", "email_malformed")
	refuses("login", "password", typed, "password_missing")
	refuses("login", "", typed, "busy")
	add("login", "both-missing", wrong("login", signIn(nil),
		storage.Problem{Field: "identifier", Message: "email_missing"}, storage.Problem{Field: "password", Message: "password_missing"}))

	// Registration.
	register := func(s *Web, v *visit) error {
		return s.show(v, Page{Name: "register", Values: map[string]string{"name": v.user.Name, "email": v.user.Email}})
	}
	add("register", "empty", page(Page{Name: "register"}))
	refuses("register", "name", register, "name_missing", "name_too_long", "name_malformed")
	refuses("register", "email", register, "email_domain", "email_domain_one")
	refuses("register", "password", register, "new_password_missing", "password_too_short", "password_too_long",
		"password_common", "password_personal", "password_too_many_bytes")
	refuses("register", "terms", register, "terms")
	refuses("register", "", register, "registration_closed")
	add("register", "all-wrong", wrong("register", register,
		storage.Problem{Field: "name", Message: "name_missing"}, storage.Problem{Field: "email", Message: "email_malformed"},
		storage.Problem{Field: "password", Message: "password_too_short"}))
	add("closed", "closed", page(Page{Name: "closed"}))
	verify := func(registering bool) func(*Web, *visit) error {
		return func(s *Web, v *visit) error {
			return s.show(v, Page{Name: "verify", Data: verifyPage{Email: v.user.Email, Registering: registering}})
		}
	}
	add("verify", "registering", verify(true))
	add("verify", "signing-in", verify(false))
	says("verify", "", verify(true), "resent")
	refuses("verify", "code", verify(true), "code_missing", "bad_code", "code_dead")
	protect := page(Page{Name: "protect", Data: protectPage{"/account"}})
	add("protect", "app", protect)
	add("protect", "no-app", alone(protect))
	waiting := func(page string, show func(*Web, *visit) error, messages ...string) {
		for _, m := range messages {
			add(page, dashes(m), func(s *Web, v *visit) error {
				v.flow.Until = s.now().Add(14 * time.Minute)
				return wrong(page, show, storage.Problem{Message: m})(s, v)
			})
		}
	}
	refuses("verify", "", verify(true), "too_soon")
	waiting("verify", verify(true), "resend_wait", "resend_limit", "resend_limit_help")

	// The second step.
	code := func(s *Web, v *visit) error { return s.show(v, Page{Name: "code", Data: codePage{v.user.Email}}) }
	add("code", "empty", code)
	add("code", "app-violet", dressed("#6b4de6", code))
	refuses("code", "code", code, "totp_missing", "totp_length", "totp_wrong", "code_used")
	recovery := page(Page{Name: "recovery"})
	add("recovery", "empty", recovery)
	refuses("recovery", "recovery_code", recovery, "recovery_missing", "recovery_wrong")
	for _, left := range []string{"0", "1", "2"} {
		low := func(s *Web, v *visit) error {
			v.flow.Typed = map[string]string{"left": left}
			return s.show(v, s.lowPage(v))
		}
		add("recovery-low", left+"-left", low)
		if left == "2" {
			add("recovery-low", "no-app", alone(low))
		}
	}

	// A new password by mail.
	reset := func(s *Web, v *visit) error {
		return s.show(v, Page{Name: "reset", Values: map[string]string{"identifier": v.user.Email}})
	}
	add("languages", "choose", func(s *Web, v *visit) error {
		v.query = url.Values{"flow": {v.flow.ID}, "to": {"/login"}}
		return s.showLanguages(v)
	})
	add("reset", "empty", page(Page{Name: "reset"}))
	add("reset", "prefilled", reset)
	says("reset", "", reset, "reset_expired")
	refuses("reset", "identifier", reset, "email_missing", "email_malformed")
	resetVerify := func(s *Web, v *visit) error {
		return s.show(v, Page{Name: "reset-verify", Data: resetPage{v.user.Email}})
	}
	add("reset-verify", "empty", resetVerify)
	says("reset-verify", "", resetVerify, "resent")
	refuses("reset-verify", "code", resetVerify, "bad_code", "code_dead")
	resetPassword := func(s *Web, v *visit) error {
		return s.show(v, Page{Name: "reset-password", Data: resetPage{v.user.Email}})
	}
	add("reset-password", "empty", resetPassword)
	refuses("reset-password", "password", resetPassword, "new_password_missing", "password_reused")

	// Consent.
	agree := func(set func(*visit)) func(*Web, *visit) error {
		return func(s *Web, v *visit) error {
			if set != nil {
				set(v)
			}
			return s.show(v, s.consentPage(v))
		}
	}
	add("consent", "first", agree(nil))
	add("consent", "app-violet", dressed("#6b4de6", agree(nil)))
	add("consent", "more", agree(func(v *visit) {
		v.asked.Missing, v.asked.Known = []string{"offline_access"}, []string{"openid", "profile", "email"}
	}))
	add("consent", "optional", agree(func(v *visit) {
		v.asked.Missing = []string{"openid", "profile", "phone", "address", "notes.write"}
		v.asked.Resources = []string{"https://files.example"}
		v.asked.Client.Metadata.PolicyURI, v.asked.Client.Metadata.TermsURI = theirs, theirs
	}))
	add("consent", "unreviewed", agree(func(v *visit) {
		v.asked.Client.Registration, v.asked.Client.Metadata.PolicyURI = &storage.DynamicRegistration{}, theirs
	}))
	add("consent", "unreviewed-native", agree(func(v *visit) {
		v.asked.Client.Registration, v.asked.Client.AuthMethod = &storage.DynamicRegistration{}, storage.AuthNone
		v.asked.RedirectURI, v.asked.Client.Metadata.TermsURI = "com.tidepool.notes:/callback", theirs
	}))
	add("consent", "openid-alone", agree(func(v *visit) { v.asked.Scopes, v.asked.Missing = []string{"openid"}, []string{"openid"} }))
	add("consent", "native", agree(func(v *visit) {
		v.asked.Client.AuthMethod, v.asked.RedirectURI = storage.AuthNone, "com.tidepool.notes:/callback"
	}))
	add("consent", "loopback", agree(func(v *visit) {
		v.asked.Client.AuthMethod, v.asked.RedirectURI = storage.AuthNone, "http://127.0.0.1:4711/callback"
	}))
	add("consent", "long-name", agree(func(v *visit) {
		v.asked.Client.Name = "The Tidepool Notes and Marginalia Company of the Western Coast"
	}))

	// Signing out.
	add("logout", "own", alone(func(s *Web, v *visit) error {
		return s.show(v, Page{Name: "logout", Data: logoutPage{Email: v.user.Email, Also: "Kiln Studio, Tidepool Notes"}})
	}))
	add("logout", "asked", func(s *Web, v *visit) error {
		return s.show(v, Page{Name: "logout", Data: logoutPage{Email: v.user.Email}})
	})
	add("signed-out", "plain", alone(page(Page{Name: "signed-out", Data: signedOutPage{}})))
	add("signed-out", "with-an-app", alone(page(Page{Name: "signed-out", Data: signedOutPage{
		App: "Tidepool Notes", Back: "https://app.tidepool.example/goodbye",
	}})))
	add("lost-access", "page", alone(page(Page{Name: "lost-access"})))

	// The account.
	at := func(s *Web, hoursAgo int) moment { return s.recent(s.now().Add(-time.Duration(hoursAgo) * time.Hour)) }
	const firefox, chrome = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
		"Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36"
	devices := func(s *Web) []deviceRow {
		return []deviceRow{
			{ID: "1", Name: s.deviceName(firefox), This: true, SignedIn: at(s, 0), Methods: s.methods([]string{"pwd", "otp", "mfa"}), Address: "203.0.113.7", UserAgent: firefox},
			{ID: "2", Name: s.deviceName(chrome), Phone: true, SignedIn: at(s, 75), Methods: s.methods([]string{"pwd"}), Address: "2001:db8::7", UserAgent: chrome},
			{ID: "3", Name: s.deviceName(""), SignedIn: at(s, 500), Address: "198.51.100.20"},
		}
	}
	apps := func(s *Web, v *visit) []appRow {
		return []appRow{
			{ID: "tidepool", Name: "Tidepool Notes", Path: appPath("tidepool"), Can: s.rows([]string{"openid", "profile", "email"}, v.user), Allowed: at(s, 900), Used: at(s, 0)},
			{ID: "kiln", Name: "Kiln Studio", Path: appPath("kiln"), Can: s.rows([]string{"openid"}, v.user), Allowed: at(s, 2000)},
		}
	}
	events := func(s *Web) []eventRow {
		row := func(e storage.Event, hours int) eventRow {
			return eventRow{
				What: s.happened(e, "Tidepool Notes"), Where: s.deviceName(firefox), Address: "203.0.113.7", UserAgent: firefox,
				Recent: at(s, hours), At: s.exact(s.now().Add(-time.Duration(hours) * time.Hour)),
			}
		}
		return []eventRow{
			row(storage.Event{Kind: login.EventSignIn, Outcome: eventOK, Detail: "pwd otp mfa"}, 0),
			row(storage.Event{Kind: login.EventSignIn, Outcome: string(login.BadCredentials)}, 30),
			row(storage.Event{Kind: "consent.granted", ClientID: "tidepool", Outcome: eventOK}, 50),
			row(storage.Event{Kind: login.EventPasswordChanged, Outcome: eventOK}, 400),
			row(storage.Event{Kind: login.EventRegistered, Outcome: eventOK}, 900),
		}
	}
	overview := func(set func(*overviewPage)) func(*Web, *visit) error {
		return atHome(func(s *Web, v *visit) error {
			data := overviewPage{
				Name: v.user.Name, Email: v.user.Email, SecondFactor: true, Since: at(s, 900), RecoveryLeft: 10,
				Devices: devices(s), DevicesCount: 3, Apps: apps(s, v), AppsCount: 2, Activity: events(s),
			}
			if set != nil {
				set(&data)
			}
			return s.show(v, Page{Name: "account", Data: data})
		})
	}
	add("account", "protected", overview(nil))
	add("account", "attention", overview(func(p *overviewPage) { p.RecoveryLeft, p.RecoveryLow = 2, true }))
	add("account", "new", overview(func(p *overviewPage) {
		*p = overviewPage{Name: p.Name, Email: p.Email, Devices: p.Devices[:1], DevicesCount: 1, Activity: p.Activity[4:]}
	}))
	says("account", "", overview(nil), "password_saved")

	password := atHome(func(s *Web, v *visit) error {
		return s.show(v, Page{Name: "account-password", Data: passwordPage{v.user.Email}})
	})
	add("account-password", "empty", password)
	says("account-password", "", password, "reauthenticate")
	refuses("account-password", "current_password", password, "password_wrong", "current_password_missing")
	confirm := atHome(func(s *Web, v *visit) error {
		return s.show(v, Page{Name: "account-confirm", Data: passwordPage{v.user.Email}})
	})
	add("account-confirm", "empty", confirm)
	refuses("account-confirm", "password", confirm, "password_incorrect")

	twoStep := func(set func(*Web, *twoStepPage)) func(*Web, *visit) error {
		return atHome(func(s *Web, v *visit) error {
			var data twoStepPage
			if set != nil {
				set(s, &data)
			}
			return s.show(v, Page{Name: "two-step", Data: data})
		})
	}
	on := twoStep(func(s *Web, p *twoStepPage) {
		*p = twoStepPage{On: true, AddedOn: at(s, 900).Text, UsedOn: at(s, 40).Text, Left: 10}
	})
	add("two-step", "off", twoStep(nil))
	add("two-step", "on", on)
	add("two-step", "few-codes", twoStep(func(s *Web, p *twoStepPage) { *p = twoStepPage{On: true, AddedOn: at(s, 900).Text, Left: 1, Few: true} }))
	says("two-step", "", on, "two_step_on", "codes_replaced")
	says("two-step", "", twoStep(nil), "two_step_off")
	refuses("two-step", "", on, "two_step_on")
	refuses("two-step", "", twoStep(nil), "two_step_off")
	waiting("two-step", on, "too_often")
	enrol := atHome(func(s *Web, v *visit) error {
		return s.show(v, Page{Name: "two-step-app", Wide: true, Data: enrolPage{
			Email: v.user.Email, Secret: fours("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"), URI: sampleURI, QR: galleryPath + "/qr.svg", Back: address("two-step"),
		}})
	})
	add("two-step-app", "empty", enrol)
	says("two-step-app", "", enrol, "enrol_expired")
	refuses("two-step-app", "code", enrol, "enrol_wrong")
	off := atHome(page(Page{Name: "two-step-off"}))
	add("two-step-off", "empty", off)
	refuses("two-step-off", "code", off, "off_missing", "off_wrong")
	codes := func(first bool) func(*Web, *visit) error {
		return atHome(func(s *Web, v *visit) error {
			return s.show(v, Page{Name: "recovery-codes", Wide: true, Data: codesPage{
				Email: v.user.Email, MadeOn: s.day(s.now()).Text, First: first, Codes: []string{
					"K4TQ9-M2XHP-7WRD6", "B7NXC-3JVQW-8TKGM", "R2HFD-9PXYB-4MWQT", "6GVKJ-T5NCR-X8DHP", "W9QMB-2XTFK-7JVRD",
					"H3PYC-8NGWQ-5KTXB", "D6RJV-4MFHN-9QXTP", "X2WKG-7BTCY-3PNRM", "T8HQD-5VJXF-6WGKB", "N4CYM-9RPTH-2QDVX",
				},
			}})
		})
	}
	add("recovery-codes", "first", codes(true))
	add("recovery-codes", "again", codes(false))
	refuses("recovery-codes", "saved", codes(true), "codes_unsaved")
	add("recovery-codes-new", "ask", atHome(page(Page{Name: "recovery-codes-new", Data: newCodesPage{address("two-step")}})))

	deviceList := func(n int) func(*Web, *visit) error {
		return atHome(func(s *Web, v *visit) error {
			return s.show(v, Page{Name: "account-devices", Data: devicesPage{devices(s)[:n], n - 1}})
		})
	}
	add("account-devices", "three", deviceList(3))
	add("account-devices", "one", deviceList(1))
	says("account-devices", "Chrome on Android", deviceList(2), "device_signed_out")
	says("account-devices", "", deviceList(1), "others_signed_out")
	for _, n := range []int{1, 2} {
		add("account-devices-others", map[int]string{1: "one", 2: "two"}[n], atHome(func(s *Web, v *visit) error { return s.show(v, s.othersPage(n)) }))
	}
	appList := func(filled bool) func(*Web, *visit) error {
		return atHome(func(s *Web, v *visit) error {
			var data appsPage
			if filled {
				data.Apps = apps(s, v)
			}
			return s.show(v, Page{Name: "account-apps", Data: data})
		})
	}
	add("account-apps", "two", appList(true))
	add("account-apps", "empty", appList(false))
	says("account-apps", "Tidepool Notes", appList(true), "app_removed")
	add("account-apps-one", "used", atHome(func(s *Web, v *visit) error {
		row := apps(s, v)[0]
		row.Links = appLinks{theirs, theirs, theirs}
		return s.show(v, appPage(row))
	}))
	add("account-apps-one", "never-used", atHome(func(s *Web, v *visit) error { return s.show(v, appPage(apps(s, v)[1])) }))
	add("account-apps-remove", "ask", atHome(func(s *Web, v *visit) error { return s.show(v, s.removePage(apps(s, v)[0])) }))
	activity := func(data func(*Web) activityPage) func(*Web, *visit) error {
		return atHome(func(s *Web, v *visit) error { return s.show(v, Page{Name: "account-activity", Data: data(s)}) })
	}
	add("account-activity", "newest", activity(func(s *Web) activityPage { return activityPage{Events: events(s), Older: "0198a3c1"} }))
	add("account-activity", "older", activity(func(s *Web) activityPage { return activityPage{Events: events(s), Newest: true} }))
	add("account-activity", "empty", activity(func(*Web) activityPage { return activityPage{} }))

	// What went wrong.
	fails := func(state string, stopped func(*visit) *stop) {
		add("error", state, func(s *Web, v *visit) error {
			s.stopped(v.w, v.r, stopped(v))
			return nil
		})
	}
	stops := func(page string, status int) {
		fails(dashes(page), func(v *visit) *stop { return &stop{status: status, page: page, flow: v.flow} })
	}
	stops("expired", http.StatusOK)
	stops("cookies", http.StatusOK)
	fails("answered", func(v *visit) *stop {
		v.asked.Client.Metadata.URI = "https://tidepool.example/"
		return &stop{status: http.StatusOK, page: "answered", client: v.asked.Client}
	})
	fails("verify-elsewhere", func(_ *visit) *stop {
		return &stop{status: http.StatusOK, page: "expired", lede: "error.verify_elsewhere"}
	})
	stops("paused", http.StatusForbidden)
	stops("not_found", http.StatusNotFound)
	stops("method", http.StatusMethodNotAllowed)
	stops("form", http.StatusBadRequest)
	stops("link", http.StatusBadRequest)
	stops("too_large", http.StatusRequestEntityTooLarge)
	stops("too_long", http.StatusRequestURITooLong)
	for _, e := range []*provider.Error{
		{Status: http.StatusBadRequest, Code: "invalid_client", Description: "There is no client with this client_id.", ClientID: "tidepool"},
		{Status: http.StatusBadRequest, Code: "invalid_request", Description: "The parameter redirect_uri is none of those registered for this client, which are compared exactly.", ClientID: "tidepool"},
	} {
		e.Reference = "7F3K-9QWM"
		state := "app"
		if e.Code == "invalid_client" {
			state = "unknown-app"
		}
		add("error", state, func(s *Web, v *visit) error { s.ErrorPage(v.w, v.r, e); return nil })
	}
	for _, status := range []int{http.StatusInternalServerError, http.StatusServiceUnavailable} {
		add("error", map[int]string{http.StatusInternalServerError: "fault", http.StatusServiceUnavailable: "down"}[status], func(s *Web, v *visit) error { s.broken(v.w, v.r, status, "7F3K-9QWM"); return nil })
	}
	for _, about := range []string{"login", "codes", "requests", "password", "locked"} {
		add("error", "limited-"+about, func(s *Web, v *visit) error {
			v.flow.Page, v.flow.Notice, v.flow.Until = "limited", about, s.now().Add(14*time.Minute)
			if about == "password" {
				v.flow.UserID = v.user.ID
			}
			s.tellLimit(v)
			return nil
		})
	}
	return all
}

// dashes is a key of the catalogue as it stands in an address.
func dashes(key string) string { return strings.ReplaceAll(key, "_", "-") }

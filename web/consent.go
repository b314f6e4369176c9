package web

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/consent"
	"github.com/gatehouse-id/gatehouse/storage"
)

// consentPage is the data of the page.
type consentPage struct {
	UserID    string
	UserName  string
	UserEmail string
	// Host is where the browser will go back to; empty for an app without one.
	Host string
	// Missing is what is asked, Known what the app can do already.
	Missing, Known []scopeRow
	// Shown is both as scopes, with spaces between, for the answer to say what it is
	// an answer to.
	Shown string
	// AlwaysAsk says that the answer holds for this once.
	AlwaysAsk bool
	// Unreviewed says that the app registered itself, and Local that it runs on
	// the person's device: nobody vouches for it.
	Unreviewed, Local bool
	// Another is where another account signs in.
	Another string
	// Links are the app's own pages.
	Links appLinks
}

// A scopeRow is one thing an app may do, in words, with the value it will see.
type scopeRow struct {
	Scope           string
	Heading, Detail string
	// LTR is for values that read left to right in every language.
	LTR bool
	// Optional is for what the person may leave out, and does unless they tick it.
	Optional bool
}

func (s *Web) showConsent(v *visit) error {
	if err := s.resume(v, v.query.Get("flow")); err != nil {
		return s.orAnswered(v.r, err)
	}
	switch {
	case v.flow.Request == nil:
		s.redirect(v, "/account")
		return nil
	case v.session == nil || v.asked.Client.ID == "":
		s.redirect(v, at("/authorize", v.flow.ID))
		return nil
	}
	return s.show(v, s.consentPage(v))
}

// consentPage asks the person for what the app would have.
func (s *Web) consentPage(v *visit) Page {
	missing, known := v.asked.Missing, v.asked.Known
	if len(missing) == 0 { // agreed to already, and the person came back to look
		missing, known = known, nil
	}
	data := consentPage{
		UserID: v.user.ID, UserName: v.user.Name, UserEmail: v.user.Email,
		Host:    redirectHost(v.asked.RedirectURI),
		Shown:   strings.Join(v.asked.Scopes, " "),
		Missing: s.rows(missing, v.user, v.asked.Resources...), Known: s.rows(known, v.user, v.asked.Resources...),
		Unreviewed: v.asked.Client.Registration != nil, Local: s.local(v.asked.Client, v.asked.RedirectURI),
		Another: anotherAt(v.flow.ID), Links: linksOf(v.asked.Client),
	}
	data.AlwaysAsk = data.Unreviewed || data.Local
	for i, row := range data.Missing {
		data.Missing[i].Optional = consent.Optional(row.Scope)
	}
	slices.SortStableFunc(data.Missing, func(a, b scopeRow) int { // what there is a choice about comes last
		switch {
		case a.Optional == b.Optional:
			return 0
		case b.Optional:
			return -1
		default:
			return 1
		}
	})
	return Page{Name: "consent", Wide: true, Title: s.consentTitle(v, len(data.Known) > 0), Data: data}
}

func (s *Web) consentTitle(v *visit, more bool) string {
	key := "consent.title"
	if more {
		key = "consent.title_more"
	}
	return s.frame.text.plain(key, "app", v.asked.Client.Name, "brand", s.frame.brand)
}

func (s *Web) postConsent(v *visit) error {
	back := at("/authorize", v.flow.ID)
	// The answer is of the person who was shown the question. Another tab may
	// have signed somebody else in since.
	if v.session == nil || v.asked.Client.ID == "" || v.form.Get("account") != v.user.ID {
		s.redirect(v, back)
		return nil
	}
	ctx := v.r.Context()
	switch v.form.Get("decision") {
	case "allow":
		// An app that registered itself may have asked for more, or for less, since
		// the question was shown.
		if v.form.Get("shown") != strings.Join(v.asked.Scopes, " ") {
			s.redirect(v, back)
			return nil
		}
		agreed := slices.DeleteFunc(slices.Clone(v.asked.Scopes), func(scope string) bool {
			return consent.Optional(scope) && slices.Contains(v.asked.Missing, scope) && !slices.Contains(v.form["scope"], scope)
		})
		if v.form.Get("remember") == "1" && v.asked.Client.Registration == nil && !s.local(v.asked.Client, v.asked.RedirectURI) {
			err := consent.Remember(ctx, s.store, storage.Consent{
				UserID: v.user.ID, ClientID: v.asked.Client.ID, Scopes: agreed, GrantedAt: s.now().UTC(),
			})
			if err != nil {
				return err
			}
		}
		v.flow.Denied, v.flow.Consented, v.flow.ConsentedBy = false, agreed, v.user.ID
	case "deny":
		v.flow.Denied, v.flow.Consented, v.flow.ConsentedBy = true, nil, ""
	default:
		return &stop{status: http.StatusBadRequest, page: "form", flow: v.flow}
	}
	if err := s.provider.SaveInteraction(ctx, v.flow); err != nil {
		return err
	}
	s.provider.SetCookie(v.w, answeredCookie, v.flow.ID+"."+v.asked.Client.ID, answeredFor)
	s.redirect(v, back)
	return nil
}

const (
	// answeredCookie names the flow in which this browser has last answered an
	// app, and the app. The flow itself is over with the answer.
	answeredCookie = "gatehouse_answered"
	// answeredFor is how long somebody may come back to the question.
	answeredFor = 30 * time.Minute
)

// orAnswered says that the question was answered, to somebody who goes back to
// it, in place of that the flow is over. Any other error stays what it is.
func (s *Web) orAnswered(r *http.Request, err error) error {
	e, ok := errors.AsType[*stop](err)
	if !ok || e.page != "expired" {
		return err
	}
	c, none := r.Cookie(s.provider.CookieName(answeredCookie))
	if none != nil {
		return err
	}
	flow, client, _ := strings.Cut(c.Value, ".")
	if flow == "" || flow != r.URL.Query().Get("flow") {
		return err
	}
	known, fault := s.store.Client(r.Context(), client)
	switch {
	case errors.Is(fault, storage.ErrNotFound): // it is no more
		return err
	case fault != nil:
		return fault
	}
	return &stop{status: http.StatusOK, page: "answered", client: known}
}

// rows puts scopes in words. openid says nothing beside others.
func (s *Web) rows(scopes []string, u storage.User, resources ...string) []scopeRow {
	text := s.frame.text
	var out []scopeRow
	for _, scope := range scopes {
		says := consent.Describe(scope)
		row := scopeRow{Scope: scope, Heading: text.plain(says.Heading, "scope", scope)}
		if says.Detail != "" {
			row.Detail = text.plain(says.Detail)
		}
		switch scope {
		case "openid":
			if len(scopes) > 1 {
				continue
			}
		case "profile":
			row.Detail = u.Name
		case "email":
			row.Detail, row.LTR = u.Email, true
		case "phone":
			row.Detail, row.LTR = someDigits(u.Profile.PhoneNumber), true
		case "address":
			row.Detail = place(u.Profile.Address)
		default:
			if row.Detail == "" { // an API's, which is known by its address
				row.Detail, row.LTR = strings.Join(resources, " · "), true
			}
		}
		out = append(out, row)
	}
	return out
}

// someDigits is a phone number that its owner recognizes, and nobody dials who
// looks over their shoulder.
func someDigits(number string) string {
	const shown = 3
	if len(number) <= 2*shown {
		return number
	}
	return number[:shown+1] + strings.Repeat("•", len(number)-2*shown-1) + number[len(number)-shown:]
}

// place is an address in one line, by town and country where it has them.
func place(a *storage.Address) string {
	if a == nil {
		return ""
	}
	var parts []string
	for _, part := range []string{a.Locality, a.Country} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if parts == nil {
		return strings.Join(strings.Fields(a.Formatted), " ")
	}
	return strings.Join(parts, ", ")
}

// redirectHost is the host that a redirect URI leads to, or empty for a custom
// scheme.
func redirectHost(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	return u.Host
}

// local reports whether the app runs on the person's device, where anything can
// call itself this client: it has no secret and its redirect URI is no host's
// (RFC 8252 section 8.6).
func (s *Web) local(c storage.Client, uri string) bool {
	u, err := url.Parse(uri)
	if err != nil {
		return true
	}
	if !c.Public() || c.FirstParty || u.Scheme == s.issuer.Scheme && u.Host == s.issuer.Host {
		return false
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	return u.Scheme != "https" && u.Scheme != "http" || host == "localhost" || ip != nil && ip.IsLoopback()
}

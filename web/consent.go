package web

import (
	"net"
	"net/http"
	"net/url"

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
	// AlwaysAsk says that the answer holds for this once.
	AlwaysAsk bool
}

// A scopeRow is one thing an app may do, in words, with the value it will see.
type scopeRow struct {
	consent.Description
	// LTR is for values that read left to right in every language.
	LTR bool
}

func (s *Web) showConsent(v *visit) error {
	if err := s.resume(v, v.query.Get("flow")); err != nil {
		return err
	}
	switch {
	case v.flow.Request == nil:
		s.redirect(v, "/account")
		return nil
	case v.session == nil || v.asked.Client.ID == "":
		s.redirect(v, at("/authorize", v.flow.ID))
		return nil
	}
	missing, known := v.asked.Missing, v.asked.Known
	if len(missing) == 0 { // agreed to already, and the person came back to look
		missing, known = known, nil
	}
	data := consentPage{
		UserID: v.user.ID, UserName: v.user.Name, UserEmail: v.user.Email,
		Host:    redirectHost(v.asked.RedirectURI),
		Missing: rows(missing, v.user), Known: rows(known, v.user),
		AlwaysAsk: s.alwaysAsk(v.asked.Client, v.asked.RedirectURI),
	}
	return s.show(v, Page{Name: "consent", Wide: true, Title: s.consentTitle(v, len(data.Known) > 0), Data: data})
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
		if v.form.Get("remember") == "1" && !s.alwaysAsk(v.asked.Client, v.asked.RedirectURI) {
			err := consent.Remember(ctx, s.store, storage.Consent{
				UserID: v.user.ID, ClientID: v.asked.Client.ID, Scopes: v.asked.Scopes, GrantedAt: s.now().UTC(),
			})
			if err != nil {
				return err
			}
		}
		v.flow.Denied, v.flow.Consented, v.flow.ConsentedBy = false, v.asked.Scopes, v.user.ID
	case "deny":
		v.flow.Denied, v.flow.Consented, v.flow.ConsentedBy = true, nil, ""
	default:
		return &stop{status: http.StatusBadRequest, page: "form", flow: v.flow}
	}
	if err := s.provider.SaveInteraction(ctx, v.flow); err != nil {
		return err
	}
	s.redirect(v, back)
	return nil
}

// rows puts scopes in words. openid says nothing beside others.
func rows(scopes []string, u storage.User) []scopeRow {
	var out []scopeRow
	for _, scope := range scopes {
		row := scopeRow{Description: consent.Describe(scope)}
		switch scope {
		case "openid":
			if len(scopes) > 1 {
				continue
			}
		case "profile":
			row.Detail = u.Name
		case "email":
			row.Detail, row.LTR = u.Email, true
		}
		out = append(out, row)
	}
	return out
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

// alwaysAsk reports whether an answer is never remembered: anything on the
// person's device can call itself this client, because it has no secret and its
// redirect URI is no host's (RFC 8252 section 8.6).
func (s *Web) alwaysAsk(c storage.Client, uri string) bool {
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

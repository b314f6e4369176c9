package provider

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A claim is one standard claim about a person (OIDC Core section 5.1).
type claim struct {
	name string
	// scope is the one that stands for it (OIDC Core section 5.4), and by which
	// people are asked about it, also when it is asked for by name.
	scope string
	// of is the claim's value, nil when it is not known: what is not known is
	// left out (OIDC Core section 5.3.2).
	of func(storage.User) any
}

// standardClaims are the claims that scopes and the claims parameter can name.
var standardClaims = []claim{
	{"name", "profile", text(func(u storage.User) string { return u.Name })},
	{"given_name", "profile", text(func(u storage.User) string { return u.Profile.GivenName })},
	{"family_name", "profile", text(func(u storage.User) string { return u.Profile.FamilyName })},
	{"middle_name", "profile", text(func(u storage.User) string { return u.Profile.MiddleName })},
	{"nickname", "profile", text(func(u storage.User) string { return u.Profile.Nickname })},
	{"preferred_username", "profile", text(func(u storage.User) string { return u.Profile.PreferredUsername })},
	{"profile", "profile", text(func(u storage.User) string { return u.Profile.Profile })},
	{"picture", "profile", text(func(u storage.User) string { return u.Profile.Picture })},
	{"website", "profile", text(func(u storage.User) string { return u.Profile.Website })},
	{"gender", "profile", text(func(u storage.User) string { return u.Profile.Gender })},
	{"birthdate", "profile", text(func(u storage.User) string { return u.Profile.Birthdate })},
	{"zoneinfo", "profile", text(func(u storage.User) string { return u.Profile.Zoneinfo })},
	{"locale", "profile", text(func(u storage.User) string { return u.Profile.Locale })},
	{"updated_at", "profile", func(u storage.User) any { return u.UpdatedAt.Unix() }},
	{"email", "email", text(func(u storage.User) string { return u.Email })},
	{"email_verified", "email", func(u storage.User) any {
		if u.Email == "" {
			return nil
		}
		return u.EmailVerified()
	}},
	{"phone_number", "phone", text(func(u storage.User) string { return u.Profile.PhoneNumber })},
	{"phone_number_verified", "phone", func(u storage.User) any {
		if u.Profile.PhoneNumber == "" {
			return nil
		}
		return u.Profile.PhoneNumberVerified
	}},
	{"address", "address", func(u storage.User) any {
		if a := u.Profile.Address; a != nil && *a != (storage.Address{}) {
			return a
		}
		return nil
	}},
}

func text(of func(storage.User) string) func(storage.User) any {
	return func(u storage.User) any {
		if s := of(u); s != "" {
			return s
		}
		return nil
	}
}

// claimsOf are the claims about a person for which a scope stands, or that are
// asked for by name.
func claimsOf(u storage.User, scopes, names []string) map[string]any {
	out := map[string]any{}
	for _, c := range standardClaims {
		if !slices.Contains(scopes, c.scope) && !slices.Contains(names, c.name) {
			continue
		}
		if v := c.of(u); v != nil {
			out[c.name] = v
		}
	}
	return out
}

// withinScopes returns the claims of the request whose scope is among those
// given.
func withinScopes(r storage.ClaimsRequest, scopes []string) storage.ClaimsRequest {
	among := func(names []string) (kept []string) {
		for _, c := range standardClaims {
			if slices.Contains(names, c.name) && slices.Contains(scopes, c.scope) {
				kept = append(kept, c.name)
			}
		}
		return kept
	}
	return storage.ClaimsRequest{UserInfo: among(r.UserInfo), IDToken: among(r.IDToken)}
}

// scopesOf returns the scopes that stand for the claims of the request.
func scopesOf(r storage.ClaimsRequest) (scopes []string) {
	for _, c := range standardClaims {
		if !slices.Contains(scopes, c.scope) && (slices.Contains(r.UserInfo, c.name) || slices.Contains(r.IDToken, c.name)) {
			scopes = append(scopes, c.scope)
		}
	}
	return scopes
}

// maxClaims is how many bytes a claims parameter may have. A larger one is
// refused before it is parsed.
const maxClaims = 4 << 10

// A claimsParameter is the claims parameter of an authorize request (OIDC Core
// section 5.5), as far as it means something here. Claims that are not supported
// are ignored, and a value asked for of others than sub and acr is a wish that
// changes nothing (section 5.5.1).
type claimsParameter struct {
	request storage.ClaimsRequest
	// subjects are the people one of whom it must be; nil is anybody.
	subjects []string
	// acr is nil when the claim is not asked for.
	acr *acrRequest
}

// parseClaims reads a claims parameter, and reports whether it is well-formed.
func parseClaims(s string) (c claimsParameter, ok bool) {
	var members struct {
		UserInfo map[string]json.RawMessage `json:"userinfo"`
		IDToken  map[string]json.RawMessage `json:"id_token"`
	}
	if len(s) > maxClaims || !shallow([]byte(s)) || !startsObject(s) || json.Unmarshal([]byte(s), &members) != nil {
		return c, false
	}
	for _, m := range []struct {
		claims map[string]json.RawMessage
		names  *[]string
	}{{members.UserInfo, &c.request.UserInfo}, {members.IDToken, &c.request.IDToken}} {
		for name, raw := range m.claims {
			wish, ok := parseWish(raw)
			if !ok {
				return c, false
			}
			switch {
			case name == "sub":
				values, ok := wish.texts()
				if !ok {
					return c, false
				}
				c.subjects = narrower(c.subjects, values)
			case name == "acr" && m.names == &c.request.IDToken:
				values, ok := wish.texts()
				if !ok {
					return c, false
				}
				c.acr = &acrRequest{values: values, essential: wish.Essential}
			}
		}
		for _, known := range standardClaims {
			if _, asked := m.claims[known.name]; asked {
				*m.names = append(*m.names, known.name)
			}
		}
	}
	return c, true
}

// narrower returns the people who are in both lists, of which nil is everybody.
func narrower(a, b []string) []string {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	both := []string{}
	for _, s := range a {
		if slices.Contains(b, s) {
			both = append(both, s)
		}
	}
	return both
}

// A wish is how one claim is asked for (OIDC Core section 5.5.1).
type wish struct {
	Essential bool  `json:"essential"`
	Value     any   `json:"value"`
	Values    []any `json:"values"`
}

// parseWish reads a member of a claims request: null, or an object.
func parseWish(raw json.RawMessage) (w wish, ok bool) {
	if string(bytes.TrimSpace(raw)) == "null" {
		return w, true
	}
	return w, startsObject(string(raw)) && json.Unmarshal(raw, &w) == nil
}

// texts returns the values that the claim may have, nil when it may have any,
// and reports whether all are text.
func (w wish) texts() (values []string, ok bool) {
	all := w.Values
	if w.Value != nil {
		all = append(slices.Clone(all), w.Value)
	}
	for _, v := range all {
		s, isText := v.(string)
		if !isText {
			return nil, false
		}
		values = append(values, s)
	}
	return values, true
}

func startsObject(s string) bool {
	for i := range len(s) {
		switch s[i] {
		case ' ', '\t', '\r', '\n':
		default:
			return s[i] == '{'
		}
	}
	return false
}

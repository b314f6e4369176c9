package consent

import (
	"slices"
	"strings"
	"testing"
)

func TestDecide(t *testing.T) {
	list := strings.Fields
	none := []string{} // asked, and agreed to nothing
	for _, c := range []struct {
		sentence string
		asked    Asked
		want     Decision
	}{
		// third-party clients
		{"a new client is asked for", Asked{Scopes: list("openid email")}, Decision{Missing: list("openid email")}},
		{"openid alone is asked for once", Asked{Scopes: list("openid")}, Decision{Missing: list("openid")}},
		{"and not a second time", Asked{Scopes: list("openid"), Remembered: list("openid")}, Decision{Granted: true, Scopes: list("openid")}},
		{"what is remembered covers less", Asked{Scopes: list("openid"), Remembered: list("openid email")}, Decision{Granted: true, Scopes: list("openid")}},
		{"only what is new is asked for", Asked{Scopes: list("openid email phone"), Remembered: list("openid email")}, Decision{Missing: list("phone")}},
		{"offline_access is asked for like any scope", Asked{Scopes: list("openid offline_access"), Remembered: list("openid")}, Decision{Missing: list("offline_access")}},
		{"no scope at all is asked for too", Asked{}, Decision{}},
		{"no scope at all is granted when remembered", Asked{Remembered: none}, Decision{Granted: true}},
		{"a scope asked twice is one", Asked{Scopes: list("openid openid"), Remembered: list("openid")}, Decision{Granted: true, Scopes: list("openid")}},
		{"scopes are compared by case", Asked{Scopes: list("Email"), Remembered: list("email")}, Decision{Missing: list("Email")}},
		{"other prompts ask nothing", Asked{Scopes: list("openid"), Remembered: list("openid"), Prompt: list("login select_account")}, Decision{Granted: true, Scopes: list("openid")}},

		// the answer
		{"what was agreed to is granted", Asked{Scopes: list("openid email"), JustAgreed: list("openid email")}, Decision{Granted: true, Scopes: list("openid email")}},
		{"what was left out is not, and not asked again", Asked{Scopes: list("openid email phone"), JustAgreed: list("openid email")}, Decision{Granted: true, Scopes: list("openid email")}},
		{"an answer about what is new adds to what is remembered", Asked{Scopes: list("openid email"), Remembered: list("openid"), JustAgreed: list("email")}, Decision{Granted: true, Scopes: list("openid email")}},
		{"to agree to nothing is an answer", Asked{Scopes: list("phone"), JustAgreed: none}, Decision{Granted: true}},
		{"what was agreed to but not asked is not granted", Asked{Scopes: list("openid"), JustAgreed: list("openid admin")}, Decision{Granted: true, Scopes: list("openid")}},
		{"what is remembered but not asked is not granted", Asked{Scopes: list("openid"), Remembered: list("openid admin"), JustAgreed: list("openid")}, Decision{Granted: true, Scopes: list("openid")}},
		{"scopes keep the order of the request", Asked{Scopes: list("email openid"), JustAgreed: list("openid email")}, Decision{Granted: true, Scopes: list("email openid")}},

		// prompt=consent
		{"prompt=consent asks for what is remembered", Asked{Scopes: list("openid email"), Remembered: list("openid email"), Prompt: list("consent")}, Decision{Missing: list("openid email")}},
		{"prompt=login consent does as well", Asked{Scopes: list("openid"), Remembered: list("openid"), Prompt: list("login consent")}, Decision{Missing: list("openid")}},
		{"the answer to prompt=consent is granted", Asked{Scopes: list("openid email"), Prompt: list("consent"), JustAgreed: list("openid email")}, Decision{Granted: true, Scopes: list("openid email")}},
		{"what is remembered does not add to the answer to prompt=consent", Asked{Scopes: list("openid email"), Remembered: list("email"), Prompt: list("consent"), JustAgreed: list("openid")}, Decision{Granted: true, Scopes: list("openid")}},

		// first-party clients
		{"a first-party client is granted without asking", Asked{Scopes: list("openid offline_access"), FirstParty: true}, Decision{Granted: true, Scopes: list("openid offline_access")}},
		{"prompt=consent asks for a first-party client too", Asked{Scopes: list("openid"), FirstParty: true, Prompt: list("consent")}, Decision{Missing: list("openid")}},
		{"what was left out is not granted to a first-party client", Asked{Scopes: list("openid email"), FirstParty: true, Prompt: list("consent"), JustAgreed: list("openid")}, Decision{Granted: true, Scopes: list("openid")}},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			got := Decide(c.asked)
			if got.Granted != c.want.Granted || !slices.Equal(got.Scopes, c.want.Scopes) || !slices.Equal(got.Missing, c.want.Missing) {
				t.Errorf("Decide(%+v)\n got %+v\nwant %+v", c.asked, got, c.want)
			}
		})
	}
}

func TestDecideKeepsItsInput(t *testing.T) {
	asked := Asked{Scopes: []string{"openid", "email", "phone"}, Remembered: []string{"openid"}}
	Decide(asked)
	if !slices.Equal(asked.Scopes, []string{"openid", "email", "phone"}) {
		t.Errorf("the scopes asked are now %v", asked.Scopes)
	}
}

func TestDescribe(t *testing.T) {
	for _, c := range []struct{ scope, heading, detail string }{
		{"openid", "scope.openid.heading", "scope.openid.detail"},
		{"profile", "scope.profile.heading", ""},
		{"email", "scope.email.heading", ""},
		{"phone", "scope.phone.heading", ""},
		{"address", "scope.address.heading", ""},
		{"groups", "scope.groups.heading", ""},
		{"roles", "scope.groups.heading", ""},
		{"offline_access", "scope.offline_access.heading", "scope.offline_access.detail"},
		{"notes:write", "scope.api.heading", ""},
	} {
		t.Run(c.scope, func(t *testing.T) {
			got := Describe(c.scope)
			if want := (Description{c.scope, c.heading, c.detail}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

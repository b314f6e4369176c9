package provider

import (
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/consent"
	"github.com/gatehouse-id/gatehouse/storage"
)

func TestNeed(t *testing.T) {
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	session := func(at time.Time) *storage.Session { return &storage.Session{UserID: "asha", AuthTime: at} }
	hour, zero := time.Hour, time.Duration(0)
	one, two := storage.User{ID: "asha"}, storage.User{ID: "asha", SecondFactor: true}
	proved := func(amr ...string) *storage.Session {
		return &storage.Session{UserID: "asha", AuthTime: noon.Add(-time.Minute), AMR: amr}
	}
	wish := request{requestedAt: noon, acr: acrRequest{values: []string{acrMFA, acrPassword}}}
	must := request{requestedAt: noon, acr: acrRequest{values: []string{acrMFA}, essential: true}}
	quiet := func(q request) request { q.prompt = []string{"none"}; return q }
	granted, ask := consent.Decision{Granted: true}, consent.Decision{Missing: []string{"email"}}
	for _, try := range []struct {
		name    string
		request request
		session *storage.Session
		consent consent.Decision
		want    step
	}{
		{"nobody is signed in", request{}, nil, ask, loginPage},
		{"nobody is signed in and no page is allowed", request{prompt: []string{"none"}}, nil, ask, loginRequired},
		{"nobody is signed in and the app offers an account", request{prompt: []string{"create"}}, nil, ask, registerPage},
		{"signed in and agreed", request{requestedAt: noon}, session(noon.Add(-time.Minute)), granted, issue},
		{"signed in and not agreed", request{requestedAt: noon}, session(noon.Add(-time.Minute)), ask, consentPage},
		{"not agreed and no page is allowed", request{requestedAt: noon, prompt: []string{"none"}}, session(noon), ask, consentRequired},
		{"the person refused", request{requestedAt: noon, denied: true}, session(noon), granted, denied},
		{"prompt=login and the sign-in is older than the request", request{requestedAt: noon, prompt: []string{"login"}}, session(noon.Add(-time.Microsecond)), granted, loginPage},
		{"prompt=login and the sign-in is of the same instant", request{requestedAt: noon, prompt: []string{"login"}}, session(noon), granted, issue},
		{"prompt=select_account and nobody has chosen", request{requestedAt: noon, prompt: []string{"select_account"}}, session(noon.Add(-time.Minute)), granted, selectPage},
		{"prompt=select_account and the person goes on as they are", request{requestedAt: noon, prompt: []string{"select_account"}, chosen: "asha"}, session(noon.Add(-time.Minute)), granted, issue},
		{"prompt=select_account and the choice was of another account", request{requestedAt: noon, prompt: []string{"select_account"}, chosen: "bina"}, session(noon.Add(-time.Minute)), granted, selectPage},
		{"prompt=select_account after a sign-in", request{requestedAt: noon, prompt: []string{"select_account"}}, session(noon.Add(time.Second)), granted, issue},
		{"prompt=select_account and nobody is signed in", request{requestedAt: noon, prompt: []string{"select_account"}}, nil, ask, loginPage},
		{"prompt=login select_account: the choice comes first", request{requestedAt: noon, prompt: []string{"login", "select_account"}}, session(noon.Add(-time.Minute)), granted, selectPage},
		{"prompt=login select_account: and then the proof", request{requestedAt: noon, prompt: []string{"login", "select_account"}, chosen: "asha"}, session(noon.Add(-time.Minute)), granted, loginPage},
		{"prompt=select_account with a hint of another person", request{requestedAt: noon, prompt: []string{"select_account"}, subjects: []string{"bina"}}, session(noon.Add(-time.Minute)), granted, loginPage},
		{"max_age has passed", request{requestedAt: noon, maxAge: &hour}, session(noon.Add(-2 * hour)), granted, loginPage},
		{"max_age has passed and no page is allowed", request{requestedAt: noon, maxAge: &hour, prompt: []string{"none"}}, session(noon.Add(-2 * hour)), granted, loginRequired},
		{"max_age has not passed", request{requestedAt: noon, maxAge: &hour}, session(noon.Add(-hour / 2)), granted, issue},
		{"max_age=0 before a sign-in", request{requestedAt: noon, maxAge: &zero}, session(noon.Add(-time.Second)), granted, loginPage},
		{"max_age=0 after one", request{requestedAt: noon, maxAge: &zero}, session(noon.Add(time.Second)), granted, issue},
		{"the hint names another person", request{requestedAt: noon, subjects: []string{"bina"}}, session(noon.Add(time.Second)), granted, loginPage},
		{"the hint names this person", request{requestedAt: noon, subjects: []string{"asha"}}, session(noon.Add(-time.Second)), granted, issue},
	} {
		t.Run(try.name, func(t *testing.T) {
			if got := need(try.request, try.session, one, try.consent, noon.Add(time.Minute)); got != try.want {
				t.Errorf("need = %v, want %v", got, try.want)
			}
		})
	}
	for _, try := range []struct {
		name    string
		request request
		session *storage.Session
		user    storage.User
		want    step
	}{
		{"a second factor is wished for and was proved", wish, proved("pwd", "otp", "mfa"), two, issue},
		{"it is wished for and the person has one: sign in again", wish, proved("pwd"), two, loginPage},
		{"it is wished for and the person has none", wish, proved("pwd"), one, issue},
		{"a wish shows no page where none is allowed", quiet(wish), proved("pwd"), two, issue},
		{"a password is wished for before a second factor", request{requestedAt: noon, acr: acrRequest{values: []string{acrPassword, acrMFA}}}, proved("pwd"), two, issue},
		{"unknown classes are passed over", request{requestedAt: noon, acr: acrRequest{values: []string{"1", acrMFA}}}, proved("pwd"), two, loginPage},
		{"it is essential and was proved", must, proved("pwd", "otp", "mfa"), two, issue},
		{"it is essential and the person has one", must, proved("pwd"), two, loginPage},
		{"it is essential, the person has one and no page is allowed", quiet(must), proved("pwd"), two, loginRequired},
		{"it is essential and the person has none", must, proved("pwd"), one, unmet},
		{"nobody is signed in", must, nil, storage.User{}, loginPage},
		{"a class that nobody has is essential", request{requestedAt: noon, acr: acrRequest{values: []string{"gold"}, essential: true}}, proved("pwd", "mfa"), two, unmet},
		{"a password is essential, and a second factor includes it", request{requestedAt: noon, acr: acrRequest{values: []string{acrPassword}, essential: true}}, proved("pwd", "mfa"), two, issue},
		{"any class is essential", request{requestedAt: noon, acr: acrRequest{essential: true}}, proved("pwd"), two, issue},
	} {
		t.Run("sec-T4 "+try.name, func(t *testing.T) {
			if got := need(try.request, try.session, try.user, granted, noon.Add(time.Minute)); got != try.want {
				t.Errorf("need = %v, want %v", got, try.want)
			}
		})
	}
}

func TestValidateClient(t *testing.T) {
	good := storage.Client{ID: "app", Name: "App", AuthMethod: storage.AuthNone, GrantTypes: []string{grantCode}, RedirectURIs: []string{"https://app.example/cb"}, Scopes: []string{"openid"}}
	if err := ValidateClient(good); err != nil {
		t.Fatal(err)
	}
	_, hash := NewClientSecret()
	grace := 6 * time.Minute
	for _, try := range []struct {
		name   string
		change func(*storage.Client)
	}{
		{"no id", func(c *storage.Client) { c.ID = "" }},
		{"sec-C7 an id like a person's", func(c *storage.Client) { c.ID = "0198b2f4-7e2c-7a11-8000-000000000000" }},
		{"an id with a colon", func(c *storage.Client) { c.ID = "a:b" }},
		{"an id with a newline", func(c *storage.Client) { c.ID = "a\nb" }},
		{"no name", func(c *storage.Client) { c.Name = "" }},
		{"a name with an escape", func(c *storage.Client) { c.Name = "a\x1b[31m" }},
		{"an unknown method", func(c *storage.Client) { c.AuthMethod = "tls" }},
		{"a public client with a secret", func(c *storage.Client) { c.SecretHashes = [][]byte{hash} }},
		{"a confidential client without", func(c *storage.Client) { c.AuthMethod = storage.AuthSecretBasic }},
		{"fosite-21 a hash that is none", func(c *storage.Client) {
			c.AuthMethod, c.SecretHashes = storage.AuthSecretBasic, [][]byte{{}}
		}},
		{"a public client without PKCE", func(c *storage.Client) { c.OptionalPKCE = true }},
		{"no grant", func(c *storage.Client) { c.GrantTypes = nil }},
		{"the implicit grant", func(c *storage.Client) { c.GrantTypes = []string{"implicit"} }},
		{"sec-C7 client_credentials without a secret", func(c *storage.Client) { c.GrantTypes = []string{grantCredentials} }},
		{"refresh_token alone", func(c *storage.Client) { c.GrantTypes = []string{grantRefresh} }},
		{"no redirect URI", func(c *storage.Client) { c.RedirectURIs = nil }},
		{"sec-I2 http", func(c *storage.Client) { c.RedirectURIs = []string{"http://app.example/cb"} }},
		{"sec-I2 a fragment", func(c *storage.Client) { c.RedirectURIs = []string{"https://app.example/cb#"} }},
		{"sec-I2 javascript", func(c *storage.Client) { c.RedirectURIs = []string{"javascript:alert(1)"} }},
		{"sec-I2 data", func(c *storage.Client) { c.RedirectURIs = []string{"data:text/html,x"} }},
		{"sec-I2 a wildcard", func(c *storage.Client) { c.RedirectURIs = []string{"https://*.app.example/cb"} }},
		{"sec-I2 a private scheme without a dot", func(c *storage.Client) { c.RedirectURIs = []string{"app:/cb"} }},
		{"userinfo", func(c *storage.Client) { c.RedirectURIs = []string{"https://a@app.example/cb"} }},
		{"a relative redirect URI", func(c *storage.Client) { c.RedirectURIs = []string{"/cb"} }},
		{"a backslash", func(c *storage.Client) { c.RedirectURIs = []string{`https://app.example\@evil.example/`} }},
		{"a scope with a quote", func(c *storage.Client) { c.Scopes = []string{`a"b`} }},
		{"a relative resource", func(c *storage.Client) { c.Resources = []string{"api"} }},
		{"a resource with a fragment", func(c *storage.Client) { c.Resources = []string{"https://api.example/#x"} }},
		{"HS256", func(c *storage.Client) { c.IDTokenAlg = "HS256" }},
		{"a grace of six minutes", func(c *storage.Client) { c.RefreshGrace = &grace }},
	} {
		t.Run(try.name, func(t *testing.T) {
			c := good
			try.change(&c)
			if ValidateClient(c) == nil {
				t.Error("accepted")
			}
		})
	}
	native := good
	native.RedirectURIs = []string{"com.example.app:/cb", "http://127.0.0.1/cb", "http://[::1]:8080/cb", "http://localhost:3000/cb"}
	if err := ValidateClient(native); err != nil {
		t.Errorf("a native app: %v", err)
	}
}

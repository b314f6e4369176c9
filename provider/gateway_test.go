package provider_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// check asks /gateway/check as a gateway does.
func (o *op) check(query string, authorization ...string) raw {
	o.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/gateway/check?"+query, nil)
	r.Header["Authorization"] = authorization
	w := httptest.NewRecorder()
	o.GatewayCheck(w, r)
	return raw{w.Code, w.Header(), w.Body.String()}
}

// signed is a token that our keys sign, whatever it says.
func (o *op) signed(typ string, claims map[string]any) string {
	o.t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		o.t.Fatal(err)
	}
	token, err := o.keys.Sign(keys.ES256, typ, text)
	if err != nil {
		o.t.Fatal(err)
	}
	return token
}

const forNotes = "audience=" + notesAPI

func TestGatewayCheck(t *testing.T) {
	o := newOP(t)
	app, _ := o.client(storage.Client{Resources: []string{notesAPI}})
	machine, secret := o.client(storage.Client{
		AuthMethod: storage.AuthSecretBasic, GrantTypes: []string{"client_credentials"}, Scopes: []string{"notes", "notes.write"},
		Resources: []string{notesAPI, "https://api.example/mail"},
	})
	got := o.tokens(app, "", "scope", "openid notes")
	person, idToken := got.text("access_token"), got.text("id_token")
	credentials := url.Values{"grant_type": {"client_credentials"}, "scope": {"notes"}, "resource": {notesAPI}}
	self := o.post(machine, secret, credentials).text("access_token")
	credentials.Set("resource", "https://api.example/mail")
	mail := o.post(machine, secret, credentials).text("access_token")

	claims := payload(t, person)
	with := func(name string, value any) map[string]any {
		c := maps.Clone(claims)
		c[name] = value
		return c
	}
	encode := func(header string) string { return base64.RawURLEncoding.EncodeToString([]byte(header)) }
	rest := person[strings.IndexByte(person, '.'):]
	kid, _ := tokenHeader(t, person)["kid"].(string)

	for _, row := range []struct {
		sentence      string
		query         string
		authorization []string
		status        int
		// code is the error of the challenge: empty when there is none.
		code string
	}{
		{"a person's token", forNotes, []string{"Bearer " + person}, 200, ""},
		{"a client's own token", forNotes + "&scope=notes", []string{"Bearer " + self}, 200, ""},
		{"the scheme in another case (RFC 9110 section 11.1)", forNotes, []string{"bEARER " + person}, 200, ""},
		{"scopes in another order", forNotes + "&scope=notes+openid", []string{"Bearer " + person}, 200, ""},
		{"a scope that it lacks", forNotes + "&scope=notes+notes.write", []string{"Bearer " + self}, 403, "insufficient_scope"},
		{"a scope that is part of one it has", forNotes + "&scope=note", []string{"Bearer " + self}, 403, "insufficient_scope"},
		{"sec-E3 another audience", forNotes, []string{"Bearer " + mail}, 401, "invalid_token"},
		{"sec-E3 an audience that its own begins with", "audience=https://api.example/", []string{"Bearer " + person}, 401, "invalid_token"},
		{"no token", forNotes, nil, 401, ""},
		{"another scheme", forNotes, []string{"Basic YTpi"}, 401, ""},
		{"a scheme alone", forNotes, []string{"Bearer"}, 401, ""},
		{"an empty token", forNotes, []string{"Bearer "}, 401, "invalid_token"},
		{"two headers", forNotes, []string{"Bearer " + person, "Bearer " + person}, 401, "invalid_request"},
		{"two headers joined by a proxy", forNotes, []string{"Bearer " + person + ", Bearer " + self}, 401, "invalid_token"},
		{"sec-E2 an ID token", forNotes, []string{"Bearer " + idToken}, 401, "invalid_token"},
		{"sec-E2 an ID token for this audience", forNotes, []string{"Bearer " + o.signed("JWT", claims)}, 401, "invalid_token"},
		{"a logout token with an access token's claims", forNotes, []string{"Bearer " + o.signed("logout+jwt", claims)}, 401, "invalid_token"},
		{"another issuer, signed by us", forNotes, []string{"Bearer " + o.signed("at+jwt", with("iss", "https://other.example"))}, 401, "invalid_token"},
		{"a key of somebody else", forNotes, []string{"Bearer " + forged(t, person)}, 401, "invalid_token"},
		{"an expired token", forNotes, []string{"Bearer " + o.signed("at+jwt", with("exp", o.now().Unix()))}, 401, "invalid_token"},
		{"exp that is no number", forNotes, []string{"Bearer " + o.signed("at+jwt", with("exp", "never"))}, 401, "invalid_token"},
		{"sec-P3 alg none", forNotes, []string{"Bearer " + encode(`{"alg":"none","kid":"`+kid+`","typ":"at+jwt"}`) + rest[:strings.LastIndexByte(rest, '.')+1]}, 401, "invalid_token"},
		{"sec-P3 crit", forNotes, []string{"Bearer " + encode(`{"alg":"ES256","kid":"`+kid+`","typ":"at+jwt","crit":["x"],"x":1}`) + rest}, 401, "invalid_token"},
		{"sec-P3 PBES2 of many rounds", forNotes, []string{"Bearer " + encode(`{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2c":2000000000,"p2s":"AAAA"}`) + ".AAAA.AAAA.AAAA.AAAA"}, 401, "invalid_token"},
		{"sec-P3 a huge kid", forNotes, []string{"Bearer " + encode(`{"alg":"ES256","kid":"`+strings.Repeat("k", 8000)+`","typ":"at+jwt"}`) + rest}, 401, "invalid_token"},
		{"a kid of nobody", forNotes, []string{"Bearer " + encode(`{"alg":"ES256","kid":"`+strings.Repeat("k", 43)+`","typ":"at+jwt"}`) + rest}, 401, "invalid_token"},
		{"900 kB", forNotes, []string{"Bearer " + strings.Repeat("x.", 450_000)}, 401, "invalid_token"},
		{"bytes that are no text", forNotes, []string{"Bearer \xff\x00.\x80."}, 401, "invalid_token"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			for _, again := range []string{"", ", asked again"} {
				r := o.check(row.query, row.authorization...)
				if r.status != row.status {
					t.Fatalf("answered %d %s%s, want %d", r.status, r.body, again, row.status)
				}
				challenge := r.header.Get("WWW-Authenticate")
				realm := `Bearer realm="` + o.issuer + `"`
				switch {
				case row.status == 200:
					if challenge != "" || r.body != "" {
						t.Errorf("200 with the challenge %q and %q", challenge, r.body)
					}
				case row.code == "" && challenge != realm:
					t.Errorf("the challenge is %q, want %q and no error (RFC 6750 section 3.1)", challenge, realm)
				case row.code != "" && !strings.HasPrefix(challenge, realm+`, error="`+row.code+`", error_description="`):
					t.Errorf("the challenge is %q, without %s", challenge, row.code)
				}
				if row.status != 200 && r.header.Get("X-Auth-Subject") != "" {
					t.Error("a refusal says who asked")
				}
				if r.header.Get("Cache-Control") != "no-store" {
					t.Error("sec-C8: it may be cached")
				}
			}
		})
	}

	t.Run("who asks is told in headers", func(t *testing.T) {
		h := o.check(forNotes, "Bearer "+person).header
		if h.Get("X-Auth-Subject") != o.user.ID || h.Get("X-Auth-Client") != app.ID || h.Get("X-Auth-Scope") != "openid notes" {
			t.Errorf("headers %v", h)
		}
		if h = o.check(forNotes, "Bearer "+self).header; h.Get("X-Auth-Subject") != machine.ID || h.Get("X-Auth-Client") != machine.ID {
			t.Errorf("of a client's own token: %v", h)
		}
	})
	t.Run("403 names the scopes that are needed", func(t *testing.T) {
		if c := o.check(forNotes+"&scope=notes+notes.write", "Bearer "+self).header.Get("WWW-Authenticate"); !strings.HasSuffix(c, `, scope="notes notes.write"`) {
			t.Errorf("the challenge is %q", c)
		}
	})
	t.Run("sec-E1 a token is read from the Authorization header alone", func(t *testing.T) {
		if r := o.check(forNotes + "&access_token=" + person); r.status != http.StatusBadRequest {
			t.Errorf("in the query: %d", r.status)
		}
		r := httptest.NewRequest(http.MethodGet, "/gateway/check?"+forNotes, strings.NewReader("access_token="+person))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Forwarded-Authorization", "Bearer "+person)
		r.AddCookie(&http.Cookie{Name: "access_token", Value: person})
		w := httptest.NewRecorder()
		if o.GatewayCheck(w, r); w.Code != http.StatusUnauthorized {
			t.Errorf("in the body, a cookie, another header: %d", w.Code)
		}
	})
	t.Run("sec-E3 a route that is set up wrong lets nobody in", func(t *testing.T) {
		for _, query := range []string{
			"", "audience=", "scope=notes", "audience=" + notesAPI + "&audience=https://api.example/mail", forNotes + "&scopes=notes.write",
			forNotes + "&scope=notes&scope=notes.write", forNotes + "&scope=%22", forNotes + "&scope=%0d%0aSet-Cookie:x", "audience=%zz",
		} {
			if r := o.check(query, "Bearer "+person); r.status != http.StatusBadRequest || r.header.Get("X-Auth-Subject") != "" {
				t.Errorf("%q: answered %d %v", query, r.status, r.header)
			}
		}
		if _, e := o.CheckBearer(context.Background(), person, provider.Requirement{}); e == nil {
			t.Error("a requirement without an audience is met")
		}
	})
	t.Run("other methods are not for it", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, "/gateway/check?"+forNotes, nil)
		r.Header.Set("Authorization", "Bearer "+person)
		w := httptest.NewRecorder()
		if o.GatewayCheck(w, r); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("answered %d %v", w.Code, w.Header())
		}
	})
}

func TestGatewayCheckNobodyKnows(t *testing.T) {
	o := newOP(t, func(c *provider.Config) { c.Denylist = blind{c.Denylist} })
	app, _ := o.client(storage.Client{Resources: []string{notesAPI}})
	token := o.tokens(app, "").text("access_token")
	for range 2 { // also with a token that is remembered
		r := o.check(forNotes, "Bearer "+token)
		after, err := strconv.Atoi(r.header.Get("Retry-After"))
		if r.status != http.StatusServiceUnavailable || err != nil || after < 1 || r.header.Get("WWW-Authenticate") != "" || r.header.Get("X-Auth-Subject") != "" {
			t.Errorf("sec-E4: answered %d %v", r.status, r.header)
		}
	}
}

// A token that is remembered is not believed for longer than any other.
func TestGatewayRemembers(t *testing.T) {
	o := newOP(t)
	app, _ := o.client(storage.Client{Resources: []string{notesAPI}})
	fresh := func() string {
		token := o.tokens(app, "", "scope", "openid notes").text("access_token")
		for range 2 {
			if r := o.check(forNotes, "Bearer "+token); r.status != http.StatusOK {
				t.Fatalf("a good token is answered %d %s", r.status, r.body)
			}
		}
		return token
	}
	gone := func(t *testing.T, token string) {
		t.Helper()
		if r := o.check(forNotes, "Bearer "+token); r.status != http.StatusUnauthorized {
			t.Errorf("answered %d", r.status)
		}
	}
	t.Run("sec-E3 it does not open another API", func(t *testing.T) {
		token := fresh()
		if r := o.check("audience=https://api.example/mail", "Bearer "+token); r.status != http.StatusUnauthorized {
			t.Errorf("answered %d", r.status)
		}
		if r := o.check(forNotes+"&scope=profile", "Bearer "+token); r.status != http.StatusForbidden {
			t.Errorf("answered %d to a scope it lacks", r.status)
		}
	})
	t.Run("sec-E6 it is revoked", func(t *testing.T) {
		token := fresh()
		o.send("/revoke", app, "", url.Values{"token": {token}})
		gone(t, token)
	})
	t.Run("sec-N2 the keys were replaced in an emergency", func(t *testing.T) {
		token := fresh()
		if err := o.keys.RotateEmergency(context.Background()); err != nil {
			t.Fatal(err)
		}
		gone(t, token)
		fresh()
	})
	t.Run("sec-N2 the keys were replaced while many asked", func(t *testing.T) {
		token := fresh()
		need := provider.Requirement{Audience: notesAPI}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = o.CheckBearer(context.Background(), token, need)
					}
				}
			})
		}
		if err := o.keys.RotateEmergency(context.Background()); err != nil {
			t.Error(err)
		}
		for range 200 {
			if _, e := o.CheckBearer(context.Background(), token, need); e == nil {
				t.Error("a token of a dropped key is let in")
				break
			}
		}
		close(stop)
		wg.Wait()
	})
	t.Run("sec-N2 a rotation in good time forgets nobody", func(t *testing.T) {
		token := fresh()
		if err := o.keys.Rotate(context.Background()); err != nil {
			t.Fatal(err)
		}
		if r := o.check(forNotes, "Bearer "+token); r.status != http.StatusOK {
			t.Errorf("answered %d", r.status)
		}
	})
	t.Run("a changed signature is another token", func(t *testing.T) {
		token := fresh()
		gone(t, token[:len(token)-4]+"AAAA")
	})
	t.Run("it is past exp", func(t *testing.T) {
		token := fresh()
		o.pass(15*time.Minute + time.Second)
		gone(t, token)
	})
}

// What a gateway asks costs one trip to Valkey, and none to SQL.
func TestGatewayBudget(t *testing.T) {
	o := newOP(t)
	app, _ := o.client(storage.Client{Resources: []string{notesAPI}})
	token := o.tokens(app, "", "scope", "openid notes").text("access_token")
	other := o.tokens(app, "", "scope", "openid notes").text("access_token")
	o.check(forNotes, "Bearer "+token)
	for _, row := range []struct {
		name     string
		volatile int64
		query    string
		bearer   string
		status   int
	}{
		{"a token that is new here", 1, forNotes, other, 200},
		{"one that is remembered", 1, forNotes, token, 200},
		{"one for another API", 0, "audience=x", token, 401},
		{"one that lacks a scope", 0, forNotes + "&scope=profile", token, 403},
		{"garbage", 0, forNotes, "garbage", 401},
		{"a forged one", 0, forNotes, forged(t, token), 401},
	} {
		t.Run(row.name, func(t *testing.T) {
			reads, writes, volatile := o.trips.cost(func() {
				if r := o.check(row.query, "Bearer "+row.bearer); r.status != row.status {
					t.Errorf("answered %d %s", r.status, r.body)
				}
			})
			if reads != 0 || writes != 0 || volatile != row.volatile {
				t.Errorf("cost %d SQL reads, %d SQL writes, %d Valkey trips; the budget is 0, 0, %d", reads, writes, volatile, row.volatile)
			}
		})
	}
}

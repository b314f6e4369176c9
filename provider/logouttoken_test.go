package provider_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-id/gatehouse/egress"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// An rp is an app's server, which is told of logouts.
type rp struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	types  []string
	tls    []uint16
	// answer is what it does with a request; nil is 200.
	answer func(http.ResponseWriter, *http.Request)
}

func newRP(t *testing.T) *rp {
	t.Helper()
	s := &rp{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.bodies, s.types, s.tls = append(s.bodies, string(body)), append(s.types, r.Header.Get("Content-Type")), append(s.tls, r.TLS.Version)
		answer := s.answer
		s.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *rp) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodies[len(s.bodies)-1]
}

// reaches makes a client of the network that may reach the servers, and notes the
// longest time that a request is given.
func reaches(t *testing.T, longest *atomic.Int64, servers ...*rp) *egress.Client {
	t.Helper()
	c := egress.Config{Roots: x509.NewCertPool(), Observe: func(to http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			end, ok := r.Context().Deadline()
			if !ok {
				t.Error("a request may take for ever")
			}
			longest.Store(max(longest.Load(), int64(time.Until(end))))
			return to.RoundTrip(r)
		})
	}}
	for _, s := range servers {
		c.Roots.AddCert(s.Certificate())
		c.Allow = append(c.Allow, s.Listener.Addr().String())
	}
	e, err := egress.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTellLogout(t *testing.T) {
	s := newRP(t)
	var longest atomic.Int64
	o := newOP(t, func(c *provider.Config) { c.Egress = reaches(t, &longest, s) })
	metadata := storage.ClientMetadata{BackchannelLogoutURI: s.URL + "/backchannel_logout?x=1"}
	app, _ := o.client(storage.Client{FirstParty: true, Metadata: metadata})
	rsa, _ := o.client(storage.Client{FirstParty: true, IDTokenAlg: "RS256", Metadata: metadata})
	ctx := context.Background()
	notice := func(c storage.Client) storage.Notice {
		return storage.Notice{ID: "s-1." + c.ID, ClientID: c.ID, UserID: o.user.ID, SessionID: "s-1", CreatedAt: o.now()}
	}

	var set jose.JSONWebKeySet
	req, _ := http.NewRequest(http.MethodGet, o.issuer+"/jwks", nil)
	if err := json.Unmarshal([]byte(o.fetch(req).body), &set); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range []struct {
		alg    jose.SignatureAlgorithm
		client storage.Client
	}{{jose.ES256, app}, {jose.RS256, rsa}} {
		t.Run("sec-G4 a logout token signed as its ID tokens, "+string(c.alg), func(t *testing.T) {
			if err := o.TellLogout(ctx, notice(c.client)); err != nil {
				t.Fatal(err)
			}
			form, err := url.ParseQuery(s.last())
			if err != nil || len(form) != 1 || len(form["logout_token"]) != 1 {
				t.Fatalf("the app got %q", s.last())
			}
			if s.types[len(s.types)-1] != "application/x-www-form-urlencoded" || s.tls[len(s.tls)-1] < 0x0303 {
				t.Errorf("as %s, TLS %x", s.types[len(s.types)-1], s.tls[len(s.tls)-1])
			}
			jws, err := jose.ParseSignedCompact(form.Get("logout_token"), []jose.SignatureAlgorithm{c.alg})
			if err != nil {
				t.Fatal(err)
			}
			raw, err := jws.Verify(set)
			if err != nil {
				t.Fatal(err)
			}
			if typ := jws.Signatures[0].Header.ExtraHeaders["typ"]; typ != "logout+jwt" {
				t.Errorf("typ is %v", typ)
			}
			var claims map[string]any
			if err := json.Unmarshal(raw, &claims); err != nil {
				t.Fatal(err)
			}
			iat, _ := claims["iat"].(float64)
			exp, _ := claims["exp"].(float64)
			jti, _ := claims["jti"].(string)
			events, _ := json.Marshal(claims["events"])
			switch {
			case claims["iss"] != o.issuer, claims["aud"] != c.client.ID, claims["sub"] != o.user.ID, claims["sid"] != "s-1":
				t.Errorf("the claims are %v", claims)
			case exp <= iat, exp-iat > 120, time.Unix(int64(iat), 0).Sub(o.now()).Abs() > 5*time.Second:
				t.Errorf("it is good from %v to %v", iat, exp)
			case string(events) != `{"http://schemas.openid.net/event/backchannel-logout":{}}`:
				t.Errorf("events are %s", events)
			case len(jti) < 20 || seen[jti]:
				t.Errorf("jti is %q", jti)
			case len(claims) != 8: // no nonce above all (section 2.4)
				t.Errorf("there are more claims: %v", claims)
			}
			seen[jti] = true
			if r := o.userinfo(form.Get("logout_token")); r.status != http.StatusUnauthorized {
				t.Errorf("it is taken for an access token: %d", r.status)
			}
			if q, _ := o.browser().endSession(http.MethodGet, url.Values{"id_token_hint": {form.Get("logout_token")}}); q.Proved {
				t.Error("it is taken for an ID token")
			}
		})
	}
	t.Run("each try has a token of its own", func(t *testing.T) {
		before := s.last()
		if err := o.TellLogout(ctx, notice(app)); err != nil || s.last() == before {
			t.Errorf("the same token again (%v)", err)
		}
	})
	for _, try := range []struct {
		sentence string
		answer   func(http.ResponseWriter, *http.Request)
		want     string
	}{
		{"200 is taken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }, ""},
		{"204 is taken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, ""},
		{"400 is not", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "canary", http.StatusBadRequest) }, "the client answered with the status 400"},
		{"500 is not", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "canary", http.StatusInternalServerError) }, "the client answered with the status 500"},
		{"sec-H2 a redirect is not followed", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, s.URL+"/elsewhere", http.StatusTemporaryRedirect)
		}, "the client answered with the status 307"},
		{"a connection that breaks", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "the client was not reached: EOF"},
	} {
		t.Run(try.sentence, func(t *testing.T) {
			s.mu.Lock()
			s.answer = try.answer
			n := len(s.bodies)
			s.mu.Unlock()
			got := ""
			if err := o.TellLogout(ctx, notice(app)); err != nil {
				got = err.Error()
			}
			if got != try.want {
				t.Errorf("it is %q, want %q", got, try.want)
			}
			if m := len(s.bodies) - n; m != 1 {
				t.Errorf("asked %d times in one try", m)
			}
		})
	}
	t.Run("sec-G4 one try takes five seconds at most", func(t *testing.T) {
		s.mu.Lock()
		s.answer = func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // or a late 200 could still be read
		}
		s.mu.Unlock()
		// What a try may take is seen as it begins. The caller of this one has less.
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		err := o.TellLogout(ctx, notice(app))
		if err == nil || err.Error() != "the client did not answer within 5s" {
			t.Errorf("it is %v", err)
		}
		if d := longest.Load(); d < int64(4*time.Second) || d > int64(5*time.Second) {
			t.Errorf("a try may take %v", time.Duration(d))
		}
	})
	t.Run("sec-G4 sec-H1 an address inside is not asked", func(t *testing.T) {
		inside := newRP(t)
		c, _ := o.client(storage.Client{Metadata: storage.ClientMetadata{BackchannelLogoutURI: inside.URL}})
		err := o.TellLogout(ctx, notice(c))
		if !errors.Is(err, egress.ErrRefused) || len(inside.bodies) > 0 {
			t.Errorf("it is %v; the server was asked %d times", err, len(inside.bodies))
		}
	})
	t.Run("a client that is gone, or wants nothing", func(t *testing.T) {
		silent, _ := o.client(storage.Client{})
		for _, c := range []storage.Client{silent, {ID: "gone"}} {
			if err := o.TellLogout(ctx, notice(c)); !errors.Is(err, provider.ErrNobodyToTell) {
				t.Errorf("it is %v", err)
			}
		}
	})
}

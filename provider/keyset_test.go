package provider_test

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// keySet asks for the keys.
func (o *op) keySet(method, path string, header ...string) raw {
	o.t.Helper()
	req, err := http.NewRequest(method, o.issuer+path, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return o.fetch(req)
}

// kids are those in a JWK Set.
func kids(t *testing.T, body string) (ids []string) {
	t.Helper()
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	if err := json.Unmarshal([]byte(body), &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		ids = append(ids, k.ID)
	}
	return ids
}

// The contract of JWKS, at the address of everybody and at that of a gateway.
func TestJWKSContract(t *testing.T) {
	o := newOP(t)
	g := o.gateway("edge")
	own := strings.TrimPrefix(provider.GatewayJWKS(o.issuer, g), o.issuer)
	for _, at := range []struct{ name, path, cache string }{
		{"everybody's", "/jwks", "public, max-age=900, stale-while-revalidate=300"},
		{"a gateway's", own, "public, max-age=60"},
	} {
		t.Run(at.name, func(t *testing.T) {
			got := o.keySet(http.MethodGet, at.path)
			etag := got.header.Get("ETag")
			t.Run("sec-N5 it may be cached, by everybody and for a known time", func(t *testing.T) {
				if got.status != http.StatusOK || got.header.Get("Cache-Control") != at.cache {
					t.Errorf("%d, Cache-Control: %s", got.status, got.header.Get("Cache-Control"))
				}
				if len(etag) < 18 || !strings.HasPrefix(etag, `"`) || !strings.HasSuffix(etag, `"`) {
					t.Errorf("ETag %s is not strong", etag)
				}
				if got.header.Get("Access-Control-Allow-Origin") != "*" || got.header.Get("Content-Type") != "application/json" {
					t.Errorf("headers are %v", got.header)
				}
				if len(kids(t, got.body)) != 2 {
					t.Errorf("the body is %s", got.body)
				}
			})
			for _, c := range []struct {
				sentence, method string
				header           []string
				status           int
				body             bool
			}{
				{"who has it is told so", http.MethodGet, []string{"If-None-Match", etag}, http.StatusNotModified, false},
				{"also by a cache that calls it weak", http.MethodGet, []string{"If-None-Match", `"other", W/` + etag}, http.StatusNotModified, false},
				{"who has another gets it", http.MethodGet, []string{"If-None-Match", `"other"`}, http.StatusOK, true},
				{"HEAD has the headers alone", http.MethodHead, nil, http.StatusOK, false},
				{"HEAD is conditional too", http.MethodHead, []string{"If-None-Match", etag}, http.StatusNotModified, false},
				{"nothing else is done with it", http.MethodPost, nil, http.StatusMethodNotAllowed, true},
			} {
				t.Run(c.sentence, func(t *testing.T) {
					got := o.keySet(c.method, at.path, c.header...)
					if got.status != c.status || (len(got.body) > 0) != c.body {
						t.Errorf("%d with %d bytes, want %d", got.status, len(got.body), c.status)
					}
					if c.status == http.StatusMethodNotAllowed {
						return
					}
					if got.header.Get("ETag") != etag || got.header.Get("Cache-Control") != at.cache {
						t.Errorf("headers are %v", got.header)
					}
				})
			}
		})
	}
	t.Run("both are the same bytes", func(t *testing.T) {
		if o.keySet(http.MethodGet, "/jwks").body != o.keySet(http.MethodGet, own).body {
			t.Error("a gateway is told something else")
		}
	})
	t.Run("there is nothing at an address of nobody", func(t *testing.T) {
		for _, path := range []string{"/jwks/", "/jwks/AAAAAAAAAAAAAAAAAAAAAAAAAA", "/jwks/%00", own + "A", own + "/", "/jwks/" + strings.Repeat("A", 5000)} {
			if got := o.keySet(http.MethodGet, path); got.status != http.StatusNotFound || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%.40s: %d %v", path, got.status, got.header)
			}
		}
	})
	t.Run("new keys are another document", func(t *testing.T) {
		before := o.keySet(http.MethodGet, "/jwks")
		if err := o.keys.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		after := o.keySet(http.MethodGet, "/jwks", "If-None-Match", before.header.Get("ETag"))
		if after.status != http.StatusOK || len(kids(t, after.body)) != 4 || after.header.Get("ETag") == before.header.Get("ETag") {
			t.Errorf("after a rotation %d %v with %d keys", after.status, after.header, len(kids(t, after.body)))
		}
	})
}

// What a gateway was given is written down, and no more often than is of use.
func TestGatewayFetches(t *testing.T) {
	o := newOP(t)
	g := o.gateway("edge")
	path := strings.TrimPrefix(provider.GatewayJWKS(o.issuer, g), o.issuer)
	first := o.keys.JWKS()
	read := func(t *testing.T) storage.Gateway {
		t.Helper()
		g, err := o.db.Gateway(t.Context(), g.ID)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	for _, c := range []struct {
		sentence string
		before   func(*testing.T)
		method   string
		header   []string
		writes   int64
	}{
		{"HEAD gives nothing", nil, http.MethodHead, nil, 0},
		{"a 304 for whatever there may be gives nothing", nil, http.MethodGet, []string{"If-None-Match", "*"}, 0},
		{"what it fetches is noted", nil, http.MethodGet, nil, 1},
		{"the same again is not", nil, http.MethodGet, nil, 0},
		{"nor that it has it still", nil, http.MethodGet, []string{"If-None-Match", first.ETag}, 0},
		{"after a minute it is", func(*testing.T) { o.pass(time.Minute) }, http.MethodGet, []string{"If-None-Match", first.ETag}, 1},
		{"new keys are noted at once", func(t *testing.T) {
			if err := o.keys.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, http.MethodGet, []string{"If-None-Match", first.ETag}, 1},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			if c.before != nil {
				c.before(t)
			}
			was := read(t)
			// Not over HTTP: the answer is there before it is noted.
			r := httptest.NewRequest(c.method, path, nil)
			for i := 0; i < len(c.header); i += 2 {
				r.Header.Set(c.header[i], c.header[i+1])
			}
			reads, writes, _ := o.trips.cost(func() { o.GatewayKeys(httptest.NewRecorder(), r) })
			if reads != 1 || writes != c.writes {
				t.Errorf("%d reads and %d writes, want 1 and %d", reads, writes, c.writes)
			}
			is := read(t)
			if c.writes == 0 && (!is.FetchedAt.Equal(was.FetchedAt) || !slices.Equal(is.SeenKeys, was.SeenKeys)) {
				t.Errorf("it says %+v, after %+v", is, was)
			}
			if c.writes > 0 && (o.now().Sub(is.FetchedAt) > 30*time.Second || !slices.Equal(is.SeenKeys, o.keys.JWKS().KeyIDs)) {
				t.Errorf("it says %+v, and the keys are %v", is, o.keys.JWKS().KeyIDs)
			}
		})
	}
	t.Run("without a database it has its keys all the same", func(t *testing.T) {
		if err := o.db.Close(); err != nil {
			t.Fatal(err)
		}
		if got := o.keySet(http.MethodGet, path); got.status != http.StatusOK || len(kids(t, got.body)) != 4 {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
	t.Run("but a removed one has none", func(t *testing.T) {
		o := newOP(t)
		g := o.gateway("edge")
		if err := o.db.DeleteGateway(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		if got := o.keySet(http.MethodGet, "/jwks/"+g.ID); got.status != http.StatusNotFound {
			t.Errorf("%d", got.status)
		}
	})
}

// A sink is a response of which nothing is kept.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

// allocations is the least of several counts: the servers of this process
// allocate now and then.
func allocations(do func()) float64 {
	n := math.Inf(1)
	for range 10 {
		n = min(n, testing.AllocsPerRun(100, do))
	}
	return n
}

// JWKS is bytes that are there already.
func TestJWKSAllocatesNothing(t *testing.T) {
	o := newOP(t)
	for _, c := range []struct {
		name, match string
		status      int
	}{{"200", "", http.StatusOK}, {"304", o.keys.JWKS().ETag, http.StatusNotModified}} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/jwks", nil)
			if c.match != "" {
				r.Header.Set("If-None-Match", c.match)
			}
			w := &sink{header: http.Header{}}
			if n := allocations(func() { clear(w.header); o.JWKS(w, r) }); n > 0 {
				t.Errorf("%v allocations", n)
			}
			if w.status != c.status || w.header.Get("Cache-Control") == "" {
				t.Errorf("%d %v", w.status, w.header)
			}
		})
	}
}

// sec-N2: in an emergency what was signed before is refused at once, and what
// other keys authenticate lives on.
func TestEmergency(t *testing.T) {
	o := newOP(t)
	c, _ := o.client(storage.Client{})
	b := o.browser()
	b.authorize(o.request(c))
	tokens := o.tokens(c, "")
	if got := o.userinfo(tokens.text("access_token")); got.status != http.StatusOK {
		t.Fatalf("before: %d", got.status)
	}
	if err := o.keys.RotateEmergency(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := o.userinfo(tokens.text("access_token")); got.status != http.StatusUnauthorized {
		t.Errorf("an access token of a dropped key is answered %d", got.status)
	}
	next := o.post(c, "", refresh(tokens.text("refresh_token")))
	if next.status != http.StatusOK {
		t.Fatalf("the refresh token is answered %d %v", next.status, next.body)
	}
	if got := o.userinfo(next.text("access_token")); got.status != http.StatusOK {
		t.Errorf("a token of the new key is answered %d", got.status)
	}
	if a := b.authorize(o.request(c, "prompt", "none")); a.params.Get("code") == "" {
		t.Errorf("who was signed in is answered %v", a.params)
	}
}

func (o *op) gateway(name string) storage.Gateway {
	o.t.Helper()
	g := provider.NewGateway(name, o.now())
	if err := o.db.CreateGateway(context.Background(), g); err != nil {
		o.t.Fatal(err)
	}
	return g
}

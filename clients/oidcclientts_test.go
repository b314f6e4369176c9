package clients_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
)

// A spaState is what the app of npm/spa.mjs shows.
type spaState struct {
	// Turn counts what was asked of it since it was loaded.
	Turn      int
	Error     string
	SignedOut bool
	Revoked   bool

	Sub, Email, Name, Access, Refresh string
}

// TestOIDCClientTS is oidc-client-ts in an app without a server of its own, on
// another site than the provider, in a Chromium that blocks third-party cookies.
func TestOIDCClientTS(t *testing.T) {
	modules := libraries(t)
	w := newWindow(t)

	// The provider is at localhost, the app at 127.0.0.1: two sites.
	h := newHouse(t)
	ada := h.account(t, "ada@example.org")
	mux := http.NewServeMux()
	app := httptest.NewServer(mux)
	t.Cleanup(app.Close)
	spa := h.client(t, "--name", "Notes", "--public", "--redirect-uri", app.URL+"/callback", "--post-logout-redirect", app.URL+"/bye")
	page := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; img-src data:; connect-src 'self' http://localhost:* http://127.0.0.1:*")
		http.ServeFile(w, r, filepath.Join("npm", "spa.html"))
	}
	for _, path := range []string{"/{$}", "/callback", "/bye"} {
		mux.HandleFunc("GET "+path, page)
	}
	mux.HandleFunc("GET /spa.mjs", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		http.ServeFile(w, r, filepath.Join("npm", "spa.mjs"))
	})
	mux.HandleFunc("GET /oidc-client-ts.min.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(modules, "oidc-client-ts", "dist", "browser", "oidc-client-ts.min.js"))
	})
	mux.HandleFunc("GET /settings", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{
			"authority": h.issuer, "client_id": spa.ID, "redirect_uri": app.URL + "/callback", "post_logout_redirect_uri": app.URL + "/bye",
		})
	})

	state := func(t *testing.T, what string, fits func(spaState) bool) spaState {
		t.Helper()
		return shows(w, what, "#state", fits)
	}
	// at lets a part of the test answer for what happens at the window.
	at := func(part string, do func(t *testing.T)) bool {
		return t.Run(part, func(t *testing.T) {
			defer func() { w.t = t }()
			w.t, t = t, w.t
			do(w.t)
		})
	}
	at("third-party cookies are blocked", func(t *testing.T) {
		var with atomic.Bool
		site := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := r.Cookie("seen")
			with.Store(err == nil)
			http.SetCookie(w, &http.Cookie{Name: "seen", Value: "1", Secure: true, SameSite: http.SameSiteNoneMode, HttpOnly: true})
			w.Header().Set("Access-Control-Allow-Origin", app.URL)
			w.Header().Set("Access-Control-Allow-Credentials", "true")
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(`<!doctype html><link rel="icon" href="data:,"><title>probe</title>`))
		}))
		site.Start()
		t.Cleanup(site.Close)
		_, port, err := net.SplitHostPort(strings.TrimPrefix(site.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		// The same server, on the site of the app and on the other.
		same, other := site.URL+"/", "http://localhost:"+port+"/"
		for _, address := range []string{same, other} {
			w.visit(address)
			if w.visit(address); !with.Load() {
				t.Errorf("%s is not sent its cookie when it is the page", address)
			}
		}
		w.visit(app.URL)
		state(t, "the app is there", func(s spaState) bool { return s.SignedOut })
		for address, want := range map[string]bool{same: true, other: false} {
			patiently(w, chromedp.Evaluate[string]("probe('"+address+"')", chromedp.EvalAwaitPromise))
			if with.Load() != want {
				t.Errorf("a script of the app has %s sent its cookie: %v", address, !want)
			}
		}
	})

	var user spaState
	ok := at("sign-in redirect, token by CORS, userinfo", func(t *testing.T) {
		w.visit(app.URL)
		state(t, "the app is there", func(s spaState) bool { return s.SignedOut })
		w.click("#signin")
		w.fill("identifier", ada.Email)
		w.fill("password", ada.Password)
		w.click("#login-submit")
		w.click("#consent-allow")
		user = state(t, "somebody is signed in", func(s spaState) bool { return s.Sub != "" || s.Error != "" })
		if user.Error != "" || user.Sub != ada.Subject || user.Email != ada.Email || user.Name != "Ada Lovelace" {
			t.Fatalf("the app knows %+v", user)
		}
	})
	if !ok {
		return
	}
	at("renewal by refresh token", func(t *testing.T) {
		w.click("#renew")
		next := state(t, "the tokens are others", func(s spaState) bool { return s.Turn == 1 })
		if next.Error != "" || next.Sub != ada.Subject || next.Access == user.Access || next.Refresh == user.Refresh || next.Refresh == "" {
			t.Errorf("after the renewal the app knows %+v", next)
		}
	})
	at("sign-out", func(t *testing.T) {
		w.click("#signout")
		if at := patiently(w, chromedp.Location()); strings.HasPrefix(at, h.issuer) {
			w.click("#logout-confirm")
		}
		if s := state(t, "the app says so", func(s spaState) bool { return s.SignedOut || s.Error != "" }); s.Error != "" {
			t.Errorf("the app says %+v", s)
		}
		w.click("#signin")
		w.fill("identifier", ada.Email)
	})
	at("revocation by CORS", func(t *testing.T) {
		w.fill("password", ada.Password)
		w.click("#login-submit")
		w.click("#consent-allow")
		state(t, "somebody is signed in again", func(s spaState) bool { return s.Sub != "" })
		w.click("#revoke")
		if s := state(t, "the tokens are revoked", func(s spaState) bool { return s.Turn == 1 }); !s.Revoked {
			t.Errorf("the app says %+v", s)
		}
	})
}

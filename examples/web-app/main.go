// Command web-app is a web app whose people sign in with Gatehouse. It is the
// program of docs/quickstart/web-app.md.
//
//	CLIENT_SECRET=… go run ./examples/web-app
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"html/template"
	"log"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// What was registered, and where this app is.
const (
	issuer   = "http://localhost:8080"
	clientID = "notes"
	self     = "http://localhost:3000"
)

func main() {
	app, err := newApp(context.Background(), os.Getenv("CLIENT_SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	log.Print("listening at ", self)
	server := &http.Server{Addr: "localhost:3000", Handler: app.routes(), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// An app knows the provider, and who is signed in.
type app struct {
	provider *oidc.Provider
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
	logout   string // the provider's end_session_endpoint

	mu sync.Mutex
	// attempts are sign-ins that have begun, and sessions those that have ended
	// well, by the values of their cookies. In earnest they are in a database,
	// and attempts are deleted after some minutes.
	attempts map[string]attempt
	sessions map[string]session
}

// An attempt is what must come back unchanged from the provider.
type attempt struct{ state, nonce, verifier string }

// A session is a person who is signed in at this app. Subject is who it is, for
// ever; name and address may change.
type session struct {
	Subject, Name, Email string
	idToken              string
}

func newApp(ctx context.Context, secret string) (*app, error) {
	if secret == "" {
		return nil, errors.New("CLIENT_SECRET is not set")
	}
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return nil, err
	}
	var more struct {
		Logout string `json:"end_session_endpoint"`
	}
	if err := provider.Claims(&more); err != nil {
		return nil, err
	}
	return &app{
		provider: provider,
		oauth: oauth2.Config{
			ClientID: clientID, ClientSecret: secret, Endpoint: provider.Endpoint(),
			RedirectURL: self + "/callback", Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
		},
		verifier: provider.Verifier(&oidc.Config{ClientID: clientID, SupportedSigningAlgs: []string{oidc.ES256}}),
		logout:   more.Logout,
		attempts: map[string]attempt{}, sessions: map[string]session{},
	}, nil
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("GET /login", a.login)
	mux.HandleFunc("GET /callback", a.callback)
	mux.HandleFunc("POST /logout", a.signOut)
	// A form on somebody else's page must not sign a person out here.
	return http.NewCrossOriginProtection().Handler(mux)
}

var page = template.Must(template.New("").Parse(`<!doctype html><title>Notes</title>
{{if .}}<p>Hello, {{.Name}} &lt;{{.Email}}&gt;.</p><form method="post" action="/logout"><button>Sign out</button></form>
{{else}}<p>Nobody is signed in.</p><a href="/login">Sign in</a>{{end}}
`))

func (a *app) home(w http.ResponseWriter, r *http.Request) {
	var who *session
	if c, err := r.Cookie("session"); err == nil {
		a.mu.Lock()
		if s, ok := a.sessions[c.Value]; ok {
			who = &s
		}
		a.mu.Unlock()
	}
	if err := page.Execute(w, who); err != nil {
		log.Print(err)
	}
}

// login sends the browser to the provider.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	now := attempt{state: rand.Text(), nonce: rand.Text(), verifier: oauth2.GenerateVerifier()}
	id := rand.Text()
	a.mu.Lock()
	a.attempts[id] = now
	a.mu.Unlock()
	setCookie(w, "attempt", id)
	to := a.oauth.AuthCodeURL(now.state, oidc.Nonce(now.nonce), oauth2.S256ChallengeOption(now.verifier))
	http.Redirect(w, r, to, http.StatusFound)
}

// callback is where the provider sends the browser back to.
func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	who, err := a.redeem(r)
	if err != nil {
		log.Print(err)
		http.Error(w, "The sign-in failed: "+err.Error(), http.StatusBadRequest)
		return
	}
	id := rand.Text()
	a.mu.Lock()
	a.sessions[id] = who
	a.mu.Unlock()
	setCookie(w, "session", id)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// redeem turns the answer in the address into a person.
func (a *app) redeem(r *http.Request) (session, error) {
	c, err := r.Cookie("attempt")
	if err != nil {
		return session{}, errors.New("this browser has not begun to sign in")
	}
	a.mu.Lock()
	begun, ok := a.attempts[c.Value]
	delete(a.attempts, c.Value) // each is good for one answer
	a.mu.Unlock()
	answer := r.URL.Query()
	switch {
	case !ok || answer.Get("state") != begun.state:
		return session{}, errors.New("this is not the answer to what was asked")
	case answer.Get("iss") != issuer: // RFC 9207
		return session{}, errors.New("somebody else has answered")
	case answer.Has("error"):
		return session{}, errors.New(cmp.Or(answer.Get("error_description"), answer.Get("error")))
	}
	tokens, err := a.oauth.Exchange(r.Context(), answer.Get("code"), oauth2.VerifierOption(begun.verifier))
	if err != nil {
		return session{}, err
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := a.verifier.Verify(r.Context(), raw)
	if err != nil {
		return session{}, err
	}
	if id.Nonce != begun.nonce {
		return session{}, errors.New("the ID token is of another sign-in")
	}
	// The ID token says who it is; name and address are asked for (UserInfo).
	info, err := a.provider.UserInfo(r.Context(), oauth2.StaticTokenSource(tokens))
	if err != nil {
		return session{}, err
	}
	if info.Subject != id.Subject {
		return session{}, errors.New("the answer is about somebody else")
	}
	who := session{Subject: id.Subject, idToken: raw}
	return who, info.Claims(&who)
}

// signOut ends the session here, and then at the provider.
func (a *app) signOut(w http.ResponseWriter, r *http.Request) {
	var who session
	if c, err := r.Cookie("session"); err == nil {
		a.mu.Lock()
		who = a.sessions[c.Value]
		delete(a.sessions, c.Value)
		a.mu.Unlock()
	}
	to := a.logout + "?" + url.Values{"id_token_hint": {who.idToken}, "post_logout_redirect_uri": {self + "/"}}.Encode()
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// setCookie sets a cookie that scripts cannot read. In earnest it is Secure as
// well, and its name begins with __Host-.
func setCookie(w http.ResponseWriter, name, value string) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

//go:build !slim

package dev

import (
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/gatehouse-id/gatehouse/web"
)

//go:embed templates
var templateFiles embed.FS

// A Letter is a mail as its reader would have got it.
type Letter struct {
	Kind    string
	To      string
	Subject string
	Text    string
	// Code is what the reader is to enter; empty when the letter has none.
	Code string
	At   time.Time
}

// Config says what is shown. All but HTTP, Now and Log are required.
type Config struct {
	Frame *web.Frame
	// Issuer is the provider that the app signs in with, on this server.
	Issuer string
	// ClientID is a public client with the redirect URI Issuer +
	// "/dev/app/callback", the grant types authorization_code and refresh_token,
	// and the scopes openid, profile, email and offline_access.
	ClientID string
	// Letters returns the letters sent, newest first.
	Letters func() []Letter
	// HTTP is the app's way to the provider. Nil is a client of its own.
	HTTP *http.Client
	// Now is nil for time.Now.
	Now func() time.Time
	// Log is nil for slog.Default.
	Log *slog.Logger
}

type server struct {
	frame   *web.Frame
	pages   map[string]web.Template
	letters func() []Letter
	app     *app
	host    string
	issuer  string
	log     *slog.Logger
}

// New returns the handler of everything under /dev.
func New(c Config) (http.Handler, error) {
	if c.Frame == nil || c.Issuer == "" || c.ClientID == "" || c.Letters == nil {
		return nil, errors.New("dev: Frame, Issuer, ClientID and Letters are required")
	}
	issuer, err := url.Parse(c.Issuer)
	if err != nil {
		return nil, err
	}
	if c.HTTP == nil {
		c.HTTP = &http.Client{Timeout: 10 * time.Second}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	pages, err := c.Frame.Parse(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	s := &server{
		frame: c.Frame, pages: pages, letters: c.Letters, app: newApp(c),
		host: issuer.Host, issuer: c.Issuer, log: c.Log,
	}
	mux := http.NewServeMux()
	mux.Handle("GET /dev", http.RedirectHandler("/dev/app", http.StatusSeeOther))
	mux.Handle("GET /dev/{$}", http.RedirectHandler("/dev/app", http.StatusSeeOther))
	mux.HandleFunc("GET /dev/mail", s.mail)
	mux.HandleFunc("GET /dev/app", s.show)
	mux.HandleFunc("POST /dev/app/signin", s.signIn)
	mux.HandleFunc("GET /dev/app/callback", s.callback)
	mux.HandleFunc("POST /dev/app/refresh", s.refresh)
	mux.HandleFunc("POST /dev/app/signout", s.signOut)
	return s.atHome(http.NewCrossOriginProtection().Handler(mux)), nil
}

// atHome sends a reader who came by another name of this host (127.0.0.1 for
// localhost) to the one that cookies and the redirect URI belong to.
func (s *server) atHome(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.Host != s.host {
			http.Redirect(w, r, s.issuer+r.URL.RequestURI(), http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) write(w http.ResponseWriter, r *http.Request, name, title string, data any) {
	err := s.frame.Write(w, r, s.pages[name], web.Page{
		Name: "dev-" + name, Title: title, Wide: true, Redirect: s.issuer, Data: data,
	})
	if err != nil {
		s.log.ErrorContext(r.Context(), "page failed", "path", r.URL.Path, "err", err)
		http.Error(w, "the page failed; see the log", http.StatusInternalServerError)
	}
}

func (s *server) mail(w http.ResponseWriter, r *http.Request) {
	type row struct {
		Letter
		ISO, Time string
	}
	var rows []row
	for _, l := range s.letters() {
		at := l.At.UTC()
		rows = append(rows, row{l, at.Format("2006-01-02T15:04:05Z"), at.Format("2 Jan 2006 15:04:05 UTC")})
	}
	s.write(w, r, "mail", "Letters", rows)
}

package provider

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	sessionCookie = "gatehouse_session"
	browserCookie = "gatehouse_browser"
)

// Secure reports whether the issuer is https, and so every cookie is Secure.
func (p *Provider) Secure() bool { return p.secure }

// CookieName returns the full name of a cookie: with the prefix __Host-, which
// binds it to this host, over https; plain over http://localhost, where
// browsers refuse the prefix.
func (p *Provider) CookieName(name string) string {
	if p.secure {
		return "__Host-" + name
	}
	return name
}

// SetCookie sends a cookie that only this host and no script can read. A zero
// life makes it end with the browser, a negative one removes it.
func (p *Provider) SetCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	c := &http.Cookie{
		Name: p.CookieName(name), Value: value, Path: "/",
		HttpOnly: true, Secure: p.secure, SameSite: http.SameSiteLaxMode,
	}
	switch {
	case life < 0:
		c.MaxAge = -1
	case life > 0:
		c.MaxAge = int(life / time.Second)
	}
	http.SetCookie(w, c)
}

// newSecret returns 256 random bits as 43 characters.
func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func sha256Of(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// secretCookie returns the value of a cookie that holds one of our secrets.
func (p *Provider) secretCookie(r *http.Request, name string) (string, bool) {
	c, err := r.Cookie(p.CookieName(name))
	if err != nil || len(c.Value) != 43 {
		return "", false
	}
	return c.Value, true
}

// StartSession signs the person in at this browser: s says who was proved,
// when and how (UserID, UserEpoch, AuthTime, AMR, Remember). The session gets a
// new secret, whatever the browser held before, so a secret known before the
// sign-in opens nothing after it. It returns storage.ErrNotFound
// when the user is no longer active or has changed since.
func (p *Provider) StartSession(w http.ResponseWriter, r *http.Request, s storage.Session) error {
	now := p.now()
	old, _, err := p.Session(r)
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return err
	case old.UserID != s.UserID:
		// Whoever was signed in here is signed out.
		if err := p.store.EndSession(r.Context(), old.ID, now); err != nil {
			return fmt.Errorf("provider: end the session before: %w", err)
		}
		p.ended()
		old = storage.Session{}
	}
	// The same person keeps the id (sid), so that signing out ends also what was
	// granted before this proof.
	if s.ID = old.ID; s.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("provider: session id: %w", err)
		}
		s.ID = id.String()
	}
	secret := newSecret()
	s.SecretHash = sha256Of(secret)
	s.CreatedAt = now
	idle, end := p.life.sessionIdle, p.life.sessionEnd
	if s.Remember {
		idle, end = p.life.remember, p.life.remember
	}
	s.ExpiresAt, s.EndsAt = now.Add(idle), now.Add(end)
	if err := p.store.CreateSession(r.Context(), s, old.ID); err != nil {
		return fmt.Errorf("provider: start a session: %w", err)
	}
	var life time.Duration
	if s.Remember {
		life = end
	}
	p.SetCookie(w, sessionCookie, secret, life)
	return nil
}

// Session returns who is signed in at this browser, or storage.ErrNotFound.
// When more than a tenth of the idle time has passed it moves the idle end.
func (p *Provider) Session(r *http.Request) (storage.Session, storage.User, error) {
	secret, ok := p.secretCookie(r, sessionCookie)
	if !ok {
		return storage.Session{}, storage.User{}, storage.ErrNotFound
	}
	now := p.now()
	s, u, err := p.store.SessionBySecret(r.Context(), sha256Of(secret), now)
	if err != nil {
		if errors.Is(err, storage.ErrNotFound) {
			return s, u, err
		}
		return s, u, fmt.Errorf("provider: session: %w", err)
	}
	idle := p.life.sessionIdle
	if s.Remember {
		idle = p.life.remember
	}
	if s.ExpiresAt.Before(now.Add(idle-idle/10)) && s.ExpiresAt.Before(s.EndsAt) {
		if err := p.store.TouchSession(r.Context(), s.ID, now.Add(idle)); err != nil {
			return s, u, fmt.Errorf("provider: touch the session: %w", err)
		}
	}
	return s, u, nil
}

// EndSession signs the person out at this browser: the session ends, its grants
// but those with offline_access are revoked, and the apps that want to know are
// told behind the scenes. The cookie is removed also when there is no session.
func (p *Provider) EndSession(w http.ResponseWriter, r *http.Request) error {
	s, _, err := p.Session(r)
	switch {
	case err == nil:
		if err := p.store.EndSession(r.Context(), s.ID, p.now()); err != nil {
			return fmt.Errorf("provider: end the session: %w", err)
		}
		p.ended()
		p.meters.endedSessions.Add(r.Context(), 1)
		p.audit(r, storage.Event{Kind: "session.ended", UserID: s.UserID, Outcome: "ok", Detail: s.ID})
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	p.SetCookie(w, sessionCookie, "", -1)
	return nil
}

// ended has what the end of a session left in storage applied at once: this
// server refuses the access tokens, and the apps hear of it.
func (p *Provider) ended() {
	p.denylist.Nudge()
	p.sessionEnded()
}

// Browser returns the secret that binds interactions to this browser. Pages
// bind their CSRF tokens to it.
func (p *Provider) Browser(r *http.Request) (secret string, ok bool) {
	return p.secretCookie(r, browserCookie)
}

// StartInteraction begins a visit to the pages without an authorize request.
func (p *Provider) StartInteraction(w http.ResponseWriter, r *http.Request) (storage.Interaction, error) {
	return p.putInteraction(w, r, storage.Interaction{})
}

// putInteraction stores i under a new id, bound to this browser by a cookie
// that it gets if it has none. All interactions of a browser share the cookie.
func (p *Provider) putInteraction(w http.ResponseWriter, r *http.Request, i storage.Interaction) (storage.Interaction, error) {
	secret, ok := p.Browser(r)
	if !ok {
		secret = newSecret()
		p.SetCookie(w, browserCookie, secret, 0)
	}
	i.ID = rand.Text()
	i.BrowserHash = sha256Of(secret)
	i.ExpiresAt = p.now().Add(p.life.interaction)
	if err := p.interactions.PutInteraction(r.Context(), i); err != nil {
		return i, fmt.Errorf("provider: put interaction: %w", err)
	}
	return i, nil
}

// Interaction returns what this browser is in the middle of. It returns
// storage.ErrNotFound when the id is unknown, expired, or another browser's.
func (p *Provider) Interaction(r *http.Request, id string) (storage.Interaction, error) {
	secret, ok := p.Browser(r)
	if !ok || len(id) != 26 {
		return storage.Interaction{}, storage.ErrNotFound
	}
	i, err := p.interactions.Interaction(r.Context(), id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return storage.Interaction{}, err
	case err != nil:
		return storage.Interaction{}, fmt.Errorf("provider: interaction: %w", err)
	case string(i.BrowserHash) != string(sha256Of(secret)) || !p.now().Before(i.ExpiresAt):
		return storage.Interaction{}, storage.ErrNotFound
	}
	return i, nil
}

// SaveInteraction replaces the interaction.
func (p *Provider) SaveInteraction(ctx context.Context, i storage.Interaction) error {
	if err := p.interactions.PutInteraction(ctx, i); err != nil {
		return fmt.Errorf("provider: save interaction: %w", err)
	}
	return nil
}

package provider_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

// An op is a provider over SQLite and the embedded Valkey, with pages that sign
// the person in or agree for them at once. Its clock is moved by hand, and by a
// microsecond whenever it is looked at: no busy machine lets a code expire.
type op struct {
	*provider.Provider
	t      testing.TB
	issuer string
	db     *sqlite.DB
	mem    *valkey.DB
	keys   *keys.Keeper
	began  time.Time
	ahead  atomic.Int64
	user   storage.User
	// amr is how the sign-in page proves people.
	amr []string
	// pages counts visits to the pages.
	logins, consents atomic.Int64
	// deny makes the person refuse consent; silent pages answer 200 and do nothing.
	deny, silent atomic.Bool
	shown        atomic.Pointer[provider.Error]
	// asked is what the consent page last read.
	asked atomic.Pointer[provider.Asked]
	trips trips
}

// trips are the round trips to the two memories.
type trips struct{ reads, writes, volatile atomic.Int64 }

func (n *trips) sql(query string) {
	// sqlc puts the name of a statement before it.
	for line := range strings.Lines(query) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "--") {
			if strings.HasPrefix(strings.ToUpper(line), "SELECT") {
				n.reads.Add(1)
			} else {
				n.writes.Add(1)
			}
			return
		}
	}
}

func (n *trips) valkey() { n.volatile.Add(1) }

// cost is what do cost.
func (n *trips) cost(do func()) (reads, writes, volatile int64) {
	r, w, v := n.reads.Load(), n.writes.Load(), n.volatile.Load()
	do()
	return n.reads.Load() - r, n.writes.Load() - w, n.volatile.Load() - v
}

func (o *op) now() time.Time {
	return o.began.Add(time.Duration(o.ahead.Add(int64(time.Microsecond))))
}

func (o *op) pass(d time.Duration) { o.ahead.Add(int64(d)) }

// sealKey seals the keys of every provider here.
var sealKey = bytes.Repeat([]byte{42}, 32)

// newDatabase makes the database that every provider gets a copy of: the schema
// and the keys take longer to make than most tests.
var newDatabase = sync.OnceValues(func() ([]byte, error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "gatehouse")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "gatehouse.db")
	db, err := sqlite.Open(ctx, file)
	if err != nil {
		return nil, err
	}
	err = db.Migrate(ctx)
	if err == nil {
		_, err = keys.New(ctx, keys.Config{Store: db, SealKey: sealKey})
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})

// newOP starts one; change edits its configuration.
func newOP(t testing.TB, change ...func(*provider.Config)) *op {
	t.Helper()
	ctx := context.Background()
	database, err := newDatabase()
	if err != nil {
		t.Fatal(err)
	}
	o := &op{t: t, amr: []string{"pwd"}, began: time.Now().UTC().Truncate(time.Microsecond)}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "gatehouse.db"), database, 0o600); err != nil {
		t.Fatal(err)
	}
	count := sqlite.Options{OnQuery: func(query string) { o.trips.sql(query) }}
	if o.db, err = count.Open(ctx, filepath.Join(dir, "gatehouse.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.db.Close() })
	if o.mem, err = valkey.Embedded(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.mem.Close() })
	o.mem.OnRoundTrip, o.mem.Now = o.trips.valkey, o.now
	if o.keys, err = keys.New(ctx, keys.Config{Store: o.db, SealKey: sealKey, Now: o.now}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(nil)
	o.issuer = "http://" + srv.Listener.Addr().String()
	c := provider.Config{
		Issuer: o.issuer, Store: o.db, Codes: o.mem, Interactions: o.mem, Proofs: o.mem, Buckets: o.mem, Denylist: newPrompt(t, o, dir), Keys: o.keys, Now: o.now,
		From: func(r *http.Request) (string, string) {
			return cmp.Or(r.Header.Get("X-Test-Address"), "192.0.2.7"), "Firefox"
		},
		ErrorPage: func(w http.ResponseWriter, _ *http.Request, e *provider.Error) {
			o.shown.Store(e)
			w.WriteHeader(e.Status)
			_, _ = io.WriteString(w, "page: "+e.Code)
		},
		FormPost: func(w http.ResponseWriter, _ *http.Request, action string, fields url.Values) {
			w.Header().Set("X-Form-Post", action)
			_, _ = io.WriteString(w, fields.Encode())
		},
		UILocales: []string{"en", "ne", "ar", "de", "es"},
	}
	for _, edit := range change {
		edit(&c)
	}
	if o.Provider, err = provider.New(c); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/authorize", o.Authorize)
	mux.HandleFunc("/token", o.Token)
	mux.HandleFunc("/userinfo", o.UserInfo)
	mux.HandleFunc("/introspect", o.Introspect)
	mux.HandleFunc("/revoke", o.Revoke)
	mux.HandleFunc("/connect/register", o.Register)
	mux.HandleFunc("/connect/register/", o.ClientConfiguration)
	mux.HandleFunc("/jwks", o.JWKS)
	mux.HandleFunc("/jwks/", o.GatewayKeys)
	mux.HandleFunc("/.well-known/openid-configuration", o.Discovery)
	mux.HandleFunc("/.well-known/oauth-authorization-server", o.Discovery)
	mux.HandleFunc("/login", o.loginPage)
	mux.HandleFunc("/register", o.loginPage)
	mux.HandleFunc("/login/select", o.selectPage)
	mux.HandleFunc("/consent", o.consentPage)
	srv.Config.Handler = mux
	srv.Start()
	t.Cleanup(srv.Close)
	o.user = o.person("asha@example.com")
	return o
}

func (o *op) person(email string) storage.User {
	o.t.Helper()
	now := o.now()
	u := storage.User{
		ID: uuid.Must(uuid.NewV7()).String(), Email: email, Name: "Asha Gurung", EmailVerifiedAt: now,
		Status: storage.UserActive, Epoch: 1, CreatedAt: now, UpdatedAt: now,
	}
	if err := o.db.CreateUser(context.Background(), u, "$argon2id$unused"); err != nil {
		o.t.Fatal(err)
	}
	u, err := o.db.User(context.Background(), u.ID)
	if err != nil {
		o.t.Fatal(err)
	}
	return u
}

func (o *op) client(c storage.Client) (storage.Client, string) {
	o.t.Helper()
	secret := ""
	if c.AuthMethod == "" {
		c.AuthMethod = storage.AuthNone
	}
	if strings.HasPrefix(c.AuthMethod, "client_secret_") && c.SecretHashes == nil {
		var hash []byte
		secret, hash = provider.NewClientSecret()
		c.SecretHashes = [][]byte{hash}
	}
	if c.ID == "" {
		c.ID = "app-" + strings.ToLower(rand.Text()[:8])
	}
	c.Name = "Tidepool Notes"
	if c.RedirectURIs == nil {
		c.RedirectURIs = []string{"https://app.example/cb"}
	}
	if c.GrantTypes == nil {
		c.GrantTypes = []string{"authorization_code", "refresh_token"}
	}
	if c.Scopes == nil {
		c.Scopes = []string{"openid", "profile", "email", "offline_access", "notes"}
	}
	c.CreatedAt, c.UpdatedAt = o.now(), o.now()
	if err := provider.ValidateClient(c); err != nil {
		o.t.Fatal(err)
	}
	if err := o.db.CreateClient(context.Background(), c); err != nil {
		o.t.Fatal(err)
	}
	return c, secret
}

func (o *op) loginPage(w http.ResponseWriter, r *http.Request) {
	o.logins.Add(1)
	if o.silent.Load() {
		return
	}
	i, err := o.Interaction(r, r.FormValue("flow"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	u, err := o.db.User(r.Context(), o.user.ID)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s := storage.Session{UserID: u.ID, UserEpoch: u.Epoch, AuthTime: o.now(), AMR: o.amr}
	if err := o.StartSession(w, r, s); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, "/authorize?flow="+i.ID, http.StatusSeeOther)
}

// selectPage is a person who goes on as who they are.
func (o *op) selectPage(w http.ResponseWriter, r *http.Request) {
	i, err := o.Interaction(r, r.FormValue("flow"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, u, err := o.Session(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	i.UserID = u.ID
	if err := o.SaveInteraction(r.Context(), i); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, "/authorize?flow="+i.ID, http.StatusSeeOther)
}

func (o *op) consentPage(w http.ResponseWriter, r *http.Request) {
	o.consents.Add(1)
	if o.silent.Load() {
		return
	}
	i, err := o.Interaction(r, r.FormValue("flow"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, u, err := o.Session(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a, err := o.Asked(r, i)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	o.asked.Store(&a)
	if o.deny.Load() {
		i.Denied = true
	} else {
		i.Consented, i.ConsentedBy = a.Scopes, u.ID
		if err := o.db.PutConsent(r.Context(), storage.Consent{UserID: u.ID, ClientID: a.Client.ID, Scopes: a.Scopes, GrantedAt: o.now()}); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	if err := o.SaveInteraction(r.Context(), i); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, "/authorize?flow="+i.ID, http.StatusSeeOther)
}

// A browser keeps cookies and follows redirects as far as the app's.
type browser struct {
	o      *op
	client *http.Client
}

func (o *op) browser() *browser {
	jar := &jar{}
	return &browser{o: o, client: &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if "http://"+r.URL.Host != o.issuer {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// jar holds cookies of one host, whatever its port.
type jar struct{ cookies map[string]*http.Cookie }

func (j *jar) SetCookies(_ *url.URL, cs []*http.Cookie) {
	if j.cookies == nil {
		j.cookies = map[string]*http.Cookie{}
	}
	for _, c := range cs {
		if c.MaxAge < 0 {
			delete(j.cookies, c.Name)
			continue
		}
		j.cookies[c.Name] = c
	}
}

func (j *jar) Cookies(*url.URL) []*http.Cookie {
	var out []*http.Cookie
	for _, c := range j.cookies {
		out = append(out, &http.Cookie{Name: c.Name, Value: c.Value})
	}
	return out
}

// An answer is what came of an authorize request: a redirect to the app, a form
// posted to it, or a page with a status.
type answer struct {
	status   int
	posted   bool
	location *url.URL
	params   url.Values
	body     string
}

func (b *browser) get(target string) answer {
	b.o.t.Helper()
	resp, err := b.client.Get(target)
	if err != nil {
		b.o.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, body: string(body)}
	if l := resp.Header.Get("X-Form-Post"); l != "" {
		if a.location, err = url.Parse(l); err != nil {
			b.o.t.Fatal(err)
		}
		if a.params, err = url.ParseQuery(a.body); err != nil {
			b.o.t.Fatal(err)
		}
		a.posted = true
	}
	if l := resp.Header.Get("Location"); l != "" {
		if a.location, err = url.Parse(l); err != nil {
			b.o.t.Fatal(err)
		}
		a.params = a.location.Query()
	}
	return a
}

const verifier = "a-verifier-of-at-least-forty-three-characters-0123"

func challengeOf(v string) string {
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// request is a good authorize request of the client; change edits it ("" removes).
func (o *op) request(c storage.Client, change ...string) url.Values {
	v := url.Values{
		"client_id": {c.ID}, "redirect_uri": {c.RedirectURIs[0]}, "response_type": {"code"},
		"scope": {"openid profile email offline_access"}, "state": {"xyz"}, "nonce": {"n-0S6"},
		"code_challenge": {challengeOf(verifier)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == "" {
			v.Del(change[i])
		} else {
			v.Set(change[i], change[i+1])
		}
	}
	return v
}

func (b *browser) authorize(v url.Values) answer {
	b.o.t.Helper()
	return b.get(b.o.issuer + "/authorize?" + v.Encode())
}

// code signs the person in and returns a code for the client.
func (o *op) code(c storage.Client, change ...string) string {
	o.t.Helper()
	a := o.browser().authorize(o.request(c, change...))
	if a.params.Get("code") == "" {
		o.t.Fatalf("no code: %d %v %s", a.status, a.location, a.body)
	}
	return a.params.Get("code")
}

// A reply is what the token endpoint or UserInfo said.
type reply struct {
	status int
	header http.Header
	body   map[string]any
}

func (r reply) text(name string) string { s, _ := r.body[name].(string); return s }

func (o *op) do(req *http.Request) reply {
	o.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		o.t.Error(err)
		return reply{}
	}
	defer func() { _ = resp.Body.Close() }()
	raw, _ := io.ReadAll(resp.Body)
	r := reply{status: resp.StatusCode, header: resp.Header}
	if err := json.Unmarshal(raw, &r.body); err != nil {
		o.t.Errorf("the answer is not JSON: %d %q", resp.StatusCode, raw)
	}
	return r
}

// post sends a form to the token endpoint; a secret goes as the client is
// registered.
func (o *op) post(c storage.Client, secret string, form url.Values) reply {
	o.t.Helper()
	form = cloneValues(form)
	switch c.AuthMethod {
	case storage.AuthNone:
		form.Set("client_id", c.ID)
	case storage.AuthSecretPost:
		form.Set("client_id", c.ID)
		form.Set("client_secret", secret)
	}
	req, err := http.NewRequest(http.MethodPost, o.issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.AuthMethod == storage.AuthSecretBasic {
		req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(secret))
	}
	return o.do(req)
}

func cloneValues(v url.Values) url.Values {
	out := url.Values{}
	for k, s := range v {
		out[k] = append([]string(nil), s...)
	}
	return out
}

func redemption(c storage.Client, code string, change ...string) url.Values {
	v := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {c.RedirectURIs[0]}, "code_verifier": {verifier}}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == "" {
			v.Del(change[i])
		} else {
			v.Set(change[i], change[i+1])
		}
	}
	return v
}

func refresh(token string, change ...string) url.Values {
	v := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	for i := 0; i < len(change); i += 2 {
		v.Set(change[i], change[i+1])
	}
	return v
}

// tokens signs in and redeems.
func (o *op) tokens(c storage.Client, secret string, change ...string) reply {
	o.t.Helper()
	r := o.post(c, secret, redemption(c, o.code(c, change...)))
	if r.status != http.StatusOK {
		o.t.Fatalf("no tokens: %d %v", r.status, r.body)
	}
	return r
}

func (o *op) userinfo(token string) reply {
	o.t.Helper()
	req, err := http.NewRequest(http.MethodGet, o.issuer+"/userinfo", nil)
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return o.do(req)
}

// payload reads a token's claims without checking it.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is not a JWS", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func tokenHeader(t *testing.T, token string) map[string]any {
	t.Helper()
	first, _, _ := strings.Cut(token, ".")
	return payload(t, "."+first+".")
}

func wantError(t *testing.T, r reply, status int, code string) {
	t.Helper()
	if r.status != status || r.text("error") != code {
		t.Errorf("answered %d %v, want %d %s", r.status, r.body, status, code)
	}
}

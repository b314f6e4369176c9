package web_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/denylist"
	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
	"github.com/gatehouse-id/gatehouse/web"
	"github.com/gatehouse-id/gatehouse/web/dev"
)

const password = "seven green lanterns hum"

// A house is a whole server: real provider, login engine, SQLite and embedded
// Valkey behind the pages.
type house struct {
	*httptest.Server
	sql      *sqlite.DB
	volatile *valkey.DB
	engine   *login.Engine
	log      *lockedBuffer
	handler  http.Handler

	mu      sync.Mutex
	letters []login.Letter
	down    error
	moved   time.Duration
	stopped time.Time
	windows map[string]time.Duration
}

// begun is a database as houses begin with, made once: migrating takes a second, and
// so does an RSA key.
var begun = sync.OnceValues(func() (seal, file []byte) {
	seal = make([]byte, 32)
	_, _ = rand.Read(seal)
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "begun.db")
	sql, err := sqlite.Open(ctx, path)
	if err == nil {
		err = sql.Migrate(ctx)
	}
	if err == nil {
		_, err = keys.New(ctx, keys.Config{Store: sql, SealKey: seal})
	}
	if err == nil {
		err = sql.Close() // which leaves everything in the one file
	}
	if err == nil {
		file, err = os.ReadFile(path)
	}
	if err != nil {
		panic(err)
	}
	return seal, file
})

// plain keeps passwords as they are: what hashing them is worth, login's own tests
// know.
type plain struct{}

func (plain) Hash(password string) (string, error)        { return "plain " + password, nil }
func (plain) Matches(hash, password string) (bool, error) { return hash == "plain "+password, nil }

type option struct {
	https  bool
	closed bool
	// domains may register; nil is any.
	domains []string
	links   web.Links
	theme   web.Theme
	dev     func(h *house, frame *web.Frame) http.Handler
	// language is the operator's.
	language string
	meter    metric.Meter
	// patience is web.Config.Patience, and buckets what counts; nil is Valkey.
	patience time.Duration
	buckets  storage.Buckets
	// store is put before the database of the pages, if it is there.
	store func(web.Store) web.Store
}

func open(t testing.TB, o option) *house {
	t.Helper()
	ctx := t.Context()
	h := &house{log: &lockedBuffer{}, windows: map[string]time.Duration{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	seal, file := begun()
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	must(os.WriteFile(path, file, 0o600))
	var err error
	h.sql, err = sqlite.Open(ctx, path)
	must(err)
	t.Cleanup(func() { _ = h.sql.Close() })
	h.volatile, err = valkey.Embedded(ctx)
	must(err)
	t.Cleanup(func() { _ = h.volatile.Close() })

	// The issuer is known only when the listener is there.
	var handler http.Handler
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	if o.https {
		h.StartTLS()
	} else {
		h.Start()
	}
	t.Cleanup(h.Close)
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))

	keeper, err := keys.New(ctx, keys.Config{Store: h.sql, SealKey: seal, Now: h.now, Log: log})
	must(err)
	sealer, err := keys.NewSealer(seal)
	must(err)
	var counting storage.Buckets = buckets{h}
	if o.buckets != nil {
		counting = o.buckets
	}
	h.engine, err = login.New(login.Config{
		Store: h.sql, Flows: h.volatile, Buckets: counting, Secret: keeper.Secret, SecretByID: keeper.SecretByID,
		Seal: sealer.Seal, Open: sealer.Open, Hasher: plain{}, Now: h.now, Log: log, Closed: o.closed, Domains: o.domains,
		Letter: func(_ context.Context, l login.Letter) (storage.Letter, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.letters = append(h.letters, l)
			return storage.Letter{ID: uuid.Must(uuid.NewV7()).String(), Sealed: []byte("sealed")}, nil
		},
	})
	must(err)
	deny, err := denylist.New(ctx, denylist.Config{Revocations: h.sql, Fast: h.volatile, Now: h.now, Log: log})
	must(err)
	tail, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = deny.Run(tail) // ends with the test
	}()
	t.Cleanup(func() { stop(); <-ended })
	var face *web.Web
	p, err := provider.New(provider.Config{
		Issuer: h.URL, Store: h.sql, Codes: h.volatile, Interactions: h.volatile, Proofs: h.volatile, Buckets: h.volatile, Denylist: deny, Keys: keeper, Now: h.now, Log: log,
		ErrorPage: func(w http.ResponseWriter, r *http.Request, e *provider.Error) { face.ErrorPage(w, r, e) },
		FormPost: func(w http.ResponseWriter, r *http.Request, action string, fields url.Values) {
			face.FormPost(w, r, action, fields)
		},
	})
	must(err)
	var devHandler http.Handler
	if o.dev != nil {
		frame, err := web.NewFrame("", o.theme, o.links, o.https)
		must(err)
		devHandler = o.dev(h, frame)
	}
	var store web.Store = h.sql
	if o.store != nil {
		store = o.store(store)
	}
	face, err = web.New(web.Config{
		Provider: p, Login: h.engine, Store: store,
		Secret: func() (string, []byte) { return keeper.Secret(keys.PurposeCSRF) },
		SecretByID: func(ctx context.Context, id string) ([]byte, error) {
			return keeper.SecretByID(ctx, keys.PurposeCSRF, id)
		},
		Issuer: h.URL, Language: o.language, Theme: o.theme, Links: o.links, RegistrationOpen: !o.closed, Patience: o.patience, Dev: devHandler, Now: h.now, Log: log, Meter: o.meter,
		Ready: func(context.Context) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.down
		},
	})
	must(err)
	web.Judge(t, face)
	handler = face.Handler()
	h.handler = handler
	return h
}

// now is the time in the house.
func (h *house) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.stopped
	if now.IsZero() {
		now = time.Now()
	}
	return now.Add(h.moved).UTC().Truncate(time.Microsecond)
}

// buckets are those of the house's Valkey, which count by its clock and not by
// ours: when ours was moved past a window, the next begins.
type buckets struct{ h *house }

func (b buckets) at(k storage.Bucket, key string) (string, time.Duration) {
	b.h.mu.Lock()
	defer b.h.mu.Unlock()
	id := k.Name + " " + key
	began, ok := b.h.windows[id]
	if !ok || b.h.moved >= began+k.Window {
		began = b.h.moved
		b.h.windows[id] = began
	}
	return fmt.Sprintf("%s.%d", key, began), b.h.moved
}

func (b buckets) Take(ctx context.Context, uses ...storage.Use) ([]storage.Hit, error) {
	uses, moved := b.moved(uses)
	hits, err := b.h.volatile.Take(ctx, uses...)
	for i, h := range hits {
		hits[i].ResetAt = h.ResetAt.Add(moved[i])
	}
	return hits, err
}

func (b buckets) GiveBack(ctx context.Context, uses []storage.Use, hits []storage.Hit) error {
	uses, moved := b.moved(uses)
	hits = slices.Clone(hits)
	for i, h := range hits {
		hits[i].ResetAt = h.ResetAt.Add(-moved[i])
	}
	return b.h.volatile.GiveBack(ctx, uses, hits)
}

// moved is at for each of the uses.
func (b buckets) moved(uses []storage.Use) ([]storage.Use, []time.Duration) {
	uses = slices.Clone(uses)
	moved := make([]time.Duration, len(uses))
	for i, u := range uses {
		uses[i].Key, moved[i] = b.at(u.Bucket, u.Key)
	}
	return uses, moved
}

// pass moves the clock.
func (h *house) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moved += d
}

// stop has the clock stand still from now on, but for what is passed: for what must
// happen in one second, one minute or one step of an authenticator app.
func (h *house) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = time.Now()
}

// letter returns the newest letter.
func (h *house) letter(t testing.TB) login.Letter {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.letters) == 0 {
		t.Fatal("no letter was written")
	}
	return h.letters[len(h.letters)-1]
}

// client registers an app.
func (h *house) client(t testing.TB, c storage.Client) storage.Client {
	t.Helper()
	if c.AuthMethod == "" {
		c.AuthMethod = storage.AuthSecretBasic
		c.SecretHashes = [][]byte{make([]byte, 32)}
	}
	if c.Scopes == nil {
		c.Scopes = []string{"openid", "profile", "email", "offline_access"}
	}
	c.GrantTypes = []string{"authorization_code", "refresh_token"}
	c.CreatedAt = time.Now().UTC().Truncate(time.Microsecond)
	c.UpdatedAt = c.CreatedAt
	if err := h.sql.CreateClient(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

// authorize is the path of a request by the client.
func authorize(c storage.Client, more ...string) string {
	q := url.Values{
		"client_id": {c.ID}, "redirect_uri": {c.RedirectURIs[0]}, "response_type": {"code"}, "state": {"s"},
		"scope": {"openid profile email"}, "nonce": {"n"}, "code_challenge_method": {"S256"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"},
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return "/authorize?" + q.Encode()
}

// A browser follows no redirect by itself and keeps cookies.
type browser struct {
	t    testing.TB
	h    *house
	http *http.Client
}

func (h *house) browser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := *h.Client()
	c.Jar = jar
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{t, h, &c}
}

// An answer is a response, read.
type answer struct {
	*http.Response
	body string
}

func (b *browser) do(r *http.Request) answer {
	b.t.Helper()
	res, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res, string(body)}
}

func (b *browser) get(path string) answer {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodGet, b.h.URL+strings.TrimPrefix(path, b.h.URL), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

func (b *browser) post(path string, form url.Values, header ...string) answer {
	b.t.Helper()
	return b.do(b.request(path, form.Encode(), header...))
}

func (b *browser) request(path, body string, header ...string) *http.Request {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodPost, b.h.URL+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// follow gets where the answer sends the browser, until it is a page or another
// host.
func (b *browser) follow(a answer) answer {
	b.t.Helper()
	for range 10 {
		to := a.Header.Get("Location")
		if to == "" || !strings.HasPrefix(to, "/") && !strings.HasPrefix(to, b.h.URL) {
			return a
		}
		a = b.get(to)
	}
	b.t.Fatal("more than ten redirects")
	return a
}

// open gets a path and follows.
func (b *browser) open(path string) answer { b.t.Helper(); return b.follow(b.get(path)) }

// submit posts a page's form with its hidden fields, and does not follow.
func (b *browser) submit(page answer, path string, values ...string) answer {
	b.t.Helper()
	form := page.hidden()
	for i := 0; i+1 < len(values); i += 2 {
		form.Set(values[i], values[i+1])
	}
	a := b.post(path, form)
	if a.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("POST %s: %s, want 303\n%s", path, a.Status, a.body)
	}
	return a
}

var (
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)
	dataPage    = regexp.MustCompile(`<html [^>]*data-page="([^"]+)"`)
)

func (a answer) hidden() url.Values {
	form := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(a.body, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	return form
}

// page is the name of the page, or empty.
func (a answer) page() string {
	if m := dataPage.FindStringSubmatch(a.body); m != nil {
		return m[1]
	}
	return ""
}

// text is the page without its tags.
func (a answer) text() string {
	return html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(a.body, ""))
}

func (b *browser) wants(a answer, page string, status int, texts ...string) answer {
	b.t.Helper()
	if a.page() != page || a.StatusCode != status {
		b.t.Fatalf("page %q %s, want %q %d\n%s", a.page(), a.Status, page, status, a.body)
	}
	for _, want := range texts {
		if !strings.Contains(a.text(), want) && !strings.Contains(a.body, want) {
			b.t.Errorf("page %q does not say %q\n%s", page, want, a.body)
		}
	}
	return a
}

// later goes on from the page that offers a new account a second factor.
func (b *browser) later(page answer) answer {
	b.t.Helper()
	b.wants(page, "protect", 200, "Your account is ready")
	on := regexp.MustCompile(`id="protect-later" href="([^"]+)"`).FindStringSubmatch(page.body)
	if on == nil {
		b.t.Fatalf("no way on:\n%s", page.body)
	}
	return b.open(html.UnescapeString(on[1]))
}

// register makes an account whose mailbox is proved, and leaves the browser
// signed in.
func (b *browser) register(email string) storage.User {
	b.t.Helper()
	page := b.wants(b.open("/register"), "register", 200)
	page = b.follow(b.submit(page, "/register", "name", "Asha Gurung", "email", email, "password", password))
	b.wants(page, "verify", 200, email)
	page = b.follow(b.submit(page, "/verify", "code", b.h.letter(b.t).Code))
	b.wants(b.later(page), "account", 200, "Asha Gurung", email)
	u, _, err := b.h.sql.UserByEmail(b.t.Context(), email)
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

// signIn goes from a sign-in page on.
func (b *browser) signIn(page answer, email string) answer {
	b.t.Helper()
	return b.follow(b.submit(page, "/login", "identifier", email, "password", password))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// withDev mounts the pages of embedded mode.
func withDev(t testing.TB) func(h *house, frame *web.Frame) http.Handler {
	return func(h *house, frame *web.Frame) http.Handler {
		d, err := dev.New(dev.Config{
			Frame: frame, Issuer: h.URL, ClientID: "dev-app", HTTP: h.Client(),
			Letters: func() []dev.Letter {
				h.mu.Lock()
				defer h.mu.Unlock()
				var out []dev.Letter
				for _, l := range h.letters {
					out = append([]dev.Letter{{
						Kind: l.Kind, To: l.To, Code: l.Code, At: l.ExpiresAt,
						Subject: fmt.Sprintf("%s is your code", l.Code), Text: "Enter this code <now>.",
					}}, out...)
				}
				return out
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

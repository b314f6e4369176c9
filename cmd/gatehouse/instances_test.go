//go:build !slim

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"html"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	"github.com/pquerna/otp/totp"
	"github.com/pressly/goose/v3"
	goosestore "github.com/pressly/goose/v3/database"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
)

// TestInstances is what two processes on one PostgreSQL and one Valkey owe each
// other beside what [TestCluster] holds.
func TestInstances(t *testing.T) {
	t.Parallel()
	c := clustered(t, 2)
	c.client(t, "notes")
	var robots []robot // a client whose assertion is replayed is taken for a guesser
	for _, id := range []string{"nightly", "weekly", "yearly"} {
		robots = append(robots, newRobot(t, c, id))
	}
	c.start(t)

	// What was signed before the memory began is refused, and iat is in whole
	// seconds.
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
	t.Run("sec-Q1 sec-C6 of 64 uses of one assertion at once one succeeds", func(t *testing.T) {
		for _, r := range robots {
			form := r.assertion(t, c)
			won := 0
			for _, a := range together(crowd, func(i int) answer {
				a, err := c.token(i, form)
				if err != nil {
					t.Error(err)
				}
				return a
			}) {
				switch {
				case a.status == http.StatusOK:
					won++
				case a.Error != "invalid_client" && a.status != http.StatusTooManyRequests:
					t.Errorf("a loser is answered %v", a)
				}
			}
			if won != 1 {
				t.Errorf("%d of %d succeeded", won, crowd)
			}
		}
	})
	secondFactors(t, c)
	t.Run("sec-Q2 a database that fails costs nobody a code or a token", func(t *testing.T) { hiccups(t, c) })
	// They complain of the database, and are right.
	for _, p := range c.servers {
		p.kill()
		if log := p.log.String(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
			t.Error(log)
		}
		p.log.Reset()
	}
}

// A robot is a client that signs with a key.
type robot struct {
	id     string
	signer jose.Signer
}

func newRobot(t *testing.T, c *cluster, id string) robot {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	c.command(t, "client", "create", "--id", id, "--name", "Reports", "--private-key-jwt", "--jwks", file,
		"--grant", "client_credentials", "--scope", "reports")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return robot{id, signer}
}

// assertion is a token request that is good once.
func (r robot) assertion(t *testing.T, c *cluster) url.Values {
	t.Helper()
	now := time.Now()
	signed, err := jwt.Signed(r.signer).Claims(jwt.Claims{
		Issuer: r.id, Subject: r.id, Audience: jwt.Audience{c.at(0)}, ID: uuid.NewString(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute)),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return url.Values{
		"grant_type": {"client_credentials"}, "client_assertion": {signed},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}
}

var (
	shownSecret = regexp.MustCompile(`id="two-step-secret">([A-Z2-7 ]+)<`)
	shownCodes  = regexp.MustCompile(`(?s)<ol class="codes" id="codes">(.*?)</ol>`)
	shownCode   = regexp.MustCompile(`<li>([^<]+)</li>`)
	toRecovery  = regexp.MustCompile(`id="code-recovery" href="([^"]+)"`)
)

// secondFactors has several browsers type the same second factor at once.
func secondFactors(t *testing.T, c *cluster) {
	const browsers = 8
	const email = "grace@example.org"
	var u userRecord
	if err := json.Unmarshal(c.command(t, "user", "create", "--email", email, "--name", "Grace Hopper", "--json"), &u); err != nil {
		t.Fatal(err)
	}
	// password goes as far as the password does.
	password := func(t *testing.T, i int) *browser {
		t.Helper()
		b := newBrowser(t, c.at(i), callback)
		b.open(c.at(i) + "/login")
		b.submit("login-form", url.Values{"identifier": {email}, "password": {u.Password}})
		return b
	}
	b := password(t, 0)
	b.open(c.at(0) + "/account/two-step/app")
	secret := shownSecret.FindStringSubmatch(b.page)
	if secret == nil {
		t.Fatalf("there is no secret on\n%s", b.page)
	}
	code := func(t *testing.T, at time.Time) string {
		t.Helper()
		code, err := totp.GenerateCode(strings.ReplaceAll(secret[1], " ", ""), at)
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	b.submit("two-step-app-form", url.Values{"code": {code(t, time.Now())}})
	list := shownCodes.FindStringSubmatch(b.page)
	if list == nil {
		t.Fatalf("there are no recovery codes on\n%s", b.page)
	}
	recovery := shownCode.FindStringSubmatch(list[1])[1]
	b.submit("recovery-codes-form", url.Values{"saved": {"1"}})

	for _, tt := range []struct {
		sentence string
		form     string
		values   func(t *testing.T) url.Values
		// open goes on from the page that asks for the code of the app.
		open func(t *testing.T, i int, b *browser)
	}{
		{
			"sec-Q1 sec-K1 a code of the app, typed in eight browsers at once, signs one in", "code-form",
			// That of the next half minute: the one of this has turned it on.
			func(t *testing.T) url.Values {
				return url.Values{"code": {code(t, time.Now().Add(30*time.Second))}}
			},
			func(*testing.T, int, *browser) {},
		},
		{
			"sec-Q1 sec-K3 a recovery code, typed in eight browsers at once, signs one in", "recovery-form",
			func(*testing.T) url.Values { return url.Values{"recovery_code": {recovery}} },
			func(t *testing.T, i int, b *browser) {
				link := toRecovery.FindStringSubmatch(b.page)
				if link == nil {
					t.Fatalf("there is no way to recovery codes on\n%s", b.page)
				}
				b.open(c.at(i) + html.UnescapeString(link[1]))
			},
		},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			// Those who lose count against the limit of the person: without this the
			// next eight would find it used up.
			testenv.Wipe(t, c.valkeyURL)
			var all []*browser
			for i := range browsers {
				b := password(t, i)
				tt.open(t, i, b)
				all = append(all, b)
			}
			var typed []*http.Request
			values := tt.values(t) // once: half a minute later they are others
			for _, b := range all {
				typed = append(typed, b.form(tt.form, maps.Clone(values)))
			}
			start := make(chan struct{})
			var typing sync.WaitGroup
			for i, b := range all {
				typing.Go(func() {
					<-start
					resp, err := b.http.Do(typed[i])
					if err != nil {
						t.Error(err)
						return
					}
					_ = resp.Body.Close()
					if resp.StatusCode >= 500 {
						t.Errorf("answered %s", resp.Status)
					}
				})
			}
			close(start)
			typing.Wait()
			in := 0
			for _, b := range all {
				b.open(c.at(0) + "/account")
				if strings.Contains(b.page, `data-page="account"`) {
					in++
				}
			}
			if in != 1 {
				t.Errorf("%d of %d browsers are signed in", in, browsers)
			}
		})
	}
}

// hiccups has the database refuse most changes of grants, in the words of
// transactions that must be tried again, while people redeem and refresh.
func hiccups(t *testing.T, c *cluster) {
	db := c.postgres(t)
	b := c.signIn(t, "ada@example.org")
	a := c.tokens(t, b, "notes")
	var codes []string
	for i := range 20 {
		codes = append(codes, c.code(t, b, i, "notes"))
	}
	// A sequence goes on where the transaction that asked it is undone.
	for _, statement := range []string{
		`CREATE SEQUENCE hiccups`,
		`CREATE FUNCTION hiccup() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			CASE nextval('hiccups') % 3
				WHEN 0 THEN RETURN new;
				WHEN 1 THEN RAISE SQLSTATE '40001';
				ELSE RAISE SQLSTATE '40P01';
			END CASE; END $$`,
		`CREATE TRIGGER hiccup BEFORE INSERT OR UPDATE ON grants FOR EACH ROW EXECUTE FUNCTION hiccup()`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	failures := 0
	// insist asks until it gets what it asked for, and takes nothing for an answer
	// but that or to come again.
	insist := func(what string, ask func(i int) answer) (got answer) {
		t.Helper()
		for i := range 10 {
			switch got = ask(i); {
			case got.status == http.StatusOK:
				return got
			case got.status == http.StatusServiceUnavailable && got.Error == "temporarily_unavailable":
				failures++
			default:
				t.Fatalf("%s is answered %v", what, got)
			}
		}
		t.Fatalf("%s is never answered", what)
		return got
	}
	for _, code := range codes {
		insist("a code", func(i int) answer { return c.redeem(t, i, "notes", code) })
		a = insist("a refresh token", func(i int) answer { return c.refresh(t, i, "notes", a.RefreshToken) })
	}
	var undone int
	if err := db.QueryRowContext(t.Context(), `SELECT last_value FROM hiccups`).Scan(&undone); err != nil {
		t.Fatal(err)
	}
	t.Logf("the database was asked %d times for %d changes; %d requests were told to come again", undone, 2*len(codes), failures)
	if undone < 4*len(codes) {
		t.Error("the database failed nobody")
	}
	if _, err := db.ExecContext(t.Context(), `DROP TRIGGER hiccup ON grants`); err != nil {
		t.Fatal(err)
	}
	c.alive(t, "notes", a)
	if n := together(crowd, func(i int) answer { return c.redeem(t, i, "notes", codes[0]) }); slices.ContainsFunc(n, func(a answer) bool { return a.status == http.StatusOK }) {
		t.Error("a code is good twice")
	}
}

// postgres is a connection of the test's own.
func (c *cluster) postgres(t *testing.T) *sql.DB {
	t.Helper()
	config, err := parseConfig(c.env)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", string(config.DatabaseURL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// sec-Q4: what happens on the schema of an older release. That the older release
// goes on while the schema changes, the tests of migrations hold: they write in
// its words afterwards.
func TestOldSchema(t *testing.T) {
	t.Parallel()
	valkeyURL := testenv.Valkey(t)
	c := newCluster(t, 2, valkeyURL, "GATEHOUSE_DATABASE_URL="+testenv.Postgres(t), "GATEHOUSE_VALKEY_URL="+valkeyURL,
		"GATEHOUSE_SEAL_KEY="+hexKey, "GATEHOUSE_MAIL_KEY="+hexKey)
	const table = "schema_migrations"
	store, err := goosestore.NewStore(goose.DialectPostgres, table)
	if err != nil {
		t.Fatal(err)
	}
	first, err := goose.NewProvider(goose.DialectCustom, c.postgres(t), os.DirFS("../../migrations/postgres"), goose.WithStore(store))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	t.Run("sec-Q4 no server starts on it", func(t *testing.T) {
		serve := exec.Command("gatehouse", "serve")
		serve.Env = append([]string{"GATEHOUSE_ADDR=" + strings.TrimPrefix(c.at(0), "http://")}, c.env...)
		out, err := serve.CombinedOutput()
		if err == nil || !strings.Contains(string(out), `run "gatehouse migrate" first`) {
			t.Errorf("it ended with %v:\n%s", err, out)
		}
	})
	t.Run("sec-Q4 of four that migrate at once one does, and the others wait for it", func(t *testing.T) {
		var migrating sync.WaitGroup
		for range 4 {
			migrating.Go(func() {
				migrate := exec.Command("gatehouse", "migrate")
				migrate.Env = c.env
				if out, err := migrate.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		migrating.Wait()
		db := c.postgres(t)
		var twice int
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) - count(DISTINCT version_id) FROM `+table).Scan(&twice); err != nil || twice != 0 {
			t.Errorf("%d steps were made twice (%v)", twice, err)
		}
		c.client(t, "notes")
		c.start(t)
		c.alive(t, "notes", c.tokens(t, c.signIn(t, "ada@example.org"), "notes"))
	})
}

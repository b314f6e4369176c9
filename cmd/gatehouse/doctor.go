package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

const (
	// examineTime is how long one server may take to answer the doctor.
	examineTime = 10 * time.Second
	// letterAge is how long a letter may wait before somebody is to look.
	letterAge = 5 * time.Minute
	// silentAfter is how often a gateway must fetch the keys, in max-ages of them.
	silentAfter = 4
)

// A finding is what the doctor found out about one thing.
type finding struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Seen is what was seen or, when that is not as it should be, a sentence
	// which says what to do.
	Seen string `json:"seen"`
}

func good(name, format string, args ...any) finding {
	return finding{name, true, fmt.Sprintf(format, args...)}
}

func bad(name, format string, args ...any) finding {
	return finding{name, false, fmt.Sprintf(format, args...)}
}

// unseen is what cannot be looked at before something else is mended.
func unseen(name, first string) finding {
	return bad(name, "not looked at; mend what stands under %q first", first)
}

func doctorCommand() command {
	return command{
		name:    "doctor",
		about:   "Look at everything that the server needs, with its configuration and as its people reach it, and say what is wrong",
		example: "gatehouse doctor\ngatehouse doctor --json",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, _ []string) error {
				found := examine(ctx, t.environ, nil)
				err := t.show(*asJSON, found, func(w io.Writer) {
					for _, f := range found {
						word := "ok"
						if !f.OK {
							word = "BAD"
						}
						say(w, "%s\t%s\t%s\n", word, f.Name, f.Seen)
					}
				})
				wrong := 0
				for _, f := range found {
					if !f.OK {
						wrong++
					}
				}
				if err == nil && wrong > 0 {
					err = fmt.Errorf("%d of %d things are wrong", wrong, len(found))
				}
				return err
			}
		},
	}
}

// oneLine is s on a line, without what could move a terminal's cursor.
func oneLine(s string) string { return plain(strings.Join(strings.Fields(s), " ")) }

// A doctor looks at a server from the place of its operator: it has the
// server's environment, and asks what the server asks.
type doctor struct {
	config  Config
	sealKey []byte
	roots   *x509.CertPool
	// environ are the keys of gatehouse-worker.
	environ []string

	// What was reached is left for those who look later; nil was not.
	sql    database
	clock  *storage.Clock
	valkey *valkey.DB
	keeper *keys.Keeper
	issuer issuer
}

// examine looks at everything. What does not depend on each other is looked at
// at once. Certificates are believed that roots have signed; nil is the system's.
func examine(ctx context.Context, environ []string, roots *x509.CertPool) []finding {
	ofServer, ofWorker := divideEnviron(environ)
	c, err := readConfig(terminal{environ: ofServer})
	if err != nil {
		var found []finding
		for line := range strings.SplitSeq(err.Error(), "\n") {
			found = append(found, bad("configuration", "%s", oneLine(line)))
		}
		return found
	}
	d := &doctor{config: c, environ: ofWorker, roots: roots}
	defer d.close()
	mode := "a server, at " + c.Addr
	if c.Embedded() {
		mode = "embedded mode, in " + c.StateDir
	}
	configuration := good("configuration", "%s, for %s", mode, c.URL)
	if d.sealKey, err = d.readSealKey(); err != nil {
		configuration = bad("configuration", "%v", err)
	}

	var all sync.WaitGroup
	var database, remembered, volatile, outside, smtp, domains []finding
	all.Go(func() { database, remembered = d.seeDatabase(ctx) })
	all.Go(func() { volatile = []finding{d.seeValkey(ctx)} })
	all.Go(func() { outside = d.seeIssuer(ctx) })
	all.Go(func() { smtp = []finding{d.seeSMTP(ctx)} })
	all.Go(func() { domains = d.seeDomains(ctx) })
	all.Wait()
	found := []finding{configuration}
	for _, fs := range [][]finding{database, volatile, {d.seeClocks(ctx)}, outside, remembered, {d.seeJWKS(ctx)}, domains, smtp} {
		for _, f := range fs {
			f.Seen = oneLine(f.Seen)
			found = append(found, f)
		}
	}
	return found
}

// divideEnviron takes the keys of gatehouse-worker out of the environment of a
// server, which must not have them. An operator may give the doctor both.
func divideEnviron(environ []string) (server, worker []string) {
	embedded := true
	for _, e := range environ {
		if strings.HasPrefix(e, "GATEHOUSE_DATABASE_URL") || strings.HasPrefix(e, "GATEHOUSE_VALKEY_URL") {
			embedded = false
		}
	}
	for _, e := range environ {
		key, _, _ := strings.Cut(e, "=")
		switch strings.TrimSuffix(key, "_FILE") {
		case "GATEHOUSE_SMTP_URL", "GATEHOUSE_SMTP_CA", "GATEHOUSE_SMTP2GO_KEY", "GATEHOUSE_MAIL_FROM":
			worker = append(worker, e)
			if embedded {
				server = append(server, e)
			}
		default:
			server = append(server, e)
		}
	}
	return server, worker
}

// readSealKey is the key of the server. Unlike the server the doctor makes none.
func (d *doctor) readSealKey() ([]byte, error) {
	if d.config.Embedded() && d.config.SealKey == "" {
		path := filepath.Join(d.config.StateDir, "seal.key")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no %s; start \"gatehouse serve\" once, which makes it, or put back the one that sealed this database", path)
		}
	}
	return d.config.sealKey()
}

// seeDatabase returns what was seen of the database, and of what it remembers.
func (d *doctor) seeDatabase(ctx context.Context) (database, remembered []finding) {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	remembered = []finding{unseen("keys", "database"), unseen("gateways", "database"), unseen("letters", "database")}
	if path := d.sqlitePath(); path != "" {
		if _, err := os.Stat(path); err != nil {
			return []finding{bad("database", "%s cannot be opened: %v; start \"gatehouse serve\" once, which makes it", path, errors.Unwrap(err))}, remembered
		}
	}
	sql, err := observer{}.openDatabase(ctx, d.config)
	if err != nil {
		return []finding{bad("database", "%v", err)}, remembered
	}
	d.sql = sql
	server, err := sql.Server(ctx)
	if err != nil {
		return []finding{bad("database", "does not answer: %v", err)}, remembered
	}
	current, wanted, err := sql.SchemaVersion(ctx)
	switch {
	case err != nil:
		return []finding{bad("database", "does not tell its schema: %v", err)}, remembered
	case current < wanted:
		return []finding{bad("database", "%v", oldSchema(current, wanted))}, remembered
	}
	seen := fmt.Sprintf("%s, schema %d", server, current)
	if current > wanted {
		seen += fmt.Sprintf(", of a later release than this one (%d)", wanted)
	}
	if d.clock, err = storage.NewClock(ctx, sql); err != nil {
		return []finding{bad("database", "does not tell the time: %v", err)}, remembered
	}
	return []finding{good("database", "%s", seen)}, []finding{d.seeKeys(ctx), d.seeGateways(ctx), d.seeLetters(ctx)}
}

// sqlitePath is the file of the database, if it is one.
func (d *doctor) sqlitePath() string {
	if d.config.Embedded() {
		return filepath.Join(d.config.StateDir, "gatehouse.db")
	}
	path, _ := strings.CutPrefix(string(d.config.DatabaseURL), "sqlite:")
	if path == string(d.config.DatabaseURL) {
		return ""
	}
	return path
}

// seeKeys opens the keys, which makes nothing: an empty ring is told.
func (d *doctor) seeKeys(ctx context.Context) finding {
	if d.sealKey == nil {
		return unseen("keys", "configuration")
	}
	stored, err := d.sql.KeySet(ctx)
	switch {
	case err != nil:
		return bad("keys", "cannot be read: %v", err)
	case len(stored.Keys) == 0:
		return bad("keys", "there are none yet; start \"gatehouse serve\" once, which makes them")
	}
	k, err := openKeeper(ctx, d.config, d.sql, d.sealKey, d.clock, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return bad("keys", "GATEHOUSE_SEAL_KEY does not open the keys in the database; set it to the one that they were sealed with (%v)", err)
	}
	d.keeper = k
	return good("keys", "GATEHOUSE_SEAL_KEY opens all %d, %s sign", len(stored.Keys), strings.Join(k.Algorithms(), " and "))
}

// seeGateways looks for those that do not fetch the keys: each makes a new key
// wait.
func (d *doctor) seeGateways(ctx context.Context) finding {
	gateways, err := d.sql.ListGateways(ctx)
	if err != nil {
		return bad("gateways", "cannot be read: %v", err)
	}
	var silent []string
	bound := silentAfter * d.config.JWKSMaxAge
	for _, g := range gateways {
		last := g.FetchedAt
		if last.IsZero() {
			last = g.CreatedAt
		}
		if d.clock.Now().Sub(last) > bound {
			silent = append(silent, g.Name)
		}
	}
	if len(silent) > 0 {
		return bad("gateways", "%s did not fetch the keys for %v or more; have it fetch its address (\"gatehouse gateway list\"), or remove it, because new keys wait for it", strings.Join(silent, ", "), bound)
	}
	if len(gateways) == 0 {
		return good("gateways", "none is registered")
	}
	return good("gateways", "%d, all of which fetch the keys", len(gateways))
}

// seeLetters looks at the outbox.
func (d *doctor) seeLetters(ctx context.Context) finding {
	var waiting, failed int
	var oldest time.Duration
	now := d.clock.Now()
	err := eachLetter(ctx, d.sql, func(l storage.Letter) error {
		if !l.FailedAt.IsZero() {
			failed++
			return nil
		}
		waiting++
		oldest = max(oldest, now.Sub(l.CreatedAt))
		return nil
	})
	switch {
	case err != nil:
		return bad("letters", "cannot be read: %v", err)
	case oldest > letterAge:
		return bad("letters", "%d wait, the first since %v; see that gatehouse-worker runs, with this GATEHOUSE_VALKEY_URL, and what its log says", waiting, oldest.Round(time.Second))
	}
	return good("letters", "%d wait, %d given up", waiting, failed)
}

// seeValkey asks Valkey what it is, and how it makes room.
func (d *doctor) seeValkey(ctx context.Context) finding {
	if d.config.Embedded() {
		return good("valkey", "in the server's own process")
	}
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	db, err := openValkey(ctx, d.config)
	if err != nil {
		return bad("valkey", "%v", err)
	}
	d.valkey = db
	if err := db.CheckPolicy(ctx); err != nil {
		return bad("valkey", "%v", err)
	}
	server, err := db.Server(ctx)
	if err != nil {
		return bad("valkey", "does not say what it is: %v", err)
	}
	saves := "what it holds survives its restart"
	if !server.Saves {
		saves = "what it holds ends with it: a restart interrupts who is signing in"
	}
	return good("valkey", "%s, noeviction, %s", server.Name, saves)
}

// seeClocks compares all clocks with the database's, by which tokens are judged.
func (d *doctor) seeClocks(ctx context.Context) finding {
	if d.clock == nil {
		return unseen("clocks", "database")
	}
	type reading struct {
		of   string
		skew time.Duration
	}
	readings := []reading{{"this host", -d.clock.Offset()}}
	if d.valkey != nil {
		ctx, cancel := context.WithTimeout(ctx, examineTime)
		defer cancel()
		t, err := d.valkey.Time(ctx)
		if err != nil {
			return bad("clocks", "Valkey does not tell the time: %v", err)
		}
		readings = append(readings, reading{"Valkey", t.Sub(d.clock.Now())})
	}
	if !d.issuer.date.IsZero() {
		// Date is in whole seconds: it is late by half of one.
		readings = append(readings, reading{"the server's host", d.issuer.date.Add(time.Second / 2).Sub(d.issuer.asked.Add(d.clock.Offset()))})
	}
	var seen []string
	for _, r := range readings {
		if r.skew.Abs() > storage.MaxSkew {
			return bad("clocks", "that of %s and that of the database are %v apart, more than %v; set them right, by NTP", r.of, r.skew.Abs().Round(100*time.Millisecond), storage.MaxSkew)
		}
		seen = append(seen, fmt.Sprintf("%s %+.1fs", r.of, r.skew.Seconds()))
	}
	return good("clocks", "beside the database's: %s", strings.Join(seen, ", "))
}

// seeDomains looks for the records that the server looks for.
func (d *doctor) seeDomains(ctx context.Context) []finding {
	switch {
	case d.config.Embedded():
		return []finding{good("domains", "embedded mode needs no proof of any")}
	case len(d.config.RegistrationDomains) == 0:
		return []finding{good("domains", "none may register by themselves")}
	case d.sealKey == nil:
		return []finding{unseen("domains", "configuration")}
	}
	ds, err := d.config.domains(d.sealKey)
	if err != nil {
		return []finding{bad("domains", "%v", err)}
	}
	var found []finding
	for _, p := range ds.Check(ctx) {
		if p.Err != nil {
			found = append(found, bad("domains", "%v", p.Err))
		} else {
			found = append(found, good("domains", "%s is proved", p.Domain))
		}
	}
	return found
}

// seeSMTP goes as far with the mail server as a letter would.
func (d *doctor) seeSMTP(ctx context.Context) finding {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	if len(d.environ) == 0 {
		if d.config.Embedded() {
			return good("smtp", "no mail server: letters are printed, and shown at /dev/mail")
		}
		return good("smtp", "not looked at: gatehouse-worker has the keys of the mail server; give them too, and they are tried")
	}
	c, err := parseConfig(append([]string{"HOME=/"}, d.environ...))
	if err != nil {
		return bad("smtp", "%v", err)
	}
	sender, err := c.sender()
	if err != nil {
		return bad("smtp", "%v", err)
	}
	seen, err := mail.Probe(ctx, sender)
	switch {
	case errors.Is(err, mail.ErrNoProbe):
		return good("smtp", "letters go by GATEHOUSE_SMTP2GO_KEY, which only a letter can try: \"gatehouse mail test\"")
	case err != nil:
		return bad("smtp", "the mail server of GATEHOUSE_SMTP_URL takes no letters: %v; see that the address, the user, the password and GATEHOUSE_SMTP_CA are right", err)
	}
	return good("smtp", "it signs us in: %s", seen)
}

func (d *doctor) close() {
	if d.sql != nil {
		_ = d.sql.Close() // only read
	}
	if d.valkey != nil {
		_ = d.valkey.Close()
	}
}

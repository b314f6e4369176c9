package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	netmail "net/mail"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-id/gatehouse/mail"
)

// A Secret prints as [redacted] wherever it is formatted or logged.
type Secret string

func (Secret) String() string       { return "[redacted]" }
func (Secret) GoString() string     { return "[redacted]" }
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Config is everything that an operator may set. It is read from the
// environment alone: command lines are visible to everybody on the machine.
// The zero environment is embedded mode. What each key means stands in
// [Config.settings], which is also what parses it and what
// "gatehouse serve -h" prints.
type Config struct {
	URL                 string
	Addr                string
	GRPCAddr            string
	StateDir            string
	DatabaseURL         Secret
	ValkeyURL           Secret
	SealKey             Secret // 32 raw bytes, or empty
	MailKey             Secret // likewise
	SMTPURL             Secret
	SMTPCA              string // PEM
	SMTP2GOKey          Secret
	MailFrom            string
	Brand               string
	RegistrationDomains []string
	DNS                 string
	Bcrypt              bool
	RefreshLimit        int
	TrustedProxies      []netip.Prefix
	EmbeddedAsked       bool
	JSONLog             bool
}

// A setting is one key of the environment.
type setting struct {
	key string
	// about explains the key to the operator.
	about string
	// value is what set is given when the key is absent; empty is nothing.
	value string
	// absent says what happens without the key where value does not.
	absent string
	// secret values may also come from the file that KEY_FILE names, and are
	// never repeated in a message.
	secret bool
	// set takes the value over. Its error completes the sentence "KEY …".
	set func(string) error
}

// settings is every key there is, in the order in which they are explained.
func (c *Config) settings() []setting {
	return []setting{
		{
			key:    "GATEHOUSE_URL",
			about:  "The issuer: the address at which browsers and apps find this server, as scheme and host, https unless it is this machine.",
			absent: "http://localhost with the port of GATEHOUSE_ADDR",
			set:    func(v string) error { c.URL = v; return checkIssuer(v) },
		},
		{
			key:   "GATEHOUSE_ADDR",
			about: "Where to listen for HTTP, as host:port. localhost is 127.0.0.1 and ::1; no host is every address of the machine.",
			value: "localhost:8080",
			set:   func(v string) error { c.Addr = v; return checkAddr(v) },
		},
		{
			key:   "GATEHOUSE_GRPC_ADDR",
			about: "Where to listen for gRPC, as host:port. Reserved: nothing listens there yet.",
			value: "127.0.0.1:8081",
			set:   func(v string) error { c.GRPCAddr = v; return checkAddr(v) },
		},
		{
			key:    "GATEHOUSE_STATE_DIR",
			about:  "Where embedded mode keeps its database and its keys, an absolute path. Made when missing, for its owner alone.",
			absent: "$XDG_STATE_HOME/gatehouse or ~/.local/state/gatehouse",
			set: func(v string) error {
				if c.StateDir = filepath.Clean(v); !filepath.IsAbs(v) {
					return fmt.Errorf("must be an absolute path, not %q", v)
				}
				return nil
			},
		},
		{
			key:    "GATEHOUSE_DATABASE_URL",
			about:  "The database: postgres://user:password@host/name, or sqlite:/path/to/file for a single server process. Goes with GATEHOUSE_VALKEY_URL; neither is embedded mode.",
			absent: "embedded mode",
			secret: true,
			set:    func(v string) error { c.DatabaseURL = Secret(v); return checkDatabaseURL(v) },
		},
		{
			key:    "GATEHOUSE_VALKEY_URL",
			about:  "The Valkey (or Redis 7) server for what may be lost: valkey://user:password@host:6379/0, or valkeys:// for TLS; redis:// and rediss:// mean the same. Its maxmemory-policy must be noeviction.",
			absent: "embedded mode",
			secret: true,
			set:    func(v string) error { c.ValkeyURL = Secret(v); return checkValkeyURL(v) },
		},
		{
			key:    "GATEHOUSE_SEAL_KEY",
			about:  "Encrypts the signing keys in the database: 32 bytes as hex or base64. \"openssl rand -hex 32\" makes one.",
			absent: "made in the state directory in embedded mode, required elsewhere",
			secret: true,
			set:    func(v string) (err error) { c.SealKey, err = parseKey(v); return err },
		},
		{
			key:    "GATEHOUSE_MAIL_KEY",
			about:  "Encrypts letters on their way to gatehouse-worker, which needs the same: 32 bytes as hex or base64.",
			absent: "made in the state directory in embedded mode, required elsewhere",
			secret: true,
			set:    func(v string) (err error) { c.MailKey, err = parseKey(v); return err },
		},
		{
			key:    "GATEHOUSE_SMTP_URL",
			about:  "Sends the letters of embedded mode: smtp://user:password@host:587 (STARTTLS) or smtps://user:password@host:465. Elsewhere gatehouse-worker sends them, and has this key instead.",
			absent: "embedded mode prints letters and shows them at /dev/mail",
			secret: true,
			set:    func(v string) error { c.SMTPURL = Secret(v); return checkSMTPURL(v) },
		},
		{
			key:    "GATEHOUSE_SMTP_CA",
			about:  "Certificates in PEM, one of which has signed that of the mail server of GATEHOUSE_SMTP_URL.",
			absent: "those of the system",
			secret: true,
			set: func(v string) error {
				c.SMTPCA = v
				if _, err := mail.ParseRoots([]byte(v)); err != nil {
					return errors.New("must be certificates in PEM; the path of a file goes into GATEHOUSE_SMTP_CA_FILE")
				}
				return nil
			},
		},
		{
			key:    "GATEHOUSE_SMTP2GO_KEY",
			about:  "The API key of an account at smtp2go.com, which then sends the letters of embedded mode instead of GATEHOUSE_SMTP_URL.",
			absent: "they go by GATEHOUSE_SMTP_URL or nowhere",
			secret: true,
			set: func(v string) error {
				if c.SMTP2GOKey = Secret(v); !strings.HasPrefix(v, "api-") {
					return errors.New("must be an API key of smtp2go.com, which begins with api-")
				}
				return nil
			},
		},
		{
			key:    "GATEHOUSE_MAIL_FROM",
			about:  "Whom letters are from, with GATEHOUSE_SMTP_URL or GATEHOUSE_SMTP2GO_KEY: \"Example ID <id@example.org>\".",
			absent: "nobody",
			set: func(v string) error {
				c.MailFrom = v
				if _, err := netmail.ParseAddress(v); err != nil {
					return fmt.Errorf("must be a mail address such as \"Example ID <id@example.org>\", not %q", v)
				}
				return nil
			},
		},
		{
			key:   "GATEHOUSE_BRAND",
			about: "The name of this service on its pages.",
			value: "Gatehouse",
			set: func(v string) error {
				if c.Brand = v; plain(v) != v || len(v) > 100 {
					return errors.New("must be at most 100 bytes without control characters")
				}
				return nil
			},
		},
		{
			key:    "GATEHOUSE_REGISTRATION_DOMAINS",
			about:  "The domains of the email addresses that may register by themselves, with commas between: example.org,example.com. Outside embedded mode each is proved by a DNS record before the server starts; \"gatehouse domain show\" prints it.",
			absent: "registration is closed; in embedded mode it is open to every address",
			set:    func(v string) (err error) { c.RegistrationDomains, err = parseDomains(v); return err },
		},
		{
			key:    "GATEHOUSE_DNS",
			about:  "The DNS resolver, as host:port, that is asked for the records which prove GATEHOUSE_REGISTRATION_DOMAINS.",
			absent: "this machine's resolver",
			set:    func(v string) error { c.DNS = v; return checkAddr(v) },
		},
		{
			key:   "GATEHOUSE_PASSWORD_HASH",
			about: "How new passwords are hashed: argon2id, or bcrypt, which reads no more than 72 bytes of them. Hashes of the other kind are accepted, and replaced when their person signs in.",
			value: "argon2id",
			set: func(v string) error {
				if c.Bcrypt = v == "bcrypt"; v != "bcrypt" && v != "argon2id" {
					return fmt.Errorf("must be argon2id or bcrypt, not %q", v)
				}
				return nil
			},
		},
		{
			key:   "GATEHOUSE_REFRESH_LIMIT",
			about: "How often one grant may be refreshed in five minutes at one server, so that an app in a loop is stopped; -1 is no limit.",
			value: "30",
			set: func(v string) (err error) {
				if c.RefreshLimit, err = strconv.Atoi(v); err != nil || c.RefreshLimit == 0 || c.RefreshLimit < -1 {
					return fmt.Errorf("must be a number above 0, or -1, not %q", v)
				}
				return nil
			},
		},
		{
			key:    "GATEHOUSE_TRUSTED_PROXIES",
			about:  "The networks of the proxies in front, with commas between: 10.0.0.0/8. The address of a person is then the last one in X-Forwarded-For that is not theirs, and they limit how often one network may ask.",
			absent: "none: a person's address is the connection's, and one network may sign in or register 60 times a minute",
			set:    func(v string) (err error) { c.TrustedProxies, err = parseNetworks(v); return err },
		},
		{
			key:    "GATEHOUSE_EMBEDDED",
			about:  "yes lets embedded mode listen on, or be found at, an address that is not this machine's own. Everybody who can reach it can read /dev/mail.",
			absent: "it may not",
			set: func(v string) error {
				if c.EmbeddedAsked = v == "yes"; v != "yes" {
					return fmt.Errorf("must be yes or absent, not %q", v)
				}
				return nil
			},
		},
		{
			key:   "GATEHOUSE_LOG",
			about: "How to write the log to standard error: text or json.",
			value: "text",
			set: func(v string) error {
				if c.JSONLog = v == "json"; v != "json" && v != "text" {
					return fmt.Errorf("must be text or json, not %q", v)
				}
				return nil
			},
		},
	}
}

// Embedded reports whether the server keeps everything itself: neither a
// database nor a Valkey was named.
func (c *Config) Embedded() bool { return c.DatabaseURL == "" && c.ValkeyURL == "" }

// registrationOpen reports whether people may register by themselves.
func (c *Config) registrationOpen() bool { return c.Embedded() || len(c.RegistrationDomains) > 0 }

// parseConfig reads the environment ("KEY=value"). Its error has one line per
// wrong key, each saying what to do, and repeats no secret.
func parseConfig(environ []string) (Config, error) {
	env := map[string]string{}
	for _, e := range environ {
		k, v, _ := strings.Cut(e, "=")
		env[k] = v
	}
	var c Config
	var wrong []error
	known := map[string]bool{}
	for _, s := range c.settings() {
		known[s.key] = true
		known[s.key+"_FILE"] = s.secret
		v, err := s.read(env)
		if err == nil && v != "" {
			err = s.set(v)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s %w", s.key, err))
		}
	}
	var unknown []string
	for k := range env {
		// GATEHOUSE_TEST_* are for our own tests: addresses of real servers.
		if strings.HasPrefix(k, "GATEHOUSE_") && !strings.HasPrefix(k, "GATEHOUSE_TEST_") && !known[k] {
			unknown = append(unknown, k)
		}
	}
	slices.Sort(unknown)
	for _, k := range unknown {
		wrong = append(wrong, fmt.Errorf("%s is not a key; \"gatehouse serve -h\" lists those there are", k))
	}
	if len(wrong) == 0 {
		c.fillIn(env)
		wrong = c.contradictions()
	}
	return c, errors.Join(wrong...)
}

// read returns the setting's value, or its default.
func (s setting) read(env map[string]string) (string, error) {
	v, ok := env[s.key]
	// An empty value is most often a variable that somebody forgot to fill in.
	// Taken for an absent one, it would open embedded mode by mistake.
	if ok && v == "" {
		return "", errors.New("is empty; give it a value or unset it")
	}
	if !s.secret {
		if !ok {
			return s.value, nil
		}
		return v, nil
	}
	name, file := env[s.key+"_FILE"]
	switch {
	case ok && file:
		return "", fmt.Errorf("and %s_FILE are both set; unset one", s.key)
	case !file:
		return v, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("cannot be read from the file that %s_FILE names: %w", s.key, err)
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return "", fmt.Errorf("cannot be read from the file that %s_FILE names: %w", s.key, err)
	}
	if v = strings.TrimSpace(string(b)); v == "" {
		return "", fmt.Errorf("is empty: put the value into %s, the file that %s_FILE names", name, s.key)
	}
	return v, nil
}

// fillIn gives values that depend on other values.
func (c *Config) fillIn(env map[string]string) {
	if c.URL == "" {
		_, port, _ := net.SplitHostPort(c.Addr)
		c.URL = "http://localhost:" + port
	}
	if c.StateDir == "" {
		switch state, home := env["XDG_STATE_HOME"], env["HOME"]; {
		case filepath.IsAbs(state):
			c.StateDir = filepath.Join(state, "gatehouse")
		case filepath.IsAbs(home):
			c.StateDir = filepath.Join(home, ".local", "state", "gatehouse")
		}
	}
}

// contradictions are what is wrong between values that are each right.
func (c *Config) contradictions() []error {
	var wrong []error
	switch {
	case c.DatabaseURL == "" && c.ValkeyURL != "":
		wrong = append(wrong, errors.New("GATEHOUSE_DATABASE_URL is missing beside GATEHOUSE_VALKEY_URL; set both, or neither for embedded mode"))
	case c.DatabaseURL != "" && c.ValkeyURL == "":
		wrong = append(wrong, errors.New("GATEHOUSE_VALKEY_URL is missing beside GATEHOUSE_DATABASE_URL; set both, or neither for embedded mode"))
	case !c.Embedded() && c.EmbeddedAsked:
		wrong = append(wrong, errors.New("GATEHOUSE_EMBEDDED is for a server without GATEHOUSE_DATABASE_URL and GATEHOUSE_VALKEY_URL; unset it"))
	}
	if !c.Embedded() {
		if c.sends() || c.SMTPCA != "" || c.MailFrom != "" {
			wrong = append(wrong, errors.New("GATEHOUSE_SMTP_URL, GATEHOUSE_SMTP_CA, GATEHOUSE_SMTP2GO_KEY and GATEHOUSE_MAIL_FROM are for gatehouse-worker, which sends the letters of this server; unset them here"))
		}
		return wrong
	}
	switch {
	case c.SMTPURL != "" && c.SMTP2GOKey != "":
		wrong = append(wrong, errors.New("GATEHOUSE_SMTP_URL and GATEHOUSE_SMTP2GO_KEY are both set; unset one"))
	case c.sends() != (c.MailFrom != ""):
		wrong = append(wrong, errors.New("GATEHOUSE_SMTP_URL (or GATEHOUSE_SMTP2GO_KEY) and GATEHOUSE_MAIL_FROM go together; set both or neither"))
	case c.SMTPURL == "" && c.SMTPCA != "":
		wrong = append(wrong, errors.New("GATEHOUSE_SMTP_CA goes with GATEHOUSE_SMTP_URL; unset it"))
	}
	if c.StateDir == "" {
		wrong = append(wrong, errors.New("GATEHOUSE_STATE_DIR is missing and there is no home directory to put it in; set it"))
	}
	if c.EmbeddedAsked {
		return wrong
	}
	// A mistyped database address must never open a public server on a local
	// file.
	u, err := url.Parse(c.URL)
	if err != nil || !loopback(u.Hostname()) {
		wrong = append(wrong, fmt.Errorf("GATEHOUSE_URL is %s, not this machine, and there is no database; set GATEHOUSE_DATABASE_URL and GATEHOUSE_VALKEY_URL, or GATEHOUSE_EMBEDDED=yes to go without", c.URL))
	}
	for _, a := range []struct{ key, addr string }{{"GATEHOUSE_ADDR", c.Addr}, {"GATEHOUSE_GRPC_ADDR", c.GRPCAddr}} {
		if host, _, err := net.SplitHostPort(a.addr); err != nil || !loopback(host) {
			wrong = append(wrong, fmt.Errorf("%s is %s, open to other machines, and there is no database; set GATEHOUSE_DATABASE_URL and GATEHOUSE_VALKEY_URL, or GATEHOUSE_EMBEDDED=yes to go without", a.key, a.addr))
		}
	}
	return wrong
}

// loopback reports whether host is this machine and nothing else.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// checkIssuer refuses what cannot be an issuer (OpenID Connect Discovery
// section 3, RFC 8414 section 2). Everybody compares it as a string, so it must
// be the one form in which browsers write an origin.
func checkIssuer(v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("must be an address such as https://id.example.org, not %q", v)
	}
	switch {
	case u.User != nil:
		return errors.New("must not hold a user name or a password")
	case v != strings.ToLower(v):
		return fmt.Errorf("must be in lower case: write %s", strings.ToLower(v))
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return fmt.Errorf("must begin with https, because %s is not this machine", u.Hostname())
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(v, "#"):
		return fmt.Errorf("must be scheme and host alone: write %s://%s", u.Scheme, u.Host)
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80", strings.HasSuffix(u.Host, ":"):
		return fmt.Errorf("must not name the port that %s has anyway: write %s://%s", u.Scheme, u.Scheme, u.Hostname())
	}
	return nil
}

func checkAddr(v string) error {
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Errorf("must be host:port, not %q", v)
	}
	// Port 0 (any) would leave the issuer unknown.
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("must end in a port from 1 to 65535, not %q", port)
	}
	return nil
}

func checkDatabaseURL(v string) error {
	if path, ok := strings.CutPrefix(v, "sqlite:"); ok {
		if !filepath.IsAbs(path) {
			return errors.New("must name the file by an absolute path: sqlite:/var/lib/gatehouse/gatehouse.db")
		}
		return nil
	}
	if u, err := url.Parse(v); err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return errors.New("must be postgres://user:password@host/name or sqlite:/path/to/file")
	}
	return nil
}

func checkValkeyURL(v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || !slices.Contains([]string{"redis", "rediss", "valkey", "valkeys"}, u.Scheme) {
		return errors.New("must be valkey://user:password@host:6379/0, or valkeys:// for TLS")
	}
	return nil
}

func checkSMTPURL(v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" {
		return errors.New("must be smtp://user:password@host:587, or smtps:// for TLS from the first byte")
	}
	return nil
}

// parseKey reads 32 bytes as hex or base64.
func parseKey(v string) (Secret, error) {
	b, err := mail.ParseKey(v)
	if err != nil {
		return "", errors.New("must be 32 bytes as hex or base64; \"openssl rand -hex 32\" makes one")
	}
	return Secret(b), nil
}

func parseDomains(v string) ([]string, error) {
	var ds []string
	for d := range strings.SplitSeq(v, ",") {
		d = strings.ToLower(strings.TrimSpace(d))
		if d == "" || strings.ContainsAny(d, "@ */") || plain(d) != d {
			return nil, fmt.Errorf("must be domains with commas between, such as example.org,example.com, not %q", v)
		}
		ds = append(ds, d)
	}
	return ds, nil
}

func parseNetworks(v string) ([]netip.Prefix, error) {
	var ns []netip.Prefix
	for n := range strings.SplitSeq(v, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(n))
		if err != nil {
			return nil, fmt.Errorf("must be networks with commas between, such as 10.0.0.0/8,fd00::/8, not %q", v)
		}
		ns = append(ns, p.Masked())
	}
	return ns, nil
}

// sealKey returns the key that seals signing keys; see ownKey.
func (c *Config) sealKey() ([]byte, error) {
	return c.ownKey("GATEHOUSE_SEAL_KEY", c.SealKey, "seal.key")
}

// mailKey returns the key that seals letters; see ownKey.
func (c *Config) mailKey() ([]byte, error) {
	return c.ownKey("GATEHOUSE_MAIL_KEY", c.MailKey, "mail.key")
}

// ownKey returns the key that was configured; else, in embedded mode, the one
// in the state directory, making it when it is missing.
func (c *Config) ownKey(name string, configured Secret, file string) ([]byte, error) {
	if configured != "" {
		return []byte(configured), nil
	}
	if !c.Embedded() {
		return nil, usagef("%s is missing; set it to 32 bytes as hex (\"openssl rand -hex 32\" makes one), the same on every server", name)
	}
	path := filepath.Join(c.StateDir, file)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return nil, err
		}
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	key, err := parseKey(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	return []byte(key), nil
}

// makeKey puts a new key at path. Of two processes that start at once one
// wins, and neither ever reads half a key: the file is linked when complete.
func makeKey(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // the link stays
	if _, err := f.WriteString(hex.EncodeToString(key[:]) + "\n"); err != nil {
		return errors.Join(err, f.Close())
	}
	// A key lost in a power cut would make the database unreadable.
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// describe prints every key with what it means and what its absence means.
func (c *Config) describe(w io.Writer) {
	say(w, "environment:\n")
	for _, s := range c.settings() {
		name := s.key
		if s.secret {
			name += " (or " + s.key + "_FILE)"
		}
		say(w, "  %s\n", name)
		for line := range wrap(s.about, 72) {
			say(w, "      %s\n", line)
		}
		without := s.absent
		if s.value != "" {
			without = s.value
		}
		say(w, "      default: %s\n", without)
	}
}

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
	"time"

	"github.com/gatehouse-id/gatehouse/egress"
	"github.com/gatehouse-id/gatehouse/internal/telemetry"
	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/text"
	"github.com/gatehouse-id/gatehouse/web"
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
	TLSCert             string // PEM
	TLSKey              Secret // PEM
	GRPCAddr            string
	GRPCClient          string
	GRPCCert            string // PEM
	GRPCKey             Secret // PEM
	GRPCClientCA        string // PEM
	GRPCInsecure        bool
	GRPCReflection      bool
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
	Language            string
	Theme               web.Theme
	Links               web.Links
	RegistrationDomains []string
	DNS                 string
	Bcrypt              bool
	RefreshLimit        int
	JWKSMaxAge          time.Duration
	KeyPublish          time.Duration
	KeyDeadline         time.Duration
	KeyLife             time.Duration
	ClientRegistration  provider.Registration
	ClientToken         Secret // the initial access token
	EgressAllow         []string
	EgressCA            string // PEM
	TrustedProxies      []netip.Prefix
	EmbeddedAsked       bool
	JSONLog             bool
	MetricsAddr         string
	Telemetry           telemetry.Config

	// files are the paths that KEY_FILE named, by KEY.
	files map[string]string
	// memory is what "gatehouse serve" may use.
	memory memory
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
			absent: "http://localhost with the port of GATEHOUSE_ADDR, or https with GATEHOUSE_TLS_CERT",
			set:    func(v string) error { c.URL = v; return checkIssuer(v) },
		},
		{
			key:   "GATEHOUSE_ADDR",
			about: "Where to listen for HTTP, as host:port. localhost is 127.0.0.1 and ::1; no host is every address of the machine.",
			value: "localhost:8080",
			set:   func(v string) error { c.Addr = v; return checkAddr(v) },
		},
		{
			key:    "GATEHOUSE_TLS_CERT",
			about:  "The certificate of this server in PEM, with those that signed it, if it is to speak https by itself. From a file it is read again when that changes, without a restart; likewise GATEHOUSE_TLS_KEY.",
			absent: "a proxy in front speaks https",
			secret: true,
			set:    func(v string) error { c.TLSCert = v; return nil }, // see contradictions
		},
		{
			key:    "GATEHOUSE_TLS_KEY",
			about:  "The private key of GATEHOUSE_TLS_CERT in PEM.",
			absent: "there is none",
			secret: true,
			set:    func(v string) error { c.TLSKey = Secret(v); return nil }, // likewise
		},
		{
			key:    "GATEHOUSE_GRPC_ADDR",
			about:  "Where to listen for gRPC, as host:port: the API of gatehouse/auth/v1, for the operator's own app. localhost is 127.0.0.1 and ::1.",
			absent: "there is no gRPC",
			set:    func(v string) error { c.GRPCAddr = v; return checkAddr(v) },
		},
		{
			key:    "GATEHOUSE_GRPC_CLIENT",
			about:  "The id of the client whose tokens people get over gRPC: one made with --first-party.",
			absent: "in embedded mode " + grpcDevClient + ", which is made at start; elsewhere required with GATEHOUSE_GRPC_ADDR",
			set:    func(v string) error { c.GRPCClient = v; return nil },
		},
		{
			key:    "GATEHOUSE_GRPC_TLS_CERT",
			about:  "The certificate of the gRPC address in PEM, with those that signed it. From a file it is read again when that changes, without a restart; likewise GATEHOUSE_GRPC_TLS_KEY.",
			absent: "gRPC is not encrypted, which only this machine's own addresses may be",
			secret: true,
			set:    func(v string) error { c.GRPCCert = v; return nil }, // see contradictions
		},
		{
			key:    "GATEHOUSE_GRPC_TLS_KEY",
			about:  "The private key of GATEHOUSE_GRPC_TLS_CERT in PEM.",
			absent: "there is none",
			secret: true,
			set:    func(v string) error { c.GRPCKey = Secret(v); return nil }, // likewise
		},
		{
			key:    "GATEHOUSE_GRPC_CLIENT_CA",
			about:  "Certificates in PEM. Whoever connects over gRPC must then have one that one of these has signed (mutual TLS). From a file they are read again when that changes, without a restart.",
			absent: "anybody may connect",
			secret: true,
			set: func(v string) error {
				c.GRPCClientCA = v
				if _, err := mail.ParseRoots([]byte(v)); err != nil {
					return errors.New("must be certificates in PEM; the path of a file goes into GATEHOUSE_GRPC_CLIENT_CA_FILE")
				}
				return nil
			},
		},
		{
			key:    "GATEHOUSE_GRPC_INSECURE",
			about:  "yes lets gRPC go unencrypted at an address that is not this machine's own, behind a proxy that encrypts. Passwords and tokens cross that network in the clear.",
			absent: "it may not",
			set: func(v string) error {
				if c.GRPCInsecure = v == "yes"; v != "yes" {
					return fmt.Errorf("must be yes or absent, not %q", v)
				}
				return nil
			},
		},
		{
			key:    "GATEHOUSE_GRPC_REFLECTION",
			about:  "yes lets anybody who can connect read the contract from the server, as grpcurl does.",
			absent: "in embedded mode it may be read, elsewhere not",
			set: func(v string) error {
				if c.GRPCReflection = v == "yes"; v != "yes" {
					return fmt.Errorf("must be yes or absent, not %q", v)
				}
				return nil
			},
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
			key:   "GATEHOUSE_LANGUAGE",
			about: "The language of its pages and letters for who asks for none that it speaks: " + strings.Join(text.Languages(), ", ") + ".",
			value: text.Fallback,
			set: func(v string) error {
				if c.Language = text.Match(v); c.Language == "" {
					return fmt.Errorf("must be one of %s, not %q", strings.Join(text.Languages(), ", "), v)
				}
				return nil
			},
		},
		{
			key:    "GATEHOUSE_ACCENT",
			about:  "The colour of links, buttons and the mark on its pages, as #rrggbb. What is shown is as much lighter or darker as it takes for everything to be read. An app may have its own: \"gatehouse client look\".",
			absent: "#0e5a70, a petrol blue",
			set:    func(v string) (err error) { c.Theme.Accent, err = web.ParseColour(v); return err },
		},
		{
			key:    "GATEHOUSE_LOGO",
			about:  "The absolute path of a picture that stands beside the name, and on the tabs of browsers: square, PNG, JPEG, WebP or SVG, at most 6 KiB. It is seen on light and on dark.",
			absent: "a globe in the colour of GATEHOUSE_ACCENT",
			set:    func(v string) (err error) { c.Theme.Logo, err = readLogo(v); return err },
		},
		{
			key:    "GATEHOUSE_HELP_URL",
			about:  "Where people find help with this service: an https address, at the foot of every page.",
			absent: "there is no such link",
			set:    func(v string) error { c.Links.Help = v; return checkLink(v) },
		},
		{
			key:    "GATEHOUSE_PRIVACY_URL",
			about:  "The privacy policy of this service: an https address, at the foot of every page.",
			absent: "there is no such link",
			set:    func(v string) error { c.Links.Privacy = v; return checkLink(v) },
		},
		{
			key:    "GATEHOUSE_TERMS_URL",
			about:  "The terms of this service: an https address, at the foot of every page. Who registers must agree to them.",
			absent: "there is no such link, and nothing to agree to",
			set:    func(v string) error { c.Links.Terms = v; return checkLink(v) },
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
			key:   "GATEHOUSE_JWKS_MAX_AGE",
			about: "How long whoever verifies tokens may keep the public keys without asking again, a second to a day.",
			value: "15m",
			set: func(v string) (err error) {
				if c.JWKSMaxAge, err = parseAge(v); err != nil {
					return err
				}
				if c.JWKSMaxAge < time.Second || c.JWKSMaxAge > 24*time.Hour || c.JWKSMaxAge%time.Second != 0 {
					return fmt.Errorf("must be a second to a day, in whole seconds, not %q", v)
				}
				return nil
			},
		},
		{
			key:   "GATEHOUSE_KEY_PUBLISH",
			about: "How long a new signing key is public before it signs, at least twice GATEHOUSE_JWKS_MAX_AGE.",
			value: "24h",
			set:   func(v string) (err error) { c.KeyPublish, err = parseAge(v); return err },
		},
		{
			key:   "GATEHOUSE_KEY_DEADLINE",
			about: "How long a new signing key waits, at most, for registered gateways to fetch it (\"gatehouse gateway list\" shows which have). Then it signs all the same, and the log warns.",
			value: "72h",
			set:   func(v string) (err error) { c.KeyDeadline, err = parseAge(v); return err },
		},
		{
			key:   "GATEHOUSE_KEY_LIFE",
			about: "How long a signing key signs before the next takes over.",
			value: "90d",
			set:   func(v string) (err error) { c.KeyLife, err = parseAge(v); return err },
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
			key:   "GATEHOUSE_CLIENT_REGISTRATION",
			about: "Who may register a client at /connect/register (RFC 7591): off is nobody, token is whoever has GATEHOUSE_CLIENT_REGISTRATION_TOKEN, open is anybody. Those that nobody signs in through are deleted after 30 days.",
			value: "off",
			set: func(v string) error {
				c.ClientRegistration.Mode = provider.RegistrationMode(v)
				if v != "off" && v != "token" && v != "open" {
					return fmt.Errorf("must be off, token or open, not %q", v)
				}
				return nil
			},
		},
		{
			key:    "GATEHOUSE_CLIENT_REGISTRATION_TOKEN",
			about:  "The initial access token of GATEHOUSE_CLIENT_REGISTRATION=token, of 20 characters or more.",
			absent: "there is none",
			secret: true,
			set: func(v string) error {
				if c.ClientToken = Secret(v); len(v) < 20 || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) {
					return errors.New("must be 20 or more printable ASCII characters without space; \"openssl rand -hex 32\" makes some")
				}
				return nil
			},
		},
		{
			key:   "GATEHOUSE_CLIENT_REGISTRATION_LIMIT",
			about: "How many clients one address may register, or change, in an hour; -1 is no limit.",
			value: "20",
			set: func(v string) (err error) {
				if c.ClientRegistration.PerHour, err = strconv.Atoi(v); err != nil || c.ClientRegistration.PerHour == 0 || c.ClientRegistration.PerHour < -1 {
					return fmt.Errorf("must be a number above 0, or -1, not %q", v)
				}
				return nil
			},
		},
		{
			key:   "GATEHOUSE_CLIENT_REGISTRATION_MAX",
			about: "How many clients may have registered themselves, in all.",
			value: "10000",
			set: func(v string) (err error) {
				if c.ClientRegistration.Clients, err = strconv.Atoi(v); err != nil || c.ClientRegistration.Clients < 1 {
					return fmt.Errorf("must be a number above 0, not %q", v)
				}
				return nil
			},
		},
		{
			key:   "GATEHOUSE_CLIENT_REGISTRATION_PKCE",
			about: "Whether clients that register themselves must use PKCE: required, or optional for those that have a secret or a key, as the plans of OpenID certification want it.",
			value: "required",
			set: func(v string) error {
				if c.ClientRegistration.OptionalPKCE = v == "optional"; v != "required" && v != "optional" {
					return fmt.Errorf("must be required or optional, not %q", v)
				}
				return nil
			},
		},
		{
			key:    "GATEHOUSE_EGRESS_ALLOW",
			about:  "What this server may ask at the word of a client, for its keys, its logo or to say that somebody signed out, beside public addresses at port 443: hosts, hosts with a port and networks, with commas between, such as apps.internal,apps.internal:8443,10.0.0.0/8.",
			absent: "nothing but public addresses at port 443",
			set: func(v string) error {
				for entry := range strings.SplitSeq(v, ",") {
					c.EgressAllow = append(c.EgressAllow, strings.TrimSpace(entry))
				}
				if _, err := egress.New(egress.Config{Allow: c.EgressAllow}); err != nil {
					return fmt.Errorf("must be hosts, hosts with a port or networks, with commas between, such as apps.internal,apps.internal:8443,10.0.0.0/8, not %q", v)
				}
				return nil
			},
		},
		{
			key:    "GATEHOUSE_EGRESS_CA",
			about:  "Certificates in PEM that may have signed those of the servers it asks, beside the system's.",
			absent: "those of the system alone",
			secret: true,
			set: func(v string) error {
				c.EgressCA = v
				if _, err := mail.ParseRoots([]byte(v)); err != nil {
					return errors.New("must be certificates in PEM; the path of a file goes into GATEHOUSE_EGRESS_CA_FILE")
				}
				return nil
			},
		},
		{
			key:    "GATEHOUSE_TRUSTED_PROXIES",
			about:  "The networks of the proxies in front, with commas between: 10.0.0.0/8. The address of a person is then the last one in X-Forwarded-For that is not theirs (Forwarded, RFC 7239, is not read), and they limit how often one network may ask.",
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
			key:    "GATEHOUSE_METRICS_ADDR",
			about:  "Where to serve metrics at /metrics, as host:port, for Prometheus: an address that strangers do not reach. What is sent to a collector is decided by the variables of OpenTelemetry, below.",
			absent: "metrics are not served",
			set:    func(v string) error { c.MetricsAddr = v; return checkAddr(v) },
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
	c := Config{files: map[string]string{}}
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
		if path, ok := env[s.key+"_FILE"]; ok && s.secret {
			c.files[s.key] = path
		}
	}
	var unknown []string
	for k := range env {
		// GATEHOUSE_TEST_* are for our own tests: addresses of real servers.
		if strings.HasPrefix(k, "GATEHOUSE_") && !strings.HasPrefix(k, "GATEHOUSE_TEST_") && !known[k] {
			unknown = append(unknown, k)
		}
	}
	var err error
	if c.Telemetry, err = telemetry.Parse(environ, "gatehouse", thisRelease().Version); err != nil {
		wrong = append(wrong, err)
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

// maxValue is how long the value of a key may be in a file. The certificates that a
// system trusts, all of them, are a quarter of that.
const maxValue = 1 << 20

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
	b, err := io.ReadAll(io.LimitReader(f, maxValue+1))
	if err != nil {
		return "", fmt.Errorf("cannot be read from the file that %s_FILE names: %w", s.key, err)
	}
	if len(b) > maxValue { // half of it would be taken for the whole
		return "", fmt.Errorf("is more than %d MiB in %s, the file that %s_FILE names; name the right file", maxValue>>20, name, s.key)
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
		if c.TLSCert != "" {
			c.URL = "https://localhost:" + port
		}
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
	switch token := c.ClientRegistration.Mode == provider.RegistrationToken; {
	case token && c.ClientToken == "":
		wrong = append(wrong, errors.New("GATEHOUSE_CLIENT_REGISTRATION_TOKEN is missing beside GATEHOUSE_CLIENT_REGISTRATION=token; set it"))
	case !token && c.ClientToken != "":
		wrong = append(wrong, errors.New("GATEHOUSE_CLIENT_REGISTRATION_TOKEN goes with GATEHOUSE_CLIENT_REGISTRATION=token; unset it"))
	}
	switch {
	case c.KeyPublish < 2*c.JWKSMaxAge:
		wrong = append(wrong, fmt.Errorf("GATEHOUSE_KEY_PUBLISH is %v, less than twice GATEHOUSE_JWKS_MAX_AGE (%v): a key would sign while it is unknown to some; set it to %v or more", c.KeyPublish, c.JWKSMaxAge, 2*c.JWKSMaxAge))
	case c.KeyDeadline < c.KeyPublish:
		wrong = append(wrong, fmt.Errorf("GATEHOUSE_KEY_DEADLINE is %v, before a key signs even without gateways; set it to GATEHOUSE_KEY_PUBLISH (%v) or more", c.KeyDeadline, c.KeyPublish))
	case c.KeyLife <= c.KeyPublish:
		wrong = append(wrong, fmt.Errorf("GATEHOUSE_KEY_LIFE is %v, and the next key is published for GATEHOUSE_KEY_PUBLISH (%v) of it; set it to more than that", c.KeyLife, c.KeyPublish))
	}
	if err := c.contradictionsOfTLS(); err != nil {
		wrong = append(wrong, err)
	}
	wrong = append(wrong, c.contradictionsOfGRPC()...)
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
	for _, a := range []struct{ key, addr string }{{"GATEHOUSE_ADDR", c.Addr}, {"GATEHOUSE_GRPC_ADDR", c.GRPCAddr}, {"GATEHOUSE_METRICS_ADDR", c.MetricsAddr}} {
		if a.addr == "" {
			continue
		}
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
	bare := u.Hostname()
	if strings.Contains(bare, ":") {
		bare = "[" + bare + "]"
	}
	switch {
	case u.User != nil:
		return errors.New("must not hold a user name or a password")
	case strings.ContainsFunc(v, func(r rune) bool { return r > '~' }):
		return fmt.Errorf("must be in ASCII: browsers write %s as xn--…, and so does whoever compares issuers", u.Hostname())
	case v != strings.ToLower(v):
		return fmt.Errorf("must be in lower case: write %s", strings.ToLower(v))
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return fmt.Errorf("must begin with https, because %s is not this machine", u.Hostname())
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(v, "#"):
		return fmt.Errorf("must be scheme and host alone: write %s://%s", u.Scheme, u.Host)
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80", strings.HasSuffix(u.Host, ":"):
		return fmt.Errorf("must not name the port that %s has anyway: write %s://%s", u.Scheme, u.Scheme, bare)
	case u.Port() != "" && !isPort(u.Port()):
		return fmt.Errorf("must name a port from 1 to 65535, as browsers write it, not %q", u.Port())
	}
	return nil
}

// isPort reports whether s is a port as it is written: without a zero before it.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
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
	if number, ok := strings.CutPrefix(u.Path, "/"); ok {
		if _, err := strconv.ParseUint(number, 10, 31); err != nil {
			return errors.New("must end with the host, the port, or / and the number of a database: valkey://user:password@host:6379/0")
		}
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

// checkLink refuses what is no page that everybody can open.
func checkLink(v string) error {
	if u, err := url.Parse(v); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return fmt.Errorf("must be an address such as https://example.org/help, not %q", v)
	}
	return nil
}

// readLogo reads the logo that GATEHOUSE_LOGO names.
func readLogo(path string) (web.Picture, error) {
	if !filepath.IsAbs(path) {
		return web.Picture{}, fmt.Errorf("must be an absolute path, not %q", path)
	}
	p, err := readPicture(path)
	if err != nil {
		return p, fmt.Errorf("names a file that %w", err)
	}
	return p, nil
}

// maxPictureFile is how much of a file is read to find that it is too large.
const maxPictureFile = 1 << 20

// readPicture reads a logo from a file. Its errors complete the sentence "a file
// that …".
func readPicture(path string) (web.Picture, error) {
	f, err := os.Open(path)
	if err != nil {
		return web.Picture{}, fmt.Errorf("cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxPictureFile))
	if err != nil {
		return web.Picture{}, fmt.Errorf("cannot be read: %w", err)
	}
	return web.ReadPicture(b)
}

// parseAge reads a duration as Go writes it, or in days.
func parseAge(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if days, ok := strings.CutSuffix(v, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("must be a time such as 90d, 36h or 15m, not %q", v)
	}
	return d, nil
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
		if p.Addr().Is4In6() { // which no address is compared as
			return nil, fmt.Errorf("must not name %s, an IPv4 network in IPv6 clothes; write it as IPv4", p)
		}
		if p.Addr().Is4() && p.Bits() < 8 || p.Addr().Is6() && p.Bits() < 7 {
			return nil, fmt.Errorf("must not name %s: half the world would be a proxy, and could write whatever address it likes; name the networks of your own proxies", p)
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
			return nil, c.unusable(err)
		}
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, c.unusable(err)
	}
	key, err := parseKey(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	return []byte(key), nil
}

// unusable says what to do about a state directory in which that went wrong.
func (c *Config) unusable(err error) error {
	return fmt.Errorf("GATEHOUSE_STATE_DIR is %s, which cannot be used: %w; have this user read and write there, or set another", c.StateDir, err)
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
	say(w, "\ntelemetry, by the variables of OpenTelemetry:\n")
	for _, s := range telemetry.Settings() {
		say(w, "  %s\n", s.Key)
		for line := range wrap(s.About, 72) {
			say(w, "      %s\n", line)
		}
	}
}

//go:build !slim

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/internal/testenv"
)

// served runs "gatehouse serve" with an environment that stops it, and returns
// what it says. Should it start, it is stopped.
func served(t *testing.T, environ ...string) (code int, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var log bytes.Buffer
	code = run(ctx, []string{"serve"}, terminal{environ: environ, in: strings.NewReader(""), out: io.Discard, err: &log})
	if ctx.Err() != nil {
		t.Errorf("the server has started:\n%s", log.String())
	}
	return code, log.String()
}

// wantStopped fails the test unless the start was refused with exit code 2 and one
// sentence for the operator, which repeats no secret. What the log says before it
// does not count.
func wantStopped(t *testing.T, code int, said, want string) {
	t.Helper()
	var sentences []string
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "time=") {
			sentences = append(sentences, strings.TrimSuffix(line, "\n"))
		}
	}
	if code != 2 {
		t.Errorf("the exit code is %d, not 2", code)
	}
	if len(sentences) != 1 || !strings.HasPrefix(sentences[0], "gatehouse: serve: ") || !strings.Contains(sentences[0], want) {
		t.Errorf("said\n%s\nnot one sentence with\n%s", strings.Join(sentences, "\n"), want)
	}
	if strings.Contains(said, "hunter2") {
		t.Errorf("sec-N4: a secret is repeated:\n%s", said)
	}
}

// wrongValues is a wrong value of every key, and what is said of it. For keys of
// which each value is right by itself there is what must stand beside them.
func wrongValues() map[string]struct {
	value, want string
	beside      []string
} {
	type row = struct {
		value, want string
		beside      []string
	}
	grpc := []string{"GATEHOUSE_GRPC_ADDR=localhost:8081"}
	return map[string]row{
		"GATEHOUSE_URL":                       {value: "id.example.org", want: "must be an address such as https://id.example.org"},
		"GATEHOUSE_ADDR":                      {value: "8080", want: "must be host:port"},
		"GATEHOUSE_TLS_CERT":                  {value: "hunter2", want: "GATEHOUSE_TLS_CERT and GATEHOUSE_TLS_KEY go together; set both or neither"},
		"GATEHOUSE_TLS_KEY":                   {value: "hunter2", want: "GATEHOUSE_TLS_CERT and GATEHOUSE_TLS_KEY go together; set both or neither"},
		"GATEHOUSE_GRPC_ADDR":                 {value: "localhost:grpc", want: "must end in a port from 1 to 65535"},
		"GATEHOUSE_GRPC_CLIENT":               {value: "nobody", want: `GATEHOUSE_GRPC_CLIENT is "nobody", which is no client; "gatehouse client list" lists those there are`, beside: grpc},
		"GATEHOUSE_GRPC_TLS_CERT":             {value: "hunter2", want: "GATEHOUSE_GRPC_TLS_CERT and GATEHOUSE_GRPC_TLS_KEY go together", beside: grpc},
		"GATEHOUSE_GRPC_TLS_KEY":              {value: "hunter2", want: "GATEHOUSE_GRPC_TLS_CERT and GATEHOUSE_GRPC_TLS_KEY go together", beside: grpc},
		"GATEHOUSE_GRPC_CLIENT_CA":            {value: "hunter2", want: "must be certificates in PEM", beside: grpc},
		"GATEHOUSE_GRPC_INSECURE":             {value: "true", want: "must be yes or absent", beside: grpc},
		"GATEHOUSE_GRPC_REFLECTION":           {value: "true", want: "must be yes or absent", beside: grpc},
		"GATEHOUSE_STATE_DIR":                 {value: "state", want: "must be an absolute path"},
		"GATEHOUSE_DATABASE_URL":              {value: "mysql://root:hunter2@db/x", want: "must be postgres://user:password@host/name or sqlite:/path/to/file", beside: []string{aValkey}},
		"GATEHOUSE_VALKEY_URL":                {value: "hunter2@valkey:6379", want: "must be valkey://user:password@host:6379/0", beside: []string{aDatabase}},
		"GATEHOUSE_SEAL_KEY":                  {value: "hunter2", want: "must be 32 bytes as hex or base64"},
		"GATEHOUSE_MAIL_KEY":                  {value: "hunter2", want: "must be 32 bytes as hex or base64"},
		"GATEHOUSE_SMTP_URL":                  {value: "mail:hunter2@example.org", want: "must be smtp://user:password@host:587"},
		"GATEHOUSE_SMTP_CA":                   {value: "hunter2", want: "must be certificates in PEM"},
		"GATEHOUSE_SMTP2GO_KEY":               {value: "hunter2", want: "must be an API key of smtp2go.com"},
		"GATEHOUSE_MAIL_FROM":                 {value: "Example ID", want: "must be a mail address"},
		"GATEHOUSE_BRAND":                     {value: "a\tb", want: "must be at most 100 bytes without control characters"},
		"GATEHOUSE_LANGUAGE":                  {value: "tlh", want: "must be one of"},
		"GATEHOUSE_ACCENT":                    {value: "petrol", want: "must be a colour as #rrggbb"},
		"GATEHOUSE_LOGO":                      {value: "/dev/null", want: "names a file that must be"},
		"GATEHOUSE_HELP_URL":                  {value: "/help", want: "must be an address such as https://"},
		"GATEHOUSE_PRIVACY_URL":               {value: "http://example.org", want: "must be an address such as https://"},
		"GATEHOUSE_TERMS_URL":                 {value: "javascript:alert(1)", want: "must be an address such as https://"},
		"GATEHOUSE_REGISTRATION_DOMAINS":      {value: "@example.org", want: "must be domains with commas between"},
		"GATEHOUSE_DNS":                       {value: "192.0.2.1", want: "must be host:port"},
		"GATEHOUSE_PASSWORD_HASH":             {value: "md5", want: "must be argon2id or bcrypt"},
		"GATEHOUSE_JWKS_MAX_AGE":              {value: "1y", want: "must be a time such as"},
		"GATEHOUSE_KEY_PUBLISH":               {value: "-1h", want: "must be a time such as"},
		"GATEHOUSE_KEY_DEADLINE":              {value: "soon", want: "must be a time such as"},
		"GATEHOUSE_KEY_LIFE":                  {value: "90", want: "must be a time such as"},
		"GATEHOUSE_REFRESH_LIMIT":             {value: "0", want: "must be a number above 0, or -1"},
		"GATEHOUSE_CLIENT_REGISTRATION":       {value: "yes", want: "must be off, token or open"},
		"GATEHOUSE_CLIENT_REGISTRATION_TOKEN": {value: "hunter2", want: "must be 20 or more printable ASCII characters"},
		"GATEHOUSE_CLIENT_REGISTRATION_LIMIT": {value: "many", want: "must be a number above 0, or -1"},
		"GATEHOUSE_CLIENT_REGISTRATION_MAX":   {value: "-1", want: "must be a number above 0"},
		"GATEHOUSE_CLIENT_REGISTRATION_PKCE":  {value: "no", want: "must be required or optional"},
		"GATEHOUSE_EGRESS_ALLOW":              {value: "https://apps.internal/", want: "must be hosts, hosts with a port or networks"},
		"GATEHOUSE_EGRESS_CA":                 {value: "hunter2", want: "must be certificates in PEM"},
		"GATEHOUSE_TRUSTED_PROXIES":           {value: "0.0.0.0/0", want: "must not name 0.0.0.0/0: half the world would be a proxy"},
		"GATEHOUSE_EMBEDDED":                  {value: "no", want: "must be yes or absent"},
		"GATEHOUSE_METRICS_ADDR":              {value: "9464", want: "must be host:port"},
		"GATEHOUSE_LOG":                       {value: "xml", want: "must be text or json"},
	}
}

// TestWrongValues has every key of the configuration be wrong once: alone, as a
// file that is not there, that may not be read, that is empty, and as nothing.
func TestWrongValues(t *testing.T) {
	wrong := wrongValues()
	base := []string{"HOME=" + t.TempDir()}
	missing, empty := filepath.Join(t.TempDir(), "none"), filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range new(Config).settings() {
		tt, ok := wrong[s.key]
		if !ok {
			t.Errorf("%s has no wrong value here; give it one", s.key)
			continue
		}
		delete(wrong, s.key)
		t.Run(s.key, func(t *testing.T) {
			env := append(slices.Clone(base), tt.beside...)
			code, said := served(t, append(env, s.key+"="+tt.value)...)
			wantStopped(t, code, said, tt.want)
			if !strings.Contains(said, s.key) {
				t.Errorf("the sentence does not name the key:\n%s", said)
			}
			code, said = served(t, append(env, s.key+"=")...)
			wantStopped(t, code, said, s.key+" is empty; give it a value or unset it")
			if !s.secret {
				code, said = served(t, append(env, s.key+"_FILE="+empty)...)
				wantStopped(t, code, said, s.key+"_FILE is not a key")
				return
			}
			code, said = served(t, append(env, s.key+"_FILE="+missing)...)
			wantStopped(t, code, said, s.key+" cannot be read from the file that "+s.key+"_FILE names: open "+missing+": no such file or directory")
			code, said = served(t, append(env, s.key+"_FILE="+filepath.Dir(empty))...)
			wantStopped(t, code, said, s.key+" cannot be read from the file that "+s.key+"_FILE names: read "+filepath.Dir(empty)+": is a directory")
			code, said = served(t, append(env, s.key+"_FILE="+empty)...)
			wantStopped(t, code, said, s.key+" is empty: put the value into "+empty+", the file that "+s.key+"_FILE names")
			code, said = served(t, append(env, s.key+"="+tt.value, s.key+"_FILE="+empty)...)
			wantStopped(t, code, said, s.key+" and "+s.key+"_FILE are both set; unset one")
		})
	}
	for key := range wrong {
		t.Errorf("%s is no key any more; take it out here", key)
	}
	t.Run("a file that may not be read", func(t *testing.T) {
		if u, err := user.Current(); err != nil || u.Uid == "0" {
			t.Skip("root may read everything: run the tests as another user to see this refused")
		}
		if err := os.Chmod(empty, 0); err != nil {
			t.Fatal(err)
		}
		code, said := served(t, append(base, "GATEHOUSE_SEAL_KEY_FILE="+empty)...)
		wantStopped(t, code, said, "GATEHOUSE_SEAL_KEY cannot be read from the file that GATEHOUSE_SEAL_KEY_FILE names: open "+empty+": permission denied")
	})
}

// TestWrongSurroundings has a server start where what it needs is not as it must
// be: one sentence each, and exit code 2.
func TestWrongSurroundings(t *testing.T) {
	t.Parallel()
	environ := func(database, valkey string, more ...string) []string {
		return append([]string{
			"HOME=/home/ada", "GATEHOUSE_ADDR=localhost:" + freePort(t), "GATEHOUSE_SEAL_KEY=" + hexKey, "GATEHOUSE_MAIL_KEY=" + hexKey,
			"GATEHOUSE_DATABASE_URL=" + database, "GATEHOUSE_VALKEY_URL=" + valkey,
		}, more...)
	}
	execute := func(t *testing.T, database string, statements ...string) {
		t.Helper()
		c, err := pgx.Connect(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close(context.Background()) }()
		for _, statement := range statements {
			if _, err := c.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	migrated := func(t *testing.T) string {
		t.Helper()
		database := testenv.Postgres(t)
		c, err := parseConfig(environ(database, "valkey://127.0.0.1:1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := migrateSQL(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return database
	}
	t.Run("an old schema", func(t *testing.T) {
		code, said := served(t, environ(testenv.Postgres(t), "valkey://127.0.0.1:1")...)
		wantStopped(t, code, said, `the database's schema is version 0 and this release needs`)
		if !strings.Contains(said, `run "gatehouse migrate" first`) {
			t.Error(said)
		}
	})
	t.Run("sec-Q4 a newer schema is of the next release, and served", func(t *testing.T) {
		database := migrated(t)
		execute(t, database, "INSERT INTO schema_migrations (version_id, is_applied) VALUES (9999, true)")
		c, err := parseConfig(environ(database, testenv.Valkey(t)))
		if err != nil {
			t.Fatal(err)
		}
		built(t, c)
	})
	t.Run("a database whose clock is wrong", func(t *testing.T) {
		database := migrated(t)
		execute(t, database, "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour 30 seconds' $$")
		code, said := served(t, environ(database+"&options=-c%20search_path%3Dpublic%2Cpg_catalog", "valkey://127.0.0.1:1")...)
		if code == 1 && strings.Contains(said, "GATEHOUSE_VALKEY_URL does not lead") { // which is opened before
			v := miniredis.RunT(t)
			code, said = served(t, environ(database+"&options=-c%20search_path%3Dpublic%2Cpg_catalog", "valkey://"+v.Addr())...)
		}
		wantStopped(t, code, said, "the clocks of this host and of the database are 1h0m")
	})
	t.Run("a Valkey whose clock is wrong", func(t *testing.T) {
		v := miniredis.RunT(t)
		v.SetTime(time.Now().Add(-time.Hour))
		code, said := served(t, environ(migrated(t), "valkey://"+v.Addr())...)
		wantStopped(t, code, said, "the clocks of the database and of Valkey are 1h")
	})
	t.Run("a Valkey that evicts", func(t *testing.T) {
		code, said := served(t, environ(migrated(t), evictingValkey(t))...)
		wantStopped(t, code, said, "GATEHOUSE_VALKEY_URL: valkey: the maxmemory-policy of 127.0.0.1:")
		if !strings.Contains(said, "set maxmemory-policy to noeviction") {
			t.Error(said)
		}
	})
	for _, tt := range []struct{ name, value, want string }{
		{"everybody is a proxy", "0.0.0.0/0", "GATEHOUSE_TRUSTED_PROXIES must not name 0.0.0.0/0: half the world would be a proxy, and could write whatever address it likes; name the networks of your own proxies"},
		{"everybody is, by IPv6", "10.0.0.0/8,::/0", "GATEHOUSE_TRUSTED_PROXIES must not name ::/0"},
		{"half of all are", "128.0.0.0/1", "GATEHOUSE_TRUSTED_PROXIES must not name 128.0.0.0/1"},
		{"IPv4 written as IPv6", "::ffff:10.0.0.0/104", "GATEHOUSE_TRUSTED_PROXIES must not name ::ffff:10.0.0.0/104, an IPv4 network in IPv6 clothes; write it as IPv4"},
		{"a proxy is a name", "envoy.internal", "GATEHOUSE_TRUSTED_PROXIES must be networks with commas between"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, said := served(t, environ("postgres://db/x", "valkey://127.0.0.1:1", "GATEHOUSE_TRUSTED_PROXIES="+tt.value)...)
			wantStopped(t, code, said, tt.want)
		})
	}
	t.Run("a proxy that must be there, and is not named, is told at start", func(t *testing.T) {
		log := &transcript{}
		s := &server{config: Config{URL: "https://id.example.org", DatabaseURL: "x"}, log: newLog(terminal{err: log}, Config{})}
		s.announce()
		if !strings.Contains(log.String(), "a proxy in front speaks https, and GATEHOUSE_TRUSTED_PROXIES does not name it") {
			t.Error(log.String())
		}
	})
	// What is not there now may be there later: that is no configuration.
	for name, env := range map[string][]string{
		"no database": environ("postgres://ada:hunter2@127.0.0.1:1/x", "valkey://127.0.0.1:1"),
		"no Valkey":   environ(migrated(t), "valkey://ada:hunter2@127.0.0.1:1"),
	} {
		t.Run(name, func(t *testing.T) {
			code, said := served(t, env...)
			var sentences int
			for line := range strings.Lines(said) {
				if !strings.HasPrefix(line, "time=") {
					sentences++
				}
			}
			if code != 1 || sentences != 1 || strings.Contains(said, "hunter2") {
				t.Errorf("code %d:\n%s", code, said)
			}
		})
	}
}

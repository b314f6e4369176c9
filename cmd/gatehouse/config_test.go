package main

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	hexKey    = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	aDatabase = "GATEHOUSE_DATABASE_URL=postgres://gatehouse:hunter2@db/gatehouse"
	aValkey   = "GATEHOUSE_VALKEY_URL=redis://:hunter2@valkey:6379/0"
)

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		name string
		env  []string
		want string // part of the error; empty is none
	}{
		{"nothing is embedded mode", nil, ""},
		{"names of others do not matter", []string{"GATEHOUS_URL=x", "PATH=/bin"}, ""},
		{"names for our tests do not matter", []string{"GATEHOUSE_TEST_POSTGRES=x"}, ""},
		{"clients register by a token", []string{"GATEHOUSE_CLIENT_REGISTRATION=token", "GATEHOUSE_CLIENT_REGISTRATION_TOKEN=" + hexKey}, ""},
		{"or freely, within limits", []string{"GATEHOUSE_CLIENT_REGISTRATION=open", "GATEHOUSE_CLIENT_REGISTRATION_LIMIT=-1", "GATEHOUSE_CLIENT_REGISTRATION_MAX=5", "GATEHOUSE_CLIENT_REGISTRATION_PKCE=optional"}, ""},
		{"but not somehow", []string{"GATEHOUSE_CLIENT_REGISTRATION=yes"}, `GATEHOUSE_CLIENT_REGISTRATION must be off, token or open, not "yes"`},
		{"nor by a token that there is not", []string{"GATEHOUSE_CLIENT_REGISTRATION=token"}, "GATEHOUSE_CLIENT_REGISTRATION_TOKEN is missing beside GATEHOUSE_CLIENT_REGISTRATION=token; set it"},
		{"a token that opens nothing is a mistake", []string{"GATEHOUSE_CLIENT_REGISTRATION_TOKEN=" + hexKey}, "GATEHOUSE_CLIENT_REGISTRATION_TOKEN goes with GATEHOUSE_CLIENT_REGISTRATION=token; unset it"},
		{"and a short one is too", []string{"GATEHOUSE_CLIENT_REGISTRATION=token", "GATEHOUSE_CLIENT_REGISTRATION_TOKEN=hunter2"}, "GATEHOUSE_CLIENT_REGISTRATION_TOKEN must be 20 or more"},
		{"so many registrations an hour", []string{"GATEHOUSE_CLIENT_REGISTRATION_LIMIT=0"}, `GATEHOUSE_CLIENT_REGISTRATION_LIMIT must be a number above 0, or -1, not "0"`},
		{"so many in all", []string{"GATEHOUSE_CLIENT_REGISTRATION_MAX=-1"}, `GATEHOUSE_CLIENT_REGISTRATION_MAX must be a number above 0, not "-1"`},
		{"with PKCE or without", []string{"GATEHOUSE_CLIENT_REGISTRATION_PKCE=no"}, `GATEHOUSE_CLIENT_REGISTRATION_PKCE must be required or optional, not "no"`},
		{"what the server may ask", []string{"GATEHOUSE_EGRESS_ALLOW=apps.internal, apps.internal:8443,10.0.0.0/8,[::1]:8443"}, ""},
		{"is no URL", []string{"GATEHOUSE_EGRESS_ALLOW=https://apps.internal/"}, "GATEHOUSE_EGRESS_ALLOW must be hosts, hosts with a port or networks"},
		{"and is not everything", []string{"GATEHOUSE_EGRESS_ALLOW=*"}, "GATEHOUSE_EGRESS_ALLOW must be hosts, hosts with a port or networks"},
		{"whose certificates are not PEM", []string{"GATEHOUSE_EGRESS_CA=/etc/ca.pem"}, "GATEHOUSE_EGRESS_CA must be certificates in PEM; the path of a file goes into GATEHOUSE_EGRESS_CA_FILE"},
		{"keys age as they should", []string{"GATEHOUSE_JWKS_MAX_AGE=1s", "GATEHOUSE_KEY_PUBLISH=2s", "GATEHOUSE_KEY_DEADLINE=2s", "GATEHOUSE_KEY_LIFE=365d"}, ""},
		{"an age is a time", []string{"GATEHOUSE_KEY_LIFE=90"}, `GATEHOUSE_KEY_LIFE must be a time such as 90d, 36h or 15m, not "90"`},
		{"and not before", []string{"GATEHOUSE_KEY_PUBLISH=-1h"}, `GATEHOUSE_KEY_PUBLISH must be a time such as`},
		{"a day has no parts", []string{"GATEHOUSE_KEY_DEADLINE=1.5d"}, `GATEHOUSE_KEY_DEADLINE must be a time such as`},
		{"nor are there days without end", []string{"GATEHOUSE_KEY_LIFE=99999999d"}, `GATEHOUSE_KEY_LIFE must be a time such as`},
		{"max-age is whole seconds", []string{"GATEHOUSE_JWKS_MAX_AGE=1500ms"}, "GATEHOUSE_JWKS_MAX_AGE must be a second to a day, in whole seconds"},
		{"and not for ever", []string{"GATEHOUSE_JWKS_MAX_AGE=25h"}, "GATEHOUSE_JWKS_MAX_AGE must be a second to a day"},
		{"sec-N2 a key is public for two caches", []string{"GATEHOUSE_JWKS_MAX_AGE=1h", "GATEHOUSE_KEY_PUBLISH=119m"}, "GATEHOUSE_KEY_PUBLISH is 1h59m0s, less than twice GATEHOUSE_JWKS_MAX_AGE (1h0m0s)"},
		{"gateways are waited for so long at least", []string{"GATEHOUSE_KEY_DEADLINE=23h"}, "GATEHOUSE_KEY_DEADLINE is 23h0m0s, before a key signs even without gateways"},
		{"and it signs for longer", []string{"GATEHOUSE_KEY_LIFE=24h"}, "GATEHOUSE_KEY_LIFE is 24h0m0s, and the next key is published for GATEHOUSE_KEY_PUBLISH (24h0m0s) of it"},
		{"an unknown name stops the start", []string{"GATEHOUSE_DATABASE=x"}, `GATEHOUSE_DATABASE is not a key`},
		{"what is no secret has no file", []string{"GATEHOUSE_URL_FILE=/x"}, `GATEHOUSE_URL_FILE is not a key`},
		{"an empty value is not an absent one", []string{"GATEHOUSE_DATABASE_URL=", "GATEHOUSE_VALKEY_URL="}, `GATEHOUSE_DATABASE_URL is empty; give it a value or unset it`},

		{"a database alone stops the start", []string{aDatabase}, "GATEHOUSE_VALKEY_URL is missing beside GATEHOUSE_DATABASE_URL"},
		{"a Valkey alone stops the start", []string{aValkey}, "GATEHOUSE_DATABASE_URL is missing beside GATEHOUSE_VALKEY_URL"},
		{"both are a server", []string{aDatabase, aValkey, "GATEHOUSE_URL=https://id.example.org", "GATEHOUSE_ADDR=:8080"}, ""},
		{"SQLite with a Valkey is a server", []string{"GATEHOUSE_DATABASE_URL=sqlite:/var/lib/gatehouse.db", aValkey, "GATEHOUSE_URL=https://id.example.org"}, ""},
		{"a server is not embedded mode", []string{aDatabase, aValkey, "GATEHOUSE_EMBEDDED=yes"}, "GATEHOUSE_EMBEDDED is for a server without"},
		{"embedded mode is not for others to find", []string{"GATEHOUSE_URL=https://id.example.org"}, "GATEHOUSE_URL is https://id.example.org, not this machine, and there is no database"},
		{"embedded mode does not listen to others", []string{"GATEHOUSE_ADDR=:8080"}, "GATEHOUSE_ADDR is :8080, open to other machines"},
		{"nor to one network", []string{"GATEHOUSE_ADDR=192.0.2.1:8080"}, "GATEHOUSE_ADDR is 192.0.2.1:8080, open to other machines"},
		{"nor over gRPC", []string{"GATEHOUSE_GRPC_ADDR=0.0.0.0:8081"}, "GATEHOUSE_GRPC_ADDR is 0.0.0.0:8081, open to other machines"},
		{"unless it is asked to", []string{"GATEHOUSE_EMBEDDED=yes", "GATEHOUSE_ADDR=:8080", "GATEHOUSE_GRPC_ADDR=:8081", "GATEHOUSE_URL=https://id.example.org"}, ""},
		{"in so many words", []string{"GATEHOUSE_EMBEDDED=true"}, `GATEHOUSE_EMBEDDED must be yes or absent, not "true"`},

		{"the issuer on this machine may be http", []string{"GATEHOUSE_URL=http://[::1]:8080"}, ""},
		{"the issuer elsewhere may not", []string{aDatabase, aValkey, "GATEHOUSE_URL=http://id.example.org"}, "GATEHOUSE_URL must begin with https, because id.example.org is not this machine"},
		{"a name that only begins like this machine is not it", []string{aDatabase, aValkey, "GATEHOUSE_URL=http://localhost.example.org"}, "GATEHOUSE_URL must begin with https"},
		{"the issuer has a scheme", []string{"GATEHOUSE_URL=localhost:8080"}, "GATEHOUSE_URL must be an address such as https://id.example.org"},
		{"the issuer has no slash at the end", []string{"GATEHOUSE_URL=http://localhost:8080/"}, "must be scheme and host alone: write http://localhost:8080"},
		{"the issuer has no query", []string{"GATEHOUSE_URL=http://localhost:8080?"}, "must be scheme and host alone"},
		{"the issuer has no fragment", []string{"GATEHOUSE_URL=http://localhost:8080#"}, "must be scheme and host alone"},
		{"the issuer has no user", []string{"GATEHOUSE_URL=http://me@localhost:8080"}, "must not hold a user name"},
		{"the issuer is in lower case", []string{"GATEHOUSE_URL=http://LOCALHOST:8080"}, "must be in lower case: write http://localhost:8080"},
		{"the issuer does not name the usual port", []string{aDatabase, aValkey, "GATEHOUSE_URL=https://id.example.org:443"}, "must not name the port that https has anyway: write https://id.example.org"},

		{"an address has a port", []string{"GATEHOUSE_ADDR=localhost"}, `GATEHOUSE_ADDR must be host:port, not "localhost"`},
		{"a port is a number", []string{"GATEHOUSE_ADDR=localhost:http"}, "GATEHOUSE_ADDR must end in a port from 1 to 65535"},
		{"a port is a possible number", []string{"GATEHOUSE_ADDR=localhost:65536"}, "GATEHOUSE_ADDR must end in a port from 1 to 65535"},
		{"any port would leave the issuer unknown", []string{"GATEHOUSE_ADDR=localhost:0"}, "GATEHOUSE_ADDR must end in a port from 1 to 65535"},
		{"the address of gRPC is checked too", []string{"GATEHOUSE_GRPC_ADDR=8081"}, "GATEHOUSE_GRPC_ADDR must be host:port"},
		{"gRPC on this machine", []string{aDatabase, aValkey, "GATEHOUSE_GRPC_ADDR=127.0.0.1:8081", "GATEHOUSE_GRPC_CLIENT=app"}, ""},
		{"gRPC has a client", []string{aDatabase, aValkey, "GATEHOUSE_GRPC_ADDR=127.0.0.1:8081"}, "GATEHOUSE_GRPC_CLIENT is missing beside GATEHOUSE_GRPC_ADDR"},
		{"and an address", []string{"GATEHOUSE_GRPC_CLIENT=app"}, "GATEHOUSE_GRPC_ADDR is missing beside other keys of gRPC"},
		{"passwords do not cross a network in the clear", []string{aDatabase, aValkey, "GATEHOUSE_GRPC_ADDR=:8081", "GATEHOUSE_GRPC_CLIENT=app"}, "GATEHOUSE_GRPC_ADDR is :8081, open to other machines, and not encrypted"},
		{"unless somebody says that they may", []string{aDatabase, aValkey, "GATEHOUSE_GRPC_ADDR=:8081", "GATEHOUSE_GRPC_CLIENT=app", "GATEHOUSE_GRPC_INSECURE=yes"}, ""},
		{"in those words", []string{"GATEHOUSE_GRPC_ADDR=localhost:8081", "GATEHOUSE_GRPC_INSECURE=1"}, `GATEHOUSE_GRPC_INSECURE must be yes or absent, not "1"`},
		{"the contract is read by those words too", []string{"GATEHOUSE_GRPC_ADDR=localhost:8081", "GATEHOUSE_GRPC_REFLECTION=on"}, `GATEHOUSE_GRPC_REFLECTION must be yes or absent, not "on"`},
		{"a certificate has a key", []string{"GATEHOUSE_GRPC_ADDR=localhost:8081", "GATEHOUSE_GRPC_TLS_CERT=x"}, "GATEHOUSE_GRPC_TLS_CERT and GATEHOUSE_GRPC_TLS_KEY go together"},
		{"sec-N4 of its own", []string{"GATEHOUSE_GRPC_ADDR=localhost:8081", "GATEHOUSE_GRPC_TLS_CERT=hunter2", "GATEHOUSE_GRPC_TLS_KEY=hunter2"}, "must be a certificate and its private key in PEM"},
		{"mutual TLS is TLS", []string{"GATEHOUSE_GRPC_ADDR=localhost:8081", "GATEHOUSE_GRPC_CLIENT_CA=" + newPair(t, nil, 0).cert}, "GATEHOUSE_GRPC_CLIENT_CA goes with GATEHOUSE_GRPC_TLS_CERT"},
		{"of certificates", []string{"GATEHOUSE_GRPC_ADDR=localhost:8081", "GATEHOUSE_GRPC_CLIENT_CA=/etc/ca.pem"}, "GATEHOUSE_GRPC_CLIENT_CA must be certificates in PEM"},
		{"the state directory does not depend on where one stands", []string{"GATEHOUSE_STATE_DIR=state"}, `GATEHOUSE_STATE_DIR must be an absolute path, not "state"`},
		{"there are two databases", []string{"GATEHOUSE_DATABASE_URL=mysql://root:hunter2@db/x", aValkey}, "GATEHOUSE_DATABASE_URL must be postgres://"},
		{"SQLite's file does not depend on where one stands", []string{"GATEHOUSE_DATABASE_URL=sqlite:gatehouse.db", aValkey}, "GATEHOUSE_DATABASE_URL must name the file by an absolute path"},
		{"Valkey has an address", []string{aDatabase, "GATEHOUSE_VALKEY_URL=valkey:6379"}, "GATEHOUSE_VALKEY_URL must be valkey://"},
		{"the mail server has an address", []string{"GATEHOUSE_SMTP_URL=mail.example.org:587"}, "GATEHOUSE_SMTP_URL must be smtp://"},
		{"the sender is an address", []string{"GATEHOUSE_MAIL_FROM=Example ID"}, "GATEHOUSE_MAIL_FROM must be a mail address"},
		{"letters are sent by somebody", []string{"GATEHOUSE_SMTP_URL=smtp://localhost"}, "GATEHOUSE_MAIL_FROM go together"},
		{"letters are sent one way", []string{"GATEHOUSE_SMTP_URL=smtp://localhost", "GATEHOUSE_SMTP2GO_KEY=api-hunter2", "GATEHOUSE_MAIL_FROM=id@example.org"}, "GATEHOUSE_SMTP_URL and GATEHOUSE_SMTP2GO_KEY are both set"},
		{"letters by API are from somebody", []string{"GATEHOUSE_SMTP2GO_KEY=api-hunter2"}, "GATEHOUSE_MAIL_FROM go together"},
		{"letters are from nobody else", []string{"GATEHOUSE_MAIL_FROM=id@example.org"}, "GATEHOUSE_MAIL_FROM go together"},
		{"an API key looks like one", []string{"GATEHOUSE_SMTP2GO_KEY=hunter2"}, "GATEHOUSE_SMTP2GO_KEY must be an API key"},
		{"certificates are certificates", []string{"GATEHOUSE_SMTP_CA=/etc/ca.pem"}, "GATEHOUSE_SMTP_CA must be certificates in PEM"},
		{"letters by API are sent by the worker", []string{aDatabase, aValkey, "GATEHOUSE_SMTP2GO_KEY=api-hunter2"}, "are for gatehouse-worker, which sends the letters of this server"},
		{"letters are sent by the worker", []string{aDatabase, aValkey, "GATEHOUSE_SMTP_URL=smtp://me:hunter2@localhost"}, "are for gatehouse-worker, which sends the letters of this server"},
		{"the brand is a line", []string{"GATEHOUSE_BRAND=a\nb"}, "GATEHOUSE_BRAND must be at most 100 bytes without control characters"},
		{"an accent is a colour", []string{"GATEHOUSE_ACCENT=#FF6A3D"}, ""},
		{"and no name of one", []string{"GATEHOUSE_ACCENT=petrol"}, `GATEHOUSE_ACCENT must be a colour as #rrggbb, six hexadecimal digits after the #, not "petrol"`},
		{"nor a short form", []string{"GATEHOUSE_ACCENT=#f63"}, "GATEHOUSE_ACCENT must be a colour as #rrggbb"},
		{"a logo is a picture", []string{"GATEHOUSE_LOGO=" + file("logo.txt", `<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0h8v8z"/></svg>`)}, ""},
		{"and no page", []string{"GATEHOUSE_LOGO=" + file("logo.svg", "<html></html>")}, "GATEHOUSE_LOGO names a file that must be a PNG, JPEG, WebP or SVG picture"},
		{"nor a program", []string{"GATEHOUSE_LOGO=" + file("script.svg", `<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>`)}, "GATEHOUSE_LOGO names a file that must be without <script>"},
		{"a logo is there", []string{"GATEHOUSE_LOGO=" + filepath.Join(dir, "none.png")}, "GATEHOUSE_LOGO names a file that cannot be read"},
		{"a logo does not depend on where one stands", []string{"GATEHOUSE_LOGO=logo.png"}, `GATEHOUSE_LOGO must be an absolute path, not "logo.png"`},
		{"links lead to pages", []string{"GATEHOUSE_HELP_URL=https://example.org/help", "GATEHOUSE_PRIVACY_URL=https://example.org/privacy", "GATEHOUSE_TERMS_URL=https://example.org/terms"}, ""},
		{"and not to our own paths", []string{"GATEHOUSE_HELP_URL=/help"}, `GATEHOUSE_HELP_URL must be an address such as https://example.org/help, not "/help"`},
		{"nor in the clear", []string{"GATEHOUSE_PRIVACY_URL=http://example.org/"}, "GATEHOUSE_PRIVACY_URL must be an address such as https://"},
		{"nor to scripts", []string{"GATEHOUSE_TERMS_URL=javascript:alert(1)"}, "GATEHOUSE_TERMS_URL must be an address such as https://"},
		{"domains are not addresses", []string{"GATEHOUSE_REGISTRATION_DOMAINS=@example.org"}, "GATEHOUSE_REGISTRATION_DOMAINS must be domains"},
		{"domains are not empty", []string{"GATEHOUSE_REGISTRATION_DOMAINS=example.org,"}, "GATEHOUSE_REGISTRATION_DOMAINS must be domains"},
		{"there are two password hashes", []string{"GATEHOUSE_PASSWORD_HASH=md5"}, `GATEHOUSE_PASSWORD_HASH must be argon2id or bcrypt, not "md5"`},
		{"bcrypt is one", []string{"GATEHOUSE_PASSWORD_HASH=bcrypt"}, ""},
		{"proxies are networks", []string{"GATEHOUSE_TRUSTED_PROXIES=10.0.0.1"}, "GATEHOUSE_TRUSTED_PROXIES must be networks with commas between"},
		{"several networks of proxies", []string{"GATEHOUSE_TRUSTED_PROXIES=10.0.0.0/8, fd00::/8"}, ""},
		{"there are two forms of log", []string{"GATEHOUSE_LOG=xml"}, `GATEHOUSE_LOG must be text or json, not "xml"`},

		{"a key is 32 bytes", []string{"GATEHOUSE_SEAL_KEY=0011"}, "GATEHOUSE_SEAL_KEY must be 32 bytes"},
		{"a key may come from a file", []string{"GATEHOUSE_SEAL_KEY_FILE=" + file("seal", hexKey+"\n")}, ""},
		{"but not from two places", []string{"GATEHOUSE_SEAL_KEY=" + hexKey, "GATEHOUSE_SEAL_KEY_FILE=/x"}, "GATEHOUSE_SEAL_KEY and GATEHOUSE_SEAL_KEY_FILE are both set; unset one"},
		{"nor from a file that is not there", []string{"GATEHOUSE_MAIL_KEY_FILE=" + filepath.Join(dir, "none")}, "GATEHOUSE_MAIL_KEY cannot be read from the file that GATEHOUSE_MAIL_KEY_FILE names"},
		{"nor from an empty one", []string{"GATEHOUSE_VALKEY_URL_FILE=" + file("empty", "\n")}, "GATEHOUSE_VALKEY_URL is empty: put the value into"},
		{"an address with a password may come from a file", []string{"GATEHOUSE_DATABASE_URL_FILE=" + file("db", "postgres://db/x\n"), aValkey}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseConfig(append([]string{"HOME=/home/ada"}, tt.env...))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && err == nil:
				t.Error("accepted")
			case tt.want != "" && !strings.Contains(err.Error(), tt.want):
				t.Errorf("the error is\n%v\nwithout\n%s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("sec-N4: the error repeats a secret: %v", err)
			}
		})
	}
}

func TestConfigTellsAllAtOnce(t *testing.T) {
	_, err := parseConfig([]string{"HOME=/home/ada", "GATEHOUSE_LOG=xml", "GATEHOUSE_ADDR=x", "GATEHOUSE_WHAT=x"})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three wrong keys should be three lines, not\n%v", err)
	}
}

func TestConfigValues(t *testing.T) {
	c, err := parseConfig([]string{"HOME=/home/ada", "GATEHOUSE_ADDR=[::1]:9090", "GATEHOUSE_REGISTRATION_DOMAINS=Example.org, example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if c.URL != "http://localhost:9090" {
		t.Errorf("the issuer is %s, not on the port of GATEHOUSE_ADDR", c.URL)
	}
	if c.StateDir != "/home/ada/.local/state/gatehouse" {
		t.Errorf("the state directory is %s", c.StateDir)
	}
	if !slices.Equal(c.RegistrationDomains, []string{"example.org", "example.com"}) {
		t.Errorf("the domains are %q", c.RegistrationDomains)
	}
	if c, err = parseConfig([]string{"HOME=/home/ada", "XDG_STATE_HOME=/state"}); err != nil || c.StateDir != "/state/gatehouse" {
		t.Errorf("the state directory is %s (%v), not under XDG_STATE_HOME", c.StateDir, err)
	}
	if c, err = parseConfig(nil); err == nil || !strings.Contains(err.Error(), "set it") {
		t.Errorf("without a home the state is kept in %q (%v)", c.StateDir, err)
	}
}

func TestKeyForms(t *testing.T) {
	want, err := hex.DecodeString(hexKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{
		hexKey, strings.ToUpper(hexKey),
		base64.StdEncoding.EncodeToString(want), base64.RawStdEncoding.EncodeToString(want),
		base64.URLEncoding.EncodeToString(want), base64.RawURLEncoding.EncodeToString(want),
	} {
		if got, err := parseKey(form); err != nil || string(got) != string(want) {
			t.Errorf("%s is another key (%v)", form, err)
		}
	}
}

// Processes that start at once on an empty state directory must agree.
func TestOwnKeyIsMadeOnce(t *testing.T) {
	c := Config{StateDir: filepath.Join(t.TempDir(), "state")}
	const processes = 16
	keys := make(chan string, processes)
	for range processes {
		go func() {
			k, err := c.sealKey()
			if err != nil {
				t.Error(err)
			}
			keys <- string(k)
		}()
	}
	first := <-keys
	for range processes - 1 {
		if k := <-keys; k != first {
			t.Fatal("two keys were made")
		}
	}
	entries, err := os.ReadDir(c.StateDir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("the state directory holds %v (%v), not one key", entries, err)
	}
	for _, path := range []string{c.StateDir, filepath.Join(c.StateDir, entries[0].Name())} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others may read %s: %v", path, info.Mode())
		}
	}
	other, err := c.mailKey()
	if err != nil || string(other) == first {
		t.Errorf("the mail key is the seal key (%v)", err)
	}
}

func TestOwnKeyIsRequiredElsewhere(t *testing.T) {
	c := Config{DatabaseURL: "postgres://db/x", ValkeyURL: "redis://valkey"}
	if _, err := c.sealKey(); err == nil || !strings.Contains(err.Error(), "GATEHOUSE_SEAL_KEY is missing; set it") {
		t.Errorf("a server without GATEHOUSE_SEAL_KEY: %v", err)
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A clientEdit is what flags say about a client: those that were given, in the
// order in which they were.
type clientEdit struct {
	edits []func(*storage.Client)
	given map[string]bool
}

// apply makes c what the flags say.
func (e *clientEdit) apply(c *storage.Client) {
	for _, edit := range e.edits {
		edit(c)
	}
}

// clientFlags defines the flags that say what a client is, for making one and
// for changing one.
func clientFlags(fs *flag.FlagSet) *clientEdit {
	e := &clientEdit{given: map[string]bool{}}
	add := func(name string, edit func(*storage.Client)) {
		e.given[name] = true
		e.edits = append(e.edits, edit)
	}
	text := func(name, usage string, of func(*storage.Client) *string) {
		fs.Func(name, usage, func(v string) error {
			add(name, func(c *storage.Client) { *of(c) = v })
			return nil
		})
	}
	list := func(name, usage string, of func(*storage.Client) *[]string) {
		fs.Func(name, usage+"; may be repeated", func(v string) error {
			first := !e.given[name]
			add(name, func(c *storage.Client) {
				if first {
					*of(c) = nil
				}
				if v != "" {
					*of(c) = append(*of(c), v)
				}
			})
			return nil
		})
	}
	yes := func(name, usage string, set func(*storage.Client, bool)) {
		fs.BoolFunc(name, usage, func(v string) error {
			b, err := strconv.ParseBool(v)
			add(name, func(c *storage.Client) { set(c, b) })
			return err
		})
	}

	text("name", "the `name` that people see", func(c *storage.Client) *string { return &c.Name })
	yes("public", "an app that cannot keep a secret: in a browser, on a phone, on a desktop", func(c *storage.Client, yes bool) {
		if yes {
			c.AuthMethod = storage.AuthNone
		}
	})
	text("auth-method", "how a client that is not public authenticates, the `method` client_secret_basic, client_secret_post or private_key_jwt", func(c *storage.Client) *string { return &c.AuthMethod })
	yes("private-key-jwt", "the same as --auth-method private_key_jwt: it signs with a key, and has no secret", func(c *storage.Client, yes bool) {
		if yes {
			c.AuthMethod = storage.AuthPrivateKey
		}
	})
	fs.Func("jwks", "a `file` with the public keys it signs with, as a JWK set", func(v string) error {
		set, err := readKeySet(v)
		add("jwks", func(c *storage.Client) { c.Metadata.JWKS, c.Metadata.JWKSURI = set, "" })
		return err
	})
	fs.Func("jwks-uri", "the https `uri` where its public keys are, as a JWK set", func(v string) error {
		add("jwks-uri", func(c *storage.Client) { c.Metadata.JWKS, c.Metadata.JWKSURI = nil, v })
		return nil
	})
	text("assertion-alg", "the one `algorithm` that it signs with, such as ES256 (default any we know)", func(c *storage.Client) *string { return &c.Metadata.AssertionAlg })
	fs.Func("assertion-audience", "what its assertions may name as their audience, the `word` issuer, or token-url for the token endpoint too (default issuer)", func(v string) error {
		if v != "issuer" && v != "token-url" {
			return errors.New("must be issuer or token-url")
		}
		add("assertion-audience", func(c *storage.Client) { c.Metadata.TokenURLAudience = v == "token-url" })
		return nil
	})
	list("redirect-uri", "a `uri` that people are sent back to, compared exactly", func(c *storage.Client) *[]string { return &c.RedirectURIs })
	list("grant", "a grant `type`: authorization_code, refresh_token, client_credentials (default the first two)", func(c *storage.Client) *[]string { return &c.GrantTypes })
	fs.Func("scope", "the `scopes` it may ask for, with spaces between (default \"openid profile email offline_access\"; nothing for a service without people)", func(v string) error {
		add("scope", func(c *storage.Client) { c.Scopes = strings.Fields(v) })
		return nil
	})
	list("resource", "the `uri` of an API that its tokens are for (RFC 8707), the first being the default", func(c *storage.Client) *[]string { return &c.Resources })
	yes("first-party", "yours: people are not asked for consent", func(c *storage.Client, yes bool) { c.FirstParty = yes })
	text("id-token-alg", "what signs its ID tokens, the `algorithm` ES256 or RS256 (default ES256)", func(c *storage.Client) *string { return &c.IDTokenAlg })
	text("userinfo-alg", "what signs its answers of UserInfo, the `algorithm` ES256 or RS256 (default none: they are plain JSON)", func(c *storage.Client) *string { return &c.Metadata.UserInfoAlg })
	text("introspection-alg", "what signs its answers of introspection, the `algorithm` ES256 or RS256 (default none, unless it asks)", func(c *storage.Client) *string { return &c.Metadata.IntrospectionAlg })
	list("introspects", "the `uri` of an API whose tokens it may check, as the API itself or what stands before it", func(c *storage.Client) *[]string { return &c.Metadata.Introspects })
	fs.Func("refresh-grace", "how long, as a `duration`, the refresh token before the current one is still answered; 0s is strict (default the server's)", func(v string) error {
		d, err := time.ParseDuration(v)
		if err == nil && d < 0 {
			err = errors.New("must not be negative")
		}
		add("refresh-grace", func(c *storage.Client) { c.RefreshGrace = &d })
		return err
	})
	yes("optional-pkce", "let it go without PKCE: only for an OpenID client with a secret or a key that cannot do better", func(c *storage.Client, yes bool) { c.OptionalPKCE = yes })
	list("post-logout-redirect", "a `uri` that people may be sent to when they have signed out, compared exactly", func(c *storage.Client) *[]string { return &c.Metadata.PostLogoutRedirectURIs })
	text("backchannel", "the https `uri` that is told when a session ends (Back-Channel Logout)", func(c *storage.Client) *string { return &c.Metadata.BackchannelLogoutURI })
	list("origin", "a web `origin` that its scripts run at, such as https://app.example.org, beside those of its redirect URIs", func(c *storage.Client) *[]string { return &c.Metadata.Origins })
	text("home", "the https `uri` of its home page", func(c *storage.Client) *string { return &c.Metadata.URI })
	text("policy", "the https `uri` of its privacy policy, which people are shown", func(c *storage.Client) *string { return &c.Metadata.PolicyURI })
	text("terms", "the https `uri` of its terms, which people are shown", func(c *storage.Client) *string { return &c.Metadata.TermsURI })
	text("initiate-login", "the https `uri` where somebody else may start a sign-in", func(c *storage.Client) *string { return &c.Metadata.InitiateLoginURI })
	list("contact", "the `address` of somebody who answers for it", func(c *storage.Client) *[]string { return &c.Metadata.Contacts })
	list("default-acr", "an acr `value` that is asked for when it asks for none", func(c *storage.Client) *[]string { return &c.Metadata.DefaultACR })
	fs.Func("default-max-age", "how long ago, as a `duration`, people may have signed in when it does not say (default however long)", func(v string) error {
		d, err := time.ParseDuration(v)
		seconds := int64(d / time.Second)
		add("default-max-age", func(c *storage.Client) { c.Metadata.DefaultMaxAge = &seconds })
		return err
	})
	return e
}

// methods refuses flags that each say how a client authenticates.
func (e *clientEdit) methods() error {
	switch {
	case e.given["public"] && (e.given["auth-method"] || e.given["private-key-jwt"]):
		return usagef("--public and --auth-method exclude each other: a public client has no secret to send")
	case e.given["auth-method"] && e.given["private-key-jwt"]:
		return usagef("--private-key-jwt and --auth-method exclude each other; give one")
	case e.given["jwks"] && e.given["jwks-uri"]:
		return usagef("--jwks and --jwks-uri exclude each other; give one")
	}
	return nil
}

// readKeySet reads a JWK set and makes it one line. What is in it is judged with
// the client.
func readKeySet(name string) (json.RawMessage, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", err)
	}
	var set bytes.Buffer
	if json.Compact(&set, b) != nil {
		return nil, errors.New("the file is not JSON")
	}
	return set.Bytes(), nil
}

// metadataText prints what there is of metadata, a line each.
func metadataText(line func(name, value string), c storage.ClientMetadata) {
	lines := func(name string, values []string) {
		for _, v := range values {
			line(name, v)
		}
	}
	line("accent", c.Accent)
	line("keys at", c.JWKSURI)
	if len(c.JWKS) > 0 {
		line("keys", string(c.JWKS))
	}
	line("signs with", c.AssertionAlg)
	if c.TokenURLAudience {
		line("assertion audience", "issuer or token endpoint")
	}
	line("userinfo", c.UserInfoAlg)
	line("introspection", c.IntrospectionAlg)
	lines("introspects", c.Introspects)
	lines("post-logout uri", c.PostLogoutRedirectURIs)
	line("back-channel", c.BackchannelLogoutURI)
	lines("origin", c.Origins)
	line("home", c.URI)
	line("logo", c.LogoURI)
	line("policy", c.PolicyURI)
	line("terms", c.TermsURI)
	line("initiate login", c.InitiateLoginURI)
	lines("contact", c.Contacts)
	lines("default acr", c.DefaultACR)
	if c.DefaultMaxAge != nil {
		line("default max age", (time.Duration(*c.DefaultMaxAge) * time.Second).String())
	}
	line("software", strings.TrimSpace(c.SoftwareID+" "+c.SoftwareVersion))
}

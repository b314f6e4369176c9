package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A clientRecord is a client as scripts read it, in the words of RFC 7591
// section 2 where it has any.
type clientRecord struct {
	ID           string    `json:"client_id"`
	Secret       string    `json:"client_secret,omitempty"` // only when it is made
	Name         string    `json:"client_name"`
	AuthMethod   string    `json:"token_endpoint_auth_method"`
	RedirectURIs []string  `json:"redirect_uris"`
	GrantTypes   []string  `json:"grant_types"`
	Scope        string    `json:"scope"`
	IDTokenAlg   string    `json:"id_token_signed_response_alg"`
	Resources    []string  `json:"resources"`
	FirstParty   bool      `json:"first_party"`
	OptionalPKCE bool      `json:"optional_pkce"`
	RefreshGrace string    `json:"refresh_grace,omitempty"` // empty is the server's default
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
}

func recordOfClient(c storage.Client) clientRecord {
	r := clientRecord{
		ID: c.ID, Name: c.Name, AuthMethod: c.AuthMethod,
		RedirectURIs: list(c.RedirectURIs), GrantTypes: list(c.GrantTypes), Scope: strings.Join(c.Scopes, " "),
		IDTokenAlg: c.IDTokenAlg, Resources: list(c.Resources),
		FirstParty: c.FirstParty, OptionalPKCE: c.OptionalPKCE,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
	}
	if r.IDTokenAlg == "" {
		r.IDTokenAlg = "ES256"
	}
	if c.RefreshGrace != nil {
		r.RefreshGrace = c.RefreshGrace.String()
	}
	return r
}

// list returns s, empty rather than nil: JSON has [] for what there is none of.
func list(s []string) []string { return append([]string{}, s...) }

// text prints the record for people, one line for each thing there is.
func (r clientRecord) text(w io.Writer) {
	line := func(name, value string) {
		if value != "" {
			say(w, "%s\t%s\n", name, plain(value))
		}
	}
	line("client id", r.ID)
	line("client secret", r.Secret)
	line("name", r.Name)
	line("authenticates by", r.AuthMethod)
	for _, u := range r.RedirectURIs {
		line("redirect uri", u)
	}
	line("grants", strings.Join(r.GrantTypes, " "))
	line("scope", r.Scope)
	line("id tokens", r.IDTokenAlg)
	for _, u := range r.Resources {
		line("resource", u)
	}
	if r.FirstParty {
		line("first party", "yes: people are not asked for consent")
	}
	if r.OptionalPKCE {
		line("pkce", "optional")
	}
	line("refresh grace", r.RefreshGrace)
	line("created", r.CreatedAt.Format(time.RFC3339))
}

// texts is a flag that may be given more than once.
type texts []string

func (t *texts) String() string     { return strings.Join(*t, " ") }
func (t *texts) Set(v string) error { *t = append(*t, v); return nil }

func clientCreateCommand() command {
	return command{
		name:  "client create",
		about: "Register an app that people sign in to, or a service with tokens of its own",
		example: "gatehouse client create --name Notes --public --redirect-uri https://notes.example.org/callback\n" +
			"gatehouse client create --name Nightly --grant client_credentials --scope reports --resource https://api.example.org",
		define: func(fs *flag.FlagSet) action {
			var c storage.Client
			var redirects, grants, resources texts
			fs.StringVar(&c.ID, "id", "", "the client `id`; one is made when there is none")
			fs.StringVar(&c.Name, "name", "", "the `name` that people see, required")
			public := fs.Bool("public", false, "an app that cannot keep a secret: in a browser, on a phone, on a desktop")
			fs.StringVar(&c.AuthMethod, "auth-method", storage.AuthSecretBasic, "how a client that is not public sends its secret, the `method` client_secret_basic or client_secret_post")
			fs.Var(&redirects, "redirect-uri", "a `uri` that people are sent back to, compared exactly; may be repeated")
			fs.Var(&grants, "grant", "a grant `type`: authorization_code, refresh_token, client_credentials; may be repeated (default authorization_code and refresh_token)")
			scope := fs.String("scope", "", "the `scopes` it may ask for, with spaces between (default \"openid profile email offline_access\"; nothing for a service without people)")
			fs.Var(&resources, "resource", "the `uri` of an API that its tokens are for (RFC 8707); may be repeated, the first is the default")
			fs.BoolVar(&c.FirstParty, "first-party", false, "yours: people are not asked for consent")
			fs.StringVar(&c.IDTokenAlg, "id-token-alg", "ES256", "what signs its ID tokens, the `algorithm` ES256 or RS256")
			fs.Func("refresh-grace", "how long, as a `duration`, the refresh token before the current one is still answered; 0s is strict (default the server's)", func(v string) error {
				d, err := time.ParseDuration(v)
				if err == nil && d < 0 {
					err = errors.New("must not be negative")
				}
				c.RefreshGrace = &d
				return err
			})
			fs.BoolVar(&c.OptionalPKCE, "optional-pkce", false, "let it go without PKCE: only for an OpenID client with a secret that cannot do better")
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, _ []string) error {
				c.RedirectURIs, c.GrantTypes, c.Resources = redirects, grants, resources
				if c.ID == "" {
					c.ID = strings.ToLower(rand.Text())
				}
				if len(c.GrantTypes) == 0 {
					c.GrantTypes = []string{"authorization_code", "refresh_token"}
				}
				c.Scopes = strings.Fields(*scope)
				if *scope == "" && len(c.RedirectURIs) > 0 {
					c.Scopes = []string{"openid", "profile", "email", "offline_access"}
				}
				return createClient(ctx, t, c, isSet(fs, "auth-method"), *public, *asJSON)
			}
		},
	}
}

// isSet reports whether the flag was given.
func isSet(fs *flag.FlagSet, name string) bool {
	var set bool
	fs.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

func createClient(ctx context.Context, t terminal, c storage.Client, methodGiven, public, asJSON bool) error {
	if public {
		if methodGiven {
			return usagef("--public and --auth-method exclude each other: a public client has no secret to send")
		}
		c.AuthMethod = storage.AuthNone
	}
	var secret string
	if !c.Public() {
		var hash []byte
		secret, hash = provider.NewClientSecret()
		c.SecretHashes = [][]byte{hash}
	}
	if err := provider.ValidateClient(c); err != nil {
		return usageError{err}
	}
	sql, err := openCommand(ctx, t)
	if err != nil {
		return err
	}
	defer func() { _ = sql.Close() }()
	now, err := sql.Time(ctx)
	if err != nil {
		return err
	}
	c.CreatedAt, c.UpdatedAt = now, now
	if err := sql.CreateClient(ctx, c); err != nil {
		if errors.Is(err, storage.ErrConflict) {
			return fmt.Errorf("the id %q is taken; choose another, or delete that client first", c.ID)
		}
		return err
	}
	if err := keepEvent(ctx, sql, storage.Event{At: now, Kind: "client.created", ClientID: c.ID}); err != nil {
		return err
	}
	r := recordOfClient(c)
	r.Secret = secret
	if err := t.show(asJSON, r, r.text); err != nil {
		return err
	}
	if secret != "" {
		say(t.err, "gatehouse: keep the client secret now; it cannot be shown again\n")
	}
	return nil
}

// perPage is how many records the list commands read at a time.
const perPage = 200

func clientListCommand() command {
	return command{
		name:    "client list",
		about:   "List every registered client",
		example: "gatehouse client list --json",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, _ []string) error {
				sql, err := openCommand(ctx, t)
				if err != nil {
					return err
				}
				defer func() { _ = sql.Close() }()
				records := []clientRecord{}
				for after := ""; ; {
					cs, err := sql.ListClients(ctx, after, perPage)
					if err != nil {
						return err
					}
					for _, c := range cs {
						records, after = append(records, recordOfClient(c)), c.ID
					}
					if len(cs) < perPage {
						break
					}
				}
				return t.show(*asJSON, records, func(w io.Writer) {
					for _, r := range records {
						say(w, "%s\t%s\t%s\n", plain(r.ID), r.AuthMethod, plain(r.Name))
					}
				})
			}
		},
	}
}

func clientShowCommand() command {
	return command{
		name:     "client show",
		operands: "ID",
		about:    "Show a client",
		example:  "gatehouse client show notes",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, operands []string) error {
				sql, err := openCommand(ctx, t)
				if err != nil {
					return err
				}
				defer func() { _ = sql.Close() }()
				c, err := sql.Client(ctx, operands[0])
				if err != nil {
					return noClient(operands[0], err)
				}
				r := recordOfClient(c)
				return t.show(*asJSON, r, r.text)
			}
		},
	}
}

func clientDeleteCommand() command {
	return command{
		name:     "client delete",
		operands: "ID",
		about:    "Delete a client, and with it every consent to it and every token it was given",
		example:  "gatehouse client delete notes",
		define: func(*flag.FlagSet) action {
			return func(ctx context.Context, t terminal, operands []string) error {
				sql, err := openCommand(ctx, t)
				if err != nil {
					return err
				}
				defer func() { _ = sql.Close() }()
				now, err := sql.Time(ctx)
				if err != nil {
					return err
				}
				if err := sql.DeleteClient(ctx, operands[0], now); err != nil {
					return noClient(operands[0], err)
				}
				if err := keepEvent(ctx, sql, storage.Event{At: now, Kind: "client.deleted", ClientID: operands[0]}); err != nil {
					return err
				}
				say(t.err, "gatehouse: deleted the client %s\n", plain(operands[0]))
				return nil
			}
		},
	}
}

// noClient says it in words when there is no such client.
func noClient(id string, err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("there is no client %q; \"gatehouse client list\" lists them", id)
	}
	return err
}

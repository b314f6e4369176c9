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
	"github.com/gatehouse-id/gatehouse/web"
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
	// The rest has the names of its registries.
	storage.ClientMetadata
	// Registered says that it registered itself, and UsedAt when somebody last
	// signed in through it.
	Registered bool       `json:"registered_itself,omitempty"`
	UsedAt     *time.Time `json:"used_at,omitempty"`
	// Notices are what it was told of ended sessions, when it is shown.
	Notices []noticeRecord `json:"logout_notices,omitempty"`
}

func recordOfClient(c storage.Client) clientRecord {
	r := clientRecord{
		ID: c.ID, Name: c.Name, AuthMethod: c.AuthMethod,
		RedirectURIs: list(c.RedirectURIs), GrantTypes: list(c.GrantTypes), Scope: strings.Join(c.Scopes, " "),
		IDTokenAlg: c.IDTokenAlg, Resources: list(c.Resources),
		FirstParty: c.FirstParty, OptionalPKCE: c.OptionalPKCE,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
		ClientMetadata: c.Metadata, Registered: c.Registration != nil,
	}
	if r.Registered && !c.Registration.UsedAt.IsZero() {
		r.UsedAt = &c.Registration.UsedAt
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
	metadataText(line, r.ClientMetadata)
	if r.Registered {
		line("registered", "by itself")
	}
	if r.UsedAt != nil {
		line("used", r.UsedAt.Format(time.RFC3339))
	}
	line("created", r.CreatedAt.Format(time.RFC3339))
	for _, n := range r.Notices {
		n.text(w)
	}
}

func clientCreateCommand() command {
	return command{
		name:  "client create",
		about: "Register an app that people sign in to, or a service with tokens of its own",
		example: "gatehouse client create --name Notes --public --redirect-uri https://notes.example.org/callback\n" +
			"gatehouse client create --name Nightly --grant client_credentials --scope reports --resource https://api.example.org\n" +
			"gatehouse client create --name Books --private-key-jwt --jwks-uri https://books.example.org/jwks --redirect-uri https://books.example.org/callback",
		define: func(fs *flag.FlagSet) action {
			var c storage.Client
			fs.StringVar(&c.ID, "id", "", "the client `id`; one is made when there is none")
			edit := clientFlags(fs)
			var logo web.Picture
			lookFlags(fs, &c.Metadata.Accent, &logo)
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, _ []string) error {
				if err := edit.methods(); err != nil {
					return err
				}
				c.AuthMethod, c.IDTokenAlg = storage.AuthSecretBasic, "ES256"
				edit.apply(&c)
				if c.ID == "" {
					c.ID = strings.ToLower(rand.Text())
				}
				if len(c.GrantTypes) == 0 {
					c.GrantTypes = []string{"authorization_code", "refresh_token"}
				}
				if !edit.given["scope"] && len(c.RedirectURIs) > 0 {
					c.Scopes = []string{"openid", "profile", "email", "offline_access"}
				}
				return createClient(ctx, t, c, logo, *asJSON)
			}
		},
	}
}

func createClient(ctx context.Context, t terminal, c storage.Client, logo web.Picture, asJSON bool) error {
	secret, err := secretChange{}.apply(&c)
	if err != nil {
		return err
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
	if len(logo.Bytes) > 0 {
		if err := sql.SetLogo(ctx, c.ID, storage.Logo(logo)); err != nil {
			return err
		}
	}
	if err := keepEvent(ctx, sql, storage.Event{At: now, Kind: "client.created", ClientID: c.ID}); err != nil {
		return err
	}
	return showClient(t, c, secret, asJSON)
}

// showClient prints a client with its new secret, if it has one.
func showClient(t terminal, c storage.Client, secret string, asJSON bool) error {
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
				if r.Notices, err = recordsOfNotices(ctx, sql, c.ID); err != nil {
					return err
				}
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

package main

import (
	"context"
	"flag"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

func clientUpdateCommand() command {
	return command{
		name:     "client update",
		operands: "ID",
		about:    "Change a client: what a flag names becomes what it says, the rest stays; a list is replaced, and \"\" empties it",
		example: "gatehouse client update notes --post-logout-redirect https://notes.example.org/\n" +
			"gatehouse client update nightly --new-secret\n" +
			"gatehouse client update nightly --end-old-secret",
		define: func(fs *flag.FlagSet) action {
			edit := clientFlags(fs)
			newSecret := fs.Bool("new-secret", false, "make a secret for it; the one before is accepted too, until --end-old-secret")
			endOld := fs.Bool("end-old-secret", false, "accept its newest secret alone")
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, operands []string) error {
				if len(edit.given) == 0 && !*newSecret && !*endOld {
					return usagef("nothing is to change; \"gatehouse client update -h\" lists what may")
				}
				if *newSecret && *endOld {
					return usagef("--new-secret and --end-old-secret exclude each other: the old one ends when the new one is in use")
				}
				if err := edit.methods(); err != nil {
					return err
				}
				return updateClient(ctx, t, operands[0], edit, secretChange{*newSecret, *endOld}, *asJSON)
			}
		},
	}
}

// A secretChange is what becomes of a client's secrets.
type secretChange struct{ another, endOld bool }

// apply changes the secrets of c, the newest of which is the first, and returns
// the one that is new. A client that needs one and has none is given one.
func (s secretChange) apply(c *storage.Client) (secret string, err error) {
	switch c.AuthMethod {
	case storage.AuthSecretBasic, storage.AuthSecretPost:
	default:
		if s.another || s.endOld {
			return "", usagef("a client of %s has no secret", c.AuthMethod)
		}
		c.SecretHashes = nil
		return "", nil
	}
	if s.endOld {
		c.SecretHashes = c.SecretHashes[:min(len(c.SecretHashes), 1)]
	}
	if s.another || len(c.SecretHashes) == 0 {
		var hash []byte
		secret, hash = provider.NewClientSecret()
		c.SecretHashes = append([][]byte{hash}, c.SecretHashes[:min(len(c.SecretHashes), 1)]...)
	}
	return secret, nil
}

func updateClient(ctx context.Context, t terminal, id string, edit *clientEdit, secrets secretChange, asJSON bool) error {
	sql, err := openCommand(ctx, t)
	if err != nil {
		return err
	}
	defer func() { _ = sql.Close() }()
	now, err := sql.Time(ctx)
	if err != nil {
		return err
	}
	c, err := sql.Client(ctx, id)
	if err != nil {
		return noClient(id, err)
	}
	edit.apply(&c)
	secret, err := secrets.apply(&c)
	if err != nil {
		return err
	}
	c.UpdatedAt = now
	if err := provider.ValidateClient(c); err != nil {
		return usageError{err}
	}
	if err := sql.UpdateClient(ctx, c); err != nil {
		return noClient(id, err)
	}
	if err := keepEvent(ctx, sql, storage.Event{At: now, Kind: "client.updated", ClientID: id}); err != nil {
		return err
	}
	return showClient(t, c, secret, asJSON)
}

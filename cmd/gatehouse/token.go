package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// maxToken is the length of the longest token read from a terminal.
const maxToken = 16 << 10

func tokenRevokeCommand() command {
	return command{
		name:  "token revoke",
		about: "Revoke one access token, or a grant with all its tokens; the token is read from standard input",
		example: "gatehouse token revoke < leaked-token.txt\n" +
			"gatehouse token revoke --jti 0198c0de-0000-7000-8000-000000000000.3.Zm9vYmFyYmE\n" +
			"gatehouse token revoke --grant 0198c0de-0000-7000-8000-000000000000",
		define: func(fs *flag.FlagSet) action {
			jti := fs.String("jti", "", "the `jti` of an access token, instead of the token")
			grant := fs.String("grant", "", "the `id` of a grant, instead of a token: the part of a jti before its last two dots")
			return func(ctx context.Context, t terminal, _ []string) error {
				if *jti != "" && *grant != "" {
					return usagef("--jti and --grant exclude each other")
				}
				return revokeToken(ctx, t, *jti, *grant)
			}
		},
	}
}

func revokeToken(ctx context.Context, t terminal, jti, grant string) error {
	name := provider.TokenName{JTI: jti}
	if jti == "" && grant == "" {
		text, err := io.ReadAll(io.LimitReader(t.in, maxToken+1))
		if err != nil {
			return fmt.Errorf("read the token: %w", err)
		}
		if name, err = provider.NameOf(strings.TrimSpace(string(text))); err != nil {
			return usagef("what was read from standard input cannot be revoked: %w", err)
		}
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
	if name.JTI != "" {
		return revokeAccessToken(ctx, t, sql, name, now)
	}
	var g storage.Grant
	if grant != "" {
		g, err = sql.GrantByID(ctx, grant)
	} else {
		g, err = sql.GrantByHandle(ctx, name.HandleHash)
	}
	if errors.Is(err, storage.ErrNotFound) {
		return errors.New("there is no such grant; one that ended a day ago is no longer kept")
	}
	if err != nil {
		return err
	}
	if !g.RevokedAt.IsZero() {
		say(t.err, "gatehouse: the grant %s was revoked already\n", plain(g.ID))
		return nil
	}
	if err := sql.RevokeGrant(ctx, g.ID, now); err != nil {
		return err
	}
	if err := keepEvent(ctx, sql, storage.Event{At: now, Kind: "token.revoked", UserID: g.UserID, ClientID: g.ClientID}); err != nil {
		return err
	}
	say(t.err, "gatehouse: revoked the grant %s; every server refuses its tokens within five seconds\n", plain(g.ID))
	return nil
}

// revokeAccessToken adds the revocation of one access token. Nobody keeps access
// tokens, so it cannot be told whether there is one of that jti.
func revokeAccessToken(ctx context.Context, t terminal, sql storage.SQL, name provider.TokenName, now time.Time) error {
	until := now.Add(storage.AccessTokenLife)
	if !name.Expires.IsZero() && name.Expires.Before(until) {
		until = name.Expires
	}
	if !now.Before(until) {
		say(t.err, "gatehouse: the token expired by itself at %s\n", until.Format(time.RFC3339))
		return nil
	}
	_, err := sql.Revoke(ctx, storage.Revocation{
		Kind: storage.RevokedToken, Key: name.JTI, At: now, Until: until.Add(time.Minute),
	})
	if err != nil {
		return err
	}
	if err := keepEvent(ctx, sql, storage.Event{At: now, Kind: "token.revoked", ClientID: name.ClientID}); err != nil {
		return err
	}
	say(t.err, "gatehouse: revoked the access token %s; every server refuses it within five seconds\n", plain(name.JTI))
	return nil
}

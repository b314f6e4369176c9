package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"time"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A keyRecord is a key as scripts read it. It holds nothing secret.
type keyRecord struct {
	ID        string    `json:"kid"`
	Purpose   string    `json:"use"`
	Algorithm string    `json:"alg"`
	State     string    `json:"state"`
	Published time.Time `json:"published_at"`
	Signing   time.Time `json:"signing_at,omitzero"`
	Retired   time.Time `json:"retired_at,omitzero"`
	Gone      time.Time `json:"gone_at,omitzero"`
}

func recordsOfKeys(ks []keys.KeyInfo) []keyRecord {
	rs := []keyRecord{}
	for _, k := range ks {
		rs = append(rs, keyRecord{
			ID: k.ID, Purpose: k.Purpose, Algorithm: k.Algorithm, State: string(k.State),
			Published: k.PublishedAt, Signing: k.SigningAt, Retired: k.RetiredAt, Gone: k.GoneAt,
		})
	}
	return rs
}

func keysListCommand() command {
	return command{
		name:    "keys list",
		about:   "List the keys that sign and authenticate, and their ages",
		example: "gatehouse keys list --json",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, _ []string) error {
				return withKeeper(ctx, t, func(k *keys.Keeper, _ storage.Audit, _ time.Time) error {
					return showKeys(t, *asJSON, k)
				})
			}
		},
	}
}

func keysRotateCommand() command {
	return command{
		name:    "keys rotate",
		about:   "Publish the next signing keys now; they sign when everybody can have seen them",
		example: "gatehouse keys rotate",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, _ []string) error {
				return withKeeper(ctx, t, func(k *keys.Keeper, sql storage.Audit, now time.Time) error {
					if err := k.Rotate(ctx); err != nil {
						return err
					}
					if err := keepEvent(ctx, sql, storage.Event{At: now, Kind: "keys.rotated"}); err != nil {
						return err
					}
					return showKeys(t, *asJSON, k)
				})
			}
		},
	}
}

func showKeys(t terminal, asJSON bool, k *keys.Keeper) error {
	rs := recordsOfKeys(k.Keys())
	return t.show(asJSON, rs, func(w io.Writer) {
		for _, r := range rs {
			say(w, "%s\t%s\t%s\t%s\tsince %s\n", r.ID, r.Purpose, r.Algorithm, r.State, r.Published.Format(time.RFC3339))
		}
	})
}

// withKeeper opens the rings for do.
func withKeeper(ctx context.Context, t terminal, do func(*keys.Keeper, storage.Audit, time.Time) error) (err error) {
	c, err := readConfig(t)
	if err != nil {
		return err
	}
	seal, err := c.sealKey()
	if err != nil {
		return err
	}
	sql, err := openSQL(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sql.Close()) }()
	clock, err := storage.NewClock(ctx, sql)
	if err != nil {
		return err
	}
	k, err := keys.New(ctx, keys.Config{Store: sql, SealKey: seal, Now: clock.Now, Log: slog.New(slog.NewTextHandler(t.err, nil))})
	if err != nil {
		return err
	}
	return do(k, sql, clock.Now())
}

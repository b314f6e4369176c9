package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"

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
	// WaitsFor names the gateways that it waits for until signing_at.
	WaitsFor []string `json:"waits_for,omitempty"`
}

// outlook says what a key waits for.
func (r keyRecord) outlook() string {
	switch {
	case r.State != string(keys.Published):
		return ""
	case len(r.WaitsFor) > 0:
		return ", signs when they have fetched it, or on " + r.Signing.Format(time.RFC3339) + ": " + plain(strings.Join(r.WaitsFor, ", "))
	default:
		return ", signs from " + r.Signing.Format(time.RFC3339)
	}
}

func recordsOfKeys(ks []keys.KeyInfo, gateways []storage.Gateway) []keyRecord {
	rs := []keyRecord{}
	for _, k := range ks {
		r := keyRecord{
			ID: k.ID, Purpose: k.Purpose, Algorithm: k.Algorithm, State: string(k.State),
			Published: k.PublishedAt, Signing: k.SigningAt, Retired: k.RetiredAt, Gone: k.GoneAt,
		}
		if k.Purpose == keys.PurposeSign && k.State == keys.Published {
			r.WaitsFor = keys.Unseen(gateways, k.ID)
		}
		rs = append(rs, r)
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
				return withKeeper(ctx, t, func(k *keys.Keeper, sql storage.SQL, _ Config) error {
					return showKeys(ctx, t, *asJSON, k, sql)
				})
			}
		},
	}
}

func keysRotateCommand() command {
	return command{
		name:  "keys rotate",
		about: "Publish the next signing keys now; they sign when everybody can have seen them",
		example: "gatehouse keys rotate\n" +
			"gatehouse keys rotate --emergency",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			emergency := fs.Bool("emergency", false, "a signing key may be known to others: drop all of them, and have new ones sign at once. "+
				"Every server refuses the tokens of the old keys within seconds; sessions and refresh tokens stay good. "+
				"Gateways go on believing in the old keys for as long as they cache them, and some do not know the new ones until then")
			return func(ctx context.Context, t terminal, _ []string) error {
				return withKeeper(ctx, t, func(k *keys.Keeper, sql storage.SQL, _ Config) error {
					rotate := k.Rotate
					if *emergency {
						rotate = k.RotateEmergency
					}
					if err := rotate(ctx); err != nil {
						return err
					}
					return showKeys(ctx, t, *asJSON, k, sql)
				})
			}
		},
	}
}

func showKeys(ctx context.Context, t terminal, asJSON bool, k *keys.Keeper, sql storage.Gateways) error {
	gateways, err := sql.ListGateways(ctx)
	if err != nil {
		return err
	}
	rs := recordsOfKeys(k.Keys(), gateways)
	return t.show(asJSON, rs, func(w io.Writer) {
		for _, r := range rs {
			say(w, "%s\t%s\t%s\t%s\tsince %s%s\n", r.ID, r.Purpose, r.Algorithm, r.State, r.Published.Format(time.RFC3339), r.outlook())
		}
	})
}

// openKeeper opens the rings. The server and the commands do it alike, because
// whoever opens them lets them age.
func openKeeper(ctx context.Context, c Config, sql storage.SQL, seal []byte, clock *storage.Clock, log *slog.Logger, meter metric.Meter) (*keys.Keeper, error) {
	return keys.New(ctx, keys.Config{
		Store: sql, Gateways: sql, Audit: sql, SealKey: seal,
		JWKSMaxAge: c.JWKSMaxAge, Publish: c.KeyPublish, Deadline: c.KeyDeadline, SignEvery: c.KeyLife,
		Now: clock.Now, Log: log, Meter: meter,
	})
}

// withKeeper opens the rings for do.
func withKeeper(ctx context.Context, t terminal, do func(*keys.Keeper, storage.SQL, Config) error) (err error) {
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
	k, err := openKeeper(ctx, c, sql, seal, clock, slog.New(slog.NewTextHandler(t.err, nil)), nil)
	if err != nil {
		return err
	}
	return do(k, sql, c)
}

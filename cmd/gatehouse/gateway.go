package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A gatewayRecord is a gateway as scripts read it.
type gatewayRecord struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	JWKSURI   string    `json:"jwks_uri"`
	CreatedAt time.Time `json:"created_at"`
	FetchedAt time.Time `json:"fetched_at,omitzero"`
	// Seen are the kids of the public keys it was last given, and Missing of those
	// it was not.
	Seen    []string `json:"seen_keys"`
	Missing []string `json:"missing_keys"`
}

// recordOfGateway compares what the gateway was given with the public keys.
func recordOfGateway(c Config, g storage.Gateway, public []string) gatewayRecord {
	r := gatewayRecord{
		ID: g.ID, Name: g.Name, JWKSURI: provider.GatewayJWKS(c.URL, g),
		CreatedAt: g.CreatedAt, FetchedAt: g.FetchedAt, Seen: []string{}, Missing: []string{},
	}
	for _, kid := range public {
		if slices.Contains(g.SeenKeys, kid) {
			r.Seen = append(r.Seen, kid)
		} else {
			r.Missing = append(r.Missing, kid)
		}
	}
	return r
}

// knows says which keys the gateway has, for people.
func (r gatewayRecord) knows() string {
	switch {
	case r.FetchedAt.IsZero():
		return "has never fetched"
	case len(r.Missing) == 0:
		return "has every key"
	default:
		return "lacks " + strings.Join(r.Missing, ", ")
	}
}

const maxGatewayName = 100

func gatewayCreateCommand() command {
	return command{
		name:     "gateway create",
		operands: "NAME",
		about:    "Register an API gateway and print the address at which it alone fetches the keys; no new key signs before it has",
		example:  "gatehouse gateway create edge-1",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, operands []string) error {
				name := operands[0]
				if name == "" || len(name) > maxGatewayName || plain(name) != name {
					return usagef("a gateway's name has 1 to %d bytes without control characters", maxGatewayName)
				}
				return withGateways(ctx, t, func(c Config, sql storage.SQL, all []storage.Gateway) error {
					if slices.ContainsFunc(all, func(g storage.Gateway) bool { return g.Name == name || g.ID == name }) {
						return fmt.Errorf("there is a gateway of the name %s already; \"gatehouse gateway list\" shows it", name)
					}
					now, err := sql.Time(ctx)
					if err != nil {
						return err
					}
					g := provider.NewGateway(name, now)
					if err := sql.CreateGateway(ctx, g); err != nil {
						return err
					}
					if err := keepEvent(ctx, sql, storage.Event{At: now, Kind: "gateway.created", Detail: g.Name}); err != nil {
						return err
					}
					r := recordOfGateway(c, g, nil)
					return t.show(*asJSON, r, func(w io.Writer) { say(w, "%s\n", r.JWKSURI) })
				})
			}
		},
	}
}

func gatewayListCommand() command {
	return command{
		name:    "gateway list",
		about:   "List the gateways, when each last fetched the keys and which it lacks",
		example: "gatehouse gateway list --json",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, _ []string) error {
				return withKeeper(ctx, t, func(k *keys.Keeper, sql storage.SQL, c Config) error {
					all, err := sql.ListGateways(ctx)
					if err != nil {
						return err
					}
					rs := []gatewayRecord{}
					for _, g := range all {
						rs = append(rs, recordOfGateway(c, g, k.JWKS().KeyIDs))
					}
					return t.show(*asJSON, rs, func(w io.Writer) {
						for _, r := range rs {
							fetched := "-"
							if !r.FetchedAt.IsZero() {
								fetched = r.FetchedAt.Format(time.RFC3339)
							}
							say(w, "%s\t%s\t%s\t%s\n", plain(r.Name), r.JWKSURI, fetched, r.knows())
						}
					})
				})
			}
		},
	}
}

func gatewayRemoveCommand() command {
	return command{
		name:     "gateway remove",
		operands: "NAME",
		about:    "Remove a gateway: no key waits for it any more, and its address answers 404",
		example:  "gatehouse gateway remove edge-1",
		define: func(*flag.FlagSet) action {
			return func(ctx context.Context, t terminal, operands []string) error {
				return withGateways(ctx, t, func(_ Config, sql storage.SQL, all []storage.Gateway) error {
					name := operands[0]
					var named []storage.Gateway
					for _, g := range all {
						if g.Name == name || g.ID == name {
							named = append(named, g)
						}
					}
					switch {
					case len(named) == 0:
						return fmt.Errorf("there is no gateway %s; \"gatehouse gateway list\" shows those there are", plain(name))
					case len(named) > 1: // made at the same moment
						return fmt.Errorf("there are %d gateways of the name %s; give the id instead, the end of its address", len(named), plain(name))
					}
					now, err := sql.Time(ctx)
					if err != nil {
						return err
					}
					if err := sql.DeleteGateway(ctx, named[0].ID); err != nil {
						return err
					}
					return keepEvent(ctx, sql, storage.Event{At: now, Kind: "gateway.removed", Detail: named[0].Name})
				})
			}
		},
	}
}

// withGateways opens the memory for do, which is given all gateways.
func withGateways(ctx context.Context, t terminal, do func(Config, storage.SQL, []storage.Gateway) error) (err error) {
	c, err := readConfig(t)
	if err != nil {
		return err
	}
	sql, err := openSQL(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sql.Close()) }()
	all, err := sql.ListGateways(ctx)
	if err != nil {
		return err
	}
	return do(c, sql, all)
}

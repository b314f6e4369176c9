package valkey

import (
	"cmp"
	"context"
	"fmt"
	"strings"
)

// A Server is what a Valkey server says of itself, for the operator.
type Server struct {
	// Name is Valkey or Redis with the version.
	Name string
	// Saves is whether what it holds survives its own restart: it writes a log of
	// commands, or snapshots.
	Saves bool
}

// Server asks the server what it is. In a cluster one node answers for all.
func (d *DB) Server(ctx context.Context) (Server, error) {
	if d.embedded {
		return Server{Name: "in the server's own process"}, nil
	}
	info, err := d.do(ctx, d.client.B().Info().Section("server", "persistence").Build()).ToString()
	if err != nil {
		return Server{}, fmt.Errorf("valkey: info: %w", err)
	}
	says := map[string]string{}
	for line := range strings.Lines(info) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			says[key] = value
		}
	}
	s := Server{Name: "Redis " + says["redis_version"]}
	if v := says["valkey_version"]; v != "" {
		s.Name = "Valkey " + v
	}
	s.Saves = says["aof_enabled"] == "1" || cmp.Or(says["rdb_saves"], "0") != "0"
	return s, nil
}

//go:build slim

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A slim binary cannot be in embedded mode, nor on SQLite, whatever it is told.
func TestSlim(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	for _, tt := range []struct {
		name string
		args []string
		env  []string
	}{
		{"without a configuration", []string{"serve"}, nil},
		{"asked for embedded mode", []string{"serve"}, []string{"GATEHOUSE_EMBEDDED=yes"}},
		{"in another command", []string{"client", "list"}, nil},
		{"on SQLite", []string{"migrate"}, []string{"GATEHOUSE_DATABASE_URL=sqlite:" + state + "/x.db", "GATEHOUSE_VALKEY_URL=valkey://127.0.0.1:1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			env := append([]string{"GATEHOUSE_STATE_DIR=" + state}, tt.env...)
			code := run(context.Background(), tt.args, terminal{env, strings.NewReader(""), &out, &errs})
			if code != 2 || !strings.Contains(errs.String(), "built without SQLite and embedded mode") {
				t.Errorf("exit code %d: %s", code, errs.String())
			}
			if _, err := os.Stat(state); err == nil {
				t.Error("a state directory was made")
			}
		})
	}
}

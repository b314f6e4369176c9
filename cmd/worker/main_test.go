package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func TestStart(t *testing.T) {
	v := miniredis.RunT(t)
	keyFile := filepath.Join(t.TempDir(), "mail.key")
	if err := os.WriteFile(keyFile, []byte(strings.Repeat("ab", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := []string{
		"PATH=/bin",
		"GATEHOUSE_VALKEY_URL=valkey://" + v.Addr(),
		"GATEHOUSE_MAIL_KEY_FILE=" + keyFile,
		"GATEHOUSE_SMTP_URL=smtp://user:secret@mail.example:587",
		"GATEHOUSE_MAIL_FROM=Meridian ID <no-reply@id.example>",
	}
	without := func(name string) []string {
		var env []string
		for _, pair := range good {
			if !strings.HasPrefix(pair, name) {
				env = append(env, pair)
			}
		}
		return env
	}
	with := func(name, value string) []string { return append(without(name), name+"="+value) }

	tests := []struct {
		about string
		args  []string
		env   []string
		out   string // what it prints, at least
		err   string // why it does not start, at least; empty when it runs until it is stopped
	}{
		{"with everything it runs until it is stopped", nil, good, "", ""},
		{"settings of tests are let pass", nil, append([]string{"GATEHOUSE_TEST_VALKEY=x"}, good...), "", ""},
		{"-h says what there is", []string{"-h"}, nil, "GATEHOUSE_SMTP_URL", ""},
		{"arguments are refused", []string{"serve"}, good, "", "takes no arguments"},
		{"a mistyped setting stops the start", nil, append([]string{"GATEHOUSE_SMPT_URL=x"}, good...), "", "unknown setting GATEHOUSE_SMPT_URL"},
		{"a setting of the server stops the start", nil, append([]string{"GATEHOUSE_SEAL_KEY=x"}, good...), "", "unknown setting GATEHOUSE_SEAL_KEY"},
		{"no queue", nil, without("GATEHOUSE_VALKEY_URL"), "", "GATEHOUSE_VALKEY_URL is not set"},
		{"no mail key", nil, without("GATEHOUSE_MAIL_KEY"), "", "GATEHOUSE_MAIL_KEY is not set"},
		{"no mail server", nil, without("GATEHOUSE_SMTP_URL"), "", "GATEHOUSE_SMTP_URL is not set"},
		{"no sender", nil, without("GATEHOUSE_MAIL_FROM"), "", "GATEHOUSE_MAIL_FROM is not set"},
		{"a key and its file", nil, append([]string{"GATEHOUSE_MAIL_KEY=" + strings.Repeat("ab", 32)}, good...), "", "both set"},
		{"a key that is none", nil, append(without("GATEHOUSE_MAIL_KEY"), "GATEHOUSE_MAIL_KEY=abc"), "", "GATEHOUSE_MAIL_KEY: "},
		{"a file that is not there", nil, append(without("GATEHOUSE_MAIL_KEY"), "GATEHOUSE_MAIL_KEY_FILE=/nowhere"), "", "GATEHOUSE_MAIL_KEY_FILE: "},
		{"a queue that does not answer", nil, with("GATEHOUSE_VALKEY_URL", "valkey://127.0.0.1:1"), "", "reach Valkey"},
		{"seed-F5: a malformed URL is not repeated", nil, with("GATEHOUSE_SMTP_URL", "smtp://user:sec ret@mail.example"), "", "GATEHOUSE_SMTP_URL"},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			var out, log bytes.Buffer
			err := run(ctx, tt.args, tt.env, &out, &log)
			switch {
			case tt.err == "" && err != nil:
				t.Errorf("did not start: %v", err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("err = %v, want %q in it", err, tt.err)
			case err != nil && strings.Contains(err.Error(), "\n"):
				t.Errorf("more than one line: %q", err)
			}
			if err != nil && strings.Contains(err.Error(), "sec ret") {
				t.Errorf("the error holds the password: %v", err)
			}
			if !strings.Contains(out.String(), tt.out) {
				t.Errorf("printed %q, want %q in it", out.String(), tt.out)
			}
		})
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestWrongValues has every setting be wrong once: by its value, as nothing, as a
// file that is not there, cannot be read or is empty, and twice. Each stops the
// start with one sentence, which names it and repeats no secret.
func TestWrongValues(t *testing.T) {
	good := map[string]string{
		valkeyURL: "valkey://127.0.0.1:1", mailKey: strings.Repeat("ab", 32),
		smtpURL: "smtp://user:secret@mail.example:587", mailFrom: "Meridian ID <no-reply@id.example>",
	}
	wrong := map[string]string{
		valkeyURL:   "hunter2@valkey:6379",
		mailKey:     "hunter2",
		mailFrom:    "Meridian ID",
		smtpURL:     "mail:hunter2@example.org",
		smtp2goKey:  "hunter2",
		smtpCA:      "hunter2",
		metricsAddr: "9464",
	}
	dir := t.TempDir()
	missing, empty := filepath.Join(dir, "none"), filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`GATEHOUSE_[A-Z0-9_]+`).FindAllString(usage, -1) // which TestUsage holds to be all
	for i, name := range names {
		names[i] = strings.TrimSuffix(name, "_FILE")
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		value, ok := wrong[name]
		if !ok {
			t.Errorf("%s has no wrong value here; give it one", name)
			continue
		}
		delete(wrong, name)
		for _, tt := range []struct {
			about, env, want string
		}{
			{"a wrong value", name + "=" + value, name},
			{"no value", name + "=", name + " is empty; give it a value or unset it"},
			{"a file that is not there", name + "_FILE=" + missing, name + "_FILE: open " + missing + ": no such file or directory"},
			{"a file that cannot be read", name + "_FILE=" + dir, name + "_FILE: read " + dir + ": is a directory"},
			{"an empty file", name + "_FILE=" + empty, name + "_FILE is empty; give it a value or unset it"},
			{"a value and a file", name + "=" + value + "\n" + name + "_FILE=" + missing, name + " and " + name + "_FILE are both set; one is enough"},
		} {
			t.Run(name+"/"+tt.about, func(t *testing.T) {
				var environ []string
				for n, v := range good {
					if n != name && (name != smtp2goKey || n != smtpURL) {
						environ = append(environ, n+"="+v)
					}
				}
				environ = append(environ, strings.Split(tt.env, "\n")...)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var log bytes.Buffer
				err := run(ctx, nil, environ, io.Discard, &log)
				if _, ok := errors.AsType[usageError](err); !ok {
					t.Fatalf("it does not stop with exit code 2: %v", err)
				}
				if said := err.Error(); !strings.Contains(said, tt.want) || strings.Contains(said, "\n") {
					t.Errorf("said\n%s\nnot one sentence with\n%s", said, tt.want)
				}
				if strings.Contains(err.Error()+log.String(), "hunter2") {
					t.Errorf("sec-N4: a secret is repeated: %v", err)
				}
			})
		}
	}
	for name := range wrong {
		t.Errorf("%s is no setting any more; take it out here", name)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/gatehouse-id/gatehouse/internal/testenv/freeport"
)

// TestMain has this binary be the worker where a test starts it by that name.
func TestMain(m *testing.M) {
	if os.Args[0] == program {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program is the name of a worker that is a process of its own: see TestMain.
const program = "gatehouse-worker"

func TestStart(t *testing.T) {
	v := miniredis.RunT(t)
	keyFile := filepath.Join(t.TempDir(), "mail.key")
	if err := os.WriteFile(keyFile, []byte(strings.Repeat("ab", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	server := httptest.NewTLSServer(nil)
	server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(caFile, ca, 0o600); err != nil {
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
		{"SMTP2GO", nil, append(without("GATEHOUSE_SMTP_URL"), "GATEHOUSE_SMTP2GO_KEY=api-0123456789abcdef"), "", ""},
		{"certificates of the mail server", nil, append([]string{"GATEHOUSE_SMTP_CA_FILE=" + caFile}, good...), "", ""},
		{"no way to send", nil, without("GATEHOUSE_SMTP_URL"), "", "neither GATEHOUSE_SMTP_URL nor GATEHOUSE_SMTP2GO_KEY is set"},
		{"two ways to send", nil, append([]string{"GATEHOUSE_SMTP2GO_KEY=api-0123456789abcdef"}, good...), "", "GATEHOUSE_SMTP_URL and GATEHOUSE_SMTP2GO_KEY are both set"},
		{"seed-F5: a key that is none is not repeated", nil, append(without("GATEHOUSE_SMTP_URL"), "GATEHOUSE_SMTP2GO_KEY=api-sec ret"), "", "GATEHOUSE_SMTP2GO_KEY, GATEHOUSE_MAIL_FROM: "},
		{"certificates for SMTP2GO", nil, append(without("GATEHOUSE_SMTP_URL"), "GATEHOUSE_SMTP2GO_KEY=api-0123456789abcdef", "GATEHOUSE_SMTP_CA_FILE="+caFile), "", "GATEHOUSE_SMTP_CA goes with GATEHOUSE_SMTP_URL"},
		{"certificates that are a path", nil, append([]string{"GATEHOUSE_SMTP_CA=" + caFile}, good...), "", "the path of a file goes into GATEHOUSE_SMTP_CA_FILE"},
		{"a setting that is empty", nil, with("GATEHOUSE_SMTP_URL", ""), "", "GATEHOUSE_SMTP_URL is empty"},
		{"a sender that is none", nil, with("GATEHOUSE_MAIL_FROM", "Meridian ID"), "", "GATEHOUSE_SMTP_URL, GATEHOUSE_MAIL_FROM: "},
		{"no sender", nil, without("GATEHOUSE_MAIL_FROM"), "", "GATEHOUSE_MAIL_FROM is not set"},
		{"a key and its file", nil, append([]string{"GATEHOUSE_MAIL_KEY=" + strings.Repeat("ab", 32)}, good...), "", "both set"},
		{"a key that is none", nil, append(without("GATEHOUSE_MAIL_KEY"), "GATEHOUSE_MAIL_KEY=abc"), "", "GATEHOUSE_MAIL_KEY: "},
		{"a file that is not there", nil, append(without("GATEHOUSE_MAIL_KEY"), "GATEHOUSE_MAIL_KEY_FILE=/nowhere"), "", "GATEHOUSE_MAIL_KEY_FILE: "},
		{"a queue that does not answer", nil, with("GATEHOUSE_VALKEY_URL", "valkey://127.0.0.1:1"), "", "reach Valkey"},
		{"a collector and an address for metrics", nil, append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT=10", "GATEHOUSE_METRICS_ADDR=127.0.0.1:" + freeport.For(t)}, good...), "", ""},
		{"an endpoint that is none", nil, append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=user:sec ret@collector"}, good...), "", "OTEL_EXPORTER_OTLP_ENDPOINT must be an address such as http://localhost:4318"},
		{"a protocol that is none", nil, append([]string{"OTEL_EXPORTER_OTLP_PROTOCOL=udp"}, good...), "", "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or grpc"},
		{"a sampler that is none", nil, append([]string{"OTEL_TRACES_SAMPLER=x"}, good...), "", "OTEL_TRACES_SAMPLER must be"},
		{"headers that are none", nil, append([]string{"OTEL_EXPORTER_OTLP_HEADERS=sec ret"}, good...), "", "OTEL_EXPORTER_OTLP_HEADERS must be key=value"},
		{"an address for metrics that is none", nil, append([]string{"GATEHOUSE_METRICS_ADDR=9464"}, good...), "", `GATEHOUSE_METRICS_ADDR must be host:port, not "9464"`},
		{"an address for metrics that is taken", nil, append([]string{"GATEHOUSE_METRICS_ADDR=" + v.Addr()}, good...), "", "where one cannot listen"},
		{"seed-F5: a malformed URL is not repeated", nil, with("GATEHOUSE_SMTP_URL", "smtp://user:sec ret@mail.example"), "", "GATEHOUSE_SMTP_URL"},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			var out bytes.Buffer
			log := lookout{text: "sending letters", seen: stop}
			err := run(ctx, tt.args, tt.env, &out, &log)
			switch {
			case errors.Is(ctx.Err(), context.DeadlineExceeded):
				t.Errorf("it neither starts nor says why not:\n%s", log.String())
			case tt.err == "" && err != nil:
				t.Errorf("did not start: %v", err)
			case tt.err == "" && tt.out == "" && ctx.Err() == nil:
				t.Errorf("it ended by itself:\n%s", log.String())
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("err = %v, want %q in it", err, tt.err)
			case err != nil && strings.Contains(err.Error(), "\n"):
				t.Errorf("more than one line: %q", err)
			}
			// Exit code 2 is for what cannot be right, 1 for what failed.
			failed := strings.Contains(tt.err, "reach Valkey") || strings.Contains(tt.err, "cannot listen")
			if _, wrong := errors.AsType[usageError](err); wrong != (tt.err != "" && !failed) {
				t.Errorf("a wrong configuration: %v, and the error is %v", wrong, err)
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

// A lookout is a log that calls seen when it is told the text.
type lookout struct {
	bytes.Buffer
	text string
	seen func()
}

func (l *lookout) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(l.text)) {
		l.seen()
	}
	return l.Buffer.Write(p)
}

// TestUsage has the help name every setting, and nothing that is none.
func TestUsage(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, nil, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("GATEHOUSE_[A-Z0-9_]+").FindAllString(out.String(), -1)
	for i, name := range named {
		named[i] = strings.TrimSuffix(name, "_FILE")
	}
	slices.Sort(named)
	named = slices.Compact(named)
	want := []string{mailFrom, mailKey, metricsAddr, smtp2goKey, smtpCA, smtpURL, valkeyURL}
	if !slices.Equal(named, want) {
		t.Errorf("-h names\n%q, want\n%q", named, want)
	}
	if !strings.Contains(out.String(), "example:") {
		t.Error("-h has no example")
	}
}

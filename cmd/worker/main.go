// Command gatehouse-worker sends the letters that Gatehouse has written. It is
// given the queue, the mail key and a mail server, and nothing else: no
// database and no signing key.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/gatehouse-id/gatehouse/mail"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "gatehouse-worker:", err)
		os.Exit(1)
	}
}

const usage = `gatehouse-worker sends the letters that Gatehouse has written.

It is configured by its environment. Each name may also be given with _FILE at
its end: the path of a file that holds the value.

  GATEHOUSE_VALKEY_URL  the Valkey server that Gatehouse uses:
                        valkey://[user:password@]host[:6379], valkeys:// for TLS
  GATEHOUSE_MAIL_KEY    the key that Gatehouse seals letters with: 32 bytes,
                        in hexadecimal or base64
  GATEHOUSE_SMTP_URL    the mail server: smtp://[user:password@]host[:587] with
                        STARTTLS, or smtps://[user:password@]host[:465]
  GATEHOUSE_MAIL_FROM   who letters are from: Meridian ID <no-reply@id.example>
                        The name is what letters call the service.

SIGTERM and SIGINT stop it after the letters that it is sending.
`

// The settings, in the order of the usage text.
const (
	valkeyURL = "GATEHOUSE_VALKEY_URL"
	mailKey   = "GATEHOUSE_MAIL_KEY"
	smtpURL   = "GATEHOUSE_SMTP_URL"
	mailFrom  = "GATEHOUSE_MAIL_FROM"
)

// run sends letters until ctx ends.
func run(ctx context.Context, args, environ []string, out, log io.Writer) error {
	if len(args) > 0 {
		if len(args) == 1 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
			_, err := io.WriteString(out, usage)
			return err
		}
		return fmt.Errorf("takes no arguments; see gatehouse-worker -h")
	}
	set, err := settings(environ)
	if err != nil {
		return err
	}
	key, err := mail.ParseKey(set[mailKey])
	if err != nil {
		return fmt.Errorf("%s: %w", mailKey, err)
	}
	sealer, err := mail.NewSealer(key)
	if err != nil {
		return fmt.Errorf("%s: %w", mailKey, err)
	}
	sender, err := mail.NewSMTP(set[smtpURL], set[mailFrom])
	if err != nil {
		return fmt.Errorf("%s, %s: %w", smtpURL, mailFrom, err)
	}
	logger := slog.New(slog.NewJSONHandler(log, nil))
	worker, err := mail.NewWorker(mail.WorkerConfig{
		ValkeyURL: set[valkeyURL], Sealer: sealer, Sender: sender,
		Brand: mail.Brand(set[mailFrom]), Log: logger,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", valkeyURL, err)
	}
	logger.InfoContext(ctx, "sending letters")
	if err := worker.Run(ctx); err != nil {
		return err
	}
	logger.InfoContext(context.WithoutCancel(ctx), "stopped")
	return nil
}

// settings reads the environment. Every setting is required, and a name that is
// none of ours stops the start: it is a setting mistyped.
func settings(environ []string) (map[string]string, error) {
	names := []string{valkeyURL, mailKey, smtpURL, mailFrom}
	set := make(map[string]string)
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "GATEHOUSE_") || strings.HasPrefix(name, "GATEHOUSE_TEST_") {
			continue
		}
		setting, isFile := strings.CutSuffix(name, "_FILE")
		if !slices.Contains(names, setting) {
			return nil, fmt.Errorf("unknown setting %s; see gatehouse-worker -h", name)
		}
		if _, twice := set[setting]; twice {
			return nil, fmt.Errorf("%s and %s_FILE are both set; one is enough", setting, setting)
		}
		if isFile {
			content, err := os.ReadFile(value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			value = strings.TrimSpace(string(content))
		}
		set[setting] = value
	}
	for _, name := range names {
		if set[name] == "" {
			return nil, fmt.Errorf("%s is not set; see gatehouse-worker -h", name)
		}
	}
	return set, nil
}

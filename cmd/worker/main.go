// Command gatehouse-worker sends the letters that Gatehouse has written. It is
// given the queue, the mail key and a mail server, and nothing else: no
// database and no signing key.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gatehouse-id/gatehouse/internal/telemetry"
	"github.com/gatehouse-id/gatehouse/mail"
)

func main() {
	mail.LogTo(newLog(os.Stderr))
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "gatehouse-worker:", err)
	if _, ok := errors.AsType[usageError](err); ok {
		os.Exit(2)
	}
	os.Exit(1)
}

// A usageError is a configuration that cannot be right: somebody has something
// to change before it makes sense to try again.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

const usage = `gatehouse-worker sends the letters that Gatehouse has written.

It is configured by its environment. Each name may also be given with _FILE at
its end: the path of a file that holds the value.

  GATEHOUSE_VALKEY_URL  the Valkey server that Gatehouse uses:
                        valkey://[user:password@]host[:6379], valkeys:// for TLS
  GATEHOUSE_MAIL_KEY    the key that Gatehouse seals letters with: 32 bytes,
                        in hexadecimal or base64
  GATEHOUSE_MAIL_FROM   who letters are from: Meridian ID <no-reply@id.example>
                        The name is what letters call the service.

and one of these two:

  GATEHOUSE_SMTP_URL    a mail server: smtp://[user:password@]host[:587] with
                        STARTTLS, or smtps://[user:password@]host[:465]
  GATEHOUSE_SMTP2GO_KEY
                        the API key of an account at smtp2go.com

With GATEHOUSE_SMTP_URL there may be:

  GATEHOUSE_SMTP_CA     certificates in PEM, one of which has signed the mail
                        server's; without it, those of the system count

It may be watched:

  GATEHOUSE_METRICS_ADDR
                        where to serve metrics at /metrics for Prometheus, as
                        host:port: an address that strangers do not reach
  OTEL_EXPORTER_OTLP_ENDPOINT
                        a collector of OpenTelemetry to send traces and metrics
                        to: http://localhost:4318. docs/telemetry.md tells of it
                        and of the other variables of OpenTelemetry

example:
  GATEHOUSE_VALKEY_URL=valkey://valkey GATEHOUSE_MAIL_KEY_FILE=/run/secrets/mail \
    GATEHOUSE_SMTP_URL_FILE=/run/secrets/smtp \
    GATEHOUSE_MAIL_FROM="Meridian ID <no-reply@id.example>" gatehouse-worker

SIGTERM, SIGINT and SIGHUP stop it after the letters that it is sending.
`

// The settings, in the order of the usage text.
const (
	valkeyURL   = "GATEHOUSE_VALKEY_URL"
	mailKey     = "GATEHOUSE_MAIL_KEY"
	mailFrom    = "GATEHOUSE_MAIL_FROM"
	smtpURL     = "GATEHOUSE_SMTP_URL"
	smtp2goKey  = "GATEHOUSE_SMTP2GO_KEY"
	smtpCA      = "GATEHOUSE_SMTP_CA"
	metricsAddr = "GATEHOUSE_METRICS_ADDR"
)

// flushTime is how long a collector has, at the end, to take what waits for it.
const flushTime = 5 * time.Second

// run sends letters until ctx ends.
func run(ctx context.Context, args, environ []string, out, log io.Writer) error {
	if len(args) > 0 {
		if len(args) == 1 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
			_, err := io.WriteString(out, usage)
			return err
		}
		return usageError{errors.New("takes no arguments; see gatehouse-worker -h")}
	}
	c, seen, err := configure(environ)
	if err != nil {
		return usageError{err}
	}
	logger := newLog(log)
	watched, err := telemetry.New(seen, logger)
	if err != nil {
		return err
	}
	defer func() { // after the letters
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
		defer cancel()
		watched.Shutdown(ctx)
	}()
	logger = slog.New(watched.Log(logger.Handler()))
	c.Log, c.Meter, c.Tracer = logger, watched.Meter("mail"), watched.Tracer("mail")
	worker, err := mail.NewWorker(c)
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", valkeyURL, err)}
	}
	g, running := errgroup.WithContext(ctx)
	if seen.Scraped != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", seen.Scraped)
		if err != nil {
			return fmt.Errorf("%s is %s, where one cannot listen: %w", metricsAddr, seen.Scraped, err)
		}
		g.Go(func() error { return watched.Scrape(running, l) })
	}
	logger.InfoContext(ctx, "sending letters")
	g.Go(func() error {
		if err := worker.Run(running); err != nil {
			return fmt.Errorf("%s does not lead to a server: %w", valkeyURL, err)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	logger.InfoContext(context.WithoutCancel(ctx), "stopped")
	return nil
}

// newLog is how a worker logs.
func newLog(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(w, nil)) }

// configure reads what the worker is made of, and how it is watched.
func configure(environ []string) (c mail.WorkerConfig, seen telemetry.Config, err error) {
	set, err := settings(environ)
	if err != nil {
		return c, seen, err
	}
	key, err := mail.ParseKey(set[mailKey])
	if err != nil {
		return c, seen, fmt.Errorf("%s: %w", mailKey, err)
	}
	sealer, err := mail.NewSealer(key)
	if err != nil {
		return c, seen, fmt.Errorf("%s: %w", mailKey, err)
	}
	sender, err := newSender(set)
	if err != nil {
		return c, seen, err
	}
	seen, err = telemetry.Parse(environ, "gatehouse-worker", version())
	if err != nil {
		return c, seen, err
	}
	if seen.Scraped = set[metricsAddr]; seen.Scraped != "" {
		if _, port, err := net.SplitHostPort(seen.Scraped); err != nil || !isPort(port) {
			return c, seen, fmt.Errorf("%s must be host:port, not %q", metricsAddr, seen.Scraped)
		}
	}
	return mail.WorkerConfig{ValkeyURL: set[valkeyURL], Sealer: sealer, Sender: sender, Brand: mail.Brand(set[mailFrom])}, seen, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// version is that of this binary.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// newSender returns what sends the letters.
func newSender(set map[string]string) (mail.Sender, error) {
	c := mail.SenderConfig{SMTPURL: set[smtpURL], SMTP2GOKey: set[smtp2goKey], From: set[mailFrom]}
	way := smtpURL
	switch {
	case c.SMTPURL != "" && c.SMTP2GOKey != "":
		return nil, fmt.Errorf("%s and %s are both set; unset one", smtpURL, smtp2goKey)
	case c.SMTPURL == "" && c.SMTP2GOKey == "":
		return nil, fmt.Errorf("neither %s nor %s is set; see gatehouse-worker -h", smtpURL, smtp2goKey)
	case c.SMTP2GOKey != "":
		way = smtp2goKey
	}
	if pem := set[smtpCA]; pem != "" {
		if c.SMTPURL == "" {
			return nil, fmt.Errorf("%s goes with %s; unset it", smtpCA, smtpURL)
		}
		var err error
		if c.SMTPRoots, err = mail.ParseRoots([]byte(pem)); err != nil {
			return nil, fmt.Errorf("%s: %w; the path of a file goes into %s_FILE", smtpCA, err, smtpCA)
		}
	}
	sender, err := mail.NewSender(c)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", way, mailFrom, err)
	}
	return sender, nil
}

// settings reads the environment. A name that is none of ours stops the start:
// it is a setting mistyped.
func settings(environ []string) (map[string]string, error) {
	required := []string{valkeyURL, mailKey, mailFrom}
	names := append(required, smtpURL, smtp2goKey, smtpCA, metricsAddr)
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
		if value == "" {
			return nil, fmt.Errorf("%s is empty; give it a value or unset it", name)
		}
		set[setting] = value
	}
	for _, name := range required {
		if set[name] == "" {
			return nil, fmt.Errorf("%s is not set; see gatehouse-worker -h", name)
		}
	}
	return set, nil
}

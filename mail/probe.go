package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// Probe goes as far with the mail server as a letter would, but sends none: it
// connects, begins TLS and signs in as Send does. It returns what the server
// offered, in a few words. Its errors repeat nothing that the server says.
func (s *SMTP) Probe(ctx context.Context) (string, error) {
	timeout := sendTimeout // see Send
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	if timeout <= 0 {
		return "", context.DeadlineExceeded
	}
	client, err := gomail.NewClient(s.host, append(slices.Clip(s.opts), gomail.WithTimeout(timeout))...)
	if err != nil {
		return "", fmt.Errorf("SMTP: %w", err)
	}
	c, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return "", refusal(err)
	}
	defer func() { _ = c.Close() }() // Quit has closed it, if it could
	secured, mechanisms := "not encrypted", "no sign-in offered"
	if state, err := c.GetTLSConnectionState(); err == nil {
		secured = tls.VersionName(state.Version)
	}
	if ok, offered := c.Extension("AUTH"); ok {
		mechanisms = "AUTH " + printableASCII(offered)
	}
	if err := c.Noop(); err != nil {
		return "", refusal(err)
	}
	if err := c.Quit(); err != nil {
		return "", refusal(err)
	}
	return secured + ", " + mechanisms, nil
}

// Prober is a [Sender] that can be tried without a letter.
type Prober interface {
	Probe(ctx context.Context) (string, error)
}

var _ Prober = (*SMTP)(nil)

// ErrNoProbe says that a way of sending can only be tried by sending.
var ErrNoProbe = errors.New("it can only be tried by a letter")

// Probe tries a sender without a letter, or returns [ErrNoProbe].
func Probe(ctx context.Context, s Sender) (string, error) {
	p, ok := s.(Prober)
	if !ok {
		return "", ErrNoProbe
	}
	return p.Probe(ctx)
}

func printableASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
}

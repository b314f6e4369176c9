package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
	"go.opentelemetry.io/otel/attribute"
)

// SMTPConfig is what an SMTP is made of.
type SMTPConfig struct {
	// URL is smtp://[user:password@]host[:port] (port 587, STARTTLS) or smtps://
	// (port 465, TLS from the start, RFC 8314 section 3.3). TLS is required of a
	// server that is not loopback. Required.
	URL string
	// From is who letters are from, such as
	// "Meridian ID <no-reply@id.example>". Required.
	From string
	// Roots are the certificates that the server's own must be signed by; nil is
	// those of the system. With them TLS is required of every server.
	Roots *x509.CertPool
}

// An SMTP sends messages through a mail server (RFC 5321, RFC 6409).
type SMTP struct {
	from   *netmail.Address
	domain string
	host   string
	opts   []gomail.Option
}

// NewSMTP returns a sender. It connects when it sends.
func NewSMTP(c SMTPConfig) (*SMTP, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
		// The parser's error repeats the URL, and the URL has a password.
		return nil, errors.New("mail: an SMTP URL looks like smtp://user:password@host:587")
	}
	from, err := parseFrom(c.From)
	if err != nil {
		return nil, err
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	s := &SMTP{from: from, domain: domain, host: u.Hostname()}
	// A server on this machine may go without TLS, unless somebody says which
	// certificate it has.
	plain := loopback(u.Hostname()) && c.Roots == nil

	port := 587
	switch u.Scheme {
	case "smtp":
		policy := gomail.TLSMandatory
		if plain {
			policy = gomail.TLSOpportunistic
		}
		s.opts = append(s.opts, gomail.WithTLSPolicy(policy))
	case "smtps":
		port = 465
		s.opts = append(s.opts, gomail.WithSSL())
	default:
		return nil, fmt.Errorf("mail: an SMTP URL begins with smtp:// or smtps://, not %q", u.Scheme)
	}
	s.opts = append(s.opts, gomail.WithTLSConfig(&tls.Config{
		ServerName: s.host, RootCAs: c.Roots, MinVersion: tls.VersionTLS12,
	}))
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil {
			return nil, fmt.Errorf("mail: port %q of the SMTP URL is no number", p)
		}
	}
	s.opts = append(s.opts, gomail.WithPort(port))
	if u.User != nil {
		password, _ := u.User.Password()
		auth := gomail.SMTPAuthAutoDiscover
		if plain {
			auth = gomail.SMTPAuthPlainNoEnc
		}
		s.opts = append(s.opts, gomail.WithSMTPAuth(auth), gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	// Tells now, not at the first letter, that an option is wrong.
	if _, err := gomail.NewClient(s.host, s.opts...); err != nil {
		return nil, fmt.Errorf("mail: SMTP URL: %w", err)
	}
	return s, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Send sends m in a connection of its own.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	msg := gomail.NewMsg()
	msg.FromMailAddress(s.from)
	if err := msg.To(m.To); err != nil {
		return fmt.Errorf("%w: malformed recipient", ErrRefused)
	}
	msg.Subject(m.Subject)
	msg.SetDateWithValue(m.Date)
	msg.SetMessageIDWithValue(m.ID + "@" + s.domain)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834 section 5: nobody's holiday answers it
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)

	// The client reads the context while it connects and not again, but keeps
	// to a timeout.
	timeout := sendTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	if timeout <= 0 {
		return context.DeadlineExceeded
	}
	ctx, span := conversation(ctx, "SMTP", s.host)
	defer span.End()
	client, err := gomail.NewClient(s.host, append(slices.Clip(s.opts), gomail.WithTimeout(timeout))...)
	if err != nil {
		return fmt.Errorf("SMTP: %w", err)
	}
	err = client.DialAndSendWithContext(ctx, msg)
	span.SetAttributes(attribute.Int("gatehouse.smtp.reply_code", replyCode(err, msg.IsDelivered())))
	if err == nil || msg.IsDelivered() {
		return nil // what fails after the server took the message is not worth a second one
	}
	err = refusal(err)
	if errors.Is(err, ErrRefused) {
		failed(span, outcomeRefused)
	} else {
		failed(span, outcomeFailed)
	}
	return err
}

// replyCode is the last that the server said: 250 when it has taken the letter
// (RFC 5321 section 4.3.2, DATA), and zero when it said nothing.
func replyCode(err error, delivered bool) int {
	if err == nil || delivered {
		return 250
	}
	if refused, ok := errors.AsType[*gomail.SendError](err); ok {
		return refused.ErrorCode()
	}
	if said, ok := errors.AsType[*textproto.Error](err); ok {
		return said.Code
	}
	return 0
}

// refusal leaves out what a mail server says, because that repeats addresses.
func refusal(err error) error {
	refused, ok := errors.AsType[*gomail.SendError](err)
	if !ok {
		// Not yet about a letter: connection, TLS, sign-in.
		if said, ok := errors.AsType[*textproto.Error](err); ok {
			return fmt.Errorf("SMTP: before the letter: code %d", said.Code)
		}
		return fmt.Errorf("SMTP: %w", err)
	}
	reason := fmt.Errorf("SMTP: %s: code %d", refused.Reason, refused.ErrorCode())
	// A code above 500 is for good (RFC 5321 section 4.2.1) when it is about
	// the recipient or the text. About the sender it is our configuration,
	// which somebody can mend.
	about := refused.Reason == gomail.ErrSMTPRcptTo || refused.Reason == gomail.ErrSMTPData || refused.Reason == gomail.ErrSMTPDataClose
	if about && refused.ErrorCode() >= 500 {
		return fmt.Errorf("%w: %w", ErrRefused, reason)
	}
	return reason
}

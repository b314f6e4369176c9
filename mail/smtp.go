package mail

import (
	"context"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/url"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail"
)

// DefaultBrand is what letters call us when nobody says otherwise.
const DefaultBrand = "Gatehouse"

// Brand returns the display name of a From address, which is what letters call
// us: "Meridian ID" for "Meridian ID <no-reply@id.example>".
func Brand(from string) string {
	if a, err := netmail.ParseAddress(from); err == nil && a.Name != "" {
		return a.Name
	}
	return DefaultBrand
}

// An SMTP sends messages through a mail server (RFC 5321, RFC 6409).
type SMTP struct {
	from   *netmail.Address
	domain string
	host   string
	opts   []gomail.Option
}

// NewSMTP returns a sender through the server of a URL,
// smtp://[user:password@]host[:port] (port 587, STARTTLS) or smtps:// (port 465,
// TLS from the start, RFC 8314 section 3.3), with a From such as
// "Meridian ID <no-reply@id.example>". A server that is not loopback must offer
// TLS.
func NewSMTP(rawURL, from string) (*SMTP, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
		// The parser's error repeats the URL, and the URL has a password.
		return nil, errors.New("mail: an SMTP URL looks like smtp://user:password@host:587")
	}
	address, err := netmail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("mail: From %q is no address: %w", from, err)
	}
	_, domain, _ := strings.Cut(address.Address, "@")
	s := &SMTP{from: address, domain: domain, host: u.Hostname(), opts: []gomail.Option{gomail.WithTimeout(sendTimeout)}}

	port := 587
	switch u.Scheme {
	case "smtp":
		policy := gomail.TLSMandatory
		if loopback(u.Hostname()) {
			policy = gomail.TLSOpportunistic
		}
		s.opts = append(s.opts, gomail.WithTLSPolicy(policy))
	case "smtps":
		port = 465
		s.opts = append(s.opts, gomail.WithSSL())
	default:
		return nil, fmt.Errorf("mail: an SMTP URL begins with smtp:// or smtps://, not %q", u.Scheme)
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil {
			return nil, fmt.Errorf("mail: port %q of the SMTP URL is no number", p)
		}
	}
	s.opts = append(s.opts, gomail.WithPort(port))
	if u.User != nil {
		password, _ := u.User.Password()
		auth := gomail.SMTPAuthAutoDiscover
		if loopback(u.Hostname()) {
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

	client, err := gomail.NewClient(s.host, s.opts...)
	if err != nil {
		return fmt.Errorf("mail: SMTP client: %w", err)
	}
	err = client.DialAndSendWithContext(ctx, msg)
	if err == nil || msg.IsDelivered() {
		return nil // what fails after the server took the message is not worth a second one
	}
	return refusal(err)
}

// refusal leaves out what a mail server says, because that repeats addresses.
func refusal(err error) error {
	refused, ok := errors.AsType[*gomail.SendError](err)
	if !ok {
		return fmt.Errorf("mail: SMTP: %w", err) // not yet about a letter: connection, TLS, sign-in
	}
	reason := fmt.Errorf("mail: SMTP: %s: code %d", refused.Reason, refused.ErrorCode())
	// A code above 500 is for good (RFC 5321 section 4.2.1) when it is about
	// the recipient or the text. About the sender it is our configuration,
	// which somebody can mend.
	about := refused.Reason == gomail.ErrSMTPRcptTo || refused.Reason == gomail.ErrSMTPData || refused.Reason == gomail.ErrSMTPDataClose
	if about && refused.ErrorCode() >= 500 {
		return fmt.Errorf("%w: %w", ErrRefused, reason)
	}
	return reason
}

package mail

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	netmail "net/mail"
	"time"

	"github.com/google/uuid"
)

// ErrRefused says that a mail server will never take this message. Any other
// error of a [Sender] may pass.
var ErrRefused = errors.New("refused for good")

// A Sender gives messages to the world. Its errors name no address and repeat
// nothing that a mail server says: they are logged, and kept.
type Sender interface {
	// Send sends m, or returns an error that wraps ErrRefused when it is of no
	// use to try again.
	Send(ctx context.Context, m Message) error
}

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

// SenderConfig says how letters leave: by SMTP or by SMTP2GO.
type SenderConfig struct {
	// SMTPURL and SMTPRoots are for [NewSMTP], SMTP2GOKey for [NewSMTP2GO].
	SMTPURL    string
	SMTPRoots  *x509.CertPool
	SMTP2GOKey string
	// From is who letters are from, such as
	// "Meridian ID <no-reply@id.example>".
	From string
}

// NewSender returns the sender that c asks for. Exactly one way may be set.
func NewSender(c SenderConfig) (Sender, error) {
	switch {
	case c.SMTPURL == "" && c.SMTP2GOKey == "":
		return nil, errors.New("mail: neither an SMTP URL nor an SMTP2GO key is set")
	case c.SMTPURL != "" && c.SMTP2GOKey != "":
		return nil, errors.New("mail: both an SMTP URL and an SMTP2GO key are set; only one can be used")
	case c.SMTP2GOKey != "":
		if c.SMTPRoots != nil {
			return nil, errors.New("mail: certificates for SMTP are set, and SMTP2GO is not reached by SMTP")
		}
		return asSender(NewSMTP2GO(SMTP2GOConfig{Key: c.SMTP2GOKey, From: c.From}))
	}
	return asSender(NewSMTP(SMTPConfig{URL: c.SMTPURL, From: c.From, Roots: c.SMTPRoots}))
}

// asSender keeps a nil pointer from becoming a Sender that is not nil.
func asSender[S Sender](s S, err error) (Sender, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// parseFrom reads who letters are from.
func parseFrom(from string) (*netmail.Address, error) {
	a, err := netmail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("mail: From %q is no address: %w", from, err)
	}
	return a, nil
}

// ParseRoots reads certificates in PEM, those that a mail server's own may be
// signed by.
func ParseRoots(pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("mail: no certificate in PEM found")
	}
	return pool, nil
}

// SendNow sends l without outbox and queue, under an id of its own.
func SendNow(ctx context.Context, s Sender, brand string, l Letter) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("mail: make id: %w", err)
	}
	w, err := newWriter(brand)
	if err != nil {
		return err
	}
	m, err := w.write(id.String(), l, time.Now())
	if err != nil {
		return err
	}
	return s.Send(ctx, m)
}

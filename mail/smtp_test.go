package mail

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/gatehouse-id/gatehouse/text"
)

// authority is a certificate authority of the test's own, in PEM, and a server
// certificate for localhost that it has signed.
func authority(t *testing.T) (roots []byte, server tls.Certificate) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sign := func(c, by *x509.Certificate, k, byKey *ecdsa.PrivateKey) []byte {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, c, by, &k.PublicKey, byKey)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test authority"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootKey, leafKey := key(), key()
	rootDER := sign(root, root, rootKey, rootKey)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leafDER := sign(leaf, root, leafKey, rootKey)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}),
		tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}
}

// member is a session of a mail server that asks for a password, and has TLS.
type member struct {
	delivery
	conn *smtp.Conn
}

func (*member) AuthMechanisms() []string { return []string{sasl.Plain} }

func (m *member) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if _, encrypted := m.conn.TLSConnectionState(); !encrypted {
			return errors.New("a password without TLS")
		}
		if user != "gatehouse" || password != "p@ss word" {
			return &smtp.SMTPError{Code: 535, Message: "gatehouse@mail.example is not welcome"}
		}
		m.to = "signed in"
		return nil
	}), nil
}

func (m *member) Mail(string, *smtp.MailOptions) error {
	if m.to == "" {
		return smtp.ErrAuthRequired
	}
	return nil
}

// newSecurePost starts a mail server with TLS, from the start or by STARTTLS;
// without a certificate it has none.
func newSecurePost(t *testing.T, certificate *tls.Certificate, fromStart bool) (p *post, port string) {
	t.Helper()
	p = &post{}
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &member{delivery{post: p}, c}, nil
	}))
	s.Domain = "post.example"
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if certificate != nil {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}}
		if fromStart {
			l = tls.NewListener(l, s.TLSConfig)
		}
	} else {
		s.AllowInsecureAuth = true
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return p, port
}

func TestSMTPOverTLS(t *testing.T) {
	ours, certificate := authority(t)
	theirs, _ := authority(t)
	const right, wrong = "gatehouse:p%40ss%20word@", "gatehouse:guess@"
	tests := []struct {
		about       string
		scheme      string
		user        string
		certificate *tls.Certificate
		fromStart   bool
		roots       []byte
		err         string // in the error; empty is delivered
	}{
		{"STARTTLS and a password", "smtp://", right, &certificate, false, ours, ""},
		{"TLS from the start and a password", "smtps://", right, &certificate, true, ours, ""},
		{"STARTTLS and a wrong password", "smtp://", wrong, &certificate, false, ours, "code 535"},
		{"TLS from the start and a wrong password", "smtps://", wrong, &certificate, true, ours, "code 535"},
		{"no password where one is asked for", "smtp://", "", &certificate, false, ours, "code 502"},
		{"STARTTLS with a certificate of somebody else", "smtp://", right, &certificate, false, theirs, "unknown authority"},
		{"TLS from the start with a certificate of somebody else", "smtps://", right, &certificate, true, theirs, "unknown authority"},
		{"the system knows no such certificate", "smtps://", right, &certificate, true, nil, "unknown authority"},
		{"a server whose STARTTLS is gone gets no password", "smtp://", right, nil, false, ours, "STARTTLS"},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			p, port := newSecurePost(t, tt.certificate, tt.fromStart)
			c := SMTPConfig{URL: tt.scheme + tt.user + "localhost:" + port, From: testFrom}
			if tt.roots != nil {
				var err error
				if c.Roots, err = ParseRoots(tt.roots); err != nil {
					t.Fatal(err)
				}
			}
			s, err := NewSMTP(c)
			if err != nil {
				t.Fatal(err)
			}
			err = s.Send(t.Context(), Message{ID: "letter-1", To: "asha@example.com", Subject: "Hello", Text: "Good day.\n", HTML: "<p>Good day.</p>\n", Date: noon})
			if tt.err == "" {
				if err != nil || p.delivered() != 1 {
					t.Fatalf("%d delivered: %v", p.delivered(), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) || p.delivered() != 0 {
				t.Fatalf("%d delivered, err = %v, want %q in it", p.delivered(), err, tt.err)
			}
			if errors.Is(err, ErrRefused) {
				t.Error("given up, though an operator can mend it")
			}
			for _, secret := range []string{"asha", "p@ss", "p%40ss", "guess", "mail.example"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds %q: %v", secret, err)
				}
			}
		})
	}
}

// TestLanguagesOnTheWire reads a letter in each language as a mail program does.
func TestLanguagesOnTheWire(t *testing.T) {
	w := testWriter(t)
	p := newPost(t)
	s, err := NewSMTP(SMTPConfig{URL: p.url, From: testFrom})
	if err != nil {
		t.Fatal(err)
	}
	for i, language := range text.Languages() {
		l := Letter{Kind: PasswordResetCode, To: "asha@example.com", Code: "48210937", Language: language, ExpiresAt: noon.Add(5 * time.Minute)}
		m, err := w.write("letter-"+language, l, noon)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		got := p.letters[i]
		raw := got.Header.Get("Subject")
		if strings.ContainsFunc(raw, func(r rune) bool { return r > '~' }) {
			t.Errorf("%s: the subject leaves ASCII (RFC 5322 section 2.2): %q", language, raw)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(raw)
		if err != nil || subject != m.Subject {
			t.Errorf("%s: the subject arrives as %q, want %q: %v", language, subject, m.Subject, err)
		}
		_, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		parts := multipart.NewReader(strings.NewReader(p.bodies[i]), params["boundary"])
		for _, want := range []string{m.Text, m.HTML} {
			part, err := parts.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(part) // which decodes quoted-printable
			if err != nil || strings.ReplaceAll(string(body), "\r\n", "\n") != want {
				t.Errorf("%s: arrives as\n%s\nwant\n%s\n%v", language, body, want, err)
			}
			if charset := part.Header.Get("Content-Type"); !strings.Contains(strings.ToLower(charset), "charset=utf-8") {
				t.Errorf("%s: %s", language, charset)
			}
		}
	}
}

func TestSMTPKeepsToItsTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // never says a word
	s, err := NewSMTP(SMTPConfig{URL: "smtp://" + l.Addr().String(), From: testFrom})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("seed-F3: a mail server that is silent holds nobody up", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := s.Send(ctx, Message{ID: "letter-1", To: "asha@example.com"}); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("err = %v, want one that may pass", err)
		}
		if took := time.Since(start); took >= sendTimeout {
			t.Errorf("took %v", took)
		}
	})
}

func TestSenders(t *testing.T) {
	roots, _ := authority(t)
	pool, err := ParseRoots(roots)
	if err != nil {
		t.Fatal(err)
	}
	const url, key = "smtp://mail.example", "api-0123456789abcdef"
	tests := []struct {
		about string
		c     SenderConfig
		ok    bool
	}{
		{"SMTP", SenderConfig{SMTPURL: url, From: testFrom}, true},
		{"SMTP with certificates", SenderConfig{SMTPURL: url, SMTPRoots: pool, From: testFrom}, true},
		{"SMTP2GO", SenderConfig{SMTP2GOKey: key, From: testFrom}, true},
		{"neither", SenderConfig{From: testFrom}, false},
		{"both", SenderConfig{SMTPURL: url, SMTP2GOKey: key, From: testFrom}, false},
		{"SMTP2GO with certificates", SenderConfig{SMTP2GOKey: key, SMTPRoots: pool, From: testFrom}, false},
		{"from nobody", SenderConfig{SMTP2GOKey: key}, false},
		{"SMTP from nobody", SenderConfig{SMTPURL: url}, false},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			s, err := NewSender(tt.c)
			if (err == nil) != tt.ok || (s != nil) != tt.ok {
				t.Errorf("sender %v, err = %v, want ok %v", s, err, tt.ok)
			}
		})
	}
	for _, bad := range []string{"", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := ParseRoots([]byte(bad)); err == nil {
			t.Errorf("%q was taken for certificates", bad)
		}
	}
}

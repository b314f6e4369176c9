package mail

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// A probe meets what a letter would, and is none.
func TestProbe(t *testing.T) {
	ours, certificate := authority(t)
	theirs, _ := authority(t)
	for _, tt := range []struct {
		about     string
		scheme    string
		user      string
		encrypted bool
		fromStart bool
		roots     []byte
		seen, err string // in what it says
	}{
		{"STARTTLS and a password", "smtp://", "gatehouse:p%40ss%20word@", true, false, ours, "TLS 1.3, AUTH PLAIN", ""},
		{"TLS from the start and a password", "smtps://", "gatehouse:p%40ss%20word@", true, true, ours, "TLS 1.3, AUTH PLAIN", ""},
		{"a wrong password", "smtp://", "gatehouse:guess@", true, false, ours, "", "before the letter: code 535"},
		{"a certificate of somebody else", "smtp://", "gatehouse:guess@", true, false, theirs, "", "unknown authority"},
		{"STARTTLS is gone", "smtp://", "gatehouse:p%40ss%20word@", false, false, ours, "", "STARTTLS"},
		{"a server on this machine may go without", "smtp://", "", false, false, nil, "not encrypted, AUTH PLAIN", ""},
	} {
		t.Run(tt.about, func(t *testing.T) {
			with := &certificate
			if !tt.encrypted {
				with = nil
			}
			p, port := newSecurePost(t, with, tt.fromStart)
			c := SenderConfig{SMTPURL: tt.scheme + tt.user + "localhost:" + port, From: testFrom}
			if tt.roots != nil {
				var err error
				if c.SMTPRoots, err = ParseRoots(tt.roots); err != nil {
					t.Fatal(err)
				}
			}
			s, err := NewSender(c)
			if err != nil {
				t.Fatal(err)
			}
			seen, err := Probe(t.Context(), s)
			if seen != tt.seen || (tt.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("seen %q (%v), want %q (%q)", seen, err, tt.seen, tt.err)
			}
			if err != nil && (strings.Contains(err.Error(), "guess") || strings.Contains(err.Error(), "welcome")) {
				t.Errorf("the error holds what is secret: %v", err)
			}
			if p.delivered() != 0 {
				t.Error("a letter was sent")
			}
		})
	}
	t.Run("SMTP2GO has no probe", func(t *testing.T) {
		s, err := NewSender(SenderConfig{SMTP2GOKey: "api-0123456789abcdef", From: testFrom})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Probe(t.Context(), s); !errors.Is(err, ErrNoProbe) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a server that is silent keeps nobody", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		s, err := NewSMTP(SMTPConfig{URL: "smtp://" + l.Addr().String(), From: testFrom})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := s.Probe(ctx); err == nil || time.Since(began) >= sendTimeout {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

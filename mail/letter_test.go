package mail

import (
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestEveryKindIsWritten(t *testing.T) {
	w := newWriter("Meridian ID")
	for _, kind := range Kinds() {
		if m, err := w.write("id", Letter{Kind: kind, To: "asha@example.com"}, noon); err != nil || m.Subject == "" || m.Text == "" || m.HTML == "" {
			t.Errorf("%s: %+v %v", kind, m, err)
		}
	}
}

func TestLetters(t *testing.T) {
	w := newWriter("Meridian ID")
	tests := []struct {
		about   string
		letter  Letter
		subject string
		has     []string // in text and HTML
		hasNot  []string
	}{
		{
			"a code comes first in the subject, in groups of four",
			Letter{Kind: AccountVerification, To: "asha@example.com", Code: "48210937", ExpiresAt: noon.Add(5*time.Minute - time.Second)},
			"4821 0937 is your Meridian ID code",
			[]string{"4821 0937", "works for 5 minutes", "If you didn’t create an account, ignore this email.", "asha@example.com"},
			[]string{"{{", "<no value>", "http"},
		},
		{
			"the last minute is one minute",
			Letter{Kind: AccountVerification, To: "asha@example.com", Code: "00000001", ExpiresAt: noon.Add(time.Second)},
			"0000 0001 is your Meridian ID code",
			[]string{"works for 1 minute,"},
			[]string{"minutes"},
		},
		{
			"an owner is told of a registration, and where to sign in",
			Letter{Kind: AccountExists, To: "asha@example.com", Link: "https://id.example/login", ExpiresAt: noon.Add(time.Hour)},
			"You already have a Meridian ID account",
			[]string{"nothing has changed", "https://id.example/login", "If it wasn’t you, ignore this email."},
			[]string{"code", "{{", "<no value>"},
		},
		{
			"without a page there is no link",
			Letter{Kind: AccountExists, To: "asha@example.com", ExpiresAt: noon.Add(time.Hour)},
			"You already have a Meridian ID account",
			[]string{"nothing has changed"},
			[]string{"Sign in", "href"},
		},
		{
			"sec-L5: what is put into HTML stays text",
			Letter{Kind: AccountVerification, To: `"<b>"@example.com`, Code: "12345678", ExpiresAt: noon.Add(time.Minute)},
			"1234 5678 is your Meridian ID code",
			nil,
			nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			m, err := w.write("id", tt.letter, noon)
			if err != nil {
				t.Fatal(err)
			}
			if m.Subject != tt.subject {
				t.Errorf("subject %q, want %q", m.Subject, tt.subject)
			}
			if m.ID != "id" || m.To != tt.letter.To || !m.Date.Equal(noon) {
				t.Errorf("id %q, to %q, date %v", m.ID, m.To, m.Date)
			}
			if strings.Contains(m.HTML, "<b>") {
				t.Error("markup from outside is markup in the letter")
			}
			if !strings.HasPrefix(m.HTML, "<!doctype html>") || !strings.HasSuffix(strings.TrimSpace(m.HTML), "</html>") {
				t.Errorf("no whole HTML page:\n%s", m.HTML)
			}
			for _, part := range []string{m.Text, m.HTML} {
				for _, s := range tt.has {
					if !strings.Contains(part, s) {
						t.Errorf("no %q in:\n%s", s, part)
					}
				}
				for _, s := range tt.hasNot {
					if strings.Contains(part, s) {
						t.Errorf("%q in:\n%s", s, part)
					}
				}
			}
		})
	}
	if _, err := w.write("id", Letter{Kind: "telegram"}, noon); err == nil {
		t.Error("a letter of no known kind was written")
	}
}

func TestBrand(t *testing.T) {
	for from, want := range map[string]string{
		"Meridian ID <no-reply@id.example>": "Meridian ID",
		"no-reply@id.example":               "Gatehouse",
		"":                                  "Gatehouse",
	} {
		if got := Brand(from); got != want {
			t.Errorf("Brand(%q) = %q, want %q", from, got, want)
		}
	}
}

package mail

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/text"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func testWriter(t *testing.T) *writer {
	t.Helper()
	w, err := newWriter("Meridian ID")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestKinds reads the source, so that a constant that somebody adds and forgets
// elsewhere is found.
func TestKinds(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "letter.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, d := range file.Decls {
		block, ok := d.(*ast.GenDecl)
		if !ok || block.Tok != token.CONST {
			continue
		}
		for _, spec := range block.Specs {
			for _, v := range spec.(*ast.ValueSpec).Values {
				if text, ok := v.(*ast.BasicLit); ok && text.Kind == token.STRING {
					declared = append(declared, strings.Trim(text.Value, `"`))
				}
			}
		}
	}
	kinds := Kinds()
	slices.Sort(declared)
	slices.Sort(kinds)
	if len(declared) < 17 || !slices.Equal(declared, kinds) {
		t.Errorf("declared are\n%q and Kinds has\n%q", declared, kinds)
	}
	w := testWriter(t)
	subjects := map[string]string{}
	for _, kind := range kinds {
		t.Run("seed-F1: there are words for "+kind, func(t *testing.T) {
			// With nothing else known, and with everything.
			for _, l := range []Letter{
				{Kind: kind, To: "asha@example.com"},
				{Kind: kind, To: "asha@example.com", Code: "48210937", Link: "https://id.example/login", Detail: "Firefox on Linux", At: noon, ExpiresAt: noon.Add(time.Minute)},
			} {
				m, err := w.write("id", l, noon)
				if err != nil || m.Subject == "" || len(m.Text) < 100 || len(m.HTML) < len(m.Text) {
					t.Fatalf("%+v %v", m, err)
				}
				for _, broken := range []string{"  ", " .", "..", " ,", "%!", "<nil>", "0001"} {
					if strings.Contains(m.Subject+m.Text, broken) {
						t.Errorf("%q in: %s\n%s", broken, m.Subject, m.Text)
					}
				}
				if l.Code != "" {
					if other := subjects[m.Subject]; other != "" && (kind != EmailChangeCode || other != AccountVerification) {
						t.Errorf("has the subject of %s", other)
					}
					subjects[m.Subject] = kind
				}
			}
		})
	}
}

func TestLetters(t *testing.T) {
	w := testWriter(t)
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
			"a reset brings a code that nobody asks for",
			Letter{Kind: PasswordResetCode, To: "asha@example.com", Code: "48210937", ExpiresAt: noon.Add(5 * time.Minute)},
			"4821 0937 is your password reset code",
			[]string{"4821 0937", "works for 5 minutes.", "your password hasn’t changed", "Never give this code to anyone, including us."},
			[]string{"http"},
		},
		{
			"an owner is told of a registration, and where to sign in",
			Letter{Kind: AccountExists, To: "asha@example.com", Link: "https://id.example/login", ExpiresAt: noon.Add(time.Hour)},
			"You already have a Meridian ID account",
			[]string{"nothing has changed", "https://id.example/login", "Forgotten your password?", "If it wasn’t you, ignore this email."},
			[]string{"code"},
		},
		{
			"without a page there is no link",
			Letter{Kind: AccountExists, To: "asha@example.com", ExpiresAt: noon.Add(time.Hour)},
			"You already have a Meridian ID account",
			[]string{"nothing has changed"},
			[]string{"Sign in", "href"},
		},
		{
			"a notice says what, when in UTC, with what, and what to do",
			Letter{Kind: PasswordChanged, To: "asha@example.com", Link: "https://id.example/login", Detail: "Firefox on Linux", At: noon.In(time.FixedZone("NPT", 20700))},
			"Your password has been changed",
			[]string{"When: 23 November 2026, 12:00 UTC", "Device: Firefox on Linux", "If not, reset your password now.", "https://id.example/login"},
			nil,
		},
		{
			"a new sign-in",
			Letter{Kind: NewSignIn, To: "asha@example.com", Detail: "Safari on iPhone", At: noon},
			"New sign-in to your account",
			[]string{"Your account was signed in to on a device", "When: 23 November 2026, 12:00 UTC", "Device: Safari on iPhone", "sign it out"},
			[]string{"Go to"},
		},
		{
			"an address that will be left",
			Letter{Kind: EmailChanging, To: "asha@example.com", Detail: "a•••@new.example", At: noon},
			"Your email address is being changed",
			[]string{"will change to a•••@new.example when"},
			nil,
		},
		{
			"an address that will be reached",
			Letter{Kind: EmailChangeCode, To: "asha@new.example", Code: "48210937", ExpiresAt: noon.Add(5 * time.Minute)},
			"4821 0937 is your Meridian ID code",
			[]string{"to confirm your new email address:", "4821 0937"},
			nil,
		},
		{
			"a code in Arabic stands in one piece in sentences, and in groups where it is alone",
			Letter{Kind: AccountVerification, To: "asha@example.com", Code: "48210937", Language: "ar-EG", ExpiresAt: noon.Add(2 * time.Minute)},
			"48210937 هو رمزك في Meridian ID",
			[]string{"4821 0937", "لمدة دقيقتين"},
			[]string{"{", "minutes", "code"},
		},
		{
			"a device in Nepali, with the digits of the language",
			Letter{Kind: NewSignIn, To: "asha@example.com", Detail: "Firefox on Linux", Language: "ne", At: noon},
			"तपाईंको खातामा नयाँ साइन इन",
			[]string{"समय: २०२६ नोभेम्बर २३, १२:०० UTC", "डिभाइस: Linux मा Firefox"},
			[]string{" on "},
		},
		{
			"a language that we do not speak is English",
			Letter{Kind: PasswordResetCode, To: "asha@example.com", Code: "48210937", Language: "fr-FR", ExpiresAt: noon.Add(5 * time.Minute)},
			"4821 0937 is your password reset code",
			[]string{"works for 5 minutes."},
			nil,
		},
		{"the last recovery code", Letter{Kind: RecoveryLow, To: "asha@example.com", Detail: "1"}, "You have 1 recovery code left", nil, nil},
		{"no recovery code", Letter{Kind: RecoveryLow, To: "asha@example.com", Detail: "0"}, "You have no recovery codes left", nil, nil},
		{"no known number of recovery codes", Letter{Kind: RecoveryLow, To: "asha@example.com"}, "You have few recovery codes left", nil, nil},
		{
			"sec-L5: a device is not a stranger's sentence",
			Letter{Kind: NewSignIn, To: "asha@example.com", Detail: "Win a prize at https://evil.example", At: noon},
			"New sign-in to your account",
			[]string{"12:00 UTC"},
			[]string{"evil", "prize", "Device"},
		},
		{
			"sec-L5: a device is short",
			Letter{Kind: NewSignIn, To: "asha@example.com", Detail: strings.Repeat("call this number ", 3), At: noon},
			"New sign-in to your account",
			nil,
			[]string{"number", "Device"},
		},
		{
			"sec-L5: an address is masked, or is not told",
			Letter{Kind: EmailChanging, To: "asha@example.com", Detail: "mallory@evil.example"},
			"Your email address is being changed",
			[]string{"another one"},
			[]string{"evil"},
		},
		{
			"sec-L5: a masked address is an address",
			Letter{Kind: EmailChanging, To: "asha@example.com", Detail: "a•••@evil.example/see"},
			"Your email address is being changed",
			[]string{"another one"},
			[]string{"evil"},
		},
		{
			"sec-L5: a link leads to a page",
			Letter{Kind: ManyFailures, To: "asha@example.com", Link: "javascript:alert(1)"},
			"Someone is trying to sign in to your account",
			nil,
			[]string{"javascript", "href"},
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

// TestLanguages writes every letter in every language.
func TestLanguages(t *testing.T) {
	w := testWriter(t)
	english := map[string]Message{}
	for _, language := range text.Languages() {
		for _, kind := range Kinds() {
			t.Run(language+" "+kind, func(t *testing.T) {
				l := Letter{
					Kind: kind, To: "asha@example.com", Code: "48210937", Link: "https://id.example/login", Detail: "Firefox on Linux",
					Language: language, At: noon, ExpiresAt: noon.Add(5 * time.Minute),
				}
				switch kind {
				case RecoveryLow:
					l.Detail = "2"
				case EmailChanging:
					l.Detail = "a•••@new.example"
				}
				m, err := w.write("id", l, noon)
				if err != nil || m.Subject == "" || len(m.Text) < 50 {
					t.Fatalf("%+v %v", m, err)
				}
				for _, part := range []string{m.Subject, m.Text, m.HTML} {
					for _, broken := range []string{"{", "}", "<0>", "letter.", "common.", "%!", "<nil>", " .", "..", "  "} {
						if strings.Contains(strings.ReplaceAll(part, "...", ""), broken) {
							t.Errorf("%q in:\n%s", broken, part)
						}
					}
				}
				dir := "ltr"
				if language == "ar" {
					dir = "rtl"
				}
				for _, want := range []string{`<html lang="` + language + `" dir="` + dir + `">`, `<div lang="` + language + `" dir="` + dir + `"`} {
					if !strings.Contains(m.HTML, want) {
						t.Errorf("no %s in:\n%s", want, m.HTML)
					}
				}
				brings := kind == AccountVerification || kind == EmailChangeCode || kind == PasswordResetCode
				if strings.Contains(m.HTML, `<bdi dir="ltr">4821 0937</bdi>`) != brings || strings.Contains(m.Text, "\n\n4821 0937\n\n") != brings {
					t.Errorf("the code does not stand in a line of its own:\n%s\n%s", m.Text, m.HTML)
				}
				if strings.ContainsAny(m.Subject, "\r\n") {
					t.Errorf("the subject has lines: %q", m.Subject)
				}
				if language == text.Fallback {
					english[kind] = m
					return
				}
				for _, line := range strings.Split(english[kind].Text, "\n") {
					if strings.Contains(line, " ") && line != "4821 0937" && line != "-- " && strings.Contains(m.Text, line) {
						t.Errorf("English in:\n%s", m.Text)
					}
				}
				if m.Subject == english[kind].Subject {
					t.Errorf("the subject is English: %s", m.Subject)
				}
			})
		}
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

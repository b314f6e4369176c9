package mail

import (
	"fmt"
	"html"
	"strconv"
	"strings"
	"time"
)

// Kinds of letters; compose has what each says.
const (
	// AccountVerification brings the code that proves the mailbox.
	AccountVerification = "account_verification"
	// AccountExists tells the owner of an account that somebody tried to
	// register with its address.
	AccountExists = "account_exists"
)

// Kinds lists every kind.
func Kinds() []string { return []string{AccountVerification, AccountExists} }

// A Letter is a mail to be sent. It holds nothing that a stranger could have
// typed into a form, so that nobody can make us carry their text.
type Letter struct {
	Kind string
	// To is the address of the account.
	To string
	// Code is what the person enters; empty when the letter brings none.
	Code string
	// Link is where the person goes on; empty when there is no such page.
	Link string
	// ExpiresAt is when the letter loses its point and is no longer sent; zero
	// is never.
	ExpiresAt time.Time
}

// A Message is a letter written out.
type Message struct {
	// ID is the id of the outbox's row, and the left part of the Message-ID.
	ID   string
	Kind string
	// Code is the one that the letter brings, as it is shown; empty when it
	// brings none.
	Code    string
	To      string
	Subject string
	Text    string
	HTML    string
	Date    time.Time
}

// A part is a line or a paragraph of a letter's body. One of the two renderers
// below shows it in each form of the letter.
type part struct {
	shape partShape
	text  string
	// link is where text leads, for a link.
	link string
}

type partShape int

const (
	paragraph partShape = iota
	code                // stands out, and is copied
	link
	fine // small print at the end
)

// A writer writes letters out. It has no template engine: a program that can
// execute a template keeps every exported method of every type it links, which
// would make half of the worker's size.
type writer struct{ brand string }

func newWriter(brand string) *writer { return &writer{brand: brand} }

// write writes l out as it reads at now.
func (w *writer) write(id string, l Letter, now time.Time) (Message, error) {
	subject, lead, parts := w.compose(l, now)
	if subject == "" {
		return Message{}, fmt.Errorf("mail: no letter of kind %q", l.Kind)
	}
	return Message{
		ID: id, Kind: l.Kind, Code: grouped(l.Code), To: l.To, Subject: subject,
		Text: asText(lead, parts), HTML: w.asHTML(subject, lead, parts), Date: now,
	}, nil
}

// compose returns what the letter says: its subject, the first sentence, and
// the rest. The subject of an unknown kind is empty.
func (w *writer) compose(l Letter, now time.Time) (subject, lead string, parts []part) {
	switch l.Kind {
	case AccountVerification:
		shown := grouped(l.Code)
		return shown + " is your " + w.brand + " code",
			"Enter this code to confirm your email address:",
			[]part{
				{shape: code, text: shown},
				{text: "It works for " + count(minutes(l.ExpiresAt.Sub(now)), "minute") + ", on the device where you started."},
				{text: "If you didn’t create an account, ignore this email."},
				{shape: fine, text: "Sent to " + l.To + " because it was entered at " + w.brand + "."},
			}
	case AccountExists:
		parts = []part{
			{text: "If it wasn’t you, ignore this email."},
			{shape: fine, text: "Sent to " + l.To + " because it belongs to a " + w.brand + " account."},
		}
		if l.Link != "" {
			parts = append([]part{{shape: link, text: "Sign in", link: l.Link}}, parts...)
		}
		return "You already have a " + w.brand + " account",
			"Someone, perhaps you, tried to create an account with this address. You already have one, so nothing has changed.",
			parts
	}
	return "", "", nil
}

// asText is the letter for a program that shows text.
func asText(lead string, parts []part) string {
	var b strings.Builder
	b.WriteString(lead)
	for _, p := range parts {
		switch p.shape {
		case code:
			b.WriteString(" " + p.text)
		case link:
			b.WriteString("\n\n" + p.text + ": " + p.link)
		case fine:
			b.WriteString("\n\n-- \n" + p.text)
		default:
			b.WriteString("\n\n" + p.text)
		}
	}
	b.WriteString("\n")
	return b.String()
}

// asHTML is the letter for a program that shows HTML. Everything that is not
// ours to know is escaped, and only http addresses are links.
func (w *writer) asHTML(subject, lead string, parts []part) string {
	var b strings.Builder
	e := html.EscapeString
	b.WriteString("<!doctype html>\n<html lang=\"en\" dir=\"ltr\">\n<head>\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width\">\n<title>" + e(subject) + "</title>\n</head>\n" +
		"<body style=\"margin:0;padding:24px;font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;color:#1a1a1a;background:#ffffff\">\n" +
		"<div style=\"max-width:560px;margin:0 auto\">\n<p style=\"font-weight:600\">" + e(w.brand) + "</p>\n<p>" + e(lead) + "</p>\n")
	for _, p := range parts {
		switch {
		case p.shape == code:
			b.WriteString("<p style=\"font-size:28px;font-weight:600;letter-spacing:2px\">" + e(p.text) + "</p>\n")
		case p.shape == link && (strings.HasPrefix(p.link, "https://") || strings.HasPrefix(p.link, "http://")):
			b.WriteString("<p><a href=\"" + e(p.link) + "\">" + e(p.text) + "</a></p>\n")
		case p.shape == fine:
			b.WriteString("<p style=\"font-size:14px;color:#595959\">" + e(p.text) + "</p>\n")
		default:
			b.WriteString("<p>" + e(p.text) + "</p>\n")
		}
	}
	b.WriteString("</div>\n</body>\n</html>\n")
	return b.String()
}

// count names a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// grouped shows a code in groups of four, which are easier to copy by eye.
func grouped(code string) string {
	var groups []string
	for len(code) > 4 {
		groups, code = append(groups, code[:4]), code[4:]
	}
	return strings.Join(append(groups, code), " ")
}

// minutes rounds up, so that a letter written a moment after its code was made
// names the code's whole life.
func minutes(d time.Duration) int { return int((d + time.Minute - 1) / time.Minute) }

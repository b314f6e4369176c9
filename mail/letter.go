package mail

import (
	"bytes"
	"embed"
	"fmt"
	htmltemplate "html/template"
	"strings"
	texttemplate "text/template"
	"time"
)

// Kinds of letters; each has templates/KIND.txt and templates/KIND.html.
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
	ID      string
	To      string
	Subject string
	Text    string
	HTML    string
	Date    time.Time
}

//go:embed templates
var templates embed.FS

// A writer writes letters out.
type writer struct {
	brand string
	text  map[string]*texttemplate.Template
	html  map[string]*htmltemplate.Template
}

func newWriter(brand string) (*writer, error) {
	w := &writer{
		brand: brand,
		text:  make(map[string]*texttemplate.Template),
		html:  make(map[string]*htmltemplate.Template),
	}
	for _, kind := range Kinds() {
		var err error
		w.text[kind], err = texttemplate.New(kind+".txt").Option("missingkey=error").
			ParseFS(templates, "templates/"+kind+".txt")
		if err != nil {
			return nil, fmt.Errorf("mail: parse text of %s: %w", kind, err)
		}
		w.html[kind], err = htmltemplate.New(kind+".html").Option("missingkey=error").
			ParseFS(templates, "templates/layout.html", "templates/"+kind+".html")
		if err != nil {
			return nil, fmt.Errorf("mail: parse HTML of %s: %w", kind, err)
		}
	}
	return w, nil
}

// write writes l out as it reads at now.
func (w *writer) write(id string, l Letter, now time.Time) (Message, error) {
	text, known := w.text[l.Kind]
	if !known {
		return Message{}, fmt.Errorf("mail: no letter of kind %q", l.Kind)
	}
	data := struct {
		Brand, Subject, To, Code, Link string
		Minutes                        int
	}{Brand: w.brand, To: l.To, Code: grouped(l.Code), Link: l.Link, Minutes: minutes(l.ExpiresAt.Sub(now))}

	var subject, body, page bytes.Buffer
	if err := text.ExecuteTemplate(&subject, "subject", data); err != nil {
		return Message{}, fmt.Errorf("mail: write subject: %w", err)
	}
	data.Subject = subject.String()
	if err := text.Execute(&body, data); err != nil {
		return Message{}, fmt.Errorf("mail: write text: %w", err)
	}
	if err := w.html[l.Kind].Execute(&page, data); err != nil {
		return Message{}, fmt.Errorf("mail: write HTML: %w", err)
	}
	return Message{ID: id, To: l.To, Subject: data.Subject, Text: body.String(), HTML: page.String(), Date: now}, nil
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

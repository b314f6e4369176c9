package mail

import (
	"fmt"
	"html"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse-id/gatehouse/text"
)

// Kinds of letters. What each says stands in the
// catalogues of package text. Detail is the device that
// something was done with, where nothing else is said.
const (
	// AccountVerification brings the code that proves the mailbox.
	AccountVerification = "account_verification"
	// AccountExists tells the owner of an account that somebody tried to
	// register with its address.
	AccountExists = "account_exists"
	// PasswordResetCode brings the code that lets its reader choose a new
	// password.
	PasswordResetCode = "password_reset_code"
	// PasswordChanged tells of a changed or reset password.
	PasswordChanged = "password_changed"
	// NewSignIn tells of a sign-in with a device never seen before.
	NewSignIn = "new_sign_in"
	// SecondFactorOn and SecondFactorOff tell of two-step sign-in.
	SecondFactorOn  = "second_factor_on"
	SecondFactorOff = "second_factor_off"
	// RecoveryUsed tells that a recovery code was used.
	RecoveryUsed = "recovery_used"
	// RecoveryReplaced tells of new recovery codes.
	RecoveryReplaced = "recovery_replaced"
	// RecoveryLow asks to make new recovery codes. Detail is how many are left.
	RecoveryLow = "recovery_low"
	// EmailChanging tells the old address of a change that waits for the new one
	// to be proved. Detail is the new address, masked.
	EmailChanging = "email_changing"
	// EmailChangeCode brings the code that proves the new address.
	EmailChangeCode = "email_change_code"
	// ManyFailures tells that somebody tries to get in.
	ManyFailures = "many_failures"
	// AccountDeleted, AccountPaused and AccountRestored tell what became of the
	// account.
	AccountDeleted  = "account_deleted"
	AccountPaused   = "account_paused"
	AccountRestored = "account_restored"
	// Test tells an operator that letters arrive.
	Test = "test"
)

// Kinds lists every kind.
func Kinds() []string {
	return []string{
		AccountVerification, AccountExists, PasswordResetCode, PasswordChanged, NewSignIn,
		SecondFactorOn, SecondFactorOff, RecoveryUsed, RecoveryReplaced, RecoveryLow,
		EmailChanging, EmailChangeCode, ManyFailures, AccountDeleted, AccountPaused, AccountRestored, Test,
	}
}

// A Letter is a mail to be sent. But for the address it goes to, it holds
// nothing that somebody typed, so that nobody can make us carry their text.
type Letter struct {
	Kind string
	// To is the address of the account.
	To string
	// Code is what the person enters; empty when the letter brings none.
	Code string
	// Link is where the person goes on; empty when there is no such page.
	Link string
	// Detail is what a kind tells besides: a device, an address of which most is
	// hidden, a number. It is in words of ours; a letter leaves out what is not.
	Detail string
	// Language is the one it is written in (BCP 47). What we do not speak, and
	// the empty one, is English.
	Language string
	// At is when what the letter tells happened.
	At time.Time
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
	facts               // lines that say when and where
	code                // stands out, and is copied
	link
	fine // small print at the end
)

// A writer writes letters out, in the language of each. It has no template
// engine: a program that can execute a template keeps every exported method of
// every type it links, which would make half of the worker's size.
type writer struct {
	brand     string
	languages map[string]*text.Catalogue
}

func newWriter(brand string) (*writer, error) {
	languages, err := text.Load()
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	return &writer{brand: brand, languages: languages}, nil
}

// write writes l out as it reads at now.
func (w *writer) write(id string, l Letter, now time.Time) (Message, error) {
	if !slices.Contains(Kinds(), l.Kind) {
		return Message{}, fmt.Errorf("mail: no letter of kind %q", l.Kind)
	}
	t := w.languages[text.First(l.Language)]
	says := phrases{t: t, letter: l, brand: w.brand}.compose(now)
	return Message{
		ID: id, Kind: l.Kind, Code: grouped(l.Code), To: l.To, Subject: says.subject,
		Text: asText(says), HTML: w.asHTML(t, says), Date: now,
	}, nil
}

// words are what a letter says: its subject, the first sentence, and the rest.
type words struct {
	subject, lead string
	parts         []part
}

// phrases finds the sentences of one letter in its language.
type phrases struct {
	t      *text.Catalogue
	letter Letter
	brand  string
}

// say is a sentence of this kind of letter, common one of all.
func (p phrases) say(sentence string, pairs ...any) string {
	return p.common(p.letter.Kind+"."+sentence, pairs...)
}

func (p phrases) common(sentence string, pairs ...any) string {
	return p.t.Plain("letter."+sentence, append(pairs, "brand", p.brand, "code", p.inSubject())...)
}

// inSubject is the code as it stands in a sentence. The groups of one would
// change places where one reads from right to left.
func (p phrases) inSubject() string {
	if p.t.Dir() == "rtl" {
		return p.letter.Code
	}
	return grouped(p.letter.Code)
}

// compose returns what the letter says. Whoever writes it may use a link, a
// code, a time and a device of the letter in any language: they stand in lines
// of their own.
func (p phrases) compose(now time.Time) words {
	l := p.letter
	says := words{subject: p.say("subject"), lead: p.say("lead")}
	then := func(parts ...part) { says.parts = append(says.parts, parts...) }
	why := "account"
	switch l.Kind {
	case AccountVerification, EmailChangeCode, PasswordResetCode:
		then(part{shape: code, text: grouped(l.Code)},
			part{text: p.say("life", "n", minutes(l.ExpiresAt.Sub(now)))},
			part{text: p.say("ignore")})
		if l.Kind != PasswordResetCode {
			why = "entered"
		}
	case AccountExists:
		if isAddress(l.Link) {
			then(part{shape: link, text: p.say("sign_in"), link: l.Link}, part{text: p.say("forgotten")})
		}
		then(part{text: p.say("ignore")})
	case PasswordChanged, NewSignIn:
		then(p.happened()...)
		then(part{text: p.common("was_you")})
		then(p.act()...)
	case SecondFactorOn, SecondFactorOff, RecoveryUsed, RecoveryReplaced:
		then(p.happened()...)
		then(p.act()...)
	case RecoveryLow:
		n, ok := left(l.Detail)
		switch {
		case !ok:
			says.subject = p.say("subject_few")
		case n == 0:
			says.subject = p.say("subject_none")
		default:
			says.subject = p.say("subject", "n", n)
		}
		then(p.act()...)
	case EmailChanging:
		says.lead = p.say("lead_hidden")
		if to := masked(l.Detail); to != "" {
			says.lead = p.say("lead", "to", to)
		}
		then(part{text: p.common("was_you")})
		then(p.act()...)
	case ManyFailures, AccountRestored:
		then(p.act()...)
	case AccountPaused:
		then(p.happened()...)
		then(p.act()...)
	case AccountDeleted:
		then(p.happened()...)
		why = "deleted"
	case Test:
		then(p.happened()...)
		then(part{text: p.say("nothing")})
		why = "test"
	}
	then(part{shape: fine, text: p.common("why."+why, "address", l.To)})
	return says
}

// act asks for something that is done on our pages, and says where they are
// when there are any.
func (p phrases) act() []part {
	parts := []part{{text: p.say("act")}}
	if isAddress(p.letter.Link) {
		parts = append(parts, part{shape: link, text: p.common("go"), link: p.letter.Link})
	}
	return parts
}

// happened is when it did, and the device it was done with; nothing of what is
// not known. We know nobody's time zone, so it is UTC and says so.
func (p phrases) happened() []part {
	var lines []string
	if at := p.letter.At.UTC(); !p.letter.At.IsZero() {
		when := p.t.Plain("common.date_time", "date", p.t.Date(at), "time", p.t.Clock(at))
		lines = append(lines, p.common("when", "when", when))
	}
	browser, system, _ := strings.Cut(device(p.letter.Detail), " on ")
	if with := p.t.Software(browser, system); with != "" {
		lines = append(lines, p.common("device", "device", with))
	}
	if lines == nil {
		return nil
	}
	return []part{{shape: facts, text: strings.Join(lines, "\n")}}
}

// The next three read a Detail. Whoever writes one may have taken it from a
// browser's header or a form, so what is not of the form that we make ourselves
// is left out: nobody shall have us carry their text or their link.

// device accepts a few words, such as Firefox on Linux.
func device(detail string) string {
	for _, r := range detail {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != ' ' {
			return ""
		}
	}
	if len(detail) > 40 {
		return ""
	}
	return detail
}

// left accepts a small number.
func left(detail string) (int, bool) {
	n, err := strconv.Atoi(detail)
	return n, err == nil && n >= 0 && n <= 99
}

// masked accepts an address whose local part shows one letter at most, such as
// a•••@new.example.
func masked(detail string) string {
	local, domain, ok := strings.Cut(detail, "@")
	if !ok || len(detail) > 100 || utf8.RuneCountInString(strings.TrimRight(local, "•")) > 1 || !strings.HasSuffix(local, "•") {
		return ""
	}
	for _, r := range domain {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '.' && r != '-' {
			return ""
		}
	}
	return detail
}

// isAddress reports whether s leads to a page.
func isAddress(s string) bool {
	return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")
}

// asText is the letter for a program that shows text. Such a program finds the
// direction of each paragraph by its letters: the code has its own.
func asText(says words) string {
	var b strings.Builder
	b.WriteString(says.lead)
	for _, p := range says.parts {
		switch p.shape {
		case link:
			b.WriteString("\n\n" + p.text + ":\n" + p.link)
		case fine:
			b.WriteString("\n\n-- \n" + p.text)
		default:
			b.WriteString("\n\n" + p.text)
		}
	}
	b.WriteString("\n")
	return b.String()
}

// asHTML is the letter for a program that shows HTML. Everything is escaped.
func (w *writer) asHTML(t *text.Catalogue, says words) string {
	var b strings.Builder
	e := html.EscapeString
	b.WriteString("<!doctype html>\n<html lang=\"" + t.Tag() + "\" dir=\"" + t.Dir() + "\">\n<head>\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width\">\n<title>" + e(says.subject) + "</title>\n</head>\n" +
		"<body style=\"margin:0;padding:24px;font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;color:#1a1a1a;background:#ffffff\">\n" +
		// Some readers throw the elements above away.
		"<div lang=\"" + t.Tag() + "\" dir=\"" + t.Dir() + "\" style=\"max-width:560px;margin:0 auto\">\n" +
		"<p style=\"font-weight:600\"><bdi>" + e(w.brand) + "</bdi></p>\n<p>" + e(says.lead) + "</p>\n")
	for _, p := range says.parts {
		switch p.shape {
		case facts:
			b.WriteString("<p>" + strings.ReplaceAll(e(p.text), "\n", "<br>\n") + "</p>\n")
		case code:
			b.WriteString("<p style=\"font-size:28px;font-weight:600;letter-spacing:2px\"><bdi dir=\"ltr\">" + e(p.text) + "</bdi></p>\n")
		case link:
			b.WriteString("<p><a href=\"" + e(p.link) + "\">" + e(p.text) + "</a></p>\n")
		case fine:
			b.WriteString("<p style=\"font-size:14px;color:#595959\">" + e(p.text) + "</p>\n")
		default:
			b.WriteString("<p>" + e(p.text) + "</p>\n")
		}
	}
	b.WriteString("</div>\n</body>\n</html>\n")
	return b.String()
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

package mail

import (
	"fmt"
	"html"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kinds of letters. What each says stands in compose. Detail is the device that
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
	says, ok := w.compose(l, now)
	if !ok {
		return Message{}, fmt.Errorf("mail: no letter of kind %q", l.Kind)
	}
	return Message{
		ID: id, Kind: l.Kind, Code: grouped(l.Code), To: l.To, Subject: says.subject,
		Text: asText(says), HTML: w.asHTML(says), Date: now,
	}, nil
}

// words are what a letter says: its subject, the first sentence, and the rest.
type words struct {
	subject, lead string
	parts         []part
}

// compose returns what the letter says; not ok is an unknown kind.
func (w *writer) compose(l Letter, now time.Time) (says words, ok bool) {
	shown := grouped(l.Code)
	switch l.Kind {
	case AccountVerification:
		says = words{shown + " is your " + w.brand + " code", "Enter this code to confirm your email address:", []part{
			{shape: code, text: shown},
			{text: "It works for " + life(l, now) + ", on the device where you started."},
			{text: "If you didn’t create an account, ignore this email."},
		}}
	case EmailChangeCode:
		says = words{shown + " is your " + w.brand + " code", "Enter this code to confirm your new email address:", []part{
			{shape: code, text: shown},
			{text: "It works for " + life(l, now) + ", on the device where you started."},
			{text: "If you didn’t ask for this, ignore this email: no account has changed."},
		}}
	case PasswordResetCode:
		says = words{shown + " is your password reset code", "Enter this code to choose a new password:", []part{
			{shape: code, text: shown},
			{text: "It works for " + life(l, now) + "."},
			{text: "If you didn’t ask for this, ignore this email: your password hasn’t changed. Never give this code to anyone, including us."},
		}}
	case AccountExists:
		says = words{"You already have a " + w.brand + " account",
			"Someone, perhaps you, tried to create an account with this address. You already have one, so nothing has changed.", nil}
		if isAddress(l.Link) {
			says.parts = []part{
				{shape: link, text: "Sign in", link: l.Link},
				{text: "Forgotten your password? You can choose a new one from the same page."},
			}
		}
		says.parts = append(says.parts, part{text: "If it wasn’t you, ignore this email."})
	case PasswordChanged:
		says = words{"Your password has been changed", "Your password was changed" + on(l.At) + by(device(l.Detail)) + ".",
			append([]part{{text: "If this was you, there’s nothing to do."}}, w.act("If not, reset your password now", l.Link)...)}
	case NewSignIn:
		says = words{"New sign-in to your account", "Your account was signed in to" + on(l.At) + by(device(l.Detail)) + ".",
			append([]part{{text: "If this was you, there’s nothing to do."}}, w.act("If not, sign it out and change your password", l.Link)...)}
	case SecondFactorOn:
		says = words{"Two-step sign-in is on", "You added an authenticator app" + on(l.At) + by(device(l.Detail)) + ". Keep your recovery codes safe.",
			w.act("If this wasn’t you, turn it off and change your password", l.Link)}
	case SecondFactorOff:
		says = words{"Two-step sign-in is off", "Two-step sign-in was turned off" + on(l.At) + by(device(l.Detail)) + ". Your account is now protected by your password only.",
			w.act("If this wasn’t you, turn it back on and change your password", l.Link)}
	case RecoveryUsed:
		says = words{"A recovery code was used", "One of your recovery codes was used to sign in" + on(l.At) + by(device(l.Detail)) + ". It won’t work again.",
			w.act("If this wasn’t you, change your password and make new codes", l.Link)}
	case RecoveryReplaced:
		says = words{"You made new recovery codes", "New recovery codes were made" + on(l.At) + by(device(l.Detail)) + ". Your old codes no longer work.",
			w.act("If this wasn’t you, change your password and make new codes", l.Link)}
	case RecoveryLow:
		says = words{"You have few recovery codes left", "Each recovery code works once.",
			w.act("Make new ones before you run out", l.Link)}
		if n, ok := left(l.Detail); ok {
			says.subject = "You have " + count(n, "recovery code") + " left"
		}
	case EmailChanging:
		to := masked(l.Detail)
		if to == "" {
			to = "another one"
		}
		says = words{"Your email address is being changed", "Your account’s address will change to " + to + " when that address is confirmed.",
			append([]part{{text: "If this was you, there’s nothing to do here."}}, w.act("If not, change your password now: that stops it", l.Link)...)}
	case ManyFailures:
		says = words{"Someone is trying to sign in to your account", "We’ve slowed them down. Your password hasn’t been guessed.",
			w.act("If you use the same password elsewhere, change it", l.Link)}
	case AccountDeleted:
		says = words{"Your account has been deleted", "Your " + w.brand + " account was deleted" + on(l.At) + ". Your data is gone. Apps you used may hold their own copies.", nil}
	case AccountPaused:
		says = words{"Your account has been paused", "Your " + w.brand + " account was paused" + on(l.At) + ". You can’t sign in with it, and it has been signed out everywhere.",
			w.act("If you think this is a mistake, contact the people who run "+w.brand, l.Link)}
	case AccountRestored:
		says = words{"Your account is active again", "You can sign in with your " + w.brand + " account again.",
			w.act("Your devices and apps stay signed out until you do", l.Link)}
	case Test:
		says = words{"A test letter from " + w.brand, "This letter was sent to see whether letters arrive. They do.",
			[]part{{text: "It was sent" + on(l.At) + ". There’s nothing to do."}}}
	default:
		return words{}, false
	}
	why := "it belongs to a " + w.brand + " account"
	switch l.Kind {
	case AccountVerification, EmailChangeCode:
		why = "it was entered at " + w.brand
	case AccountDeleted:
		why = "it belonged to a " + w.brand + " account"
	case Test:
		why = "an operator of " + w.brand + " asked for it"
	}
	says.parts = append(says.parts, part{shape: fine, text: "Sent to " + l.To + " because " + why + "."})
	return says, true
}

// life is how long the letter's code works.
func life(l Letter, now time.Time) string {
	return count(minutes(l.ExpiresAt.Sub(now)), "minute")
}

// act asks for something that is done on our pages, and says where they are
// when there are any.
func (w *writer) act(sentence, url string) []part {
	parts := []part{{text: sentence + "."}}
	if isAddress(url) {
		parts = append(parts, part{shape: link, text: "Go to " + w.brand, link: url})
	}
	return parts
}

// on is when something happened, as the end of a sentence; nothing for the zero
// time. We know nobody's time zone, so it is UTC and says so.
func on(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(" on 2 January 2006 at 15:04 UTC")
}

// by is the device that something was done with, likewise.
func by(device string) string {
	if device == "" {
		return ""
	}
	return ", " + device
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

// asText is the letter for a program that shows text.
func asText(says words) string {
	var b strings.Builder
	b.WriteString(says.lead)
	for _, p := range says.parts {
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

// asHTML is the letter for a program that shows HTML. Everything is escaped.
func (w *writer) asHTML(says words) string {
	var b strings.Builder
	e := html.EscapeString
	b.WriteString("<!doctype html>\n<html lang=\"en\" dir=\"ltr\">\n<head>\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width\">\n<title>" + e(says.subject) + "</title>\n</head>\n" +
		"<body style=\"margin:0;padding:24px;font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;color:#1a1a1a;background:#ffffff\">\n" +
		"<div style=\"max-width:560px;margin:0 auto\">\n<p style=\"font-weight:600\">" + e(w.brand) + "</p>\n<p>" + e(says.lead) + "</p>\n")
	for _, p := range says.parts {
		switch p.shape {
		case code:
			b.WriteString("<p style=\"font-size:28px;font-weight:600;letter-spacing:2px\">" + e(p.text) + "</p>\n")
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

// count names a number of things.
func count(n int, thing string) string {
	switch n {
	case 0:
		return "no " + thing + "s"
	case 1:
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

package login

import (
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// MaxName is the longest name, in characters.
	MaxName = 100
	// MaxEmail is the longest address, in bytes (RFC 5321 section 4.5.3.1.3,
	// less the angle brackets).
	MaxEmail = 254
	// maxLocal is the longest local part, in bytes (RFC 5321 section 4.5.3.1.1).
	maxLocal = 64
	// maxFolded is how much longer a text may come than it is kept, in bytes:
	// in full width, each character of an address takes three. What is longer
	// is not looked at.
	maxFolded = 4
)

// parseEmail returns the address that mail is sent to: NFKC, so that lookalikes
// which [storage.EmailKey] takes for one mailbox are one mailbox to the mail
// server too, and with the domain in lower case.
func parseEmail(typed string) (string, Reason) {
	if len(typed) > maxFolded*MaxEmail {
		return "", EmailMalformed
	}
	address := norm.NFKC.String(strings.TrimSpace(typed))
	if address == "" {
		return "", EmailMissing
	}
	local, domain, _ := strings.Cut(address, "@")
	address = local + "@" + strings.ToLower(domain)
	if len(address) > MaxEmail || len(local) > maxLocal || !isDomain(strings.ToLower(domain)) ||
		strings.ContainsFunc(local, unprintable) {
		return "", EmailMalformed
	}
	// net/mail knows the dots and the quotes of a local part. What it would
	// read differently from how it is written (a display name, a comment, a
	// quoted string) is no address to us.
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Address != address {
		return "", EmailMalformed
	}
	return address, ""
}

// isDomain reports whether s is a host name of two labels or more (RFC 1123
// section 2.1): ASCII letters, digits and inner hyphens.
func isDomain(s string) bool {
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return len(labels) > 1
}

// parseName returns the name as apps show it.
func parseName(typed string) (string, Reason) {
	if len(typed) > maxFolded*utf8.UTFMax*MaxName {
		return "", NameTooLong
	}
	name := strings.TrimSpace(norm.NFC.String(typed))
	switch {
	case name == "":
		return "", NameMissing
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unprintable):
		return "", NameMalformed
	case utf8.RuneCountInString(name) > MaxName:
		return "", NameTooLong
	}
	return name, ""
}

// unprintable reports line ends, other controls, and the marks that turn the
// direction of the text around them (Unicode Standard Annex 9, section 2):
// with those a name can look like another.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' ||
		(r >= '\u202a' && r <= '\u202e') || (r >= '\u2066' && r <= '\u2069')
}

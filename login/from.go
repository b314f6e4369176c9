package login

import (
	"cmp"
	"strings"

	"github.com/gatehouse-id/gatehouse/storage"
)

// From is where a request came from. It is never taken for who sent it.
type From struct {
	// Address is the client's IP address.
	Address string
	// UserAgent is what the client calls itself.
	UserAgent string
	// Device is the value of the device cookie, or empty.
	Device string
	// Language is the one that the person reads us in (BCP 47), or empty.
	Language string
}

// browsers and systems are what is looked for in a user agent, in this order:
// most browsers name others too.
var (
	browsers = []struct{ token, name string }{
		{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"},
		{"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"},
		{"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"Chrome/", "Chrome"}, {"CriOS/", "Chrome"}, {"Safari/", "Safari"},
	}
	systems = []struct{ token, name string }{
		{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"CrOS", "ChromeOS"},
		{"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"},
	}
)

// Browser says in words of ours what the user agent is: "Firefox on Linux". It
// repeats nothing of it, and is empty for what it does not know.
func (f From) Browser() string {
	browser, system := f.Software()
	if browser == "" || system == "" {
		return browser + system
	}
	return browser + " on " + system
}

// Software is the names that Browser is made of; either may be empty.
func (f From) Software() (browser, system string) {
	find := func(in []struct{ token, name string }) string {
		for _, c := range in {
			if strings.Contains(f.UserAgent, c.token) {
				return c.name
			}
		}
		return ""
	}
	return find(browsers), find(systems)
}

// reads is the language of a letter to u about what was done from here: that of
// the account or, when it has none, of the request. A letter that strangers can
// have us write is in the account's alone.
func (f From) reads(u storage.User) string { return cmp.Or(u.Profile.Locale, f.Language) }

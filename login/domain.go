package login

import (
	"slices"
	"strings"
)

// RegistrationOpen reports whether anybody may register.
func (e *Engine) RegistrationOpen() bool { return !e.closed }

// Domains returns the email domains whose addresses may register, in lower
// case; nil when any may.
func (e *Engine) Domains() []string { return slices.Clone(e.domains) }

// domainAllowed reports whether an address with a lower-case domain may
// register. A subdomain of an allowed domain is another domain.
func (e *Engine) domainAllowed(address string) bool {
	if e.domains == nil {
		return true
	}
	_, domain, _ := strings.Cut(address, "@")
	return slices.Contains(e.domains, domain)
}

package login

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
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

const (
	// domainTimeout is how long one question to the DNS may take, and
	// domainTries how often it is asked when there is no answer.
	domainTimeout = 2 * time.Second
	domainTries   = 3
	domainPause   = 250 * time.Millisecond
	// domainEvery is how often the proof of a running server is repeated.
	domainEvery = 24 * time.Hour

	domainLabel  = "_gatehouse."
	domainPrefix = "gatehouse-domain-verification="
)

// Domains are the email domains whose addresses may register at an issuer, and
// the proof that whoever runs it may say so: a TXT record that only the owner
// of a domain can publish, with a value that only this issuer asks for.
type Domains struct {
	// Issuer is the issuer's URL.
	Issuer string
	// Key makes the records' values, and must stay the same for them to.
	Key []byte
	// Names are the domains.
	Names []string
	// Resolver is asked; nil is [net.DefaultResolver].
	Resolver *net.Resolver
	// Every is how often Watch repeats the proof; zero is once a day.
	Every time.Duration
	// timeout and pause are domainTimeout and domainPause, but in tests.
	timeout, pause time.Duration
}

// A DomainRecord is the TXT record that proves a domain.
type DomainRecord struct {
	Domain string
	// Name is the record's name, without the dot of the root at its end.
	Name  string
	Value string
}

// A DomainProof is what the DNS says of a domain.
type DomainProof struct {
	DomainRecord
	// Err is nil when the record is there; otherwise one sentence that says
	// what to do.
	Err error
}

// Records returns the record that proves each domain.
func (d Domains) Records() []DomainRecord {
	records := make([]DomainRecord, len(d.Names))
	for i, name := range d.Names {
		name = strings.ToLower(name)
		m := hmac.New(sha256.New, d.Key)
		m.Write([]byte("domain\x00" + d.Issuer + "\x00" + name))
		// 160 bits, in an alphabet that no form for DNS records changes.
		token := strings.ToLower(base32.StdEncoding.EncodeToString(m.Sum(nil)[:20]))
		records[i] = DomainRecord{Domain: name, Name: domainLabel + name, Value: domainPrefix + token}
	}
	return records
}

// Check asks the DNS for the record of each domain, for all at once.
func (d Domains) Check(ctx context.Context) []DomainProof {
	records := d.Records()
	proofs := make([]DomainProof, len(records))
	var all sync.WaitGroup
	for i, r := range records {
		all.Go(func() { proofs[i] = DomainProof{r, d.check(ctx, r)} })
	}
	all.Wait()
	return proofs
}

// Prove returns nil when every domain is proved, and otherwise an error with one
// line for each that is not, which says what to publish.
func (d Domains) Prove(ctx context.Context) error {
	var errs []error
	for _, p := range d.Check(ctx) {
		errs = append(errs, p.Err)
	}
	return errors.Join(errs...)
}

// Watch repeats the proof until ctx ends, and tells warn of each domain that is
// no longer proved. It changes nothing: a domain that was proved when the server
// started may register until the server stops.
func (d Domains) Watch(ctx context.Context, warn func(DomainProof)) {
	every := d.Every
	if every == 0 {
		every = domainEvery
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, p := range d.Check(ctx) {
			if p.Err != nil && ctx.Err() == nil {
				warn(p)
			}
		}
	}
}

// check looks for one record. Only what is no answer is asked for again: that
// there is no such record is one.
func (d Domains) check(ctx context.Context, r DomainRecord) error {
	values, err := d.lookup(ctx, r.Name)
	for try := 1; try < domainTries && err != nil && ctx.Err() == nil; try++ {
		if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(cmp.Or(d.pause, domainPause)):
		}
		values, err = d.lookup(ctx, r.Name)
	}
	dnsError, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case err == nil && slices.Contains(values, r.Value):
		return nil
	case slices.ContainsFunc(values, func(v string) bool { return strings.HasPrefix(v, domainPrefix) }):
		return fmt.Errorf("%s is not proved to be yours: the DNS record %s has the value of another issuer or another key, so publish TXT %q beside it or in its place, then try again", r.Domain, r.Name, r.Value)
	case err == nil, isDNS && dnsError.IsNotFound:
		return fmt.Errorf("%s is not proved to be yours: publish the DNS record %s TXT %q, then try again", r.Domain, r.Name, r.Value)
	default:
		return fmt.Errorf("%s is not proved to be yours, because the DNS did not answer (%w): see that the resolver works and that the DNS record %s TXT %q is published, then try again", r.Domain, err, r.Name, r.Value)
	}
}

func (d Domains) lookup(ctx context.Context, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(d.timeout, domainTimeout))
	defer cancel()
	resolver := d.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	// The dot keeps the search list of this machine out.
	return resolver.LookupTXT(ctx, name+".")
}

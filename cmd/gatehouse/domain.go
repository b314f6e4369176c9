package main

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"

	"github.com/gatehouse-id/gatehouse/login"
)

// domains are those whose addresses may register, with what proves them.
func (c *Config) domains(sealKey []byte) (login.Domains, error) {
	// Derived, so that the records' values say nothing about the key that seals
	// signing keys.
	key, err := hkdf.Key(sha256.New, sealKey, nil, "gatehouse domain verification", 32)
	if err != nil {
		return login.Domains{}, fmt.Errorf("derive the key of domain records: %w", err)
	}
	return login.Domains{Issuer: c.URL, Key: key, Names: c.RegistrationDomains, Resolver: c.resolver()}, nil
}

// resolver is the one configured; nil is this machine's.
func (c *Config) resolver() *net.Resolver {
	if c.DNS == "" {
		return nil
	}
	return &net.Resolver{
		PreferGo: true, // only Go's own asks Dial
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, c.DNS)
		},
	}
}

// proveDomains refuses to start a server for a domain that is not proved, and
// has the proof of the others repeated. Embedded mode proves nothing.
func (s *server) proveDomains(ctx context.Context, sealKey []byte) error {
	if s.config.Embedded() || len(s.config.RegistrationDomains) == 0 {
		return nil
	}
	d, err := s.config.domains(sealKey)
	if err != nil {
		return err
	}
	if err := d.Prove(ctx); err != nil {
		return err
	}
	s.jobs = append(s.jobs, func(ctx context.Context) error {
		d.Watch(ctx, func(p login.DomainProof) {
			s.log.WarnContext(ctx, "a domain whose addresses may register is no longer proved", "domain", p.Domain, "err", p.Err)
		})
		return nil
	})
	return nil
}

// commandDomains are the domains as an operator's command needs them.
func commandDomains(t terminal) (login.Domains, error) {
	c, err := readConfig(t)
	if err != nil {
		return login.Domains{}, err
	}
	if c.Embedded() {
		return login.Domains{}, usagef("embedded mode proves no domains; run this with the environment of the server (GATEHOUSE_DATABASE_URL and GATEHOUSE_VALKEY_URL)")
	}
	if len(c.RegistrationDomains) == 0 {
		return login.Domains{}, usagef("registration is closed and there are no domains to prove; set GATEHOUSE_REGISTRATION_DOMAINS to open it")
	}
	sealKey, err := c.sealKey()
	if err != nil {
		return login.Domains{}, err
	}
	return c.domains(sealKey)
}

// A domainRecord is the record that proves a domain, as scripts read it.
type domainRecord struct {
	Domain string `json:"domain"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	Value  string `json:"value"`
	// Proved is absent where nobody has looked.
	Proved *bool `json:"proved,omitempty"`
	// Problem says what to do about a domain that is not proved.
	Problem string `json:"problem,omitempty"`
}

func domainShowCommand() command {
	return command{
		name:    "domain show",
		about:   "Show the DNS record to publish for each domain whose addresses may register",
		example: "gatehouse domain show\ngatehouse domain show --json",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(_ context.Context, t terminal, _ []string) error {
				d, err := commandDomains(t)
				if err != nil {
					return err
				}
				rs := []domainRecord{}
				for _, r := range d.Records() {
					rs = append(rs, domainRecord{Domain: r.Domain, Name: r.Name, Type: "TXT", Value: r.Value})
				}
				return t.show(*asJSON, rs, func(w io.Writer) {
					for _, r := range rs {
						say(w, "%s\tTXT\t%q\n", r.Name, r.Value)
					}
				})
			}
		},
	}
}

func domainCheckCommand() command {
	return command{
		name:    "domain check",
		about:   "Look whether each domain's DNS record is published, as the server does before it starts",
		example: "gatehouse domain check\ngatehouse domain check --json",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, _ []string) error {
				d, err := commandDomains(t)
				if err != nil {
					return err
				}
				rs, missing := []domainRecord{}, []error{}
				for _, p := range d.Check(ctx) {
					proved := p.Err == nil
					r := domainRecord{Domain: p.Domain, Name: p.Name, Type: "TXT", Value: p.Value, Proved: &proved}
					if !proved {
						r.Problem = p.Err.Error()
						missing = append(missing, p.Err)
					}
					rs = append(rs, r)
				}
				err = t.show(*asJSON, rs, func(w io.Writer) {
					for _, r := range rs {
						word := "proved"
						if !*r.Proved {
							word = "not proved"
						}
						say(w, "%s\t%s\n", r.Domain, word)
					}
				})
				return errors.Join(append(missing, err)...)
			}
		},
	}
}

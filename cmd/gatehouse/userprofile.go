package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

// eventProfile is the kind of the event that is kept of another profile.
const eventProfile = "user.profile_changed"

const (
	// maxProfile is how many bytes a file with a profile may have, and
	// maxProfileText how many one claim.
	maxProfile     = 64 << 10
	maxProfileText = 500
)

// A profileEdit is what the flags say about a profile.
type profileEdit struct {
	// file holds the whole profile; empty is none.
	file string
	// sets are claims with their values, "given_name=Ada".
	sets []string
}

func userProfileCommand() command {
	return command{
		name:     "user profile",
		operands: "ID|EMAIL",
		about:    "Show what apps may be told about a person, or change it",
		example: "gatehouse user profile ada@example.org\n" +
			"gatehouse user profile ada@example.org --set given_name=Ada --set address.country=GB --set nickname=\n" +
			"gatehouse user profile ada@example.org --file profile.json",
		define: func(fs *flag.FlagSet) action {
			var edit profileEdit
			fs.StringVar(&edit.file, "file", "", "a `file` with the claims of OpenID Connect Core section 5.1 as a JSON object, which replaces the profile there is; - is standard input")
			fs.Func("set", "a `claim=value` to change, such as given_name=Ada or address.country=GB; without a value it is removed; may be repeated", func(v string) error {
				if name, _, ok := strings.Cut(v, "="); !ok || name == "" {
					return errors.New("must be claim=value")
				}
				edit.sets = append(edit.sets, v)
				return nil
			})
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, operands []string) error {
				u, err := edit.run(ctx, t, operands[0])
				if err != nil {
					return err
				}
				r := recordOfUser(u)
				return t.show(*asJSON, r, r.text)
			}
		},
	}
}

// run changes the profile as the flags say, and returns the account as it is
// then.
func (e profileEdit) run(ctx context.Context, t terminal, name string) (_ storage.User, err error) {
	var whole *claimsFile
	if e.file != "" { // read before anything is opened
		if whole, err = readClaims(t, e.file); err != nil {
			return storage.User{}, err
		}
	}
	sql, err := openCommand(ctx, t)
	if err != nil {
		return storage.User{}, err
	}
	defer func() { err = errors.Join(err, sql.Close()) }()
	u, err := findUser(ctx, sql, name)
	if err != nil || e.file == "" && len(e.sets) == 0 {
		return u, err
	}
	claims := claimsFile{Name: u.Name, Profile: u.Profile}
	if whole != nil {
		claims = claimsFile{Name: u.Name, Profile: whole.Profile}
		if whole.Name != "" {
			claims.Name = whole.Name
		}
	}
	for _, set := range e.sets {
		claim, value, _ := strings.Cut(set, "=")
		if claims, err = claims.with(claim, value); err != nil {
			return storage.User{}, err
		}
	}
	claims.Name = norm.NFC.String(strings.TrimSpace(claims.Name))
	if err := claims.check(); err != nil {
		return storage.User{}, usageError{err}
	}
	now, err := sql.Time(ctx)
	if err != nil {
		return storage.User{}, err
	}
	if err := sql.SetProfile(ctx, u.ID, claims.Name, claims.Profile, now); err != nil {
		return storage.User{}, noUser(name, err)
	}
	if err := keepEvent(ctx, sql, storage.Event{At: now, Kind: eventProfile, UserID: u.ID}); err != nil {
		return storage.User{}, err
	}
	return sql.User(ctx, u.ID)
}

// A claimsFile is a profile with the name, which the account has anyway, by the
// names of the claims.
type claimsFile struct {
	Name string `json:"name,omitempty"`
	storage.Profile
}

// readClaims reads a profile from a file or from standard input.
func readClaims(t terminal, name string) (*claimsFile, error) {
	in := t.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--file: %w", err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxProfile))
	if err != nil {
		return nil, fmt.Errorf("--file: %w", err)
	}
	claims, err := parseProfile(b)
	if err != nil {
		return nil, usagef("--file: %w", err)
	}
	return &claims, nil
}

// parseProfile reads a JSON object whose members are claims of a profile, and
// nothing else.
func parseProfile(b []byte) (c claimsFile, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("it is not a JSON object of a profile's claims: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return c, errors.New("there is something behind the JSON object")
	}
	return c, nil
}

// with returns the claims with another value of one of them, or of one member
// of the address.
func (c claimsFile) with(claim, value string) (claimsFile, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return c, err
	}
	members := map[string]any{}
	if err := json.Unmarshal(b, &members); err != nil {
		return c, err
	}
	where, name := members, claim
	if part, ok := strings.CutPrefix(claim, "address."); ok {
		address, _ := members["address"].(map[string]any)
		if address == nil {
			address = map[string]any{}
			members["address"] = address
		}
		where, name = address, part
	}
	switch {
	case claim == "phone_number_verified" && (value == "true" || value == "false"):
		where[name] = value == "true"
	case value == "":
		where[name] = nil
	default:
		where[name] = value
	}
	if b, err = json.Marshal(members); err != nil {
		return c, err
	}
	changed, err := parseProfile(b)
	if err != nil {
		return c, usagef("--set %s: there is no such claim, or not with this value; \"gatehouse user profile -h\" shows how", plain(claim))
	}
	return changed, nil
}

var (
	// zoneName is the form of a name in the time zone database. Whether there is
	// such a zone is not asked: the database on this machine may be an old one.
	zoneName = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$`)
	// languageTag is the form of a BCP 47 tag.
	languageTag = regexp.MustCompile(`^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$`)
	// phoneNumber is E.164, which OIDC Core section 5.1 recommends.
	phoneNumber = regexp.MustCompile(`^\+[1-9][0-9]{5,14}$`)
)

// check says which claim is not what OIDC Core section 5.1 says it is.
func (c claimsFile) check() error {
	if n := utf8.RuneCountInString(c.Name); n == 0 || n > login.MaxName || plain(c.Name) != c.Name {
		return fmt.Errorf("name must be 1 to %d characters that can be printed", login.MaxName)
	}
	p := c.Profile
	address := storage.Address{}
	if p.Address != nil {
		address = *p.Address
	}
	for _, t := range []struct{ claim, value string }{
		{"given_name", p.GivenName},
		{"family_name", p.FamilyName},
		{"middle_name", p.MiddleName},
		{"nickname", p.Nickname},
		{"preferred_username", p.PreferredUsername},
		{"profile", p.Profile},
		{"picture", p.Picture},
		{"website", p.Website},
		{"gender", p.Gender},
		{"address.locality", address.Locality},
		{"address.region", address.Region},
		{"address.postal_code", address.PostalCode},
		{"address.country", address.Country},
		// These two may have several lines (section 5.1.1).
		{"address.formatted", strings.ReplaceAll(address.Formatted, "\n", " ")},
		{"address.street_address", strings.ReplaceAll(address.StreetAddress, "\n", " ")},
	} {
		if plain(t.value) != t.value || len(t.value) > maxProfileText {
			return fmt.Errorf("%s must be at most %d bytes of characters that can be printed", t.claim, maxProfileText)
		}
	}
	for _, a := range []struct{ claim, value string }{{"profile", p.Profile}, {"picture", p.Picture}, {"website", p.Website}} {
		u, err := url.Parse(a.value)
		if a.value != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil) {
			return fmt.Errorf("%s must be an address such as https://example.org/ada", a.claim)
		}
	}
	switch {
	case p.Birthdate != "" && !isBirthdate(p.Birthdate):
		return errors.New("birthdate must be YYYY-MM-DD, 0000-MM-DD without the year, or YYYY")
	case p.Zoneinfo != "" && (!zoneName.MatchString(p.Zoneinfo) || len(p.Zoneinfo) > 64):
		return errors.New("zoneinfo must be a name of the time zone database, such as Europe/Paris")
	case p.Locale != "" && (!languageTag.MatchString(p.Locale) || len(p.Locale) > 35):
		return errors.New("locale must be a language tag such as en-GB")
	case p.PhoneNumber != "" && !phoneNumber.MatchString(p.PhoneNumber):
		return errors.New("phone_number must be a number with its country's, such as +14255551212")
	case p.PhoneNumberVerified && p.PhoneNumber == "":
		return errors.New("phone_number_verified goes with a phone_number")
	}
	return nil
}

// isBirthdate reports whether s has one of the three forms. The year 0000 is a
// leap year, and so has every day there is.
func isBirthdate(s string) bool {
	_, full := time.Parse(time.DateOnly, s)
	_, year := time.Parse("2006", s)
	return full == nil || year == nil
}

// profileText prints a profile for people, one line for each claim there is.
func profileText(w io.Writer, p storage.Profile) {
	line := func(name, value string) {
		if value != "" {
			say(w, "%s\t%s\n", name, plain(value))
		}
	}
	line("given name", p.GivenName)
	line("family name", p.FamilyName)
	line("middle name", p.MiddleName)
	line("nickname", p.Nickname)
	line("preferred username", p.PreferredUsername)
	line("profile", p.Profile)
	line("picture", p.Picture)
	line("website", p.Website)
	line("gender", p.Gender)
	line("birthdate", p.Birthdate)
	line("time zone", p.Zoneinfo)
	line("locale", p.Locale)
	if p.PhoneNumber != "" {
		verified := " (not verified)"
		if p.PhoneNumberVerified {
			verified = ""
		}
		line("phone number", p.PhoneNumber+verified)
	}
	if a := p.Address; a != nil {
		parts := []string{a.StreetAddress, a.Locality, a.Region, a.PostalCode, a.Country}
		if a.Formatted != "" {
			parts = []string{a.Formatted}
		}
		var said []string
		for _, part := range parts {
			if part != "" {
				said = append(said, strings.ReplaceAll(part, "\n", ", "))
			}
		}
		line("address", strings.Join(said, ", "))
	}
}

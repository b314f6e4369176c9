package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	netmail "net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A userRecord is an account as scripts read it.
type userRecord struct {
	ID            string    `json:"sub"`
	Email         string    `json:"email"`
	EmailVerified bool      `json:"email_verified"`
	Name          string    `json:"name"`
	Status        string    `json:"status"`
	SecondFactor  bool      `json:"second_factor"`
	Password      string    `json:"password,omitempty"` // only when it is made
	CreatedAt     time.Time `json:"created_at"`
	UpdatedAt     time.Time `json:"updated_at"`
	// The rest has the names of the claims.
	storage.Profile
}

func recordOfUser(u storage.User) userRecord {
	return userRecord{
		ID: u.ID, Email: u.Email, EmailVerified: u.EmailVerified(), Name: u.Name, Status: string(u.Status),
		SecondFactor: u.SecondFactor,
		CreatedAt:    u.CreatedAt, UpdatedAt: u.UpdatedAt,
		Profile: u.Profile,
	}
}

func (r userRecord) text(w io.Writer) {
	verified := " (not verified)"
	if r.EmailVerified {
		verified = ""
	}
	say(w, "id\t%s\nemail\t%s%s\nname\t%s\nstatus\t%s\n", r.ID, plain(r.Email), verified, plain(r.Name), r.Status)
	if r.SecondFactor {
		say(w, "second factor\ton\n")
	}
	if r.Password != "" {
		say(w, "password\t%s\n", r.Password)
	}
	profileText(w, r.Profile)
	say(w, "created\t%s\n", r.CreatedAt.Format(time.RFC3339))
}

func userCreateCommand() command {
	return command{
		name:  "user create",
		about: "Create an account, whether registration is open or not",
		example: "gatehouse user create --email ada@example.org --name \"Ada Lovelace\"\n" +
			"gatehouse user create --email ada@example.org --name \"Ada Lovelace\" --password-stdin < password.txt",
		define: func(fs *flag.FlagSet) action {
			var u storage.User
			fs.StringVar(&u.Email, "email", "", "the email `address`, required")
			fs.StringVar(&u.Name, "name", "", "the `name` that apps are told, required")
			fromInput := fs.Bool("password-stdin", false, "read the password from the first line of standard input; without it one is made and printed")
			verified := fs.Bool("verified", true, "take the mailbox for proved; --verified=false has it proved at the first sign-in")
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, _ []string) error {
				return createUser(ctx, t, u, *fromInput, *verified, *asJSON)
			}
		},
	}
}

func createUser(ctx context.Context, t terminal, u storage.User, fromInput, verified, asJSON bool) error {
	// As registration does it: one form for lookalikes.
	u.Email, u.Name = norm.NFKC.String(strings.TrimSpace(u.Email)), norm.NFC.String(strings.TrimSpace(u.Name))
	_, domain, _ := strings.Cut(u.Email, "@")
	if a, err := netmail.ParseAddress(u.Email); err != nil || a.Address != u.Email || len(u.Email) > login.MaxEmail || !strings.Contains(domain, ".") {
		return usagef("--email must be an address such as ada@example.org, not %q", u.Email)
	}
	if u.Name == "" || plain(u.Name) != u.Name || utf8.RuneCountInString(u.Name) > login.MaxName {
		return usagef("--name must be 1 to %d characters that can be printed", login.MaxName)
	}
	made := rand.Text()
	password := made
	if fromInput {
		made = ""
		var err error
		if password, err = firstLine(t.in); err != nil {
			return err
		}
	}
	hash, err := login.HashPassword(password)
	if err != nil {
		return refusedPassword(err)
	}
	sql, err := openCommand(ctx, t)
	if err != nil {
		return err
	}
	defer func() { _ = sql.Close() }()
	now, err := sql.Time(ctx)
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	u.ID, u.CreatedAt, u.UpdatedAt = id.String(), now, now
	u.Status = storage.UserPending
	if verified {
		u.Status, u.EmailVerifiedAt = storage.UserActive, now
	}
	if err := sql.CreateUser(ctx, u, hash); err != nil {
		if errors.Is(err, storage.ErrConflict) {
			return fmt.Errorf("%s has an account already; \"gatehouse user show %s\" shows it", u.Email, u.Email)
		}
		return err
	}
	if err := keepEvent(ctx, sql, storage.Event{At: now, Kind: "user.created", UserID: u.ID}); err != nil {
		return err
	}
	r := recordOfUser(u)
	r.Password = made
	if err := t.show(asJSON, r, r.text); err != nil {
		return err
	}
	if made != "" {
		say(t.err, "gatehouse: hand over the password now; it cannot be shown again\n")
	}
	return nil
}

// refusedPassword says in words why a password may not be used.
func refusedPassword(err error) error {
	refused, ok := errors.AsType[*login.Error](err)
	if !ok {
		return err
	}
	switch refused.Reason {
	case login.PasswordTooShort:
		return usagef("the password has fewer than %d characters", login.MinPassword)
	case login.PasswordTooLong:
		return usagef("the password has more than %d characters", login.MaxPassword)
	case login.PasswordCommon:
		return usagef("the password is one of those that attackers try first")
	default:
		return usagef("the password is refused: %s", refused.Reason)
	}
}

// firstLine reads a line without its end, however the file was written.
func firstLine(r io.Reader) (string, error) {
	s, err := bufio.NewReader(io.LimitReader(r, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if s = strings.TrimRight(s, "\r\n"); s == "" {
		return "", usagef("--password-stdin: standard input holds no password")
	}
	return s, nil
}

func userListCommand() command {
	return command{
		name:    "user list",
		about:   "List every account, in order of creation",
		example: "gatehouse user list --json",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, _ []string) error {
				sql, err := openCommand(ctx, t)
				if err != nil {
					return err
				}
				defer func() { _ = sql.Close() }()
				records := []userRecord{}
				for after := ""; ; {
					us, err := sql.ListUsers(ctx, after, perPage)
					if err != nil {
						return err
					}
					for _, u := range us {
						records, after = append(records, recordOfUser(u)), u.ID
					}
					if len(us) < perPage {
						break
					}
				}
				return t.show(*asJSON, records, func(w io.Writer) {
					for _, r := range records {
						say(w, "%s\t%s\t%s\t%s\n", r.ID, r.Status, plain(r.Email), plain(r.Name))
					}
				})
			}
		},
	}
}

func userShowCommand() command {
	return command{
		name:     "user show",
		operands: "ID|EMAIL",
		about:    "Show an account",
		example:  "gatehouse user show ada@example.org",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, operands []string) error {
				sql, err := openCommand(ctx, t)
				if err != nil {
					return err
				}
				defer func() { _ = sql.Close() }()
				u, err := findUser(ctx, sql, operands[0])
				if err != nil {
					return err
				}
				r := recordOfUser(u)
				return t.show(*asJSON, r, r.text)
			}
		},
	}
}

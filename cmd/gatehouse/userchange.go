package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/storage"
)

// Kinds of events that only an operator causes.
const (
	eventSuspended = "user.suspended"
	eventRestored  = "user.restored"
	eventRevoked   = "user.revoked"
)

// statusDeleted is what scripts read of an account that is no more.
const statusDeleted storage.UserStatus = "deleted"

// noticeLife is how long a letter about the account is worth sending.
const noticeLife = 24 * time.Hour

// errUnchanged says that the account is as it was, because that is what was
// asked for.
var errUnchanged = errors.New("nothing has changed")

// A userChange is what an operator does to an account.
type userChange struct {
	// event is the kind of the event that is kept of it; letter is the kind of
	// the letter that tells the person, empty for none.
	event, letter string
	// do changes the account, and adds the letters with it. Its error wraps
	// errUnchanged when there was nothing to do.
	do func(ctx context.Context, sql storage.SQL, u storage.User, now time.Time, letters []storage.Letter) error
}

func userSuspendCommand() command {
	return changeCommand("user suspend",
		"Suspend an account: nobody signs in to it until it is restored, and it is signed out everywhere",
		userChange{eventSuspended, login.LetterAccountPaused,
			func(ctx context.Context, sql storage.SQL, u storage.User, now time.Time, letters []storage.Letter) error {
				if u.Status == storage.UserSuspended {
					return fmt.Errorf("%s is suspended already: %w", plain(u.Email), errUnchanged)
				}
				return sql.SetStatus(ctx, u.ID, storage.UserSuspended, now, letters...)
			}})
}

func userRestoreCommand() command {
	return changeCommand("user restore",
		"Restore a suspended account: its person signs in again as before",
		userChange{eventRestored, login.LetterAccountRestored,
			func(ctx context.Context, sql storage.SQL, u storage.User, now time.Time, letters []storage.Letter) error {
				if u.Status != storage.UserSuspended {
					return fmt.Errorf("%s is not suspended: %w", plain(u.Email), errUnchanged)
				}
				return sql.SetStatus(ctx, u.ID, storage.UserActive, now, letters...)
			}})
}

func userRevokeCommand() command {
	return changeCommand("user revoke",
		"Sign an account out everywhere: every browser, and every app with its tokens",
		userChange{eventRevoked, "",
			func(ctx context.Context, sql storage.SQL, u storage.User, now time.Time, _ []storage.Letter) error {
				_, err := sql.EndEverything(ctx, u.ID, storage.Kept{}, now)
				return err
			}})
}

func userDeleteCommand() command {
	return changeCommand("user delete",
		"Delete an account with everything that is its person's; this cannot be undone",
		userChange{login.EventDeleted, login.LetterAccountDeleted,
			func(ctx context.Context, sql storage.SQL, u storage.User, now time.Time, letters []storage.Letter) error {
				return sql.DeleteUser(ctx, u.ID, now, letters...)
			}})
}

func userResetSecondFactorCommand() command {
	return changeCommand("user reset-second-factor",
		"Turn two-step sign-in off for somebody who has lost the app and the recovery codes, and sign the account out everywhere; make sure first who asks",
		userChange{login.EventSecondFactorOff, login.LetterSecondFactorOff,
			func(ctx context.Context, sql storage.SQL, u storage.User, now time.Time, letters []storage.Letter) error {
				if !u.SecondFactor {
					return fmt.Errorf("two-step sign-in of %s is off: %w", plain(u.Email), errUnchanged)
				}
				_, err := sql.DisableTOTP(ctx, u.ID, u.Epoch, storage.Kept{}, now, letters...)
				return err
			}})
}

// changeCommand is a command that changes one account and shows it.
func changeCommand(name, about string, change userChange) command {
	return command{
		name:     name,
		operands: "ID|EMAIL",
		about:    about,
		example: "gatehouse " + name + " ada@example.org\n" +
			"gatehouse " + name + " 0198c0de-0000-7000-8000-000000000000 --json",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, operands []string) error {
				u, err := change.run(ctx, t, operands[0])
				if err != nil {
					return err
				}
				r := recordOfUser(u)
				return t.show(*asJSON, r, r.text)
			}
		},
	}
}

// run makes the change and returns the account as it is then.
func (c userChange) run(ctx context.Context, t terminal, name string) (_ storage.User, err error) {
	config, err := readConfig(t)
	if err != nil {
		return storage.User{}, err
	}
	sql, err := openSQL(ctx, config)
	if err != nil {
		return storage.User{}, err
	}
	defer func() { err = errors.Join(err, sql.Close()) }()
	u, err := findUser(ctx, sql, name)
	if err != nil {
		return storage.User{}, err
	}
	now, err := sql.Time(ctx)
	if err != nil {
		return storage.User{}, err
	}
	letters, err := c.letters(ctx, t, config, u, now)
	if err != nil {
		return storage.User{}, err
	}
	err = c.do(ctx, sql, u, now, letters)
	if errors.Is(err, errUnchanged) {
		say(t.err, "gatehouse: %v\n", err)
		return u, nil
	}
	if err != nil {
		return storage.User{}, noUser(name, err)
	}
	if err := keepEvent(ctx, sql, storage.Event{At: now, Kind: c.event, UserID: u.ID}); err != nil {
		return storage.User{}, err
	}
	after, err := sql.User(ctx, u.ID)
	if errors.Is(err, storage.ErrNotFound) {
		u.Status, u.UpdatedAt = statusDeleted, now
		return u, nil
	}
	return after, err
}

// letters are those that tell the person. A mailbox that was never proved is
// somebody else's, as far as we know, and is told nothing.
func (c userChange) letters(ctx context.Context, t terminal, config Config, u storage.User, now time.Time) ([]storage.Letter, error) {
	if c.letter == "" || !u.EmailVerified() {
		return nil, nil
	}
	if !config.Embedded() && config.MailKey == "" {
		say(t.err, "gatehouse: the person is sent no letter, because GATEHOUSE_MAIL_KEY is not set here\n")
		return nil, nil
	}
	key, err := config.mailKey()
	if err != nil {
		return nil, err
	}
	sealer, err := mail.NewSealer(key)
	if err != nil {
		return nil, err
	}
	l := mail.Letter{Kind: c.letter, To: u.Email, Link: config.URL + "/login", Language: cmp.Or(u.Profile.Locale, config.Language), At: now, ExpiresAt: now.Add(noticeLife)}
	id, sealed, err := sealer.Seal(ctx, l)
	if err != nil {
		return nil, err
	}
	return []storage.Letter{{ID: id, Kind: l.Kind, Sealed: sealed, CreatedAt: now, Deadline: l.ExpiresAt}}, nil
}

// findUser returns the account of that id or address.
func findUser(ctx context.Context, sql storage.Users, name string) (storage.User, error) {
	var u storage.User
	var err error
	if strings.Contains(name, "@") {
		u, _, err = sql.UserByEmail(ctx, name)
	} else {
		u, err = sql.User(ctx, name)
	}
	return u, noUser(name, err)
}

// noUser says it in words when there is no such account.
func noUser(name string, err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("there is no account %q; \"gatehouse user list\" lists them", name)
	}
	return err
}

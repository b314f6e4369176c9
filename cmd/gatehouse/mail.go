package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	netmail "net/mail"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/mail"
	"github.com/gatehouse-id/gatehouse/storage"
)

// A letterRecord is a letter of the outbox as scripts read it. Whom it is for,
// and what it says, is sealed.
type letterRecord struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"`
	State     string     `json:"state"` // pending or given_up
	CreatedAt time.Time  `json:"created_at"`
	Deadline  *time.Time `json:"deadline,omitempty"`
	FailedAt  *time.Time `json:"failed_at,omitempty"`
	Failure   string     `json:"failure,omitempty"`
}

// States of letters.
const (
	letterPending = "pending"
	letterGivenUp = "given_up"
)

func recordOfLetter(l storage.Letter) letterRecord {
	r := letterRecord{ID: l.ID, Kind: l.Kind, State: letterPending, CreatedAt: l.CreatedAt, Failure: l.Failure}
	if !l.Deadline.IsZero() {
		r.Deadline = &l.Deadline
	}
	if !l.FailedAt.IsZero() {
		r.State, r.FailedAt = letterGivenUp, &l.FailedAt
	}
	return r
}

// eachLetter calls visit with every letter of the outbox, in order of creation.
func eachLetter(ctx context.Context, o storage.Outbox, visit func(storage.Letter) error) error {
	for after := ""; ; {
		letters, err := o.ListLetters(ctx, after, perPage)
		if err != nil {
			return err
		}
		for _, l := range letters {
			if err := visit(l); err != nil {
				return err
			}
			after = l.ID
		}
		if len(letters) < perPage {
			return nil
		}
	}
}

func mailListCommand() command {
	return command{
		name:    "mail list",
		about:   "List the letters that wait for delivery, and those given up with the reason",
		example: "gatehouse mail list\ngatehouse mail list --json",
		define: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, _ []string) error {
				sql, err := openCommand(ctx, t)
				if err != nil {
					return err
				}
				defer func() { _ = sql.Close() }()
				now, err := sql.Time(ctx)
				if err != nil {
					return err
				}
				records := []letterRecord{}
				err = eachLetter(ctx, sql, func(l storage.Letter) error {
					records = append(records, recordOfLetter(l))
					return nil
				})
				if err != nil {
					return err
				}
				return t.show(*asJSON, records, func(w io.Writer) {
					for _, r := range records {
						age := max(0, now.Sub(r.CreatedAt)).Round(time.Second)
						say(w, "%s\t%s\t%s\t%v\t%s\n", r.ID, r.Kind, r.State, age, plain(r.Failure))
					}
				})
			}
		},
	}
}

func mailRetryCommand() command {
	return command{
		name:     "mail retry",
		operands: "[ID]...",
		about:    "Try again to deliver letters that were given up; those whose deadline has passed are dropped",
		example:  "gatehouse mail retry 019ab1c2-7d1e-7cc3-98c4-dc0c0c07398f\ngatehouse mail retry --all",
		define: func(fs *flag.FlagSet) action {
			all := fs.Bool("all", false, "every letter that was given up")
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, ids []string) error {
				if *all == (len(ids) > 0) {
					return usagef("name letters or give --all; \"gatehouse mail list\" lists them")
				}
				return retryLetters(ctx, t, ids, *all, *asJSON)
			}
		},
	}
}

// retryLetters makes letters pending and prints those it did so with, also when
// one of them fails.
func retryLetters(ctx context.Context, t terminal, ids []string, all, asJSON bool) error {
	sql, err := openCommand(ctx, t)
	if err != nil {
		return err
	}
	defer func() { _ = sql.Close() }()
	if all {
		err := eachLetter(ctx, sql, func(l storage.Letter) error {
			if !l.FailedAt.IsZero() {
				ids = append(ids, l.ID)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	retried := []string{}
	var failed []error
	for _, id := range ids {
		switch err := sql.RetryLetter(ctx, id); {
		case err == nil:
			retried = append(retried, id)
		case errors.Is(err, storage.ErrNotFound) && !all:
			failed = append(failed, fmt.Errorf("no letter %q was given up; \"gatehouse mail list\" lists them", plain(id)))
		case !errors.Is(err, storage.ErrNotFound): // with --all it may be gone meanwhile
			failed = append(failed, err)
		}
	}
	err = t.show(asJSON, retried, func(w io.Writer) {
		for _, id := range retried {
			say(w, "%s\n", id)
		}
	})
	return errors.Join(append(failed, err)...)
}

func mailTestCommand() command {
	return command{
		name:    "mail test",
		about:   "Send a test letter the way that all letters go, and say whether it was taken",
		example: "gatehouse mail test --to ada@example.org",
		define: func(fs *flag.FlagSet) action {
			to := fs.String("to", "", "the email `address` to send it to, required")
			wait := fs.Duration("wait", time.Minute, "how long to wait, as a `duration`, where gatehouse-worker sends the letters")
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, t terminal, _ []string) error {
				if a, err := netmail.ParseAddress(*to); err != nil || a.Address != *to || len(*to) > login.MaxEmail {
					return usagef("--to must be an address such as ada@example.org, not %q", *to)
				}
				if *wait <= 0 {
					return usagef("--wait must be longer than nothing")
				}
				r, err := testMail(ctx, t, *to, *wait)
				if err != nil {
					return err
				}
				return t.show(*asJSON, r, func(w io.Writer) {
					say(w, "sent by %s in %v\n", r.Way, time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond))
				})
			}
		},
	}
}

// A sentRecord is a test letter that was taken.
type sentRecord struct {
	Way     string  `json:"way"` // SMTP, SMTP2GO or gatehouse-worker
	Seconds float64 `json:"seconds"`
}

// testMail sends a test letter: by itself where this configuration says how,
// else by way of the outbox, the server and the worker.
func testMail(ctx context.Context, t terminal, to string, wait time.Duration) (sentRecord, error) {
	c, err := readConfig(t)
	if err != nil {
		return sentRecord{}, err
	}
	start := time.Now()
	took := func(way string) sentRecord { return sentRecord{way, time.Since(start).Seconds()} }
	switch {
	case c.sends():
		sender, err := c.sender()
		if err != nil {
			return sentRecord{}, err
		}
		l := mail.Letter{Kind: mail.Test, To: to, Language: c.Language, At: start}
		if err := mail.SendNow(ctx, sender, c.Brand, l); err != nil {
			return sentRecord{}, fmt.Errorf("the letter was not taken: %w", err)
		}
		if c.SMTP2GOKey != "" {
			return took("SMTP2GO"), nil
		}
		return took("SMTP"), nil
	case c.Embedded():
		return sentRecord{}, usagef("letters are printed by \"gatehouse serve\": set GATEHOUSE_MAIL_FROM and GATEHOUSE_SMTP_URL or GATEHOUSE_SMTP2GO_KEY to have them sent")
	}
	if err := testWorker(ctx, c, to, wait); err != nil {
		return sentRecord{}, err
	}
	return took("gatehouse-worker"), nil
}

// testWorker puts a test letter into the outbox and waits until it was
// delivered. It leaves nothing there.
func testWorker(ctx context.Context, c Config, to string, wait time.Duration) (err error) {
	key, err := c.mailKey()
	if err != nil {
		return err
	}
	sealer, err := mail.NewSealer(key)
	if err != nil {
		return err
	}
	sql, err := openSQL(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sql.Close()) }()
	now, err := sql.Time(ctx)
	if err != nil {
		return err
	}
	// A deadline behind the end of waiting: the row does not go by itself before.
	deadline := now.Add(wait + time.Minute)
	before, err := uuid.NewV7()
	if err != nil {
		return err
	}
	id, sealed, err := sealer.Seal(ctx, mail.Letter{Kind: mail.Test, To: to, Language: c.Language, At: now, ExpiresAt: deadline})
	if err != nil {
		return err
	}
	if err := sql.AddLetters(ctx, storage.Letter{ID: id, Kind: mail.Test, Sealed: sealed, CreatedAt: now, Deadline: deadline}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sql.DeleteLetter(context.WithoutCancel(ctx), id)) }()
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-waiting.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("the letter was not delivered within %v; see that \"gatehouse serve\" and gatehouse-worker run, and what the worker's log says about letter %s", wait, id)
		case <-look.C:
		}
		letters, err := sql.ListLetters(ctx, before.String(), perPage) // ids are in order of creation
		if err != nil {
			return err
		}
		gone := true
		for _, l := range letters {
			if l.ID != id {
				continue
			}
			if gone = false; !l.FailedAt.IsZero() {
				return fmt.Errorf("the letter was given up: %s", l.Failure)
			}
		}
		if gone {
			return nil
		}
	}
}

// keepFailed is how long a letter that was given up is kept for an operator.
const keepFailed = 30 * 24 * time.Hour

// purgeLetters removes letters that were given up long ago: addresses that
// strangers made up must not fill the outbox.
func purgeLetters(ctx context.Context, o storage.Outbox, now time.Time) error {
	return eachLetter(ctx, o, func(l storage.Letter) error {
		if l.FailedAt.IsZero() || now.Sub(l.FailedAt) < keepFailed {
			return nil
		}
		return o.DeleteLetter(ctx, l.ID)
	})
}

// sends reports whether this process is to send letters to people.
func (c *Config) sends() bool { return c.SMTPURL != "" || c.SMTP2GOKey != "" }

// sender returns what sends them.
func (c *Config) sender() (mail.Sender, error) {
	s := mail.SenderConfig{SMTPURL: string(c.SMTPURL), SMTP2GOKey: string(c.SMTP2GOKey), From: c.MailFrom}
	if c.SMTPCA != "" {
		var err error
		if s.SMTPRoots, err = mail.ParseRoots([]byte(c.SMTPCA)); err != nil {
			return nil, usagef("GATEHOUSE_SMTP_CA: %w", err)
		}
	}
	sender, err := mail.NewSender(s)
	if err != nil {
		way := "GATEHOUSE_SMTP_URL"
		if c.SMTP2GOKey != "" {
			way = "GATEHOUSE_SMTP2GO_KEY"
		}
		return nil, usagef("%s, GATEHOUSE_MAIL_FROM: %w", way, err)
	}
	return sender, nil
}

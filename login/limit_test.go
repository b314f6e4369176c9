package login

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/testenv/migrated"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/sqlite"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

// limiter is as much of an engine as counts.
func limiter(t *testing.T) *Engine {
	t.Helper()
	db, err := valkey.Embedded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // some tests have closed it
	store, err := sqlite.Open(t.Context(), migrated.SQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	db.Now = steadyClock(new(atomic.Int64))
	key := []byte("the key of device cookies, say")
	meters, err := newMeters(nil, &hasher{})
	if err != nil {
		t.Fatal(err)
	}
	return &Engine{
		meters: meters, store: store, buckets: db, now: db.Now, log: slog.New(slog.DiscardHandler),
		secret: func(purpose string) (string, []byte) { return "ID12", append([]byte(purpose), key...) },
		secretByID: func(_ context.Context, purpose, id string) ([]byte, error) {
			if id != "ID12" {
				return nil, errors.New("no such key")
			}
			return append([]byte(purpose), key...), nil
		},
	}
}

// refusedFor returns how long a refusal lasts; zero when there was none.
func refusedFor(t *testing.T, err error) time.Duration {
	t.Helper()
	if err == nil {
		return 0
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Reason != RateLimited {
		t.Fatalf("got %v, want a refusal", err)
	}
	if e.RetryAfter < time.Second || e.RetryAfter != e.RetryAfter.Truncate(time.Second) {
		t.Errorf("retry after %v", e.RetryAfter)
	}
	return e.RetryAfter
}

// uses makes use of do until it is refused, and returns how often it was not and
// how long it is to wait.
func uses(t *testing.T, do func() error) (allowed int, wait time.Duration) {
	t.Helper()
	for ; allowed < 100; allowed++ {
		if wait = refusedFor(t, do()); wait > 0 {
			return allowed, wait
		}
	}
	t.Fatal("it is not limited")
	return 0, 0
}

const (
	owner     = "0198c0de-0000-7000-8000-000000000001"
	mailbox   = "asha@example.com"
	challenge = "the id of a flow"
)

func TestRules(t *testing.T) {
	stranger := From{Address: "203.0.113.9"}
	for _, r := range rules {
		t.Run(string(r.verb), func(t *testing.T) {
			e := limiter(t)
			first, second := r.first, r.second
			if first.limit > 0 {
				n, wait := uses(t, func() error {
					_, err := e.limit(t.Context(), r.verb, "a subject", rand.Text(), stranger)
					return err
				})
				if n != first.limit || wait != first.window {
					t.Errorf("the first layer allowed %d and has one wait %v", n, wait)
				}
				if _, err := e.limit(t.Context(), r.verb, "another subject", owner, stranger); err != nil {
					t.Errorf("another subject is refused: %v", err)
				}
			}
			if second.limit > 0 {
				i := 0
				n, wait := uses(t, func() error {
					i++
					_, err := e.limit(t.Context(), r.verb, fmt.Sprint("subject ", i), "a user", stranger)
					return err
				})
				if n != second.limit || wait != second.window {
					t.Errorf("the second layer allowed %d and has one wait %v", n, wait)
				}
			}
			// seed-D7: a verb that is used up leaves the others alone.
			for _, other := range rules {
				if other.verb == r.verb {
					continue
				}
				if _, err := e.limit(t.Context(), other.verb, "a subject", "a user", stranger); err != nil {
					t.Errorf("seed-D7: %s is refused too: %v", other.verb, err)
				}
			}
			// What succeeds is not counted, unless the rule says so.
			succeed := func() error {
				refund, err := e.limit(t.Context(), r.verb, "who succeeds", "somebody else", stranger)
				if err == nil {
					refund(t.Context())
				}
				return err
			}
			if r.kept {
				if n, _ := uses(t, succeed); n > max(first.limit, second.limit) {
					t.Errorf("%d successes were allowed", n)
				}
				return
			}
			for range 20 {
				if err := succeed(); err != nil {
					t.Fatalf("seed-D6: a success was counted: %v", err)
				}
			}
		})
	}
}

func TestLimit(t *testing.T) {
	stranger := From{Address: "203.0.113.9", UserAgent: "curl"}
	login := func(e *Engine, t *testing.T, email, userID string, from From) error {
		_, err := e.limit(t.Context(), VerbLogin, email, userID, from)
		return err
	}

	t.Run("seed-D1: 60 spellings of one address share one bucket", func(t *testing.T) {
		e := limiter(t)
		seen, allowed := map[string]bool{}, 0
		for n := 1; len(seen) < 60; n++ {
			spelling := []rune(mailbox)
			for i, c := range spelling {
				if n&(1<<i) != 0 {
					spelling[i] = []rune(strings.ToUpper(string(c)))[0]
				}
			}
			if n%3 == 0 {
				spelling[0] = 'ａ' // full width
			}
			s := strings.Repeat(" ", n%2) + string(spelling)
			if seen[s] {
				continue
			}
			seen[s] = true
			if login(e, t, s, "", stranger) == nil {
				allowed++
			}
		}
		if allowed != 5 {
			t.Errorf("%d of %d were allowed", allowed, len(seen))
		}
		if err := login(e, t, "asha+other@example.com", "", stranger); err != nil {
			t.Errorf("another account's address is refused: %v", err)
		}
	})

	t.Run("seed-D3: strangers who fail do not stop a known device", func(t *testing.T) {
		e := limiter(t)
		mine := From{Address: "198.51.100.7", Device: e.newDevice(owner)}
		for _, verb := range []Verb{VerbLogin, VerbForgot, VerbConfirmReset, VerbVerifyEmail, VerbSecondFactor} {
			subject := challenge
			if verb == VerbLogin || verb == VerbForgot {
				subject = mailbox
			}
			for i := range 5 {
				from := From{Address: fmt.Sprintf("203.0.113.%d", i)}
				if _, err := e.limit(t.Context(), verb, subject, owner, from); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := e.limit(t.Context(), verb, subject, owner, stranger); refusedFor(t, err) == 0 {
				t.Errorf("%s: a sixth stranger is allowed", verb)
			}
			if _, err := e.limit(t.Context(), verb, subject, owner, mine); err != nil {
				t.Errorf("%s: the owner's device is refused: %v", verb, err)
			}
		}
	})
	t.Run("a known device is limited too, and fills no bucket but its own", func(t *testing.T) {
		e := limiter(t)
		mine, other := From{Device: e.newDevice(owner)}, From{Device: e.newDevice(owner)}
		if n, _ := uses(t, func() error { return login(e, t, mailbox, owner, mine) }); n != 5 {
			t.Errorf("it was allowed %d guesses", n)
		}
		for i, from := range []From{other, stranger} {
			if err := login(e, t, mailbox, owner, from); err != nil {
				t.Errorf("%d is refused: %v", i, err)
			}
		}
	})
	t.Run("a device of one account is a stranger to another", func(t *testing.T) {
		e := limiter(t)
		theirs := From{Device: e.newDevice("somebody else")}
		uses(t, func() error { return login(e, t, mailbox, owner, stranger) })
		if refusedFor(t, login(e, t, mailbox, owner, theirs)) == 0 {
			t.Error("their cookie opened a bucket")
		}
	})
	t.Run("a made-up device is a stranger", func(t *testing.T) {
		e := limiter(t)
		i := 0
		n, _ := uses(t, func() error {
			i++
			return login(e, t, mailbox, owner, From{Device: fmt.Sprintf("1.ID12.%d.%d", i, i)})
		})
		if n != 5 {
			t.Errorf("it was allowed %d guesses", n)
		}
	})
	t.Run("seed-C3: a decoy is limited as a flow with a user is", func(t *testing.T) {
		e := limiter(t)
		for _, f := range []storage.Flow{{UserID: owner, Email: mailbox}, {Email: " Nobody@Example.com", Decoy: true}} {
			i := 0
			n, _ := uses(t, func() error {
				i++
				f.ID = fmt.Sprint("flow ", i)
				_, err := e.limit(t.Context(), VerbConfirmReset, f.ID, accountOf(f), stranger)
				return err
			})
			if n != 5 {
				t.Errorf("%q: %d over all challenges", f.Email, n)
			}
		}
	})
	t.Run("what one layer refuses is not counted by the other", func(t *testing.T) {
		e := limiter(t)
		use := func(challenge, user string) error {
			_, err := e.limit(t.Context(), VerbSecondFactor, challenge, user, stranger)
			return err
		}
		i := 0
		uses(t, func() error { i++; return use(fmt.Sprint(i), "a full user") })
		uses(t, func() error { i++; return use("a full challenge", fmt.Sprint(i)) })
		for range 10 {
			if refusedFor(t, use(challenge, "a full user")) == 0 || refusedFor(t, use("a full challenge", owner)) == 0 {
				t.Fatal("a full bucket allowed more")
			}
		}
		if err := use(challenge, owner); err != nil {
			t.Errorf("refusals were counted: %v", err)
		}
		if wait := refusedFor(t, use("a full challenge", "a full user")); wait != 30*time.Minute {
			t.Errorf("where both refuse, the wait is %v", wait)
		}
	})
	t.Run("one success among failures does not forgive them", func(t *testing.T) {
		e := limiter(t)
		for range 4 {
			if err := login(e, t, mailbox, owner, stranger); err != nil {
				t.Fatal(err)
			}
		}
		refund, err := e.limit(t.Context(), VerbLogin, mailbox, owner, stranger)
		if err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel() // the person has closed the connection
		refund(gone)
		if n, _ := uses(t, func() error { return login(e, t, mailbox, owner, stranger) }); n != 1 {
			t.Errorf("%d are left after four failures", n)
		}
	})
	t.Run("sec-L3: two servers count together", func(t *testing.T) {
		a, b := limiter(t), limiter(t)
		b.buckets = a.buckets
		for i := range 5 {
			if err := login([]*Engine{a, b}[i%2], t, mailbox, owner, stranger); err != nil {
				t.Fatal(err)
			}
		}
		if refusedFor(t, login(b, t, mailbox, owner, stranger)) == 0 {
			t.Error("the sixth is allowed")
		}
	})
	t.Run("a limiter that is not reached refuses by a fault", func(t *testing.T) {
		e := limiter(t)
		if err := e.buckets.(*valkey.DB).Close(); err != nil {
			t.Fatal(err)
		}
		refund, limit := e.limit(t.Context(), VerbLogin, mailbox, owner, stranger)
		refund(t.Context())
		for what, err := range map[string]error{
			"limit":   limit,
			"mail":    e.mailBudget(t.Context(), mailbox, stranger, owner),
			"network": e.network(t.Context(), stranger),
		} {
			if _, refusal := errors.AsType[*Error](err); err == nil || refusal {
				t.Errorf("%s: got %v, want a fault", what, err)
			}
		}
	})
	t.Run("a verb without a rule is a fault", func(t *testing.T) {
		if _, err := limiter(t).limit(t.Context(), "frobnicate", mailbox, owner, stranger); err == nil {
			t.Error("it is allowed")
		}
	})
	t.Run("another clock than the window's does not tell nonsense", func(t *testing.T) {
		e := limiter(t)
		for _, year := range []int{1999, 2063} {
			e.now = func() time.Time { return time.Date(year, 4, 5, 0, 0, 0, 0, time.UTC) }
			if _, wait := uses(t, func() error { return login(e, t, fmt.Sprint(year, mailbox), owner, stranger) }); wait > 5*time.Minute {
				t.Errorf("in %d: wait %v", year, wait)
			}
		}
	})
}

func TestMailBudget(t *testing.T) {
	stranger := From{Address: "203.0.113.9"}

	t.Run("seed-D2: one letter a minute, however the address is written", func(t *testing.T) {
		e := limiter(t)
		allowed := 0
		for i, spelling := range []string{
			mailbox, "ASHA@example.com", "asha@EXAMPLE.COM", " asha@example.com ", "ａsha@example.com",
			"asha+1@example.com", "Asha+2+3@example.com", "asha+@example.com",
		} {
			err := e.mailBudget(t.Context(), spelling, stranger, fmt.Sprint("user ", i))
			if err == nil {
				allowed++
			} else if wait := refusedFor(t, err); wait != time.Minute {
				t.Errorf("%s is to wait %v", spelling, wait)
			}
		}
		if allowed != 1 {
			t.Errorf("%d letters were allowed", allowed)
		}
		for _, other := range []string{"asha2@example.com", "asha@example.org", "+asha@example.com", "+b@example.com"} {
			if err := e.mailBudget(t.Context(), other, stranger, ""); err != nil {
				t.Errorf("%s is refused: %v", other, err)
			}
		}
	})
	t.Run("four in a quarter of an hour, ten a day, and refusals are not counted", func(t *testing.T) {
		e := limiter(t)
		// The longer layers, as if minutes, then quarters, had passed.
		for _, l := range []layer{mailLayers[1], mailLayers[0]} {
			used := l.use("mail", mailboxKey("two@example.com"), "", "")
			n, wait := uses(t, func() error { _, err := e.take(t.Context(), []storage.Use{used}); return err })
			if n != l.limit || wait != l.window {
				t.Errorf("%s: %d were allowed, then %v", l.by, n, wait)
			}
			if wait := refusedFor(t, e.mailBudget(t.Context(), "two@example.com", stranger, "")); wait != l.window {
				t.Errorf("%s: the budget is to wait %v", l.by, wait)
			}
		}
		minute := mailLayers[2].use("mail", mailboxKey("two@example.com"), "", "")
		if h, err := e.buckets.Take(t.Context(), minute); err != nil || !h[0].Allowed {
			t.Errorf("a refused letter was counted in its minute: %+v, %v", h, err)
		}
	})
	t.Run("seed-D3: strangers do not silence the mailbox for a known device", func(t *testing.T) {
		e := limiter(t)
		mine := From{Device: e.newDevice(owner)}
		uses(t, func() error { return e.mailBudget(t.Context(), mailbox, stranger, owner) })
		if err := e.mailBudget(t.Context(), mailbox, mine, owner); err != nil {
			t.Errorf("the owner's device is refused: %v", err)
		}
		if refusedFor(t, e.mailBudget(t.Context(), mailbox, mine, owner)) == 0 {
			t.Error("the owner's device has no budget")
		}
	})
}

func TestNetwork(t *testing.T) {
	ask := func(e *Engine, t *testing.T, address string) error {
		return e.network(t.Context(), From{Address: address})
	}
	t.Run("seed-D4 sec-L3: 60 a minute from one address", func(t *testing.T) {
		e := limiter(t)
		if n, wait := uses(t, func() error { return ask(e, t, "203.0.113.9") }); n != 60 || wait != time.Minute {
			t.Errorf("%d were allowed, then %v", n, wait)
		}
		events, err := e.store.ListEvents(t.Context(), "", 10)
		if err != nil || len(events) != 1 || events[0].Kind != EventLimited || events[0].Address != "203.0.113.9" || events[0].Detail != byNetwork {
			t.Errorf("sec-O2: events %+v, %v", events, err)
		}
		for address, same := range map[string]bool{
			"203.0.113.9": true, "::ffff:203.0.113.9": true, "203.0.113.10": false, "2001:db8::1": false,
		} {
			if got := refusedFor(t, ask(e, t, address)) > 0; got != same {
				t.Errorf("%s refused: %v", address, got)
			}
		}
	})
	t.Run("IPv6 is counted by its /64", func(t *testing.T) {
		e, i := limiter(t), 0
		n, _ := uses(t, func() error { i++; return ask(e, t, fmt.Sprintf("2001:db8:1:2:%x::%x", i, i)) })
		if n != 60 {
			t.Errorf("%d were allowed", n)
		}
		if err := ask(e, t, "2001:db8:1:3::1"); err != nil {
			t.Errorf("the next /64 is refused: %v", err)
		}
	})
	t.Run("what is no address is one network", func(t *testing.T) {
		e, i := limiter(t), 0
		n, _ := uses(t, func() error { i++; return ask(e, t, strings.Repeat("x", i)) })
		if n != 60 {
			t.Errorf("%d were allowed", n)
		}
	})
	t.Run("where a proxy counts, nothing is counted here", func(t *testing.T) {
		e := limiter(t)
		e.proxied = true
		for range 100 {
			if err := ask(e, t, "203.0.113.9"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Every verb of the table is counted somewhere, and registration, signing in
// and the reset by network.
func TestEveryRuleIsUsed(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	called := map[string]int{} // by the verb's constant, or the method's name
	constants := map[Verb]string{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if id, ok := n.Type.(*ast.Ident); ok && id.Name == "Verb" {
					constants[Verb(strings.Trim(n.Values[0].(*ast.BasicLit).Value, `"`))] = n.Names[0].Name
				}
			case *ast.CallExpr:
				method, ok := n.Fun.(*ast.SelectorExpr)
				if !ok {
					break
				}
				if method.Sel.Name == "network" {
					called["network"]++
				}
				for _, a := range n.Args {
					if id, ok := a.(*ast.Ident); ok && strings.HasPrefix(id.Name, "Verb") {
						called[id.Name]++
					}
				}
			}
			return true
		})
	}
	for _, r := range rules {
		if called[constants[r.verb]] == 0 {
			t.Errorf("nothing counts %s (%s)", r.verb, constants[r.verb])
		}
		delete(constants, r.verb)
	}
	if len(constants) > 0 {
		t.Errorf("%v have no rule", slices.Collect(maps.Values(constants)))
	}
	if called["network"] < 3 {
		t.Errorf("%d verbs are counted by network, want 3", called["network"])
	}
}

// TestLimitsPage prints the table for the reader.
func TestLimitsPage(t *testing.T) {
	cell := func(l layer) string {
		if l.limit == 0 {
			return "–"
		}
		return fmt.Sprintf("%s, %d in %s", l.by, l.limit, words(l.window))
	}
	var b strings.Builder
	b.WriteString(`# Limits

<!-- Printed from the tables in login/limit.go by go test ./login -update. Do not edit. -->

How often something may be done is counted in Valkey, for all servers together.
Whoever is refused is told how long to wait. A server that cannot reach Valkey
refuses with 503: it never stops counting.

| verb | layer 1 | layer 2 | counted |
|---|---|---|---|
`)
	fmt.Fprintf(&b, "| register | – | – | by network and by mailbox, below |\n")
	for _, r := range rules {
		counted := "unless it succeeds"
		if r.kept {
			counted = "always"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", strings.ReplaceAll(string(r.verb), "_", " "), cell(r.first), cell(r.second), counted)
	}
	b.WriteString(`
An email address is counted in one form, however it is written. A challenge is
one page that waits for a code or a password. A challenge that leads nowhere,
because there is no such account, is counted as others are. What a limit refuses
is not counted.

A browser that has signed in to the account within a year, which a signed cookie
says, has buckets of its own in both layers, and a budget of letters of its own:
strangers who fail neither lock the owner out nor silence their mailbox.

**Letters** that anybody can ask for, with a code or without, to one mailbox:
`)
	var mail []string
	for _, l := range slices.Backward(mailLayers) {
		mail = append(mail, fmt.Sprintf("%d in %s", l.limit, words(l.window)))
	}
	b.WriteString(strings.Join(mail, ", ") + `. An address with a tag
(asha+shop@example.com) is the same mailbox as without.

**Networks**: requests to register, to sign in or for a reset from one address,
`)
	fmt.Fprintf(&b, "IPv6 by /64: %d in %s.", networkLayer.limit, words(networkLayer.window))
	b.WriteString(` Where a proxy in front limits by network, this
limit is off.

**Second factors**: wrong codes in a row are counted in the database too, for the
person, whatever device or challenge they come from.
`)
	fmt.Fprintf(&b, "After %d there is a delay, which each other wrong code doubles, up to %s;\n", freeFailures, words(maxDelay))
	fmt.Fprintf(&b, "after %d no code is taken until an operator resets the second factor.\n", maxFailures)
	b.WriteString(`
**Windows are fixed**: one begins with the first use and ends after its time.
At the edge of two windows twice the limit is possible in a short time; the
second layer bounds that. Windows are by the clock of the server that counts.
`)
	const file = "../docs/limits.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s is out of date; run go test ./login -update. It should be:\n%s", file, b.String())
	}
}

// words writes a window as people do.
func words(d time.Duration) string {
	switch {
	case d == time.Minute:
		return "a minute"
	case d == 24*time.Hour:
		return "a day"
	default:
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	}
}

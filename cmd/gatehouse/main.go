// Command gatehouse is the identity provider and what its operator types.
//
// What a command prints: results go to standard output, for people as aligned
// text and with --json as JSON; everything else goes to standard error, begins
// with "gatehouse:" and tells what to do next. A secret is printed once, when
// it is made, and never taken from the command line. The exit code is 0 for
// done, 2 for a command or a configuration that cannot be right, 1 for
// anything that failed.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"unicode"

	"github.com/gatehouse-id/gatehouse/mail"
)

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signals = append(signals, syscall.SIGHUP)
		// Nobody reads these, and the second ends nothing: a terminal that is closed
		// hangs up, and so does the shell in it.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	t := terminal{os.Environ(), os.Stdin, os.Stdout, os.Stderr}
	mail.LogTo(newLog(t, Config{JSONLog: os.Getenv("GATEHOUSE_LOG") == "json"}))
	code := run(ctx, os.Args[1:], t)
	stop()
	os.Exit(code)
}

// A terminal is what a command reads and writes.
type terminal struct {
	environ []string
	in      io.Reader
	out     io.Writer
	err     io.Writer
}

// A command is one thing that an operator may type.
type command struct {
	name string
	// operands are the words that must follow, as shown in the synopsis. Those
	// that end in dots may be any number.
	operands string
	about    string
	example  string
	// define declares the command's flags and returns what runs it.
	define func(*flag.FlagSet) action
	// more prints what else belongs into the help; nil is nothing.
	more func(io.Writer)
}

// An action runs a command; its error is printed, once, by run.
type action func(ctx context.Context, t terminal, operands []string) error

func commands() []command {
	return []command{
		serveCommand(),
		migrateCommand(),
		doctorCommand(),
		clientCreateCommand(),
		clientListCommand(),
		clientShowCommand(),
		clientUpdateCommand(),
		clientLookCommand(),
		clientDeleteCommand(),
		userCreateCommand(),
		userListCommand(),
		userShowCommand(),
		userProfileCommand(),
		userSuspendCommand(),
		userRestoreCommand(),
		userRevokeCommand(),
		userResetSecondFactorCommand(),
		userDeleteCommand(),
		domainShowCommand(),
		domainCheckCommand(),
		tokenRevokeCommand(),
		mailListCommand(),
		mailRetryCommand(),
		mailTestCommand(),
		keysListCommand(),
		keysRotateCommand(),
		gatewayCreateCommand(),
		gatewayListCommand(),
		gatewayRemoveCommand(),
		versionCommand(),
	}
}

// A usageError is a command or a configuration that cannot be right: the
// operator has something to change before it makes sense to try again.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// run does what args say and returns the exit code.
func run(ctx context.Context, args []string, t terminal) int {
	if len(args) == 1 && (args[0] == "-h" || args[0] == "--help" || args[0] == "help") {
		overview(t.out, "")
		return 0
	}
	for _, c := range commands() {
		words := strings.Fields(c.name)
		if len(args) < len(words) || strings.Join(args[:len(words)], " ") != c.name {
			continue
		}
		return c.run(ctx, args[len(words):], t)
	}
	switch {
	case len(args) == 0:
		overview(t.err, "")
	case isGroup(args[0]) && len(args) == 2 && (args[1] == "-h" || args[1] == "--help"):
		overview(t.out, args[0]+" ")
		return 0
	case isGroup(args[0]):
		overview(t.err, args[0]+" ")
	default:
		say(t.err, "gatehouse: there is no command %q\n\n", args[0])
		overview(t.err, "")
	}
	return 2
}

// isGroup reports whether word begins commands of two words.
func isGroup(word string) bool {
	for _, c := range commands() {
		if strings.HasPrefix(c.name, word+" ") {
			return true
		}
	}
	return false
}

// overview lists the commands whose names begin with prefix.
func overview(w io.Writer, prefix string) {
	say(w, "usage: gatehouse %s<command> [flags]\n\n", prefix)
	tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	for _, c := range commands() {
		if strings.HasPrefix(c.name, prefix) {
			say(tw, "  gatehouse %s\t%s\n", c.name, c.about)
		}
	}
	_ = tw.Flush()
	say(w, "\n\"gatehouse %s<command> -h\" explains one of them.\n", prefix)
}

func (c command) run(ctx context.Context, args []string, t terminal) int {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	do := c.define(fs)
	operands, err := parse(fs, args)
	if errors.Is(err, flag.ErrHelp) {
		c.help(t.out, fs)
		return 0
	}
	if want := strings.Fields(c.operands); err == nil && len(operands) != len(want) && !strings.HasSuffix(c.operands, "...") {
		err = fmt.Errorf("takes %d operands, not %d: gatehouse %s", len(want), len(operands), c.synopsis())
	}
	if err != nil {
		say(t.err, "gatehouse: %s: %v; see \"gatehouse %s -h\"\n", c.name, err, c.name)
		return 2
	}
	if err := do(ctx, t, operands); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			say(t.err, "gatehouse: %s: %s\n", c.name, line)
		}
		if _, ok := errors.AsType[usageError](err); ok {
			return 2
		}
		return 1
	}
	return 0
}

// parse takes flags before, between and after the operands.
func parse(fs *flag.FlagSet, args []string) (operands []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		rest := fs.Args()
		if len(rest) == 0 {
			return operands, nil
		}
		if done := len(args) - len(rest); done > 0 && args[done-1] == "--" {
			return append(operands, rest...), nil
		}
		operands, args = append(operands, rest[0]), rest[1:]
	}
}

func (c command) synopsis() string { return strings.TrimSpace(c.name + " " + c.operands) }

func (c command) help(w io.Writer, fs *flag.FlagSet) {
	say(w, "usage: gatehouse %s [flags]\n\n%s.\n", c.synopsis(), c.about)
	first := true
	fs.VisitAll(func(f *flag.Flag) {
		if first {
			say(w, "\nflags:\n")
			first = false
		}
		value, usage := flag.UnquoteUsage(f)
		say(w, "  --%s\n", strings.TrimSpace(f.Name+" "+value))
		if f.DefValue != "" && f.DefValue != "false" {
			usage += " (default " + f.DefValue + ")"
		}
		for line := range wrap(usage, 72) {
			say(w, "      %s\n", line)
		}
	})
	if c.more != nil {
		say(w, "\n")
		c.more(w)
	}
	say(w, "\nexample:\n")
	for line := range strings.SplitSeq(c.example, "\n") {
		say(w, "  %s\n", line)
	}
}

// say prints what may be lost: messages and help. Results go through show.
func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// show prints a result: v as JSON, or what text writes, whose columns are
// divided by tabs. It writes at once and returns the error of writing, because
// a result that nobody saw is not a success.
func (t terminal) show(asJSON bool, v any, text func(io.Writer)) error {
	var b bytes.Buffer
	if asJSON {
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(v); err != nil {
			return err
		}
	} else {
		tw := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
		text(tw)
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	_, err := t.out.Write(b.Bytes())
	return err
}

// plain returns s without what could move a terminal's cursor or turn its
// text: names and addresses come from strangers.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// wrap breaks text at spaces into lines of at most width bytes, but for words
// that are longer.
func wrap(text string, width int) iter.Seq[string] {
	return func(yield func(string) bool) {
		var line string
		for word := range strings.FieldsSeq(text) {
			switch {
			case line == "":
				line = word
			case len(line)+1+len(word) <= width:
				line += " " + word
			default:
				if !yield(line) {
					return
				}
				line = word
			}
		}
		if line != "" {
			yield(line)
		}
	}
}

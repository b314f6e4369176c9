package mail

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
)

// mailboxSize is how many messages a Mailbox keeps.
const mailboxSize = 100

// A Mailbox sends nothing: it prints each message and keeps the newest hundred
// in memory. It is for a server on one's own machine.
type Mailbox struct {
	mu       sync.Mutex
	out      io.Writer
	messages []Message
}

// NewMailbox returns a Mailbox that prints to out.
func NewMailbox(out io.Writer) *Mailbox { return &Mailbox{out: out} }

// Send prints and keeps m.
func (b *Mailbox) Send(_ context.Context, m Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, m)
	if extra := len(b.messages) - mailboxSize; extra > 0 {
		b.messages = slices.Delete(b.messages, 0, extra)
	}
	if _, err := fmt.Fprintf(b.out, "\n---- letter ----\nTo: %s\nSubject: %s\n\n%s---- end of letter ----\n\n", m.To, m.Subject, m.Text); err != nil {
		return fmt.Errorf("mail: print letter: %w", err)
	}
	return nil
}

// List returns the messages kept, the newest first.
func (b *Mailbox) List() []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.Clone(b.messages)
	slices.Reverse(list)
	return list
}

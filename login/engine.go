package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	// challengeLife is how long a handle and the code mailed with it live.
	challengeLife = 5 * time.Minute
	// resendAfter is how long a person waits for another code.
	resendAfter = time.Minute
	// noticeLife is how long a letter that holds no code is still worth
	// sending.
	noticeLife = 24 * time.Hour
)

// Kinds of letters.
const (
	// LetterAccountVerification brings the code that proves the mailbox.
	LetterAccountVerification = "account_verification"
	// LetterAccountExists tells the owner of an account that somebody tried to
	// register with its address.
	LetterAccountExists = "account_exists"
)

// A Letter is a mail to be sent. It holds nothing that a stranger could have
// typed into a form, so that nobody can make us carry their text.
type Letter struct {
	Kind string
	// To is the address of the account, as stored.
	To string
	// Code is what the person enters; empty when the letter brings none.
	Code string
	// Link is where the person goes on; empty when there is no such page.
	Link string
	// ExpiresAt is when the code dies, and the letter loses its point.
	ExpiresAt time.Time
}

// Config is what an Engine is made of.
type Config struct {
	// Store keeps accounts and letters. Required.
	Store interface {
		storage.Users
		storage.Outbox
	}
	// Flows keeps the steps that wait for proof. Required.
	Flows storage.Flows
	// Secret returns the current key for the MAC of mailed codes and its id;
	// SecretByID returns one used before. Both are required.
	Secret     func() (id string, key []byte)
	SecretByID func(ctx context.Context, id string) ([]byte, error)
	// Letter seals a letter: it returns the row's ID and Sealed, the engine
	// fills in the rest. Required.
	Letter func(Letter) (storage.Letter, error)
	// Mailed is called after letters were committed, and must not block. It
	// may be nil.
	Mailed func()
	// SignInURL is the page that letters point to; empty writes letters
	// without a link.
	SignInURL string
	// Domains are the email domains whose addresses may register. Nil allows
	// every domain.
	Domains []string
	// Closed refuses every registration.
	Closed bool
	// Now is the time; nil is time.Now.
	Now func() time.Time
}

// An Engine holds the verbs. It is safe for concurrent use.
type Engine struct {
	store interface {
		storage.Users
		storage.Outbox
	}
	flows      storage.Flows
	secret     func() (string, []byte)
	secretByID func(context.Context, string) ([]byte, error)
	letter     func(Letter) (storage.Letter, error)
	mailed     func()
	signInURL  string
	domains    []string
	closed     bool
	now        func() time.Time
	passwords  *hasher
}

// New returns an Engine. It hashes one password, which takes some milliseconds.
func New(c Config) (*Engine, error) {
	if c.Store == nil || c.Flows == nil || c.Secret == nil || c.SecretByID == nil || c.Letter == nil {
		return nil, errors.New("login: Store, Flows, Secret, SecretByID and Letter are required")
	}
	e := &Engine{
		store: c.Store, flows: c.Flows,
		secret: c.Secret, secretByID: c.SecretByID,
		letter: c.Letter, mailed: c.Mailed, signInURL: c.SignInURL,
		domains: slices.Clone(c.Domains), closed: c.Closed,
		now: c.Now, passwords: newHasher(),
	}
	for i, d := range e.domains {
		e.domains[i] = strings.ToLower(d)
		if !isDomain(e.domains[i]) {
			return nil, fmt.Errorf("login: %q is no email domain", d)
		}
	}
	if e.mailed == nil {
		e.mailed = func() {}
	}
	if e.now == nil {
		e.now = time.Now
	}
	return e, nil
}

// flowID is how storage knows a handle.
func flowID(handle string) string {
	sum := sha256.Sum256([]byte(handle))
	return hex.EncodeToString(sum[:])
}

// flow returns the flow of a handle if it waits for that step.
func (e *Engine) flow(ctx context.Context, handle string, s Step) (storage.Flow, error) {
	f, err := e.flows.Flow(ctx, flowID(handle))
	if errors.Is(err, storage.ErrNotFound) {
		return storage.Flow{}, refuse(Problem{Reason: Expired})
	}
	if err != nil {
		return storage.Flow{}, fmt.Errorf("login: read flow: %w", err)
	}
	if f.Step != string(s) || !e.now().Before(f.ExpiresAt) {
		return storage.Flow{}, refuse(Problem{Reason: Expired})
	}
	return f, nil
}

// spend ends a flow. Of concurrent callers one goes on.
func (e *Engine) spend(ctx context.Context, f storage.Flow) error {
	err := e.flows.SpendFlow(ctx, f.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return refuse(Problem{Reason: Expired})
	}
	if err != nil {
		return fmt.Errorf("login: spend flow: %w", err)
	}
	return nil
}

// complete spends a flow whose proof was right and returns its user as they are
// now: what was true when the flow began may have changed since.
func (e *Engine) complete(ctx context.Context, f storage.Flow) (storage.User, error) {
	if err := e.spend(ctx, f); err != nil {
		return storage.User{}, err
	}
	u, err := e.store.User(ctx, f.UserID)
	if errors.Is(err, storage.ErrNotFound) {
		return storage.User{}, refuse(Problem{Reason: Expired})
	}
	if err != nil {
		return storage.User{}, fmt.Errorf("login: read user: %w", err)
	}
	if !usable(u.Status) {
		return storage.User{}, refuse(Problem{Reason: AccountRestricted})
	}
	if u.Epoch != f.UserEpoch {
		return storage.User{}, refuse(Problem{Reason: Expired})
	}
	return u, nil
}

// usable reports whether somebody with that status may go on. A status that we
// do not know is none.
func usable(s storage.UserStatus) bool {
	return s == storage.UserActive || s == storage.UserPending
}

// advance puts the person before the next step, or says who they proved to be.
func (e *Engine) advance(ctx context.Context, f storage.Flow, u storage.User) (Outcome, error) {
	proven := make(Proofs, len(f.Proven))
	for i, p := range f.Proven {
		proven[i] = Step(p)
	}
	switch step := next(Purpose(f.Purpose), u, proven); step {
	case Done:
		return Authenticated{UserID: u.ID, Epoch: u.Epoch, At: e.now().UTC(), AMR: f.AMR}, nil
	case VerifyEmail:
		return e.mailCode(ctx, f, u.Email, func(l storage.Letter) error {
			return e.store.AddLetters(ctx, l)
		})
	default:
		return nil, fmt.Errorf("login: nobody asks for step %q", step)
	}
}

// mailCode makes a flow of f that waits for a new code, and has commit write
// the letter that brings it to the address. The flow comes first: no letter
// brings a code that nothing waits for.
//
// A decoy waits for a code that nobody is told; the letter tells the owner of
// the address why.
func (e *Engine) mailCode(ctx context.Context, f storage.Flow, to string, commit func(storage.Letter) error) (Outcome, error) {
	handle, code, err := rand.Text(), newCode(), error(nil)
	now := e.now().UTC()
	f.ID = flowID(handle)
	f.Step = string(VerifyEmail)
	f.CodeMAC = e.codeMAC(f.ID, code)
	f.CreatedAt, f.ExpiresAt = now, now.Add(challengeLife)

	letter := Letter{Kind: LetterAccountVerification, To: to, Code: code, ExpiresAt: f.ExpiresAt}
	if f.Decoy {
		letter = Letter{Kind: LetterAccountExists, To: to, Link: e.signInURL, ExpiresAt: now.Add(noticeLife)}
	}
	row, err := e.letter(letter)
	if err != nil {
		return nil, fmt.Errorf("login: seal letter: %w", err)
	}
	row.Kind, row.CreatedAt, row.Deadline = letter.Kind, now, letter.ExpiresAt

	if err := e.flows.PutFlow(ctx, f); err != nil {
		return nil, fmt.Errorf("login: put flow: %w", err)
	}
	if err := commit(row); err != nil {
		return nil, fmt.Errorf("login: write letter: %w", err)
	}
	e.mailed()
	return Challenge{Step: VerifyEmail, Handle: handle, Email: f.Email, ExpiresAt: f.ExpiresAt}, nil
}

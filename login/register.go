package login

import (
	"context"
	"errors"
	"fmt"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/google/uuid"
)

// A Registration is what a person asks for who wants an account.
type Registration struct {
	Name     string
	Email    string
	Password string
}

// Register asks for an account and mails a code to its address. The answer is
// the same whether or not the address has an account: for one that has, the
// challenge cannot be met, and the letter tells the owner instead.
//
// An address that was registered and never proved is registered anew. Whoever
// proves the mailbox gets the name and the password that came with that code;
// those of everybody else are forgotten.
func (e *Engine) Register(ctx context.Context, from From, r Registration) (_ Outcome, err error) {
	defer func() { e.counted(ctx, stepRegister, err) }()
	if e.closed {
		return nil, refuse(Problem{Reason: RegistrationClosed})
	}
	name, address, err := e.checkRegistration(r)
	if err != nil {
		return nil, err
	}
	if err := e.network(ctx, from); err != nil {
		return nil, err
	}
	// Whose mailbox it is does not matter: nobody registers who has an account.
	if err := e.mailBudget(ctx, address, from, ""); err != nil {
		return nil, err
	}
	hash, err := e.passwords.hash(ctx, r.Password)
	if err != nil {
		return nil, err
	}
	return e.register(ctx, from, address, storage.Registration{Name: name, PasswordHash: hash})
}

func (e *Engine) register(ctx context.Context, from From, address string, r storage.Registration) (Outcome, error) {
	for range 3 { // others may register or prove the address between our read and our write
		o, err := e.tryRegister(ctx, from, address, r)
		if errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrNotFound) {
			continue
		}
		return o, err
	}
	return nil, errors.New("login: register: the account kept changing")
}

// tryRegister returns storage's ErrConflict or ErrNotFound when the account is
// no longer what it was when it was read.
func (e *Engine) tryRegister(ctx context.Context, from From, address string, r storage.Registration) (Outcome, error) {
	f := storage.Flow{Purpose: string(ToRegister), Email: address, AMR: []string{amrPassword}, Registration: &r}
	now := e.now().UTC()
	u, _, err := e.store.UserByEmail(ctx, address)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("login: find user: %w", err)
	}
	// Beside its letter a new account is two statements, another registration
	// three, and a taken address none. Letters for nobody make up for it.
	var about string
	var beside int
	var commit func(...storage.Letter) error
	switch u.Status {
	case "":
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("login: make user id: %w", err)
		}
		u = storage.User{
			ID: id.String(), Email: address, Name: r.Name, Status: storage.UserPending,
			Profile: storage.Profile{Locale: from.Language}, CreatedAt: now, UpdatedAt: now,
		}
		f.UserID = u.ID
		about, beside = "new", 1
		commit = func(l ...storage.Letter) error { return e.store.CreateUser(ctx, u, r.PasswordHash, l...) }
	case storage.UserPending:
		f.UserID, f.UserEpoch = u.ID, u.Epoch
		about, beside = "again", 0
		commit = func(l ...storage.Letter) error { return e.store.ReplaceRegistration(ctx, u.ID, r, now, l...) }
	default:
		f.Decoy = true
		about, beside = "taken", 3
		commit = func(l ...storage.Letter) error { return e.store.AddLetters(ctx, l...) }
	}
	fill, err := e.filler(ctx, beside)
	if err != nil {
		return nil, err
	}
	o, err := e.mailCode(ctx, from, f, VerifyEmail, u, func(l storage.Letter) error {
		return commit(append(fill, l)...)
	})
	if err == nil {
		e.record(ctx, EventRegistered, u.ID, eventOK, from, about)
	}
	return o, err
}

// checkRegistration returns the name and the address in the form that is kept,
// or everything that is wrong.
func (e *Engine) checkRegistration(r Registration) (name, address string, _ error) {
	var problems []Problem
	name, reason := parseName(r.Name)
	if reason != "" {
		problems = append(problems, Problem{FieldName, reason})
	}
	address, reason = parseEmail(r.Email)
	if reason == "" && !e.domainAllowed(address) {
		reason = DomainNotAllowed
	}
	if reason != "" {
		problems = append(problems, Problem{FieldEmail, reason})
	}
	if reason := e.passwords.policy(r.Password, r.Name, r.Email); reason != "" {
		problems = append(problems, Problem{FieldPassword, reason})
	}
	if problems != nil {
		return "", "", refuse(problems[0], problems[1:]...)
	}
	return name, address, nil
}

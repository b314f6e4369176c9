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
func (e *Engine) Register(ctx context.Context, r Registration) (Outcome, error) {
	if e.closed {
		return nil, refuse(Problem{Reason: RegistrationClosed})
	}
	name, address, err := e.checkRegistration(r)
	if err != nil {
		return nil, err
	}
	hash, err := e.passwords.hash(ctx, r.Password)
	if err != nil {
		return nil, err
	}
	for range 3 { // others may register or prove the address between our read and our write
		o, err := e.register(ctx, address, storage.Registration{Name: name, PasswordHash: hash})
		if errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrNotFound) {
			continue
		}
		return o, err
	}
	return nil, errors.New("login: register: the account kept changing")
}

// register returns storage's ErrConflict or ErrNotFound when the account is no
// longer what it was when it was read.
func (e *Engine) register(ctx context.Context, address string, r storage.Registration) (Outcome, error) {
	f := storage.Flow{Purpose: string(ToRegister), Email: address, AMR: []string{amrPassword}, Registration: &r}
	now := e.now().UTC()

	u, _, err := e.store.UserByEmail(ctx, address)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("login: make user id: %w", err)
		}
		u = storage.User{
			ID: id.String(), Email: address, Name: r.Name, Status: storage.UserPending,
			CreatedAt: now, UpdatedAt: now,
		}
		f.UserID = u.ID
		return e.mailCode(ctx, f, address, func(l storage.Letter) error {
			return e.store.CreateUser(ctx, u, r.PasswordHash, l)
		})
	case err != nil:
		return nil, fmt.Errorf("login: find user: %w", err)
	case u.Status == storage.UserPending:
		f.UserID, f.UserEpoch = u.ID, u.Epoch
		return e.mailCode(ctx, f, u.Email, func(l storage.Letter) error {
			return e.store.ReplaceRegistration(ctx, u.ID, r, now, l)
		})
	default:
		f.Decoy = true
		return e.mailCode(ctx, f, u.Email, func(l storage.Letter) error {
			return e.store.AddLetters(ctx, l)
		})
	}
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
	if reason := checkNewPassword(r.Password, r.Name, r.Email); reason != "" {
		problems = append(problems, Problem{FieldPassword, reason})
	}
	if problems != nil {
		return "", "", refuse(problems[0], problems[1:]...)
	}
	return name, address, nil
}

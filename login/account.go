package login

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// freshFor is how old a sign-in may be for what changes how the person is
// proved, where letters go, or whether there is an account at all.
const freshFor = 5 * time.Minute

// Steps of a signed-in person. No sign-in leads to them.
const (
	// ConfirmEmail proves the new mailbox of a change of address, by the code
	// mailed to it.
	ConfirmEmail Step = "confirm_email"
	// ConfirmSecondFactor proves that the authenticator app has the secret.
	ConfirmSecondFactor Step = "confirm_second_factor"
)

// ToChange is the purpose of a signed-in person who changes the account.
const ToChange Purpose = "change"

// Acting is a person at work on their own account, whom a face has recognised
// by a browser session or an access token.
type Acting struct {
	UserID string
	// AuthTime is when the person was proved (OIDC Core section 2, auth_time).
	AuthTime time.Time
	// Keep is the session or the grant that the request came by. It goes on
	// where others end.
	Keep storage.Kept
	From From
}

// acting returns the person as they are now.
func (e *Engine) acting(ctx context.Context, who Acting) (storage.User, error) {
	u, err := e.store.User(ctx, who.UserID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return storage.User{}, fmt.Errorf("login: read user: %w", err)
	}
	if err != nil || u.Status != storage.UserActive {
		return storage.User{}, refuse(Problem{Reason: AccountRestricted})
	}
	return u, nil
}

// Profile returns the account of the person as it is now.
func (e *Engine) Profile(ctx context.Context, who Acting) (storage.User, error) {
	return e.acting(ctx, who)
}

// Fresh reports whether the person was proved lately enough for what changes
// how they are proved, where letters go, or whether there is an account at all.
func (e *Engine) Fresh(who Acting) bool { return e.now().Sub(who.AuthTime) <= freshFor }

// confirmed is acting for what asks for a fresh sign-in.
func (e *Engine) confirmed(ctx context.Context, who Acting) (storage.User, error) {
	u, err := e.acting(ctx, who)
	if err == nil && !e.Fresh(who) {
		err = refuse(Problem{Reason: Reauthenticate})
	}
	return u, err
}

// gone is the error of a verb whose person may have been deleted or suspended
// since they were read.
func gone(doing string, err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return refuse(Problem{Reason: AccountRestricted})
	}
	return fmt.Errorf("login: %s: %w", doing, err)
}

// ownFlow returns the flow of a handle if it is that person's and waits for
// that step.
func (e *Engine) ownFlow(ctx context.Context, who Acting, handle string, s Step) (storage.Flow, error) {
	f, err := e.flow(ctx, handle, s)
	if err == nil && f.UserID != who.UserID {
		err = refuse(Problem{Reason: Expired})
	}
	return f, err
}

// notice writes the row of a letter that tells the owner of the account what
// happened, and where.
func (e *Engine) notice(ctx context.Context, kind string, u storage.User, from From) (storage.Letter, error) {
	now := e.now().UTC()
	return e.sealLetter(ctx, Letter{
		Kind: kind, To: u.Email, Link: e.signInURL, Detail: from.Browser(), Language: from.reads(u),
		At: now, ExpiresAt: now.Add(noticeLife),
	})
}

// ChangePassword sets another password and ends everything but what is kept.
// It returns the user's new epoch.
func (e *Engine) ChangePassword(ctx context.Context, who Acting, current, password string) (epoch int64, err error) {
	defer func() { e.counted(ctx, string(VerbChangePassword), err) }()
	u, err := e.confirmed(ctx, who)
	if err != nil {
		return 0, err
	}
	var problems []Problem
	if current == "" {
		problems = append(problems, Problem{FieldCurrent, PasswordMissing})
	}
	if reason := e.passwords.policy(password, u.Name, u.Email); reason != "" {
		problems = append(problems, Problem{FieldPassword, reason})
	}
	if problems != nil {
		return 0, refuse(problems[0], problems[1:]...)
	}
	if tooLongPassword(current) {
		return 0, refuse(Problem{FieldCurrent, WrongPassword}) // nobody has such a one
	}
	refund, err := e.limit(ctx, VerbChangePassword, "", u.ID, who.From)
	if err != nil {
		return 0, err
	}
	epoch, err = e.changePassword(ctx, who, u, current, password)
	if isRefusal(err, WrongPassword) {
		e.record(ctx, EventPasswordChanged, u.ID, string(WrongPassword), who.From, "")
		return 0, err
	}
	refund(ctx) // the limit is for those who guess the current password
	if err != nil {
		return 0, err
	}
	e.record(ctx, EventPasswordChanged, u.ID, eventOK, who.From, "")
	return epoch, nil
}

func (e *Engine) changePassword(ctx context.Context, who Acting, u storage.User, current, password string) (int64, error) {
	for range 3 { // others may change or upgrade the hash between our read and our write
		hashes, err := e.store.PasswordHashes(ctx, u.ID)
		if err != nil {
			return 0, fmt.Errorf("login: read passwords: %w", err)
		}
		if len(hashes) == 0 {
			return 0, gone("read passwords", storage.ErrNotFound) // deleted since it was read
		}
		right, err := e.passwords.check(ctx, hashes[0], current)
		if err != nil {
			return 0, err
		}
		if !right {
			return 0, refuse(Problem{FieldCurrent, WrongPassword})
		}
		if err := e.checkReused(ctx, hashes, password); err != nil {
			return 0, err
		}
		hash, err := e.passwords.hash(ctx, password)
		if err != nil {
			return 0, err
		}
		letter, err := e.notice(ctx, LetterPasswordChanged, u, who.From)
		if err != nil {
			return 0, err
		}
		epoch, err := e.store.SetPassword(ctx, storage.PasswordChange{
			UserID: u.ID, PasswordHash: hash, Replaces: hashes[0], Keep: who.Keep, Now: e.now().UTC(),
		}, letter)
		if errors.Is(err, storage.ErrConflict) {
			continue
		}
		if err != nil {
			return 0, gone("set password", err)
		}
		e.mailed()
		return epoch, nil
	}
	return 0, errors.New("login: change password: it kept changing")
}

// ChangeEmail mails a code to the new address and a notice to the old one,
// which stays until the code is shown. The answer is the same for an address
// that has an account: the challenge cannot be met, and its owner is told.
//
// What it uses of the limit is not given back: every call mails somebody who
// has not asked for it.
func (e *Engine) ChangeEmail(ctx context.Context, who Acting, email string) (_ Challenge, err error) {
	defer func() { e.counted(ctx, string(VerbChangeEmail), err) }()
	u, err := e.confirmed(ctx, who)
	if err != nil {
		return Challenge{}, err
	}
	address, reason := parseEmail(email)
	if reason == "" && !e.domainAllowed(address) {
		reason = DomainNotAllowed
	}
	if reason != "" {
		return Challenge{}, refuse(Problem{FieldEmail, reason})
	}
	if _, err := e.limit(ctx, VerbChangeEmail, "", u.ID, who.From); err != nil {
		return Challenge{}, err
	}
	// The mailbox is somebody else's until it is proved: the person's device is
	// no device of its owner.
	if err := e.mailBudget(ctx, address, From{Address: who.From.Address}, ""); err != nil {
		return Challenge{}, err
	}
	holder, _, err := e.store.UserByEmail(ctx, address)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return Challenge{}, fmt.Errorf("login: find user: %w", err)
	}
	// Nobody holds an address by having registered it.
	taken := err == nil && holder.ID != u.ID && holder.Status != storage.UserPending

	handle, code, now := rand.Text(), newCode(), e.now().UTC()
	f := storage.Flow{
		ID: flowID(handle), Step: string(ConfirmEmail), Purpose: string(ToChange),
		UserID: u.ID, UserEpoch: u.Epoch, Email: u.Email, NewEmail: address, Decoy: taken,
		CreatedAt: now, ExpiresAt: now.Add(challengeLife),
	}
	f.CodeMAC = e.codeMAC(f.ID, code)
	there := Letter{Kind: LetterEmailChangeCode, To: address, Code: code, Language: who.From.reads(u), At: now, ExpiresAt: f.ExpiresAt}
	if taken {
		there = Letter{Kind: LetterAccountExists, To: holder.Email, Link: e.signInURL, Language: holder.Profile.Locale, At: now, ExpiresAt: now.Add(noticeLife)}
	}
	here := Letter{
		Kind: LetterEmailChanging, To: u.Email, Link: e.signInURL, Detail: maskedEmail(address), Language: who.From.reads(u),
		At: now, ExpiresAt: now.Add(noticeLife),
	}
	thereRow, err := e.sealLetter(ctx, there)
	if err != nil {
		return Challenge{}, err
	}
	hereRow, err := e.sealLetter(ctx, here)
	if err != nil {
		return Challenge{}, err
	}
	if err := e.flows.PutFlow(ctx, f); err != nil {
		return Challenge{}, fmt.Errorf("login: put flow: %w", err)
	}
	if err := e.committed(e.store.AddLetters(ctx, hereRow, thereRow)); err != nil {
		return Challenge{}, err
	}
	e.record(ctx, EventEmailChange, u.ID, eventOK, who.From, "")
	return Challenge{Step: ConfirmEmail, Handle: handle, Email: address, ExpiresAt: f.ExpiresAt}, nil
}

// maskedEmail shows the owner of the old address enough of the new one to know
// whether it is theirs.
func maskedEmail(address string) string {
	local, domain, _ := strings.Cut(address, "@")
	for _, first := range local {
		return string(first) + "•••@" + domain
	}
	return "•••@" + domain
}

// ConfirmEmail gives the account the address whose code is shown. An address
// that meanwhile belongs to somebody else reads like an expired code.
func (e *Engine) ConfirmEmail(ctx context.Context, who Acting, handle, code string) (err error) {
	defer func() { e.counted(ctx, string(VerbConfirmEmail), err) }()
	if _, err := e.acting(ctx, who); err != nil {
		return err
	}
	if _, err := e.ownFlow(ctx, who, handle, ConfirmEmail); err != nil {
		return err
	}
	f, u, err := e.proveMailbox(ctx, who.From, VerbConfirmEmail, ConfirmEmail, handle, code)
	if err != nil {
		return err
	}
	gaveWay, err := e.store.ChangeEmail(ctx, u.ID, f.UserEpoch, f.NewEmail, e.now().UTC())
	if errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrNotFound) {
		e.record(ctx, EventEmailChanged, u.ID, string(Expired), who.From, "")
		return refuse(Problem{Reason: Expired})
	}
	if err != nil {
		return fmt.Errorf("login: change email: %w", err)
	}
	if gaveWay != "" {
		e.record(ctx, EventDeleted, gaveWay, eventOK, who.From, "its address was proved by another account")
	}
	e.record(ctx, EventEmailChanged, u.ID, eventOK, who.From, "")
	return nil
}

// Sessions lists the browsers in which the person is signed in, the newest
// first.
func (e *Engine) Sessions(ctx context.Context, who Acting) ([]storage.Session, error) {
	u, err := e.acting(ctx, who)
	if err != nil {
		return nil, err
	}
	sessions, err := e.store.ListSessions(ctx, u.ID, e.now().UTC())
	if err != nil {
		return nil, fmt.Errorf("login: list sessions: %w", err)
	}
	return sessions, nil
}

// EndSession signs one of the person's browsers out.
func (e *Engine) EndSession(ctx context.Context, who Acting, id string) (err error) {
	defer func() { e.counted(ctx, stepEndSession, err) }()
	sessions, err := e.Sessions(ctx, who)
	if err != nil {
		return err
	}
	// What is no id of ours is compared here: a database may fail on it.
	if !slices.ContainsFunc(sessions, func(s storage.Session) bool { return s.ID == id }) {
		return refuse(Problem{Reason: NotFound})
	}
	err = e.store.EndSessionOf(ctx, who.UserID, id, e.now().UTC())
	if errors.Is(err, storage.ErrNotFound) {
		return refuse(Problem{Reason: NotFound})
	}
	if err != nil {
		return fmt.Errorf("login: end session: %w", err)
	}
	e.record(ctx, EventSessionEnded, who.UserID, eventOK, who.From, "session "+id)
	return nil
}

// SignOutEverywhere ends every session and grant but what is kept, and returns
// the user's new epoch.
func (e *Engine) SignOutEverywhere(ctx context.Context, who Acting) (epoch int64, err error) {
	defer func() { e.counted(ctx, stepSignOutEverywhere, err) }()
	u, err := e.acting(ctx, who)
	if err != nil {
		return 0, err
	}
	epoch, err = e.store.EndEverything(ctx, u.ID, who.Keep, e.now().UTC())
	if err != nil {
		return 0, gone("end everything", err)
	}
	e.record(ctx, EventSignedOutEverywhere, u.ID, eventOK, who.From, "")
	return epoch, nil
}

// An App is a client that the person allows something, or that has tokens of
// theirs.
type App struct {
	ClientID   string
	Name       string
	FirstParty bool
	// Scopes are what it may have, in alphabetical order.
	Scopes []string
	// AllowedAt is when that was last agreed to, or when it was first used by
	// somebody who was not asked.
	AllowedAt time.Time
	// LastUsedAt is when it last got tokens that are alive; zero when it has
	// none.
	LastUsedAt time.Time
}

// Apps lists the apps connected to the account, by name.
func (e *Engine) Apps(ctx context.Context, who Acting) ([]App, error) {
	u, err := e.acting(ctx, who)
	if err != nil {
		return nil, err
	}
	consents, err := e.store.ListConsents(ctx, u.ID)
	if err != nil {
		return nil, fmt.Errorf("login: list consents: %w", err)
	}
	grants, err := e.store.ListGrants(ctx, u.ID, e.now().UTC())
	if err != nil {
		return nil, fmt.Errorf("login: list grants: %w", err)
	}
	byClient := map[string]*App{}
	app := func(clientID string, at time.Time) *App {
		if byClient[clientID] == nil {
			byClient[clientID] = &App{ClientID: clientID, AllowedAt: at}
		}
		return byClient[clientID]
	}
	for _, c := range consents {
		a := app(c.ClientID, c.GrantedAt)
		a.Scopes = append(a.Scopes, c.Scopes...)
	}
	for _, g := range slices.Backward(grants) { // the oldest first
		a := app(g.ClientID, g.CreatedAt)
		a.Scopes = append(a.Scopes, g.Scopes...)
		for _, t := range []time.Time{g.CreatedAt, g.RotatedAt} {
			if t.After(a.LastUsedAt) {
				a.LastUsedAt = t
			}
		}
	}
	var apps []App
	for id, a := range byClient {
		c, err := e.store.Client(ctx, id)
		if errors.Is(err, storage.ErrNotFound) {
			continue // deleted since the lists were read
		}
		if err != nil {
			return nil, fmt.Errorf("login: read client: %w", err)
		}
		a.Name, a.FirstParty = c.Name, c.FirstParty
		slices.Sort(a.Scopes)
		a.Scopes = slices.Compact(a.Scopes)
		apps = append(apps, *a)
	}
	slices.SortFunc(apps, func(a, b App) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ClientID, b.ClientID))
	})
	return apps, nil
}

// WithdrawApp takes back what the person allows an app, and ends its tokens and
// the codes that it has not redeemed. What the person is in the middle of
// elsewhere, by a mailed code for instance, begins anew.
func (e *Engine) WithdrawApp(ctx context.Context, who Acting, clientID string) (err error) {
	defer func() { e.counted(ctx, stepWithdrawApp, err) }()
	apps, err := e.Apps(ctx, who)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(apps, func(a App) bool { return a.ClientID == clientID }) {
		return refuse(Problem{Reason: NotFound})
	}
	if err := e.store.WithdrawConsent(ctx, who.UserID, clientID, e.now().UTC()); err != nil {
		return fmt.Errorf("login: withdraw consent: %w", err)
	}
	e.record(ctx, EventAppWithdrawn, who.UserID, eventOK, who.From, "client "+clientID)
	return nil
}

// DeleteAccount removes the account and everything that is theirs, at once:
// there is no time in which it could be taken back.
func (e *Engine) DeleteAccount(ctx context.Context, who Acting) (err error) {
	defer func() { e.counted(ctx, string(VerbDeleteAccount), err) }()
	u, err := e.confirmed(ctx, who)
	if err != nil {
		return err
	}
	refund, err := e.limit(ctx, VerbDeleteAccount, "", u.ID, who.From)
	if err != nil {
		return err
	}
	letter, err := e.notice(ctx, LetterAccountDeleted, u, who.From)
	if err != nil {
		return err
	}
	err = e.store.DeleteUser(ctx, u.ID, e.now().UTC(), letter)
	if err != nil {
		return gone("delete user", err)
	}
	refund(ctx)
	e.mailed()
	e.record(ctx, EventDeleted, u.ID, eventOK, who.From, "")
	return nil
}

package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"

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
	// LetterPasswordResetCode brings the code of a reset.
	LetterPasswordResetCode = "password_reset_code"
	// LetterPasswordChanged tells of a new password.
	LetterPasswordChanged = "password_changed"
	// LetterNewSignIn tells of a sign-in in a browser not seen before.
	LetterNewSignIn = "new_sign_in"
	// LetterSecondFactorOn and LetterSecondFactorOff tell of two-step sign-in.
	LetterSecondFactorOn  = "second_factor_on"
	LetterSecondFactorOff = "second_factor_off"
	// LetterRecoveryUsed tells of a recovery code that was used;
	// LetterRecoveryLow, with the number in Detail, that few are left;
	// LetterRecoveryReplaced of new ones.
	LetterRecoveryUsed     = "recovery_used"
	LetterRecoveryLow      = "recovery_low"
	LetterRecoveryReplaced = "recovery_replaced"
	// LetterEmailChanging tells the old address of a new one, with the new one
	// masked in Detail; LetterEmailChangeCode brings the new one its code.
	LetterEmailChanging   = "email_changing"
	LetterEmailChangeCode = "email_change_code"
	// LetterManyFailures tells of somebody who tries passwords.
	LetterManyFailures = "many_failures"
	// LetterAccountDeleted, LetterAccountPaused and LetterAccountRestored tell
	// what became of the account.
	LetterAccountDeleted  = "account_deleted"
	LetterAccountPaused   = "account_paused"
	LetterAccountRestored = "account_restored"
)

// Letters lists every kind.
func Letters() []string {
	return []string{
		LetterAccountVerification, LetterAccountExists,
		LetterPasswordResetCode, LetterPasswordChanged, LetterNewSignIn,
		LetterSecondFactorOn, LetterSecondFactorOff,
		LetterRecoveryUsed, LetterRecoveryLow, LetterRecoveryReplaced,
		LetterEmailChanging, LetterEmailChangeCode, LetterManyFailures,
		LetterAccountDeleted, LetterAccountPaused, LetterAccountRestored,
	}
}

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
	// Detail is one more thing to tell, in words of ours: the browser
	// ("Firefox on Linux"), a masked address, a number. Or it is empty.
	Detail string
	// Language is the one to write it in (BCP 47); empty leaves it to who does.
	Language string
	// At is when it happened.
	At time.Time
	// ExpiresAt is when the code dies, and the letter loses its point.
	ExpiresAt time.Time
}

// Purposes of the keys that Config.Secret is asked for.
const (
	// PurposeMailCode keys the MACs of mailed codes.
	PurposeMailCode = "mail_code"
	// PurposeRecovery keys those of recovery codes.
	PurposeRecovery = "recovery"
	// PurposeDevice keys those of device cookies.
	PurposeDevice = "device"
)

// A Store is the memory that a restart does not lose.
type Store interface {
	storage.Users
	storage.Factors
	storage.Sessions
	storage.Consents
	storage.Grants
	storage.Audit
	storage.Outbox
	// Client is that of [storage.Clients].
	Client(ctx context.Context, id string) (storage.Client, error)
}

// Config is what an Engine is made of.
type Config struct {
	// Store keeps accounts, letters and events. Required.
	Store Store
	// Flows keeps the steps that wait for proof. Required.
	Flows storage.Flows
	// Buckets count what is limited. Required.
	Buckets storage.Buckets
	// Secret returns the current key of a purpose (PurposeMailCode, …) and its
	// id; SecretByID returns one used before. Both are required.
	Secret     func(purpose string) (id string, key []byte)
	SecretByID func(ctx context.Context, purpose, id string) ([]byte, error)
	// Seal encrypts the secret of an authenticator app and authenticates the
	// associated data with it; Open reverses it. Both are required.
	Seal func(plain, associated []byte) []byte
	Open func(sealed, associated []byte) ([]byte, error)
	// Letter seals a letter: it returns the row's ID and Sealed, the engine
	// fills in the rest. Required.
	Letter func(context.Context, Letter) (storage.Letter, error)
	// Mailed is called after letters were committed, and must not block. It
	// may be nil.
	Mailed func()
	// SignInURL is the page that letters point to; empty writes letters
	// without a link.
	SignInURL string
	// Issuer names us in authenticator apps; empty is "Gatehouse".
	Issuer string
	// Bcrypt hashes new passwords by bcrypt, of cost 10, which reads no more
	// than 72 bytes, instead of argon2id. Hashes of either kind are checked.
	Bcrypt bool
	// Hashes is how many passwords are hashed at once; others wait. Zero is one
	// for each core. By argon2id each takes [HashMemory].
	Hashes int
	// Hasher replaces the hashing of passwords. It is plugged in by tests and
	// benchmarks alone, which count and measure everything else. Nil is argon2id,
	// or bcrypt.
	Hasher Hasher
	// Proxied says that a proxy in front limits how often one network may ask;
	// without one the engine does.
	Proxied bool
	// Domains are the email domains whose addresses may register. Nil allows
	// every domain.
	Domains []string
	// Closed refuses every registration.
	Closed bool
	// Now is the time; nil is time.Now.
	Now func() time.Time
	// Log is told of what went wrong without stopping a verb: an event that
	// could not be kept. Nil is slog.Default().
	Log *slog.Logger
	// Meter counts the verbs and what the limits refuse; nil counts nothing.
	Meter metric.Meter
}

// An Engine holds the verbs. It is safe for concurrent use.
type Engine struct {
	store      Store
	flows      storage.Flows
	buckets    storage.Buckets
	secret     func(string) (string, []byte)
	secretByID func(context.Context, string, string) ([]byte, error)
	seal       func(plain, associated []byte) []byte
	open       func(sealed, associated []byte) ([]byte, error)
	letter     func(context.Context, Letter) (storage.Letter, error)
	mailed     func()
	signInURL  string
	issuer     string
	proxied    bool
	domains    []string
	closed     bool
	now        func() time.Time
	log        *slog.Logger
	passwords  *hasher
	meters     *meters
}

// New returns an Engine. It hashes one password, which takes some milliseconds.
func New(c Config) (*Engine, error) {
	if c.Store == nil || c.Flows == nil || c.Buckets == nil || c.Secret == nil || c.SecretByID == nil ||
		c.Seal == nil || c.Open == nil || c.Letter == nil {
		return nil, errors.New("login: Store, Flows, Buckets, Secret, SecretByID, Seal, Open and Letter are required")
	}
	e := &Engine{
		store: c.Store, flows: c.Flows, buckets: c.Buckets,
		secret: c.Secret, secretByID: c.SecretByID, seal: c.Seal, open: c.Open,
		letter: c.Letter, mailed: c.Mailed, signInURL: c.SignInURL, issuer: c.Issuer,
		domains: slices.Clone(c.Domains), proxied: c.Proxied, closed: c.Closed,
		now: c.Now, log: c.Log,
	}
	var err error
	if e.passwords, err = newHasher(c.Hashes, c.Bcrypt, c.Hasher); err != nil {
		return nil, err
	}
	if e.meters, err = newMeters(c.Meter, e.passwords); err != nil {
		return nil, err
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
	if e.log == nil {
		e.log = slog.Default()
	}
	if e.issuer == "" {
		e.issuer = "Gatehouse"
	}
	e.passwords.service = e.issuer
	return e, nil
}

// Kinds of events. Their outcome is "ok", or the reason of a refusal.
const (
	EventRegistered          = "user.registered"
	EventMailboxProved       = "user.mailbox_proved"
	EventSignIn              = "user.sign_in"
	EventSecondFactor        = "user.second_factor"
	EventCode                = "user.code"
	EventLimited             = "user.limited"
	EventResetAsked          = "user.reset_asked"
	EventPasswordReset       = "user.password_reset"
	EventPasswordChanged     = "user.password_changed"
	EventEmailChange         = "user.email_change"
	EventEmailChanged        = "user.email_changed"
	EventSecondFactorOn      = "user.second_factor_on"
	EventSecondFactorOff     = "user.second_factor_off"
	EventRecoveryUsed        = "user.recovery_used"
	EventRecoveryReplaced    = "user.recovery_replaced"
	EventSessionEnded        = "user.session_ended"
	EventAppWithdrawn        = "user.app_withdrawn"
	EventSignedOutEverywhere = "user.signed_out_everywhere"
	EventDeleted             = "user.deleted"
)

// eventOK is the outcome of an event that was no refusal.
const eventOK = "ok"

// limitTold bounds the events about a limit that refused: what anybody can
// cause without end is kept once.
var limitTold = storage.Bucket{Name: "limit.told", Limit: 1, Window: 30 * time.Minute}

// limitFlow is limit for the person of a flow, and keeps an event of a refusal.
func (e *Engine) limitFlow(ctx context.Context, v Verb, subject string, f storage.Flow, from From) (refund func(context.Context), err error) {
	refund, err = e.limitOf(ctx, v, subject, accountOf(f), f.UserID, from)
	return refund, e.tellLimit(ctx, err, string(v), accountOf(f), f.UserID, from)
}

// tellLimit returns err, after it kept an event when that is the refusal of a
// limit: one for each key and window.
func (e *Engine) tellLimit(ctx context.Context, err error, limit, key, userID string, from From) error {
	if !isRefusal(err, RateLimited) {
		return err
	}
	first, fault := e.once(ctx, limitTold, bucketKey(limit, key))
	if fault != nil {
		return fault
	}
	if first {
		e.record(ctx, EventLimited, userID, string(RateLimited), from, limit)
	}
	return err
}

// maxUserAgent is how much of a user agent is kept, in bytes.
const maxUserAgent = 256

// event is what happened, to be kept.
func (e *Engine) event(kind, userID, outcome string, from From, detail string) storage.Event {
	return storage.Event{
		ID: uuid.Must(uuid.NewV7()).String(), // the system's randomness never fails
		At: e.now().UTC(), Kind: kind, UserID: userID, Outcome: outcome,
		Address: from.Address, UserAgent: clip(from.UserAgent, maxUserAgent), Detail: detail,
	}
}

// record keeps what happened.
func (e *Engine) record(ctx context.Context, kind, userID, outcome string, from From, detail string) {
	e.keep(ctx, e.event(kind, userID, outcome, from, detail))
}

// keepWithin is how long the event of a request may take that nobody waits for
// any more.
const keepWithin = 5 * time.Second

// keep keeps an event. That it could not be kept stops nobody and is told to the
// log.
func (e *Engine) keep(ctx context.Context, v storage.Event) {
	err := e.store.AddEvent(ctx, v)
	if err != nil && ctx.Err() != nil {
		// Whoever caused it must not keep it out of the record by hanging up.
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepWithin)
		defer cancel()
		err = e.store.AddEvent(late, v)
	}
	if err != nil {
		e.log.ErrorContext(ctx, "event not kept", "kind", v.Kind, "outcome", v.Outcome, "err", err)
	}
}

// clip returns the first characters of s that fit into n bytes.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "")
	for len(s) > n {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// flowID is how storage knows a handle.
func flowID(handle string) string {
	sum := sha256.Sum256([]byte(handle))
	var text [2 * sha256.Size]byte
	return string(hex.AppendEncode(text[:0], sum[:]))
}

// handleLength is that of rand.Text.
const handleLength = 26

// flow returns the flow of a handle if it waits for one of the steps.
func (e *Engine) flow(ctx context.Context, handle string, steps ...Step) (storage.Flow, error) {
	if len(handle) != handleLength {
		return storage.Flow{}, refuse(Problem{Reason: Expired})
	}
	f, err := e.flows.Flow(ctx, flowID(handle))
	if errors.Is(err, storage.ErrNotFound) {
		return storage.Flow{}, refuse(Problem{Reason: Expired})
	}
	if err != nil {
		return storage.Flow{}, fmt.Errorf("login: read flow: %w", err)
	}
	if !slices.Contains(steps, Step(f.Step)) || !e.now().Before(f.ExpiresAt) {
		return storage.Flow{}, refuse(Problem{Reason: Expired})
	}
	return f, nil
}

// putFlow makes a flow of f that waits for a step, and returns its handle.
func (e *Engine) putFlow(ctx context.Context, f storage.Flow, s Step) (Challenge, error) {
	handle := rand.Text()
	f.ID, f.Step = flowID(handle), string(s)
	f.CreatedAt = e.now().UTC()
	f.ExpiresAt = f.CreatedAt.Add(challengeLife)
	if err := e.flows.PutFlow(ctx, f); err != nil {
		return Challenge{}, fmt.Errorf("login: put flow: %w", err)
	}
	return Challenge{Step: s, Handle: handle, Email: f.Email, ExpiresAt: f.ExpiresAt}, nil
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
// now.
func (e *Engine) complete(ctx context.Context, f storage.Flow) (storage.User, error) {
	if err := e.spend(ctx, f); err != nil {
		return storage.User{}, err
	}
	return e.flowUser(ctx, f)
}

// flowUser returns the user of a flow as they are now: what was true when the
// flow began may have changed since.
func (e *Engine) flowUser(ctx context.Context, f storage.Flow) (storage.User, error) {
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
	if Purpose(f.Purpose) == ToReset && storage.EmailKey(u.Email) != storage.EmailKey(f.Email) {
		return storage.User{}, refuse(Problem{Reason: Expired}) // the mailbox is the account's no more
	}
	return u, nil
}

// usable reports whether somebody with that status may go on. A status that we
// do not know is none.
func usable(s storage.UserStatus) bool {
	return s == storage.UserActive || s == storage.UserPending
}

// advance puts the person before the next step, or says who they proved to be.
func (e *Engine) advance(ctx context.Context, from From, f storage.Flow, u storage.User) (Outcome, error) {
	proven := make(Proofs, len(f.Proven))
	for i, p := range f.Proven {
		proven[i] = Step(p)
	}
	switch step := next(Purpose(f.Purpose), u, proven); step {
	case Done:
		return e.done(ctx, from, f, u, proven)
	case VerifyEmail, ConfirmReset:
		if err := e.mailBudget(ctx, u.Email, from, u.ID); err != nil {
			return nil, err
		}
		return e.mailCode(ctx, from, f, step, u, e.addLetter(ctx))
	default:
		c, err := e.putFlow(ctx, f, step)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
}

// done ends the way of a person.
func (e *Engine) done(ctx context.Context, from From, f storage.Flow, u storage.User, proven Proofs) (Outcome, error) {
	if Purpose(f.Purpose) == ToReset {
		e.meters.completions.Add(ctx, 1, f.Purpose)
		e.record(ctx, EventPasswordReset, u.ID, eventOK, from, "")
		return PasswordReset{}, nil
	}
	ok := e.event(EventSignIn, u.ID, eventOK, from, strings.Join(f.AMR, " "))
	if Purpose(f.Purpose) == ToSignIn && !proven.Has(VerifyEmail) && !e.knownDevice(ctx, from.Device, u.ID) {
		if err := e.tellOfSignIn(ctx, from, u, ok); err != nil {
			return nil, err
		}
	} else {
		e.keep(ctx, ok)
	}
	e.meters.completions.Add(ctx, 1, f.Purpose)
	return Authenticated{
		UserID: u.ID, Epoch: u.Epoch, At: e.now().UTC(), AMR: f.AMR,
		Device: e.newDevice(u.ID), RecoveryLeft: -1,
	}, nil
}

// firstWithin is for how long after an account was made a sign-in may be its first.
// Events are kept for longer, but not for ever: that none is kept of an older
// account says nothing.
const firstWithin = 365 * 24 * time.Hour

// tellOfSignIn keeps the event of a sign-in in a browser that the person has not
// signed in with, and writes a letter of it, unless it is the first of all.
func (e *Engine) tellOfSignIn(ctx context.Context, from From, u storage.User, ok storage.Event) error {
	row, err := e.notice(ctx, LetterNewSignIn, u, from)
	if err != nil {
		return err
	}
	if e.now().Sub(u.CreatedAt) > firstWithin {
		e.keep(ctx, ok)
		return e.committed(e.store.AddLetters(ctx, row))
	}
	told, err := e.store.AddRepeat(ctx, ok, row)
	if err != nil {
		return fmt.Errorf("login: keep sign-in: %w", err)
	}
	if told {
		e.mailed()
	}
	return nil
}

// addLetter returns how a letter is committed that reports nothing else.
func (e *Engine) addLetter(ctx context.Context) func(storage.Letter) error {
	return func(row storage.Letter) error { return e.store.AddLetters(ctx, row) }
}

// committed says that a letter was committed, unless err says otherwise.
func (e *Engine) committed(err error) error {
	if err != nil {
		return fmt.Errorf("login: write letter: %w", err)
	}
	e.mailed()
	return nil
}

// sealLetter returns the row that the outbox keeps of a letter.
func (e *Engine) sealLetter(ctx context.Context, l Letter) (storage.Letter, error) {
	row, err := e.letter(ctx, l)
	if err != nil {
		return storage.Letter{}, fmt.Errorf("login: seal letter: %w", err)
	}
	row.Kind, row.CreatedAt, row.Deadline = l.Kind, l.At, l.ExpiresAt
	return row, nil
}

// filler returns rows of letters for nobody: they have lost their point when
// they are written, and the relay drops them. They make a decoy cost what it
// stands for.
func (e *Engine) filler(ctx context.Context, n int) ([]storage.Letter, error) {
	var rows []storage.Letter
	for range n {
		now := e.now().UTC()
		row, err := e.sealLetter(ctx, Letter{Kind: LetterPasswordResetCode, At: now, ExpiresAt: now})
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// mailCode makes a flow of f that waits for a new code, and has commit write
// the letter that brings it to the user. The flow comes first: no letter
// brings a code that nothing waits for.
//
// A decoy waits for a code that nobody is told. Where somebody registered a
// taken address, the letter tells its owner why; else it is for nobody.
func (e *Engine) mailCode(ctx context.Context, from From, f storage.Flow, s Step, u storage.User, commit func(storage.Letter) error) (Outcome, error) {
	handle, code := rand.Text(), newCode()
	now := e.now().UTC()
	f.ID, f.Step = flowID(handle), string(s)
	f.CodeMAC = e.codeMAC(f.ID, code)
	f.CreatedAt, f.ExpiresAt = now, now.Add(challengeLife)

	l := Letter{Kind: LetterAccountVerification, To: u.Email, Code: code, Language: from.reads(u), At: now, ExpiresAt: f.ExpiresAt}
	if s == ConfirmReset {
		l.Kind = LetterPasswordResetCode
	}
	if f.Decoy {
		l = Letter{Kind: LetterAccountExists, To: u.Email, Link: e.signInURL, Language: u.Profile.Locale, At: now, ExpiresAt: now.Add(noticeLife)}
		if Purpose(f.Purpose) != ToRegister || u.Email == "" {
			l = Letter{Kind: LetterPasswordResetCode, At: now, ExpiresAt: now} // see filler
		}
	}
	row, err := e.sealLetter(ctx, l)
	if err != nil {
		return nil, err
	}
	if err := e.flows.PutFlow(ctx, f); err != nil {
		return nil, fmt.Errorf("login: put flow: %w", err)
	}
	if err := e.committed(commit(row)); err != nil {
		return nil, err
	}
	return Challenge{Step: s, Handle: handle, Email: f.Email, ExpiresAt: f.ExpiresAt}, nil
}

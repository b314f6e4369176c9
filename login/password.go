package login

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"

	"github.com/gatehouse-id/gatehouse/internal/meter"
)

// How many characters (Unicode code points, after NFKC) a password has.
const (
	MinPassword = 12
	MaxPassword = 128
)

//go:embed common.txt
var commonText string

// checkNewPassword is the policy for a password that a person chooses. It is
// never asked at sign-in.
func checkNewPassword(password, name, email string) Reason {
	if tooLongPassword(password) {
		return PasswordTooLong
	}
	password = norm.NFKC.String(password)
	switch n := utf8.RuneCountInString(password); {
	case n == 0:
		return PasswordMissing
	case n < MinPassword:
		return PasswordTooShort
	case n > MaxPassword:
		return PasswordTooLong
	case isCommon(password):
		return PasswordCommon
	case isPersonal(password, name, email):
		return PasswordPersonal
	}
	return ""
}

// maxPasswordBytes bounds a password before anything is done with it.
const maxPasswordBytes = 4 * MaxPassword

// tooLongPassword reports what is longer than any password, in whatever form of
// Unicode it came.
func tooLongPassword(password string) bool {
	return len(password) > maxPasswordBytes || utf8.RuneCountInString(password) > MaxPassword
}

// isCommon reports whether a password is one that attackers try first: one of
// the list, one of the list with digits and signs around it, or something short
// over and over.
func isCommon(password string) bool {
	p := strings.ToLower(password)
	core := strings.TrimFunc(p, func(r rune) bool { return !unicode.IsLetter(r) })
	unit := repeated(p)
	return listed(p) || listed(core) || listed(repeated(core)) || listed(unit) ||
		utf8.RuneCountInString(unit) <= 4
}

// isNameOf reports whether a password is the name of this service, once or over
// and over, with nothing but digits and signs around it.
func isNameOf(service, password string) bool {
	name := letters(service)
	return name != "" && repeated(letters(password)) == repeated(name)
}

// letters are those of s, folded.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) {
			return r
		}
		return -1
	}, fold(s))
}

// listed reports whether p is a line of the list, which is sorted after the line
// that says what it is.
func listed(p string) bool {
	_, rest, _ := strings.Cut(commonText, "\n")
	for rest != "" {
		start := strings.LastIndexByte(rest[:len(rest)/2], '\n') + 1
		line, after, _ := strings.Cut(rest[start:], "\n")
		switch {
		case p == line:
			return p != ""
		case p < line:
			rest = rest[:start]
		default:
			rest = after
		}
	}
	return false
}

// repeated returns the shortest text of which p is a repetition: p itself when
// there is no shorter.
func repeated(p string) string {
	for n := 1; n <= len(p)/2; n++ {
		if len(p)%n == 0 && p[n:] == p[:len(p)-n] {
			return p[:n]
		}
	}
	return p
}

// isPersonal reports whether a password contains the person's name, a word of
// it, their address or its local part. Words of fewer than four characters are
// in too many passwords to count.
func isPersonal(password, name, email string) bool {
	p := fold(password)
	local, _, _ := strings.Cut(email, "@")
	words := strings.Fields(name)
	words = append(words, name, strings.Join(words, ""), local)
	for _, w := range words {
		if w = fold(w); utf8.RuneCountInString(w) >= 4 && strings.Contains(p, w) {
			return true
		}
	}
	return false
}

func fold(s string) string {
	return strings.ToLower(norm.NFKC.String(strings.TrimSpace(s)))
}

// The cost of a new hash: the first choice of OWASP's password storage page
// that fits a small server.
const (
	argonMemory = 19 * 1024 // KiB
	argonTime   = 2
	argonLanes  = 1
	argonSalt   = 16
	argonKey    = 32
)

// HashMemory is how many bytes hashing one password by argon2id takes.
const HashMemory = argonMemory << 10

const (
	// hashQueue is how many wait, for each place, behind the one that hashes.
	hashQueue = 8
	// hashRetry is how long somebody waits whom the queue had no room for.
	hashRetry = 2 * time.Second
)

// bcryptCost is that of new hashes by bcrypt, and bcryptReads how many bytes of
// a password it reads.
const (
	bcryptCost  = 10
	bcryptReads = 72
	// bcryptAlphabet is its own base64.
	bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// A Hasher stands in for argon2id and bcrypt: see [Config.Hasher].
type Hasher interface {
	// Hash returns what is kept of a password.
	Hash(password string) (string, error)
	// Matches reports whether hash is of that password.
	Matches(hash, password string) (bool, error)
}

// A hasher makes and checks password hashes, so many at a time as it has places.
type hasher struct {
	// bcrypt makes new hashes by bcrypt instead of argon2id.
	bcrypt bool
	// instead makes and checks all hashes; nil but in benchmarks.
	instead Hasher
	// running holds a place for each hash in progress, queued one for each of
	// those and for each that waits.
	running, queued chan struct{}
	// decoy is a hash of the kind and cost of new ones, of no password.
	decoy string
	// service is our name, which is no password.
	service string
	// wait is how long people wait in the queue.
	wait *meter.Histogram
	// hashed is told of every hash made or checked; nil but in tests.
	hashed func()
}

func newHasher(places int, useBcrypt bool, instead Hasher) (*hasher, error) {
	if places == 0 {
		places = runtime.GOMAXPROCS(0)
	}
	h := &hasher{
		bcrypt:  useBcrypt,
		instead: instead,
		running: make(chan struct{}, places),
		queued:  make(chan struct{}, places*(1+hashQueue)),
	}
	var err error
	h.decoy, err = h.makeDecoy()
	return h, err
}

// makeDecoy makes a decoy. Where the key of a hash stands it has random bytes:
// they are of no password, and no server takes a hash's time and memory to start.
func (h *hasher) makeDecoy() (string, error) {
	if h.instead != nil {
		return h.instead.Hash(rand.Text())
	}
	if !h.bcrypt {
		random := make([]byte, argonSalt+argonKey)
		rand.Read(random) // never fails (see its documentation)
		return argonText(random[:argonSalt], random[argonSalt:]), nil
	}
	const salt, key = 22, 31 // characters
	random := make([]byte, salt+key)
	rand.Read(random)
	for i, b := range random {
		random[i] = bcryptAlphabet[b%64]
	}
	return fmt.Sprintf("$2a$%02d$%s", bcryptCost, random), nil
}

// create returns a new hash.
func (h *hasher) create(password string) (string, error) {
	if h.instead != nil {
		return h.instead.Hash(password)
	}
	if !h.bcrypt {
		return argonHash(password), nil
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(norm.NFKC.String(password)), bcryptCost)
	if err != nil {
		return "", fmt.Errorf("login: hash by bcrypt: %w", err)
	}
	return string(hash), nil
}

// policy is checkNewPassword, and what the choice of hash adds to it.
func (h *hasher) policy(password, name, email string) Reason {
	reason := checkNewPassword(password, name, email)
	if reason == "" && isNameOf(h.service, password) {
		return PasswordCommon
	}
	if reason == "" && h.bcrypt && !bcryptFits(password) {
		return PasswordTooManyBytes
	}
	return reason
}

func bcryptFits(password string) bool { return len(norm.NFKC.String(password)) <= bcryptReads }

// outdated reports whether hash, which is of that password, is of another kind
// or cost than a new one, and a new one can be made.
func (h *hasher) outdated(hash, password string) bool {
	if h.instead != nil {
		return false
	}
	if h.bcrypt {
		cost, err := bcrypt.Cost([]byte(hash))
		return (err != nil || cost != bcryptCost) && bcryptFits(password)
	}
	return !strings.HasPrefix(hash, argonPrefix)
}

// hash returns the hash of a new password in PHC string format, or bcrypt's
// own. It returns a Busy refusal when the queue is full.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	done, err := h.enter(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	return h.create(password)
}

// check reports whether hash is of that password. An empty hash is checked in
// the same time as a hash of the current kind and is of none; one of another
// kind, from elsewhere, takes its own time until its owner signs in. It returns a Busy refusal when
// the queue is full.
func (h *hasher) check(ctx context.Context, hash, password string) (bool, error) {
	done, err := h.enter(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	if hash == "" {
		_, err := h.matches(h.decoy, password)
		return false, err
	}
	return h.matches(hash, password)
}

// anyOf reports whether one of the hashes is of that password. It takes one place
// for all.
func (h *hasher) anyOf(ctx context.Context, hashes []string, password string) (bool, error) {
	done, err := h.enter(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	for _, hash := range hashes {
		if same, err := h.matches(hash, password); same || err != nil {
			return same, err
		}
	}
	return false, nil
}

// checkReused refuses a new password that is one of those before.
func (e *Engine) checkReused(ctx context.Context, hashes []string, password string) error {
	reused, err := e.passwords.anyOf(ctx, hashes, password)
	if err != nil {
		return err
	}
	if reused {
		return refuse(Problem{FieldPassword, PasswordReused})
	}
	return nil
}

// enter waits for a place to hash in.
func (h *hasher) enter(ctx context.Context) (done func(), _ error) {
	select {
	case h.queued <- struct{}{}:
	default:
		return nil, refuseFor(Busy, hashRetry)
	}
	came := time.Now()
	select {
	case h.running <- struct{}{}:
	case <-ctx.Done():
		<-h.queued
		return nil, fmt.Errorf("login: wait to hash: %w", ctx.Err())
	}
	h.wait.Record(ctx, time.Since(came))
	if h.hashed != nil {
		h.hashed()
	}
	return func() { <-h.running; <-h.queued }, nil
}

// HashPassword returns the hash of a password that an operator gives to an
// account, or a refusal when people might not choose it themselves. Who the
// account is for is not looked at, and nobody waits in a queue.
func HashPassword(password string) (string, error) {
	if reason := checkNewPassword(password, "", ""); reason != "" {
		return "", refuse(Problem{FieldPassword, reason})
	}
	return argonHash(password), nil
}

// argonPrefix begins every hash of the current kind and cost.
var argonPrefix = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, argonMemory, argonTime, argonLanes)

func argonHash(password string) string {
	salt := make([]byte, argonSalt)
	rand.Read(salt) // never fails (see its documentation)
	return argonText(salt, argon2.IDKey([]byte(norm.NFKC.String(password)), salt, argonTime, argonMemory, argonLanes, argonKey))
}

// argonText is a hash in PHC string format.
func argonText(salt, key []byte) string {
	return argonPrefix + fmt.Sprintf("%s$%s",
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

// matches reports whether hash is of that password.
func (h *hasher) matches(hash, password string) (bool, error) {
	if h.instead != nil {
		return h.instead.Matches(hash, password)
	}
	return matches(hash, password)
}

// matches reports whether hash, argon2id or bcrypt, is of that password.
func matches(hash, password string) (bool, error) {
	password = norm.NFKC.String(password)
	if strings.HasPrefix(hash, "$2") {
		err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("login: check bcrypt hash: %w", err)
		}
		// bcrypt reads 72 bytes; what it did not read has not been proved.
		return len(password) <= bcryptReads, nil
	}
	return argonMatches(hash, password)
}

func argonMatches(hash, password string) (bool, error) {
	malformed := errors.New("login: malformed password hash")
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return false, malformed
	}
	var memory, time uint32
	var lanes uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &lanes); err != nil || time == 0 || lanes == 0 {
		return false, malformed
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false, malformed
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) < 16 {
		return false, malformed
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, lanes, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

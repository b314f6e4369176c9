package login

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A Verb is something whose uses are limited.
type Verb string

const (
	VerbLogin        Verb = "login"
	VerbForgot       Verb = "forgot"
	VerbSecondFactor Verb = "second_factor"
	VerbVerifyEmail  Verb = "verify_email"
	VerbResend       Verb = "resend"
	VerbConfirmReset Verb = "confirm_reset"
	VerbNewPassword  Verb = "new_password"

	VerbChangePassword      Verb = "change_password"
	VerbChangeEmail         Verb = "change_email"
	VerbConfirmEmail        Verb = "confirm_email"
	VerbEnrollSecondFactor  Verb = "enroll_second_factor"
	VerbConfirmSecondFactor Verb = "confirm_second_factor"
	VerbDisableSecondFactor Verb = "disable_second_factor"
	VerbNewRecoveryCodes    Verb = "new_recovery_codes"
	VerbDeleteAccount       Verb = "delete_account"
)

// A layer is one bucket of a verb; the zero layer is none.
type layer struct {
	// by is what the uses are counted by, a word for the bucket's name and for
	// the reader of the table.
	by     string
	limit  int
	window time.Duration
}

// What uses are counted by.
const (
	byEmail     = "email"
	byChallenge = "challenge"
	byUser      = "user"
	byNetwork   = "network"
)

// What is limited besides verbs: letters that anybody can ask for, and requests
// to register, to sign in or for a reset.
const (
	limitMail    = "mail"
	limitNetwork = "sign_in"
)

// A rule is how the uses of a verb are limited. The first layer bounds guesses
// at what was asked for, the second those at the person, over any number of
// challenges.
type rule struct {
	verb          Verb
	first, second layer
	// kept says that a use which succeeds is counted too: what it bounds is not
	// guesses but what the verb does, which is to send a letter or to make new
	// secrets.
	kept bool
}

// rules is every limit by verb. The table in docs/limits.md is printed from it.
//
// Registration has none: it is limited by network and by mailbox. Verbs that
// guess nothing and send nothing (ending a session) have none either.
var rules = []rule{
	{VerbLogin, layer{byEmail, 5, 5 * time.Minute}, layer{}, false},
	{VerbForgot, layer{byEmail, 5, 5 * time.Minute}, layer{}, true},
	{VerbSecondFactor, layer{byChallenge, 5, 5 * time.Minute}, layer{byUser, 5, 30 * time.Minute}, false},
	{VerbVerifyEmail, layer{byChallenge, 5, 5 * time.Minute}, layer{byUser, 5, 30 * time.Minute}, false},
	{VerbResend, layer{byChallenge, 5, 5 * time.Minute}, layer{byUser, 5, 30 * time.Minute}, true},
	{VerbConfirmReset, layer{byChallenge, 5, 5 * time.Minute}, layer{byUser, 5, 30 * time.Minute}, false},
	{VerbNewPassword, layer{byChallenge, 5, 5 * time.Minute}, layer{byUser, 5, 30 * time.Minute}, false},
	{VerbChangePassword, layer{}, layer{byUser, 6, time.Hour}, false},
	{VerbChangeEmail, layer{}, layer{byUser, 6, time.Hour}, true},
	{VerbConfirmEmail, layer{}, layer{byUser, 6, time.Hour}, false},
	{VerbEnrollSecondFactor, layer{}, layer{byUser, 6, time.Hour}, true},
	{VerbConfirmSecondFactor, layer{}, layer{byUser, 6, time.Hour}, false},
	{VerbDisableSecondFactor, layer{}, layer{byUser, 6, time.Hour}, false},
	{VerbNewRecoveryCodes, layer{}, layer{byUser, 6, time.Hour}, true},
	{VerbDeleteAccount, layer{}, layer{byUser, 6, time.Hour}, false},
}

// mailLayers is how many letters that anybody can ask for go to one mailbox, the
// longest window first: whoever is refused is told the longest wait.
var mailLayers = []layer{
	{"day", 10, 24 * time.Hour},
	{"quarter", 4, 15 * time.Minute},
	{"minute", 1, time.Minute},
}

// networkLayer is how often one network may register, sign in or ask for a
// reset.
var networkLayer = layer{byNetwork, 60, time.Minute}

// limit counts a use of the verb, before anything is compared, and refuses with
// [RateLimited] when there were too many; what is refused is not counted. Refund
// takes the use back, and is for what succeeded; it is never nil.
//
// Subject is what the first layer counts by: the address, however it is
// written, or the id of the flow; verbs without a first layer take none. UserID is
// what the second counts by.
//
// A device that the account knows has buckets of its own: strangers who fail do
// not lock its owner out.
func (e *Engine) limit(ctx context.Context, verb Verb, subject, userID string, from From) (refund func(context.Context), err error) {
	return e.limitOf(ctx, verb, subject, userID, userID, from)
}

// limitOf is limit with something else than the user for the second layer to count
// by: for a flow it is accountOf(f).
func (e *Engine) limitOf(ctx context.Context, verb Verb, subject, account, userID string, from From) (refund func(context.Context), err error) {
	r, err := ruleOf(verb)
	if err != nil {
		return func(context.Context) {}, err
	}
	device := e.deviceOf(ctx, from.Device, userID)
	uses := make([]storage.Use, 0, 2)
	if r.first.by == byEmail { // all spellings of one address share one bucket
		subject = storage.EmailKey(subject)
	}
	if r.second.limit > 0 { // the longer one first: who is refused is told the longest wait
		uses = append(uses, r.second.use(string(verb), account, userID, device))
	}
	if r.first.limit > 0 {
		uses = append(uses, r.first.use(string(verb), subject, userID, device))
	}
	refund, err = e.take(ctx, uses)
	if r.kept {
		refund = func(context.Context) {}
	}
	return refund, err
}

// accountOf is whom the tries at a flow are counted for: the address that it began
// with. Of flows for one address some are decoys, which have no user, and some are
// not; counted apart, those would tell which.
func accountOf(f storage.Flow) string { return storage.EmailKey(f.Email) }

// mailBudget counts a letter that anybody can ask for, and refuses with
// [RateLimited] when the mailbox has had enough. UserID is whose mailbox it is,
// or empty; a device known to them has a budget of its own, so that strangers
// who ask for letters do not keep its owner from having one.
func (e *Engine) mailBudget(ctx context.Context, email string, from From, userID string) error {
	device := e.deviceOf(ctx, from.Device, userID)
	uses := make([]storage.Use, len(mailLayers))
	for i, l := range mailLayers {
		uses[i] = l.use(limitMail, mailboxKey(email), userID, device)
	}
	_, err := e.take(ctx, uses)
	return err
}

// network counts a request to register, to sign in or for a reset, and refuses
// with [RateLimited] when there were too many from one network. It counts
// nothing where a proxy does that.
func (e *Engine) network(ctx context.Context, from From) error {
	if e.proxied {
		return nil
	}
	network := networkOf(from.Address)
	_, err := e.take(ctx, []storage.Use{networkLayer.use(limitNetwork, network, "", "")})
	return e.tellLimit(ctx, err, byNetwork, network, "", from)
}

func ruleOf(v Verb) (rule, error) {
	for _, r := range rules {
		if r.verb == v {
			return r, nil
		}
	}
	return rule{}, fmt.Errorf("login: %q has no limit", v)
}

// use is one of the layer, counted by what; a device has its own.
func (l layer) use(verb, what, userID, device string) storage.Use {
	b := storage.Bucket{Name: verb + "." + l.by, Limit: l.limit, Window: l.window}
	if device == "" {
		return storage.Use{Bucket: b, Key: bucketKey(what)}
	}
	return storage.Use{Bucket: b, Key: bucketKey(what, userID, device)}
}

// take counts all uses or none. The first that is refused says how long to wait.
func (e *Engine) take(ctx context.Context, uses []storage.Use) (refund func(context.Context), err error) {
	none := func(context.Context) {}
	hits, err := e.buckets.Take(ctx, uses...)
	if err != nil {
		return none, fmt.Errorf("login: count a use of %s: %w", uses[0].Bucket.Name, err)
	}
	for i, h := range hits {
		if !h.Allowed {
			e.limited(ctx, uses[i].Bucket)
			return none, refuseFor(RateLimited, e.until(h.ResetAt, uses[i].Bucket.Window))
		}
	}
	return func(ctx context.Context) {
		// Whoever closed the connection still gets it back.
		if err := e.buckets.GiveBack(context.WithoutCancel(ctx), uses, hits); err != nil {
			e.log.WarnContext(ctx, "a use was not given back", "bucket", uses[0].Bucket.Name, "err", err)
		}
	}, nil
}

// once counts a use of something that is done or left out, and never refused.
func (e *Engine) once(ctx context.Context, b storage.Bucket, key string) (bool, error) {
	hits, err := e.buckets.Take(ctx, storage.Use{Bucket: b, Key: key})
	if err != nil {
		return false, fmt.Errorf("login: count a use of %s: %w", b.Name, err)
	}
	return hits[0].Allowed, nil
}

// until is how long a window lasts, in whole seconds. It is told by another
// clock than ours, so it is kept within what it can be.
func (e *Engine) until(end time.Time, window time.Duration) time.Duration {
	wait := end.Sub(e.now()) + time.Second - 1
	return min(max(wait.Truncate(time.Second), time.Second), window)
}

// bucketKey is how storage knows what is counted: it sees no address.
func bucketKey(parts ...string) string {
	var text [256]byte // of most, which then needs no memory of its own
	sum := sha256.Sum256(appendJoined(text[:0], parts))
	return string(hex.AppendEncode(text[:0], sum[:]))
}

// appendJoined appends the parts with zero bytes between them.
func appendJoined(b []byte, parts []string) []byte {
	for i, p := range parts {
		if i > 0 {
			b = append(b, 0)
		}
		b = append(b, p...)
	}
	return b
}

// mailboxKey is [storage.EmailKey] without what many mail servers ignore, the
// part of the local part from a plus sign on (RFC 5233): letters to all of
// those addresses arrive in one mailbox.
func mailboxKey(email string) string {
	key := storage.EmailKey(email)
	local, domain, _ := strings.Cut(key, "@")
	if base, _, tagged := strings.Cut(local, "+"); tagged && base != "" {
		return base + "@" + domain
	}
	return key
}

// networkOf is the address, or for IPv6 its /64, which is what one customer has
// at least (RFC 6177).
func networkOf(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return "unknown"
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return "unknown"
	}
	return p.String()
}

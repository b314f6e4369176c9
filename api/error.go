package api

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/provider"
)

// domain is whose the reasons of errors are.
const domain = "gatehouse.auth.v1"

// Reasons that no reason of the login engine is.
const (
	reasonInvalidRequest   = "INVALID_REQUEST"
	reasonMalformedRequest = "MALFORMED_REQUEST"
	reasonInvalidToken     = "INVALID_TOKEN"
	reasonUnavailable      = "UNAVAILABLE"
	reasonInternal         = "INTERNAL"
)

// outage is what a client is told to wait when a dependency is down.
const outage = 5 * time.Second

// A refusal is what a reason of the login engine becomes: a code, and a sentence
// for whoever writes the client.
type refusal struct {
	code     codes.Code
	sentence string
}

// refusals has every reason of the login engine.
var refusals = map[login.Reason]refusal{
	login.BadCredentials:       {codes.Unauthenticated, "The address or the password is wrong."},
	login.AccountRestricted:    {codes.PermissionDenied, "The account may not be used."},
	login.AlreadyVerified:      {codes.FailedPrecondition, "The mailbox was proved meanwhile; log in instead."},
	login.CodeMissing:          {codes.InvalidArgument, "The code is missing."},
	login.BadCode:              {codes.InvalidArgument, "The code is wrong."},
	login.CodeDead:             {codes.FailedPrecondition, "There were too many wrong codes; ask for a new one."},
	login.CodeUsed:             {codes.InvalidArgument, "The code was used before; wait for the next."},
	login.Expired:              {codes.Aborted, "The handle is unknown, spent, too old or of another step; begin anew."},
	login.TooSoon:              {codes.ResourceExhausted, "A code was mailed a moment ago."},
	login.Busy:                 {codes.ResourceExhausted, "Too many passwords are being hashed."},
	login.RateLimited:          {codes.ResourceExhausted, "This was tried too often."},
	login.SecondFactorLocked:   {codes.ResourceExhausted, "There were too many wrong codes in a row."},
	login.Reauthenticate:       {codes.FailedPrecondition, "The sign-in is too old for this; log in again."},
	login.WrongPassword:        {codes.InvalidArgument, "This is not the current password."},
	login.AlreadyOn:            {codes.FailedPrecondition, "Two-step sign-in is on already."},
	login.NotOn:                {codes.FailedPrecondition, "Two-step sign-in is not on."},
	login.NotFound:             {codes.NotFound, "The person has no such session or app."},
	login.RegistrationClosed:   {codes.FailedPrecondition, "Nobody may register here."},
	login.DomainNotAllowed:     {codes.InvalidArgument, "Addresses of this domain may not register."},
	login.NameMissing:          {codes.InvalidArgument, "The name is empty."},
	login.NameTooLong:          {codes.InvalidArgument, "The name has more than 100 characters."},
	login.NameMalformed:        {codes.InvalidArgument, "The name has characters that no name has."},
	login.EmailMissing:         {codes.InvalidArgument, "The address is empty."},
	login.EmailMalformed:       {codes.InvalidArgument, "The address is not one that mail could be sent to."},
	login.PasswordMissing:      {codes.InvalidArgument, "The password is empty."},
	login.PasswordTooShort:     {codes.InvalidArgument, "The password has fewer than 12 characters."},
	login.PasswordTooLong:      {codes.InvalidArgument, "The password has more than 128 characters."},
	login.PasswordTooManyBytes: {codes.InvalidArgument, "The password has more bytes than are hashed here."},
	login.PasswordReused:       {codes.InvalidArgument, "The password is one of the last five."},
	login.PasswordCommon:       {codes.InvalidArgument, "The password is one of those that attackers try first."},
	login.PasswordPersonal:     {codes.InvalidArgument, "The password contains the name or the address."},
}

// tell makes a status of a reason. Only details that say something are added.
func tell(code codes.Code, reason, sentence string, about map[string]string, details ...protoadapt.MessageV1) error {
	s, err := status.New(code, sentence).WithDetails(append([]protoadapt.MessageV1{
		&errdetails.ErrorInfo{Domain: domain, Reason: reason, Metadata: about},
	}, details...)...)
	if err != nil {
		panic(err) // of a code that is no error, which none of ours is
	}
	return s.Err()
}

// retry says how long to wait, in whole seconds.
func retry(after time.Duration) *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New((after + time.Second - 1).Truncate(time.Second))}
}

func malformed() error {
	return tell(codes.InvalidArgument, reasonMalformedRequest, "The request is not the message of this method.", nil)
}

func invalid(broken []*errdetails.BadRequest_FieldViolation) error {
	return tell(codes.InvalidArgument, reasonInvalidRequest, "The request breaks a rule of the contract.", nil,
		&errdetails.BadRequest{FieldViolations: broken})
}

func invalidToken() error {
	return tell(codes.Unauthenticated, reasonInvalidToken, "The token is missing, or not one that counts here.", nil)
}

// statusOf gives an error its status. A fault of ours is logged here, once, with
// its chain, under a reference that the client is told.
func (s *Server) statusOf(ctx context.Context, method string, request proto.Message, err error) error {
	if _, ok := status.FromError(err); ok {
		return err // it has one
	}
	if e, ok := errors.AsType[*login.Error](err); ok {
		if how, ok := refusals[e.Reason]; ok {
			return refused(how, request, e)
		}
	}
	p, ok := errors.AsType[*provider.Error](err)
	switch {
	case ok && p.Status == http.StatusTooManyRequests:
		how := refusals[login.RateLimited]
		return tell(how.code, reasonOf(login.RateLimited), how.sentence, nil, retry(p.RetryAfter))
	case ok && !p.Fault() && (p.Code == "invalid_grant" || p.Code == "invalid_token"):
		return invalidToken()
	case ctx.Err() != nil: // whatever failed, failed by it
		return status.FromContextError(ctx.Err()).Err()
	}
	ref := reference()
	about := map[string]string{"reference": ref}
	down := ok && p.Status == http.StatusServiceUnavailable || s.ready(ctx) != nil
	s.log.ErrorContext(ctx, "call failed", "method", method, "reference", ref, "unavailable", down, "err", chain(err))
	if down {
		return tell(codes.Unavailable, reasonUnavailable, "The server cannot do its work now.", about, retry(outage))
	}
	return tell(codes.Internal, reasonInternal, "The server met an unexpected condition.", about)
}

// chain is an error with what is behind it: that of the provider tells only what
// anybody may read.
func chain(err error) error {
	if p, ok := errors.AsType[*provider.Error](err); ok && p.Fault() {
		return errors.Unwrap(p)
	}
	return err
}

// refused is the status of a refusal.
func refused(how refusal, request proto.Message, e *login.Error) error {
	var details []protoadapt.MessageV1
	if e.RetryAfter > 0 {
		details = append(details, retry(e.RetryAfter))
	}
	var fields []*errdetails.BadRequest_FieldViolation
	for _, p := range e.Problems {
		if p.Field != "" {
			fields = append(fields, &errdetails.BadRequest_FieldViolation{
				Field: fieldOf(request, p.Field), Reason: reasonOf(p.Reason), Description: refusals[p.Reason].sentence,
			})
		}
	}
	if fields != nil {
		details = append(details, &errdetails.BadRequest{FieldViolations: fields})
	}
	return tell(how.code, reasonOf(e.Reason), how.sentence, nil, details...)
}

// reasonOf is a reason as ErrorInfo writes it.
func reasonOf(r login.Reason) string { return strings.ToUpper(string(r)) }

// fieldOf is the request's field for a word of the login engine, which is the
// same but for a code that is one of several: there it is the one that was sent.
func fieldOf(request proto.Message, word string) string {
	m := request.ProtoReflect()
	if one := m.Descriptor().Oneofs().ByName(protoreflect.Name(word)); one != nil {
		if f := m.WhichOneof(one); f != nil {
			return string(f.Name())
		}
	}
	return word
}

// reference is what somebody can quote and we can find in the log.
func reference() string {
	t := rand.Text()
	return t[:4] + "-" + t[4:8]
}

package api

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// begin says how long a call may take, when its headers have come: its request may
// take its time, or never come at all. The client's deadline, if it is earlier,
// stays. The streams of health and reflection end with the server, and nothing
// else would end them.
//
// Nobody here calls what cancels these contexts: grpc cancels the one that they are
// made of when the call has ended, and their timers with it.
func (s *Server) begin(ctx context.Context, call *tap.Info) (context.Context, error) {
	if !s.streams[call.FullMethodName] {
		ctx, _ = bounded(ctx)
		return ctx, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	forget := context.AfterFunc(s.stopping, cancel)
	context.AfterFunc(ctx, func() { forget() })
	return ctx, nil
}

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, maxTime)
}

// unary is what every call goes through. What costs least comes first: nobody
// looks at a token, let alone at a password, of a request that breaks a rule.
func (s *Server) unary(ctx context.Context, request any, call *grpc.UnaryServerInfo, next grpc.UnaryHandler) (response any, err error) {
	message, ok := request.(proto.Message)
	if !ok {
		return nil, s.statusOf(ctx, call.FullMethod, nil, fmt.Errorf("api: a request is a %T", request))
	}
	defer func() {
		if v := recover(); v != nil {
			// Whether or not anybody waits for the answer: the log is told.
			response, err = nil, s.statusOf(context.WithoutCancel(ctx), call.FullMethod, message, fmt.Errorf("api: panic: %v\n%s", v, debug.Stack()))
		}
	}()
	if broken := s.rules.check(message.ProtoReflect()); broken != nil {
		return nil, invalid(broken)
	}
	if needsToken(call.FullMethod) {
		who, err := s.authenticate(ctx)
		if err != nil {
			return nil, s.statusOf(ctx, call.FullMethod, message, err)
		}
		ctx = context.WithValue(ctx, whoKey{}, who)
	}
	response, err = next(ctx, request)
	if err != nil {
		return nil, s.statusOf(ctx, call.FullMethod, message, err)
	}
	return response, nil
}

// stream is what the streams of health and reflection go through; the contract
// has none.
func (s *Server) stream(srv any, stream grpc.ServerStream, call *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = s.statusOf(context.WithoutCancel(stream.Context()), call.FullMethod, nil, fmt.Errorf("api: panic: %v\n%s", v, debug.Stack()))
		}
	}()
	if needsToken(call.FullMethod) {
		return invalidToken()
	}
	return next(srv, stream)
}

// ours begins the methods of the contract. Those of one service are open to
// everybody; whatever else is added to the contract is closed until it is said
// here that it is not. Services that are not ours look after themselves.
var (
	ours = "/" + string(authv1.File_gatehouse_auth_v1_account_proto.Package()) + "."
	open = "/" + authv1.AuthenticationService_ServiceDesc.ServiceName + "/"
)

func needsToken(method string) bool {
	return strings.HasPrefix(method, ours) && !strings.HasPrefix(method, open)
}

// whoKey is where a call keeps whose account it is about.
type whoKey struct{}

// authenticate says who is at work by the access token, and by nothing else.
func (s *Server) authenticate(ctx context.Context) (login.Acting, error) {
	token, ok := bearer(metadata.ValueFromIncomingContext(ctx, "authorization"))
	if !ok {
		return login.Acting{}, invalidToken()
	}
	p, err := s.tokens.Verify(ctx, token)
	if err != nil {
		return login.Acting{}, err
	}
	return login.Acting{
		UserID: p.UserID, AuthTime: p.AuthTime, Keep: storage.Kept{Grant: p.GrantID}, From: s.from(ctx, ""),
	}, nil
}

// bearer returns the token of the one authorization there is (RFC 6750 section
// 2.1). The scheme's case does not matter (RFC 9110 section 11.1).
func bearer(authorization []string) (token string, ok bool) {
	if len(authorization) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(authorization[0], " ")
	token = strings.TrimLeft(token, " ")
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// who returns what authenticate found.
func who(ctx context.Context) login.Acting {
	who, ok := ctx.Value(whoKey{}).(login.Acting)
	if !ok {
		panic("api: a method of a person was called for nobody") // and not by unary
	}
	return who
}

// caller is from as the provider wants it.
func (s *Server) caller(ctx context.Context) provider.Caller {
	f := s.from(ctx, "")
	return provider.Caller{Address: f.Address, UserAgent: f.UserAgent}
}

package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
	"github.com/gatehouse-id/gatehouse/login"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
)

// What strangers may ask of the server before anybody looks at a request.
const (
	// maxMessage is more than the largest request that the contract allows, many
	// times. What is longer is refused by its length, before it is read.
	maxMessage = 64 << 10
	// maxHeader is all metadata of a call together.
	maxHeader = 16 << 10
	// maxCalls is how many calls one connection may have at once.
	maxCalls = 100
	// maxTime is how long a call may take, from its headers on and whatever its
	// deadline says.
	maxTime = 30 * time.Second
	// handshakeTime is how long a connection may take to begin.
	handshakeTime = 5 * time.Second
)

// Tokens gives tokens to people whom the login engine has proved, and says whom
// a token speaks for. It is met by [provider.FirstParty].
type Tokens interface {
	Issue(ctx context.Context, s storage.Session) (provider.Tokens, error)
	Refresh(ctx context.Context, from provider.Caller, token string) (provider.Tokens, error)
	Verify(ctx context.Context, token string) (provider.Person, error)
	Revoke(ctx context.Context, from provider.Caller, token string) error
}

// Config is what a Server is made of.
type Config struct {
	// Login holds the verbs. Required.
	Login *login.Engine
	// Tokens are those of the first-party client. Required.
	Tokens Tokens
	// TrustedProxies are the networks whose x-forwarded-for says where a call
	// came from. Nil believes nobody.
	TrustedProxies []netip.Prefix
	// Language is the one of ours that a BCP 47 tag asks for, empty for none. Nil
	// has none.
	Language func(tag string) string
	// Ready says whether and why not the server can do its work. When it cannot,
	// a fault is told as UNAVAILABLE. Nil is always.
	Ready func(context.Context) error
	// Reflection lets anybody ask for the contract. It is for development.
	Reflection bool
	// Options are further ones of the gRPC server: credentials, a stats handler.
	Options []grpc.ServerOption
	// Log is told of faults. Nil is slog.Default().
	Log *slog.Logger
}

// A Server is the gRPC face. It is safe for concurrent use.
type Server struct {
	login    *login.Engine
	tokens   Tokens
	proxies  []netip.Prefix
	language func(string) string
	ready    func(context.Context) error
	log      *slog.Logger
	rules    rules

	grpc   *grpc.Server
	health *health.Server
	// services are those whose health is told, beside that of the whole.
	services []string
	// streams are the methods that answer for as long as somebody listens, by
	// their full names. stopping ends them.
	streams  map[string]bool
	stopping context.Context
	stop     context.CancelFunc
}

// New returns a Server that does not serve yet.
func New(c Config) (*Server, error) {
	if c.Login == nil || c.Tokens == nil {
		return nil, errors.New("api: Login and Tokens are required")
	}
	rules, err := readRules(authv1.File_gatehouse_auth_v1_authentication_proto, authv1.File_gatehouse_auth_v1_account_proto)
	if err != nil {
		return nil, err
	}
	s := &Server{
		login: c.Login, tokens: c.Tokens, proxies: c.TrustedProxies, language: c.Language, ready: c.Ready, log: c.Log,
		rules: rules, health: health.NewServer(), streams: map[string]bool{},
	}
	if s.language == nil {
		s.language = func(string) string { return "" }
	}
	if s.ready == nil {
		s.ready = func(context.Context) error { return nil }
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(append([]grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")}),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.MaxConcurrentStreams(maxCalls),
		// No message needs a larger window: there is nothing to measure, which
		// costs a ping for each call, and a connection cannot make it grow.
		grpc.StaticStreamWindowSize(maxMessage),
		grpc.StaticConnWindowSize(1 << 20),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 15 * time.Minute,
			// Clients come back, and balancers see who has joined.
			MaxConnectionAge:      30 * time.Minute,
			MaxConnectionAgeGrace: maxTime,
			Time:                  time.Minute,
			Timeout:               20 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 30 * time.Second, PermitWithoutStream: true}),
		grpc.InTapHandle(s.begin),
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
	}, c.Options...)...)
	s.grpc.RegisterService(strict(authv1.AuthenticationService_ServiceDesc), authentication{Server: s})
	s.grpc.RegisterService(strict(authv1.AccountService_ServiceDesc), account{Server: s})
	for service := range s.grpc.GetServiceInfo() {
		s.services = append(s.services, service)
	}
	s.SetReady(true)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	if c.Reflection {
		reflection.Register(s.grpc)
	}
	for service, info := range s.grpc.GetServiceInfo() {
		for _, m := range info.Methods {
			s.streams["/"+service+"/"+m.Name] = m.IsClientStream || m.IsServerStream
		}
	}
	return s, nil
}

// strict is the service, with bytes that are not the request's message told as
// the client's fault. grpc by itself tells them as the server's, and repeats what
// is wrong with them.
func strict(d grpc.ServiceDesc) *grpc.ServiceDesc {
	methods := make([]grpc.MethodDesc, len(d.Methods))
	for i, m := range d.Methods {
		methods[i] = m
		methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			return m.Handler(srv, ctx, func(request any) error {
				r := received{message: request}
				if err := decode(&r); err != nil {
					return err // nothing was received, or too much
				}
				if r.err != nil {
					return malformed()
				}
				return nil
			}, intercept)
		}
	}
	d.Methods = methods
	return &d
}

// received is a message, or why it is none.
type received struct {
	message any
	err     error
}

// codec is protobuf's, and keeps the error of a message that is received: grpc
// answers an error before anybody else can.
type codec struct{ encoding.CodecV2 }

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*received)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	r.err = c.CodecV2.Unmarshal(data, r.message)
	return nil
}

// Serve answers at the listener, which it closes, until Stop. It may be called
// for several.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("api: serve: %w", err)
	}
	return nil
}

// SetReady tells those who ask for its health, or watch it, whether the server
// can do its work. After Leave it cannot.
func (s *Server) SetReady(ready bool) {
	status := healthv1.HealthCheckResponse_NOT_SERVING
	if ready {
		status = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", status)
	for _, service := range s.services {
		s.health.SetServingStatus(service, status)
	}
}

// Leave tells those who watch its health that the server is about to stop.
func (s *Server) Leave() { s.health.Shutdown() }

// Stop takes no more calls and waits for those there are. When ctx ends before
// they do, they are cut off, which is an error.
func (s *Server) Stop(ctx context.Context) error {
	s.Leave()
	s.stop()
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
		return fmt.Errorf("api: calls were cut off: %w", ctx.Err())
	}
}

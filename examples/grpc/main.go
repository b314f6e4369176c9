// Command grpc is an app that signs somebody in over gRPC, in a terminal: it
// follows the contract from step to step, whichever comes, and shows whom it has
// signed in.
//
//	GATEHOUSE_GRPC_ADDR=localhost:8081 gatehouse serve
//	go run ./examples/grpc -register
//	go run ./examples/grpc
//
// It talks to this machine without encryption. An app elsewhere uses
// credentials.NewTLS in place of insecure.NewCredentials, and nothing else
// differs.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	authv1 "github.com/gatehouse-id/gatehouse/api/gatehouse/auth/v1"
)

func main() {
	addr := flag.String("addr", "localhost:8081", "the gRPC `address` of the server")
	register := flag.Bool("register", false, "register an account first")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *addr, *register, os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", explain(err))
		os.Exit(1)
	}
}

// An app holds a connection and a conversation.
type app struct {
	authentication authv1.AuthenticationServiceClient
	account        authv1.AccountServiceClient
	in             *bufio.Reader
	out            io.Writer
}

func run(ctx context.Context, addr string, register bool, in io.Reader, out io.Writer) error {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing is left to be sent
	a := &app{
		authentication: authv1.NewAuthenticationServiceClient(conn), account: authv1.NewAccountServiceClient(conn),
		in: bufio.NewReader(in), out: out,
	}
	signIn := a.logIn
	if register {
		signIn = a.register
	}
	token, err := signIn(ctx)
	if err != nil {
		return err
	}
	if token, err = a.greet(ctx, token); err != nil {
		return err
	}
	_, err = a.authentication.Logout(ctx, &authv1.LogoutRequest{RefreshToken: token.GetRefreshToken()})
	if err == nil {
		_, err = fmt.Fprintln(out, "Signed out.")
	}
	return err
}

// register makes an account and proves its mailbox.
func (a *app) register(ctx context.Context) (*authv1.Token, error) {
	answers, err := a.ask("Name", "Email", "Password")
	if err != nil {
		return nil, err
	}
	r, err := a.authentication.Register(ctx, &authv1.RegisterRequest{Name: answers[0], Email: answers[1], Password: answers[2]})
	if err != nil {
		return nil, err
	}
	return a.verify(ctx, r.GetVerification())
}

// logIn goes wherever the answer says.
func (a *app) logIn(ctx context.Context) (*authv1.Token, error) {
	answers, err := a.ask("Email", "Password")
	if err != nil {
		return nil, err
	}
	r, err := a.authentication.Login(ctx, &authv1.LoginRequest{Email: answers[0], Password: answers[1]})
	if err != nil {
		return nil, err
	}
	switch next := r.GetNext().(type) {
	case *authv1.LoginResponse_Token:
		return next.Token, nil
	case *authv1.LoginResponse_Totp:
		return a.secondFactor(ctx, next.Totp)
	case *authv1.LoginResponse_Verification:
		return a.verify(ctx, next.Verification)
	default: // a step that this app is too old for
		return nil, fmt.Errorf("the server asks for %T", next)
	}
}

// verify proves the mailbox.
func (a *app) verify(ctx context.Context, c *authv1.Challenge) (*authv1.Token, error) {
	for {
		answers, err := a.ask("Code from your mail")
		if err != nil {
			return nil, err
		}
		r, err := a.authentication.AccountVerification(ctx, &authv1.AccountVerificationRequest{Handle: c.GetHandle(), Code: answers[0]})
		switch {
		case status.Code(err) == codes.InvalidArgument: // the handle is still good
			if _, err := fmt.Fprintln(a.out, explain(err)); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		case r.GetTotp() != nil:
			return a.secondFactor(ctx, r.GetTotp())
		}
		return r.GetToken(), nil
	}
}

// secondFactor proves it by the app or by a recovery code, which are told apart
// by their length.
func (a *app) secondFactor(ctx context.Context, c *authv1.Challenge) (*authv1.Token, error) {
	answers, err := a.ask("Code from your app, or a recovery code")
	if err != nil {
		return nil, err
	}
	r := &authv1.LoginTwoFactorRequest{Handle: c.GetHandle(), Code: &authv1.LoginTwoFactorRequest_Totp{Totp: answers[0]}}
	if len(answers[0]) >= 15 {
		r.Code = &authv1.LoginTwoFactorRequest_Recovery{Recovery: answers[0]}
	}
	in, err := a.authentication.LoginTwoFactor(ctx, r)
	return in.GetToken(), err
}

// greet uses the access token, and the refresh token when it has expired.
func (a *app) greet(ctx context.Context, token *authv1.Token) (*authv1.Token, error) {
	if time.Until(token.GetExpiresAt().AsTime()) < time.Minute {
		r, err := a.authentication.Refresh(ctx, &authv1.RefreshRequest{RefreshToken: token.GetRefreshToken()})
		if err != nil {
			return nil, err
		}
		token = r.GetToken() // the one before is spent
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token.GetAccessToken())
	p, err := a.account.Profile(ctx, &authv1.ProfileRequest{})
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(a.out, "Hello, %s <%s>.\n", p.GetName(), p.GetEmail())
	return token, err
}

// ask asks one question after another.
func (a *app) ask(questions ...string) (answers []string, _ error) {
	for _, q := range questions {
		if _, err := fmt.Fprint(a.out, q+": "); err != nil {
			return nil, err
		}
		line, err := a.in.ReadString('\n')
		if err != nil && !(errors.Is(err, io.EOF) && line != "") {
			return nil, err
		}
		answers = append(answers, strings.TrimSpace(line))
	}
	return answers, nil
}

// explain is an error as its details tell it.
func explain(err error) string {
	s := status.Convert(err)
	said := s.Message()
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			said += " (" + d.GetReason() + ")"
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				said += "\n  " + v.GetField() + ": " + v.GetDescription()
			}
		case *errdetails.RetryInfo:
			said += fmt.Sprintf("\n  Try again in %v.", d.GetRetryDelay().AsDuration())
		}
	}
	return said
}

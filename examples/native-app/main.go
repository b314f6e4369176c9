// Command native-app is an app of the command line that signs a person in with
// their own browser (RFC 8252). It is the program of docs/quickstart/native-app.md.
//
//	go run ./examples/native-app
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	issuer   = "http://localhost:8080"
	clientID = "notes-cli" // there is no secret: everybody has this program
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "native-app:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return err
	}
	// Port 0 is any that is free. Only this machine can reach it.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	config := oauth2.Config{
		ClientID: clientID, Endpoint: provider.Endpoint(), RedirectURL: "http://" + listener.Addr().String() + "/callback",
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
	}
	config.Endpoint.AuthStyle = oauth2.AuthStyleInParams

	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	address := config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier))
	if _, err := fmt.Fprintf(out, "If your browser does not open, open this:\n%s\n", address); err != nil {
		return err
	}
	openBrowser(ctx, address)
	code, err := await(ctx, listener, state)
	if err != nil {
		return err
	}

	tokens, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return err
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: clientID, SupportedSigningAlgs: []string{oidc.ES256}}).Verify(ctx, raw)
	if err != nil {
		return err
	}
	if id.Nonce != nonce {
		return errors.New("the ID token is of another sign-in")
	}
	// The ID token says who it is; name and address are asked for (UserInfo).
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil {
		return err
	}
	if info.Subject != id.Subject {
		return errors.New("the answer is about somebody else")
	}
	var who struct{ Name, Email string }
	if err := info.Claims(&who); err != nil {
		return err
	}
	// tokens.RefreshToken goes into the keyring of the system. A TokenSource
	// refreshes by itself; keep the refresh token that it has then: each is good
	// for one use.
	_, err = fmt.Fprintf(out, "Hello, %s <%s>.\n", who.Name, who.Email)
	return err
}

// await serves one answer of the provider, and returns the code in it.
func await(ctx context.Context, listener net.Listener, state string) (string, error) {
	type answer struct {
		code string
		err  error
	}
	answered := make(chan answer, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("state") != state || q.Get("iss") != issuer { // some other page of the browser
			http.Error(w, "This is not the answer to what was asked.", http.StatusBadRequest)
			return
		}
		a := answer{code: q.Get("code")}
		if q.Has("error") {
			a.err = errors.New(cmp.Or(q.Get("error_description"), q.Get("error")))
		}
		_, _ = fmt.Fprintln(w, "You can close this window.")
		select {
		case answered <- a:
		default: // the page was loaded again
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // it ends with Shutdown
	defer func() { _ = server.Shutdown(context.WithoutCancel(ctx)) }()
	select {
	case a := <-answered:
		return a.code, a.err
	case <-ctx.Done():
		return "", errors.New("nobody has signed in")
	}
}

// openBrowser opens the person's own browser: never a window inside the app,
// which could read the password (RFC 8252 section 8.12). Where it cannot, the
// address has been printed.
func openBrowser(ctx context.Context, address string) {
	name, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	_ = exec.CommandContext(ctx, name, args...).Start()
}

// Command api is an API that lets requests in by their access token, which it
// verifies by itself with the public keys of Gatehouse. It is the program of
// docs/quickstart/gateway.md.
//
//	go run ./examples/api
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	issuer   = "http://localhost:8080"
	audience = "https://api.example.org/notes" // this API, as its clients have it registered
)

func main() {
	provider, err := oidc.NewProvider(context.Background(), issuer)
	if err != nil {
		log.Fatal(err)
	}
	g := &guard{verifier: provider.Verifier(&oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.ES256}})}
	mux := http.NewServeMux()
	mux.Handle("GET /notes/", g.needs("notes", http.HandlerFunc(notes)))
	log.Print("listening at http://127.0.0.1:9000")
	server := &http.Server{Addr: "127.0.0.1:9000", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// notes answers who has been let in.
func notes(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(callerKey{}).(caller)
	if _, err := fmt.Fprintf(w, "The notes of %s.\n", c.Subject); err != nil {
		log.Print(err)
	}
}

// A caller is what a token says of who asks.
type caller struct {
	Subject string `json:"sub"`
	Client  string `json:"client_id"`
	Scope   string `json:"scope"`
}

type callerKey struct{}

// A guard verifies access tokens (RFC 9068 section 4).
type guard struct{ verifier *oidc.IDTokenVerifier }

// needs lets a request through to next if its token has the scope.
func (g *guard) needs(scope string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(kind, "Bearer") {
			refuse(w, http.StatusUnauthorized, "Bearer")
			return
		}
		c, err := g.verify(r.Context(), bearer)
		if err != nil {
			log.Print(err) // the caller is not told which check failed
			refuse(w, http.StatusUnauthorized, `Bearer error="invalid_token"`)
			return
		}
		if !slices.Contains(strings.Fields(c.Scope), scope) {
			refuse(w, http.StatusForbidden, fmt.Sprintf(`Bearer error="insufficient_scope", scope=%q`, scope))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

// verify holds the token to its signature, issuer, audience and expiry, and to
// being an access token.
func (g *guard) verify(ctx context.Context, token string) (c caller, _ error) {
	verified, err := g.verifier.Verify(ctx, token)
	if err != nil {
		return c, err
	}
	if typ := headerType(token); typ != "at+jwt" {
		return c, fmt.Errorf("the token is of the type %q", typ)
	}
	return c, verified.Claims(&c)
}

// headerType is typ of the header of a JWT that was verified.
func headerType(token string) string {
	first, _, _ := strings.Cut(token, ".")
	var header struct {
		Typ string `json:"typ"`
	}
	b, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil || json.Unmarshal(b, &header) != nil {
		return ""
	}
	return header.Typ
}

// refuse answers as RFC 6750 section 3 has it.
func refuse(w http.ResponseWriter, status int, challenge string) {
	w.Header().Set("WWW-Authenticate", challenge)
	http.Error(w, http.StatusText(status), status)
}

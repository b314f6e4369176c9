// Command machine is a service that has tokens of its own, without a person. It
// is the program of docs/quickstart/machine.md.
//
//	go run ./examples/machine                     # with CLIENT_SECRET
//	go run ./examples/machine -new-key key.json   # makes a key, prints its public half
//	go run ./examples/machine -key key.json       # with the key
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	issuer   = "http://localhost:8080"
	tokenURL = issuer + "/token"
	api      = "http://127.0.0.1:9000/notes/"
)

func main() {
	newKey := flag.String("new-key", "", "make a key in this `file`, and print the set of its public half")
	key := flag.String("key", "", "authenticate with the key in this `file`")
	assertion := flag.Bool("assertion", false, "with -key, print a client assertion and do nothing else")
	flag.Parse()
	if err := run(context.Background(), *newKey, *key, *assertion, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "machine:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, newKey, key string, assertion bool, out io.Writer) error {
	switch {
	case newKey != "":
		return makeKey(newKey, out)
	case assertion:
		s, err := newSigner(key)
		if err != nil {
			return err
		}
		made, err := s.assertion(time.Now())
		if err == nil {
			_, err = fmt.Fprintln(out, made)
		}
		return err
	}
	var source oauth2.TokenSource
	if key == "" {
		c := clientcredentials.Config{
			ClientID: "nightly", ClientSecret: os.Getenv("CLIENT_SECRET"), TokenURL: tokenURL,
			Scopes: []string{"notes"}, AuthStyle: oauth2.AuthStyleInHeader,
		}
		source = c.TokenSource(ctx) // which keeps the token until it expires
	} else {
		s, err := newSigner(key)
		if err != nil {
			return err
		}
		source = oauth2.ReuseTokenSource(nil, &keyed{ctx, s})
	}
	token, err := source.Token()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "A token for %v.\n", time.Until(token.Expiry).Round(time.Minute)); err != nil {
		return err
	}
	return call(ctx, oauth2.NewClient(ctx, source), out)
}

// call asks the API with a client that sends the token along.
func call(ctx context.Context, client *http.Client, out io.Writer) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, api, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %s", resp.Status, body)
	return err
}

// makeKey writes a private key to a file that only its owner reads.
func makeKey(file string, out io.Writer) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key := jose.JSONWebKey{Key: private, KeyID: rand.Text(), Algorithm: string(jose.ES256), Use: "sig"}
	secret, err := json.Marshal(key)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(secret)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
}

// A signer makes client assertions (RFC 7523 section 2.2).
type signer struct {
	client string
	jose   jose.Signer
}

func newSigner(file string) (*signer, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var key jose.JSONWebKey
	if err := json.Unmarshal(b, &key); err != nil {
		return nil, err
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	return &signer{"nightly-keyed", s}, err
}

// assertion says who asks whom, for a minute and for one use.
func (s *signer) assertion(now time.Time) (string, error) {
	return jwt.Signed(s.jose).Claims(jwt.Claims{
		Issuer: s.client, Subject: s.client, Audience: jwt.Audience{issuer},
		ID: rand.Text(), IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute)),
	}).Serialize()
}

// keyed gets a token with a new assertion each time.
type keyed struct {
	ctx    context.Context
	signer *signer
}

func (k *keyed) Token() (*oauth2.Token, error) {
	assertion, err := k.signer.assertion(time.Now())
	if err != nil {
		return nil, err
	}
	c := clientcredentials.Config{
		TokenURL: tokenURL, Scopes: []string{"notes"}, AuthStyle: oauth2.AuthStyleInParams,
		EndpointParams: url.Values{
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			"client_assertion":      {assertion},
		},
	}
	return c.Token(k.ctx)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/gatehouse-id/gatehouse/api"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/text"
)

// grpcDevClient is the client of gRPC in embedded mode, unless there is another.
const grpcDevClient = "dev-grpc"

// contradictionsOfGRPC are those of the keys of gRPC.
func (c *Config) contradictionsOfGRPC() []error {
	if c.GRPCAddr == "" {
		if c.GRPCClient+c.GRPCCert+string(c.GRPCKey)+c.GRPCClientCA != "" || c.GRPCInsecure || c.GRPCReflection {
			return []error{errors.New("GATEHOUSE_GRPC_ADDR is missing beside other keys of gRPC; set it, or unset them")}
		}
		return nil
	}
	var wrong []error
	if c.GRPCClient == "" && !c.Embedded() {
		wrong = append(wrong, errors.New("GATEHOUSE_GRPC_CLIENT is missing beside GATEHOUSE_GRPC_ADDR; set it to the id of a client made with --first-party"))
	}
	encrypted := c.GRPCCert != "" && c.GRPCKey != ""
	switch host, _, err := net.SplitHostPort(c.GRPCAddr); {
	case (c.GRPCCert == "") != (c.GRPCKey == ""):
		wrong = append(wrong, errors.New("GATEHOUSE_GRPC_TLS_CERT and GATEHOUSE_GRPC_TLS_KEY go together; set both or neither"))
	case !encrypted && c.GRPCClientCA != "":
		wrong = append(wrong, errors.New("GATEHOUSE_GRPC_CLIENT_CA goes with GATEHOUSE_GRPC_TLS_CERT; set that too"))
	case encrypted && c.GRPCInsecure:
		wrong = append(wrong, errors.New("GATEHOUSE_GRPC_INSECURE is for gRPC without GATEHOUSE_GRPC_TLS_CERT; unset it"))
	case !encrypted && !c.GRPCInsecure && !c.Embedded() && (err != nil || !loopback(host)):
		wrong = append(wrong, fmt.Errorf("GATEHOUSE_GRPC_ADDR is %s, open to other machines, and not encrypted; set GATEHOUSE_GRPC_TLS_CERT and GATEHOUSE_GRPC_TLS_KEY, or GATEHOUSE_GRPC_INSECURE=yes behind a proxy that encrypts", c.GRPCAddr))
	case encrypted:
		if _, err := c.grpcPair().parse(time.Now()); err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}

// grpcCredentials is what gRPC is encrypted by, nil for nothing.
func (s *server) grpcCredentials() (credentials.TransportCredentials, error) {
	if s.config.GRPCCert == "" {
		return nil, nil
	}
	pair, err := openCertificate(s.config.grpcPair(), s.log)
	if err != nil {
		return nil, err
	}
	s.grpcCertificate = pair
	s.jobs = append(s.jobs, pair.watch)
	if ca := s.config.GRPCClientCA; ca != "" {
		if pair.clients, err = openAuthorities("GATEHOUSE_GRPC_CLIENT_CA", ca, s.config.files["GATEHOUSE_GRPC_CLIENT_CA"]); err != nil {
			return nil, err
		}
	}
	return credentials.NewTLS(pair.config()), nil
}

// openGRPC makes the gRPC face, unless there is none.
func (s *server) openGRPC(ctx context.Context) error {
	c := s.config
	if c.GRPCAddr == "" {
		return nil
	}
	client, err := s.grpcClient(ctx)
	if err != nil {
		return err
	}
	options := s.tracedGRPC()
	switch creds, err := s.grpcCredentials(); {
	case err != nil:
		return err
	case creds != nil:
		options = append(options, grpc.Creds(creds))
	}
	s.api, err = api.New(api.Config{
		Login: s.login, Tokens: s.provider.FirstParty(client), TrustedProxies: c.TrustedProxies,
		Language: text.Match, Ready: s.isReady, Reflection: c.GRPCReflection || c.Embedded(),
		Options: options, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.api.ServeAuthorization(s.provider)
	return nil
}

// grpcClient is the id of the client whose tokens people get over gRPC, which
// must be able to have them.
func (s *server) grpcClient(ctx context.Context) (string, error) {
	id := s.config.GRPCClient
	if id == "" {
		return grpcDevClient, s.registerGRPCClient(ctx)
	}
	c, err := s.sql.Client(ctx, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return "", usagef("GATEHOUSE_GRPC_CLIENT is %q, which is no client; \"gatehouse client list\" lists those there are, and \"gatehouse client create --first-party\" makes one", id)
	case err != nil:
		return "", fmt.Errorf("read GATEHOUSE_GRPC_CLIENT: %w", err)
	case !c.FirstParty:
		return "", usagef("GATEHOUSE_GRPC_CLIENT is %q, which is not first-party; people would give it their passwords", id)
	case !slices.Contains(c.GrantTypes, "refresh_token"):
		return "", usagef("GATEHOUSE_GRPC_CLIENT is %q, which may not have refresh tokens; give it the grant refresh_token", id)
	}
	return id, nil
}

// registerGRPCClient makes the client of embedded mode.
func (s *server) registerGRPCClient(ctx context.Context) error {
	now := s.clock.Now()
	err := s.sql.CreateClient(ctx, storage.Client{
		ID: grpcDevClient, Name: "Example app over gRPC", AuthMethod: storage.AuthNone, FirstParty: true,
		// Nobody is sent there: a client that may refresh has an address.
		RedirectURIs: []string{"http://127.0.0.1/callback"},
		GrantTypes:   []string{"authorization_code", "refresh_token"},
		Scopes:       []string{"openid", "profile", "email", "offline_access"},
		CreatedAt:    now, UpdatedAt: now,
	})
	if err != nil && !errors.Is(err, storage.ErrConflict) {
		return fmt.Errorf("register the client %s: %w", grpcDevClient, err)
	}
	return nil
}

// listenGRPC opens the gRPC address, if there is one.
func (s *server) listenGRPC(ctx context.Context) ([]net.Listener, error) {
	if s.api == nil {
		return nil, nil
	}
	return listen(ctx, "GATEHOUSE_GRPC_ADDR", s.config.GRPCAddr)
}

// stopGRPC ends the calls there are.
func (s *server) stopGRPC(ctx context.Context) error {
	if s.api == nil {
		return nil
	}
	return s.api.Stop(ctx)
}

package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/handler/pkce"
)

// engineStore is fosite's storage over ours. One authorize request writes one
// record, one redemption spends it and inserts a grant, one refresh is one
// statement; every other call that fosite makes is answered from the unit of
// work or is nothing. fosite's transactions are not implemented, because there
// is nothing to bracket.
type engineStore struct{ p *Provider }

var (
	_ fosite.Storage                     = (*engineStore)(nil)
	_ oauth2.CoreStorage                 = (*engineStore)(nil)
	_ oauth2.TokenRevocationStorage      = (*engineStore)(nil)
	_ openid.OpenIDConnectRequestStorage = (*engineStore)(nil)
	_ pkce.PKCERequestStorage            = (*engineStore)(nil)
)

// errNotUsed answers a call that no handler we compose makes.
var errNotUsed = errors.New("provider: fosite asked storage for something it is not composed to need")

// GetClient is asked at the authorization endpoint alone, for the client that
// has been found already.
func (s *engineStore) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	w := workOf(ctx)
	if id != w.client.ID {
		return nil, fosite.ErrNotFound
	}
	return engineClient{Client: w.client, redirectURI: w.redirectURI}, nil
}

// CreateAuthorizeCodeSession writes the code with everything that belongs to it,
// PKCE and OpenID Connect included.
func (s *engineStore) CreateAuthorizeCodeSession(ctx context.Context, signature string, _ fosite.Requester) error {
	w := workOf(ctx)
	w.code.Hash = signature
	if err := s.p.codes.PutCode(ctx, w.code); err != nil {
		return w.failed(fmt.Errorf("provider: put code: %w", err))
	}
	return nil
}

// GetAuthorizeCodeSession redeems the code at its first call in a request.
// Races and replays have been settled when it returns, so fosite never sees an
// invalidated code, and the loser of a race gets invalid_grant (fosite-F19).
func (s *engineStore) GetAuthorizeCodeSession(ctx context.Context, _ string, _ fosite.Session) (fosite.Requester, error) {
	w := workOf(ctx)
	if w.grant == nil {
		if err := s.p.redeem(ctx, w); err != nil {
			return nil, err
		}
	}
	return s.stored(w), nil
}

// GetRefreshTokenSession rotates: it is called once, before anything is made.
func (s *engineStore) GetRefreshTokenSession(ctx context.Context, _ string, _ fosite.Session) (fosite.Requester, error) {
	w := workOf(ctx)
	if err := s.p.rotate(ctx, w); err != nil {
		return nil, err
	}
	return s.stored(w), nil
}

// stored is the authorize request behind the tokens as fosite wants to see it.
// Its redirect_uri is absent, because the script that redeemed the code has
// compared it, and a token request under PKCE may leave it out (fosite-F28).
func (s *engineStore) stored(w *work) fosite.Requester {
	r := fosite.NewRequest()
	r.ID = w.grant.ID
	r.Client = engineClient{Client: w.client}
	r.RequestedAt = w.now
	r.RequestedScope, r.GrantedScope = w.scopes, w.scopes
	r.Session = newEngineSession(w.grant.UserID)
	if w.code.Challenge != "" {
		r.Form.Set("code_challenge", w.code.Challenge)
		r.Form.Set("code_challenge_method", "S256")
	}
	return r
}

// GetPKCERequestSession returns the challenge of the code just redeemed. It is
// not forgotten when a verifier is wrong (fosite-F1): by then the code would
// not have been redeemed.
func (s *engineStore) GetPKCERequestSession(ctx context.Context, _ string, _ fosite.Session) (fosite.Requester, error) {
	w := workOf(ctx)
	if w.code.Challenge == "" {
		return nil, fosite.ErrNotFound
	}
	return s.stored(w), nil
}

func (s *engineStore) GetOpenIDConnectSession(ctx context.Context, _ string, _ fosite.Requester) (fosite.Requester, error) {
	w := workOf(ctx)
	for _, scope := range w.scopes {
		if scope == "openid" {
			return s.stored(w), nil
		}
	}
	return nil, openid.ErrNoSessionFound
}

// What follows has been done by the calls above.

func (*engineStore) InvalidateAuthorizeCodeSession(context.Context, string) error { return nil }
func (*engineStore) CreatePKCERequestSession(context.Context, string, fosite.Requester) error {
	return nil
}
func (*engineStore) DeletePKCERequestSession(context.Context, string) error { return nil }
func (*engineStore) CreateOpenIDConnectSession(context.Context, string, fosite.Requester) error {
	return nil
}
func (*engineStore) DeleteOpenIDConnectSession(context.Context, string) error { return nil }
func (*engineStore) CreateAccessTokenSession(context.Context, string, fosite.Requester) error {
	return nil
}
func (*engineStore) CreateRefreshTokenSession(context.Context, string, string, fosite.Requester) error {
	return nil
}
func (*engineStore) RotateRefreshToken(context.Context, string, string) error { return nil }

// What follows is never called: revocation, introspection and client assertions
// are ours.

func (*engineStore) GetAccessTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, errNotUsed
}
func (*engineStore) DeleteAccessTokenSession(context.Context, string) error  { return errNotUsed }
func (*engineStore) DeleteRefreshTokenSession(context.Context, string) error { return errNotUsed }
func (*engineStore) RevokeRefreshToken(context.Context, string) error        { return errNotUsed }
func (*engineStore) RevokeAccessToken(context.Context, string) error         { return errNotUsed }
func (*engineStore) ClientAssertionJWTValid(context.Context, string) error   { return errNotUsed }
func (*engineStore) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return errNotUsed
}

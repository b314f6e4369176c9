package provider

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/gatehouse-id/gatehouse/keys"
	"github.com/gatehouse-id/gatehouse/storage"
)

const (
	// logoutTokenLife is as short as a logout token may well be (OIDC
	// Back-Channel Logout section 2.4): each try has one of its own.
	logoutTokenLife = 2 * time.Minute
	// tellTimeout ends one try, and tellLimit what is read of its answer.
	tellTimeout = 5 * time.Second
	tellLimit   = 4 << 10
)

// logoutEvent is the one member of a logout token's events.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logoutClaims is a logout token (OIDC Back-Channel Logout section 2.4). It has
// no nonce, so that no client takes it for an ID token.
type logoutClaims struct {
	Issuer    string              `json:"iss"`
	Subject   string              `json:"sub"`
	Audience  string              `json:"aud"`
	IssuedAt  int64               `json:"iat"`
	Expires   int64               `json:"exp"`
	JTI       string              `json:"jti"`
	Events    map[string]struct{} `json:"events"`
	SessionID string              `json:"sid"`
}

// ErrNobodyToTell says that the client is gone, or no longer wants to be told.
var ErrNobodyToTell = errors.New("the client has no back-channel logout URI any more")

// ErrNotAsked says that the client was not asked: what failed is ours.
var ErrNotAsked = errors.New("the client was not asked")

// TellLogout tells the client of n that the session has ended (OIDC Back-Channel
// Logout section 2.5): it makes one try, of five seconds at most, with a logout
// token signed now. It returns nil when the client has taken it (200, or the 204
// that section 2.8 lets pass), [ErrNobodyToTell], an error that wraps [ErrNotAsked],
// or why the try failed, in words that hold nothing of the answer.
func (p *Provider) TellLogout(ctx context.Context, n storage.Notice) error {
	client, err := p.clients.get(ctx, n.ClientID)
	switch {
	case errors.Is(err, storage.ErrNotFound), err == nil && client.Metadata.BackchannelLogoutURI == "":
		return ErrNobodyToTell
	case err != nil:
		return fmt.Errorf("%w: it could not be read: %w", ErrNotAsked, err)
	}
	now := p.now()
	token, err := p.sign(idTokenAlg(client), keys.TypeLogoutToken, logoutClaims{
		Issuer: p.issuer, Subject: n.UserID, Audience: client.ID, SessionID: n.SessionID,
		IssuedAt: now.Unix(), Expires: now.Add(logoutTokenLife).Unix(),
		JTI: rand.Text(), Events: map[string]struct{}{logoutEvent: {}},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotAsked, err)
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	status, err := p.egress.PostForm(ctx, client.Metadata.BackchannelLogoutURI, url.Values{"logout_token": {token}}, tellLimit)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the client did not answer within %v", tellTimeout)
	case err != nil:
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the address, which the client's registration has
		}
		return fmt.Errorf("the client was not reached: %w", err)
	case status != http.StatusOK && status != http.StatusNoContent:
		return fmt.Errorf("the client answered with the status %d", status)
	}
	return nil
}

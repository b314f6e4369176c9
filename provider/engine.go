package provider

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/handler/pkce"
	"github.com/ory/fosite/token/jwt"
)

// compose builds fosite's handlers once: code, PKCE and OpenID Connect at the
// authorization endpoint; code, refresh and client_credentials at the token
// endpoint. Nothing else is registered, so there is no implicit, hybrid or
// password grant to turn off (RFC 9700 sections 2.1.2 and 2.4). Order matters:
// PKCE and OpenID look at the code that the first handler has issued.
func compose(p *Provider) *fosite.Fosite {
	store := &engineStore{p}
	c := &engineConfig{Config: &fosite.Config{
		IDTokenIssuer:               p.issuer,
		AccessTokenIssuer:           p.issuer,
		AccessTokenLifespan:         p.life.access,
		IDTokenLifespan:             p.life.access,
		RefreshTokenLifespan:        p.life.refreshIdle,
		AuthorizeCodeLifespan:       p.life.code,
		MinParameterEntropy:         1, // state and nonce are the client's business
		EnforcePKCEForPublicClients: true,
		OmitRedirectScopeParam:      true,
		ScopeStrategy:               fosite.ExactScopeStrategy,
		// Resources are settled before fosite is asked (RFC 8707).
		AudienceMatchingStrategy: func([]string, []string) error { return nil },
		RedirectSecureChecker:    func(context.Context, *url.URL) bool { return true },
		ClientSecretsHasher:      refusingHasher{},
		ClientAuthenticationStrategy: func(ctx context.Context, _ *http.Request, _ url.Values) (fosite.Client, error) {
			return engineClient{Client: workOf(ctx).client}, nil
		},
	}}
	code := &oauth2.AuthorizeExplicitGrantHandler{
		AccessTokenStrategy: accessStrategy{p}, RefreshTokenStrategy: refreshStrategy{}, AuthorizeCodeStrategy: codeStrategy{},
		CoreStorage: store, TokenRevocationStorage: store, Config: c,
	}
	proof := &pkce.Handler{AuthorizeCodeStrategy: codeStrategy{}, Storage: store, Config: c}
	idToken := &openid.IDTokenHandleHelper{IDTokenStrategy: idTokenStrategy{p}}
	connect := &openid.OpenIDConnectExplicitHandler{
		OpenIDConnectRequestStorage:   store,
		OpenIDConnectRequestValidator: openid.NewOpenIDConnectRequestValidator(nil, c),
		Config:                        c, IDTokenHandleHelper: idToken,
	}
	refresh := &oauth2.RefreshTokenGrantHandler{
		AccessTokenStrategy: accessStrategy{p}, RefreshTokenStrategy: refreshStrategy{},
		TokenRevocationStorage: store, Config: c,
	}
	connectRefresh := &openid.OpenIDConnectRefreshHandler{IDTokenHandleHelper: idToken, Config: c}
	credentials := &oauth2.ClientCredentialsGrantHandler{
		HandleHelper: &oauth2.HandleHelper{AccessTokenStrategy: accessStrategy{p}, AccessTokenStorage: store, Config: c},
		Config:       c,
	}
	c.authorize = fosite.AuthorizeEndpointHandlers{code, proof, connect}
	c.token = map[string]fosite.TokenEndpointHandlers{
		grantCode:        {code, proof, connect},
		grantRefresh:     {refresh, connectRefresh},
		grantCredentials: {credentials},
	}
	return &fosite.Fosite{Store: store, Config: c}
}

// engineConfig gives fosite the handlers of the grant type at hand alone; asked
// of all, each that is not responsible would cost an error.
type engineConfig struct {
	*fosite.Config
	authorize fosite.AuthorizeEndpointHandlers
	token     map[string]fosite.TokenEndpointHandlers
}

func (c *engineConfig) GetAuthorizeEndpointHandlers(context.Context) fosite.AuthorizeEndpointHandlers {
	return c.authorize
}

func (c *engineConfig) GetTokenEndpointHandlers(ctx context.Context) fosite.TokenEndpointHandlers {
	return c.token[workOf(ctx).form.Get("grant_type")]
}

// GetRefreshTokenScopes makes fosite issue a refresh token exactly when the
// unit of work holds one. fosite wants one of the scopes granted; none granted
// is ever empty.
func (c *engineConfig) GetRefreshTokenScopes(ctx context.Context) []string {
	if workOf(ctx).refreshToken != "" {
		return nil
	}
	return []string{""}
}

// refusingHasher stands where fosite would hash client secrets. We authenticate
// clients ourselves, so nothing may match here.
type refusingHasher struct{}

func (refusingHasher) Compare(context.Context, []byte, []byte) error { return fosite.ErrInvalidClient }
func (refusingHasher) Hash(context.Context, []byte) ([]byte, error) {
	return nil, fosite.ErrInvalidClient
}

// engineCode has fosite issue the code of a request that need has let through.
// fosite sees a request of its own: what was validated or decided before (prompt,
// max_age, hints) is not in it, and an absent state is "-", because fosite wants
// one (fosite-F2).
func (p *Provider) engineCode(ctx context.Context, q request, scopes []string, subject string) (string, error) {
	values := url.Values{
		"client_id": {q.client.ID}, "redirect_uri": {q.redirectURI},
		"response_type": {"code"}, "state": {orDefault(q.state, "-")},
	}
	if len(scopes) > 0 {
		values.Set("scope", joinScopes(scopes))
	}
	if q.challenge != "" {
		values.Set("code_challenge", q.challenge)
		values.Set("code_challenge_method", "S256")
	}
	workOf(ctx).redirectURI = q.redirectURI
	asked, err := p.engine.NewAuthorizeRequest(ctx, &http.Request{Method: http.MethodGet, Header: http.Header{}, Form: values})
	if err != nil {
		return "", err
	}
	for _, s := range scopes {
		asked.GrantScope(s)
	}
	answer, err := p.engine.NewAuthorizeResponse(ctx, asked, newEngineSession(subject))
	if err != nil {
		return "", err
	}
	return answer.GetCode(), nil
}

// engineTokens has fosite answer a token request whose client is authenticated.
func (p *Provider) engineTokens(ctx context.Context) (map[string]any, error) {
	w := workOf(ctx)
	r := &http.Request{Method: http.MethodPost, Header: http.Header{}, Form: w.form, PostForm: w.form}
	asked, err := p.engine.NewAccessRequest(ctx, r, newEngineSession(""))
	if err != nil {
		return nil, err
	}
	for _, s := range w.scopes {
		asked.GrantScope(s)
	}
	answer, err := p.engine.NewAccessResponse(ctx, asked)
	if err != nil {
		return nil, err
	}
	return answer.ToMap(), nil
}

// engineSession is what fosite carries between its handlers. Claims come from
// the unit of work; this holds only what fosite insists on.
type engineSession struct {
	claims  jwt.IDTokenClaims
	headers jwt.Headers
	expires map[fosite.TokenType]time.Time
}

func newEngineSession(subject string) *engineSession {
	s := &engineSession{expires: map[fosite.TokenType]time.Time{}}
	s.claims.Subject = subject
	return s
}

func (s *engineSession) IDTokenClaims() *jwt.IDTokenClaims { return &s.claims }
func (s *engineSession) IDTokenHeaders() *jwt.Headers      { return &s.headers }
func (s *engineSession) GetUsername() string               { return "" }
func (s *engineSession) GetSubject() string                { return s.claims.Subject }

func (s *engineSession) SetExpiresAt(t fosite.TokenType, at time.Time) { s.expires[t] = at }
func (s *engineSession) GetExpiresAt(t fosite.TokenType) time.Time     { return s.expires[t] }

func (s *engineSession) Clone() fosite.Session {
	c := newEngineSession(s.claims.Subject)
	for t, at := range s.expires {
		c.expires[t] = at
	}
	return c
}

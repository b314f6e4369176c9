package provider

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/gatehouse-id/gatehouse/storage"
)

// A RegistrationMode says who may register a client at the registration endpoint.
type RegistrationMode string

// The modes.
const (
	// RegistrationOff is nobody, which is also what the empty mode means.
	RegistrationOff RegistrationMode = "off"
	// RegistrationToken is whoever has the initial access token (RFC 7591 section
	// 3).
	RegistrationToken RegistrationMode = "token"
	// RegistrationOpen is anybody.
	RegistrationOpen RegistrationMode = "open"
)

// Registration says how clients may register themselves (RFC 7591).
type Registration struct {
	Mode RegistrationMode
	// Token is the initial access token of RegistrationToken.
	Token string
	// PerHour is how often one address, or one /64 of IPv6, may register a client or
	// change one in an hour: 20. A negative one is no limit.
	PerHour int
	// Clients is how many may have registered themselves: 10,000.
	Clients int
	// OptionalPKCE lets those that have a secret or a key go without PKCE, as
	// certification's plans do.
	OptionalPKCE bool
}

// registrationPath is where clients register, and with an id behind it where
// they find their registration.
const registrationPath = "/connect/register"

// newClientID returns an id that no person, client or operator has.
func newClientID() string { return strings.ToLower(rand.Text()) }

// registrable are the scopes of a client that registers itself: all of them when
// it names none, and no other.
var registrable = []string{"openid", "profile", "email", "address", "phone", "offline_access"}

// The error codes of registration (RFC 7591 section 3.2.2).
const (
	errRedirectURI       = "invalid_redirect_uri"
	errClientMetadata    = "invalid_client_metadata"
	errSoftwareStatement = "invalid_software_statement"
)

// clientMetadata is a registration document: what a client asks for, and what it
// got (RFC 7591 section 2, OIDC Registration section 2, RP-Initiated Logout
// section 3.1, Back-Channel Logout section 2.2, RFC 9701 section 6). Members
// that are not here are ignored, those among them that only an operator may set.
type clientMetadata struct {
	RedirectURIs            []string        `json:"redirect_uris,omitempty"`
	TokenEndpointAuthMethod string          `json:"token_endpoint_auth_method,omitempty"`
	AssertionAlg            string          `json:"token_endpoint_auth_signing_alg,omitempty"`
	GrantTypes              []string        `json:"grant_types,omitempty"`
	ResponseTypes           []string        `json:"response_types,omitempty"`
	ClientName              string          `json:"client_name,omitempty"`
	ClientURI               string          `json:"client_uri,omitempty"`
	LogoURI                 string          `json:"logo_uri,omitempty"`
	PolicyURI               string          `json:"policy_uri,omitempty"`
	TermsURI                string          `json:"tos_uri,omitempty"`
	Scope                   *string         `json:"scope,omitempty"`
	Contacts                []string        `json:"contacts,omitempty"`
	JWKSURI                 string          `json:"jwks_uri,omitempty"`
	JWKS                    json.RawMessage `json:"jwks,omitempty"`
	SoftwareID              string          `json:"software_id,omitempty"`
	SoftwareVersion         string          `json:"software_version,omitempty"`
	ApplicationType         string          `json:"application_type,omitempty"`
	SubjectType             string          `json:"subject_type,omitempty"`
	IDTokenAlg              string          `json:"id_token_signed_response_alg,omitempty"`
	UserInfoAlg             string          `json:"userinfo_signed_response_alg,omitempty"`
	IntrospectionAlg        string          `json:"introspection_signed_response_alg,omitempty"`
	DefaultMaxAge           *int64          `json:"default_max_age,omitempty"`
	RequireAuthTime         bool            `json:"require_auth_time,omitempty"`
	DefaultACR              []string        `json:"default_acr_values,omitempty"`
	InitiateLoginURI        string          `json:"initiate_login_uri,omitempty"`
	PostLogoutRedirectURIs  []string        `json:"post_logout_redirect_uris,omitempty"`
	BackchannelLogoutURI    string          `json:"backchannel_logout_uri,omitempty"`
	BackchannelSession      bool            `json:"backchannel_logout_session_required,omitempty"`
}

// askedMetadata is a document as it comes, with what is refused.
type askedMetadata struct {
	clientMetadata
	ClientID           string          `json:"client_id"`
	ClientSecret       string          `json:"client_secret"`
	SoftwareStatement  json.RawMessage `json:"software_statement"`
	SectorIdentifier   string          `json:"sector_identifier_uri"`
	IDTokenEncryption  string          `json:"id_token_encrypted_response_alg"`
	UserInfoEncryption string          `json:"userinfo_encrypted_response_alg"`
	CertificateBound   bool            `json:"tls_client_certificate_bound_access_tokens"`
	DPoPBound          bool            `json:"dpop_bound_access_tokens"`
	PushedOnly         bool            `json:"require_pushed_authorization_requests"`
	SignedRequestsOnly bool            `json:"require_signed_request_object"`
}

// A registrationAnswer is the client information response (RFC 7591 section
// 3.2.1, RFC 7592 section 3).
type registrationAnswer struct {
	ClientID         string `json:"client_id"`
	ClientSecret     string `json:"client_secret,omitempty"`
	ClientIDIssuedAt int64  `json:"client_id_issued_at"`
	// SecretExpiresAt is zero, for never, whenever there is a secret.
	SecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"`
	AccessToken     string `json:"registration_access_token"`
	URI             string `json:"registration_client_uri"`
	clientMetadata
}

// Register is the client registration endpoint (RFC 7591 section 3).
func (p *Provider) Register(w http.ResponseWriter, r *http.Request) {
	if p.preflight(w, r, http.MethodPost) {
		return
	}
	answer, e := p.register(w, r)
	if e != nil {
		p.writeRegistrationError(w, r, e)
		return
	}
	writeJSON(w, http.StatusCreated, answer)
}

func (p *Provider) register(w http.ResponseWriter, r *http.Request) (*registrationAnswer, *Error) {
	if e := method(w, r, http.MethodPost); e != nil {
		return nil, e
	}
	if !p.registers() {
		return nil, &Error{Status: http.StatusNotFound, Code: errInvalidRequest, Description: "Clients cannot register themselves at this server."}
	}
	if e := p.takeRegistration(r); e != nil {
		return nil, e
	}
	if p.registration.Mode == RegistrationToken {
		token, ok := bearerToken(r)
		if !ok || subtle.ConstantTimeCompare(sha256Of(token), sha256Of(p.registration.Token)) != 1 {
			return nil, errRegistrationToken
		}
	}
	asked, e := readMetadata(w, r)
	if e != nil {
		return nil, e
	}
	ctx, now := r.Context(), p.now()
	switch n, err := p.store.CountDynamicClients(ctx); {
	case err != nil:
		return nil, unavailable(fmt.Errorf("provider: count clients: %w", err))
	case n >= p.registration.Clients:
		p.log.WarnContext(ctx, "a client was not registered: there are too many that registered themselves", "clients", n)
		return nil, &Error{Status: http.StatusServiceUnavailable, Code: errUnavailable, Description: "This server takes no more clients."}
	}
	token := newSecret()
	c := storage.Client{
		ID: newClientID(), CreatedAt: now,
		OptionalPKCE: p.registration.OptionalPKCE,
		Registration: &storage.DynamicRegistration{TokenHash: sha256Of(token)},
	}
	secret, e := asked.into(&c, now)
	if e != nil {
		return nil, e
	}
	if err := p.store.CreateClient(ctx, c); err != nil {
		return nil, unavailable(fmt.Errorf("provider: create client: %w", err))
	}
	p.audit(r, storage.Event{Kind: "client.registered", ClientID: c.ID})
	if c.Metadata.LogoURI != "" {
		p.fetchLogo(ctx, c)
	}
	p.allowOrigin(w, r, c)
	return p.registrationAnswer(c, token, secret), nil
}

// setRegistration checks r and fills in its defaults.
func (p *Provider) setRegistration(r Registration) error {
	switch r.Mode {
	case "", RegistrationOff, RegistrationOpen:
	case RegistrationToken:
		if r.Token == "" {
			return errors.New("provider: registration by token needs the token")
		}
	default:
		return fmt.Errorf("provider: %q is not a registration mode", r.Mode)
	}
	r.PerHour, r.Clients = orDefault(r.PerHour, 20), orDefault(r.Clients, 10_000)
	p.registration = r
	return nil
}

// registers reports whether there is a registration endpoint.
func (p *Provider) registers() bool {
	return p.registration.Mode == RegistrationOpen || p.registration.Mode == RegistrationToken
}

// takeRegistration counts a registration, or a change of one, of an address: of its
// /64 where that is what one customer has at least (RFC 6177).
func (p *Provider) takeRegistration(r *http.Request) *Error {
	if p.registration.PerHour < 0 {
		return nil
	}
	b := storage.Bucket{Name: "client.register", Limit: p.registration.PerHour, Window: time.Hour}
	hits, err := p.buckets.Take(r.Context(), storage.Use{Bucket: b, Key: sha256Hex(network(p.address(r)))})
	switch {
	case err != nil:
		return unavailable(fmt.Errorf("provider: count a registration: %w", err))
	case !hits[0].Allowed:
		p.meters.limits.Add(r.Context(), 1, "registration")
		return &Error{
			Status: http.StatusTooManyRequests, Code: errUnavailable, RetryAfter: min(max(hits[0].ResetAt.Sub(p.now()), time.Second), b.Window),
			Description: "Too many clients were registered or changed from this address.",
		}
	}
	return nil
}

// network is the address or, for IPv6, its /64.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if a = a.Unmap(); err != nil || a.Is4() {
		return address
	}
	return netip.PrefixFrom(a.WithZone(""), 64).Masked().String()
}

// ClientConfiguration is the client configuration endpoint (RFC 7592 section 2):
// a client reads, replaces and deletes its own registration, by the token it
// was given for that. Whoever has not that token learns nothing, not even
// whether there is such a client.
func (p *Provider) ClientConfiguration(w http.ResponseWriter, r *http.Request) {
	if p.preflight(w, r, http.MethodGet, http.MethodPut, http.MethodDelete) {
		return
	}
	answer, e := p.configureClient(w, r)
	switch {
	case e != nil:
		p.writeRegistrationError(w, r, e)
	case answer == nil:
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, http.StatusOK, answer)
	}
}

// configureClient returns nothing when the registration was deleted.
func (p *Provider) configureClient(w http.ResponseWriter, r *http.Request) (*registrationAnswer, *Error) {
	if e := method(w, r, http.MethodGet, http.MethodPut, http.MethodDelete); e != nil {
		return nil, e
	}
	token, ok := bearerToken(r)
	if !ok {
		return nil, errRegistrationToken
	}
	ctx := r.Context()
	id := strings.TrimPrefix(r.URL.Path, registrationPath+"/")
	c, err := p.store.Client(ctx, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, errRegistrationToken
	case err != nil:
		return nil, unavailable(fmt.Errorf("provider: client: %w", err))
	case c.Registration == nil || subtle.ConstantTimeCompare(c.Registration.TokenHash, sha256Of(token)) != 1:
		return nil, errRegistrationToken
	}
	p.allowOrigin(w, r, c)
	now, secret := p.now(), ""
	switch r.Method {
	case http.MethodDelete:
		if err := p.store.DeleteClient(ctx, id, now); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, unavailable(fmt.Errorf("provider: delete client: %w", err))
		}
		p.clients.forget(id)
		p.audit(r, storage.Event{Kind: "client.deleted", ClientID: id})
		return nil, nil
	case http.MethodPut:
		if e := p.takeRegistration(r); e != nil {
			return nil, e
		}
		asked, e := readMetadata(w, r)
		if e != nil {
			return nil, e
		}
		if asked.ClientID != id {
			return nil, refuse(errClientMetadata, "The member client_id must be the client's.")
		}
		if asked.ClientSecret != "" && !secretMatches(c, asked.ClientSecret) {
			return nil, refuse(errClientMetadata, "A client cannot choose its client_secret.")
		}
		logo := c.Metadata.LogoURI
		if secret, e = asked.into(&c, now); e != nil {
			return nil, e
		}
		switch err := p.store.UpdateClient(ctx, c); {
		case errors.Is(err, storage.ErrNotFound):
			return nil, errRegistrationToken
		case err != nil:
			return nil, unavailable(fmt.Errorf("provider: update client: %w", err))
		}
		p.clients.forget(id)
		p.audit(r, storage.Event{Kind: "client.updated", ClientID: id})
		if logo != c.Metadata.LogoURI {
			p.fetchLogo(ctx, c)
		}
	}
	return p.registrationAnswer(c, token, secret), nil
}

// errRegistrationToken is the one answer to whoever has not the right token (RFC
// 7592 section 2, RFC 6750 section 3.1).
var errRegistrationToken = refuse(errInvalidToken, "The access token is missing or not the right one.")

// bearerToken finds the token of the Authorization header.
func bearerToken(r *http.Request) (string, bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", false
	}
	scheme, token, found := strings.Cut(headers[0], " ")
	token = strings.TrimSpace(token)
	return token, found && strings.EqualFold(scheme, "Bearer") && token != ""
}

func (p *Provider) writeRegistrationError(w http.ResponseWriter, r *http.Request, e *Error) {
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+p.issuer+`", error="`+errInvalidToken+`"`)
	}
	p.writeError(w, r, "registration", e)
}

// readMetadata reads a registration document.
func readMetadata(w http.ResponseWriter, r *http.Request) (*askedMetadata, *Error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" || r.Header.Get("Content-Encoding") != "" {
		return nil, refuse(errInvalidRequest, "The body must be application/json.")
	}
	if r.URL.RawQuery != "" {
		return nil, refuse(errInvalidRequest, "Parameters must be in the body, not in the query.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, &Error{Status: http.StatusRequestEntityTooLarge, Code: errInvalidRequest, Description: "The body is too large."}
	}
	asked := &askedMetadata{}
	if err != nil || !shallow(body) || !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) || json.Unmarshal(body, asked) != nil {
		return nil, refuse(errClientMetadata, "The body is not a JSON object, or one of its members is of the wrong type.")
	}
	return asked, nil
}

// into makes c what was asked for: everything that a client may say of itself,
// and nothing of what its operator has set. It returns the secret when the client
// gets a new one.
func (a *askedMetadata) into(c *storage.Client, now time.Time) (secret string, e *Error) {
	if e := a.refused(); e != nil {
		return "", e
	}
	c.AuthMethod = orDefault(a.TokenEndpointAuthMethod, storage.AuthSecretBasic)
	c.RedirectURIs = a.RedirectURIs
	c.GrantTypes = a.GrantTypes
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = []string{grantCode}
	}
	if slices.Contains(c.GrantTypes, grantCredentials) {
		return "", refuse(errClientMetadata, "The grant type client_credentials is for clients that the operator registers.")
	}
	// OIDC Registration section 2: RS256 when nothing is said.
	c.IDTokenAlg = orDefault(a.IDTokenAlg, "RS256")
	if a.Scope == nil {
		c.Scopes = slices.Clone(registrable)
	} else {
		asked, ok := scopeTokens(*a.Scope)
		if !ok {
			return "", refuse(errClientMetadata, "The scope is malformed.")
		}
		has := c.Scopes
		c.Scopes = slices.DeleteFunc(asked, func(s string) bool { return !slices.Contains(registrable, s) && !slices.Contains(has, s) })
	}
	c.Name = a.ClientName
	if c.Name == "" && len(a.RedirectURIs) > 0 {
		if u, err := url.Parse(a.RedirectURIs[0]); err == nil {
			c.Name = orDefault(u.Hostname(), u.Scheme)
		}
	}
	kept := c.Metadata
	c.Metadata = storage.ClientMetadata{
		URI: a.ClientURI, LogoURI: a.LogoURI, PolicyURI: a.PolicyURI, TermsURI: a.TermsURI, Contacts: a.Contacts,
		ApplicationType: a.ApplicationType, SoftwareID: a.SoftwareID, SoftwareVersion: a.SoftwareVersion,
		InitiateLoginURI:       a.InitiateLoginURI,
		PostLogoutRedirectURIs: a.PostLogoutRedirectURIs,
		BackchannelLogoutURI:   a.BackchannelLogoutURI, BackchannelSessionRequired: a.BackchannelSession,
		JWKSURI: a.JWKSURI, AssertionAlg: a.AssertionAlg,
		UserInfoAlg: a.UserInfoAlg, IntrospectionAlg: a.IntrospectionAlg,
		DefaultMaxAge: a.DefaultMaxAge, DefaultACR: a.DefaultACR, RequireAuthTime: a.RequireAuthTime,
		// The operator's, and a client that registers itself knows OIDC Core section
		// 9, which names the token endpoint as the audience.
		TokenURLAudience: kept.TokenURLAudience || c.AuthMethod == storage.AuthPrivateKey,
		Introspects:      kept.Introspects, Origins: kept.Origins, Accent: kept.Accent,
	}
	if len(a.JWKS) > 0 && !bytes.Equal(a.JWKS, []byte("null")) {
		c.Metadata.JWKS = a.JWKS
	}
	switch c.AuthMethod {
	case storage.AuthSecretBasic, storage.AuthSecretPost:
		if len(c.SecretHashes) == 0 {
			var hash []byte
			secret, hash = NewClientSecret()
			c.SecretHashes = [][]byte{hash}
		}
	default:
		c.SecretHashes = nil
	}
	c.OptionalPKCE = c.OptionalPKCE && !c.Public()
	c.UpdatedAt = now
	if err := ValidateClient(*c); err != nil {
		return "", metadataError(err)
	}
	return secret, nil
}

// refused says what of a document we cannot do, where ignoring it would have a
// client believe that we do.
func (a *askedMetadata) refused() *Error {
	switch {
	case len(a.SoftwareStatement) > 0 && !bytes.Equal(a.SoftwareStatement, []byte("null")):
		return refuse(errSoftwareStatement, "Software statements are not accepted.")
	case a.SubjectType != "" && a.SubjectType != "public", a.SectorIdentifier != "":
		return refuse(errClientMetadata, "The only subject_type is public; there are no sectors.")
	case slices.ContainsFunc(a.ResponseTypes, func(t string) bool { return t != "code" }):
		return refuse(errClientMetadata, "The only response type is code.")
	case a.IDTokenEncryption != "" || a.UserInfoEncryption != "":
		return refuse(errClientMetadata, "Nothing is encrypted to clients.")
	case a.CertificateBound, a.DPoPBound, a.PushedOnly, a.SignedRequestsOnly:
		return refuse(errClientMetadata, "Tokens are not bound to a key, and requests are neither pushed nor signed.")
	}
	return nil
}

// metadataError is what is wrong with a client in RFC 7591's words, without the
// value that is wrong.
func metadataError(err error) *Error {
	code, text := errClientMetadata, err.Error()
	if m, ok := errors.AsType[*wrongMember](err); ok {
		if m.member == "redirect_uris" {
			code = errRedirectURI
		}
		text = "the " + m.what + " " + m.why
	}
	return refuse(code, string(unicode.ToUpper(rune(text[0])))+text[1:]+".")
}

func (p *Provider) registrationAnswer(c storage.Client, token, secret string) *registrationAnswer {
	m := c.Metadata
	scope := strings.Join(c.Scopes, " ")
	a := &registrationAnswer{
		ClientID: c.ID, ClientSecret: secret, ClientIDIssuedAt: c.CreatedAt.Unix(),
		AccessToken: token, URI: p.issuer + registrationPath + "/" + c.ID,
		clientMetadata: clientMetadata{
			RedirectURIs: c.RedirectURIs, TokenEndpointAuthMethod: c.AuthMethod, AssertionAlg: m.AssertionAlg,
			GrantTypes: c.GrantTypes, ResponseTypes: []string{"code"}, ClientName: c.Name,
			ClientURI: m.URI, LogoURI: m.LogoURI, PolicyURI: m.PolicyURI, TermsURI: m.TermsURI,
			Scope: &scope, Contacts: m.Contacts, JWKSURI: m.JWKSURI, JWKS: m.JWKS,
			SoftwareID: m.SoftwareID, SoftwareVersion: m.SoftwareVersion,
			ApplicationType: orDefault(m.ApplicationType, "web"), SubjectType: "public",
			IDTokenAlg: idTokenAlg(c), UserInfoAlg: m.UserInfoAlg, IntrospectionAlg: m.IntrospectionAlg,
			DefaultMaxAge: m.DefaultMaxAge, RequireAuthTime: m.RequireAuthTime, DefaultACR: m.DefaultACR,
			InitiateLoginURI: m.InitiateLoginURI, PostLogoutRedirectURIs: m.PostLogoutRedirectURIs,
			BackchannelLogoutURI: m.BackchannelLogoutURI, BackchannelSession: m.BackchannelSessionRequired,
		},
	}
	if secret != "" {
		a.SecretExpiresAt = new(int64)
	}
	return a
}

// maxLogo is how many bytes a logo may have.
const maxLogo = 64 << 10

// logoTypes are the pictures that strangers may have shown on our pages. SVG is
// not among them: it is a document, with scripts and links.
var logoTypes = []string{"image/png", "image/jpeg", "image/webp"}

// fetchLogo fetches the picture that a client names, once, so that people's
// browsers never ask a stranger's server for it. What cannot be had is not
// shown. The client is registered by now: that it has hung up changes nothing,
// or the picture of before would be shown for the new one.
func (p *Provider) fetchLogo(ctx context.Context, c storage.Client) {
	ctx = context.WithoutCancel(ctx)
	var logo storage.Logo
	if c.Metadata.LogoURI != "" {
		d, err := p.egress.Get(ctx, c.Metadata.LogoURI, maxLogo)
		if err != nil {
			p.log.InfoContext(ctx, "the logo of a client was not fetched", "client", c.ID, "err", err)
		} else if t := http.DetectContentType(d.Body); slices.Contains(logoTypes, t) {
			logo = storage.Logo{Type: t, Bytes: d.Body}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, keepWithin)
	defer cancel()
	if err := p.store.SetLogo(ctx, c.ID, logo); err != nil {
		p.log.ErrorContext(ctx, "the logo of a client was not kept", "client", c.ID, "err", err)
	}
}

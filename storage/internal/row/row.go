// Package row turns rows into records. The generated code of both engines has
// the same fields, so a row of either converts to the type here, and does not
// compile when the engines drift apart.
package row

import (
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/internal/column"
)

// A User is a row of users.
type User struct {
	ID              string
	Email           string
	EmailKey        string
	Name            string
	EmailVerifiedAt column.Time
	Status          string
	Epoch           int64
	CreatedAt       column.Time
	UpdatedAt       column.Time
	SecondFactor    bool
	Profile         column.Profile
}

// Record returns the record of the row.
func (u User) Record() storage.User {
	return storage.User{
		ID:              u.ID,
		Email:           u.Email,
		Name:            u.Name,
		EmailVerifiedAt: time.Time(u.EmailVerifiedAt),
		Status:          storage.UserStatus(u.Status),
		SecondFactor:    u.SecondFactor,
		Profile:         storage.Profile(u.Profile),
		Epoch:           u.Epoch,
		CreatedAt:       time.Time(u.CreatedAt),
		UpdatedAt:       time.Time(u.UpdatedAt),
	}
}

// A TOTP is a row of totps.
type TOTP struct {
	UserID     string
	Sealed     []byte
	LastStep   int64
	CreatedAt  column.Time
	LastUsedAt column.Time
	Failures   int64
	FailedAt   column.Time
}

// Record returns the record of the row.
func (t TOTP) Record() storage.TOTP {
	return storage.TOTP{
		UserID:     t.UserID,
		Sealed:     t.Sealed,
		LastStep:   t.LastStep,
		CreatedAt:  time.Time(t.CreatedAt),
		LastUsedAt: time.Time(t.LastUsedAt),
		Failures:   int(t.Failures),
		FailedAt:   time.Time(t.FailedAt),
	}
}

// A Client is a row of clients.
type Client struct {
	ID               string
	Name             string
	AuthMethod       string
	SecretHashes     column.Sums
	RedirectURIs     column.Strings
	GrantTypes       column.Strings
	Scopes           column.Strings
	Resources        column.Strings
	FirstParty       bool
	OptionalPKCE     bool
	IDTokenAlg       string
	RefreshGrace     *int64
	CreatedAt        column.Time
	UpdatedAt        column.Time
	Metadata         column.Metadata
	Backchannel      bool
	RegistrationHash []byte
	UsedAt           column.Time
}

// Record returns the record of the row.
func (c Client) Record() storage.Client {
	return storage.Client{
		ID:           c.ID,
		Name:         c.Name,
		AuthMethod:   c.AuthMethod,
		SecretHashes: c.SecretHashes,
		RedirectURIs: c.RedirectURIs,
		GrantTypes:   c.GrantTypes,
		Scopes:       c.Scopes,
		Resources:    c.Resources,
		FirstParty:   c.FirstParty,
		OptionalPKCE: c.OptionalPKCE,
		IDTokenAlg:   c.IDTokenAlg,
		RefreshGrace: duration(c.RefreshGrace),
		Metadata:     storage.ClientMetadata(c.Metadata),
		Registration: registration(c.RegistrationHash, c.UsedAt),
		CreatedAt:    time.Time(c.CreatedAt),
		UpdatedAt:    time.Time(c.UpdatedAt),
	}
}

// A Consent is a row of consents.
type Consent struct {
	UserID    string
	ClientID  string
	Scopes    column.Strings
	GrantedAt column.Time
}

// Record returns the record of the row.
func (c Consent) Record() storage.Consent {
	return storage.Consent{
		UserID:    c.UserID,
		ClientID:  c.ClientID,
		Scopes:    c.Scopes,
		GrantedAt: time.Time(c.GrantedAt),
	}
}

// A Session is a row of sessions.
type Session struct {
	ID         string
	SecretHash []byte
	UserID     string
	UserEpoch  int64
	AuthTime   column.Time
	AMR        column.Strings
	Remember   bool
	CreatedAt  column.Time
	ExpiresAt  column.Time
	EndsAt     column.Time
	UserAgent  string
	Address    string
}

// Record returns the record of the row.
func (s Session) Record() storage.Session {
	return storage.Session{
		ID:         s.ID,
		SecretHash: s.SecretHash,
		UserID:     s.UserID,
		UserEpoch:  s.UserEpoch,
		AuthTime:   time.Time(s.AuthTime),
		AMR:        s.AMR,
		Remember:   s.Remember,
		CreatedAt:  time.Time(s.CreatedAt),
		ExpiresAt:  time.Time(s.ExpiresAt),
		EndsAt:     time.Time(s.EndsAt),
		UserAgent:  s.UserAgent,
		Address:    s.Address,
	}
}

// A Grant is a row of grants.
type Grant struct {
	ID            string
	HandleHash    []byte
	ClientID      string
	UserID        string
	UserEpoch     int64
	SessionID     string
	Scopes        column.Strings
	OfflineAccess bool
	Resources     column.Strings
	Nonce         string
	AuthTime      column.Time
	AMR           column.Strings
	JKT           string
	Generation    int64
	Outcome       string
	CreatedAt     column.Time
	RotatedAt     column.Time
	ExpiresAt     column.Time
	EndsAt        column.Time
	RevokedAt     column.Time
	Claims        column.Claims
}

// Record returns the record of the row.
func (g Grant) Record() storage.Grant {
	return storage.Grant{
		ID:         g.ID,
		HandleHash: g.HandleHash,
		ClientID:   g.ClientID,
		UserID:     g.UserID,
		UserEpoch:  g.UserEpoch,
		SessionID:  g.SessionID,
		Scopes:     g.Scopes,
		Resources:  g.Resources,
		Nonce:      g.Nonce,
		AuthTime:   time.Time(g.AuthTime),
		AMR:        g.AMR,
		Claims:     storage.ClaimsRequest(g.Claims),
		JKT:        g.JKT,
		Generation: g.Generation,
		CreatedAt:  time.Time(g.CreatedAt),
		RotatedAt:  time.Time(g.RotatedAt),
		ExpiresAt:  time.Time(g.ExpiresAt),
		EndsAt:     time.Time(g.EndsAt),
		RevokedAt:  time.Time(g.RevokedAt),
	}
}

// A Key is a row of keys.
type Key struct {
	ID          string
	Purpose     string
	Algorithm   string
	PublicJWK   []byte
	Sealed      []byte
	PublishedAt column.Time
	SigningAt   column.Time
	RetiredAt   column.Time
	GoneAt      column.Time
}

// Record returns the record of the row.
func (k Key) Record() storage.Key {
	return storage.Key{
		ID:          k.ID,
		Purpose:     k.Purpose,
		Algorithm:   k.Algorithm,
		Public:      k.PublicJWK,
		Sealed:      k.Sealed,
		PublishedAt: time.Time(k.PublishedAt),
		SigningAt:   time.Time(k.SigningAt),
		RetiredAt:   time.Time(k.RetiredAt),
		GoneAt:      time.Time(k.GoneAt),
	}
}

// A Letter is a row of letters.
type Letter struct {
	ID        string
	Kind      string
	Sealed    []byte
	CreatedAt column.Time
	Deadline  column.Time
	FailedAt  column.Time
	Failure   string
}

// Record returns the record of the row.
func (l Letter) Record() storage.Letter {
	return storage.Letter{
		ID:        l.ID,
		Kind:      l.Kind,
		Sealed:    l.Sealed,
		CreatedAt: time.Time(l.CreatedAt),
		Deadline:  time.Time(l.Deadline),
		FailedAt:  time.Time(l.FailedAt),
		Failure:   l.Failure,
	}
}

// An Event is a row of events.
type Event struct {
	ID         string
	OccurredAt column.Time
	Kind       string
	UserID     string
	ClientID   string
	Detail     string
	Outcome    string
	Address    string
	UserAgent  string
}

// Record returns the record of the row.
func (e Event) Record() storage.Event {
	return storage.Event{
		ID:        e.ID,
		At:        time.Time(e.OccurredAt),
		Kind:      e.Kind,
		UserID:    e.UserID,
		ClientID:  e.ClientID,
		Outcome:   e.Outcome,
		Address:   e.Address,
		UserAgent: e.UserAgent,
		Detail:    e.Detail,
	}
}

// A Revocation is a row of revocations.
type Revocation struct {
	Seq       int64
	Kind      string
	Target    string
	RevokedAt column.Time
	Until     column.Time
}

// Record returns the record of the row.
func (r Revocation) Record() storage.Revocation {
	return storage.Revocation{
		Seq:   r.Seq,
		Kind:  storage.RevocationKind(r.Kind),
		Key:   r.Target,
		At:    time.Time(r.RevokedAt),
		Until: time.Time(r.Until),
	}
}

// A Notice is a row of notices.
type Notice struct {
	ID          string
	ClientID    string
	UserID      string
	SessionID   string
	CreatedAt   column.Time
	DeliveredAt column.Time
	FailedAt    column.Time
	Failure     string
}

// Record returns the record of the row.
func (n Notice) Record() storage.Notice {
	return storage.Notice{
		ID:          n.ID,
		ClientID:    n.ClientID,
		UserID:      n.UserID,
		SessionID:   n.SessionID,
		CreatedAt:   time.Time(n.CreatedAt),
		DeliveredAt: time.Time(n.DeliveredAt),
		FailedAt:    time.Time(n.FailedAt),
		Failure:     n.Failure,
	}
}

// A Gateway is a row of gateways.
type Gateway struct {
	ID        string
	Name      string
	CreatedAt column.Time
	FetchedAt column.Time
	SeenKeys  column.Strings
}

// Record returns the record of the row.
func (g Gateway) Record() storage.Gateway {
	return storage.Gateway{
		ID:        g.ID,
		Name:      g.Name,
		CreatedAt: time.Time(g.CreatedAt),
		FetchedAt: time.Time(g.FetchedAt),
		SeenKeys:  g.SeenKeys,
	}
}

// Records returns the records of rows.
func Records[Row, Record any](rows []Row, record func(Row) Record) []Record {
	var records []Record
	for _, r := range rows {
		records = append(records, record(r))
	}
	return records
}

// Microseconds is how a client's grace is kept; nil stays nil.
func Microseconds(d *time.Duration) *int64 {
	if d == nil {
		return nil
	}
	return new(d.Microseconds())
}

func duration(us *int64) *time.Duration {
	if us == nil {
		return nil
	}
	return new(time.Duration(*us) * time.Microsecond)
}

// OfflineAccess reports whether the grant outlives the browser session it came
// from (OIDC Core section 11).
func OfflineAccess(g storage.Grant) bool { return slices.Contains(g.Scopes, "offline_access") }

// Backchannel reports whether the client is told when a session ends.
func Backchannel(c storage.Client) bool { return c.Metadata.BackchannelLogoutURI != "" }

// RegistrationHash is nil unless the client registered itself.
func RegistrationHash(c storage.Client) []byte {
	if c.Registration == nil {
		return nil
	}
	return c.Registration.TokenHash
}

// UsedAt is kept for a client that registered itself.
func UsedAt(c storage.Client) column.Time {
	if c.Registration == nil {
		return column.Time{}
	}
	return column.Time(c.Registration.UsedAt)
}

func registration(hash []byte, usedAt column.Time) *storage.DynamicRegistration {
	if hash == nil {
		return nil
	}
	return &storage.DynamicRegistration{TokenHash: hash, UsedAt: time.Time(usedAt)}
}

// ClientRevocation stops every token of a client that is deleted now, those
// included that a server still gives out from memory.
func ClientRevocation(id string, now time.Time) storage.Revocation {
	last := now.Add(storage.ClientMemory)
	return storage.Revocation{
		Kind:  storage.RevokedClient,
		Key:   id,
		At:    last,
		Until: last.Add(storage.AccessTokenLife + time.Minute),
	}
}

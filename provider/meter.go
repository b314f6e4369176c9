package provider

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-id/gatehouse/internal/meter"
	"github.com/gatehouse-id/gatehouse/storage"
)

// meters count what the endpoints answer. Their attributes are words of ours and
// of the specifications: no client and no person, of whom there is no end.
type meters struct {
	authorizations, tokens, rotations, redemptions *meter.Counter
	introspections, checks, revocations            *meter.Counter
	failures, limits, documents, endedSessions     *meter.Counter
}

func newMeters(m metric.Meter) (meters, error) {
	s := meter.On(m)
	c := meters{
		authorizations: s.Counter("gatehouse.authorize.requests", "{request}",
			"Visits to the authorization endpoint, by outcome: code, the page that comes next (login, register, select, consent), or an error code.", "outcome"),
		tokens: s.Counter("gatehouse.token.requests", "{request}",
			"Requests for tokens, by grant type (first_party is a sign-in over gRPC, other any that is not supported) and outcome: ok or an error code.", "grant_type", "outcome"),
		rotations: s.Counter("gatehouse.refresh.rotations", "{rotation}",
			"Refresh tokens presented, by result: rotated, repeated within the grace time, reused, which revokes the grant, or unknown.", "result"),
		redemptions: s.Counter("gatehouse.code.redemptions", "{redemption}",
			"Authorization codes presented, by result: redeemed, raced, replayed, which revokes the grant, or unknown.", "result"),
		introspections: s.Counter("gatehouse.introspection.requests", "{request}",
			"Introspections, by result: active, denied (revoked, ended, or of others), invalid (no live token of ours), refused (the request itself), or fault.", "result"),
		checks: s.Counter("gatehouse.gateway.checks", "{check}",
			"Questions of gateways, by result: active, denied (revoked, for another API, or too few scopes), invalid (no live token of ours, or none), or fault.", "result"),
		revocations: s.Counter("gatehouse.revocation.requests", "{request}",
			"Requests to revoke a token, by outcome: ok or an error code.", "outcome"),
		failures: s.Counter("gatehouse.client.authentication.failures", "{failure}",
			"Requests whose client was not authenticated, by the method used and the reason: malformed, unknown (client), method (not the one registered), credentials, limited, or fault.", "method", "reason"),
		limits: s.Counter("gatehouse.client.limit.refusals", "{refusal}",
			"Requests of apps that a limit refused, by limit: authentication, refresh, introspection, registration.", "limit"),
		documents: s.Counter("gatehouse.document.requests", "{request}",
			"Requests for public documents, by document (discovery, jwks) and status: 200 or 304.", "document", "status"),
		endedSessions: s.Counter("gatehouse.session.ends", "{session}", "Browser sessions that somebody ended by signing out."),
	}
	if err := s.Err(); err != nil {
		return c, fmt.Errorf("provider: %w", err)
	}
	c.authorizations.Begin([]string{"code", "login", "register", "select", "consent", errInvalidRequest, errServer, errUnavailable})
	for _, grantType := range []string{grantCode, grantRefresh, grantCredentials, grantFirstParty} {
		c.tokens.Begin([]string{outcomeOK, errInvalidGrant, errInvalidClient, errServer, errUnavailable}, grantType)
	}
	c.rotations.Begin([]string{string(storage.Rotated), string(storage.Repeated), string(storage.Reused), resultUnknown})
	c.redemptions.Begin([]string{string(storage.CodeRedeemed), string(storage.CodeRaced), string(storage.CodeReplayed), resultUnknown})
	c.introspections.Begin([]string{resultActive, resultDenied, resultInvalid, resultRefused, resultFault})
	c.checks.Begin([]string{resultActive, resultDenied, resultInvalid, resultFault})
	c.revocations.Begin([]string{outcomeOK, errUnavailable})
	for _, method := range []string{storage.AuthSecretBasic, storage.AuthSecretPost, storage.AuthPrivateKey} {
		c.failures.Begin([]string{"credentials", "limited", resultFault}, method)
	}
	c.limits.Begin([]string{"authentication", "refresh", "introspection", "registration"})
	c.documents.Begin([]string{"200", "304"}, "discovery")
	c.documents.Begin([]string{"200", "304"}, "jwks")
	c.endedSessions.Add(context.Background(), 0)
	return c, nil
}

// outcomeOK is the outcome of what was not refused. Other outcomes are error
// codes, none of which is "ok".
const outcomeOK = "ok"

func outcomeOf(err error) string {
	if err == nil {
		return outcomeOK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return errServer
}

// grantLabel is the grant type of a token request, without what strangers may
// write there.
func grantLabel(grantType string) string {
	switch grantType {
	case grantCode, grantRefresh, grantCredentials:
		return grantType
	}
	return "other"
}

// grantFirstParty is counted for tokens that no grant type asked for.
const grantFirstParty = "first_party"

// What comes of looking at a token.
const (
	resultActive  = "active"
	resultDenied  = "denied"
	resultInvalid = "invalid"
	resultRefused = "refused"
	resultFault   = "fault"
	resultUnknown = "unknown"
)

// checkResult is what a refused check is counted as: denied tokens are ours and
// alive, or were.
func checkResult(e *Error, ours bool) string {
	switch {
	case e.Fault():
		return resultFault
	case ours:
		return resultDenied
	}
	return resultInvalid
}

// Package provider speaks OAuth 2.1 and OpenID Connect. It is the only package
// that has heard of fosite: no exported identifier mentions one of its types.
//
//	endpoint                                  file             specification
//	GET, POST /authorize                      authorize.go     RFC 6749 section 4.1.1, OIDC Core section 3.1.2
//	POST /token                               token.go         RFC 6749 sections 4.1.3, 4.4, 6
//	GET, POST /userinfo                       userinfo.go      OIDC Core section 5.3
//	POST /introspect                          introspect.go    RFC 7662, RFC 9701
//	POST /revoke                              revoke.go        RFC 7009
//	GET, POST /logout (with a page)           logout.go        RP-Initiated Logout section 2
//	POST /connect/register, and what is below registration.go  RFC 7591, RFC 7592
//	/.well-known/openid-configuration         discovery.go     OIDC Discovery section 4
//	/.well-known/oauth-authorization-server   discovery.go     RFC 8414
//	/jwks                                     discovery.go     RFC 7517
//
// A request passes a guard (guard.go: method, content type, size, duplicates),
// then client authentication (authenticate.go, assertion.go), or the reading of
// an authorize request (request.go, claims.go, acr.go) and the dispatcher
// (need.go), then fosite, whose storage and token strategies are ours
// (fositestore.go, strategy.go). What one request has found and decided is kept
// in a unit of work (work.go). Answers and errors leave through one writer
// (error.go). What fosite would do otherwise is listed in fosite_test.go.
//
// The package knows neither how a person is proved nor what a page looks like.
// It sends the browser to a page with the id of an interaction and forgets it;
// pages come back to /authorize, where everything is read from storage and
// decided again.
package provider

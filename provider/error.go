package provider

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ory/fosite"
)

// An Error is a refusal in OAuth's words, or a fault of ours that is told as
// server_error or temporarily_unavailable. Nothing in it comes from the request
// but ClientID, so all but that may be shown to anybody.
type Error struct {
	// Status is the HTTP status when it is not told by redirect.
	Status int
	// Code is the registered error code (RFC 6749 sections 4.1.2.1 and 5.2, OIDC
	// Core section 3.1.2.6, RFC 8707 section 2).
	Code string
	// Description is one sentence for the app's developer, of the characters
	// that RFC 6749 allows.
	Description string
	// ClientID is the client_id as it was sent, for the error page; it may be
	// of nobody.
	ClientID string
	// RetryAfter is how long to wait before the same may succeed, zero when that
	// is not known.
	RetryAfter time.Duration
	// Reference is in the log line of the same error, for faults and pages.
	Reference string
	// cause is the fault behind it; nil for a refusal.
	cause error
}

func (e *Error) Error() string { return e.Code + ": " + e.Description }

func (e *Error) Unwrap() error { return e.cause }

// Fault reports whether the error is ours, not the client's.
func (e *Error) Fault() bool { return e.cause != nil }

// The error codes.
const (
	errInvalidRequest      = "invalid_request"
	errInvalidClient       = "invalid_client"
	errInvalidGrant        = "invalid_grant"
	errInvalidScope        = "invalid_scope"
	errInvalidTarget       = "invalid_target"
	errInvalidToken        = "invalid_token"
	errInsufficientScope   = "insufficient_scope"
	errUnauthorizedClient  = "unauthorized_client"
	errUnsupportedGrant    = "unsupported_grant_type"
	errUnsupportedResponse = "unsupported_response_type"
	errAccessDenied        = "access_denied"
	errLoginRequired       = "login_required"
	errConsentRequired     = "consent_required"
	errUnmetAuthentication = "unmet_authentication_requirements"
	errRequestUnsupported  = "request_not_supported"
	errRequestURI          = "request_uri_not_supported"
	errRegistration        = "registration_not_supported"
	errServer              = "server_error"
	errUnavailable         = "temporarily_unavailable"
)

// outage is what a client is told to wait when a dependency is down.
const outage = 5 * time.Second

// retryAfter tells how long to wait, in whole seconds (RFC 9110 section 10.2.3).
func (e *Error) retryAfter(h http.Header) {
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
}

func refuse(code, description string) *Error {
	status := http.StatusBadRequest
	switch code {
	case errInvalidClient, errInvalidToken:
		status = http.StatusUnauthorized
	case errInsufficientScope:
		status = http.StatusForbidden
	}
	return &Error{Status: status, Code: code, Description: description}
}

// unavailable is a fault of something we depend on.
func unavailable(cause error) *Error {
	return &Error{
		Status: http.StatusServiceUnavailable, Code: errUnavailable,
		Description: "The server cannot answer now. Try again in a moment.",
		RetryAfter:  outage,
		cause:       cause,
	}
}

// internal is a fault of our own.
func internal(cause error) *Error {
	return &Error{
		Status: http.StatusInternalServerError, Code: errServer,
		Description: "The server met an unexpected condition.",
		cause:       cause,
	}
}

// descriptions are what a client reads when fosite refused. fosite's own hints
// repeat what the request said and are for the log alone.
var descriptions = map[string]string{
	errInvalidRequest:      "The request is missing a required parameter, or one of its parameters is malformed.",
	errInvalidClient:       "Client authentication failed.",
	errInvalidGrant:        "The authorization code or refresh token is not valid for this client, or no longer.",
	errInvalidScope:        "The requested scope is not valid, or more than this client may ask for.",
	errUnauthorizedClient:  "The client is not registered for this grant type.",
	errUnsupportedGrant:    "This grant type is not supported.",
	errUnsupportedResponse: "This response type is not supported.",
	errAccessDenied:        "The person or the server denied the request.",
}

// fromFosite gives a fosite error its meaning here. A fault met in our own
// storage or signer while fosite was running is in the unit of work, because
// fosite flattens causes into text.
func fromFosite(err error, w *work) *Error {
	if w.fault != nil {
		return unavailable(w.fault)
	}
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	f := fosite.ErrorToRFC6749Error(err)
	if d, ok := descriptions[f.ErrorField]; ok && f.CodeField < http.StatusInternalServerError {
		return refuse(f.ErrorField, d)
	}
	return internal(fmt.Errorf("provider: fosite: %s: %s: %s: %w", f.ErrorField, f.HintField, f.DebugField, err))
}

// report logs the error, once: a fault with its chain, a refusal for whoever
// debugs a client. It returns a copy with a reference, since some refusals are
// shared by all requests.
func (p *Provider) report(ctx context.Context, endpoint string, shared *Error) *Error {
	own := *shared
	e := &own
	t := rand.Text()
	e.Reference = t[:4] + "-" + t[4:8]
	if e.Fault() {
		p.log.ErrorContext(ctx, "request failed", "endpoint", endpoint, "error", e.Code, "reference", e.Reference, "cause", e.cause)
		return e
	}
	p.log.LogAttrs(ctx, slog.LevelDebug, "request refused", slog.String("endpoint", endpoint),
		slog.String("error", e.Code), slog.String("description", e.Description), slog.String("reference", e.Reference))
	return e
}

// writeJSON answers with a JSON body that is never cached (RFC 6749 sections
// 5.1 and 5.2).
func writeJSON(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		// Bodies are maps and structs of text and numbers of ours.
		panic(fmt.Sprintf("provider: marshal a response: %v", err))
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// writeError tells an error of a JSON endpoint (RFC 6749 section 5.2).
func (p *Provider) writeError(w http.ResponseWriter, r *http.Request, endpoint string, e *Error) {
	e = p.report(r.Context(), endpoint, e)
	e.retryAfter(w.Header())
	if e.Status == http.StatusUnauthorized && e.Code == errInvalidClient {
		w.Header().Set("WWW-Authenticate", `Basic realm="`+p.issuer+`", charset="UTF-8"`)
	}
	writeJSON(w, e.Status, map[string]string{"error": e.Code, "error_description": e.Description})
}

// page shows an error where redirecting would be unsafe.
func (p *Provider) page(w http.ResponseWriter, r *http.Request, e *Error) {
	e = p.report(r.Context(), "authorize", e)
	e.retryAfter(w.Header())
	p.errorPage(w, r, e)
}

// answer answers an authorize request at the client's redirect URI, which has
// been matched against its registration. Every answer carries iss (RFC 9207),
// and state exactly when the request had one (RFC 6749 section 4.1.2).
func (p *Provider) answer(w http.ResponseWriter, r *http.Request, q request, values url.Values) {
	values.Set("iss", p.issuer)
	if q.state != "" {
		values.Set("state", q.state)
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Referrer-Policy", "no-referrer")
	if q.formPost {
		p.formPost(w, r, q.redirectURI, values)
		return
	}
	h.Set("Location", withQuery(q.redirectURI, values))
	w.WriteHeader(http.StatusSeeOther)
}

// withQuery adds parameters to a URI, whose own query stays as it is (RFC 6749
// section 3.1.2).
func withQuery(uri string, values url.Values) string {
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
		if strings.HasSuffix(uri, "?") || strings.HasSuffix(uri, "&") {
			separator = ""
		}
	}
	return uri + separator + values.Encode()
}

package provider

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// What a request may bring. Everything larger is refused before it is parsed.
const (
	maxBody       = 64 << 10
	maxURI        = 8 << 10
	maxParameters = 100
	maxScopes     = 100
	maxResources  = 20
)

// repeatable are the parameters that may be sent more than once (RFC 8707
// section 2).
var repeatable = map[string]bool{"resource": true}

// errDuplicate is the refusal of a parameter sent twice (RFC 6749 section 3.1).
var errDuplicate = refuse(errInvalidRequest, "A parameter is included more than once.")

// parameters drops empty values, which count as absent, and reports whether a
// parameter is there twice (RFC 6749 sections 3.1 and 3.2).
func parameters(raw url.Values) (clean url.Values, duplicate bool) {
	clean = make(url.Values, len(raw))
	for name, values := range raw {
		for _, v := range values {
			if v != "" {
				clean[name] = append(clean[name], v)
			}
		}
		if len(clean[name]) > 1 && !repeatable[name] {
			duplicate = true
		}
	}
	return clean, duplicate
}

// query parses the query component of a request.
func query(r *http.Request) (url.Values, *Error) {
	if len(r.URL.RawQuery) > maxURI {
		return nil, &Error{Status: http.StatusRequestURITooLong, Code: errInvalidRequest, Description: "The request URI is too long."}
	}
	if strings.Count(r.URL.RawQuery, "&") >= maxParameters {
		return nil, refuse(errInvalidRequest, "The request has too many parameters.")
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(errInvalidRequest, "The query is malformed.")
	}
	return values, nil
}

// form parses the body of a POST, which must be a form (RFC 6749 appendix B).
func form(w http.ResponseWriter, r *http.Request) (url.Values, *Error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" || len(r.Header.Values("Content-Type")) > 1 {
		return nil, refuse(errInvalidRequest, "The body must be application/x-www-form-urlencoded.")
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, refuse(errInvalidRequest, "The body must not be encoded.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, &Error{Status: http.StatusRequestEntityTooLarge, Code: errInvalidRequest, Description: "The body is too large."}
	}
	if err != nil {
		return nil, refuse(errInvalidRequest, "The body could not be read.")
	}
	if strings.Count(string(body), "&") >= maxParameters {
		return nil, refuse(errInvalidRequest, "The request has too many parameters.")
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refuse(errInvalidRequest, "The body is malformed.")
	}
	return values, nil
}

// method refuses everything but the methods allowed, with 405 and Allow (RFC
// 9110 section 15.5.6).
func method(w http.ResponseWriter, r *http.Request, allowed ...string) *Error {
	for _, m := range allowed {
		if r.Method == m {
			return nil
		}
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return &Error{Status: http.StatusMethodNotAllowed, Code: errInvalidRequest, Description: "This method is not allowed here."}
}

// postForm guards an endpoint that takes its parameters from the body of a POST
// alone: token requests (RFC 6749 section 3.2). Parameters in the query are
// refused, because secrets there end up in logs (OAuth 2.1 section 2.4.1).
func postForm(w http.ResponseWriter, r *http.Request) (url.Values, *Error) {
	if e := method(w, r, http.MethodPost); e != nil {
		return nil, e
	}
	if r.URL.RawQuery != "" {
		return nil, refuse(errInvalidRequest, "Parameters must be in the body, not in the query.")
	}
	values, e := form(w, r)
	if e != nil {
		return nil, e
	}
	clean, duplicate := parameters(values)
	if duplicate {
		return nil, errDuplicate
	}
	return clean, nil
}

// scopeTokens splits a scope parameter and reports whether it is well-formed
// (RFC 6749 section 3.3). Repeated tokens count once.
func scopeTokens(s string) ([]string, bool) {
	if s == "" {
		return nil, true
	}
	var out []string
	seen := map[string]bool{}
	for _, token := range strings.Split(s, " ") {
		if token == "" {
			continue
		}
		for i := range len(token) {
			if c := token[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
				return nil, false
			}
		}
		if !seen[token] {
			seen[token] = true
			out = append(out, token)
		}
	}
	return out, len(out) <= maxScopes
}

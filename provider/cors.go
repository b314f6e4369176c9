package provider

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/storage"
)

// preflightMaxAge is how long a browser may keep the answer to a preflight, in
// seconds.
const preflightMaxAge = "3600"

// preflight answers the question of a browser whether a script may send a
// request (Fetch section 3.3.6), and reports whether it was one. There is no
// client in that question, so it is answered for every origin an app may have;
// whether the script may read what comes back is decided when the client is
// known (allowOrigin). No answer allows credentials: cookies are never looked at
// here.
func (p *Provider) preflight(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if r.Method != http.MethodOptions || r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	h.Set("Cache-Control", "no-store")
	if origin, ok := originOf(r.Header.Get("Origin")); ok {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", preflightMaxAge)
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

// allowOrigin lets a script read the answer when its origin is one of the
// client's. It comes before anything is written.
func (p *Provider) allowOrigin(w http.ResponseWriter, r *http.Request, c storage.Client) {
	h := w.Header()
	if !slices.Contains(h.Values("Vary"), "Origin") {
		h.Add("Vary", "Origin")
	}
	sent := r.Header.Get("Origin")
	if sent == "" || !hasOrigin(c, sent) {
		return
	}
	h.Set("Access-Control-Allow-Origin", sent)
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
}

// allowClaimedOrigin is allowOrigin for the client that a request merely says it
// is from, so that a script of that client can read why it was refused. Nothing
// for which a client must be authenticated is in such an answer.
func (p *Provider) allowClaimedOrigin(w http.ResponseWriter, r *http.Request, form url.Values) {
	var c storage.Client
	if r.Header.Get("Origin") != "" {
		c, _ = p.clients.get(r.Context(), claimed(r, form)) // one that is not found has no origin
	}
	p.allowOrigin(w, r, c)
}

// claimed is the client that a request says it is from, which is not yet
// believed.
func claimed(r *http.Request, form url.Values) string {
	by, e := present(r.Header, form)
	if e != nil {
		return form.Get("client_id")
	}
	return by.id
}

// hasOrigin reports whether the origin is the client's: registered as such, or
// that of a redirect URI.
func hasOrigin(c storage.Client, origin string) bool {
	if slices.Contains(c.Metadata.Origins, origin) {
		return true
	}
	return slices.ContainsFunc(c.RedirectURIs, func(uri string) bool {
		o, ok := originOf(uri)
		return ok && o == origin
	})
}

// originOf returns the origin of an address as browsers write it (RFC 6454
// section 6.2): https, or http on this machine. Others have none here.
func originOf(address string) (string, bool) {
	u, err := url.Parse(address)
	if err != nil || !plainURI(address) || u.Hostname() == "" || u.User != nil ||
		u.Scheme != "https" && (u.Scheme != "http" || !loopbackName(u.Hostname())) {
		return "", false
	}
	host := strings.ToLower(u.Host)
	if port := u.Port(); port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme + "://" + host, true
}

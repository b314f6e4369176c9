package conformance_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// A party is the relying party: a server with an address for everything that a
// client registers. It is another site than the server under test.
type party struct {
	url, host string
	mu        sync.Mutex
	calls     []call
	documents map[string]document
}

// A document is what the party serves at a path.
type document struct{ contentType, body string }

// A call is a request that the party got.
type call struct {
	method, path, rawQuery string
	header                 http.Header
	body                   string
	tls                    uint16
}

// values are the parameters of a call: of its form, or of its query.
func (c call) values() url.Values {
	raw := c.rawQuery
	if c.method == http.MethodPost {
		raw = c.body
	}
	v, _ := url.ParseQuery(raw)
	return v
}

func newParty(t *testing.T, ca *authority) *party {
	t.Helper()
	p := &party{documents: map[string]document{}}
	s := httptest.NewUnstartedServer(p)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1")}}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	p.url, p.host = s.URL, strings.TrimPrefix(s.URL, "https://")
	return p
}

func (p *party) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	c := call{method: r.Method, path: r.URL.Path, rawQuery: r.URL.RawQuery, header: r.Header, body: string(body)}
	if r.TLS != nil {
		c.tls = r.TLS.Version
	}
	p.mu.Lock()
	p.calls = append(p.calls, c)
	d, found := p.documents[r.URL.Path]
	p.mu.Unlock()
	w.Header().Set("Cache-Control", "no-store")
	if found {
		w.Header().Set("Content-Type", d.contentType)
		_, _ = io.WriteString(w, d.body)
	}
}

// serve has the party serve a document, and returns its address.
func (p *party) serve(path, contentType, body string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.documents[path] = document{contentType, body}
	return p.url + path
}

// got returns the calls of a path, in order.
func (p *party) got(path string) (calls []call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		if c.path == path {
			calls = append(calls, c)
		}
	}
	return calls
}

// count is how many calls there were at all.
func (p *party) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls)
}

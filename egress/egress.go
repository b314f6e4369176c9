// Package egress fetches from addresses that strangers name: key sets, logos,
// back-channel logout.
//
// Whoever may name an address could otherwise have this server ask what only it
// can reach: its neighbours, its own ports, a cloud's metadata service. So a
// [Client] connects to public addresses alone, which is decided at the moment
// of the connection and of the address connected to, not of the name; it speaks
// https with verified certificates, follows no redirect, sends no cookie, uses
// no proxy, and reads little and not for long.
//
// The package knows nothing of OAuth.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrRefused says that an address may not be asked, ever: it will not help to
// try again.
var ErrRefused = errors.New("egress: the address is not allowed")

// timeout is how long a request may take in all, from the name to the last byte.
const timeout = 5 * time.Second

// maxHeader is how many bytes of header are read.
const maxHeader = 16 << 10

// Config says what a [Client] may reach beside public addresses at port 443.
type Config struct {
	// Allow are hosts ("idp.internal", "idp.internal:8443", "127.0.0.1:8443"),
	// which may then have any address, at that port or 443; and networks
	// ("10.0.0.0/8"), whose addresses may be reached at port 443.
	Allow []string
	// Roots are the certificates that sign those of servers. Nil is the
	// system's.
	Roots *x509.CertPool
	// Resolver looks names up. Nil is the system's.
	Resolver *net.Resolver
	// Observe, if not nil, is given what makes the requests, and returns what is
	// used instead and passes them on.
	Observe func(http.RoundTripper) http.RoundTripper
}

// A Client makes requests. It is safe for concurrent use.
type Client struct {
	// hosts are host:port that may have any address.
	hosts    map[string]bool
	networks []netip.Prefix
	resolver *net.Resolver
	http     *http.Client
}

// New checks c and makes a client of it.
func New(c Config) (*Client, error) {
	e := &Client{hosts: map[string]bool{}, resolver: c.Resolver}
	for _, entry := range c.Allow {
		if err := e.allow(entry); err != nil {
			return nil, err
		}
	}
	e.http = &http.Client{
		Transport: &http.Transport{
			DialContext:            e.dial,
			TLSClientConfig:        &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    timeout,
			DisableKeepAlives:      true, // requests are rare, and a connection kept is a check forgone
			DisableCompression:     true, // a small body must not become a large one
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if c.Observe != nil {
		e.http.Transport = c.Observe(e.http.Transport)
	}
	return e, nil
}

// allow takes over one entry of Config.Allow.
func (e *Client) allow(entry string) error {
	if p, err := netip.ParsePrefix(entry); err == nil {
		e.networks = append(e.networks, p.Masked())
		return nil
	}
	host, port, err := net.SplitHostPort(entry)
	if err != nil {
		host, port = strings.Trim(entry, "[]"), "443"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@?#*, ") {
		return fmt.Errorf("egress: %q is not a host, a host with a port or a network", entry)
	}
	e.hosts[strings.ToLower(net.JoinHostPort(host, port))] = true
	return nil
}

// Check returns ErrRefused, wrapped with what is wrong, for an address that
// could never be asked. It looks nothing up: what a name stands for is judged
// when it is connected to.
func (e *Client) Check(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || len(address) > 2000:
		return fmt.Errorf("%w: it is not a URL", ErrRefused)
	case u.Scheme != "https":
		return fmt.Errorf("%w: it is not https", ErrRefused)
	case u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf("%w: it has no host", ErrRefused)
	case u.User != nil:
		return fmt.Errorf("%w: it has a user name", ErrRefused)
	case strings.Contains(address, "#"):
		return fmt.Errorf("%w: it has a fragment", ErrRefused)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	if e.named(u.Hostname(), port) {
		return nil
	}
	if port != "443" {
		return fmt.Errorf("%w: its port is not 443", ErrRefused)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !e.reachable(ip) {
		return fmt.Errorf("%w: it is not public", ErrRefused)
	}
	return nil
}

// named reports whether the operator named the host with the port.
func (e *Client) named(host, port string) bool {
	return e.hosts[strings.ToLower(net.JoinHostPort(host, port))]
}

// reachable reports whether the address is public or in a network the operator
// named.
func (e *Client) reachable(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	for _, n := range e.networks {
		if n.Contains(ip) {
			return true
		}
	}
	return public(ip)
}

// dial connects to one of the addresses that host stands for. The check is in
// the last call before the connection and sees the address itself, so that a
// name which changes its address in between gains nothing.
func (e *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	named := e.named(host, port)
	d := net.Dialer{
		Resolver: e.resolver,
		Control: func(_, resolved string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(resolved)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrRefused, err)
			}
			if named || to.Port() == 443 && e.reachable(to.Addr()) {
				return nil
			}
			return fmt.Errorf("%w: it is not public", ErrRefused)
		},
	}
	return d.DialContext(ctx, network, address)
}

// A Document is what was fetched.
type Document struct {
	// Type is the Content-Type header.
	Type string
	Body []byte
}

// Get fetches the document at that address, of at most limit bytes. Anything
// but 200 is an error.
func (e *Client) Get(ctx context.Context, address string, limit int64) (Document, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := e.do(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Document{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode != http.StatusOK:
		return Document{}, fmt.Errorf("egress: the answer is %d, not 200", resp.StatusCode)
	case resp.Header.Get("Content-Encoding") != "":
		return Document{}, errors.New("egress: the answer is encoded, which was not asked for")
	case resp.ContentLength > limit:
		return Document{}, fmt.Errorf("egress: the answer has more than %d bytes", limit)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil {
		// A server whose handler ends because we hang up ends its answer properly, and
		// sometimes that is still read: half a document, whole to the eye.
		err = ctx.Err()
	}
	switch {
	case err != nil:
		return Document{}, fmt.Errorf("egress: read the answer: %w", err)
	case int64(len(body)) > limit:
		return Document{}, fmt.Errorf("egress: the answer has more than %d bytes", limit)
	}
	return Document{Type: resp.Header.Get("Content-Type"), Body: body}, nil
}

// PostForm sends form and returns the status of the answer, whose body, at most
// limit bytes of it, is read and dropped.
func (e *Client) PostForm(ctx context.Context, address string, form url.Values, limit int64) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := e.do(ctx, http.MethodPost, address, form)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, limit))
	return resp.StatusCode, nil
}

func (e *Client) do(ctx context.Context, method, address string, form url.Values) (*http.Response, error) {
	if err := e.Check(address); err != nil {
		return nil, err
	}
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	r.Header.Set("User-Agent", "Gatehouse")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := e.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	return resp, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// What strangers may ask of the server before anybody looks at a request.
const (
	maxURL = 8 << 10
	// maxHeader is all lines together. net/http allows 4 KB more than it is
	// told.
	maxHeader = 32<<10 - 4096
	// headerTime is how long a client may take over the header; bodies are at
	// most 64 KB.
	headerTime = 5 * time.Second
	readTime   = 15 * time.Second
	writeTime  = 30 * time.Second
	idleTime   = 2 * time.Minute
	// maxStreams is how many requests one HTTP/2 connection may have at once. A
	// browser asks for a page and what it is made of.
	maxStreams = 100
	// pingAfter is how long an HTTP/2 connection may say nothing while it has
	// requests, before it is asked whether it is there.
	pingAfter = 30 * time.Second
)

// newHTTPServer returns a server with a bound on everything that a slow or
// verbose client could hold. With a certificate it speaks HTTP/1.1 and HTTP/2
// over TLS, as clients choose (ALPN, RFC 7301); without one HTTP/1.1 alone.
func newHTTPServer(h http.Handler, c *certificate, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(c != nil)
	s := &http.Server{
		Handler:           boundURL(h),
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, WriteByteTimeout: writeTime},
		// What it has to say is about single clients: bad TLS, bad requests.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	if c != nil {
		s.TLSConfig = c.config()
	}
	return s
}

// serveHTTP serves at the listener as the server was made to.
func serveHTTP(s *http.Server, l net.Listener) error {
	if s.TLSConfig != nil {
		return s.ServeTLS(l, "", "") // the certificate is in TLSConfig
	}
	return s.Serve(l)
}

// boundURL answers 414 (RFC 9110 section 15.5.15) to a longer address than any
// of ours.
func boundURL(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.RequestURI) > maxURL {
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "The address is too long.", http.StatusRequestURITooLong)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// listen opens the address that the key of the environment names, which for
// localhost is one of IPv4 and one of IPv6: browsers take either.
func listen(ctx context.Context, key, addr string) ([]net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	hosts := []string{host}
	if host == "localhost" {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var open []net.Listener
	for _, h := range hosts {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(h, port))
		switch {
		case err == nil:
			open = append(open, l)
		case len(open) > 0 && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)):
			// A machine without IPv6.
		default:
			for _, l := range open {
				_ = l.Close() // nobody has used it
			}
			if errors.Is(err, syscall.EADDRINUSE) {
				return nil, fmt.Errorf("%s is %s, where another program listens; stop it or choose another port", key, addr)
			}
			return nil, fmt.Errorf("%s is %s, where one cannot listen: %w", key, addr, err)
		}
	}
	return open, nil
}

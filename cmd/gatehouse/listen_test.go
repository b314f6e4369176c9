package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/internal/testenv/freeport"
)

// serveLimits starts the HTTP server over a handler that says ok.
func serveLimits(t *testing.T, headerTime time.Duration) string {
	t.Helper()
	addr := "127.0.0.1:" + freePort(t)
	ls, err := listen(context.Background(), "GATEHOUSE_ADDR", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	}), nil, slog.New(slog.DiscardHandler))
	s.ReadHeaderTimeout = headerTime
	done := make(chan error, 1)
	go func() { done <- s.Serve(ls[0]) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return addr
}

func TestServerLimits(t *testing.T) {
	addr := serveLimits(t, headerTime)
	for _, tt := range []struct {
		name   string
		path   string
		header string
		want   int
	}{
		{"sec-P2 an address of 8 KB is read", "/" + strings.Repeat("a", maxURL-1), "", http.StatusOK},
		{"sec-P2 one byte more is 414", "/" + strings.Repeat("a", maxURL), "", http.StatusRequestURITooLong},
		{"sec-P2 headers of 30 KB are read", "/", strings.Repeat("a", 30<<10), http.StatusOK},
		{"sec-P2 headers of 33 KB are 431", "/", strings.Repeat("a", 33<<10), http.StatusRequestHeaderFieldsTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodGet, "http://"+addr+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.header != "" {
				req.Header.Set("X-Long", tt.header)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("the answer is %d, not %d", resp.StatusCode, tt.want)
			}
		})
	}
}

func TestServerTimeouts(t *testing.T) {
	s := newHTTPServer(http.NotFoundHandler(), nil, slog.New(slog.DiscardHandler))
	for name, d := range map[string]time.Duration{
		"ReadHeaderTimeout": s.ReadHeaderTimeout, "ReadTimeout": s.ReadTimeout,
		"WriteTimeout": s.WriteTimeout, "IdleTimeout": s.IdleTimeout,
	} {
		if d <= 0 || d > 5*time.Minute {
			t.Errorf("sec-P2: %s is %v", name, d)
		}
	}
}

// sec-P2: clients that send a header byte by byte cost others nothing, and are
// hung up on.
func TestSlowClients(t *testing.T) {
	begin := func(addr string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nX-", addr); err != nil {
			t.Fatal(err)
		}
		return c
	}
	patient := serveLimits(t, time.Hour) // so that all are there when the last comes
	for range 500 {
		begin(patient)
	}
	resp, err := (&http.Client{Timeout: time.Minute}).Get("http://" + patient + "/")
	if err != nil {
		t.Fatalf("500 slow clients keep others out: %v", err)
	}
	_ = resp.Body.Close()

	c := begin(serveLimits(t, 500*time.Millisecond)) // the rule of headerTime, in less time
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a slow client is still connected")
	}
}

func TestListen(t *testing.T) {
	addr := "localhost:" + freePort(t)
	ls, err := listen(context.Background(), "GATEHOUSE_ADDR", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, l := range ls {
			_ = l.Close()
		}
	}()
	if hasIPv6() && len(ls) != 2 {
		t.Errorf("localhost is %d addresses, not IPv4 and IPv6", len(ls))
	}
	if _, err := listen(context.Background(), "GATEHOUSE_ADDR", addr); err == nil || !strings.Contains(err.Error(), "another program listens; stop it or choose another port") {
		t.Errorf("an address in use: %v", err)
	}
	if _, err := listen(context.Background(), "GATEHOUSE_ADDR", "192.0.2.1:8080"); err == nil || !strings.Contains(err.Error(), "GATEHOUSE_ADDR is 192.0.2.1:8080") {
		t.Errorf("an address of another machine: %v", err)
	}
}

// freePort is a port of localhost for something of this test alone.
func freePort(t *testing.T) string {
	t.Helper()
	return freeport.For(t)
}

func hasIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		_ = l.Close()
	}
	return err == nil
}

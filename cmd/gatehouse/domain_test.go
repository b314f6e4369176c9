//go:build !slim

package main

import (
	"net"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/net/dns/dnsmessage"
)

// A nameserver answers questions for TXT records over UDP.
type nameserver struct {
	mu      sync.Mutex
	records map[string]string // by name, with the dot at its end
}

// resolving is the key of the script's *nameserver.
type resolving struct{}

func dnsCommand(ts *testscript.TestScript, neg bool, args []string) {
	records := make(map[string]string)
	for _, a := range args {
		name, value, ok := strings.Cut(a, "=")
		if !ok || neg {
			ts.Fatalf("usage: dns [NAME=VALUE]...")
		}
		records[name+"."] = value
	}
	s := ts.Value(resolving{}).(*nameserver)
	s.mu.Lock()
	started := s.records != nil
	s.records = records
	s.mu.Unlock()
	if started {
		return
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = conn.Close() })
	ts.Setenv("GATEHOUSE_DNS", conn.LocalAddr().String())
	go s.serve(conn)
}

// serve answers until the connection is closed.
func (s *nameserver) serve(conn net.PacketConn) {
	b := make([]byte, 1<<12)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		var question dnsmessage.Message
		if question.Unpack(b[:n]) != nil || len(question.Questions) != 1 {
			continue
		}
		if answer, err := s.answer(question).Pack(); err == nil {
			_, _ = conn.WriteTo(answer, from)
		}
	}
}

func (s *nameserver) answer(m dnsmessage.Message) *dnsmessage.Message {
	q := m.Questions[0]
	a := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RecursionDesired: m.RecursionDesired},
		Questions: m.Questions,
	}
	s.mu.Lock()
	value, ok := s.records[q.Name.String()]
	s.mu.Unlock()
	switch {
	case !ok:
		a.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeTXT:
		a.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
			Body:   &dnsmessage.TXTResource{TXT: []string{value}},
		}}
	}
	return &a
}

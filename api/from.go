package api

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/gatehouse-id/gatehouse/login"
)

// maxUserAgent is how much of a client's name is kept, in characters.
const maxUserAgent = 200

// from says where a call came from: the address of the person, behind the
// proxies that are trusted, and what the client calls itself.
func (s *Server) from(ctx context.Context, device string) login.From {
	f := login.From{Device: device}
	if p, ok := peer.FromContext(ctx); ok {
		f.Address = s.personAddress(addressOf(p.Addr), func() []string {
			return metadata.ValueFromIncomingContext(ctx, "x-forwarded-for")
		})
	}
	if agent := metadata.ValueFromIncomingContext(ctx, "user-agent"); len(agent) > 0 {
		f.UserAgent = printable(agent[0], maxUserAgent)
	}
	return f
}

// addressOf is the IP address of a connection's other end, without zone, and
// invalid when it is none.
func addressOf(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return t.AddrPort().Addr().Unmap().WithZone("")
}

// personAddress is the address of the person behind the proxies: that of the
// connection or, when it is a trusted proxy's, the last one forwarded that is
// not. Whatever stands before that is anybody's to write, and is not looked at.
func (s *Server) personAddress(address netip.Addr, forwarded func() []string) string {
	if !address.IsValid() {
		return ""
	}
	if !s.isProxy(address) {
		return address.String()
	}
	hops := strings.Split(strings.Join(forwarded(), ","), ",")
	for len(hops) > 0 && s.isProxy(address) {
		last, err := parseHop(strings.TrimSpace(hops[len(hops)-1]))
		if err != nil {
			break // a proxy that says nothing, or nonsense: it is the last we know
		}
		address, hops = last.Unmap().WithZone(""), hops[:len(hops)-1]
	}
	return address.String()
}

// parseHop reads an address of X-Forwarded-For. Some proxies write the port too.
func parseHop(s string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(s)
	if err == nil {
		return ip, nil
	}
	withPort, err := netip.ParseAddrPort(s)
	return withPort.Addr(), err
}

func (s *Server) isProxy(a netip.Addr) bool {
	return slices.ContainsFunc(s.proxies, func(n netip.Prefix) bool { return n.Contains(a) })
}

// printable is the printable ASCII of what a client says of itself, up to n
// characters.
func printable(s string, n int) string {
	odd := func(r rune) bool { return r < ' ' || r > '~' }
	if len(s) <= n && !strings.ContainsFunc(s, odd) {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if odd(r) {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), n)]
}

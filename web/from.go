package web

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/login"
)

const (
	// deviceCookie tells that somebody has signed in with this browser before. It
	// signs nobody in.
	deviceCookie = "gatehouse_device"
	// deviceLife is how long a browser keeps it.
	deviceLife = 365 * 24 * time.Hour
	// maxUserAgent is how much of a browser's name is kept, in characters.
	maxUserAgent = 200
)

// From says where a request came from: the address of the person, behind the
// proxies that are trusted, and their user agent in printable ASCII.
func From(r *http.Request, trustedProxies []netip.Prefix) (address, userAgent string) {
	return personAddress(r, trustedProxies), printable(r.UserAgent(), maxUserAgent)
}

// from is From, with the device and the language.
func (s *Web) from(r *http.Request) login.From {
	var f login.From
	f.Address, f.UserAgent = From(r, s.trustedProxies)
	if c, err := r.Cookie(s.provider.CookieName(deviceCookie)); err == nil {
		f.Device = c.Value
	}
	f.Language = s.speaks()
	return f
}

// keepDevice keeps the new value of the device cookie.
func (s *Web) keepDevice(w http.ResponseWriter, value string) {
	if value != "" {
		s.provider.SetCookie(w, deviceCookie, value, deviceLife)
	}
}

// personAddress is the address of the person behind the proxies: that of the
// connection or, when it is a trusted proxy's, the last one in X-Forwarded-For
// that is not. Whatever stands before that is anybody's to write, and is not
// looked at.
func personAddress(r *http.Request, trusted []netip.Prefix) string {
	address := clientAddress(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for len(hops) > 0 && isTrusted(address, trusted) {
		last, err := parseHop(strings.TrimSpace(hops[len(hops)-1]))
		if err != nil {
			break // a proxy that says nothing, or nonsense: it is the last we know
		}
		address, hops = last.Unmap().WithZone("").String(), hops[:len(hops)-1]
	}
	return address
}

// ByProxy reports whether r was sent by a proxy that is trusted.
func ByProxy(r *http.Request, trustedProxies []netip.Prefix) bool {
	return isTrusted(clientAddress(r.RemoteAddr), trustedProxies)
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

func isTrusted(address string, networks []netip.Prefix) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// clientAddress is the IP address of a "host:port", without zone, and in its
// one spelling.
func clientAddress(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return ""
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	return ip.Unmap().WithZone("").String()
}

// printable is the printable ASCII of what a browser says of itself, up to n
// characters.
func printable(s string, n int) string {
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < n; i++ {
		if s[i] >= ' ' && s[i] <= '~' {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

package egress

import "net/netip"

// special are the addresses that look like anybody's and are not: shared,
// reserved, for documentation, or a way around to IPv4 (the registries of RFC
// 6890). What netip knows by itself is not repeated here.
var special = prefixes(
	"0.0.0.0/8",       // this network; on Linux this machine
	"100.64.0.0/10",   // shared by carriers (RFC 6598)
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // 6to4 relays
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"240.0.0.0/4",     // reserved, and broadcast
	"2001::/23",       // protocol assignments, Teredo among them
	"2001:db8::/32",   // documentation
	"2002::/16",       // 6to4, which holds an IPv4 address
	"3fff::/20",       // documentation
)

// unicast is what of IPv6 is given out (RFC 4291 section 2.4). Everything else
// is local, multicast or a way around to IPv4, such as ::ffff:0:0/96 and
// 64:ff9b::/96.
var unicast = netip.MustParsePrefix("2000::/3")

func prefixes(ss ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(ss))
	for i, s := range ss {
		ps[i] = netip.MustParsePrefix(s)
	}
	return ps
}

// public reports whether an address, in its own family, may be anybody's on the
// Internet.
func public(ip netip.Addr) bool {
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.Is6() && !unicast.Contains(ip) {
		return false
	}
	for _, p := range special {
		if p.Contains(ip) {
			return false
		}
	}
	return true
}

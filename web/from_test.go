package web

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestClientAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1234":          "192.0.2.7",
		"[2001:db8::1]:1234":      "2001:db8::1",
		"[2001:DB8:0:0::1]:1234":  "2001:db8::1",
		"[::ffff:192.0.2.7]:1234": "192.0.2.7",
		"[fe80::1%eth0]:1234":     "fe80::1",
		"@":                       "",
		"":                        "",
		"name.example:80":         "",
	} {
		if got := clientAddress(remote); got != want {
			t.Errorf("clientAddress(%q) = %q, want %q", remote, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"Mozilla/5.0 (X11)":      "Mozilla/5.0 (X11)",
		"a\r\nb\x00c\x7fd":       "abcd",
		"é\xff漢a":                "a",
		"":                       "",
		strings.Repeat("x", 300): strings.Repeat("x", 200),
	} {
		if got := printable(s, maxUserAgent); got != want {
			t.Errorf("printable(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestPersonAddress(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, tt := range []struct {
		about     string
		remote    string
		forwarded []string
		trusted   []netip.Prefix
		want      string
	}{
		{"nobody is trusted", "10.0.0.1:1", []string{"203.0.113.7"}, nil, "10.0.0.1"},
		{"a stranger writes the header", "198.51.100.1:1", []string{"203.0.113.7"}, proxies, "198.51.100.1"},
		{"a proxy says who is behind it", "10.0.0.1:1", []string{"203.0.113.7"}, proxies, "203.0.113.7"},
		{"the person behind it wrote one too", "10.0.0.1:1", []string{"192.0.2.1, 203.0.113.7"}, proxies, "203.0.113.7"},
		{"two proxies", "10.0.0.1:1", []string{"192.0.2.1, 203.0.113.7, 10.0.0.2"}, proxies, "203.0.113.7"},
		{"two headers", "10.0.0.1:1", []string{"192.0.2.1", "203.0.113.7"}, proxies, "203.0.113.7"},
		{"a person who poses as a proxy", "10.0.0.1:1", []string{"10.9.9.9, 203.0.113.7"}, proxies, "203.0.113.7"},
		{"a proxy that says nothing", "10.0.0.1:1", nil, proxies, "10.0.0.1"},
		{"nonsense", "10.0.0.1:1", []string{"203.0.113.7, unknown"}, proxies, "10.0.0.1"},
		{"a proxy that writes the port", "10.0.0.1:1", []string{"192.0.2.1, 203.0.113.7:5123"}, proxies, "203.0.113.7"},
		{"and that of IPv6", "10.0.0.1:1", []string{"[2001:db8::7]:5123"}, proxies, "2001:db8::7"},
		{"an empty end", "10.0.0.1:1", []string{"203.0.113.7, "}, proxies, "10.0.0.1"},
		{"proxies alone", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, proxies, "10.0.0.3"},
		{"IPv6", "[fd00::1]:1", []string{"2001:db8::7"}, proxies, "2001:db8::7"},
		{"an IPv4 address in IPv6 clothes", "[::ffff:10.0.0.1]:1", []string{"::ffff:203.0.113.7"}, proxies, "203.0.113.7"},
	} {
		t.Run("sec-L6 "+tt.about, func(t *testing.T) {
			r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{"X-Forwarded-For": tt.forwarded}}
			if got := personAddress(r, tt.trusted); got != tt.want {
				t.Errorf("address %q, want %q", got, tt.want)
			}
		})
	}
}

// Forwarded (RFC 7239), X-Real-IP and the like are not read, from anybody: one
// header is enough to get wrong.
func TestOtherHeadersAreNotRead(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	r := &http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{}}
	for _, name := range []string{"Forwarded", "X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip"} {
		r.Header.Set(name, "203.0.113.7")
	}
	r.Header.Set("Forwarded", "for=203.0.113.7;proto=https")
	if got := personAddress(r, proxies); got != "10.0.0.1" {
		t.Errorf("sec-L6: the address is %q", got)
	}
}

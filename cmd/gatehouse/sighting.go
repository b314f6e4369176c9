package main

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/web"
)

const (
	// sightingPath is where a server tells "gatehouse doctor" how its request
	// arrived. To everybody else there is no such address.
	sightingPath = "/doctor"
	// sightingHeader carries the proof that it is the doctor who asks.
	sightingHeader = "Gatehouse-Doctor"
	// sightingFor is how far the doctor's clock may be from the server's. Whoever
	// reads the proof on its way could use it for so long, to learn what proxies
	// stand in front.
	sightingFor = 5 * time.Minute
)

// A sighting is how a request arrived at a server.
type sighting struct {
	Version string `json:"version"`
	Issuer  string `json:"issuer"`
	// Connection is the address of who connected, Trusted whether it is of
	// GATEHOUSE_TRUSTED_PROXIES, and Address whom the server takes for the person.
	Connection string `json:"connection"`
	Trusted    bool   `json:"trusted"`
	Address    string `json:"address"`
	// ForwardedFor and ForwardedProto are what the proxies wrote, and whoever
	// was before them.
	ForwardedFor   []string `json:"forwarded_for"`
	ForwardedProto string   `json:"forwarded_proto"`
	Protocol       string   `json:"protocol"`
	TLS            bool     `json:"tls"`
}

// A sightingKey proves that who asks has GATEHOUSE_SEAL_KEY, without being able
// to open anything itself.
type sightingKey []byte

func newSightingKey(sealKey []byte) (sightingKey, error) {
	key, err := hkdf.Key(sha256.New, sealKey, nil, "gatehouse doctor", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the doctor's key: %w", err)
	}
	return key, nil
}

// prove returns the header's value at that time.
func (k sightingKey) prove(now time.Time) string {
	text := strconv.FormatInt(now.Unix(), 10) + "." + rand.Text()
	return text + "." + k.sum(text)
}

func (k sightingKey) sum(text string) string {
	m := hmac.New(sha256.New, k)
	m.Write([]byte("sighting\x00" + text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func (k sightingKey) proves(value string, now time.Time) bool {
	i := strings.LastIndexByte(value, '.')
	if i < 0 || !hmac.Equal([]byte(value[i+1:]), []byte(k.sum(value[:i]))) {
		return false
	}
	seconds, _, _ := strings.Cut(value, ".")
	at, err := strconv.ParseInt(seconds, 10, 64)
	return err == nil && now.Sub(time.Unix(at, 0)).Abs() <= sightingFor
}

// sighted answers the doctor, and has h answer everybody else as if there were
// no doctor.
func (s *server) sighted(h http.Handler, key sightingKey) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != sightingPath || !key.proves(r.Header.Get(sightingHeader), s.clock.Now()) {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_ = json.NewEncoder(w).Encode(s.sight(r)) // the doctor has gone: nobody to tell
	})
}

func (s *server) sight(r *http.Request) sighting {
	v := sighting{
		Version: thisRelease().Version, Issuer: s.config.URL,
		ForwardedProto: r.Header.Get("X-Forwarded-Proto"), Protocol: r.Proto, TLS: r.TLS != nil,
	}
	v.Address, _ = web.From(r, s.config.TrustedProxies)
	v.Connection, _ = web.From(&http.Request{RemoteAddr: r.RemoteAddr}, nil)
	if ip, err := netip.ParseAddr(v.Connection); err == nil {
		v.Trusted = slices.ContainsFunc(s.config.TrustedProxies, func(n netip.Prefix) bool { return n.Contains(ip) })
	}
	for _, hop := range strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",") {
		if hop = strings.TrimSpace(hop); hop != "" {
			v.ForwardedFor = append(v.ForwardedFor, hop)
		}
	}
	return v
}

// pretended is an address that nobody has (RFC 5737). The doctor writes it into
// X-Forwarded-For, as somebody would who wants to be taken for another.
const pretended = "192.0.2.1"

// judge says what is wrong with how the doctor's request arrived, in a sentence,
// or else what was seen.
func (v sighting) judge(c Config) (seen string, wrong bool) {
	https := c.secureURL()
	// Nobody else writes these, or speaks https for a server that does not.
	proxied := len(v.ForwardedFor) != 1 || v.ForwardedFor[0] != pretended || v.ForwardedProto != "" || https && !v.TLS
	from := plain(v.Connection)
	last := ""
	if n := len(v.ForwardedFor); n > 0 {
		last = v.ForwardedFor[n-1]
	}
	switch {
	case v.Issuer != c.URL:
		return fmt.Sprintf("another server answers, whose GATEHOUSE_URL is %s; have the proxy lead to this one, or set the same here", plain(v.Issuer)), true
	case proxied && !v.Trusted:
		return fmt.Sprintf("requests come by a proxy at %s, which GATEHOUSE_TRUSTED_PROXIES does not name, so that all people have its address; add its network", from), true
	case proxied && https && v.ForwardedProto != "" && v.ForwardedProto != "https":
		return fmt.Sprintf("the proxy at %s says that people come by %s; have it send X-Forwarded-Proto: https, and serve no other", from, plain(v.ForwardedProto)), true
	case v.Address == pretended && proxied && last != pretended && isOwn(last):
		return fmt.Sprintf("a trusted proxy at %s, which says who is behind it (I am, at %s, itself in GATEHOUSE_TRUSTED_PROXIES)", from, plain(last)), false
	case v.Address == pretended && proxied:
		return fmt.Sprintf("the server believes the X-Forwarded-For that a stranger sent; have the proxy at %s add the address that it sees, and GATEHOUSE_TRUSTED_PROXIES name proxies alone", from), true
	case v.Address == pretended:
		return fmt.Sprintf("there is no proxy, but GATEHOUSE_TRUSTED_PROXIES names %s, where strangers connect from, and may pose as anybody; take it out", from), true
	case proxied && len(v.ForwardedFor) == 0:
		return fmt.Sprintf("the proxy at %s does not say whom it serves, so that all people have its address; have it send X-Forwarded-For (Forwarded, RFC 7239, is not read)", from), true
	case proxied:
		return fmt.Sprintf("a trusted proxy at %s, people have their own addresses (mine is %s)", from, plain(v.Address)), false
	default:
		return fmt.Sprintf("none in front, people have their own addresses (mine is %s)", plain(v.Address)), false
	}
}

// isOwn reports whether an address is of a network that is nobody else's
// (RFC 1918, RFC 4193) or of the machine itself.
func isOwn(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && (ip.Unmap().IsPrivate() || ip.Unmap().IsLoopback())
}

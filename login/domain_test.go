package login

import (
	"context"
	"errors"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A zone is a DNS server that knows TXT records alone.
type zone struct {
	address string

	mu      sync.Mutex
	records map[string][]string // by name, with the dot at its end
	deaf    int                 // questions that get no answer
	broken  bool                // answers SERVFAIL
	asked   int
	waited  time.Duration // the most that somebody would have waited for an answer
}

func newZone(t *testing.T) *zone {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{address: conn.LocalAddr().String(), records: make(map[string][]string)}
	var serving sync.WaitGroup
	serving.Go(func() { z.serve(conn) })
	t.Cleanup(func() {
		_ = conn.Close()
		serving.Wait()
	})
	return z
}

func (z *zone) publish(name string, values ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[name+"."] = values
}

func (z *zone) set(f func(*zone)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	f(z)
}

func (z *zone) serve(conn net.PacketConn) {
	b := make([]byte, 1<<12)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		if answer := z.answer(m); answer != nil {
			_, _ = conn.WriteTo(answer, from)
		}
	}
}

func (z *zone) answer(m dnsmessage.Message) []byte {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	if z.deaf > 0 {
		z.deaf--
		return nil
	}
	q := m.Questions[0]
	a := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true}, Questions: m.Questions}
	values, ok := z.records[q.Name.String()]
	switch {
	case z.broken:
		a.RCode = dnsmessage.RCodeServerFailure
	case !ok:
		a.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeTXT:
		for _, v := range values {
			a.Answers = append(a.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
				Body:   &dnsmessage.TXTResource{TXT: []string{v}},
			})
		}
	}
	packed, err := a.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func (z *zone) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		wait := time.Duration(math.MaxInt64)
		if end, ok := ctx.Deadline(); ok {
			wait = time.Until(end)
		}
		z.set(func(z *zone) { z.waited = max(z.waited, wait) })
		return new(net.Dialer).DialContext(ctx, network, z.address)
	}}
}

func domainsOf(z *zone, names ...string) Domains {
	return Domains{Issuer: "https://id.example.org", Key: []byte("0123456789abcdef"), Names: names, Resolver: z.resolver()}
}

func TestDomainRecords(t *testing.T) {
	d := Domains{Issuer: "https://id.example.org", Key: []byte("key"), Names: []string{"example.org", "Example.com"}}
	rs := d.Records()
	if rs[1].Domain != "example.com" || rs[1].Name != "_gatehouse.example.com" || !strings.HasPrefix(rs[1].Value, "gatehouse-domain-verification=") {
		t.Errorf("got %+v", rs[1])
	}
	if len(rs[0].Value) > 255 {
		t.Errorf("%d bytes are more than one string of a TXT record holds", len(rs[0].Value))
	}
	if again := d.Records(); again[0] != rs[0] {
		t.Errorf("it changes: %v, %v", rs[0], again[0])
	}
	values := map[string]string{rs[0].Value: "a domain", rs[1].Value: "another domain"}
	otherIssuer, otherKey := d, d
	otherIssuer.Issuer, otherKey.Key = "https://id.example.net", []byte("yek")
	values[otherIssuer.Records()[0].Value] = "another issuer"
	values[otherKey.Records()[0].Value] = "another key"
	if len(values) != 4 {
		t.Errorf("values are shared: %v", values)
	}
}

func TestProve(t *testing.T) {
	value := func(domain string) string { return domainsOf(newZone(t), domain).Records()[0].Value }
	for _, tt := range []struct {
		about   string
		domains []string
		arrange func(*zone)
		want    []string // one for each line of the error
	}{
		{"no domains", nil, func(*zone) {}, nil},
		{"published", []string{"example.org"}, func(z *zone) {
			z.publish("_gatehouse.example.org", value("example.org"))
		}, nil},
		{"published beside other records", []string{"example.org"}, func(z *zone) {
			z.publish("_gatehouse.example.org", "v=spf1 -all", domainPrefix+"another", value("example.org"))
		}, nil},
		{"not published", []string{"example.org"}, func(*zone) {}, []string{
			"example.org is not proved to be yours: publish the DNS record _gatehouse.example.org TXT \"" + value("example.org") + `", then try again`,
		}},
		{"a name without such records", []string{"example.org"}, func(z *zone) { z.publish("_gatehouse.example.org") }, []string{"publish the DNS record"}},
		{"published for another domain", []string{"example.org"}, func(z *zone) {
			z.publish("_gatehouse.example.org", value("example.com"))
		}, []string{"has the value of another issuer or another key"}},
		{"published at the domain itself", []string{"example.org"}, func(z *zone) {
			z.publish("example.org", value("example.org"))
		}, []string{"publish the DNS record"}},
		{"published for the domain above", []string{"mail.example.org"}, func(z *zone) {
			z.publish("_gatehouse.example.org", value("mail.example.org"))
		}, []string{"_gatehouse.mail.example.org"}},
		{"published in capitals", []string{"example.org"}, func(z *zone) {
			z.publish("_gatehouse.example.org", strings.ToUpper(value("example.org")))
		}, []string{"publish"}},
		{"published with more behind it", []string{"example.org"}, func(z *zone) {
			z.publish("_gatehouse.example.org", value("example.org")+"x")
		}, []string{"another issuer or another key"}},
		{"one of three", []string{"example.org", "example.net", "example.com"}, func(z *zone) {
			z.publish("_gatehouse.example.net", value("example.net"))
		}, []string{"example.org is not proved", "example.com is not proved"}},
		{"a server that does not hear the first question", []string{"example.org"}, func(z *zone) {
			z.publish("_gatehouse.example.org", value("example.org"))
			z.set(func(z *zone) { z.deaf = 1 })
		}, nil},
		{"a server that fails", []string{"example.org"}, func(z *zone) { z.set(func(z *zone) { z.broken = true }) }, []string{"because the DNS did not answer"}},
		{"a name that no record can have", []string{strings.Repeat("a.", 126) + "org"}, func(*zone) {}, []string{"publish the DNS record"}},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			z := newZone(t)
			tt.arrange(z)
			err := domainsOf(z, tt.domains...).Prove(t.Context())
			var lines []string
			if err != nil {
				lines = strings.Split(err.Error(), "\n")
			}
			if len(lines) != len(tt.want) {
				t.Fatalf("got %q, want %q", lines, tt.want)
			}
			for i := range lines {
				if !strings.Contains(lines[i], tt.want[i]) || !strings.Contains(lines[i], "TXT") {
					t.Errorf("got %q, want %q", lines[i], tt.want[i])
				}
			}
		})
	}
	t.Run("a server that does not answer delays the start by seconds", func(t *testing.T) {
		t.Parallel()
		z := newZone(t)
		if err := domainsOf(z, "example.org").Prove(t.Context()); err == nil {
			t.Error("it is proved")
		}
		z.set(func(z *zone) {
			if z.waited > domainTimeout {
				t.Errorf("one try would have waited %v", z.waited)
			}
			z.deaf, z.waited, z.asked = 1000, 0, 0
		})
		d := domainsOf(z, "example.org", "example.com")
		d.timeout, d.pause = 100*time.Millisecond, time.Millisecond
		err := d.Prove(t.Context())
		if err == nil || strings.Count(err.Error(), "because the DNS did not answer") != 2 {
			t.Errorf("got %v", err)
		}
		z.set(func(z *zone) {
			if z.waited > d.timeout || z.asked > 2*domainTries {
				t.Errorf("two domains were asked for %d times, and a try waited %v", z.asked, z.waited)
			}
		})
	})
	t.Run("what is not there is asked for once", func(t *testing.T) {
		t.Parallel()
		z := newZone(t)
		d := domainsOf(z, "example.org")
		d.timeout = time.Minute
		if err := d.Prove(t.Context()); err == nil {
			t.Fatal("it is proved")
		}
		z.set(func(z *zone) {
			if z.asked != 1 {
				t.Errorf("it was asked for %d times", z.asked)
			}
		})
	})
	t.Run("a context that ends ends it", func(t *testing.T) {
		t.Parallel()
		z := newZone(t)
		z.set(func(z *zone) { z.deaf = 1000 })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := domainsOf(z, "example.org").Prove(ctx); err == nil {
			t.Error("it is proved")
		}
		z.set(func(z *zone) {
			if z.waited > 100*time.Millisecond || z.asked > 1 {
				t.Errorf("it was asked for %d times, and a try waited %v", z.asked, z.waited)
			}
		})
	})
}

// seed-G9: the proof is repeated; one that fails is told and stops nothing.
func TestWatch(t *testing.T) {
	z := newZone(t)
	d := domainsOf(z, "example.org", "example.com")
	d.Every, d.timeout = 10*time.Millisecond, time.Minute
	for _, r := range d.Records() {
		z.publish(r.Name, r.Value)
	}
	ctx, cancel := context.WithCancel(t.Context())
	warned, ended := make(chan DomainProof), make(chan struct{})
	go func() {
		defer close(ended)
		d.Watch(ctx, func(p DomainProof) { warned <- p })
	}()
	before := 0
	deadline := time.After(time.Minute)
	for before < 6 { // three rounds without a warning
		select {
		case p := <-warned:
			t.Fatalf("warned of %v", p)
		case <-deadline:
			t.Fatal("the proof is not repeated")
		case <-time.After(time.Millisecond):
			z.set(func(z *zone) { before = z.asked })
		}
	}
	z.publish("_gatehouse.example.com")
	for range 2 {
		select {
		case p := <-warned:
			if p.Domain != "example.com" || p.Err == nil || errors.Is(p.Err, context.Canceled) {
				t.Errorf("warned of %+v", p)
			}
		case <-time.After(time.Minute):
			t.Fatal("nobody was warned")
		}
	}
	cancel()
	for {
		select {
		case <-warned: // it was about to
		case <-ended:
			return
		case <-time.After(time.Minute):
			t.Fatal("it does not end")
		}
	}
}

package provider_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/denylist"
	"github.com/gatehouse-id/gatehouse/internal/testenv"
	"github.com/gatehouse-id/gatehouse/provider"
	"github.com/gatehouse-id/gatehouse/storage"
	"github.com/gatehouse-id/gatehouse/storage/valkey"
)

// BenchmarkGatewayCheck compares a check with its floor in the same run: one
// ES256 verification of the token's bytes, and one trip to a real Valkey. A check
// may cost twice as much; one of a token that is remembered must cost less than
// that without the verification. It fails where that does not hold.
func BenchmarkGatewayCheck(b *testing.B) {
	fast, err := valkey.Open(b.Context(), testenv.Valkey(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = fast.Close() })
	ctx, cancel := context.WithCancel(b.Context())
	b.Cleanup(cancel)
	o := newOP(b, func(c *provider.Config) {
		l, err := denylist.New(ctx, denylist.Config{Revocations: c.Store.(storage.Revocations), Fast: fast, Now: c.Now})
		if err != nil {
			b.Fatal(err)
		}
		go func() { _ = l.Run(ctx) }()
		c.Denylist = l
	})
	app, _ := o.client(storage.Client{Resources: []string{notesAPI}})
	token := o.tokens(app, "", "scope", "openid notes").text("access_token")
	need := provider.Requirement{Audience: notesAPI, Scopes: []string{"notes"}}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte(token))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	bearer := storage.Bearer{JTI: "019ac0de-0000-7000-8000-000000000001.1.AAAAAAAAAAA", GrantID: "019ac0de-0000-7000-8000-000000000001", ClientID: app.ID, IssuedAt: o.now()}
	check := func(b *testing.B) {
		if _, e := o.CheckBearer(ctx, token, need); e != nil {
			b.Fatal(e)
		}
	}

	parts := []part{
		{"floor: one ES256 verification", func(b *testing.B) {
			digest := sha256.Sum256([]byte(token))
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
				b.Fatal("it does not verify")
			}
		}},
		{"floor: one trip to Valkey", func(b *testing.B) {
			if denied, _, err := fast.Denied(ctx, bearer); denied || err != nil {
				b.Fatal(denied, err)
			}
		}},
		{"a token that is new here", func(b *testing.B) {
			o.Forget()
			check(b)
		}},
		{"a token that is remembered", check},
	}
	for _, p := range parts {
		b.Run(p.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.once(b)
			}
		})
	}
	b.Run("in turns", func(b *testing.B) {
		took := quietest(b, parts)
		verification, trip, fresh, remembered := took[0], took[1], took[2], took[3]
		for unit, d := range map[string]time.Duration{"ns/verification": verification, "ns/trip": trip, "ns/new": fresh, "ns/remembered": remembered} {
			b.ReportMetric(float64(d.Nanoseconds()), unit)
		}
		b.ReportMetric(float64(fresh)/float64(verification+trip), "new/floor")
		b.ReportMetric(0, "ns/op") // which is of the turns
		if fresh > 2*(verification+trip) {
			b.Errorf("a check costs %v, more than twice %v", fresh, verification+trip)
		}
		if remembered > trip+verification/2 {
			b.Errorf("a check of a remembered token costs %v above the trip, not well below a verification (%v)", remembered-trip, verification)
		}
	})
}

// A part is one thing that is measured.
type part struct {
	name string
	once func(*testing.B)
}

// quietest is what each part takes when nothing else runs: they take turns, and
// the shortest of many counts.
func quietest(b *testing.B, parts []part) []time.Duration {
	const rounds, times = 40, 50
	took := make([]time.Duration, len(parts))
	for range rounds {
		for i, p := range parts {
			start := time.Now()
			for range times {
				p.once(b)
			}
			if one := time.Since(start) / times; took[i] == 0 || one < took[i] {
				took[i] = one
			}
		}
	}
	return took
}

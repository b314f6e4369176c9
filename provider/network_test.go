package provider_test

import (
	"fmt"
	"testing"

	"github.com/gatehouse-id/gatehouse/provider"
)

// Whoever has one IPv6 address has 2^64 of them (RFC 6177): a limit by address is
// one by network.
func TestRegistrationIsLimitedByNetwork(t *testing.T) {
	o := newOP(t, func(c *provider.Config) {
		c.Registration = provider.Registration{Mode: provider.RegistrationOpen, PerHour: 3}
	})
	from := func(address string) int {
		t.Helper()
		return o.register(document(), "X-Test-Address", address).status
	}
	for i := range 3 {
		if got := from(fmt.Sprintf("2001:db8:1:2::%d", i+1)); got != 201 {
			t.Fatalf("registration %d: %d", i+1, got)
		}
	}
	for address, want := range map[string]int{
		"2001:db8:1:2:ffff::9": 429,
		"2001:db8:1:3::1":      201,
		"198.51.100.1":         201,
		"198.51.100.2":         201,
		"":                     201,
	} {
		if got := from(address); got != want {
			t.Errorf("%q: %d, want %d", address, got, want)
		}
	}
}

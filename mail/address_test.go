package mail

import "testing"

// An address of IPv6 is one also without a port.
func TestConnectionByIPv6(t *testing.T) {
	for url, want := range map[string]string{
		"valkey://[fd00::5]":       "[fd00::5]:6379",
		"valkey://[fd00::5]:7000":  "[fd00::5]:7000",
		"valkeys://u:p@[::1]/2":    "[::1]:6379",
		"valkey://valkey.internal": "valkey.internal:6379",
	} {
		if o, err := connection(url); err != nil || o.Addr != want {
			t.Errorf("%s is %s, not %s (%v)", url, o.Addr, want, err)
		}
	}
}

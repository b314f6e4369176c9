package main

import "time"

// What targets were set by: CPU seconds of a thousand hellos, and of a thousand
// ES256 signatures.
const (
	targetHello     = 0.011
	targetSignature = 0.024
)

// A scale carries targets over to the machine of this run.
type scale struct {
	// hello is the CPU seconds of a thousand hellos here, signature of a thousand
	// signatures, hash of a thousand hashes.
	hello, signature, hash float64
}

// target is the target of a case here: its signatures cost what signatures do
// here, and the rest grows as hello does. It is zero when the case has none.
func (s scale) target(c benchCase) float64 {
	if c.target == 0 {
		return 0
	}
	n := float64(c.signatures)
	return (c.target-n*targetSignature)*s.hello/targetHello + n*s.signature
}

// bare is a cost less what the hashes of the case cost alone.
func (s scale) bare(c benchCase, cost float64) float64 { return cost - float64(c.hashes)*s.hash }

// apart is how much higher the highest of the costs is than the lowest, as a
// share of that.
func apart(costs []float64) float64 {
	lowest, highest := costs[0], costs[0]
	for _, c := range costs {
		lowest, highest = min(lowest, c), max(highest, c)
	}
	return highest/lowest - 1
}

// thousand is the CPU seconds of a thousand times d.
func thousand(d time.Duration) float64 { return d.Seconds() * 1000 }

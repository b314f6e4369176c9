// Package clients has nothing but tests: software that others wrote, and that
// knows nothing of us but the issuer, signs people in through the built server,
// over HTTP, and out again. One file is one library.
package clients

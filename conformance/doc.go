// Package conformance holds the server to the modules of the OpenID Foundation's
// conformance suite that concern it: tests alone, one for each module and named
// as it is. They run against the built program in the configuration of
// deploy/conformance.env, over TLS, as the suite would: with a browser that
// fills forms and a relying party that answers.
//
// The suite's own words are not here; what each module wants is. How to run the
// suite itself says docs/protocol.md.
package conformance

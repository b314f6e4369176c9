// Package telemetry tells an operator's OpenTelemetry collector what this
// process does: traces and metrics by OTLP, and metrics at an address of their
// own in the text format of Prometheus.
//
// Everything is decided by the variables of the OpenTelemetry specification
// ([Parse]). Without an endpoint there are no spans and without an endpoint or
// an address no measurements: what wraps handlers, transports and logs then
// returns what it was given, so that a request pays nothing. There is no global
// state: whoever measures is handed a tracer or a meter.
//
// A collector that is slow, gone or wrong costs no request anything. What it
// does not take in time is dropped, and that is logged, once a minute at most.
//
// Nothing that identifies a person and nothing secret is sent: no query, no
// path but its pattern, no address, no argument of a statement, no key of
// Valkey.
package telemetry

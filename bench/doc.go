// Command bench measures what requests cost a Gatehouse server.
//
// It starts the binary that it is given as a process of its own, on a real
// PostgreSQL and a real Valkey, and asks it over loopback in a closed loop: so
// many connections, each sending its next request when it has the answer to the
// last. Every case runs for the same time. What counts is the processor time of
// the server process, read from the kernel before and after, and not that of
// this program, which is another process.
//
// The floors are measured in the same run, by the same loop where they are HTTP:
// a net/http server that says hello, one ES256 signature, one commit, one trip to
// Valkey. Other machines, and busy ones, move them as they move the rest.
//
// It writes what it finds into docs/benchmarks.md, between two comments. Linux
// alone: it reads /proc.
package main

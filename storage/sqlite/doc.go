// Package sqlite keeps [storage.SQL] in one SQLite file, for a server that
// runs alone.
//
// All writes go through one connection, one transaction after the other; that
// is faster than several connections that wait for the file's lock, and no
// change can be on its way while another is decided. Reads have connections of
// their own and see what was committed before they began.
package sqlite

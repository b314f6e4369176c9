// Package postgres keeps [storage.SQL] in PostgreSQL, on native pgx.
//
// Transactions are read committed; what must not race is decided by one
// statement or behind a lock on the user's row (see storage/query/postgres).
// Transactions do not wait for each other in a circle: each changes users or
// clients first, then sessions, then grants, and the rows of one table in the
// order in which they lie there.
package postgres

// Package postgres keeps [storage.SQL] in PostgreSQL, on native pgx.
//
// Transactions are read committed; what must not race is decided by one
// statement or behind a lock on the user's row (see storage/query/postgres).
// Transactions do not wait for each other in a circle: each changes users or
// clients first, then second factors (totps before recovery_codes), passwords
// and consents, then sessions, then grants, then letters, and the rows of one
// table in the order in which they lie there.
package postgres

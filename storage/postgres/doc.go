// Package postgres keeps [storage.SQL] in PostgreSQL, on native pgx.
//
// Transactions are read committed; what must not race is decided by one
// statement or behind a lock on the user's row (see storage/query/postgres).
// Transactions do not wait for each other in a circle: each changes users or
// clients first, then second factors (totps before recovery_codes), passwords
// and consents, then sessions, then grants, then letters, and the rows of one
// table in the order in which they lie there. DeleteUser alone has sessions
// before the others, which nobody does the other way round. Notices come with
// the lock on their session. The lock on revocation_head, which all share,
// comes last: the trigger that adds a revocation waits for the commit.
package postgres

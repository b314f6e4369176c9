-- FOR SHARE waits for a change of the user that is on its way and then looks
-- again: what was agreed before the change gets nothing after it, and what is
-- inserted first is seen, and ended, by the change.

-- LockUser is for a transaction that changes something before it inserts, and
-- must have the user first.
-- name: LockUser :one
SELECT id FROM users WHERE id = sqlc.arg(user_id) AND status = 'active' AND epoch = sqlc.arg(user_epoch) FOR SHARE;

-- name: InsertSession :execrows
INSERT INTO sessions (
    id, secret_hash, user_id, user_epoch, auth_time, amr, remember, created_at, expires_at, ends_at, user_agent, address
)
SELECT
    sqlc.arg(id), sqlc.arg(secret_hash), u.id, u.epoch, sqlc.arg(auth_time), sqlc.arg(amr), sqlc.arg(remember),
    sqlc.arg(created_at), sqlc.arg(expires_at), sqlc.arg(ends_at), sqlc.arg(user_agent), sqlc.arg(address)
FROM users u
WHERE u.id = sqlc.arg(user_id) AND u.status = 'active' AND u.epoch = sqlc.arg(user_epoch)
FOR SHARE;

-- name: InsertGrant :execrows
INSERT INTO grants (
    id, handle_hash, client_id, user_id, user_epoch, session_id, scopes, offline_access, resources, nonce, auth_time,
    amr, jkt, generation, outcome, created_at, rotated_at, expires_at, ends_at, revoked_at, claims
)
SELECT
    sqlc.arg(id), sqlc.arg(handle_hash), sqlc.arg(client_id), u.id, u.epoch, sqlc.arg(session_id), sqlc.arg(scopes),
    sqlc.arg(offline_access), sqlc.arg(resources), sqlc.arg(nonce), sqlc.arg(auth_time), sqlc.arg(amr),
    sqlc.arg(jkt), sqlc.arg(generation), '', sqlc.arg(created_at), sqlc.arg(rotated_at), sqlc.arg(expires_at),
    sqlc.arg(ends_at), sqlc.arg(revoked_at), sqlc.arg(claims)
FROM users u
WHERE u.id = sqlc.arg(user_id) AND u.status = 'active' AND u.epoch = sqlc.arg(user_epoch)
FOR SHARE;

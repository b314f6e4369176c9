-- name: LiveGrant :one
SELECT sqlc.embed(grants), sqlc.embed(users)
FROM grants
JOIN users ON users.id = grants.user_id AND users.status = 'active' AND users.epoch = grants.user_epoch
WHERE grants.id = sqlc.arg(id) AND grants.revoked_at IS NULL
    AND grants.expires_at > sqlc.arg(now) AND grants.ends_at > sqlc.arg(now);

-- name: GrantByHandle :one
SELECT * FROM grants WHERE handle_hash = sqlc.arg(handle_hash);

-- name: GrantByID :one
SELECT * FROM grants WHERE id = sqlc.arg(id);

-- name: ListGrants :many
SELECT grants.*
FROM grants
JOIN users ON users.id = grants.user_id AND users.status = 'active' AND users.epoch = grants.user_epoch
WHERE grants.user_id = sqlc.arg(user_id) AND grants.revoked_at IS NULL
    AND grants.expires_at > sqlc.arg(now) AND grants.ends_at > sqlc.arg(now)
ORDER BY grants.created_at DESC, grants.id DESC;

-- name: RevokeGrant :exec
UPDATE grants SET revoked_at = sqlc.arg(now) WHERE id = sqlc.arg(id) AND revoked_at IS NULL;

-- RevokeOtherGrants carries the one that is kept over to the new epoch. It is
-- one statement so that rows are locked in the order in which they lie there.
-- name: RevokeOtherGrants :exec
UPDATE grants SET
    revoked_at = CASE WHEN id = sqlc.arg(keep) THEN revoked_at ELSE sqlc.arg(now) END,
    user_epoch = CASE WHEN id = sqlc.arg(keep) THEN sqlc.arg(epoch) ELSE user_epoch END
WHERE user_id = sqlc.arg(user_id) AND revoked_at IS NULL;

-- RevokeGrantsOfSession is for signing out, which spares offline access.
-- name: RevokeGrantsOfSession :exec
UPDATE grants SET revoked_at = sqlc.arg(now)
WHERE session_id = sqlc.arg(session_id) AND session_id <> '' AND NOT offline_access AND revoked_at IS NULL;

-- name: RevokeGrantsOfClient :exec
UPDATE grants SET revoked_at = sqlc.arg(now) WHERE client_id = sqlc.arg(client_id) AND revoked_at IS NULL;

-- RevokeGrantsToClient is for one user's consent withdrawn, which has raised the
-- user's epoch by one: what other clients have goes along.
-- name: RevokeGrantsToClient :exec
UPDATE grants SET
    revoked_at = CASE WHEN client_id = sqlc.arg(client_id) THEN sqlc.arg(now) ELSE revoked_at END,
    user_epoch = CASE WHEN client_id = sqlc.arg(client_id) THEN user_epoch ELSE user_epoch + 1 END
WHERE user_id = sqlc.arg(user_id) AND revoked_at IS NULL;

-- ReplayGrant revokes the grant, and writes it revoked when there is none, so
-- that the insert of a slower first redemption finds its id taken. Such a row
-- never had a refresh token and needs no handle.
-- name: ReplayGrant :exec
INSERT INTO grants (
    id, client_id, user_id, user_epoch, session_id, scopes, offline_access, resources, nonce, auth_time, amr,
    jkt, generation, outcome, created_at, expires_at, ends_at, revoked_at, claims
) VALUES (
    sqlc.arg(id), sqlc.arg(client_id), sqlc.arg(user_id), sqlc.arg(user_epoch), sqlc.arg(session_id), sqlc.arg(scopes),
    sqlc.arg(offline_access), sqlc.arg(resources), sqlc.arg(nonce), sqlc.arg(auth_time), sqlc.arg(amr),
    sqlc.arg(jkt), sqlc.arg(generation), '', sqlc.arg(created_at), sqlc.arg(expires_at), sqlc.arg(ends_at), sqlc.arg(revoked_at),
    sqlc.arg(claims)
)
ON CONFLICT (id) DO UPDATE SET revoked_at = excluded.revoked_at WHERE grants.revoked_at IS NULL;

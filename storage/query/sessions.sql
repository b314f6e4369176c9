-- name: SessionBySecret :one
SELECT sqlc.embed(sessions), sqlc.embed(users)
FROM sessions
JOIN users ON users.id = sessions.user_id AND users.status = 'active' AND users.epoch = sessions.user_epoch
WHERE sessions.secret_hash = sqlc.arg(secret_hash)
    AND sessions.expires_at > sqlc.arg(now) AND sessions.ends_at > sqlc.arg(now);

-- name: ListSessions :many
SELECT sessions.*
FROM sessions
JOIN users ON users.id = sessions.user_id AND users.status = 'active' AND users.epoch = sessions.user_epoch
WHERE sessions.user_id = sqlc.arg(user_id) AND sessions.expires_at > sqlc.arg(now) AND sessions.ends_at > sqlc.arg(now)
ORDER BY sessions.created_at DESC, sessions.id DESC;

-- name: TouchSession :exec
UPDATE sessions
SET expires_at = CASE WHEN ends_at < sqlc.arg(expires_at) THEN ends_at ELSE sqlc.arg(expires_at) END
WHERE id = sqlc.arg(id);

-- name: DeleteSession :execrows
DELETE FROM sessions WHERE id = sqlc.arg(id);

-- name: DeleteSessionOf :execrows
DELETE FROM sessions WHERE id = sqlc.arg(id) AND user_id = sqlc.arg(user_id);

-- name: DeleteOtherSessions :many
DELETE FROM sessions WHERE user_id = sqlc.arg(user_id) AND id <> sqlc.arg(keep) RETURNING id;

-- name: CarrySession :exec
UPDATE sessions SET user_epoch = sqlc.arg(epoch) WHERE id = sqlc.arg(id) AND user_id = sqlc.arg(user_id);

-- CarrySessions is for an epoch raised by one that ends no session.
-- name: CarrySessions :exec
UPDATE sessions SET user_epoch = user_epoch + 1 WHERE user_id = sqlc.arg(user_id);

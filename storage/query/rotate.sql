-- Rotate judges a refresh token and moves its grant. The row is locked while it
-- is judged, so of concurrent calls each sees what the one before has left.
--
-- A user's epoch above the grant's ends the grant; one below means only that
-- this statement began before the change that carried the grant over, and
-- waited for it.
-- name: Rotate :one
UPDATE grants SET
    outcome = CASE
        WHEN sqlc.arg(presented) >= generation THEN 'rotated'
        WHEN sqlc.arg(presented) = generation - 1 AND rotated_at > sqlc.arg(grace_since) THEN 'repeated'
        ELSE 'reused' END,
    revoked_at = CASE
        WHEN sqlc.arg(presented) >= generation THEN revoked_at
        WHEN sqlc.arg(presented) = generation - 1 AND rotated_at > sqlc.arg(grace_since) THEN revoked_at
        ELSE sqlc.arg(now) END,
    rotated_at = CASE WHEN sqlc.arg(presented) >= generation THEN sqlc.arg(now) ELSE rotated_at END,
    expires_at = CASE
        WHEN sqlc.arg(presented) < generation THEN expires_at
        WHEN ends_at < sqlc.arg(expires_at) THEN ends_at
        ELSE sqlc.arg(expires_at) END,
    generation = CASE WHEN sqlc.arg(presented) >= generation THEN sqlc.arg(presented) + 1 ELSE generation END
WHERE handle_hash = sqlc.arg(handle_hash) AND client_id = sqlc.arg(client_id) AND jkt IN ('', sqlc.arg(jkt))
    AND revoked_at IS NULL AND expires_at > sqlc.arg(now) AND ends_at > sqlc.arg(now)
    AND EXISTS (SELECT 1 FROM users u WHERE u.id = grants.user_id AND u.status = 'active' AND u.epoch <= grants.user_epoch)
RETURNING *;

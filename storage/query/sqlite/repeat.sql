-- name: HasEvent :one
SELECT EXISTS (
    SELECT 1 FROM events
    WHERE user_id = sqlc.arg(user_id) AND user_id <> '' AND kind = sqlc.arg(kind) AND outcome = sqlc.arg(outcome)
);

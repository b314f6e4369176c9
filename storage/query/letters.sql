-- name: InsertLetter :exec
INSERT INTO letters (id, kind, sealed, created_at, deadline)
VALUES (sqlc.arg(id), sqlc.arg(kind), sqlc.arg(sealed), sqlc.arg(created_at), sqlc.arg(deadline));

-- name: PendingLetters :many
SELECT * FROM letters
WHERE id > sqlc.arg(after) AND failed_at IS NULL
ORDER BY id LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: ListLetters :many
SELECT * FROM letters WHERE id > sqlc.arg(after) ORDER BY id LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: FailLetter :exec
UPDATE letters SET failed_at = sqlc.arg(now), failure = sqlc.arg(failure) WHERE id = sqlc.arg(id);

-- name: RetryLetter :execrows
UPDATE letters SET failed_at = NULL, failure = '' WHERE id = sqlc.arg(id) AND failed_at IS NOT NULL;

-- name: DeleteLetter :exec
DELETE FROM letters WHERE id = sqlc.arg(id);

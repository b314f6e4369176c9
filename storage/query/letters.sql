-- name: InsertLetter :exec
INSERT INTO letters (id, kind, sealed, created_at, deadline)
VALUES (sqlc.arg(id), sqlc.arg(kind), sqlc.arg(sealed), sqlc.arg(created_at), sqlc.arg(deadline));

-- name: PendingLetters :many
SELECT * FROM letters ORDER BY created_at, id LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: DeleteLetter :exec
DELETE FROM letters WHERE id = sqlc.arg(id);

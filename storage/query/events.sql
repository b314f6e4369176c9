-- name: InsertEvent :exec
INSERT INTO events (id, occurred_at, kind, user_id, client_id, detail)
VALUES (
    sqlc.arg(id), sqlc.arg(occurred_at), sqlc.arg(kind), sqlc.arg(user_id), sqlc.arg(client_id), sqlc.arg(detail)
);

-- name: LatestEvents :many
SELECT * FROM events ORDER BY id DESC LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: EventsBefore :many
SELECT * FROM events WHERE id < sqlc.arg(before) ORDER BY id DESC LIMIT CAST(sqlc.arg(max_rows) AS bigint);

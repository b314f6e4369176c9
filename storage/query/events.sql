-- name: InsertEvent :exec
INSERT INTO events (id, occurred_at, kind, user_id, client_id, outcome, address, user_agent, detail)
VALUES (
    sqlc.arg(id), sqlc.arg(occurred_at), sqlc.arg(kind), sqlc.arg(user_id), sqlc.arg(client_id), sqlc.arg(outcome),
    sqlc.arg(address), sqlc.arg(user_agent), sqlc.arg(detail)
);

-- name: LatestEvents :many
SELECT * FROM events ORDER BY id DESC LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: EventsBefore :many
SELECT * FROM events WHERE id < sqlc.arg(before) ORDER BY id DESC LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: LatestEventsOf :many
SELECT * FROM events
WHERE user_id = sqlc.arg(user_id) AND user_id <> ''
ORDER BY id DESC LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: EventsOfBefore :many
SELECT * FROM events
WHERE user_id = sqlc.arg(user_id) AND user_id <> '' AND id < sqlc.arg(before)
ORDER BY id DESC LIMIT CAST(sqlc.arg(max_rows) AS bigint);

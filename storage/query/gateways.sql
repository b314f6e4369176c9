-- name: InsertGateway :exec
INSERT INTO gateways (id, name, created_at, fetched_at, seen_keys)
VALUES (sqlc.arg(id), sqlc.arg(name), sqlc.arg(created_at), sqlc.arg(fetched_at), sqlc.arg(seen_keys));

-- name: Gateway :one
SELECT * FROM gateways WHERE id = sqlc.arg(id);

-- name: ListGateways :many
SELECT * FROM gateways ORDER BY created_at, id;

-- name: GatewayFetched :execrows
UPDATE gateways SET fetched_at = sqlc.arg(now), seen_keys = sqlc.arg(seen_keys) WHERE id = sqlc.arg(id);

-- name: DeleteGateway :execrows
DELETE FROM gateways WHERE id = sqlc.arg(id);

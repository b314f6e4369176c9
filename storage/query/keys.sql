-- name: KeySetVersion :one
SELECT version FROM key_sets WHERE id = 1;

-- name: RaiseKeySetVersion :execrows
UPDATE key_sets SET version = version + 1 WHERE id = 1 AND version = sqlc.arg(old);

-- name: Keys :many
SELECT * FROM keys ORDER BY published_at, id;

-- name: DeleteKeys :exec
DELETE FROM keys;

-- name: InsertKey :exec
INSERT INTO keys (id, purpose, algorithm, public_jwk, sealed, published_at, signing_at, retired_at, gone_at)
VALUES (
    sqlc.arg(id), sqlc.arg(purpose), sqlc.arg(algorithm), sqlc.arg(public_jwk), sqlc.arg(sealed),
    sqlc.arg(published_at), sqlc.arg(signing_at), sqlc.arg(retired_at), sqlc.arg(gone_at)
);

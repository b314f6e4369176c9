-- name: InsertClient :exec
INSERT INTO clients (
    id, name, auth_method, secret_hashes, redirect_uris, grant_types, scopes, resources,
    first_party, optional_pkce, id_token_alg, refresh_grace, created_at, updated_at
) VALUES (
    sqlc.arg(id), sqlc.arg(name), sqlc.arg(auth_method), sqlc.arg(secret_hashes), sqlc.arg(redirect_uris),
    sqlc.arg(grant_types), sqlc.arg(scopes), sqlc.arg(resources), sqlc.arg(first_party), sqlc.arg(optional_pkce),
    sqlc.arg(id_token_alg), sqlc.arg(refresh_grace), sqlc.arg(created_at), sqlc.arg(updated_at)
);

-- name: UpdateClient :execrows
UPDATE clients
SET name = sqlc.arg(name), auth_method = sqlc.arg(auth_method), secret_hashes = sqlc.arg(secret_hashes),
    redirect_uris = sqlc.arg(redirect_uris), grant_types = sqlc.arg(grant_types), scopes = sqlc.arg(scopes),
    resources = sqlc.arg(resources), first_party = sqlc.arg(first_party), optional_pkce = sqlc.arg(optional_pkce),
    id_token_alg = sqlc.arg(id_token_alg), refresh_grace = sqlc.arg(refresh_grace), updated_at = sqlc.arg(updated_at)
WHERE id = sqlc.arg(id);

-- name: Client :one
SELECT * FROM clients WHERE id = sqlc.arg(id);

-- name: ListClients :many
SELECT * FROM clients WHERE id > sqlc.arg(after) ORDER BY id LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: DeleteClient :execrows
DELETE FROM clients WHERE id = sqlc.arg(id);

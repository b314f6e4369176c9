-- name: InsertClient :exec
INSERT INTO clients (
    id, name, auth_method, secret_hashes, redirect_uris, grant_types, scopes, resources,
    first_party, optional_pkce, id_token_alg, refresh_grace, created_at, updated_at,
    metadata, backchannel, registration_hash, used_at
) VALUES (
    sqlc.arg(id), sqlc.arg(name), sqlc.arg(auth_method), sqlc.arg(secret_hashes), sqlc.arg(redirect_uris),
    sqlc.arg(grant_types), sqlc.arg(scopes), sqlc.arg(resources), sqlc.arg(first_party), sqlc.arg(optional_pkce),
    sqlc.arg(id_token_alg), sqlc.arg(refresh_grace), sqlc.arg(created_at), sqlc.arg(updated_at),
    sqlc.arg(metadata), sqlc.arg(backchannel), sqlc.arg(registration_hash), sqlc.arg(used_at)
);

-- name: UpdateClient :execrows
UPDATE clients
SET name = sqlc.arg(name), auth_method = sqlc.arg(auth_method), secret_hashes = sqlc.arg(secret_hashes),
    redirect_uris = sqlc.arg(redirect_uris), grant_types = sqlc.arg(grant_types), scopes = sqlc.arg(scopes),
    resources = sqlc.arg(resources), first_party = sqlc.arg(first_party), optional_pkce = sqlc.arg(optional_pkce),
    id_token_alg = sqlc.arg(id_token_alg), refresh_grace = sqlc.arg(refresh_grace), updated_at = sqlc.arg(updated_at),
    metadata = sqlc.arg(metadata), backchannel = sqlc.arg(backchannel), registration_hash = sqlc.arg(registration_hash)
WHERE id = sqlc.arg(id);

-- name: Client :one
SELECT * FROM clients WHERE id = sqlc.arg(id);

-- name: ListClients :many
SELECT * FROM clients WHERE id > sqlc.arg(after) ORDER BY id LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: DeleteClient :execrows
DELETE FROM clients WHERE id = sqlc.arg(id);

-- name: ClientUsed :exec
UPDATE clients SET used_at = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND registration_hash IS NOT NULL AND (used_at IS NULL OR used_at < sqlc.arg(now));

-- name: CountDynamicClients :one
SELECT COUNT(*) FROM clients WHERE registration_hash IS NOT NULL;

-- name: UnusedClients :many
SELECT id FROM clients
WHERE registration_hash IS NOT NULL AND COALESCE(used_at, created_at) < sqlc.arg(since)
ORDER BY COALESCE(used_at, created_at) LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- DeleteUnusedClient judges the client once more when it has the lock: it may
-- have been used in the meantime.
-- name: DeleteUnusedClient :execrows
DELETE FROM clients
WHERE id = sqlc.arg(id) AND registration_hash IS NOT NULL AND COALESCE(used_at, created_at) < sqlc.arg(since);

-- name: PutLogo :exec
INSERT INTO client_logos (client_id, type, bytes)
VALUES (sqlc.arg(client_id), sqlc.arg(type), sqlc.arg(bytes))
ON CONFLICT (client_id) DO UPDATE SET type = excluded.type, bytes = excluded.bytes;

-- name: DeleteLogo :execrows
DELETE FROM client_logos WHERE client_id = sqlc.arg(client_id);

-- name: Logo :one
SELECT * FROM client_logos WHERE client_id = sqlc.arg(client_id);

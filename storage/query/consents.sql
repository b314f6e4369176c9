-- name: Consent :one
SELECT * FROM consents WHERE user_id = sqlc.arg(user_id) AND client_id = sqlc.arg(client_id);

-- name: PutConsent :exec
INSERT INTO consents (user_id, client_id, scopes, granted_at)
VALUES (sqlc.arg(user_id), sqlc.arg(client_id), sqlc.arg(scopes), sqlc.arg(granted_at))
ON CONFLICT (user_id, client_id) DO UPDATE
SET scopes = excluded.scopes, granted_at = excluded.granted_at;

-- name: ListConsents :many
SELECT * FROM consents WHERE user_id = sqlc.arg(user_id) ORDER BY client_id;

-- name: DeleteConsent :exec
DELETE FROM consents WHERE user_id = sqlc.arg(user_id) AND client_id = sqlc.arg(client_id);

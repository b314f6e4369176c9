-- NoticeEnd tells the clients that were given a grant in the session.
-- name: NoticeEnd :exec
INSERT INTO notices (id, client_id, user_id, session_id, created_at)
SELECT g.session_id || '.' || g.client_id, g.client_id, MIN(g.user_id), g.session_id, sqlc.arg(now)
FROM grants g
JOIN clients c ON c.id = g.client_id AND c.backchannel
WHERE g.session_id = sqlc.arg(session_id) AND g.session_id <> ''
GROUP BY g.session_id, g.client_id
ON CONFLICT (id) DO NOTHING;

-- name: PendingNotices :many
SELECT * FROM notices
WHERE delivered_at IS NULL AND failed_at IS NULL
ORDER BY created_at, id LIMIT CAST(sqlc.arg(max_rows) AS bigint);

-- name: Notice :one
SELECT * FROM notices WHERE id = sqlc.arg(id);

-- name: DeliverNotice :exec
UPDATE notices SET delivered_at = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND delivered_at IS NULL AND failed_at IS NULL;

-- name: FailNotice :exec
UPDATE notices SET failed_at = sqlc.arg(now), failure = sqlc.arg(failure)
WHERE id = sqlc.arg(id) AND delivered_at IS NULL AND failed_at IS NULL;

-- name: ListNotices :many
SELECT * FROM notices WHERE client_id = sqlc.arg(client_id)
ORDER BY created_at DESC, id DESC LIMIT CAST(sqlc.arg(max_rows) AS bigint);

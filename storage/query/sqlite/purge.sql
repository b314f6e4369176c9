-- One process owns a database of SQLite, and one statement at a time writes it.

-- name: DeleteExpiredSessions :execrows
DELETE FROM sessions
WHERE id IN (
    SELECT s.id FROM sessions s WHERE s.expires_at < sqlc.arg(now) LIMIT CAST(sqlc.arg(max_rows) AS bigint)
);

-- name: DeleteExpiredGrants :execrows
DELETE FROM grants
WHERE id IN (
    SELECT g.id FROM grants g WHERE g.ends_at < sqlc.arg(before)
    ORDER BY g.ends_at LIMIT CAST(sqlc.arg(max_rows) AS bigint)
);

-- DeletePendingUsers judges each row once more when it has the lock: the user
-- may have proved the mailbox or registered again in the meantime.
-- name: DeletePendingUsers :execrows
DELETE FROM users
WHERE id IN (
    SELECT u.id FROM users u
    WHERE u.status = 'pending' AND u.email_verified_at IS NULL AND u.updated_at < sqlc.arg(before)
    ORDER BY u.updated_at LIMIT CAST(sqlc.arg(max_rows) AS bigint)
) AND status = 'pending' AND email_verified_at IS NULL AND updated_at < sqlc.arg(before);

-- name: DeleteNotices :execrows
DELETE FROM notices
WHERE id IN (
    SELECT n.id FROM notices n WHERE n.created_at < sqlc.arg(before)
    ORDER BY n.created_at LIMIT CAST(sqlc.arg(max_rows) AS bigint)
);

-- name: DeleteEvents :execrows
DELETE FROM events
WHERE id IN (
    SELECT e.id FROM events e WHERE e.occurred_at < sqlc.arg(before)
    ORDER BY e.occurred_at LIMIT CAST(sqlc.arg(max_rows) AS bigint)
);

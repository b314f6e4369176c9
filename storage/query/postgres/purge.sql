-- What has ended is removed in batches, by every server: each takes rows that no
-- other has locked, and waits for none (SKIP LOCKED). A row is judged as it is
-- when it is locked: a session may have been used, and a user may have proved
-- the mailbox or registered again, in the meantime. MATERIALIZED, because a plan
-- that asked again for each row would take more than one batch.

-- name: DeleteExpiredSessions :execrows
WITH ended AS MATERIALIZED (
    SELECT s.id FROM sessions s WHERE s.expires_at < sqlc.arg(now)
    LIMIT CAST(sqlc.arg(max_rows) AS bigint) FOR UPDATE SKIP LOCKED
)
DELETE FROM sessions WHERE id IN (SELECT ended.id FROM ended);

-- name: DeleteExpiredGrants :execrows
WITH ended AS MATERIALIZED (
    SELECT g.id FROM grants g WHERE g.ends_at < sqlc.arg(before)
    ORDER BY g.ends_at LIMIT CAST(sqlc.arg(max_rows) AS bigint) FOR UPDATE SKIP LOCKED
)
DELETE FROM grants WHERE id IN (SELECT ended.id FROM ended);

-- name: DeletePendingUsers :execrows
WITH ended AS MATERIALIZED (
    SELECT u.id FROM users u
    WHERE u.status = 'pending' AND u.email_verified_at IS NULL AND u.updated_at < sqlc.arg(before)
    ORDER BY u.updated_at LIMIT CAST(sqlc.arg(max_rows) AS bigint) FOR UPDATE SKIP LOCKED
)
DELETE FROM users WHERE id IN (SELECT ended.id FROM ended);

-- name: DeleteNotices :execrows
WITH ended AS MATERIALIZED (
    SELECT n.id FROM notices n WHERE n.created_at < sqlc.arg(before)
    ORDER BY n.created_at LIMIT CAST(sqlc.arg(max_rows) AS bigint) FOR UPDATE SKIP LOCKED
)
DELETE FROM notices WHERE id IN (SELECT ended.id FROM ended);

-- name: DeleteEvents :execrows
WITH ended AS MATERIALIZED (
    SELECT e.id FROM events e WHERE e.occurred_at < sqlc.arg(before)
    ORDER BY e.occurred_at LIMIT CAST(sqlc.arg(max_rows) AS bigint) FOR UPDATE SKIP LOCKED
)
DELETE FROM events WHERE id IN (SELECT ended.id FROM ended);
